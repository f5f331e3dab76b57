//! The ESP data plane, without I/O (RFC 4303).
//!
//! [`Plane`] is told the engine's events, ESP packets and the time; it says datagrams, what a person may want to know, and
//! what the engine wants to know of traffic. Inside it: one [`Child`] per pair of ESP SAs ([`packet`] seals and opens, the
//! [`ReplayWindow`] refuses what was seen), and a small inner stack ([`inner`]): ping, echo responder, UDP stream.
//!
//! At rest a Child SA holds raw keys only. Its ciphers are keyed for the first packet and dropped after a pause.

mod bend;
mod cap;
mod child;
mod counters;
pub mod inner;
pub mod packet;
mod ping;
mod plane;
mod replay;
mod selfcheck;
mod spec;
mod stream;
#[cfg(test)]
mod tests;

pub use cap::Cap;
pub use child::{Child, Standing};
pub use counters::{Counters, RecvError, SaCounters, SendError};
pub use ping::{Ping, PingReport, PingSpec};
pub use plane::Plane;
pub use replay::{DEFAULT_WINDOW, MAX_WINDOW, ReplayWindow, Verdict};
pub use selfcheck::selfcheck;
pub use spec::{Closed, ECHO_PORT, EchoPolicy, Encapsulation, PlaneConfig, PlaneEvent};
pub use stream::{Measured, Reflector, Stream, StreamReport, StreamSpec};
