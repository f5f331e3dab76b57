//! Syslog of an ASA; FTD runs the same engine and prints the same numbers.

use super::{LogLine, Moment, Session};
use crate::engine::{
    AuthFault, ConnectionSpec, Event, FailScope, Failed, Failure, IgnoredWhy, LocalFault, PeerIncompatible, Side,
};
use crate::vendor::persona::Basis;
use crate::wire::TrafficSelector;
use crate::wire::registry::{ExchangeType, NotifyType};

/// Lines of one moment.
pub(super) fn lines(box_: &str, session: &Session, spec: &ConnectionSpec, moment: &Moment<'_>) -> Vec<LogLine> {
    let tagged = |basis, id: &str, text: String| LogLine::new(basis, format!("%{box_}-{id}: {text}"));
    let about = |basis, id: &str, text: &str| tagged(basis, id, format!("{} IKEv2 {text}", who(session)));
    let map = "Map Tag = OUTSIDE-MAP. Map Sequence Number = 10.";
    match moment {
        Moment::Begins if session.initiator => {
            let (local, remote) = spec
                .children
                .first()
                .map_or((String::new(), String::new()), |child| (ranges(&child.local_ts), ranges(&child.remote_ts)));
            vec![
                tagged(
                    Basis::Observed,
                    "5-752003",
                    format!("Tunnel Manager dispatching a KEY_ACQUIRE message to IKEv2. {map}"),
                ),
                about(
                    Basis::Observed,
                    "5-750001",
                    &format!(
                        "Received request to establish an IPsec tunnel; local traffic selector = {local}; remote traffic selector = {remote}"
                    ),
                ),
            ]
        }
        Moment::Begins => vec![about(Basis::Documented, "5-750002", "Received a IKE_INIT_SA request")],
        Moment::Said(NotifyType::COOKIE) if !session.initiator => {
            vec![about(Basis::Documented, "5-750004", "Sending COOKIE challenge to throttle possible DoS")]
        }
        Moment::Said(_) => Vec::new(),
        Moment::Event(Event::IkeUp(_)) => {
            vec![about(Basis::Documented, "5-750006", "SA UP. Reason: New Connection Established")]
        }
        Moment::Event(Event::Deleted { by }) => {
            let why = if *by == Side::Peer { "peer request" } else { "administrator action" };
            vec![about(Basis::Modelled, "5-750007", &format!("SA DOWN. Reason: {why}"))]
        }
        Moment::Event(Event::Ignored(ignored)) if ignored.why == IgnoredWhy::Limit => {
            vec![about(Basis::Documented, "5-750009", "SA request rejected due to CAC limit reached: in negotiation")]
        }
        Moment::Event(Event::ChildFailed(failed)) => failure(box_, session, failed),
        Moment::Event(Event::Failed(failed)) if failed.scope == FailScope::IkeSa => {
            let mut lines = failure(box_, session, failed);
            if session.up && matches!(failed.why, Failure::NoAnswer { .. }) {
                lines.push(about(Basis::Modelled, "5-750007", "SA DOWN. Reason: peer lost"));
            }
            if session.initiator && !session.up {
                lines.push(tagged(
                    Basis::Observed,
                    "4-752012",
                    format!("IKEv2 was unsuccessful at setting up a tunnel. {map}"),
                ));
                lines.push(tagged(
                    Basis::Observed,
                    "3-752015",
                    "Tunnel Manager has failed to establish an L2L SA. All configured IKE versions failed to establish \
                     the tunnel. Map Tag= OUTSIDE-MAP. Map Sequence Number = 10."
                        .into(),
                ));
            }
            lines
        }
        Moment::Event(_) => Vec::new(),
    }
}

fn failure(box_: &str, session: &Session, failed: &Failed) -> Vec<LogLine> {
    // Reasons that were seen in debug only, and not in this message, are modelled.
    let aborted = |basis, why: &str| {
        let text = format!("%{box_}-4-750003: {} IKEv2 Negotiation aborted due to ERROR: {why}", who(session));
        LogLine::new(basis, text)
    };
    match &failed.why {
        Failure::Rejected { notify: NotifyType::NO_PROPOSAL_CHOSEN, .. } => {
            vec![aborted(Basis::Modelled, "Received no proposal chosen notify")]
        }
        Failure::Incompatible(PeerIncompatible::NoProposal { .. }) => {
            vec![aborted(Basis::Modelled, "Failed to find a matching policy")]
        }
        Failure::Incompatible(PeerIncompatible::Selectors { offered_i, offered_r, .. }) => {
            let (remote, local) = if session.initiator { (offered_r, offered_i) } else { (offered_i, offered_r) };
            vec![
                aborted(Basis::Observed, "There was no IPSEC policy found for received TS"),
                LogLine::new(
                    Basis::Documented,
                    format!(
                        "%{box_}-3-751022: {} Tunnel rejected: Crypto Map Policy not found for remote traffic selector {} local traffic selector {}!",
                        who(session),
                        slashes(remote),
                        slashes(local),
                    ),
                ),
            ]
        }
        Failure::Rejected { notify: NotifyType::TS_UNACCEPTABLE, .. } => {
            vec![aborted(Basis::Modelled, "Received TS unacceptable notify")]
        }
        Failure::Rejected { notify: NotifyType::AUTHENTICATION_FAILED, .. }
        | Failure::AuthFailed(AuthFault::Mismatch { .. }) => {
            vec![aborted(Basis::Observed, "Failed to authenticate the IKE SA")]
        }
        Failure::AuthFailed(AuthFault::Identity { .. }) => {
            vec![aborted(Basis::Modelled, "Failed to locate an item in the database")]
        }
        Failure::AuthFailed(AuthFault::Certificate(fault)) => {
            let mut lines = Vec::new();
            // The path is validated; whom the certificate names and who has its key are other questions.
            if matches!(fault.check(), "encoding" | "validity" | "issuer" | "usage" | "revocation" | "path") {
                let text = format!("%{box_}-3-717009: Certificate validation failed.");
                lines.push(LogLine::new(Basis::Documented, text));
            }
            lines.push(aborted(Basis::Modelled, "Failed to authenticate the IKE SA"));
            lines
        }
        Failure::AuthFailed(_) => vec![aborted(
            Basis::Modelled,
            "Peer authentication method configured is mismatching with the method proposed by peer",
        )],
        Failure::NoAnswer { .. } if failed.exchange == ExchangeType::IKE_SA_INIT || !session.up => {
            vec![aborted(Basis::Modelled, "Maximum number of retransmissions reached")]
        }
        Failure::Local(LocalFault::HalfOpenExpired) => {
            vec![aborted(Basis::Observed, "Failed to receive the AUTH msg before the timer expired")]
        }
        _ => Vec::new(),
    }
}

/// "Local:A:500 Remote:B:500 Username:U", as in every 750xxx message.
fn who(session: &Session) -> String {
    let user = session.peer_id.as_ref().map_or_else(|| "Unknown".to_owned(), super::id_value);
    format!("Local:{} Remote:{} Username:{user}", session.local, session.remote)
}

fn ranges(list: &[TrafficSelector]) -> String {
    list.first().map_or_else(String::new, |ts| {
        let (first, last) = super::ends(ts);
        format!("Address Range: {first}-{last} Protocol: {} Port Range: {}-{}", ts.protocol, ts.start_port, ts.end_port)
    })
}

fn slashes(list: &[TrafficSelector]) -> String {
    list.first().map_or_else(String::new, |ts| {
        let (first, last) = super::ends(ts);
        format!("{first}/{last}/{}/{}/{}", ts.start_port, ts.end_port, ts.protocol)
    })
}
