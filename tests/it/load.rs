//! Load over real loopback sockets: both ends are ours, with several threads each.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ikelab::engine::{ConnectionSpec, DpdMode, DpdSpec, FailureClass, IdMatch, Limits, Ports, RetransmitSpec};
use ikelab::fault::{Action, Rule, When};
use ikelab::load::answer::{Answering, Headend};
use ikelab::load::arrival::{Schedule, Spacing};
use ikelab::load::peers::{Change, FAULTY, Faulty, Peers};
use ikelab::load::run::{Fleet, Setup};
use ikelab::load::template::Pool;
use ikelab::load::workload::{Order, Played, Workload, play};
use ikelab::load::{gauge, keep};
use ikelab::seed::Seeds;
use ikelab::time::RealClock;
use ikelab::wire::IdPayload;
use ikelab::wire::registry::{ExchangeType, IdType};

use crate::pair::{address, id, left_spec, right_spec};

const SECOND: Duration = Duration::from_secs(1);

struct Lab {
    headend: Answering,
    setup: Setup,
    order: Order,
}

impl Lab {
    /// A headend with `answering` threads, and what two threads need to load it with 100 tunnels per second.
    fn new(answering: u8, limits: Limits) -> Lab {
        Lab::with(answering, limits, |_| {})
    }

    /// The same with another headend.
    fn with(answering: u8, limits: Limits, change: impl FnOnce(&mut ConnectionSpec)) -> Lab {
        let clock = RealClock::start();
        let theirs: IpAddr = address("127.0.0.62");
        let mut right = right_spec();
        (right.local_addr, right.remote_addr, right.remote_id) = (Some(theirs), None, IdMatch::Any);
        change(&mut right);
        let limits = Limits { linger: Duration::ZERO, ..limits };
        let headend = headend(right, limits, theirs, Ports { ike: 0, natt: 0 }, answering);
        let headend = Answering::start(headend, clock).expect("loopback binds");
        let ours = address("127.0.0.61");
        let mut left = left_spec();
        (left.local_addr, left.remote_addr) = (Some(ours), Some(theirs));
        (left.local_ports, left.remote_ports) = (Ports { ike: 0, natt: 0 }, headend.ports);
        left.local_id = IdPayload::new(IdType::ID_RFC822_ADDR, b"peer-{n4}@lab".to_vec());
        left.remote_id = IdMatch::Exact(id("right.test"));
        left.behaviour.initial_contact = false;
        let setup = Setup {
            peers: Peers::new(left, ours).expect("a template"),
            tunnels: 100,
            threads: 2,
            process: (0, 1),
            interface: None,
            socket_buffer: 1 << 20,
            seeds: Seeds::simulated("tester"),
            rules: Vec::new(),
            in_flight: 10_000,
            too_late: 10 * SECOND,
            linger: Duration::ZERO,
            configured: 100,
            dont_fragment: false,
            keep: true,
            traffic: None,
        };
        let order = Order {
            workload: Workload::Setup,
            schedule: Schedule::count(100, 200.0),
            tunnels: 100,
            warm_up: Duration::ZERO,
            drain: 10 * SECOND,
            delete_rate: Some(1000.0),
            start: None,
            offers: Vec::new(),
            spacing: Spacing::Even,
            trials: 1,
        };
        Lab { headend, setup, order }
    }

    fn base(&mut self, change: impl FnOnce(&mut ConnectionSpec)) {
        change(Arc::make_mut(&mut self.setup.peers.base));
    }

    fn play(self) -> (Played, Answering, Fleet) {
        let mut fleet = Fleet::start(self.setup, RealClock::start()).expect("loopback binds");
        let played = play(&mut fleet, &self.order, &mut |_, _, _| {}).expect("loopback works");
        (played, self.headend, fleet)
    }
}

fn headend(connection: ConnectionSpec, limits: Limits, address: IpAddr, ports: Ports, threads: u8) -> Headend {
    Headend {
        connections: vec![connection],
        limits,
        addresses: vec![address],
        ports,
        threads,
        interface: None,
        socket_buffer: 1 << 20,
        seeds: Seeds::simulated("headend"),
        data: None,
        scribes: Vec::new(),
    }
}

fn count(played: &Played, stage: &str, latency: &str) -> u64 {
    let stage = played.stages.iter().find(|s| s.name == stage).expect("the stage was played");
    stage.latency.get(latency).map_or(0, |l| l.count)
}

#[test]
fn tunnels_come_up_and_go_over_threads_at_both_ends_from_one_address() {
    let (played, headend, fleet) = Lab::new(2, Limits::default()).play();
    let [setup, delete] = &played.stages[..] else { panic!("{:?}", played.stages) };
    assert_eq!(
        (setup.started, setup.done, setup.failed, setup.dropped.total(), setup.up),
        (100, 100, 0, 0, 100),
        "{setup:?}"
    );
    assert_eq!((delete.started, delete.done, delete.up, delete.sas), (100, 100, 0, 0), "{delete:?}");
    for latency in ["T_init", "T_auth", "T_up", "start_lag"] {
        assert_eq!(count(&played, "setup", latency), 100, "{latency}");
    }
    assert_eq!(count(&played, "delete", "T_delete"), 100);
    assert_eq!(setup.bins.iter().map(|b| (b.due, b.done)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1)), (100, 100));
    // The last octet of a random SPIi deals 100 IKE SAs out to two threads: none is left without any.
    let each = headend.each(|s| &s.ike_up);
    assert_eq!(each.iter().sum::<u64>(), 100);
    assert!(each.iter().all(|up| *up > 10), "{each:?}");
    assert_eq!(headend.sum(|s| &s.deleted), 100);
    let page = gauge::prometheus(fleet.gauges());
    assert!(page.contains("ike_tunnel_up{tunnel=\"99\"} 0") && page.contains("ike_established_total 100"), "{page}");
    // Two of each thread's 50 handshakes are looked at.
    let sample = keep::freshness(fleet.keepers());
    assert!(sample.is_fresh() && (sample.handshakes, sample.child_keys) == (4, 8), "{sample:?}");
    // Set-ups and deletes, each with how late it was begun; and what has not happened is there with a zero.
    assert!(page.contains("ike_stage_seconds_count{stage=\"start_lag\"} 200\n"), "{page}");
    assert!(page.contains("ike_failures_total{class=\"no_response\",stage=\"init\"} 0\n"), "{page}");
    drop(fleet);
    let answered = headend.finish().expect("it ends");
    assert_eq!(answered.iter().map(|a| a.engine.child_up).sum::<u64>(), 100);
}

#[test]
fn ike_and_child_sas_are_rekeyed_all_at_once() {
    for ike in [true, false] {
        let mut lab = Lab::new(2, Limits::default());
        lab.order.workload = Workload::Rekey { ike, over: Duration::ZERO };
        let (played, headend, _fleet) = lab.play();
        let (name, latency) = if ike { ("rekey-ike", "T_rekey_ike") } else { ("rekey-child", "T_rekey_child") };
        let stage = &played.stages[1];
        assert_eq!((stage.name.as_str(), stage.started, stage.done, stage.failed), (name, 100, 100, 0), "{stage:?}");
        assert_eq!(count(&played, name, latency), 100);
        assert_eq!(headend.sum(|s| &s.rekeyed), 100);
        // The tunnels that were rekeyed are the ones that are deleted.
        assert_eq!((played.stages[2].done, played.stages[2].up), (100, 0), "{:?}", played.stages[2]);
    }
}

#[test]
fn tunnels_with_a_wrong_key_fail_beside_honest_ones() {
    let mut lab = Lab::new(1, Limits::default());
    lab.setup.peers.faulty = Some(Faulty { per_mille: 250, change: Change::BadPsk });
    let (played, _headend, fleet) = lab.play();
    let setup = &played.stages[0];
    assert_eq!((setup.started, setup.done, setup.failed), (75, 75, 0), "{setup:?}");
    assert_eq!((setup.faulty.started, setup.faulty.done, setup.faulty.failed), (25, 0, 25));
    let failures: Vec<_> =
        setup.faulty_failures.iter().map(|f| (f.class.as_str(), f.stage.as_str(), f.count)).collect();
    assert_eq!(failures, [("auth_failed", "auth", 25)]);
    let dir = tempfile::tempdir().expect("a scratch folder");
    keep::write(dir.path(), ikelab::time::UnixTime(0), fleet.keepers()).expect("it is writable");
    let text = std::fs::read_to_string(dir.path().join("handshakes.txt")).expect("written");
    assert!(text.contains("auth_failed in auth") && text.contains("IKE_AUTH response #1"), "{text}");
}

#[test]
fn a_flood_of_half_open_ike_sas_meets_cookies_and_the_limit() {
    let limits = Limits { cookie_threshold: Some(20), max_half_open: 60, ..Limits::default() };
    let mut lab = Lab::new(1, limits);
    lab.order.workload = Workload::Flood;
    lab.order.delete_rate = None;
    lab.order.drain = SECOND;
    lab.setup.peers.faulty = Some(Faulty { per_mille: 1000, change: Change::None });
    lab.setup.rules = vec![Rule {
        name: "half-open".into(),
        when: When {
            exchange: Some(ExchangeType::IKE_AUTH),
            response: Some(false),
            tunnels: Some(FAULTY..u64::MAX),
            ..When::default()
        },
        action: Action::DropSent,
        times: None,
    }];
    let (played, headend, _fleet) = lab.play();
    let flood = &played.stages[0];
    assert_eq!((flood.faulty.started, flood.faulty.done, flood.started), (100, 0, 0), "{flood:?}");
    assert_eq!(headend.sum(|s| &s.half_open), 60, "the limit of half-open IKE SAs");
    assert!(headend.sum(|s| &s.cookies) >= 40, "{}", headend.sum(|s| &s.cookies));
    assert!(headend.sum(|s| &s.limited) > 0);
}

#[test]
fn a_storm_ends_and_its_recovery_is_told() {
    let mut lab = Lab::new(1, Limits::default());
    lab.order.workload = Workload::Storm;
    let (played, headend, _fleet) = lab.play();
    let recovery = played.recovery.expect("a storm has one");
    let at: Vec<f64> = recovery.seconds.iter().map(|s| s.expect("all came back")).collect();
    assert!(at.len() == 4 && at.windows(2).all(|w| w[0] <= w[1]) && recovery.factor.is_some(), "{recovery:?}");
    let storm = played.stages.iter().find(|s| s.name == "storm").expect("played");
    assert_eq!((storm.started, storm.done, storm.up), (100, 100, 100), "{storm:?}");
    assert_eq!(headend.sum(|s| &s.ike_up), 200);
}

#[test]
fn what_a_crash_of_the_headend_takes_away_is_brought_up_again_and_timed() {
    let mut lab = Lab::new(1, Limits::default());
    let quick = RetransmitSpec { initial: Duration::from_millis(100), attempts: 3, ..RetransmitSpec::default() };
    lab.base(|spec| {
        let dpd = DpdSpec::new(Duration::from_millis(200), DpdMode::Periodic);
        (spec.dpd, spec.retransmit) = (Some(DpdSpec { retransmit: Some(quick.clone()), ..dpd }), quick);
    });
    lab.order.workload = Workload::Failover(6 * SECOND);
    let (ports, mut running, mut again) = (lab.headend.ports, Some(lab.headend), None);
    let mut fleet = Fleet::start(lab.setup, RealClock::start()).expect("loopback binds");
    let mut watch = |stage: &str, _: &[_], since: ikelab::time::Instant| {
        if stage == "failover"
            && since.as_secs_f64() > 1.0
            && let Some(crashed) = running.take()
        {
            crashed.abort();
            let mut right = right_spec();
            (right.local_addr, right.remote_addr, right.remote_id) = (Some(address("127.0.0.62")), None, IdMatch::Any);
            let new = headend(right, Limits::default(), address("127.0.0.62"), ports, 1);
            again = Some(Answering::start(new, RealClock::start()).expect("the ports are free again"));
        }
    };
    let played = play(&mut fleet, &lab.order, &mut watch).expect("loopback works");
    let [_, failover, delete] = &played.stages[..] else { panic!("{:?}", played.stages) };
    let lost: u64 = failover.lost.values().sum();
    assert!(lost >= 100 && failover.lost.contains_key(&FailureClass::DpdTimeout), "{failover:?}");
    assert_eq!((failover.done, failover.up, delete.done), (lost, 100, 100), "{failover:?}");
    assert_eq!((count(&played, "failover", "T_detect"), count(&played, "failover", "T_outage")), (lost, lost));
    let (detected, back) = (&failover.latency["T_detect"], &failover.latency["T_outage"]);
    assert!(detected.p50 < back.p50 && detected.max > 300_000, "retransmissions take 300 ms: {detected:?} {back:?}");
    let (sentence, down) = ikelab::load::verdict::failover(&played.stages).expect("it was one");
    assert!(down == Some(0) && sentence.contains("all came up again; from the last word"), "{sentence}");
    assert!(again.is_some_and(|headend| headend.sum(|s| &s.ike_up) >= 100));
}

#[test]
fn a_storm_brings_back_the_tunnels_that_were_up() {
    let mut lab = Lab::new(1, Limits::default());
    (lab.setup.tunnels, lab.setup.configured, lab.order.tunnels) = (u64::MAX, 30, u64::MAX);
    (lab.order.schedule, lab.order.workload, lab.order.delete_rate) =
        (Schedule::count(30, 200.0), Workload::Storm, None);
    let (played, headend, fleet) = lab.play();
    assert_eq!(played.stages.last().map(|storm| (storm.done, storm.up)), Some((30, 30)));
    assert_eq!(headend.sum(|s| &s.ike_up), 60);
    let page = gauge::prometheus(fleet.gauges());
    for tunnel in [0, 29] {
        assert!(page.contains(&format!("ike_tunnel_up{{tunnel=\"{tunnel}\"}} 1")), "{page}");
    }
    assert!(!page.contains("ike_tunnel_up{tunnel=\"30\"}"), "{page}");
}

#[test]
fn what_is_begun_in_the_warm_up_is_not_measured() {
    let mut lab = Lab::new(1, Limits::default());
    // For the whole warm-up nobody answers, as if a box had to wake up: the first request of each tunnel is lost.
    lab.setup.rules = vec![Rule {
        name: "lost".into(),
        when: When { initiator: Some(true), exchange: Some(ExchangeType::IKE_SA_INIT), ..When::default() },
        action: Action::DropSent,
        times: Some(20),
    }];
    lab.setup.threads = 1;
    lab.base(|spec| {
        spec.retransmit =
            RetransmitSpec { initial: Duration::from_millis(100), attempts: 5, ..RetransmitSpec::default() };
    });
    (lab.order.schedule, lab.order.warm_up) = (Schedule::constant(20.0, 3 * SECOND), SECOND);
    let (played, _headend, _fleet) = lab.play();
    let setup = &played.stages[0];
    assert_eq!((setup.done, setup.window.done, setup.warm_up), (60, 40, 1.0), "{setup:?}");
    for latency in ["T_init", "T_auth", "T_up", "start_lag"] {
        assert_eq!(count(&played, "setup", latency), 40, "{latency}");
    }
    assert_eq!((setup.requests, setup.retransmits), (80, 0), "{setup:?}");
    assert!((19.0..=21.0).contains(&setup.achieved_rate) && setup.retried > 0, "{setup:?}");
}

#[test]
fn the_first_refused_tunnel_is_named() {
    let mut lab = Lab::new(1, Limits { max_ike_sas: Some(7), ..Limits::default() });
    lab.order.workload = Workload::Tunnels;
    lab.order.schedule = Schedule::count(20, 20.0);
    lab.setup.threads = 1;
    lab.base(|spec| {
        spec.retransmit =
            RetransmitSpec { initial: Duration::from_millis(100), attempts: 2, ..RetransmitSpec::default() };
    });
    let (played, _headend, _fleet) = lab.play();
    let found = played.capacity.expect("it was searched for");
    assert_eq!((found.median, found.of.as_str()), (7.0, "tunnels"));
    assert!(
        found.finding.starts_with("tunnel 8 was refused") && found.finding.contains("no_response"),
        "{}",
        found.finding
    );
}

#[test]
fn churn_begins_tunnels_again_and_poisson_arrivals_come_from_many_addresses() {
    let mut lab = Lab::new(2, Limits::default());
    lab.setup.peers.sources = Pool::parse("127.8.0.0/28").expect("a network");
    lab.setup.tunnels = 40;
    lab.order.tunnels = 40;
    lab.order.workload = Workload::Churn(Duration::from_millis(100));
    let segments = vec![ikelab::load::arrival::Segment { from: 100.0, to: 100.0, length: SECOND }];
    lab.order.schedule = Schedule::new(segments, Spacing::Poisson, None);
    let (played, headend, fleet) = lab.play();
    assert_eq!((fleet.network().sources, fleet.network().sockets, fleet.network().shared), (14, 28, false));
    let churn = &played.stages[0];
    assert_eq!(churn.started, churn.done, "{churn:?}");
    assert_eq!(churn.started + churn.dropped.no_tunnel, churn.bins.iter().map(|b| b.due).sum::<u64>());
    assert!(churn.done > 40, "tunnels are begun again: {churn:?}");
    assert_eq!((churn.aside.done, churn.up), (churn.done, 0), "{churn:?}");
    assert_eq!(headend.sum(|s| &s.deleted), churn.done);
}

#[test]
fn what_comes_too_late_or_is_too_much_is_dropped_and_counted() {
    let mut lab = Lab::new(1, Limits::default());
    // Nobody answers there.
    lab.base(|spec| {
        spec.remote_addr = Some(address("127.0.0.63"));
        spec.retransmit =
            RetransmitSpec { initial: Duration::from_millis(50), attempts: 1, ..RetransmitSpec::default() };
    });
    lab.setup.in_flight = 10;
    lab.setup.threads = 1;
    lab.order.schedule = Schedule::count(100, 10_000.0);
    let (played, _headend, fleet) = lab.play();
    let setup = &played.stages[0];
    assert_eq!((setup.started, setup.failed, setup.dropped.in_flight), (10, 10, 90), "{setup:?}");
    assert_eq!(fleet.gauges()[0].1.dropped.load(Relaxed), 90);
}

#[test]
fn source_addresses_that_are_not_this_hosts_are_named_with_what_helps() {
    let mut lab = Lab::new(1, Limits::default());
    lab.setup.peers.sources = Pool::parse("203.0.113.0/28").expect("a network");
    lab.base(|spec| {
        spec.retransmit =
            RetransmitSpec { initial: Duration::from_millis(50), attempts: 2, ..RetransmitSpec::default() };
    });
    lab.order.schedule = Schedule::count(20, 200.0);
    let (played, _headend, _fleet) = lab.play();
    let setup = &played.stages[0];
    // Each set-up was begun, and both of its datagrams were refused.
    assert_eq!((setup.started, setup.failed, setup.dropped.total()), (20, 20, 0), "{setup:?}");
    assert_eq!((setup.dropped.not_sent, setup.used.not_sent), (40, 40), "{setup:?}");
    let why = setup.used.not_sent_why.as_deref().unwrap_or_default();
    assert!(why.contains("is no address of this host (`ip route add local 203.0.113."), "{why}");
}

#[test]
fn liveness_checks_are_timed_and_a_dead_peer_is_counted_as_lost() {
    let mut lab = Lab::new(1, Limits::default());
    lab.order.workload = Workload::Hold(2 * SECOND);
    lab.order.delete_rate = None;
    lab.base(|spec| {
        let text = "version: 1\nauth: {local: {psk: x}}\nike: {proposals: [aes128-sha256-x25519]}\nchildren: [{proposals: [aes128-sha256]}]\ndpd: {interval: 500ms}\n";
        let loaded = ikelab::config::parse(text, "dpd.yaml", std::path::Path::new("."), &|_| None).expect("a file");
        spec.dpd = loaded.spec.dpd;
        spec.retransmit = RetransmitSpec { initial: Duration::from_millis(100), attempts: 3, ..RetransmitSpec::default() };
    });
    let order = lab.order.clone();
    let (played, headend, mut fleet) = lab.play();
    let hold = &played.stages[1];
    assert_eq!((hold.up, hold.lost.len()), (100, 0), "no false detection: {hold:?}");
    assert!(hold.latency["T_dpd"].count >= 200, "{:?}", hold.latency);
    // The peer dies: its sockets are closed without a word.
    headend.abort();
    let work = ikelab::load::shard::Work::Hold(2 * SECOND);
    let outcome = fleet.stage(None, work, Duration::ZERO, order.drain, SECOND, &mut |_, _| {}).expect("loopback works");
    assert_eq!(outcome.stats.lost.get(&FailureClass::DpdTimeout), Some(&100), "{:?}", outcome.stats.lost);
    let page = gauge::prometheus(fleet.gauges());
    assert!(page.contains("ike_failures_total{class=\"dpd_timeout\",stage=\"up\"} 100\n"), "{page}");
    assert_eq!(outcome.up, 0);
}

#[test]
fn a_tunnel_that_loses_only_its_child_sa_is_lost() {
    // Its lifetime ends there and nobody asks for a rekey: as after an idle timeout, the IKE SA stays.
    let mut lab = Lab::with(1, Limits::default(), |right| {
        right.children[0].lifetime = Some(SECOND);
        right.behaviour.rekey.as_responder = false;
    });
    lab.order.workload = Workload::Hold(5 * SECOND);
    let (played, headend, fleet) = lab.play();
    let lost = |class| played.stages.iter().filter_map(|s| s.lost.get(&class)).sum::<u64>();
    let hold = &played.stages[1];
    assert_eq!((hold.name.as_str(), hold.up, lost(FailureClass::PeerDeleted)), ("hold", 0, 100), "{hold:?}");
    assert_eq!(headend.sum(|s| &s.deleted), 100, "what nobody uses is not left there");
    let page = gauge::prometheus(fleet.gauges());
    for line in [
        "ike_tunnel_up{tunnel=\"99\"} 0",
        "ike_sas{state=\"established\"} 0",
        "ike_failures_total{class=\"peer_deleted\",stage=\"up\"} 100",
    ] {
        assert!(page.lines().any(|l| l == line), "{line}\n{page}");
    }
}

#[test]
fn each_tunnel_has_a_certificate_of_its_own() {
    use ikelab::auth::{Policy, Trust, certificates};
    use ikelab::engine::AuthSpec;
    use ikelab::load::ca::{LoadCa, make};

    let dir = tempfile::tempdir().expect("a scratch folder");
    make(dir.path()).expect("writable");
    let root = certificates(&std::fs::read(dir.path().join("ca.pem")).expect("written")).expect("PEM");
    let trust = Trust { anchors: root, policy: Policy::default(), ..Trust::default() };
    let mut lab = Lab::with(1, Limits::default(), |right| right.remote_auth = AuthSpec::Trust(Arc::new(trust)));
    let ca = LoadCa::open(dir.path(), RealClock::start().epoch()).expect("its key");
    lab.setup.peers.certify(&ca, 100).expect("e-mail addresses");
    let (played, headend, _fleet) = lab.play();
    let setup = &played.stages[0];
    assert_eq!((setup.done, setup.failed), (100, 0), "{setup:?}");
    assert_eq!(headend.sum(|s| &s.child_up), 100);
}

#[test]
fn supplied_certificates_are_used_one_per_tunnel() {
    use ikelab::auth::{Policy, Trust, certificates};
    use ikelab::engine::AuthSpec;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};

    let dir = tempfile::tempdir().expect("a scratch folder");
    let at = |name: String| dir.path().join(name);
    let key = KeyPair::generate().expect("a key");
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = root.self_signed(&key).expect("a root").pem();
    let issuer = Issuer::new(root, key);
    for n in 0..4 {
        let key = KeyPair::generate().expect("a key");
        let mut leaf = CertificateParams::default();
        let name = format!("peer-{n:04}@lab");
        leaf.subject_alt_names = vec![SanType::Rfc822Name(name.as_str().try_into().expect("ASCII"))];
        let leaf = leaf.signed_by(&key, &issuer).expect("a leaf");
        std::fs::write(at(format!("{n}.pem")), leaf.pem()).expect("writable");
        std::fs::write(at(format!("{n}.key")), key.serialize_pem()).expect("writable");
    }
    let trust =
        Trust { anchors: certificates(pem.as_bytes()).expect("PEM"), policy: Policy::default(), ..Trust::default() };
    let mut lab = Lab::with(1, Limits::default(), |right| right.remote_auth = AuthSpec::Trust(Arc::new(trust)));
    lab.setup.peers.certified(dir.path()).expect("four of them");
    // The fifth tunnel is the first peer again.
    assert_eq!(lab.setup.peers.id(5), lab.setup.peers.id(1));
    let (played, headend, _fleet) = lab.play();
    assert_eq!((played.stages[0].done, played.stages[0].failed), (100, 0), "{:?}", played.stages[0]);
    assert_eq!(headend.sum(|s| &s.child_up), 100);
    std::fs::remove_file(at("3.key".into())).expect("it is there");
    let mut peers = Peers::new(left_spec(), address("127.0.0.61")).expect("no template");
    assert!(peers.certified(dir.path()).expect_err("a key is missing").contains("3.key"));
}
