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
    /// default), or `none`. With `tun` and no addresses here, this host answers.
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
        tun: at.tun.as_ref().map(|name| device_name(&name.value).map_err(|p| p.at(name.place))).transpose()?,
    })
}

/// A network device's name. The kernel's limit is 15 octets, and it takes no slash and no white space.
pub(super) fn device_name(name: &str) -> Result<String, Problem> {
    let bad = name.is_empty() || name.len() > 15 || name.contains(|c: char| c == '/' || c.is_whitespace());
    if bad {
        let problem = Problem::new(format!("`{name}` cannot be a device's name"));
        return Err(problem.hint("up to 15 letters, like ikelab0"));
    }
    Ok(name.to_owned())
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(data: &str) -> Result<DataSpec, String> {
        let text = format!(
            "version: 1\nremote: {{address: fw.example}}\nauth: {{local: {{psk_env: PSK}}}}\nike: {{proposals: \
             [aes128-sha1-modp2048]}}\nchildren: [{{proposals: [aes128-sha1]}}]\n{data}\n"
        );
        let env = |_: &str| Some("sesame".to_owned());
        let loaded = super::super::parse(&text, "lab.yaml", Path::new("/nonexistent"), &env);
        loaded.map(|loaded| loaded.data).map_err(|error| error.to_string())
    }

    #[test]
    fn a_whole_section_and_none() {
        assert_eq!(parse(""), Ok(DataSpec::default()));
        let spec = parse(
            "data: {encapsulation: force-udp, replay_window: 0, echo: [10.1.1.1, \"fd01::1\"], tun: ikelab0, ping: {address: \
             10.2.2.2, source: 10.1.1.1, count: 7, interval: 200ms, size: 1200, timeout: 3s}}",
        )
        .expect("it is right");
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!((spec.encapsulation, spec.replay_window), (Encapsulation::ForceUdp, 0));
        assert_eq!(spec.echo, EchoAnswers::Only(vec![address("10.1.1.1"), address("fd01::1")]));
        assert_eq!(spec.tun.as_deref(), Some("ikelab0"));
        let ping = spec.ping.expect("it is there");
        assert_eq!((ping.address, ping.source), (address("10.2.2.2"), Some(address("10.1.1.1"))));
        assert_eq!((ping.count, ping.size), (Some(7), 1200));
        assert_eq!((ping.interval, ping.timeout), (Duration::from_millis(200), Duration::from_secs(3)));
        for (word, echo) in
            [("[none]", EchoAnswers::None), ("[]", EchoAnswers::None), ("[selectors]", EchoAnswers::Selectors)]
        {
            assert_eq!(parse(&format!("data: {{echo: {word}}}")).map(|spec| spec.echo), Ok(echo));
        }
    }

    #[test]
    fn errors_say_where_what_and_what_instead() {
        let mut wrong = Vec::new();
        for (data, wanted) in [
            (
                "{encapsulation: nativ}",
                "lab.yaml:6:23: data.encapsulation: unknown encapsulation `nativ` (did you mean native?)",
            ),
            ("{pin: {}}", "lab.yaml:6:8: data.pin: unknown key `pin` (did you mean ping?)"),
            ("{ping: {address: fw}}", "lab.yaml:6:24: data.ping.address: `fw` is not an IP address"),
            (
                "{ping: {address: 10.0.0.1, source: \"fd01::1\"}}",
                "lab.yaml:6:42: data.ping.source: 10.0.0.1 and fd01::1 are not of one IP version",
            ),
            (
                "{replay_window: 100000}",
                "lab.yaml:6:23: data.replay_window: a replay window of more than 65536 packets",
            ),
            (
                "{tun: \"a b\"}",
                "lab.yaml:6:13: data.tun: `a b` cannot be a device's name (up to 15 letters, like ikelab0)",
            ),
        ] {
            let got = parse(&format!("data: {data}")).expect_err("it is wrong");
            if got != wanted {
                wrong.push(format!("{data}\n  got    {got}\n  wanted {wanted}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
