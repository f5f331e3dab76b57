//! What a data plane counts: for each Child SA as boxes do, and in all with every reason.

/// Counters of one Child SA, under the names that boxes give them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SaCounters {
    /// Packets encapsulated: encrypted, and handed on to be sent.
    pub encaps: u64,
    /// Octets of inner packets in them.
    pub encap_bytes: u64,
    /// Packets decapsulated: authentic, decrypted, within the selectors.
    pub decaps: u64,
    /// Octets of inner packets in them.
    pub decap_bytes: u64,
    /// Packets for this SA that could not be sent.
    pub send_errors: u32,
    /// Packets for this SA that were dropped.
    pub recv_errors: u32,
}

/// Why an inner packet was not sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum SendError {
    /// It is no IP packet.
    Malformed,
    /// No Child SA's selectors cover it.
    Selectors,
    /// A Child SA's selectors cover it, and none may be sent on: not yet, or no longer.
    NoSa,
    /// The sequence number would be used twice (RFC 4303 3.3.3): the Child SA should have been rekeyed.
    SequenceOverflow,
    /// Native ESP is needed, and this program may not send it.
    NoNativeEsp,
    /// It is known only after IKE_AUTH where to.
    NoPath,
    /// More than the licence of the box that is played allows.
    Licence,
}

/// Why an ESP packet was dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum RecvError {
    /// Too short for its SA, or not a whole number of blocks.
    Short,
    /// No inbound SA has this SPI; or it is one of the reserved ones.
    UnknownSpi,
    /// Received before.
    Replayed,
    /// Left of the replay window.
    TooOld,
    /// Integrity check failed.
    BadIcv,
    /// Authentic padding that is longer than the packet.
    BadPadding,
    /// What is in it is no IP packet, or not what the SA's mode carries.
    MalformedInner,
    /// The inner packet lies outside the selectors.
    Selectors,
    /// More than the licence of the box that is played allows.
    Licence,
}

/// Counters of a whole data plane.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Packets encapsulated.
    pub encaps: u64,
    /// Octets of inner packets in them.
    pub encap_bytes: u64,
    /// Packets decapsulated.
    pub decaps: u64,
    /// Octets of inner packets in them.
    pub decap_bytes: u64,
    /// Dummy packets received (RFC 4303 2.6); not errors, not in `decaps`.
    pub dummies: u64,
    /// Packets that carried traffic flow confidentiality padding (RFC 4303 2.7).
    pub tfc_padded: u64,
    /// Packets whose padding was not 1, 2, 3, ...
    pub odd_padding: u64,
    /// Echo requests that were answered.
    pub echoes_answered: u64,
    /// Keyings of a cipher: after a pause the same SA's cipher is keyed again.
    pub keyings: u64,
    /// Packets not sent, by reason.
    pub send_errors: [u64; SendError::ALL.len()],
    /// Packets dropped, by reason.
    pub recv_errors: [u64; RecvError::ALL.len()],
}

impl Counters {
    /// How often a packet was not sent for this reason.
    pub fn not_sent(&self, why: SendError) -> u64 {
        self.send_errors[why as usize]
    }

    /// How often a packet was dropped for this reason.
    pub fn dropped(&self, why: RecvError) -> u64 {
        self.recv_errors[why as usize]
    }

    /// All reasons that occurred, with how often, in words.
    pub fn errors(&self) -> impl Iterator<Item = (u64, &'static str)> + '_ {
        let sent = SendError::ALL.iter().map(|&why| (self.not_sent(why), why.text()));
        let received = RecvError::ALL.iter().map(|&why| (self.dropped(why), why.text()));
        sent.chain(received).filter(|(count, _)| *count > 0)
    }
}

impl SendError {
    /// Every reason, in the order of their numbers.
    pub const ALL: &[SendError] = &[
        SendError::Malformed,
        SendError::Selectors,
        SendError::NoSa,
        SendError::SequenceOverflow,
        SendError::NoNativeEsp,
        SendError::NoPath,
        SendError::Licence,
    ];

    /// In plain words.
    pub fn text(self) -> &'static str {
        match self {
            SendError::Malformed => "not an IP packet",
            SendError::Selectors => "inner packet outside the selectors, not sent",
            SendError::NoSa => "no Child SA to send it on",
            SendError::SequenceOverflow => "sequence numbers used up",
            SendError::NoNativeEsp => "native ESP (IP protocol 50) is needed and not available",
            SendError::NoPath => "the peer's address is not known yet",
            SendError::Licence => "more than the licence allows, not sent",
        }
    }
}

impl RecvError {
    /// Every reason, in the order of their numbers.
    pub const ALL: &[RecvError] = &[
        RecvError::Short,
        RecvError::UnknownSpi,
        RecvError::Replayed,
        RecvError::TooOld,
        RecvError::BadIcv,
        RecvError::BadPadding,
        RecvError::MalformedInner,
        RecvError::Selectors,
        RecvError::Licence,
    ];

    /// In plain words.
    pub fn text(self) -> &'static str {
        match self {
            RecvError::Short => "ESP packet too short or not a whole number of blocks",
            RecvError::UnknownSpi => "ESP packet with an unknown SPI",
            RecvError::Replayed => "replayed ESP packet",
            RecvError::TooOld => "ESP packet left of the replay window",
            RecvError::BadIcv => "ESP integrity check failed",
            RecvError::BadPadding => "ESP padding longer than the packet",
            RecvError::MalformedInner => "malformed inner packet",
            RecvError::Selectors => "inner packet outside the selectors, dropped",
            RecvError::Licence => "more than the licence allows, dropped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_at_their_numbers() {
        assert!(SendError::ALL.iter().enumerate().all(|(at, why)| *why as usize == at));
        assert!(RecvError::ALL.iter().enumerate().all(|(at, why)| *why as usize == at));
    }
}
