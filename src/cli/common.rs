//! Flags that several commands share, and what follows from them: seeds, run directory, recorder.

use std::net::{IpAddr, ToSocketAddrs};
use std::path::PathBuf;

use rand::TryRng;

use super::exit::CliError;
use super::rundir::RunDir;
use super::term;
use crate::config::{Encapsulation, Loaded};
use crate::engine::AuthSpec;
use crate::link::guard;
use crate::link::netem::{Doom, Netem, PathSpec, Way};
use crate::link::udp::{BindError, UdpConfig, UdpLink};
use crate::net::{Class, SocketRole};
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
    /// Send nothing in IP fragments (DF): what is longer than the route's MTU does not leave
    #[arg(long)]
    pub dont_fragment: bool,
    /// Make the path bad on purpose, like loss=5%,delay=20ms,out.blackout=every 5m for 20s [default: the file's `path`]
    #[arg(long, value_name = "SETTINGS")]
    pub path: Option<String>,
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

    /// Puts the bad path, if one is asked for, in front of the sockets.
    pub fn bad_path(&self, link: UdpLink, file: &PathSpec, plan_seed: &str) -> Result<Netem<UdpLink>, CliError> {
        let spec = match &self.path {
            Some(text) => crate::config::path(text).map_err(|e| CliError::usage(format!("--path: {e}")))?,
            None => file.clone(),
        };
        Ok(Netem::new(link, spec, &PlanSeed::from_text(plan_seed)))
    }

    /// Opens the sockets.
    pub fn bind(&self, addresses: Vec<IpAddr>, ike: u16, natt: u16, clock: RealClock) -> Result<UdpLink, CliError> {
        let config = UdpConfig { addresses, ike_port: ike, natt_port: natt, ..self.sockets() };
        Ok(UdpLink::bind(&config, clock)?)
    }

    /// How sockets are opened, whatever their addresses.
    pub fn sockets(&self) -> UdpConfig {
        UdpConfig { interface: self.interface.clone(), dont_fragment: self.dont_fragment, ..UdpConfig::default() }
    }

    /// Opens raw sockets for native ESP, if `encapsulation` has a use for them. Without privilege this is an error only
    /// where nothing else is wanted; returns whether they are open.
    pub fn bind_esp(&self, link: &mut UdpLink, encapsulation: Encapsulation) -> Result<bool, CliError> {
        if encapsulation == Encapsulation::ForceUdp {
            return Ok(false);
        }
        match link.open_esp(&self.sockets()) {
            Ok(()) => Ok(true),
            Err(error) if encapsulation == Encapsulation::Native => Err(error.into()),
            // Whoever needs it is told when there is data to send.
            Err(BindError::EspPrivilege) => Ok(false),
            Err(error) => {
                term::warning(&format!("no native ESP: {error}"));
                Ok(false)
            }
        }
    }

    /// Makes the run directory and a recorder that writes to it.
    pub fn record(&self, link: &UdpLink, clock: RealClock) -> Result<(RunDir, Recorder), CliError> {
        let dir = RunDir::create(self.out.as_deref(), clock.epoch())?;
        let failed = |e: std::io::Error| CliError::environment(e);
        let mut recorder = Recorder::new();
        recorder.add(PcapNg::create(&dir.file("run.pcapng"), clock.epoch()).map_err(failed)?);
        recorder.add(TranscriptDir::create(dir.file("transcript")).map_err(failed)?.dated(clock.epoch()));
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

/// A certificate of ours that has less than this to live is warned about: four weeks, in seconds.
const SOON: i64 = 28 * 86_400;

/// Prints a connection's warnings, and what is about to expire of our own certificates.
pub fn warn(loaded: &Loaded) {
    for warning in &loaded.warnings {
        say(loaded, warning);
    }
    if let AuthSpec::Certificate(ours) = &loaded.spec.local_auth {
        let now = (RealClock::start().epoch().0 / 1_000_000_000) as i64;
        ours.chain().iter().filter_map(|c| c.expiry(now, SOON)).for_each(|text| say(loaded, &text));
    }
}

/// A warning about a connection.
pub fn say(loaded: &Loaded, warning: &str) {
    match &loaded.source {
        Some(source) => term::warning(&format!("{}: {warning}", source.display())),
        None => term::warning(warning),
    }
}

/// What became of the datagrams on a bad path, for `result.json`; null where the path was left alone.
pub fn path_json(link: &Netem<UdpLink>) -> serde_json::Value {
    let fates = link.fates();
    if fates.is_empty() {
        return serde_json::Value::Null;
    }
    let count = |way: Way, doom: Doom| fates.iter().filter(|f| f.way == way && f.fate == doom).count();
    let esp = |way: Way| fates.iter().filter(|f| f.way == way && f.class == Class::Esp && f.fate.is_loss()).count();
    let side = |way: Way| {
        serde_json::json!({
            "esp_lost": esp(way),
            "passed": count(way, Doom::Passed),
            "corrupted": count(way, Doom::Corrupted),
            "duplicated": count(way, Doom::Duplicated),
            "lost": count(way, Doom::Lost),
            "blackout": count(way, Doom::Blackout),
            "too_long": count(way, Doom::TooLong),
            "rate_limit": count(way, Doom::QueueFull),
        })
    };
    serde_json::json!({"out": side(Way::Out), "in": side(Way::In)})
}
