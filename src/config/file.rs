//! The connection file as it is written: structure and places, no meaning. [`super::build`] gives it meaning.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;
use std::borrow::Cow;

use super::error::Place;
use super::rekey::RekeySection;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub value: T,
    pub place: Option<Place>,
}

/// A connection file: both ends of one IKEv2 connection, as seen from ikelab.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "ikelab connection file")]
pub(crate) struct ConnectionFile {
    /// Version of this format; 1.
    pub version: At<u32>,
    /// Name for people; the file's name without `.yaml` by default.
    pub name: Option<At<String>>,
    /// Our end.
    #[serde(default)]
    pub local: LocalEnd,
    /// The box at the other end.
    #[serde(default)]
    pub remote: RemoteEnd,
    /// Whose habits to take on: `plain`.
    pub persona: Option<At<String>>,
    /// How the two ends prove who they are.
    pub auth: AuthSection,
    /// The IKE SA.
    pub ike: IkeSection,
    /// Child SAs; the first one is negotiated in IKE_AUTH, the others follow by CREATE_CHILD_SA.
    pub children: At<Vec<ChildSection>>,
    /// As initiator, ask for an inner address: `any4`, `any6`, or an address; both separated by a comma.
    pub virtual_ip: Option<At<String>>,
    /// As responder, hand out inner addresses.
    pub pool: Option<At<super::access::PoolSection>>,
    /// Liveness checks; none when the section is missing.
    pub dpd: Option<DpdSection>,
    /// NAT detection and encapsulation.
    #[serde(default)]
    pub nat: NatSection,
    /// Addresses may change (RFC 4555); not when the section is missing.
    pub mobike: Option<super::mobike::MobikeSection>,
    /// When a request is sent again.
    #[serde(default)]
    pub retransmit: RetransmitSection,
    /// When SAs are renewed, and how.
    #[serde(default)]
    pub rekey: RekeySection,
    /// Choices that RFC 7296 leaves open.
    #[serde(default)]
    pub behaviour: BehaviourSection,
    /// The data plane: ping, echo, encapsulation.
    #[serde(default)]
    pub data: super::data::DataSection,
    /// What the path between the two ends does to datagrams, besides what it does by itself.
    #[serde(default)]
    pub path: super::path::PathSection,
    /// Limits of `ikelab listen` (RFC 7296 2.6). With several files, one of them may hold this section.
    pub limits: Option<At<LimitsSection>>,
    /// How to drive the box at the other end.
    #[serde(default)]
    pub control: ControlSection,
}

/// Our end.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LocalEnd {
    /// Our address; by default whichever the route to the peer has.
    pub address: Option<At<String>>,
    /// UDP port for IKE; 500 by default.
    pub port: Option<At<u16>>,
    /// UDP port for IKE and ESP behind NAT traversal; 4500 by default.
    pub natt_port: Option<At<u16>>,
    /// Our identity: `ipv4:`, `ipv6:`, `fqdn:`, `email:`, `keyid:` or `dn:` and a value,
    /// or a bare value; by default our certificate's subject, or our address.
    pub id: Option<At<String>>,
}

/// The box at the other end.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoteEnd {
    /// Whether the box asks by itself if we live (DPD); scenarios that rest on it are not played where it does not.
    pub checks_liveness: Option<At<bool>>,
    /// Its address or host name; anybody (for `listen`) when missing.
    pub address: Option<At<String>>,
    /// Its UDP port for IKE; 500 by default.
    pub port: Option<At<u16>>,
    /// Its UDP port behind NAT traversal; 4500 by default.
    pub natt_port: Option<At<u16>>,
    /// The identity we expect, or `any` (the default).
    pub id: Option<At<String>>,
    /// What it is: cisco-ios-xe, cisco-asa, cisco-ftd, paloalto-panos or strongswan.
    pub vendor: Option<At<String>>,
    /// What we know of its lifetimes; IKEv2 does not negotiate them.
    #[serde(default)]
    pub lifetimes: Lifetimes,
}

/// Lifetimes configured on the box.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lifetimes {
    /// Of the IKE SA, like `28800s` or `8h`.
    pub ike: Option<At<Quantity>>,
    /// Of a Child SA, like `3600s` or `1h`.
    pub child: Option<At<Quantity>>,
}

/// Authentication of both ends.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthSection {
    /// How we prove who we are.
    pub local: At<AuthEnd>,
    /// How the peer must prove who it is; as `local` by default.
    pub remote: Option<At<AuthEnd>>,
}

/// One end's proof: a pre-shared key, by exactly one of three ways, or a certificate.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthEnd {
    /// A file with the key, relative to this file; one trailing newline is not part of the key.
    pub psk_file: Option<At<String>>,
    /// An environment variable with the key.
    pub psk_env: Option<At<String>>,
    /// The key itself, or `0x` and hex digits. Warned about: prefer a file.
    pub psk: Option<At<String>>,
    /// EAP: ours as its client, or the peer's with us as its server.
    pub eap: Option<At<super::access::EapSection>>,
    /// This end proves itself by the other end's EAP alone (RFC 5998).
    pub eap_only: Option<At<bool>>,
    /// A certificate.
    pub certificate: Option<At<CertificateSection>>,
}

/// For our own end: `chain` and `key`, perhaps `send` and `signature`. For the peer's: `ca` or `pin`, perhaps `crl` and
/// `policy`. Files are PEM or DER, relative to this file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertificateSection {
    /// Our certificate, then its intermediates.
    pub chain: Option<At<String>>,
    /// Our private key, not encrypted: PKCS #8, PKCS #1 or SEC 1.
    pub key: Option<At<String>>,
    /// The certificate of the CA that issued ours. With `issuer_key` `ikelab run` can make us certificates that are wrong in
    /// one thing, as some scenarios need.
    pub issuer: Option<At<String>>,
    /// Its private key, not encrypted: of a lab, never of a CA that anybody relies on.
    pub issuer_key: Option<At<String>>,
    /// When our certificates are sent: `always` (the default), `ifasked` or `never`.
    pub send: Option<At<String>>,
    /// Which signature we make: `auto` (by what the peer announces; the default), `old` (methods 1, 9, 10, 11),
    /// `digital-signature` (RFC 7427), `sha256`, `sha384`, `sha512`, or for an RSA key `pss` or `pss-sha256` and so on.
    pub signature: Option<At<String>>,
    /// CA certificates to trust, or the peer's own certificate to trust directly.
    pub ca: Option<At<Vec<At<String>>>>,
    /// Revocation lists: files, or with `crl_fetch` addresses like `http://pki.example/root.crl`. Without any, revocation is
    /// not checked.
    pub crl: Option<At<Vec<At<String>>>>,
    /// Fetch revocation lists by HTTP before the start: those of `crl`, and those that the certificates of this file name.
    /// False by default.
    pub crl_fetch: Option<At<bool>>,
    /// What real boxes accept and RFC 4945 does not: `lenient` accepts and reports it (the default), `strict` refuses it.
    pub policy: Option<At<String>>,
    /// The one certificate of the peer's that is accepted.
    pub pin: Option<At<String>>,
}

/// The IKE SA.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IkeSection {
    /// Proposals in order of preference: `aes256-sha256-modp2048`, `aes256gcm16-prfsha384-ecp384`, or a vendor's words. They may
    /// be left out with a persona whose box has defaults: `cisco-ios-xe`, `paloalto-panos`.
    pub proposals: Option<At<Vec<At<String>>>>,
    /// Our lifetime of the IKE SA.
    pub lifetime: Option<At<Quantity>>,
    /// Offer and accept RFC 7383 fragmentation; true by default.
    pub fragmentation: Option<At<bool>>,
    /// Longest IKE message, in octets without IP and UDP headers, that is sent in one piece; 1228 by default.
    pub fragment_size: Option<At<u16>>,
    /// A request whose second repeat is not answered is split anew into pieces of this many octets (RFC 7383 2.5.2), like
    /// 540. Not done by default.
    pub fragment_fallback: Option<At<u16>>,
}

/// One Child SA.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChildSection {
    /// Name for people; `child-1`, `child-2`, ... by default.
    pub name: Option<At<String>>,
    /// `tunnel` (the default) or `transport`.
    pub mode: Option<At<String>>,
    /// ESP proposals in order of preference: `aes256-sha256`, `aes256gcm16`, `esp-aes 256 esp-sha256-hmac`. They may be left out
    /// as those of `ike`.
    pub proposals: Option<At<Vec<At<String>>>>,
    /// Groups for perfect forward secrecy in later Child SAs and rekeys, like `modp2048`, or `none` (the default).
    pub pfs: Option<At<String>>,
    /// Traffic selectors of our side: `10.0.0.0/24`, `10.0.0.1-10.0.0.9`, `10.0.0.0/24[tcp/80]`; `0.0.0.0/0` by default. With
    /// `virtual_ip`, `dynamic` is the inner address, and the default.
    pub local_ts: Option<Vec<At<String>>>,
    /// Traffic selectors of the peer's side. With `pool`, `dynamic` is the inner address handed out, and the default.
    pub remote_ts: Option<Vec<At<String>>>,
    /// Our lifetime of the Child SA.
    pub lifetime: Option<At<Quantity>>,
}

/// Liveness checks.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DpdSection {
    /// Quiet time after which we ask.
    pub interval: At<Quantity>,
    /// `periodic` (the default) or `on-demand`.
    pub mode: Option<At<String>>,
    /// When a check is sent again; by default as `retransmit` says for everything.
    pub retransmit: Option<RetransmitSection>,
    /// What becomes of the tunnel of a dead peer: `clear` (the default), `restart`, or `hold` until there is traffic.
    pub action: Option<At<String>>,
}

/// NAT traversal.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NatSection {
    /// `auto` (the default), `force` or `off`.
    pub traversal: Option<At<String>>,
    /// Interval of keepalives when we are behind a NAT; 20s by default, 0s for none.
    pub keepalive: Option<At<Quantity>>,
}

/// Retransmission of requests.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetransmitSection {
    /// As this box does: strongswan, paloalto-panos, paloalto-panos-7, cisco-ios-xe, cisco-asa. The other keys change it.
    pub like: Option<At<String>>,
    /// Wait after the first transmission; 1s by default.
    pub initial: Option<At<Quantity>>,
    /// Each further wait is the last one times this; 2 by default.
    pub factor: Option<At<f64>>,
    /// Transmissions in total, the first one included; 6 by default.
    pub attempts: Option<At<u8>>,
    /// No single wait is longer than this; 30s by default.
    pub max_wait: Option<At<Quantity>>,
    /// Vary each wait by up to this many percent; 0 by default.
    pub jitter_percent: Option<At<u8>>,
}

/// Choices that RFC 7296 leaves open.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BehaviourSection {
    /// Send INITIAL_CONTACT with the first IKE_AUTH, and honour it; true by default.
    pub initial_contact: Option<At<bool>>,
    /// As initiator: name the identity we expect in IDr; false by default.
    pub send_idr: Option<At<bool>>,
    /// Vendor IDs to send: text, or `0x` and hex digits.
    pub vendor_ids: Option<Vec<At<String>>>,
    /// Unprotected errors in answer to IKE_SA_INIT: `believe` (the default), `ignore`, or a duration to wait first.
    pub unprotected_errors: Option<At<Quantity>>,
    /// As responder: answer NO_PROPOSAL_CHOSEN in IKE_SA_INIT (true, the default) or stay silent.
    pub answer_no_proposal: Option<At<bool>>,
    /// After a failed first Child SA: `keep-ike-sa` (the default) or `delete-ike-sa`.
    pub child_failure: Option<At<String>>,
    /// As responder, for selectors wider than ours: `narrow` (the default) or `refuse-wider`.
    pub narrowing: Option<At<String>>,
    /// As initiator: accept selectors narrower than asked for; true by default.
    pub accept_narrowed: Option<At<bool>>,
    /// As initiator: how many INVALID_KE_PAYLOAD answers are followed; 3 by default.
    pub invalid_ke_retries: Option<At<u8>>,
    /// As initiator: how many COOKIE challenges are answered; 3 by default.
    pub cookie_retries: Option<At<u8>>,
    /// As initiator: make all children once the IKE SA is up (true, the default), or only the first.
    pub all_children: Option<At<bool>>,
    /// IKE_AUTH without a Child SA (RFC 6023): `never`, `allow` (the default: accepted, not asked for), `prefer` or `force`.
    pub childless: Option<At<String>>,
}

/// Limits of a responder (RFC 7296 2.6).
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitsSection {
    /// Demand cookies from this many half-open IKE SAs on; 0: always; `never`.
    pub cookie_threshold: Option<At<Quantity>>,
    /// Drop IKE_SA_INIT beyond this many half-open IKE SAs.
    pub max_half_open: Option<At<u32>>,
    /// The same for each source address; no limit by default.
    pub max_half_open_per_address: Option<At<u32>>,
    /// Answer no IKE_SA_INIT beyond this many IKE SAs in all; no limit by default.
    pub max_ike_sas: Option<At<u32>>,
    /// Refuse Child SAs beyond this many in all with NO_ADDITIONAL_SAS; no limit by default.
    pub max_child_sas: Option<At<u32>>,
    /// Forget a half-open IKE SA after this long.
    pub half_open_timeout: Option<At<Quantity>>,
    /// A closed IKE SA still answers repeats for this long.
    pub linger: Option<At<Quantity>>,
    /// Stateless replies (INVALID_IKE_SPI and the like) per second.
    pub stateless_per_second: Option<At<u32>>,
    /// Octets that unfinished fragmented messages of all peers may hold together.
    pub fragment_octets: Option<At<u32>>,
}

/// Shell commands, or `prompt:` and a text for a person.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ControlSection {
    /// Makes the box initiate.
    pub initiate: Option<At<String>>,
    /// Clears what the box has for us: a command runs before each scenario; a person is asked only after those that leave
    /// something behind, which is waited out otherwise.
    pub clear: Option<At<String>>,
    /// Shows its state, by commands; captured before and after each scenario.
    pub show: Option<Vec<At<String>>>,
    /// Makes the box rekey its Child SA.
    pub rekey_child: Option<At<String>>,
    /// Makes the box rekey its IKE SA.
    pub rekey_ike: Option<At<String>>,
    /// Makes the box bring up one more Child SA.
    pub second_child: Option<At<String>>,
    /// Makes the box delete the IKE SA.
    pub delete: Option<At<String>>,
    /// Makes a host behind the box ping a host behind us.
    pub ping: Option<At<String>>,
    /// Makes the box forget everything without a goodbye, as in a power cut.
    pub restart: Option<At<String>>,
    /// Makes the box prove itself with the certificates in the file `$IKELAB_CHAIN` and the private key in `$IKELAB_KEY`,
    /// both PEM; with its own again when these are empty. For scenarios about certificates of the box's.
    pub certificate: Option<At<String>>,
    /// How long one command may take; 30s by default.
    pub timeout: Option<At<Quantity>>,
}

/// A number, or a number with a unit.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Quantity(pub String);

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": ["string", "integer"] })
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        Ok(At { place: super::place::place(&spanned.referenced), value: spanned.value })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
