//! Revocation lists by HTTP, before the start. Off unless the connection file says `crl_fetch: true`: a lab's clock starts
//! when we say so, and whoever answers by HTTP learns what is being tested.
//!
//! What is fetched is data for the judge, which checks its signature and dates like those of a file. What cannot be fetched
//! is warned about, and missing.

use std::sync::Arc;
use std::time::Duration;

use super::common;
use crate::auth::{Certificate, Crl, Trust};
use crate::config::Loaded;
use crate::engine::AuthSpec;

/// One list must be there after this long.
const WITHIN: Duration = Duration::from_secs(5);
/// Octets of the longest list that is taken.
const LONGEST: u64 = 8 << 20;
/// So many lists are fetched at most.
const MOST: usize = 16;
/// So often a server may point elsewhere.
const REDIRECTS: u32 = 3;

/// Fetches the lists of a connection, if it wants that: those that it names, then those that its certificates name.
pub fn fetch(loaded: &mut Loaded) {
    let AuthSpec::Trust(trust) = &loaded.spec.remote_auth else { return };
    if !trust.fetch {
        return;
    }
    let mut trust = Trust::clone(trust);
    let ours: &[Certificate] = match &loaded.spec.local_auth {
        AuthSpec::Certificate(ours) => ours.chain(),
        _ => &[],
    };
    let named = trust.anchors.iter().chain(&trust.pin).chain(ours).flat_map(Certificate::crl_urls);
    let mut urls: Vec<String> = Vec::new();
    for url in trust.crl_urls.iter().chain(named) {
        if !urls.contains(url) {
            urls.push(url.clone());
        }
    }
    if urls.is_empty() {
        common::say(loaded, "crl_fetch is on, and neither `crl` nor a certificate of this file says where a list is");
    }
    for url in urls.get(MOST..).unwrap_or_default() {
        common::say(loaded, &format!("{url} is not fetched: {MOST} lists are enough"));
    }
    for url in urls.iter().take(MOST) {
        match get(url) {
            Ok(lists) => trust.crls.extend(lists),
            Err(why) => common::say(loaded, &format!("{url}: {why}; nobody's revocation is known from it")),
        }
    }
    loaded.spec.remote_auth = AuthSpec::Trust(Arc::new(trust));
}

/// The lists behind an address.
fn get(url: &str) -> Result<Vec<Crl>, String> {
    if !url.starts_with("http://") {
        return Err("not fetched: only http:// is".into());
    }
    let config = ureq::Agent::config_builder().timeout_global(Some(WITHIN)).max_redirects(REDIRECTS).proxy(None);
    let agent: ureq::Agent = config.user_agent("ikelab").build().into();
    let mut response = agent.get(url).call().map_err(|error| error.to_string())?;
    let octets = response.body_mut().with_config().limit(LONGEST).read_to_vec().map_err(|error| error.to_string())?;
    crate::auth::crls(&octets).map_err(|fault| fault.to_string())
}
