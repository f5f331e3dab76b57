//! What is done and expected in a scenario, step by step.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer};
use serde::{Deserialize as DeriveDeserialize, Serialize};

use super::file::{Port, Span, Who};
use crate::engine::Pfs;
use crate::fault::PayloadSel;
use crate::fault::table;
use crate::link::netem::PathSpec;
use crate::wire::registry::{ExchangeType, NotifyType};

/// One step. Each has one key.
#[derive(Clone, Debug, DeriveDeserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// We initiate a tunnel; the outcome is for `expect` to see.
    Establish(Empty),
    /// The peer initiates: driven through `control`, or waited for.
    PeerInitiates(PeerInitiates),
    /// A tunnel that has to come up, begun by whichever end has that role; if it does not, nothing can be said.
    Tunnel(Tunnel),
    /// What must be seen.
    Expect(Expect),
    /// An empty INFORMATIONAL.
    Liveness(Empty),
    /// IKE SAs are begun and left half open, until something is seen.
    HalfOpen(HalfOpen),
    /// We rekey.
    Rekey(Rekey),
    /// Both ends do the same thing at the same moment.
    Collide(Collide),
    /// We ask for one more Child SA: the next one of the connection, or the same once more if there is only one.
    SecondChild(Empty),
    /// We make the IKE SA anew from IKE_SA_INIT on; only where we began it.
    Reauthenticate(Empty),
    /// Echo requests through the tunnel.
    Ping(PingStep),
    /// We delete the IKE SA, or only its newest Child SA.
    Delete(DeleteStep),
    /// We lose our memory as in a power cut: no DELETE, no state, a new endpoint.
    Restart(Empty),
    /// The peer is made to do something: driven through `control`, or asked of a person.
    Peer(PeerStep),
    /// From here on the path does this, as in `loss=20%,delay=50ms`; `clean` ends it. Blackouts count from here.
    Path(PathStep),
    /// From here on a NAT stands on the path, before the end that begins the tunnel. With a real peer it stands at our sockets.
    Nat(NatStep),
    /// From here on a stateful firewall stands there, which lets in what answers. With a real peer it stands at our sockets.
    Firewall(FirewallStep),
    /// Nothing for a while.
    Wait(Wait),
}

impl Step {
    /// Whether this step alone can be what provokes a failure.
    pub fn is_cause(&self) -> bool {
        match self {
            Step::HalfOpen(_) | Step::Restart(_) | Step::Collide(_) | Step::Delete(_) => true,
            Step::Nat(_) | Step::Firewall(_) => true,
            Step::Rekey(rekey) => rekey.pfs.is_some(),
            _ => false,
        }
    }
}

/// A step without arguments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// A tunnel that has to come up.
#[derive(Clone, Copy, Debug, Default, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tunnel {
    /// How long that may take; 30 s by default.
    #[serde(default)]
    pub within: Option<Span>,
}

/// What is rekeyed, and how.
#[derive(Clone, Copy, Debug, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rekey {
    /// The IKE SA, or its newest Child SA.
    pub what: SaKind,
    /// Another key exchange than the connection has: `none`, or a group such as `modp2048`.
    #[serde(default, deserialize_with = "pfs_word")]
    #[schemars(with = "Option<String>")]
    pub pfs: Option<Pfs>,
}

/// What both ends do at the same moment.
#[derive(Clone, Copy, Debug, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Collide {
    /// What it is about.
    pub what: Collision,
}

/// What two ends can do at the same moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DeriveDeserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Collision {
    /// Begin the tunnel.
    Tunnel,
    /// Rekey the Child SA.
    Child,
    /// Rekey the IKE SA.
    Ike,
}

/// A kind of SA.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, DeriveDeserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SaKind {
    /// The IKE SA and everything below it.
    #[default]
    Ike,
    /// The newest Child SA.
    Child,
}

/// Echo requests through the tunnel.
#[derive(Clone, Copy, Debug, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PingStep {
    /// How many; 3 by default.
    #[serde(default = "three")]
    pub count: u64,
    /// Time between them; 200 ms by default.
    #[serde(default)]
    pub every: Option<Span>,
    /// Octets of data in each; 56 by default.
    #[serde(default)]
    pub size: Option<u16>,
    /// An answer later than this counts as lost; 1 s by default.
    #[serde(default)]
    pub timeout: Option<Span>,
    /// Ping the last address of the peer's selectors instead of the first.
    #[serde(default)]
    pub far: bool,
    /// Ping from the last address of the baseline's own selectors instead of the first.
    #[serde(default)]
    pub from_far: bool,
}

fn three() -> u64 {
    3
}

/// What is deleted.
#[derive(Clone, Copy, Debug, Default, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteStep {
    /// The IKE SA, unless it says `child`.
    #[serde(default)]
    pub what: SaKind,
}

/// The peer is made to do something.
#[derive(Clone, Copy, Debug, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeerStep {
    /// What.
    pub does: PeerOrder,
}

/// What a peer can be made to do besides initiating.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, DeriveDeserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PeerOrder {
    /// Rekey its Child SA.
    RekeyChild,
    /// Rekey the IKE SA.
    RekeyIke,
    /// Ask for one more Child SA.
    SecondChild,
    /// Delete the IKE SA.
    Delete,
    /// Send something through the tunnel.
    Ping,
    /// Lose its memory, as in a power cut.
    Restart,
}

impl PeerOrder {
    /// In words, as one would ask a person.
    pub fn words(self) -> &'static str {
        match self {
            PeerOrder::RekeyChild => "make the box rekey its Child SA (IPsec SA)",
            PeerOrder::RekeyIke => "make the box rekey its IKE SA",
            PeerOrder::SecondChild => {
                "make the box bring up a second Child SA: send traffic of another pair of networks"
            }
            PeerOrder::Delete => "make the box delete the IKE SA",
            PeerOrder::Ping => "on a host behind the box, ping a host behind us",
            PeerOrder::Restart => "restart the box, or its IKE process, without a goodbye",
        }
    }

    /// The key under `control` that does it.
    pub fn key(self) -> &'static str {
        match self {
            PeerOrder::RekeyChild => "rekey_child",
            PeerOrder::RekeyIke => "rekey_ike",
            PeerOrder::SecondChild => "second_child",
            PeerOrder::Delete => "delete",
            PeerOrder::Ping => "ping",
            PeerOrder::Restart => "restart",
        }
    }
}

/// What a path does, in the words of a connection file's `path`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathStep {
    /// As written.
    pub text: String,
    /// What it means.
    pub spec: PathSpec,
}

impl<'de> Deserialize<'de> for PathStep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let spec = if text == "clean" { Ok(PathSpec::default()) } else { crate::config::path(&text) };
        Ok(PathStep { spec: spec.map_err(de::Error::custom)?, text })
    }
}

impl JsonSchema for PathStep {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "PathStep".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "as in `loss=20%,delay=50ms`, or `clean`" })
    }
}

/// The peer initiates.
#[derive(Clone, Debug, Default, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeerInitiates {
    /// How long to wait for its first packet; 60 s by default.
    #[serde(default)]
    pub within: Option<Span>,
}

/// What must be seen on the wire or told by the engine.
#[derive(Clone, Debug, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// At least one of these.
    #[serde(default)]
    pub any: Vec<Sight>,
    /// Each of these.
    #[serde(default)]
    pub all: Vec<Sight>,
    /// None of these, for the whole window.
    #[serde(default)]
    pub none: Vec<Sight>,
    /// How long to look out for them.
    pub within: Span,
}

/// One thing that can be seen: a message or an event. All that is given must hold.
#[derive(Clone, Debug, Default, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sight {
    /// In words, for the report: "the peer refuses the selectors".
    #[serde(rename = "is", default)]
    pub words: Option<String>,
    /// Who sent it; for a notify, payload or exchange it is the peer by default.
    #[serde(default)]
    pub from: Option<Who>,
    /// Its exchange.
    #[serde(default, deserialize_with = "exchange_name")]
    #[schemars(with = "Option<String>")]
    pub exchange: Option<ExchangeType>,
    /// A response (true) or a request (false).
    #[serde(default)]
    pub response: Option<bool>,
    /// It holds this notify.
    #[serde(default, deserialize_with = "notify_name")]
    #[schemars(with = "Option<String>")]
    pub notify: Option<NotifyType>,
    /// It does not hold this notify.
    #[serde(default, deserialize_with = "notify_name")]
    #[schemars(with = "Option<String>")]
    pub lacks: Option<NotifyType>,
    /// It holds this payload.
    #[serde(default, deserialize_with = "payload_name")]
    #[schemars(with = "Option<String>")]
    pub payload: Option<PayloadSel>,
    /// It does not hold this payload.
    #[serde(default, deserialize_with = "payload_name")]
    #[schemars(with = "Option<String>")]
    pub without: Option<PayloadSel>,
    /// It is (or is not) a repeat of something sent before.
    #[serde(default)]
    pub repeat: Option<bool>,
    /// It came or went by this port.
    #[serde(default)]
    pub port: Option<Port>,
    /// Not a message but something that happened.
    #[serde(default)]
    pub event: Option<EventName>,
    /// For `failed` and `child-failed`: the class of the failure. For others that have one: why.
    #[serde(default)]
    pub class: Option<String>,
    /// For events: what their words hold, as in `expired on`.
    #[serde(default)]
    pub says: Option<String>,
    /// For `failed` and `child-failed`: who found it. For `deleted` and `child-deleted`: who asked.
    #[serde(default)]
    pub by: Option<Who>,
    /// So many of them; 1 by default.
    #[serde(default)]
    pub count: Option<u32>,
}

/// Things that happen, as the engine tells them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, DeriveDeserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventName {
    /// The IKE SA is authenticated.
    Up,
    /// A Child SA is there.
    ChildUp,
    /// A Child SA with narrower selectors than the initiator asked for.
    ChildNarrowed,
    /// A Child SA could not be made.
    ChildFailed,
    /// The IKE SA failed.
    Failed,
    /// The IKE SA was deleted.
    Deleted,
    /// The peer answered a liveness check.
    Alive,
    /// IKE_SA_INIT has found a NAT.
    NatFound,
    /// A Child SA was rekeyed.
    ChildRekeyed,
    /// The IKE SA was rekeyed.
    IkeRekeyed,
    /// A Child SA is gone, and its IKE SA is not.
    ChildDeleted,
    /// Liveness checks found the peer dead.
    PeerDead,
    /// An IKE SA is begun to take the place of another.
    Reauthenticating,
    /// A message changed nothing; the class says why, as in `unknown-spi`.
    Ignored,
    /// An echo request was answered.
    Pong,
    /// An echo request was not answered in time.
    PingLost,
    /// An ESP packet came in and was good.
    EspIn,
    /// An ESP packet came in and was dropped; the class says why, as in `bad-icv`.
    EspDropped,
    /// An ESP packet could not be sent; the class says why, as in `selectors`.
    EspNotSent,
}

impl EventName {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            EventName::Up => "the IKE SA comes up",
            EventName::ChildUp => "the Child SA comes up",
            EventName::ChildNarrowed => "the Child SA comes up with narrower selectors",
            EventName::ChildFailed => "the Child SA fails",
            EventName::Failed => "the IKE SA fails",
            EventName::Deleted => "the IKE SA is deleted",
            EventName::Alive => "the peer answers a liveness check",
            EventName::NatFound => "a NAT is found",
            EventName::ChildRekeyed => "the Child SA is rekeyed",
            EventName::IkeRekeyed => "the IKE SA is rekeyed",
            EventName::ChildDeleted => "the Child SA is deleted",
            EventName::PeerDead => "the peer is found dead",
            EventName::Reauthenticating => "the tunnel is authenticated anew",
            EventName::Ignored => "a message is ignored",
            EventName::Pong => "a ping is answered",
            EventName::PingLost => "a ping is lost",
            EventName::EspIn => "an ESP packet comes in",
            EventName::EspDropped => "an ESP packet is dropped",
            EventName::EspNotSent => "an ESP packet cannot be sent",
        }
    }
}

/// Half-open IKE SAs.
#[derive(Clone, Debug, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HalfOpen {
    /// Begin no more once this is seen.
    pub until: Sight,
    /// Begin no more than these.
    pub at_most: u32,
    /// Time between them.
    #[serde(default)]
    pub every: Option<Span>,
}

/// A NAT.
#[derive(Clone, Copy, Debug, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NatStep {
    /// A mapping without a packet from inside dies after this long; never, without.
    #[serde(default)]
    pub forgets: Option<Span>,
}

impl NatStep {
    /// When it forgets.
    pub fn forgets(self) -> Option<Duration> {
        self.forgets.map(|span| span.0)
    }
}

/// A stateful firewall.
#[derive(Clone, Copy, Debug, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FirewallStep {
    /// It lets in answers for so long after the last packet from inside; always, without.
    #[serde(default)]
    pub forgets: Option<Span>,
    /// It lets UDP through and IP protocol 50 not.
    #[serde(default)]
    pub drops_esp: bool,
}

impl FirewallStep {
    /// When it forgets.
    pub fn forgets(self) -> Option<Duration> {
        self.forgets.map(|span| span.0)
    }
}

/// A pause.
#[derive(Clone, Copy, Debug, DeriveDeserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wait {
    /// How long.
    #[serde(rename = "for")]
    pub span: Span,
}

pub(super) fn exchange_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ExchangeType>, D::Error> {
    let name = String::deserialize(deserializer)?;
    table::exchange_by_name(&name).map(Some).map_err(de::Error::custom)
}

fn notify_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<NotifyType>, D::Error> {
    let name = String::deserialize(deserializer)?;
    table::notify_by_name(&name).map(Some).map_err(de::Error::custom)
}

pub(super) fn payload_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PayloadSel>, D::Error> {
    let name = String::deserialize(deserializer)?;
    table::payload_by_name(&name).map(|kind| Some(PayloadSel::of(kind))).map_err(de::Error::custom)
}

fn pfs_word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Pfs>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.as_str() {
        "none" => Ok(Some(Pfs::Without)),
        group => table::group_by_name(group).map(|group| Some(Pfs::With(group))).map_err(de::Error::custom),
    }
}
