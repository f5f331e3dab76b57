//! What the tester itself used: CPU time of its threads, time it waited for a core, what its cores did.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::link::LinkCounters;

/// Shares are of this much time at least.
const BRIEF: Duration = Duration::from_millis(50);

/// What one thread used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Used {
    /// CPU time.
    pub cpu: Duration,
    /// Time in which it was ready to run and had no core (from the scheduler's accounting).
    pub waited: Duration,
    /// Time that passed.
    pub wall: Duration,
}

impl Used {
    /// Of the calling thread, since it began.
    pub fn of_thread() -> Used {
        let clock = |id| clock_gettime(id).map_or(Duration::ZERO, Duration::from);
        let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let waited = schedstat.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or_default();
        Used {
            cpu: clock(ClockId::CLOCK_THREAD_CPUTIME_ID),
            waited: Duration::from_nanos(waited),
            wall: clock(ClockId::CLOCK_MONOTONIC),
        }
    }

    /// What was used between an earlier look and this one.
    pub fn since(&self, earlier: &Used) -> Used {
        Used {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            waited: self.waited.saturating_sub(earlier.waited),
            wall: self.wall.saturating_sub(earlier.wall),
        }
    }

    /// CPU time as a share of the time that passed: 1.0 is a whole core.
    pub fn share(&self) -> f64 {
        self.cpu.as_secs_f64() / self.over()
    }

    /// Time for which it was ready and waited for a core, as a share of the time that passed.
    pub fn waited_share(&self) -> f64 {
        self.waited.as_secs_f64() / self.over()
    }

    /// The time that passed, in seconds. A thread with next to nothing to do is done in an instant, and all of that it was busy.
    fn over(&self) -> f64 {
        self.wall.max(BRIEF).as_secs_f64()
    }
}

/// What one core did, in ticks of the system's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Core {
    /// Its number.
    pub number: u32,
    /// User, nice, system and interrupts.
    pub busy: u64,
    /// Of these, soft interrupts: the network's receive path.
    pub softirq: u64,
    /// Idle and waiting for disks.
    pub idle: u64,
    /// Taken by the hypervisor.
    pub steal: u64,
}

impl Core {
    /// All cores of this machine, from /proc/stat; none if it cannot be read.
    pub fn all() -> Vec<Core> {
        std::fs::read_to_string("/proc/stat").map_or_else(|_| Vec::new(), |text| Core::parse(&text))
    }

    fn parse(text: &str) -> Vec<Core> {
        let line = |line: &str| {
            let mut words = line.strip_prefix("cpu")?.split_whitespace();
            let number = line.strip_prefix("cpu").filter(|l| !l.starts_with(' ')).and(words.next())?.parse().ok()?;
            let v: Vec<u64> = words.filter_map(|w| w.parse().ok()).collect();
            let get = |n: usize| v.get(n).copied().unwrap_or_default();
            // user nice system idle iowait irq softirq steal
            let busy = get(0) + get(1) + get(2) + get(5) + get(6);
            Some(Core { number, busy, softirq: get(6), idle: get(3) + get(4), steal: get(7) })
        };
        text.lines().filter_map(line).collect()
    }

    /// Between an earlier look and this one.
    pub fn since(&self, earlier: &Core) -> Core {
        Core {
            number: self.number,
            busy: self.busy.saturating_sub(earlier.busy),
            softirq: self.softirq.saturating_sub(earlier.softirq),
            idle: self.idle.saturating_sub(earlier.idle),
            steal: self.steal.saturating_sub(earlier.steal),
        }
    }

    /// A figure as a share of all its time.
    pub fn share(&self, ticks: u64) -> f64 {
        let all = self.busy + self.idle + self.steal;
        if all == 0 { 0.0 } else { ticks as f64 / all as f64 }
    }
}

/// CPU time of all threads of this process, by the scheduler's accounting.
pub fn process_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// Octets of this process's resident memory; 0 where the kernel does not tell.
pub fn resident() -> u64 {
    resident_of("self")
}

/// The same of a process, by its number or `self`.
pub fn resident_of(process: &str) -> u64 {
    // Not statm, which counts in pages: they are not of one size everywhere.
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    line.and_then(|kibioctets| kibioctets.parse::<u64>().ok()).unwrap_or_default() * 1024
}

/// File descriptors that this process has open.
pub fn descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

/// What passed between two readings of a link's counters.
pub fn between(earlier: &LinkCounters, now: &LinkCounters) -> LinkCounters {
    combine(now, earlier, u64::saturating_sub)
}

/// Two links' counters together.
pub fn together(a: &LinkCounters, b: &LinkCounters) -> LinkCounters {
    combine(a, b, u64::saturating_add)
}

fn combine(a: &LinkCounters, b: &LinkCounters, with: impl Fn(u64, u64) -> u64) -> LinkCounters {
    LinkCounters {
        received: with(a.received, b.received),
        received_octets: with(a.received_octets, b.received_octets),
        ike_in: with(a.ike_in, b.ike_in),
        esp_in: with(a.esp_in, b.esp_in),
        keepalives_in: with(a.keepalives_in, b.keepalives_in),
        empty_in: with(a.empty_in, b.empty_in),
        garbage_in: with(a.garbage_in, b.garbage_in),
        sent: with(a.sent, b.sent),
        sent_octets: with(a.sent_octets, b.sent_octets),
        ike_out: with(a.ike_out, b.ike_out),
        esp_out: with(a.esp_out, b.esp_out),
        keepalives_out: with(a.keepalives_out, b.keepalives_out),
        verbatim_out: with(a.verbatim_out, b.verbatim_out),
        not_sent: with(a.not_sent, b.not_sent),
        receive_overflows: with(a.receive_overflows, b.receive_overflows),
        icmp_errors: with(a.icmp_errors, b.icmp_errors),
        receive_calls: with(a.receive_calls, b.receive_calls),
        send_calls: with(a.send_calls, b.send_calls),
        wait_calls: with(a.wait_calls, b.wait_calls),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_stat_is_read_per_core() {
        let text = "cpu  10 0 10 80 0 0 0 0\ncpu0 5 1 4 40 2 1 3 7 0 0\ncpu1 5 0 6 40 0 0 0 0\nintr 5\n";
        let cores = Core::parse(text);
        assert_eq!(cores.len(), 2);
        assert_eq!(cores[0], Core { number: 0, busy: 14, softirq: 3, idle: 42, steal: 7 });
        assert!((cores[0].share(cores[0].busy) - 14.0 / 63.0).abs() < 1e-9);
        assert_eq!(Core::default().share(0), 0.0);
    }

    #[test]
    fn a_thread_that_is_done_in_an_instant_was_not_busy() {
        let micros = Duration::from_micros;
        let idle = Used { cpu: micros(60), wall: micros(60), waited: micros(40) };
        assert!(idle.share() < 0.01 && idle.waited_share() < 0.01, "{idle:?}");
        let busy = Used { cpu: micros(90_000), wall: micros(100_000), waited: micros(10_000) };
        assert!((busy.share() - 0.9).abs() < 1e-9 && (busy.waited_share() - 0.1).abs() < 1e-9, "{busy:?}");
    }

    #[test]
    fn this_thread_uses_cpu_time() {
        let before = Used::of_thread();
        let mut sum = 0_u64;
        while Used::of_thread().since(&before).cpu < Duration::from_millis(2) {
            sum = std::hint::black_box(sum + 1);
        }
        let used = Used::of_thread().since(&before);
        // The two clocks are read one after the other.
        assert!(
            used.wall + Duration::from_millis(1) >= used.cpu && used.share() > 0.0 && used.share() <= 1.5,
            "{used:?}"
        );
        assert!(descriptors() > 2);
        let held = vec![1_u8; 8 << 20];
        assert!((8 << 20..1 << 40).contains(&resident()), "{} with {} in use", resident(), held.len());
        assert_eq!(resident_of("0"), 0, "no such process");
    }
}
