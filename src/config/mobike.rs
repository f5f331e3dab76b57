//! The `mobike` section: addresses that may change (RFC 4555).

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::Problem;
use super::file::At;
use crate::engine::MobikeSpec;

/// Addresses may change while the tunnel stays (RFC 4555), if the peer agrees. `mobike: {}` is enough.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MobikeSection {
    /// Other addresses of this end, to be named to the peer.
    #[serde(default)]
    pub addresses: Vec<At<String>>,
    /// Whether a peer that begins a tunnel may move; refused, it is answered UNACCEPTABLE_ADDRESSES. Default true.
    pub follow: Option<At<bool>>,
    /// ESP follows a peer only once it has proved to be where it claims (RFC 4555 3.7). Default false.
    pub check: Option<At<bool>>,
}

/// The section's meaning.
pub(super) fn build(at: &MobikeSection) -> Result<MobikeSpec, Problem> {
    let plain = MobikeSpec::default();
    let address = |at: &At<String>| {
        let wrong = || Problem::new(format!("`{}` is no IP address", at.value)).at(at.place);
        at.value.parse::<IpAddr>().map_err(|_| wrong())
    };
    Ok(MobikeSpec {
        addresses: at.addresses.iter().map(address).collect::<Result<_, _>>()?,
        accept: at.follow.as_ref().map_or(plain.accept, |at| at.value),
        check: at.check.as_ref().map_or(plain.check, |at| at.value),
    })
}
