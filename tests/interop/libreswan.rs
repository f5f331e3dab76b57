//! libreswan's pluto, unpacked below `target/peers/libreswan` because its package conflicts with strongSwan's.
//!
//! It always gets the XFRM shim: without kernel ESP it answers TS_UNACCEPTABLE to every Child SA.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::netns::{Net, Side};
use crate::peer::{ChildSa, Control, EspSa, IkeSa, Knob, Peer, PeerConfig, read_shim_log};
use crate::process::{Process, put, run, shell_quote, spell, text_of};
use crate::proposal::Proposal;
use crate::strongswan::shim;

const SHORT: Duration = Duration::from_secs(10);
const NAME: &str = "p";

/// A running pluto with one connection.
pub struct Libreswan {
    dir: PathBuf,
    run_dir: PathBuf,
    /// The shell command that started it.
    command: String,
    process: Process,
}

impl Libreswan {
    /// Starts pluto at one side of `net` and loads `config`.
    #[track_caller]
    pub fn start(net: &Net, side: Side, config: &PeerConfig) -> Libreswan {
        let root = root();
        let dir = net.dir().join(format!("libreswan-{}", side.letter()));
        // Unix sockets live here, and their paths must be short.
        let run_dir = net.sockets().join(format!("pluto-{}", side.letter()));
        for d in [&dir.join("nss"), &dir.join("ipsec.d"), &dir.join("dump"), &run_dir] {
            fs::create_dir_all(d).expect("the run directory is writable");
        }
        let mut certutil = Command::new("certutil");
        certutil.arg("-N").arg("-d").arg(format!("sql:{}", dir.join("nss").display())).arg("--empty-password");
        run(&mut certutil, SHORT).expect_success();
        import_certificates(&dir, config);
        write_config(&dir, config);

        // It starts helpers by their absolute path, so its files go where it expects them, for it alone: each
        // `ip netns exec` has a mount namespace of its own.
        let mut c = net.command(side, "sh");
        c.arg("-c")
            .arg("mount --bind \"$1\" /usr/libexec && shift && exec env \"$@\"")
            .arg("sh")
            .arg(root.join("usr/libexec"));
        c.arg(format!("LD_PRELOAD={}", shim().display()))
            .arg(format!("XFRMSHIM_LOG={}", dir.join("shim.log").display()));
        c.args(["/usr/libexec/ipsec/pluto", "--nofork", "--no-dnssec"]);
        for (option, path) in [
            ("--config", dir.join("ipsec.conf")),
            ("--secretsfile", dir.join("ipsec.secrets")),
            ("--nssdir", dir.join("nss")),
            ("--rundir", run_dir.clone()),
            ("--ipsecdir", dir.join("ipsec.d")),
            ("--dumpdir", dir.join("dump")),
            ("--logfile", dir.join("pluto.log")),
        ] {
            c.arg(option).arg(path);
        }
        let process = Process::spawn(&dir, "pluto", &mut c);
        let mut it = Libreswan { dir, run_dir, command: spell(&c), process };
        let control = it.run_dir.join("pluto.ctl");
        let mut status = it.whack_command(&["--status"]);
        it.process.wait_until("it answers whack", SHORT, || {
            (control.exists() && run(&mut status, SHORT).success()).then_some(())
        });
        it.add(config);
        it
    }

    /// Loads another configuration. SAs of the old one go down.
    #[track_caller]
    pub fn load(&self, config: &PeerConfig) {
        write_config(&self.dir, config);
        self.whack(&["--delete", "--name", NAME]);
        self.add(config);
    }

    #[track_caller]
    fn add(&self, config: &PeerConfig) {
        let done = run(&mut self.addconn_command(), SHORT);
        assert!(done.success(), "libreswan refused its configuration: {done}");
        self.whack(&["--listen"]);
        self.whack(&["--impair", "none"]);
        for (word, _) in config.knobs_of(Knob::LibreswanImpair) {
            self.whack(&["--impair", word]);
        }
        let known = self.whack(&["--status"]);
        assert!(known.contains(&format!("\"{NAME}\"")), "libreswan did not load its connection\n{known}");
    }

    fn addconn_command(&self) -> Command {
        let mut c = Command::new(root().join("usr/libexec/ipsec/addconn"));
        c.arg("--config")
            .arg(self.dir.join("ipsec.conf"))
            .arg("--ctlsocket")
            .arg(self.run_dir.join("pluto.ctl"))
            .arg(NAME);
        c
    }

    /// A shell command that starts it again if it is not there any more, as a supervisor of services would. What it
    /// starts ends with its namespace.
    fn revive_command(&self) -> String {
        let quoted = |path: PathBuf| shell_quote(&path.to_string_lossy());
        let whack = |word: &str| spell(&self.whack_command(&[word]));
        let status = format!("{} >/dev/null 2>&1", whack("--status"));
        format!(
            "{status} || {{ rm -f {pid} {socket}; setsid {start} >>{out} 2>&1 </dev/null & i=0; \
             while ! {status} && [ $i -lt 100 ]; do sleep 0.05; i=$((i+1)); done; {add}; {listen}; }}",
            pid = quoted(self.run_dir.join("pluto.pid")),
            socket = quoted(self.run_dir.join("pluto.ctl")),
            start = self.command,
            out = quoted(self.dir.join("pluto-again.out")),
            add = spell(&self.addconn_command()),
            listen = whack("--listen"),
        )
    }

    /// A shell command that gives it the certificates of `$IKELAB_CHAIN` and the key of `$IKELAB_KEY`, or its own again.
    fn certificate_command(&self) -> String {
        let dir = shell_quote(&self.dir.to_string_lossy());
        format!(
            "set -e; cd {dir}; n=sql:nss; p=own.p12; if [ -n \"$IKELAB_CHAIN\" ]; then p=presented.p12; \
             openssl pkcs12 -export -name own -passout pass:x -in \"$IKELAB_CHAIN\" -inkey \"$IKELAB_KEY\" \
             -certfile \"$IKELAB_CHAIN\" -out $p; fi; {delete} >/dev/null; \
             certutil -F -d $n -n own >/dev/null 2>&1 || true; certutil -D -d $n -n own >/dev/null 2>&1 || true; \
             pk12util -i $p -d $n -W x >/dev/null; {add} >/dev/null; {listen} >/dev/null",
            delete = spell(&self.whack_command(&["--delete", "--name", NAME])),
            add = spell(&self.addconn_command()),
            listen = spell(&self.whack_command(&["--listen"])),
        )
    }

    /// Rekeys the IKE SA or the Child.
    pub fn rekey(&self, child: bool) {
        self.whack(&[if child { "--rekey-ipsec" } else { "--rekey-ike" }, "--name", NAME]);
    }

    /// The same as a shell command.
    pub fn rekey_command(&self, child: bool) -> String {
        spell(&self.whack_command(&[if child { "--rekey-ipsec" } else { "--rekey-ike" }, "--name", NAME]))
    }

    /// Ends the daemon without letting it delete its SAs.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Runs whack and returns what it prints.
    pub fn whack(&self, args: &[&str]) -> String {
        run(&mut self.whack_command(args), SHORT).stdout
    }

    fn whack_command(&self, args: &[&str]) -> Command {
        let mut c = Command::new(root().join("usr/libexec/ipsec/whack"));
        c.arg("--rundir").arg(&self.run_dir).args(args);
        c
    }
}

impl Peer for Libreswan {
    fn initiate(&self) -> Result<(), String> {
        let done = run(&mut self.whack_command(&["--initiate", "--name", NAME]), SHORT);
        // whack's exit status speaks about the command; whether the tunnel stands is in the states.
        let up = self.ike_sas().iter().any(|s| s.established && s.children.iter().any(|c| c.installed));
        if up { Ok(()) } else { Err(done.to_string()) }
    }

    fn terminate(&self) {
        self.whack(&["--terminate", "--name", NAME]);
    }

    fn ike_sas(&self) -> Vec<IkeSa> {
        read_states(&self.whack(&["--showstates"]))
    }

    fn log(&self) -> String {
        text_of(&self.dir.join("pluto.log"))
    }

    fn esp_sas(&self) -> BTreeMap<u32, EspSa> {
        read_shim_log(&text_of(&self.dir.join("shim.log")))
    }

    fn control(&self) -> Control {
        // With a state's number it waits for the answer; by the connection's name it says it once and forgets.
        let whack = |args: &[&str]| spell(&self.whack_command(args));
        let number = r"sed -n 's/^000 #\([0-9]*\):.*STATE_V2_ESTABLISHED_IKE_SA.*/\1/p' | tail -n 1";
        let delete = format!("{} $({} | {number})", whack(&["--deletestate"]), whack(&["--showstates"]));
        Control {
            initiate: spell(&self.whack_command(&["--initiate", "--asynchronous", "--name", NAME])),
            clear: format!("{}; {} || true", self.revive_command(), whack(&["--terminate", "--name", NAME])),
            show: vec![
                spell(&self.whack_command(&["--showstates"])),
                format!("tail -n 40 {}", shell_quote(&self.dir.join("pluto.log").to_string_lossy())),
            ],
            orders: vec![
                ("rekey_child", self.rekey_command(true)),
                ("rekey_ike", self.rekey_command(false)),
                ("second_child", spell(&self.whack_command(&["--initiate", "--asynchronous", "--name", NAME]))),
                ("delete", delete),
                ("certificate", self.certificate_command()),
            ],
        }
    }

    fn name(&self) -> &'static str {
        "libreswan"
    }
}

#[track_caller]
pub fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/libreswan");
    assert!(root.join("usr/libexec/ipsec/pluto").exists(), "libreswan is not there: run scripts/test-setup");
    root
}

#[track_caller]
/// Writes `ipsec.conf` and `ipsec.secrets`.
pub fn write_config(dir: &Path, config: &PeerConfig) {
    let PeerConfig { local, remote, psk, .. } = config;
    let ike: Vec<_> = config.ike.iter().map(|p| Proposal::parse(p).libreswan_ike()).collect();
    let esp: Vec<_> = config.esp.iter().map(|p| Proposal::parse(p)).collect();
    let (local_id, remote_id) = (config.local_id.libreswan(), config.remote_id.libreswan());
    let words = |ts: &[String]| ts.join(",");
    let (local_ts, remote_ts) = (words(&config.local_ts), words(&config.remote_ts));
    // Its esp= takes a group per proposal, but pfs= is for all.
    let pfs = esp.iter().any(|p| p.ke.is_some());
    let esp: Vec<_> = esp
        .iter()
        .map(|p| p.ke.map_or_else(|| p.libreswan_esp(), |ke| format!("{}-dh{}", p.libreswan_esp(), ke.number())))
        .collect();
    let (ike, esp) = (ike.join(","), esp.join(","));
    let mut s = String::from("config setup\n");
    // A later one wins.
    for (key, value) in [("uniqueids", "yes")].into_iter().chain(config.knobs_of(Knob::LibreswanSetup)) {
        let _ = writeln!(s, "\t{key}={value}");
    }
    let _ = writeln!(s, "conn {NAME}");
    let defaults = [
        ("ikev2", "insist"),
        ("left", &local.to_string()),
        ("leftid", &local_id),
        ("leftsubnet", &local_ts),
        // Without kernel ESP there is nothing to route, and its script would fail.
        ("leftupdown", "%disabled"),
        ("right", &remote.to_string()),
        ("rightid", &remote_id),
        ("rightsubnet", &remote_ts),
        ("ike", &ike),
        ("esp", &esp),
        ("pfs", if pfs { "yes" } else { "no" }),
        ("authby", "secret"),
        ("retransmit-timeout", "3s"),
        ("retransmit-interval", "500"),
        ("keyingtries", "1"),
        ("auto", "add"),
    ];
    let knobs: Vec<_> = config.knobs_of(Knob::Libreswan).collect();
    let kept = defaults.iter().copied().filter(|(k, _)| !knobs.iter().any(|(key, _)| key == k));
    for (key, value) in kept.chain(knobs.iter().copied()) {
        let _ = writeln!(s, "\t{key}={value}");
    }
    put(&dir.join("ipsec.conf"), &s);
    put(&dir.join("ipsec.secrets"), &format!("{local_id} {remote_id} : PSK \"{psk}\"\n"));
}

/// Puts certificates into its NSS database, its own under the name `own`.
#[track_caller]
fn import_certificates(dir: &Path, config: &PeerConfig) {
    let nss = format!("sql:{}", dir.join("nss").display());
    if let Some(own) = &config.certs.own {
        put(&dir.join("own.pem"), &own.leaf);
        put(&dir.join("own.key"), &own.key);
        put(&dir.join("own-chain.pem"), &own.chain.concat());
        let mut export = Command::new("openssl");
        export.args(["pkcs12", "-export", "-name", "own", "-passout", "pass:x"]);
        export.arg("-in").arg(dir.join("own.pem")).arg("-inkey").arg(dir.join("own.key"));
        if !own.chain.is_empty() {
            export.arg("-certfile").arg(dir.join("own-chain.pem"));
        }
        run(export.arg("-out").arg(dir.join("own.p12")), SHORT).expect_success();
        let mut import = Command::new("pk12util");
        import.arg("-i").arg(dir.join("own.p12")).args(["-d", &nss, "-W", "x"]);
        run(&mut import, SHORT).expect_success();
    }
    for (n, pem) in config.certs.trust.iter().flat_map(|t| &t.ca).enumerate() {
        let file = dir.join(format!("ca-{n}.pem"));
        put(&file, pem);
        let mut import = Command::new("certutil");
        import.args(["-A", "-d", &nss, "-n", &format!("ca-{n}"), "-t", "CT,,", "-a", "-i"]).arg(&file);
        run(&mut import, SHORT).expect_success();
    }
}

/// Reads `whack --showstates`:
///
/// ```text
/// 000 #1: "p":500 STATE_V2_ESTABLISHED_IKE_SA (established IKE SA); ...
/// 000 #2: "p":500 STATE_V2_ESTABLISHED_CHILD_SA (established Child SA); ... IKE SA #1; idle;
/// 000 #2: "p" esp.ce410cab@10.99.0.1 esp.73efcf91@10.99.0.2 tun.0@.. Traffic: ..
/// ```
///
/// The first `esp.` (`esp:` before an IPv6 address) is the peer's, so outbound. It does not show IKE SPIs.
pub fn read_states(text: &str) -> Vec<IkeSa> {
    let mut ikes: BTreeMap<u32, IkeSa> = BTreeMap::new();
    let mut children: BTreeMap<u32, (u32, ChildSa)> = BTreeMap::new();
    for line in text.lines() {
        let Some((number, rest)) = line.strip_prefix("000 #").and_then(|r| r.split_once(": ")) else { continue };
        let Ok(number) = number.parse::<u32>() else { continue };
        if let Some(state) = rest.split_whitespace().find(|w| w.starts_with("STATE_")) {
            let parent = rest.split_once("IKE SA #").and_then(|(_, r)| r.split(';').next()?.trim().parse().ok());
            match parent {
                Some(parent) => {
                    let child = ChildSa {
                        installed: state == "STATE_V2_ESTABLISHED_CHILD_SA",
                        state: state.to_owned(),
                        ..ChildSa::default()
                    };
                    children.insert(number, (parent, child));
                }
                None => {
                    let sa = IkeSa {
                        established: state == "STATE_V2_ESTABLISHED_IKE_SA",
                        state: state.to_owned(),
                        ..IkeSa::default()
                    };
                    ikes.insert(number, sa);
                }
            }
        } else if let Some((_, child)) = children.get_mut(&number) {
            let spi = |w: &str| {
                u32::from_str_radix(w.strip_prefix("esp")?.strip_prefix(['.', ':'])?.split('@').next()?, 16).ok()
            };
            let mut spis = rest.split_whitespace().filter_map(spi);
            (child.spi_out, child.spi_in) = (spis.next().unwrap_or(0), spis.next().unwrap_or(0));
        }
    }
    for (parent, child) in children.into_values() {
        ikes.entry(parent).or_default().children.push(child);
    }
    ikes.into_values().collect()
}
