//! Lines and facts of vendors' boxes, each with the work that it stands in. What is printed about a box as observed or
//! documented must be found here; everything else is inferred.

use std::sync::LazyLock;

use super::evidence::{Evidence, Source};

/// A line, or a part of one that says enough; `...` stands for what varies.
#[derive(Clone, Copy, Debug)]
pub struct Quote {
    /// Whose box, as vendors are called in files.
    pub vendor: &'static str,
    /// What it says.
    pub words: &'static str,
    /// Where it stands.
    pub source: Source,
}

impl Quote {
    /// How it is known.
    pub fn evidence(&self) -> Evidence {
        self.source.backs()
    }
}

/// The quotes that a line is made of, the longest first.
pub fn of(vendor: &str, line: &str) -> Vec<&'static Quote> {
    let line = Line::new(line);
    let mut found: Vec<_> =
        PARSED.iter().filter(|(quote, parts)| quote.vendor == vendor && line.holds(parts)).map(|(q, _)| *q).collect();
    found.sort_by_key(|quote| std::cmp::Reverse(quote.words.len()));
    found
}

/// The works in which a line stands that is said to be known so, the best first; empty if there are none, and then it must
/// not be said.
pub fn sources(vendor: &str, line: &str, evidence: Evidence) -> Vec<Source> {
    let mut sources: Vec<Source> = Vec::new();
    for quote in of(vendor, line).into_iter().filter(|quote| quote.evidence() == evidence) {
        if !sources.contains(&quote.source) {
            sources.push(quote.source);
        }
    }
    sources
}

/// A line as words.
struct Line {
    words: String,
    /// `%ASA-4-750003` and the like: a line that has one is never explained by a quote without it.
    mnemonic: Option<String>,
}

impl Line {
    fn new(text: &str) -> Line {
        let mnemonic = |word: &str| {
            let severity = word.strip_prefix('%').and_then(|rest| rest.split('-').nth(1));
            severity.is_some_and(|s| s.len() == 1 && s.bytes().all(|b| b.is_ascii_digit()))
        };
        Line {
            words: format!(" {} ", words(text)),
            mnemonic: text
                .split(|c: char| c.is_whitespace() || c == ':')
                .find(|w| mnemonic(w))
                .map(|w| format!(" {} ", words(w))),
        }
    }

    fn holds(&self, parts: &[String]) -> bool {
        if let Some(mnemonic) = &self.mnemonic
            && !parts.first().is_some_and(|part| part.starts_with(mnemonic.as_str()))
        {
            return false;
        }
        let mut rest = self.words.as_str();
        parts.iter().all(|part| match rest.find(part.as_str()) {
            // The blank after a part may be the one before the next.
            Some(at) => {
                rest = &rest[at + part.len() - 1..];
                true
            }
            None => false,
        })
    }
}

static PARSED: LazyLock<Vec<(&'static Quote, Vec<String>)>> = LazyLock::new(|| {
    let parts = |quote: &'static Quote| {
        let parts = quote.words.split("...").map(words).filter(|part| !part.is_empty());
        (quote, parts.map(|part| format!(" {part} ")).collect())
    };
    QUOTES.iter().map(parts).collect()
});

/// Letters and digits in lower case, with one blank between words.
fn words(text: &str) -> String {
    let mut out = String::new();
    for word in text.split(|c: char| !c.is_alphanumeric() && c != '%' && c != '#') {
        if !word.is_empty() {
            if !out.is_empty() {
                out.push(' ');
            }
            out.push_str(&word.to_lowercase());
        }
    }
    out
}

const fn ios(source: Source, words: &'static str) -> Quote {
    Quote { vendor: "cisco-ios-xe", words, source }
}

const fn asa(source: Source, words: &'static str) -> Quote {
    Quote { vendor: "cisco-asa", words, source }
}

const fn ftd(source: Source, words: &'static str) -> Quote {
    Quote { vendor: "cisco-ftd", words, source }
}

const fn pan(source: Source, words: &'static str) -> Quote {
    Quote { vendor: "paloalto-panos", words, source }
}

const fn swan(source: Source, words: &'static str) -> Quote {
    Quote { vendor: "strongswan", words, source }
}

const fn other(vendor: &'static str, source: Source, words: &'static str) -> Quote {
    Quote { vendor, words, source }
}

use Source::{
    AsaHandshake, AsaLog, AsaSyslog, AsaVpnGuide, Aviatrix, AwsVpn, CiscoCommunity, CiscoDebug, Fortinet, FtdLog,
    IbmVpn, IosDebug, IosFragmentation, IosIkev2Guide, IosLab, IosLog, IosShow, LogRules, OurRuns, PanAdminGuide,
    PanAuthFailed, PanExports, PanKeyMismatch, PanLiveness, PanLog, PanRekeyRace, PanThread, PanUnknownPeer,
    PanVpnErrors, PingLabz, StrongSwanIssue, Tac115934, Tac115935, Tac117337, Tac118746,
};

/// Every quote.
pub static QUOTES: &[Quote] = &[
    // IOS: debug.
    ios(IosLab, "Received Policies: ... Failed to find a matching policyProposal 1"),
    ios(IosLab, "Expected Policies: ... Failed to find a matching policyProposal 1"),
    ios(IosDebug, "Received Policies: ... ESP: Proposal 1"),
    ios(IosDebug, "Expected Policies:"),
    ios(IosLab, "Received no proposal chosen notify"),
    ios(IosLab, "Initial exchange failed"),
    ios(IosLab, "The peer's KE payload contained the wrong DH group"),
    ios(IosLab, "Failed to authenticate the IKE SA"),
    ios(IosLab, "Auth exchange failed"),
    ios(CiscoDebug, "Verification of peer's authentication data FAILED"),
    ios(IosLab, "Failed to locate an item in the database"),
    ios(Tac117337, "Failed to locate an item in the database"),
    ios(Tac117337, "Searching policy based on peer's identity"),
    ios(IosDebug, "Searching policy based on peer's identity"),
    ios(Tac117337, "%Profile could not be found by peer certificate"),
    ios(Tac117337, "% IKEv2 profile not found"),
    ios(IosLab, "% IKEv2 profile not found"),
    ios(IosLab, "Error constructing config reply"),
    ios(CiscoDebug, "Peer authentication method configured is mismatching with the method proposed by peer"),
    ios(IosDebug, "Queuing IKE SA delete request reason"),
    ios(IosLab, "the IKE SA is deleted after its first Child SA failed"),
    ios(CiscoDebug, "Retransmitting packet"),
    ios(CiscoDebug, "I_WAIT_INIT Event: EV_NO_EVENT"),
    // IOS: syslog.
    ios(
        IosLog,
        "%CRYPTO-4-RECVD_PKT_INV_SPI: decaps: rec'd IPSEC packet has invalid spi for destaddr ... prot ... spi ... srcaddr",
    ),
    ios(IosLog, "%CRYPTO-4-RECVD_PKT_NOT_IPSEC"),
    ios(IosLog, "%CRYPTO-4-IKMP_NO_SA: IKE message from ... has no SA and is not an initialization offer"),
    ios(IosLog, "%CRYPTO-4-PKT_REPLAY_ERR"),
    ios(LogRules, "%IPSEC-3-REPLAY_ERROR"),
    ios(LogRules, "%IPSEC-3-HMAC_ERROR"),
    ios(LogRules, "%IKEV2-5-SA_UP"),
    ios(LogRules, "%IKEV2-5-SA_DOWN"),
    ios(CiscoCommunity, "%CERM-4-TX_BW_LIMIT"),
    ios(Tac118746, "%CERM-4-TX_BW_LIMIT"),
    ios(CiscoCommunity, "%CERM-4-RX_BW_LIMIT"),
    ios(CiscoCommunity, "%CERM_DP-4-DP_TX_BW_LIMIT"),
    // IOS: show.
    ios(Tac115934, "debug crypto ikev2"),
    ios(IosShow, "show crypto ikev2 sa detailed"),
    ios(Tac118746, "show platform cerm-information"),
    ios(Tac118746, "show platform software cerm-information"),
    ios(IosShow, "Error(1): A supplied parameter is incorrect"),
    ios(IosShow, "Error(12): Detected an invalid IKE SPI"),
    ios(IosShow, "AUTH TIMER"),
    ios(IosShow, "DPD MAX RETRANS TIMER"),
    ios(IosShow, "PACKET MAXIMUM RETRANS TIMER"),
    ios(IosShow, "DPD configured for"),
    ios(IosShow, "Fragmentation not configured"),
    ios(IosShow, "IETF Std Fragmentation enabled"),
    ios(IosShow, "IETF Std Fragmentation MTU in use"),
    ios(IosShow, "INVALID_SPI"),
    ios(IosShow, "Incoming IKEV2 Cookie Challenged Requests ... accepted ... rejected ... rejected no cookie"),
    ios(IosShow, "Incoming Requests dropped as LOW Q limit reached"),
    ios(IosShow, "Rejected IKEv2 Requests ... rsrc low ... SA limit"),
    ios(IosShow, "Max in nego(in/out): 40/400"),
    ios(IosShow, "SA Strength Enforcement Rejects"),
    ios(IosShow, "Kilobyte Volume Rekey has been disabled"),
    ios(IosShow, "Life/Active Time: 86400"),
    ios(IosShow, "NAT-T is detected inside"),
    ios(IosShow, "NAT-T is detected outside"),
    ios(IosShow, "NAT-T is not detected"),
    ios(IosShow, "PFS (Y/N): N, DH group: none"),
    ios(IosShow, "PPK Authentication Failure"),
    ios(IosShow, "PPK Identity Mismatch"),
    ios(IosShow, "Quantum-safe Encryption using Manual PPK"),
    ios(IosShow, "PQC Key Exchange: ML-KEM-768 ML-KEM-1024 Optional"),
    ios(IosShow, "DH Grp:14"),
    ios(IosShow, "status IN-NEG"),
    ios(IosShow, "show crypto session: DOWN"),
    ios(IosShow, "show crypto session: UP-IDLE"),
    ios(IosShow, "#send errors ... #recv errors"),
    // IOS: habits.
    ios(Tac117337, "sends the notify unless told not to"),
    ios(IosShow, "with a multi-SA tunnel interface it puts several selectors into one Child SA"),
    ios(IosDebug, "GRE and DMVPN tunnels ask for transport mode"),
    ios(IosDebug, "always sends INITIAL_CONTACT itself"),
    // ASA: the guide to its log.
    asa(AsaSyslog, "%ASA-5-750001 ... Received request to ... an IPsec tunnel; local traffic selector"),
    asa(AsaSyslog, "%ASA-5-750002 ... Received a IKE_INIT_SA request"),
    asa(AsaSyslog, "%ASA-5-750004 ... Sending COOKIE challenge to throttle possible DoS"),
    asa(
        AsaSyslog,
        "%ASA-5-750005 ... IPsec rekey collision detected. I am lowest nonce initiator, deleting SA with inbound SPI",
    ),
    asa(AsaSyslog, "%ASA-5-750006 ... SA UP. Reason"),
    asa(AsaSyslog, "%ASA-5-750007 ... SA DOWN. Reason"),
    asa(AsaSyslog, "%ASA-5-750008 ... SA rejected due to system resource low"),
    asa(AsaSyslog, "%ASA-5-750009 ... SA request rejected due to CAC limit reached: Rejection reason"),
    asa(AsaSyslog, "%ASA-5-750010 ... IKEv2 local throttle-request queue depth threshold"),
    asa(AsaSyslog, "%ASA-3-750011 ... Selected IKEv2 encryption algorithm ... is not strong enough"),
    asa(AsaSyslog, "%ASA-4-750012 ... Selected IKEv2 encryption algorithm ... is not strong enough"),
    asa(AsaSyslog, "%ASA-5-750013 ... IKEv2 SA ... Peer Moved"),
    asa(AsaSyslog, "%ASA-4-750014 ... IKEv2 Session aborted. Reason: Initial Contact received for Local ID"),
    asa(AsaSyslog, "%ASA-4-750015 ... deleting IPSec SA. Reason: invalid SPI notification received for SPI"),
    asa(AsaSyslog, "%ASA-3-751001 ... Failed to complete Diffie-Hellman operation. Error"),
    asa(AsaSyslog, "%ASA-3-751002 ... No pre-shared key or trustpoint configured for self in tunnel group"),
    asa(AsaSyslog, "%ASA-3-751004 ... No remote authentication method configured for peer in tunnel group"),
    asa(AsaSyslog, "%ASA-3-751006 ... Certificate authentication failed. Error"),
    asa(AsaSyslog, "%ASA-3-751008 ... Tunnel rejected: IKEv2 not enabled in group policy"),
    asa(AsaSyslog, "%ASA-3-751009 ... Unable to find tunnel group for peer"),
    asa(
        AsaSyslog,
        "%ASA-3-751010 ... Unable to determine self-authentication method. No crypto map setting or tunnel group found",
    ),
    asa(AsaSyslog, "%ASA-4-751015 ... SA request rejected by CAC. Reason"),
    asa(AsaSyslog, "%ASA-4-751016 ... Remote L2L Peer initiated a tunnel with same outer and inner addresses"),
    asa(AsaSyslog, "%ASA-4-751019 ... Failed to obtain an ... license"),
    asa(AsaSyslog, "%ASA-3-751022 ... Tunnel rejected: Crypto Map Policy not found for remote traffic selector"),
    asa(AsaSyslog, "%ASA-4-751027 ... IKEv2 Received INVALID_SELECTORS Notification from peer"),
    asa(AsaSyslog, "%ASA-5-751028"),
    asa(AsaSyslog, "%ASA-5-752003 ... KEY_ACQUIRE"),
    asa(AsaSyslog, "%ASA-3-752006 ... Tunnel Manager failed to dispatch a KEY_ACQUIRE message"),
    asa(AsaSyslog, "%ASA-4-752009 ... IKEv2 Doesn't support Multiple Peers"),
    asa(AsaSyslog, "%ASA-4-752010 ... IKEv2 Doesn't have a proposal specified"),
    asa(AsaSyslog, "%ASA-4-752012 ... was unsuccessful at setting up a tunnel"),
    asa(AsaSyslog, "%ASA-3-752015 ... Tunnel Manager has failed to establish an L2L SA"),
    asa(AsaSyslog, "%ASA-4-752017 ... IKEv2 Backup L2L tunnel initiation denied on interface"),
    asa(AsaSyslog, "%ASA-4-753001 ... Unexpected IKEv2 packet received from"),
    asa(AsaSyslog, "%ASA-3-717009 ... Certificate validation failed"),
    asa(AsaSyslog, "%ASA-4-717031 ... Failed to find a suitable trustpoint for the issuer"),
    asa(AsaSyslog, "%ASA-4-717037 ... Tunnel group search using certificate maps failed for peer certificate"),
    asa(AsaSyslog, "%ASA-4-113019 ... Reason"),
    asa(AsaSyslog, "%ASA-4-402116 ... decapsulated inner packet doesn't match the negotiated policy"),
    asa(AsaSyslog, "%ASA-4-402117 ... Received a non-IPSec packet"),
    asa(AsaSyslog, "%ASA-4-402119 ... that failed anti-replay checking"),
    asa(AsaSyslog, "%ASA-4-402120 ... that failed authentication"),
    asa(AsaSyslog, "syslog ids 750xxx and 751xxx, which belong to no logging class"),
    asa(AsaSyslog, "on some hardware it overrides the configured keepalive values"),
    // ASA: its log, seen.
    asa(PingLabz, "%ASA-5-752003 ... Tunnel Manager dispatching a KEY_ACQUIRE message to IKEv2"),
    asa(PingLabz, "%ASA-5-750001 ... Received request to establish an IPsec tunnel; local traffic selector"),
    asa(PingLabz, "%ASA-4-750003 ... IKEv2 Negotiation aborted due to ERROR: Failed to authenticate the IKE SA"),
    asa(PingLabz, "%ASA-4-750003 ... ERROR: Failed to authenticate the IKE SA"),
    asa(PingLabz, "%ASA-4-752012 ... was unsuccessful at setting up a tunnel"),
    asa(PingLabz, "%ASA-3-752015 ... Tunnel Manager has failed to establish an L2L SA"),
    asa(PingLabz, "%ASA-7-752002 ... Tunnel Manager Removed entry"),
    asa(PingLabz, "%ASA-7-713906 ... IKE Receiver: Packet received on ... from"),
    asa(PingLabz, "There are no IKEv2 SAs"),
    asa(PingLabz, "Child sa: local selector"),
    asa(PingLabz, "#pkts encaps ... #pkts encrypt ... #pkts digest"),
    asa(PingLabz, "#pkts decaps: 0, #pkts decrypt: 0, #pkts verify: 0"),
    asa(PingLabz, "show crypto ikev2 sa detail"),
    asa(AsaLog, "%ASA-4-750003 ... ERROR: Failed to receive the AUTH msg before the timer expired"),
    asa(AsaLog, "%ASA-4-750003 ... ERROR: There was no IPSEC policy found for received TS"),
    asa(AsaLog, "%ASA-5-750002 ... Received a IKE_INIT_SA request"),
    asa(AsaLog, "%ASA-4-402117 ... Received a non-IPSec packet (protocol"),
    asa(AsaLog, "%ASA-4-402119 ... that failed anti-replay checking"),
    // ASA: debug.
    asa(CiscoDebug, "Failed to find a matching policy"),
    asa(CiscoDebug, "Received Policies"),
    asa(CiscoDebug, "Expected Policies"),
    asa(CiscoDebug, "Proposal 1: AES-CBC-256 SHA1 SHA96 DH_GROUP_1024_MODP/Group 2"),
    asa(CiscoDebug, "Received no proposal chosen notify"),
    asa(CiscoDebug, "Initial exchange failed"),
    asa(CiscoDebug, "I_WAIT_INIT Event: EV_NO_EVENT"),
    asa(CiscoDebug, "Failed to set P1 auth to build policy"),
    asa(CiscoDebug, "Could not build ikev2 policy"),
    asa(CiscoDebug, "asa connect start L2L failed"),
    asa(CiscoDebug, "Can't find tunnel group for peer"),
    asa(CiscoDebug, "unable to set self auth method. Probable misconfiguration"),
    asa(CiscoDebug, "Computed authentication value for peer differs from what peer sent"),
    asa(CiscoDebug, "Peer authentication method configured is mismatching with the method proposed by peer"),
    asa(Tac117337, "Peer ID check failed"),
    asa(Tac117337, "Peer ID check: failed to retreive IP from SAN"),
    asa(Tac117337, "Peer ID check: failed to retreive DNS name from SAN"),
    asa(Tac117337, "Failed to locate an item in the database"),
    asa(
        Tac117337,
        "Unsupported cert encoding found or Peer requested HTTP URL but never sent HTTP_LOOKUP_SUPPORTED Notification",
    ),
    asa(Tac115935, "debug crypto ikev2 protocol"),
    // ASA: habits.
    asa(AsaHandshake, "was seen to accept the IDr that strongSwan sends"),
    asa(AsaHandshake, "answers INVALID_KE_PAYLOAD for MODP_2048 to a first guess of group 31 and takes the retry"),
    asa(IbmVpn, "one SA for each line of the access list, never several in one"),
    asa(IbmVpn, "makes one SA for each pair of networks and never bundles them"),
    asa(AsaVpnGuide, "idle timeout of 30 minutes"),
    // FTD.
    ftd(FtdLog, "%FTD-4-750003 ... ERROR: Failed to authenticate the IKE SA"),
    ftd(FtdLog, "%FTD-4-750003 ... ERROR: There was no IPSEC policy found for received TS"),
    ftd(FtdLog, "system support diagnostic-cli"),
    // PAN-OS.
    pan(PanThread, "IKEv2 IKE SA negotiation is failed as responder, non-rekey. Failed SA"),
    pan(PanThread, "received ID_I (type ... does not match peers id"),
    pan(PanLog, "received ID_I (... does not match peers id"),
    pan(PanLog, "IKEv2 child SA negotiation is failed message lacks KE payload"),
    pan(PanLog, "IKEv2 IKE SA NEGOTIATION SUCCEEDED"),
    pan(PanLog, "IKEv2 CHILD SA NEGOTIATION SUCCEEDED"),
    pan(PanLog, "IPSEC KEY INSTALLATION SUCCEEDED"),
    pan(PanThread, "peer ports like [51435] in ikemgr.log are normal behind a NAT"),
    pan(PanExports, "dh-group group14"),
    pan(PanKeyMismatch, "authentication failure"),
    pan(PanKeyMismatch, "authentication result: failure"),
    pan(PanAuthFailed, "received notify type AUTHENTICATION_FAILED"),
    pan(PanUnknownPeer, "unknown ikev2 peer"),
    pan(PanVpnErrors, "Couldn't find configuration for IKE phase-1 request for peer IP"),
    pan(PanLiveness, "aborting IKEv2 SA"),
    pan(PanLiveness, "SA dying from state ESTABLISHED, caller ikev2_abort"),
    pan(PanLiveness, "show vpn ike-sa detail gateway"),
    pan(PanLiveness, "the tunnel interface stays up whether the tunnel works or not"),
    pan(PanRekeyRace, "can't find sa for proto ESP spi"),
    pan(PanRekeyRace, "IPSEC KEY DELETED"),
    pan(PanRekeyRace, "received DELETE payload, protocol ESP"),
    pan(PanAdminGuide, "one Child SA for each proxy ID"),
    pan(PanAdminGuide, "PAN-OS has one key for both directions"),
    pan(PanAdminGuide, "passive mode ... never begins"),
    pan(PanAdminGuide, "beyond Maximum Half Opened SA, 65535 by default, it is silent"),
    pan(PanAdminGuide, "the manual says to check fragmentation with post-quantum key exchanges"),
    pan(PanAdminGuide, "from 11.2 on; the manual wants the same list at both ends"),
    pan(PanAdminGuide, "from 11.1 on: mandatory or preferred"),
    pan(PanAdminGuide, "PAN-OS 11.2.0 to 11.2.4 take the default IKE version for another one than it is"),
    // strongSwan.
    swan(OurRuns, "initiating IKE_SA ... to"),
    swan(OurRuns, "is initiating an IKE_SA"),
    swan(OurRuns, "received AUTHENTICATION_FAILED notify"),
    swan(OurRuns, "received ... notify"),
    swan(OurRuns, "failed to establish CHILD_SA, keeping IKE_SA"),
    swan(OurRuns, "establishing IKE_SA failed, peer not responding"),
    swan(AsaHandshake, "peer didn't accept DH group CURVE_25519, it requested MODP_2048"),
    swan(Aviatrix, "no shared key found"),
    swan(Aviatrix, "establishing IKE_SA failed, peer not responding"),
    swan(IbmVpn, "Got a response on a duplicate IKE_SA"),
    swan(IbmVpn, "deleting new IKE_SA"),
    swan(IbmVpn, "config ... received ... no match"),
    swan(StrongSwanIssue, "answers NO_PROPOSAL_CHOSEN where INVALID_KE_PAYLOAD would do"),
    // Clouds and others.
    other("aws-vpn", AwsVpn, "collision as CHILD_DELETE"),
    other("aws-vpn", AwsVpn, "redundant SA is being deleted due to detected collision"),
    other("aws-vpn", AwsVpn, "AWS tunnel DPD timed out after ... retransmits"),
    other("aws-vpn", AwsVpn, "AWS tunnel Phase 2 was unable to establish while keeping Phase 1"),
    other("aws-vpn", AwsVpn, "AWS tunnel Timeout: deleting un-established Phase 1 IKE_SA with cgw"),
    other("aws-vpn", AwsVpn, "AWS tunnel detected a pre-shared key mismatch with cgw"),
    other("aws-vpn", AwsVpn, "Traffic Selector: TS_UNACCEPTABLE: received from responder"),
    other("aws-vpn", AwsVpn, "No Proposal Match Found"),
    other("fortinet-fortios", IbmVpn, "Failed to locate an item in the database - Peer identity type is FQDN"),
    other("fortinet-fortios", Fortinet, "established IKE SA limit 4 reached, deleting"),
    // Commands stand in `commands`; a few are told of as facts.
    ios(IosFragmentation, "fragmentation is off unless configured"),
    ios(IosIkev2Guide, "IKEv2 is on as soon as a profile is in use"),
];

#[cfg(test)]
#[path = "quotes_tests.rs"]
mod tests;
