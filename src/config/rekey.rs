//! The section `rekey`: when SAs are renewed, and how.

use schemars::JsonSchema;
use serde::Deserialize;

use super::build::{duration, one_of, positive};
use super::error::Problem;
use super::file::{At, Quantity};
use crate::engine::{CreateChildPolicy, ReauthOrder, RekeySpec};

/// When SAs are renewed. The lifetimes themselves stand at `ike` and at each child; at its end an SA is deleted.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RekeySection {
    /// A rekey begins this long before the end of a lifetime: a time, or a percentage of the lifetime; `10%` by default.
    pub margin: Option<At<Quantity>>,
    /// It begins earlier still by up to this many percent of the lifetime; 10 by default.
    pub jitter_percent: Option<At<u8>>,
    /// As responder: rekey too (true, the default), or only delete at the end of a lifetime.
    pub as_responder: Option<At<bool>>,
    /// A Child SA is also at its end after this much traffic, both directions together: `4608000KB`, `1GiB`.
    pub child_bytes: Option<At<Quantity>>,
    /// A Child SA is also at its end after this many packets, both directions together.
    pub child_packets: Option<At<u64>>,
    /// Which CREATE_CHILD_SA requests of the peer's are honoured: `all` (the default), `rekey-only` or `nothing`.
    pub answer: Option<At<String>>,
    /// As initiator: authenticate again after this long, with a new IKE_SA_INIT; never by default.
    pub reauth: Option<At<Quantity>>,
    /// Then the new IKE SA first, `make-first` (the default), or the DELETE of the old one, `break-first`.
    pub reauth_order: Option<At<String>>,
    /// As initiator: obey the peer's AUTH_LIFETIME (RFC 4478); true by default.
    pub obey_auth_lifetime: Option<At<bool>>,
    /// As responder: announce this AUTH_LIFETIME (RFC 4478), and delete an IKE SA that outlives it; none by default.
    pub auth_lifetime: Option<At<Quantity>>,
}

/// What the section means.
pub(crate) fn rekey(at: &RekeySection) -> Result<RekeySpec, Problem> {
    let mut spec = RekeySpec::default();
    if let Some(margin) = &at.margin {
        match margin.value.0.trim().strip_suffix('%') {
            Some(number) => {
                let percent = number.trim().parse::<u8>().ok().filter(|n| *n < 100);
                spec.margin_percent = percent.ok_or_else(|| {
                    let problem = Problem::new(format!("`{}` is not a percentage below 100", margin.value.0));
                    problem.hint("like 10%, or a time like 9m").at(margin.place)
                })?;
            }
            None => spec.margin = Some(duration(margin)?),
        }
    }
    if let Some(jitter) = &at.jitter_percent {
        if jitter.value > 90 {
            return Err(Problem::new(format!("{} is not a percentage from 0 to 90", jitter.value)).at(jitter.place));
        }
        spec.jitter_percent = jitter.value;
    }
    let flag = |at: &Option<At<bool>>, default| at.as_ref().map_or(default, |b| b.value);
    spec.as_responder = flag(&at.as_responder, spec.as_responder);
    spec.obey_auth_lifetime = flag(&at.obey_auth_lifetime, spec.obey_auth_lifetime);
    spec.child_bytes = at.child_bytes.as_ref().map(octets).transpose()?;
    if let Some(packets) = &at.child_packets {
        if packets.value == 0 {
            return Err(Problem::new("a Child SA carries at least one packet").at(packets.place));
        }
        spec.child_packets = Some(packets.value);
    }
    spec.answer = match one_of(at.answer.as_ref(), "answer", &["all", "rekey-only", "nothing"])? {
        Some("rekey-only") => CreateChildPolicy::RekeyOnly,
        Some("nothing") => CreateChildPolicy::Nothing,
        _ => CreateChildPolicy::All,
    };
    spec.reauth_after = at.reauth.as_ref().map(positive).transpose()?;
    spec.reauth = match one_of(at.reauth_order.as_ref(), "reauth_order", &["make-first", "break-first"])? {
        Some("break-first") => ReauthOrder::BreakFirst,
        _ => ReauthOrder::MakeFirst,
    };
    spec.auth_lifetime = at.auth_lifetime.as_ref().map(positive).transpose()?;
    Ok(spec)
}

/// An amount of traffic: octets, or with one of the units that the boxes use.
fn octets(at: &At<Quantity>) -> Result<u64, Problem> {
    let text = at.value.0.trim().to_ascii_lowercase();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let unit = match text[digits..].trim() {
        "" | "b" => Some(1),
        "k" | "kb" => Some(1_000),
        "m" | "mb" => Some(1_000_000),
        "g" | "gb" => Some(1_000_000_000),
        "t" | "tb" => Some(1_000_000_000_000),
        "kib" => Some(1 << 10),
        "mib" => Some(1 << 20),
        "gib" => Some(1 << 30),
        "tib" => Some(1_u64 << 40),
        _ => None,
    };
    let count = text[..digits].parse::<u64>().ok().filter(|n| *n > 0);
    count.zip(unit).and_then(|(count, unit)| count.checked_mul(unit)).ok_or_else(|| {
        let problem = Problem::new(format!("`{}` is not an amount of traffic", at.value.0));
        problem.hint("like 4608000KB, 500MB or 1GiB").at(at.place)
    })
}
