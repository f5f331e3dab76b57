//! A user-mode Linux at one side of a [`Net`]: a real kernel with ESP, for peers whose Child SAs shall carry data.
//!
//! ```text
//!   namespace A                                  namespace B                     user-mode Linux
//!   10.1.1.1 on lo, e0 10.99.0.1 ------ e0 --[ br0 ]-- tap0 ------ vec0 10.99.0.2, 10.2.2.2 on lo
//! ```
//!
//! It needs no KVM and boots in about two seconds from the host's own file system. A test gives it shell scripts and reads
//! their outputs; see `tests/peers/uml-init.sh` for its end.

use std::cell::Cell;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use crate::netns::{Net, Side};
use crate::peer::{EspSa, unhex};
use crate::process::{put, run, text_of, try_wait_for, wait_for};

const LINUX: &str = "/usr/bin/linux.uml";
const BOOT: Duration = Duration::from_secs(40);
const COMMAND: Duration = Duration::from_secs(30);

/// ESP, its two interfaces to daemons, and every cipher that a test asks for.
const MODULES: &str = "esp4,esp6,xfrm_user,af_key,gcm,ghash-generic,ctr,ccm,cbc,seqiv,echainiv,hmac,authenc,authencesn,\
     sha512_generic,chacha20poly1305,chacha_generic,poly1305_generic,des_generic,cmac,xcbc,ansi_cprng";

/// Machines at once: each wants most of a core, and its timers must be on time.
const MACHINES: u8 = 2;

static RUNNING: Mutex<u8> = Mutex::new(0);
static LEFT: Condvar = Condvar::new();

/// The right to run one of them.
struct Place;

impl Place {
    fn take() -> Place {
        let mut running = RUNNING.lock().expect("no panic holds it");
        while *running == MACHINES {
            running = LEFT.wait(running).expect("no panic holds it");
        }
        *running += 1;
        Place
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *RUNNING.lock().expect("no panic holds it") -= 1;
        LEFT.notify_one();
    }
}

/// A running user-mode Linux.
pub struct Uml {
    child: Child,
    console: File,
    dir: PathBuf,
    out: PathBuf,
    next: Cell<u32>,
    /// How long it took until it could take commands.
    pub boot: Duration,
    _place: Place,
}

/// What a script in the machine left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    pub status: i32,
    /// Both outputs.
    pub text: String,
}

impl Said {
    /// The output of a script that must have succeeded.
    #[track_caller]
    pub fn well(self) -> String {
        assert_eq!(self.status, 0, "in user-mode Linux: {}", self.text);
        self.text
    }
}

impl Uml {
    /// Boots at `side`, which gets the side's addresses; the namespace itself keeps none on the link.
    #[track_caller]
    pub fn boot(net: &Net, side: Side) -> Uml {
        assert!(Path::new(LINUX).exists(), "user-mode Linux is not installed: run scripts/test-setup");
        let place = Place::take();
        let dir = net.dir().join(format!("uml-{}", side.letter()));
        fs::create_dir_all(&dir).expect("the run directory is writable");
        bridge(net, side);
        let (fifo, out) = (dir.join("console.in"), dir.join("console.out"));
        mkfifo(&fifo, Mode::S_IRWXU).expect("a FIFO can be made");
        // Open for reading and writing, it neither blocks nor ends while the machine lives.
        let console = OpenOptions::new().read(true).write(true).open(&fifo).expect("our own FIFO");
        put(&dir.join("net"), &inner_net(net, side));

        let mut c = net.command(side, LINUX);
        c.args(["mem=256M", "rootfstype=hostfs", "rootflags=/", "rw", "quiet", "cryptomgr.notests"]);
        c.args(["con=null", "con0=fd:0,fd:1", "vec0:transport=tap,ifname=tap0,depth=64,gro=1"]);
        c.arg(format!("init={}", Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/uml-init.sh").display()));
        // Sockets of its own: their paths must be short.
        c.arg(format!("uml_dir={}", net.sockets().display())).arg(format!("umid=uml{}", side.letter()));
        c.arg(format!("UML_DIR={}", dir.display())).arg(format!("UML_NET={}", dir.join("net").display()));
        c.arg(format!("UML_MODULES={MODULES}"));
        c.env("TMPDIR", net.sockets());
        c.stdin(console.try_clone().expect("a descriptor can be duplicated"));
        c.stdout(File::create(&out).expect("the run directory is writable")).stderr(Stdio::null());
        // Its helper processes stay in this group, so that all can be ended at once.
        c.process_group(0);
        let start = Instant::now();
        let child = c.spawn().unwrap_or_else(|e| panic!("cannot start {LINUX}: {e}"));
        let mut uml = Uml { child, console, dir, out, next: Cell::new(1), boot: Duration::ZERO, _place: place };
        let ready = try_wait_for(BOOT, || {
            let said = text_of(&uml.out);
            (said.contains("## ready ") || uml.child.try_wait().is_ok_and(|s| s.is_some())).then_some(said)
        });
        let said = ready.unwrap_or_else(|| text_of(&uml.out));
        assert!(
            said.contains("## ready ") && !said.contains("## modules") && !said.contains("## net"),
            "user-mode Linux does not boot:\n{said}"
        );
        uml.boot = start.elapsed();
        uml
    }

    /// Runs a script to its end. Whatever it leaves running must have its outputs redirected.
    #[track_caller]
    pub fn sh(&self, script: &str) -> Said {
        let n = self.next.get();
        self.next.set(n + 1);
        // Fresh names: it remembers which files are not there.
        put(&self.dir.join(format!("{n}.sh")), script);
        (&self.console).write_all(format!("{n}\n").as_bytes()).expect("the console takes a line");
        let mark = format!("## {n} ");
        let status = wait_for(&format!("user-mode Linux to run `{script}`"), COMMAND, || {
            let said = text_of(&self.out);
            let (_, rest) = said.split_once(&mark)?;
            let (number, _) = rest.split_once(['\r', '\n'])?;
            Some(number.trim().parse().unwrap_or_else(|_| panic!("console: {said}")))
        });
        Said { status, text: text_of(&self.dir.join(format!("{n}.out"))) }
    }

    /// A shell command for somebody outside that has the machine run a script, under a name, and waits for its end. It fails
    /// if the script does.
    #[track_caller]
    pub fn command(&self, name: &str, script: &str) -> String {
        put(&self.dir.join(format!("{name}.sh")), script);
        let [out, console] = ["console.out", "console.in"].map(|file| self.dir.join(file).display().to_string());
        let said = format!("grep '^## {name} ' '{out}'");
        format!(
            "n=$({said} | wc -l); echo {name} >'{console}'; i=0; until [ $({said} | wc -l) -gt $n ]; do sleep 0.05; \
             i=$((i+1)); [ $i -lt 400 ] || exit 1; done; {said} | tail -n 1 | grep -q '^## {name} 0'"
        )
    }

    /// The ESP SAs that its kernel holds.
    #[track_caller]
    pub fn xfrm(&self) -> Vec<KernelSa> {
        read_xfrm_state(&self.sh("ip -s xfrm state").well())
    }

    /// Error counters of its IPsec that are not zero, in the kernel's words.
    #[track_caller]
    pub fn xfrm_errors(&self) -> Vec<(String, u64)> {
        let text = self.sh("cat /proc/net/xfrm_stat").well();
        let counter = |l: &str| {
            let (name, n) = l.split_once(char::is_whitespace)?;
            Some((name.to_owned(), n.trim().parse().ok()?))
        };
        text.lines().filter_map(counter).filter(|(_, n)| *n != 0).collect()
    }

    /// Sends `count` echo requests from inside; how many were answered.
    #[track_caller]
    pub fn ping(&self, from: IpAddr, to: IpAddr, count: u32, size: u32) -> u32 {
        let said = self.sh(&format!("ping -n -q -c {count} -i 0.05 -W 5 -s {size} -I {from} {to}"));
        received(&said.text)
    }

    /// Removes every SA and policy from its kernel, as between two tests.
    pub fn flush(&self) {
        self.sh("ip xfrm state flush; ip xfrm policy flush");
    }

    /// Switches it off.
    pub fn power_off(mut self) {
        put(&self.dir.join("off.sh"), "echo o > /proc/sysrq-trigger\n");
        let _ = (&self.console).write_all(b"off\n");
        self.end(Duration::from_secs(3));
    }

    fn end(&mut self, patience: Duration) {
        try_wait_for(patience, || self.child.try_wait().ok().flatten());
        let group = Pid::from_raw(i32::try_from(self.child.id()).expect("a process id fits in pid_t"));
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Drop for Uml {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
        let _ = fs::remove_file(self.dir.join("console.in"));
    }
}

/// The replies in ping's summary.
pub fn received(text: &str) -> u32 {
    let line = text.lines().find(|l| l.contains(" received"));
    let words = line.map(|l| l.split(", ").find_map(|p| p.strip_suffix(" received")?.trim().parse().ok()));
    words.flatten().unwrap_or_else(|| panic!("ping said: {text}"))
}

/// Joins the side's end of the link and a tap.
#[track_caller]
fn bridge(net: &Net, side: Side) {
    let script = "ip addr flush dev e0 && ip tuntap add dev tap0 mode tap && ip link add br0 type bridge \
         && ip link set e0 master br0 && ip link set tap0 master br0 && ip link set tap0 up && ip link set br0 up";
    run(net.command(side, "sh").args(["-c", script]), Duration::from_secs(10)).expect_success();
}

/// The addresses inside the machine, and the way to what is behind the other side.
fn inner_net(net: &Net, side: Side) -> String {
    let (own, n, far) = if side == Side::A { ("10.1.1.1", 1, 2) } else { ("10.2.2.2", 2, 1) };
    format!(
        "link set lo up\nlink set vec0 up\naddr add {}/24 dev vec0\naddr add {}/64 dev vec0 nodad\naddr add {own}/24 dev lo\n\
         addr add fd0{n}::{n}/64 dev lo nodad\nroute add 10.{far}.{far}.0/24 via {} src {own}\n",
        net.addr(side),
        net.addr6(side),
        net.addr_seen(side.other()),
    )
}

/// One direction of a Child SA in the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KernelSa {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub spi: u32,
    /// `tunnel` or `transport`.
    pub mode: String,
    /// The kernel's name of the cipher: `cbc(aes)`, `rfc4106(gcm(aes))`.
    pub cipher: String,
    /// The kernel's name of the MAC; empty for an AEAD.
    pub mac: String,
    pub enc_key: Vec<u8>,
    pub auth_key: Vec<u8>,
    /// In UDP.
    pub encapsulated: bool,
    pub esn: bool,
    /// Packets and bytes that it has sealed or opened.
    pub packets: u64,
    pub bytes: u64,
    /// Refused because outside the window, as replays, and for a wrong ICV.
    pub stats: [u64; 3],
}

impl From<&KernelSa> for EspSa {
    fn from(sa: &KernelSa) -> EspSa {
        let KernelSa { src, dst, spi, .. } = *sa;
        EspSa { src, dst, spi, enc_key: sa.enc_key.clone(), auth_key: sa.auth_key.clone() }
    }
}

/// Reads `ip -s xfrm state`; larval SAs are left out.
pub fn read_xfrm_state(text: &str) -> Vec<KernelSa> {
    let mut sas: Vec<KernelSa> = Vec::new();
    let mut in_current = false;
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |name: &str| words.iter().skip_while(|w| **w != name).nth(1).copied();
        if let (false, Some(&"src"), Some(dst)) = (line.starts_with(char::is_whitespace), words.first(), after("dst")) {
            let parse = |a: &str| a.parse().unwrap_or_else(|_| panic!("`{line}` in\n{text}"));
            sas.push(KernelSa {
                src: parse(words[1]),
                dst: parse(dst),
                spi: 0,
                mode: String::new(),
                cipher: String::new(),
                mac: String::new(),
                enc_key: Vec::new(),
                auth_key: Vec::new(),
                encapsulated: false,
                esn: false,
                packets: 0,
                bytes: 0,
                stats: [0; 3],
            });
            in_current = false;
            continue;
        }
        let Some(sa) = sas.last_mut() else { continue };
        let key = |n: usize| words.get(n).and_then(|w| unhex(w.strip_prefix("0x")?)).unwrap_or_default();
        match words.first().copied() {
            Some("proto") if after("proto") == Some("esp") => {
                let spi = after("spi").map(|w| w.split('(').next().unwrap_or(w).trim_start_matches("0x"));
                sa.spi = spi.and_then(|w| u32::from_str_radix(w, 16).ok()).unwrap_or_else(|| panic!("`{line}`"));
                sa.mode = after("mode").unwrap_or_default().to_owned();
            }
            Some("replay-window") if words.contains(&"flag") => sa.esn = words.contains(&"esn") || line.contains("esn"),
            Some("auth-trunc" | "auth") => (sa.mac, sa.auth_key) = (words[1].to_owned(), key(2)),
            Some("enc" | "aead") => (sa.cipher, sa.enc_key) = (words[1].to_owned(), key(2)),
            Some("encap") => sa.encapsulated = true,
            Some("lifetime") => in_current = words.get(1) == Some(&"current:"),
            Some("stats:") => in_current = false,
            Some(w) if in_current && w.ends_with("(bytes),") => {
                let number = |suffix: &str| words.iter().find_map(|w| w.strip_suffix(suffix)?.parse().ok());
                (sa.bytes, sa.packets) = (number("(bytes),").unwrap_or(0), number("(packets)").unwrap_or(0));
            }
            Some("replay-window") => {
                let number = |name: &str| after(name).and_then(|w| w.parse().ok()).unwrap_or(0);
                sa.stats = ["replay-window", "replay", "failed"].map(number);
            }
            _ => {}
        }
    }
    sas.retain(|sa| !sa.cipher.is_empty());
    sas
}

#[test]
fn xfrm_state_is_read() {
    let text = "src 10.99.0.1 dst 10.99.0.2
\tproto esp spi 0xc0a1b2c3(3231822531) reqid 1(0x00000001) mode tunnel
\treplay-window 0 seq 0x00000000 flag af-unspec esn (0x00100080)
\tauth-trunc hmac(sha256) 0x0001 (16 bits) 128
\tenc cbc(aes) 0x0203 (16 bits)
\tencap type espinudp sport 4500 dport 4500 addr 0.0.0.0
\tanti-replay esn context:
\t seq-hi 0x0, seq 0x2, oseq-hi 0x0, oseq 0x0
\t replay_window 32, bitmap-length 1
\t 00000003
\tlifetime config:
\t  limit: soft (INF)(bytes), hard (INF)(bytes)
\t  limit: soft (INF)(packets), hard (INF)(packets)
\t  expire add: soft 0(sec), hard 0(sec)
\t  expire use: soft 0(sec), hard 0(sec)
\tlifetime current:
\t  168(bytes), 2(packets)
\t  add 2026-11-21 05:50:00 use 2026-11-21 05:50:01
\tstats:
\t  replay-window 1 replay 2 failed 3
src 10.99.0.2 dst 10.99.0.1
\tproto esp spi 0x00000000(0) reqid 0(0x00000000) mode transport
";
    let [sa] = &read_xfrm_state(text)[..] else { panic!("one complete SA") };
    assert_eq!(
        (sa.spi, sa.mode.as_str(), sa.cipher.as_str(), sa.mac.as_str()),
        (0xc0a1_b2c3, "tunnel", "cbc(aes)", "hmac(sha256)")
    );
    assert_eq!((&sa.enc_key[..], &sa.auth_key[..]), (&[2u8, 3][..], &[0u8, 1][..]));
    assert!(sa.encapsulated && sa.esn);
    assert_eq!((sa.bytes, sa.packets, sa.stats), (168, 2, [1, 2, 3]));
}
