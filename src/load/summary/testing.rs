//! A result to try things on.

use super::*;

/// Of shard `shard` of `shards`: one stage without figures.
pub fn result(shard: u64, shards: u64) -> LoadResult {
    let judged = Judged { threshold: "success>=99.9%".into(), measured: String::new(), met: true };
    LoadResult {
        version: RESULT_VERSION,
        tool: "ikelab".into(),
        command: "load".into(),
        plan_seed: "x".into(),
        started: String::new(),
        seconds: 1.0,
        security: Security { keys_exported: false, key_seed_from_os: true, target_said_to_be_owned: false },
        connection: Connection { name: "x".into(), file: None, remote: "192.0.2.1:500".into() },
        context: Context {
            ike: Vec::new(),
            esp: Vec::new(),
            pfs: Vec::new(),
            auth: "psk / psk".into(),
            issue_micros: None,
            ike_lifetime: None,
            child_lifetime: None,
            dpd: None,
            nat_traversal: "auto".into(),
            children_per_ike_sa: 1,
            initial_contact: false,
            fragmentation: true,
        },
        tester: Tester {
            shard,
            shards,
            threads: 1,
            sources: 1,
            sources_mean: Tester::sources_words(1),
            ports: (500, 4500),
            shared_port: false,
            buffer_wanted: 1,
            buffer_granted: None,
            max_cpu: 0.8,
            max_lag: 1e3,
        },
        workload: "setup".into(),
        thresholds: vec![judged],
        stages: vec![StageResult { name: "setup".into(), method: "open-loop".into(), ..StageResult::default() }],
        recovery: None,
        traffic: None,
        capacity: None,
        leaks: None,
        flood: None,
        failover: None,
        limit: Limit { who: "nobody".into(), sentence: "x".into(), tester_limited: false },
        interrupted: false,
        exit_code: 0,
    }
}
