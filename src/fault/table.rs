//! The catalogue of named faults. A row instantiates primitives and says what they are for; command-line help,
//! documentation and the scenario schema read it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rule::{Action, Choice, OctetEdit, PayloadSel, Rule, Seam, When};
use crate::engine::SecretKind;
use crate::engine::Timer;
use crate::wire::registry::{ExchangeType, KeMethod, NotifyType, PayloadType};
use crate::wire::{FieldEdit, NotifyPayload, Payload, RawPayload};

/// A named fault.
pub struct FaultRow {
    /// Its name in scenario files and on the command line.
    pub name: &'static str,
    /// The arguments it takes.
    pub args: &'static [ArgSpec],
    /// What it does, in a sentence.
    pub help: &'static str,
    /// What it goes against, or what it leans on.
    pub rfc: &'static str,
    /// Its use in a scenario file.
    pub example: &'static str,
    /// The condition it brings along.
    when: fn() -> When,
    action: fn(&Args<'_>) -> Result<Action, String>,
}

/// One argument of a named fault.
pub struct ArgSpec {
    /// Its name.
    pub name: &'static str,
    /// What it is, and its default.
    pub help: &'static str,
    /// Used when it is not given; `None` means that it must be.
    pub default: Option<&'static str>,
}

/// The arguments given to a named fault, with its defaults.
pub struct Args<'a> {
    row: &'a FaultRow,
    given: &'a BTreeMap<String, String>,
}

impl FaultRow {
    /// The seam at which it acts.
    pub fn seam(&self) -> Seam {
        let placeholder = BTreeMap::new();
        // Rows whose arguments have no defaults are all field edits.
        (self.action)(&Args { row: self, given: &placeholder }).map_or(Seam::Layout, |action| action.seam())
    }

    /// The rule that `args` make of this row, firing at most `times` times.
    ///
    /// # Errors
    /// In words, if an argument is unknown, missing or malformed.
    pub fn rule(&self, args: &BTreeMap<String, String>, times: Option<u32>) -> Result<Rule, String> {
        if let Some(unknown) = args.keys().find(|name| self.args.iter().all(|spec| spec.name != name.as_str())) {
            let known: Vec<&str> = self.args.iter().map(|spec| spec.name).collect();
            return Err(match known.is_empty() {
                true => format!("fault {} takes no arguments, but {unknown:?} is given", self.name),
                false => format!("fault {} has no argument {unknown:?}; it takes {}", self.name, known.join(", ")),
            });
        }
        let action =
            (self.action)(&Args { row: self, given: args }).map_err(|e| format!("fault {}: {e}", self.name))?;
        Ok(Rule { name: self.name.to_owned(), when: (self.when)(), action, times })
    }
}

impl Args<'_> {
    fn get(&self, name: &str) -> Result<&str, String> {
        let spec = self.row.args.iter().find(|spec| spec.name == name);
        self.given
            .get(name)
            .map(String::as_str)
            .or(spec.and_then(|spec| spec.default))
            .ok_or_else(|| format!("argument {name:?} is missing"))
    }

    fn int<T: TryFrom<i64>>(&self, name: &str) -> Result<T, String> {
        let text = self.get(name)?;
        let value = match text.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        };
        value
            .and_then(|value| T::try_from(value).ok())
            .ok_or_else(|| format!("{name}: {text:?} is not a number that fits"))
    }

    fn millis(&self, name: &str) -> Result<Duration, String> {
        parse_duration(self.get(name)?).ok_or_else(|| format!("{name}: write a duration such as 500ms or 2s"))
    }

    fn hex(&self, name: &str) -> Result<Vec<u8>, String> {
        let text = self.get(name)?;
        parse_hex(text).ok_or_else(|| format!("{name}: {text:?} is not hexadecimal"))
    }

    fn notify(&self, name: &str) -> Result<NotifyType, String> {
        notify_by_name(self.get(name)?)
    }

    fn payload(&self, name: &str) -> Result<PayloadSel, String> {
        let text = self.get(name)?;
        match text.strip_prefix("N(").and_then(|rest| rest.strip_suffix(')')) {
            Some(notify) => Ok(PayloadSel::notify(notify_by_name(notify)?)),
            None => Ok(PayloadSel::of(payload_by_name(text)?)),
        }
    }

    fn group(&self, name: &str) -> Result<KeMethod, String> {
        group_by_name(self.get(name)?)
    }
}

/// The fault named `name`.
///
/// # Errors
/// Names the nearest one.
pub fn find(name: &str) -> Result<&'static FaultRow, String> {
    FAULTS.iter().find(|row| row.name == name).ok_or_else(|| {
        let names = FAULTS.iter().map(|row| row.name);
        format!("there is no fault {name:?}{}", did_you_mean(name, names))
    })
}

/// " (did you mean ...?)", or nothing if no name is near.
pub fn did_you_mean<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> String {
    let near = names
        .map(|name| (strsim::damerau_levenshtein(&wrong.to_lowercase(), &name.to_lowercase()), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3));
    near.map(|(_, name)| format!("; did you mean {name:?}?")).unwrap_or_default()
}

/// A notify type by its IANA name or number.
///
/// # Errors
/// Names the nearest one.
pub fn notify_by_name(text: &str) -> Result<NotifyType, String> {
    if let Ok(number) = text.parse() {
        return Ok(NotifyType(number));
    }
    NotifyType::all().find(|kind| kind.name().is_some_and(|name| name.eq_ignore_ascii_case(text))).ok_or_else(|| {
        let names: Vec<&str> = NotifyType::all().filter_map(|kind| kind.name()).collect();
        format!("there is no notify {text:?}{}", did_you_mean(text, names.into_iter()))
    })
}

/// An exchange type by its IANA name.
///
/// # Errors
/// Names the nearest one.
pub fn exchange_by_name(text: &str) -> Result<ExchangeType, String> {
    ExchangeType::all().find(|kind| kind.name().is_some_and(|name| name.eq_ignore_ascii_case(text))).ok_or_else(|| {
        let names: Vec<&str> = ExchangeType::all().filter_map(|kind| kind.name()).collect();
        format!("there is no exchange {text:?}{}", did_you_mean(text, names.into_iter()))
    })
}

/// Payloads by the names that RFC 7296 uses in its exchange diagrams.
const PAYLOADS: &[(&str, PayloadType)] = &[
    ("SA", PayloadType::SA),
    ("KE", PayloadType::KE),
    ("IDi", PayloadType::IDI),
    ("IDr", PayloadType::IDR),
    ("CERT", PayloadType::CERT),
    ("CERTREQ", PayloadType::CERTREQ),
    ("AUTH", PayloadType::AUTH),
    ("Nonce", PayloadType::NONCE),
    ("N", PayloadType::NOTIFY),
    ("D", PayloadType::DELETE),
    ("V", PayloadType::VENDOR),
    ("TSi", PayloadType::TSI),
    ("TSr", PayloadType::TSR),
    ("CP", PayloadType::CP),
    ("EAP", PayloadType::EAP),
];

/// A payload type by the name that RFC 7296 gives it in its diagrams ("SA", "KE", "TSi").
///
/// # Errors
/// Names the nearest one.
pub fn payload_by_name(text: &str) -> Result<PayloadType, String> {
    PAYLOADS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, kind)| *kind).ok_or_else(|| {
        format!("there is no payload {text:?}{}", did_you_mean(text, PAYLOADS.iter().map(|(name, _)| *name)))
    })
}

/// A key exchange method by its short name ("modp2048") or number.
///
/// # Errors
/// Names the nearest one.
pub fn group_by_name(text: &str) -> Result<KeMethod, String> {
    if let Ok(number) = text.parse() {
        return Ok(KeMethod(number));
    }
    let known: Vec<(String, KeMethod)> = KeMethod::all().map(|group| (group.short().to_string(), group)).collect();
    known.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, group)| *group).ok_or_else(|| {
        format!("there is no group {text:?}{}", did_you_mean(text, known.iter().map(|(name, _)| name.as_str())))
    })
}

/// "300ms", "5s", "2m", "1h".
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let unit = match unit.trim() {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * unit).ok()
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    if text.is_empty() || !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

fn always() -> When {
    When::default()
}

fn in_exchange(exchange: ExchangeType) -> When {
    When { exchange: Some(exchange), ..When::default() }
}

fn init() -> When {
    in_exchange(ExchangeType::IKE_SA_INIT)
}

fn auth() -> When {
    in_exchange(ExchangeType::IKE_AUTH)
}

fn informational() -> When {
    in_exchange(ExchangeType::INFORMATIONAL)
}

const PAYLOAD_ARG: ArgSpec =
    ArgSpec { name: "payload", help: "SA, KE, IDi, AUTH, TSi, N(NAME), ...", default: Some("Nonce") };

/// All named faults.
pub static FAULTS: &[FaultRow] = &[
    FaultRow {
        name: "drop-sent",
        args: &[],
        help: "Does not send the datagram: a firewall on the way to the peer.",
        rfc: "RFC 7296 2.1 (retransmission)",
        example: "{use: drop-sent, when: {exchange: IKE_AUTH}}",
        when: always,
        action: |_| Ok(Action::DropSent),
    },
    FaultRow {
        name: "drop-received",
        args: &[],
        help: "Throws the datagram away unread: a firewall on the way back, or a box that listens to nothing.",
        rfc: "RFC 7296 2.1 (retransmission)",
        example: "{use: drop-received, when: {exchange: IKE_SA_INIT}}",
        when: always,
        action: |_| Ok(Action::DropReceived),
    },
    FaultRow {
        name: "delay-sent",
        args: &[ArgSpec { name: "by", help: "how long", default: Some("500ms") }],
        help: "Sends the datagram later.",
        rfc: "RFC 7296 2.1 (retransmission)",
        example: "{use: delay-sent, with: {by: 3s}}",
        when: always,
        action: |args| Ok(Action::Delay(args.millis("by")?)),
    },
    FaultRow {
        name: "delay-received",
        args: &[ArgSpec { name: "by", help: "how long", default: Some("500ms") }],
        help: "Reads the datagram later.",
        rfc: "RFC 7296 2.1 (retransmission)",
        example: "{use: delay-received, with: {by: 3s}}",
        when: always,
        action: |args| Ok(Action::HoldReceived(args.millis("by")?)),
    },
    FaultRow {
        name: "repeat-sent",
        args: &[
            ArgSpec { name: "copies", help: "how many more", default: Some("1") },
            ArgSpec { name: "after", help: "time between them", default: Some("10ms") },
        ],
        help: "Sends the datagram several times; the peer must recognise the repeats and answer them alike.",
        rfc: "RFC 7296 2.1",
        example: "{use: repeat-sent, with: {copies: 3}}",
        when: always,
        action: |args| Ok(Action::Repeat { copies: args.int("copies")?, after: args.millis("after")? }),
    },
    FaultRow {
        name: "receive-twice",
        args: &[ArgSpec { name: "after", help: "time between them", default: Some("10ms") }],
        help: "Reads each datagram twice, as from a path that duplicates.",
        rfc: "RFC 7296 2.1",
        example: "{use: receive-twice}",
        when: always,
        action: |args| Ok(Action::ReceiveTwice(args.millis("after")?)),
    },
    FaultRow {
        name: "corrupt-sent",
        args: &[
            ArgSpec { name: "offset", help: "octet; negative counts from the end", default: Some("-1") },
            ArgSpec { name: "mask", help: "bits to flip", default: Some("0x01") },
        ],
        help: "Flips bits in the finished datagram: the integrity check must fail and nothing else may happen.",
        rfc: "RFC 7296 2.21.4, 3.14",
        example: "{use: corrupt-sent, with: {offset: -1, mask: 0x80}}",
        when: always,
        action: |args| Ok(Action::Corrupt { offset: args.int("offset")?, mask: args.int("mask")? }),
    },
    FaultRow {
        name: "truncate-sent",
        args: &[ArgSpec { name: "octets", help: "how many are left", default: Some("40") }],
        help: "Cuts the finished datagram short.",
        rfc: "RFC 7296 3.1 (Length)",
        example: "{use: truncate-sent, with: {octets: 60}}",
        when: always,
        action: |args| Ok(Action::Truncate(args.int("octets")?)),
    },
    FaultRow {
        name: "omit-payload",
        args: &[PAYLOAD_ARG],
        help: "Leaves a payload out.",
        rfc: "RFC 7296 1.2, 2.21",
        example: "{use: omit-payload, with: {payload: TSi}, when: {exchange: IKE_AUTH}}",
        when: always,
        action: |args| Ok(Action::Omit(args.payload("payload")?)),
    },
    FaultRow {
        name: "duplicate-payload",
        args: &[PAYLOAD_ARG],
        help: "Sends a payload twice.",
        rfc: "RFC 7296 3.2",
        example: "{use: duplicate-payload, with: {payload: Nonce}}",
        when: always,
        action: |args| Ok(Action::Duplicate(args.payload("payload")?)),
    },
    FaultRow {
        name: "move-payload",
        args: &[PAYLOAD_ARG, ArgSpec { name: "to", help: "first or last", default: Some("last") }],
        help: "Moves a payload to another place; receivers should not mind the order.",
        rfc: "RFC 7296 2, 3.2",
        example: "{use: move-payload, with: {payload: KE, to: first}}",
        when: always,
        action: |args| {
            let first = match args.get("to")? {
                "first" => true,
                "last" => false,
                other => return Err(format!("to: {other:?} is neither first nor last")),
            };
            Ok(Action::Move { payload: args.payload("payload")?, first })
        },
    },
    FaultRow {
        name: "reverse-payloads",
        args: &[],
        help: "Sends the payloads in the reverse order.",
        rfc: "RFC 7296 3.2",
        example: "{use: reverse-payloads, when: {exchange: IKE_SA_INIT}}",
        when: always,
        action: |_| Ok(Action::Reverse),
    },
    FaultRow {
        name: "add-notify",
        args: &[
            ArgSpec { name: "notify", help: "name or number", default: Some("40960") },
            ArgSpec { name: "data", help: "notification data in hexadecimal, or none", default: Some("none") },
        ],
        help: "Adds a notify.",
        rfc: "RFC 7296 3.10",
        example: "{use: add-notify, with: {notify: INITIAL_CONTACT}}",
        when: always,
        action: |args| {
            let data = if args.get("data")? == "none" { Vec::new() } else { args.hex("data")? };
            let payload = Payload::Notify(NotifyPayload::with_data(args.notify("notify")?, data));
            Ok(Action::Add { payload, first: false })
        },
    },
    FaultRow {
        name: "add-unknown-payload",
        args: &[
            ArgSpec { name: "type", help: "payload type", default: Some("200") },
            ArgSpec { name: "critical", help: "yes or no", default: Some("yes") },
        ],
        help: "Adds a payload of an unknown type; with the critical bit the peer must refuse the message.",
        rfc: "RFC 7296 2.5",
        example: "{use: add-unknown-payload, with: {critical: yes}, when: {exchange: IKE_AUTH}}",
        when: always,
        action: |args| {
            let critical = matches!(args.get("critical")?, "yes" | "true");
            let payload = RawPayload { kind: PayloadType(args.int("type")?), critical, body: vec![0; 4] };
            Ok(Action::Add { payload: Payload::Raw(payload), first: false })
        },
    },
    FaultRow {
        name: "no-nat-detection",
        args: &[],
        help: "Leaves out NAT_DETECTION_SOURCE_IP: no NAT is ever found, as on a box with NAT traversal off.",
        rfc: "RFC 7296 2.23",
        example: "{use: no-nat-detection}",
        when: init,
        action: |_| Ok(Action::Omit(PayloadSel::notify(NotifyType::NAT_DETECTION_SOURCE_IP))),
    },
    FaultRow {
        name: "no-initial-contact",
        args: &[],
        help: "Leaves out INITIAL_CONTACT, so that the peer keeps its old SAs after our restart.",
        rfc: "RFC 7296 2.4",
        example: "{use: no-initial-contact}",
        when: auth,
        action: |_| Ok(Action::Omit(PayloadSel::notify(NotifyType::INITIAL_CONTACT))),
    },
    FaultRow {
        name: "set-field",
        args: &[
            ArgSpec { name: "path", help: "field, such as sa.proposal[0].transform[2].length", default: None },
            ArgSpec { name: "value", help: "octets in hexadecimal", default: None },
        ],
        help: "Writes a field of the encoded message; integrity check and encryption cover the change.",
        rfc: "RFC 7296 3",
        example: "{use: set-field, with: {path: header.version, value: 0x30}, when: {exchange: IKE_SA_INIT}}",
        when: always,
        action: |args| {
            Ok(Action::Field(FieldEdit::Set { path: args.get("path")?.to_owned(), value: args.hex("value")? }))
        },
    },
    FaultRow {
        name: "add-to-field",
        args: &[
            ArgSpec { name: "path", help: "field", default: None },
            ArgSpec { name: "delta", help: "what to add; may be negative", default: None },
        ],
        help: "Adds to a field of the encoded message, wrapping at its width.",
        rfc: "RFC 7296 3",
        example: "{use: add-to-field, with: {path: sa.length, delta: -1}}",
        when: always,
        action: |args| {
            Ok(Action::Field(FieldEdit::Add { path: args.get("path")?.to_owned(), delta: args.int("delta")? }))
        },
    },
    FaultRow {
        name: "flip-field",
        args: &[
            ArgSpec { name: "path", help: "field", default: None },
            ArgSpec { name: "mask", help: "bits to flip, in hexadecimal", default: None },
        ],
        help: "Flips bits of a field of the encoded message.",
        rfc: "RFC 7296 3",
        example: "{use: flip-field, with: {path: header.flags, mask: 0x07}}",
        when: always,
        action: |args| {
            Ok(Action::Field(FieldEdit::Xor { path: args.get("path")?.to_owned(), mask: args.hex("mask")? }))
        },
    },
    FaultRow {
        name: "major-version",
        args: &[ArgSpec { name: "version", help: "the version octet, in hexadecimal", default: Some("0x30") }],
        help: "Sends another major version; a higher one must be answered with INVALID_MAJOR_VERSION.",
        rfc: "RFC 7296 2.5",
        example: "{use: major-version}",
        when: init,
        action: |args| {
            Ok(Action::Field(FieldEdit::Set { path: "header.version".to_owned(), value: args.hex("version")? }))
        },
    },
    FaultRow {
        name: "odd-padding",
        args: &[
            ArgSpec { name: "octets", help: "padding octets", default: Some("0") },
            ArgSpec { name: "value", help: "their value", default: Some("0") },
            ArgSpec { name: "says", help: "the pad length octet", default: Some("255") },
        ],
        help: "Sends a pad length that does not fit the message.",
        rfc: "RFC 7296 3.14",
        example: "{use: odd-padding, with: {octets: 15, says: 200}}",
        when: always,
        action: |args| {
            let pad_length = Some(args.int("says")?);
            Ok(Action::Padding { len: args.int("octets")?, value: args.int("value")?, pad_length })
        },
    },
    FaultRow {
        name: "lose-fragment",
        args: &[ArgSpec { name: "number", help: "fragment, from 1", default: Some("2") }],
        help: "Never sends one RFC 7383 fragment.",
        rfc: "RFC 7383 2.6.1",
        example: "{use: lose-fragment, with: {number: 2}}",
        when: always,
        action: |args| Ok(Action::OmitFragment(args.int("number")?)),
    },
    FaultRow {
        name: "accept-any-auth",
        args: &[],
        help: "Accepts the peer's AUTH whatever it is: the failure is then the peer's alone to find.",
        rfc: "RFC 7296 2.15",
        example: "{use: accept-any-auth}",
        when: auth,
        action: |_| Ok(Action::Decide(Choice::AcceptAuth(true))),
    },
    FaultRow {
        name: "refuse-good-auth",
        args: &[],
        help: "Refuses the peer's AUTH although it verifies.",
        rfc: "RFC 7296 2.21.2",
        example: "{use: refuse-good-auth}",
        when: auth,
        action: |_| Ok(Action::Decide(Choice::AcceptAuth(false))),
    },
    FaultRow {
        name: "ignore-invalid-ke",
        args: &[],
        help: "Does not follow INVALID_KE_PAYLOAD, but goes on sending the same KE.",
        rfc: "RFC 7296 1.3, 2.7",
        example: "{use: ignore-invalid-ke}",
        when: init,
        action: |_| Ok(Action::Decide(Choice::FollowInvalidKe(false))),
    },
    FaultRow {
        name: "demand-group",
        args: &[ArgSpec { name: "group", help: "the group demanded", default: Some("modp4096") }],
        help: "Answers every IKE_SA_INIT with INVALID_KE_PAYLOAD for one group, even when it is the one used.",
        rfc: "RFC 7296 1.3, 2.7",
        example: "{use: demand-group, with: {group: ecp256}}",
        when: init,
        action: |args| Ok(Action::Decide(Choice::DemandGroup(args.group("group")?))),
    },
    FaultRow {
        name: "demand-groups-in-turn",
        args: &[
            ArgSpec { name: "one", help: "a group", default: Some("modp2048") },
            ArgSpec { name: "other", help: "another group", default: Some("ecp256") },
        ],
        help: "Answers IKE_SA_INIT with INVALID_KE_PAYLOAD for two groups in turn, for ever.",
        rfc: "RFC 7296 1.3, 2.7",
        example: "{use: demand-groups-in-turn, with: {one: modp2048, other: ecp256}}",
        when: init,
        action: |args| Ok(Action::Decide(Choice::DemandGroups(args.group("one")?, args.group("other")?))),
    },
    FaultRow {
        name: "withhold-cookie",
        args: &[],
        help: "Never returns the cookie that the peer demands.",
        rfc: "RFC 7296 2.6",
        example: "{use: withhold-cookie}",
        when: init,
        action: |_| Ok(Action::Decide(Choice::ReturnCookie(false))),
    },
    FaultRow {
        name: "demand-cookie",
        args: &[],
        help: "Demands a cookie of every initiator, even of one that has returned it.",
        rfc: "RFC 7296 2.6",
        example: "{use: demand-cookie, times: 1}",
        when: init,
        action: |_| Ok(Action::Decide(Choice::DemandCookie(true))),
    },
    FaultRow {
        name: "refuse-init",
        args: &[ArgSpec { name: "notify", help: "name or number", default: Some("NO_PROPOSAL_CHOSEN") }],
        help: "Refuses IKE_SA_INIT with a notify.",
        rfc: "RFC 7296 2.21.1",
        example: "{use: refuse-init, with: {notify: INVALID_SYNTAX}}",
        when: init,
        action: |args| Ok(Action::Decide(Choice::RefuseInit(args.notify("notify")?))),
    },
    FaultRow {
        name: "refuse-auth",
        args: &[ArgSpec { name: "notify", help: "name or number", default: Some("AUTHENTICATION_FAILED") }],
        help: "Refuses IKE_AUTH with a notify.",
        rfc: "RFC 7296 2.21.2",
        example: "{use: refuse-auth}",
        when: auth,
        action: |args| Ok(Action::Decide(Choice::RefuseAuth(args.notify("notify")?))),
    },
    FaultRow {
        name: "refuse-child",
        args: &[ArgSpec { name: "notify", help: "name or number", default: Some("TS_UNACCEPTABLE") }],
        help: "Refuses the Child SA with a notify and keeps the IKE SA.",
        rfc: "RFC 7296 1.2, 2.21.2",
        example: "{use: refuse-child, with: {notify: NO_PROPOSAL_CHOSEN}}",
        when: auth,
        action: |args| Ok(Action::Decide(Choice::RefuseChild(args.notify("notify")?))),
    },
    FaultRow {
        name: "stay-on-500",
        args: &[],
        help: "Does not move to the NAT-T port although a NAT was found.",
        rfc: "RFC 7296 2.23",
        example: "{use: stay-on-500}",
        when: always,
        action: |_| Ok(Action::Decide(Choice::Float(false))),
    },
    FaultRow {
        name: "no-answer",
        args: &[ArgSpec { name: "exchange", help: "which requests", default: Some("INFORMATIONAL") }],
        help: "Takes requests of an exchange and never answers them.",
        rfc: "RFC 7296 2.4",
        example: "{use: no-answer, with: {exchange: INFORMATIONAL}}",
        when: always,
        action: |args| Ok(Action::Decide(Choice::Answer(exchange_by_name(args.get("exchange")?)?, false))),
    },
    FaultRow {
        name: "zero-key-exchange",
        args: &[],
        help: "Sends a public key-exchange value of zeros, which a careful peer refuses.",
        rfc: "RFC 6989 2.1",
        example: "{use: zero-key-exchange}",
        when: always,
        action: |_| Ok(Action::Secret { kind: SecretKind::KeyExchange, edit: OctetEdit::Fill(0) }),
    },
    FaultRow {
        name: "short-key-exchange",
        args: &[ArgSpec { name: "octets", help: "length sent", default: Some("16") }],
        help: "Sends a public key-exchange value of the wrong length.",
        rfc: "RFC 7296 3.4",
        example: "{use: short-key-exchange}",
        when: always,
        action: |args| {
            Ok(Action::Secret { kind: SecretKind::KeyExchange, edit: OctetEdit::Resize(args.int("octets")?) })
        },
    },
    FaultRow {
        name: "short-nonce",
        args: &[ArgSpec { name: "octets", help: "length sent; 16 to 256 are allowed", default: Some("8") }],
        help: "Sends a nonce of a forbidden length.",
        rfc: "RFC 7296 2.10, 3.9",
        example: "{use: short-nonce, with: {octets: 8}}",
        when: always,
        action: |args| Ok(Action::Secret { kind: SecretKind::Nonce, edit: OctetEdit::Resize(args.int("octets")?) }),
    },
    FaultRow {
        name: "broken-auth",
        args: &[],
        help: "Flips a bit of our AUTH value.",
        rfc: "RFC 7296 2.15, 2.21.2",
        example: "{use: broken-auth}",
        when: always,
        action: |_| Ok(Action::Secret { kind: SecretKind::Auth, edit: OctetEdit::Xor(-1, 1) }),
    },
    FaultRow {
        name: "stray-notify",
        args: &[
            ArgSpec { name: "notify", help: "name or number", default: Some("AUTHENTICATION_FAILED") },
            ArgSpec { name: "sealed", help: "yes or no", default: Some("no") },
            ArgSpec { name: "id", help: "message id", default: Some("2") },
        ],
        help: "Sends an INFORMATIONAL with a notify once the IKE SA is up; unprotected, it must change nothing.",
        rfc: "RFC 7296 2.21.4",
        example: "{use: stray-notify, with: {notify: INVALID_IKE_SPI}}",
        when: always,
        action: |args| {
            let sealed = matches!(args.get("sealed")?, "yes" | "true");
            Ok(Action::InjectNotify { notify: args.notify("notify")?, sealed, message_id: args.int("id")? })
        },
    },
    FaultRow {
        name: "no-liveness",
        args: &[],
        help: "Answers no INFORMATIONAL: to the peer we are dead, although ESP may flow.",
        rfc: "RFC 7296 2.4",
        example: "{use: no-liveness}",
        when: informational,
        action: |_| Ok(Action::DropReceived),
    },
    FaultRow {
        name: "no-keepalives",
        args: &[],
        help: "Sends no NAT keepalives, so that the NAT forgets us.",
        rfc: "RFC 3948 4",
        example: "{use: no-keepalives}",
        when: always,
        action: |_| Ok(Action::Timer { timer: Timer::Keepalive, percent: 0 }),
    },
    FaultRow {
        name: "hasty-retransmit",
        args: &[ArgSpec { name: "percent", help: "of the honest wait", default: Some("5") }],
        help: "Retransmits much too fast.",
        rfc: "RFC 7296 2.1",
        example: "{use: hasty-retransmit}",
        when: always,
        action: |args| Ok(Action::Timer { timer: Timer::Retransmit, percent: args.int("percent")? }),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_complete_and_builds() {
        let mut seen = std::collections::BTreeSet::new();
        for row in FAULTS {
            assert!(seen.insert(row.name), "{} stands twice", row.name);
            assert!(!row.help.is_empty() && row.rfc.contains("RFC") && row.example.contains(row.name), "{}", row.name);
            let needed: BTreeMap<String, String> = row
                .args
                .iter()
                .filter(|arg| arg.default.is_none())
                .map(|arg| {
                    let value = match arg.name {
                        "path" => "header.flags",
                        "delta" => "-1",
                        _ => "0x01",
                    };
                    (arg.name.to_owned(), value.to_owned())
                })
                .collect();
            let rule = row.rule(&needed, Some(2)).unwrap_or_else(|error| panic!("{}: {error}", row.name));
            assert_eq!(rule.times, Some(2));
            assert_eq!(rule.action.seam(), row.seam(), "{}", row.name);
        }
        assert!(FAULTS.len() >= 30);
    }

    #[test]
    fn wrong_names_get_the_nearest_right_one() {
        assert_eq!(find("drop-snt").err().unwrap(), "there is no fault \"drop-snt\"; did you mean \"drop-sent\"?");
        let error = notify_by_name("NO_PROPOSAL_CHOOSEN").unwrap_err();
        assert!(error.contains("NO_PROPOSAL_CHOSEN"), "{error}");
        let given = BTreeMap::from([("notfy".to_owned(), "COOKIE".to_owned())]);
        let error = find("refuse-init").unwrap().rule(&given, None).err().unwrap();
        assert!(error.contains("it takes notify"), "{error}");
        let given = BTreeMap::from([("notify".to_owned(), "NO_SUCH".to_owned())]);
        assert!(find("refuse-init").unwrap().rule(&given, None).is_err());
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("300ms"), Some(Duration::from_millis(300)));
        assert_eq!(parse_duration("2m"), Some(Duration::from_secs(120)));
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("5"), None);
        assert_eq!(parse_duration("5 fortnights"), None);
    }
}
