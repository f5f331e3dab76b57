//! Remote access with strongSwan in both roles: EAP, EAP alone, and inner addresses.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::Value;

use crate::cli::{Ikelab, interrupt};
use crate::netns::{Net, Side};
use crate::peer::{DataPlane, Knob, Peer, PeerConfig, tail};
use crate::process::{Finished, put, wait_for};
use crate::rundir::OurSa;
use crate::strongswan::StrongSwan;
use crate::tshark::{self, ALLOWED, Clean, Packet};
use crate::tunnel::{HANDSHAKE, listening};

const PASSWORD: &str = "Ar3etTnp";
const USER: &str = "carol.test";

/// Payload types, as tshark sees them.
const CP: u8 = 47;
const EAP: u8 = 48;
const IKE_AUTH: u8 = 35;

/// Both ends, with their files in place.
struct Lab {
    net: Net,
    peer: StrongSwan,
}

/// What proves the responder beside EAP.
#[derive(Clone, Copy, PartialEq)]
enum Also {
    Psk,
    Certificate,
    Nothing,
}

impl Lab {
    fn new(tls13: bool) -> Lab {
        let net = Net::new();
        let mut b = PeerConfig::of(&net, Side::B);
        if tls13 {
            // The section of the daemon ends there, and that of its TLS library begins.
            b = b.knob(Knob::Charon, "syslog = no\n}\nlibtls {\n  version_max", "1.3");
        }
        let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
        let credentials = peer.credentials();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "lab CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
        for dir in [&credentials.join("x509ca"), net.dir()] {
            put(&dir.join("ca.pem"), &ca.pem());
        }
        for name in ["a.test", "b.test", USER] {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
            params.distinguished_name.push(DnType::CommonName, name);
            let leaf = params.signed_by(&key, &ca).expect("a leaf");
            put(&net.dir().join(format!("{name}.pem")), &leaf.pem());
            put(&net.dir().join(format!("{name}.key")), &key.serialize_pem());
            let own = fs::Permissions::from_mode(0o600);
            fs::set_permissions(net.dir().join(format!("{name}.key")), own).expect("our own file");
        }
        put(&net.dir().join("password"), PASSWORD);
        put(&net.dir().join("psk"), &PeerConfig::of(&net, Side::A).psk);
        for file in ["password", "psk"] {
            let own = fs::Permissions::from_mode(0o600);
            fs::set_permissions(net.dir().join(file), own).expect("our own file");
        }
        Lab { net, peer }
    }

    /// Gives strongSwan one of the certificates.
    fn give(&self, name: &str) {
        let credentials = self.peer.credentials();
        for (from, to) in [("pem", "x509"), ("key", "private")] {
            let file = format!("{name}.{from}");
            fs::copy(self.net.dir().join(&file), credentials.join(to).join(&file)).expect("a copy");
        }
    }

    /// strongSwan as EAP server, with a pool; or with what `pool` says instead of `pools = vp`.
    fn server(&self, method: &str, also: Also, pool: &str) {
        self.give("b.test");
        let PeerConfig { local, remote, psk, .. } = PeerConfig::of(&self.net, Side::B);
        let own = match also {
            Also::Psk => "auth = psk".to_owned(),
            Also::Certificate => "auth = pubkey".to_owned(),
            Also::Nothing => format!("auth = {method}"),
        };
        let certs = if method == "eap-tls" || also == Also::Certificate { "certs = b.test.pem" } else { "" };
        self.peer.load_text(&format!(
            "connections {{\n  p {{\n    version = 2\n    local_addrs = {local}\n    remote_addrs = {remote}
    proposals = aes128-sha256-x25519\n    send_cert = always\n    {pool}
    local {{\n      {own}\n      id = b.test\n      {certs}\n    }}
    remote {{\n      auth = {method}\n      id = a.test\n      eap_id = %any\n    }}
    children {{\n      c {{\n        local_ts = 10.2.0.0/16\n        esp_proposals = aes128-sha1\n      }}\n    }}\n  }}\n}}
pools {{\n  vp {{\n    addrs = 10.77.0.0/24\n    dns = 10.77.255.53\n    subnet = 10.2.0.0/16\n  }}\n}}
secrets {{\n  eap-1 {{\n    id = {USER}\n    secret = \"{PASSWORD}\"\n  }}
  ike-1 {{\n    id-a = a.test\n    id-b = b.test\n    secret = \"{psk}\"\n  }}\n}}\n"
        ));
    }

    /// strongSwan as EAP client.
    fn client(&self, method: &str, also: Also, password: &str) {
        self.give(USER);
        let PeerConfig { local, remote, psk, .. } = PeerConfig::of(&self.net, Side::B);
        let theirs = match also {
            Also::Psk => "auth = psk".to_owned(),
            Also::Certificate => "auth = pubkey".to_owned(),
            Also::Nothing => format!("auth = {method}"),
        };
        let certs = if method == "eap-tls" { format!("certs = {USER}.pem") } else { String::new() };
        self.peer.load_text(&format!(
            "connections {{\n  p {{\n    version = 2\n    local_addrs = {local}\n    remote_addrs = {remote}
    proposals = aes128-sha256-x25519\n    vips = 0.0.0.0
    local {{\n      auth = {method}\n      id = b.test\n      eap_id = {USER}\n      {certs}\n    }}
    remote {{\n      {theirs}\n      id = a.test\n    }}
    children {{\n      c {{\n        remote_ts = 10.1.0.0/16\n        esp_proposals = aes128-sha1\n      }}\n    }}\n  }}\n}}
secrets {{\n  eap-1 {{\n    id = {USER}\n    secret = \"{password}\"\n  }}
  ike-1 {{\n    id-a = a.test\n    id-b = b.test\n    secret = \"{psk}\"\n  }}\n}}\n"
        ));
    }

    /// Our end. `auth` and `more` are sections of the connection file; files lie in the directory above.
    fn ikelab(&self, auth: &str, more: &str, child: &str) -> Ikelab<'_> {
        let ours = PeerConfig::of(&self.net, Side::A);
        let ikelab = Ikelab::new(&self.net, Side::A, &ours, None);
        let text = format!(
            "version: 1\nname: access\nlocal: {{address: {}, id: a.test}}\nremote: {{address: {}, id: b.test}}
auth:\n{auth}\n{more}\nike: {{proposals: [aes128-sha256-x25519]}}
children:\n  - {{name: c, proposals: [aes128-sha1], {child}}}\n",
            ours.local, ours.remote
        );
        put(ikelab.file(), &text);
        ikelab
    }

    /// Us as client, once. `method` is a whole `eap` section's inside.
    fn connect(&self, method: &str, also: Also) -> (Finished, Ikelab<'_>) {
        let auth = format!("  local: {{eap: {{identity: {USER}, {method}}}}}\n  remote: {}", proof(also, false));
        let ikelab = self.ikelab(&auth, "virtual_ip: any", "remote_ts: [10.2.0.0/16]");
        let done = ikelab.run("connect", &["--once", "--keys"], Duration::from_secs(20));
        (done, ikelab)
    }
}

/// The section of the responder's proof, for whom it is or for the one that believes it.
fn proof(also: Also, own: bool) -> &'static str {
    match also {
        Also::Certificate if own => "{certificate: {chain: ../a.test.pem, key: ../a.test.key}}",
        Also::Certificate => "{certificate: {ca: [../ca.pem]}}",
        Also::Psk => "{psk_file: ../psk}",
        Also::Nothing => "{eap_only: true}",
    }
}

fn tls_section(name: &str, versions: &str) -> String {
    format!("tls: {{chain: ../{name}.pem, key: ../{name}.key, ca: [../ca.pem], versions: \"{versions}\"}}")
}

/// How a client of ours says a method.
fn client_words(method: &str) -> String {
    match method {
        "eap-tls" => format!("method: tls, {}", tls_section(USER, "any")),
        other => format!("method: {}, password_file: ../password", other.trim_start_matches("eap-")),
    }
}

#[track_caller]
fn event<'a>(sa: &'a OurSa, name: &str) -> &'a Value {
    let found = sa.events.iter().find(|e| e["event"] == name);
    found.unwrap_or_else(|| panic!("no event {name}: {:#?}", sa.events))
}

/// Every message verified, and EAP and configuration payloads where they belong.
#[track_caller]
fn judge_capture(capture: &Path, ikelab: &Ikelab<'_>) -> Vec<Packet> {
    // Wireshark's opinion of MD5-Challenge and MSCHAPv2, which is right.
    let allow = [ALLOWED, &[("eap.mitm_attacks", "the method is weak by itself")]].concat();
    let clean = Clean { allow: &allow, verified: true };
    let packets = tshark::assert_clean(capture, Some(&ikelab.run_dir().profile()), &clean);
    let auth = || packets.iter().flat_map(|p| &p.messages).filter(|m| m.exchange == IKE_AUTH);
    for response in [false, true] {
        let has = |kind| auth().any(|m| m.response == response && m.payloads.contains(&kind));
        assert!(has(EAP) && has(CP), "response {response}: {:?}", auth().collect::<Vec<_>>());
    }
    packets
}

#[track_caller]
fn we_are_the_client(lab: &Lab, method: &str, also: Also, tls: Option<&str>) {
    lab.server(method, also, "pools = vp");
    let capture = lab.net.capture(Side::B);
    let (done, ikelab) = lab.connect(&client_words(method), also);
    assert_eq!(done.code(), Some(0), "{method}: {done}\n{}", tail(&lab.peer.log()));
    judge_capture(&capture.finish(), &ikelab);
    let sas = ikelab.run_dir().sas();
    let [sa] = &sas[..] else { panic!("one IKE SA: {sas:#?}") };
    let eap = event(sa, "eap");
    assert_eq!(eap["method"].as_str().map(str::to_lowercase).as_deref(), Some(&method[4..]), "{eap}");
    assert_eq!((&eap["identity"], &eap["keyed"]), (&Value::from(USER), &Value::from(method != "eap-md5")), "{eap}");
    assert_eq!(eap["alone"], Value::from(also == Also::Nothing), "{eap}");
    assert_eq!(eap["tls"].as_str(), tls, "{eap}");
    let config = event(sa, "config");
    assert_eq!(config["addresses"], serde_json::json!(["10.77.0.1"]), "{config}");
    assert_eq!(config["dns"], serde_json::json!(["10.77.255.53"]), "{config}");
    assert_eq!(config["subnets"], serde_json::json!(["10.2.0.0/16"]), "{config}");
    assert_eq!(sa.children[0].local_ts, ["10.77.0.1/32"], "{sa:?}");
    assert!(done.stdout.contains("10.77.0.1  DNS 10.77.255.53"), "{done}");
    assert!(!done.stdout.contains(PASSWORD) && !done.stderr.contains(PASSWORD), "no password is printed");
}

#[track_caller]
fn strongswan_is_the_client(lab: &Lab, method: &str, also: Also, tls: Option<&str>) {
    lab.client(method, also, PASSWORD);
    let words = match method {
        "eap-tls" => format!("methods: [tls], users: [{{name: {USER}}}], {}", tls_section("a.test", "any")),
        other => {
            let method = other.trim_start_matches("eap-");
            format!("methods: [{method}], users: [{{name: {USER}, password_file: ../password}}]")
        }
    };
    let auth = format!("  local: {}\n  remote: {{eap: {{{words}}}}}", proof(also, true));
    let pool = "pool: {addresses: 10.88.0.0/24, dns: [10.88.255.53], split: [10.1.0.0/16]}";
    let ikelab = lab.ikelab(&auth, pool, "local_ts: [10.1.0.0/16]");
    let capture = lab.net.capture(Side::B);
    let mut process = listening(&ikelab, &["--keys"]);
    lab.peer.initiate().unwrap_or_else(|why| panic!("{method}: {why}\n{}{}", process.stdout(), tail(&lab.peer.log())));
    let sa = wait_for("our end of the tunnel", HANDSHAKE, || ikelab.run_dir().up());
    let theirs = lab.peer.established();
    assert_eq!(theirs.children[0].local_ts, ["10.88.0.1/32"], "{theirs:?}");
    assert_eq!(sa.children[0].remote_ts, ["10.88.0.1/32"], "{sa:?}");
    let eap = event(&sa, "eap");
    assert_eq!((&eap["identity"], &eap["keyed"]), (&Value::from(USER), &Value::from(method != "eap-md5")), "{eap}");
    assert_eq!((&eap["alone"], eap["tls"].as_str()), (&Value::from(also == Also::Nothing), tls), "{eap}");
    assert_eq!(event(&sa, "config")["addresses"], serde_json::json!(["10.88.0.1"]));
    let log = lab.peer.log();
    assert!(
        log.contains("10.88.255.53") || log.contains("INTERNAL_IP4_DNS") || log.contains("CPRP(ADDR"),
        "{}",
        tail(&log)
    );
    assert_eq!(interrupt(&mut process), Some(0), "{}{}", process.stdout(), process.stderr());
    judge_capture(&capture.finish(), &ikelab);
}

#[test]
fn eap_with_us_as_client() {
    let lab = Lab::new(false);
    we_are_the_client(&lab, "eap-md5", Also::Psk, None);
    we_are_the_client(&lab, "eap-mschapv2", Also::Psk, None);
    we_are_the_client(&lab, "eap-tls", Also::Psk, Some("TLSv1_2"));
}

#[test]
fn eap_with_strongswan_as_client() {
    for (method, tls) in [("eap-md5", None), ("eap-mschapv2", None), ("eap-tls", Some("TLSv1_2"))] {
        let lab = Lab::new(false);
        strongswan_is_the_client(&lab, method, Also::Psk, tls);
    }
}

/// As headends do it: the responder proves itself with a certificate, the initiator by EAP.
#[test]
fn eap_beside_a_certificate_with_us_as_client() {
    let lab = Lab::new(false);
    for (method, tls) in [("eap-md5", None), ("eap-mschapv2", None), ("eap-tls", Some("TLSv1_2"))] {
        we_are_the_client(&lab, method, Also::Certificate, tls);
    }
    // EAP never begins where the certificate is nobody's that we trust.
    lab.server("eap-mschapv2", Also::Certificate, "pools = vp");
    let auth = format!(
        "  local: {{eap: {{identity: {USER}, {}}}}}\n  remote: {{certificate: {{pin: ../{USER}.pem}}}}",
        client_words("eap-mschapv2")
    );
    let ikelab = lab.ikelab(&auth, "virtual_ip: any", "remote_ts: [10.2.0.0/16]");
    let done = ikelab.run("connect", &["--once"], Duration::from_secs(20));
    assert_eq!(done.code(), Some(1), "{done}");
    assert!(done.stdout.contains("certificate"), "{done}");
    assert!(ikelab.run_dir().named("eap").is_empty(), "no password was given to a stranger");
}

#[test]
fn eap_beside_a_certificate_with_strongswan_as_client() {
    for (method, tls) in [("eap-md5", None), ("eap-mschapv2", None), ("eap-tls", Some("TLSv1_2"))] {
        let lab = Lab::new(false);
        strongswan_is_the_client(&lab, method, Also::Certificate, tls);
    }
}

/// strongSwan 5.9 speaks TLS 1.3 in EAP as it was before RFC 9190, without the commitment and with another key: that is
/// named, and with TLS 1.2 the two understand each other.
#[test]
fn strongswans_tls_1_3_is_not_that_of_the_rfc() {
    let lab = Lab::new(true);
    lab.server("eap-tls", Also::Psk, "pools = vp");
    let (done, _) = lab.connect(&client_words("eap-tls"), Also::Psk);
    assert_eq!(done.code(), Some(1), "{done}");
    assert!(done.stdout.contains("without the commitment of RFC 9190"), "{done}");
    let words = format!("method: tls, {}", tls_section(USER, "1.2"));
    let (done, ikelab) = lab.connect(&words, Also::Psk);
    assert_eq!(done.code(), Some(0), "{done}\n{}", tail(&lab.peer.log()));
    let sas = ikelab.run_dir().sas();
    assert_eq!(event(&sas[0], "eap")["tls"], "TLSv1_2");
}

#[test]
fn eap_alone() {
    let lab = Lab::new(false);
    we_are_the_client(&lab, "eap-tls", Also::Nothing, Some("TLSv1_2"));
    let lab = Lab::new(false);
    strongswan_is_the_client(&lab, "eap-tls", Also::Nothing, Some("TLSv1_2"));
}

#[test]
fn strongswans_refusals_are_understood() {
    let lab = Lab::new(false);
    put(&lab.net.dir().join("wrong"), "not the password");
    for (offered, ours, says) in [
        ("eap-mschapv2", "method: mschapv2, password_file: ../wrong", "691"),
        ("eap-md5", "method: md5, password_file: ../wrong", "Failure to MD5"),
        ("eap-md5", "method: mschapv2, password_file: ../password", "no EAP method in common"),
    ] {
        lab.server(offered, Also::Psk, "pools = vp");
        let (done, ikelab) = lab.connect(ours, Also::Psk);
        assert_eq!(done.code(), Some(1), "{offered}: {done}\n{}", tail(&lab.peer.log()));
        let result = ikelab.run_dir().result().expect("a report");
        assert_eq!(result["findings"][0]["class"], "auth_failed", "{result}");
        assert!(done.stdout.contains(says), "{says}: {done}");
    }
    // An address is asked for, and there is no pool.
    lab.server("eap-mschapv2", Also::Psk, "");
    let (done, _) = lab.connect(&client_words("eap-mschapv2"), Also::Psk);
    assert_eq!(done.code(), Some(1), "{done}");
    assert!(done.stdout.contains("INTERNAL_ADDRESS_FAILURE"), "{done}");
}

#[test]
fn strongswan_understands_our_refusals() {
    let lab = Lab::new(false);
    lab.client("eap-mschapv2", Also::Psk, "not the password");
    let users = format!("methods: [mschapv2], users: [{{name: {USER}, password_file: ../password}}]");
    let auth = format!("  local: {{psk_file: ../psk}}\n  remote: {{eap: {{{users}}}}}");
    let ikelab = lab.ikelab(&auth, "pool: {addresses: 10.88.0.0/30}", "local_ts: [10.1.0.0/16]");
    let mut process = listening(&ikelab, &[]);
    assert!(lab.peer.initiate().is_err());
    let out = ikelab.stdout_file();
    process.wait_until("the refusal", HANDSHAKE, || {
        crate::process::text_of(&out).contains("EAP user or password").then_some(())
    });
    let log = lab.peer.log();
    assert!(log.contains("ERROR_AUTHENTICATION_FAILURE"), "{}", tail(&log));
    assert_eq!(interrupt(&mut process), Some(0), "{}{}", process.stdout(), process.stderr());
}
