//! Exit codes, in one place. A script must be able to tell "the peer is wrong" from "the lab is broken".

use std::fmt;
use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Everything was as expected.
    Met = 0,
    /// An expectation was not met, or a threshold was breached.
    NotMet = 1,
    /// The command line or a file is wrong.
    Usage = 2,
    /// The environment is: a port, a route, a privilege.
    Environment = 3,
    /// Nothing can be said, or the tester was the limit.
    Inconclusive = 4,
}

/// The last lines of `--help`.
pub const HELP: &str = "Exit codes: 0 as expected; 1 not as expected; 2 wrong command line or file; \
                        3 environment (port, route, privilege); 4 inconclusive";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command could not do its work: one clear message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CliError {
    /// The exit code.
    pub exit: Exit,
    /// The message, without "error:" and without a full stop.
    pub message: String,
}

impl CliError {
    /// The command line or a file is wrong.
    pub fn usage(message: impl fmt::Display) -> Self {
        CliError { exit: Exit::Usage, message: message.to_string() }
    }

    /// The environment is.
    pub fn environment(message: impl fmt::Display) -> Self {
        CliError { exit: Exit::Environment, message: message.to_string() }
    }
}

impl From<crate::config::ConfigError> for CliError {
    fn from(error: crate::config::ConfigError) -> Self {
        CliError::usage(error)
    }
}

impl From<crate::link::udp::BindError> for CliError {
    fn from(error: crate::link::udp::BindError) -> Self {
        CliError::environment(error)
    }
}
