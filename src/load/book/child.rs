//! Tunnels and their Child SAs: which one a tunnel has, and what becomes of it when that is gone.

use std::time::Duration;

use super::super::measure::During;
use super::{Book, Open};
use crate::engine::{FailureClass, Side};
use crate::time::Instant;

/// A tunnel whose Child SA is gone is not lost if it gets another one within this time: some peers delete first and ask for a
/// new one then.
const CHILD_AGAIN: Duration = Duration::from_secs(2);

impl Book {
    /// Tunnels whose Child SA is gone, and which have got no other one in time, are lost: their IKE SAs are of no use, and are
    /// to be deleted.
    pub fn judge_bare(&mut self, now: Instant) {
        while let Some(&(at, place, class)) = self.bare.front().filter(|(at, ..)| *at + CHILD_AGAIN <= now) {
            self.bare.pop_front();
            if !self.is_bare(place) {
                continue;
            }
            match self.tunnels[place].open {
                Open::Nothing => {
                    self.lost(place, at, class);
                    self.not_up(place);
                    self.to_delete.push(place);
                }
                // As it was to.
                Open::Delete => {}
                // What is under way may bring another one.
                _ => self.bare.push_back((now, place, class)),
            }
        }
    }

    /// When [`Book::judge_bare`] has the next one.
    pub fn next_bare(&mut self) -> Option<Instant> {
        loop {
            let &(at, place, _) = self.bare.front()?;
            if self.is_bare(place) {
                return Some(at + CHILD_AGAIN);
            }
            self.bare.pop_front();
        }
    }

    /// It is up without the Child SA that it was brought up for.
    fn is_bare(&self, place: usize) -> bool {
        self.children && self.tunnels[place].up && self.tunnels[place].child == 0
    }

    /// A Child SA may be used.
    pub(super) fn child_up(&mut self, place: usize, spi: u32) {
        let tunnel = &mut self.tunnels[place];
        if tunnel.child == 0 {
            tunnel.child = spi;
        } else if tunnel.child != spi {
            tunnel.spare = spi;
        }
    }

    /// A Child SA has taken another's place.
    pub(super) fn child_rekeyed(&mut self, place: usize, now: Instant, old: u32, new: u32) {
        self.unrenewed.remove(&place);
        let tunnel = &mut self.tunnels[place];
        if tunnel.spare == old || tunnel.spare == new {
            tunnel.spare = if tunnel.spare == old { new } else { 0 };
        }
        // The peer may have deleted the old one before it was settled which one follows.
        if tunnel.child == old || tunnel.child == new {
            (tunnel.child, tunnel.rekeyed) = (new, true);
            if tunnel.open == Open::RekeyChild {
                self.succeed(place, now);
            }
        }
    }

    /// A Child SA is gone.
    pub(super) fn child_down(&mut self, place: usize, now: Instant, spi: u32, by: Side) {
        let tunnel = &mut self.tunnels[place];
        if tunnel.spare == spi {
            tunnel.spare = 0;
        }
        // One that another has taken the place of, or that goes with its IKE SA.
        if tunnel.child != spi || tunnel.open == Open::Delete {
            return;
        }
        tunnel.child = std::mem::take(&mut tunnel.spare);
        if tunnel.child == 0 {
            let rekey = tunnel.open == Open::RekeyChild;
            let refused = self.unrenewed.remove(&place);
            // Our own doing is the end of its lifetime, and that it was not rekeyed is the cause.
            let class = match by {
                Side::Peer => FailureClass::PeerDeleted,
                Side::Us => refused.unwrap_or(FailureClass::Local),
            };
            self.bare.push_back((now, place, class));
            if rekey {
                self.fail(place, now, class, During::Rekey);
            }
        }
    }
}
