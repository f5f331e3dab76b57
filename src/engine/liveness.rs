//! Is the peer alive, how soon is its death noticed, and what then (RFC 7296 2.4).
//!
//! Whatever arrives under an SA's keys, IKE or ESP, says that the peer lives; an unprotected notify says nothing, but is
//! reason enough to ask (2.21.4).

use std::sync::Arc;
use std::time::Duration;

use super::endpoint::Core;
use super::event::Event;
use super::info::{Pending, Request};
use super::sa::{IkeSa, Phase};
use super::spec::{ConnectionSpec, DpdAction, DpdMode, DpdSpec, RetransmitSpec, SaId, TunnelId};
use super::timer::Timer;
use crate::net::{Path, SocketRole};
use crate::time::Instant;
use crate::wire::registry::NotifyType;
use crate::wire::{Decoded, Payload};

/// Unprotected hints that a peer has lost its state are followed at most this often for each IKE SA.
const HINT_EVERY: Duration = Duration::from_secs(5);

impl DpdSpec {
    /// How long after it was last heard of a dead peer is noticed, at the latest: the quiet time, then the whole
    /// schedule of one request. `fallback` is the connection's schedule, where liveness checks have none of their own.
    pub fn detection(&self, fallback: &RetransmitSpec) -> Duration {
        self.interval + self.retransmit.as_ref().unwrap_or(fallback).total()
    }
}

/// A tunnel whose peer died, to be brought up again when there is traffic for it.
pub(super) struct OnHold {
    tunnel: TunnelId,
    spec: Arc<ConnectionSpec>,
    path: Path,
}

impl IkeSa {
    /// The schedule of the outstanding request.
    pub(super) fn schedule(&self) -> &RetransmitSpec {
        let own = self.spec.dpd.as_ref().and_then(|dpd| dpd.retransmit.as_ref());
        match (&self.phase, own) {
            (Phase::Established(up), Some(own))
                if matches!(up.pending.as_deref(), Some(Pending(Request::Liveness))) =>
            {
                own
            }
            _ => &self.spec.retransmit,
        }
    }
}

impl Core {
    /// A liveness check is due unless something was heard meanwhile.
    pub(super) fn liveness_due(&mut self, now: Instant, sa: &mut IkeSa) {
        sa.alarms.liveness = Instant::MAX;
        let Some((interval, mode)) = sa.spec.dpd.as_ref().map(|d| (d.interval, d.mode)) else { return };
        let Phase::Established(up) = &sa.phase else { return };
        if up.closing {
            return;
        }
        // The seam is asked about the interval, not about what is left of it: a shorter one asks sooner.
        let Some(bent) = self.timer(now, sa, Timer::Liveness, interval) else { return };
        let interval = bent.since(now);
        let due = match mode {
            DpdMode::Periodic => sa.last_heard + interval,
            // What went out has been answered.
            DpdMode::OnDemand if up.unanswered <= sa.last_heard => return,
            DpdMode::OnDemand => up.unanswered + interval,
        };
        let next = if due > now {
            due.since(now)
        } else {
            // Another request that waits for its answer is a liveness check as good as any.
            self.ask_whether_alive(now, sa);
            if mode == DpdMode::OnDemand {
                return;
            }
            interval
        };
        sa.alarms.liveness = now + next.max(Duration::from_millis(1));
    }

    /// Packets went out on a Child SA: if nothing comes back, the peer is asked, where liveness is checked on demand.
    pub(super) fn traffic_sent(&mut self, now: Instant, sa: &mut IkeSa) {
        let Some(dpd) = sa.spec.dpd.as_ref().filter(|d| d.mode == DpdMode::OnDemand) else { return };
        let Phase::Established(up) = &mut sa.phase else { return };
        if up.unanswered <= sa.last_heard {
            up.unanswered = now;
        }
        if sa.alarms.liveness == Instant::MAX {
            let interval = dpd.interval;
            sa.alarms.liveness = self.timer(now, sa, Timer::Liveness, interval).unwrap_or(Instant::MAX);
        }
    }

    fn ask_whether_alive(&mut self, now: Instant, sa: &mut IkeSa) {
        if sa.window.idle() {
            sa.enqueue(Request::Liveness);
            self.pump(now, sa);
        }
    }

    /// An unprotected message for an established IKE SA. INVALID_IKE_SPI and INVALID_SPI say that the peer may have lost
    /// its state; anybody can say so, hence it is only asked (RFC 7296 2.21.4, 1.5).
    pub(super) fn unprotected_hint(&mut self, now: Instant, sa: &mut IkeSa, decoded: &Decoded) {
        let hint = decoded
            .payloads
            .iter()
            .filter_map(Payload::as_notify)
            .any(|notify| notify.kind == NotifyType::INVALID_IKE_SPI || notify.kind == NotifyType::INVALID_SPI);
        if !hint
            || !matches!(sa.phase, Phase::Established(_))
            || (sa.hinted != Instant::MAX && now.since(sa.hinted) < HINT_EVERY)
        {
            return;
        }
        sa.hinted = now;
        self.ask_whether_alive(now, sa);
    }

    /// The peer of an established IKE SA did not answer a request, however often it was sent. The IKE SA has failed; what
    /// becomes of its tunnel is the connection's to say.
    pub(super) fn peer_died(&mut self, now: Instant, sa: &mut IkeSa) {
        let action = sa.spec.dpd.as_ref().map_or(DpdAction::Clear, |dpd| dpd.action);
        let expected = sa.spec.dpd.as_ref().map(|dpd| dpd.detection(&sa.spec.retransmit));
        // On demand, a quiet tunnel is not looked after: the time begins with what the peer did not answer.
        let since = match (&sa.phase, sa.spec.dpd.as_ref().map(|dpd| dpd.mode)) {
            (Phase::Established(up), Some(DpdMode::OnDemand)) => sa.last_heard.max(up.unanswered),
            _ => sa.last_heard,
        };
        let measured = now.since(since);
        self.events.push_back((sa.tunnel, sa.id, Event::PeerDead { expected, measured, action }));
        let mut path = Path { role: SocketRole::Ike, ..sa.path };
        path.local.set_port(sa.spec.local_ports.ike);
        path.remote.set_port(sa.spec.remote_ports.ike);
        let hold = OnHold { tunnel: sa.tunnel, spec: Arc::clone(&sa.spec), path };
        match action {
            DpdAction::Clear => {}
            DpdAction::Restart => {
                self.revive(now, hold);
            }
            DpdAction::Hold => self.on_hold.push(hold),
        }
    }

    /// There is traffic for a tunnel that is on hold. Its new IKE SA, if it was.
    pub(super) fn wanted(&mut self, now: Instant, tunnel: TunnelId) -> Option<SaId> {
        let index = self.on_hold.iter().position(|hold| hold.tunnel == tunnel)?;
        let hold = self.on_hold.swap_remove(index);
        Some(self.revive(now, hold))
    }

    fn revive(&mut self, now: Instant, hold: OnHold) -> SaId {
        let id = self.table.allocate();
        self.events.push_back((hold.tunnel, id, Event::Restarting));
        let sa = self.start(now, id, hold.spec, hold.tunnel, hold.path);
        self.put_back(id, sa);
        id
    }
}
