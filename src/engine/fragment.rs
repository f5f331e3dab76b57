//! RFC 7383: splitting our own messages and putting the peer's together, with bounded memory.
//!
//! Each fragment is protected on its own, so nothing is stored that the peer's keys did not seal.

use crate::wire::FragmentInfo;
use crate::wire::registry::{ExchangeType, PayloadType};

/// Octets of all fragments of one message that are kept at most: the largest IKE message that fits a datagram.
const MAX_OCTETS: usize = 65_535;

/// Fragments of one message that are accepted at most. A stranger has keys before it has proved anything.
const MAX_FRAGMENTS: u16 = 256;

/// Octets of an IKE message, without IP and UDP headers, above which it is split: what fits the smallest IPv6 packet of
/// 1280 octets with 48 octets of headers and 4 of the non-ESP marker.
pub(super) const FRAGMENT_SIZE: usize = 1_228;

/// The fragments of one message of the peer's.
#[derive(Debug)]
pub(super) struct Reassembly {
    exchange: ExchangeType,
    message_id: u32,
    response: bool,
    /// Type of the first inner payload, which only the first fragment names.
    first_inner: PayloadType,
    parts: Vec<Option<Box<[u8]>>>,
    octets: usize,
}

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// Kept; others are missing.
    Waiting,
    /// The whole inside of the message, and its first payload's type.
    Whole(PayloadType, Vec<u8>),
    /// Not acceptable (RFC 7383 2.6): numbers that make no sense, a repeat, fewer fragments in total than before, too much.
    Stray,
}

/// Which message a fragment belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MessageKey {
    pub exchange: ExchangeType,
    pub message_id: u32,
    pub response: bool,
}

/// Adds an authenticated fragment to what is there.
pub(super) fn join(
    slot: &mut Option<Box<Reassembly>>,
    key: MessageKey,
    info: FragmentInfo,
    first_inner: PayloadType,
    plain: &[u8],
) -> Joined {
    let FragmentInfo { number, total } = info;
    if number == 0 || number > total || total > MAX_FRAGMENTS {
        return Joined::Stray;
    }
    let same = |r: &Reassembly| (r.exchange, r.message_id, r.response) == (key.exchange, key.message_id, key.response);
    let known = slot.as_ref().filter(|r| same(r)).map(|r| r.parts.len());
    match known {
        // The peer split it anew, into smaller pieces (2.5.2): what was there is of no use any more.
        Some(before) if usize::from(total) > before => *slot = None,
        Some(before) if usize::from(total) < before => return Joined::Stray,
        Some(_) => {}
        None => *slot = None,
    }
    let reassembly = slot.get_or_insert_with(|| {
        Box::new(Reassembly {
            exchange: key.exchange,
            message_id: key.message_id,
            response: key.response,
            first_inner: PayloadType::NONE,
            parts: Vec::new(),
            octets: 0,
        })
    });
    reassembly.parts.resize_with(usize::from(total), || None);
    let part = &mut reassembly.parts[usize::from(number) - 1];
    if part.is_some() {
        return Joined::Stray;
    }
    if reassembly.octets + plain.len() > MAX_OCTETS {
        *slot = None;
        return Joined::Stray;
    }
    *part = Some(plain.into());
    reassembly.octets += plain.len();
    if number == 1 {
        reassembly.first_inner = first_inner;
    }
    if reassembly.parts.iter().any(Option::is_none) {
        return Joined::Waiting;
    }
    let mut whole = Vec::with_capacity(reassembly.octets);
    reassembly.parts.iter().flatten().for_each(|part| whole.extend_from_slice(part));
    let first = reassembly.first_inner;
    *slot = None;
    Joined::Whole(first, whole)
}

/// How many octets of plaintext one fragment may carry so that its whole message is at most `size` octets, when
/// everything around the plaintext takes `overhead` and it is padded to `block`.
pub(super) fn room(size: usize, overhead: usize, block: usize) -> usize {
    let room = size.saturating_sub(overhead);
    (room - room % block).saturating_sub(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: MessageKey = MessageKey { exchange: ExchangeType::IKE_AUTH, message_id: 1, response: false };

    fn add(slot: &mut Option<Box<Reassembly>>, number: u16, total: u16, octets: &[u8]) -> Joined {
        let first = if number == 1 { PayloadType::IDI } else { PayloadType::NONE };
        join(slot, KEY, FragmentInfo { number, total }, first, octets)
    }

    #[test]
    fn any_order_gives_the_whole() {
        for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
            let mut slot = None;
            let mut last = Joined::Waiting;
            for number in order {
                assert_eq!(last, Joined::Waiting);
                last = add(&mut slot, number, 3, &[number as u8; 2]);
            }
            assert_eq!(last, Joined::Whole(PayloadType::IDI, vec![1, 1, 2, 2, 3, 3]));
            assert!(slot.is_none());
        }
    }

    #[test]
    fn a_repeat_and_nonsense_are_stray() {
        let mut slot = None;
        assert_eq!(add(&mut slot, 0, 3, &[1]), Joined::Stray);
        assert_eq!(add(&mut slot, 4, 3, &[1]), Joined::Stray);
        assert_eq!(add(&mut slot, 1, 0, &[1]), Joined::Stray);
        assert_eq!(add(&mut slot, 1, 3, &[1]), Joined::Waiting);
        assert_eq!(add(&mut slot, 1, 3, &[9]), Joined::Stray);
        assert_eq!(add(&mut slot, 1, 2, &[9]), Joined::Stray, "fewer in total than before");
        assert_eq!(add(&mut slot, 2, 3, &[2]), Joined::Waiting);
        assert_eq!(add(&mut slot, 3, 3, &[3]), Joined::Whole(PayloadType::IDI, vec![1, 2, 3]));
    }

    #[test]
    fn more_fragments_in_total_start_over() {
        let mut slot = None;
        assert_eq!(add(&mut slot, 1, 2, &[1; 10]), Joined::Waiting);
        assert_eq!(add(&mut slot, 1, 3, &[1]), Joined::Waiting);
        assert_eq!(add(&mut slot, 2, 3, &[2]), Joined::Waiting);
        assert_eq!(add(&mut slot, 3, 3, &[3]), Joined::Whole(PayloadType::IDI, vec![1, 2, 3]));
    }

    #[test]
    fn another_message_takes_the_place() {
        let mut slot = None;
        assert_eq!(add(&mut slot, 1, 2, &[1]), Joined::Waiting);
        let next = MessageKey { message_id: 2, ..KEY };
        let info = FragmentInfo { number: 2, total: 2 };
        assert_eq!(join(&mut slot, next, info, PayloadType::NONE, &[2]), Joined::Waiting);
        let info = FragmentInfo { number: 1, total: 2 };
        assert_eq!(join(&mut slot, next, info, PayloadType::SA, &[1]), Joined::Whole(PayloadType::SA, vec![1, 2]));
    }

    #[test]
    fn memory_is_bounded() {
        let mut slot = None;
        for number in 1..=54 {
            assert_eq!(add(&mut slot, number, 100, &[0; 1200]), Joined::Waiting);
        }
        assert_eq!(add(&mut slot, 55, 100, &[0; 1200]), Joined::Stray);
        assert!(slot.is_none());
    }

    #[test]
    fn what_fits_is_a_whole_number_of_blocks_less_the_pad_length() {
        assert_eq!(room(1228, 28 + 8 + 16 + 16, 16), 1151);
        assert_eq!(room(1228, 28 + 8 + 8 + 16, 1), 1167);
        assert_eq!(room(10, 28, 16), 1);
    }
}
