//! `ikelab load` on the terminal: thresholds first, then tunnels, rates, latencies, failures, and who was the limit.

use std::fmt::Write as _;

use super::paint::{Paint, Tone, wrap};
use crate::load::leak::{Held, octets};
use crate::load::summary::{LoadResult, StageResult};
use crate::load::threshold::duration;
use crate::load::traffic::bits;

/// The whole result.
pub fn render(result: &LoadResult, paint: Paint) -> String {
    let mut out = String::from("thresholds\n");
    for judged in &result.thresholds {
        let (mark, tone) = if judged.met { ("met", Tone::Good) } else { ("MISSED", Tone::Bad) };
        let _ =
            writeln!(out, "  {} {:<28} {}", paint.tone(tone, &format!("{mark:>6}")), judged.threshold, judged.measured);
    }
    if result.interrupted {
        out.push_str("ended by a signal: what follows is of the time before it\n");
    }
    for stage in result.stages.iter().filter(|s| s.name != "forget") {
        out.push_str(&stage_text(stage, paint));
    }
    if let Some(recovery) = &result.recovery {
        let at = |n: usize| {
            let seconds = recovery.seconds.get(n).copied().flatten();
            seconds.map_or_else(|| "never".to_owned(), |s| duration(s * 1e6))
        };
        let factor = recovery.factor.map_or_else(String::new, |f| format!("; {f:.2} times as long as by plan"));
        let _ = writeln!(
            out,
            "\nrecovery\n  50 % up after {}, 90 % {}, 99 % {}, 100 % {}{factor}",
            at(0),
            at(1),
            at(2),
            at(3)
        );
    }
    if let Some(flood) = &result.flood {
        let _ = writeln!(out, "\nflood\n  {flood}");
    }
    if let Some(failover) = &result.failover {
        let _ = writeln!(out, "\nfailover\n  {failover}");
    }
    if let Some(leaks) = &result.leaks {
        out.push_str("\nleaks\n");
        let mut line = |when: &str, held: &Held| {
            let _ = writeln!(
                out,
                "  {when:<34} {:>10}   {:>6} IKE SAs   {:>4} file descriptors",
                octets(held.resident),
                held.sas,
                held.descriptors
            );
        };
        line("before the load", &leaks.begin);
        for (when, held) in [("most in its second quarter", &leaks.early), ("most in its last quarter", &leaks.late)] {
            if let Some(held) = held {
                line(when, held);
            }
        }
        line("when all tunnels were gone", &leaks.end);
        let tone = if leaks.leak { Tone::Bad } else { Tone::Good };
        let _ = writeln!(out, "  {}", paint.tone(tone, &leaks.sentence));
    }
    if let Some(traffic) = &result.traffic {
        let _ = writeln!(out, "\nthroughput\n  {}", traffic.finding);
    }
    if let Some(capacity) = &result.capacity {
        let _ = writeln!(
            out,
            "\ncapacity\n  {:.1} {} (median of {}; {:.1} to {:.1})\n  {}",
            capacity.median,
            capacity.of,
            capacity.trials.len(),
            capacity.range.0,
            capacity.range.1,
            capacity.finding
        );
        for step in &capacity.curve {
            let _ = writeln!(
                out,
                "  offered {:>9.1}/s   goodput {:>9.1}/s   success {:>7.3} %   p99 {:>9}",
                step.offered,
                step.goodput,
                step.success * 100.0,
                duration(step.p99 as f64)
            );
        }
    }
    out.push_str("\npeer or us?\n");
    for stage in result.stages.iter().filter(|s| s.to - s.from > 0.2) {
        let list = |shares: &[f64]| shares.iter().map(|s| format!("{:.0}", s * 100.0)).collect::<Vec<_>>().join(" ");
        let lag = stage.latency.get("start_lag").map_or_else(|| "-".to_owned(), |l| duration(l.p99 as f64));
        let cores: Vec<f64> = stage.used.cores.iter().map(|c| c.busy).collect();
        let softirq: Vec<f64> = stage.used.cores.iter().map(|c| c.softirq).collect();
        let _ = writeln!(
            out,
            "  {:<8} CPU per thread {} %, per core {} % (softirq {} %), p99 start lag {lag}, lost in full sockets {}, queue {} octets, memory {}, {} file descriptors",
            stage.name,
            list(&stage.used.threads),
            list(&cores),
            list(&softirq),
            stage.used.receive_overflows,
            stage.used.queue_octets,
            octets(stage.used.resident),
            stage.used.descriptors
        );
    }
    let tone = match result.limit.who.as_str() {
        "nobody" => Tone::Good,
        "peer" => Tone::Strong,
        _ => Tone::Warn,
    };
    for line in [&result.limit.sentence, &result.tester.sources_mean] {
        for line in wrap(line, paint.width.map(|w| w.saturating_sub(2).max(20))) {
            let tone = if *line == result.tester.sources_mean { Tone::Plain } else { tone };
            let _ = writeln!(out, "  {}", paint.tone(tone, &line));
        }
    }
    out.push_str("\nsecurity context\n");
    result.context.words().lines().for_each(|line| {
        let _ = writeln!(out, "  {line}");
    });
    out
}

fn stage_text(stage: &StageResult, paint: Paint) -> String {
    let mut out = String::new();
    let label = if stage.method == "none" { String::new() } else { format!(" ({})", stage.method) };
    let _ = writeln!(out, "\n{}{label}", paint.tone(Tone::Strong, &stage.name));
    if let Some(t) = &stage.traffic {
        let percent = |share: Option<f64>| share.map_or_else(|| "?".to_owned(), |s| format!("{:.2} %", s * 100.0));
        let _ = writeln!(
            out,
            "  offered {}   came back {}   in packets of {} octets through {} active tunnels",
            bits(t.offered),
            bits(t.throughput),
            t.size,
            t.active
        );
        let _ = writeln!(
            out,
            "  sent {}   came back {}   lost {} (there or in the peer {}, on the way back {})   refused {}",
            t.sent,
            t.returned,
            percent(Some(t.loss)),
            percent(t.loss_there),
            percent(t.loss_back),
            t.bad
        );
        if t.late + t.unsent > 0 {
            let _ = writeln!(out, "  not sent: {} too late, {} without a tunnel", t.late, t.unsent);
        }
    } else if stage.name == "failover" {
        let _ = writeln!(
            out,
            "  went down unasked {}   came up again {}   attempts {} (failed {})   up at the end {}",
            stage.lost.values().sum::<u64>(),
            stage.done,
            stage.started,
            stage.failed,
            stage.up
        );
    } else if !["hold", "settle"].contains(&stage.name.as_str()) {
        let _ = writeln!(
            out,
            "  begun {}   done {}   failed {}   dropped by the tester {}   up at the end {}",
            stage.started,
            stage.done,
            stage.failed,
            stage.dropped.total(),
            stage.up
        );
        if stage.planned_rate > 0.0 {
            let _ = writeln!(
                out,
                "  planned {:.1}/s   attempted {:.1}/s   achieved {:.1}/s over {:.1} s",
                stage.planned_rate, stage.attempted_rate, stage.achieved_rate, stage.planned_seconds
            );
        } else if stage.achieved_rate > 0.0 {
            let _ = writeln!(out, "  {:.1}/s over {:.1} s", stage.achieved_rate, stage.to - stage.from);
        }
    } else if stage.name != "settle" {
        let _ = writeln!(out, "  up at the end {}   lost {}", stage.up, stage.lost.values().sum::<u64>());
    }
    if stage.configured > 0
        && ["setup", "hold", "failover", "storm", "traffic", "serial", "closed"].contains(&stage.name.as_str())
    {
        let active =
            stage.traffic.as_ref().map_or_else(|| "not asked (no packets sent)".to_owned(), |t| t.active.to_string());
        let _ = writeln!(out, "  tunnels configured {}   established {}   active {active}", stage.configured, stage.up);
    }
    if !stage.latency.is_empty() {
        let _ = writeln!(
            out,
            "  {:<14} {:>8} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "latency", "count", "p50", "p90", "p95", "p99", "p99.9", "max"
        );
        for (name, l) in &stage.latency {
            let _ = write!(out, "  {name:<14} {:>8}", l.count);
            for value in [l.p50, l.p90, l.p95, l.p99, l.p99_9, l.max] {
                let _ = write!(out, " {:>10}", duration(value as f64));
            }
            out.push('\n');
        }
    }
    if stage.requests == 0 {
        return out + &failures(stage);
    }
    let _ = writeln!(
        out,
        "  retransmits {} of {} requests ({:.2} %)",
        stage.retransmits,
        stage.requests,
        stage.retransmit_ratio * 100.0
    );
    out + &failures(stage)
}

fn failures(stage: &StageResult) -> String {
    let mut out = String::new();
    for (what, list) in [("failed", &stage.failures), ("failed as ordered", &stage.faulty_failures)] {
        for f in list {
            let _ = writeln!(out, "  {what}: {} in {}: {}", f.class, f.stage, f.count);
        }
    }
    for (class, count) in &stage.lost {
        let _ = writeln!(out, "  lost: {class}: {count}");
    }
    if stage.faulty.started > 0 {
        let f = stage.faulty;
        let _ = writeln!(out, "  with a chosen fault: begun {}, up {}, failed {}", f.started, f.done, f.failed);
        if stage.started > 0 && stage.name == "setup" {
            let _ = writeln!(
                out,
                "  DoS resiliency: {:.3} % of the honest tunnels came up beside {:.1} % with a fault",
                stage.success * 100.0,
                f.started as f64 / (f.started + stage.started) as f64 * 100.0
            );
        }
    }
    out
}
