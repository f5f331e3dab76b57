//! Certificates with real peers, in both roles: every kind of key, every signature method, every failure in the direction
//! where ikelab judges and where the peer does.

use std::time::Duration;

use crate::cli::{Ikelab, interrupt};
use crate::libreswan::Libreswan;
use crate::netns::{Net, Side};
use crate::peer::{Certs, DataPlane, Id, Knob, OwnCert, Peer, PeerConfig, TrustCerts, tail};
use crate::pki::{Ca, Flaw, Key, Leaf};
use crate::process::{text_of, try_wait_for};
use crate::strongswan::StrongSwan;
use crate::tunnel::{Role, bring_up, listening};

const BOTH: [Role; 2] = [Role::Initiator, Role::Responder];

/// IKE_AUTH, and the payload that carries a fragment of a message.
const IKE_AUTH: u8 = 35;
const SKF: u8 = 53;

fn own(leaf: &Leaf, chain: &[&Ca]) -> Option<OwnCert> {
    Some(OwnCert {
        leaf: leaf.pem.clone(),
        chain: chain.iter().map(|ca| ca.pem()).collect(),
        key: leaf.key.clone(),
        more: String::new(),
    })
}

fn trust(ca: &[&Ca]) -> Option<TrustCerts> {
    Some(TrustCerts { ca: ca.iter().map(|ca| ca.pem()).collect(), ..TrustCerts::default() })
}

/// Two ends that trust one root, each with a leaf of it for its own name.
fn pair(net: &Net, root: &Ca, key: Key) -> (PeerConfig, PeerConfig) {
    let (mut a, mut b) = PeerConfig::pair(net);
    a.certs = Certs { own: own(&root.leaf("a.test", key, Flaw::None), &[]), trust: trust(&[root]) };
    b.certs = Certs { own: own(&root.leaf("b.test", key, Flaw::None), &[]), trust: trust(&[root]) };
    (a, b)
}

fn more(config: &mut PeerConfig, text: &str) {
    config.certs.own.as_mut().expect("it has a certificate").more = text.to_owned();
}

/// Up, compared, down; what ikelab printed meanwhile.
#[track_caller]
fn tunnel(net: &Net, role: Role, ours: &PeerConfig, peer: &dyn Peer) -> String {
    let what = || format!("{} with ikelab as {role:?}", peer.name());
    let mut up = bring_up(net, Side::A, role, ours, peer).unwrap_or_else(|why| panic!("{}: {why}", what()));
    let _ = up.process.is_running();
    let said = up.process.stdout();
    up.take_down().unwrap_or_else(|why| panic!("{}: {why}", what()));
    said
}

#[test]
fn strongswan_every_key_both_roles() {
    for key in Key::ALL {
        let net = Net::new();
        let root = Ca::root("Root", if key == Key::Rsa { Key::Rsa } else { Key::P256 });
        let (a, b) = pair(&net, &root, key);
        let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
        let signature = match key {
            Key::Rsa => "RSA PKCS #1 v1.5 with SHA2-",
            Key::P256 => "ECDSA with SHA2-256",
            Key::P384 => "ECDSA with SHA2-384",
            Key::P521 => "ECDSA with SHA2-512",
            Key::Ed25519 => "Ed25519",
        };
        for role in BOTH {
            let said = tunnel(&net, role, &a, &peer);
            assert!(said.contains("certificate of C=CH, O=ikelab, CN=b.test"), "{said}");
            assert!(said.contains(signature), "{said}");
        }
    }
}

/// RSASSA-PSS in both directions, and the methods of before RFC 7427.
#[test]
fn strongswan_pss_and_the_old_methods_both_roles() {
    let net = Net::new();
    let root = Ca::root("Root", Key::Rsa);
    let (mut a, mut b) = pair(&net, &root, Key::Rsa);
    more(&mut a, "signature: pss");
    more(&mut b, "auth = rsa/pss-sha512");
    let peer = StrongSwan::start(&net, Side::B, &b.clone().knob(Knob::Charon, "rsa_pss", "yes"), DataPlane::Shim);
    for role in BOTH {
        let said = tunnel(&net, role, &a, &peer);
        assert!(said.contains("RSASSA-PSS with SHA2-"), "{said}");
    }
    drop(peer);

    for (key, signature) in [
        (Key::Rsa, "RSA PKCS #1 v1.5 with SHA-1"),
        (Key::P256, "ECDSA with the curve's hash"),
        (Key::P384, "ECDSA with the curve's hash"),
        (Key::P521, "ECDSA with the curve's hash"),
    ] {
        let net = Net::new();
        let (a, b) = pair(&net, &root, key);
        let old = b.knob(Knob::Charon, "signature_authentication", "no");
        let peer = StrongSwan::start(&net, Side::B, &old, DataPlane::Shim);
        for role in BOTH {
            let said = tunnel(&net, role, &a, &peer);
            assert!(said.contains(signature), "{said}");
        }
    }
}

/// One end with a password, the other with a certificate; and identities of type DN.
#[test]
fn strongswan_mixed_methods_and_names() {
    let root = Ca::root("Root", Key::P256);
    for ours_is_key in [true, false] {
        let net = Net::new();
        let (mut a, mut b) = pair(&net, &root, Key::P256);
        if ours_is_key {
            (a.certs.own, b.certs.trust) = (None, None);
        } else {
            (a.certs.trust, b.certs.own) = (None, None);
        }
        let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
        for role in BOTH {
            tunnel(&net, role, &a, &peer);
        }
    }
    let net = Net::new();
    let (mut a, mut b) = pair(&net, &root, Key::P256);
    let dn = |cn: &str| Id::Dn(format!("C=CH, O=ikelab, CN={cn}"));
    (a.local_id, a.remote_id) = (dn("a.test"), dn("b.test"));
    (b.local_id, b.remote_id) = (dn("b.test"), dn("a.test"));
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    for role in BOTH {
        let said = tunnel(&net, role, &a, &peer);
        assert!(said.contains("dn:C=CH, O=ikelab, CN=b.test"), "{said}");
    }
}

/// Four certificates at each end make IKE_AUTH longer than a datagram may be.
#[test]
fn strongswan_four_certificates_in_fragments() {
    let root = Ca::root("Root", Key::Rsa);
    // Chains of their own: who trusts an intermediate is not sent it.
    let chain = |end: &str| {
        let one = root.below(&format!("{end} 1"), Key::Rsa);
        let two = one.below(&format!("{end} 2"), Key::Rsa);
        let three = two.below(&format!("{end} 3"), Key::Rsa);
        let leaf = three.leaf(&format!("{end}.test"), Key::Rsa, Flaw::None);
        own(&leaf, &[&three, &two, &one])
    };
    let (ours, theirs) = (chain("a"), chain("b"));
    for role in BOTH {
        let net = Net::new();
        let (mut a, mut b) = PeerConfig::pair(&net);
        a.certs = Certs { own: ours.clone(), trust: trust(&[&root]) };
        b.certs = Certs { own: theirs.clone(), trust: trust(&[&root]) };
        let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
        let up = bring_up(&net, Side::A, role, &a, &peer).unwrap_or_else(|why| panic!("{why}"));
        let done = up.take_down().unwrap_or_else(|why| panic!("{why}"));
        for response in [false, true] {
            let messages = done.packets.iter().flat_map(|p| &p.messages);
            let auth = messages.filter(|m| m.exchange == IKE_AUTH && m.response == response);
            let fragments = auth.filter(|m| m.payloads.contains(&SKF));
            assert!(fragments.count() >= 3, "IKE_AUTH in fragments, response {response}");
        }
    }
}

#[test]
fn libreswan_rsa_and_ecdsa_both_roles() {
    for (key, authby, signature) in [
        (Key::Rsa, "rsa-sha2", "RSASSA-PSS with SHA2-"),
        (Key::Rsa, "rsa-sha1", "RSA PKCS #1 v1.5 with SHA-1"),
        (Key::P256, "ecdsa", "ECDSA with SHA2-"),
        (Key::P384, "ecdsa", "ECDSA with SHA2-"),
    ] {
        let net = Net::new();
        let root = Ca::root("Root", Key::Rsa);
        let (mut a, b) = pair(&net, &root, key);
        match authby {
            // It verifies RSA signatures of RFC 7427 as PSS only, unless it is told otherwise.
            "rsa-sha2" => more(&mut a, "signature: pss"),
            "rsa-sha1" => more(&mut a, "signature: old"),
            _ => {}
        }
        let (ike, esp) = ("aes256-sha256-modp2048", "aes256gcm16");
        let knobs = [("leftcert", "own"), ("leftsendcert", "always"), ("authby", authby)];
        let b = knobs.iter().fold(b.suite(ike, esp), |c, (key, value)| c.knob(Knob::Libreswan, key, value));
        let peer = Libreswan::start(&net, Side::B, &b);
        for role in BOTH {
            let said = tunnel(&net, role, &a.clone().suite(ike, esp), &peer);
            assert!(said.contains(signature), "{authby}: {said}");
        }
    }
}

/// What differs from a pair that works, and the words of the check that fails.
struct Failing {
    name: &'static str,
    words: &'static str,
}

/// strongSwan does not claim an identity that is not in its certificate, so that this failure is missing here.
const FAILING: [Failing; 7] = [
    Failing { name: "expired", words: "expired on 20" },
    Failing { name: "not yet valid", words: "is not valid before 20" },
    Failing { name: "wrong CA", words: "either the intermediate is missing or the CA is another one" },
    Failing { name: "missing intermediate", words: "CN=Intermediate, which is neither" },
    Failing { name: "wrong usage", words: "extended key usage codeSigning" },
    Failing { name: "wrong key usage", words: "key usage keyEncipherment" },
    Failing { name: "revoked", words: "was revoked on 20" },
];

/// The flawed end's own certificate and the judging end's trust, for one failure.
fn flawed(name: &str, end: &str, root: &Ca, other: &Ca, between: &Ca) -> (Option<OwnCert>, Option<TrustCerts>) {
    let leaf = |flaw| root.leaf(end, Key::P256, flaw);
    let whole = trust(&[root]);
    match name {
        "expired" => (own(&leaf(Flaw::Expired), &[]), whole),
        "not yet valid" => (own(&leaf(Flaw::NotYetValid), &[]), whole),
        "wrong CA" => (own(&other.leaf(end, Key::P256, Flaw::None), &[]), whole),
        "missing intermediate" => (own(&between.leaf(end, Key::P256, Flaw::None), &[]), whole),
        "wrong identity" => (own(&leaf(Flaw::WrongName), &[]), whole),
        "wrong key usage" => (own(&leaf(Flaw::WrongKeyUsage), &[]), whole),
        "wrong usage" => (own(&leaf(Flaw::WrongUsage), &[]), whole),
        _ => {
            let leaf = leaf(Flaw::None);
            let crl = vec![root.crl(&[&leaf])];
            (own(&leaf, &[]), Some(TrustCerts { crl, ..whole.expect("a root") }))
        }
    }
}

#[test]
fn strongswan_shows_what_we_refuse() {
    let (root, other) = (Ca::root("Root", Key::P256), Ca::root("Another Root", Key::P256));
    let between = root.below("Intermediate", Key::P256);
    let net = Net::new();
    let (a, b) = pair(&net, &root, Key::P256);
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    let mut wrong = String::new();
    for (n, failing) in FAILING.iter().enumerate() {
        let (mut ours, mut theirs) = (a.clone(), b.clone());
        (theirs.certs.own, ours.certs.trust) = flawed(failing.name, "b.test", &root, &other, &between);
        theirs = theirs.knob(Knob::SwanConnection, "send_cert", "always");
        peer.load(&theirs);
        for role in BOTH {
            let what = format!("{} with ikelab as {role:?}", failing.name);
            let said = refused(&net, role, &format!("judge-{n}-{role:?}"), &ours, &peer, "cert_untrusted");
            match said {
                Ok(said) if said.contains(failing.words) => {}
                other => wrong += &format!("{what}: no `{}` in {other:?}\n", failing.words),
            }
            peer.terminate();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The diagnosis that ikelab prints and writes when it refuses, or is refused; `class` is that of every finding.
fn refused(
    net: &Net,
    role: Role,
    name: &str,
    ours: &PeerConfig,
    peer: &dyn Peer,
    class: &str,
) -> Result<String, String> {
    let ikelab = Ikelab::named(net, Side::A, &name.to_lowercase(), ours, None);
    let said = match role {
        Role::Initiator => {
            let done = ikelab.run("connect", &["--once"], Duration::from_secs(15));
            if done.code() != Some(1) {
                return Err(done.to_string());
            }
            done.stdout
        }
        Role::Responder => {
            let mut process = listening(&ikelab, &["-v"]);
            if peer.initiate().is_ok() {
                return Err("the tunnel is up".into());
            }
            let noticed = || text_of(&ikelab.stdout_file()).contains("  x #").then_some(());
            try_wait_for(Duration::from_secs(3), noticed)
                .ok_or_else(|| format!("nothing noticed: {}", process.stdout()))?;
            interrupt(&mut process);
            process.stdout()
        }
    };
    let result = ikelab.run_dir().result().ok_or("no report")?;
    let findings = result["findings"].as_array().ok_or("no findings")?;
    if findings.is_empty() || findings.iter().any(|f| f["class"] != class) {
        return Err(format!("findings {findings:?}"));
    }
    let known: Vec<String> = findings.iter().map(ToString::to_string).collect();
    Ok(said + &known.join("\n"))
}

/// The peer refuses us: ikelab must not claim to know why, and the peer's log says which check it was.
#[test]
fn strongswan_refuses_what_is_wrong_with_ours() {
    let (root, other) = (Ca::root("Root", Key::P256), Ca::root("Another Root", Key::P256));
    let between = root.below("Intermediate", Key::P256);
    let net = Net::new();
    let (a, b) = pair(&net, &root, Key::P256);
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    let mut wrong = String::new();
    let in_its_log = [
        ("expired", "subject certificate invalid (valid from"),
        ("not yet valid", "subject certificate invalid (valid from"),
        ("wrong CA", "no issuer certificate found"),
        ("missing intermediate", "no issuer certificate found"),
        ("wrong identity", "no trusted ECDSA public key found for 'a.test'"),
        ("wrong key usage", "rejecting certificate without digitalSignature or nonRepudiation keyUsage flags"),
        ("revoked", "was revoked"),
    ];
    for (n, (name, words)) in in_its_log.into_iter().enumerate() {
        let (mut ours, mut theirs) = (a.clone(), b.clone());
        (ours.certs.own, theirs.certs.trust) = flawed(name, "a.test", &root, &other, &between);
        more(&mut ours, "send: always");
        peer.load(&theirs);
        for role in BOTH {
            let what = format!("{name} with ikelab as {role:?}");
            let before = peer.log().len();
            match refused(&net, role, &format!("refused-{n}-{role:?}"), &ours, &peer, "auth_failed") {
                Ok(said) => {
                    for narrow in ["expired on", "was revoked", "pre-shared key differs"] {
                        if said.contains(narrow) {
                            wrong += &format!("{what}: ikelab claims `{narrow}`\n");
                        }
                    }
                }
                Err(why) => wrong += &format!("{what}: {why}\n"),
            }
            let log = peer.log();
            let log = log.get(before..).unwrap_or_default();
            if !log.contains(words) {
                wrong += &format!("{what}: the peer does not say `{words}`:\n{}\n", tail(log));
            }
            peer.terminate();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// strongSwan judges the key usage and takes any extended key usage; libreswan refuses what is for codeSigning only, in
/// either role.
#[test]
fn an_extended_key_usage_is_refused_by_libreswan_only() {
    let net = Net::new();
    let root = Ca::root("Root", Key::P256);
    let (mut a, b) = pair(&net, &root, Key::P256);
    a.certs.own = own(&root.leaf("a.test", Key::P256, Flaw::WrongUsage), &[]);
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    for role in BOTH {
        tunnel(&net, role, &a, &peer);
    }
    drop(peer);

    let net = Net::new();
    let root = Ca::root("Root", Key::Rsa);
    let (mut a, b) = pair(&net, &root, Key::Rsa);
    a.certs.own = own(&root.leaf("a.test", Key::Rsa, Flaw::WrongUsage), &[]);
    more(&mut a, "signature: pss");
    let (ike, esp) = ("aes256-sha256-modp2048", "aes256gcm16");
    let a = a.suite(ike, esp);
    let knobs = [("leftcert", "own"), ("leftsendcert", "always"), ("authby", "rsa-sha2")];
    let b = knobs.iter().fold(b.suite(ike, esp), |c, (key, value)| c.knob(Knob::Libreswan, key, value));
    let peer = Libreswan::start(&net, Side::B, &b);
    let said = refused(&net, Role::Initiator, "initiator", &a, &peer, "auth_failed");
    assert!(said.is_ok(), "{said:?}\n{}", tail(&peer.log()));
    // As initiator it says nothing to the responder: it forgets the IKE SA.
    let process = listening(&Ikelab::named(&net, Side::A, "responder", &a, None), &[]);
    assert!(peer.initiate().is_err(), "{}", process.stdout());
    let refusals = peer.log().matches("SEC_ERROR_INADEQUATE_CERT_TYPE").count();
    assert!(refusals >= 2, "{}", tail(&peer.log()));
}
