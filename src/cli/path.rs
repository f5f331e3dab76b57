//! `ikelab path`: a relay between two real boxes that makes the path between them bad on purpose.
//!
//! It forwards UDP 500 and 4500 and changes nothing in a payload. To the far box it looks like a NAT in front of the near
//! one, and it can do what NATs do: forget a mapping, or give out another port.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::json;

use super::common::{self, Common};
use super::exit::{CliError, Exit};
use super::rundir::{self, RunDir};
use super::signals::Stop;
use super::term;
use crate::link::netem::{Netem, PathSpec};
use crate::link::udp::{UdpConfig, UdpLink, source_address_for};
use crate::link::{Link, RxBatch, TxBatch, TxOutcome};
use crate::net::{Path, SocketRole, Transmit};
use crate::record::{Direction, Fate, PcapNg, Recorder};
use crate::time::{Instant, RealClock};

/// Sockets of earlier mappings that stay open, so that the far box hears silence and no ICMP.
const OLD_MAPPINGS: usize = 8;

/// Arguments.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Point the near box at the --listen address instead of the far box. ESP without UDP (IP protocol 50) \
                        is not forwarded; both boxes see a NAT and put ESP into UDP."
)]
pub struct Args {
    /// The far box, to which everything from the near one goes
    #[arg(long, value_name = "ADDRESS")]
    to: IpAddr,
    /// Our address that the near box speaks to
    #[arg(long, value_name = "ADDRESS")]
    listen: IpAddr,
    /// The near box, if the far one may begin; else whoever sends the first datagram
    #[arg(long, value_name = "ADDRESS")]
    near: Option<IpAddr>,
    /// Our address that the far box sees [default: by the route to it]. If it is the --listen address, our ports there are the
    /// system's to choose, and the far box cannot begin
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// The far box's UDP port for IKE
    #[arg(long, value_name = "PORT", default_value_t = 500)]
    to_port: u16,
    /// The far box's UDP port for NAT traversal
    #[arg(long, value_name = "PORT", default_value_t = 4500)]
    to_natt_port: u16,
    /// Give the near box new ports this often, as a NAT that starts anew, like 60s
    #[arg(long, value_name = "DURATION", value_parser = crate::config::duration)]
    rebind: Option<Duration>,
    /// Forget the near box's ports after this long without a datagram from it, as a NAT does, like 30s
    #[arg(long, value_name = "DURATION", value_parser = crate::config::duration)]
    mapping_timeout: Option<Duration>,
    /// End by itself after this long, like 30s
    #[arg(long = "for", value_name = "DURATION", value_parser = crate::config::duration)]
    duration: Option<Duration>,
    #[command(flatten)]
    common: Common,
}

/// Relays until Ctrl-C.
pub fn run(args: Args) -> Result<Exit, CliError> {
    let common = &args.common;
    common::guard(args.to, common.i_own_this_target)?;
    if let Some(near) = args.near {
        common::guard(near, common.i_own_this_target)?;
    }
    if args.listen.is_ipv4() != args.near.unwrap_or(args.listen).is_ipv4() {
        return Err(CliError::usage("--listen and --near are not of one IP version"));
    }
    let from = match args.from {
        Some(from) => from,
        None => source_address_for(args.to)
            .map_err(|e| CliError::environment(format!("there is no route to {}: {e}", args.to)))?,
    };
    if from.is_ipv4() != args.to.is_ipv4() {
        return Err(CliError::usage(format!("--from {from} and --to {} are not of one IP version", args.to)));
    }
    let clock = RealClock::start();
    let (ike, natt) = (common.source_port.unwrap_or(500), common.natt_port.unwrap_or(4500));
    let near = common.bind(vec![args.listen], ike, natt, clock)?;
    // One socket cannot face both ways.
    let shared = from == args.listen || args.listen.is_unspecified();
    let (ike, natt) = if shared { (0, 0) } else { (ike, natt) };
    let far = common.bind(vec![from], ike, natt, clock)?;
    near.watch(&far).map_err(CliError::environment)?;
    let stop = Stop::watch(near.waker())?;
    let dir = RunDir::create(common.out.as_deref(), clock.epoch())?;
    let plan_seed = common.seeds()?.plan.text().to_owned();
    let far = common.bad_path(far, &PathSpec::default(), &plan_seed)?;
    let mut relay = Relay::new(&args, near, far, from, &dir, clock)?;
    let say = |text: &str| {
        if !common.json {
            term::print(text);
        }
    };
    say(&format!("plan seed {plan_seed}   {}\n", dir.path().display()));
    let begins = if shared { "; only the near box can begin" } else { "" };
    let sockets = |link: &UdpLink| link.sockets().map(|s| s.local.to_string()).collect::<Vec<_>>().join(", ");
    let (ours, theirs) = (sockets(&relay.near), sockets(relay.far.inner()));
    say(&format!(
        "listening on {ours} for the near box\nspeaking from {theirs} to {}{begins}; Ctrl-C ends it\n",
        args.to
    ));

    let end = args.duration.map(|d| Instant::ZERO + d);
    while !stop.asked() && end.is_none_or(|end| relay.near.now() < end) {
        relay.turn(end)?;
    }
    say(&relay.summary());
    let mut result = rundir::head("path", &plan_seed, clock.epoch(), false);
    result["exit_code"] = (Exit::Met as u8).into();
    result["seconds"] = relay.near.now().as_secs_f64().into();
    result["near"] = relay.near_box.map(|a| a.to_string()).into();
    result["far"] = args.to.to_string().into();
    result["path"] = common::path_json(&relay.far);
    result["counts"] = relay.counts.json();
    if common.json {
        term::print(&format!("{result:#}\n"));
    }
    dir.write_result(&result)?;
    Ok(Exit::Met)
}

/// What passed, beside what the path itself counts.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    from_near: u64,
    to_far: u64,
    from_far: u64,
    to_near: u64,
    lost_to_far: u64,
    lost_to_near: u64,
    /// Sent to a mapping that was gone.
    no_mapping: u64,
    /// New mappings after the first.
    rebound: u64,
    /// From somebody who is neither box.
    strangers: u64,
    /// For the near box before it was known, or refused by the operating system.
    not_sent: u64,
}

impl Counts {
    fn named(&self) -> [(&'static str, u64); 10] {
        [
            ("from the near box", self.from_near),
            ("to the far box", self.to_far),
            ("lost on the way there", self.lost_to_far),
            ("from the far box", self.from_far),
            ("to the near box", self.to_near),
            ("lost on the way back", self.lost_to_near),
            ("without NAT mapping", self.no_mapping),
            ("new NAT mappings", self.rebound),
            ("from strangers", self.strangers),
            ("not sent", self.not_sent),
        ]
    }

    fn json(&self) -> serde_json::Value {
        self.named().into_iter().map(|(name, count)| (name.replace(' ', "_"), json!(count))).collect()
    }
}

struct Relay {
    near: UdpLink,
    far: Netem<UdpLink>,
    /// Sockets of earlier mappings, oldest first.
    old: Vec<UdpLink>,
    near_box: Option<IpAddr>,
    /// Where the near box last sent from, and to which address of ours, by role.
    near_paths: BTreeMap<SocketRole, Path>,
    near_record: Recorder,
    far_record: Recorder,
    rx: RxBatch,
    far_rx: RxBatch,
    from: IpAddr,
    to: BTreeMap<SocketRole, SocketAddr>,
    interface: Option<String>,
    owned: bool,
    rebind: Option<Duration>,
    mapping_timeout: Option<Duration>,
    last_rebind: Instant,
    last_out: Option<Instant>,
    clock: RealClock,
    counts: Counts,
}

impl Relay {
    fn new(
        args: &Args,
        near: UdpLink,
        far: Netem<UdpLink>,
        from: IpAddr,
        dir: &RunDir,
        clock: RealClock,
    ) -> Result<Self, CliError> {
        let recorder = |name: &str| -> Result<Recorder, CliError> {
            let mut recorder = Recorder::new();
            recorder.add(PcapNg::create(&dir.file(name), clock.epoch()).map_err(CliError::environment)?);
            Ok(recorder)
        };
        let mut near_paths = BTreeMap::new();
        if let Some(address) = args.near {
            for (role, port) in [(SocketRole::Ike, 500), (SocketRole::NatT, 4500)] {
                let local = SocketAddr::new(args.listen, near.port(role));
                near_paths.insert(role, Path { local, remote: SocketAddr::new(address, port), role });
            }
        }
        let to = [(SocketRole::Ike, args.to_port), (SocketRole::NatT, args.to_natt_port)];
        Ok(Relay {
            near,
            far,
            old: Vec::new(),
            near_box: args.near,
            near_paths,
            near_record: recorder("near.pcapng")?,
            far_record: recorder("far.pcapng")?,
            rx: RxBatch::new(64),
            far_rx: RxBatch::new(64),
            from,
            to: to.into_iter().map(|(role, port)| (role, SocketAddr::new(args.to, port))).collect(),
            interface: args.common.interface.clone(),
            owned: args.common.i_own_this_target,
            rebind: args.rebind,
            mapping_timeout: args.mapping_timeout,
            last_rebind: Instant::ZERO,
            last_out: None,
            clock,
            counts: Counts::default(),
        })
    }

    /// Waits for datagrams at either side, or until something is due, and forwards.
    fn turn(&mut self, end: Option<Instant>) -> Result<(), CliError> {
        let due = [end, self.far.next_at()].into_iter().flatten().min();
        self.near.recv_until(due, &mut self.rx).map_err(CliError::environment)?;
        self.forward_out()?;
        self.look_at_old()?;
        let now = self.near.now();
        self.far.recv_until(Some(now), &mut self.far_rx).map_err(CliError::environment)?;
        self.forward_back()?;
        for link in [&mut self.near, self.far.inner_mut()] {
            while let Some(note) = link.poll_note() {
                term::warning(&note.to_string());
            }
        }
        self.near_record.flush().and(self.far_record.flush()).map_err(CliError::environment)
    }

    fn forward_out(&mut self) -> Result<(), CliError> {
        let mut batch = TxBatch::new();
        for index in 0..self.rx.len() {
            let received = self.rx.received()[index].clone();
            let (at, path, class, bytes) = (received.at, received.path, received.class, received.bytes);
            let known = self.near_box.unwrap_or(path.remote.ip());
            if known != path.remote.ip() || common::guard(known, self.owned).is_err() {
                self.counts.strangers += 1;
                let why = Fate::DroppedByRule("only the near box");
                self.near_record.datagram(at, Direction::In, &path, class, &bytes, why);
                continue;
            }
            self.near_box = Some(known);
            self.near_paths.insert(path.role, path);
            self.counts.from_near += 1;
            self.near_record.datagram(at, Direction::In, &path, class, &bytes, Fate::Passed);
            self.keep_mapping(at)?;
            let Some(&remote) = self.to.get(&path.role) else { continue };
            let local = SocketAddr::new(self.from, self.far.inner().port(path.role));
            batch.push(Transmit { path: Path { local, remote, role: path.role }, class, bytes });
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.far.send(&mut batch).map_err(CliError::environment)?;
        let sent = record_sent(&batch, &mut self.far_record, self.near.now());
        self.counts.to_far += sent.passed;
        self.counts.lost_to_far += sent.dropped;
        self.counts.not_sent += sent.failed;
        Ok(())
    }

    fn forward_back(&mut self) -> Result<(), CliError> {
        while let Some((lost, why)) = self.far.poll_dropped() {
            self.counts.from_far += 1;
            self.counts.lost_to_near += 1;
            let fate = Fate::LostOnPath(why);
            self.far_record.datagram(lost.at, Direction::In, &lost.path, lost.class, &lost.bytes, fate);
        }
        let mut batch = TxBatch::new();
        for received in self.far_rx.received() {
            let (at, path, class, bytes) = (received.at, received.path, received.class, &received.bytes);
            let expired = match (self.mapping_timeout, self.last_out) {
                (Some(timeout), Some(last)) => at.since(last) >= timeout,
                _ => false,
            };
            let fate = match () {
                () if self.to.get(&path.role).is_none_or(|to| to.ip() != path.remote.ip()) => {
                    self.counts.strangers += 1;
                    Fate::DroppedByRule("only the far box")
                }
                () if expired => {
                    self.counts.from_far += 1;
                    self.counts.no_mapping += 1;
                    Fate::LostOnPath("path: the NAT mapping has expired")
                }
                () => {
                    self.counts.from_far += 1;
                    Fate::Passed
                }
            };
            self.far_record.datagram(at, Direction::In, &path, class, bytes, fate);
            match self.near_paths.get(&path.role) {
                Some(&path) if fate == Fate::Passed => batch.push(Transmit { path, class, bytes: bytes.clone() }),
                None if fate == Fate::Passed => self.counts.not_sent += 1,
                _ => {}
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.near.send(&mut batch).map_err(CliError::environment)?;
        let sent = record_sent(&batch, &mut self.near_record, self.near.now());
        self.counts.to_near += sent.passed;
        self.counts.not_sent += sent.failed;
        Ok(())
    }

    /// The near box sends: its mapping lives on, or it gets another one.
    fn keep_mapping(&mut self, now: Instant) -> Result<(), CliError> {
        let over = match (self.mapping_timeout, self.last_out) {
            (Some(timeout), Some(last)) => now.since(last) >= timeout,
            _ => false,
        };
        let due = self.rebind.is_some_and(|every| now.since(self.last_rebind) >= every);
        self.last_out = Some(now);
        if !over && !due {
            return Ok(());
        }
        self.last_rebind = now;
        let interface = self.interface.clone();
        let addresses = vec![self.from];
        let config = UdpConfig { addresses, ike_port: 0, natt_port: 0, interface, ..UdpConfig::default() };
        let fresh = UdpLink::bind(&config, self.clock)?;
        self.near.watch(&fresh).map_err(CliError::environment)?;
        if self.old.len() == OLD_MAPPINGS {
            self.old.remove(0);
        }
        self.old.push(std::mem::replace(self.far.inner_mut(), fresh));
        self.counts.rebound += 1;
        Ok(())
    }

    /// What the far box still sends to mappings that are gone.
    fn look_at_old(&mut self) -> Result<(), CliError> {
        let now = self.near.now();
        for link in &mut self.old {
            link.recv_until(Some(now), &mut self.far_rx).map_err(CliError::environment)?;
            for got in self.far_rx.received() {
                self.counts.from_far += 1;
                self.counts.no_mapping += 1;
                let fate = Fate::LostOnPath("path: the NAT mapping is gone");
                self.far_record.datagram(got.at, Direction::In, &got.path, got.class, &got.bytes, fate);
            }
        }
        Ok(())
    }

    fn summary(&self) -> String {
        let counts = self.counts.named().into_iter().filter(|(_, count)| *count > 0);
        let lines: Vec<String> = counts.map(|(name, count)| format!("{count:>10}  {name}\n")).collect();
        if lines.is_empty() { "nothing came\n".to_owned() } else { format!("\n{}", lines.concat()) }
    }
}

/// How a batch fared.
#[derive(Default)]
struct Fared {
    passed: u64,
    dropped: u64,
    failed: u64,
}

fn record_sent(batch: &TxBatch, recorder: &mut Recorder, now: Instant) -> Fared {
    let mut fared = Fared::default();
    for item in batch.items() {
        let Transmit { path, class, bytes } = &item.transmit;
        let why;
        let (count, at, fate) = match &item.outcome {
            TxOutcome::Sent(at) => (&mut fared.passed, *at, Fate::Passed),
            TxOutcome::Dropped(why) => (&mut fared.dropped, now, Fate::LostOnPath(why)),
            TxOutcome::Failed(error) => {
                why = error.to_string();
                (&mut fared.failed, now, Fate::NotSent(&why))
            }
            TxOutcome::Pending => (&mut fared.failed, now, Fate::NotSent("the link failed")),
        };
        *count += 1;
        recorder.datagram(at, Direction::Out, path, *class, bytes, fate);
    }
    fared
}
