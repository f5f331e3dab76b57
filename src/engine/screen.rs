//! The seam for accepted messages ([`Tamper::parsed`]), and what a rule orders out of turn ([`Order`]).
//!
//! Messages are decrypted in place. One that is to be seen later, or twice, therefore comes again as its datagrams, which
//! are kept while its IKE SA is bent.
//!
//! [`Tamper::parsed`]: super::tamper::Tamper::parsed

use std::time::Duration;

use super::endpoint::{Core, Held};
use super::event::IgnoredWhy;
use super::info::Request;
use super::rekey::Try;
use super::sa::{ChildState, IkeSa, Phase};
use super::spec::{SaId, Side};
use super::tamper::{Deliver, Order, RecvCx, Trigger};
use super::timer::Timer;
use crate::net::Path;
use crate::time::Instant;
use crate::wire::registry::PayloadType;
use crate::wire::{Header, Message};

/// Datagrams of one message kept at most: more fragments than an honest message of 64 KiB has.
const KEPT: usize = 256;

/// The datagrams of the message being received, of a bent IKE SA.
#[derive(Default)]
pub(super) struct Screening {
    of: Option<(SaId, u32, bool)>,
    datagrams: Vec<Vec<u8>>,
    /// What is delivered now has been asked about.
    pub over: bool,
}

impl Screening {
    /// Keeps a datagram before it is decrypted; with those of the same message if they are fragments.
    pub(super) fn keep(&mut self, sa: SaId, header: &Header, bytes: &[u8]) {
        let of = Some((sa, header.message_id, header.flags.is_response()));
        if self.of != of || header.next != PayloadType::SKF || self.datagrams.len() == KEPT {
            self.datagrams.clear();
        }
        self.of = of;
        self.datagrams.push(bytes.to_vec());
    }
}

impl Core {
    /// The seam for accepted messages; false if the message is withheld, for good or for now.
    pub(super) fn screen_parsed(&mut self, now: Instant, sa: &mut IkeSa, path: Path, message: &mut Message) -> bool {
        if self.screening.over {
            return true;
        }
        let Some(tamper) = self.tamper.as_mut().filter(|_| sa.tampered) else { return true };
        let cx = RecvCx { sa: Some(sa.cx(now)), header: Some(message.header), path, now };
        let (at, detail) = match tamper.parsed(&cx, message) {
            Deliver::Yes => return true,
            Deliver::Drop => (None, ""),
            Deliver::HoldUntil(at) => (Some(at), "held back"),
            Deliver::Twice(after) => {
                let again = Held::Accepted(path, self.screening.datagrams.clone());
                self.hold(now + after, again);
                return true;
            }
        };
        if let Some(at) = at {
            let later = Held::Accepted(path, std::mem::take(&mut self.screening.datagrams));
            self.hold(at, later);
        }
        self.ignore(Some(sa.who()), path, Some(message.header), IgnoredWhy::Tampered, detail);
        let cx = sa.msg_cx(now, &message.header, 0);
        self.inject(now, sa, &Trigger::Withheld(cx));
        false
    }

    /// Does what a rule orders. What has no object is not done.
    pub(super) fn obey(&mut self, now: Instant, sa: &mut IkeSa, order: Order) {
        let Phase::Established(up) = &sa.phase else { return };
        let newest = up.children.iter().rfind(|c| c.state != ChildState::Deleting).map(|c| c.spi_in);
        let ours = up.ours;
        match (order, newest) {
            (Order::Liveness, _) => sa.enqueue(Request::Liveness),
            (Order::RekeyIke, _) => sa.enqueue(Request::RekeyIke(Try::default())),
            (Order::RekeyChild, Some(spi)) => sa.enqueue(Request::RekeyChild(spi, Try::default())),
            (Order::ForgetChild, Some(spi)) => self.drop_child(now, sa, spi, Side::Us),
            (Order::RekeyChild | Order::ForgetChild, None) => {}
            (Order::ForgetIke | Order::Reboot, _) => {
                if order == Order::Reboot && ours {
                    self.begin_anew(now, sa, true);
                }
                return self.close(now, sa, false);
            }
        }
        self.pump(now, sa);
    }

    /// When a timer goes off, after its seam. Never at once, or a timer that sets itself would never let go.
    pub(super) fn timer(&mut self, now: Instant, sa: &IkeSa, timer: Timer, honest: Duration) -> Option<Instant> {
        let wanted = match &mut self.tamper {
            Some(tamper) if sa.tampered => tamper.timer(&sa.cx(now), timer, honest)?,
            _ => honest,
        };
        Some(now + wanted.max(Duration::from_millis(1)))
    }

    pub(super) fn hold(&mut self, at: Instant, held: Held) {
        self.held_count += 1;
        self.held.insert((at, self.held_count), held);
    }

    /// Whether any rule can match this IKE SA.
    pub(super) fn concerned(&mut self, now: Instant, sa: &IkeSa) -> bool {
        match &mut self.tamper {
            Some(tamper) => tamper.concerns(&sa.cx(now)),
            None => false,
        }
    }
}
