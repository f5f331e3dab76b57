//! Nothing unauthenticated ends an IKE SA once keys exist: in each phase and role, one forgery of each kind arrives before
//! the genuine packet.

use std::time::Duration;

use ikelab::wire::registry::PayloadType;
use ikelab::wire::{DeletePayload, IkeSpi};

use super::*;

/// Where the victim is when the forgery arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    InitSentIgnore,
    InitSentWait,
    AuthSent,
    InitiatorUp,
    InitiatorDeleting,
    HalfOpen,
    ResponderUp,
    ResponderDeleting,
    ResponderRefused,
}

const STAGES: [Stage; 9] = [
    Stage::InitSentIgnore,
    Stage::InitSentWait,
    Stage::AuthSent,
    Stage::InitiatorUp,
    Stage::InitiatorDeleting,
    Stage::HalfOpen,
    Stage::ResponderUp,
    Stage::ResponderDeleting,
    Stage::ResponderRefused,
];

/// A pair in some stage, with the genuine packet in hand and what was on the wire before.
struct Scene {
    stage: Stage,
    pair: Pair,
    genuine: InFlight,
    /// What the victim received before, oldest first.
    earlier: Vec<InFlight>,
    /// An answer to IKE_SA_INIT by somebody with a key pair of his own.
    mallory: Vec<u8>,
    /// What a responder that refused has answered.
    refusal: Option<Vec<u8>>,
}

impl Stage {
    fn init_sent(self) -> bool {
        matches!(self, Stage::InitSentIgnore | Stage::InitSentWait)
    }

    fn set(self) -> Scene {
        let mut left = left_spec();
        left.behaviour.unprotected_errors = match self {
            Stage::InitSentWait => UnprotectedErrors::Wait(Duration::from_secs(5)),
            Stage::InitSentIgnore => UnprotectedErrors::Ignore,
            _ => UnprotectedErrors::Believe,
        };
        if self == Stage::ResponderRefused {
            left.local_auth = psk("correct h0rse");
        }
        let mut pair = Pair::to(right_spec());
        pair.connect(left);
        let init = pair.take().remove(0);
        let mut third = Pair::new(config(vec![], 8), config(vec![right_spec()], 9));
        third.deliver(init.clone());
        let mallory = third.take().remove(0).transmit.bytes;
        pair.deliver(init.clone());
        let answer = pair.take().remove(0);
        let scene = |pair, genuine: &InFlight, earlier: &[&InFlight]| Scene {
            stage: self,
            pair,
            genuine: genuine.clone(),
            earlier: earlier.iter().map(|d| (*d).clone()).collect(),
            mallory: mallory.clone(),
            refusal: None,
        };
        if self.init_sent() {
            return scene(pair, &answer, &[]);
        }
        pair.deliver(answer.clone());
        let auth = pair.take().remove(0);
        if self == Stage::HalfOpen {
            return scene(pair, &auth, &[&init]);
        }
        pair.deliver(auth.clone());
        let auth_answer = pair.take().remove(0);
        if self == Stage::ResponderRefused {
            let refusal = Some(auth_answer.transmit.bytes.clone());
            return Scene { refusal, ..scene(pair, &auth, &[&init]) };
        }
        if self == Stage::AuthSent {
            return scene(pair, &auth_answer, &[&answer]);
        }
        pair.deliver(auth_answer.clone());
        let (to_left, to_right) = ([&answer, &auth_answer], [&init, &auth]);
        match self {
            Stage::InitiatorUp => {
                let genuine = order(&mut pair, End::Right, Command::Liveness).remove(0);
                scene(pair, &genuine, &to_left)
            }
            Stage::ResponderUp => {
                let genuine = order(&mut pair, End::Left, Command::Liveness).remove(0);
                scene(pair, &genuine, &to_right)
            }
            _ => {
                let victim = if self == Stage::InitiatorDeleting { End::Left } else { End::Right };
                let request = order(&mut pair, victim, Command::Delete).remove(0);
                pair.deliver(request);
                let genuine = pair.take().remove(0);
                scene(pair, &genuine, if victim == End::Left { &to_left } else { &to_right })
            }
        }
    }
}

use IgnoredWhy::*;

/// Forgeries of one kind, and the reasons for which each of them may be ignored.
type Forgeries = (&'static str, Vec<Vec<u8>>, Vec<IgnoredWhy>);

impl Scene {
    fn header(&self) -> Header {
        header_of(&self.genuine.transmit.bytes)
    }

    /// The reason for which the stage ignores what has the genuine packet's header and no protection.
    fn unprotected(&self) -> IgnoredWhy {
        match self.stage {
            stage if stage.init_sent() => UnprotectedError,
            Stage::ResponderRefused => Repeat,
            _ => Unprotected,
        }
    }

    /// And what has the right header and a bad ICV.
    fn bad_icv(&self) -> IgnoredWhy {
        if self.stage == Stage::ResponderRefused { Repeat } else { BadIcv }
    }

    fn forgeries(&self) -> Vec<Forgeries> {
        let genuine = &self.genuine.transmit.bytes;
        let header = self.header();
        let request = Header { flags: Flags(header.flags.0 & !Flags::RESPONSE.0), ..header };
        let response = Header { flags: header.flags | Flags::RESPONSE, ..header };
        let mut all: Vec<Forgeries> = Vec::new();

        let errors = [
            NotifyType::NO_PROPOSAL_CHOSEN,
            NotifyType::AUTHENTICATION_FAILED,
            NotifyType::INVALID_IKE_SPI,
            NotifyType::INVALID_SYNTAX,
            NotifyType::INVALID_MAJOR_VERSION,
        ];
        let unprotected = errors.iter().map(|kind| encoded(header, vec![notify(*kind)])).collect();
        all.push(("an unprotected error", unprotected, vec![self.unprotected()]));
        let delete = || vec![Payload::Delete(DeletePayload::ike())];
        let deletes = vec![encoded(header, delete())];
        all.push(("an unprotected DELETE", deletes, vec![self.unprotected()]));
        // As the peer's next request, and as an answer to our last.
        let informational = Header { exchange: ExchangeType::INFORMATIONAL, ..request };
        let deletes = (0..3).map(|id| encoded(Header { message_id: id, ..informational }, delete())).collect();
        let reasons = vec![Unprotected, OutsideWindow, Repeat, UnknownSpi, UnexpectedExchange];
        all.push(("an unprotected DELETE request", deletes, reasons));

        if !self.stage.init_sent() {
            let body = decode(genuine).expect("genuine").sk.expect("protected").body;
            let step = (body.len() / 24).max(1);
            let flipped = body.step_by(step).chain([genuine.len() - 1]).map(|at| {
                let mut bytes = genuine.clone();
                bytes[at] ^= 0x10;
                bytes
            });
            all.push(("a bad ICV", flipped.collect(), vec![self.bad_icv()]));
            let mut shorter = genuine[..genuine.len() - 1].to_vec();
            fix_length(&mut shorter);
            all.push(("cut, with a length that fits", vec![shorter], vec![self.bad_icv(), Unprotected]));
            let mut longer = genuine.clone();
            longer.extend_from_slice(&[0, 0, 0, 8, 1, 2, 3, 4]);
            fix_length(&mut longer);
            all.push(("with something behind SK", vec![longer], vec![self.bad_icv(), Unprotected]));
            let mut fragment = encoded(Header { next: PayloadType::SKF, ..header }, vec![]);
            fragment[16] = PayloadType::SKF.0;
            fragment.extend_from_slice(&[0, 0, 0, 72, 0, 1, 0, 2]);
            fragment.extend_from_slice(&[0x5a; 64]);
            fix_length(&mut fragment);
            let mut second = fragment.clone();
            second[33] = 2;
            all.push(("a stray fragment", vec![fragment, second], vec![self.bad_icv()]));
        }
        let outside = [5, 1000, u32::MAX].map(|id| encoded(Header { message_id: id, ..response }, delete()));
        all.push(("a response outside the window", outside.into(), vec![UnexpectedResponse]));
        let outside = [5, 1000, u32::MAX].map(|id| {
            let exchange = ExchangeType::INFORMATIONAL;
            encoded(Header { message_id: id, exchange, ..request }, delete())
        });
        let reasons = if self.stage.init_sent() { vec![UnknownSpi] } else { vec![OutsideWindow] };
        all.push(("a request outside the window", outside.into(), reasons));

        let mut flag = genuine.clone();
        flag[19] ^= Flags::INITIATOR.0;
        all.push(("the wrong initiator flag", vec![flag.clone()], vec![UnknownSpi, WrongFlags]));
        flag[..8].copy_from_slice(&header.spi_r.to_be_bytes());
        flag[8..16].copy_from_slice(&header.spi_i.to_be_bytes());
        all.push(("SPIs and flag turned round", vec![flag], vec![UnknownSpi, WrongFlags]));
        let strange = encoded(Header { spi_r: IkeSpi(1), ..response }, delete());
        let strange_i = encoded(Header { spi_i: IkeSpi(1), ..response }, delete());
        let reasons = vec![UnknownSpi, UnprotectedError, UnexpectedResponse];
        all.push(("SPIs of nobody", vec![strange, strange_i], reasons));

        let cut = [1, 4, 20, 27, 28, 32, genuine.len() - 1].map(|len| genuine[..len].to_vec());
        all.push(("cut short", cut.into(), vec![NotIke]));
        let garbage = (0..8u8).map(|n| (0..200u8).map(|at| at.wrapping_mul(37).wrapping_add(n * 29)).collect());
        all.push(("garbage", garbage.chain([vec![], vec![0; 28], vec![0xff; 300]]).collect(), vec![NotIke]));
        let version = [0x10, 0x30, 0xf0].map(|version| {
            let mut bytes = genuine.clone();
            bytes[17] = version;
            bytes
        });
        all.push(("another major version", version.into(), vec![Version]));
        let old = self.earlier.iter().map(|d| d.transmit.bytes.clone()).collect();
        all.push(("an old genuine message", old, vec![Repeat, UnexpectedResponse, OutsideWindow]));

        if self.genuine.to == End::Left {
            let mut same_spi = self.mallory.clone();
            let ours = self.earlier.first().unwrap_or(&self.genuine);
            same_spi[8..16].copy_from_slice(&header_of(&ours.transmit.bytes).spi_r.to_be_bytes());
            let mut small = self.mallory.clone();
            let ke = decode(&small).expect("whole").payloads.iter().position(|p| matches!(p, Payload::Ke(_)));
            assert_eq!(ke, Some(1), "the KE payload follows SA, whose length is in its header");
            let at = 28 + usize::from(u16::from_be_bytes([small[30], small[31]])) + 8;
            small[at..at + 32].fill(0);
            let answers = vec![self.mallory.clone(), same_spi, small];
            // Before keys it may be followed, besides the genuine one; afterwards it is nothing we asked for.
            let waiting = self.stage.init_sent() || self.stage == Stage::AuthSent;
            let reasons = if waiting { vec![] } else { vec![UnexpectedResponse, UnknownSpi] };
            all.push(("an answer to IKE_SA_INIT with another key pair", answers, reasons));
        }
        all
    }

    /// Delivers a forgery and checks that nothing came of it.
    fn suffer(&mut self, what: &str, forgery: Vec<u8>, reasons: &[IgnoredWhy]) {
        let victim = self.genuine.to;
        let before = self.pair.end(victim).counters().clone();
        let count = self.pair.end(victim).sa_count();
        let events = self.pair.events.len();
        self.pair.deliver(with_bytes(&self.genuine, forgery));
        let after = self.pair.end(victim).counters().clone();
        if !reasons.is_empty() {
            let grown = reasons.iter().map(|why| after.ignored(*why) - before.ignored(*why)).sum::<u64>();
            let why: Vec<_> = self.pair.events[events..].iter().map(|(.., e)| e).collect();
            assert_eq!(grown, 1, "{:?}, {what}: not ignored for {reasons:?} but {why:?}", self.stage);
            assert_eq!(ignored_in_all(&after), ignored_in_all(&before) + 1);
        }
        assert_eq!((after.failed, after.ike_up), (before.failed, before.ike_up), "{:?}, {what}", self.stage);
        assert_eq!(self.pair.end(victim).sa_count(), count, "{:?}, {what}", self.stage);
    }

    /// The genuine packet has the effect that it always has.
    fn finish(mut self, what: &str) {
        let what = &format!("{:?} after {what}", self.stage);
        self.pair.deliver(self.genuine.clone());
        if let Some(refusal) = &self.refusal {
            let answers = self.pair.take();
            assert!(answers.iter().any(|d| d.transmit.bytes == *refusal), "{what}: the refusal again, bit for bit");
            assert_eq!(self.pair.right.counters().failed, 1, "{what}");
            return;
        }
        self.pair.settle();
        assert_joined(&self.pair, what);
        match self.stage {
            Stage::InitiatorDeleting | Stage::ResponderDeleting => {
                let by_us = self.pair.said(self.genuine.to).any(|e| matches!(e, Event::Deleted { by: Side::Us }));
                assert!(by_us, "{what}");
                self.pair.run_for(Duration::from_secs(60));
                assert_eq!((self.pair.left.sa_count(), self.pair.right.sa_count()), (0, 0), "{what}");
            }
            Stage::InitiatorUp | Stage::ResponderUp => {
                let asker = self.genuine.to.other();
                assert!(self.pair.said(asker).any(|e| matches!(e, Event::Alive { .. })), "{what}");
            }
            _ => {}
        }
        let failed = failures(&self.pair, End::Left).len() + failures(&self.pair, End::Right).len();
        assert_eq!(failed, 0, "{what}");
        self.pair.run_for(Duration::from_secs(300));
        if !matches!(self.stage, Stage::InitiatorDeleting | Stage::ResponderDeleting) {
            assert_eq!((self.pair.left.sa_count(), self.pair.right.sa_count()), (1, 1), "{what}: nothing left behind");
        }
    }
}

#[test]
fn one_forgery_before_the_genuine_packet() {
    let mut tried = 0;
    for stage in STAGES {
        let kinds = stage.set().forgeries();
        for (kind, (what, forgeries, _)) in kinds.iter().enumerate() {
            assert!(!forgeries.is_empty() || stage.init_sent(), "{stage:?}: {what}");
            for one in 0..forgeries.len() {
                // Keys come from the seed: the same scene, and the same forgery, each time.
                let mut scene = stage.set();
                let (_, mut forgeries, reasons) = scene.forgeries().swap_remove(kind);
                scene.suffer(what, forgeries.swap_remove(one), &reasons);
                scene.finish(what);
                tried += 1;
            }
        }
    }
    assert!(tried > 400, "{tried}");
}

#[test]
fn all_of_them_one_after_another() {
    for stage in STAGES {
        let mut scene = stage.set();
        for (what, forgeries, reasons) in scene.forgeries() {
            for forgery in forgeries {
                scene.suffer(what, forgery, &reasons);
            }
        }
        scene.finish("all of them");
    }
}

/// Any single flipped bit of the answer to IKE_SA_INIT, which nothing protects, and then the genuine one.
#[test]
fn a_corrupted_answer_to_ike_sa_init_delays_nothing() {
    let len = Stage::InitSentIgnore.set().genuine.transmit.bytes.len();
    for stage in [Stage::InitSentIgnore, Stage::InitSentWait] {
        for at in 0..len {
            let mut scene = stage.set();
            let mut bytes = scene.genuine.transmit.bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            scene.suffer("one bit", bytes, &[]);
            scene.finish(&format!("octet {at} with another bit"));
        }
    }
}

/// Whoever answers IKE_SA_INIT has keys, and can refuse IKE_AUTH with a good ICV. That ends nothing while the genuine
/// answer is waited for too.
#[test]
fn a_protected_refusal_by_somebody_else() {
    for later in [false, true] {
        for fragmented in [false, true] {
            let mut left = left_spec();
            left.behaviour.unprotected_errors = UnprotectedErrors::Ignore;
            left.fragmentation = fragmented;
            let mut right = right_spec();
            right.fragmentation = fragmented;
            let mut pair = Pair::to(right.clone());
            pair.connect(left);
            let init = pair.take().remove(0);
            right.remote_auth = psk("not the key");
            let mut mallory = Pair::new(config(vec![], 8), config(vec![right], 9));
            mallory.deliver(init.clone());
            let forged = mallory.take().remove(0);
            pair.deliver(init);
            let genuine = pair.take().remove(0);
            pair.deliver(forged);
            let to_mallory = pair.take().remove(0);
            pair.deliver(genuine);
            let to_right = pair.take();
            mallory.deliver(to_mallory);
            let refusal = mallory.take().remove(0);
            if later {
                to_right.into_iter().for_each(|d| pair.deliver(d));
                let answer = pair.take().remove(0);
                pair.deliver(refusal);
                pair.deliver(answer);
            } else {
                pair.deliver(refusal);
                to_right.into_iter().for_each(|d| pair.deliver(d));
            }
            assert_eq!(pair.left.counters().ignored(Unacceptable), 1);
            pair.settle();
            assert_joined(&pair, "after somebody else's refusal");
            assert_eq!(pair.left.counters().failed, 0);
        }
    }
}

/// Only one answer, and it refuses: that is what an honest peer with another key looks like, and it is said at once.
#[test]
fn a_protected_refusal_by_the_only_one_is_believed() {
    let mut left = left_spec();
    left.local_auth = psk("correct h0rse");
    let mut pair = Pair::to(right_spec());
    pair.connect(left);
    pair.settle();
    let failed = failures(&pair, End::Left);
    assert!(matches!(
        failed[..],
        [Failed { why: Failure::Rejected { notify: NotifyType::AUTHENTICATION_FAILED, protected: true, .. }, .. }]
    ));
}

/// A forged COOKIE or INVALID_KE_PAYLOAD makes the initiator ask again; AUTH covers the request that was answered.
#[test]
fn a_forged_cookie_or_group_demand_only_costs_a_round_trip() {
    let group = NotifyPayload::with_data(
        NotifyType::INVALID_KE_PAYLOAD,
        ikelab::wire::registry::KeMethod::ECP_256.0.to_be_bytes(),
    );
    let cookie = NotifyPayload::with_data(NotifyType::COOKIE, [7; 32]);
    for (forged, genuine_first) in [(cookie.clone(), false), (group, false), (cookie, true)] {
        let mut left = left_spec();
        left.behaviour.unprotected_errors = UnprotectedErrors::Ignore;
        let mut pair = Pair::to(right_spec());
        pair.connect(left);
        let init = pair.take().remove(0);
        let request = header_of(&init.transmit.bytes);
        let header = Header { flags: Flags::RESPONSE, spi_r: IkeSpi(0), ..request };
        pair.deliver(init.clone());
        let genuine = pair.take().remove(0);
        let forged = with_bytes(&genuine, encoded(header, vec![Payload::Notify(forged.clone())]));
        if genuine_first {
            pair.deliver(genuine);
            pair.deliver(forged);
        } else {
            pair.deliver(forged);
            pair.deliver(genuine);
        }
        pair.settle();
        assert_joined(&pair, "in spite of a forged demand");
    }
}

/// The peer demands another cookie of each repeat: only the first is followed, since the peer answers the request that has
/// it. When that is not answered either, the next demand is.
#[test]
fn a_cookie_for_a_repeat_is_not_followed() {
    let mut pair = Pair::to(right_spec());
    pair.connect(left_spec());
    let init = pair.take().remove(0);
    pair.run_until_without_network(Duration::from_secs(6));
    let header = Header { flags: Flags::RESPONSE, ..header_of(&init.transmit.bytes) };
    let to_left = InFlight {
        to: End::Left,
        transmit: Transmit { path: seen_by_receiver(&init.transmit.path), ..init.transmit.clone() },
    };
    let demand = |n: u8| {
        let cookie = Payload::Notify(NotifyPayload::with_data(NotifyType::COOKIE, [n; 16]));
        with_bytes(&to_left, encoded(header, vec![cookie]))
    };
    let repeats = pair.left.counters().retransmits;
    assert!(repeats > 0);
    pair.deliver(demand(1));
    let asked = pair.take();
    assert_eq!(asked.len(), 1);
    for n in 0..repeats {
        pair.deliver(demand(2 + n as u8));
    }
    assert_eq!(pair.take().len(), 0, "one demand per repeat answers a request that is over");
    pair.deliver(demand(100));
    let again = pair.take();
    assert_eq!(again.len(), 1, "one more is about the request with the cookie");
    assert_ne!(asked[0].transmit.bytes, again[0].transmit.bytes);
    pair.deliver(again[0].clone());
    pair.settle();
    assert_joined(&pair, "AUTH covers the request that was answered");
}

/// Demands without end are a complaint, and end the handshake only where unprotected errors are believed.
#[test]
fn a_flood_of_cookies_ends_nothing_by_itself() {
    for believe in [true, false] {
        let mut left = left_spec();
        if !believe {
            left.behaviour.unprotected_errors = UnprotectedErrors::Ignore;
        }
        let mut pair = Pair::to(right_spec());
        pair.connect(left);
        let init = pair.take().remove(0);
        let request = header_of(&init.transmit.bytes);
        let header = Header { flags: Flags::RESPONSE, ..request };
        let to_left = InFlight {
            to: End::Left,
            transmit: Transmit { path: seen_by_receiver(&init.transmit.path), ..init.transmit },
        };
        for n in 0..10 {
            let cookie = Payload::Notify(NotifyPayload::with_data(NotifyType::COOKIE, [n; 16]));
            pair.deliver(with_bytes(&to_left, encoded(header, vec![cookie])));
        }
        let requests = pair.take();
        assert_eq!(requests.len(), 3, "as many as are followed");
        if believe {
            assert_eq!(failures(&pair, End::Left)[0].why, Failure::Misbehaved(PeerMisbehaved::CookieLoop(4)));
            assert_eq!(pair.left.sa_count(), 0);
        } else {
            pair.deliver(requests.last().expect("three").clone());
            pair.settle();
            assert_joined(&pair, "the last request is answered");
        }
    }
}

/// More answers than anybody follows: bounded, and still the first ones count.
#[test]
fn no_more_than_four_answers_are_followed() {
    let mut pair = Pair::to(right_spec());
    pair.connect(left_spec());
    let init = pair.take().remove(0);
    pair.deliver(init.clone());
    let genuine = pair.take().remove(0);
    pair.deliver(genuine);
    let auth = pair.take();
    for salt in 0..20 {
        let mut third = Pair::new(config(vec![], 8), config(vec![right_spec()], 100 + salt));
        third.deliver(init.clone());
        third.take().into_iter().for_each(|d| pair.deliver(d));
    }
    assert_eq!(pair.left.counters().ignored(Limit), 17);
    assert_eq!(pair.take().len(), 3);
    // All of those followed are sent again, each bit for bit.
    let before = auth[0].transmit.bytes.clone();
    pair.run_for(Duration::from_millis(999));
    pair.now = pair.left.poll_timeout().expect("a retransmission").0;
    pair.left.handle_timeout(pair.now);
    pair.collect();
    let again = pair.take();
    assert_eq!(again.len(), 4);
    assert_eq!(again[0].transmit.bytes, before);
    pair.deliver(again[0].clone());
    pair.settle();
    assert_joined(&pair, "the genuine one among four");
}
