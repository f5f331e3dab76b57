//! From a log line that somebody pasted to the scenario that explains it.
//!
//! Addresses, numbers and times vary; the words around them do not. Both sides are normalised to words and compared.

use super::file::{Evidence, Scenario};
use crate::vendor::evidence::Source;

/// A scenario that a line points to.
#[derive(Clone, PartialEq, Debug)]
pub struct Hit {
    /// The scenario's id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// The vendor in print.
    pub vendor: String,
    /// The line of the catalogue that fits.
    pub line: String,
    /// How that line is known.
    pub evidence: Evidence,
    /// The works in which it stands; none for what is inferred.
    pub sources: Vec<Source>,
    /// From 0 (nothing in common) to 1 (the same but for addresses and numbers).
    pub score: f64,
    /// It can be played; otherwise it is only explained.
    pub played: bool,
}

/// Scenarios with a symptom like `line`, best first. Below a score of 0.6 nothing is said.
pub fn find<'a>(line: &str, scenarios: impl IntoIterator<Item = &'a Scenario>) -> Vec<Hit> {
    let pasted = words(line);
    let mut hits = Vec::new();
    for scenario in scenarios {
        let mut best: Option<Hit> = None;
        for (vendor, symptoms) in &scenario.symptoms {
            for symptom in symptoms.iter() {
                for known in symptom.log.iter().chain(&symptom.show) {
                    let score = score(&pasted, known);
                    if score >= 0.6 && best.as_ref().is_none_or(|best| best.score < score) {
                        best = Some(Hit {
                            id: scenario.id.clone(),
                            title: scenario.title.clone(),
                            vendor: vendor.label().to_owned(),
                            line: known.clone(),
                            evidence: symptom.evidence,
                            sources: symptom.sources(vendor.as_str()),
                            score,
                            played: scenario.explained.is_none(),
                        });
                    }
                }
            }
        }
        hits.extend(best);
    }
    // A line that many share: those first of which more is known.
    hits.sort_by(|a, b| {
        b.score.total_cmp(&a.score).then_with(|| b.played.cmp(&a.played)).then_with(|| a.id.cmp(&b.id))
    });
    // Lines of one family share most of their words: what fits clearly worse than the best is another failure.
    let best = hits.first().map_or(0.0, |hit| hit.score);
    hits.retain(|hit| hit.score > best - 0.08);
    spread(hits)
}

/// Of hits that fit equally well one of each family comes first, so that what ails certificates does not hide keys and
/// identities. `auth/cert-expired` is of the family `auth/cert`.
fn spread(hits: Vec<Hit>) -> Vec<Hit> {
    let family = |hit: &Hit| hit.id.split('-').next().unwrap_or_default().to_owned();
    let mut ranked: Vec<(usize, Hit)> = Vec::with_capacity(hits.len());
    for hit in hits {
        let before = |other: &&(usize, Hit)| {
            other.1.score == hit.score && other.1.played == hit.played && family(&other.1) == family(&hit)
        };
        ranked.push((ranked.iter().filter(before).count(), hit));
    }
    ranked.sort_by(|(a, one), (b, other)| {
        other.score.total_cmp(&one.score).then(other.played.cmp(&one.played)).then(a.cmp(b))
    });
    ranked.into_iter().map(|(_, hit)| hit).collect()
}

/// How much of `known` stands in `pasted`, in order: the share of its words, each weighted by its length, so that
/// "Failed to authenticate" counts for more than "to". Short lines of the catalogue need a nearly complete fit.
fn score(pasted: &[String], known: &str) -> f64 {
    let known = words(known);
    let weight = |word: &String| if word == "#" { 0.2 } else { word.len() as f64 };
    let total: f64 = known.iter().map(weight).sum();
    if total < 4.0 {
        return 0.0;
    }
    // The longest common subsequence by weight.
    let mut row = vec![0.0_f64; pasted.len() + 1];
    for word in &known {
        let mut diagonal = 0.0;
        for at in 0..pasted.len() {
            let above = row[at + 1];
            row[at + 1] = if *word == pasted[at] { diagonal + weight(word) } else { above.max(row[at]) };
            diagonal = above;
        }
    }
    let share = row[pasted.len()] / total;
    // A line that says much more than the catalogue's fits a little less well than the same line.
    let pasted_total: f64 = pasted.iter().map(weight).sum();
    share - 0.1 * (1.0 - (total / pasted_total.max(total)))
}

/// Lower-case words; addresses and numbers become `#`, and `...` vanishes.
fn words(line: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    let keep = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':');
    for token in line.split(|c: char| !keep(c)) {
        let token = token.trim_matches(|c: char| matches!(c, '.' | ':' | '-')).to_lowercase();
        if token.is_empty() {
            continue;
        }
        // "Local:203.0.113.2:500" is a word and an address; "ASA-4-750003" names a message.
        let (head, tail) = match token.split_once(':') {
            Some((head, tail)) if head.chars().all(char::is_alphabetic) => (head, tail),
            _ => ("", token.as_str()),
        };
        for part in [head, tail].into_iter().filter(|part| !part.is_empty()) {
            let word = if is_value(part) { "#".to_owned() } else { part.to_owned() };
            if !(word == "#" && out.last().is_some_and(|last| last == "#")) {
                out.push(word);
            }
        }
    }
    out
}

/// An address, a number, a time, a hexadecimal value.
fn is_value(word: &str) -> bool {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    let value = |c: char| c.is_ascii_hexdigit() || matches!(c, '.' | ':' | '-' | 'x');
    digits > 0 && word.chars().all(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load;

    #[test]
    fn addresses_numbers_and_times_do_not_matter() {
        let a = words("%ASA-4-750003: Local:203.0.113.2:500 Remote:203.0.113.6:500 Username:x IKEv2 aborted");
        let b = words("%ASA-4-750003: Local:10.0.0.1:500 Remote:10.9.9.9:4500 Username:x IKEv2 aborted");
        assert_eq!(a, b);
        assert_eq!(words("2025-01-22 17:26:22.700 -0800 [PERR]: { 1: }: 192.168.20.2[500]"), ["#", "perr", "#"]);
    }

    #[test]
    fn a_pasted_line_finds_its_scenario() {
        let all = load::embedded().expect("the embedded scenarios load");
        let all: Vec<_> = all.into_iter().map(|one| one.scenario).collect();
        let cases = [
            (
                "Nov 20 03:12:44 fw1 %ASA-4-750003: Local:198.51.100.7:500 Remote:192.0.2.9:500 Username:192.0.2.9 \
                 IKEv2 Negotiation aborted due to ERROR: Failed to authenticate the IKE SA",
                "auth/psk-mismatch",
            ),
            (
                "%ASA-4-750003: Local:1.2.3.4:500 Remote:4.3.2.1:500 Username:Unknown IKEv2 Negotiation aborted due to \
                 ERROR: There was no IPSEC policy found for received TS",
                "child/ts-",
            ),
            (
                "%ASA-5-750004: Local:1.2.3.4:500 Remote:4.3.2.1:500 Username:Unknown Sending COOKIE challenge to throttle possible DoS",
                "sa-init/cookie-challenge",
            ),
            ("AWS tunnel detected a pre-shared key mismatch with cgw: cgw-0123456789", "auth/psk-mismatch"),
        ];
        for (line, wanted) in cases {
            let hits = find(line, &all);
            let best = hits.first().unwrap_or_else(|| panic!("nothing for {line}"));
            assert!(best.id.starts_with(wanted), "{line}: {hits:#?}");
        }
        assert!(
            find("%LINEPROTO-5-UPDOWN: Line protocol on Interface Tunnel0, changed state to down", &all).is_empty()
        );
        assert!(find("", &all).is_empty());
    }

    /// Lines as boxes print them, and the entries that must be among those found; the first one is the best, unless
    /// several are equally likely.
    #[test]
    fn a_table_of_lines_finds_the_right_entries() {
        let all = load::embedded().expect("the embedded scenarios load");
        let all: Vec<_> = all.into_iter().map(|one| one.scenario).collect();
        let asa = "Local:2.2.2.2:500 Remote:1.1.1.1:500 Username:Unknown";
        let cases: &[(&str, &str)] = &[
            // ASA and FTD
            (
                &format!(
                    "%ASA-4-750003: {asa} IKEv2 Negotiation aborted due to ERROR: Failed to authenticate the IKE SA"
                ),
                "auth/psk-mismatch",
            ),
            (
                &format!(
                    "%FTD-4-750003 {asa} IKEv2 Negotiation aborted due to ERROR: Failed to authenticate the IKE SA"
                ),
                "auth/psk-mismatch",
            ),
            (
                &format!(
                    "%ASA-4-750003: {asa} IKEv2 Negotiation aborted due to ERROR: Failed to receive the AUTH msg before the timer expired"
                ),
                "sa-init/half-open-stuck",
            ),
            (
                &format!(
                    "%ASA-4-750003: {asa} IKEv2 Negotiation aborted due to ERROR: There was no IPSEC policy found for received TS"
                ),
                "child/ts-",
            ),
            (
                &format!(
                    "%ASA-4-750003: {asa} IKEv2 Negotiation aborted due to ERROR: Failed to find a matching policy"
                ),
                "sa-init/no-",
            ),
            (
                &format!(
                    "%ASA-3-751022: {asa} Tunnel rejected: Crypto Map Policy not found for remote traffic selector 10.1.1.0/10.1.1.255/0/65535/0 local traffic selector 10.2.2.0/10.2.2.255/0/65535/0!"
                ),
                "child/ts-",
            ),
            (&format!("%ASA-3-751009: {asa} Unable to find tunnel group for peer."), "sa-init/peer-not-configured"),
            (
                &format!(
                    "%ASA-3-751002: {asa} No pre-shared key or trustpoint configured for self in tunnel group 1.1.1.1"
                ),
                "auth/psk-missing",
            ),
            (
                &format!(
                    "%ASA-3-751004: {asa} No remote authentication method configured for peer in tunnel group 1.1.1.1"
                ),
                "auth/psk-missing",
            ),
            (&format!("%ASA-3-751006: {asa} Certificate authentication failed. Error: Unknown CA"), "auth/cert"),
            (
                &format!("%ASA-3-751008: {asa} Group=G, Tunnel rejected: IKEv2 not enabled in group policy"),
                "sa-init/ikev1-to-ikev2",
            ),
            (
                &format!(
                    "%ASA-3-751010: {asa} Unable to determine self-authentication method. No crypto map setting or tunnel group found."
                ),
                "config/profile-not-bound",
            ),
            (
                &format!("%ASA-3-751001: {asa} Failed to complete Diffie-Hellman operation. Error: 12"),
                "sa-init/bad-key-exchange",
            ),
            (&format!("%ASA-5-750004: {asa} Sending COOKIE challenge to throttle possible DoS"), "sa-init/cookie"),
            (
                &format!(
                    "%ASA-5-750005: {asa} IPsec rekey collision detected. I am lowest nonce initiator, deleting SA with inbound SPI 0x12345678"
                ),
                "rekey/collision",
            ),
            (
                &format!(
                    "%ASA-5-750009: {asa} SA request rejected due to CAC limit reached: Rejection reason: in-negotiation"
                ),
                "load/negotiation-limit",
            ),
            (
                &format!("%ASA-4-751015: {asa} SA request rejected by CAC. Reason: in-negotiation"),
                "load/negotiation-limit",
            ),
            (
                &format!(
                    "%ASA-4-750015: {asa} deleting IPSec SA. Reason: invalid SPI notification received for SPI 0x1234abcd; local traffic selector = x"
                ),
                "data/unknown-spi",
            ),
            (
                &format!(
                    "%ASA-4-750014: {asa} IKEv2 Session aborted. Reason: Initial Contact received for Local ID: 2.2.2.2, Remote ID: 1.1.1.1 from remote peer:1.1.1.1:500"
                ),
                "liveness/initial-contact",
            ),
            (
                &format!(
                    "%ASA-3-750011: {asa} Tunnel Rejected: Selected IKEv2 encryption algorithm (AES-CBC-128) is not strong enough to secure proposed IPSEC encryption algorithm (AES-CBC-256)."
                ),
                "config/esp-stronger-than-ike",
            ),
            ("%ASA-4-752010: IKEv2 Doesn't have a proposal specified", "child/no-proposal"),
            ("%ASA-4-752009: IKEv2 Doesn't support Multiple Peers", "config/multiple-peers"),
            (
                "%ASA-3-752006: Tunnel Manager failed to dispatch a KEY_ACQUIRE message. Probable mis-configuration of the crypto map or tunnel-group. Map Tag = M.",
                "config/crypto-map-not-applied",
            ),
            ("%ASA-4-753001: Unexpected IKEv2 packet received from 10.1.1.1:500. Error: no", "sa-init/"),
            (
                "%ASA-4-402117: IPSEC: Received a non-IPSec packet (protocol= ICMP) from 10.5.1.127 to 192.168.6.102.",
                "data/cleartext",
            ),
            (
                "%ASA-4-402116: IPSEC: Received an ESP packet (SPI= 0x1, sequence number= 0x2) from 1.1.1.1 (user= u) to 2.2.2.2. The decapsulated inner packet doesn't match the negotiated policy in the SA.",
                "data/selectors-violated",
            ),
            (
                "%ASA-4-402119: IPSEC: Received an ESP packet (SPI= 0x1, sequence number= 0x2) from 1.1.1.1 (user= u) to 2.2.2.2 that failed anti-replay checking.",
                "data/replay",
            ),
            (
                "%ASA-4-402120: IPSEC: Received an ESP packet (SPI= 0x1, sequence number= 0x2) from 1.1.1.1 (user= u) to 2.2.2.2 that failed authentication.",
                "data/",
            ),
            (
                "%ASA-4-113019: Group = G, Username = U, IP = 1.1.1.1, Session disconnected. Session Type: LAN-to-LAN, Duration: 0h:30m, Bytes xmt: 0, Bytes rcv: 0, Reason: Idle Timeout",
                "liveness/idle-timeout",
            ),
            // IOS-XE
            ("IKEv2-ERROR:(SESSION ID = 89,SA ID = 1):: Failed to locate an item in the database", "auth/id-mismatch"),
            ("IKEv2-ERROR:: Negotiating limit reached, deny SA request", "load/negotiation-limit"),
            ("Error(12): Detected an invalid IKE SPI", "liveness/"),
            (
                "%CRYPTO-4-IKMP_NO_SA: IKE message from 10.2.2.1 has no SA and is not an initialization offer",
                "liveness/",
            ),
            (
                "Nov 20 01:02:03: %CRYPTO-4-RECVD_PKT_NOT_IPSEC: Rec'd packet not an IPSEC packet. (ip) vrf/dest_addr= /10.25.122.10, src_addr= 10.25.122.11, prot= 1",
                "data/cleartext",
            ),
            (
                "%CERM-4-TX_BW_LIMIT: Maximum Tx Bandwidth limit of 85000 Kbps reached for Crypto functionality with securityk9 technology package license.",
                "load/licence-85mbps",
            ),
            ("The peer's KE payload contained the wrong DH group", "sa-init/invalid-ke"),
            (
                "Peer authentication method configured is mismatching with the method proposed by peer",
                "auth/method-mismatch",
            ),
            ("IETF Std Fragmentation MTU in use: 1372 bytes.", "auth/fragmentation-mismatch"),
            // PAN-OS
            (
                "2025-01-22 17:26:22.700 -0800  [PERR]: { 1: }: 192.168.20.2[500] - 172.16.20.2[500]:0x7fa610013da0 authentication failure",
                "auth/psk-mismatch",
            ),
            ("received ID_I (type ipaddr [10.9.9.9]) does not match peers id", "auth/id-mismatch"),
            ("IKEv2 child SA negotiation is failed message lacks KE payload", "rekey/pfs-mismatch"),
            ("unknown ikev2 peer", "sa-init/"),
            (
                "IKE phase-1 negotiation is failed. Couldn't find configuration for IKE phase-1 request for peer IP 10.1.1.1[1929]",
                "sa-init/",
            ),
            ("aborting IKEv2 SA", "liveness/dpd"),
            // Others
            ("AWS tunnel DPD timed out after 3 retransmits", "liveness/dpd-unanswered"),
            ("AWS tunnel Timeout: deleting un-established Phase 1 IKE_SA with cgw: cgw-1", "sa-init/half-open-stuck"),
            ("Got a response on a duplicate IKE_SA", "liveness/both-begin"),
            ("received AUTHENTICATION_FAILED notify error", "auth/"),
        ];
        let mut wrong = Vec::new();
        for (line, wanted) in cases {
            let hits = find(line, &all);
            let named: Vec<&str> = hits.iter().map(|hit| hit.id.as_str()).collect();
            let best = hits.first().map_or(0.0, |hit| hit.score);
            if !hits.iter().any(|hit| hit.id.starts_with(wanted) && hit.score > best - 0.02) {
                wrong.push(format!("{line}\n    wanted {wanted}, found {named:?}"));
            }
        }
        assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    }

    /// Log lines and states that widely read articles quote. Those of IKEv1 lead to the entry that says so.
    #[test]
    fn what_field_articles_quote_finds_an_entry() {
        const V1: &str = "sa-init/ikev1-to-ikev2";
        let all = load::embedded().expect("the embedded scenarios load");
        let all: Vec<_> = all.into_iter().map(|one| one.scenario).collect();
        let cases = [
            ("IPsec phase 1 IKEv2 PARENT_SA negotiation failed", "sa-init/parent-sa-failed"),
            (
                "%ASA-5-752003: Tunnel Manager dispatching a KEY_ACQUIRE message to IKEv2. Map Tag = M. Map Sequence Number = 10.",
                "liveness/nobody-begins",
            ),
            ("%ASA-7-713906: IKE Receiver: Packet received on 10.0.0.2:500 from 10.0.0.6:500", "path/udp-500-silent"),
            (
                "%ASA-7-752002: Tunnel Manager Removed entry. Map Tag = M. Map Sequence Number = 10.",
                "auth/psk-mismatch",
            ),
            ("%ASA-5-713905: Phase 2 mismatch", V1),
            ("There are no IKEv2 SAs", "path/udp-500-silent"),
            ("#pkts decaps: 0, #pkts decrypt: 0, #pkts verify: 0", "data/esp-lost"),
            ("Child sa: local selector 10.9.0.0/0 - 10.9.255.255/65535", "child/ts-narrowed-silently"),
            ("IKE_SA NO_PROPOSAL_CHOSEN", "sa-init/no-proposal-encr"),
            ("IKE_SA INVALID_KE_PAYLOAD", "sa-init/invalid-ke-retry"),
            ("IKE_SA AUTHENTICATION_FAILED", "auth/certificate-refused"),
            ("IKE_SA timed out", "path/udp-500-silent"),
            ("TS_UNACCEPTABLE", "child/ts-not-mirrored"),
            ("current outbound spi: 0x0(0)", "child/no-proposal"),
            ("PFS (Y/N): N, DH group: none", "rekey/pfs-mismatch"),
            ("192.0.2.1 203.0.113.1 QM_IDLE 1001 ACTIVE", V1),
            ("10.9.9.1 10.8.8.1 MM_NO_STATE 0 ACTIVE (deleted)", V1),
            ("*Apr 20 09:14:23.441: ISAKMP:(0): atts are not acceptable. Next payload is 0", V1),
            ("*Apr 20 09:14:23.441: ISAKMP:(0): no offers accepted!", V1),
            ("ISAKMP:(0): phase 1 SA policy not acceptable! (local 10.8.8.1 remote 10.9.9.1)", V1),
            ("IPSEC(validate_proposal_request): transform proposal not supported for identity:", V1),
            ("*Apr 20 09:31:04.223: IPSEC(ipsec_process_proposal): proxy identities not supported", V1),
            ("*Apr 20 10:45:03.112: ISAKMP:(1004): Authentication failed", V1),
            ("%CRYPTO-6-IKMP_MODE_FAILURE: Processing of Main mode failed with peer at 10.9.9.1", V1),
            ("%CRYPTO-4-IKMP_BAD_MESSAGE: IKE message from 10.9.9.1 failed its sanity check or is malformed", V1),
            ("*Apr 20 10:02:51.553: ISAKMP: DPD: Peer 10.9.9.1 not responding, tearing down SA", V1),
            ("ISAKMP_MANUAL_DELETE", V1),
            ("*Apr 20 10:02:11.441: %CRYPTO-4-IKMP_NO_SA: IKE message from 10.9.9.1 has no SA", "liveness/unknown-spi"),
            ("Keepalive: 10/3 (interval/retry) DPD action: clear", "liveness/dpd-too-aggressive"),
            ("% Network not in table", "path/udp-500-silent"),
            ("Crypto map tag: M, seqnum: 10, local addr: 10.8.8.1", "config/crypto-map-not-applied"),
            ("CRYPTO-4-RECVD_PKT_NOT_IPSEC", "data/cleartext"),
            ("IKEv2-ERROR: A supplied parameter is incorrect", "sa-init/no-proposal-encr"),
            ("IKEv2-ERROR: Negotiating limit reached, deny SA request", "load/negotiation-limit"),
            ("CERM functionality: ENABLED", "load/licence-85mbps"),
        ];
        let found = |line: &str, wanted: &str| find(line, &all).iter().any(|hit| hit.id == wanted);
        let wrong: Vec<_> = cases.into_iter().filter(|(line, wanted)| !found(line, wanted)).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
