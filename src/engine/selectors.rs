//! Traffic selector negotiation (RFC 7296 2.9).

use super::spec::Narrowing;
use crate::wire::TrafficSelector;

/// A responder's answer for one side: what of `offered` lies within `ours`. `None` when nothing is acceptable.
pub(super) fn answer(
    offered: &[TrafficSelector],
    ours: &[TrafficSelector],
    policy: Narrowing,
) -> Option<Vec<TrafficSelector>> {
    if within(offered, ours) && !offered.is_empty() {
        return Some(offered.to_vec());
    }
    if policy == Narrowing::RefuseWider {
        return None;
    }
    let mut chosen: Vec<TrafficSelector> = Vec::new();
    for common in offered.iter().flat_map(|offer| ours.iter().filter_map(|our| offer.intersect(our))) {
        if !chosen.iter().any(|have| have.contains(&common)) {
            chosen.retain(|have| !common.contains(have));
            chosen.push(common);
        }
    }
    (!chosen.is_empty()).then_some(chosen)
}

/// Every selector of `inner` lies within one of `outer`.
pub(super) fn within(inner: &[TrafficSelector], outer: &[TrafficSelector]) -> bool {
    inner.iter().all(|small| outer.iter().any(|big| big.contains(small)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(a: u8, b: u8, prefix: u8) -> TrafficSelector {
        TrafficSelector::from_net(std::net::Ipv4Addr::new(10, a, b, 0).into(), prefix)
    }

    #[test]
    fn wider_is_narrowed_or_refused_by_policy() {
        let offered = [net(1, 0, 23)];
        let ours = [net(1, 0, 24)];
        assert_eq!(answer(&offered, &ours, Narrowing::Narrow), Some(vec![net(1, 0, 24)]));
        assert_eq!(answer(&offered, &ours, Narrowing::RefuseWider), None);
    }

    #[test]
    fn narrower_is_taken_as_it_is() {
        let offered = [net(1, 0, 24)];
        let ours = [net(1, 0, 23)];
        for policy in [Narrowing::Narrow, Narrowing::RefuseWider] {
            assert_eq!(answer(&offered, &ours, policy), Some(vec![net(1, 0, 24)]));
        }
    }

    #[test]
    fn an_extra_subnet_is_cut_off_or_refused() {
        let offered = [net(1, 0, 24), net(9, 9, 24)];
        let ours = [net(1, 0, 24)];
        assert_eq!(answer(&offered, &ours, Narrowing::Narrow), Some(vec![net(1, 0, 24)]));
        assert_eq!(answer(&offered, &ours, Narrowing::RefuseWider), None);
    }

    #[test]
    fn disjoint_or_empty_is_refused() {
        assert_eq!(answer(&[net(1, 0, 24)], &[net(2, 0, 24)], Narrowing::Narrow), None);
        assert_eq!(answer(&[], &[net(2, 0, 24)], Narrowing::Narrow), None);
    }

    #[test]
    fn overlaps_are_not_answered_twice() {
        let offered = [net(1, 0, 24), net(0, 0, 8)];
        let ours = [net(1, 0, 24)];
        assert_eq!(answer(&offered, &ours, Narrowing::Narrow), Some(vec![net(1, 0, 24)]));
    }
}
