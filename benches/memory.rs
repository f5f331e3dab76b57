//! What an idle IKE SA costs: 10,000 of them in one endpoint, both roles, with and without their Child SA; and as under
//! load, 10,000 and 100,000, with the data plane that holds the Child SA's keys, liveness checks on, and the last response
//! cached: at an initiator that to a liveness check, at a responder that to IKE_AUTH.
//!
//! Each case runs in a process of its own, so that resident memory is that of one endpoint: its peers come and go in
//! small groups, and what they used is given back to the system before and after. The connections, which are shared
//! configuration, are made beforehand.

mod support;

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ikelab::engine::{ConnectionSpec, DpdMode, DpdSpec, Endpoint};
use ikelab::esp::{Plane, PlaneConfig};
use support::{FAST, World, config, endpoint, left_spec, right_spec};

#[global_allocator]
static ALLOC: support::alloc::Counting = support::alloc::Counting;

const SAS: u64 = 10_000;
const MANY: u64 = 100_000;
const GROUP: u64 = 100;

fn main() {
    if !support::wanted() {
        return;
    }
    if let Some(case) = std::env::args().find_map(|arg| arg.strip_prefix("--case=").map(str::to_owned)) {
        let count = if case.ends_with("at 100,000") { MANY } else { SAS };
        return measure(count, case.starts_with("initiator"), case.contains("child"), case.contains("data plane"));
    }
    println!("octets per idle IKE SA                          allocated   resident   aim (resident)");
    let cases = [
        ("initiator, child, data plane at 10,000", 2048),
        ("responder, child, data plane at 10,000", 2048),
        ("initiator, child, data plane at 100,000", 2048),
        ("responder, child, data plane at 100,000", 2048),
        ("initiator with child at 10,000", 1024),
        ("responder with child at 10,000", 1024),
        ("initiator alone at 10,000", 1024),
        ("responder alone at 10,000", 1024),
    ];
    for (case, aim) in cases {
        let this = std::env::current_exe().expect("Linux tells");
        let child = Command::new(this).args(["--bench", &format!("--case={case}")]).stdout(Stdio::piped()).output();
        let output = child.expect("the benchmark starts itself");
        assert!(output.status.success(), "{case} failed: {}", output.status);
        println!("{case:<44} {} {:>8}", String::from_utf8_lossy(&output.stdout).trim_end(), aim);
    }
}

/// Makes the IKE SAs of one role in one endpoint, while the other role is played by endpoints that do not stay.
fn measure(count: u64, initiator: bool, with_child: bool, with_plane: bool) {
    support::alloc::count(true);
    let checked = |mut spec: ConnectionSpec| {
        spec.dpd = with_plane.then(|| DpdSpec::new(Duration::from_secs(30), DpdMode::Periodic));
        spec
    };
    let specs: Vec<_> = (0..count).map(|tunnel| Arc::new(checked(left_spec(&FAST, tunnel)))).collect();
    let mut world = World::new(&FAST, "warm up");
    world.handshake(&specs[0], 0);
    let fresh = |initiator: bool, seed: u64| {
        let connections = if initiator { Vec::new() } else { vec![checked(right_spec(&FAST))] };
        endpoint(config(connections, seed), &seed.to_string())
    };
    let stays = |world: &mut World, other: Endpoint| {
        let place = if initiator { &mut world.right } else { &mut world.left };
        *place = other;
    };
    world.left = fresh(true, 1);
    world.right = fresh(false, 2);
    if with_plane {
        world.planes[usize::from(!initiator)] = Some(Plane::new(PlaneConfig::default()));
    }
    let before = (support::alloc::live(), resident());
    for (group, first) in (0..count).step_by(GROUP as usize).enumerate() {
        for tunnel in first..first + GROUP {
            let (said, there) = world.handshake(&specs[tunnel as usize], tunnel);
            if with_plane && initiator {
                world.check_the_initiator(there.sa.expect("it is up"));
            }
            if !with_child {
                let (sa, child) = said.sa.zip(said.child).expect("it is up");
                world.delete_child(sa, child);
            }
        }
        stays(&mut world, fresh(!initiator, 1000 + group as u64));
    }
    let after = (support::alloc::live(), resident());
    let endpoint = if initiator { &world.left } else { &world.right };
    assert_eq!(endpoint.sa_count() as u64, count);
    if let Some(plane) = &world.planes[usize::from(!initiator)] {
        assert_eq!(plane.children().count() as u64, count);
    }
    let each = |before: isize, after: isize| (after - before) / count as isize;
    println!("{:>10} {:>10}", each(before.0, after.0), each(before.1, after.1));
}

/// Octets of resident memory.
fn resident() -> isize {
    ikelab::load::resource::resident() as isize
}
