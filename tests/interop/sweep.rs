//! Every suite of [`SUITES`] with strongSwan, each offered alone, with ikelab as initiator and as responder. Both ends must
//! name the same suite and have the same keys, and tshark must find every checksum that it can compute correct with
//! ikelab's key tables.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::{Ikelab, interrupt};
use crate::netns::{Net, Side};
use crate::peer::{DataPlane, Knob, Peer, PeerConfig};
use crate::process::{put, text_of, wait_for};
use crate::proposal::Proposal;
use crate::rundir::{OurSa, RunDir, Theirs, assert_agreed};
use crate::strongswan::StrongSwan;
use crate::suites::{SUITES, Suite};
use crate::tshark::{self, ALLOWED, Clean, IKE_TABLE, Integrity};

/// A handshake with the largest group takes the longest.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// All proposals of the table in one list, for the end that chooses.
fn all_suites(config: PeerConfig) -> PeerConfig {
    let distinct = |words: Vec<&str>| {
        let mut seen = BTreeSet::new();
        words.into_iter().filter(|w| seen.insert(*w)).map(str::to_owned).collect::<Vec<_>>()
    };
    PeerConfig {
        ike: distinct(SUITES.iter().map(|s| s.ike).collect()),
        esp: distinct(SUITES.iter().map(|s| s.esp).collect()),
        ..config
    }
}

/// strongSwan's view of one IKE SA must be ours.
#[track_caller]
fn agree(run: &RunDir, ours: &OurSa, peer: &StrongSwan, suite: &Suite) {
    let theirs = peer.ike_sas().into_iter().find(|sa| sa.spi_i == Some(ours.spi_i));
    let theirs = theirs.unwrap_or_else(|| panic!("strongSwan does not hold {ours:?}"));
    assert!(theirs.established && theirs.children.iter().all(|c| c.installed), "{theirs:?}");
    let keys = peer.ike_keys_of(ours.spi_i);
    let theirs = Theirs { name: "strongSwan", sa: &theirs, ike_keys: keys.as_ref(), esp: &peer.esp_sas() };
    assert_agreed(run, ours, &theirs, &Proposal::parse(suite.ike), &Proposal::parse(suite.esp));
}

/// tshark's verdict on the whole capture, with the keys that ikelab exported.
#[track_caller]
fn judge(capture: &Path, profile: &Path, sas: &[(OurSa, Proposal)]) {
    let packets = tshark::assert_clean(capture, Some(profile), &Clean { allow: ALLOWED, verified: false });
    let mut surprises = String::new();
    for (sa, proposal) in sas {
        let messages = packets.iter().flat_map(|p| &p.messages).filter(|m| m.encrypted && m.spi_i == sa.spi_i);
        let verdicts: Vec<_> = messages.flat_map(|m| m.integrity.clone()).collect();
        // IKE_AUTH in both directions at least.
        let fine = match proposal.tshark_verifies() {
            true => verdicts.len() >= 2 && verdicts.iter().all(|v| *v == Integrity::Correct),
            // The keys that the peer logged have been the referee. Should tshark learn it, the table has to.
            false => verdicts.iter().all(|v| *v == Integrity::Unchecked),
        };
        if !fine {
            surprises += &format!("{proposal}: {verdicts:?}\n");
        }
    }
    assert!(surprises.is_empty(), "tshark does not confirm with ikelab's keys:\n{surprises}");
}

#[test]
fn every_suite_as_initiator() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    let peer = StrongSwan::start(&net, Side::B, &all_suites(b), DataPlane::Shim);
    let capture = net.capture(Side::B);
    let mut sas = Vec::new();
    let mut table = String::new();
    for (n, suite) in SUITES.iter().enumerate() {
        let config = a.clone().suite(suite.ike, suite.esp);
        let ikelab = Ikelab::named(&net, Side::A, &format!("ikelab-{n:02}"), &config, None);
        let run = ikelab.run_dir();
        let mut process = ikelab.spawn("connect", &["--keys"]);
        let ours = process.wait_until(&format!("{} is up", suite.ike), HANDSHAKE, || run.up());
        agree(&run, &ours, &peer, suite);
        assert_eq!(interrupt(&mut process), Some(0), "{}: {}{}", suite.ike, process.stdout(), process.stderr());
        table += &text_of(&run.profile().join(IKE_TABLE));
        sas.push((ours, Proposal::parse(suite.ike)));
    }
    let none_left = || peer.ike_sas().is_empty().then_some(());
    wait_for("strongSwan to have lost every SA to our DELETE", Duration::from_secs(3), none_left);
    let profile = profile_of(&net, &table);
    judge(&capture.finish(), &profile, &sas);
}

#[test]
fn every_suite_as_responder() {
    let net = Net::new();
    let (a, b) = PeerConfig::pair(&net);
    // No INITIAL_CONTACT: the SAs are to stand side by side.
    let b = b.knob(Knob::SwanConnection, "unique", "never");
    let peer = StrongSwan::start(&net, Side::B, &b, DataPlane::Shim);
    let single: Vec<PeerConfig> = SUITES.iter().map(|s| b.clone().suite(s.ike, s.esp)).collect();
    peer.load_many(&single);
    let ikelab = Ikelab::new(&net, Side::A, &all_suites(a), None);
    let run = ikelab.run_dir();
    let mut process = ikelab.spawn("listen", &["--keys"]);
    let out = ikelab.stdout_file();
    process.wait_until("it listens", HANDSHAKE, || text_of(&out).contains("listening on").then_some(()));
    let capture = net.capture(Side::B);
    let mut sas: Vec<(OurSa, Proposal)> = Vec::new();
    for (n, suite) in SUITES.iter().enumerate() {
        peer.initiate_nth(n).unwrap_or_else(|why| panic!("{suite:?}: {why}\n{}", text_of(&out)));
        let known: BTreeSet<u64> = sas.iter().map(|(sa, _)| sa.spi_i).collect();
        let fresh = || run.sas().into_iter().find(|sa| !known.contains(&sa.spi_i) && !sa.children.is_empty());
        let ours = process.wait_until(&format!("{} is up", suite.ike), HANDSHAKE, fresh);
        sas.push((ours, Proposal::parse(suite.ike)));
    }
    // All at once: a later handshake must not have disturbed an earlier one.
    for ((ours, _), suite) in sas.iter().zip(SUITES) {
        agree(&run, ours, &peer, suite);
    }
    assert_eq!(peer.ike_sas().len(), SUITES.len());
    assert_eq!(interrupt(&mut process), Some(0), "{}{}", process.stdout(), process.stderr());
    let none_left = || peer.ike_sas().is_empty().then_some(());
    wait_for("strongSwan to have lost every SA to our DELETE", Duration::from_secs(3), none_left);
    let result = run.result().expect("a report");
    assert_eq!(result["counters"]["ike_sas_up"], SUITES.len(), "{result}");
    judge(&capture.finish(), &run.profile(), &sas);
    // Its own capture must show the same.
    judge(&run.capture(), &run.profile(), &sas);
}

/// A Wireshark profile with the tables of many runs.
fn profile_of(net: &Net, table: &str) -> PathBuf {
    let dir = net.dir().join("wireshark");
    fs::create_dir_all(&dir).expect("the run directory is writable");
    put(&dir.join(IKE_TABLE), table);
    dir
}
