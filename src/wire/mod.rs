//! Bytes to messages and back (RFC 7296 section 3, RFC 7383 section 2.5). No keys, no state, no I/O.
//!
//! Decoding never panics and never allocates from an unchecked length; on error it keeps the header and every payload
//! understood so far. Encoding a message can fill a [`FieldMap`], so that any field can be edited afterwards.

pub mod registry;

mod auth;
mod cert;
mod config;
mod delete;
mod dn;
mod dump;
mod eap;
mod error;
mod field;
mod fragment;
mod header;
mod id;
mod ke;
mod message;
mod nonce;
mod notify;
mod payload;
mod reader;
mod sa;
mod selfcheck;
#[cfg(test)]
mod testing;
mod ts;
mod vendor;
mod writer;

pub use auth::AuthPayload;
pub use cert::{CertPayload, CertReqPayload};
pub use config::{CfgAttribute, CpPayload};
pub use delete::DeletePayload;
pub use dn::{dn_from_text, dn_text, dn_values, same_dn};
pub use dump::{Dump, summary};
pub use eap::EapPayload;
pub use error::{WireError, WireErrorKind};
pub use field::{Field, FieldEdit, FieldMap};
pub use fragment::FragmentInfo;
pub use header::{Flags, Header, IkeSpi};
pub use id::IdPayload;
pub use ke::KePayload;
pub use message::{
    Decoded, MAX_PAYLOADS, Message, SkRef, decode, decode_chain, encode_chain, encode_into, encode_outer,
};
pub use nonce::NoncePayload;
pub use notify::NotifyPayload;
pub use payload::{Payload, RawPayload};
pub use sa::{Attribute, AttributeValue, Proposal, SaPayload, Transform};
pub use selfcheck::selfcheck;
pub use ts::{TrafficSelector, TsPayload, TsRange};
pub use vendor::VendorIdPayload;
