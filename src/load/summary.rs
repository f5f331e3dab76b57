//! The result of a load run, as `result.json` holds it and every report reads it.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::measure::{During, FailureCounts, Stats, Timed};
use super::resource::Core;
use super::run::{Network, Outcome};
use super::threshold::Judged;
use super::verdict::Honesty;
use crate::engine::{AuthSpec, ConnectionSpec, FailureClass, NatTraversal};

/// Version of this layout; counts up when a reader must change.
pub const RESULT_VERSION: u32 = 1;

/// Everything about a finished load run.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LoadResult {
    /// Version of this layout.
    pub version: u32,
    /// The program and its version.
    pub tool: String,
    /// Always `load`.
    pub command: String,
    /// The plan seed, as given or made up.
    pub plan_seed: String,
    /// When it began, in UTC.
    pub started: String,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What to know before sharing it.
    pub security: Security,
    /// Who was tested, from where.
    pub connection: Connection,
    /// What every report of a rate must name.
    pub context: Context,
    /// Threads, processes, addresses, buffers.
    pub tester: Tester,
    /// The workload, in one word.
    pub workload: String,
    /// Thresholds and whether they were met.
    pub thresholds: Vec<Judged>,
    /// Stages, in order.
    pub stages: Vec<StageResult>,
    /// How the peer recovered from a reconnect storm, if there was one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub recovery: Option<Recovery>,
    /// What steps of traffic have found, if packets were sent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traffic: Option<TrafficFinding>,
    /// What became of the tunnels when the peer was reloaded or failed over, in a sentence, if that was the task.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failover: Option<String>,
    /// The search for the limit, if that was the task.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub capacity: Option<Capacity>,
    /// What a soak says about leaks, if that was the task.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub leaks: Option<super::leak::Leaks>,
    /// What a flood of half-open IKE SAs met, in a sentence, if there was one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub flood: Option<String>,
    /// Who was the limit.
    pub limit: Limit,
    /// It was ended by a signal.
    pub interrupted: bool,
    /// The exit code.
    pub exit_code: u8,
}

/// What to know before sharing a result.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Security {
    /// Keys were exported into the run directory. A load run never does.
    pub keys_exported: bool,
    /// The key seed came from the operating system and is not stored.
    pub key_seed_from_os: bool,
    /// `--i-own-this-target` was given.
    pub target_said_to_be_owned: bool,
}

/// Who was tested.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Connection {
    /// Name of the connection.
    pub name: String,
    /// Its file.
    pub file: Option<String>,
    /// The peer's address and port.
    pub remote: String,
}

/// The full security context: without it a rate says nothing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Context {
    /// IKE proposals.
    pub ike: Vec<String>,
    /// ESP proposals of the first Child SA.
    pub esp: Vec<String>,
    /// Groups for perfect forward secrecy; empty means none.
    pub pfs: Vec<String>,
    /// How both ends authenticate.
    pub auth: String,
    /// Microseconds that issuing a tunnel's certificate took, before the run, where this run has its own authority.
    pub issue_micros: Option<f64>,
    /// Our lifetime of the IKE SA in seconds, if there is one.
    pub ike_lifetime: Option<f64>,
    /// Our lifetime of the Child SA in seconds, if there is one.
    pub child_lifetime: Option<f64>,
    /// Liveness checks: interval in seconds, if there are any.
    pub dpd: Option<f64>,
    /// NAT traversal: auto, force or off.
    pub nat_traversal: String,
    /// Child SAs per IKE SA.
    pub children_per_ike_sa: u64,
    /// INITIAL_CONTACT is sent.
    pub initial_contact: bool,
    /// Fragmentation is offered.
    pub fragmentation: bool,
}

/// The tester.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Tester {
    /// This process's number, from 0.
    pub shard: u64,
    /// Processes in all.
    pub shards: u64,
    /// Threads per process.
    pub threads: u64,
    /// Source addresses in use.
    pub sources: u64,
    /// What that number means for limits that a headend keeps per address.
    pub sources_mean: String,
    /// Local UDP ports, IKE and NAT traversal.
    pub ports: (u16, u16),
    /// Threads share an address and a port, steered by our SPIs.
    pub shared_port: bool,
    /// Receive buffer that was asked for, in octets.
    pub buffer_wanted: u64,
    /// What the kernel granted at most, if that is less.
    pub buffer_granted: Option<u64>,
    /// The share of a core beyond which a thread counts as the limit.
    pub max_cpu: f64,
    /// The 99th percentile of late starts, in microseconds, beyond which the tester counts as the limit.
    pub max_lag: f64,
}

/// One stage.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct StageResult {
    /// What was done: setup, hold, delete, ...
    pub name: String,
    /// `open-loop`, `bmwg-serial` or `none`.
    pub method: String,
    /// When it began, in seconds since the run began.
    pub from: f64,
    /// When it ended.
    pub to: f64,
    /// Seconds for which arrivals were planned.
    pub planned_seconds: f64,
    /// Arrivals planned, in all shards of this process.
    pub planned: u64,
    /// Mean planned rate per second.
    pub planned_rate: f64,
    /// Seconds of it that were not measured.
    #[serde(default)]
    pub warm_up: f64,
    /// Mean rate per second of operations begun in the planned time, after the warm-up.
    #[serde(default)]
    pub attempted_rate: f64,
    /// Tunnels that the run is to have, in this process; 0 where that does not apply.
    #[serde(default)]
    pub configured: u64,
    /// Everything was due at once: the tester took the time it needed.
    #[serde(default)]
    pub at_once: bool,
    /// Mean rate per second of operations that succeeded in the planned time, after the warm-up: what came up later counts as
    /// done, not as achieved.
    pub achieved_rate: f64,
    /// Operations begun.
    pub started: u64,
    /// Operations that succeeded.
    pub done: u64,
    /// Operations that failed.
    pub failed: u64,
    /// Of these, those that were still open when the drain time was over.
    pub unfinished: u64,
    /// Of those begun after the warm-up.
    pub window: Window,
    /// Of these, the share that succeeded.
    pub success: f64,
    /// What the tester could not begin.
    pub dropped: Dropped,
    /// Tunnels with a chosen fault, which count nowhere else.
    pub faulty: Window,
    /// Of these, those whose IKE_SA_INIT was answered.
    #[serde(default)]
    pub faulty_answered: u64,
    /// Operations that the stage is not about, like the deletes of a churn.
    pub aside: Window,
    /// Failures by class.
    pub failures: Vec<Failures>,
    /// Failures of tunnels with a chosen fault.
    pub faulty_failures: Vec<Failures>,
    /// Tunnels that went down unasked, by class.
    #[schemars(extend("propertyNames" = {"$ref": "#/$defs/FailureClass"}))]
    pub lost: BTreeMap<FailureClass, u64>,
    /// Requests sent for the first time.
    pub requests: u64,
    /// Requests sent again.
    pub retransmits: u64,
    /// Retransmits by first transmissions.
    pub retransmit_ratio: f64,
    /// Operations that needed a retransmission.
    pub retried: u64,
    /// Latencies in microseconds, by name.
    pub latency: BTreeMap<String, Latency>,
    /// Tunnels up at the end.
    pub up: u64,
    /// IKE SAs in our tables at the end.
    pub sas: u64,
    /// Packets through the tunnels, in a stage of traffic.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traffic: Option<TrafficResult>,
    /// What the tester used.
    pub used: UsedResult,
    /// One per second.
    pub bins: Vec<Bin>,
}

/// Packets through the tunnels to a host behind the peer that echoes, and back.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TrafficResult {
    /// Bits of inner packets per second that were to be sent, in each direction, by this process.
    pub offered: f64,
    /// Octets of each inner packet, its IP header included.
    pub size: u64,
    /// Octets on the wire (IP and UDP headers, ESP) by octets of inner packets, outbound.
    pub overhead: f64,
    /// Packets sent.
    pub sent: u64,
    /// Packets due that the tester came to too late.
    pub late: u64,
    /// Packets that could not be sent: no tunnel was up, or the selectors do not hold who echoes.
    pub unsent: u64,
    /// Packets that came back.
    pub returned: u64,
    /// Bits of inner packets per second that were sent.
    pub sent_rate: f64,
    /// Seconds until the first packet came back.
    #[serde(default)]
    pub first_back: Option<f64>,
    /// Bits of inner packets per second that came back, from the first one that did to the last one that was sent.
    pub throughput: f64,
    /// Share of the packets sent that did not come back.
    pub loss: f64,
    /// Share of the packets sent for which the peer sealed no answer, by its sequence numbers: lost on the way there, or
    /// inside the peer. None where its Child SAs were replaced meanwhile.
    pub loss_there: Option<f64>,
    /// Share of what the peer sealed that did not arrive.
    pub loss_back: Option<f64>,
    /// Packets that were refused: integrity, replay, selectors.
    pub bad: u64,
    /// Tunnels that are active: a packet came back through them.
    pub active: u64,
}

/// What steps of traffic say together.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TrafficFinding {
    /// The largest throughput, in bits per second per direction.
    pub best: f64,
    /// The largest offered rate of which at least 98 % came back; 0 if there was none.
    pub carried: f64,
    /// Where the throughput stays however much is offered, if it does.
    pub plateau: Option<f64>,
    /// In a sentence.
    pub finding: String,
}

/// Attempts and what came of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// Begun.
    pub started: u64,
    /// Succeeded.
    pub done: u64,
    /// Failed.
    pub failed: u64,
}

impl Window {
    /// The share that succeeded; 1 of nothing.
    pub fn success(&self) -> f64 {
        if self.started == 0 { 1.0 } else { self.done as f64 / self.started as f64 }
    }
}

/// Why the tester did not begin what was planned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Dropped {
    /// It came to it too late.
    pub late: u64,
    /// Too many operations were open.
    pub in_flight: u64,
    /// No tunnel was free.
    pub no_tunnel: u64,
    /// Datagrams that the system would not send, of operations that were begun: they count in no sum of operations.
    pub not_sent: u64,
}

impl Dropped {
    /// Operations that were planned and not begun.
    pub fn total(&self) -> u64 {
        self.late + self.in_flight + self.no_tunnel
    }
}

/// Failures of one class in one stage of the exchange.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Failures {
    /// What kind of failure.
    pub class: FailureClass,
    /// Where in the life of a tunnel.
    pub stage: During,
    /// How many.
    pub count: u64,
}

/// A latency's distribution, in microseconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// 90th percentile.
    pub p90: u64,
    /// 95th percentile.
    pub p95: u64,
    /// 99th percentile.
    pub p99: u64,
    /// 99.9th percentile.
    pub p99_9: u64,
    /// The largest.
    pub max: u64,
}

impl Latency {
    /// From a histogram of microseconds.
    pub fn of(times: &Histogram<u64>) -> Latency {
        Latency {
            count: times.len(),
            mean: times.mean(),
            p50: times.value_at_quantile(0.5),
            p90: times.value_at_quantile(0.9),
            p95: times.value_at_quantile(0.95),
            p99: times.value_at_quantile(0.99),
            p99_9: times.value_at_quantile(0.999),
            max: times.max(),
        }
    }
}

/// What the tester used during a stage.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct UsedResult {
    /// CPU time of each thread while the plan lasted, as a share of a core.
    pub threads: Vec<f64>,
    /// Time each thread waited for a core, as a share of the time that passed.
    pub waited: Vec<f64>,
    /// CPU seconds of all threads, in the whole stage.
    pub cpu_seconds: f64,
    /// CPU seconds of the whole process while the plan lasted.
    pub process_cpu_seconds: f64,
    /// CPU microseconds per operation that succeeded or failed.
    pub cpu_per_operation: f64,
    /// The machine's cores.
    pub cores: Vec<CoreResult>,
    /// Datagrams out and in.
    pub datagrams: (u64, u64),
    /// Octets of UDP payload out and in.
    pub octets: (u64, u64),
    /// Datagrams lost because our receive buffers were full.
    pub receive_overflows: u64,
    /// Most octets seen waiting in a receive buffer.
    pub queue_octets: u64,
    /// Datagrams that the system would not send, whatever they were about.
    pub not_sent: u64,
    /// The first of them: from where, to where, and why.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub not_sent_why: Option<String>,
    /// ICMP errors.
    pub icmp_errors: u64,
    /// Resident memory of this process at the end, in octets.
    pub resident: u64,
    /// File descriptors open at the end.
    pub descriptors: u64,
}

/// One core of the tester's machine.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct CoreResult {
    /// Its number.
    pub number: u32,
    /// Share of time at work, for anybody.
    pub busy: f64,
    /// Share in soft interrupts: the network.
    pub softirq: f64,
    /// Share taken by the hypervisor.
    pub steal: f64,
}

/// One second.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Bin {
    /// Starts planned for this second.
    pub due: u64,
    /// Begun in it.
    pub started: u64,
    /// Succeeded in it.
    pub done: u64,
    /// Failed in it.
    pub failed: u64,
    /// Planned for it and dropped by the tester.
    pub dropped: u64,
}

/// The search for the limit.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Capacity {
    /// Of what: `set-ups per second`, `tunnels that come and go per second`, `rekeys of IKE SAs per second`, `rekeys of Child SAs per second`, or `tunnels`.
    pub of: String,
    /// Median of the trials.
    pub median: f64,
    /// The smallest and the largest trial.
    pub range: (f64, f64),
    /// What each trial found.
    pub trials: Vec<f64>,
    /// Every rate that was tried, in order.
    pub steps: Vec<Step>,
    /// Goodput against offered load, up to three times the limit.
    pub curve: Vec<Step>,
    /// What happened there, in a sentence.
    pub finding: String,
    /// What kept a search for a rate from going higher.
    #[serde(default)]
    pub ceiling: Ceiling,
}

/// What kept a search from going higher.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ceiling {
    /// The peer missed a threshold.
    #[default]
    Peer,
    /// The tester could not do more.
    Tester,
    /// Every tunnel of the tester was busy, though the peer answered.
    Tunnels,
    /// No higher rate was asked for.
    MaxRate,
    /// Nothing succeeded at all.
    Futile,
}

impl Ceiling {
    /// The figure says nothing about what the peer could do beyond it.
    pub fn is_tester(self) -> bool {
        matches!(self, Ceiling::Tester | Ceiling::Tunnels)
    }
}

/// One rate, tried.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Which trial, from 1.
    pub trial: u32,
    /// Offered rate per second.
    pub offered: f64,
    /// Achieved rate per second.
    pub goodput: f64,
    /// Share of the operations that succeeded.
    pub success: f64,
    /// 99th percentile of their time, in microseconds.
    pub p99: u64,
    /// The thresholds held.
    pub held: bool,
    /// The tester was the limit.
    pub tester_limited: bool,
}

/// How a peer recovers from a reconnect storm.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Recovery {
    /// Seconds until 50, 90, 99 and 100 % of the tunnels were up; none where that never came.
    pub seconds: Vec<Option<f64>>,
    /// Time to 100 % by the time that the same number took at the planned rate: 1 is ideal.
    pub factor: Option<f64>,
}

/// Who was the limit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// `nobody`, `peer` or `tester`.
    pub who: String,
    /// Why, in a sentence.
    pub sentence: String,
    /// The tester was the limit: the figures say nothing about the peer.
    pub tester_limited: bool,
}

impl Capacity {
    /// What [`Capacity::of`] says of a search for the number of tunnels.
    pub const TUNNELS: &str = "tunnels";
    /// What it says of a search for the rate of set-ups.
    pub const SET_UPS: &str = "set-ups per second";
    /// What it says of a search for the rate of a churn.
    pub const CHURN: &str = "tunnels that come and go per second";
}

impl Context {
    /// In two lines, for people.
    pub fn words(&self) -> String {
        let none = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
        let seconds = |s: Option<f64>| s.map_or_else(|| "none".to_owned(), |s| format!("{s} s"));
        let yes = |yes: bool| if yes { "yes" } else { "no" };
        format!(
            "IKE {}; ESP {}; PFS {}; authentication (ours / theirs) {}; Child SAs per IKE SA {}\n\
             lifetimes IKE SA {}, Child SA {}; liveness checks {}; NAT traversal {}; fragmentation {}; INITIAL_CONTACT {}",
            none(&self.ike),
            none(&self.esp),
            none(&self.pfs),
            self.auth,
            self.children_per_ike_sa,
            seconds(self.ike_lifetime),
            seconds(self.child_lifetime),
            self.dpd.map_or_else(|| "none".to_owned(), |s| format!("every {s} s")),
            self.nat_traversal,
            yes(self.fragmentation),
            yes(self.initial_contact)
        )
    }

    /// Of a connection.
    pub fn of(spec: &ConnectionSpec) -> Context {
        let words = |list: &[crate::engine::ProposalSpec]| list.iter().map(crate::config::proposal_words).collect();
        let child = spec.children.first();
        let auth = |spec: &AuthSpec| match spec {
            AuthSpec::Psk(_) => "psk",
            AuthSpec::Certificate(_) | AuthSpec::Trust(_) => "certificate",
            AuthSpec::EapPeer(_) | AuthSpec::EapAuthenticator(_) | AuthSpec::EapOnly => "eap",
        };
        Context {
            ike: words(&spec.ike_proposals),
            esp: child.map_or_else(Vec::new, |c| words(&c.proposals)),
            pfs: child.map_or_else(Vec::new, |c| c.pfs.iter().map(|g| crate::config::group_word(*g)).collect()),
            auth: format!("{} / {}", auth(&spec.local_auth), auth(&spec.remote_auth)),
            issue_micros: None,
            ike_lifetime: spec.lifetime.map(|d| d.as_secs_f64()),
            child_lifetime: child.and_then(|c| c.lifetime).map(|d| d.as_secs_f64()),
            dpd: spec.dpd.as_ref().map(|d| d.interval.as_secs_f64()),
            nat_traversal: match spec.nat.traversal {
                NatTraversal::Auto => "auto",
                NatTraversal::Force => "force",
                NatTraversal::Off => "off",
            }
            .into(),
            children_per_ike_sa: spec.children.len().min(1) as u64,
            initial_contact: spec.behaviour.initial_contact,
            fragmentation: spec.fragmentation,
        }
    }
}

impl Tester {
    /// Of a running fleet.
    pub fn of(network: &Network, process: (u64, u64), threads: u64, honesty: Honesty) -> Tester {
        Tester {
            shard: process.0,
            shards: process.1,
            threads,
            sources: network.sources,
            sources_mean: Tester::sources_words(network.sources),
            ports: (network.ports.ike, network.ports.natt),
            shared_port: network.shared,
            buffer_wanted: network.buffer_wanted as u64,
            buffer_granted: network.clamp.map(|octets| octets as u64),
            max_cpu: honesty.cpu,
            max_lag: honesty.lag,
        }
    }
}

impl Tester {
    /// What a number of source addresses means for limits per address.
    pub fn sources_words(sources: u64) -> String {
        match sources {
            1 => "one source address: limits that the peer keeps per address (half-open IKE SAs, cookies, blocking) may be \
                  met long before its capacity is"
                .into(),
            many => format!("{many} source addresses: limits that the peer keeps per address are met {many} times later"),
        }
    }
}

impl StageResult {
    /// The rates: of what was planned over a time, what was begun and what was done in that time and after the warm-up, in
    /// whole seconds; else of everything, over `length` seconds.
    pub fn rates(&mut self, length: f64) {
        let seconds = self.warm_up.ceil() as usize..self.planned_seconds.floor() as usize;
        let bins = self.bins.get(seconds.start..seconds.end.min(self.bins.len())).unwrap_or_default();
        let (started, done, length) = match seconds.len() {
            0 => (self.started, self.done, length),
            n => (bins.iter().map(|b| b.started).sum(), bins.iter().map(|b| b.done).sum(), n as f64),
        };
        let per_second = |count: u64| if length > 0.0 { count as f64 / length } else { 0.0 };
        (self.attempted_rate, self.achieved_rate) = (per_second(started), per_second(done));
    }

    /// The figures, without what the tester used.
    pub fn of_stats(name: &str, stats: &Stats) -> StageResult {
        let window = |w: &super::measure::Window| Window { started: w.started, done: w.done, failed: w.failed };
        let failures = |map: &FailureCounts| {
            map.iter().map(|(&(class, stage), &count)| Failures { class, stage, count }).collect()
        };
        let d = &stats.dropped;
        let latency = Timed::ALL.into_iter().filter_map(|what| {
            let times = stats.times(what)?;
            Some((what.name().to_owned(), Latency::of(times)))
        });
        let bin = |b: &super::measure::Bin| Bin {
            due: b.due,
            started: b.started,
            done: b.done,
            failed: b.failed,
            dropped: b.dropped,
        };
        StageResult {
            name: name.into(),
            method: "open-loop".into(),
            started: stats.started,
            done: stats.done,
            failed: stats.failed,
            unfinished: stats.unfinished,
            window: window(&stats.window),
            success: stats.window.success(),
            dropped: Dropped { late: d.late, in_flight: d.in_flight, no_tunnel: d.no_tunnel, not_sent: d.not_sent },
            faulty: window(&stats.faulty),
            faulty_answered: stats.faulty_answered,
            aside: window(&stats.aside),
            failures: failures(&stats.failures),
            faulty_failures: failures(&stats.faulty_failures),
            lost: stats.lost.clone(),
            requests: stats.requests,
            retransmits: stats.retransmits,
            retransmit_ratio: stats.retransmit_ratio(),
            retried: stats.retried,
            latency: latency.collect(),
            traffic: stats.traffic.as_ref().map(TrafficResult::of),
            bins: stats.bins.iter().map(bin).collect(),
            ..StageResult::default()
        }
    }

    /// A finished stage with everything. `planned` is the number of arrivals and the time for which they were planned.
    pub fn of(name: &str, method: &str, outcome: &Outcome, planned: (u64, f64)) -> StageResult {
        let mut result = StageResult::of_stats(name, &outcome.stats);
        result.method = method.into();
        (result.from, result.to) = (outcome.from.as_secs_f64(), outcome.to.as_secs_f64());
        result.planned_rate = if planned.1 > 0.0 { planned.0 as f64 / planned.1 } else { 0.0 };
        (result.planned, result.planned_seconds) = planned;
        if outcome.stopped && planned.1 > result.to - result.from {
            // A signal ended the plan: what was to come after it was not planned any more.
            result.planned = result.started + result.faulty.started + result.dropped.total();
            result.planned_seconds = result.to - result.from;
        }
        let length = if planned.1 > 0.0 { result.planned_seconds } else { result.to - result.from };
        result.warm_up = outcome.warm_up.as_secs_f64();
        result.rates(length);
        (result.up, result.sas) = (outcome.up, outcome.sas);
        let wall = |u: &super::resource::Used| u.wall.as_secs_f64().max(f64::MIN_POSITIVE);
        let cpu = outcome.cpu.as_secs_f64();
        let operations = (result.done + result.failed + result.faulty.done + result.faulty.failed).max(1);
        let core = |c: &Core| CoreResult {
            number: c.number,
            busy: c.share(c.busy),
            softirq: c.share(c.softirq),
            steal: c.share(c.steal),
        };
        result.used = UsedResult {
            threads: outcome.used.iter().map(super::resource::Used::share).collect(),
            waited: outcome.used.iter().map(|u| u.waited.as_secs_f64() / wall(u)).collect(),
            cpu_seconds: cpu,
            process_cpu_seconds: outcome.process_cpu.as_secs_f64(),
            cpu_per_operation: cpu * 1e6 / operations as f64,
            cores: outcome.cores.iter().map(core).collect(),
            datagrams: (outcome.link.sent, outcome.link.received),
            octets: (outcome.link.sent_octets, outcome.link.received_octets),
            receive_overflows: outcome.link.receive_overflows,
            queue_octets: outcome.queue as u64,
            not_sent: outcome.link.not_sent,
            not_sent_why: outcome.stats.not_sent.clone(),
            icmp_errors: outcome.link.icmp_errors,
            resident: super::resource::resident(),
            descriptors: super::resource::descriptors(),
        };
        result
    }
}

/// The latencies of a stage, by name, for thresholds and logs.
pub fn histograms(stats: &Stats) -> BTreeMap<String, Histogram<u64>> {
    Timed::ALL.into_iter().filter_map(|what| Some((what.name().to_owned(), stats.times(what)?.clone()))).collect()
}

/// The JSON Schema of [`LoadResult`], as committed in `schema/load-result.schema.json`.
pub fn schema() -> String {
    let schema = schemars::schema_for!(LoadResult);
    serde_json::to_string_pretty(&schema).expect("a schema prints") + "\n"
}

#[cfg(test)]
pub mod testing;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_schema_is_this_one() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/load-result.schema.json");
        if std::env::var_os("IKELAB_WRITE_SCHEMA").is_some() {
            std::fs::write(&path, schema()).expect("the source tree is writable");
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == schema(), "schema/load-result.schema.json is stale; IKELAB_WRITE_SCHEMA=1 writes it");
    }
}
