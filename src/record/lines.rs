//! The shape of a transcript's lines, as a JSON Schema for whoever reads them: `connect` and `listen` with `--json`, and the
//! transcripts that every command leaves.
//!
//! The lines are written by `transcript`, without these types on the way; a test holds both together.

// A field whose name says it all has no words of its own.
#![allow(missing_docs)]

use schemars::JsonSchema;

use super::transcript::SCHEMA_VERSION;
use crate::engine::FailureClass;

/// The schema as pretty-printed JSON with a trailing newline, as committed in `schema/events.schema.json`.
pub fn events_schema() -> String {
    let mut schema = schemars::schema_for!(Line);
    schema.insert("title".to_owned(), format!("ikelab events, version {SCHEMA_VERSION}").into());
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is plain JSON");
    text.push('\n');
    text
}

/// One line: something that happened to an IKE SA. Within a version, events and fields are added, never renamed or removed.
#[derive(JsonSchema)]
pub struct Line {
    /// Version of the lines.
    #[schemars(range(min = 1, max = 1))]
    pub v: u32,
    /// Seconds since the run began.
    #[schemars(range(min = 0))]
    pub t: f64,
    /// The tunnel, counted from 1; 0 for what belongs to none.
    pub tunnel: u64,
    /// The IKE SA: slot and generation. A slot is used again, with another generation.
    #[schemars(regex(pattern = r"^[0-9]+\.[0-9]+$"))]
    pub sa: String,
    /// In the first line of an IKE SA: wall clock of the run's begin, in seconds since 1970.
    #[serde(default)]
    pub epoch: Option<f64>,
    /// What happened.
    #[serde(flatten)]
    pub event: LineEvent,
}

/// What happened.
#[derive(JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum LineEvent {
    /// A message was sent, or received and accepted.
    Message(MessageLine),
    /// IKE_SA_INIT is done and keys exist.
    InitDone {
        role: Role,
        spi_i: IkeSpi,
        spi_r: IkeSpi,
        #[serde(flatten)]
        suite: Suite,
        nat: Nat,
        /// The peer's vendor IDs.
        vendor_ids: Vec<Hex>,
        /// The peer supports RFC 7383 fragmentation.
        peer_fragments: bool,
    },
    /// The keys of an IKE SA were exported; they are in the key tables, never here.
    IkeKeys { spi_i: IkeSpi, spi_r: IkeSpi },
    /// The peer's certificate is accepted; `ike_up` follows.
    PeerCertificate {
        /// Its subject, as `C=CH, CN=gw`.
        subject: String,
        /// The subjects above it, up to the trusted one; empty when it is trusted directly.
        issuers: Vec<String>,
        /// What kind of key it has.
        key: String,
        /// How AUTH was signed.
        signature: String,
        /// SHA-256 of the certificate in hex.
        sha256: String,
        /// What was accepted although an RFC says otherwise, or could not be checked.
        notes: Vec<String>,
    },
    /// This line's IKE SA is begun to take the place of `old`, from IKE_SA_INIT on.
    Reauthenticating {
        /// The one to be replaced: slot and generation.
        old: String,
        order: ReauthOrder,
    },
    /// EAP has succeeded (RFC 7296 2.16); `ike_up` follows.
    Eap {
        /// The method that was agreed on.
        method: String,
        /// The EAP identity, ours or the peer's.
        identity: String,
        /// AUTH was made from the method's key; without one, from SK_pi and SK_pr.
        keyed: bool,
        /// Nothing but EAP proved who the responder is (RFC 5998).
        alone: bool,
        /// The version of TLS, where TLS ran.
        tls: Option<String>,
        /// What the authenticator told the user.
        notices: Vec<String>,
    },
    /// What a CFG_REPLY said (RFC 7296 3.15).
    Config {
        /// Who handed it out.
        by: Side,
        /// It had been asked for.
        asked: bool,
        /// Inner addresses.
        addresses: Vec<String>,
        /// Name servers.
        dns: Vec<String>,
        /// Split networks.
        subnets: Vec<String>,
        /// APPLICATION_VERSION.
        version: Option<String>,
        /// Attributes that were not understood, and how long they are.
        others: Vec<String>,
    },
    /// The peer answered nothing any more; `failed` follows.
    PeerDead {
        /// How long after it was last heard of this was to be noticed at the latest; missing without liveness checks.
        expected_ms: Option<u64>,
        /// How long after it was last heard of it was noticed.
        measured_ms: u64,
        /// What becomes of the tunnel: `clear`, `restart` or `hold`.
        action: String,
    },
    /// IKE and ESP take another path from now on.
    Moved {
        /// Which end is somewhere else.
        by: Side,
        local: Socket,
        remote: Socket,
        /// Who is behind a NAT now.
        nat: Nat,
    },
    /// The tunnel of a dead peer is brought up again by this line's IKE SA.
    Restarting {},
    /// The peer's AUTH by pre-shared key, or its identity, was refused; `failed` follows. Says how the peer's key differs
    /// from ours, as far as its AUTH tells, and holds no key.
    AuthRefused {
        /// The identity that it claimed, `type:value`.
        id: String,
        key: KeyFound,
        /// Whose key it is, as it is or with a difference.
        whose: Option<KeyOf>,
        /// The difference, in words.
        how: Option<String>,
        /// The connection whose key it is.
        connection: Option<String>,
        /// Guesses, none of which fits.
        tried: Option<u32>,
    },
    /// Both ends are authenticated.
    IkeUp {
        role: Role,
        /// The connection's name.
        connection: String,
        spi_i: IkeSpi,
        spi_r: IkeSpi,
        #[serde(flatten)]
        suite: Suite,
        /// The peer's authenticated identity, `type:value`.
        peer_id: String,
        local: Socket,
        remote: Socket,
        /// Both ends have MOBIKE (RFC 4555).
        mobike: bool,
    },
    /// A Child SA exists; its inbound half is in use.
    ChildInbound(ChildLine),
    /// The outbound half of a Child SA is in use.
    ChildOutbound { spi_in: EspSpi },
    /// We are about to delete a Child SA and send nothing more on it.
    ChildClosing { spi_in: EspSpi },
    /// A Child SA took another's place.
    ChildRekeyed {
        /// Our inbound SPI of the old one.
        old: EspSpi,
        /// Our inbound SPI of the new one.
        new: EspSpi,
    },
    /// The IKE SA was rekeyed: this line's IKE SA has taken over from `old`.
    IkeRekeyed {
        role: Role,
        /// The one replaced: slot and generation.
        old: String,
        spi_i: IkeSpi,
        spi_r: IkeSpi,
        #[serde(flatten)]
        suite: Suite,
    },
    /// A Child SA could not be made; the IKE SA stays.
    ChildFailed(FailedLine),
    /// A Child SA is gone.
    ChildDown { spi_in: EspSpi, by: Side },
    /// A request was sent again, bit for bit.
    Retransmit {
        exchange: Exchange,
        message_id: u32,
        spi_i: IkeSpi,
        spi_r: IkeSpi,
        local: Socket,
        remote: Socket,
        /// How often it has now been sent.
        attempt: u8,
        /// How often it will be sent at most.
        of: u8,
        packets: Packets,
    },
    /// A datagram or message was not believed or not understood, and changed nothing.
    Ignored {
        /// Why, in words.
        why: String,
        #[serde(default)]
        exchange: Option<Exchange>,
        #[serde(default)]
        message_id: Option<u32>,
        local: Socket,
        remote: Socket,
        /// More, in words; may be empty.
        detail: String,
    },
    /// The peer answered a liveness check.
    Alive {
        /// Seconds from the first transmission to the answer.
        rtt: f64,
    },
    /// The peer sent a notify in a protected INFORMATIONAL.
    PeerNotify { payload: PayloadLine },
    /// The IKE SA failed.
    Failed(FailedLine),
    /// What ICMP or the operating system said of a datagram of this IKE SA. It proves nothing.
    Network {
        /// One of a closed set: `port_unreachable`, `unreachable`, `no_route`, `too_long`, `not_sent`.
        kind: String,
        remote: Socket,
        /// In words.
        text: String,
    },
    /// A datagram of a message never arrived, because the bad path that was ordered for this run lost it. It says nothing
    /// about the peer. What could be told of no IKE SA belongs to tunnel 0.
    PathLost {
        /// Who sent it.
        from: Side,
        exchange: Exchange,
        message_id: u32,
        response: bool,
        spi_i: IkeSpi,
        spi_r: IkeSpi,
        local: Socket,
        remote: Socket,
        /// Its number in the capture.
        packet: u64,
        /// One of a closed set: `lost`, `blackout`, `too long`, `rate limit`; or what a box on the simulated path did.
        how: String,
        /// In words.
        text: String,
    },
    /// The IKE SA was deleted in good order.
    Deleted { by: Side },
    /// The last line of an IKE SA.
    Closed {},
}

/// A message.
#[derive(JsonSchema)]
pub struct MessageLine {
    /// Who sent it.
    pub from: Side,
    pub exchange: Exchange,
    pub response: bool,
    pub message_id: u32,
    /// The initiator flag of its header.
    pub initiator_flag: bool,
    /// `2.0`.
    pub version: String,
    pub spi_i: IkeSpi,
    pub spi_r: IkeSpi,
    pub local: Socket,
    pub remote: Socket,
    /// Octets of the IKE message.
    pub len: u64,
    /// 0 for the first transmission.
    pub attempt: u8,
    /// Its payloads in one line of text.
    pub summary: String,
    /// Payloads outside of SK.
    pub payloads: Vec<PayloadLine>,
    /// Payloads inside SK, decrypted.
    #[serde(default)]
    pub protected: Option<Vec<PayloadLine>>,
    pub packets: Packets,
}

/// A payload. Which fields it has depends on its type.
#[derive(JsonSchema)]
pub struct PayloadLine {
    /// `SA`, `KE`, `IDi`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// SA.
    #[serde(default)]
    pub proposals: Option<Vec<ProposalLine>>,
    /// KE.
    #[serde(default)]
    pub group: Option<String>,
    /// KE, IDi, IDr, CERT, CERTREQ, AUTH, Nonce, Notify, Vendor ID.
    #[serde(default)]
    pub data: Option<Hex>,
    /// IDi, IDr.
    #[serde(default)]
    pub id_type: Option<String>,
    /// IDi, IDr: `type:value`.
    #[serde(default)]
    pub id: Option<String>,
    /// CERT, CERTREQ.
    #[serde(default)]
    pub encoding: Option<String>,
    /// AUTH.
    #[serde(default)]
    pub method: Option<String>,
    /// Notify: its name.
    #[serde(default)]
    pub notify: Option<String>,
    /// Notify: its number.
    #[serde(default)]
    pub notify_type: Option<u16>,
    /// Notify: it is an error.
    #[serde(default)]
    pub error: Option<bool>,
    /// Notify, Delete.
    #[serde(default)]
    pub protocol: Option<String>,
    /// Notify.
    #[serde(default)]
    pub spi: Option<Hex>,
    /// Delete.
    #[serde(default)]
    pub spis: Option<Vec<Hex>>,
    /// Vendor ID, where it is text.
    #[serde(default)]
    pub text: Option<String>,
    /// TSi, TSr.
    #[serde(default)]
    pub selectors: Option<Vec<String>>,
    /// CP.
    #[serde(default)]
    pub cfg_type: Option<String>,
    /// CP.
    #[serde(default)]
    pub attributes: Option<Vec<AttributeLine>>,
    /// EAP: octets. The data itself is not told: it may be a password's hash.
    #[serde(default)]
    pub len: Option<u64>,
    /// EAP: code, identifier, length and type.
    #[serde(default)]
    pub header: Option<Hex>,
    /// A type that is not known.
    #[serde(default)]
    pub payload_type: Option<u8>,
    /// A type that is not known.
    #[serde(default)]
    pub critical: Option<bool>,
    /// A type that is not known.
    #[serde(default)]
    pub body: Option<Hex>,
}

/// A proposal.
#[derive(JsonSchema)]
pub struct ProposalLine {
    pub number: u8,
    pub protocol: String,
    pub spi: Hex,
    pub transforms: Vec<String>,
}

/// A configuration attribute.
#[derive(JsonSchema)]
pub struct AttributeLine {
    pub attribute: String,
    pub value: Hex,
}

/// A Child SA.
#[derive(JsonSchema)]
pub struct ChildLine {
    /// Name of the configured child.
    pub name: String,
    /// Our SPI: what the peer puts into packets to us.
    pub spi_in: EspSpi,
    /// The peer's SPI.
    pub spi_out: EspSpi,
    #[serde(flatten)]
    pub suite: Suite,
    pub mode: Mode,
    pub local_ts: Vec<String>,
    pub remote_ts: Vec<String>,
    /// Our role in the exchange that made it.
    pub exchange_role: Role,
    /// ESP goes in UDP.
    pub encapsulated: bool,
    /// The selectors were narrowed from what the initiator asked for.
    pub narrowed: bool,
}

/// A failure.
#[derive(JsonSchema)]
pub struct FailedLine {
    pub scope: Scope,
    pub exchange: Exchange,
    /// Who noticed.
    pub found_by: Side,
    pub class: FailureClass,
    /// In words.
    pub why: String,
    /// No common proposal: what was offered.
    #[serde(default)]
    pub offered: Option<Vec<ProposalLine>>,
    /// No common proposal: what is configured here.
    #[serde(default)]
    pub wanted: Option<Vec<ProposalLine>>,
    #[serde(default)]
    pub offered_tsi: Option<Vec<String>>,
    #[serde(default)]
    pub offered_tsr: Option<Vec<String>>,
    #[serde(default)]
    pub wanted_tsi: Option<Vec<String>>,
    #[serde(default)]
    pub wanted_tsr: Option<Vec<String>>,
    /// The peer chose selectors that were not offered.
    #[serde(default)]
    pub chosen_ts: Option<Vec<String>>,
    /// The peer chose a proposal that was not offered.
    #[serde(default)]
    pub chosen: Option<ProposalLine>,
    /// Malformed: where, in octets from the start of the message.
    #[serde(default)]
    pub offset: Option<u64>,
    /// Malformed: in which payload.
    #[serde(default)]
    pub payload: Option<String>,
    /// Rejected: the notify's name.
    #[serde(default)]
    pub notify: Option<String>,
    /// Rejected: the notify's number.
    #[serde(default)]
    pub notify_type: Option<u16>,
    /// Rejected: the notify's data.
    #[serde(default)]
    pub data: Option<Hex>,
    /// Rejected: whether the notify was protected.
    #[serde(default)]
    pub protected: Option<bool>,
    /// What kind of failure it is: `rejected`, `no_answer`, `mismatch`, `identity`, ...
    pub kind: String,
    /// AUTH or identity refused: the number of the identity's type.
    #[serde(default)]
    pub id_type: Option<u8>,
    /// AUTH or identity refused: the identity's data.
    #[serde(default)]
    pub id_data: Option<Hex>,
    /// INVALID_KE_PAYLOAD for a group that we did not offer: its number.
    #[serde(default)]
    pub group: Option<u16>,
    /// Another authentication method: its number.
    #[serde(default)]
    pub auth_method: Option<u8>,
    /// No answer: what came instead, `fragments` of it or the peer's own `rekey` of the same SA.
    #[serde(default)]
    pub heard: Option<String>,
    /// No answer: transmissions.
    #[serde(default)]
    pub attempts: Option<u8>,
    /// A check of the peer's certificate failed: which.
    #[serde(default)]
    pub certificate: Option<CertificateFaultLine>,
    /// EAP failed: how.
    #[serde(default)]
    pub eap: Option<EapFaultLine>,
}

/// A failed check of a certificate. Times are seconds since 1970, as text.
#[derive(JsonSchema)]
pub struct CertificateFaultLine {
    /// One of a closed set: `validity`, `issuer`, `usage`, ...
    pub check: String,
    /// One of a closed set: `expired`, `unknown_issuer`, ...; `other` for what only the sentence says.
    pub fault: String,
    #[serde(default)]
    pub subject: Option<String>,
    #[serde(default)]
    pub issuer: Option<String>,
    #[serde(default)]
    pub not_after: Option<String>,
    #[serde(default)]
    pub not_before: Option<String>,
    /// When it was judged.
    #[serde(default)]
    pub judged_at: Option<String>,
    /// The path is whole and ends at another authority.
    #[serde(default)]
    pub whole: Option<bool>,
    #[serde(default)]
    pub trusted: Option<Vec<String>>,
    #[serde(default)]
    pub sent: Option<Vec<String>>,
    #[serde(default)]
    pub has: Option<String>,
    #[serde(default)]
    pub wants: Option<String>,
    #[serde(default)]
    pub id_type: Option<u8>,
    #[serde(default)]
    pub id_data: Option<Hex>,
    #[serde(default)]
    pub names: Option<Vec<String>>,
    #[serde(default)]
    pub since: Option<String>,
    #[serde(default)]
    pub reason: Option<String>,
    #[serde(default)]
    pub detail: Option<String>,
    #[serde(default)]
    pub encoding: Option<u8>,
    #[serde(default)]
    pub url: Option<String>,
    #[serde(default)]
    pub key: Option<String>,
    #[serde(default)]
    pub scheme: Option<String>,
}

/// How EAP failed.
#[derive(JsonSchema)]
pub struct EapFaultLine {
    /// One of a closed set: `refused`, `wrong_password`, ...; `other` for what only the sentence says.
    pub fault: String,
    #[serde(default)]
    pub method: Option<String>,
    /// MSCHAPv2's error code.
    #[serde(default)]
    pub code: Option<u32>,
    #[serde(default)]
    pub said: Option<String>,
    #[serde(default)]
    pub identity: Option<String>,
    #[serde(default)]
    pub ours: Option<Vec<String>>,
    /// Numbers of EAP methods.
    #[serde(default)]
    pub theirs: Option<Vec<String>>,
    #[serde(default)]
    pub detail: Option<String>,
    #[serde(default)]
    pub names: Option<Vec<String>>,
}

/// What became of a comparison of keys.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyFound {
    Same,
    Variant,
    Unlike,
}

/// Whose key.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyOf {
    /// The one that the peer should have used.
    Peer,
    /// The one of the other direction.
    Us,
    /// That of another connection.
    Connection,
}

/// What NAT detection found.
#[derive(JsonSchema)]
pub struct Nat {
    /// The peer sent detection notifies.
    pub peer_detects: bool,
    /// We are behind a NAT.
    pub us: bool,
    /// The peer is behind a NAT.
    pub peer: bool,
}

/// Algorithms.
#[derive(JsonSchema)]
pub struct Suite {
    /// As a connection file spells it.
    pub suite: String,
    /// Which of them are weak, in words.
    pub weak: Vec<String>,
}

/// Numbers of the frames in the capture that carry it.
#[derive(JsonSchema)]
pub struct Packets(pub Vec<u64>);

/// The name of an exchange.
#[derive(JsonSchema)]
pub struct Exchange(pub String);

/// Octets.
#[derive(JsonSchema)]
pub struct Hex(#[schemars(regex(pattern = "^([0-9a-f]{2})*$"))] pub String);

/// An IKE SPI.
#[derive(JsonSchema)]
pub struct IkeSpi(#[schemars(regex(pattern = "^[0-9a-f]{16}$"))] pub String);

/// An ESP SPI.
#[derive(JsonSchema)]
pub struct EspSpi(#[schemars(regex(pattern = "^[0-9a-f]{8}$"))] pub String);

/// `address:port`.
#[derive(JsonSchema)]
pub struct Socket(#[schemars(regex(pattern = ":[0-9]+$"))] pub String);

/// An original role.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Initiator,
    Responder,
}

/// One of the two ends.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Us,
    Peer,
}

/// What a failure ends.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Exchange,
    Child,
    IkeSa,
}

/// Whether the new IKE SA comes up before the old one goes.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReauthOrder {
    MakeFirst,
    BreakFirst,
}

/// Mode of a Child SA.
#[derive(JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Tunnel,
    Transport,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Whoever adds an event to the transcript tells its readers.
    #[test]
    fn every_event_that_is_written_is_in_the_schema() {
        let source = include_str!("transcript.rs");
        let written: BTreeSet<&str> =
            source.split("\"event\", \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let schema: serde_json::Value = serde_json::from_str(&events_schema()).expect("JSON");
        let kinds = schema["oneOf"].as_array().expect("alternatives");
        let told: BTreeSet<&str> = kinds.iter().filter_map(|k| k["properties"]["event"]["const"].as_str()).collect();
        assert!(written.len() > 15, "{written:?}");
        assert_eq!(written, told);
    }
}
