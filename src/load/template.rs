//! What differs per tunnel, written once: `peer-{n}@lab`, `10.{n/256%256}.{n%256}.0/24`.
//!
//! Inside braces stands `n`, the tunnel's number, perhaps with a width (`{n6}` gives 000042) or followed by `/`, `%`,
//! `+` or `*` and a number, any number of times, worked from left to right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A text with places for the tunnel's number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Template(Vec<Part>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(String),
    Number { width: usize, steps: Vec<(char, u64)> },
}

impl Template {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// In words, what is wrong between the braces.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((inside, behind)) = after.split_once('}') else {
                return Err(format!("`{text}`: a brace is not closed"));
            };
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(number(inside).ok_or_else(|| {
                format!(
                    "`{{{inside}}}` in `{text}` is not {{n}}, {{n6}}, or n with / % + * and numbers, like {{n/256%256}}"
                )
            })?);
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Template(parts))
    }

    /// True if nothing in it depends on the tunnel.
    pub fn is_constant(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// The text for tunnel `n`.
    pub fn fill(&self, n: u64) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Number { width, steps } => {
                    let value = steps.iter().fold(n, |value, &(operator, by)| match operator {
                        '/' => value / by,
                        '%' => value % by,
                        '+' => value.wrapping_add(by),
                        _ => value.wrapping_mul(by),
                    });
                    out.push_str(&format!("{value:0width$}"));
                }
            }
        }
        out
    }
}

fn number(inside: &str) -> Option<Part> {
    let rest = inside.trim().strip_prefix('n')?;
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let width = if digits == 0 { 0 } else { rest[..digits].parse().ok().filter(|w| *w <= 20)? };
    let mut rest = &rest[digits..];
    let mut steps = Vec::new();
    while let Some(operator) = rest.chars().next() {
        let after = rest.strip_prefix(['/', '%', '+', '*'])?;
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let by: u64 = after[..digits].parse().ok()?;
        if by == 0 && matches!(operator, '/' | '%') {
            return None;
        }
        steps.push((operator, by));
        rest = &after[digits..];
    }
    Some(Part::Number { width, steps })
}

/// Source addresses: `127.1.0.0/24`, `10.0.0.1-10.0.0.9`, single ones, or several of these.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pool(Vec<(IpAddr, u128)>);

/// More addresses than this are a mistake.
const POOL_MAX: u128 = 1 << 24;

impl Pool {
    /// Reads a list separated by commas. Of an IPv4 network up to /30, its own and its broadcast address are left out.
    ///
    /// # Errors
    ///
    /// In words, which part is wrong.
    pub fn parse(text: &str) -> Result<Pool, String> {
        let mut ranges: Vec<(IpAddr, u128)> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            ranges.push(range(part).ok_or_else(|| {
                format!("`{part}` is not an address, a network like 127.1.0.0/24, or a range like 10.0.0.1-10.0.0.9")
            })?);
        }
        let pool = Pool(ranges);
        if pool.0.windows(2).any(|w| w[0].0.is_ipv4() != w[1].0.is_ipv4()) {
            return Err("source addresses of both IP versions: one run has one".into());
        }
        match pool.0.iter().map(|(_, count)| count).sum::<u128>() {
            0 => Err("no source address".into()),
            1..=POOL_MAX => Ok(pool),
            many => Err(format!("{many} source addresses are too many; {POOL_MAX} is the limit")),
        }
    }

    /// A pool of one.
    pub fn single(address: IpAddr) -> Pool {
        Pool(vec![(address, 1)])
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum::<u128>() as u64
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The address at `index`, which must be below [`Pool::len`].
    pub fn get(&self, index: u64) -> Option<IpAddr> {
        let mut left = u128::from(index);
        for &(first, count) in &self.0 {
            if left < count {
                return Some(plus(first, left));
            }
            left -= count;
        }
        None
    }
}

fn plus(address: IpAddr, by: u128) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().wrapping_add(by as u32)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().wrapping_add(by)).into(),
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn range(part: &str) -> Option<(IpAddr, u128)> {
    if let Some((first, last)) = part.split_once('-') {
        let (first, last): (IpAddr, IpAddr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        let count = bits(last).checked_sub(bits(first))?.checked_add(1)?;
        return (first.is_ipv4() == last.is_ipv4()).then_some((first, count));
    }
    let Some((network, length)) = part.split_once('/') else { return Some((part.parse().ok()?, 1)) };
    let (network, length): (IpAddr, u32) = (network.parse().ok()?, length.parse().ok()?);
    let whole = if network.is_ipv4() { 32 } else { 128 };
    let host_bits = u32::checked_sub(whole, length)?;
    let count = 1_u128.checked_shl(host_bits)?;
    let first = plus(network, (bits(network) & (count - 1)).wrapping_neg());
    Some(if network.is_ipv4() && host_bits >= 2 { (plus(first, 1), count - 2) } else { (first, count) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_filled_in() {
        let fill = |text: &str, n| Template::parse(text).expect(text).fill(n);
        assert_eq!(fill("peer-{n}@lab", 42), "peer-42@lab");
        assert_eq!(fill("peer-{n6}", 42), "peer-000042");
        assert_eq!(fill("10.{n/256%256}.{n%256}.0/24", 70_000), "10.17.112.0/24");
        assert_eq!(fill("{n*2+1}{n}", 3), "73");
        assert_eq!(fill("plain", 3), "plain");
        assert!(Template::parse("plain").expect("text").is_constant());
        assert!(!Template::parse("{n}").expect("a number").is_constant());
    }

    #[test]
    fn nonsense_between_braces_is_explained() {
        for wrong in ["{m}", "{n/0}", "{n%}", "{n-1}", "{}", "{n99}", "a{n"] {
            let error = Template::parse(wrong).expect_err(wrong);
            assert!(error.contains(wrong), "{error}");
        }
    }

    #[test]
    fn pools_of_addresses() {
        let all = |text: &str| {
            let pool = Pool::parse(text).expect(text);
            (0..pool.len()).map(|n| pool.get(n).expect("within").to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            all("127.1.0.9/29"),
            ["127.1.0.9", "127.1.0.10", "127.1.0.11", "127.1.0.12", "127.1.0.13", "127.1.0.14"]
        );
        assert_eq!(
            all("10.0.0.254-10.0.1.1, 10.9.9.9"),
            ["10.0.0.254", "10.0.0.255", "10.0.1.0", "10.0.1.1", "10.9.9.9"]
        );
        assert_eq!(all("192.0.2.4/31"), ["192.0.2.4", "192.0.2.5"]);
        assert_eq!(all("2001:db8::fffe/127"), ["2001:db8::fffe", "2001:db8::ffff"]);
        assert_eq!(Pool::parse("2001:db8::/112").expect("a network").len(), 65_536);
        for wrong in ["", "10.0.0.1/33", "10.0.0.9-10.0.0.1", "x", "10.0.0.1,::1", "::/64", "10.0.0.1-::1"] {
            assert!(Pool::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Pool::parse("10.0.0.1").expect("one").get(1), None);
    }
}
