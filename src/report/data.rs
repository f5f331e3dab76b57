//! What passed through a tunnel: lines as it happens, and the summary at the end.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use super::paint::Tone;
use crate::esp::{Counters, PingReport, PlaneEvent, StreamReport};
use crate::time::Instant;
use crate::vendor::Vendor;
use crate::vendor::counters::EspCounts;

/// The line of an event. Answers are ordinary, and `quiet` leaves them out.
pub fn event(now: Instant, event: &PlaneEvent, quiet: bool) -> Option<(Tone, String)> {
    let at = now.as_secs_f64();
    let line = match event {
        PlaneEvent::Pong { .. } if quiet => return None,
        PlaneEvent::Pong { seq, rtt, from, len, hop_limit, spi_in } => {
            let text = format!("answer {seq} from {from}: {len} octets, hop limit {hop_limit}, {}", millis(*rtt));
            (Tone::Plain, format!("{text}, on {spi_in:08x}"))
        }
        PlaneEvent::PongAgain { seq } => (Tone::Warn, format!("answer {seq} again")),
        PlaneEvent::PongLate { seq } => (Tone::Warn, format!("answer {seq} came too late")),
        PlaneEvent::PingLost { seq } => (Tone::Warn, format!("no answer to {seq}")),
        PlaneEvent::PingUnsent { seq, why } => (Tone::Bad, format!("request {seq} not sent: {}", why.text())),
        PlaneEvent::OutsideSelectors { spi_in, outbound, inner } => {
            let what = if *outbound { "not sent" } else { "dropped" };
            (Tone::Bad, format!("inner packet outside the selectors of {spi_in:08x}, {what}: {inner}"))
        }
        PlaneEvent::NativeEspNeeded { spi_in } => (
            Tone::Bad,
            format!(
                "data on {spi_in:08x} needs native ESP (IP protocol 50), because no NAT was found: run with CAP_NET_RAW, \
                 or set `nat: {{traversal: force}}` so that both ends use UDP"
            ),
        ),
        PlaneEvent::Capped { outbound } => {
            let what = if *outbound { "not sent" } else { "dropped" };
            (Tone::Bad, format!("more than the licence of the box allows, {what}; said once a second"))
        }
        PlaneEvent::FirstPacket { spi_in } => (Tone::Good, format!("data received on {spi_in:08x}")),
    };
    Some((line.0, format!("{at:>6.3}  {}", line.1)))
}

/// The lines of a ping's summary.
pub fn ping(target: IpAddr, report: &PingReport) -> String {
    let mut out = format!(
        "ping {target}: {} sent, {} answered, {} lost ({:.1} %)",
        report.sent,
        report.received,
        report.lost,
        report.loss_percent()
    );
    let outstanding = report.sent.saturating_sub(report.received + report.lost);
    for (count, what) in [
        (outstanding, "outstanding"),
        (report.unsent, "not sent"),
        (report.duplicates, "answered twice"),
        (report.late, "answered too late"),
    ] {
        if count > 0 {
            let _ = write!(out, ", {count} {what}");
        }
    }
    if let (Some((shortest, longest, _)), Some(mean)) = (report.rtt, report.mean()) {
        let (shortest, longest) = (Duration::from_nanos(shortest), Duration::from_nanos(longest));
        let _ = write!(out, "; rtt min/avg/max {}/{}/{}", bare(shortest), bare(mean), millis(longest));
    }
    out.push('\n');
    if report.by_child.len() > 1 {
        let each: Vec<String> = report.by_child.iter().map(|(spi, n)| format!("{n} on {spi:08x}")).collect();
        let _ = writeln!(out, "  answers by Child SA: {}", each.join(", "));
    }
    out
}

/// The line of a stream's summary.
pub fn stream(target: IpAddr, report: &StreamReport) -> String {
    let back = &report.returned;
    let lost = report.sent.saturating_sub(back.received);
    let mut out = format!(
        "stream to {target}: {} sent, {} came back, {lost} lost, {} out of order, {} twice",
        report.sent, back.received, back.reordered, back.duplicates
    );
    if let Some(rate) = back.rate() {
        let _ = write!(out, "; {:.3} Mbit/s", rate * 8.0 / 1e6);
    }
    out.push('\n');
    out
}

/// What was counted: ours, what the box should show, and what went wrong.
pub fn counters(counts: EspCounts, counters: &Counters, vendor: Option<Vendor>) -> String {
    let mut out = format!("ESP  {}\n", counts.words(None));
    if let Some(vendor) = vendor {
        let (command, words) = (EspCounts::command(vendor), counts.mirrored().words(Some(vendor)));
        let _ = writeln!(out, "  if nothing was lost, `{command}` on the {} shows {words}", vendor.title());
    }
    for (count, why) in counters.errors() {
        let _ = writeln!(out, "  {count} x {why}");
    }
    let told = [
        (counters.dummies, "dummy packets received"),
        (counters.tfc_padded, "packets with TFC padding received"),
        (counters.odd_padding, "packets with unusual padding received"),
        (counters.echoes_answered, "echo requests answered"),
    ];
    for (count, what) in told.into_iter().filter(|(count, _)| *count > 0) {
        let _ = writeln!(out, "  {count} {what}");
    }
    out
}

fn bare(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1e3)
}

fn millis(time: Duration) -> String {
    format!("{} ms", bare(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_in_words() {
        let report = PingReport {
            sent: 10,
            received: 8,
            lost: 1,
            duplicates: 2,
            rtt: Some((500_000, 2_250_000, 8_000_000)),
            by_child: vec![(0xc0ff_ee01, 5), (0x0bad_cafe, 3)],
            ..PingReport::default()
        };
        let expected = "ping 10.2.2.2: 10 sent, 8 answered, 1 lost (11.1 %), 1 outstanding, 2 answered twice; rtt \
                        min/avg/max 0.500/1.000/2.250 ms\n  answers by Child SA: 5 on c0ffee01, 3 on 0badcafe\n";
        assert_eq!(ping("10.2.2.2".parse().expect("an address"), &report), expected);

        let mut counters = Counters { dummies: 1, ..Counters::default() };
        counters.recv_errors[crate::esp::RecvError::BadIcv as usize] = 3;
        let counts = EspCounts { out_packets: 8, in_packets: 7, recv_errors: 3, ..EspCounts::default() };
        let text = super::counters(counts, &counters, Some(Vendor::CiscoIosXe));
        assert_eq!(
            text,
            "ESP  #pkts encaps: 8, #pkts decaps: 7, #send errors 0, #recv errors 3\n  if nothing was lost, `show \
             crypto ipsec sa` on the IOS-XE shows #pkts encaps: 7, #pkts decaps: 8, #send errors 0, #recv errors 0\n  \
             3 x ESP integrity check failed\n  1 dummy packets received\n"
        );
    }

    #[test]
    fn answers_can_be_left_out_and_losses_cannot() {
        let lost = PlaneEvent::PingLost { seq: 4 };
        let now = Instant::from_millis(1500);
        assert_eq!(event(now, &lost, true), Some((Tone::Warn, " 1.500  no answer to 4".to_owned())));
        let from = "10.2.2.2".parse().expect("an address");
        let rtt = Duration::from_micros(1250);
        let pong = PlaneEvent::Pong { seq: 4, rtt, from, len: 64, hop_limit: 63, spi_in: 0x1234_5678 };
        assert_eq!(event(now, &pong, true), None);
        let text = " 1.500  answer 4 from 10.2.2.2: 64 octets, hop limit 63, 1.250 ms, on 12345678".to_owned();
        assert_eq!(event(now, &pong, false), Some((Tone::Plain, text)));
    }
}
