//! The table of IKE SAs. Handling one takes it out of its slot; others stay within reach, as when a rekeyed IKE SA hands
//! its Child SAs to its successor.

use super::endpoint::Core;
use super::event::Event;
use super::sa::{IkeSa, Phase};
use super::spec::SaId;
use crate::time::Instant;

/// Slots, each with a generation, so that a stale handle is recognised.
#[derive(Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    generation: u32,
    sa: Option<Box<IkeSa>>,
}

impl Table {
    /// Slots in use.
    pub(super) fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Handles of all IKE SAs, in the order of their slots.
    pub(super) fn ids(&self) -> Vec<SaId> {
        self.slots
            .iter()
            .zip(0..)
            .filter(|(slot, _)| slot.sa.is_some())
            .map(|(slot, at)| SaId { slot: at, generation: slot.generation })
            .collect()
    }

    /// The IKE SA, unless the handle is stale or it is being handled.
    pub(super) fn get(&self, id: SaId) -> Option<&IkeSa> {
        let slot = self.slots.get(id.slot as usize)?;
        (slot.generation == id.generation).then_some(())?;
        slot.sa.as_deref()
    }

    /// Reserves a slot.
    pub(super) fn allocate(&mut self) -> SaId {
        match self.free.pop() {
            Some(slot) => SaId { slot, generation: self.slots[slot as usize].generation },
            None => {
                let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 IKE SAs");
                self.slots.push(Slot { generation: 0, sa: None });
                SaId { slot, generation: 0 }
            }
        }
    }

    /// Frees a slot; handles of its IKE SA are stale from now on.
    pub(super) fn release(&mut self, id: SaId) {
        let generation = &mut self.slots[id.slot as usize].generation;
        *generation = generation.wrapping_add(1);
        self.free.push(id.slot);
    }

    fn take(&mut self, id: SaId) -> Option<Box<IkeSa>> {
        self.slots.get_mut(id.slot as usize).filter(|s| s.generation == id.generation)?.sa.take()
    }
}

impl Core {
    /// Takes an IKE SA out of its slot for the time of `handle`. A stale handle does nothing, and so does that of an IKE
    /// SA that is being handled further up.
    pub(super) fn with_sa(&mut self, id: SaId, handle: impl FnOnce(&mut Core, &mut IkeSa)) {
        let Some(mut sa) = self.table.take(id) else { return };
        handle(self, &mut sa);
        self.put_back(id, sa);
    }

    /// Puts an IKE SA into its slot and registers its timer; one that is over frees the slot.
    pub(super) fn put_back(&mut self, id: SaId, mut sa: Box<IkeSa>) {
        let over = matches!(sa.phase, Phase::Closed) && sa.alarms.linger == Instant::ZERO;
        let wanted = sa.deadline().filter(|_| !over).map_or(Instant::MAX, |(at, _)| at);
        if wanted != sa.scheduled {
            self.timers.remove(&(sa.scheduled, id));
            if wanted < Instant::MAX {
                self.timers.insert((wanted, id));
            }
            sa.scheduled = wanted;
        }
        if over {
            self.forget(&sa);
            self.events.push_back((sa.tunnel, id, Event::Closed));
            self.table.release(id);
        } else {
            self.table.slots[id.slot as usize].sa = Some(sa);
        }
    }
}
