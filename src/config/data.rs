//! The section `data`: how ESP travels, what is sent through a tunnel, who answers in it.

use std::net::IpAddr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::build::{address, one_of, positive};
use super::error::Problem;
use super::file::{At, Quantity};

/// The data plane.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DataSection {
    /// How ESP travels: `auto` (the default: in UDP behind a NAT, else as IP protocol 50), `force-udp` or `native`.
    pub encapsulation: Option<At<String>>,
    /// Packets in the replay window; 64 by default, 0 for none.
    pub replay_window: Option<At<u32>>,
    /// Who answers echo requests (ICMP, UDP port 7): addresses, `selectors` for every address of `local_ts` (the
    /// default), or `none`.
    pub echo: Option<Vec<At<String>>>,
    /// What `connect` pings.
    pub ping: Option<PingSection>,
    /// A TUN device of this name carries packets between this host and the tunnel; its addresses and routes are yours.
    pub tun: Option<At<String>>,
}

/// A ping through the tunnel.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PingSection {
    /// Whom to ask.
    pub address: At<String>,
    /// The sender's address; a host of `local_ts` by default.
    pub source: Option<At<String>>,
    /// How many requests; no end by default.
    pub count: Option<At<u64>>,
    /// From one request to the next; 1s by default.
    pub interval: Option<At<Quantity>>,
    /// Octets of data in each; 56 by default.
    pub size: Option<At<u16>>,
    /// An answer later than this counts as lost; 2s by default.
    pub timeout: Option<At<Quantity>>,
}

/// How ESP travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Encapsulation {
    /// In UDP behind a NAT, else as IP protocol 50.
    #[default]
    Auto,
    /// In UDP always.
    ForceUdp,
    /// As IP protocol 50 always.
    Native,
}

/// Who answers echo requests in a tunnel.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum EchoAnswers {
    /// Every address of our selectors.
    #[default]
    Selectors,
    /// Nobody.
    None,
    /// These.
    Only(Vec<IpAddr>),
}

/// What to do with a tunnel's data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DataSpec {
    /// How ESP travels.
    pub encapsulation: Encapsulation,
    /// Packets in the replay window.
    pub replay_window: u32,
    /// Who answers echo requests.
    pub echo: EchoAnswers,
    /// What `connect` pings.
    pub ping: Option<PingTarget>,
    /// Name of a TUN device.
    pub tun: Option<String>,
}

impl Default for DataSpec {
    fn default() -> Self {
        let (encapsulation, echo) = (Encapsulation::Auto, EchoAnswers::Selectors);
        DataSpec { encapsulation, replay_window: 64, echo, ping: None, tun: None }
    }
}

/// A ping through a tunnel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PingTarget {
    /// Whom to ask.
    pub address: IpAddr,
    /// The sender's address.
    pub source: Option<IpAddr>,
    /// How many requests.
    pub count: Option<u64>,
    /// From one request to the next.
    pub interval: Duration,
    /// Octets of data in each.
    pub size: usize,
    /// An answer later than this counts as lost.
    pub timeout: Duration,
}

impl PingTarget {
    /// The defaults.
    pub fn new(address: IpAddr) -> Self {
        let (interval, timeout) = (Duration::from_secs(1), Duration::from_secs(2));
        PingTarget { address, source: None, count: None, interval, size: 56, timeout }
    }
}

/// Reads the section.
pub(super) fn build(at: &DataSection) -> Result<DataSpec, Problem> {
    let plain = DataSpec::default();
    let words = &["auto", "force-udp", "native"];
    let replay_window = match &at.replay_window {
        None => plain.replay_window,
        Some(at) if at.value > 65_536 => {
            return Err(Problem::new("a replay window of more than 65536 packets").at(at.place));
        }
        Some(at) => at.value,
    };
    Ok(DataSpec {
        encapsulation: match one_of(at.encapsulation.as_ref(), "encapsulation", words)? {
            Some("force-udp") => Encapsulation::ForceUdp,
            Some("native") => Encapsulation::Native,
            _ => Encapsulation::Auto,
        },
        replay_window,
        echo: match at.echo.as_deref() {
            None => EchoAnswers::Selectors,
            Some([]) => EchoAnswers::None,
            Some([word]) if word.value == "none" => EchoAnswers::None,
            Some([word]) if word.value == "selectors" => EchoAnswers::Selectors,
            Some(list) => EchoAnswers::Only(list.iter().map(address).collect::<Result<_, _>>()?),
        },
        ping: at.ping.as_ref().map(ping).transpose()?,
        tun: match &at.tun {
            // The kernel's limit is 15 octets, and it takes no slash and no white space.
            Some(name)
                if name.value.is_empty()
                    || name.value.len() > 15
                    || name.value.contains(|c: char| c == '/' || c.is_whitespace()) =>
            {
                let problem = Problem::new(format!("`{}` cannot be a device's name", name.value));
                return Err(problem.hint("up to 15 letters, like ikelab0").at(name.place));
            }
            tun => tun.as_ref().map(|name| name.value.clone()),
        },
    })
}

fn ping(at: &PingSection) -> Result<PingTarget, Problem> {
    let plain = PingTarget::new(address(&at.address)?);
    let source = at.source.as_ref().map(address).transpose()?;
    if let (Some(source), Some(given)) = (source, &at.source)
        && source.is_ipv4() != plain.address.is_ipv4()
    {
        let message = format!("{} and {source} are not of one IP version", plain.address);
        return Err(Problem::new(message).at(given.place));
    }
    Ok(PingTarget {
        source,
        count: at.count.as_ref().map(|n| n.value),
        interval: at.interval.as_ref().map_or(Ok(plain.interval), positive)?,
        size: at.size.as_ref().map_or(plain.size, |n| n.value.into()),
        timeout: at.timeout.as_ref().map_or(Ok(plain.timeout), positive)?,
        ..plain
    })
}
