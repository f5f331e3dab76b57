//! The anti-replay window (RFC 4303 3.4.3), as a ring of bit blocks (RFC 6479), and the high half of extended sequence
//! numbers (RFC 4303 appendix A2).

/// Bits of one block of the ring.
const BLOCK: u64 = 64;
/// Packets in the window of an SA that says nothing else (RFC 4303 3.4.3: SHOULD be the default).
pub const DEFAULT_WINDOW: u32 = 64;
/// The largest window that can be set.
pub const MAX_WINDOW: u32 = 1 << 16;

/// Which of the latest sequence numbers were received. 40 octets for windows of up to 64 packets.
#[derive(Clone, Debug)]
pub struct ReplayWindow {
    /// The highest authenticated sequence number, with its high half.
    top: u64,
    /// Packets in the window; 0 for no replay protection.
    size: u32,
    blocks: Blocks,
}

/// A power of two of blocks, one more than the window fills, so that a whole block can be cleared when entered.
#[derive(Clone, Debug)]
enum Blocks {
    Two([u64; 2]),
    More(Box<[u64]>),
}

/// What the window says of a sequence number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Not seen yet.
    Fresh,
    /// Seen already.
    Replayed,
    /// Left of the window: nobody knows.
    TooOld,
}

impl ReplayWindow {
    /// A window of so many packets, at most [`MAX_WINDOW`]; 0 switches the protection off.
    pub fn new(size: u32) -> Self {
        let size = size.min(MAX_WINDOW);
        let blocks = (u64::from(size).div_ceil(BLOCK) + 1).next_power_of_two();
        let blocks = match blocks {
            0..=2 => Blocks::Two([0; 2]),
            more => Blocks::More(vec![0; more as usize].into()),
        };
        ReplayWindow { top: 0, size, blocks }
    }

    /// The highest authenticated sequence number; 0 before the first packet.
    pub fn top(&self) -> u64 {
        self.top
    }

    /// The whole sequence number of a packet, from the low half that it carries. Without ESN that half is the whole.
    /// With it, the number is the one nearest to the window (RFC 4303 A2.2).
    pub fn extend(&self, low: u32, esn: bool) -> u64 {
        if !esn {
            return low.into();
        }
        let (high, top) = ((self.top >> 32) as u32, self.top as u32);
        // Without a window, half of the space counts as past.
        let window = if self.size == 0 { 1 << 31 } else { self.size };
        let bottom = top.wrapping_sub(window - 1);
        let high = if top >= window - 1 {
            // The window lies within one subspace: what is below it belongs to the next.
            if low >= bottom { high } else { high.wrapping_add(1) }
        } else if low >= bottom {
            // The window spans two subspaces; before the first wrap there is nothing on the left.
            high.saturating_sub(1)
        } else {
            high
        };
        u64::from(high) << 32 | u64::from(low)
    }

    /// Whether a packet with this number may be a new one. Changes nothing: the packet is not authenticated yet.
    pub fn check(&self, seq: u64) -> Verdict {
        match self.size {
            0 => Verdict::Fresh,
            // No SA sends number 0 (RFC 4303 2.2).
            _ if seq == 0 => Verdict::TooOld,
            _ if seq > self.top => Verdict::Fresh,
            size if self.top - seq >= u64::from(size) => Verdict::TooOld,
            _ if self.is_set(seq) => Verdict::Replayed,
            _ => Verdict::Fresh,
        }
    }

    /// Takes note of an authenticated packet. What it says is as of [`ReplayWindow::check`], so that of two copies of
    /// one packet only the first is let through.
    pub fn accept(&mut self, seq: u64) -> Verdict {
        let verdict = self.check(seq);
        if verdict != Verdict::Fresh {
            return verdict;
        }
        if self.size > 0 {
            if seq > self.top {
                self.enter(seq);
            }
            self.set(seq);
        }
        self.top = self.top.max(seq);
        verdict
    }

    /// Clears the blocks that the window moves into.
    fn enter(&mut self, seq: u64) {
        let (from, to) = (self.top / BLOCK, seq / BLOCK);
        let blocks = self.blocks.all_mut();
        let len = blocks.len() as u64;
        for block in (from + 1..=to).take(blocks.len()) {
            blocks[(block % len) as usize] = 0;
        }
        // After a jump over the whole ring, the block of `seq` is among those cleared.
        if to - from > len {
            blocks.fill(0);
        }
    }

    fn is_set(&self, seq: u64) -> bool {
        let blocks = self.blocks.all();
        blocks[(seq / BLOCK) as usize % blocks.len()] >> (seq % BLOCK) & 1 == 1
    }

    fn set(&mut self, seq: u64) {
        let blocks = self.blocks.all_mut();
        let len = blocks.len();
        blocks[(seq / BLOCK) as usize % len] |= 1 << (seq % BLOCK);
    }
}

impl Blocks {
    fn all(&self) -> &[u64] {
        match self {
            Blocks::Two(blocks) => blocks,
            Blocks::More(blocks) => blocks,
        }
    }

    fn all_mut(&mut self) -> &mut [u64] {
        match self {
            Blocks::Two(blocks) => blocks,
            Blocks::More(blocks) => blocks,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    /// The same by keeping every number.
    struct Plain {
        top: u64,
        size: u64,
        seen: BTreeSet<u64>,
    }

    impl Plain {
        fn accept(&mut self, seq: u64) -> Verdict {
            if seq == 0 || seq + self.size <= self.top {
                return Verdict::TooOld;
            }
            self.top = self.top.max(seq);
            if self.seen.insert(seq) { Verdict::Fresh } else { Verdict::Replayed }
        }
    }

    #[test]
    fn agrees_with_keeping_every_number() {
        let mut rng = ChaCha20Rng::seed_from_u64(4303);
        for size in [1, 2, 32, 63, 64, 65, 127, 128, 129, 1000, 4096] {
            let mut window = ReplayWindow::new(size);
            let mut plain = Plain { top: 0, size: size.into(), seen: BTreeSet::new() };
            for _ in 0..20_000 {
                let near = plain.top.saturating_sub(u64::from(size) * 3 / 2);
                let span = u64::from(size) * 2 + 2;
                let seq = match rng.next_u32() % 200 {
                    0 => plain.top + rng.next_u64() % (u64::from(size) * 5),
                    _ => near + rng.next_u64() % span,
                };
                assert_eq!(
                    window.check(seq) == Verdict::Fresh,
                    plain.seen.clone().insert(seq) && { seq != 0 && seq + plain.size > plain.top }
                );
                assert_eq!(window.accept(seq), plain.accept(seq), "window {size}, number {seq}");
                if plain.seen.len() > 300 {
                    let keep = plain.top.saturating_sub(plain.size);
                    plain.seen.retain(|&s| s >= keep);
                    if plain.seen.len() > 300 {
                        break;
                    }
                }
            }
        }
    }

    #[test]
    fn what_the_window_accepts_and_refuses() {
        let mut window = ReplayWindow::new(64);
        assert_eq!(window.accept(0), Verdict::TooOld, "no SA sends number 0");
        for seq in [1, 2, 3, 70, 69, 7] {
            assert_eq!(window.accept(seq), Verdict::Fresh, "{seq}");
            assert_eq!(window.accept(seq), Verdict::Replayed, "{seq}");
        }
        assert_eq!(window.accept(6), Verdict::TooOld, "70 - 6 = 64");
        assert_eq!(window.accept(u64::MAX), Verdict::Fresh);
        assert_eq!(window.accept(u64::MAX - 63), Verdict::Fresh);
        assert_eq!(window.accept(u64::MAX - 64), Verdict::TooOld);
        assert_eq!(window.top(), u64::MAX);
    }

    #[test]
    fn no_window_lets_everything_through() {
        let mut window = ReplayWindow::new(0);
        for seq in [5, 5, 0, 1] {
            assert_eq!(window.accept(seq), Verdict::Fresh);
        }
        assert_eq!(window.top(), 5);
    }

    #[test]
    fn extended_numbers_follow_the_window_over_the_wrap() {
        let mut window = ReplayWindow::new(64);
        assert_eq!(window.extend(1, true), 1);
        assert_eq!(window.extend(u32::MAX, true), u64::from(u32::MAX), "before the first wrap there is nothing left");
        let last = u64::from(u32::MAX);
        assert_eq!(window.accept(last - 2), Verdict::Fresh);
        assert_eq!(window.extend(u32::MAX, true), last, "within the window's subspace");
        assert_eq!(window.extend(5, true), last + 6, "far below the window: the next subspace");
        assert_eq!(window.accept(last + 6), Verdict::Fresh);
        assert_eq!(window.extend(u32::MAX, true), last, "the window spans two subspaces");
        assert_eq!(window.extend(4, true), last + 5);
        assert_eq!(window.extend(6, false), 6, "without ESN the low half is all");
        assert_eq!(window.accept(last), Verdict::Fresh);
        assert_eq!(window.accept(last), Verdict::Replayed);
    }
}
