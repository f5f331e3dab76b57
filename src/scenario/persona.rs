//! The embedded peer in a persona: what it logs, and which of its habits is the reason when a failure does not show.

use std::path::PathBuf;
use std::{fmt, io};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::change::Setup;
use super::embedded;
use super::file::{Role, RoleCase, Scenario};
use super::halt::Halt;
use super::person::Person;
use super::pki::Authority;
use super::runner::{Bench, BenchSpec};
use super::verdict::Verdict;
use crate::engine::ConnectionSpec;
use crate::seed::{KeySeed, Seeds};
use crate::vendor::persona::{Basis, Dress, Habit};

/// A line that the box which a persona is a model of would log.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PeerLine {
    /// Seconds since the case began.
    pub at: f64,
    /// The line, without the box's timestamp.
    pub text: String,
    /// How its wording is known.
    pub basis: Basis,
}

/// As `peer.log` keeps it.
impl fmt::Display for PeerLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9.3}  {:<10}  {}", self.at, self.basis, self.text)
    }
}

/// Why a persona does not show a failure: the habit without which it would.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// What kind of habit, in a word of a closed set; `several` if no single one is enough.
    pub kind: String,
    /// The habit.
    pub habit: String,
    /// How the habit is known.
    pub basis: Basis,
}

impl Difference {
    fn of(habit: &Habit) -> Option<Self> {
        let kind = habit.trait_?.kind().to_owned();
        Some(Difference { kind, habit: habit.text.to_owned(), basis: habit.basis })
    }

    /// As the detail of a result.
    pub fn words(&self) -> String {
        format!("not this persona ({}): {} [{}]", self.kind, self.habit, self.basis)
    }
}

/// Plays cases again in networks of their own, with one habit of the persona left out at a time.
#[derive(Clone)]
pub struct Doubles {
    /// Our half of the connection.
    pub ours: ConnectionSpec,
    /// The peer's half, without the persona.
    pub theirs: ConnectionSpec,
    /// Everything that the peer wears.
    pub dress: Dress,
    /// Who makes certificates for both, if they have some.
    pub authority: Option<std::sync::Arc<Authority>>,
    /// The plan seed decides the network and the faults.
    pub seeds: Seeds,
    /// Of the peer.
    pub key: KeySeed,
    /// A folder for what is recorded; it is removed afterwards.
    pub scratch: PathBuf,
}

impl Doubles {
    /// The habit without which the failure is reproduced: the difference between this persona and what the scenario
    /// expects. `None` if the plain peer does not show the failure either.
    ///
    /// # Errors
    /// If files fail.
    pub fn difference(&self, scenario: &Scenario, role: Role, case: &RoleCase) -> io::Result<Option<Difference>> {
        let plain =
            Dress { persona: crate::vendor::persona::Persona { habits: &[], ..self.dress.persona }, without: None };
        if !self.reproduces(plain, scenario, role, case)? {
            return Ok(None);
        }
        for (habit, dress) in Dress::each_without(self.dress.persona) {
            if self.reproduces(dress, scenario, role, case)? {
                return Ok(Difference::of(habit));
            }
        }
        let habit = "several of its habits, each of which would be enough".to_owned();
        Ok(Some(Difference { kind: "several".to_owned(), habit, basis: Basis::Modelled }))
    }

    /// A bench of its own with this dress on.
    ///
    /// # Errors
    /// If the scratch folder cannot be made.
    pub fn bench(&self, dress: Dress) -> io::Result<Bench<embedded::VirtualLink>> {
        std::fs::create_dir_all(&self.scratch)?;
        let mut spec = self.ours.clone();
        let key = self.key.clone();
        let (link, peer) = embedded::in_virtual_time(&mut spec, &self.theirs, &self.seeds.plan, key, Some(dress));
        let carry = embedded::simulated(&spec);
        let limits = crate::engine::Limits { cookie_threshold: None, ..Default::default() };
        Ok(Bench::new(BenchSpec {
            link,
            baseline: Setup { authority: self.authority.clone(), ..Setup::new(spec, limits) },
            carry,
            number_from: 0,
            virtual_time: true,
            ping: None,
            seeds: self.seeds.clone(),
            peer: Box::new(peer),
            out: self.scratch.clone(),
            export_keys: false,
            halt: Halt::default(),
            person: Person::reading(|_| {}),
            doubles: None,
        }))
    }

    fn reproduces(&self, dress: Dress, scenario: &Scenario, role: Role, case: &RoleCase) -> io::Result<bool> {
        let mut bench = self.bench(dress)?;
        for role in Role::ALL {
            bench.sanity(role)?;
        }
        let verdict = bench.case(scenario, role, case)?.verdict;
        drop(bench);
        std::fs::remove_dir_all(&self.scratch)?;
        Ok(verdict == Verdict::Reproduced)
    }
}
