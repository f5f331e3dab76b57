//! `ikelab peer-config`: the matching configuration for the box at the other end.

use std::path::PathBuf;

use super::exit::{CliError, Exit};
use super::{common, term};
use crate::config::Vendor;

/// Arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The connection file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// The box: cisco-ios-xe, cisco-asa, cisco-ftd, paloalto-panos or strongswan [default: the file's remote.vendor]
    #[arg(long, visible_alias = "for", value_name = "VENDOR")]
    vendor: Option<String>,
}

/// Prints it. What the box's words cannot say is a comment in the text and a warning.
pub fn run(args: &Args) -> Result<Exit, CliError> {
    let given = match &args.vendor {
        Some(name) => Some(crate::config::vendor(name).map_err(|e| CliError::usage(format!("--vendor: {e}")))?),
        None => None,
    };
    let mut loaded = crate::config::load(&args.config)?;
    crate::vendor::persona::Persona::complete(&mut loaded);
    common::warn(&loaded);
    let Some(vendor) = given.or(loaded.peer.vendor) else {
        let names: Vec<&str> = Vendor::ALL.iter().map(|v| v.name()).collect();
        let file = args.config.display();
        return Err(CliError::usage(format!(
            "which box? {file} has no remote.vendor; say --vendor {}",
            names.join(", --vendor ")
        )));
    };
    let config = crate::vendor::peer_config(&loaded, vendor);
    term::print(&config.text);
    for gap in &config.gaps {
        term::warning(&format!("not expressed for {}: {gap}", vendor.title()));
    }
    Ok(Exit::Met)
}
