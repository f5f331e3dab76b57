//! What the connection file says about the box at the other end: vendor, lifetimes, how to drive it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A kind of box that we know words for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Vendor {
    /// Cisco IOS and IOS-XE routers.
    CiscoIosXe,
    /// Cisco ASA firewalls.
    CiscoAsa,
    /// Cisco Secure Firewall Threat Defense: the ASA's engine, configured from FMC or FDM.
    CiscoFtd,
    /// Palo Alto Networks firewalls.
    PaloAltoPanos,
    /// strongSwan, configured by swanctl.
    StrongSwan,
}

impl Vendor {
    /// Every vendor.
    pub const ALL: &[Vendor] =
        &[Vendor::CiscoIosXe, Vendor::CiscoAsa, Vendor::CiscoFtd, Vendor::PaloAltoPanos, Vendor::StrongSwan];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Vendor::CiscoIosXe => "cisco-ios-xe",
            Vendor::CiscoAsa => "cisco-asa",
            Vendor::CiscoFtd => "cisco-ftd",
            Vendor::PaloAltoPanos => "paloalto-panos",
            Vendor::StrongSwan => "strongswan",
        }
    }

    /// The name in prose.
    pub fn title(self) -> &'static str {
        match self {
            Vendor::CiscoIosXe => "IOS-XE",
            Vendor::CiscoAsa => "ASA",
            Vendor::CiscoFtd => "FTD",
            Vendor::PaloAltoPanos => "PAN-OS",
            Vendor::StrongSwan => "strongSwan",
        }
    }

    /// The vendor with this name, or with a name that people also use.
    pub fn from_name(name: &str) -> Option<Vendor> {
        let name = name.to_ascii_lowercase();
        Vendor::ALL.iter().copied().find(|v| v.name() == name).or(match name.as_str() {
            "ios" | "ios-xe" | "iosxe" | "cisco-ios" => Some(Vendor::CiscoIosXe),
            "asa" => Some(Vendor::CiscoAsa),
            "ftd" => Some(Vendor::CiscoFtd),
            "panos" | "pan-os" | "paloalto" | "palo-alto" => Some(Vendor::PaloAltoPanos),
            "swanctl" => Some(Vendor::StrongSwan),
            _ => None,
        })
    }
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What we know of the box.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PeerFacts {
    /// What it is.
    pub vendor: Option<Vendor>,
    /// Its lifetime of the IKE SA.
    pub ike_lifetime: Option<Duration>,
    /// Its lifetime of a Child SA.
    pub child_lifetime: Option<Duration>,
    /// It asks by itself whether we live; `None` where the file does not say.
    pub checks_liveness: Option<bool>,
}

/// How to drive the box.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlSpec {
    /// Makes it initiate.
    pub initiate: Option<ControlAction>,
    /// Clears what it has for us.
    pub clear: Option<ControlAction>,
    /// Shows its state.
    pub show: Vec<ControlAction>,
    /// Makes it rekey the Child SA.
    pub rekey_child: Option<ControlAction>,
    /// Makes it rekey the IKE SA.
    pub rekey_ike: Option<ControlAction>,
    /// What else it can be made to do, by the name of its key: [`ControlSpec::ORDERS`].
    pub orders: BTreeMap<&'static str, ControlAction>,
    /// How long one command may take.
    pub timeout: Duration,
}

impl ControlSpec {
    /// Names of what a box can be made to do besides initiating.
    pub const ORDERS: [&str; 7] =
        ["rekey_child", "rekey_ike", "second_child", "delete", "ping", "restart", ControlSpec::CERTIFICATE];

    /// What makes it prove itself with another certificate.
    pub const CERTIFICATE: &str = "certificate";
}

impl Default for ControlSpec {
    fn default() -> Self {
        ControlSpec {
            initiate: None,
            clear: None,
            show: Vec::new(),
            rekey_child: None,
            rekey_ike: None,
            orders: BTreeMap::new(),
            timeout: Duration::from_secs(30),
        }
    }
}

/// One thing to do to the box.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ControlAction {
    /// Run this with `sh -c`.
    Shell(String),
    /// Ask a person to do this.
    Prompt(String),
}

impl ControlAction {
    /// Reads a value of the `control` section.
    pub fn from_text(text: &str) -> Self {
        match text.trim().strip_prefix("prompt:") {
            Some(prompt) => ControlAction::Prompt(prompt.trim().to_owned()),
            None => ControlAction::Shell(text.to_owned()),
        }
    }

    /// The command, or what the person is asked to do.
    pub fn text(&self) -> &str {
        match self {
            ControlAction::Shell(text) | ControlAction::Prompt(text) => text,
        }
    }
}
