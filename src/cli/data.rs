//! The data plane of `connect` and `listen`: flags, what is printed of it, what stands in the result.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

use super::exit::CliError;
use crate::config::{DataSpec, EchoAnswers, Encapsulation, PingTarget};
use crate::engine::{ChildSa, EspNote, Event, Ports, SaId, TunnelId};
use crate::esp::{self, Cap, EchoPolicy, PingSpec, Plane, PlaneConfig, PlaneEvent, StreamSpec};
use crate::link::tun::Tun;
use crate::link::udp::UdpLink;
use crate::net::{Path, Transmit};
use crate::preflight::Pings;
use crate::report::data as words;
use crate::report::paint::Tone;
use crate::time::Instant;
use crate::vendor::Vendor;
use crate::vendor::counters::EspCounts;
use crate::wire::TrafficSelector;

/// Pings faster than this are not printed one by one.
const SLOW: Duration = Duration::from_millis(200);
/// Requests with `--once` when no number is given.
const ONCE: u64 = 5;

/// What is sent through the tunnel of `connect`.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Through the tunnel")]
pub struct TrafficArgs {
    /// Ping this address through the tunnel
    #[arg(long, value_name = "ADDR")]
    ping: Option<IpAddr>,
    /// End the ping after so many requests [default: no end; 5 with --once]
    #[arg(long, value_name = "N")]
    ping_count: Option<u64>,
    /// From one request to the next [default: 1s]
    #[arg(long, value_name = "DURATION")]
    ping_interval: Option<String>,
    /// Octets of data in each request [default: 56]
    #[arg(long, value_name = "OCTETS")]
    ping_size: Option<u16>,
    /// The ping's source address [default: a host of our traffic selectors]
    #[arg(long, value_name = "ADDR")]
    ping_source: Option<IpAddr>,
    /// Send a stream of numbered UDP datagrams to the echo service (UDP port 7) of this address
    #[arg(long, value_name = "ADDR")]
    stream: Option<IpAddr>,
    /// Datagrams per second of the stream
    #[arg(long, value_name = "N", default_value_t = 50)]
    stream_rate: u32,
    /// End the stream after so many datagrams [default: no end; 50 with --once]
    #[arg(long, value_name = "N")]
    stream_count: Option<u64>,
    /// Octets of data in each datagram
    #[arg(long, value_name = "OCTETS", default_value_t = 512)]
    stream_size: u16,
}

/// How data travels, for `connect` and `listen`.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Through the tunnel")]
pub struct CarryArgs {
    /// How ESP travels: auto, force-udp or native [default: the file's, or auto]
    #[arg(long, value_name = "WORD")]
    encapsulation: Option<String>,
    /// Carry packets between this host and the tunnel through a TUN device of this name; routes are yours
    #[arg(long, value_name = "NAME")]
    tun: Option<String>,
}

impl TrafficArgs {
    /// What the flags make of the file's section.
    pub fn apply(&self, spec: &mut DataSpec, once: bool) -> Result<(), CliError> {
        if let Some(address) = self.ping {
            spec.ping = Some(PingTarget::new(address));
        }
        let Some(ping) = &mut spec.ping else {
            if self.ping_count.is_some() || self.ping_interval.is_some() || self.ping_size.is_some() {
                return Err(CliError::usage("ping what? Give --ping ADDR, or data.ping.address in the file"));
            }
            return Ok(());
        };
        if let Some(interval) = &self.ping_interval {
            let interval = crate::config::duration(interval);
            ping.interval = interval.map_err(|e| CliError::usage(format!("--ping-interval: {e}")))?;
            if ping.interval.is_zero() {
                return Err(CliError::usage("--ping-interval: must be longer than nothing"));
            }
        }
        ping.count = self.ping_count.or(ping.count).or(once.then_some(ONCE));
        ping.size = self.ping_size.map_or(ping.size, usize::from);
        ping.source = self.ping_source.or(ping.source);
        match ping.source {
            Some(source) if source.is_ipv4() != ping.address.is_ipv4() => {
                Err(CliError::usage(format!("{} and {source} are not of one IP version", ping.address)))
            }
            _ => Ok(()),
        }
    }

    fn stream(&self, tunnel: TunnelId, once: bool) -> Option<StreamSpec> {
        let target = self.stream?;
        let plain = StreamSpec::new(tunnel, target);
        let count = self.stream_count.or(once.then_some(10 * ONCE));
        Some(StreamSpec { rate: self.stream_rate.max(1), size: self.stream_size.into(), count, ..plain })
    }
}

impl CarryArgs {
    /// What the flags make of the file's section.
    pub fn apply(&self, spec: &mut DataSpec) -> Result<(), CliError> {
        if let Some(name) = &self.tun {
            spec.tun = Some(crate::config::device_name(name).map_err(|e| CliError::usage(format!("--tun: {e}")))?);
        }
        spec.encapsulation = match self.encapsulation.as_deref() {
            None => spec.encapsulation,
            Some("auto") => Encapsulation::Auto,
            Some("force-udp") => Encapsulation::ForceUdp,
            Some("native") => Encapsulation::Native,
            Some(word) => {
                return Err(CliError::usage(format!("--encapsulation: `{word}` is none of auto, force-udp, native")));
            }
        };
        Ok(())
    }
}

/// A data plane and what a person sees of it.
pub struct Data {
    plane: Plane,
    vendor: Option<Vendor>,
    /// Print no single answers.
    quiet: bool,
    events: Vec<(Instant, PlaneEvent)>,
    /// Something could not be sent for want of a tunnel.
    wants: bool,
    tun: Option<Tun>,
    room: Vec<u8>,
    /// Selectors for which routes were printed, so that a rekey does not print them again.
    routed: Vec<TrafficSelector>,
    /// Lines about routes, to be printed.
    hints: Vec<String>,
}

impl Data {
    /// A data plane by the section `data`. `ports` are the NAT traversal ports of both ends.
    pub fn new(spec: &DataSpec, ports: (Ports, Ports), vendor: Option<Vendor>, native: bool, verbose: bool) -> Self {
        let config = PlaneConfig {
            replay_window: spec.replay_window,
            echo: match &spec.echo {
                // With a TUN device this host answers for itself.
                EchoAnswers::Selectors if spec.tun.is_some() => EchoPolicy::Off,
                EchoAnswers::Selectors => EchoPolicy::LocalSelectors,
                EchoAnswers::None => EchoPolicy::Off,
                EchoAnswers::Only(list) => EchoPolicy::Only(list.clone()),
            },
            encapsulation: match spec.encapsulation {
                Encapsulation::Auto => esp::Encapsulation::Auto,
                Encapsulation::ForceUdp => esp::Encapsulation::ForceUdp,
                Encapsulation::Native => esp::Encapsulation::Native,
            },
            natt_ports: (ports.0.natt, ports.1.natt),
            native,
            deliver: spec.tun.is_some(),
            ..PlaneConfig::default()
        };
        let quiet = !verbose && spec.ping.as_ref().is_some_and(|ping| ping.interval < SLOW);
        let (events, routed, hints) = (Vec::new(), Vec::new(), Vec::new());
        Data {
            plane: Plane::new(config),
            vendor,
            quiet,
            events,
            wants: false,
            tun: None,
            room: Vec::new(),
            routed,
            hints,
        }
    }

    /// Lets no more than so many kilobits a second pass in each direction.
    pub fn set_cap(&mut self, kilobits: Option<u32>) {
        self.plane.set_cap(kilobits.map(Cap::of_kilobits));
    }

    /// The directions in which the cap has dropped something, as long as nobody has asked for the lines; true for ours.
    pub fn capped(&self) -> Vec<bool> {
        let of = |(_, event): &(Instant, PlaneEvent)| match event {
            PlaneEvent::Capped { outbound } => Some(*outbound),
            _ => None,
        };
        self.events.iter().filter_map(of).collect()
    }

    /// Creates the TUN device, if there is to be one.
    pub fn open_tun(&mut self, spec: &DataSpec, link: &UdpLink) -> Result<(), CliError> {
        let Some(name) = &spec.tun else { return Ok(()) };
        let tun = Tun::create(name).map_err(CliError::environment)?;
        link.watch(&tun).map_err(CliError::environment)?;
        self.room = vec![0; 65_535];
        self.hints.push(format!(
            "TUN device {name} is up; give it an address of your side: ip address add ADDRESS dev {name}"
        ));
        self.tun = Some(tun);
        Ok(())
    }

    /// Carries packets between the TUN device and the tunnels.
    pub fn pump(&mut self, now: Instant) -> Result<(), CliError> {
        let Some(tun) = &self.tun else { return Ok(()) };
        while let Some(packet) = tun.receive(&mut self.room).map_err(CliError::environment)? {
            // What cannot be sent is counted; a host sends all sorts of things into a device that is up.
            let _ = self.plane.send(now, None, packet);
        }
        while let Some(packet) = self.plane.poll_inner() {
            tun.send(&packet);
            self.plane.reclaim(packet);
        }
        self.gather(now);
        Ok(())
    }

    /// The commands that lead a new Child SA's packets into the TUN device.
    fn route(&mut self, child: &ChildSa) {
        let Some(tun) = &self.tun else { return };
        for selector in &child.remote_ts {
            if !self.routed.contains(selector) {
                self.routed.push(selector.clone());
                let plain = TrafficSelector::any_port(selector.range.clone());
                self.hints.push(format!("to use it: ip route add {plain} dev {}", tun.name()));
            }
        }
    }

    /// Bends outgoing ESP packets.
    pub fn set_tamper(&mut self, tamper: Box<dyn crate::engine::Tamper>) {
        self.plane.set_tamper(tamper);
    }

    /// Begins what is to be sent through `tunnel`, as soon as it has a Child SA.
    pub fn begin(&mut self, now: Instant, tunnel: TunnelId, spec: &DataSpec, args: &TrafficArgs, once: bool) {
        if let Some(ping) = &spec.ping {
            let PingTarget { address: target, source, count, interval, size, timeout } = *ping;
            let id = std::process::id() as u16;
            self.plane.ping(now, PingSpec { tunnel, source, target, count, interval, size, timeout }, id);
        }
        if let Some(stream) = args.stream(tunnel, once) {
            self.plane.stream(now, stream);
        }
    }

    /// Sends one more ping.
    pub fn ping(&mut self, now: Instant, spec: PingSpec) {
        // Each has its own identifier: an answer that is late belongs to the ping before.
        let id = (std::process::id() as u16).wrapping_add(self.plane.pings().len() as u16);
        self.plane.ping(now, spec, id);
    }

    /// What the last ping has come to.
    pub fn last_ping(&self) -> Pings {
        let report = self.plane.pings().last().map(|ping| ping.report());
        report.map_or(Pings { sent: 0, answered: 0 }, |r| Pings { sent: r.sent + r.unsent, answered: r.received })
    }

    /// Whether everything that was to be sent has been, and been answered or given up.
    pub fn is_done(&self) -> bool {
        self.plane.is_done()
    }

    /// Sends nothing new any more.
    pub fn stop(&mut self) {
        self.plane.stop();
    }

    /// Whether something was sent through the tunnel on purpose and nothing at all came back.
    pub fn nothing_came_back(&self) -> bool {
        let pings = self.plane.pings().iter().map(|p| p.report());
        let silent = pings.filter(|r| r.sent + r.unsent > 0).map(|r| r.received == 0);
        let streams = self.plane.streams().iter().map(|s| s.report());
        silent.chain(streams.filter(|r| r.sent + r.unsent > 0).map(|r| r.returned.received == 0)).any(|none| none)
    }

    /// The lines since the last time.
    pub fn lines(&mut self) -> Vec<(Tone, String)> {
        let events = std::mem::take(&mut self.events);
        let hints = std::mem::take(&mut self.hints).into_iter().map(|hint| (Tone::Strong, hint));
        hints.chain(events.iter().filter_map(|(at, event)| words::event(*at, event, self.quiet))).collect()
    }

    /// The summary; empty if nothing was sent or received.
    pub fn summary(&self) -> String {
        let mut out = String::new();
        for ping in self.plane.pings() {
            out += &words::ping(ping.spec().target, ping.report());
        }
        for stream in self.plane.streams() {
            out += &words::stream(stream.spec().target, &stream.report());
        }
        let counters = self.plane.counters();
        let any = counters.encaps + counters.decaps + counters.dummies + counters.errors().map(|(n, _)| n).sum::<u64>();
        if any > 0 {
            out += &words::counters(self.counts(), counters, self.vendor);
        }
        out
    }

    /// For `result.json`.
    pub fn json(&self) -> Value {
        let counters = self.plane.counters();
        let errors: serde_json::Map<String, Value> =
            counters.errors().map(|(count, why)| (why.to_owned(), count.into())).collect();
        let sa = |spi_in: u32, spi_out: u32, c: &esp::SaCounters| {
            json!({
                "spi_in": format!("{spi_in:08x}"),
                "spi_out": format!("{spi_out:08x}"),
                "encaps": c.encaps,
                "decaps": c.decaps,
                "encap_bytes": c.encap_bytes,
                "decap_bytes": c.decap_bytes,
                "send_errors": c.send_errors,
                "recv_errors": c.recv_errors,
            })
        };
        let closed = self.plane.closed().map(|c| sa(c.spi_in, c.spi_out, &c.counters));
        let live = self.plane.children().map(|c| sa(c.spi_in(), c.spi_out(), c.counters()));
        json!({
            "pings": self.plane.pings().iter().map(ping_json).collect::<Vec<_>>(),
            "streams": self.plane.streams().iter().map(stream_json).collect::<Vec<_>>(),
            "reflected": self.plane.reflector().streams().map(|(tunnel, from, m)| json!({
                "tunnel": tunnel.0,
                "from": from.to_string(),
                "received": m.received,
                "highest": m.highest,
                "duplicates": m.duplicates,
                "reordered": m.reordered,
            })).collect::<Vec<_>>(),
            "encaps": counters.encaps,
            "decaps": counters.decaps,
            "dummies": counters.dummies,
            "echoes_answered": counters.echoes_answered,
            "errors": errors,
            "esp_sas": closed.chain(live).collect::<Vec<_>>(),
        })
    }

    /// As [`crate::drive::Observer::event`].
    pub fn event(&mut self, now: Instant, tunnel: TunnelId, sa: SaId, event: &Event) {
        self.plane.event(now, tunnel, sa, event);
        if let Event::ChildInbound(child) = event {
            self.route(child);
        }
    }

    /// As [`crate::drive::Observer::esp`].
    pub fn esp(&mut self, now: Instant, path: Path, packet: &mut [u8]) {
        self.plane.handle_packet(now, path, packet);
        self.gather(now);
    }

    /// As [`crate::drive::Observer::poll_transmit`].
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if self.plane.poll_timeout().is_some_and(|at| at <= now) {
            self.plane.handle_timeout(now);
            self.gather(now);
        }
        self.plane.poll_transmit()
    }

    /// As [`crate::drive::Observer::poll_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.plane.poll_timeout()
    }

    /// As [`crate::drive::Observer::poll_note`].
    pub fn poll_note(&mut self) -> Option<(u32, EspNote)> {
        self.plane.poll_note()
    }

    /// As [`crate::drive::Observer::reclaim`].
    pub fn reclaim(&mut self, buffer: Vec<u8>) {
        self.plane.reclaim(buffer);
    }

    /// Whether something could not be sent since the last time, for want of a tunnel.
    pub fn wants_tunnel(&mut self) -> bool {
        std::mem::take(&mut self.wants)
    }

    fn gather(&mut self, now: Instant) {
        while let Some(event) = self.plane.poll_event() {
            self.wants |= matches!(event, PlaneEvent::PingUnsent { .. });
            self.events.push((now, event));
        }
    }

    fn counts(&self) -> EspCounts {
        let counters = self.plane.counters();
        EspCounts {
            out_packets: counters.encaps,
            out_bytes: counters.encap_bytes,
            in_packets: counters.decaps,
            in_bytes: counters.decap_bytes,
            send_errors: counters.send_errors.iter().sum(),
            recv_errors: counters.recv_errors.iter().sum(),
        }
    }
}

fn ping_json(ping: &esp::Ping) -> Value {
    let report = ping.report();
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    json!({
        "target": ping.spec().target.to_string(),
        "sent": report.sent,
        "unsent": report.unsent,
        "received": report.received,
        "lost": report.lost,
        "duplicates": report.duplicates,
        "late": report.late,
        "lost_numbers": report.lost_numbers,
        "rtt_seconds": report.rtt.map(|(min, max, _)| json!({
            "min": seconds(min),
            "mean": report.mean().map(|mean| mean.as_secs_f64()),
            "max": seconds(max),
        })),
        "by_child": report.by_child.iter()
            .map(|(spi, count)| json!({"spi_in": format!("{spi:08x}"), "received": count}))
            .collect::<Vec<_>>(),
    })
}

fn stream_json(stream: &esp::Stream) -> Value {
    let report = stream.report();
    json!({
        "target": stream.spec().target.to_string(),
        "sent": report.sent,
        "unsent": report.unsent,
        "received": report.returned.received,
        "duplicates": report.returned.duplicates,
        "reordered": report.returned.reordered,
        "octets_per_second": report.returned.rate(),
    })
}
