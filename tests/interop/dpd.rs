//! Dead peers, with strongSwan: how soon we notice that it is gone, by the schedule and by the clock, and what becomes of the
//! tunnel; and that it notices when we are.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::{Ikelab, interrupt};
use crate::netns::{Block, Blocked, Net, Side};
use crate::peer::{DataPlane, Knob, Peer, PeerConfig, tail};
use crate::process::{Process, try_wait_for, wait_for};
use crate::rundir::RunDir;
use crate::strongswan::StrongSwan;
use crate::tunnel::{HANDSHAKE, Role, listening};

const IKE: &str = "aes128-sha256-x25519";
const ESP: &str = "aes256gcm16";
const BEHIND_B: &str = "10.2.2.2";

/// One second of quiet, then 400, 600 and 900 ms: 2.9 s.
const EXPECTED_MS: u64 = 2_900;
/// By how much it may be early: rounding.
const EARLY_MS: u64 = 250;
/// What a loaded machine may add to all the timers.
const LATE_MS: u64 = 1_500;

fn dpd(mode: &str, action: &str) -> String {
    format!(
        "{{interval: 1s, mode: {mode}, action: {action}, retransmit: {{initial: 400ms, factor: 1.5, attempts: 3}}}}"
    )
}

/// A tunnel with strongSwan at the other end of the link, ours with these liveness checks.
struct Life<'n> {
    net: &'n Net,
    peer: StrongSwan,
    process: Process,
    run: RunDir,
}

impl<'n> Life<'n> {
    #[track_caller]
    fn up(net: &'n Net, role: Role, dpd: Option<&str>, theirs: &[(Knob, &str, &str)], args: &[&str]) -> Life<'n> {
        let (a, b) = PeerConfig::pair(net);
        let (mut a, mut b) = (a.suite(IKE, ESP), b.suite(IKE, ESP));
        if let Some(dpd) = dpd {
            a = a.knob(Knob::Ikelab, "dpd", dpd);
        }
        for (place, key, value) in theirs {
            b = b.knob(*place, key, value);
        }
        let peer = StrongSwan::start(net, Side::B, &b, DataPlane::Userspace);
        let ikelab = Ikelab::new(net, Side::A, &a, None);
        let process = match role {
            Role::Initiator => ikelab.spawn("connect", args),
            Role::Responder => listening(&ikelab, args),
        };
        if role == Role::Responder {
            peer.initiate().unwrap_or_else(|why| panic!("{why}\n{}", process.stdout()));
        }
        let run = ikelab.run_dir();
        wait_for("the tunnel", HANDSHAKE, || run.up());
        Life { net, peer, process, run }
    }

    fn said(&self) -> String {
        format!("{}{}\n{}", self.process.stdout(), self.process.stderr(), tail(&self.peer.log()))
    }

    /// From now on nothing gets through in either direction.
    fn cut(&self) -> [Blocked; 2] {
        [Side::A, Side::B].map(|side| self.net.block(side, Block::Everything))
    }

    #[track_caller]
    fn await_event(&self, name: &str, patience: Duration) -> Value {
        let found = try_wait_for(patience, || self.run.named(name).pop());
        found.unwrap_or_else(|| panic!("no {name} within {patience:?}\n{}", self.said()))
    }

    /// Waits for the peer's death, and compares what was to be expected with what was measured: by the engine since it last
    /// heard of the peer, and by this test since the cut, `quiet` after the peer was last heard of at most.
    #[track_caller]
    fn await_death(&self, cut: Instant, quiet: Duration, action: &str) {
        let death = self.await_event("peer_dead", Duration::from_secs(8));
        let clock = cut.elapsed();
        assert_eq!((&death["expected_ms"], &death["action"]), (&EXPECTED_MS.into(), &action.into()), "{death}");
        let measured = death["measured_ms"].as_u64().expect("a number");
        let about = EXPECTED_MS - EARLY_MS..EXPECTED_MS + LATE_MS;
        assert!(about.contains(&measured), "{measured} ms measured, {EXPECTED_MS} ms expected");
        let latest = Duration::from_millis(EXPECTED_MS + 2 * LATE_MS);
        let earliest = Duration::from_millis(EXPECTED_MS - EARLY_MS).saturating_sub(quiet);
        assert!((earliest..latest).contains(&clock), "noticed {clock:?} after the cut, not {earliest:?} to {latest:?}");
    }
}

/// Periodic checks of an idle tunnel, in both roles; the tunnel of the dead peer is cleared.
#[test]
fn a_dead_strongswan_is_noticed_on_schedule_in_both_roles() {
    for role in [Role::Initiator, Role::Responder] {
        let net = Net::new();
        let mut life = Life::up(&net, role, Some(&dpd("periodic", "clear")), &[], &[]);
        // Alive it is never taken for dead.
        std::thread::sleep(Duration::from_millis(2_500));
        assert!(life.run.named("alive").len() >= 2 && life.run.named("peer_dead").is_empty(), "{}", life.said());
        let (cut, blocked) = (Instant::now(), life.cut());
        life.await_death(cut, Duration::from_secs(1), "clear");
        assert!(blocked.iter().any(|b| b.packets() >= 3), "each transmission was dropped");
        if role == Role::Initiator {
            let code = life.process.wait(Duration::from_secs(6)).and_then(|status| status.code());
            assert_eq!(code, Some(1), "{}", life.said());
            assert!(life.process.stdout().contains("expected within 2.9 s"), "{}", life.said());
            // Three transmissions, not the connection's own schedule; how long that took is measured.
            let said = life.process.stdout();
            assert!(said.contains("sent 3 times over ") && said.contains(" and never answered"), "{}", life.said());
        } else {
            assert!(life.process.is_running(), "a listener goes on\n{}", life.said());
            interrupt(&mut life.process);
        }
    }
}

/// On demand nobody is asked while nothing is sent, however long; traffic that nothing answers asks.
#[test]
fn on_demand_it_is_traffic_that_notices() {
    let net = Net::new();
    let ping = ["--ping", BEHIND_B, "--ping-interval", "100ms"];
    let mut life = Life::up(&net, Role::Initiator, Some(&dpd("on-demand", "clear")), &[], &ping);
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(life.run.named("alive").len(), 0, "the answers to the ping say enough\n{}", life.said());
    let (cut, _blocked) = (Instant::now(), life.cut());
    life.await_death(cut, Duration::from_millis(150), "clear");
    let code = life.process.wait(Duration::from_secs(6)).and_then(|status| status.code());
    assert_eq!(code, Some(1), "{}", life.said());

    let net = Net::new();
    let mut life = Life::up(&net, Role::Initiator, Some(&dpd("on-demand", "clear")), &[], &[]);
    let _blocked = life.cut();
    std::thread::sleep(Duration::from_secs(4));
    assert!(life.run.named("peer_dead").is_empty(), "an idle tunnel is not looked after\n{}", life.said());
    interrupt(&mut life.process);
}

/// The tunnel of a dead peer comes back by itself, or once there is traffic for it, when the peer is back.
#[test]
fn the_tunnel_comes_back_by_restart_or_with_traffic() {
    for action in ["restart", "hold"] {
        let net = Net::new();
        let ping = ["--ping", BEHIND_B, "--ping-interval", "200ms"];
        let theirs = [(Knob::SwanConnection, "unique", "replace")];
        let mut life = Life::up(&net, Role::Initiator, Some(&dpd("periodic", action)), &theirs, &ping);
        std::thread::sleep(Duration::from_millis(800));
        let (cut, blocked) = (Instant::now(), life.cut());
        life.await_death(cut, Duration::from_millis(300), action);
        blocked.into_iter().for_each(Blocked::lift);
        life.await_event("restarting", Duration::from_secs(4));
        let back = try_wait_for(Duration::from_secs(8), || (life.run.named("ike_up").len() == 2).then_some(()));
        assert!(back.is_some(), "{action}: it does not come back\n{}", life.said());
        std::thread::sleep(Duration::from_millis(1_500));
        // It was lost once, and the exit code says so.
        assert_eq!(interrupt(&mut life.process), Some(1), "{action}: {}", life.said());
        let result = life.run.result().expect("a report");
        let used = result["data"]["pings"][0]["by_child"].as_array().map_or(0, Vec::len);
        assert_eq!(used, 2, "{action}: answers before and after: {result}\n{}", life.said());
    }
}

/// The other way round: we are gone without a word, and strongSwan's checks notice. In both roles.
#[test]
fn strongswan_notices_that_we_are_gone() {
    for role in [Role::Initiator, Role::Responder] {
        let net = Net::new();
        let theirs = [
            (Knob::SwanConnection, "dpd_delay", "1s"),
            (Knob::Charon, "retransmit_timeout", "0.5"),
            (Knob::Charon, "retransmit_base", "1.0"),
            (Knob::Charon, "retransmit_tries", "2"),
        ];
        let mut life = Life::up(&net, role, None, &theirs, &[]);
        std::thread::sleep(Duration::from_millis(2_500));
        let checks = |life: &Life<'_>| {
            let messages = life.run.named("message").into_iter().filter(|e| {
                e["exchange"] == "INFORMATIONAL"
                    && e["from"] == "peer"
                    && e["response"] == false
                    && e["summary"] == "SK{  }"
            });
            messages.count()
        };
        let asked = checks(&life);
        assert!(asked >= 1, "it asks, and we answer\n{}", life.said());
        assert_eq!(life.peer.ike_sas().len(), 1);
        let cut = Instant::now();
        life.process.kill();
        let gone = try_wait_for(Duration::from_secs(8), || life.peer.ike_sas().is_empty().then_some(()));
        assert!(gone.is_some(), "{role:?}: it still believes in us\n{}", life.said());
        // Up to 1 s of quiet, then three waits of half a second; its clock ticks in seconds.
        let took = cut.elapsed();
        assert!((Duration::from_millis(1_400)..Duration::from_millis(6_000)).contains(&took), "{took:?}");
    }
}
