//! Gives the file's words their meaning: [`super::file`] to [`crate::engine`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::error::{Place, Problem, did_you_mean};
use super::file::{
    At, BehaviourSection, ChildSection, ConnectionFile, ControlSection, IkeSection, LimitsSection, Quantity,
};
use super::file::{NatSection, RemoteEnd, RetransmitSection};
use super::peer::{ControlAction, ControlSpec, PeerFacts, Vendor};
use super::schedules::Schedule;
use super::secret::{self, Sources};
use super::{Loaded, access, certificate, value, words};
use crate::engine::{
    AuthSpec, Behaviour, ChildFailure, ChildSpec, Childless, ConnectionSpec, DpdAction, DpdMode, DpdSpec, FragmentSpec,
    IdMatch, Limits, Mode, Narrowing, NatSpec, NatTraversal, Ports, RetransmitSpec, UnprotectedErrors,
};
use crate::wire::TrafficSelector;
use crate::wire::registry::KeMethod;

/// Names of the personas; what they do is data elsewhere, and a test holds the two lists together.
pub const PERSONAS: &[&str] = &["plain", "cisco-ios-xe", "cisco-asa", "cisco-ftd", "paloalto-panos", "strongswan"];

/// Those that have proposals for a connection that names none.
pub const PERSONAS_WITH_PROPOSALS: &[&str] = &["cisco-ios-xe", "paloalto-panos"];

/// Builds everything a file says.
pub(crate) fn build(file: &ConnectionFile, default_name: &str, sources: &Sources<'_>) -> Result<Loaded, Problem> {
    let mut warnings = Vec::new();
    if file.version.value != 1 {
        let message = format!("version {} is not one that this ikelab reads", file.version.value);
        return Err(Problem::new(message).hint("version: 1").at(file.version.place));
    }
    let name = file.name.as_ref().map_or(default_name, |n| &n.value).to_owned();
    let persona = one_of(file.persona.as_ref(), "persona", PERSONAS)?.unwrap_or(PERSONAS[0]).to_owned();

    let local_addr = file.local.address.as_ref().map(address).transpose()?;
    let (remote_addr, remote_host) = remote(&file.remote)?;
    if let (Some(local), Some(remote)) = (local_addr, remote_addr)
        && local.is_ipv4() != remote.is_ipv4()
    {
        let place = file.remote.address.as_ref().and_then(|a| a.place);
        return Err(Problem::new(format!("{remote} and local.address {local} are not of one IP version")).at(place));
    }
    let local_id = match &file.local.id {
        Some(id) => Some(value::identity_problem(&id.value).map_err(|p| p.at(id.place))?),
        None => local_addr.map(value::address_id),
    };
    let remote_id = match &file.remote.id {
        Some(id) if id.value != "any" && id.value != "%any" => {
            IdMatch::Exact(value::identity_problem(&id.value).map_err(|p| p.at(id.place))?)
        }
        _ => IdMatch::Any,
    };

    let issuer = match &file.auth.local.value.certificate {
        Some(section) => super::certificate::issuer(&section.value, sources)?,
        None => None,
    };
    let local_auth = match access::auth(&file.auth.local, true, sources, &mut warnings)? {
        Some(by_eap) => by_eap,
        None => secret::local(&file.auth.local, sources, &mut warnings)?,
    };
    let remote_auth = match (&file.auth.remote, &local_auth) {
        (Some(end), _) => match access::auth(end, false, sources, &mut warnings)? {
            Some(by_eap) => by_eap,
            None => secret::remote(end, sources, &mut warnings)?,
        },
        (None, AuthSpec::Psk(_)) => local_auth.clone(),
        (None, AuthSpec::EapPeer(_)) => {
            let problem =
                Problem::new("auth.remote is missing: with EAP for us, the responder's own proof must be said");
            return Err(problem.hint("remote: {psk_file: ...}, or {eap_only: true}").at(file.auth.local.place));
        }
        (None, _) => {
            let problem =
                Problem::new("auth.remote is missing: with a certificate of ours, the peer's end must be said");
            return Err(problem.hint("certificate: {ca: [./ca.pem]}, or a pre-shared key").at(file.auth.local.place));
        }
    };
    let local_id = match (local_id, &local_auth) {
        (Some(mut id), AuthSpec::Certificate(credential)) if file.local.id.is_some() => {
            certificate::settle_id(credential, &mut id, &mut warnings);
            Some(id)
        }
        (local_id, AuthSpec::Certificate(credential)) => certificate::default_id(credential).or(local_id),
        (local_id, _) => local_id,
    };
    access::check(file, &local_auth, &remote_auth)?;
    let mut cp = access::cp(file)?;

    let ike_proposals = proposals(file.ike.proposals.as_ref(), "ike", &persona)?
        .iter()
        .map(|p| words::ike_proposal(&p.value).map_err(|problem| problem.at(p.place)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut children = Vec::new();
    for (index, child) in some_of(&file.children, "children")?.iter().enumerate() {
        let mut spec = child_spec(child, index, &persona, remote_addr.or(local_addr), &mut warnings)?;
        let sides = [(&child.local_ts, &mut spec.local_ts, true), (&child.remote_ts, &mut spec.remote_ts, false)];
        for (written, selectors, ours) in sides {
            let word = written.iter().flatten().find(|at| at.value.trim() == access::DYNAMIC);
            let whole = written.as_ref().is_none_or(|list| list.is_empty());
            match (word, access::dynamic(&cp, ours)) {
                (Some(at), None) => {
                    let hint = if ours { "virtual_ip: any" } else { "pool: {addresses: ...}" };
                    return Err(Problem::new("there is no inner address to be dynamic").hint(hint).at(at.place));
                }
                (Some(at), Some(_)) if written.as_ref().is_some_and(|list| list.len() > 1) => {
                    return Err(Problem::new("dynamic stands alone").at(at.place));
                }
                (word, Some(all)) if word.is_some() || whole => {
                    *selectors = all;
                    cp.dynamic.push(u16::try_from(index).unwrap_or(u16::MAX));
                }
                _ => {}
            }
        }
        children.push(spec);
    }
    for (what, proposal) in ike_proposals
        .iter()
        .map(|p| ("ike", p))
        .chain(children.iter().flat_map(|c| c.proposals.iter().map(|p| ("esp", p))))
    {
        warnings.extend(words::weaknesses(proposal).into_iter().map(|why| format!("weak {what} algorithm {why}")));
    }

    let spec = ConnectionSpec {
        name,
        local_addr,
        remote_addr,
        local_ports: ports(file.local.port.as_ref(), file.local.natt_port.as_ref())?,
        remote_ports: ports(file.remote.port.as_ref(), file.remote.natt_port.as_ref())?,
        local_id: local_id.clone().unwrap_or_else(|| value::address_id(Ipv4Addr::UNSPECIFIED.into())),
        remote_id,
        send_idr: file.behaviour.send_idr.as_ref().is_some_and(|b| b.value),
        local_auth,
        remote_auth,
        ike_proposals,
        children,
        retransmit: retransmit(&file.retransmit)?,
        nat: nat(&file.nat)?,
        mobike: file.mobike.as_ref().map(super::mobike::build).transpose()?,
        dpd: match &file.dpd {
            Some(dpd) => Some(DpdSpec {
                interval: positive(&dpd.interval)?,
                mode: match one_of(dpd.mode.as_ref(), "mode", &["periodic", "on-demand"])? {
                    Some("on-demand") => DpdMode::OnDemand,
                    _ => DpdMode::Periodic,
                },
                retransmit: dpd.retransmit.as_ref().map(retransmit).transpose()?,
                action: match one_of(dpd.action.as_ref(), "action", &["clear", "restart", "hold"])? {
                    Some("restart") => DpdAction::Restart,
                    Some("hold") => DpdAction::Hold,
                    _ => DpdAction::Clear,
                },
            }),
            None => None,
        },
        lifetime: file.ike.lifetime.as_ref().map(positive).transpose()?,
        fragmentation: file.ike.fragmentation.as_ref().is_none_or(|b| b.value),
        cp,
        behaviour: Behaviour {
            rekey: super::rekey::rekey(&file.rekey)?,
            fragments: fragments(&file.ike)?,
            ..behaviour(&file.behaviour)?
        },
    };
    let mut unique = Vec::new();
    warnings.retain(|w| {
        !unique.contains(w) && {
            unique.push(w.clone());
            true
        }
    });
    Ok(Loaded {
        source: None,
        spec,
        local_id_pending: local_id.is_none(),
        remote_host,
        issuer,
        persona,
        given: super::Given {
            retransmit: {
                let r = &file.retransmit;
                r.like.is_some()
                    || r.initial.is_some()
                    || r.factor.is_some()
                    || r.attempts.is_some()
                    || r.max_wait.is_some()
            },
            fragmentation: file.ike.fragmentation.is_some(),
            nat: file.nat.traversal.is_some(),
        },
        peer: peer_facts(&file.remote)?,
        control: control(&file.control)?,
        data: super::data::build(&file.data)?,
        path: super::path::build(&file.path)?,
        limits: file.limits.as_ref().map(|l| limits(&l.value)).transpose()?,
        warnings: unique,
    })
}

pub(super) fn address(at: &At<String>) -> Result<IpAddr, Problem> {
    at.value.trim().parse().map_err(|_| Problem::new(format!("`{}` is not an IP address", at.value)).at(at.place))
}

/// The peer's address, or the host name that stands in its place.
fn remote(remote: &RemoteEnd) -> Result<(Option<IpAddr>, Option<String>), Problem> {
    let Some(at) = &remote.address else { return Ok((None, None)) };
    let text = at.value.trim();
    if matches!(text, "any" | "%any") {
        return Ok((None, None));
    }
    if let Ok(addr) = text.parse() {
        return Ok((Some(addr), None));
    }
    let looks_like_an_address = text.chars().all(|c| c.is_ascii_digit() || c == '.') || text.contains(':');
    let host = !text.is_empty()
        && !looks_like_an_address
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if host {
        Ok((None, Some(text.to_owned())))
    } else {
        Err(Problem::new(format!("`{text}` is neither an IP address nor a host name")).at(at.place))
    }
}

fn ports(ike: Option<&At<u16>>, natt: Option<&At<u16>>) -> Result<Ports, Problem> {
    let ports = Ports {
        ike: ike.map_or(Ports::default().ike, |p| p.value),
        natt: natt.map_or(Ports::default().natt, |p| p.value),
    };
    match natt.or(ike) {
        // Two of the system's choice do differ.
        Some(at) if ports.ike == ports.natt && ports.ike != 0 => {
            Err(Problem::new("port and natt_port must differ").at(at.place))
        }
        _ => Ok(ports),
    }
}

fn peer_facts(remote: &RemoteEnd) -> Result<PeerFacts, Problem> {
    let vendor = match &remote.vendor {
        Some(at) => Some(vendor(&at.value).map_err(|p| p.at(at.place))?),
        None => None,
    };
    Ok(PeerFacts {
        vendor,
        ike_lifetime: remote.lifetimes.ike.as_ref().map(positive).transpose()?,
        child_lifetime: remote.lifetimes.child.as_ref().map(positive).transpose()?,
        checks_liveness: remote.checks_liveness.as_ref().map(|at| at.value),
    })
}

/// A vendor by name.
pub(crate) fn vendor(name: &str) -> Result<Vendor, Problem> {
    Vendor::from_name(name).ok_or_else(|| {
        let names = Vendor::ALL.iter().map(|v| v.name());
        Problem::new(format!("unknown vendor `{name}`")).hint(
            did_you_mean(name, names.clone())
                .unwrap_or_else(|| format!("one of {}", names.collect::<Vec<_>>().join(", "))),
        )
    })
}

fn child_spec(
    at: &ChildSection,
    index: usize,
    persona: &str,
    family: Option<IpAddr>,
    warnings: &mut Vec<String>,
) -> Result<ChildSpec, Problem> {
    let mut chosen = Vec::new();
    let mut groups: Vec<(KeMethod, Option<Place>)> = Vec::new();
    for proposal in proposals(at.proposals.as_ref(), &format!("children[{index}]"), persona)? {
        let (spec, ke) = words::esp_proposal(&proposal.value).map_err(|p| p.at(proposal.place))?;
        chosen.push(spec);
        groups.extend(ke.into_iter().map(|group| (group, proposal.place)));
    }
    let pfs = match &at.pfs {
        Some(pfs) => {
            let listed = words::pfs(&pfs.value).map_err(|p| p.at(pfs.place))?;
            if let Some((group, place)) = groups.iter().find(|(group, _)| !listed.contains(group)) {
                let message = format!("the proposal names {} and pfs does not", words::group_word(*group));
                return Err(Problem::new(message).hint("leave one of the two out").at(*place));
            }
            listed
        }
        // strongSwan writes the group into the proposal.
        None => {
            let mut pfs = Vec::new();
            for (group, _) in groups {
                if !pfs.contains(&group) {
                    pfs.push(group);
                }
            }
            pfs
        }
    };
    let everything = || match family {
        Some(IpAddr::V6(_)) => TrafficSelector::any_v6(),
        _ => TrafficSelector::any_v4(),
    };
    let mut selectors = |list: &Option<Vec<At<String>>>| -> Result<Vec<TrafficSelector>, Problem> {
        let Some(list) = list.as_ref().filter(|l| !l.is_empty()) else { return Ok(vec![everything()]) };
        list.iter()
            .map(|at| {
                if at.value.trim() == access::DYNAMIC {
                    return Ok(everything());
                }
                let (selector, warning) = value::selector(&at.value).map_err(|p| p.at(at.place))?;
                warnings.extend(warning);
                Ok(selector)
            })
            .collect()
    };
    Ok(ChildSpec {
        name: at.name.as_ref().map_or_else(|| format!("child-{}", index + 1), |n| n.value.clone()),
        mode: match one_of(at.mode.as_ref(), "mode", &["tunnel", "transport"])? {
            Some("transport") => Mode::Transport,
            _ => Mode::Tunnel,
        },
        proposals: chosen,
        pfs,
        local_ts: selectors(&at.local_ts)?,
        remote_ts: selectors(&at.remote_ts)?,
        lifetime: at.lifetime.as_ref().map(positive).transpose()?,
    })
}

fn retransmit(at: &RetransmitSection) -> Result<RetransmitSpec, Problem> {
    let names: Vec<&str> = Schedule::ALL.iter().map(|s| s.name).collect();
    let like = one_of(at.like.as_ref(), "schedule", &names)?;
    let mut spec = like.and_then(Schedule::named).map_or_else(RetransmitSpec::default, Schedule::spec);
    if let Some(initial) = &at.initial {
        spec.initial = positive(initial)?;
    }
    if let Some(factor) = &at.factor {
        if !(1.0..=100.0).contains(&factor.value) {
            return Err(Problem::new(format!("{} is not a factor from 1 to 100", factor.value)).at(factor.place));
        }
        spec.factor_percent = (factor.value * 100.0).round() as u32;
    }
    if let Some(attempts) = &at.attempts {
        if attempts.value == 0 {
            return Err(Problem::new("a request is sent at least once").hint("1 or more").at(attempts.place));
        }
        spec.attempts = attempts.value;
    }
    if let Some(max_wait) = &at.max_wait {
        spec.max_wait = positive(max_wait)?;
    }
    if let Some(jitter) = &at.jitter_percent {
        if jitter.value > 100 {
            return Err(Problem::new(format!("{} is not a percentage", jitter.value)).at(jitter.place));
        }
        spec.jitter_percent = jitter.value;
    }
    Ok(spec)
}

fn nat(at: &NatSection) -> Result<NatSpec, Problem> {
    let plain = NatSpec::default();
    Ok(NatSpec {
        traversal: match one_of(at.traversal.as_ref(), "traversal", &["auto", "force", "off"])? {
            Some("force") => NatTraversal::Force,
            Some("off") => NatTraversal::Off,
            _ => NatTraversal::Auto,
        },
        keepalive: at.keepalive.as_ref().map_or(Ok(plain.keepalive), duration)?,
    })
}

fn fragments(at: &IkeSection) -> Result<FragmentSpec, Problem> {
    let plain = FragmentSpec::default();
    let size = |at: &Option<At<u16>>, default| match at {
        Some(at) if at.value < FragmentSpec::LEAST => {
            let problem = Problem::new(format!("{} octets hold no fragment", at.value)).at(at.place);
            Err(problem.hint(format!("{} octets at least", FragmentSpec::LEAST)))
        }
        Some(at) => Ok(at.value),
        None => Ok(default),
    };
    let spec = FragmentSpec {
        size: size(&at.fragment_size, plain.size)?,
        fallback: size(&at.fragment_fallback, plain.fallback)?,
    };
    match &at.fragment_fallback {
        Some(fallback) if spec.fallback >= spec.size => {
            let problem =
                Problem::new(format!("{} octets are not less than fragment_size, {}", spec.fallback, spec.size));
            Err(problem.at(fallback.place))
        }
        _ => Ok(spec),
    }
}

fn behaviour(at: &BehaviourSection) -> Result<Behaviour, Problem> {
    let plain = Behaviour::default();
    let flag = |at: &Option<At<bool>>, default| at.as_ref().map_or(default, |b| b.value);
    Ok(Behaviour {
        initial_contact: flag(&at.initial_contact, plain.initial_contact),
        vendor_ids: at
            .vendor_ids
            .iter()
            .flatten()
            .map(|v| value::octets(&v.value).map_err(|p| p.at(v.place)))
            .collect::<Result<_, _>>()?,
        unprotected_errors: match &at.unprotected_errors {
            None => plain.unprotected_errors,
            Some(at) => match at.value.0.as_str() {
                "believe" => UnprotectedErrors::Believe,
                "ignore" => UnprotectedErrors::Ignore,
                word => UnprotectedErrors::Wait(value::duration(word).map_err(|_| {
                    let problem = Problem::new(format!("unknown unprotected_errors `{word}`")).at(at.place);
                    let hint = did_you_mean(word, ["believe", "ignore"]);
                    problem.hint(hint.unwrap_or_else(|| "believe, ignore, or a duration to wait".into()))
                })?),
            },
        },
        answer_no_proposal: flag(&at.answer_no_proposal, plain.answer_no_proposal),
        child_failure: match one_of(at.child_failure.as_ref(), "child_failure", &["keep-ike-sa", "delete-ike-sa"])? {
            Some("delete-ike-sa") => ChildFailure::DeleteIkeSa,
            _ => ChildFailure::KeepIkeSa,
        },
        narrowing: match one_of(at.narrowing.as_ref(), "narrowing", &["narrow", "refuse-wider"])? {
            Some("refuse-wider") => Narrowing::RefuseWider,
            _ => Narrowing::Narrow,
        },
        accept_narrowed: flag(&at.accept_narrowed, plain.accept_narrowed),
        invalid_ke_retries: at.invalid_ke_retries.as_ref().map_or(plain.invalid_ke_retries, |n| n.value),
        cookie_retries: at.cookie_retries.as_ref().map_or(plain.cookie_retries, |n| n.value),
        rekey: plain.rekey,
        fragments: plain.fragments,
        style: plain.style,
        single_pair: plain.single_pair,
        unwelcome: plain.unwelcome,
        all_children: flag(&at.all_children, plain.all_children),
        childless: match one_of(at.childless.as_ref(), "childless", &["never", "allow", "prefer", "force"])? {
            Some("never") => Childless::Never,
            Some("prefer") => Childless::Prefer,
            Some("force") => Childless::Force,
            _ => Childless::Allow,
        },
    })
}

fn limits(at: &LimitsSection) -> Result<Limits, Problem> {
    let plain = Limits::default();
    let number = |at: &Option<At<u32>>| at.as_ref().map(|n| n.value);
    Ok(Limits {
        cookie_threshold: match &at.cookie_threshold {
            None => plain.cookie_threshold,
            Some(at) if at.value.0 == "never" => None,
            Some(at) => Some(at.value.0.parse().map_err(|_| {
                Problem::new(format!("`{}` is not a number of half-open IKE SAs", at.value.0))
                    .hint("a number, 0 for always, or never")
                    .at(at.place)
            })?),
        },
        cookie_threshold_per_address: plain.cookie_threshold_per_address,
        max_half_open: number(&at.max_half_open).unwrap_or(plain.max_half_open),
        max_half_open_per_address: number(&at.max_half_open_per_address).or(plain.max_half_open_per_address),
        max_ike_sas: number(&at.max_ike_sas).or(plain.max_ike_sas),
        max_child_sas: number(&at.max_child_sas).or(plain.max_child_sas),
        half_open_timeout: at.half_open_timeout.as_ref().map_or(Ok(plain.half_open_timeout), positive)?,
        linger: at.linger.as_ref().map_or(Ok(plain.linger), duration)?,
        stateless_per_second: number(&at.stateless_per_second).unwrap_or(plain.stateless_per_second),
        fragment_octets: number(&at.fragment_octets).map_or(plain.fragment_octets, |n| n as usize),
    })
}

fn control(at: &ControlSection) -> Result<ControlSpec, Problem> {
    let action = |at: &At<String>| match at.value.trim() {
        "" | "prompt:" => {
            Err(Problem::new("an empty command").hint("a shell command, or prompt: and a text").at(at.place))
        }
        _ => Ok(ControlAction::from_text(&at.value)),
    };
    // Nobody is asked for these: what they do is read or awaited.
    let command = |at: &At<String>| match action(at)? {
        ControlAction::Prompt(_) => {
            Err(Problem::new("this is a command's work, nobody is asked for it").hint("a shell command").at(at.place))
        }
        shell => Ok(shell),
    };
    Ok(ControlSpec {
        initiate: at.initiate.as_ref().map(action).transpose()?,
        clear: at.clear.as_ref().map(action).transpose()?,
        show: at.show.iter().flatten().map(command).collect::<Result<_, _>>()?,
        rekey_child: at.rekey_child.as_ref().map(action).transpose()?,
        rekey_ike: at.rekey_ike.as_ref().map(action).transpose()?,
        orders: {
            let given =
                [&at.rekey_child, &at.rekey_ike, &at.second_child, &at.delete, &at.ping, &at.restart, &at.certificate];
            let mut orders = BTreeMap::new();
            for (key, at) in ControlSpec::ORDERS.into_iter().zip(given) {
                if let Some(at) = at {
                    orders.insert(key, if key == ControlSpec::CERTIFICATE { command(at)? } else { action(at)? });
                }
            }
            orders
        },
        timeout: at.timeout.as_ref().map_or(Ok(ControlSpec::default().timeout), positive)?,
    })
}

pub(super) fn duration(at: &At<Quantity>) -> Result<Duration, Problem> {
    value::duration(&at.value.0).map_err(|p| p.at(at.place))
}

pub(super) fn positive(at: &At<Quantity>) -> Result<Duration, Problem> {
    let duration = duration(at)?;
    if duration.is_zero() { Err(Problem::new("must be longer than nothing").at(at.place)) } else { Ok(duration) }
}

/// A list that must not be empty.
/// A list of proposals. Only with a box that has defaults it may be left out; they are filled in with its other habits.
fn proposals<'a>(
    list: Option<&'a At<Vec<At<String>>>>,
    section: &str,
    persona: &str,
) -> Result<&'a [At<String>], Problem> {
    match list {
        Some(list) => some_of(list, "proposals"),
        None if PERSONAS_WITH_PROPOSALS.contains(&persona) => Ok(&[]),
        None => {
            Err(Problem::new(format!("{section}.proposals is missing")).hint("proposals: [aes256-sha256-modp2048]"))
        }
    }
}

fn some_of<'a, T>(list: &'a At<Vec<T>>, what: &str) -> Result<&'a [T], Problem> {
    if list.value.is_empty() {
        return Err(Problem::new(format!("an empty list of {what}")).at(list.place));
    }
    Ok(&list.value)
}

/// A word that must be one of a few.
pub(super) fn one_of<'a>(at: Option<&At<String>>, what: &str, words: &[&'a str]) -> Result<Option<&'a str>, Problem> {
    let Some(at) = at else { return Ok(None) };
    let given = at.value.trim().to_ascii_lowercase().replace('_', "-");
    match words.iter().find(|word| **word == given) {
        Some(word) => Ok(Some(word)),
        None => {
            let hint =
                did_you_mean(&given, words.iter().copied()).unwrap_or_else(|| format!("one of {}", words.join(", ")));
            Err(Problem::new(format!("unknown {what} `{}`", at.value)).hint(hint).at(at.place))
        }
    }
}
