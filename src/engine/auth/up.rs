//! IKE_AUTH is over, in both roles: the IKE SA and its first Child SA are announced, or what became of them.

use std::num::NonZeroU64;

use sha2::{Digest, Sha256};

use crate::auth::Judged;
use crate::engine::child::AgreedChild;
use crate::engine::endpoint::Core;
use crate::engine::event::{Event, IgnoredWhy, IkeUp};
use crate::engine::failure::{FailScope, Failed, Failure, LocalFault};
use crate::engine::sa::{IkeSa, Phase};
use crate::engine::spec::{ConnectionSpec, SaId, Side};
use crate::engine::tamper::{Deliver, RecvCx, Trigger};
use crate::net::Path;
use crate::time::Instant;
use crate::wire::registry::ExchangeType;
use crate::wire::{IdPayload, Message};

impl Core {
    /// Announces with which certificate the peer proved its identity.
    pub(super) fn certified(&mut self, sa: &IkeSa, certificate: Option<Box<Judged>>) {
        if let Some(judged) = certificate {
            self.events.push_back((sa.tunnel, sa.id, Event::PeerCertificate(judged)));
        }
    }

    /// The wall-clock time in seconds since 1970, by which certificates are judged.
    pub(super) fn wall(&self, now: Instant) -> i64 {
        i64::try_from(self.epoch.at(now) / 1_000_000_000).unwrap_or(i64::MAX)
    }

    /// Both ends are authenticated.
    pub(super) fn ike_up(&mut self, now: Instant, sa: &mut IkeSa, peer_id: IdPayload, initial_contact: bool) {
        let Phase::Established(up) = &sa.phase else { return };
        let (suite, mobike) = (up.suite, up.mobike.is_some());
        self.counters.ike_up += 1;
        if sa.spec.behaviour.initial_contact {
            let key = identity_key(&sa.spec, &peer_id);
            if initial_contact {
                let older = self.by_peer.range((key, SaId::MIN)..=(key, SaId::MAX)).map(|(_, id)| *id);
                self.replaced.extend(older.filter(|id| *id != sa.id));
            }
            self.by_peer.insert((key, sa.id));
            sa.peer_key = Some(key);
        }
        let connection = sa.spec.name.clone();
        let up = IkeUp { initiator: sa.initiator, connection, spis: sa.spis, suite, peer_id, path: sa.path, mobike };
        self.events.push_back((sa.tunnel, sa.id, Event::IkeUp(Box::new(up))));
        self.start_life(now, sa);
        let cx = sa.cx(now);
        self.inject(now, sa, &Trigger::Up(cx));
    }

    /// Registers and announces a Child SA.
    pub(super) fn child_up(&mut self, now: Instant, sa: &mut IkeSa, agreed: Box<AgreedChild>) {
        let spi_in = agreed.child.spi_in;
        sa.reserved_spi = None;
        self.add_child(now, sa, agreed);
        self.events.push_back((sa.tunnel, sa.id, Event::ChildOutbound { spi_in }));
    }

    pub(in crate::engine) fn child_failed(&mut self, sa: &IkeSa, exchange: ExchangeType, found_by: Side, why: Failure) {
        let failed = Failed { scope: FailScope::Child, exchange, found_by, why };
        self.events.push_back((sa.tunnel, sa.id, Event::ChildFailed(Box::new(failed))));
    }

    /// The seam for accepted messages; false if the message is withheld.
    pub(in crate::engine) fn screen_parsed(
        &mut self,
        now: Instant,
        sa: &IkeSa,
        path: Path,
        message: &mut Message,
    ) -> bool {
        let Some(tamper) = self.tamper.as_mut().filter(|_| sa.tampered) else { return true };
        let cx = RecvCx { sa: Some(sa.cx(now)), header: Some(message.header), path, now };
        if tamper.parsed(&cx, message) == Deliver::Yes {
            return true;
        }
        self.ignore(Some(sa.who()), path, Some(message.header), IgnoredWhy::Tampered, "");
        false
    }

    /// An IKE SA that a newer one of the same peer replaced (RFC 7296 2.4).
    pub(in crate::engine) fn next_replaced(&mut self) -> Option<SaId> {
        self.replaced.pop()
    }

    /// Closes it without a word: the peer has said that it knows of no other.
    pub(in crate::engine) fn replaced(&mut self, now: Instant, sa: &mut IkeSa) {
        if matches!(sa.phase, Phase::Closed) {
            return;
        }
        let why = Failure::Local(LocalFault::ReplacedByInitialContact);
        self.fail(now, sa, ExchangeType::IKE_AUTH, Side::Us, why, false);
    }
}

/// The identity index' key: connection and peer identity.
fn identity_key(spec: &ConnectionSpec, id: &IdPayload) -> NonZeroU64 {
    let mut hash = Sha256::new_with_prefix(spec.name.as_bytes());
    hash.update([0, id.kind.0]);
    hash.update(&id.data);
    let digest = hash.finalize();
    let key = u64::from_be_bytes(digest[..8].try_into().expect("eight of thirty-two octets"));
    NonZeroU64::new(key).unwrap_or(NonZeroU64::MIN)
}

impl SaId {
    const MIN: SaId = SaId { slot: 0, generation: 0 };
    const MAX: SaId = SaId { slot: u32::MAX, generation: u32::MAX };
}
