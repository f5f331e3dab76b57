//! The rules of the engine, one file for each family.

mod errors;
mod forged;
mod limits;
mod repeats;
mod tampered;

use ikelab::engine::*;
use ikelab::net::Transmit;
use ikelab::wire::registry::{ExchangeType, NotifyType};
use ikelab::wire::{Flags, Header, Message, NotifyPayload, Payload, decode, encode_into};

use crate::pair::*;

/// The octets of a message without protection; lengths are filled in.
fn encoded(header: Header, outer: Vec<Payload>) -> Vec<u8> {
    let mut out = Vec::new();
    encode_into(&mut out, &Message::clear(header, outer), None);
    out
}

fn header_of(bytes: &[u8]) -> Header {
    Header::read(bytes).expect("a whole header")
}

fn notify(kind: NotifyType) -> Payload {
    Payload::Notify(NotifyPayload::new(kind))
}

/// The notifies of an unprotected message.
fn notifies(bytes: &[u8]) -> Vec<NotifyPayload> {
    decode(bytes).expect("a message").payloads.iter().filter_map(Payload::as_notify).cloned().collect()
}

/// Writes the message's size into its header.
fn fix_length(bytes: &mut [u8]) {
    let len = bytes.len() as u32;
    bytes[24..28].copy_from_slice(&len.to_be_bytes());
}

/// The same datagram with other octets.
fn with_bytes(datagram: &InFlight, bytes: Vec<u8>) -> InFlight {
    InFlight { to: datagram.to, transmit: Transmit { bytes, ..datagram.transmit.clone() } }
}

/// From somewhere else.
fn from_elsewhere(datagram: &InFlight, address: &str) -> InFlight {
    let mut other = datagram.clone();
    other.transmit.path.local = address.parse().expect("an address and port");
    other
}

fn ignored_in_all(counters: &Counters) -> u64 {
    counters.ignored.iter().sum()
}

fn failures(pair: &Pair, end: End) -> Vec<&Failed> {
    pair.said(end)
        .filter_map(|e| match e {
            Event::Failed(failed) | Event::ChildFailed(failed) => Some(&**failed),
            _ => None,
        })
        .collect()
}

fn ike_up(pair: &Pair, end: End) -> &IkeUp {
    pair.said(end)
        .find_map(|e| if let Event::IkeUp(up) = e { Some(&**up) } else { None })
        .unwrap_or_else(|| panic!("{end:?} is not up: {:?}", failures(pair, end)))
}

/// The keys of the IKE SA that came up at this end.
fn keys(pair: &Pair, end: End) -> &IkeKeyExport {
    let spis = ike_up(pair, end).spis;
    pair.said(end)
        .filter_map(|e| if let Event::IkeKeys(keys) = e { Some(&**keys) } else { None })
        .filter(|keys| keys.spis == spis)
        .last()
        .expect("keys are exported before the IKE SA is up")
}

fn child(pair: &Pair, end: End) -> &ChildSa {
    pair.said(end)
        .find_map(|e| if let Event::ChildInbound(child) = e { Some(&**child) } else { None })
        .expect("a Child SA")
}

/// Both ends are up, with the same keys.
fn assert_joined(pair: &Pair, what: &str) {
    assert!(pair.is_up(End::Left) && pair.is_up(End::Right), "{what}: {:?}", failures(pair, End::Left));
    let (left, right) = (keys(pair, End::Left), keys(pair, End::Right));
    let secrets = |k: &IkeKeyExport| {
        [&k.sk_ei, &k.sk_er, &k.sk_ai, &k.sk_ar, &k.sk_d, &k.sk_pi, &k.sk_pr].map(|s| s.as_ref().to_vec())
    };
    assert_eq!(left.spis, right.spis, "{what}");
    assert!(secrets(left) == secrets(right), "{what}: other keys at each end");
    let (left, right) = (child(pair, End::Left), child(pair, End::Right));
    assert_eq!((left.spi_in, left.spi_out), (right.spi_out, right.spi_in), "{what}");
    assert!(left.keys.i_encr == right.keys.i_encr && left.keys.r_encr == right.keys.r_encr, "{what}");
}

/// A connected pair.
fn established() -> (Pair, SaId) {
    let mut pair = Pair::to(right_spec());
    let sa = pair.connect(left_spec());
    pair.settle();
    assert_joined(&pair, "an honest handshake");
    (pair, sa)
}

/// The other end's handle of the only IKE SA.
fn right_sa(pair: &Pair) -> SaId {
    pair.events
        .iter()
        .find_map(|(end, _, sa, event)| (*end == End::Right && matches!(event, Event::IkeUp(_))).then_some(*sa))
        .expect("the responder is up")
}

/// Orders something of one end and collects what it sends.
fn order(pair: &mut Pair, end: End, command: Command) -> Vec<InFlight> {
    let sa = match end {
        End::Left => left_sa(pair),
        End::Right => right_sa(pair),
    };
    let now = pair.now;
    pair.end(end).command(now, sa, command).expect("an established IKE SA takes it");
    pair.collect();
    pair.take()
}

fn left_sa(pair: &Pair) -> SaId {
    pair.events
        .iter()
        .find_map(|(end, _, sa, event)| (*end == End::Left && matches!(event, Event::IkeUp(_))).then_some(*sa))
        .expect("the initiator is up")
}

type OnDecision = Option<Box<dyn FnMut(Decision<'_>) + Send>>;
type OnSecret = Option<Box<dyn FnMut(SecretKind, &mut Vec<u8>) + Send>>;
type OnMessage = Option<Box<dyn FnMut(&MsgCx, &mut Message) + Send>>;
type OnLayout = Option<Box<dyn FnMut(&MsgCx, LayoutPart, &ikelab::wire::FieldMap, &mut Layout) + Send>>;
type OnBody = Option<Box<dyn FnMut(&MsgCx, &mut SkBody) + Send>>;
type OnFragments = Option<Box<dyn FnMut(&MsgCx, &mut Vec<Fragment>) + Send>>;
type OnDatagrams = Option<Box<dyn FnMut(&MsgCx, &mut Vec<Outgoing>) + Send>>;
type OnInject = Option<Box<dyn FnMut(&SaCx, &Trigger, &mut Vec<Injected>) + Send>>;
type OnTimer = Option<Box<dyn FnMut(Timer, std::time::Duration) -> Option<std::time::Duration> + Send>>;
type OnInbound = Option<Box<dyn FnMut(&RecvCx, &mut Vec<u8>) -> Deliver + Send>>;
type OnParsed = Option<Box<dyn FnMut(&RecvCx, &mut Message) -> Deliver + Send>>;

/// A tamper whose seams are closures.
#[derive(Default)]
struct Bend {
    decide: OnDecision,
    secret: OnSecret,
    message: OnMessage,
    layout: OnLayout,
    plaintext: OnBody,
    fragments: OnFragments,
    datagrams: OnDatagrams,
    inject: OnInject,
    timer: OnTimer,
    inbound: OnInbound,
    parsed: OnParsed,
}

impl Tamper for Bend {
    fn decide(&mut self, _: &SaCx, decision: Decision<'_>) {
        if let Some(bend) = &mut self.decide {
            bend(decision);
        }
    }
    fn secret(&mut self, _: &SaCx, kind: SecretKind, octets: &mut Vec<u8>) {
        if let Some(bend) = &mut self.secret {
            bend(kind, octets);
        }
    }
    fn message(&mut self, cx: &MsgCx, message: &mut Message) {
        if let Some(bend) = &mut self.message {
            bend(cx, message);
        }
    }
    fn layout(&mut self, cx: &MsgCx, part: LayoutPart, map: &ikelab::wire::FieldMap, layout: &mut Layout) {
        if let Some(bend) = &mut self.layout {
            bend(cx, part, map, layout);
        }
    }
    fn plaintext(&mut self, cx: &MsgCx, body: &mut SkBody) {
        if let Some(bend) = &mut self.plaintext {
            bend(cx, body);
        }
    }
    fn fragments(&mut self, cx: &MsgCx, fragments: &mut Vec<Fragment>) {
        if let Some(bend) = &mut self.fragments {
            bend(cx, fragments);
        }
    }
    fn datagrams(&mut self, cx: &MsgCx, datagrams: &mut Vec<Outgoing>) {
        if let Some(bend) = &mut self.datagrams {
            bend(cx, datagrams);
        }
    }
    fn inject(&mut self, sa: &SaCx, trigger: &Trigger, out: &mut Vec<Injected>) {
        if let Some(bend) = &mut self.inject {
            bend(sa, trigger, out);
        }
    }
    fn timer(&mut self, _: &SaCx, timer: Timer, honest: std::time::Duration) -> Option<std::time::Duration> {
        match &mut self.timer {
            Some(bend) => bend(timer, honest),
            None => Some(honest),
        }
    }
    fn inbound(&mut self, cx: &RecvCx, bytes: &mut Vec<u8>) -> Deliver {
        self.inbound.as_mut().map_or(Deliver::Yes, |bend| bend(cx, bytes))
    }
    fn parsed(&mut self, cx: &RecvCx, message: &mut Message) -> Deliver {
        self.parsed.as_mut().map_or(Deliver::Yes, |bend| bend(cx, message))
    }
}

/// A pair with one end bent, before anything was sent.
fn bent(end: End, bend: Bend) -> Pair {
    let mut pair = Pair::to(right_spec());
    pair.end(end).set_tamper(Box::new(bend));
    pair
}

/// Changes messages of one exchange and kind.
fn on_message(exchange: ExchangeType, response: bool, mut change: impl FnMut(&mut Message) + Send + 'static) -> Bend {
    let message = move |cx: &MsgCx, message: &mut Message| {
        if cx.exchange == exchange && cx.response == response {
            change(message);
        }
    };
    Bend { message: Some(Box::new(message)), ..Bend::default() }
}
