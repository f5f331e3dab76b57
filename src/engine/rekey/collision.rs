//! Both ends rekey the same SA (RFC 7296 2.8.1, 2.8.2).
//!
//! ```text
//!  A                                                     B
//!  req1: .., Ni1      -->                  <--   req2: .., Ni2
//!  resp2: .., Nr1     -->                  <--   resp1: .., Nr2
//! ```
//!
//! Two new SAs exist now. The one made with the lowest of the four nonces is closed by the end that asked for it; the
//! other end deletes the old one. Each end decides when the answer to its own request comes, and knows all four by then,
//! if it has answered the other's: if it has not, it has seen no collision, and the other end's request will be refused
//! (CHILD_SA_NOT_FOUND, TEMPORARY_FAILURE) and forgotten.

use super::ike::patience;
use super::{Made, Rival, What};
use crate::engine::endpoint::Core;
use crate::engine::info::Request;
use crate::engine::sa::{ChildState, IkeSa, Phase, Standing};
use crate::engine::spec::SaId;
use crate::time::Instant;

impl Core {
    /// Our rekey of the Child SA `old` has made `new` with `lowest` as the lower of its nonces. Returns the survivor.
    pub(super) fn decide_child(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        old: u32,
        new: u32,
        lowest: &[u8],
        rival: Option<Rival>,
    ) -> u32 {
        let patience = patience(sa);
        let Phase::Established(up) = &mut sa.phase else { return new };
        let rival = rival.and_then(|rival| match rival.made {
            // One that the peer has given up already has lost.
            Made::Child(spi) => up.child(spi).map(|_| (spi, rival.lowest)),
            Made::Ike(_) => None,
        });
        match rival {
            Some((rival, theirs)) if lowest < theirs.as_slice() => {
                sa.delete_child(new);
                self.child_replaced(sa, old, rival);
                rival
            }
            rival => {
                if let Some((rival, _)) = rival
                    && let Some(loser) = up.child_mut(rival)
                {
                    loser.state = ChildState::Redundant;
                    (loser.soft, loser.hard) = (Instant::MAX, now + patience);
                }
                self.child_rekeyed(sa, old, new);
                self.send_on(sa, new);
                sa.delete_child(old);
                new
            }
        }
    }

    /// Our rekey of the IKE SA has made `new`.
    pub(super) fn decide_ike(
        &mut self,
        now: Instant,
        sa: &mut IkeSa,
        mut new: Box<IkeSa>,
        lowest: &[u8],
        rival: Option<Rival>,
    ) {
        let standing = match &sa.phase {
            Phase::Established(up) => up.standing,
            _ => return,
        };
        let rival = rival.and_then(|rival| match rival.made {
            Made::Ike(id) => Some((id, rival.lowest)).filter(|_| self.is_open(id)),
            Made::Child(_) => None,
        });
        let lost = match (&rival, standing) {
            (_, Standing::Superseded(_)) => true,
            (Some((_, theirs)), _) => lowest < theirs.as_slice(),
            (None, _) => false,
        };
        if lost {
            if let Some((rival, _)) = rival {
                self.with_sa(rival, |core, rival| core.adopt(now, sa, rival));
            }
            if let Phase::Established(up) = &mut new.phase {
                up.standing = Standing::Redundant;
            }
            new.enqueue(Request::Delete);
            self.pump(now, &mut new);
        } else {
            // Until it has seen our DELETE of the old one, the peer may take this one for the loser of a collision, whose
            // DELETE means nothing for the Child SAs: `predecessor_lingers` keeps the order.
            if let Some(rekey) = new.rekey_mut() {
                rekey.predecessor = Some(sa.id);
            }
            self.adopt(now, sa, &mut new);
            if let Some((rival, _)) = rival {
                self.with_sa(rival, |_, rival| {
                    let patience = patience(rival);
                    let Phase::Established(up) = &mut rival.phase else { return };
                    (up.standing, up.closing) = (Standing::Redundant, true);
                    up.hard = now + patience;
                });
            }
            sa.enqueue(Request::Delete);
        }
        self.put_back(new.id, new);
    }

    /// Our own rekey of the same SA came to nothing, so the peer's stands.
    pub(super) fn rival_stands(&mut self, now: Instant, sa: &mut IkeSa, what: What, rival: Rival) {
        match (what, rival.made) {
            (What::Child { old: Some(old), .. }, Made::Child(new)) => self.child_replaced(sa, old, new),
            (_, Made::Ike(id)) => self.with_sa(id, |core, new| core.adopt(now, sa, new)),
            _ => {}
        }
    }

    /// What the peer's rekey has made takes over now: the peer deletes the old IKE SA, or cannot be asked any more. True
    /// if there was such a rekey.
    pub(in crate::engine) fn adopt_rival(&mut self, now: Instant, sa: &mut IkeSa) -> bool {
        let Phase::Established(up) = &mut sa.phase else { return false };
        let creating = up.rekey.as_mut().and_then(|r| r.creating.as_ref());
        let Some(&Rival { made: Made::Ike(id), .. }) = creating.and_then(|c| c.rival.as_ref()) else { return false };
        if !self.is_open(id) {
            return false;
        }
        self.with_sa(id, |core, new| core.adopt(now, sa, new));
        true
    }

    /// The peer's rekey has put `new` into the place of `old`, and the peer will delete `old`, or has done so.
    fn child_replaced(&mut self, sa: &mut IkeSa, old: u32, new: u32) {
        let Phase::Established(up) = &mut sa.phase else { return };
        if up.child(new).is_none() {
            return;
        }
        if let Some(child) = up.child_mut(old).filter(|c| c.state != ChildState::Deleting) {
            child.state = ChildState::Replaced;
            child.soft = Instant::MAX;
        }
        self.child_rekeyed(sa, old, new);
    }

    /// The IKE SA that this one has replaced at our wish is not deleted yet.
    pub(in crate::engine) fn predecessor_lingers(&self, sa: &IkeSa) -> bool {
        let Phase::Established(up) = &sa.phase else { return false };
        up.rekey.as_ref().is_some_and(|r| r.predecessor.is_some())
    }

    /// A superseded IKE SA is over: what its successor put off until then can go on.
    pub(in crate::engine) fn predecessor_gone(&mut self, now: Instant, old: SaId, successor: SaId) {
        self.with_sa(successor, |core, sa| {
            let Phase::Established(up) = &mut sa.phase else { return };
            let Some(rekey) = up.rekey.as_mut().filter(|r| r.predecessor == Some(old)) else { return };
            rekey.predecessor = None;
            if rekey.idle() {
                up.rekey = None;
            }
            core.pump(now, sa);
        });
    }

    fn is_open(&self, id: SaId) -> bool {
        self.table.get(id).is_some_and(|sa| matches!(&sa.phase, Phase::Established(up) if !up.closing))
    }
}
