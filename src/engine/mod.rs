//! The honest sans-IO IKEv2 peer (RFC 7296), both roles. No I/O, no clock, no randomness source of its own.
//!
//! Start at [`Endpoint`]. It is told datagrams, commands and the time; it says [`Event`]s and [`crate::net::Transmit`]s.
//!
//! Rules that hold everywhere, each with a test in `tests/it/engine_rules`:
//! - nothing unauthenticated ends an IKE SA once keys exist; a failed Child is not a dead IKE SA;
//! - message ids come only from `window`; repeats are recognised before decryption and answered from the cache;
//! - a request is answered to the address it came from; events are drained before transmits;
//! - with no [`Tamper`] rule for an IKE SA, no seam is called for it and nothing is copied.

mod answer;
mod auth;
mod child;
mod class;
mod codec;
mod config_payload;
mod cookie;
mod counters;
mod endpoint;
mod esp_index;
mod event;
mod failure;
mod fragment;
mod info;
mod init;
mod liveness;
mod mobike;
mod natt;
mod propose;
mod rekey;
mod sa;
mod screen;
mod selectors;
mod selfcheck;
mod spec;
mod stateless;
mod style;
mod table;
mod tamper;
mod timer;
mod window;

pub use class::FailureClass;
pub use counters::Counters;
pub use endpoint::Endpoint;
pub use esp_index::ChildCount;
pub use event::{
    AuthRefused, ChildSa, EapDone, Event, Ignored, IgnoredWhy, IkeKeyExport, IkeRekeyed, IkeUp, InitDone, InnerConfig,
    MessageTrace, NatFinding,
};
pub use failure::{AuthFault, FailScope, Failed, Failure, Heard, LocalFault, PeerIncompatible, PeerMisbehaved};
pub use rekey::{ChildView, EspNote, SaView};
pub use selfcheck::selfcheck;
pub use spec::{
    AuthSpec, Behaviour, ChildFailure, ChildSpec, Childless, Command, CommandError, ConnectionSpec, CpRequest, CpSpec,
    CreateChildPolicy, DpdAction, DpdMode, DpdSpec, EndpointConfig, FragmentSpec, IdMatch, Limits, MobikeSpec, Mode,
    Narrowing, NatSpec, NatTraversal, Pfs, PoolSpec, Ports, ProposalSpec, ReauthOrder, RekeySpec, RetransmitSpec, SaId,
    Side, TunnelId, UnprotectedErrors, Unwelcome,
};
pub use style::{Extra, MessageStyle, Place};
pub use tamper::{
    Decision, Deliver, EspCx, EspEdit, Fragment, Injected, Layout, LayoutPart, MsgCx, Order, Outgoing, RecvCx, SaCx,
    SecretKind, SkBody, Tamper, Trigger,
};
pub use timer::Timer;
