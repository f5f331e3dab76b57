//! Two engines, one of them bent, and everything they sent as the other end can decode it.

use std::collections::BTreeMap;
use std::time::Duration;

use ikelab::engine::{Command, ConnectionSpec, DpdMode, DpdSpec, Event, IkeKeyExport, NatTraversal};
use ikelab::fault::{FaultPlan, FiringLog, Rule, table};
use ikelab::net::{Class, Path};
use ikelab::seed::PlanSeed;
use ikelab::time::Instant;
use ikelab::wire::registry::{ExchangeType, KeMethod, NotifyType, PayloadType};
use ikelab::wire::{Header, Payload, decode, decode_chain};

use crate::pair::{End, InFlight, Pair, config, ike_proposal, left_spec, net, right_spec};

/// What happens, apart from the fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scene {
    /// A tunnel comes up.
    Plain,
    /// With the initiator behind what looks like a NAT.
    Nat,
    /// With a key exchange over P-256.
    Curve,
    /// With an IKE_AUTH so long that it goes in fragments.
    Long,
    /// The responder never hears anything.
    Lost,
    /// The initiator rekeys its Child SA after 2 s.
    Rekey,
    /// The initiator rekeys the IKE SA after 2 s.
    RekeyIke,
    /// Its Child SA lives for 100 s.
    Lifetime,
    /// The initiator asks after 2 s whether the responder lives.
    Liveness,
    /// The responder asks after 2 s whether the initiator lives.
    PeerLiveness,
    /// The initiator checks liveness every 40 s.
    Dpd,
    /// The initiator deletes its Child SA after 2 s.
    DeleteChild,
}

/// One datagram as it left, and as whoever has the keys reads it.
#[derive(Clone, Debug)]
pub struct Packet {
    pub at: Instant,
    pub from: End,
    pub path: Path,
    pub class: Class,
    pub bytes: Vec<u8>,
    pub header: Option<Header>,
    pub outer: Vec<Payload>,
    pub sk: Option<Sealed>,
}

/// The encrypted payload of a datagram.
#[derive(Clone, Debug, Default)]
pub struct Sealed {
    pub next: u8,
    /// Integrity check and padding were good.
    pub opened: bool,
    pub iv: Vec<u8>,
    /// The inner payloads' octets.
    pub text: Vec<u8>,
    pub padding: usize,
    pub payloads: Vec<Payload>,
    /// They do not parse.
    pub bad: bool,
    pub fragment: Option<(u16, u16)>,
}

/// A payload's generic header, and its octets as far as they are there.
#[derive(Clone, Debug)]
pub struct Raw {
    pub kind: u8,
    pub next: u8,
    pub critical: u8,
    pub length: usize,
    pub body: Vec<u8>,
}

fn walk(mut kind: u8, mut bytes: &[u8]) -> Vec<Raw> {
    let mut list = Vec::new();
    while kind != 0 && bytes.len() >= 4 {
        let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        let end = length.clamp(4, bytes.len());
        list.push(Raw { kind, next: bytes[0], critical: bytes[1], length, body: bytes[4..end].to_vec() });
        // SK and SKF hold what follows.
        if length < 4 || length > bytes.len() || kind == 46 || kind == 53 {
            break;
        }
        (kind, bytes) = (bytes[0], &bytes[length..]);
    }
    list
}

impl Packet {
    pub fn is(&self, exchange: ExchangeType, response: bool) -> bool {
        self.class == Class::Ike
            && self.header.is_some_and(|h| h.exchange == exchange && h.flags.is_response() == response)
    }

    /// Payloads by their octets: inside SK if that could be opened.
    pub fn raws(&self) -> Vec<Raw> {
        match &self.sk {
            Some(sk) if sk.opened => walk(sk.next, &sk.text),
            _ if self.bytes.len() < Header::LEN => Vec::new(),
            _ => walk(self.bytes[16], &self.bytes[Header::LEN..]),
        }
    }

    pub fn raw(&self, kind: PayloadType) -> Option<Raw> {
        self.raws().into_iter().find(|raw| raw.kind == kind.0)
    }

    /// A payload's octets, nothing if it is not there.
    pub fn body(&self, kind: PayloadType) -> Vec<u8> {
        self.raw(kind).map(|raw| raw.body).unwrap_or_default()
    }

    /// Octets of a payload's body; zeros where there are none.
    pub fn at<const N: usize>(&self, kind: PayloadType, offset: usize) -> [u8; N] {
        let body = self.body(kind);
        let mut octets = [0; N];
        for (n, octet) in octets.iter_mut().enumerate() {
            *octet = body.get(offset + n).copied().unwrap_or(0);
        }
        octets
    }

    pub fn count(&self, kind: PayloadType) -> usize {
        self.raws().iter().filter(|raw| raw.kind == kind.0).count()
    }

    /// SPI and data of a notify.
    pub fn notify(&self, kind: NotifyType) -> Option<(Vec<u8>, Vec<u8>)> {
        let inner = self.sk.iter().flat_map(|sk| &sk.payloads);
        self.outer
            .iter()
            .chain(inner)
            .filter_map(Payload::as_notify)
            .find(|n| n.kind == kind)
            .map(|n| (n.spi.clone(), n.data.clone()))
    }

    pub fn has(&self, kind: NotifyType) -> bool {
        self.notify(kind).is_some()
    }

    /// Type, id and attributes of the first proposal's transforms.
    pub fn transforms(&self) -> Vec<(u8, u16, Vec<u8>)> {
        let body = self.body(PayloadType::SA);
        let Some(spi) = body.get(6) else { return Vec::new() };
        let mut rest = body.get(8 + usize::from(*spi)..).unwrap_or_default();
        let mut list = Vec::new();
        while rest.len() >= 8 {
            let len = usize::from(u16::from_be_bytes([rest[2], rest[3]])).clamp(8, rest.len());
            list.push((rest[4], u16::from_be_bytes([rest[6], rest[7]]), rest[8..len].to_vec()));
            rest = &rest[len..];
        }
        list
    }

    pub fn fragment(&self) -> Option<(u16, u16)> {
        self.sk.as_ref().and_then(|sk| sk.fragment)
    }

    pub fn text(&self) -> &[u8] {
        self.sk.as_ref().map(|sk| sk.text.as_slice()).unwrap_or_default()
    }

    pub fn opened(&self) -> bool {
        self.sk.as_ref().is_some_and(|sk| sk.opened)
    }
}

/// What was sent, and what became of it.
pub struct Run {
    pub packets: Vec<Packet>,
    pub pair: Pair,
    pub log: FiringLog,
    /// The end that is bent.
    pub bent: End,
}

impl Run {
    /// What the bent end sent.
    pub fn sent(&self) -> impl Iterator<Item = &Packet> {
        self.packets.iter().filter(|packet| packet.from == self.bent)
    }

    pub fn first(&self, from: End, exchange: ExchangeType, response: bool) -> Option<&Packet> {
        self.packets.iter().find(|packet| packet.from == from && packet.is(exchange, response))
    }

    /// The first message of this kind from the bent end.
    pub fn ours(&self, exchange: ExchangeType, response: bool) -> Option<&Packet> {
        self.first(self.bent, exchange, response)
    }

    /// IKE_AUTH fragments of the bent end as they left the first time.
    pub fn fragments(&self) -> Vec<((u16, u16), Vec<u8>)> {
        let of = self.sent().filter(|packet| packet.at < Instant::from_millis(500));
        of.filter_map(|packet| packet.fragment().map(|f| (f, packet.text().to_vec()))).collect()
    }

    /// Child SAs of the bent end's established IKE SAs.
    pub fn children(&mut self) -> usize {
        let bent = self.bent;
        self.pair.end(bent).sas().iter().filter(|sa| sa.established).map(|sa| sa.children.len()).sum()
    }
}

/// A rule of a named fault.
pub fn rule(name: &str, with: &[(&str, &str)], exchange: Option<ExchangeType>, times: Option<u32>) -> Rule {
    let row = table::find(name).unwrap_or_else(|error| panic!("{error}"));
    let mut args: BTreeMap<String, String> = row.sample();
    args.extend(with.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let mut rule = row.rule(&args, times).unwrap_or_else(|error| panic!("{error}"));
    rule.when.exchange = exchange.or(rule.when.exchange);
    rule.check().unwrap_or_else(|error| panic!("{error}"));
    rule
}

/// Plays a scene with rules at one or both ends.
pub fn play(scene: Scene, bent: End, left_rules: Vec<Rule>, right_rules: Vec<Rule>, salt: u64) -> Run {
    let (mut left, mut right) = (left_spec(), right_spec());
    dress(scene, &mut left, &mut right);
    let mut pair = Pair::new(config(vec![], 1 + 2 * salt), config(vec![right], 2 + 2 * salt));
    let plan = |rules: Vec<Rule>| FaultPlan::new(rules, &PlanSeed::from_text("faults"));
    let (left_plan, right_plan) = (plan(left_rules), plan(right_rules));
    let log = if bent == End::Left { left_plan.log() } else { right_plan.log() };
    pair.left.set_tamper(Box::new(left_plan));
    pair.right.set_tamper(Box::new(right_plan));
    pair.connect(left);
    let mut packets = Vec::new();
    let deaf = scene == Scene::Lost;
    settle(&mut pair, &mut packets, deaf);
    run_until(&mut pair, &mut packets, deaf, Instant::from_millis(2_000));
    order(scene, &mut pair);
    settle(&mut pair, &mut packets, deaf);
    run_until(&mut pair, &mut packets, deaf, Instant::from_millis(25_000));
    let keys: Vec<IkeKeyExport> = pair
        .events
        .iter()
        .filter_map(|(.., event)| match event {
            Event::IkeKeys(keys) => Some((**keys).clone()),
            _ => None,
        })
        .collect();
    let packets = packets.into_iter().map(|(at, datagram)| read(at, datagram, &keys)).collect();
    Run { packets, pair, log, bent }
}

fn dress(scene: Scene, left: &mut ConnectionSpec, right: &mut ConnectionSpec) {
    match scene {
        Scene::Nat => left.nat.traversal = NatTraversal::Force,
        Scene::Curve => {
            for spec in [left, right] {
                spec.ike_proposals = vec![ike_proposal(&[KeMethod::ECP_256])];
            }
        }
        Scene::Long => {
            let nets: Vec<_> = (0..120).map(|n| net(&format!("10.1.{n}.0/24"))).collect();
            (left.fragmentation, right.fragmentation) = (true, true);
            left.children[0].local_ts.clone_from(&nets);
            right.children[0].remote_ts = nets;
        }
        Scene::Lifetime => left.children[0].lifetime = Some(Duration::from_secs(100)),
        Scene::Dpd => left.dpd = Some(DpdSpec::new(Duration::from_secs(40), DpdMode::Periodic)),
        _ => {}
    }
}

fn order(scene: Scene, pair: &mut Pair) {
    let end = if scene == Scene::PeerLiveness { End::Right } else { End::Left };
    let now = pair.now;
    let Some(view) = pair.end(end).sas().into_iter().find(|sa| sa.established) else { return };
    let child = view.children.last().map(|child| child.spi_in);
    let command = match (scene, child) {
        (Scene::Rekey, Some(spi)) => Command::RekeyChild(spi),
        (Scene::DeleteChild, Some(spi)) => Command::DeleteChild(spi),
        (Scene::RekeyIke, _) => Command::RekeyIke,
        (Scene::Liveness | Scene::PeerLiveness, _) => Command::Liveness,
        _ => return,
    };
    pair.end(end).command(now, view.sa, command).expect("it is up");
    pair.collect();
}

fn settle(pair: &mut Pair, packets: &mut Vec<(Instant, InFlight)>, deaf: bool) {
    while !pair.flight.is_empty() {
        let datagram = pair.flight.remove(0);
        packets.push((pair.now, datagram.clone()));
        assert!(packets.len() < 20_000, "messages without end");
        if !(deaf && datagram.to == End::Right) {
            pair.deliver(datagram);
        }
    }
}

fn run_until(pair: &mut Pair, packets: &mut Vec<(Instant, InFlight)>, deaf: bool, until: Instant) {
    loop {
        let due = [&pair.left, &pair.right].into_iter().filter_map(|e| e.poll_timeout()).map(|(at, _)| at).min();
        let Some(due) = due.filter(|due| *due <= until) else { break };
        pair.now = pair.now.max(due);
        let now = pair.now;
        pair.left.handle_timeout(now);
        pair.right.handle_timeout(now);
        pair.collect();
        settle(pair, packets, deaf);
    }
    pair.now = until;
}

fn read(at: Instant, datagram: InFlight, keys: &[IkeKeyExport]) -> Packet {
    let InFlight { to, transmit } = datagram;
    let bytes = transmit.bytes;
    let decoded = decode(&bytes).ok();
    let sk = decoded.as_ref().and_then(|decoded| decoded.sk.as_ref()).map(|sk| {
        let mut sealed =
            Sealed { next: sk.first_inner.0, fragment: sk.fragment.map(|f| (f.number, f.total)), ..Sealed::default() };
        // A rule may have changed the SPIs or the flags: whichever keys fit are the right ones.
        for key in keys {
            for (encr, integ) in [(&key.sk_ei, &key.sk_ai), (&key.sk_er, &key.sk_ar)] {
                let suite = key.suite.sk();
                let mut copy = bytes.clone();
                if sealed.opened || sk.body.end != bytes.len() {
                    continue;
                }
                if let Ok(plain) = suite.open(encr.as_ref(), integ.as_ref(), &mut copy, sk.body.start) {
                    sealed.opened = true;
                    sealed.iv = bytes[sk.body.start..sk.body.start + suite.iv_len()].to_vec();
                    sealed.padding = sk.body.end - suite.icv_len() - 1 - plain.end;
                    sealed.text = copy[plain].to_vec();
                    let (payloads, error) = decode_chain(sk.first_inner, &sealed.text);
                    (sealed.payloads, sealed.bad) = (payloads, error.is_some());
                }
            }
        }
        sealed
    });
    let outer = decoded.map(|decoded| decoded.payloads).unwrap_or_default();
    let header = Header::read(&bytes);
    Packet { at, from: to.other(), path: transmit.path, class: transmit.class, bytes, header, outer, sk }
}
