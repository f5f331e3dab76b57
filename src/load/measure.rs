//! What a shard measures: counters, latencies, one-second bins; merged without loss at the end.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::FailureClass;

/// What is timed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Timed {
    /// From the planned start to the answer to IKE_SA_INIT, cookies and other groups included.
    Init,
    /// From there to the answer to IKE_AUTH.
    Auth,
    /// From the planned start to a usable Child SA.
    Up,
    /// A CREATE_CHILD_SA exchange that makes one more Child SA.
    Child,
    /// From the planned start to the end of an IKE SA's rekey.
    RekeyIke,
    /// From the planned start to the end of a Child SA's rekey.
    RekeyChild,
    /// A liveness check: from its first transmission to its answer.
    Dpd,
    /// From the planned start to the answer to DELETE.
    Delete,
    /// How late the tester itself began what was planned.
    Lag,
    /// From the planned start of a tunnel to the first packet that came back through it.
    First,
    /// A packet through a tunnel: there and back.
    Rtt,
    /// From the last word of the peer to the end of a tunnel that nobody asked for.
    Detect,
    /// From the same to a usable Child SA in its place.
    Outage,
}

impl Timed {
    /// All of them, in order.
    pub const ALL: [Timed; 13] = [
        Timed::Init,
        Timed::Auth,
        Timed::Up,
        Timed::Child,
        Timed::RekeyIke,
        Timed::RekeyChild,
        Timed::Dpd,
        Timed::Delete,
        Timed::Lag,
        Timed::First,
        Timed::Rtt,
        Timed::Detect,
        Timed::Outage,
    ];

    /// Name in files and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Timed::Init => "T_init",
            Timed::Auth => "T_auth",
            Timed::Up => "T_up",
            Timed::Child => "T_child",
            Timed::RekeyIke => "T_rekey_ike",
            Timed::RekeyChild => "T_rekey_child",
            Timed::Dpd => "T_dpd",
            Timed::Delete => "T_delete",
            Timed::Lag => "start_lag",
            Timed::First => "T_first_packet",
            Timed::Rtt => "T_rtt",
            Timed::Detect => "T_detect",
            Timed::Outage => "T_outage",
        }
    }

    /// Name in thresholds, `p99(setup)`.
    pub fn word(self) -> &'static str {
        match self {
            Timed::Init => "init",
            Timed::Auth => "auth",
            Timed::Up => "setup",
            Timed::Child => "child",
            Timed::RekeyIke => "rekey_ike",
            Timed::RekeyChild => "rekey_child",
            Timed::Dpd => "dpd",
            Timed::Delete => "delete",
            Timed::Lag => "lag",
            Timed::First => "first_packet",
            Timed::Rtt => "rtt",
            Timed::Detect => "detect",
            Timed::Outage => "outage",
        }
    }
}

/// Where in the life of a tunnel something failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum During {
    /// IKE_SA_INIT.
    Init,
    /// IKE_AUTH.
    Auth,
    /// A Child SA, in IKE_AUTH or one more.
    Child,
    /// The rekey of an IKE or a Child SA.
    Rekey,
    /// DELETE of the IKE SA.
    Delete,
    /// Another INFORMATIONAL, like a liveness check, while something else was waiting for its turn.
    Informational,
    /// It was up, and nothing was under way.
    Up,
}

impl During {
    /// All of them, in order.
    pub const ALL: [During; 7] =
        [During::Init, During::Auth, During::Child, During::Rekey, During::Delete, During::Informational, During::Up];

    /// Its name in files and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            During::Init => "init",
            During::Auth => "auth",
            During::Child => "child",
            During::Rekey => "rekey",
            During::Delete => "delete",
            During::Informational => "informational",
            During::Up => "up",
        }
    }
}

impl std::fmt::Display for During {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl PartialEq<&str> for During {
    fn eq(&self, name: &&str) -> bool {
        self.as_str() == *name
    }
}

/// Failures by class and by where they happened.
pub type FailureCounts = BTreeMap<(FailureClass, During), u64>;

/// One second of a stage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bin {
    /// Starts that were planned for this second and are accounted for: begun, or dropped by the tester.
    pub due: u64,
    /// Begun in it.
    pub started: u64,
    /// Succeeded in it.
    pub done: u64,
    /// Failed in it.
    pub failed: u64,
    /// Planned for it, and not begun, by the tester's own fault or limits.
    pub dropped: u64,
}

/// Everything measured in one stage by one shard, or by all of them after [`Stats::merge`].
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Operations begun: set-ups, rekeys or deletes, whatever the stage is about.
    pub started: u64,
    /// Operations that succeeded.
    pub done: u64,
    /// Operations that failed.
    pub failed: u64,
    /// Operations still open when the drain time was over; counted as failed too.
    pub unfinished: u64,
    /// Of those begun inside the measured window.
    pub window: Window,
    /// What the tester could not begin.
    pub dropped: Dropped,
    /// Tunnels with a chosen fault: begun, up, failed. They count in none of the figures above.
    pub faulty: Window,
    /// Of the tunnels with a chosen fault, those whose IKE_SA_INIT was answered.
    pub faulty_answered: u64,
    /// Operations that the stage is not about: the deletes of a churn.
    pub aside: Window,
    /// Failures by class and stage.
    pub failures: FailureCounts,
    /// Failures of tunnels with a chosen fault, by class and stage.
    pub faulty_failures: FailureCounts,
    /// Tunnels that were up and went down unasked, by class.
    pub lost: BTreeMap<FailureClass, u64>,
    /// Requests sent for the first time.
    pub requests: u64,
    /// Requests sent again.
    pub retransmits: u64,
    /// Operations that needed at least one retransmission.
    pub retried: u64,
    /// The first datagram that the system would not send: from where, to where, and why, in words.
    pub not_sent: Option<String>,
    /// The first set-up that failed: how many had succeeded before it, and why, in words.
    pub refused: Option<(u64, String)>,
    /// What passed through the tunnels, in a stage of traffic.
    pub traffic: Option<super::traffic::Passed>,
    times: Vec<Option<Histogram<u64>>>,
    /// One per second, from the stage's begin.
    pub bins: Vec<Bin>,
}

/// Attempts and what came of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Window {
    /// Begun.
    pub started: u64,
    /// Succeeded.
    pub done: u64,
    /// Failed.
    pub failed: u64,
}

/// Why the tester did not begin what was planned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Dropped {
    /// It came to it too late.
    pub late: u64,
    /// Too many operations were open.
    pub in_flight: u64,
    /// No tunnel was free for it: all were busy, or none was up to be rekeyed.
    pub no_tunnel: u64,
    /// Datagrams that the system would not send, of operations that were begun: they count in no sum of operations.
    pub not_sent: u64,
}

impl Dropped {
    /// All together.
    pub fn total(&self) -> u64 {
        self.late + self.in_flight + self.no_tunnel
    }
}

impl Window {
    /// Of those begun, how many succeeded: 0 to 1, and 1 if nothing was begun.
    pub fn success(&self) -> f64 {
        if self.started == 0 { 1.0 } else { self.done as f64 / self.started as f64 }
    }

    fn add(&mut self, other: &Window) {
        self.started += other.started;
        self.done += other.done;
        self.failed += other.failed;
    }
}

impl Stats {
    /// Notes a latency.
    pub fn time(&mut self, what: Timed, value: Duration) {
        let index = what as usize;
        if self.times.len() <= index {
            self.times.resize(Timed::ALL.len(), None);
        }
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        self.times[index].get_or_insert_with(histogram).saturating_record(micros);
    }

    /// The latencies of one kind, in microseconds; `None` if there were none.
    pub fn times(&self, what: Timed) -> Option<&Histogram<u64>> {
        self.times.get(what as usize).and_then(Option::as_ref)
    }

    /// The bin of a second.
    pub fn bin(&mut self, second: u64) -> &mut Bin {
        let index = usize::try_from(second).unwrap_or(usize::MAX).min(MAX_BINS - 1);
        if self.bins.len() <= index {
            self.bins.resize(index + 1, Bin::default());
        }
        &mut self.bins[index]
    }

    /// Retransmitted requests by first transmissions.
    pub fn retransmit_ratio(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.retransmits as f64 / self.requests as f64 }
    }

    /// Adds another shard's figures.
    pub fn merge(&mut self, other: &Stats) {
        self.started += other.started;
        self.done += other.done;
        self.failed += other.failed;
        self.unfinished += other.unfinished;
        self.window.add(&other.window);
        self.faulty.add(&other.faulty);
        self.faulty_answered += other.faulty_answered;
        self.aside.add(&other.aside);
        self.dropped.late += other.dropped.late;
        self.dropped.in_flight += other.dropped.in_flight;
        self.dropped.no_tunnel += other.dropped.no_tunnel;
        self.dropped.not_sent += other.dropped.not_sent;
        self.requests += other.requests;
        self.retransmits += other.retransmits;
        self.retried += other.retried;
        if let Some(more) = &other.traffic {
            self.traffic.get_or_insert_default().add(more);
        }
        if self.not_sent.is_none() {
            self.not_sent.clone_from(&other.not_sent);
        }
        if self.refused.is_none() {
            self.refused.clone_from(&other.refused);
        }
        for (into, from) in [(&mut self.failures, &other.failures), (&mut self.faulty_failures, &other.faulty_failures)]
        {
            for (key, count) in from {
                *into.entry(*key).or_default() += count;
            }
        }
        for (class, count) in &other.lost {
            *self.lost.entry(*class).or_default() += count;
        }
        for (second, bin) in (0..).zip(&other.bins) {
            let into = self.bin(second);
            into.due += bin.due;
            into.started += bin.started;
            into.done += bin.done;
            into.failed += bin.failed;
            into.dropped += bin.dropped;
        }
        if self.times.len() < other.times.len() {
            self.times.resize(other.times.len(), None);
        }
        for (into, from) in self.times.iter_mut().zip(&other.times) {
            match (into.as_mut(), from) {
                (Some(into), Some(from)) => into.add(from).expect("all histograms have one layout"),
                (None, Some(from)) => *into = Some(from.clone()),
                (_, None) => {}
            }
        }
    }
}

/// A day of seconds; what comes later falls into the last bin.
const MAX_BINS: usize = 86_400;

/// Microseconds up to a day, to three figures. One layout for all, so that any two merge.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 86_400_000_000, 3).expect("the bounds are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_loses_nothing() {
        let mut whole = Stats::default();
        let mut parts = [Stats::default(), Stats::default()];
        for n in 0..1000_u64 {
            let part = &mut parts[(n % 2) as usize];
            for stats in [&mut whole, part] {
                stats.time(Timed::Up, Duration::from_micros(n * n));
                if n % 2 == 0 {
                    stats.time(Timed::Dpd, Duration::from_micros(n));
                }
                stats.bin(n / 100).done += 1;
                *stats.failures.entry((FailureClass::NoResponse, During::Init)).or_default() += 1;
                stats.window.started += 1;
            }
        }
        let mut merged = Stats::default();
        parts.iter().for_each(|part| merged.merge(part));
        for what in Timed::ALL {
            assert_eq!(merged.times(what), whole.times(what), "{}", what.name());
        }
        assert_eq!((merged.bins, merged.failures, merged.window), (whole.bins, whole.failures, whole.window));
    }

    #[test]
    fn where_it_happened_has_one_name_everywhere() {
        for (n, during) in During::ALL.into_iter().enumerate() {
            assert_eq!(during as usize, n);
            assert_eq!(serde_json::to_value(during).expect("a name"), during.as_str());
        }
    }

    #[test]
    fn a_latency_beyond_the_scale_is_kept_at_its_end() {
        let mut stats = Stats::default();
        stats.time(Timed::Delete, Duration::from_secs(100_000));
        stats.time(Timed::Delete, Duration::ZERO);
        assert_eq!(stats.times(Timed::Delete).map(Histogram::len), Some(2));
        assert!(stats.times(Timed::Up).is_none());
    }

    #[test]
    fn ratios_of_nothing_are_harmless() {
        assert_eq!((Stats::default().retransmit_ratio(), Window::default().success()), (0.0, 1.0));
    }
}
