//! EAP (RFC 3748) without I/O, both ends: the peer proves who it is to the authenticator.
//!
//! ```text
//!  peer (IKE initiator)                   authenticator (IKE responder)
//!                            <--          Request/Identity        unless told not to ask
//!  Response/Identity         -->
//!                            <--          Request/method
//!  Response/method | Nak     -->                                  a Nak names the methods it would rather use
//!                            ...
//!                            <--          Success | Failure
//! ```
//!
//! [`Peer`] and [`Authenticator`] are told packets and say packets. The lower layer (IKE) retransmits, so nothing here does.
//! Randomness is a stream that the caller derives from its seeds; only TLS draws its own.

mod authenticator;
mod fault;
mod md5;
mod method;
mod mschapv2;
mod packet;
mod peer;
mod spec;
#[cfg(test)]
mod tests;
mod tls;

pub use authenticator::{Authenticator, Verdict};
pub use fault::EapFault;
pub use method::{Method, MethodType};
pub use packet::{Code, Packet};
pub use peer::{Peer, Step};
pub use spec::{AuthenticatorSpec, Credential, PeerSpec, TlsSpec, TlsVersions, User};
