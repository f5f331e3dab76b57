//! What was negotiated, and the lines of a responder.

use std::fmt::Write;

use super::ladder::nat_words;
use super::paint::{Paint, Tone};
use crate::engine::{
    ChildSa, Counters, DpdAction, DpdMode, DpdSpec, EapDone, Event, IgnoredWhy, IkeUp, InnerConfig, Mode, NatFinding,
    RetransmitSpec, Side,
};
use crate::wire::TrafficSelector;

/// How a peer proved its identity, and what was accepted although it should not be.
#[derive(Clone, Debug, Default)]
pub struct Proof {
    /// "pre-shared key".
    pub by: String,
    /// One sentence each.
    pub notes: Vec<String>,
}

/// The block that `connect` prints once the IKE SA is up.
pub fn connected(up: &IkeUp, proof: &Proof, nat: Option<NatFinding>, paint: Paint) -> String {
    let mut out = String::new();
    let title = format!("+ connected: {}  {}", up.connection, up.path);
    let _ = writeln!(out, "\n{}", paint.tone(Tone::Good, &title));
    let mut line = |label: &str, text: &str| {
        let _ = writeln!(out, "  {} {text}", paint.tone(Tone::Strong, &format!("{label:<10}")));
    };
    line("IKE SA", &format!("{}  SPIs {} {}", up.suite, up.spis.0, up.spis.1));
    line("Peer", &format!("{}, authenticated by {}", up.peer_id, proof.by));
    for note in &proof.notes {
        line("Accepted", note);
    }
    if let Some(nat) = nat {
        line("NAT", nat_words(nat));
    }
    if up.mobike {
        line("MOBIKE", "addresses may change");
    }
    for weak in up.suite.weak() {
        line("Weak", &weak);
    }
    out
}

/// The line of EAP that succeeded; `ours` says who was its client.
pub fn eap(done: &EapDone, ours: bool) -> String {
    let mut text = format!("{} {} ", done.method, if ours { "as" } else { "by" });
    let _ = write!(text, "{:?}", done.identity);
    if let Some(tls) = &done.tls {
        let _ = write!(text, ", {}", tls.replace("TLSv1_", "TLS 1."));
    }
    if !done.keyed {
        text.push_str(", which makes no key");
    }
    if done.alone {
        text.push_str(", the only proof of the responder (RFC 5998)");
    }
    for notice in &done.notices {
        let _ = write!(text, "; notice: {notice}");
    }
    text
}

/// The line of inner addresses that were handed out.
pub fn inner_config(config: &InnerConfig) -> String {
    fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
        items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
    }
    let mut text = if config.addresses.is_empty() { "no address".to_owned() } else { list(&config.addresses) };
    if !config.dns.is_empty() {
        let _ = write!(text, "  DNS {}", list(&config.dns));
    }
    if !config.subnets.is_empty() {
        let _ =
            write!(text, "  networks {}", list(config.subnets.iter().map(|(net, prefix)| format!("{net}/{prefix}"))));
    }
    if let Some(version) = &config.version {
        let _ = write!(text, "  version {version:?}");
    }
    if !config.others.is_empty() {
        let _ = write!(
            text,
            "  not understood: {}",
            list(config.others.iter().map(|(kind, len)| format!("{kind} ({len} B)")))
        );
    }
    if !config.asked {
        text.push_str("  (nobody asked; not used)");
    }
    text
}

/// A line of the block that begins with [`connected`].
pub fn labelled(label: &str, text: &str, paint: Paint) -> String {
    format!("  {} {text}\n", paint.tone(Tone::Strong, &format!("{label:<10}")))
}

/// The lines of a new Child SA.
pub fn child_up(child: &ChildSa, paint: Paint) -> String {
    let mode = if child.mode == Mode::Transport { "transport" } else { "tunnel" };
    let udp = if child.encapsulated { " in UDP" } else { "" };
    let narrowed = if child.narrowed { "  (narrowed)" } else { "" };
    let label = paint.tone(Tone::Strong, &format!("{:<10}", "Child SA"));
    format!(
        "  {label} {}  {}  in {:08x}  out {:08x}  {mode}{udp}\n  {:<10} {} === {}{narrowed}\n",
        child.name,
        child.suite,
        child.spi_in,
        child.spi_out,
        "",
        selectors(&child.local_ts),
        selectors(&child.remote_ts),
    )
}

/// The line for an event of a tunnel's life after it came up, if it is one: what was renewed, and what is gone. Its first
/// character is a mark: `~` renewed, `-` gone.
pub fn life(event: &Event) -> Option<(Tone, String)> {
    let line = match event {
        Event::ChildRekeyed { old, new } => {
            format!("~ Child SA rekeyed: {new:08x} instead of {old:08x} (our inbound SPIs)")
        }
        Event::IkeRekeyed(rekeyed) => {
            let who = if rekeyed.initiator { Side::Us } else { Side::Peer };
            format!("~ IKE SA rekeyed {}: {}  SPIs {} {}", by(who), rekeyed.suite, rekeyed.spis.0, rekeyed.spis.1)
        }
        Event::PeerDead { expected, measured, action } => {
            let expected =
                expected.map_or_else(String::new, |e| format!(" (expected within {:.1} s)", e.as_secs_f64()));
            let then = match action {
                DpdAction::Clear => "the tunnel is gone",
                DpdAction::Restart => "it is brought up again",
                DpdAction::Hold => "it waits for traffic",
            };
            let line =
                format!("! the peer is dead: not heard of for {:.1} s{expected}; {then}", measured.as_secs_f64());
            return Some((Tone::Bad, line));
        }
        Event::Moved { by: Side::Us, path, nat } => {
            format!("~ we have moved, and the peer follows: {path}; NAT {}", nat_words(*nat))
        }
        Event::Moved { by: Side::Peer, path, nat } => format!("~ the peer has moved: {path}; NAT {}", nat_words(*nat)),
        Event::Restarting => "~ a new IKE SA for the tunnel of the dead peer".to_owned(),
        Event::Reauthenticating { break_first: false, .. } => {
            "~ authenticating again: a new IKE SA first, then the old one goes".to_owned()
        }
        Event::Reauthenticating { break_first: true, .. } => {
            "~ authenticating again: the old IKE SA is gone, now a new one".to_owned()
        }
        Event::ChildDown { spi_in, by: side } => {
            return Some((Tone::Plain, format!("- Child SA {spi_in:08x} deleted {}", by(*side))));
        }
        _ => return None,
    };
    Some((Tone::Good, line))
}

/// How soon a dead peer is noticed.
pub fn liveness(dpd: &DpdSpec, fallback: &RetransmitSpec) -> String {
    let seconds = |d: std::time::Duration| format!("{:.0} s", d.as_secs_f64());
    let how = match dpd.mode {
        DpdMode::Periodic => "after",
        DpdMode::OnDemand => "when traffic goes unanswered for",
    };
    format!(
        "asked {how} {} of quiet; a dead peer is noticed within {}",
        seconds(dpd.interval),
        seconds(dpd.detection(fallback))
    )
}

/// Selectors side by side.
pub fn selectors(list: &[TrafficSelector]) -> String {
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Who did something.
pub fn by(side: Side) -> &'static str {
    match side {
        Side::Us => "by us",
        Side::Peer => "by the peer",
    }
}

/// The closing lines of a run: what the endpoint has counted.
pub fn counters(endpoint: &Counters) -> String {
    let mut out = format!(
        "IKE SAs up {}, failed {}; Child SAs up {}; messages in {}, out {}; sent again {}, repeats answered {}, cookies sent {}\n",
        endpoint.ike_up,
        endpoint.failed,
        endpoint.child_up,
        endpoint.received,
        endpoint.transmitted,
        endpoint.retransmits,
        endpoint.repeats_answered,
        endpoint.cookies_sent,
    );
    let ignored: Vec<String> = ALL_WHY
        .iter()
        .filter(|why| endpoint.ignored(**why) > 0)
        .map(|why| format!("{} {}", endpoint.ignored(*why), why.text()))
        .collect();
    if !ignored.is_empty() {
        let _ = writeln!(out, "ignored: {}", ignored.join(", "));
    }
    out
}

const ALL_WHY: [IgnoredWhy; IgnoredWhy::COUNT] = [
    IgnoredWhy::NotIke,
    IgnoredWhy::Version,
    IgnoredWhy::UnknownSpi,
    IgnoredWhy::BadIcv,
    IgnoredWhy::Unprotected,
    IgnoredWhy::UnexpectedResponse,
    IgnoredWhy::OutsideWindow,
    IgnoredWhy::Repeat,
    IgnoredWhy::WrongFlags,
    IgnoredWhy::UnexpectedExchange,
    IgnoredWhy::Unacceptable,
    IgnoredWhy::UnprotectedError,
    IgnoredWhy::Limit,
    IgnoredWhy::BadCookie,
    IgnoredWhy::NoConnection,
    IgnoredWhy::StrayFragment,
    IgnoredWhy::FragmentMemory,
    IgnoredWhy::CiscoFragment,
    IgnoredWhy::Tampered,
];
