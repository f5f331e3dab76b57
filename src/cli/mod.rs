//! The command line, one file per command.

pub mod failures;
pub mod run;
