//! A row of the table, and what is given to it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::names::{group_by_name, notify_by_name, parse_duration, parse_hex, payload_by_name};
use crate::fault::action::Action;
use crate::fault::rule::{PayloadSel, Rule, Seam, When};
use crate::wire::TrafficSelector;
use crate::wire::registry::{ExchangeType, KeMethod, NotifyType};

/// A named fault.
pub struct FaultRow {
    /// Its name in scenario files and on the command line.
    pub name: &'static str,
    /// The arguments it takes.
    pub args: &'static [ArgSpec],
    /// What it does, in a sentence.
    pub help: &'static str,
    /// What a peer that follows the RFCs does then.
    pub peer: &'static str,
    /// What it goes against, or what it leans on.
    pub rfc: &'static str,
    /// In which original role we can do it.
    pub roles: Roles,
    /// Its use in a scenario file, if that is more than its name.
    example: &'static str,
    /// The condition it brings along.
    when: fn() -> When,
    action: fn(&Args<'_>) -> Result<Action, String>,
}

/// In which original role of the IKE SA we can misbehave so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Roles {
    /// In both.
    Both,
    /// As initiator.
    Initiator,
    /// As responder.
    Responder,
}

impl Roles {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Roles::Both => "initiator and responder",
            Roles::Initiator => "initiator",
            Roles::Responder => "responder",
        }
    }
}

/// One argument of a named fault.
pub struct ArgSpec {
    /// Its name.
    pub name: &'static str,
    /// What kind of value it takes: octets, a duration, a name.
    pub unit: &'static str,
    /// What it is.
    pub help: &'static str,
    /// Used when it is not given; `None` means that it must be.
    pub default: Option<&'static str>,
    /// A value that makes sense.
    pub sample: &'static str,
}

/// The arguments given to a named fault, with its defaults.
pub struct Args<'a> {
    row: &'a FaultRow,
    given: &'a BTreeMap<String, String>,
}

/// An argument with a default.
pub(super) const fn arg(name: &'static str, unit: &'static str, default: &'static str, help: &'static str) -> ArgSpec {
    ArgSpec { name, unit, help, default: Some(default), sample: default }
}

/// An argument that must be given.
pub(super) const fn needed(
    name: &'static str,
    unit: &'static str,
    sample: &'static str,
    help: &'static str,
) -> ArgSpec {
    ArgSpec { name, unit, help, default: None, sample }
}

/// A row without arguments and conditions.
pub(super) const fn fault(
    name: &'static str,
    help: &'static str,
    peer: &'static str,
    rfc: &'static str,
    action: fn(&Args<'_>) -> Result<Action, String>,
) -> FaultRow {
    FaultRow { name, args: &[], help, peer, rfc, roles: Roles::Both, example: "", when: always, action }
}

impl FaultRow {
    pub(super) const fn args(self, args: &'static [ArgSpec]) -> Self {
        FaultRow { args, ..self }
    }

    pub(super) const fn when(self, when: fn() -> When) -> Self {
        FaultRow { when, ..self }
    }

    pub(super) const fn played_by_initiator(self) -> Self {
        FaultRow { roles: Roles::Initiator, ..self }
    }

    pub(super) const fn played_by_responder(self) -> Self {
        FaultRow { roles: Roles::Responder, ..self }
    }

    pub(super) const fn used(self, example: &'static str) -> Self {
        FaultRow { example, ..self }
    }

    /// Its use in a scenario file.
    pub fn example(&self) -> String {
        if !self.example.is_empty() {
            return self.example.to_owned();
        }
        let with: Vec<String> = self.args.iter().map(|arg| format!("{}: {}", arg.name, arg.sample)).collect();
        match with.is_empty() {
            true => format!("{{use: {}}}", self.name),
            false => format!("{{use: {}, with: {{{}}}}}", self.name, with.join(", ")),
        }
    }

    /// The condition that it brings along.
    pub fn default_when(&self) -> When {
        (self.when)()
    }

    /// Values for the arguments that must be given.
    pub fn sample(&self) -> BTreeMap<String, String> {
        let needed = self.args.iter().filter(|arg| arg.default.is_none());
        needed.map(|arg| (arg.name.to_owned(), arg.sample.to_owned())).collect()
    }

    /// The seam at which it acts.
    pub fn seam(&self) -> Seam {
        let sample = self.sample();
        let action = (self.action)(&Args { row: self, given: &sample });
        action.map(|action| action.seam()).expect("a row builds with its own samples; a test sees to it")
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
    pub(super) fn get(&self, name: &str) -> Result<&str, String> {
        let spec = self.row.args.iter().find(|spec| spec.name == name);
        self.given
            .get(name)
            .map(String::as_str)
            .or(spec.and_then(|spec| spec.default))
            .ok_or_else(|| format!("argument {name:?} is missing"))
    }

    pub(super) fn int<T: TryFrom<i64>>(&self, name: &str) -> Result<T, String> {
        let text = self.get(name)?;
        let value = match text.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        };
        value
            .and_then(|value| T::try_from(value).ok())
            .ok_or_else(|| format!("{name}: {text:?} is not a number that fits"))
    }

    pub(super) fn millis(&self, name: &str) -> Result<Duration, String> {
        parse_duration(self.get(name)?).ok_or_else(|| format!("{name}: write a duration such as 500ms or 2s"))
    }

    pub(super) fn hex(&self, name: &str) -> Result<Vec<u8>, String> {
        let text = self.get(name)?;
        parse_hex(text).ok_or_else(|| format!("{name}: {text:?} is not hexadecimal"))
    }

    /// Exactly so many octets.
    pub(super) fn octets(&self, name: &str, len: usize) -> Result<Vec<u8>, String> {
        let octets = self.hex(name)?;
        match octets.len() == len {
            true => Ok(octets),
            false => Err(format!("{name}: {len} octets are needed, {} are given", octets.len())),
        }
    }

    pub(super) fn notify(&self, name: &str) -> Result<NotifyType, String> {
        notify_by_name(self.get(name)?)
    }

    pub(super) fn payload(&self, name: &str) -> Result<PayloadSel, String> {
        let text = self.get(name)?;
        match text.strip_prefix("N(").and_then(|rest| rest.strip_suffix(')')) {
            Some(notify) => Ok(PayloadSel::notify(notify_by_name(notify)?)),
            None => Ok(PayloadSel::of(payload_by_name(text)?)),
        }
    }

    pub(super) fn group(&self, name: &str) -> Result<KeMethod, String> {
        group_by_name(self.get(name)?)
    }

    pub(super) fn yes(&self, name: &str) -> Result<bool, String> {
        self.one_of(name, &[("yes", true), ("no", false), ("true", true), ("false", false)])
    }

    /// The value that a word stands for.
    pub(super) fn one_of<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<T, String> {
        let text = self.get(name)?;
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            format!("{name}: {text:?} is none of {}", words.join(", "))
        })
    }

    pub(super) fn address(&self, name: &str) -> Result<Ipv4Addr, String> {
        let text = self.get(name)?;
        text.parse().map_err(|_| format!("{name}: {text:?} is not an IPv4 address"))
    }

    /// A network such as 10.0.0.0/8.
    pub(super) fn network(&self, name: &str) -> Result<TrafficSelector, String> {
        let text = self.get(name)?;
        let wrong = || format!("{name}: {text:?} is not a network such as 10.0.0.0/8");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address = address.parse().map_err(|_| wrong())?;
        Ok(TrafficSelector::from_net(address, prefix.parse().map_err(|_| wrong())?))
    }
}

pub(super) fn always() -> When {
    When::default()
}

fn in_exchange(exchange: ExchangeType) -> When {
    When { exchange: Some(exchange), ..When::default() }
}

pub(super) fn in_init() -> When {
    in_exchange(ExchangeType::IKE_SA_INIT)
}

pub(super) fn in_auth() -> When {
    in_exchange(ExchangeType::IKE_AUTH)
}

pub(super) fn in_create() -> When {
    in_exchange(ExchangeType::CREATE_CHILD_SA)
}

pub(super) fn in_informational() -> When {
    in_exchange(ExchangeType::INFORMATIONAL)
}

fn response(when: When) -> When {
    When { response: Some(true), ..when }
}

pub(super) fn init_request() -> When {
    When { response: Some(false), ..in_init() }
}

pub(super) fn init_response() -> When {
    response(in_init())
}

pub(super) fn auth_request() -> When {
    When { response: Some(false), ..in_auth() }
}

pub(super) fn create_request() -> When {
    When { response: Some(false), ..in_create() }
}

pub(super) fn informational_request() -> When {
    When { response: Some(false), ..in_informational() }
}
