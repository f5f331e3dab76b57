//! Who will rekey first. IKEv2 does not negotiate lifetimes (RFC 7296 2.8): each end keeps its own, and the shorter one
//! simply acts first.

use std::time::Duration;

use super::{Report, Trial, Verdict};
use crate::config::PeerFacts;
use crate::engine::{ConnectionSpec, RekeySpec};

/// The part of the peer's lifetime in which its rekey is expected to begin, in percent from its start: boxes begin
/// between four fifths of it and its end.
const PEER_BEGINS: u32 = 80;

/// Who begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum First {
    /// We do.
    We,
    /// The peer does.
    Peer,
    /// Either may, so both may at once (RFC 7296 2.8.1).
    Either,
    /// Nobody: no end has a lifetime, as far as we know.
    Nobody,
    /// The peer's lifetime is not known.
    Unknown,
}

/// What is to be expected of one SA.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outlook {
    /// The SA, in words.
    pub what: String,
    /// From when to when after its beginning our rekey starts; `None` if we never rekey it.
    pub ours: Option<(Duration, Duration)>,
    /// Its end by our own lifetime.
    pub our_end: Option<Duration>,
    /// Its end by the peer's lifetime, as the connection file says.
    pub peer_end: Option<Duration>,
    /// Who begins.
    pub first: First,
    /// Sentences for a person.
    pub text: String,
}

/// What is to be expected of the IKE SA and of each Child SA, in the light of what has been tried.
pub fn outlook(spec: &ConnectionSpec, peer: &PeerFacts, report: &Report) -> Vec<Outlook> {
    let rekey = &spec.behaviour.rekey;
    let mut list = vec![one("IKE SA".into(), spec.lifetime, peer.ike_lifetime, rekey, accepted(report, true))];
    for child in &spec.children {
        let what = format!("Child SA {}", child.name);
        list.push(one(what, child.lifetime, peer.child_lifetime, rekey, accepted(report, false)));
    }
    list
}

/// Whether a rekey that we begin, and one that the peer begins, was seen to work.
fn accepted(report: &Report, ike: bool) -> [Option<bool>; 2] {
    let tried = |wanted: &dyn Fn(&Trial) -> bool| {
        let outcome = report.outcomes.iter().find(|o| wanted(&o.trial))?;
        match outcome.verdict {
            Verdict::Worked => Some(true),
            Verdict::Failed | Verdict::Noted => Some(false),
            Verdict::NotTested => None,
        }
    };
    if ike {
        [tried(&|t| *t == Trial::RekeyIke), tried(&|t| *t == Trial::PeerRekeysIke)]
    } else {
        [tried(&|t| matches!(t, Trial::RekeyChild { configured: true, .. })), tried(&|t| *t == Trial::PeerRekeysChild)]
    }
}

fn one(
    what: String,
    ours: Option<Duration>,
    peers: Option<Duration>,
    rekey: &RekeySpec,
    accepted: [Option<bool>; 2],
) -> Outlook {
    let window = ours.map(|whole| rekey.window(whole));
    let peer_from = peers.map(|end| end * PEER_BEGINS / 100);
    let first = match (window, peer_from, peers) {
        (None, None, _) => First::Nobody,
        (_, None, _) | (_, _, None) => First::Unknown,
        (None, Some(_), Some(_)) => First::Peer,
        (Some((_, latest)), Some(from), _) if latest < from => First::We,
        (Some((earliest, _)), _, Some(end)) if end < earliest => First::Peer,
        _ => First::Either,
    };
    let span = |(from, to): (Duration, Duration)| {
        if from == to { short(from) } else { format!("{} to {}", short(from), short(to)) }
    };
    let when = match (window, peers) {
        (Some(window), Some(end)) => {
            format!("we rekey it after {}, the peer's lifetime is {}", span(window), short(end))
        }
        (Some(window), None) => format!("we rekey it after {}; the peer's lifetime is not known", span(window)),
        (None, Some(end)) => format!("we have no lifetime for it, the peer's is {}", short(end)),
        (None, None) => "neither end's lifetime is known here".into(),
    };
    let said = |side: usize, who: &str| match accepted[side] {
        Some(true) => format!("a rekey that {who} worked just now"),
        Some(false) => format!("a rekey that {who} FAILED just now"),
        None => format!("a rekey that {who} was not tested"),
    };
    let (us, them) = ("we begin", "the peer begins");
    let who = match first {
        First::We => format!("so we begin; {}", said(0, us)),
        First::Peer => format!("so the peer begins; {}", said(1, them)),
        First::Either => {
            format!("so either may begin, and both at once; {}; {}", said(0, us), said(1, them))
        }
        First::Unknown => {
            format!("say remote.lifetimes to know who begins; {}; {}", said(0, us), said(1, them))
        }
        First::Nobody => "say ours and remote.lifetimes to know who rekeys first".into(),
    };
    Outlook { what, ours: window, our_end: ours, peer_end: peers, first, text: format!("{when}, {who}") }
}

/// Hours, minutes and seconds: a rekey is not planned to the millisecond.
fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let mut text = String::new();
    for (count, unit) in [(seconds / 3600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')] {
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}
