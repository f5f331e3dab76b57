//! A finished load run as one HTML page with plots: no other file, no network, no script.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::load_plot::{Line, Mark, Span, bars, lines, series, spans};
use crate::load::leak::octets;
use crate::load::summary::{Capacity, LoadResult, StageResult, Step};
use crate::load::threshold::duration;
use crate::load::traffic::bits;

const STYLE: &str = include_str!("load_html.css");
/// With more stages than this they are folded away.
const OPEN: usize = 6;

/// The page.
pub fn page(result: &LoadResult) -> String {
    let stages: Vec<&StageResult> = result.stages.iter().filter(|s| s.name != "forget").collect();
    let open = stages.len() <= OPEN;
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "ikelab load: " (result.workload) " " (result.connection.remote) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(result))
                (thresholds(result))
                @if let Some(capacity) = &result.capacity { (capacity_part(capacity)) }
                (traffic_part(result))
                (recovery(result))
                (leaks(result))
                @if let Some(flood) = &result.flood { h2 { "Flood" } p { (flood) } }
                @if let Some(failover) = &result.failover { h2 { "Failover" } p { (failover) } }
                main { @for stage in &stages { (stage_part(stage, open)) } }
                (context(result))
                footer {
                    (result.tool) " · result version " (result.version) " · latencies count from the planned start; what the \
                    terms mean is said in docs/methodology.md"
                }
            }
        }
    };
    markup.into_string()
}

fn head(result: &LoadResult) -> Markup {
    let class = match result.limit.who.as_str() {
        "nobody" => "good",
        "peer" => "dim",
        _ => "doubt",
    };
    html! {
        header {
            h1 { "ikelab load: " (result.workload) }
            p.limit class=(class) { (result.limit.sentence) }
            @if result.interrupted { p.doubt { "Ended by a signal." } }
            dl {
                dt { "Peer" } dd { (result.connection.remote) }
                dt { "Began" } dd { (result.started) ", " (format!("{:.1}", result.seconds)) " s" }
                dt { "Plan seed" } dd { code { (result.plan_seed) } }
            }
        }
    }
}

fn thresholds(result: &LoadResult) -> Markup {
    html! {
        @if !result.thresholds.is_empty() {
            h2 { "Thresholds" }
            table {
                @for t in &result.thresholds {
                    tr {
                        td { @if t.met { span.chip.good { "met" } } @else { span.chip.bad { "missed" } } }
                        td { code { (t.threshold) } }
                        td { (t.measured) }
                    }
                }
            }
        }
    }
}

fn capacity_part(capacity: &Capacity) -> Markup {
    let mark = |step: &Step| Mark {
        at: (step.offered, step.goodput),
        class: match step {
            Step { tester_limited: true, .. } => "ours",
            Step { held: true, .. } => "held",
            _ => "missed",
        },
        title: format!(
            "offered {:.1}/s, goodput {:.1}/s, success {:.2} %, p99 {}",
            step.offered,
            step.goodput,
            step.success * 100.0,
            duration(step.p99 as f64)
        ),
    };
    let marks: Vec<Mark> = capacity.steps.iter().chain(&capacity.curve).map(mark).collect();
    let far = capacity.steps.iter().chain(&capacity.curve).map(|s| s.offered).fold(0.0, f64::max);
    let curve = capacity.curve.iter().map(|s| (s.offered, s.goodput)).collect();
    html! {
        h2 { "Capacity" }
        p {
            strong { (format!("{:.1}", capacity.median)) " " (capacity.of) }
            @if capacity.trials.len() > 1 {
                span.dim { " median of " (capacity.trials.len()) " (" (format!("{:.1} to {:.1}", capacity.range.0, capacity.range.1)) ")" }
            }
            ": " (capacity.finding)
        }
        @if !marks.is_empty() {
            (lines(
                "Goodput against offered load, per second. Green: held; red: a threshold was missed; yellow: this tester was the limit.",
                ("offered per second", "goodput per second"),
                &[
                    Line { name: "all that was offered", class: "plan", points: vec![(0.0, 0.0), (far, far)] },
                    Line { name: "goodput", class: "done", points: curve },
                ],
                &marks,
            ))
        }
    }
}

fn traffic_part(result: &LoadResult) -> Markup {
    let steps: Vec<_> = result.stages.iter().filter_map(|s| s.traffic.as_ref()).collect();
    let Some(finding) = result.traffic.as_ref().filter(|_| !steps.is_empty()) else { return html! {} };
    let points = steps.iter().map(|t| (t.offered, t.throughput)).collect();
    let far = steps.iter().map(|t| t.offered).fold(0.0, f64::max);
    let percent = |share: Option<f64>| share.map_or_else(|| "?".to_owned(), |s| format!("{:.2} %", s * 100.0));
    html! {
        h2 { "Throughput" }
        p { (finding.finding) }
        (lines(
            "Bits of inner packets per second and direction",
            ("offered", "came back"),
            &[
                Line { name: "all that was offered", class: "plan", points: vec![(0.0, 0.0), (far, far)] },
                Line { name: "came back", class: "done", points },
            ],
            &[],
        ))
        div.wide { table {
            tr { th { "offered" } th { "came back" } th { "sent" } th { "returned" } th { "lost" } th { "there or in the peer" } th { "on the way back" } th { "active tunnels" } }
            @for t in &steps {
                tr {
                    td { (bits(t.offered)) } td { (bits(t.throughput)) } td { (t.sent) } td { (t.returned) }
                    td { (percent(Some(t.loss))) } td { (percent(t.loss_there)) } td { (percent(t.loss_back)) } td { (t.active) }
                }
            }
        } }
    }
}

fn recovery(result: &LoadResult) -> Markup {
    let Some(recovery) = &result.recovery else { return html! {} };
    let words = |seconds: &Option<f64>| seconds.map_or_else(|| "never".to_owned(), |s| duration(s * 1e6));
    html! {
        h2 { "Recovery from the storm" }
        table {
            tr { th { "up again" } @for share in ["50 %", "90 %", "99 %", "100 %"] { th { (share) } } th { "times as long as by plan" } }
            tr {
                td { "after" } @for seconds in &recovery.seconds { td { (words(seconds)) } }
                td { (recovery.factor.map_or_else(|| "none".to_owned(), |f| format!("{f:.2}"))) }
            }
        }
    }
}

fn leaks(result: &LoadResult) -> Markup {
    let Some(leaks) = &result.leaks else { return html! {} };
    let rows = [
        ("before the load", Some(leaks.begin)),
        ("most in its second quarter", leaks.early),
        ("most in its last quarter", leaks.late),
        ("when all tunnels were gone", Some(leaks.end)),
    ];
    html! {
        h2 { "Leaks" }
        p class=(if leaks.leak { "doubt" } else { "good" }) { (leaks.sentence) }
        table {
            tr { th {} th { "memory" } th { "IKE SAs" } th { "file descriptors" } }
            @for (when, held) in rows.iter().filter_map(|(when, held)| Some((when, held.as_ref()?))) {
                tr { td { (when) } td { (octets(held.resident)) } td { (held.sas) } td { (held.descriptors) } }
            }
        }
    }
}

fn stage_part(stage: &StageResult, open: bool) -> Markup {
    html! {
        details open[open] {
            summary {
                (stage.name) " "
                span.dim {
                    @if stage.method != "none" { (stage.method) ", " }
                    @if stage.traffic.is_none() && stage.name != "hold" { (stage.done) " of " (stage.started) ", " }
                    (format!("{:.1} s", stage.to - stage.from))
                }
            }
            (figures(stage))
            (rate(stage))
            (latencies(stage))
            (failures(stage))
            (resources(stage))
        }
    }
}

fn figures(stage: &StageResult) -> Markup {
    html! {
        dl {
            @if stage.planned_rate > 0.0 {
                dt { "Rate" }
                dd { "planned " (format!("{:.1}", stage.planned_rate)) "/s, attempted " (format!("{:.1}", stage.attempted_rate)) "/s, achieved " (format!("{:.1}", stage.achieved_rate)) "/s" }
            }
            @if stage.started > 0 {
                dt { "Operations" }
                dd {
                    "begun " (stage.started) ", done " (stage.done) ", failed " (stage.failed) ", dropped by the tester " (stage.dropped.total())
                }
            }
            dt { "Tunnels" } dd { (stage.up) " up at the end" @if !stage.lost.is_empty() { ", " (stage.lost.values().sum::<u64>()) " lost" } }
            dt { "Sent again" }
            dd { (stage.retransmits) " of " (stage.requests) " requests (" (format!("{:.2}", stage.retransmit_ratio * 100.0)) " %)" }
            @if stage.faulty.started > 0 {
                dt { "With a chosen fault" }
                dd { "begun " (stage.faulty.started) ", up " (stage.faulty.done) ", failed " (stage.faulty.failed) }
            }
        }
    }
}

/// Planned against achieved, per second. One second makes no curve.
fn rate(stage: &StageResult) -> Markup {
    if stage.bins.len() < 2 {
        return html! {};
    }
    let of = |field: fn(&crate::load::summary::Bin) -> u64| series(stage.bins.iter().map(field));
    let mut all = vec![
        Line { name: "planned", class: "plan", points: of(|b| b.due) },
        Line { name: "achieved", class: "done", points: of(|b| b.done) },
    ];
    if stage.failed > 0 {
        all.push(Line { name: "failed", class: "failed", points: of(|b| b.failed) });
    }
    if stage.dropped.total() > 0 {
        all.push(Line { name: "dropped by the tester", class: "late", points: of(|b| b.dropped) });
    }
    lines("Operations per second", ("seconds", "per second"), &all, &[])
}

fn latencies(stage: &StageResult) -> Markup {
    if stage.latency.is_empty() {
        return html! {};
    }
    let rows: Vec<Span<'_>> = stage
        .latency
        .iter()
        .map(|(name, l)| Span { name, at: [l.p50, l.p90, l.p99, l.p99_9, l.max].map(|v| v as f64) })
        .collect();
    html! {
        (spans("Latencies: from the median to 90 % (dark) and 99 % (light); the line ends at the largest", &rows, duration))
        div.wide { table {
            tr { th {} @for name in ["count", "p50", "p90", "p95", "p99", "p99.9", "max"] { th { (name) } } }
            @for (name, l) in &stage.latency {
                tr {
                    td { (name) } td { (l.count) }
                    @for value in [l.p50, l.p90, l.p95, l.p99, l.p99_9, l.max] { td { (duration(value as f64)) } }
                }
            }
        } }
    }
}

fn failures(stage: &StageResult) -> Markup {
    let rows = |list: &[crate::load::summary::Failures]| -> Vec<(String, u64)> {
        list.iter().map(|f| (format!("{} in {}", f.class, f.stage), f.count)).collect()
    };
    let mut own = rows(&stage.failures);
    own.extend(stage.lost.iter().map(|(class, count)| (format!("lost: {class}"), *count)));
    let ordered = rows(&stage.faulty_failures);
    html! {
        @if !own.is_empty() { (bars("Failures by class and stage", &own)) }
        @if !ordered.is_empty() { (bars("Failures that were ordered (--fault)", &ordered)) }
    }
}

fn resources(stage: &StageResult) -> Markup {
    let list = |shares: &mut dyn Iterator<Item = f64>| {
        shares.map(|s| format!("{:.0}", s * 100.0)).collect::<Vec<_>>().join(" ")
    };
    let used = &stage.used;
    html! {
        p.dim {
            "Tester: CPU per thread " (list(&mut used.threads.iter().copied())) " %, per core "
            (list(&mut used.cores.iter().map(|c| c.busy))) " % (softirq " (list(&mut used.cores.iter().map(|c| c.softirq))) " %), "
            (format!("{:.1}", used.cpu_per_operation)) " µs of CPU per operation, "
            (used.datagrams.0) " datagrams out and " (used.datagrams.1) " in, lost in full sockets " (used.receive_overflows)
            ", queue " (used.queue_octets) " octets, resident " (format!("{:.1}", used.resident as f64 / 1e6)) " MB"
        }
    }
}

/// The full security context: without it a rate says nothing.
fn context(result: &LoadResult) -> Markup {
    let c = &result.context;
    let none = |list: &[String]| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
    let seconds = |s: Option<f64>| s.map_or_else(|| "none".to_owned(), |s| duration(s * 1e6));
    let t = &result.tester;
    html! {
        h2 { "Security context and tester" }
        dl {
            dt { "IKE" } dd { (none(&c.ike)) }
            dt { "ESP" } dd { (none(&c.esp)) }
            dt { "PFS" } dd { (none(&c.pfs)) }
            dt { "Authentication" } dd { (c.auth) }
            dt { "Lifetimes" } dd { "IKE SA " (seconds(c.ike_lifetime)) ", Child SA " (seconds(c.child_lifetime)) }
            dt { "Liveness checks" } dd { (seconds(c.dpd)) }
            dt { "NAT traversal" } dd { (c.nat_traversal) }
            dt { "Fragmentation" } dd { @if c.fragmentation { "offered" } @else { "off" } }
            dt { "INITIAL_CONTACT" } dd { @if c.initial_contact { "sent" } @else { "not sent" } }
            dt { "Child SAs per IKE SA" } dd { (c.children_per_ike_sa) }
            dt { "Tester" }
            dd { "shard " (t.shard) " of " (t.shards) ", " (t.threads) " threads, " (t.sources_mean) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::FailureClass;
    use crate::load::measure::During;
    use crate::load::summary::{Bin, Failures, Latency, testing};

    fn full() -> LoadResult {
        let mut result = testing::result(0, 1);
        result.connection.remote = "192.0.2.1:500 <script>".into();
        let stage = &mut result.stages[0];
        (stage.started, stage.done, stage.failed, stage.planned_rate) = (300, 290, 10, 100.0);
        stage.bins = vec![Bin { due: 100, started: 100, done: 97, failed: 3, dropped: 0 }; 3];
        stage.failures = vec![Failures { class: FailureClass::NoResponse, stage: During::Init, count: 10 }];
        let l =
            Latency { count: 290, mean: 900.0, p50: 800, p90: 1200, p95: 1300, p99: 4000, p99_9: 9000, max: 20_000 };
        stage.latency.insert("T_up".into(), l);
        let step = |offered, goodput, held| Step {
            trial: 1,
            offered,
            goodput,
            success: 1.0,
            p99: 9,
            held,
            tester_limited: false,
        };
        result.capacity = Some(Capacity {
            of: "set-ups per second".into(),
            median: 100.0,
            range: (95.0, 105.0),
            trials: vec![95.0, 100.0, 105.0],
            steps: vec![step(100.0, 100.0, true), step(200.0, 120.0, false)],
            curve: vec![step(100.0, 100.0, true), step(300.0, 90.0, false)],
            finding: "100.0 per second was held".into(),
            ..Capacity::default()
        });
        result
    }

    #[test]
    fn the_page_holds_every_plot_and_needs_nothing_else() {
        let page = page(&full());
        assert_eq!(page.matches("<svg").count(), 4, "capacity, rate, latencies, failures");
        for text in
            ["Goodput against offered load", "Operations per second", "Failures by class", "100.0 per second was held"]
        {
            assert!(page.contains(text), "{text}");
        }
        for outside in ["http:", "https:", "<script", "src=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("192.0.2.1:500 &lt;script&gt;") && page.contains("no_response in init"));
        assert_eq!((page.matches("class=\"held\"").count(), page.matches("class=\"missed\"").count()), (2, 2));
        for name in ["svg", "figure", "details", "table"] {
            let (begin, end) = (page.matches(&format!("<{name}")).count(), page.matches(&format!("</{name}>")).count());
            assert_eq!(begin, end, "{name}");
        }
    }

    #[test]
    fn a_run_of_nothing_has_a_page_too() {
        let page = page(&testing::result(0, 1));
        assert!(page.contains("</html>") && !page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}
