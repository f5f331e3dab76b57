//! The system log and ikemgr.log of PAN-OS. Much of the latter's wording is that of racoon2's iked.

use super::{LogLine, Moment, Session};
use crate::engine::{
    AuthFault, Event, FailScope, Failed, Failure, IgnoredWhy, LocalFault, PeerIncompatible, PeerMisbehaved, Side,
};
use crate::vendor::persona::Basis;
use crate::wire::IdPayload;
use crate::wire::registry::{IdType, NotifyType, PayloadType};

/// Lines of one moment.
pub(super) fn lines(session: &Session, moment: &Moment<'_>) -> Vec<LogLine> {
    let manager = |basis, level: &str, text: &str| {
        LogLine::new(
            basis,
            format!("[{level}]: {{ 1: }}: {}:0x7fa6{:08x} {text}", pair(session), session.number * 0xda0),
        )
    };
    let role = if session.initiator { "initiator" } else { "responder" };
    match moment {
        Moment::Event(Event::IkeUp(_)) => {
            vec![LogLine::new(
                Basis::Modelled,
                format!(
                    "IKEv2 IKE SA negotiation is succeeded as {role}, non-rekey. Established SA: {} {}.",
                    bracketed(session),
                    spis(session)
                ),
            )]
        }
        Moment::Event(Event::ChildInbound(_)) => {
            vec![LogLine::new(
                Basis::Modelled,
                format!("IKEv2 child SA negotiation is succeeded as {role}, non-rekey."),
            )]
        }
        Moment::Event(Event::Ignored(ignored)) if ignored.why == IgnoredWhy::UnprotectedError => {
            // The engine says in a sentence what it does not believe; the box names the notify, if it was one.
            let notify = ignored.detail.strip_prefix("the peer answered ").and_then(|rest| rest.split(' ').next());
            let line = |notify: &str| {
                let text = format!("ignoring notification payload (type {notify}) inside unauthenticated response");
                manager(Basis::Modelled, "PWRN", &text)
            };
            notify.map(line).into_iter().collect()
        }
        Moment::Event(Event::Deleted { by: Side::Peer }) => {
            vec![manager(Basis::Modelled, "INFO", "received delete for the IKE SA")]
        }
        Moment::Event(Event::ChildFailed(failed)) => {
            let mut lines = reasons(failed, &manager);
            lines.push(LogLine::new(
                Basis::Modelled,
                format!("IKEv2 child SA negotiation is failed as {role}, non-rekey. {}", child_reason(failed))
                    .trim_end()
                    .to_owned(),
            ));
            lines
        }
        Moment::Event(Event::Failed(failed)) if failed.scope == FailScope::IkeSa => {
            let mut lines = reasons(failed, &manager);
            if session.up {
                lines.push(manager(Basis::Documented, "INFO", "aborting IKEv2 SA"));
                return lines;
            }
            let timeout = matches!(failed.why, Failure::NoAnswer { .. } | Failure::Local(LocalFault::HalfOpenExpired));
            lines.push(LogLine::new(
                // The responder's line was seen; the others are like it.
                if timeout || session.initiator { Basis::Modelled } else { Basis::Observed },
                format!(
                    "IKEv2 IKE SA negotiation is failed as {role}, non-rekey. Failed SA: {} {}{}.",
                    bracketed(session),
                    spis(session),
                    if timeout { " due to timeout" } else { "" },
                ),
            ));
            lines
        }
        _ => Vec::new(),
    }
}

fn reasons(failed: &Failed, manager: &dyn Fn(Basis, &str, &str) -> LogLine) -> Vec<LogLine> {
    match &failed.why {
        Failure::Incompatible(PeerIncompatible::NoProposal { .. }) => {
            vec![manager(Basis::Modelled, "PERR", "no proposal chosen")]
        }
        Failure::Incompatible(PeerIncompatible::Selectors { .. }) if failed.found_by == Side::Us => {
            vec![manager(Basis::Modelled, "PERR", "ts unacceptable")]
        }
        Failure::Rejected { notify: NotifyType::AUTHENTICATION_FAILED, .. } => {
            vec![manager(Basis::Documented, "PERR", "received notify type AUTHENTICATION_FAILED")]
        }
        Failure::Rejected { notify, .. } if failed.scope == FailScope::Child => {
            vec![manager(
                Basis::Modelled,
                "PERR",
                &format!("received Notify type {notify}, failed establishing child_sa"),
            )]
        }
        Failure::Rejected { notify, .. } => {
            vec![manager(Basis::Modelled, "PERR", &format!("received Notify type {notify}"))]
        }
        Failure::AuthFailed(AuthFault::Mismatch { .. }) => vec![
            manager(Basis::Documented, "PERR", "authentication failure"),
            manager(Basis::Documented, "INFO", "authentication result: failure"),
        ],
        Failure::AuthFailed(AuthFault::Identity { got }) => {
            let what = format!("received ID_I (type {}) does not match peers id", typed(got));
            vec![manager(Basis::Observed, "PERR", &what)]
        }
        Failure::Misbehaved(PeerMisbehaved::MissingPayload(PayloadType::KE)) => {
            vec![manager(Basis::Modelled, "PERR", "message lacks KE payload")]
        }
        Failure::NoAnswer { .. } => {
            vec![manager(Basis::Modelled, "PERR", "retransmission count exceeded the limit")]
        }
        _ => Vec::new(),
    }
}

fn child_reason(failed: &Failed) -> String {
    match &failed.why {
        Failure::Rejected { notify, .. } => format!("received notify type {notify}"),
        Failure::Misbehaved(PeerMisbehaved::MissingPayload(PayloadType::KE)) => "message lacks KE payload".into(),
        _ => String::new(),
    }
}

fn pair(session: &Session) -> String {
    let end = |at: std::net::SocketAddr| format!("{}[{}]", at.ip(), at.port());
    format!("{} - {}", end(session.local), end(session.remote))
}

fn bracketed(session: &Session) -> String {
    pair(session).replace(" - ", "-")
}

fn spis(session: &Session) -> String {
    format!("SPI:{}:{}", session.spis.0, session.spis.1)
}

fn typed(id: &IdPayload) -> String {
    let kind = match id.kind {
        IdType::ID_IPV4_ADDR | IdType::ID_IPV6_ADDR => "ipaddr",
        IdType::ID_FQDN => "fqdn",
        IdType::ID_RFC822_ADDR => "ufqdn",
        IdType::ID_KEY_ID => "keyid",
        IdType::ID_DER_ASN1_DN => "dn",
        _ => "unknown",
    };
    format!("{kind} [{}]", super::id_value(id))
}
