//! Our initiator in a closed loop while so many IKE SAs are up already at both ends: what their table costs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ikelab::load::arrival::{Schedule, Segment, Spacing};
use ikelab::load::peers::Peers;
use ikelab::load::run::{Fleet, Outcome, Setup};
use ikelab::load::shard::Work;
use ikelab::seed::{KeySeed, PlanSeed, Seeds};
use ikelab::time::RealClock;

/// The option that makes a benchmark be this initiator, with the number of IKE SAs.
pub const OPTION: &str = "--beside=";
/// And the connection file.
pub const FILE: &str = "--file=";

/// Set-ups that warm up both ends; they are deleted again.
const WARM: u64 = 2_000;
/// Set-ups that are measured: few enough that "none up" is nearly true to the end.
const MEASURED: u64 = 10_000;
const WINDOW: u64 = 64;
const SECOND: Duration = Duration::from_secs(1);

/// Brings up `beside` IKE SAs, then prints at which rate [`MEASURED`] more come up.
pub fn run(beside: u64, file: &str) {
    let loaded = ikelab::config::load(Path::new(file)).unwrap_or_else(|error| panic!("{error}"));
    let mut spec = loaded.spec;
    let local = spec.local_addr.expect("the file has it");
    spec.behaviour.initial_contact = false;
    let mut key = [0; 32];
    let random =
        std::fs::File::open("/dev/urandom").and_then(|mut file| std::io::Read::read_exact(&mut file, &mut key));
    random.expect("Linux has it");
    let setup = Setup {
        peers: Peers::new(spec, local).expect("no template"),
        tunnels: u64::MAX,
        threads: 1,
        process: (0, 1),
        interface: None,
        socket_buffer: 8 << 20,
        seeds: Seeds::new(PlanSeed::from_text("beside"), KeySeed::new(key)),
        rules: Vec::new(),
        in_flight: 100_000,
        too_late: SECOND,
        linger: Duration::ZERO,
        configured: beside + WARM + MEASURED,
        dont_fragment: false,
        keep: true,
        traffic: None,
    };
    let mut fleet = Fleet::start(setup, RealClock::start()).expect("sockets");
    let mut stage = |work: Work| {
        fleet.stage(None, work, Duration::ZERO, 20 * SECOND, SECOND, &mut |_, _| {}).expect("the sockets work")
    };
    let closed = |count| Work::Closed { count, window: WINDOW };
    let rate_of = |outcome: &Outcome, count: u64| {
        assert_eq!((outcome.stats.done, outcome.stats.failed), (count, 0), "every handshake succeeds");
        count as f64 / (outcome.to.as_secs_f64() - outcome.from.as_secs_f64())
    };
    rate_of(&stage(closed(WARM)), WARM);
    let all = Segment { from: 10_000.0, to: 10_000.0, length: 20 * SECOND };
    let gone = stage(Work::Delete(Arc::new(Schedule::new(vec![all], Spacing::Even, None))));
    assert_eq!((gone.up, gone.sas), (0, 0), "none is up");
    if beside > 0 {
        rate_of(&stage(closed(beside)), beside);
    }
    let measured = stage(closed(MEASURED));
    assert_eq!(measured.up, beside + MEASURED);
    println!("{}", rate_of(&measured, MEASURED));
}
