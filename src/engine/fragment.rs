//! RFC 7383: splitting our own messages and putting the peer's together, with bounded memory.
//!
//! Each fragment is protected on its own, so nothing is stored that the peer's keys did not seal.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::codec::Sealing;
use super::endpoint::Core;
use super::sa::{IkeSa, Phase};
use super::spec::ConnectionSpec;
use crate::time::Instant;
use crate::wire::registry::{ExchangeType, PayloadType};
use crate::wire::{FragmentInfo, Header};

/// Octets of all fragments of one message that are kept at most: the largest IKE message that fits a datagram.
const MAX_OCTETS: usize = 65_535;

/// Fragments of one message that are accepted at most. A stranger has keys before it has proved anything.
const MAX_FRAGMENTS: u16 = 256;

/// After so many repeats that nobody answered a request is split anew, if the connection says so (RFC 7383 2.5.2).
pub(super) const SMALLER_AFTER: u8 = 2;

/// Whether our messages are split.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Split {
    /// Never: an end does not support it.
    #[default]
    Never,
    /// As the connection says.
    Usual,
    /// Into smaller pieces, since the path has shown that it needs them.
    Small,
}

impl Split {
    /// At the beginning.
    pub(super) fn agreed(spec: &ConnectionSpec, peer: bool) -> Split {
        if spec.fragmentation && peer { Split::Usual } else { Split::Never }
    }

    /// Above how many octets messages are split; 0 for never.
    pub(super) fn size(self, spec: &ConnectionSpec) -> u16 {
        match self {
            Split::Never => 0,
            Split::Usual => spec.behaviour.fragments.size,
            Split::Small => spec.behaviour.fragments.fallback,
        }
    }
}

/// How many octets all unfinished messages of an endpoint hold together.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(Arc<AtomicUsize>);

impl Ledger {
    /// Octets held now.
    pub(super) fn octets(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// What more may be kept.
pub(super) struct Budget<'a> {
    pub ledger: &'a Ledger,
    /// Octets of all unfinished messages together. An IKE SA that is not authenticated gets half of it, so that strangers
    /// cannot take it all.
    pub most: usize,
}

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
    /// What it holds, all in all, and where that is added up.
    weight: usize,
    ledger: Ledger,
}

impl Reassembly {
    /// It is to become the answer to this request.
    pub(super) fn answers(&self, message_id: u32, exchange: ExchangeType) -> bool {
        (self.response, self.message_id, self.exchange) == (true, message_id, exchange)
    }

    fn weigh(&mut self, more: usize) {
        self.weight += more;
        self.ledger.0.fetch_add(more, Ordering::Relaxed);
    }
}

impl Drop for Reassembly {
    fn drop(&mut self) {
        self.ledger.0.fetch_sub(self.weight, Ordering::Relaxed);
    }
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
    /// The endpoint keeps no more unfinished messages.
    Full,
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
    budget: &Budget<'_>,
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
    let table =
        if slot.is_none() { size_of::<Reassembly>() + usize::from(total) * size_of::<Option<Box<[u8]>>>() } else { 0 };
    if budget.ledger.octets() + table + plain.len() > budget.most {
        return Joined::Full;
    }
    let reassembly = slot.get_or_insert_with(|| {
        Box::new(Reassembly {
            exchange: key.exchange,
            message_id: key.message_id,
            response: key.response,
            first_inner: PayloadType::NONE,
            parts: Vec::new(),
            octets: 0,
            weight: 0,
            ledger: budget.ledger.clone(),
        })
    });
    reassembly.weigh(table);
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
    reassembly.weigh(plain.len());
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

impl Core {
    /// What may be kept of unfinished messages of a peer.
    pub(super) fn fragment_budget(&self, authenticated: bool) -> Budget<'_> {
        let most = self.cfg.limits.fragment_octets;
        Budget { ledger: &self.unfinished, most: if authenticated { most } else { most / 2 } }
    }

    /// Nobody has answered our request, several times: it is split anew into smaller pieces, and so is whatever follows
    /// (RFC 7383 2.5.2). What a rule has a hand in stays as it is.
    pub(super) fn ask_in_smaller_pieces(&mut self, now: Instant, sa: &mut IkeSa) {
        let size = sa.spec.behaviour.fragments.fallback;
        if size == 0 || sa.tampered || sa.fragments != Split::Usual {
            return;
        }
        let Some(outstanding) = sa.window.outstanding() else { return };
        let (exchange, initiator, scope) = (outstanding.exchange, sa.initiator, sa.scope);
        let cx = sa.msg_cx(now, &sa.request_header(exchange), SMALLER_AFTER);
        sa.fragments = Split::Small;
        match std::mem::replace(&mut sa.phase, Phase::Moving) {
            Phase::AuthSent(mut wait) => {
                for candidate in &mut wait.candidates {
                    let (suite, iv) = (candidate.suite.sk(), sa.next_iv());
                    let sealing = Sealing { keys: &candidate.keys, suite, initiator, scope, iv, fragments: size };
                    let smaller = self.split_anew(&cx, candidate.datagrams.iter().map(Vec::as_slice), &sealing);
                    candidate.fragments = Split::Small;
                    candidate.datagrams = smaller.unwrap_or(std::mem::take(&mut candidate.datagrams));
                }
                sa.phase = Phase::AuthSent(wait);
            }
            Phase::Established(up) => {
                let (suite, iv) = (up.suite.sk(), sa.next_iv());
                let sealing = Sealing { keys: &up.keys, suite, initiator, scope, iv, fragments: size };
                let sent = sa.window.outstanding().map(|o| o.datagrams.clone()).unwrap_or_default();
                if let Some(smaller) = self.split_anew(&cx, sent.iter().map(Vec::as_slice), &sealing) {
                    sa.window.resplit(smaller);
                }
                sa.phase = Phase::Established(up);
            }
            other => sa.phase = other,
        }
    }

    /// The peer repeats a request in pieces of so many octets, smaller than ours: so is our answer split, once, since it
    /// goes by the same path.
    pub(super) fn answer_in_kind(&mut self, now: Instant, sa: &mut IkeSa, request: &Header, octets: usize) {
        let size = sa.spec.behaviour.fragments.fallback;
        let smaller = request.next == PayloadType::SKF && octets < usize::from(sa.spec.behaviour.fragments.size);
        if size == 0 || sa.tampered || !smaller || sa.fragments != Split::Usual {
            return;
        }
        let header = sa.response_header(request);
        let cx = sa.msg_cx(now, &header, 1);
        let (initiator, scope, iv) = (sa.initiator, sa.scope, sa.next_iv());
        let (keys, suite) = match &sa.phase {
            Phase::Established(up) => (&up.keys, up.suite.sk()),
            Phase::InitAnswered(wait) => (&wait.keys, wait.suite.sk()),
            _ => return,
        };
        let sealing = Sealing { keys, suite, initiator, scope, iv, fragments: size };
        if let Some(smaller) = self.split_anew(&cx, sa.window.cached(), &sealing) {
            sa.window.resplit_response(smaller);
            sa.fragments = Split::Small;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: MessageKey = MessageKey { exchange: ExchangeType::IKE_AUTH, message_id: 1, response: false };

    fn add(slot: &mut Option<Box<Reassembly>>, number: u16, total: u16, octets: &[u8]) -> Joined {
        add_to(slot, number, total, octets, &Ledger::default(), usize::MAX)
    }

    fn add_to(
        slot: &mut Option<Box<Reassembly>>,
        number: u16,
        total: u16,
        octets: &[u8],
        ledger: &Ledger,
        most: usize,
    ) -> Joined {
        let first = if number == 1 { PayloadType::IDI } else { PayloadType::NONE };
        join(slot, KEY, FragmentInfo { number, total }, first, octets, &Budget { ledger, most })
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
        let budget = Budget { ledger: &Ledger::default(), most: usize::MAX };
        let info = FragmentInfo { number: 2, total: 2 };
        assert_eq!(join(&mut slot, next, info, PayloadType::NONE, &[2], &budget), Joined::Waiting);
        let info = FragmentInfo { number: 1, total: 2 };
        let joined = join(&mut slot, next, info, PayloadType::SA, &[1], &budget);
        assert_eq!(joined, Joined::Whole(PayloadType::SA, vec![1, 2]));
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
    fn all_messages_together_are_bounded_and_what_ends_is_given_back() {
        let ledger = Ledger::default();
        let mut slots: Vec<Option<Box<Reassembly>>> = (0..100).map(|_| None).collect();
        let joined = slots.iter_mut().map(|slot| add_to(slot, 1, 256, &[0; 1000], &ledger, 50_000));
        let kept = joined.filter(|joined| *joined == Joined::Waiting).count();
        assert!((5..15).contains(&kept), "about 5 KiB each, the empty table included: {kept}");
        assert!(ledger.octets() <= 50_000);
        // Endless splitting anew keeps nothing of what was before.
        let most = ledger.octets() + 6_000;
        for total in 2..=256 {
            assert_ne!(
                add_to(&mut slots[99], 1, total, &[0; 1000], &ledger, most),
                Joined::Whole(PayloadType::IDI, vec![])
            );
            assert!(ledger.octets() <= most);
        }
        slots[0] = None;
        slots.clear();
        assert_eq!(ledger.octets(), 0);
    }

    #[test]
    fn what_fits_is_a_whole_number_of_blocks_less_the_pad_length() {
        assert_eq!(room(1228, 28 + 8 + 16 + 16, 16), 1151);
        assert_eq!(room(1228, 28 + 8 + 8 + 16, 1), 1167);
        assert_eq!(room(10, 28, 16), 1);
    }
}
