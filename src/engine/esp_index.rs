//! Which IKE SA an inbound ESP SPI belongs to, and how many Child SAs that makes: of this endpoint, or of all that stand for
//! one box.

use std::collections::HashMap;
use std::collections::hash_map::Values;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::spec::SaId;

/// Child SAs of several endpoints that stand for one box, those under negotiation included. Each counts its own here.
#[derive(Debug, Default)]
pub struct ChildCount(AtomicU32);

impl ChildCount {
    /// How many there are.
    pub fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

/// Inbound ESP SPIs in use or reserved.
#[derive(Debug)]
pub(super) struct EspIndex {
    map: HashMap<u32, SaId>,
    together: Option<Arc<ChildCount>>,
    /// How many there were, all together, when the last one was added.
    before: u32,
}

impl EspIndex {
    /// An empty one, which counts `together` with others if there are some.
    pub fn new(together: Option<Arc<ChildCount>>) -> Self {
        EspIndex { map: HashMap::new(), together, before: 0 }
    }

    /// Adds one, or gives it to another IKE SA.
    pub fn insert(&mut self, spi: u32, id: SaId) {
        if self.map.insert(spi, id).is_none()
            && let Some(count) = &self.together
        {
            self.before = count.0.fetch_add(1, Relaxed);
        }
    }

    /// Removes one.
    pub fn remove(&mut self, spi: u32) {
        if self.map.remove(&spi).is_some()
            && let Some(count) = &self.together
        {
            count.0.fetch_sub(1, Relaxed);
        }
    }

    /// Whose it is.
    pub fn get(&self, spi: &u32) -> Option<&SaId> {
        self.map.get(spi)
    }

    /// It is in use or reserved.
    pub fn contains(&self, spi: u32) -> bool {
        self.map.contains_key(&spi)
    }

    /// All owners, in no order.
    pub fn values(&self) -> Values<'_, u32, SaId> {
        self.map.values()
    }

    /// Whether `max` stand. With `last` it is the one that was added last that wants a place among them: where several count
    /// together, whoever came first has the last place.
    pub fn is_full(&self, max: u32, last: bool) -> bool {
        match &self.together {
            None => self.map.len().saturating_sub(usize::from(last)) >= max as usize,
            Some(_) if last => self.before >= max,
            Some(count) => count.get() >= max,
        }
    }
}

/// What an endpoint had is gone with it.
impl Drop for EspIndex {
    fn drop(&mut self) {
        if let Some(count) = &self.together {
            count.0.fetch_sub(u32::try_from(self.map.len()).unwrap_or(u32::MAX), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SaId = SaId { slot: 1, generation: 1 };
    const OTHER: SaId = SaId { slot: 2, generation: 1 };

    #[test]
    fn alone_and_together_the_same_number_fits() {
        for together in [None, Some(Arc::default())] {
            let mut index = EspIndex::new(together);
            for spi in 0..3 {
                assert!(!index.is_full(3, false));
                index.insert(spi, ONE);
                assert!(!index.is_full(3, true), "{spi}");
            }
            index.insert(2, OTHER);
            assert!(index.is_full(3, false), "given to another one, it counts once");
            index.insert(3, ONE);
            assert!(index.is_full(3, true));
            index.remove(3);
            index.remove(3);
            index.remove(0);
            assert!(!index.is_full(3, false));
        }
    }

    #[test]
    fn endpoints_that_count_together_share_the_places() {
        let count = Arc::new(ChildCount::default());
        let [mut a, mut b] = [0, 1].map(|_| EspIndex::new(Some(Arc::clone(&count))));
        a.insert(1, ONE);
        b.insert(1, ONE);
        assert!(!a.is_full(3, true) && !b.is_full(3, true));
        // Both want the last place at once: who came first has it.
        b.insert(2, ONE);
        a.insert(2, ONE);
        assert!(!b.is_full(3, true) && a.is_full(3, true));
        a.remove(2);
        assert_eq!(count.get(), 3);
        drop(b);
        assert_eq!(count.get(), 1);
        assert!(!a.is_full(3, false));
    }

    /// Any number of threads, each of which takes and gives back: never more than fit, and in the end none.
    #[test]
    fn over_threads_no_more_fit_than_there_are_places() {
        let count = Arc::new(ChildCount::default());
        let held = Arc::new(AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let mut index = EspIndex::new(Some(Arc::clone(&count)));
                let held = Arc::clone(&held);
                scope.spawn(move || {
                    for spi in 0..2_000 {
                        index.insert(spi, ONE);
                        if index.is_full(3, true) {
                            index.remove(spi);
                            continue;
                        }
                        assert!(held.fetch_add(1, Relaxed) < 3);
                        held.fetch_sub(1, Relaxed);
                        index.remove(spi);
                    }
                });
            }
        });
        assert_eq!(count.get(), 0);
    }
}
