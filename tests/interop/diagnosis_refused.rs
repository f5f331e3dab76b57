//! More cases for `tests/diagnosis`: certificates that do not hold the identity, and rekeys of the IKE SA that are refused. As in
//! `diagnosis`, these are recorders and no tests: `cargo test --test interop record_refused -- --ignored`.
//!
//! No peer here refuses a rekey of what it has accepted before. One that is bent at our end, or at libreswan's by an impairment
//! that is switched on while the tunnel is up, stands for an end whose configuration has changed since.

use std::fs;
use std::time::Duration;

use crate::cli::{Ikelab, interrupt, shell};
use crate::diagnosis::Answer::{Among, Exact};
use crate::diagnosis::{Cases, base};
use crate::diagnosis_life::{Dress, Start, libreswan, own, run, strongswan, trust};
use crate::libreswan::Libreswan;
use crate::netns::{Block, Net, Side};
use crate::peer::{Certs, DataPlane, Id, Knob, OwnCert, PeerConfig};
use crate::pki::{Ca, Flaw, Key};
use crate::process::{text_of, try_wait_for};
use crate::strongswan::StrongSwan;

/// A failure stands in a transcript.
fn has_failed(ikelab: &Ikelab<'_>) -> Option<()> {
    let files = fs::read_dir(ikelab.out().join("transcript")).into_iter().flatten().flatten();
    files.map(|entry| text_of(&entry.path())).any(|text| text.contains("\"event\":\"failed\"")).then_some(())
}

/// Certificates that do not hold the identity, judged by us in both roles and by the peer as responder.
fn certificates(cases: &mut Cases, start: Start, key: Key, dress: Dress, ours_more: &str) {
    let root = Ca::root("Root", key);
    let leaf = |name: &str, flaw| own(&root.leaf(name, key, flaw), &[]);
    let bare = |certs: Option<OwnCert>| certs.map(|own| OwnCert { more: String::new(), ..own });
    let more = |certs: Option<OwnCert>| certs.map(|own| OwnCert { more: ours_more.to_owned(), ..own });
    let refused = Among(&["identity", "cert_trust", "cert_validity", "auth_method"]);
    let (named, subject) = (Id::fqdn("b.test"), Id::Dn("C=CH, O=ikelab, CN=b.test".to_owned()));
    // Theirs, ours, the peer's identity, and who finds it.
    let all = [
        (leaf("b.test", Flaw::WrongName), leaf("a.test", Flaw::None), named.clone(), true, Exact(&["cert_identity"])),
        (leaf("b.test", Flaw::None), leaf("a.test", Flaw::WrongName), named, false, refused),
        // In order, and somebody else; or named otherwise than we expect.
        (
            leaf("other.test", Flaw::None),
            leaf("a.test", Flaw::None),
            Id::fqdn("other.test"),
            true,
            Among(&["identity"]),
        ),
        (leaf("b.test", Flaw::None), leaf("a.test", Flaw::None), subject, true, Among(&["identity", "cert_no_san"])),
    ];
    for (n, (theirs, ours, id, by_us, answer)) in all.into_iter().enumerate() {
        for initiator in [true, false] {
            // As responder we are told by an INFORMATIONAL of some peers, and by nothing of others.
            if !by_us && !initiator {
                continue;
            }
            let net = Net::new();
            let (mut a, mut b) = base(&net);
            a.certs = Certs { own: more(ours.clone()), trust: trust(&[&root]) };
            b.certs = Certs { own: bare(theirs.clone()), trust: trust(&[&root]) };
            b.local_id = id.clone();
            let Ok(peer) = std::panic::catch_unwind(|| start(&net, &dress(b.clone()))) else {
                println!("certificate {n}: the peer does not load it");
                continue;
            };
            run(cases, &format!("certificate {n} {initiator}"), &net, &a, initiator, &*peer, answer);
            if !by_us {
                cases.own_certificate("somebody-else.test");
            }
        }
    }
}

/// Our IKE SA lives for so long, and is rekeyed two seconds after it came up, or at a tenth of its life.
fn lived(a: PeerConfig, seconds: u32) -> PeerConfig {
    let margin = seconds - (seconds / 10).max(2);
    a.knob(Knob::Ikelab, "ike", &format!("lifetime: {seconds}s")).knob(
        Knob::Ikelab,
        "rekey",
        &format!("{{margin: {margin}s, jitter_percent: 0}}"),
    )
}

/// We rekey the IKE SA, with another offer than the peer has accepted.
fn bent_rekeys(cases: &mut Cases, start: Start) {
    for (n, (fault, answer)) in [
        ("swap-transform=type=ENCR,id=12,bits=128", Exact(&["ike_rekey"][..])),
        ("swap-transform=type=INTEG,id=14", Exact(&["ike_rekey"])),
        ("swap-transform=type=PRF,id=7", Exact(&["ike_rekey"])),
        ("swap-transform=type=KE,id=15", Exact(&["ike_rekey"])),
        // Its key exchange is not of the group that it seems to be.
        ("wrong-ke-group=modp1536", Among(&["group_loop", "ike_group"])),
    ]
    .into_iter()
    .enumerate()
    {
        let net = Net::new();
        let (a, b) = base(&net);
        let _peer = start(&net, &b);
        let ikelab = Ikelab::named(&net, Side::A, &format!("rekey-{n}"), &lived(a, 20), None);
        let fault = format!("{fault},exchange=CREATE_CHILD_SA,response=no");
        let mut process = ikelab.spawn("connect", &["--fault", &fault]);
        let _ = try_wait_for(Duration::from_secs(7), || has_failed(&ikelab));
        interrupt(&mut process);
        cases.keep_all(&format!("rekey {n}"), &ikelab, false, answer);
    }
}

/// What the peer asks meanwhile does not arrive: it waits for our answer, and puts our rekey off until we give up.
fn put_off() -> Cases {
    let mut cases = Cases::default();
    let net = Net::new();
    let (a, b) = base(&net);
    let b = b.knob(Knob::Charon, "retransmit_base", "1.0").knob(Knob::Charon, "retransmit_tries", "400");
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    let command = peer.rekey_command(true);
    let ikelab = Ikelab::named(&net, Side::A, "put-off", &lived(a, 240), None);
    let mut process = ikelab.spawn("connect", &[]);
    let _ = try_wait_for(Duration::from_secs(5), || process.stdout().contains("Child SA").then_some(()));
    let _blocked = net.block(Side::A, Block::CreateChildSaRequests);
    // The command may wait for the answer.
    let asking = std::thread::spawn(move || shell(&command));
    let _ = process.wait(Duration::from_secs(235));
    let _ = interrupt(&mut process);
    cases.keep_all("put off", &ikelab, false, Among(&["busy", "path_one_way"]));
    drop(asking);
    cases
}

/// libreswan rekeys the IKE SA, with something else than before.
fn their_rekeys(cases: &mut Cases) {
    for (n, (impairment, answer)) in [
        ("ike-key-length-attribute:128", Exact(&["ike_key_length"][..])),
        ("v2-proposal-integ:omit", Exact(&["ike_integrity"])),
        ("v2-proposal-dh:omit", Exact(&["ike_group"])),
    ]
    .into_iter()
    .enumerate()
    {
        let net = Net::new();
        let (a, b) = base(&net);
        let peer = Libreswan::start(&net, Side::B, &b);
        let ikelab = Ikelab::named(&net, Side::A, &format!("their-rekey-{n}"), &a, None);
        let mut process = ikelab.spawn("connect", &[]);
        let _ = try_wait_for(Duration::from_secs(5), || process.stdout().contains("Child SA").then_some(()));
        println!("{impairment}: {}", peer.whack(&["--impair", impairment]));
        println!("{}", peer.whack(&["--rekey-ike", "--name", "p", "--asynchronous"]));
        let _ = try_wait_for(Duration::from_secs(5), || has_failed(&ikelab));
        interrupt(&mut process);
        cases.keep_all(&format!("their rekey {n}"), &ikelab, false, answer);
    }
}

#[test]
#[ignore = "records, and tests nothing: see the head of the file"]
fn record_refused_strongswan() {
    let mut cases = Cases::default();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(put_off);
        let dress: Dress = |b| b.knob(Knob::SwanConnection, "send_cert", "always");
        certificates(&mut cases, strongswan, Key::P256, dress, "send: always");
        bent_rekeys(&mut cases, strongswan);
        cases.extend(waiting.join().expect("it does not panic"));
    });
    cases.write("refused.jsonl");
}

#[test]
#[ignore = "records, and tests nothing: see the head of the file"]
fn record_refused_libreswan() {
    let mut cases = Cases::default();
    let dress: Dress = |b| {
        let knobs = [("leftcert", "own"), ("leftsendcert", "always"), ("authby", "rsa-sha2")];
        knobs.iter().fold(b, |c, (key, value)| c.knob(Knob::Libreswan, key, value))
    };
    certificates(&mut cases, libreswan, Key::Rsa, dress, "send: always, signature: pss");
    // It takes our rekey while its own is under way.
    bent_rekeys(&mut cases, libreswan);
    their_rekeys(&mut cases);
    cases.write("held-out-refused.jsonl");
}
