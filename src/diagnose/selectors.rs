//! Traffic selectors of both ends, mirrored, and the bits in which they differ.

use std::net::IpAddr;

use super::exact::Proof;
use super::{Cause, Certainty, Facts, known};
use crate::engine::{ConnectionSpec, Side};
use crate::wire::{TrafficSelector, TsRange};

/// Sentences on how each selector of the peer's differs from the nearest of ours; empty if the lists are the same.
pub(super) fn compared(theirs: &[TrafficSelector], ours: &[TrafficSelector]) -> Vec<String> {
    theirs.iter().filter(|t| !ours.contains(t)).filter_map(|t| Some(differs(t, nearest(t, ours)?).1)).collect()
}

/// The proof from both ends' lists: theirs and ours, for the initiator's side and for the responder's.
pub(super) fn proof(sides: [(&Vec<TrafficSelector>, &Vec<TrafficSelector>); 2], facts: &Facts) -> Option<Proof> {
    // Who asked is the initiator of this exchange: TSi is its side.
    let by_peer = facts.last.as_ref().is_none_or(|(from, header)| (*from == Side::Peer) != header.flags.is_response());
    let names = if by_peer { ["the peer's side", "our side"] } else { ["our side", "the peer's side"] };
    // A side without any overlap is why it failed; if there is none, whatever is not the same is.
    let empty = |(theirs, ours): &(&Vec<TrafficSelector>, &Vec<TrafficSelector>)| {
        !theirs.iter().any(|t| ours.iter().any(|o| t.intersect(o).is_some()))
    };
    let hard = sides.iter().any(empty);
    let mut causes = Vec::new();
    for (side, name) in sides.iter().zip(names).filter(|(side, _)| if hard { empty(side) } else { side.0 != side.1 }) {
        causes.extend(causes_of(side.0, side.1, name));
    }
    (!causes.is_empty()).then(|| Proof {
        certainty: Certainty::Exact,
        headline: None,
        causes,
        next: vec!["make local_ts and remote_ts the mirror image of the peer's, in what is named above".into()],
    })
}

/// The responder answered with selectors that do not lie within ours.
pub(super) fn stray(got: &[TrafficSelector], facts: &Facts, spec: &ConnectionSpec) -> Option<Proof> {
    let child = spec.children.first()?;
    let on_their_side = facts.peer_ts.as_ref().is_some_and(|(i, r)| r == got && i != got);
    let (ours, name) =
        if on_their_side { (&child.remote_ts, "the peer's side") } else { (&child.local_ts, "our side") };
    let causes = causes_of(got, ours, name);
    (!causes.is_empty()).then(|| Proof { certainty: Certainty::Exact, headline: None, causes, next: Vec::new() })
}

fn causes_of(theirs: &[TrafficSelector], ours: &[TrafficSelector], name: &str) -> Vec<Cause> {
    let mut causes: Vec<Cause> = Vec::new();
    for their in theirs.iter().filter(|t| !ours.contains(t)) {
        let Some(our) = nearest(their, ours) else { continue };
        let (code, text) = differs(their, our);
        let because = format!(
            "both lists are known: the peer has {}, we have {}",
            known::selectors(theirs),
            known::selectors(ours)
        );
        causes.push(Cause::because(code, format!("{name}: {text}"), because).see("child/ts-not-mirrored"));
    }
    causes
}

/// The one of `ours` that has the most in common with `their`.
fn nearest<'a>(their: &TrafficSelector, ours: &'a [TrafficSelector]) -> Option<&'a TrafficSelector> {
    let common = |our: &TrafficSelector| match (ends(their), ends(our)) {
        (Some((a, _)), Some((b, _))) if a.is_ipv4() == b.is_ipv4() => common_bits(a, b),
        _ => 0,
    };
    ours.iter().max_by_key(|our| (their.intersect(our).is_some(), common(our)))
}

/// How two selectors differ: a word and a sentence.
fn differs(their: &TrafficSelector, our: &TrafficSelector) -> (&'static str, String) {
    if their.range == our.range {
        let text = format!("the network is the same, protocol or ports are not: {their} at the peer, {our} here");
        return ("selectors_protocol", text);
    }
    let (Some((a, b)), Some((c, d))) = (ends(their), ends(our)) else {
        return ("selectors", format!("{their} at the peer, {our} here"));
    };
    if a.is_ipv4() != c.is_ipv4() {
        return ("selectors_family", format!("{their} at the peer and {our} here are not of one IP version"));
    }
    let (width, all) = if a.is_ipv4() { (32, 32) } else { (128, 128) };
    let at = common_bits(a, c);
    match (prefix(a, b, width), prefix(c, d, width)) {
        (Some(theirs), Some(ours)) if at >= theirs.min(ours) => {
            let bits = theirs.abs_diff(ours);
            let plural = if bits == 1 { "bit" } else { "bits" };
            let (longer, shorter) = if theirs > ours { ("the peer", "ours") } else { ("ours", "the peer's") };
            let what = if theirs.min(ours) == 0 {
                format!("{their} at the peer, {our} here: one end means every address, the other a network")
            } else {
                let longer = if longer == "ours" { "our mask" } else { "the peer's mask" };
                format!("{their} at the peer, {our} here: {longer} is {bits} {plural} longer than {shorter}")
            };
            ("selectors_mask", what)
        }
        (Some(theirs), Some(ours)) => {
            let mask =
                if theirs == ours { String::new() } else { format!(", and the masks differ (/{theirs}, /{ours})") };
            let octet = if all == 32 { format!(" (octet {})", at / 8 + 1) } else { String::new() };
            let text = format!(
                "{their} at the peer, {our} here: two networks, the same up to bit {at} and different from bit {} on{octet}{mask}",
                at + 1
            );
            ("selectors_network", text)
        }
        _ => ("selectors_range", format!("{their} at the peer, {our} here: the ranges differ")),
    }
}

fn ends(ts: &TrafficSelector) -> Option<(IpAddr, IpAddr)> {
    match &ts.range {
        TsRange::V4 { start, end } => Some(((*start).into(), (*end).into())),
        TsRange::V6 { start, end } => Some(((*start).into(), (*end).into())),
        TsRange::Unknown { .. } => None,
    }
}

/// Left-aligned in 128 bits.
fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(a) => u128::from(u32::from(a)) << 96,
        IpAddr::V6(a) => a.into(),
    }
}

fn common_bits(a: IpAddr, b: IpAddr) -> u32 {
    let width = if a.is_ipv4() { 32 } else { 128 };
    (bits(a) ^ bits(b)).leading_zeros().min(width)
}

/// The prefix length of a range that is a network.
fn prefix(start: IpAddr, end: IpAddr, width: u32) -> Option<u32> {
    let (low, high) = (bits(start), bits(end));
    let len = common_bits(start, end);
    let host = if len == width { 0 } else { (u128::MAX >> len) & (u128::MAX << (128 - width)) };
    (low & host == 0 && high & host == host).then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> TrafficSelector {
        let (addr, len) = text.split_once('/').expect("a network");
        TrafficSelector::from_net(addr.parse().expect("an address"), len.parse().expect("a length"))
    }

    #[test]
    fn the_bits_that_differ_are_named() {
        for (their, our, code, part) in [
            ("10.2.2.0/24", "10.2.2.0/23", "selectors_mask", "the peer's mask is 1 bit longer than ours"),
            ("10.2.0.0/16", "10.2.2.0/24", "selectors_mask", "our mask is 8 bits longer than the peer's"),
            ("0.0.0.0/0", "10.2.2.0/24", "selectors_mask", "one end means every address"),
            (
                "10.2.3.0/24",
                "10.2.2.0/24",
                "selectors_network",
                "the same up to bit 23 and different from bit 24 on (octet 3)",
            ),
            (
                "192.0.2.0/24",
                "10.2.2.0/24",
                "selectors_network",
                "the same up to bit 0 and different from bit 1 on (octet 1)",
            ),
            ("10.2.3.0/25", "10.2.2.0/24", "selectors_network", "and the masks differ (/25, /24)"),
            ("fd02::/64", "fd02::/48", "selectors_mask", "the peer's mask is 16 bits longer"),
            ("fd02::/64", "10.2.2.0/24", "selectors_family", "not of one IP version"),
            ("10.2.2.2/32", "10.2.2.0/24", "selectors_mask", "8 bits longer"),
        ] {
            let (got, text) = differs(&net(their), &net(our));
            assert!(got == code && text.contains(part), "{their} {our}: {got}: {text}");
        }
        let tcp = TrafficSelector { protocol: 6, ..net("10.2.2.0/24") };
        assert_eq!(differs(&tcp, &net("10.2.2.0/24")).0, "selectors_protocol");
    }

    #[test]
    fn each_is_compared_with_the_nearest() {
        let ours = [net("10.1.0.0/16"), net("10.2.2.0/24")];
        assert_eq!(compared(&[net("10.1.0.0/16")], &ours), Vec::<String>::new());
        let lines = compared(&[net("10.2.3.0/24")], &ours);
        assert!(lines.len() == 1 && lines[0].contains("10.2.2.0/24 here"), "{lines:?}");
    }
}
