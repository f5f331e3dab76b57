//! Flags that several commands share, and what follows from them: seeds, run directory, recorder.

use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;

use rand::TryRng;

use super::exit::CliError;
use super::rundir::RunDir;
use super::term;
use crate::config::Loaded;
use crate::link::guard;
use crate::link::udp::{UdpConfig, UdpLink};
use crate::net::SocketRole;
use crate::record::{KeyTables, PcapNg, Recorder, Transcript, TranscriptDir};
use crate::seed::{KeySeed, PlanSeed, Seeds};
use crate::time::RealClock;

/// Flags of every command that speaks IKE.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Common {
    /// Write the run to this directory [default: runs/UTC-TIME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print nothing but JSON on standard output: events as lines, or the result of `run`
    #[arg(long)]
    pub json: bool,
    /// The plan seed: any text; decides whatever is random and may be seen
    #[arg(long, value_name = "TEXT")]
    pub seed: Option<String>,
    /// Show more
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Export keys, so that Wireshark can decrypt the capture; whoever has the run directory can, too
    #[arg(long)]
    pub keys: bool,
    /// Local UDP port for IKE, instead of the file's or 500; 0 lets the system choose
    #[arg(long, value_name = "PORT")]
    pub source_port: Option<u16>,
    /// Local UDP port for NAT traversal, instead of the file's or 4500; 0 lets the system choose
    #[arg(long, value_name = "PORT")]
    pub natt_port: Option<u16>,
    /// Use only this network interface
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// Allow a target outside of private and documentation address space, because it is yours
    #[arg(long)]
    pub i_own_this_target: bool,
}

impl Common {
    /// Both seeds: the plan seed from `--seed` or made up, the key seed from the operating system.
    pub fn seeds(&self) -> Result<Seeds, CliError> {
        let no_entropy = |e| CliError::environment(format!("the operating system gives no random numbers: {e}"));
        let mut random = [0; 40];
        rand::rngs::SysRng.try_fill_bytes(&mut random).map_err(no_entropy)?;
        let (text, key) = random.split_at(8);
        let text = match &self.seed {
            Some(text) => text.clone(),
            None => text.iter().map(|octet| format!("{octet:02x}")).collect(),
        };
        let key = <[u8; 32]>::try_from(key).expect("40 less 8 octets are 32");
        Ok(Seeds::new(PlanSeed::from_text(&text), KeySeed::new(key)))
    }

    /// Applies the port flags to a connection.
    pub fn apply_ports(&self, loaded: &mut Loaded) {
        let ports = &mut loaded.spec.local_ports;
        ports.ike = self.source_port.unwrap_or(ports.ike);
        ports.natt = self.natt_port.unwrap_or(ports.natt);
    }

    /// Opens the sockets.
    pub fn bind(&self, addresses: Vec<IpAddr>, ike: u16, natt: u16, clock: RealClock) -> Result<UdpLink, CliError> {
        let interface = self.interface.clone();
        let config = UdpConfig { addresses, ike_port: ike, natt_port: natt, interface, ..UdpConfig::default() };
        Ok(UdpLink::bind(&config, clock)?)
    }

    /// Makes the run directory and a recorder that writes to it.
    pub fn record(&self, link: &UdpLink, clock: RealClock) -> Result<(RunDir, Recorder), CliError> {
        let dir = RunDir::create(self.out.as_deref(), clock.epoch())?;
        let failed = |e: std::io::Error| CliError::environment(e);
        let mut recorder = Recorder::new();
        recorder.add(PcapNg::create(&dir.file("run.pcapng"), clock.epoch()).map_err(failed)?);
        recorder.add(TranscriptDir::create(dir.file("transcript")).map_err(failed)?);
        if self.keys {
            let ports = [SocketRole::Ike, SocketRole::NatT].map(|role| (link.port(role), role));
            recorder.add(KeyTables::create(&dir.file("keys"), &ports).map_err(failed)?);
            term::warning(&format!(
                "keys are exported to {}: whoever has them and the capture can read everything in it",
                dir.file("keys").display()
            ));
        }
        if self.json {
            recorder.add(Transcript::new("standard output", std::io::stdout()));
        }
        Ok((dir, recorder))
    }
}

/// Resolves a host name that stands in place of the peer's address.
pub fn resolve(loaded: &mut Loaded) -> Result<(), CliError> {
    let Some(host) = loaded.remote_host.take() else { return Ok(()) };
    let addresses: Vec<IpAddr> = match (host.as_str(), 0).to_socket_addrs() {
        Ok(addresses) => addresses.map(|a| a.ip()).collect(),
        Err(error) => {
            let why = error.to_string();
            let why = why.strip_prefix("failed to lookup address information: ").unwrap_or(&why).to_owned();
            return Err(CliError::environment(format!("the name {host} cannot be resolved: {why}")));
        }
    };
    let family = loaded.spec.local_addr;
    let fits = |a: &IpAddr| family.is_none_or(|local| local.is_ipv4() == a.is_ipv4());
    // IPv4 first where there is a choice: what most of the boxes under test are reached by.
    let chosen = addresses.iter().copied().filter(fits).min_by_key(IpAddr::is_ipv6);
    match chosen {
        Some(addr) => loaded.spec.remote_addr = Some(addr),
        None => {
            return Err(CliError::environment(format!(
                "the name {host} has no address of the IP version of local.address"
            )));
        }
    }
    Ok(())
}

/// Refuses a target that is not plainly in a lab, unless its owner says so.
pub fn guard(target: IpAddr, owned: bool) -> Result<(), CliError> {
    guard::check_target(target, owned).map_err(CliError::usage)
}

/// Prints a connection's warnings.
pub fn warn(loaded: &Loaded) {
    for warning in &loaded.warnings {
        match &loaded.source {
            Some(source) => term::warning(&format!("{}: {warning}", source.display())),
            None => term::warning(warning),
        }
    }
}
