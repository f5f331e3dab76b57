//! Lifetimes by time and by volume, retries, and what traffic tells (RFC 7296 2.8, 2.25).

use std::time::Duration;

use rand_chacha::rand_core::Rng;

use super::{Later, Put, Try};
use crate::engine::endpoint::Core;
use crate::engine::event::Event;
use crate::engine::failure::{FailScope, Failed, Failure};
use crate::engine::info::Request;
use crate::engine::sa::{Child, ChildState, IkeSa, Phase, Standing, Usage};
use crate::engine::spec::{DpdMode, Side};
use crate::engine::timer::Timer;
use crate::net::Path;
use crate::time::Instant;
use crate::wire::registry::{ExchangeType, NotifyType};

/// What a data plane tells of a Child SA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EspNote {
    /// Packets of the peer's arrived and were authentic.
    Received {
        /// How many.
        packets: u64,
        /// Their octets.
        bytes: u64,
    },
    /// Packets were sent.
    Sent {
        /// How many.
        packets: u64,
        /// Their octets.
        bytes: u64,
    },
    /// The newest authentic packet of the peer's came on another path than the one known.
    From(Path),
}

impl Core {
    /// An IKE SA begins to serve its tunnel: liveness checks, keepalives, lifetime.
    pub(in crate::engine) fn start_life(&mut self, now: Instant, sa: &mut IkeSa) {
        if let Some(dpd) = sa.spec.dpd.as_ref().filter(|d| d.mode == DpdMode::Periodic) {
            sa.alarms.liveness = self.timer(now, sa, Timer::Liveness, dpd.interval).unwrap_or(Instant::MAX);
        }
        self.keep_mapping(now, sa);
        let (soft, hard) = self.deadlines(now, sa, sa.spec.lifetime);
        let Phase::Established(up) = &mut sa.phase else { return };
        (up.soft, up.hard) = (soft, hard);
    }

    /// Sets a new Child SA's lifetimes.
    pub(super) fn child_lifetime(&mut self, now: Instant, sa: &IkeSa, child: &mut Child) {
        let Some(spec) = sa.spec.children.get(usize::from(child.spec)) else { return };
        (child.soft, child.hard) = self.deadlines(now, sa, spec.lifetime);
        let rekey = &sa.spec.behaviour.rekey;
        if rekey.child_bytes.is_none() && rekey.child_packets.is_none() {
            return;
        }
        let noise = self.noise();
        let soft = |limit: Option<u64>| match limit.filter(|_| rekeys(sa)) {
            // The arithmetic of times serves volumes as well.
            Some(limit) => rekey.soft(Duration::from_nanos(limit), noise).as_nanos() as u64,
            None => u64::MAX,
        };
        let soft = (soft(rekey.child_bytes), soft(rekey.child_packets));
        child.usage = Some(Box::new(Usage { bytes: 0, packets: 0, soft }));
    }

    /// When the rekey of something with this lifetime begins, and when it ends.
    fn deadlines(&mut self, now: Instant, sa: &IkeSa, lifetime: Option<Duration>) -> (Instant, Instant) {
        let Some(lifetime) = lifetime else { return (Instant::MAX, Instant::MAX) };
        let noise = self.noise();
        let soft = sa.spec.behaviour.rekey.soft(lifetime, noise);
        let timer = |core: &mut Core, honest| core.timer(now, sa, Timer::Lifetime, honest).unwrap_or(Instant::MAX);
        let soft = if rekeys(sa) { timer(self, soft) } else { Instant::MAX };
        (soft, timer(self, lifetime))
    }

    /// Jitter, from the plan seed.
    pub(super) fn noise(&mut self) -> u32 {
        self.jitter += 1;
        let label = format!("rekey jitter {} {}", self.cfg.salt, self.jitter);
        self.seeds.plan.stream(&label).next_u32()
    }

    /// Something has reached its time.
    pub(in crate::engine) fn lifetime_due(&mut self, now: Instant, sa: &mut IkeSa) {
        let Phase::Established(up) = &mut sa.phase else { return };
        if up.hard <= now {
            up.hard = Instant::MAX;
            match up.standing {
                Standing::Current if up.closing => {}
                Standing::Current => sa.enqueue(Request::Delete),
                // Neither the other end's DELETE nor an answer to ours came.
                Standing::Superseded(_) if sa.window.idle() => sa.enqueue(Request::Delete),
                _ => return self.close(now, sa, false),
            }
            return self.pump(now, sa);
        }
        if up.soft <= now {
            up.soft = Instant::MAX;
            if !up.closing {
                sa.enqueue(Request::RekeyIke(Try::default()));
            }
        }
        if matches!(&sa.phase, Phase::Established(up) if up.reauth <= now) {
            self.reauth_due(now, sa);
        }
        self.children_due(now, sa);
        self.later_due(now, sa);
        self.pump(now, sa);
    }

    fn children_due(&mut self, now: Instant, sa: &mut IkeSa) {
        let Phase::Established(up) = &mut sa.phase else { return };
        let (mut over, mut due) = (Vec::new(), Vec::new());
        for child in up.children.iter_mut().filter(|c| c.soft.min(c.hard) <= now) {
            let list = if child.hard <= now { &mut over } else { &mut due };
            list.push(child.spi_in);
            child.soft = Instant::MAX;
        }
        for spi_in in over {
            sa.delete_child(spi_in);
        }
        for spi_in in due {
            sa.enqueue(Request::RekeyChild(spi_in, Try::default()));
        }
    }

    fn later_due(&mut self, now: Instant, sa: &mut IkeSa) {
        let Phase::Established(up) = &mut sa.phase else { return };
        let Some(rekey) = &mut up.rekey else { return };
        let due: Vec<Later> = rekey.later.extract_if(.., |later| later.at <= now).collect();
        if rekey.idle() {
            up.rekey = None;
        }
        for later in due {
            match later.what {
                Put::Ask(request) => sa.enqueue(request),
                Put::Send(spi_in) => {
                    let Phase::Established(up) = &sa.phase else { return };
                    if up.child(spi_in).is_some_and(|c| c.state == ChildState::Waiting) {
                        self.send_on(sa, spi_in);
                    }
                }
            }
        }
    }

    /// TEMPORARY_FAILURE: again, but not at once, and not for ever (RFC 7296 2.25).
    pub(super) fn try_later(&mut self, now: Instant, sa: &mut IkeSa, request: Request) {
        let spec = &sa.spec.behaviour.rekey;
        let (retry, limit) = (spec.retry, spec.temporary_limit);
        let jitter = retry.mul_f64(f64::from(self.noise()) / f64::from(u32::MAX));
        let Some(rekey) = sa.rekey_mut() else { return };
        let since = *rekey.refused_since.get_or_insert(now);
        if now.since(since) >= limit {
            let exchange = ExchangeType::CREATE_CHILD_SA;
            let why = Failure::Rejected { notify: NotifyType::TEMPORARY_FAILURE, data: Vec::new(), protected: true };
            let failed = Failed { scope: FailScope::IkeSa, exchange, found_by: Side::Peer, why };
            self.counters.failed += 1;
            self.events.push_back((sa.tunnel, sa.id, Event::Failed(Box::new(failed))));
            return sa.enqueue(Request::Delete);
        }
        let again = match request {
            Request::NewChild(spec, try_) => Request::NewChild(spec, try_.afresh()),
            Request::RekeyChild(spi, try_) => Request::RekeyChild(spi, try_.afresh()),
            other => other,
        };
        rekey.later.push(Later { at: now + retry + jitter, what: Put::Ask(again) });
    }

    /// A rekey was refused for good: again at half of the time that is left, while that is more than an instant.
    pub(super) fn rekey_again(&mut self, now: Instant, sa: &mut IkeSa, child: Option<u32>) {
        let least = sa.spec.behaviour.rekey.retry;
        let may = rekeys(sa);
        let Phase::Established(up) = &mut sa.phase else { return };
        let (soft, hard) = match child {
            Some(spi) => match up.child_mut(spi) {
                Some(child) => (&mut child.soft, child.hard),
                None => return,
            },
            None => (&mut up.soft, up.hard),
        };
        let half = hard.since(now) / 2;
        if may && hard != Instant::MAX && half >= least {
            *soft = now + half;
        }
    }

    /// See [`crate::engine::Endpoint::esp_activity`].
    pub(in crate::engine) fn esp_activity(&mut self, now: Instant, sa: &mut IkeSa, spi_in: u32, note: EspNote) {
        let limits = (sa.spec.behaviour.rekey.child_bytes, sa.spec.behaviour.rekey.child_packets);
        let (packets, bytes, received) = match note {
            EspNote::Received { packets, bytes } => (packets, bytes, true),
            EspNote::Sent { packets, bytes } => (packets, bytes, false),
            EspNote::From(path) => {
                if path.role == sa.path.role {
                    self.follow_peer(sa, path);
                }
                return;
            }
        };
        if received {
            // Protected by the Child's keys: the peer lives (RFC 7296 2.4).
            sa.last_heard = now;
        } else {
            self.traffic_sent(now, sa);
        }
        let Phase::Established(up) = &mut sa.phase else { return };
        let Some(child) = up.child_mut(spi_in) else { return };
        let waiting = child.state == ChildState::Waiting;
        let (mut due, mut over) = (false, false);
        if let Some(usage) = &mut child.usage {
            usage.bytes = usage.bytes.saturating_add(bytes);
            usage.packets = usage.packets.saturating_add(packets);
            over = limits.0.is_some_and(|max| usage.bytes >= max) || limits.1.is_some_and(|max| usage.packets >= max);
            due = usage.bytes >= usage.soft.0 || usage.packets >= usage.soft.1;
            if due {
                usage.soft = (u64::MAX, u64::MAX);
            }
        }
        if received && waiting {
            self.send_on(sa, spi_in);
        }
        if over {
            sa.delete_child(spi_in);
        } else if due {
            sa.enqueue(Request::RekeyChild(spi_in, Try::default()));
        }
        if over || due {
            self.pump(now, sa);
        }
    }
}

/// Whether this end rekeys by itself.
fn rekeys(sa: &IkeSa) -> bool {
    sa.initiator || sa.spec.behaviour.rekey.as_responder
}
