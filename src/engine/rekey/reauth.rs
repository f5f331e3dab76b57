//! The same tunnel again from IKE_SA_INIT on (RFC 7296 2.8.3), because a rekey does not renew the authentication; and what
//! an initiator does once IKE_AUTH is over: its other children, AUTH_LIFETIME (RFC 4478).
//!
//! ```text
//!  make first                                          break first
//!  new:  IKE_SA_INIT, IKE_AUTH                         old:  D(IKE)
//!  new:  CREATE_CHILD_SA for each further child        new:  IKE_SA_INIT, IKE_AUTH
//!  old:  D(IKE)                                        new:  CREATE_CHILD_SA for each further child
//! ```
//!
//! Only the end that began the tunnel can do it: the other end asks for it with AUTH_LIFETIME, or by deleting.

use std::sync::Arc;
use std::time::Duration;

use super::Try;
use crate::engine::endpoint::Core;
use crate::engine::event::Event;
use crate::engine::info::Request;
use crate::engine::sa::{IkeSa, Phase, Standing};
use crate::engine::spec::{ReauthOrder, SaId};
use crate::engine::timer::Timer;
use crate::net::{Path, SocketRole};
use crate::time::Instant;
use crate::wire::registry::NotifyType;
use crate::wire::{NotifyPayload, Payload};

/// How long after a new IKE SA came to nothing it is tried again, while the old one lives.
const AGAIN: Duration = Duration::from_secs(60);

/// How far an IKE SA's replacement from scratch has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::engine) enum Reauth {
    /// That IKE SA is to take its place.
    Making(SaId),
    /// It is being deleted first.
    Breaking,
}

impl Core {
    /// The initiator's IKE_AUTH is over and the IKE SA is up: what remains to be done for the tunnel, from child number
    /// `first` on.
    pub(in crate::engine) fn begin_tunnel(&mut self, now: Instant, sa: &mut IkeSa, first: u16, inner: &[Payload]) {
        let spec = Arc::clone(&sa.spec);
        if let Some(after) = spec.behaviour.rekey.reauth_after {
            self.reauth_within(now, sa, after);
        }
        inner.iter().filter_map(Payload::as_notify).for_each(|notify| self.auth_lifetime(now, sa, notify));
        let count = u16::try_from(spec.children.len()).unwrap_or(u16::MAX);
        let last = if spec.behaviour.all_children { count } else { count.min(1) };
        (first..last).for_each(|child| sa.enqueue(Request::NewChild(child, Try::default())));
        if sa.replaces != SaId::NONE {
            if first < last {
                // Another request tells the answerer that we have the last Child SA, before the old ones go.
                sa.enqueue(Request::Liveness);
            }
            let old = std::mem::replace(&mut sa.replaces, SaId::NONE);
            sa.enqueue(Request::Retire(old));
        }
    }

    /// The responder's IKE_AUTH is over: the notify for its answer if the authentication is not to last for ever.
    pub(in crate::engine) fn announce_auth_lifetime(&mut self, now: Instant, sa: &mut IkeSa) -> Option<Payload> {
        let lifetime = sa.spec.behaviour.rekey.auth_lifetime?;
        let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        let end = self.timer(now, sa, Timer::Lifetime, lifetime).unwrap_or(Instant::MAX);
        if let Phase::Established(up) = &mut sa.phase {
            up.reauth = end;
        }
        let notify = NotifyPayload::with_data(NotifyType::AUTH_LIFETIME, seconds.to_be_bytes().to_vec());
        Some(Payload::Notify(notify))
    }

    /// AUTH_LIFETIME of the peer's, in IKE_AUTH or later: authenticate again before that (RFC 4478).
    pub(in crate::engine) fn auth_lifetime(&mut self, now: Instant, sa: &mut IkeSa, notify: &NotifyPayload) {
        let seconds = <[u8; 4]>::try_from(notify.data.as_slice()).map(u32::from_be_bytes);
        if let (NotifyType::AUTH_LIFETIME, Ok(seconds)) = (notify.kind, seconds)
            && sa.spec.behaviour.rekey.obey_auth_lifetime
        {
            self.reauth_within(now, sa, Duration::from_secs(seconds.into()));
        }
    }

    fn reauth_within(&mut self, now: Instant, sa: &mut IkeSa, lifetime: Duration) {
        let noise = self.noise();
        let soft = sa.spec.behaviour.rekey.soft(lifetime, noise);
        let at = self.timer(now, sa, Timer::Lifetime, soft).unwrap_or(Instant::MAX);
        if let Phase::Established(up) = &mut sa.phase
            && up.ours
        {
            up.reauth = up.reauth.min(at);
        }
    }

    /// The authentication of an IKE SA has come to its end.
    pub(super) fn reauth_due(&mut self, now: Instant, sa: &mut IkeSa) {
        let Phase::Established(up) = &mut sa.phase else { return };
        up.reauth = Instant::MAX;
        match up.ours {
            true => self.reauthenticate(now, sa),
            false if !up.closing => sa.enqueue(Request::Delete),
            false => {}
        }
    }

    /// Begins to replace an IKE SA from scratch, unless that is under way or it is about to go.
    pub(in crate::engine) fn reauthenticate(&mut self, now: Instant, sa: &mut IkeSa) {
        let Phase::Established(up) = &sa.phase else { return };
        let begun = up.rekey.as_ref().is_some_and(|r| r.reauth.is_some());
        if begun || up.closing || !up.ours || up.standing != Standing::Current {
            return;
        }
        match sa.spec.behaviour.rekey.reauth {
            ReauthOrder::MakeFirst => {
                let new = self.begin_anew(now, sa, false);
                self.set_reauth(sa, Some(Reauth::Making(new)));
            }
            ReauthOrder::BreakFirst => {
                self.set_reauth(sa, Some(Reauth::Breaking));
                sa.enqueue(Request::Delete);
            }
        }
    }

    /// `sa` is deleted. If that was to make it anew, the new one begins now, and the tunnel goes on there. True if the
    /// tunnel goes on, here or in one that is being made.
    pub(in crate::engine) fn goes_on(&mut self, now: Instant, sa: &mut IkeSa) -> bool {
        let Phase::Established(up) = &sa.phase else { return false };
        match up.rekey.as_ref().and_then(|r| r.reauth) {
            Some(Reauth::Making(_)) => true,
            Some(Reauth::Breaking) => {
                let new = self.begin_anew(now, sa, true);
                if let Phase::Established(up) = &mut sa.phase {
                    up.standing = Standing::Superseded(new);
                }
                true
            }
            None => false,
        }
    }

    /// IKE_SA_INIT for the tunnel of `old`.
    pub(in crate::engine) fn begin_anew(&mut self, now: Instant, old: &IkeSa, break_first: bool) -> SaId {
        let id = self.table.allocate();
        let mut path = Path { role: SocketRole::Ike, ..old.path };
        path.local.set_port(old.spec.local_ports.ike);
        path.remote.set_port(old.spec.remote_ports.ike);
        let event = Event::Reauthenticating { old: old.id, break_first };
        self.events.push_back((old.tunnel, id, event));
        let mut new = self.start(now, id, Arc::clone(&old.spec), old.tunnel, path);
        if !break_first {
            new.replaces = old.id;
        }
        self.put_back(id, new);
        id
    }

    /// The successor is up with all of its Child SAs: `old`, or whatever has taken its place by a rekey meanwhile, is
    /// deleted.
    pub(in crate::engine) fn retire(&mut self, now: Instant, old: SaId, successor: SaId) {
        let mut next = None;
        self.with_sa(old, |core, sa| {
            let Phase::Established(up) = &mut sa.phase else { return };
            if let Standing::Superseded(other) = up.standing {
                next = Some(other);
                return;
            }
            if up.closing {
                return;
            }
            up.standing = Standing::Superseded(successor);
            (up.soft, up.reauth) = (Instant::MAX, Instant::MAX);
            sa.enqueue(Request::Delete);
            core.pump(now, sa);
        });
        if let Some(next) = next.filter(|next| *next != successor) {
            self.retire(now, next, successor);
        }
    }

    /// An IKE SA that was to replace `old` has come to nothing: the old one lives on, and it is tried again.
    pub(in crate::engine) fn reauth_failed(&mut self, now: Instant, old: SaId, new: SaId) {
        let mut next = None;
        self.with_sa(old, |core, sa| {
            let Phase::Established(up) = &mut sa.phase else { return };
            if let Standing::Superseded(other) = up.standing {
                next = Some(other);
                return;
            }
            if up.rekey.as_ref().and_then(|r| r.reauth) == Some(Reauth::Making(new)) {
                up.reauth = now + AGAIN;
                core.set_reauth(sa, None);
            }
        });
        if let Some(next) = next {
            self.reauth_failed(now, next, new);
        }
    }

    /// A rekey has put `new` into the place of `old`, which is being made anew.
    pub(super) fn replaces_instead(&mut self, reauth: Reauth, old: SaId, new: SaId) {
        let Reauth::Making(successor) = reauth else { return };
        self.with_sa(successor, |_, sa| {
            if sa.replaces == old {
                sa.replaces = new;
            }
            for request in sa.queue.iter_mut().flat_map(|queue| queue.iter_mut()) {
                if let Request::Retire(retired) = request
                    && *retired == old
                {
                    *retired = new;
                }
            }
        });
    }

    fn set_reauth(&mut self, sa: &mut IkeSa, reauth: Option<Reauth>) {
        let Phase::Established(up) = &mut sa.phase else { return };
        let rekey = up.rekey.get_or_insert_default();
        rekey.reauth = reauth;
        if rekey.idle() {
            up.rekey = None;
        }
    }
}
