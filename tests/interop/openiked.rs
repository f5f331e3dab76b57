//! OpenIKED's iked. It needs the XFRM shim, which plays PF_KEY for it. Debian's build hands the kernel only AES-CBC and
//! 3DES with HMAC-SHA1: other Child proposals are agreed upon and then fail to load.
//!
//! It has been seen to end without a tunnel for reasons of its own, so tests go through [`with_retries`], which says so in
//! the output.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::netns::{Net, Side};
use crate::peer::{ChildSa, Control, EspSa, IkeSa, Peer, PeerConfig, read_shim_log};
use crate::process::{Process, put, run, shell_quote, spell, text_of, try_wait_for, wait_for};
use crate::proposal::Proposal;
use crate::strongswan::shim;

const IKED: &str = "/usr/sbin/iked";
const SHORT: Duration = Duration::from_secs(10);

/// A running iked with one policy. It answers; told to initiate, it loads the same policy as an active one.
pub struct OpenIked {
    dir: PathBuf,
    socket: PathBuf,
    process: Process,
}

/// The last thing its parent tells the IKEv2 process before a configuration is in force.
const LOADED: &str = "config_getstatic: no stickyaddress";

/// A Child proposal that iked can load.
pub const CHILD: &str = "aes128-sha1";

/// Runs a test with OpenIKED up to three times. Every failed attempt is printed.
#[track_caller]
pub fn with_retries(test: impl Fn() -> Result<(), String>) {
    const ATTEMPTS: u32 = 3;
    for attempt in 1..=ATTEMPTS {
        // A panic has printed its own message by then.
        let outcome = catch_unwind(AssertUnwindSafe(&test)).unwrap_or_else(|_| Err("it panicked".to_owned()));
        match outcome {
            Ok(()) if attempt == 1 => return,
            Ok(()) => return eprintln!("OpenIKED: attempt {attempt} of {ATTEMPTS} succeeded"),
            Err(why) if attempt < ATTEMPTS => eprintln!("OpenIKED: attempt {attempt} of {ATTEMPTS} failed: {why}"),
            Err(why) => panic!("OpenIKED: all {ATTEMPTS} attempts failed, the last one: {why}"),
        }
    }
}

impl OpenIked {
    /// Starts iked at one side of `net` with `config`.
    #[track_caller]
    pub fn start(net: &Net, side: Side, config: &PeerConfig) -> OpenIked {
        assert!(Path::new(IKED).exists(), "OpenIKED is not installed: run scripts/test-setup");
        let dir = net.dir().join(format!("openiked-{}", side.letter()));
        fs::create_dir_all(&dir).expect("the run directory is writable");
        let socket = net.sockets().join(format!("iked-{}", side.letter()));
        write_config(&dir, config);
        let mut c = net.command(side, "env");
        c.arg(format!("LD_PRELOAD={}", shim().display()))
            .arg(format!("XFRMSHIM_LOG={}", dir.join("shim.log").display()));
        c.arg(IKED).args(["-d", "-v", "-v", "-f"]).arg(dir.join("passive.conf")).arg("-s").arg(&socket);
        let process = Process::spawn(&dir, "iked", &mut c);
        let mut it = OpenIked { dir, socket, process };
        let log = it.dir.join("iked.err");
        it.process.wait_until("it has its sockets", SHORT, || text_of(&log).contains(LOADED).then_some(()));
        it
    }

    /// Loads another configuration.
    #[track_caller]
    pub fn load(&self, config: &PeerConfig) {
        write_config(&self.dir, config);
        let loads = || self.log().matches(LOADED).count();
        self.ikectl(&["reset", "all"]);
        let before = loads();
        self.ikectl(&["load", &self.dir.join("passive.conf").to_string_lossy()]);
        wait_for("iked has taken the configuration in", SHORT, || (loads() > before).then_some(()));
    }

    /// Ends the daemon without letting it delete its SAs.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    fn ikectl(&self, args: &[&str]) -> String {
        run(&mut self.ikectl_command(args), SHORT).stdout
    }

    fn ikectl_command(&self, args: &[&str]) -> Command {
        let mut c = Command::new("ikectl");
        c.arg("-s").arg(&self.socket).args(args);
        c
    }
}

impl Peer for OpenIked {
    /// It begins 2 s after it was told.
    fn initiate(&self) -> Result<(), String> {
        self.ikectl(&["load", &self.dir.join("active.conf").to_string_lossy()]);
        let up = || self.ike_sas().iter().any(|s| s.established && !s.children.is_empty()).then_some(());
        try_wait_for(Duration::from_secs(8), up).ok_or_else(|| crate::peer::tail(&self.log()))
    }

    fn terminate(&self) {
        self.ikectl(&["reset", "sa"]);
    }

    fn ike_sas(&self) -> Vec<IkeSa> {
        read_show_sa(&self.ikectl(&["show", "sa"]))
    }

    fn log(&self) -> String {
        text_of(&self.dir.join("iked.err"))
    }

    fn esp_sas(&self) -> BTreeMap<u32, EspSa> {
        read_shim_log(&text_of(&self.dir.join("shim.log")))
    }

    fn control(&self) -> Control {
        let load = |file: &str| spell(&self.ikectl_command(&["load", &self.dir.join(file).to_string_lossy()]));
        // ikectl only orders: a handshake that begins before iked has taken the file in is flushed in the middle.
        let log = shell_quote(&self.dir.join("iked.err").to_string_lossy());
        let loads = format!("$(grep -c {} {log})", shell_quote(LOADED));
        let clear = format!(
            "{}; n={loads}; {}; i=0; while [ {loads} -le $n ] && [ $i -lt 200 ]; do sleep 0.02; i=$((i+1)); done",
            spell(&self.ikectl_command(&["reset", "sa"])),
            load("passive.conf"),
        );
        Control {
            initiate: load("active.conf"),
            clear,
            show: vec![
                spell(&self.ikectl_command(&["show", "sa"])),
                format!("tail -n 40 {}", shell_quote(&self.dir.join("iked.err").to_string_lossy())),
            ],
            orders: Vec::new(),
        }
    }

    fn name(&self) -> &'static str {
        "OpenIKED"
    }
}

#[track_caller]
fn write_config(dir: &Path, config: &PeerConfig) {
    let PeerConfig { local, remote, psk, .. } = config;
    let flows: Vec<String> =
        config.local_ts.iter().flat_map(|l| config.remote_ts.iter().map(move |r| format!("from {l} to {r}"))).collect();
    let words = |list: &[String], child: bool| {
        let keyword = if child { "childsa" } else { "ikesa" };
        list.iter().map(|p| format!("{keyword} {}", Proposal::parse(p).iked(child))).collect::<Vec<_>>().join(" ")
    };
    for mode in ["active", "passive"] {
        let file = dir.join(format!("{mode}.conf"));
        let text = format!(
            "ikev2 \"p\" {mode} esp {} local {local} peer {remote} {} {} srcid {} dstid {} psk \"{psk}\"\n",
            flows.join(" "),
            words(&config.ike, false),
            words(&config.esp, true),
            config.local_id.plain(),
            config.remote_id.plain(),
        );
        put(&file, &text);
        // It refuses a file with secrets that others can read.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("our own file");
    }
}

/// Reads `ikectl show sa`:
///
/// ```text
/// iked_sas: 0x5.. rspi 0x4187254ae7c42396 ispi 0x45bb499e815ca702 10.99.0.2:4500->10.99.0.1:4500<FQDN/a.test>[] ESTABLISHED r ..
///   sa_childsas: 0x5.. ESP 0xcd70be42 in 10.99.0.1:4500 -> 10.99.0.2:4500 (LA) ..
/// ```
///
/// `L` says that the kernel has the SA.
fn read_show_sa(text: &str) -> Vec<IkeSa> {
    let mut sas: Vec<IkeSa> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |name: &str| words.iter().skip_while(|w| **w != name).nth(1).copied();
        let number = |w: &str| u64::from_str_radix(w.trim_start_matches("0x"), 16).ok();
        match words.first() {
            Some(&"iked_sas:") => {
                let remote =
                    words.iter().find_map(|w| w.split_once('<')?.1.split_once('>')).map(|(id, _)| id.to_owned());
                let state =
                    words.iter().find(|w| w.len() > 3 && w.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'));
                let state = state.copied().unwrap_or_default().to_owned();
                sas.push(IkeSa {
                    established: state == "ESTABLISHED",
                    state,
                    spi_i: after("ispi").and_then(number),
                    spi_r: after("rspi").and_then(number),
                    remote_id: remote.and_then(|id| Some(id.split_once('/')?.1.to_owned())),
                    ..IkeSa::default()
                });
            }
            Some(&"sa_childsas:") => {
                let Some(sa) = sas.last_mut() else { continue };
                let spi = after("ESP").and_then(number).unwrap_or(0) as u32;
                let loaded = words.iter().any(|w| w.starts_with("(L"));
                // The two directions of a Child are two lines, in either order.
                let inbound = words.contains(&"in");
                let half = sa.children.iter_mut().find(|c| if inbound { c.spi_in == 0 } else { c.spi_out == 0 });
                let child = match half {
                    Some(child) => child,
                    None => {
                        sa.children.push(ChildSa { installed: true, ..ChildSa::default() });
                        sa.children.last_mut().expect("just pushed")
                    }
                };
                child.installed &= loaded;
                *(if inbound { &mut child.spi_in } else { &mut child.spi_out }) = spi;
            }
            _ => {}
        }
    }
    sas
}
