//! The `ikelab` binary in a namespace, with a connection file made from the same description as its peer's
//! configuration.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::netns::{Net, Side};
use crate::peer::{Control, Knob, PeerConfig};
use crate::process::{Finished, Process, put, run};
use crate::proposal::Proposal;
use crate::rundir::RunDir;

/// The program under test.
pub const IKELAB: &str = env!("CARGO_BIN_EXE_ikelab");

/// ikelab's place in a test: a side of the link, a connection file, a run directory.
pub struct Ikelab<'n> {
    net: &'n Net,
    side: Side,
    file: PathBuf,
    runs: PathBuf,
}

impl<'n> Ikelab<'n> {
    /// Writes the connection file. `control` drives the peer; see [`crate::peer::Peer::control`].
    #[track_caller]
    pub fn new(net: &'n Net, side: Side, config: &PeerConfig, control: Option<&Control>) -> Ikelab<'n> {
        Ikelab::named(net, side, &format!("ikelab-{}", side.letter()), config, control)
    }

    /// The same in a directory of its own: a test that runs ikelab more than once keeps what each run left.
    #[track_caller]
    pub fn named(net: &'n Net, side: Side, name: &str, config: &PeerConfig, control: Option<&Control>) -> Ikelab<'n> {
        let dir = net.dir().join(name);
        std::fs::create_dir_all(&dir).expect("the run directory is writable");
        put(&dir.join("psk"), &config.psk);
        // Anything looser is warned about.
        fs::set_permissions(dir.join("psk"), fs::Permissions::from_mode(0o600)).expect("our own file");
        if let Some(own) = &config.certs.own {
            put(&dir.join("chain.pem"), &(own.leaf.clone() + &own.chain.concat()));
            put(&dir.join("key.pem"), &own.key);
            fs::set_permissions(dir.join("key.pem"), fs::Permissions::from_mode(0o600)).expect("our own file");
        }
        if let Some(trust) = &config.certs.trust {
            put(&dir.join("ca.pem"), &trust.ca.concat());
            put(&dir.join("crl.pem"), &trust.crl.concat());
        }
        let file = dir.join("connection.yaml");
        put(&file, &connection_yaml(config, control));
        Ikelab { net, side, file, runs: dir.join("run") }
    }

    /// Where `--out` puts results and captures.
    pub fn out(&self) -> &Path {
        &self.runs
    }

    /// What is in there, to be read.
    pub fn run_dir(&self) -> RunDir {
        RunDir::new(&self.runs)
    }

    /// Standard output of what [`Ikelab::spawn`] started.
    pub fn stdout_file(&self) -> PathBuf {
        self.file.with_file_name("ikelab.out")
    }

    /// The connection file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// A command line with the connection file and the run directory, not yet started. `args` come after the
    /// subcommand; what needs another order builds its own command with [`Net::command`].
    pub fn command(&self, subcommand: &str, args: &[&str]) -> Command {
        // ikelab writes over no earlier run; a test that runs it twice has read the first one's.
        let _ = fs::remove_dir_all(&self.runs);
        let mut c = self.net.command(self.side, IKELAB);
        // Colour would only be in the way; proxies and the like are nobody's business here.
        c.env("NO_COLOR", "1");
        c.arg(subcommand).arg("-c").arg(&self.file).arg("--out").arg(&self.runs).args(args);
        c
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(&self, subcommand: &str, args: &[&str], timeout: Duration) -> Finished {
        run(&mut self.command(subcommand, args), timeout)
    }

    /// Starts it beside the test; its outputs are `ikelab.out` and `ikelab.err` in its directory.
    #[track_caller]
    pub fn spawn(&self, subcommand: &str, args: &[&str]) -> Process {
        let dir = self.file.parent().expect("the connection file has a directory");
        Process::spawn(dir, "ikelab", &mut self.command(subcommand, args))
    }
}

/// How long an orderly end may take: DELETE, its answer, the report.
const GOODBYE: Duration = Duration::from_secs(8);

/// Ends a running ikelab as Ctrl-C does and returns its exit code; `None` if it did not end.
pub fn interrupt(process: &mut Process) -> Option<i32> {
    process.signal(Signal::SIGINT);
    process.wait(GOODBYE).and_then(|status| status.code())
}

/// Runs one of a [`Control`]'s commands, as ikelab would.
#[track_caller]
pub fn shell(command: &str) -> Finished {
    run(Command::new("sh").args(["-c", command]), Duration::from_secs(15))
}

/// The connection file. The password is in the file `psk` beside it.
pub fn connection_yaml(config: &PeerConfig, control: Option<&Control>) -> String {
    let mut s = String::from("version: 1\nname: interop\n");
    let mut end = |key: &str, addr: &IpAddr, id: &str| {
        let _ = writeln!(s, "{key}: {{address: {}, id: {}}}", quote(&addr.to_string()), quote(id));
    };
    end("local", &config.local, &config.local_id.ikelab());
    end("remote", &config.remote, &config.remote_id.ikelab());
    let more = |text: &str| if text.is_empty() { String::new() } else { format!(", {text}") };
    match &config.certs.own {
        Some(own) => {
            let _ = writeln!(
                s,
                "auth:\n  local: {{certificate: {{chain: ./chain.pem, key: ./key.pem{}}}}}",
                more(&own.more)
            );
        }
        None => s += "auth:\n  local: {psk_file: ./psk}\n",
    }
    match &config.certs.trust {
        Some(trust) => {
            let crl = if trust.crl.is_empty() { "" } else { ", crl: [./crl.pem]" };
            let _ = writeln!(s, "  remote: {{certificate: {{ca: [./ca.pem]{crl}{}}}}}", more(&trust.more));
        }
        None => s += "  remote: {psk_file: ./psk}\n",
    }
    let list = |words: &[String]| words.iter().map(|w| quote(w)).collect::<Vec<_>>().join(", ");
    let extra: Vec<_> = config.knobs_of(Knob::Ikelab).collect();
    let ike: String = extra.iter().filter(|(k, _)| *k == "ike").map(|(_, v)| format!(", {v}")).collect();
    let _ = writeln!(s, "ike: {{proposals: [{}]{ike}}}", list(&config.ike));
    // A Child's group is a setting of its own here, not part of the proposal.
    let esp: Vec<Proposal> = config.esp.iter().map(|p| Proposal::parse(p)).collect();
    let group =
        esp.iter().find_map(|p| p.ke).map(|ke| Proposal { ke: Some(ke), esn: false, ..esp[0].clone() }.to_string());
    let pfs = group.and_then(|g| g.rsplit('-').next().map(str::to_owned)).unwrap_or_else(|| "none".to_owned());
    let bare: Vec<String> = esp.iter().map(|p| Proposal { ke: None, ..p.clone() }.to_string()).collect();
    let _ = writeln!(
        s,
        "children:\n  - name: c\n    proposals: [{}]\n    pfs: {pfs}\n    local_ts: [{}]\n    remote_ts: [{}]",
        list(&bare),
        list(&config.local_ts),
        list(&config.remote_ts),
    );
    for (_, line) in extra.iter().filter(|(k, _)| *k == "child") {
        let _ = writeln!(s, "    {line}");
    }
    for (_, item) in extra.iter().filter(|(k, _)| *k == "more-children") {
        let _ = writeln!(s, "  {item}");
    }
    for (section, value) in extra.iter().filter(|(k, _)| !["ike", "child", "more-children"].contains(k)) {
        let _ = writeln!(s, "{section}: {value}");
    }
    if let Some(c) = control {
        let _ = writeln!(s, "control:\n  initiate: {}\n  clear: {}\n  show:", quote(&c.initiate), quote(&c.clear));
        for command in &c.show {
            let _ = writeln!(s, "    - {}", quote(command));
        }
        for (key, command) in &c.orders {
            let _ = writeln!(s, "  {key}: {}", quote(command));
        }
    }
    s
}

/// A YAML double-quoted string.
fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
