//! What a test says about a tunnel, and what every real peer can be asked, whoever wrote it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use crate::netns::{Net, Side};

/// An IKE identity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Id {
    Fqdn(String),
    Email(String),
    Addr(IpAddr),
    /// A distinguished name, `C=CH, CN=x`.
    Dn(String),
}

impl Id {
    pub fn fqdn(name: &str) -> Id {
        Id::Fqdn(name.to_owned())
    }

    /// strongSwan's spelling; iked's and the bare one, too.
    pub fn plain(&self) -> String {
        match self {
            Id::Fqdn(s) | Id::Email(s) | Id::Dn(s) => s.clone(),
            Id::Addr(a) => a.to_string(),
        }
    }

    /// libreswan writes `@` before a name that is not to be looked up, and wants quotes around blanks.
    pub fn libreswan(&self) -> String {
        match self {
            Id::Fqdn(s) => format!("@{s}"),
            Id::Dn(s) => format!("\"{s}\""),
            _ => self.plain(),
        }
    }

    /// ikelab's spelling, with the type.
    pub fn ikelab(&self) -> String {
        match self {
            Id::Fqdn(s) => format!("fqdn:{s}"),
            Id::Email(s) => format!("email:{s}"),
            Id::Dn(s) => format!("dn:{s}"),
            Id::Addr(IpAddr::V4(a)) => format!("ipv4:{a}"),
            Id::Addr(IpAddr::V6(a)) => format!("ipv6:{a}"),
        }
    }
}

/// One end's configuration. The two ends of a test that works mirror each other; a failure is one field that does not.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    pub local: IpAddr,
    pub remote: IpAddr,
    pub local_id: Id,
    pub remote_id: Id,
    pub psk: String,
    /// Certificates instead of the password, for one end or both.
    pub certs: Certs,
    /// IKE proposals, strongSwan's spelling.
    pub ike: Vec<String>,
    /// ESP proposals, strongSwan's spelling; a group at the end asks for PFS.
    pub esp: Vec<String>,
    pub local_ts: Vec<String>,
    pub remote_ts: Vec<String>,
    /// Settings that only one kind of peer has: `(section, key, value)`.
    pub knobs: Vec<(Knob, String, String)>,
}

/// Certificates of one end's configuration, PEM.
#[derive(Clone, Debug, Default)]
pub struct Certs {
    /// Its own chain and key; the password otherwise.
    pub own: Option<OwnCert>,
    /// Whom it trusts; the password otherwise.
    pub trust: Option<TrustCerts>,
}

#[derive(Clone, Debug)]
pub struct OwnCert {
    /// The leaf.
    pub leaf: String,
    /// Its intermediates.
    pub chain: Vec<String>,
    pub key: String,
    /// More settings: ikelab's, as YAML (`send: always`), or strongSwan's local section (`auth = ...`).
    pub more: String,
}

#[derive(Clone, Debug, Default)]
pub struct TrustCerts {
    pub ca: Vec<String>,
    pub crl: Vec<String>,
    /// As in [`OwnCert::more`].
    pub more: String,
}

/// Where a setting of [`PeerConfig::knobs`] goes. A peer ignores the others' settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Knob {
    /// strongswan.conf, section `charon-systemd`: `cookie_threshold`, `retransmit_timeout`, ...
    Charon,
    /// swanctl.conf, the connection: `fragmentation`, `childless`, `rekey_time`, ...
    SwanConnection,
    /// swanctl.conf, the child: `mode`, `rekey_time`, ...
    SwanChild,
    /// swanctl.conf, a second child `d` like the first one but for this: `local_ts`, ...
    SwanSecondChild,
    /// ipsec.conf, the connection: `fragmentation`, `ikelifetime`, ...
    Libreswan,
    /// ipsec.conf, the section `config setup`: `ddos-mode`, ...
    LibreswanSetup,
    /// A `whack --impair` word; the value is empty.
    LibreswanImpair,
    /// ikelab's connection file: a section and its value. `ike` is added to the section that is there anyway, `child` is a
    /// line of the one child, `more-children` an item for the list.
    Ikelab,
}

/// The selectors behind each end of a [`Net`].
pub const INNER_A: &str = "10.1.1.0/24";
pub const INNER_B: &str = "10.2.2.0/24";

/// The password of tests that do not want another.
pub const PSK: &str = "interop-test-psk-0123456789abcdef";

impl PeerConfig {
    /// The configuration of one end of `net`, with defaults that every peer here accepts.
    pub fn of(net: &Net, side: Side) -> PeerConfig {
        let (local_ts, remote_ts) = if side == Side::A { (INNER_A, INNER_B) } else { (INNER_B, INNER_A) };
        PeerConfig {
            local: net.addr(side),
            remote: net.addr_seen(side.other()),
            local_id: Id::Fqdn(format!("{}.test", side.letter())),
            remote_id: Id::Fqdn(format!("{}.test", side.other().letter())),
            psk: PSK.to_owned(),
            certs: Certs::default(),
            ike: vec!["aes128-sha256-x25519".to_owned()],
            esp: vec!["aes128-sha1".to_owned()],
            local_ts: vec![local_ts.to_owned()],
            remote_ts: vec![remote_ts.to_owned()],
            knobs: Vec::new(),
        }
    }

    /// Both ends of `net`: A's and B's.
    pub fn pair(net: &Net) -> (PeerConfig, PeerConfig) {
        (PeerConfig::of(net, Side::A), PeerConfig::of(net, Side::B))
    }

    /// The same over IPv6: the outer addresses change, the selectors stay.
    pub fn over_ipv6(mut self, net: &Net, side: Side) -> PeerConfig {
        (self.local, self.remote) = (net.addr6(side), net.addr6(side.other()));
        self
    }

    /// The same with one IKE and one ESP proposal.
    pub fn suite(mut self, ike: &str, esp: &str) -> PeerConfig {
        self.ike = vec![ike.to_owned()];
        self.esp = vec![esp.to_owned()];
        self
    }

    pub fn knob(mut self, place: Knob, key: &str, value: &str) -> PeerConfig {
        self.knobs.push((place, key.to_owned(), value.to_owned()));
        self
    }

    /// Makes strongSwan ask for a cookie as soon as it holds one half-open IKE SA. Leave one first: begin a handshake
    /// while [`crate::netns::Block::IkeAuth`] is in force. It goes on asking for 10 s.
    pub fn wants_cookies(self) -> PeerConfig {
        let settings = [
            ("dos_protection", "yes"),
            ("cookie_threshold", "1"),
            ("cookie_threshold_ip", "1000"),
            ("block_threshold", "1001"),
        ];
        settings.iter().fold(self, |c, (key, value)| c.knob(Knob::Charon, key, value))
    }

    /// The settings of one place.
    pub fn knobs_of(&self, place: Knob) -> impl Iterator<Item = (&str, &str)> {
        self.knobs.iter().filter(move |k| k.0 == place).map(|(_, k, v)| (k.as_str(), v.as_str()))
    }
}

/// Which part of the kernel a daemon is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataPlane {
    /// The XFRM shim: SAs are logged with their keys, nothing flows, no NAT is pretended.
    Shim,
    /// strongSwan's ESP in userspace: traffic flows, always in UDP, since it pretends to be behind a NAT.
    Userspace,
    /// The real one of a user-mode Linux.
    Kernel,
}

/// A real peer, running in its namespace with one connection loaded.
pub trait Peer {
    /// Brings the connection up as initiator and waits for the outcome.
    fn initiate(&self) -> Result<(), String>;

    /// Deletes all its SAs. Nothing to delete is fine.
    fn terminate(&self);

    /// The IKE SAs it holds; half-open ones as far as it shows them.
    fn ike_sas(&self) -> Vec<IkeSa>;

    /// Its log so far.
    fn log(&self) -> String;

    /// The ESP SAs it told the kernel to install, by SPI.
    fn esp_sas(&self) -> BTreeMap<u32, EspSa>;

    /// Shell commands for the `control:` section of an ikelab connection file.
    fn control(&self) -> Control;

    /// The keys that it logged for an IKE SA; `None` for a peer that logs none.
    fn ike_keys_of(&self, _spi_i: u64) -> Option<IkeKeys> {
        None
    }

    /// The name for messages: "strongSwan", ...
    fn name(&self) -> &'static str;

    /// The one established IKE SA with an installed Child, waiting for it a moment.
    #[track_caller]
    fn established(&self) -> IkeSa {
        let ready = |s: &IkeSa| s.established && s.children.iter().any(|c| c.installed);
        crate::process::try_wait_for(std::time::Duration::from_secs(2), || self.ike_sas().into_iter().find(ready))
            .unwrap_or_else(|| {
                panic!("{} holds no established tunnel: {:?}\n{}", self.name(), self.ike_sas(), tail(&self.log()))
            })
    }
}

/// An IKE SA as a peer shows it. Fields a peer does not show are `None`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IkeSa {
    pub established: bool,
    /// The peer's own word for the state.
    pub state: String,
    pub spi_i: Option<u64>,
    pub spi_r: Option<u64>,
    pub local_id: Option<String>,
    pub remote_id: Option<String>,
    /// The peer's own words for the algorithms, joined with `/`.
    pub suite: Option<String>,
    pub children: Vec<ChildSa>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChildSa {
    pub installed: bool,
    pub state: String,
    pub spi_in: u32,
    pub spi_out: u32,
    pub suite: Option<String>,
    pub local_ts: Vec<String>,
    pub remote_ts: Vec<String>,
}

/// One direction of a Child SA with its keys, as a daemon handed it to the kernel.
#[derive(Clone, PartialEq, Eq)]
pub struct EspSa {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub spi: u32,
    /// With the salt of a counter mode or AEAD at the end.
    pub enc_key: Vec<u8>,
    /// Empty for an AEAD.
    pub auth_key: Vec<u8>,
}

// Keys of throw-away test SAs, yet in a comparison that fails they are what one needs to see.
impl fmt::Debug for EspSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} > {} spi={:08x} enc={} auth={}",
            self.src,
            self.dst,
            self.spi,
            hex(&self.enc_key),
            hex(&self.auth_key)
        )
    }
}

/// The keys of one IKE SA, as a daemon logged them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct IkeKeys {
    pub spi_i: u64,
    pub spi_r: u64,
    /// The negotiated proposal in the daemon's own words, `AES_CBC_128/HMAC_SHA2_256_128/...`.
    pub proposal: String,
    pub sk_d: Vec<u8>,
    pub sk_ai: Vec<u8>,
    pub sk_ar: Vec<u8>,
    pub sk_ei: Vec<u8>,
    pub sk_er: Vec<u8>,
    pub sk_pi: Vec<u8>,
    pub sk_pr: Vec<u8>,
    pub shared_secret: Vec<u8>,
    pub skeyseed: Vec<u8>,
}

impl fmt::Debug for IkeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut d = f.debug_struct("IkeKeys");
        d.field("spis", &format_args!("{:016x}/{:016x}", self.spi_i, self.spi_r)).field("proposal", &self.proposal);
        let keys = [
            ("d", &self.sk_d),
            ("ai", &self.sk_ai),
            ("ar", &self.sk_ar),
            ("ei", &self.sk_ei),
            ("er", &self.sk_er),
            ("pi", &self.sk_pi),
            ("pr", &self.sk_pr),
        ];
        for (name, key) in keys {
            d.field(name, &format_args!("{}", hex(key)));
        }
        d.finish()
    }
}

/// The `control:` section of a connection file.
#[derive(Clone, Debug)]
pub struct Control {
    pub initiate: String,
    pub clear: String,
    pub show: Vec<String>,
    /// What else it can be made to do: the key under `control`, and the command.
    pub orders: Vec<(&'static str, String)>,
}

/// Reads the XFRM shim's log: every ESP SA that was ever added, by SPI.
pub fn read_shim_log(text: &str) -> BTreeMap<u32, EspSa> {
    let mut sas = BTreeMap::new();
    for line in text.lines().filter(|l| l.starts_with("add ")) {
        let field = |name: &str| line.split(' ').find_map(|w| w.strip_prefix(name)?.strip_prefix('='));
        let sa = (|| {
            let spi = u32::from_str_radix(field("spi")?, 16).ok()?;
            (field("proto")? == "50").then_some(())?;
            let key = |name| field(name).map_or(Some(Vec::new()), unhex);
            let (src, dst) = (field("src")?.parse().ok()?, field("dst")?.parse().ok()?);
            Some(EspSa { src, dst, spi, enc_key: key("enc_key")?, auth_key: key("auth_key")? })
        })();
        if let Some(sa) = sa {
            sas.insert(sa.spi, sa);
        }
    }
    sas
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text.chars().map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(|d| (d[0] * 16 + d[1]) as u8).collect())
}

/// The end of a log, enough to see why something failed.
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
