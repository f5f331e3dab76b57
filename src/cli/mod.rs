//! The command line, one file per command.
//!
//! A command is a `clap::Args` struct with a `run` function that gives an [`exit::Exit`] or an [`exit::CliError`].
//! Standard output carries the result (with `--json` nothing but JSON lines), standard error the warnings and errors.

mod box_log;
mod common;
mod connect;
mod crl;
mod data;
mod diagnose;
#[cfg(test)]
mod documents;
pub mod exit;
pub mod failures;
mod faults;
mod keyboard;
mod listen;
mod listen_many;
mod live;
mod load;
mod load_flags;
mod load_live;
mod load_plan;
mod metrics;
mod path;
mod peer_config;
mod preflight;
mod quick;
pub mod report;
pub mod run;
mod rundir;
mod signals;
mod term;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};

use exit::{CliError, Exit};

/// A userspace IKEv2 test peer and interop simulator.
#[derive(Parser)]
#[command(name = "ikelab", version, about, long_about = None, propagate_version = true, after_help = exit::HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Bring one tunnel up as initiator, show what happens, hold it until Ctrl-C
    Connect(Box<connect::Args>),
    /// Serve as responder, for any number of peers, until Ctrl-C
    Listen(Box<listen::Args>),
    /// Put a planned load on a peer, and say who was the limit
    Load(Box<load::Args>),
    /// Relay between two real boxes, and make the path between them bad on purpose
    Path(Box<path::Args>),
    /// Run failure scenarios against a peer, or against the embedded one
    Run(run::RunArgs),
    /// Read the catalogue of failures, or find the one behind a log line
    Failures(failures::FailuresArgs),
    /// Read the catalogue of faults: what `--fault` and scenario files can do to the wire
    Faults(faults::Args),
    /// Explain the failures that a finished run has left in its transcripts
    Diagnose(diagnose::Args),
    /// Print a finished run again, put the box's log into it, or join the shards of a load run
    Report(report::Args),
    /// Print the matching configuration for the box at the other end
    PeerConfig(peer_config::Args),
    /// Print a JSON Schema: of connection files, scenario files, the events that --json prints, or results
    Schema(SchemaArgs),
}

#[derive(clap::Args)]
struct SchemaArgs {
    /// Of what
    #[arg(value_enum, default_value_t = SchemaOf::Connection)]
    of: SchemaOf,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum SchemaOf {
    /// Connection files
    Connection,
    /// Scenario files
    Scenario,
    /// Lines of connect --json, of listen --json, and of transcripts
    Events,
    /// result.json of run
    RunResult,
    /// result.json of load
    LoadResult,
}

/// A command line, and which flags of its command stand there, by clap's names.
fn parse<T: Into<OsString> + Clone>(words: impl IntoIterator<Item = T>) -> Result<(Cli, Vec<String>), clap::Error> {
    let matches = Cli::command().try_get_matches_from(words)?;
    let given = matches.subcommand().map_or_else(Vec::new, |(_, of_command)| given(of_command));
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut Cli::command()))?;
    Ok((cli, given))
}

/// The flags that were given, and not filled in by their defaults.
fn given(matches: &ArgMatches) -> Vec<String> {
    let there = |id: &&clap::Id| matches.value_source(id.as_str()) == Some(ValueSource::CommandLine);
    matches.ids().filter(there).map(|id| id.as_str().to_owned()).collect()
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let (cli, given) = match parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(error) => {
            // Help and version are no errors; clap knows where each belongs.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Met }.into();
        }
    };
    let outcome = match cli.command {
        Command::Connect(args) => connect::run(*args),
        Command::Listen(args) => listen::run(*args),
        Command::Load(args) => load::run(&args, &given),
        Command::Path(args) => path::run(*args),
        Command::Run(args) => return run::run(&args).into(),
        Command::Failures(args) => return failures::run(&args).into(),
        Command::Faults(args) => faults::run(&args),
        Command::Diagnose(args) => diagnose::run(&args),
        Command::Report(args) => report::run(&args),
        Command::PeerConfig(args) => peer_config::run(&args),
        Command::Schema(args) => {
            term::print(&match args.of {
                SchemaOf::Connection => crate::config::connection_schema(),
                SchemaOf::Scenario => format!("{:#}\n", crate::scenario::load::schema()),
                SchemaOf::Events => crate::record::events_schema(),
                SchemaOf::RunResult => crate::scenario::result::schema(),
                SchemaOf::LoadResult => crate::load::summary::schema(),
            });
            Ok(Exit::Met)
        }
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(CliError { exit, message }) => {
            term::error(&message);
            exit.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }

    /// One thing may be said by the word that another command has for it.
    #[test]
    fn a_duration_and_a_vendor_have_one_word_in_all_commands() {
        for words in [
            "peer-config -c f --vendor cisco-asa",
            "peer-config -c f --for cisco-asa",
            "diagnose runs/x --vendor cisco-asa",
            "connect -c f --hold 30s",
            "connect -c f --for 30s",
            "listen -c f --for 30s",
        ] {
            let args = ["ikelab"].into_iter().chain(words.split(' '));
            assert!(super::Cli::try_parse_from(args).is_ok(), "{words}");
        }
    }
}
