//! What a shard shows while it runs: for the live view and for Prometheus. Each shard writes only its own.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::measure::{During, FailureCounts, Timed};
use crate::engine::FailureClass;

/// Upper bounds of the latency buckets, in microseconds.
pub const BUCKETS: [u64; 16] = [
    500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000,
    10_000_000, 30_000_000, 60_000_000,
];

/// Tunnels whose state is shown one by one; beyond these only sums are.
pub const SINGLE_TUNNELS: usize = 1000;

/// One shard's figures.
#[derive(Debug)]
pub struct Gauges {
    /// Tunnels that this shard is to keep.
    pub configured: AtomicU64,
    /// Set-ups begun.
    pub attempts: AtomicU64,
    /// Set-ups that succeeded.
    pub established: AtomicU64,
    /// Set-ups that failed.
    pub failed: AtomicU64,
    /// Starts that the tester dropped.
    pub dropped: AtomicU64,
    /// Set-ups under way.
    pub half_open: AtomicU64,
    /// Tunnels that are up now.
    pub up: AtomicU64,
    /// IKE SAs in the table, those that only answer repeats included.
    pub sas: AtomicU64,
    /// Operations that succeeded in the present stage, whatever it is about.
    pub done: AtomicU64,
    /// Retransmissions.
    pub retransmits: AtomicU64,
    failures: Mutex<FailureCounts>,
    times: [Times; Timed::ALL.len()],
    tunnels: Vec<AtomicBool>,
}

#[derive(Debug, Default)]
struct Times {
    buckets: [AtomicU64; BUCKETS.len() + 1],
    sum_micros: AtomicU64,
}

impl Gauges {
    /// All zero, for a shard of `tunnels` tunnels.
    pub fn new(tunnels: u64) -> Self {
        let shown = usize::try_from(tunnels).unwrap_or(usize::MAX).min(SINGLE_TUNNELS);
        Gauges {
            configured: AtomicU64::new(tunnels),
            attempts: AtomicU64::default(),
            established: AtomicU64::default(),
            failed: AtomicU64::default(),
            dropped: AtomicU64::default(),
            half_open: AtomicU64::default(),
            up: AtomicU64::default(),
            sas: AtomicU64::default(),
            done: AtomicU64::default(),
            retransmits: AtomicU64::default(),
            failures: Mutex::default(),
            times: Default::default(),
            tunnels: (0..shown).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// Notes a latency.
    pub fn time(&self, what: Timed, value: Duration) {
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        let times = &self.times[what as usize];
        times.buckets[BUCKETS.partition_point(|&bound| bound < micros)].fetch_add(1, Relaxed);
        times.sum_micros.fetch_add(micros, Relaxed);
    }

    /// Notes a failure.
    pub fn fail(&self, class: FailureClass, stage: During) {
        *self.failures.lock().expect("no panic holds it").entry((class, stage)).or_default() += 1;
    }

    /// Failures so far, by class and stage.
    pub fn failures(&self) -> FailureCounts {
        self.failures.lock().expect("no panic holds it").clone()
    }

    /// Tunnel at place `index` of this shard is up or not.
    pub fn set_up(&self, index: usize, up: bool) {
        if let Some(tunnel) = self.tunnels.get(index) {
            tunnel.store(up, Relaxed);
        }
    }

    /// The states of the first tunnels.
    pub fn tunnels(&self) -> impl Iterator<Item = bool> + '_ {
        self.tunnels.iter().map(|up| up.load(Relaxed))
    }

    /// Counts per bucket (the last one is beyond all bounds) and the sum in microseconds.
    pub fn times(&self, what: Timed) -> ([u64; BUCKETS.len() + 1], u64) {
        let times = &self.times[what as usize];
        (std::array::from_fn(|n| times.buckets[n].load(Relaxed)), times.sum_micros.load(Relaxed))
    }
}

/// The Prometheus text exposition of all shards. `lane` gives the number of a shard's tunnel at a place.
pub fn prometheus(shards: &[(super::arrival::Lane, std::sync::Arc<Gauges>)]) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    let sum = |field: fn(&Gauges) -> &AtomicU64| shards.iter().map(|(_, g)| field(g).load(Relaxed)).sum::<u64>();
    let mut single = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    };
    single("ike_attempts_total", "counter", "IKE SAs begun.", sum(|g| &g.attempts));
    single("ike_established_total", "counter", "Tunnels that came up.", sum(|g| &g.established));
    single("ike_retransmits_total", "counter", "Requests sent again.", sum(|g| &g.retransmits));
    single("ike_half_open", "gauge", "Set-ups under way.", sum(|g| &g.half_open));
    single("ike_tester_dropped_total", "counter", "Starts that the tester could not make.", sum(|g| &g.dropped));
    out.push_str(
        "# HELP ike_failures_total Failures by class and stage; tunnels that went down unasked have the stage up.\n\
         # TYPE ike_failures_total counter\n",
    );
    // The whole closed set: a series that only appears with its first failure is one that no alarm watches.
    let all = FailureClass::ALL.into_iter().flat_map(|class| During::ALL.into_iter().map(move |stage| (class, stage)));
    let mut failures: FailureCounts = all.map(|key| (key, 0)).collect();
    for (_, gauges) in shards {
        for (key, count) in gauges.failures() {
            *failures.entry(key).or_default() += count;
        }
    }
    for ((class, stage), count) in failures {
        let _ = writeln!(out, "ike_failures_total{{class=\"{class}\",stage=\"{stage}\"}} {count}");
    }
    out.push_str("# HELP ike_sas Tunnels by state; in_table counts IKE SAs, those that only answer repeats included.\n# TYPE ike_sas gauge\n");
    let (configured, up, opening) = (sum(|g| &g.configured), sum(|g| &g.up), sum(|g| &g.half_open));
    for (state, count) in
        [("configured", configured), ("opening", opening), ("established", up), ("in_table", sum(|g| &g.sas))]
    {
        let _ = writeln!(out, "ike_sas{{state=\"{state}\"}} {count}");
    }
    out.push_str("# HELP ike_stage_seconds Latency from the planned start.\n# TYPE ike_stage_seconds histogram\n");
    for what in Timed::ALL {
        let (mut buckets, mut micros) = ([0; BUCKETS.len() + 1], 0);
        for (_, gauges) in shards {
            let (more, sum) = gauges.times(what);
            buckets.iter_mut().zip(more).for_each(|(into, from)| *into += from);
            micros += sum;
        }
        let (name, mut below) = (what.name(), 0);
        for (bound, count) in BUCKETS.iter().zip(buckets) {
            below += count;
            let le = *bound as f64 / 1e6;
            let _ = writeln!(out, "ike_stage_seconds_bucket{{stage=\"{name}\",le=\"{le}\"}} {below}");
        }
        let all: u64 = buckets.iter().sum();
        let _ = writeln!(out, "ike_stage_seconds_bucket{{stage=\"{name}\",le=\"+Inf\"}} {all}");
        let _ = writeln!(out, "ike_stage_seconds_sum{{stage=\"{name}\"}} {}", micros as f64 / 1e6);
        let _ = writeln!(out, "ike_stage_seconds_count{{stage=\"{name}\"}} {all}");
    }
    let _ = write!(
        out,
        "# HELP ike_tunnel_configured Tunnels to keep.\n# TYPE ike_tunnel_configured gauge\n\
         ike_tunnel_configured {configured}\n"
    );
    let _ = write!(
        out,
        "# HELP ike_tunnel_up 1 while the tunnel is up, else 0; the first {SINGLE_TUNNELS} of each shard.\n\
         # TYPE ike_tunnel_up gauge\n"
    );
    for (lane, gauges) in shards {
        for (index, up) in (0..).zip(gauges.tunnels()) {
            let _ = writeln!(out, "ike_tunnel_up{{tunnel=\"{}\"}} {}", lane.number(index), u8::from(up));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::arrival::Lane;
    use super::*;

    #[test]
    fn a_tunnel_that_is_down_reads_0_and_is_never_absent() {
        let gauges = Arc::new(Gauges::new(3));
        gauges.set_up(1, true);
        gauges.time(Timed::Up, Duration::from_micros(1_500));
        gauges.fail(FailureClass::AuthFailed, During::Auth);
        let text = prometheus(&[(Lane { first: 1, stride: 2 }, Arc::clone(&gauges))]);
        for line in [
            "ike_tunnel_up{tunnel=\"1\"} 0",
            "ike_tunnel_up{tunnel=\"3\"} 1",
            "ike_tunnel_up{tunnel=\"5\"} 0",
            "ike_tunnel_configured 3",
            "ike_stage_seconds_bucket{stage=\"T_up\",le=\"0.001\"} 0",
            "ike_stage_seconds_bucket{stage=\"T_up\",le=\"0.002\"} 1",
            "ike_stage_seconds_bucket{stage=\"T_up\",le=\"+Inf\"} 1",
            "ike_stage_seconds_sum{stage=\"T_up\"} 0.0015",
            "ike_failures_total{class=\"auth_failed\",stage=\"auth\"} 1",
            "ike_failures_total{class=\"no_response\",stage=\"init\"} 0",
            "ike_failures_total{class=\"dpd_timeout\",stage=\"up\"} 0",
            "ike_failures_total{class=\"pfs_mismatch_at_rekey\",stage=\"rekey\"} 0",
            "ike_sas{state=\"configured\"} 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        let series = text.lines().filter(|line| line.starts_with("ike_failures_total{")).count();
        assert_eq!(series, FailureClass::ALL.len() * During::ALL.len());
        gauges.set_up(1, false);
        let text = prometheus(&[(Lane { first: 1, stride: 2 }, gauges)]);
        assert!(text.contains("ike_tunnel_up{tunnel=\"3\"} 0"));
    }
}
