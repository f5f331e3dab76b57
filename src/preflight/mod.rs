//! "Will it survive tonight?": a rehearsal of what a tunnel will go through, now and in order.
//!
//! A tunnel that comes up has shown that IKE_SA_INIT and IKE_AUTH agree, and nothing else: its first rekey carries
//! payloads that no message before it had. [`Preflight`] orders each of those exchanges from our side, with a ping before
//! and after, and then waits for the peer to do its share. What was not tried is [`Verdict::NotTested`], never a success.
//!
//! The runner is a plain state machine: a driver hands it events and the time, and it orders things of the endpoint and
//! of the data plane.

pub mod outlook;
mod run;

use std::time::Duration;

pub use run::{Options, Order, Preflight, TUNNEL};

use crate::engine::{ConnectionSpec, Pfs, Side};
use crate::wire::registry::KeMethod;

/// Something to try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trial {
    /// IKE_SA_INIT and IKE_AUTH, from our side.
    Connect,
    /// Rekey of the first Child SA, with or without a key exchange.
    RekeyChild {
        /// What is offered.
        pfs: Pfs,
        /// What the connection says itself; the other way is tried to learn what the peer takes.
        configured: bool,
    },
    /// Rekey of the IKE SA.
    RekeyIke,
    /// Another Child SA beside the first, and its deletion.
    SecondChild {
        /// Name of the configured child.
        name: String,
        /// The connection has no second child: this is the first one again.
        again: bool,
    },
    /// An empty INFORMATIONAL.
    Liveness,
    /// DELETE of the IKE SA, and a new one.
    Recreate,
    /// The peer begins, after a DELETE of ours.
    PeerConnects,
    /// The peer rekeys a Child SA.
    PeerRekeysChild,
    /// The peer rekeys the IKE SA.
    PeerRekeysIke,
}

impl Trial {
    /// In words.
    pub fn title(&self) -> String {
        let group = |pfs: &Pfs| match pfs {
            Pfs::With(method) => format!("with PFS ({method})"),
            Pfs::Without => "without PFS".to_owned(),
            Pfs::AsConfigured => "as configured".to_owned(),
        };
        match self {
            Trial::Connect => "connect".into(),
            Trial::RekeyChild { pfs, .. } => format!("Child rekey {}", group(pfs)),
            Trial::RekeyIke => "IKE rekey".into(),
            Trial::SecondChild { name, again: false } => format!("second Child SA ({name})"),
            Trial::SecondChild { name, again: true } => format!("second Child SA ({name} again)"),
            Trial::Liveness => "liveness check".into(),
            Trial::Recreate => "delete and connect again".into(),
            Trial::PeerConnects => "the peer connects".into(),
            Trial::PeerRekeysChild => "the peer rekeys the Child SA".into(),
            Trial::PeerRekeysIke => "the peer rekeys the IKE SA".into(),
        }
    }

    /// Who begins.
    pub fn side(&self) -> Side {
        match self {
            Trial::PeerConnects | Trial::PeerRekeysChild | Trial::PeerRekeysIke => Side::Peer,
            _ => Side::Us,
        }
    }
}

/// The trials of a connection, ours first.
pub fn plan(spec: &ConnectionSpec) -> Vec<Trial> {
    let mut trials = vec![Trial::Connect];
    if let Some(first) = spec.children.first() {
        let other = spec.ike_proposals.iter().flat_map(|p| p.ke_methods()).next().unwrap_or(KeMethod::MODP_2048);
        let (with, configured) = match first.pfs.first() {
            Some(group) => (Pfs::With(*group), true),
            None => (Pfs::With(other), false),
        };
        let with = Trial::RekeyChild { pfs: with, configured };
        let without = Trial::RekeyChild { pfs: Pfs::Without, configured: !configured };
        // What the connection says itself comes first.
        if configured { trials.extend([with, without]) } else { trials.extend([without, with]) }
    }
    trials.push(Trial::RekeyIke);
    if let Some(child) = spec.children.get(1).or(spec.children.first()) {
        trials.push(Trial::SecondChild { name: child.name.clone(), again: spec.children.len() < 2 });
    }
    trials.extend([Trial::Liveness, Trial::Recreate, Trial::PeerConnects]);
    if !spec.children.is_empty() {
        trials.push(Trial::PeerRekeysChild);
    }
    trials.push(Trial::PeerRekeysIke);
    trials
}

/// What a trial came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It worked.
    Worked,
    /// It did not, and does not need to: worth knowing.
    Noted,
    /// It did not work: tonight it will not, either.
    Failed,
    /// It was not tried.
    NotTested,
}

impl Verdict {
    /// As a column shows it.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Worked => "ok",
            Verdict::Noted => "note",
            Verdict::Failed => "FAILED",
            Verdict::NotTested => "not tested",
        }
    }
}

/// Echo requests before or after a trial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pings {
    /// How many were sent.
    pub sent: u64,
    /// How many were answered in time.
    pub answered: u64,
}

impl Pings {
    /// All came back.
    pub fn whole(self) -> bool {
        self.sent > 0 && self.answered == self.sent
    }
}

/// A trial that has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// What was tried.
    pub trial: Trial,
    /// What came of it.
    pub verdict: Verdict,
    /// How long the exchange took, without pings.
    pub took: Duration,
    /// In a sentence: what was agreed, what the peer answered, why it was not tried.
    pub detail: String,
    /// Before it; `None` if nobody is known to answer, or there was no tunnel.
    pub before: Option<Pings>,
    /// After it.
    pub after: Option<Pings>,
}

/// All of a preflight.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// In the order of trying.
    pub outcomes: Vec<Outcome>,
    /// Echo requests were sent at all.
    pub data_tested: bool,
}

impl Report {
    /// Outcomes with this verdict.
    pub fn with(&self, verdict: Verdict) -> impl Iterator<Item = &Outcome> + '_ {
        self.outcomes.iter().filter(move |o| o.verdict == verdict)
    }

    /// Trials after which, or before which, an echo request was lost although the trial itself went well.
    pub fn data_lost(&self) -> impl Iterator<Item = &Outcome> + '_ {
        let lost = |pings: Option<Pings>| pings.is_some_and(|p| !p.whole());
        self.outcomes.iter().filter(move |o| o.verdict != Verdict::NotTested && (lost(o.before) || lost(o.after)))
    }

    /// Nothing failed, and no echo request was lost.
    pub fn clean(&self) -> bool {
        self.with(Verdict::Failed).next().is_none() && self.data_lost().next().is_none()
    }

    /// Both halves and the data were tried.
    pub fn complete(&self) -> bool {
        self.data_tested && self.with(Verdict::NotTested).next().is_none() && !self.outcomes.is_empty()
    }
}
