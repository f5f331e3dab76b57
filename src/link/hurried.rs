//! A link whose clock runs several times as fast as the real one.
//!
//! Everything above it lives faster: its lifetimes, waits and retransmissions pass in a fraction of the time that they
//! name. The peer's do not. A lifetime of ten minutes can so be watched running out in one, on the same wire.

use std::io;

use super::{Between, Link, LinkCounters, LinkNote, Received, RxBatch, TxBatch, TxOutcome, Wake};
use crate::net::Path;
use crate::time::{Instant, UnixTime};

/// A link in front of which time runs faster.
pub struct Hurried<L> {
    inner: L,
    times: u32,
}

impl<L: Link> Hurried<L> {
    /// `times` as fast as `inner`; 0 counts as 1.
    pub fn new(inner: L, times: u32) -> Self {
        Hurried { inner, times: times.max(1) }
    }

    fn above(&self, at: Instant) -> Instant {
        Instant(at.0.saturating_mul(u64::from(self.times)))
    }

    /// Rounded up: who waits for an instant must not wake before it.
    fn below(&self, at: Instant) -> Instant {
        Instant(at.0.div_ceil(u64::from(self.times)))
    }
}

impl<L: Link> Link for Hurried<L> {
    fn now(&self) -> Instant {
        self.above(self.inner.now())
    }

    fn epoch(&self) -> UnixTime {
        self.inner.epoch()
    }

    fn send(&mut self, batch: &mut TxBatch) -> io::Result<()> {
        let pending = |outcome: &TxOutcome| matches!(outcome, TxOutcome::Pending);
        let new: Vec<bool> = batch.items.iter().map(|item| pending(&item.outcome)).collect();
        let done = self.inner.send(batch);
        for (item, _) in batch.items.iter_mut().zip(new).filter(|(_, new)| *new) {
            if let TxOutcome::Sent(at) = &mut item.outcome {
                *at = Instant(at.0.saturating_mul(u64::from(self.times)));
            }
        }
        done
    }

    fn recv_until(&mut self, until: Option<Instant>, rx: &mut RxBatch) -> io::Result<Wake> {
        let wake = self.inner.recv_until(until.map(|at| self.below(at)), rx);
        let times = u64::from(self.times);
        for received in rx.received_mut() {
            received.at = Instant(received.at.0.saturating_mul(times));
        }
        wake
    }

    fn poll_note(&mut self) -> Option<LinkNote> {
        self.inner.poll_note()
    }

    fn poll_dropped(&mut self) -> Option<(Received, &'static str)> {
        let (mut received, by) = self.inner.poll_dropped()?;
        received.at = self.above(received.at);
        Some((received, by))
    }

    fn counters(&self) -> LinkCounters {
        self.inner.counters()
    }

    /// What a box forgets after a time, it forgets after that time of our clock.
    fn put_between(&mut self, ours: bool, between: Option<&Between>) -> bool {
        let below = |between: &Between| Between { forgets: between.forgets.map(|span| span / self.times), ..*between };
        let between = between.map(below);
        self.inner.put_between(ours, between.as_ref())
    }

    fn between_effects(&self) -> Option<u64> {
        self.inner.between_effects()
    }

    fn outside(&self, path: &Path) -> Path {
        self.inner.outside(path)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::{Class, SocketRole, Transmit};

    /// A link that notes until when it was asked to wait, and receives what it sends.
    struct Still {
        now: Instant,
        asked: Option<Instant>,
        sent: bool,
        forgets: Option<Duration>,
    }

    impl Link for Still {
        fn now(&self) -> Instant {
            self.now
        }
        fn epoch(&self) -> UnixTime {
            UnixTime(7)
        }
        fn send(&mut self, batch: &mut TxBatch) -> io::Result<()> {
            for item in batch.items.iter_mut().filter(|item| matches!(item.outcome, TxOutcome::Pending)) {
                item.outcome = TxOutcome::Sent(self.now);
                self.sent = true;
            }
            Ok(())
        }
        fn recv_until(&mut self, until: Option<Instant>, rx: &mut RxBatch) -> io::Result<Wake> {
            rx.clear();
            self.asked = until;
            if let Some(until) = until {
                self.now = self.now.max(until);
            }
            if !std::mem::take(&mut self.sent) {
                return Ok(Wake::Timeout);
            }
            rx.push(Received { at: self.now, path: path(), class: Class::Ike, bytes: vec![1] });
            Ok(Wake::Data)
        }
        fn poll_note(&mut self) -> Option<LinkNote> {
            None
        }
        fn counters(&self) -> LinkCounters {
            LinkCounters::default()
        }
        fn put_between(&mut self, _ours: bool, between: Option<&Between>) -> bool {
            self.forgets = between.and_then(|between| between.forgets);
            true
        }
    }

    fn path() -> Path {
        let end = std::net::SocketAddr::from(([192, 0, 2, 1], 500));
        Path { local: end, remote: end, role: SocketRole::Ike }
    }

    #[test]
    fn ten_seconds_pass_in_one() {
        let still = Still { now: Instant::from_millis(1000), asked: None, sent: false, forgets: None };
        let mut link = Hurried::new(still, 10);
        assert_eq!((link.now(), link.epoch()), (Instant::from_millis(10_000), UnixTime(7)));
        let mut batch = TxBatch::new();
        batch.push(Transmit { path: path(), class: Class::Ike, bytes: vec![1] });
        link.send(&mut batch).expect("it sends");
        link.send(&mut batch).expect("it sends nothing again");
        let at = |item: &super::super::TxItem| match item.outcome {
            TxOutcome::Sent(at) => Some(at),
            _ => None,
        };
        assert_eq!(at(&batch.items()[0]), Some(Instant::from_millis(10_000)), "stretched once, not twice");
        let mut rx = RxBatch::new(4);
        let until = Instant::from_millis(10_000) + Duration::from_secs(5) + Duration::from_nanos(1);
        assert_eq!(link.recv_until(Some(until), &mut rx).expect("it receives"), Wake::Data);
        assert_eq!(link.inner.asked, Some(Instant(1_500_000_001)));
        assert!(link.now() >= until && rx.received()[0].at == link.now());
        assert_eq!(link.recv_until(Some(until), &mut rx).expect("it looks"), Wake::Timeout);
        let nat = Between { translates: true, forgets: Some(Duration::from_secs(25)), drops_esp: true };
        assert!(link.put_between(true, Some(&nat)));
        assert_eq!(link.inner.forgets, Some(Duration::from_millis(2500)), "25 of our seconds");
    }
}
