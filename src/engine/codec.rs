//! From a message to datagrams: encode, protect, transmit, with the outgoing seams in their order.
//!
//! The honest path encodes straight into the datagram's buffer and seals in place. The tampered path goes the long way
//! round, through a [`FieldMap`] and copies.

use std::time::Duration;

use super::endpoint::Core;
use super::event::{Event, IgnoredWhy, MessageTrace};
use super::fragment::{Budget, Joined, MessageKey, Reassembly, join, room};
use super::sa::{IkeSa, Phase};
use super::spec::Side;
use super::tamper::{Fragment, Injected, Layout, LayoutPart, MsgCx, Outgoing, SkBody, Trigger};
use crate::crypto::{IkeKeys, SkSuite};
use crate::net::{Class, Path, Transmit};
use crate::seed::{Purpose, Scope};
use crate::time::Instant;
use crate::wire::registry::PayloadType;
use crate::wire::{
    Decoded, FieldMap, Header, Message, Payload, WireError, decode, decode_chain, encode_chain, encode_outer,
};

/// Octets of a generic payload header.
const GENERIC: usize = 4;
/// Octets that RFC 7383 2.5 adds before the IV.
const FRAGMENT: usize = 4;

/// What protects an outgoing message.
pub(super) struct Sealing<'a> {
    pub keys: &'a IkeKeys,
    pub suite: SkSuite,
    /// Our original role decides which keys are ours.
    pub initiator: bool,
    pub scope: Scope,
    /// A number never used before with these keys, with room for fragments in its low 16 bits.
    pub iv: u64,
    /// Split what has more octets (RFC 7383); 0 for never.
    pub fragments: u16,
}

impl Sealing<'_> {
    /// Whether a message of so many octets is split.
    fn splits(&self, octets: usize) -> bool {
        self.fragments > 0 && octets > usize::from(self.fragments)
    }
}

impl Core {
    /// Encodes and protects a message; what comes out is cached and may be transmitted many times.
    pub(super) fn encode(
        &mut self,
        cx: &MsgCx,
        tampered: bool,
        message: &mut Message,
        sealing: Option<&Sealing<'_>>,
    ) -> Vec<Vec<u8>> {
        if tampered {
            return self.encode_tampered(cx, message, sealing);
        }
        let mut out = Vec::with_capacity(512);
        match (&message.sk, sealing) {
            (Some(inner), Some(sealing)) => {
                let sk = encode_outer(&mut out, &message.header, &message.outer, PayloadType::SK, None);
                let body = out.len();
                self.push_iv(&mut out, sealing);
                let plain = out.len();
                let first = encode_chain(&mut out, inner, PayloadType::NONE, None, "");
                let sealed = sealing.suite.sealed_len(out.len() - plain);
                if sealing.splits(body + sealed) {
                    let chain = out.split_off(plain);
                    let fragments = split(&chain, sk, sealing);
                    return self.seal_fragments(cx, false, message, first, fragments, sealing);
                }
                let padding = sealing.suite.pad_len(out.len() - plain);
                out.resize(out.len() + padding, 0);
                out.push(padding as u8);
                finish(&mut out, sk, first, sealing.suite.icv_len());
                seal(&mut out, body, sealing);
            }
            _ => {
                encode_outer(&mut out, &message.header, &message.outer, PayloadType::NONE, None);
                fix_length(&mut out);
            }
        }
        vec![out]
    }

    /// The long way round, with every seam.
    fn encode_tampered(&mut self, cx: &MsgCx, message: &mut Message, sealing: Option<&Sealing<'_>>) -> Vec<Vec<u8>> {
        if let Some(tamper) = &mut self.tamper {
            tamper.message(cx, message);
        }
        let (Some(inner), Some(sealing)) = (&message.sk, sealing) else {
            let mut out = Vec::new();
            let mut map = FieldMap::default();
            encode_outer(&mut out, &message.header, &message.outer, PayloadType::NONE, Some(&mut map));
            fix_length(&mut out);
            self.edit(cx, LayoutPart::Outer, &map, &mut out);
            return vec![out];
        };
        let mut chain = Vec::new();
        let mut map = FieldMap::default();
        let first = encode_chain(&mut chain, inner, PayloadType::NONE, Some(&mut map), "");
        self.edit(cx, LayoutPart::Inner, &map, &mut chain);
        let mut iv = Vec::new();
        self.push_iv(&mut iv, sealing);
        let padding = sealing.suite.pad_len(chain.len());
        let mut body = SkBody { iv, inner: chain, padding: vec![0; padding], pad_length: padding as u8 };
        if let Some(tamper) = &mut self.tamper {
            tamper.plaintext(cx, &mut body);
        }
        let mut fragments = vec![Fragment { number: 1, total: 1, inner: body.inner.clone() }];
        if sealing.splits(Header::LEN + GENERIC + sealing.suite.sealed_len(body.inner.len())) {
            fragments = split(&body.inner, Header::LEN, sealing);
        }
        if let Some(tamper) = &mut self.tamper {
            tamper.fragments(cx, &mut fragments);
        }
        let whole = matches!(fragments.as_slice(), [only] if only.number == 1 && only.total == 1);
        if whole {
            body.inner = fragments.swap_remove(0).inner;
            return vec![self.seal_piece(cx, true, message, first, None, &body, sealing)];
        }
        self.seal_fragments(cx, true, message, first, fragments, sealing)
    }

    /// A message that was sent, split anew into smaller fragments (RFC 7383 2.5.2); `None` where that makes no more of them.
    /// What we have sealed we can open, so nothing needs to be kept for this.
    pub(super) fn split_anew<'d>(
        &mut self,
        cx: &MsgCx,
        datagrams: impl Iterator<Item = &'d [u8]>,
        sealing: &Sealing<'_>,
    ) -> Option<Vec<Vec<u8>>> {
        let (encr, integ) = sealing.keys.seal_keys(sealing.initiator);
        let (mut before, mut chain, mut head) = (0, Vec::new(), None);
        for datagram in datagrams {
            let mut bytes = datagram.to_vec();
            let decoded = decode(&bytes).ok()?;
            let sk = decoded.sk?;
            let plain = sealing.suite.open(encr, integ, &mut bytes, sk.body.start).ok()?;
            chain.extend_from_slice(bytes.get(plain)?);
            head.get_or_insert((decoded.header, sk.first_inner));
            before += 1;
        }
        let (header, first) = head?;
        let fragments = split(&chain, Header::LEN, sealing);
        if fragments.len() <= before {
            return None;
        }
        let message = Message { header, outer: Vec::new(), sk: None };
        Some(self.seal_fragments(cx, false, &message, first, fragments, sealing))
    }

    /// Each fragment is a message of its own: an IV of its own, padding of its own.
    fn seal_fragments(
        &mut self,
        cx: &MsgCx,
        tampered: bool,
        message: &Message,
        first: PayloadType,
        fragments: Vec<Fragment>,
        sealing: &Sealing<'_>,
    ) -> Vec<Vec<u8>> {
        let pieces = fragments.into_iter().take(0x1_0000).enumerate().map(|(at, fragment)| {
            let sealing = Sealing { iv: sealing.iv | (at as u64 & 0xffff), ..*sealing };
            let mut iv = Vec::new();
            self.push_iv(&mut iv, &sealing);
            let padding = sealing.suite.pad_len(fragment.inner.len());
            let numbers = Some((fragment.number, fragment.total));
            let body = SkBody { iv, inner: fragment.inner, padding: vec![0; padding], pad_length: padding as u8 };
            // Next Payload of all fragments but the first is zero (RFC 7383 2.5).
            let first = if fragment.number == 1 { first } else { PayloadType::NONE };
            self.seal_piece(cx, tampered, message, first, numbers, &body, &sealing)
        });
        pieces.collect()
    }

    #[allow(clippy::too_many_arguments)] // all of it is the one message being sealed
    fn seal_piece(
        &mut self,
        cx: &MsgCx,
        tampered: bool,
        message: &Message,
        first: PayloadType,
        fragment: Option<(u16, u16)>,
        body: &SkBody,
        sealing: &Sealing<'_>,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let mut map = FieldMap::default();
        let kind = if fragment.is_some() { PayloadType::SKF } else { PayloadType::SK };
        let sk = encode_outer(&mut out, &message.header, &message.outer, kind, Some(&mut map));
        if let Some((number, total)) = fragment {
            map.push("sk.fragment".into(), out.len(), 2);
            map.push("sk.total".into(), out.len() + 2, 2);
            out.extend_from_slice(&number.to_be_bytes());
            out.extend_from_slice(&total.to_be_bytes());
        }
        let start = out.len();
        out.extend_from_slice(&body.iv);
        out.extend_from_slice(&body.inner);
        out.extend_from_slice(&body.padding);
        // A rule may have left something that no cipher takes: whole blocks are needed, and room for the IV.
        let block = sealing.suite.pad_len(0) + 1;
        let text = start + sealing.suite.iv_len();
        while out.len() < text || !(out.len() + 1 - text).is_multiple_of(block) {
            out.push(0);
        }
        out.push(body.pad_length);
        finish(&mut out, sk, first, sealing.suite.icv_len());
        if tampered {
            self.edit(cx, LayoutPart::Outer, &map, &mut out);
        }
        debug_assert!(start == sk + GENERIC + if fragment.is_some() { FRAGMENT } else { 0 });
        seal(&mut out, start, sealing);
        out
    }

    fn edit(&mut self, cx: &MsgCx, part: LayoutPart, map: &FieldMap, bytes: &mut [u8]) {
        let Some(tamper) = &mut self.tamper else { return };
        let mut layout = Layout::default();
        tamper.layout(cx, part, map, &mut layout);
        for edit in layout.edits {
            // An edit of a field that is not there changes nothing, and the rule's author learns so from the record.
            let _ = edit.apply(map, bytes);
        }
    }

    /// Appends the IV: unpredictable for CBC (RFC 7296 3.14), a counter for the rest (RFC 5282 3.1, RFC 7634 3).
    fn push_iv(&self, out: &mut Vec<u8>, sealing: &Sealing<'_>) {
        let at = out.len();
        let len = sealing.suite.iv_len();
        out.resize(at + len, 0);
        if sealing.suite.counter_iv() && len == 8 {
            out[at..].copy_from_slice(&sealing.iv.to_be_bytes());
        } else {
            self.seeds.fill(sealing.scope, Purpose::Iv, sealing.iv, &mut out[at..]);
        }
    }

    /// Hands datagrams to the link, through the last outgoing seam.
    pub(super) fn transmit<'a>(
        &mut self,
        cx: &MsgCx,
        tampered: bool,
        path: Path,
        datagrams: impl Iterator<Item = &'a [u8]>,
    ) {
        if !tampered {
            for bytes in datagrams {
                self.counters.transmitted += 1;
                self.outbox.push_back(Transmit { path, class: Class::Ike, bytes: bytes.to_vec() });
            }
            return;
        }
        let mut outgoing: Vec<Outgoing> = datagrams
            .map(|bytes| Outgoing { path, class: Class::Ike, after: Default::default(), bytes: bytes.to_vec() })
            .collect();
        if let Some(tamper) = &mut self.tamper {
            tamper.datagrams(cx, &mut outgoing);
        }
        for datagram in outgoing {
            self.release(cx.sa.now, datagram);
        }
    }

    /// Sends now, or holds back until it is due.
    pub(super) fn release(&mut self, now: Instant, datagram: Outgoing) {
        let Outgoing { path, class, after, bytes } = datagram;
        let transmit = Transmit { path, class, bytes };
        if after.is_zero() {
            self.counters.transmitted += 1;
            self.outbox.push_back(transmit);
        } else {
            self.hold(now + after, super::endpoint::Held::Transmit(transmit));
        }
    }

    /// Adds a sent message to the trace.
    pub(super) fn trace_sent(&mut self, sa: &IkeSa, path: Path, message: Message, len: usize) {
        if self.cfg.trace {
            let trace = MessageTrace { from: Side::Us, path, message, len, attempt: 0 };
            self.events.push_back((sa.tunnel, sa.id, Event::Message(Box::new(trace))));
        }
    }

    /// Adds a received message to the trace.
    pub(super) fn trace_received(&mut self, sa: &IkeSa, path: Path, message: Message, len: usize) {
        if self.cfg.trace {
            let trace = MessageTrace { from: Side::Peer, path, message, len, attempt: 0 };
            self.events.push_back((sa.tunnel, sa.id, Event::Message(Box::new(trace))));
        }
    }

    /// Asks the injector for what the engine did not decide to send.
    pub(super) fn inject(&mut self, now: Instant, sa: &mut IkeSa, trigger: &Trigger) {
        if !sa.tampered {
            return;
        }
        let mut wanted = Vec::new();
        if let Some(tamper) = &mut self.tamper {
            tamper.inject(&sa.cx(now), trigger, &mut wanted);
        }
        for injected in wanted {
            match injected {
                Injected::Raw(outgoing) => self.release(now, outgoing),
                Injected::Wake(after) => {
                    self.hold(now + after.max(Duration::from_millis(1)), super::endpoint::Held::Wake(sa.id))
                }
                Injected::Order(order) => self.obey(now, sa, order),
                Injected::Message { message, sealed, after } => {
                    let mut message = *message;
                    let cx = sa.msg_cx(now, &message.header, 0);
                    let iv = sa.next_iv();
                    let keys = match &sa.phase {
                        Phase::Established(up) => Some((&up.keys, up.suite.sk())),
                        Phase::InitAnswered(wait) => Some((&wait.keys, wait.suite.sk())),
                        Phase::AuthSent(wait) => wait.candidates.last().map(|c| (&c.keys, c.suite.sk())),
                        _ => None,
                    };
                    let sealing = keys.filter(|_| sealed).map(|(keys, suite)| Sealing {
                        keys,
                        suite,
                        initiator: sa.initiator,
                        scope: sa.scope,
                        iv,
                        fragments: sa.fragments.size(&sa.spec),
                    });
                    let path = sa.path;
                    // Not through the other seams: an injected message is already what its author wants.
                    let datagrams = self.encode(&cx, false, &mut message, sealing.as_ref());
                    let len = datagrams.iter().map(Vec::len).sum();
                    let Header { message_id, exchange, flags, .. } = message.header;
                    if sealed && !flags.is_response() && matches!(sa.phase, Phase::Established(_)) {
                        sa.window.invented(message_id, exchange, now + after + sa.spec.retransmit.wait(0));
                    }
                    self.trace_sent(sa, path, message, len);
                    for bytes in datagrams {
                        self.release(now, Outgoing { path, class: Class::Ike, after, bytes });
                    }
                }
            }
        }
    }
}

/// Leaves room for the ICV and fills in what depends on lengths.
fn finish(out: &mut Vec<u8>, sk: usize, first: PayloadType, icv: usize) {
    out.resize(out.len() + icv, 0);
    let len = (out.len() - sk) as u16;
    out[sk] = first.0;
    out[sk + 2..sk + 4].copy_from_slice(&len.to_be_bytes());
    fix_length(out);
}

fn fix_length(out: &mut [u8]) {
    let len = out.len() as u32;
    out[24..28].copy_from_slice(&len.to_be_bytes());
}

fn seal(out: &mut [u8], body: usize, sealing: &Sealing<'_>) {
    let (encr, integ) = sealing.keys.seal_keys(sealing.initiator);
    sealing.suite.seal(encr, integ, out, body).expect("the buffer was laid out for this suite");
}

/// Splits the inner payloads so that each fragment's message fits; `before` is where SKF's generic header stands.
fn split(chain: &[u8], before: usize, sealing: &Sealing<'_>) -> Vec<Fragment> {
    let suite = sealing.suite;
    let overhead = before + GENERIC + FRAGMENT + suite.iv_len() + suite.icv_len();
    // Whole blocks: what a plaintext of nothing is padded to, with its pad length octet.
    let block = suite.pad_len(0) + 1;
    let pieces = chain.chunks(room(sealing.fragments.into(), overhead, block));
    let total = pieces.len() as u16;
    pieces.zip(1..).map(|(inner, number)| Fragment { number, total, inner: inner.to_vec() }).collect()
}

/// The inner payloads of a protected message, and the first fault in them.
pub(super) type Inner = (Vec<Payload>, Option<WireError>);

/// Verifies, decrypts and parses an SK payload, or adds an SKF payload to `reassembly`: `None` while others are missing.
/// `from_initiator` is the sender's original role.
pub(super) fn unprotect(
    (keys, suite): (&IkeKeys, SkSuite),
    from_initiator: bool,
    decoded: &Decoded,
    bytes: &mut [u8],
    reassembly: &mut Option<Box<Reassembly>>,
    budget: &Budget<'_>,
) -> Result<Option<Inner>, IgnoredWhy> {
    let sk = decoded.sk.as_ref().ok_or(IgnoredWhy::Unprotected)?;
    // What follows the SK payload is not covered by its ICV, so it must be the last one (RFC 7296 3.14).
    if sk.body.end != bytes.len() {
        return Err(IgnoredWhy::BadIcv);
    }
    let (encr, integ) = keys.seal_keys(from_initiator);
    // Where the ICV was good and the padding is not, the peer is at fault, but there is nothing to act upon.
    let plain = suite.open(encr, integ, bytes, sk.body.start).map_err(|_| IgnoredWhy::BadIcv)?;
    let Some(info) = sk.fragment else {
        *reassembly = None;
        return Ok(Some(decode_chain(sk.first_inner, &bytes[plain])));
    };
    let header = &decoded.header;
    let (message_id, response) = (header.message_id, header.flags.is_response());
    let key = MessageKey { exchange: header.exchange, message_id, response };
    match join(reassembly, key, info, sk.first_inner, &bytes[plain], budget) {
        Joined::Waiting => Ok(None),
        Joined::Whole(first, whole) => Ok(Some(decode_chain(first, &whole))),
        Joined::Stray => Err(IgnoredWhy::StrayFragment),
        Joined::Full => Err(IgnoredWhy::FragmentMemory),
    }
}
