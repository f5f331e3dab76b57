//! strongSwan and libreswan inside a user-mode Linux. Everything is the same as outside, except that each question goes
//! through the machine's console and that their kernel is real.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::libreswan;
use crate::netns::Net;
use crate::peer::{Control, DataPlane, EspSa, IkeKeys, IkeSa, Peer, PeerConfig};
use crate::process::{put, run};
use crate::strongswan::{charon_conf, read_ike_keys, read_list_sa, swanctl_conf};
use crate::uml::{KernelSa, Said, Uml};

/// Where a daemon inside keeps its sockets and its log.
const RUN: &str = "/run/peer";

/// Which daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    StrongSwan,
    Libreswan,
}

/// A daemon in a machine, with one connection.
pub struct UmlPeer {
    pub uml: Uml,
    kind: Kind,
    dir: PathBuf,
}

impl UmlPeer {
    /// Starts it with `config`.
    #[track_caller]
    pub fn start(net: &Net, uml: Uml, kind: Kind, config: &PeerConfig) -> UmlPeer {
        let dir = net.dir().join(format!("{kind:?}").to_lowercase());
        fs::create_dir_all(&dir).expect("the run directory is writable");
        let it = UmlPeer { uml, kind, dir };
        it.write(config);
        let start = match kind {
            Kind::StrongSwan => it.start_charon(config),
            Kind::Libreswan => it.start_pluto(),
        };
        let said = it.uml.sh(&start);
        assert_eq!(said.status, 0, "{kind:?} does not start: {}\n{}", said.text, it.log());
        it.add();
        it
    }

    /// Loads another configuration; SAs of the old one are gone afterwards.
    #[track_caller]
    pub fn load(&self, config: &PeerConfig) {
        self.terminate();
        if self.kind == Kind::Libreswan {
            self.whack("--delete --name p");
        }
        self.write(config);
        self.uml.flush();
        self.add();
    }

    /// Rekeys the IKE SA or the Child.
    #[track_caller]
    pub fn rekey(&self, child: bool) {
        match (self.kind, child) {
            (Kind::StrongSwan, true) => self.swanctl("--rekey --child c"),
            (Kind::StrongSwan, false) => self.swanctl("--rekey --ike p"),
            (Kind::Libreswan, true) => self.whack("--rekey-ipsec --name p"),
            (Kind::Libreswan, false) => self.whack("--rekey-ike --name p"),
        };
    }

    /// The ESP SAs in its kernel.
    #[track_caller]
    pub fn xfrm(&self) -> Vec<KernelSa> {
        self.uml.xfrm()
    }

    #[track_caller]
    fn write(&self, config: &PeerConfig) {
        match self.kind {
            Kind::StrongSwan => {
                let text = swanctl_conf(&[("p".to_owned(), "c".to_owned(), config)]);
                put(&self.dir.join("swanctl.conf"), &text);
            }
            Kind::Libreswan => libreswan::write_config(&self.dir, config),
        }
    }

    #[track_caller]
    fn start_charon(&self, config: &PeerConfig) -> String {
        for sub in [
            "x509", "x509ca", "x509ocsp", "x509aa", "x509ac", "x509crl", "pubkey", "private", "rsa", "ecdsa", "bliss",
            "pkcs8", "pkcs12",
        ] {
            fs::create_dir_all(self.dir.join("swanctl").join(sub)).expect("the run directory is writable");
        }
        let conf = charon_conf(Path::new(RUN), &format!("unix://{RUN}/vici"), config, DataPlane::Kernel);
        put(&self.dir.join("strongswan.conf"), &conf);
        format!(
            "mkdir -p {RUN}\nSTRONGSWAN_CONF={}/strongswan.conf setsid /usr/sbin/charon-systemd >{RUN}/out 2>&1 </dev/null &\n\
             i=0; until [ -S {RUN}/vici ]; do sleep .02; i=$((i+1)); [ $i -lt 500 ] || exit 1; done\n",
            self.dir.display()
        )
    }

    #[track_caller]
    fn start_pluto(&self) -> String {
        let nss = self.dir.join("nss");
        fs::create_dir_all(&nss).expect("the run directory is writable");
        let mut certutil = Command::new("certutil");
        certutil.arg("-N").arg("-d").arg(format!("sql:{}", nss.display())).arg("--empty-password");
        run(&mut certutil, Duration::from_secs(10)).expect_success();
        let (dir, root) = (self.dir.display(), libreswan::root());
        format!(
            "mkdir -p {RUN}/run {RUN}/ipsec.d {RUN}/dump && cp -r {dir}/nss {RUN}/nss && mount --bind {}/usr/libexec /usr/libexec\n\
             /usr/libexec/ipsec/pluto --no-dnssec --config {dir}/ipsec.conf --secretsfile {dir}/ipsec.secrets --nssdir {RUN}/nss \
             --rundir {RUN}/run --ipsecdir {RUN}/ipsec.d --dumpdir {RUN}/dump --logfile {RUN}/log >{RUN}/out 2>&1 </dev/null\n\
             i=0; until {WHACK} --status >/dev/null 2>&1; do sleep .02; i=$((i+1)); [ $i -lt 200 ] || exit 1; done\n",
            root.display()
        )
    }

    #[track_caller]
    fn add(&self) {
        match self.kind {
            Kind::StrongSwan => {
                let file = self.dir.join("swanctl.conf");
                self.swanctl(&format!("--load-all --noprompt --clear --file {}", file.display())).well();
            }
            Kind::Libreswan => {
                let add = format!(
                    "/usr/libexec/ipsec/addconn --config {dir}/ipsec.conf --ctlsocket {RUN}/run/pluto.ctl p && {WHACK} --listen \
                     && {WHACK} --rereadsecrets && {WHACK} --status | grep -q '\"p\"'",
                    dir = self.dir.display()
                );
                self.uml.sh(&add).well();
            }
        }
    }

    #[track_caller]
    fn swanctl(&self, args: &str) -> Said {
        self.uml.sh(&self.swanctl_script(args))
    }

    fn swanctl_script(&self, args: &str) -> String {
        let dir = self.dir.display();
        format!(
            "STRONGSWAN_CONF={dir}/strongswan.conf SWANCTL_DIR={dir}/swanctl swanctl {args} --uri unix://{RUN}/vici"
        )
    }

    #[track_caller]
    fn whack(&self, args: &str) -> Said {
        self.uml.sh(&format!("{WHACK} {args}"))
    }
}

const WHACK: &str = "/usr/libexec/ipsec/whack --rundir /run/peer/run";

impl Peer for UmlPeer {
    fn initiate(&self) -> Result<(), String> {
        let said = match self.kind {
            Kind::StrongSwan => self.swanctl("--initiate --child c --timeout 8"),
            Kind::Libreswan => self.whack("--initiate --name p"),
        };
        let up = self.ike_sas().iter().any(|s| s.established && s.children.iter().any(|c| c.installed));
        if up { Ok(()) } else { Err(said.text) }
    }

    fn terminate(&self) {
        match self.kind {
            Kind::StrongSwan => self.swanctl("--terminate --ike p --force --timeout 2"),
            Kind::Libreswan => self.whack("--terminate --name p"),
        };
    }

    fn ike_sas(&self) -> Vec<IkeSa> {
        match self.kind {
            Kind::StrongSwan => {
                let raw = self.swanctl("--list-sas --raw").well();
                raw.lines().filter_map(|l| l.strip_prefix("list-sa event ")).flat_map(read_list_sa).collect()
            }
            Kind::Libreswan => libreswan::read_states(&self.whack("--showstates").text),
        }
    }

    fn log(&self) -> String {
        let file = if self.kind == Kind::StrongSwan { "charon.log" } else { "log" };
        self.uml.sh(&format!("cat {RUN}/{file}")).text
    }

    fn esp_sas(&self) -> BTreeMap<u32, EspSa> {
        self.xfrm().iter().map(|sa| (sa.spi, sa.into())).collect()
    }

    /// Its commands only exist inside the machine, and go through its console.
    fn control(&self) -> Control {
        let (initiate, clear) = match self.kind {
            Kind::StrongSwan => (
                self.swanctl_script("--initiate --child c --timeout 8"),
                self.swanctl_script("--terminate --ike p --force --timeout 2"),
            ),
            Kind::Libreswan => {
                (format!("{WHACK} --initiate --asynchronous --name p"), format!("{WHACK} --terminate --name p"))
            }
        };
        // A host behind the peer pings one behind us.
        let ping = "ping -n -c 3 -i 0.2 -W 1 -I 10.2.2.2 10.1.1.1";
        Control {
            initiate: self.uml.command("initiate", &initiate),
            clear: self.uml.command("clear", &format!("{clear} || true")),
            show: Vec::new(),
            orders: vec![("ping", self.uml.command("ping", ping))],
        }
    }

    fn ike_keys_of(&self, spi_i: u64) -> Option<IkeKeys> {
        (self.kind == Kind::StrongSwan)
            .then(|| read_ike_keys(&self.log()).into_iter().rfind(|k| k.spi_i == spi_i))
            .flatten()
    }

    fn name(&self) -> &'static str {
        match self.kind {
            Kind::StrongSwan => "strongSwan",
            Kind::Libreswan => "libreswan",
        }
    }
}
