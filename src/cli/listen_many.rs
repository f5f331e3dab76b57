//! `ikelab listen --threads`: the embedded headend for load.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;

use super::box_log::{self, BoxLog};
use super::common::Common;
use super::exit::{CliError, Exit};
use super::signals::Stop;
use super::{rundir, term};
use crate::engine::{ConnectionSpec, Limits};
use crate::load::answer::{Answering, DataPlane, Headend, Shown, links};
use crate::load::leak::{self, Held, octets};
use crate::load::traffic::bits;
use crate::time::{Instant, RealClock};
use crate::vendor::persona::Persona;

/// How often the figures are printed.
const EVERY: Duration = Duration::from_secs(5);
/// How often memory, file descriptors and IKE SAs are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A day of looks; a longer run is judged by its first day.
const MOST_LOOKS: usize = 86_400;

/// Serves until Ctrl-C, or for `duration`; as `persona`, whose limits are in what else is given.
pub fn run(
    common: &Common,
    persona: &Persona,
    connections: Vec<ConnectionSpec>,
    limits: Limits,
    addresses: Vec<IpAddr>,
    (threads, data): (u8, Option<DataPlane>),
    duration: Option<Duration>,
) -> Result<Exit, CliError> {
    if threads == 0 {
        return Err(CliError::usage("--threads: at least one"));
    }
    let clock = RealClock::start();
    let seeds = common.seeds()?;
    let plan_seed = seeds.plan.text().to_owned();
    let ports = connections[0].local_ports;
    let (scribes, lines) = box_log::scribes(persona, &connections[0], threads).unzip();
    let mut caps: Vec<String> = limits.max_child_sas.map(|most| format!("{most} Child SAs")).into_iter().collect();
    caps.extend(data.and_then(|data| data.cap).map(|cap| format!("{} of ESP in each direction", bits(cap))));
    let headend = Headend {
        connections,
        limits,
        addresses: addresses.clone(),
        ports,
        threads,
        interface: common.interface.clone(),
        socket_buffer: 8 << 20,
        seeds,
        data,
        scribes: scribes.unwrap_or_default(),
    };
    let answering = Answering::start(headend, clock)?;
    let dir = rundir::RunDir::create(common.out.as_deref(), clock.epoch())?;
    let stop = Stop::watch_flag(answering.waker(), answering.stop_flag())?;
    let sockets: Vec<String> = addresses
        .iter()
        .flat_map(|a| {
            [answering.ports.ike, answering.ports.natt].map(|port| std::net::SocketAddr::new(*a, port).to_string())
        })
        .collect();
    let say = |text: &str| {
        if !common.json {
            term::print(text);
        }
    };
    say(&format!("plan seed {plan_seed}   {}\n", dir.path().display()));
    let plural = if threads == 1 { "thread" } else { "threads" };
    say(&format!("listening on {} with {threads} {plural}; Ctrl-C ends it\n", sockets.join(", ")));
    if persona.vendor.is_some() {
        say(&format!("plays {}: a model of {}, not evidence about it\n", persona.name, persona.summary));
    }
    if !caps.is_empty() {
        say(&format!("carries {} at most, all threads together\n", caps.join(" and ")));
    }
    let mut log = lines.map(|lines| BoxLog::open(lines, &dir, term::stdout_paint())).transpose()?;
    if let Some(granted) = answering.clamp {
        say(&format!(
            "the kernel grants {granted} octets of receive buffer instead of {} (net.core.rmem_max)\n",
            8 << 20
        ));
    }
    let held = || Held::now(clock.now().as_secs_f64(), answering.sum(|s| &s.sas));
    let begin = held();
    let (mut seen, mut look) = (Vec::new(), Instant::ZERO);
    let mut next = Instant::ZERO + EVERY;
    while !stop.asked() && answering.is_running() {
        // Signals set the flag from a thread of their own; the figures need no better clock than this.
        std::thread::park_timeout(Duration::from_millis(50));
        let now = clock.now();
        if let Some(log) = &mut log {
            log.take(now, &say)?;
        }
        if duration.is_some_and(|d| now >= Instant::ZERO + d) {
            break;
        }
        if now >= look && seen.len() < MOST_LOOKS {
            look = now + LOOK;
            seen.push(held());
        }
        if now >= next {
            next = now + EVERY;
            say(&format!("{:>7.1} s  {}\n", now.as_secs_f64(), figures(&answering)));
        }
    }
    let end = held();
    let up_by_thread = answering.each(|s: &Shown| &s.ike_up);
    let deleted = answering.sum(|s| &s.deleted);
    let esp = [answering.sum(|s| &s.esp_in), answering.sum(|s| &s.esp_out), answering.sum(|s| &s.capped)];
    let last = figures(&answering);
    let seconds = clock.now().as_secs_f64();
    let answered = answering.finish().map_err(CliError::environment)?;
    let log = log.map(|log| log.end(clock.now(), &say)).transpose()?;
    say(&format!("\n{last}\n"));
    let mut leaks = leak::judge(begin, &seen, end);
    if end.sas > 0 {
        leaks.leak = false;
        leaks.sentence = format!(
            "{} IKE SAs are still in the table (up, half open, or closed a short time ago): leaks are judged when there are none.",
            end.sas
        );
    }
    say(&format!(
        "memory {} at the begin, {} at the end; file descriptors {} and {}. {}\n",
        octets(begin.resident),
        octets(end.resident),
        begin.descriptors,
        end.descriptors,
        leaks.sentence
    ));

    let sum = |of: &dyn Fn(&crate::load::answer::Answered) -> u64| answered.iter().map(of).sum::<u64>();
    let link = links(&answered);
    let mut result = rundir::head("listen", &plan_seed, clock.epoch(), false);
    result["exit_code"] = (Exit::Met as u8).into();
    result["seconds"] = seconds.into();
    result["listening_on"] = sockets.into();
    result["resident"] = end.resident.into();
    result["leaks"] = serde_json::to_value(&leaks).expect("plain data");
    result["threads"] = threads.into();
    result["persona"] = persona.name.into();
    if let Some(log) = log {
        result["peer_log"] = log;
    }
    result["ike_sas_up_by_thread"] = up_by_thread.into();
    result["cpu_seconds_by_thread"] = answered.iter().map(|a| a.used.cpu.as_secs_f64()).collect();
    result["counters"] = json!({
        "ike_sas_up": sum(&|a| a.engine.ike_up),
        "child_sas_up": sum(&|a| a.engine.child_up),
        "rekeyed": sum(&|a| a.engine.ike_rekeyed + a.engine.child_rekeyed),
        "deleted_by_peer": deleted,
        "failed": sum(&|a| a.engine.failed),
        "received": sum(&|a| a.engine.received),
        "transmitted": sum(&|a| a.engine.transmitted),
        "retransmits": sum(&|a| a.engine.retransmits),
        "repeats_answered": sum(&|a| a.engine.repeats_answered),
        "cookies_sent": sum(&|a| a.engine.cookies_sent),
        "limited": sum(&|a| a.engine.ignored(crate::engine::IgnoredWhy::Limit)),
        "ignored": sum(&|a| a.engine.ignored.iter().sum::<u64>()),
        "esp_in": esp[0],
        "esp_out": esp[1],
        "esp_capped": esp[2],
        "receive_overflows": link.receive_overflows,
    });
    dir.write_result(&result)?;
    if common.json {
        term::print(&format!("{result}\n"));
    }
    Ok(Exit::Met)
}

fn figures(answering: &Answering) -> String {
    let sum = |of: fn(&Shown) -> &std::sync::atomic::AtomicU64| answering.sum(of);
    let threads: Vec<String> = answering.each(|s| &s.ike_up).iter().map(ToString::to_string).collect();
    format!(
        "IKE SAs up so far {} ({} per thread)  in the table {}  half open {}  failed {}  deleted {}  rekeyed {}  cookies {}  \
         dropped by limits {}  answers repeated {}",
        sum(|s| &s.ike_up),
        threads.join("+"),
        sum(|s| &s.sas),
        sum(|s| &s.half_open),
        sum(|s| &s.failed),
        sum(|s| &s.deleted),
        sum(|s| &s.rekeyed),
        sum(|s| &s.cookies),
        sum(|s| &s.limited),
        sum(|s| &s.repeats),
    )
}
