//! Answers that need no state: COOKIE, INVALID_KE_PAYLOAD, unprotected errors (RFC 7296 2.5, 2.6, 2.21).
//!
//! They pass the same outgoing seams as everything else, with no IKE SA in the context.

use super::endpoint::Core;
use super::event::IgnoredWhy;
use super::spec::TunnelId;
use super::tamper::{MsgCx, SaCx};
use crate::net::Path;
use crate::time::Instant;
use crate::wire::registry::{ExchangeType, NotifyType};
use crate::wire::{Flags, Header, IkeSpi, Message, NotifyPayload, Payload};

/// So many answers a second, and no more: an answer to a stranger must not become an amplifier (RFC 7296 2.21.4).
#[derive(Debug)]
pub(super) struct RateLimit {
    per_second: u32,
    second: u64,
    used: u32,
}

impl RateLimit {
    pub(super) fn new(per_second: u32) -> Self {
        RateLimit { per_second, second: 0, used: 0 }
    }

    pub(super) fn take(&mut self, now: Instant) -> bool {
        let second = now.elapsed().as_secs();
        if second != self.second {
            (self.second, self.used) = (second, 0);
        }
        self.used += 1;
        self.used <= self.per_second
    }
}

impl Core {
    /// The context of a message that belongs to no IKE SA.
    pub(super) fn no_sa(now: Instant, spis: (IkeSpi, IkeSpi)) -> SaCx {
        SaCx { sa: None, tunnel: TunnelId::NONE, initiator: false, spis, established: false, next_id: 0, now }
    }

    /// An unprotected response to `request` that carries one notify.
    pub(super) fn stateless_reply(&mut self, now: Instant, path: Path, request: &Header, notify: NotifyPayload) {
        let exchange = request.exchange;
        let mut flags = Flags::RESPONSE.0;
        if !request.flags.is_initiator() {
            flags |= Flags::INITIATOR.0;
        }
        let header = Header::new(request.spi_i, request.spi_r, exchange, Flags(flags), request.message_id);
        let sa = Self::no_sa(now, (request.spi_i, request.spi_r));
        let cx = MsgCx { sa, exchange, response: true, message_id: request.message_id, attempt: 0 };
        let tampered = match &mut self.tamper {
            Some(tamper) => tamper.concerns(&cx.sa),
            None => false,
        };
        let mut message = Message { header, outer: vec![Payload::Notify(notify)], sk: None };
        let datagrams = self.encode(&cx, tampered, &mut message, None);
        if self.cfg.trace {
            let trace = super::event::MessageTrace {
                from: super::spec::Side::Us,
                path,
                message,
                len: datagrams.iter().map(Vec::len).sum(),
                attempt: 0,
            };
            let event = super::event::Event::Message(Box::new(trace));
            self.events.push_back((TunnelId::NONE, super::spec::SaId::NONE, event));
        }
        self.transmit(&cx, tampered, path, datagrams.iter().map(Vec::as_slice));
    }

    /// A major version that is not ours (RFC 7296 2.5): a higher one is told so, IKEv1 is left alone.
    pub(super) fn other_version(&mut self, now: Instant, path: Path, header: &Header) {
        let detail = format!("version {}.{}", header.major(), header.minor());
        self.ignore(None, path, Some(*header), IgnoredWhy::Version, &detail);
        if header.major() > 2 && !header.flags.is_response() && self.stateless.take(now) {
            let notify = NotifyPayload::new(NotifyType::INVALID_MAJOR_VERSION);
            self.stateless_reply(now, path, header, notify);
        }
    }

    /// SPIs that we do not know (RFC 7296 2.21.4): a request may be told so, within limits.
    pub(super) fn unknown_spi(&mut self, now: Instant, path: Path, header: &Header) {
        let detail = format!("{} / {}", header.spi_i, header.spi_r);
        self.ignore(None, path, Some(*header), IgnoredWhy::UnknownSpi, &detail);
        let request = !header.flags.is_response() && header.exchange != ExchangeType::IKE_SA_INIT;
        if request && self.cfg.respond && self.stateless.take(now) {
            self.stateless_reply(now, path, header, NotifyPayload::new(NotifyType::INVALID_IKE_SPI));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_limit_opens_again_each_second() {
        let mut limit = RateLimit::new(2);
        let now = Instant::from_millis(1500);
        assert_eq!([limit.take(now), limit.take(now), limit.take(now)], [true, true, false]);
        assert!(limit.take(Instant::from_millis(2000)));
    }
}
