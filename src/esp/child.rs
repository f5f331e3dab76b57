//! One Child SA's pair of ESP SAs: keys and numbers at rest, keyed ciphers only while packets pass.

use zeroize::Zeroize;

use super::counters::{RecvError, SaCounters, SendError};
use super::inner::{self, Inner};
use super::packet::{Context, Opened, header};
use super::replay::{ReplayWindow, Verdict};
use crate::crypto::{CryptoError, EspSuite, Secret};
use crate::engine::{ChildSa, EspEdit, Mode, TunnelId};
use crate::time::Instant;
use crate::wire::TrafficSelector;

/// A Child SA. Some 400 octets and its selectors while nothing passes.
pub struct Child {
    pub(super) tunnel: TunnelId,
    pub(super) spi_in: u32,
    pub(super) spi_out: u32,
    pub(super) suite: EspSuite,
    pub(super) mode: Mode,
    /// We asked for it.
    pub(super) initiator: bool,
    /// Negotiated to go in UDP.
    pub(super) encapsulated: bool,
    pub(super) standing: Standing,
    /// Later ones are preferred to earlier ones for sending.
    pub(super) order: u64,
    /// Inbound encryption and integrity key, then outbound.
    keys: Secret,
    /// Selectors of our side, then of the peer's.
    selectors: Box<[TrafficSelector]>,
    ours: u16,
    /// Sequence number of the last packet sent.
    pub(super) sent: u64,
    pub(super) window: ReplayWindow,
    pub(super) counters: SaCounters,
    /// Selector violations were reported: outbound, inbound.
    pub(super) reported: (bool, bool),
    active: Option<Box<Active>>,
}

/// Whether a Child SA may be sent on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Not yet.
    Waiting,
    /// Now.
    Open,
    /// No longer; it still receives.
    Closing,
}

/// Keyed ciphers.
struct Active {
    inbound: Option<Context>,
    outbound: Option<Context>,
    used: Instant,
}

impl Child {
    /// Takes over a Child SA that was agreed.
    pub(super) fn new(tunnel: TunnelId, sa: &ChildSa, order: u64, window: u32) -> Self {
        let keys = &sa.keys;
        let (from_initiator, from_responder) = ((&keys.i_encr, &keys.i_integ), (&keys.r_encr, &keys.r_integ));
        let (inbound, outbound) =
            if sa.initiator { (from_responder, from_initiator) } else { (from_initiator, from_responder) };
        let mut all = Vec::with_capacity(2 * (inbound.0.len() + inbound.1.len()));
        for key in [inbound.0, inbound.1, outbound.0, outbound.1] {
            all.extend_from_slice(key.as_ref());
        }
        let secret = Secret::new(all.as_slice());
        all.zeroize();
        Child {
            tunnel,
            spi_in: sa.spi_in,
            spi_out: sa.spi_out,
            suite: sa.suite,
            mode: sa.mode,
            initiator: sa.initiator,
            encapsulated: sa.encapsulated,
            standing: Standing::Waiting,
            order,
            keys: secret,
            selectors: sa.local_ts.iter().chain(&sa.remote_ts).cloned().collect(),
            ours: u16::try_from(sa.local_ts.len()).expect("a payload holds at most 255 selectors"),
            sent: 0,
            window: ReplayWindow::new(window),
            counters: SaCounters::default(),
            reported: (false, false),
            active: None,
        }
    }

    /// Our SPI, which names the Child SA.
    pub fn spi_in(&self) -> u32 {
        self.spi_in
    }

    /// The peer's SPI.
    pub fn spi_out(&self) -> u32 {
        self.spi_out
    }

    /// The tunnel it belongs to.
    pub fn tunnel(&self) -> TunnelId {
        self.tunnel
    }

    /// Algorithms.
    pub fn suite(&self) -> &EspSuite {
        &self.suite
    }

    /// Tunnel or transport.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether it may be sent on.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// What it counted.
    pub fn counters(&self) -> &SaCounters {
        &self.counters
    }

    /// Highest sequence numbers so far: sent, and received.
    pub fn sequence_numbers(&self) -> (u64, u64) {
        (self.sent, self.window.top())
    }

    /// Selectors of our side.
    pub fn local_ts(&self) -> &[TrafficSelector] {
        &self.selectors[..usize::from(self.ours)]
    }

    /// Selectors of the peer's side.
    pub fn remote_ts(&self) -> &[TrafficSelector] {
        &self.selectors[usize::from(self.ours)..]
    }

    /// Whether a packet lies within the selectors.
    pub fn covers(&self, inner: &Inner, outbound: bool) -> bool {
        inner::within(inner, outbound, self.local_ts(), self.remote_ts())
    }

    #[cfg(test)]
    pub(super) fn set_selectors(&mut self, ours: Vec<TrafficSelector>, theirs: Vec<TrafficSelector>) {
        self.ours = ours.len() as u16;
        self.selectors = ours.into_iter().chain(theirs).collect();
    }

    /// Whether ciphers are keyed.
    pub fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// Seals `payload` into `out` under the next sequence number. The second value says whether a cipher was keyed for it.
    pub(super) fn seal(
        &mut self,
        now: Instant,
        payload: &[u8],
        tfc: usize,
        next_header: u8,
        out: &mut Vec<u8>,
    ) -> Result<bool, SendError> {
        let last = if self.suite.esn { u64::MAX } else { u32::MAX.into() };
        if self.sent >= last {
            return Err(SendError::SequenceOverflow);
        }
        let keyed = self.key(now, false);
        let (spi, seq) = (self.spi_out, self.sent + 1);
        let active = self.active.as_mut().expect("key made it");
        let context = active.outbound.as_mut().expect("key made it");
        context.seal(spi, seq, payload, tfc, next_header, out).expect("all lengths come from the suite");
        self.sent = seq;
        Ok(keyed)
    }

    /// What an honest next packet is made of.
    pub(super) fn honest(&self, payload: &[u8], next_header: u8) -> EspEdit {
        let keys = self.keys.as_ref();
        let (encr, integ) = keys.split_at(keys.len() / 2).1.split_at(self.suite.encr.key_len());
        EspEdit {
            spi: self.spi_out,
            sequence: self.sent + 1,
            payload: payload.to_vec(),
            next_header,
            encr_key: encr.to_vec(),
            integ_key: integ.to_vec(),
            icv_len: None,
            icv_mask: 0,
            body_mask: 0,
            clear: false,
            send: true,
            copies: 0,
            overtaken: false,
        }
    }

    /// Takes the next sequence number.
    pub(super) fn count(&mut self) {
        self.sent += 1;
    }

    /// Checks, authenticates and decrypts a packet in place. The second value says whether a cipher was keyed for it.
    pub(super) fn open(&mut self, now: Instant, packet: &mut [u8]) -> Result<(Opened, bool), RecvError> {
        let (_, low) = header(packet).ok_or(RecvError::Short)?;
        let seq = self.window.extend(low, self.suite.esn);
        refused(self.window.check(seq))?;
        let keyed = self.key(now, true);
        let active = self.active.as_mut().expect("key made it");
        let context = active.inbound.as_mut().expect("key made it");
        let opened = context.open(seq, packet).map_err(|error| match error {
            CryptoError::BadIcv => RecvError::BadIcv,
            CryptoError::BadPadding => RecvError::BadPadding,
            _ => RecvError::Short,
        })?;
        refused(self.window.accept(seq))?;
        Ok((opened, keyed))
    }

    /// Drops the keyed ciphers if no packet has passed since `since`; true if none are left.
    pub(super) fn rest(&mut self, since: Instant) -> bool {
        if self.active.as_ref().is_some_and(|active| active.used <= since) {
            self.active = None;
        }
        self.active.is_none()
    }

    /// Keys one direction if it is not. True if that was needed.
    fn key(&mut self, now: Instant, inbound: bool) -> bool {
        let active = self.active.get_or_insert_with(|| Box::new(Active { inbound: None, outbound: None, used: now }));
        active.used = now;
        let context = if inbound { &mut active.inbound } else { &mut active.outbound };
        if context.is_some() {
            return false;
        }
        let keys = self.keys.as_ref();
        let (ours, theirs) = keys.split_at(keys.len() / 2);
        let (encr, integ) = if inbound { ours } else { theirs }.split_at(self.suite.encr.key_len());
        *context =
            Some(Context::new(&self.suite, encr, integ).expect("the engine derives keys of the suite's lengths"));
        true
    }
}

fn refused(verdict: Verdict) -> Result<(), RecvError> {
    match verdict {
        Verdict::Fresh => Ok(()),
        Verdict::Replayed => Err(RecvError::Replayed),
        Verdict::TooOld => Err(RecvError::TooOld),
    }
}

impl std::fmt::Debug for Child {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Child({:08x}/{:08x} {} {:?})", self.spi_in, self.spi_out, self.suite, self.standing)
    }
}
