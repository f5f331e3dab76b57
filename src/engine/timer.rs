//! Why an IKE SA wants to be woken.

/// The reasons for which an IKE SA sets a timer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Timer {
    /// Send the outstanding request again, or give up.
    Retransmit,
    /// A half-open IKE SA is forgotten, or an unprotected error is believed after waiting.
    HalfOpen,
    /// A liveness check is due.
    Liveness,
    /// A NAT keepalive is due (RFC 3948 4).
    Keepalive,
    /// A lifetime ends or its rekey begins, or something put off is due.
    Lifetime,
    /// A closed IKE SA stops answering repeats.
    Linger,
    /// A datagram held back by a rule is due.
    Held,
}
