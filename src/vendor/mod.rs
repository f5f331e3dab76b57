//! What vendors call things: algorithm words, the configuration of the box at the other end, the commands that drive it.

mod asa;
pub mod commands;
pub mod counters;
pub mod evidence;
#[cfg(test)]
pub(crate) mod hazard;
mod ios;
mod mirror;
mod panos;
pub mod persona;
pub mod quotes;
mod swanctl;
pub mod words;

pub use crate::config::Vendor;
use crate::config::{ControlAction, Loaded};

/// A configuration for the box at the other end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerConfig {
    /// The configuration, in the box's own syntax, with `<...>` where something must be filled in.
    pub text: String,
    /// What could not be said in the box's words; each one also stands in `text` as a comment.
    pub gaps: Vec<String>,
}

/// The configuration that makes a box of this vendor the other end of `loaded`. The pre-shared key is never printed.
pub fn peer_config(loaded: &Loaded, vendor: Vendor) -> PeerConfig {
    let mirror = mirror::Mirror::new(loaded);
    match vendor {
        Vendor::StrongSwan => swanctl::render(&mirror),
        Vendor::CiscoIosXe => ios::render(&mirror),
        Vendor::CiscoAsa | Vendor::CiscoFtd => asa::render(&mirror, vendor),
        Vendor::PaloAltoPanos => panos::render(&mirror),
    }
}

/// What to ask a person to do to make the box initiate, when the connection file has no `control.initiate`.
pub fn initiate_prompt(loaded: &Loaded) -> ControlAction {
    let pair = loaded
        .spec
        .children
        .first()
        .and_then(|c| Some((mirror::host_in(c.remote_ts.first()?)?, mirror::host_in(c.local_ts.first()?)?)));
    let ping = |how: &str| match pair {
        Some((from, to)) => format!("{how} from {from} to {to}, so that traffic for the tunnel makes it initiate"),
        None => format!("{how} across the tunnel, so that traffic makes it initiate"),
    };
    ControlAction::Prompt(match loaded.peer.vendor {
        Some(Vendor::PaloAltoPanos) => "on the firewall, enter: test vpn ike-sa gateway <GATEWAY>".into(),
        Some(Vendor::CiscoIosXe) => match pair {
            Some((from, to)) => format!("on the router, enter: ping {to} source {from}"),
            None => ping("on the router, ping"),
        },
        Some(Vendor::CiscoAsa | Vendor::CiscoFtd) => ping("behind the firewall, ping"),
        Some(Vendor::StrongSwan) => format!(
            "on the peer, enter: swanctl --initiate --child {}",
            loaded.spec.children.first().map_or("<CHILD>", |c| c.name.as_str())
        ),
        None => ping("at the peer, start the tunnel, or send traffic"),
    })
}

/// What to ask a person to do to clear the box's state, when the connection file has no `control.clear`. It names us:
/// the box may have other tunnels.
pub fn clear_prompt(loaded: &Loaded) -> ControlAction {
    let us = loaded.spec.local_addr.map_or_else(|| "<ADDRESS-OF-IKELAB>".to_owned(), |a| a.to_string());
    ControlAction::Prompt(match loaded.peer.vendor {
        Some(Vendor::PaloAltoPanos) => "on the firewall, enter: clear vpn ike-sa gateway <GATEWAY>".into(),
        Some(Vendor::CiscoIosXe) => format!("on the router, enter: clear crypto ikev2 sa remote {us}"),
        Some(Vendor::CiscoAsa | Vendor::CiscoFtd) => format!("on the firewall, enter: clear crypto ikev2 sa {us}"),
        Some(Vendor::StrongSwan) => "on the peer, enter: swanctl --terminate --ike <CONNECTION>".into(),
        None => "at the peer, clear the IKE SAs it has with us".into(),
    })
}

#[cfg(test)]
mod tests;
