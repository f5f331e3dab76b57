//! Each class of failure, made by a headend that is bent to it, and counted by a tester's shard over loopback sockets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use ikelab::drive::{Driver, Observer};
use ikelab::engine::{
    AuthSpec, Childless, ConnectionSpec, DpdMode, DpdSpec, Endpoint, EndpointConfig, FailureClass, IdMatch, Limits,
    Ports, RetransmitSpec,
};
use ikelab::fault::{FaultPlan, table};
use ikelab::link::Link;
use ikelab::link::udp::{UdpConfig, UdpLink};
use ikelab::load::arrival::{Schedule, Spacing};
use ikelab::load::measure::During;
use ikelab::load::peers::Peers;
use ikelab::load::run::{Fleet, Setup};
use ikelab::load::summary::StageResult;
use ikelab::load::workload::{Order, Workload, play};
use ikelab::net::SocketRole;
use ikelab::record::Recorder;
use ikelab::seed::{PlanSeed, Seeds};
use ikelab::time::RealClock;
use ikelab::wire::Transform;
use ikelab::wire::registry::{EncrId, EsnId, KeMethod};

use crate::certificates::{credential, root, trust};
use crate::pair::{address, id, ike_proposal, left_spec, net, psk, right_spec};

const TUNNELS: u64 = 4;
const SECOND: Duration = Duration::from_secs(1);
/// Shorter than a patient tester's repeats last.
const SHORT: Duration = Duration::from_secs(4);

const SETUP: Workload = Workload::Setup;
const REKEY_IKE: Workload = Workload::Rekey { ike: true, over: Duration::ZERO };
const REKEY_CHILD: Workload = Workload::Rekey { ike: false, over: Duration::ZERO };
/// What is returned is never the cookie that it expects.
const NEVER_PROVEN: &[&str] = &["demand-cookie", "long-cookie=octets=40"];
const MORE_CHILDREN: Workload = Workload::Children { each: 1, over: Duration::ZERO };

type Change = Box<dyn Fn(&mut ConnectionSpec) + Send + Sync>;

/// What makes a failure, and as what it is to be counted.
struct Row {
    class: FailureClass,
    /// Nowhere: the tunnel was up and went down unasked.
    stage: Option<During>,
    workload: Workload,
    /// Of the headend, as `--fault` takes them.
    faults: &'static [&'static str],
    ours: Change,
    theirs: Change,
    drain: Duration,
    /// The tester's repeats last for a minute.
    patient: bool,
}

fn row(class: FailureClass, stage: During, workload: Workload, faults: &'static [&'static str]) -> Row {
    let nothing = || -> Change { Box::new(|_| {}) };
    let (ours, theirs) = (nothing(), nothing());
    Row { class, stage: Some(stage), workload, faults, ours, theirs, drain: 20 * SECOND, patient: false }
}

impl Row {
    fn ours(self, change: impl Fn(&mut ConnectionSpec) + Send + Sync + 'static) -> Row {
        Row { ours: Box::new(change), ..self }
    }

    fn theirs(self, change: impl Fn(&mut ConnectionSpec) + Send + Sync + 'static) -> Row {
        Row { theirs: Box::new(change), ..self }
    }

    fn both(self, change: impl Fn(&mut ConnectionSpec) + Send + Sync + Copy + 'static) -> Row {
        self.ours(change).theirs(change)
    }

    /// The tester's time for open operations ends before the engine's patience does.
    fn cut_short(self) -> Row {
        Row { drain: SHORT, ..self.patient() }
    }

    fn patient(self) -> Row {
        Row { patient: true, ..self }
    }

    fn lost(self) -> Row {
        Row { stage: None, ..self }
    }

    fn name(&self) -> String {
        let stage = self.stage.map_or("lost", During::as_str);
        format!("{} in {stage} of {} by {:?} within {:?}", self.class, self.workload.name(), self.faults, self.drain)
    }
}

fn rows() -> Vec<Row> {
    use During::{Auth, Child, Delete, Init, Rekey};
    use FailureClass as Class;

    let (authority, stranger) = (Arc::new(root("Root")), root("Another Root"));
    let strange = Arc::new(credential("right.test", &stranger));
    let misnamed = Arc::new(credential("somebody.test", &authority));
    let certified = move |class, credential: Arc<_>| {
        let authority = Arc::clone(&authority);
        row(class, Auth, SETUP, &[])
            .ours(move |spec| spec.remote_auth = trust(&authority))
            .theirs(move |spec| spec.local_auth = AuthSpec::Certificate(Arc::clone(&credential)))
    };
    let pfs = |spec: &mut ConnectionSpec| spec.children[0].pfs = vec![KeMethod::CURVE25519];
    let fragments = |spec: &mut ConnectionSpec| {
        spec.fragmentation = true;
        spec.behaviour.fragments.size = 200;
    };
    vec![
        row(Class::NoResponse, Init, SETUP, &["drop-received"]),
        row(Class::NoResponse, Init, SETUP, &["drop-received"]).cut_short(),
        row(Class::NoResponse, Auth, SETUP, &["no-answer=IKE_AUTH"]),
        row(Class::NoResponse, Auth, SETUP, &["no-answer=IKE_AUTH"]).cut_short(),
        row(Class::NoResponse, Rekey, REKEY_IKE, &["ignore-rekey"]),
        row(Class::NoResponse, Rekey, REKEY_CHILD, &["ignore-rekey"]).cut_short(),
        row(Class::NoResponse, Child, MORE_CHILDREN, &["ignore-rekey"]),
        row(Class::NoResponse, Delete, SETUP, &["no-answer=INFORMATIONAL"]),
        row(Class::NoResponse, Delete, SETUP, &["no-answer=INFORMATIONAL"]).cut_short(),
        row(Class::CookieLoop, Init, SETUP, NEVER_PROVEN),
        row(Class::CookieLoop, Init, SETUP, NEVER_PROVEN).cut_short(),
        row(Class::NoProposalIke, Init, SETUP, &[])
            .theirs(|spec| spec.ike_proposals = vec![ike_proposal(&[KeMethod::ECP_384])]),
        row(Class::NoProposalIke, Init, SETUP, &["demand-group=modp4096"]),
        row(Class::NoProposalIke, Rekey, REKEY_IKE, &["refuse-create=NO_PROPOSAL_CHOSEN"]),
        row(Class::NoProposalIke, Rekey, REKEY_IKE, &["demand-group=modp4096,exchange=CREATE_CHILD_SA"]),
        row(Class::InvalidKeLoop, Init, SETUP, &["demand-groups-in-turn=one=x25519,other=ecp256"]),
        row(Class::InvalidKeLoop, Init, SETUP, &["demand-group=x25519"]).cut_short(),
        row(Class::InvalidKeLoop, Rekey, REKEY_IKE, &["demand-group=x25519,exchange=CREATE_CHILD_SA"]),
        row(Class::AuthFailed, Auth, SETUP, &[]).theirs(|spec| spec.remote_auth = psk("another horse")),
        row(Class::AuthFailed, Auth, SETUP, &["broken-auth"]),
        row(Class::IdMismatch, Auth, SETUP, &[]).ours(|spec| {
            (spec.remote_id, spec.send_idr) = (IdMatch::Exact(id("other.test")), false);
        }),
        certified(Class::IdMismatch, misnamed),
        certified(Class::CertUntrusted, strange),
        row(Class::TsUnacceptable, Child, SETUP, &[])
            .theirs(|spec| spec.children[0].local_ts = vec![net("10.99.0.0/24")]),
        row(Class::NoProposalChild, Child, SETUP, &[]).theirs(|spec| {
            let gcm = Transform::encr(EncrId::ENCR_AES_GCM_16, Some(256));
            spec.children[0].proposals[0].transforms = vec![gcm, Transform::esn(EsnId(0))];
        }),
        row(Class::NoProposalChild, Child, MORE_CHILDREN, &["refuse-create=NO_PROPOSAL_CHOSEN"]),
        row(Class::PfsMismatchAtRekey, Rekey, REKEY_CHILD, &[]).ours(pfs),
        row(Class::PfsMismatchAtRekey, Rekey, REKEY_CHILD, &[]).theirs(pfs),
        row(Class::PfsMismatchAtRekey, Rekey, REKEY_CHILD, &["demand-group=modp4096,exchange=CREATE_CHILD_SA"])
            .both(pfs),
        row(Class::TemporaryFailure, Rekey, REKEY_IKE, &["refuse-create=TEMPORARY_FAILURE"]).cut_short(),
        row(Class::TemporaryFailure, Rekey, REKEY_CHILD, &["refuse-create=TEMPORARY_FAILURE"]).cut_short(),
        row(Class::TemporaryFailure, Rekey, REKEY_CHILD, &["refuse-create=TEMPORARY_FAILURE"]).ours(|spec| {
            let rekey = &mut spec.behaviour.rekey;
            (rekey.retry, rekey.temporary_limit) = (SECOND / 10, SECOND / 5);
        }),
        row(Class::RekeyCollision, Rekey, REKEY_CHILD, &["collide-with-rekey=ask=child,hold=60s"])
            .ours(|spec| spec.retransmit = once(3 * SECOND)),
        row(Class::RekeyCollision, Rekey, REKEY_CHILD, &["collide-with-rekey=ask=child,hold=60s"])
            .cut_short()
            .ours(|spec| spec.retransmit = once(60 * SECOND)),
        row(Class::NoAdditionalSas, Child, SETUP, &["refuse-child=NO_ADDITIONAL_SAS"]),
        row(Class::NoAdditionalSas, Rekey, REKEY_CHILD, &["refuse-create=NO_ADDITIONAL_SAS"]),
        row(Class::FragmentLost, Auth, SETUP, &["lose-fragment=number=2,response=yes"]).both(fragments),
        row(Class::FragmentLost, Auth, SETUP, &["lose-fragment=number=2,response=yes"]).both(fragments).cut_short(),
        row(Class::FragmentLost, Rekey, REKEY_IKE, &["lose-fragment=number=2,response=yes,exchange=CREATE_CHILD_SA"])
            .both(fragments),
        row(Class::PeerDeleted, Rekey, REKEY_IKE, &["ignore-rekey", "invent-delete=after=4s"]).patient(),
        row(Class::PeerDeleted, Rekey, Workload::Hold(8 * SECOND), &["invent-delete=after=1s"]).lost(),
        // Our lifetime ends the Child SA, and why it was not rekeyed is why the tunnel is lost.
        row(Class::PfsMismatchAtRekey, Rekey, Workload::Hold(8 * SECOND), &[]).lost().ours(move |spec| {
            pfs(spec);
            spec.children[0].lifetime = Some(2 * SECOND);
        }),
        row(Class::NoAdditionalSas, Rekey, Workload::Hold(8 * SECOND), &["refuse-create=NO_ADDITIONAL_SAS"])
            .lost()
            .ours(|spec| spec.children[0].lifetime = Some(2 * SECOND)),
        row(Class::DpdTimeout, Rekey, Workload::Hold(8 * SECOND), &["no-liveness"]).lost().ours(|spec| {
            let dpd = DpdSpec::new(SECOND / 2, DpdMode::Periodic);
            spec.dpd = Some(DpdSpec { retransmit: Some(RetransmitSpec { attempts: 2, ..quick() }), ..dpd });
        }),
        row(Class::Malformed, Init, SETUP, &["omit-payload=payload=Nonce,response=yes,exchange=IKE_SA_INIT"]),
        row(Class::Malformed, Auth, SETUP, &["omit-payload=payload=AUTH,response=yes"]),
        row(Class::Malformed, Child, SETUP, &["transport-mode-unasked=response=yes"]),
        row(Class::Rejected, Init, SETUP, &["refuse-init=INVALID_SYNTAX"]),
        row(Class::Rejected, Child, SETUP, &["refuse-child=FAILED_CP_REQUIRED"]),
        row(Class::Local, Init, SETUP, &[])
            .ours(|spec| spec.behaviour.childless = Childless::Force)
            .theirs(|spec| spec.behaviour.childless = Childless::Never),
    ]
}

/// 0.5, 1 and 2 s.
fn quick() -> RetransmitSpec {
    RetransmitSpec { initial: SECOND / 2, attempts: 3, ..RetransmitSpec::default() }
}

/// No repeat: each would make the headend begin another rekey, which is one too many.
fn once(wait: Duration) -> RetransmitSpec {
    RetransmitSpec { initial: wait, max_wait: wait, attempts: 1, ..RetransmitSpec::default() }
}

/// A headend with one thread, bent by named faults.
struct Bent {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    ports: Ports,
}

struct Deaf;

impl Observer for Deaf {}

impl Bent {
    fn start(connection: ConnectionSpec, address: IpAddr, faults: &[&str]) -> Bent {
        let config = UdpConfig {
            addresses: vec![address],
            ike_port: 0,
            natt_port: 0,
            interface: None,
            socket_buffer: 1 << 18,
            share: None,
            any_address: false,
            dont_fragment: false,
        };
        let link = UdpLink::bind(&config, RealClock::start()).expect("loopback binds");
        let ports = Ports { ike: link.port(SocketRole::Ike), natt: link.port(SocketRole::NatT) };
        let connections = vec![Arc::new(ConnectionSpec { local_ports: ports, ..connection })];
        let limits = Limits { linger: Duration::ZERO, ..Limits::default() };
        let config = EndpointConfig { connections, limits, salt: 2, ..EndpointConfig::default() };
        let mut endpoint = Endpoint::new(Arc::new(config), Seeds::simulated("headend"), link.epoch());
        let rules: Vec<_> = faults.iter().map(|text| table::parse(text).expect("a fault")).collect();
        if !rules.is_empty() {
            endpoint.set_tamper(Box::new(FaultPlan::new(rules, &PlanSeed::from_text("classes"))));
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut driver = Driver::new(endpoint, link, Recorder::new());
            while !stopped.load(Relaxed) {
                let soon = driver.link.now() + Duration::from_millis(50);
                driver.turn(Some(soon), &mut Deaf).expect("loopback works");
            }
        });
        Bent { stop, thread: Some(thread), ports }
    }
}

impl Drop for Bent {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The stages of a run against the headend of a row; `n` tells the rows' addresses apart.
fn play_row(n: usize, row: &Row) -> Vec<StageResult> {
    let (ours, theirs) = (address(&format!("127.0.11.{}", n + 1)), address(&format!("127.0.12.{}", n + 1)));
    let mut right = right_spec();
    (right.local_addr, right.remote_addr, right.remote_id) = (Some(theirs), None, IdMatch::Any);
    right.retransmit = quick();
    (row.theirs)(&mut right);
    let headend = Bent::start(right, theirs, row.faults);
    let mut left = left_spec();
    (left.local_addr, left.remote_addr) = (Some(ours), Some(theirs));
    (left.local_ports, left.remote_ports) = (Ports { ike: 0, natt: 0 }, headend.ports);
    left.behaviour.initial_contact = false;
    if !row.patient {
        left.retransmit = quick();
    }
    (row.ours)(&mut left);
    let setup = Setup {
        peers: Peers::new(left, ours).expect("no template"),
        tunnels: TUNNELS,
        threads: 1,
        process: (0, 1),
        interface: None,
        socket_buffer: 1 << 18,
        seeds: Seeds::simulated("tester"),
        rules: Vec::new(),
        in_flight: 100,
        too_late: 10 * SECOND,
        linger: Duration::ZERO,
        configured: TUNNELS,
        keep: false,
        traffic: None,
        dont_fragment: false,
    };
    let order = Order {
        workload: row.workload,
        schedule: Schedule::count(TUNNELS, 40.0),
        tunnels: TUNNELS,
        warm_up: Duration::ZERO,
        drain: row.drain,
        delete_rate: Some(100.0),
        start: None,
        offers: Vec::new(),
        spacing: Spacing::Even,
        trials: 1,
    };
    let mut fleet = Fleet::start(setup, RealClock::start()).expect("loopback binds");
    play(&mut fleet, &order, &mut |_, _, _| {}).expect("loopback works").stages
}

/// What failed and what was lost, in all stages.
fn counted(stages: &[StageResult]) -> BTreeMap<(FailureClass, Option<During>), u64> {
    let mut counted = BTreeMap::new();
    for stage in stages {
        for f in &stage.failures {
            *counted.entry((f.class, Some(f.stage))).or_default() += f.count;
        }
        for (class, count) in &stage.lost {
            *counted.entry((*class, None)).or_default() += count;
        }
    }
    counted
}

/// What went wrong with a row, if it did.
fn check(n: usize, row: &Row) -> Option<String> {
    let counted = counted(&play_row(n, row));
    let expected = BTreeMap::from([((row.class, row.stage), TUNNELS)]);
    (counted != expected).then(|| format!("{}: {counted:?}", row.name()))
}

#[test]
fn every_class_is_made_and_counted_as_what_it_is() {
    let rows = rows();
    let made: BTreeSet<FailureClass> = rows.iter().map(|row| row.class).collect();
    assert_eq!(made, BTreeSet::from(FailureClass::ALL), "a class that nothing makes does not belong in the set");
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = rows.iter().enumerate().map(|(n, row)| scope.spawn(move || check(n, row))).collect();
        running.into_iter().filter_map(|thread| thread.join().expect("a row does not panic")).collect()
    });
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_collision_that_is_settled_is_no_failure() {
    let (class, stage) = (FailureClass::RekeyCollision, During::Rekey);
    let rows = [
        // The nonces decide.
        row(class, stage, REKEY_CHILD, &["collide-with-rekey=ask=child,hold=200ms"]),
        row(class, stage, REKEY_IKE, &["collide-with-rekey=ask=ike,hold=200ms"]),
        // Ours is never answered, and the IKE SA is new all the same.
        row(class, stage, REKEY_IKE, &["collide-with-rekey=ask=ike,hold=60s"]),
    ];
    for (n, row) in rows.iter().enumerate() {
        let stages = play_row(100 + n, row);
        let rekeys = &stages[1];
        assert_eq!((rekeys.started, rekeys.done, counted(&stages).len()), (TUNNELS, TUNNELS, 0), "{rekeys:?}");
    }
}
