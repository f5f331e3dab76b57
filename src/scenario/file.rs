//! The scenario file: what is written in YAML. Every step has one key; unknown keys are errors.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize as DeriveDeserialize, Serialize};

pub use super::step::*;
use crate::fault::table;
use crate::fault::{PayloadSel, Rule};
use crate::net::SocketRole;
pub use crate::vendor::evidence::Evidence;
use crate::vendor::evidence::Source;
use crate::vendor::quotes;
use crate::wire::registry::ExchangeType;

/// One documented failure and the ways to reproduce it.
#[derive(Clone, Debug, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Phase and name, as in `auth/psk-mismatch`.
    pub id: String,
    /// One line.
    pub title: String,
    /// Where in the life of a tunnel it happens.
    pub phase: Phase,
    /// Other names by which people look for it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// What happens to a person.
    pub story: String,
    /// What happens on the wire, with RFC sections.
    pub mechanics: String,
    /// Articles, URLs and RFC sections.
    pub sources: Vec<String>,
    /// Widespread statements that are wrong, and what is right.
    #[serde(default)]
    pub wrong_claims: Vec<WrongClaim>,
    /// What the working baseline must have; otherwise the scenario is unsupported.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// How to play it at either end.
    #[serde(default)]
    pub roles: Roles,
    /// Instead of roles: why there is nothing to play. It can be read and found, and a run counts it as explained.
    #[serde(default)]
    pub explained: Option<Explained>,
    /// Half-open and lockout timers of the peer to wait out afterwards, unless it can be cleared.
    #[serde(default)]
    pub settle: Option<Span>,
    /// What the boxes log and show, by vendor.
    #[serde(default)]
    pub symptoms: BTreeMap<VendorName, OneOrMany<Symptom>>,
    /// What to type on the box, by vendor.
    #[serde(default)]
    pub fix: BTreeMap<VendorName, Vec<String>>,
    /// What must hold afterwards.
    #[serde(default)]
    pub after: After,
}

/// Where in the life of a tunnel a failure shows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, DeriveDeserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// On the path, before or beside IKE.
    Path,
    /// IKE_SA_INIT.
    SaInit,
    /// Authentication in IKE_AUTH.
    Auth,
    /// The first Child SA.
    Child,
    /// Rekeying.
    Rekey,
    /// Liveness and deletion.
    Liveness,
    /// The data plane.
    Data,
    /// Network address translation.
    Nat,
    /// Load and limits.
    Load,
    /// Post-quantum key exchange and keys.
    PostQuantum,
    /// Settings of a box that never reach the wire.
    Config,
}

impl Phase {
    /// As the first part of a scenario's id.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Path => "path",
            Phase::SaInit => "sa-init",
            Phase::Auth => "auth",
            Phase::Child => "child",
            Phase::Rekey => "rekey",
            Phase::Liveness => "liveness",
            Phase::Data => "data",
            Phase::Nat => "nat",
            Phase::Load => "load",
            Phase::PostQuantum => "post-quantum",
            Phase::Config => "config",
        }
    }
}

/// A statement that is widespread and wrong.
#[derive(Clone, Debug, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WrongClaim {
    /// What is claimed.
    pub claim: String,
    /// Who claims it.
    pub source: String,
    /// What is right.
    pub truth: String,
}

/// What a baseline must have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DeriveDeserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// A Child SA is configured.
    Child,
    /// At least two key exchange groups are offered.
    TwoGroups,
    /// Pre-shared keys.
    Psk,
    /// A certificate of ours; the embedded peer has one for such scenarios.
    Certificate,
    /// A peer that asks by itself whether we live.
    PeerChecksLiveness,
    /// Perfect forward secrecy.
    Pfs,
    /// A selector on our side that is a network shorter than a host and longer than everything.
    Subnet,
    /// Our side's and the peer's side's selectors differ.
    DistinctSelectors,
}

impl Need {
    /// In words, as in "the baseline has no ...".
    pub fn words(self) -> &'static str {
        match self {
            Need::Child => "Child SA",
            Need::TwoGroups => "second key exchange group",
            Need::Psk => "pre-shared key",
            Need::Certificate => "certificate of ours",
            Need::PeerChecksLiveness => "peer that checks liveness (remote.checks_liveness)",
            Need::Pfs => "perfect forward secrecy",
            Need::Subnet => "local selector that is a subnet",
            Need::DistinctSelectors => "difference between the two sides' selectors",
        }
    }
}

/// A failure that is explained and not played: a setting of the box alone, or nothing that a peer could do.
#[derive(Clone, Debug, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Explained {
    /// Why there is nothing to play.
    pub because: String,
    /// Scenarios that look the same from outside and can be played.
    #[serde(default)]
    pub looks_like: Vec<String>,
}

/// The two ends at which we can be.
#[derive(Clone, Debug, Default, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    /// We initiate.
    #[serde(default)]
    pub initiator: Option<RoleCase>,
    /// The peer initiates to us.
    #[serde(default)]
    pub responder: Option<RoleCase>,
    /// Why there is only one role, if so.
    #[serde(default)]
    pub only_one_because: Option<String>,
}

impl Roles {
    /// The case of a role.
    pub fn get(&self, role: Role) -> Option<&RoleCase> {
        match role {
            Role::Initiator => self.initiator.as_ref(),
            Role::Responder => self.responder.as_ref(),
        }
    }
}

/// The end of the IKE SA that we are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, DeriveDeserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The original initiator.
    Initiator,
    /// The original responder.
    Responder,
}

impl Role {
    /// Both roles.
    pub const ALL: [Role; 2] = [Role::Initiator, Role::Responder];

    /// The role's name.
    pub fn name(self) -> &'static str {
        match self {
            Role::Initiator => "initiator",
            Role::Responder => "responder",
        }
    }

    /// The other end's role.
    pub fn other(self) -> Role {
        match self {
            Role::Initiator => Role::Responder,
            Role::Responder => Role::Initiator,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One role of a scenario.
#[derive(Clone, Debug, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleCase {
    /// What is played, in a sentence.
    pub plays: String,
    /// Changes relative to the baseline that works: dotted path into the connection, and what to do there.
    #[serde(default)]
    pub change: BTreeMap<String, ChangeOp>,
    /// Misbehaviour, where a changed setting is not enough.
    #[serde(default)]
    pub faults: Vec<FaultUse>,
    /// More that the baseline must have in this role.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// Who notices: it decides what is on the wire.
    pub detects: Who,
    /// What is done and expected, in order.
    pub steps: Vec<Step>,
}

/// One of the two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DeriveDeserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// ikelab.
    Us,
    /// The other end.
    Peer,
}

/// What to do to a setting.
#[derive(Clone, PartialEq, Debug)]
pub enum ChangeOp {
    /// This value or these values.
    Set(Vec<String>),
    /// Something that differs from the baseline and that the peer cannot have from it.
    Differ,
    /// Without it.
    Omit,
    /// With this beside the others, last.
    Add(String),
    /// With a differing one before the others.
    Prepend,
    /// Without the first one.
    DropFirst,
    /// Twice as wide.
    Widen,
    /// Half as wide.
    Narrow,
    /// The two sides exchanged.
    Swap,
    /// Its first host only.
    Host,
}

const OPS: &[&str] = &["differ", "omit", "prepend", "drop-first", "widen", "narrow", "swap", "host"];

impl ChangeOp {
    fn word(word: &str) -> Option<ChangeOp> {
        Some(match word {
            "differ" => ChangeOp::Differ,
            "omit" => ChangeOp::Omit,
            "prepend" => ChangeOp::Prepend,
            "drop-first" => ChangeOp::DropFirst,
            "widen" => ChangeOp::Widen,
            "narrow" => ChangeOp::Narrow,
            "swap" => ChangeOp::Swap,
            "host" => ChangeOp::Host,
            _ => return None,
        })
    }
}

impl<'de> Deserialize<'de> for ChangeOp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OpVisitor;
        impl<'de> Visitor<'de> for OpVisitor {
            type Value = ChangeOp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a value, a list of values, {{add: value}}, or one of {}", OPS.join(", "))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ChangeOp, E> {
                Ok(ChangeOp::word(text).unwrap_or_else(|| ChangeOp::Set(vec![text.to_owned()])))
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<ChangeOp, E> {
                Ok(ChangeOp::Set(vec![value.to_string()]))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<ChangeOp, E> {
                Ok(ChangeOp::Set(vec![value.to_string()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ChangeOp, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = seq.next_element::<String>()? {
                    list.push(item);
                }
                Ok(ChangeOp::Set(list))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ChangeOp, A::Error> {
                #[derive(DeriveDeserialize)]
                #[serde(deny_unknown_fields)]
                struct Add {
                    add: String,
                }
                let Add { add } = Deserialize::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ChangeOp::Add(add))
            }
        }
        deserializer.deserialize_any(OpVisitor)
    }
}

impl JsonSchema for ChangeOp {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "ChangeOp".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": format!("a value, a list of values, {{add: value}}, or one of {}", OPS.join(", ")),
            "type": ["string", "boolean", "integer", "array", "object"]
        })
    }
}

impl fmt::Display for ChangeOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChangeOp::Set(values) => f.write_str(&values.join(", ")),
            ChangeOp::Differ => f.write_str("differ"),
            ChangeOp::Omit => f.write_str("omit"),
            ChangeOp::Add(value) => write!(f, "add {value}"),
            ChangeOp::Prepend => f.write_str("prepend"),
            ChangeOp::DropFirst => f.write_str("drop-first"),
            ChangeOp::Widen => f.write_str("widen"),
            ChangeOp::Narrow => f.write_str("narrow"),
            ChangeOp::Swap => f.write_str("swap"),
            ChangeOp::Host => f.write_str("host"),
        }
    }
}

/// A named fault with its arguments and conditions.
#[derive(Clone, Debug, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultUse {
    /// Its name: `ikelab faults` lists them.
    #[serde(rename = "use", deserialize_with = "fault_name")]
    pub name: String,
    /// Its arguments.
    #[serde(default)]
    pub with: BTreeMap<String, String>,
    /// Further conditions.
    #[serde(default)]
    pub when: FaultWhen,
    /// How often it fires at most.
    #[serde(default)]
    pub times: Option<u32>,
}

/// Conditions of a fault, all of which must hold.
#[derive(Clone, Debug, Default, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FaultWhen {
    /// Only in this exchange.
    #[serde(default, deserialize_with = "super::step::exchange_name")]
    #[schemars(with = "Option<String>")]
    pub exchange: Option<ExchangeType>,
    /// Only in responses (true) or requests (false).
    #[serde(default)]
    pub response: Option<bool>,
    /// Only the message with this id.
    #[serde(default)]
    pub message_id: Option<u32>,
    /// Only the n-th match, from 1.
    #[serde(default)]
    pub nth: Option<u32>,
    /// Only on this port: ike or natt.
    #[serde(default)]
    pub port: Option<Port>,
    /// Only a message that holds this payload.
    #[serde(default, deserialize_with = "super::step::payload_name")]
    #[schemars(with = "Option<String>")]
    pub payload: Option<PayloadSel>,
}

/// The two UDP ports of IKE, by what they are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DeriveDeserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Port {
    /// Port 500, or what stands for it.
    Ike,
    /// Port 4500, or what stands for it.
    Natt,
}

impl Port {
    /// As the engine calls it.
    pub fn role(self) -> SocketRole {
        match self {
            Port::Ike => SocketRole::Ike,
            Port::Natt => SocketRole::NatT,
        }
    }
}

impl FaultUse {
    /// The rule it stands for.
    ///
    /// # Errors
    /// In words, if the name or an argument is wrong, or a condition can never be judged where the fault acts.
    pub fn rule(&self) -> Result<Rule, String> {
        let mut rule = table::find(&self.name)?.rule(&self.with, self.times)?;
        let when = &mut rule.when;
        when.exchange = self.when.exchange.or(when.exchange);
        when.response = self.when.response.or(when.response);
        when.message_id = self.when.message_id.or(when.message_id);
        when.nth = self.when.nth.or(when.nth);
        when.payload = self.when.payload.or(when.payload);
        when.port = self.when.port.map(Port::role).or(when.port);
        rule.check()?;
        Ok(rule)
    }
}

/// What must hold after a scenario.
#[derive(Clone, Copy, Debug, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// An honest tunnel must come up.
    #[serde(default = "yes")]
    pub sanity: bool,
}

impl Default for After {
    fn default() -> Self {
        After { sanity: true }
    }
}

fn yes() -> bool {
    true
}

/// What a box shows.
#[derive(Clone, Debug, Default, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Symptom {
    /// Only when the box is this end of the IKE SA.
    #[serde(rename = "as", default)]
    pub role: Option<Role>,
    /// Log lines, verbatim; `...` stands for what varies.
    #[serde(default)]
    pub log: Vec<String>,
    /// Lines of `show` commands.
    #[serde(default)]
    pub show: Vec<String>,
    /// How we know.
    pub evidence: Evidence,
    /// What else to know about it.
    #[serde(default)]
    pub note: Option<String>,
}

impl Symptom {
    /// The works in which its lines stand, or its note where it has no lines; none for what is inferred.
    pub fn sources(&self, vendor: &str) -> Vec<Source> {
        let mut all = Vec::new();
        if self.evidence != Evidence::Inferred {
            for line in self.quoted() {
                let sources = quotes::sources(vendor, line, self.evidence);
                all.extend(sources.into_iter().take(1).filter(|source| !all.contains(source)).collect::<Vec<_>>());
            }
        }
        all
    }

    /// What must be known: its lines; or its note where it has none.
    pub fn quoted(&self) -> Vec<&str> {
        let lines: Vec<&str> = self.log.iter().chain(&self.show).map(String::as_str).collect();
        if lines.is_empty() { self.note.as_deref().into_iter().collect() } else { lines }
    }
}

/// Vendors and their names for people.
const VENDORS: &[(&str, &str)] = &[
    ("cisco-ios-xe", "IOS-XE"),
    ("cisco-asa", "ASA"),
    ("cisco-ftd", "FTD"),
    ("paloalto-panos", "PAN-OS"),
    ("strongswan", "strongSwan"),
    ("libreswan", "libreswan"),
    ("aws-vpn", "AWS"),
    ("fortinet-fortios", "FortiOS"),
];

/// A vendor's name as used in files.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct VendorName(String);

impl VendorName {
    /// As in files.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As in print.
    pub fn label(&self) -> &'static str {
        VENDORS.iter().find(|(name, _)| *name == self.0).map_or("?", |(_, label)| label)
    }

    /// The name in files of the vendor that is `label` in print.
    pub fn of_label(label: &str) -> Option<&'static str> {
        VENDORS.iter().find(|(_, known)| *known == label).map(|(name, _)| *name)
    }

    /// Place in the order of printing.
    pub fn order(&self) -> usize {
        VENDORS.iter().position(|(name, _)| *name == self.0).unwrap_or(VENDORS.len())
    }
}

impl<'de> Deserialize<'de> for VendorName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if VENDORS.iter().any(|(known, _)| *known == name) {
            return Ok(VendorName(name));
        }
        let near = table::did_you_mean(&name, VENDORS.iter().map(|(known, _)| *known));
        Err(de::Error::custom(format!("there is no vendor {name:?}{near}")))
    }
}

impl JsonSchema for VendorName {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "VendorName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = VENDORS.iter().map(|(name, _)| *name).collect();
        json_schema!({ "type": "string", "enum": names })
    }
}

/// One thing, or a list of them.
#[derive(Clone, Debug)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> OneOrMany<T> {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Many<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Many<T> {
            type Value = OneOrMany<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping or a list of mappings")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                Ok(OneOrMany(vec![T::deserialize(MapAccessDeserializer::new(map))?]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = seq.next_element()? {
                    list.push(item);
                }
                Ok(OneOrMany(list))
            }
        }
        deserializer.deserialize_any(Many(std::marker::PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one.clone(), { "type": "array", "items": one }] })
    }
}

/// A duration such as `500ms`, `5s`, `2m`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || de::Error::custom(format!("{text:?} is not a duration; write 500ms, 5s, 2m or 1h"));
        table::parse_duration(&text).map(Span).ok_or_else(wrong)
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": r"^[0-9.]+(ms|s|m|min|h|d)$" })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        if millis.is_multiple_of(1000) { write!(f, "{} s", millis / 1000) } else { write!(f, "{millis} ms") }
    }
}

fn fault_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    table::find(&name).map_err(de::Error::custom)?;
    Ok(name)
}
