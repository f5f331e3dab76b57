//! What strongSwan's charon logs at its default level: wording seen in our own interop runs.

use super::{LogLine, Moment, Session};
use crate::engine::{ChildFailure, ConnectionSpec, Event, FailScope, Failed, Failure};
use crate::vendor::persona::Basis;
use crate::wire::registry::ExchangeType;

/// Lines of one moment.
pub(super) fn lines(session: &Session, spec: &ConnectionSpec, moment: &Moment<'_>) -> Vec<LogLine> {
    let seen = |text: String| LogLine::new(Basis::Observed, text);
    match moment {
        Moment::Begins if session.initiator => {
            vec![seen(format!("initiating IKE_SA {}[{}] to {}", spec.name, session.number, session.remote.ip()))]
        }
        Moment::Begins => vec![seen(format!("{} is initiating an IKE_SA", session.remote.ip()))],
        Moment::Event(Event::ChildFailed(failed)) => {
            let mut lines = notify(failed);
            if spec.behaviour.child_failure == ChildFailure::KeepIkeSa {
                lines.push(seen("failed to establish CHILD_SA, keeping IKE_SA".into()));
            }
            lines
        }
        Moment::Event(Event::Failed(failed)) if failed.scope == FailScope::IkeSa => {
            let mut lines = notify(failed);
            if matches!(failed.why, Failure::NoAnswer { .. }) && failed.exchange == ExchangeType::IKE_SA_INIT {
                lines.push(seen("establishing IKE_SA failed, peer not responding".into()));
            }
            lines
        }
        _ => Vec::new(),
    }
}

fn notify(failed: &Failed) -> Vec<LogLine> {
    match &failed.why {
        Failure::Rejected { notify, .. } => vec![LogLine::new(Basis::Observed, format!("received {notify} notify"))],
        _ => Vec::new(),
    }
}
