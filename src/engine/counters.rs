//! Counters of an endpoint.

use super::event::IgnoredWhy;

/// What an endpoint has counted since it was made.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Messages received that had an IKE header.
    pub received: u64,
    /// Messages transmitted, repeats included.
    pub transmitted: u64,
    /// Requests sent again.
    pub retransmits: u64,
    /// Cached responses sent again.
    pub repeats_answered: u64,
    /// COOKIE challenges sent.
    pub cookies_sent: u64,
    /// IKE SAs that came up.
    pub ike_up: u64,
    /// Child SAs that came up.
    pub child_up: u64,
    /// IKE SAs that were rekeyed.
    pub ike_rekeyed: u64,
    /// Child SAs that were rekeyed.
    pub child_rekeyed: u64,
    /// IKE SAs that failed.
    pub failed: u64,
    /// IKE SAs that are half open now (responder).
    pub half_open: u32,
    /// Messages that changed nothing, by reason ([`IgnoredWhy`] as index).
    pub ignored: [u64; IgnoredWhy::COUNT],
}

impl Counters {
    /// Messages that changed nothing for this reason.
    pub fn ignored(&self, why: IgnoredWhy) -> u64 {
        self.ignored[why as usize]
    }
}
