//! Pairs of network namespaces, one for each end of a tunnel, made for one test and removed with it.
//!
//! ```text
//!   10.1.1.1/24, fd01::1/64 on lo                                    10.2.2.2/24, fd02::2/64 on lo
//!            [ A ] e0 10.99.0.1/24, fd99::1/64 ------ e0 10.99.0.2/24, fd99::2/64 [ B ]
//!
//!   with a NAT:   [ A ] e0 10.98.0.1/24 ---- e1 10.98.0.254 [ N ] e0 10.99.0.254 ---- e0 10.99.0.2/24 [ B ]
//! ```
//!
//! Every pair has the same addresses: nothing is shared between namespaces, so tests run in parallel. A namespace's
//! name carries the id of the process that made it, and the first pair of a process sweeps up what dead ones left.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::process::{Process, run, run_dir, wait_for};

const PREFIX: &str = "ikl";
const SHORT: Duration = Duration::from_secs(10);

/// One end of the link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    A,
    B,
}

impl Side {
    pub fn other(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }

    pub fn letter(self) -> char {
        match self {
            Side::A => 'a',
            Side::B => 'b',
        }
    }
}

/// What a namespace silently drops on arrival.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Block {
    /// Everything to UDP port 500.
    Udp500,
    /// Everything to UDP port 4500.
    Udp4500,
    /// IKE_AUTH on either port, requests and responses.
    IkeAuth,
    /// IKE_SA_INIT on port 500.
    IkeSaInit,
    /// All UDP: the other end is gone.
    Everything,
    /// Five in a hundred ESP packets in UDP.
    SomeEsp,
    /// Twenty in a hundred IKE messages on port 4500, which are few.
    SomeIke,
    /// Half of all UDP.
    Half,
    /// All CREATE_CHILD_SA messages.
    CreateChildSa,
    /// CREATE_CHILD_SA requests, and no answers.
    CreateChildSaRequests,
    /// All UDP in IP packets longer than 600 octets: a black hole for long ones, with no word said.
    Long,
    /// Everything to UDP port 500, with ICMP port unreachable.
    Refuse500,
    /// Everything to UDP port 500, with ICMP administratively prohibited.
    Prohibit500,
}

impl Block {
    /// nftables rules; offsets are bits from the UDP header. The exchange type is byte 18 of the IKE header, which
    /// follows the 8 bytes of UDP and, on port 4500, the 4 bytes of the non-ESP marker.
    fn rules(self) -> &'static [&'static str] {
        match self {
            Block::Udp500 => &["udp dport 500"],
            Block::Udp4500 => &["udp dport 4500"],
            Block::IkeAuth => &["udp dport 500 @th,208,8 35", "udp dport 4500 @th,64,32 0 @th,240,8 35"],
            Block::IkeSaInit => &["udp dport 500 @th,208,8 34"],
            Block::Everything => &["meta l4proto udp"],
            Block::SomeEsp => &["udp dport 4500 @th,64,32 != 0 numgen random mod 100 < 5"],
            Block::Half => &["meta l4proto udp numgen random mod 100 < 50"],
            Block::CreateChildSa => &["udp dport 500 @th,208,8 36", "udp dport 4500 @th,64,32 0 @th,240,8 36"],
            // Of byte 19, the flags, the bit R.
            Block::CreateChildSaRequests => {
                &["udp dport 500 @th,208,8 36 @th,218,1 0", "udp dport 4500 @th,64,32 0 @th,240,8 36 @th,250,1 0"]
            }
            Block::Long => &["meta l4proto udp meta length > 600"],
            Block::Refuse500 | Block::Prohibit500 => &["udp dport 500"],
            Block::SomeIke => &["udp dport 4500 @th,64,32 0 numgen random mod 100 < 20"],
        }
    }
}

/// Two joined namespaces and a directory for the test's files.
pub struct Net {
    name: String,
    dir: PathBuf,
    sockets: TempDir,
    nat: bool,
}

impl Net {
    /// Two namespaces with a direct link.
    #[track_caller]
    pub fn new() -> Net {
        Net::build(false)
    }

    /// A is behind a NAT that rewrites source address and port; B is outside.
    #[track_caller]
    pub fn behind_nat() -> Net {
        Net::build(true)
    }

    /// Between A and B is a box that forwards nothing by itself: a program there passes datagrams on. Addresses are as
    /// behind a NAT.
    #[track_caller]
    pub fn with_relay() -> Net {
        let net = Net::build(true);
        nft(&net.router(), "delete table ip nat\n");
        run(net.router_command("sysctl").args(["-qw", "net.ipv4.ip_forward=0"]), SHORT).expect_success();
        net
    }

    /// A command that will run on the box between A and B.
    pub fn router_command(&self, program: impl AsRef<Path>) -> Command {
        self.command_in(&self.router(), program)
    }

    #[track_caller]
    fn build(nat: bool) -> Net {
        static SWEEP: Once = Once::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert!(nix::unistd::geteuid().is_root(), "network namespaces need root: run the interop tests as root");
        SWEEP.call_once(sweep);
        let name = format!("{PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // A path to a Unix socket has at most 107 bytes, and the run directory may already be longer.
        let sockets = tempfile::Builder::new().prefix(&name).tempdir().expect("a temporary directory can be made");
        let net = Net { name, dir: run_dir(), sockets, nat };
        let (a, b, n) = (net.ns(Side::A), net.ns(Side::B), net.router());
        if nat {
            ip(None, &format!("netns add {a}\nnetns add {b}\nnetns add {n}\n"));
            ip(Some(&a), &format!("link add e0 type veth peer name e1 netns {n}\n"));
            ip(Some(&b), &format!("link add e0 type veth peer name e0 netns {n}\n"));
            ip(
                Some(&n),
                "link set lo up\naddr add 10.98.0.254/24 dev e1\naddr add 10.99.0.254/24 dev e0\nlink set e1 up\nlink set e0 up\n",
            );
            ip(
                Some(&a),
                "link set lo up\naddr add 10.98.0.1/24 dev e0\naddr add 10.1.1.1/24 dev lo\naddr add fd01::1/64 dev lo nodad\nlink set e0 up\nroute add default via 10.98.0.254\n",
            );
            ip(
                Some(&b),
                "link set lo up\naddr add 10.99.0.2/24 dev e0\naddr add fd99::2/64 dev e0 nodad\naddr add 10.2.2.2/24 dev lo\naddr add fd02::2/64 dev lo nodad\nlink set e0 up\n",
            );
            let mut forward = net.command_in(&n, "sysctl");
            run(forward.args(["-qw", "net.ipv4.ip_forward=1"]), SHORT).expect_success();
            nft(
                &n,
                "add table ip nat\nadd chain ip nat post { type nat hook postrouting priority 100; }\nadd rule ip nat post oifname e0 masquerade random\n",
            );
        } else {
            ip(None, &format!("netns add {a}\nnetns add {b}\n"));
            ip(Some(&a), &format!("link add e0 type veth peer name e0 netns {b}\n"));
            ip(
                Some(&a),
                "link set lo up\naddr add 10.99.0.1/24 dev e0\naddr add fd99::1/64 dev e0 nodad\naddr add 10.1.1.1/24 dev lo\naddr add fd01::1/64 dev lo nodad\nlink set e0 up\n",
            );
            ip(
                Some(&b),
                "link set lo up\naddr add 10.99.0.2/24 dev e0\naddr add fd99::2/64 dev e0 nodad\naddr add 10.2.2.2/24 dev lo\naddr add fd02::2/64 dev lo nodad\nlink set e0 up\n",
            );
        }
        net.wait_for_links();
        net
    }

    /// Until the links carry packets: the kernel tells so at most once a second when many come up together.
    #[track_caller]
    fn wait_for_links(&self) {
        for side in [Side::A, Side::B] {
            wait_for("a link", SHORT, || {
                let mut show = Command::new("ip");
                show.args(["-n", &self.ns(side), "-br", "link", "show", "dev", "e0"]);
                run(&mut show, SHORT).expect_success().contains(" UP ").then_some(())
            });
        }
    }

    /// The namespace's name, as `ip netns` knows it.
    pub fn ns(&self, side: Side) -> String {
        format!("{}{}", self.name, side.letter())
    }

    fn router(&self) -> String {
        format!("{}n", self.name)
    }

    /// Where this test keeps its files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A short directory for Unix sockets.
    pub fn sockets(&self) -> &Path {
        self.sockets.path()
    }

    /// The address on the link.
    pub fn addr(&self, side: Side) -> IpAddr {
        match side {
            Side::A if self.nat => Ipv4Addr::new(10, 98, 0, 1).into(),
            Side::A => Ipv4Addr::new(10, 99, 0, 1).into(),
            Side::B => Ipv4Addr::new(10, 99, 0, 2).into(),
        }
    }

    /// The address the other end sees: the NAT's for A behind one.
    pub fn addr_seen(&self, side: Side) -> IpAddr {
        match side {
            Side::A if self.nat => Ipv4Addr::new(10, 99, 0, 254).into(),
            _ => self.addr(side),
        }
    }

    /// The IPv6 address on the link. There is none behind the NAT.
    pub fn addr6(&self, side: Side) -> IpAddr {
        let last = if side == Side::A { 1 } else { 2 };
        Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, last).into()
    }

    /// A command that will run inside a namespace, not yet started.
    pub fn command(&self, side: Side, program: impl AsRef<Path>) -> Command {
        self.command_in(&self.ns(side), program)
    }

    fn command_in(&self, ns: &str, program: impl AsRef<Path>) -> Command {
        let mut c = Command::new("ip");
        c.args(["netns", "exec", ns]).arg(program.as_ref());
        c
    }

    /// Starts dropping packets on arrival at `side`.
    #[track_caller]
    pub fn block(&self, side: Side, what: Block) -> Blocked {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (ns, table) = (self.ns(side), format!("block{}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let mut script = format!(
            "add table inet {table}\nadd counter inet {table} hits\nadd chain inet {table} in {{ type filter hook input priority 0; }}\n"
        );
        let verdict = match what {
            Block::Refuse500 => "reject with icmpx type port-unreachable",
            Block::Prohibit500 => "reject with icmpx type admin-prohibited",
            _ => "drop",
        };
        for rule in what.rules() {
            script += &format!("add rule inet {table} in {rule} counter name hits {verdict}\n");
        }
        nft(&ns, &script);
        Blocked { ns, table }
    }

    /// Starts dropping, on arrival at `side`, every IP fragment but the first of each packet.
    #[track_caller]
    pub fn drop_fragments(&self, side: Side) -> Blocked {
        let (ns, table) = (self.ns(side), "fragments".to_owned());
        // Before the kernel puts them together.
        let script = format!(
            "add table inet {table}\nadd counter inet {table} hits\n\
             add chain inet {table} in {{ type filter hook prerouting priority -450; }}\n\
             add rule inet {table} in ip frag-off & 0x1fff != 0 counter name hits drop\n"
        );
        nft(&ns, &script);
        Blocked { ns, table }
    }

    /// The NAT hands what comes from outside to UDP 500 and 4500 to A, as a box does in front of a headend.
    #[track_caller]
    pub fn forward_ports(&self) {
        nft(
            &self.router(),
            "add chain ip nat pre { type nat hook prerouting priority -100; }\nadd rule ip nat pre iifname e0 udp dport { 500, 4500 } dnat to 10.98.0.1\n",
        );
    }

    /// The NAT forgets its mappings of UDP; the next packet from inside gets another port outside.
    #[track_caller]
    pub fn forget_mappings(&self) {
        run(self.command_in(&self.router(), "conntrack").args(["-D", "-p", "udp"]), SHORT).expect_success();
    }

    /// How long the NAT keeps a mapping of UDP, in seconds: while packets went one way only, and once they went both ways.
    #[track_caller]
    pub fn mapping_lifetime(&self, one_way: u32, both: u32) {
        let settings = [
            format!("net.netfilter.nf_conntrack_udp_timeout={one_way}"),
            format!("net.netfilter.nf_conntrack_udp_timeout_stream={both}"),
        ];
        run(self.command_in(&self.router(), "sysctl").arg("-qw").args(settings), SHORT).expect_success();
    }

    /// Starts tcpdump on the link at `side`; the capture is complete once [`Capture::finish`] returned.
    #[track_caller]
    pub fn capture(&self, side: Side) -> Capture {
        let file = self.dir.join(format!("{}.pcap", side.letter()));
        let mut c = self.command(side, "tcpdump");
        c.args(["-Z", "root", "-U", "--immediate-mode", "-n", "-s", "0", "-i", "e0", "-w"]).arg(&file);
        c.args(["udp or esp or icmp or icmp6"]);
        let mut process = Process::spawn(&self.dir, &format!("tcpdump-{}", side.letter()), &mut c);
        let err = self.dir.join(format!("tcpdump-{}.err", side.letter()));
        process.wait_until("tcpdump listens", SHORT, || {
            crate::process::text_of(&err).contains("listening on").then_some(())
        });
        Capture { process, file }
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let mut names = vec![self.ns(Side::A), self.ns(Side::B)];
        if self.nat {
            names.push(self.router());
        }
        for ns in names {
            remove(&ns);
        }
    }
}

/// Packets are dropped until this is lifted or dropped.
pub struct Blocked {
    ns: String,
    table: String,
}

impl Blocked {
    /// How many packets were dropped so far. A test that never dropped one has tested nothing.
    #[track_caller]
    pub fn packets(&self) -> u64 {
        let mut c = Command::new("ip");
        c.args(["netns", "exec", &self.ns, "nft", "list", "counter", "inet", &self.table, "hits"]);
        let text = run(&mut c, SHORT).expect_success();
        let mut words = text.split_whitespace().skip_while(|w| *w != "packets");
        words.nth(1).and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("nft said: {text}"))
    }

    /// Lets packets pass again.
    pub fn lift(self) {}
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let mut c = Command::new("ip");
        c.args(["netns", "exec", &self.ns, "nft", "delete", "table", "inet", &self.table]);
        let _ = c.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// A running tcpdump.
pub struct Capture {
    process: Process,
    file: PathBuf,
}

impl Capture {
    /// Stops capturing and returns the pcap file.
    pub fn finish(mut self) -> PathBuf {
        // What is on its way through the veth pair arrives within a scheduler tick.
        std::thread::sleep(Duration::from_millis(20));
        self.process.stop();
        self.file.clone()
    }
}

/// Runs `ip -batch`, in a namespace if one is given.
#[track_caller]
fn ip(ns: Option<&str>, script: &str) {
    let mut c = Command::new("ip");
    if let Some(ns) = ns {
        c.args(["-n", ns]);
    }
    batch(c.args(["-batch", "-"]), script);
}

#[track_caller]
fn nft(ns: &str, script: &str) {
    batch(Command::new("ip").args(["netns", "exec", ns, "nft", "-f", "-"]), script);
}

#[track_caller]
fn batch(c: &mut Command, script: &str) {
    let mut child = c.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap_or_else(|e| {
        panic!("cannot start {:?}: {e} (scripts/test-setup installs what the tests need)", c.get_program())
    });
    child
        .stdin
        .take()
        .expect("standard input is a pipe")
        .write_all(script.as_bytes())
        .expect("the script can be piped");
    let out = child.wait_with_output().expect("a child can be waited for");
    assert!(out.status.success(), "{}\n{script}{}", crate::process::spell(c), String::from_utf8_lossy(&out.stderr));
}

/// Removes what processes that are gone left behind: their namespaces, the daemons still in them, their sockets.
fn sweep() {
    let out = run(Command::new("ip").args(["netns", "list"]), SHORT);
    for ns in out.stdout.lines().filter_map(|l| l.split_whitespace().next()).filter(|ns| is_orphan(ns)) {
        remove(ns);
    }
    for entry in std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_orphan) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether a name is one of ours and the process in it is gone.
fn is_orphan(name: &str) -> bool {
    let owner = name.strip_prefix(PREFIX).and_then(|r| r.split_once('-')).map(|(pid, _)| pid);
    owner
        .is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()) && !Path::new("/proc").join(p).exists())
}

/// Ends what still runs in a namespace of ours and deletes it.
fn remove(ns: &str) {
    let pids = run(Command::new("ip").args(["netns", "pids", ns]), SHORT);
    for pid in pids.stdout.lines().filter_map(|l| l.trim().parse().ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    run(Command::new("ip").args(["netns", "delete", ns]), SHORT);
}
