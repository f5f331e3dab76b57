//! How things about a vendor's box are known, and where from: a closed list of works.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How something about a box is known.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// Seen in a published capture, log or output of a real box.
    Observed,
    /// The vendor's documentation, or that of somebody who runs the box, says so.
    Documented,
    /// It follows from the source of the implementation's ancestor, from the protocol, or from other lines; nobody has
    /// shown it.
    #[default]
    Inferred,
}

impl Evidence {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Evidence::Observed => "observed",
            Evidence::Documented => "documented",
            Evidence::Inferred => "inferred",
        }
    }
}

/// A work that something about a box was taken from. What stands in none of these is inferred.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Source {
    /// Output of a router.
    IosDebug,
    /// Output of routers that were misconfigured on purpose.
    IosLab,
    /// `show` output that a parser is tested with.
    IosShow,
    /// Log lines of routers in published configurations and questions.
    IosLog,
    /// Rules by which others sort the logs of routers.
    LogRules,
    /// Debug of routers and firewalls, as collected by others.
    CiscoDebug,
    /// A note of Cisco's.
    Tac115934,
    /// A note of Cisco's.
    Tac115935,
    /// A note of Cisco's.
    Tac117337,
    /// A note of Cisco's.
    Tac118746,
    /// Questions and answers of Cisco's customers.
    CiscoCommunity,
    /// A guide of Cisco's.
    IosIkev2Guide,
    /// A guide of Cisco's.
    IosFragmentation,
    /// A guide of Cisco's.
    AsaSyslog,
    /// A guide of Cisco's.
    AsaVpnGuide,
    /// Log lines of firewalls.
    AsaLog,
    /// A handshake with strongSwan.
    AsaHandshake,
    /// A field article with output of its own laboratory.
    PingLabz,
    /// Log lines and sessions of firewalls.
    FtdLog,
    /// A page of Palo Alto Networks'.
    PanKeyMismatch,
    /// A page of Palo Alto Networks'.
    PanVpnErrors,
    /// A knowledge base entry of Palo Alto Networks'.
    PanLiveness,
    /// A knowledge base entry of Palo Alto Networks'.
    PanAuthFailed,
    /// A knowledge base entry of Palo Alto Networks'.
    PanUnknownPeer,
    /// A knowledge base entry of Palo Alto Networks'.
    PanRekeyRace,
    /// Manuals of Palo Alto Networks'.
    PanAdminGuide,
    /// Log lines of a firewall whose peer is a MikroTik.
    PanThread,
    /// Log lines of firewalls.
    PanLog,
    /// Configurations of firewalls.
    PanExports,
    /// Documentation of IBM's cloud about the boxes of others.
    IbmVpn,
    /// Documentation of Amazon's.
    AwsVpn,
    /// Documentation of Fortinet's.
    Fortinet,
    /// Documentation of Aviatrix'.
    Aviatrix,
    /// Documentation of strongSwan's.
    StrongSwanDocs,
    /// A report in strongSwan's tracker.
    StrongSwanIssue,
    /// Our own tests.
    OurRuns,
    /// Public lists.
    VendorIdLists,
    /// Source code of the implementation that PAN-OS's IKEv2 descends from.
    Racoon2,
    /// A field article; what only it says was seen by nobody else.
    NetConfig,
    /// A field article; what only it says was seen by nobody else.
    FieldIos,
    /// A likeness to another box or line.
    Analogy,
}

impl Source {
    /// Every one.
    pub const ALL: &'static [Source] = &[
        Source::IosDebug,
        Source::IosLab,
        Source::IosShow,
        Source::IosLog,
        Source::LogRules,
        Source::CiscoDebug,
        Source::Tac115934,
        Source::Tac115935,
        Source::Tac117337,
        Source::Tac118746,
        Source::CiscoCommunity,
        Source::IosIkev2Guide,
        Source::IosFragmentation,
        Source::AsaSyslog,
        Source::AsaVpnGuide,
        Source::AsaLog,
        Source::AsaHandshake,
        Source::PingLabz,
        Source::FtdLog,
        Source::PanKeyMismatch,
        Source::PanVpnErrors,
        Source::PanLiveness,
        Source::PanAuthFailed,
        Source::PanUnknownPeer,
        Source::PanRekeyRace,
        Source::PanAdminGuide,
        Source::PanThread,
        Source::PanLog,
        Source::PanExports,
        Source::IbmVpn,
        Source::AwsVpn,
        Source::Fortinet,
        Source::Aviatrix,
        Source::StrongSwanDocs,
        Source::StrongSwanIssue,
        Source::OurRuns,
        Source::VendorIdLists,
        Source::Racoon2,
        Source::NetConfig,
        Source::FieldIos,
        Source::Analogy,
    ];

    /// In a few words.
    pub const fn title(self) -> &'static str {
        match self {
            Source::IosDebug => "published IOS-XE 16.7 debug of an IKEv2 negotiation",
            Source::IosLab => "published IOS-XE 26.02 negotiation data set",
            Source::IosShow => "published show output of IOS-XE",
            Source::IosLog => "published log lines of IOS",
            Source::LogRules => "published rules for IOS logs",
            Source::CiscoDebug => "published debug of IOS and ASA",
            Source::Tac115934 => "Cisco technical note 115934",
            Source::Tac115935 => "Cisco technical note 115935",
            Source::Tac117337 => "Cisco technical note 117337",
            Source::Tac118746 => "Cisco technical note 118746",
            Source::CiscoCommunity => "Cisco community threads",
            Source::IosIkev2Guide => "IOS-XE FlexVPN and IKEv2 configuration guide",
            Source::IosFragmentation => "IOS-XE FlexVPN configuration guide, IKEv2 fragmentation",
            Source::AsaSyslog => "ASA syslog messages guide",
            Source::AsaVpnGuide => "ASA documentation",
            Source::AsaLog => "published log lines of an ASA",
            Source::AsaHandshake => "published handshake log of an ASA with strongSwan",
            Source::PingLabz => "PingLabz capture of an ASAv 9.23",
            Source::FtdLog => "published log lines and sessions of FTD",
            Source::PanKeyMismatch => "PAN-OS SD-WAN guide, key mismatch",
            Source::PanVpnErrors => "PAN-OS list of VPN error messages",
            Source::PanLiveness => "PAN knowledge base, IKEv2 liveness",
            Source::PanAuthFailed => "PAN knowledge base, authentication failed",
            Source::PanUnknownPeer => "PAN knowledge base, unknown IKEv2 peer",
            Source::PanRekeyRace => "PAN knowledge base, rekeying race",
            Source::PanAdminGuide => "PAN-OS documentation",
            Source::PanThread => "published log of PAN-OS with a MikroTik",
            Source::PanLog => "published log lines of PAN-OS",
            Source::PanExports => "published PAN-OS configuration exports",
            Source::IbmVpn => "IBM Cloud VPN documentation",
            Source::AwsVpn => "AWS VPN documentation",
            Source::Fortinet => "Fortinet documentation",
            Source::Aviatrix => "Aviatrix documentation",
            Source::StrongSwanDocs => "strongSwan documentation",
            Source::StrongSwanIssue => "strongSwan issue 3024",
            Source::OurRuns => "our interop runs",
            Source::VendorIdLists => "public lists of IKE vendor IDs",
            Source::Racoon2 => "source of racoon2's iked",
            Source::NetConfig => "field article of NetConfig.io",
            Source::FieldIos => "field article on IOS",
            Source::Analogy => "likeness to another box",
        }
    }

    /// Where to find it; empty where the title says all.
    pub const fn reference(self) -> &'static str {
        match self {
            Source::IosShow => "github.com/CiscoTestAutomation/genieparser",
            Source::Tac115934 => {
                "cisco.com/c/en/us/support/docs/ip/internet-key-exchange-ike/115934-technote-ikev2-00.html"
            }
            Source::Tac115935 => {
                "cisco.com/c/en/us/support/docs/security/asa-5500-x-series-next-generation-firewalls/115935-asa-ikev2-debugs.html"
            }
            Source::Tac117337 => {
                "cisco.com/c/en/us/support/docs/security-vpn/ipsec-negotiation-ike-protocols/117337-config-asa-router-00.html"
            }
            Source::Tac118746 => {
                "cisco.com/c/en/us/support/docs/security-vpn/ipsec-negotiation-ike-protocols/118746-technote-isr-00.html"
            }
            Source::CiscoCommunity => "community.cisco.com, threads 1673772, 3862468 and 4319915",
            Source::IosFragmentation => {
                "cisco.com/c/en/us/td/docs/ios-xml/ios/sec_conn_ike2vpn/configuration/15-mt/sec-flex-vpn-15-mt-book/sec-cfg-ikev2-frag.html"
            }
            Source::AsaSyslog => "Cisco Secure Firewall ASA Series Syslog Messages, by severity",
            Source::PingLabz => "pinglabz.com/cisco-asa-troubleshoot-ipsec-phases",
            Source::PanKeyMismatch => {
                "docs.paloaltonetworks.com/sd-wan/administration/troubleshooting/troubleshoot-pre-shared-key-mismatch"
            }
            Source::PanLiveness => "knowledgebase.paloaltonetworks.com, kA10g000000ClgcCAC",
            Source::PanAuthFailed => "knowledgebase.paloaltonetworks.com, kA14u0000004OPOCA2",
            Source::PanUnknownPeer => "knowledgebase.paloaltonetworks.com, kA10g000000Cle5CAC",
            Source::PanRekeyRace => "knowledgebase.paloaltonetworks.com, kA1Ki000000TNW8KAO",
            Source::IbmVpn => "github.com/ibm-cloud-docs/vpc",
            Source::AwsVpn => "docs.aws.amazon.com/vpn/latest/s2svpn/log-contents.html",
            Source::Racoon2 => "github.com/zoulasc/racoon2, from which PAN-OS's IKEv2 descends",
            Source::NetConfig => "Cisco to Palo Alto IKEv2 VPN: Step-by-Step Guide",
            _ => "",
        }
    }

    /// The best that can be said of what stands only there.
    pub const fn backs(self) -> Evidence {
        match self {
            Source::IosDebug
            | Source::IosLab
            | Source::IosShow
            | Source::IosLog
            | Source::LogRules
            | Source::CiscoDebug
            | Source::CiscoCommunity
            | Source::AsaLog
            | Source::AsaHandshake
            | Source::PingLabz
            | Source::FtdLog
            | Source::PanThread
            | Source::PanLog
            | Source::PanExports
            | Source::StrongSwanIssue
            | Source::OurRuns => Evidence::Observed,
            Source::Tac115934
            | Source::Tac115935
            | Source::Tac117337
            | Source::Tac118746
            | Source::IosIkev2Guide
            | Source::IosFragmentation
            | Source::AsaSyslog
            | Source::AsaVpnGuide
            | Source::PanKeyMismatch
            | Source::PanVpnErrors
            | Source::PanLiveness
            | Source::PanAuthFailed
            | Source::PanUnknownPeer
            | Source::PanRekeyRace
            | Source::PanAdminGuide
            | Source::IbmVpn
            | Source::AwsVpn
            | Source::Fortinet
            | Source::Aviatrix
            | Source::StrongSwanDocs
            | Source::VendorIdLists => Evidence::Documented,
            Source::Racoon2 | Source::NetConfig | Source::FieldIos | Source::Analogy => Evidence::Inferred,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart() {
        for (n, source) in Source::ALL.iter().enumerate() {
            assert!(source.title().len() > 8, "{source:?}");
            let twin = Source::ALL[..n].iter().find(|other| other.title() == source.title());
            assert_eq!(twin, None);
            let text = format!("{} {}", source.title(), source.reference()).to_lowercase();
            for word in ["memory", "general knowledge", "unknown source"] {
                assert!(!text.contains(word), "{source:?} is no work that anybody can read");
            }
        }
    }
}
