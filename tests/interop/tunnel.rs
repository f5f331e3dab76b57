//! One tunnel between `ikelab connect` or `ikelab listen` and a real peer: up, compared, taken down by Ctrl-C, and the
//! capture judged.

use std::time::Duration;

use serde_json::Value;

use crate::cli::{Ikelab, interrupt};
use crate::netns::{Net, Side};
use crate::peer::{Peer, PeerConfig, tail};
use crate::process::{Process, text_of, try_wait_for};
use crate::proposal::Proposal;
use crate::rundir::{OurSa, RunDir, Theirs, assert_agreed};
use crate::tshark::{self, ALLOWED, Clean, Packet};

/// How long an honest handshake may take, retransmissions included.
pub const HANDSHAKE: Duration = Duration::from_secs(10);

/// Who begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Initiator,
    Responder,
}

/// ikelab's end of a tunnel, and the peer at the other end, with the peer's SA still up.
pub struct Tunnel<'t> {
    pub run: RunDir,
    pub process: Process,
    pub ours: OurSa,
    peer: &'t dyn Peer,
    capture: crate::netns::Capture,
}

/// What is left of a tunnel that was brought down.
pub struct Done {
    pub ours: OurSa,
    pub packets: Vec<Packet>,
    pub result: Value,
}

/// Starts ikelab at `side` and brings a tunnel up; both ends must agree about it. `ours` has one suite.
pub fn bring_up<'t>(
    net: &'t Net,
    side: Side,
    role: Role,
    ours: &PeerConfig,
    peer: &'t dyn Peer,
) -> Result<Tunnel<'t>, String> {
    let name = format!("ikelab-{}-{role:?}", peer.name()).to_lowercase();
    let ikelab = Ikelab::named(net, side, &name, ours, None);
    let run = ikelab.run_dir();
    let capture = net.capture(side.other());
    let mut process = match role {
        Role::Initiator => ikelab.spawn("connect", &["--keys"]),
        Role::Responder => listening(&ikelab, &["--keys"]),
    };
    if role == Role::Responder {
        peer.initiate().map_err(|why| format!("{} as initiator: {why}\n{}", peer.name(), process.stdout()))?;
    }
    let up = try_wait_for(HANDSHAKE, || run.up().map(Some).or_else(|| (!process.is_running()).then_some(None)));
    let Some(ours_sa) = up.flatten() else {
        return Err(format!("no tunnel:\n{}{}\n{}", process.stdout(), process.stderr(), tail(&peer.log())));
    };
    let theirs = peer.established();
    let keys = peer.ike_keys_of(ours_sa.spi_i);
    let theirs = Theirs { name: peer.name(), sa: &theirs, ike_keys: keys.as_ref(), esp: &peer.esp_sas() };
    assert_agreed(&run, &ours_sa, &theirs, &Proposal::parse(&ours.ike[0]), &Proposal::parse(&ours.esp[0]));
    Ok(Tunnel { run, process, ours: ours_sa, peer, capture })
}

/// Starts `ikelab listen` and waits until it does.
#[track_caller]
pub fn listening(ikelab: &Ikelab<'_>, args: &[&str]) -> Process {
    let mut process = ikelab.spawn("listen", args);
    let out = ikelab.stdout_file();
    process.wait_until("it listens", HANDSHAKE, || text_of(&out).contains("listening on").then_some(()));
    process
}

impl Tunnel<'_> {
    /// Ctrl-C: the peer must lose its SA, the report must be there, and both captures must be clean and verified by
    /// tshark with ikelab's key tables.
    pub fn take_down(mut self) -> Result<Done, String> {
        let code = interrupt(&mut self.process);
        let said = format!("{}{}", self.process.stdout(), self.process.stderr());
        assert_eq!(code, Some(0), "exit code after Ctrl-C: {said}");
        let gone = || (!self.peer.ike_sas().iter().any(|sa| sa.established)).then_some(());
        try_wait_for(Duration::from_secs(3), gone)
            .ok_or_else(|| format!("{} still holds {:?}\n{said}", self.peer.name(), self.peer.ike_sas()))?;
        let result = self.run.result().expect("a report is written");
        assert_eq!(result["exit_code"], 0);
        let ours = self.run.sas().into_iter().find(|sa| sa.spi_i == self.ours.spi_i).expect("it was there before");
        assert_eq!(ours.deleted_by.as_deref(), Some("us"), "{said}");
        let verified = Proposal::parse(&ours.suite).tshark_verifies();
        let clean = Clean { allow: ALLOWED, verified };
        let packets = tshark::assert_clean(&self.capture.finish(), Some(&self.run.profile()), &clean);
        tshark::assert_clean(&self.run.capture(), Some(&self.run.profile()), &clean);
        Ok(Done { ours, packets, result })
    }
}

/// Up, compared, down.
pub fn up_and_down(net: &Net, side: Side, role: Role, ours: &PeerConfig, peer: &dyn Peer) -> Result<Done, String> {
    bring_up(net, side, role, ours, peer)?.take_down()
}
