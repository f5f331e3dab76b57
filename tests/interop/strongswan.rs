//! strongSwan's charon-systemd, driven with swanctl over a VICI socket of its own.
//!
//! It needs neither systemd nor a pid file, so any number run at once. Its log is asked to dump the keys of IKE SAs
//! (`ike = 4`) and Child SAs (`chd = 4`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::netns::{Net, Side};
use crate::peer::{ChildSa, Control, DataPlane, EspSa, IkeKeys, IkeSa, Knob, Peer, PeerConfig, read_shim_log};
use crate::process::{Process, put, run, shell_quote, spell, text_of};

const CHARON: &str = "/usr/sbin/charon-systemd";
const SHORT: Duration = Duration::from_secs(10);

/// Which plugin provides what matters here: aes, ctr, ccm, gcm, chapoly, hmac, xcbc, cmac, md5, sha1, sha2, curve25519 and gmp
/// their namesakes, openssl 3DES and the ECP groups.
const PLUGINS: &str = "aes aesni ccm chapoly cmac constraints counters ctr curve25519 drbg gcm hmac kdf nonce openssl gmp \
     pem pkcs1 pkcs7 pkcs8 pkcs12 mgf1 pubkey random revocation sha1 sha2 md5 x509 xcbc eap-identity eap-md5 eap-mschapv2 \
     eap-tls eap-ttls fips-prf";

/// The name of the one connection, and of its one child.
const IKE: &str = "p";
const CHILD: &str = "c";
/// The name of the second one, if there is one.
const SECOND: &str = "d";

/// A running charon with one connection.
pub struct StrongSwan {
    dir: PathBuf,
    conf: PathBuf,
    uri: String,
    // Last: the fields before it are only names.
    process: Process,
}

impl StrongSwan {
    /// Starts charon at one side of `net` and loads `config`.
    #[track_caller]
    pub fn start(net: &Net, side: Side, config: &PeerConfig, data: DataPlane) -> StrongSwan {
        assert!(Path::new(CHARON).exists(), "strongSwan is not installed: run scripts/test-setup");
        let dir = net.dir().join(format!("strongswan-{}", side.letter()));
        let socket = net.sockets().join(format!("vici-{}", side.letter()));
        let conf = dir.join("strongswan.conf");
        // Of one that was killed.
        let _ = fs::remove_file(&socket);
        for sub in [
            "x509", "x509ca", "x509ocsp", "x509aa", "x509ac", "x509crl", "pubkey", "private", "rsa", "ecdsa", "bliss",
            "pkcs8", "pkcs12",
        ] {
            fs::create_dir_all(dir.join("swanctl").join(sub)).expect("the run directory is writable");
        }
        let uri = format!("unix://{}", socket.display());
        put(&conf, &charon_conf(&dir, &uri, config, data));

        let mut c = net.command(side, "env");
        c.env("STRONGSWAN_CONF", &conf);
        if data == DataPlane::Shim {
            c.arg(format!("LD_PRELOAD={}", shim().display()))
                .arg(format!("XFRMSHIM_LOG={}", dir.join("shim.log").display()));
        }
        let process = Process::spawn(&dir, "charon", c.arg(CHARON));
        let mut it = StrongSwan { dir, conf, uri, process };
        it.process.wait_until("its control socket is there", SHORT, || socket.exists().then_some(()));
        it.load(config);
        it
    }

    /// Loads another configuration; SAs that are up stay.
    #[track_caller]
    pub fn load(&self, config: &PeerConfig) {
        for sub in ["x509", "x509ca", "x509crl", "private"] {
            let dir = self.dir.join("swanctl").join(sub);
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(&dir).expect("the run directory is writable");
        }
        let swanctl = self.dir.join("swanctl");
        if let Some(own) = &config.certs.own {
            put(&swanctl.join("x509/own.pem"), &own.leaf);
            put(&swanctl.join("private/own.pem"), &own.key);
            for (n, pem) in own.chain.iter().enumerate() {
                put(&swanctl.join(format!("x509ca/own-{n}.pem")), pem);
            }
        }
        if let Some(trust) = &config.certs.trust {
            for (n, pem) in trust.ca.iter().enumerate() {
                put(&swanctl.join(format!("x509ca/ca-{n}.pem")), pem);
            }
            for (n, pem) in trust.crl.iter().enumerate() {
                put(&swanctl.join(format!("x509crl/{n}.pem")), pem);
            }
        }
        self.load_text(&swanctl_conf(&[(IKE.to_owned(), CHILD.to_owned(), config)]));
    }

    /// Loads many connections: `p0` with its child `c0`, `p1` and so on. All have the secret of the first one.
    #[track_caller]
    pub fn load_many(&self, configs: &[PeerConfig]) {
        let named: Vec<_> = configs.iter().enumerate().map(|(n, c)| (format!("p{n}"), format!("c{n}"), c)).collect();
        self.load_text(&swanctl_conf(&named));
    }

    /// Loads a whole swanctl.conf, for what [`PeerConfig`] does not cover.
    #[track_caller]
    pub fn load_text(&self, text: &str) {
        let file = self.dir.join("swanctl/swanctl.conf");
        put(&file, text);
        let mut c = self.swanctl(&["--load-all", "--noprompt", "--clear"]);
        run(c.arg("--file").arg(&file), SHORT).expect_success();
    }

    /// Brings up one of [`StrongSwan::load_many`]'s connections.
    pub fn initiate_nth(&self, n: usize) -> Result<(), String> {
        self.initiate_child(&format!("c{n}"))
    }

    fn initiate_child(&self, child: &str) -> Result<(), String> {
        let done = run(&mut self.swanctl(&["--initiate", "--child", child, "--timeout", "8"]), SHORT);
        if done.success() { Ok(()) } else { Err(done.to_string()) }
    }

    /// Rekeys the IKE SA or the Child, as `--rekey` does; returns once it is started.
    #[track_caller]
    pub fn rekey(&self, child: bool) {
        run(&mut self.rekeying(child), SHORT).expect_success();
    }

    /// The same as a shell command.
    pub fn rekey_command(&self, child: bool) -> String {
        spell(&self.rekeying(child))
    }

    fn rekeying(&self, child: bool) -> Command {
        self.swanctl(&if child { ["--rekey", "--child", CHILD] } else { ["--rekey", "--ike", IKE] })
    }

    /// The keys of every IKE SA it derived so far, in that order, from its log.
    pub fn ike_keys(&self) -> Vec<IkeKeys> {
        read_ike_keys(&self.log())
    }

    /// What the whole daemon says to `swanctl ARGS --raw`, for what the typed methods do not cover.
    #[track_caller]
    pub fn raw(&self, args: &[&str]) -> String {
        run(self.swanctl(args).arg("--raw"), SHORT).expect_success()
    }

    /// Where its certificates and keys belong: `x509`, `x509ca`, `private`.
    pub fn credentials(&self) -> PathBuf {
        self.dir.join("swanctl")
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Ends the daemon without letting it delete its SAs.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// A shell command that gives it the certificates of `$IKELAB_CHAIN` and the key of `$IKELAB_KEY`, or its own again.
    fn certificate_command(&self) -> String {
        let dir = shell_quote(&self.dir.join("swanctl").to_string_lossy());
        let file = format!("{dir}/swanctl.conf");
        let load = self.swanctl(&["--load-all", "--noprompt", "--clear"]);
        let flush = self.swanctl(&["--flush-certs"]);
        format!(
            "set -e; cd {dir}; mkdir -p own; [ -f own/leaf ] || {{ cp x509/own.pem own/leaf; cp private/own.pem own/key; \
             cp x509ca/own-0.pem own/above; }}; rm -f x509ca/own-0.pem; \
             if [ -n \"$IKELAB_CHAIN\" ]; then rm -f own/part*; \
             awk '/BEGIN/ {{ n++ }} {{ print > (\"own/part\" n) }}' \"$IKELAB_CHAIN\"; cp own/part1 x509/own.pem; \
             [ ! -f own/part2 ] || cp own/part2 x509ca/own-0.pem; cp \"$IKELAB_KEY\" private/own.pem; \
             else cp own/leaf x509/own.pem; cp own/key private/own.pem; cp own/above x509ca/own-0.pem; fi; \
             {} >/dev/null; {} --file {file}",
            spell(&flush),
            spell(&load),
        )
    }

    fn swanctl(&self, args: &[&str]) -> Command {
        let mut c = Command::new("swanctl");
        c.env("STRONGSWAN_CONF", &self.conf).env("SWANCTL_DIR", self.dir.join("swanctl"));
        c.args(args).args(["--uri", &self.uri]);
        c
    }
}

impl Peer for StrongSwan {
    fn initiate(&self) -> Result<(), String> {
        self.initiate_child(CHILD)
    }

    fn terminate(&self) {
        run(&mut self.swanctl(&["--terminate", "--ike", IKE, "--force", "--timeout", "2"]), SHORT);
    }

    fn ike_sas(&self) -> Vec<IkeSa> {
        let raw = self.raw(&["--list-sas"]);
        raw.lines().filter_map(|l| l.strip_prefix("list-sa event ")).flat_map(read_list_sa).collect()
    }

    fn log(&self) -> String {
        text_of(&self.dir.join("charon.log"))
    }

    fn esp_sas(&self) -> BTreeMap<u32, EspSa> {
        let shim = read_shim_log(&text_of(&self.dir.join("shim.log")));
        if shim.is_empty() { read_esp_keys(&self.log()) } else { shim }
    }

    fn control(&self) -> Control {
        Control {
            initiate: spell(&self.swanctl(&["--initiate", "--child", CHILD, "--timeout", "8"])),
            clear: format!(
                "{} || true",
                spell(&self.swanctl(&["--terminate", "--ike", IKE, "--force", "--timeout", "2"]))
            ),
            show: vec![
                spell(&self.swanctl(&["--list-sas"])),
                format!("tail -n 40 {}", shell_quote(&self.dir.join("charon.log").to_string_lossy())),
            ],
            orders: vec![
                ("rekey_child", self.rekey_command(true)),
                ("rekey_ike", self.rekey_command(false)),
                ("second_child", spell(&self.swanctl(&["--initiate", "--child", SECOND, "--timeout", "8"]))),
                ("delete", spell(&self.swanctl(&["--terminate", "--ike", IKE, "--timeout", "8"]))),
                ("certificate", self.certificate_command()),
            ],
        }
    }

    fn ike_keys_of(&self, spi_i: u64) -> Option<IkeKeys> {
        let keys = self.ike_keys().into_iter().rfind(|k| k.spi_i == spi_i);
        assert!(keys.is_some(), "strongSwan logged no keys for {spi_i:016x}");
        keys
    }

    fn name(&self) -> &'static str {
        "strongSwan"
    }
}

/// The compiled XFRM shim.
#[track_caller]
pub fn shim() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/xfrmshim.so");
    assert!(path.exists(), "the XFRM shim is not compiled: run scripts/test-setup");
    path
}

/// `strongswan.conf` of a charon with its log in `dir`.
pub fn charon_conf(dir: &Path, uri: &str, config: &PeerConfig, data: DataPlane) -> String {
    let kernel = match data {
        DataPlane::Shim | DataPlane::Kernel => "kernel-netlink",
        // The first that can do ESP wins.
        DataPlane::Userspace => "kernel-libipsec kernel-netlink",
    };
    let mut s = format!(
        "charon-systemd {{
  load = {PLUGINS} {kernel} socket-default updown vici attr
  filelog {{
    f {{
      path = {log}
      time_format = %H:%M:%S
      time_add_ms = yes
      ike_name = yes
      flush_line = yes
      default = 1
      ike = 4
      chd = 4
      cfg = 2
    }}
  }}
  journal {{
    default = -1
  }}
  plugins {{
    vici {{
      socket = {uri}
    }}
  }}
",
        log = dir.join("charon.log").display(),
    );
    // Its defences against floods would turn away a test that tries one failure after another.
    let defaults =
        [("retransmit_timeout", "1"), ("retransmit_base", "1.4"), ("retransmit_tries", "3"), ("dos_protection", "no")];
    section(&mut s, "  ", &defaults, config.knobs_of(Knob::Charon));
    s += "}\nswanctl {\n  load = pem pkcs1 pkcs8 pkcs12 x509 revocation constraints pubkey openssl random\n}\n";
    s
}

/// Connections with their names and their childrens' names.
pub fn swanctl_conf(connections: &[(String, String, &PeerConfig)]) -> String {
    let mut s = String::from("connections {\n");
    for (ike, child, config) in connections {
        connection_conf(&mut s, ike, child, config);
    }
    s += "}\n";
    if let Some((_, _, PeerConfig { local_id, remote_id, psk, .. })) = connections.first() {
        let (local_id, remote_id) = (local_id.plain(), remote_id.plain());
        let _ = write!(
            s,
            "secrets {{\n  ike-1 {{\n    id-a = \"{local_id}\"\n    id-b = \"{remote_id}\"\n    secret = \"{psk}\"\n  }}\n}}\n"
        );
    }
    s
}

fn connection_conf(s: &mut String, ike_name: &str, child_name: &str, config: &PeerConfig) {
    let PeerConfig { local, remote, local_id, remote_id, .. } = config;
    let (ike, esp) = (config.ike.join(","), config.esp.join(","));
    let (local_ts, remote_ts) = (config.local_ts.join(","), config.remote_ts.join(","));
    let (local_id, remote_id) = (local_id.plain(), remote_id.plain());
    let _ = writeln!(s, "  {ike_name} {{");
    let (local, remote) = (local.to_string(), remote.to_string());
    let connection = [
        ("version", "2"),
        ("local_addrs", local.as_str()),
        ("remote_addrs", remote.as_str()),
        ("proposals", ike.as_str()),
    ];
    section(s, "    ", &connection, config.knobs_of(Knob::SwanConnection));
    let own = match &config.certs.own {
        Some(own) if own.more.contains("auth =") => format!("certs = own.pem\n      {}", own.more),
        Some(own) => format!("auth = pubkey\n      certs = own.pem\n      {}", own.more),
        None => "auth = psk".to_owned(),
    };
    let trust = match &config.certs.trust {
        Some(trust) if trust.more.contains("auth =") => trust.more.clone(),
        Some(trust) => format!("auth = pubkey\n      {}", trust.more),
        None => "auth = psk".to_owned(),
    };
    let _ = write!(
        s,
        "    local {{\n      {own}\n      id = \"{local_id}\"\n    }}
    remote {{\n      {trust}\n      id = \"{remote_id}\"\n    }}
    children {{\n      {child_name} {{\n"
    );
    let child = [("local_ts", local_ts.as_str()), ("remote_ts", remote_ts.as_str()), ("esp_proposals", esp.as_str())];
    section(s, "        ", &child, config.knobs_of(Knob::SwanChild));
    s.push_str("      }\n");
    if config.knobs_of(Knob::SwanSecondChild).next().is_some() {
        let _ = writeln!(s, "      {SECOND} {{");
        section(s, "        ", &child, config.knobs_of(Knob::SwanSecondChild));
        s.push_str("      }\n");
    }
    s.push_str("    }\n  }\n");
}

/// Writes `key = value` lines; a knob replaces the default of the same key.
fn section<'a>(
    s: &mut String,
    indent: &str,
    defaults: &[(&str, &str)],
    knobs: impl Iterator<Item = (&'a str, &'a str)>,
) {
    let knobs: Vec<_> = knobs.collect();
    let kept = defaults.iter().copied().filter(|(k, _)| !knobs.iter().any(|(key, _)| key == k));
    for (key, value) in kept.chain(knobs.iter().copied()) {
        let _ = writeln!(s, "{indent}{key} = {value}");
    }
}

// ---- swanctl --raw ----

/// A value of VICI's text form: `{k=v k=[a b] k {..}}`.
enum Vici {
    Text(String),
    List(Vec<String>),
    Map(Vec<(String, Vici)>),
}

impl Vici {
    fn get(&self, key: &str) -> Option<&Vici> {
        let Vici::Map(entries) = self else { return None };
        entries.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Vici::Text(t) => Some(t),
            _ => None,
        }
    }

    fn list(&self, key: &str) -> Vec<String> {
        match self.get(key) {
            Some(Vici::List(l)) => l.clone(),
            _ => Vec::new(),
        }
    }

    /// Reads up to the closing brace. Values hold no spaces in what the harness asks for.
    fn parse(text: &mut &str) -> Vici {
        let mut entries = Vec::new();
        loop {
            *text = text.trim_start();
            if text.is_empty() {
                break;
            }
            if let Some(rest) = text.strip_prefix('}') {
                *text = rest;
                break;
            }
            let end = text.find(['=', ' ', '{', '}']).unwrap_or(text.len());
            let key = text[..end].to_owned();
            *text = text[end..].trim_start();
            if let Some(rest) = text.strip_prefix("=[") {
                let end = rest.find(']').unwrap_or(rest.len());
                entries.push((key, Vici::List(rest[..end].split_whitespace().map(str::to_owned).collect())));
                *text = rest.get(end + 1..).unwrap_or("");
            } else if let Some(rest) = text.strip_prefix('=') {
                let mut end = rest.find([' ', '}']).unwrap_or(rest.len());
                // The parts of a distinguished name stand behind commas.
                while rest[..end].ends_with(',') {
                    end = rest[end + 1..].find([' ', '}']).map_or(rest.len(), |more| end + 1 + more);
                }
                entries.push((key, Vici::Text(rest[..end].to_owned())));
                *text = &rest[end..];
            } else if let Some(rest) = text.strip_prefix('{') {
                *text = rest;
                entries.push((key, Vici::parse(text)));
            } else {
                break;
            }
        }
        Vici::Map(entries)
    }
}

/// Reads one `list-sa` event of `swanctl --list-sas --raw`.
pub fn read_list_sa(text: &str) -> Vec<IkeSa> {
    let mut text = text.trim().strip_prefix('{').unwrap_or(text);
    let Vici::Map(sas) = Vici::parse(&mut text) else { return Vec::new() };
    let number = |v: &Vici, key: &str| v.text(key).and_then(|t| u64::from_str_radix(t, 16).ok());
    let suite = |v: &Vici, keys: &[&str]| {
        let words: Vec<&str> = keys.iter().filter_map(|k| v.text(k)).collect();
        (!words.is_empty()).then(|| words.join("/"))
    };
    sas.iter()
        .map(|(_, sa)| {
            let children = match sa.get("child-sas") {
                Some(Vici::Map(children)) => children.as_slice(),
                _ => &[],
            };
            let children = children.iter().map(|(_, c)| ChildSa {
                installed: c.text("state") == Some("INSTALLED"),
                state: c.text("state").unwrap_or_default().to_owned(),
                spi_in: number(c, "spi-in").unwrap_or(0) as u32,
                spi_out: number(c, "spi-out").unwrap_or(0) as u32,
                suite: suite(c, &["encr-alg", "encr-keysize", "integ-alg", "dh-group", "esn"]),
                local_ts: c.list("local-ts"),
                remote_ts: c.list("remote-ts"),
            });
            IkeSa {
                established: sa.text("state") == Some("ESTABLISHED"),
                state: sa.text("state").unwrap_or_default().to_owned(),
                spi_i: number(sa, "initiator-spi"),
                spi_r: number(sa, "responder-spi"),
                local_id: sa.text("local-id").map(str::to_owned),
                remote_id: sa.text("remote-id").map(str::to_owned),
                suite: suite(sa, &["encr-alg", "encr-keysize", "integ-alg", "prf-alg", "dh-group"]),
                children: children.collect(),
            }
        })
        .collect()
}

// ---- the log ----

/// One thing the log says, with its hex dump if it has one, and the IKE SA's number it is said about.
struct Entry<'a> {
    sa: &'a str,
    text: &'a str,
    bytes: Vec<u8>,
}

/// Takes `HH:MM:SS.mmm TT[GRP] <name|N> text` lines and joins each `text => N bytes @ 0x..` with the dump below it.
fn entries(log: &str) -> Vec<Entry<'_>> {
    let mut all: Vec<Entry<'_>> = Vec::new();
    for line in log.lines() {
        let Some((_, rest)) = line.split_once("] ") else { continue };
        let (sa, text) = match rest.strip_prefix('<').and_then(|r| r.split_once("> ")) {
            Some((name, text)) => (name.rsplit('|').next().unwrap_or(name), text),
            None => ("", rest),
        };
        let dump = text.trim_start().split_once(": ").filter(|(offset, _)| offset.parse::<u32>().is_ok());
        match (dump, all.last_mut()) {
            (Some((_, hex)), Some(last)) if last.sa == sa => {
                // 16 groups of "XX " and then the same as text.
                let digits = hex.as_bytes().chunks(3).take(16).map_while(|c| std::str::from_utf8(c.get(..2)?).ok());
                last.bytes.extend(digits.map_while(|d| u8::from_str_radix(d, 16).ok()));
            }
            _ => all.push(Entry { sa, text, bytes: Vec::new() }),
        }
    }
    // The text column of a short last row can look like one more byte: the announced length decides.
    for e in &mut all {
        if let Some((what, length)) = e.text.split_once(" => ") {
            let announced = length.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
            e.bytes.truncate(announced);
            e.text = what;
        }
    }
    all
}

/// The SPIs come from the octets hashed for NAT detection: they begin with both, and every IKE SA has them.
pub fn read_ike_keys(log: &str) -> Vec<IkeKeys> {
    let mut open: BTreeMap<&str, IkeKeys> = BTreeMap::new();
    let mut done: Vec<(&str, IkeKeys)> = Vec::new();
    for e in entries(log) {
        let keys = open.entry(e.sa).or_default();
        if let Some(p) = e.text.strip_prefix("selected proposal: IKE:") {
            keys.proposal = p.to_owned();
        }
        let slot = match e.text {
            "shared Diffie Hellman secret" => &mut keys.shared_secret,
            "SKEYSEED" => &mut keys.skeyseed,
            "Sk_d secret" => &mut keys.sk_d,
            "Sk_ai secret" => &mut keys.sk_ai,
            "Sk_ar secret" => &mut keys.sk_ar,
            "Sk_ei secret" => &mut keys.sk_ei,
            "Sk_er secret" => &mut keys.sk_er,
            "Sk_pi secret" => &mut keys.sk_pi,
            "Sk_pr secret" => &mut keys.sk_pr,
            "natd_chunk" if e.bytes.len() >= 16 => {
                let word = |b: &[u8]| b.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
                let (i, r) = (word(&e.bytes[..8]), word(&e.bytes[8..16]));
                if r != 0 {
                    (keys.spi_i, keys.spi_r) = (i, r);
                    // An initiator checks the hashes after it derived the keys.
                    for (sa, k) in &mut done {
                        if *sa == e.sa && k.spi_r == 0 {
                            (k.spi_i, k.spi_r) = (i, r);
                        }
                    }
                }
                continue;
            }
            _ => continue,
        };
        *slot = e.bytes;
        if e.text == "Sk_pr secret" {
            done.push((e.sa, std::mem::take(keys)));
        }
    }
    done.into_iter().map(|(_, k)| k).collect()
}

/// Child keys from the log, for a daemon without the shim: keys come before the two SAs they are for.
fn read_esp_keys(log: &str) -> BTreeMap<u32, EspSa> {
    #[derive(Default, Clone)]
    struct Keys {
        enc: [Vec<u8>; 2],
        auth: [Vec<u8>; 2],
        inbound: bool,
        we_initiate: bool,
    }
    let mut sas = BTreeMap::new();
    let mut open: BTreeMap<&str, Keys> = BTreeMap::new();
    for e in entries(log) {
        let k = open.entry(e.sa).or_default();
        match e.text {
            "encryption initiator key" => k.enc = [e.bytes, Vec::new()],
            "encryption responder key" => k.enc[1] = e.bytes,
            "integrity initiator key" => k.auth = [e.bytes, Vec::new()],
            "integrity responder key" => k.auth[1] = e.bytes,
            "adding inbound ESP SA" => k.inbound = true,
            "adding outbound ESP SA" => k.inbound = false,
            // Who started the exchange decides which key is whose: the last request seen says so.
            t if t.contains("generating")
                && (t.contains("IKE_AUTH request") || t.contains("CREATE_CHILD_SA request")) =>
            {
                k.we_initiate = true
            }
            t if t.contains("parsed") && (t.contains("IKE_AUTH request") || t.contains("CREATE_CHILD_SA request")) => {
                k.we_initiate = false
            }
            t => {
                let Some((spi, ends)) = t.trim_start().strip_prefix("SPI 0x").and_then(|r| r.split_once(", src "))
                else {
                    continue;
                };
                let Some((src, dst)) = ends.split_once(" dst ") else { continue };
                let (Ok(spi), Ok(src), Ok(dst)) = (u32::from_str_radix(spi, 16), src.parse(), dst.parse()) else {
                    continue;
                };
                let which = usize::from(k.we_initiate == k.inbound);
                sas.insert(
                    spi,
                    EspSa { src, dst, spi, enc_key: k.enc[which].clone(), auth_key: k.auth[which].clone() },
                );
            }
        }
    }
    sas
}
