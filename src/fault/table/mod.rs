//! The catalogue of named faults. A row instantiates primitives and says what they are for; command-line help,
//! documentation and the scenario schema read it. One file for each phase.

mod auth;
mod child;
mod crypto;
mod esp;
mod header;
mod informational;
mod init;
mod names;
mod payload;
mod proposal;
mod protect;
mod row;
mod text;
mod transport;

pub use names::{
    did_you_mean, exchange_by_name, group_by_name, notify_by_name, parse_duration, payload_by_name,
    transform_type_by_name,
};
pub use row::{ArgSpec, Args, FaultRow, Roles};
pub use text::parse;

/// Where in the life of a tunnel, or in a datagram, a fault belongs: the sections of the catalogue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Datagrams on their way.
    Transport,
    /// The IKE header.
    Header,
    /// Payloads of any kind.
    Payloads,
    /// The SA payload.
    Proposals,
    /// Key exchange, nonces and SPIs.
    Crypto,
    /// IKE_SA_INIT: cookies, groups, NAT detection.
    Init,
    /// IKE_AUTH: identities, AUTH, the first Child SA and its selectors.
    Auth,
    /// The encrypted payload and fragments.
    Protection,
    /// CREATE_CHILD_SA.
    Create,
    /// INFORMATIONAL, timers, and restarts.
    Informational,
    /// ESP.
    Esp,
}

impl Phase {
    /// The section's heading.
    pub fn title(self) -> &'static str {
        match self {
            Phase::Transport => "Datagrams on their way",
            Phase::Header => "The IKE header",
            Phase::Payloads => "Payloads of any kind",
            Phase::Proposals => "The SA payload",
            Phase::Crypto => "Key exchange, nonces and SPIs",
            Phase::Init => "IKE_SA_INIT: cookies, groups, NAT detection",
            Phase::Auth => "IKE_AUTH: identities, AUTH, selectors",
            Phase::Protection => "The encrypted payload and fragments",
            Phase::Create => "CREATE_CHILD_SA: rekeying",
            Phase::Informational => "INFORMATIONAL, timers, restarts",
            Phase::Esp => "ESP",
        }
    }

    /// One word for it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Transport => "transport",
            Phase::Header => "header",
            Phase::Payloads => "payloads",
            Phase::Proposals => "proposals",
            Phase::Crypto => "crypto",
            Phase::Init => "init",
            Phase::Auth => "auth",
            Phase::Protection => "protection",
            Phase::Create => "create",
            Phase::Informational => "informational",
            Phase::Esp => "esp",
        }
    }
}

/// The sections, in their order.
pub static SECTIONS: &[(Phase, &[FaultRow])] = &[
    (Phase::Transport, transport::ROWS),
    (Phase::Header, header::ROWS),
    (Phase::Payloads, payload::ROWS),
    (Phase::Proposals, proposal::ROWS),
    (Phase::Crypto, crypto::ROWS),
    (Phase::Init, init::ROWS),
    (Phase::Auth, auth::ROWS),
    (Phase::Protection, protect::ROWS),
    (Phase::Create, child::ROWS),
    (Phase::Informational, informational::ROWS),
    (Phase::Esp, esp::ROWS),
];

/// Every named fault.
pub fn all() -> impl Iterator<Item = &'static FaultRow> + Clone {
    SECTIONS.iter().flat_map(|(_, rows)| rows.iter())
}

/// The section of a fault.
pub fn phase_of(row: &FaultRow) -> Phase {
    let section = SECTIONS.iter().find(|(_, rows)| rows.iter().any(|other| other.name == row.name));
    section.map_or(Phase::Transport, |(phase, _)| *phase)
}

/// The fault named `name`.
///
/// # Errors
/// Names the nearest one.
pub fn find(name: &str) -> Result<&'static FaultRow, String> {
    all().find(|row| row.name == name).ok_or_else(|| {
        let names = all().map(|row| row.name);
        format!("there is no fault {name:?}{}", did_you_mean(name, names))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_row_is_complete_and_builds() {
        let mut seen = BTreeSet::new();
        for row in all() {
            assert!(seen.insert(row.name), "{} stands twice", row.name);
            let name = row.name;
            assert!(row.help.ends_with('.') && row.peer.ends_with('.'), "{name}: help and answer are sentences");
            assert!(row.rfc.contains("RFC"), "{name}");
            assert!(row.example().contains(name), "{name}: {}", row.example());
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'), "{name}");
            let rule = row.rule(&row.sample(), Some(2)).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(rule.times, Some(2));
            assert_eq!(rule.action.seam(), row.seam(), "{name}");
            rule.check().unwrap_or_else(|error| panic!("{error}"));
            for arg in row.args {
                assert!(!arg.help.is_empty() && !arg.unit.is_empty(), "{name}: {}", arg.name);
            }
        }
        assert!(seen.len() >= 120, "{} faults", seen.len());
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
