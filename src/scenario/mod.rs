//! Failure scenarios: the file, the working baseline and changes to it, what was observed, the verdict.

pub mod change;
pub mod control;
pub mod embedded;
pub mod estimate;
pub mod expect;
pub mod file;
pub mod halt;
pub mod lanes;
pub mod load;
pub mod matcher;
pub mod observe;
pub mod peer;
pub mod person;
pub mod persona;
pub mod pki;
pub mod proof;
pub mod result;
pub mod rung;
pub mod runner;
pub mod stage;
pub mod stand_in;
pub mod station;
pub mod step;
pub mod suite;
pub mod syslog;
pub mod verdict;

#[cfg(test)]
mod advice_tests;
#[cfg(test)]
mod e2e_tests;
#[cfg(test)]
mod person_tests;
#[cfg(test)]
mod persona_tests;
#[cfg(test)]
pub mod sample;
