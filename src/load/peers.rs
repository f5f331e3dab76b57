//! The many peers that one tester plays: what tunnel `n` is called, knows and protects, and where it sends from.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::arrival::Lane;
use super::ca::LoadCa;
use super::template::{Pool, Template};
use crate::auth::{Credential, certificates, private_key};
use crate::crypto::Secret;
use crate::engine::{AuthSpec, ConnectionSpec, TunnelId};
use crate::wire::IdPayload;
use crate::wire::registry::IdType;

/// Tunnels with a chosen fault are numbered from here, so that a range of numbers tells a rule whom it concerns.
pub const FAULTY: u64 = 1 << 48;

/// How the peers differ.
#[derive(Clone, Debug)]
pub struct Peers {
    /// The connection that all of them share.
    pub base: Arc<ConnectionSpec>,
    /// Our identity, where it differs.
    pub id: Option<(IdType, Template)>,
    /// Their pre-shared keys, where they differ.
    pub psk: Psks,
    /// Certificates, one per tunnel; none where the connection's own authentication stands. With fewer of them than tunnels,
    /// identities and certificates are used again from the first.
    pub certificates: Arc<Vec<Arc<Credential>>>,
    /// Our side's selector of the first Child, where it differs.
    pub local_ts: Option<Template>,
    /// Source addresses.
    pub sources: Pool,
    /// The share of tunnels that have a fault.
    pub faulty: Option<Faulty>,
}

/// Pre-shared keys.
#[derive(Clone, Debug, Default)]
pub enum Psks {
    /// The connection's, for all.
    #[default]
    Shared,
    /// One per tunnel, used again from the first when there are fewer than tunnels.
    Lines(Arc<Vec<Arc<Secret>>>),
    /// Made from the tunnel's number. Kept out of `Debug` output by its type.
    Made(Arc<MadePsk>),
}

/// A template of keys.
pub struct MadePsk(Template);

impl std::fmt::Debug for MadePsk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MadePsk(redacted)")
    }
}

/// Which tunnels have a fault, and what it changes.
#[derive(Clone, Debug)]
pub struct Faulty {
    /// How many of a thousand.
    pub per_mille: u32,
    /// What is changed in their connection; what no setting expresses is a rule of the shard's fault plan.
    pub change: Change,
}

/// A wrong setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Change {
    /// None.
    #[default]
    None,
    /// Another pre-shared key.
    BadPsk,
    /// A proposal that nobody accepts.
    BadProposal,
}

impl Psks {
    /// One key per line.
    ///
    /// # Errors
    ///
    /// In words, if the file cannot be read, holds no key, or has an empty line before one: a key left out would give every
    /// later tunnel that of its neighbour.
    pub fn from_lines(path: &Path) -> Result<Psks, String> {
        let text = read(path)?;
        let lines = text.trim_end_matches(['\n', '\r']).lines().map(|line| line.strip_suffix('\r').unwrap_or(line));
        let mut keys = Vec::new();
        for (number, line) in (1..).zip(lines) {
            if line.is_empty() {
                return Err(format!(
                    "{}:{number}: an empty line in place of tunnel {}'s key",
                    path.display(),
                    number - 1
                ));
            }
            keys.push(Arc::new(Secret::new(line.as_bytes())));
        }
        if keys.is_empty() {
            return Err(format!("{} holds no key", path.display()));
        }
        Ok(Psks::Lines(Arc::new(keys)))
    }

    /// A template in a file, since keys never stand on a command line.
    ///
    /// # Errors
    ///
    /// In words, if the file cannot be read or is no template; the text itself is not repeated.
    pub fn from_template(path: &Path) -> Result<Psks, String> {
        let text = read(path)?;
        let text = text.trim_end_matches(['\n', '\r']);
        let template = Template::parse(text).map_err(|_| format!("{} is not a template", path.display()))?;
        if template.is_constant() {
            return Err(format!("{} has no place for the tunnel's number, like {{n}}", path.display()));
        }
        Ok(Psks::Made(Arc::new(MadePsk(template))))
    }

    fn get(&self, n: u64) -> Option<Arc<Secret>> {
        match self {
            Psks::Shared => None,
            Psks::Lines(keys) => {
                let index = n % keys.len() as u64;
                keys.get(usize::try_from(index).ok()?).cloned()
            }
            Psks::Made(made) => Some(Arc::new(Secret::new(made.0.fill(n).into_bytes()))),
        }
    }
}

fn read(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

impl Peers {
    /// One peer like the connection says, from `source`. An identity or selector with braces is a template.
    ///
    /// # Errors
    ///
    /// In words, if the identity is a wrong template.
    pub fn new(base: ConnectionSpec, source: IpAddr) -> Result<Peers, String> {
        let id = match std::str::from_utf8(&base.local_id.data) {
            Ok(text) if text.contains('{') => Some((base.local_id.kind, Template::parse(text)?)),
            _ => None,
        };
        Ok(Peers {
            base: Arc::new(base),
            id,
            psk: Psks::Shared,
            certificates: Arc::default(),
            local_ts: None,
            sources: Pool::single(source),
            faulty: None,
        })
    }

    /// Our identity in tunnel `n`.
    pub fn id(&self, n: u64) -> IdPayload {
        let n = match self.certificates.len() as u64 {
            0 => n,
            many => n % many,
        };
        match &self.id {
            Some((kind, template)) => IdPayload::new(*kind, template.fill(n).into_bytes()),
            None => self.base.local_id.clone(),
        }
    }

    /// Issues a certificate for each of `count` tunnels.
    ///
    /// # Errors
    ///
    /// In words, if an identity cannot stand in a certificate.
    pub fn certify(&mut self, ca: &LoadCa, count: u64) -> Result<(), String> {
        let issued = (0..count).map(|n| ca.issue(n, &self.id(n))).collect::<Result<Vec<_>, _>>()?;
        self.certificates = Arc::new(issued);
        Ok(())
    }

    /// Takes a certificate for each tunnel from a directory: `0.pem` with `0.key`, `1.pem` with `1.key`, and so on.
    ///
    /// # Errors
    ///
    /// In words, if there is none, or if one cannot be read.
    pub fn certified(&mut self, dir: &Path) -> Result<(), String> {
        let mut found = Vec::new();
        loop {
            let (pem, key) = (dir.join(format!("{}.pem", found.len())), dir.join(format!("{}.key", found.len())));
            if !pem.exists() {
                break;
            }
            let octets = |path: &Path| std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()));
            let chain = certificates(&octets(&pem)?).map_err(|e| format!("{}: {e}", pem.display()))?;
            let key_octets = octets(&key)?;
            let private = private_key(&key_octets).map_err(|e| format!("{}: {e}", key.display()))?;
            let credential = Credential::new(chain, private).map_err(|e| format!("{}: {e}", pem.display()))?;
            found.push(Arc::new(credential));
        }
        if found.is_empty() {
            return Err(format!("{} holds no 0.pem", dir.display()));
        }
        self.certificates = Arc::new(found);
        Ok(())
    }

    /// True if tunnel `n` is one of those with a fault: evenly spread among the honest ones.
    pub fn is_faulty(&self, n: u64) -> bool {
        let Some(faulty) = &self.faulty else { return false };
        let per = u64::from(faulty.per_mille);
        (n + 1) * per / 1000 > n * per / 1000
    }

    /// The engine's number of tunnel `n`.
    pub fn tunnel_id(&self, n: u64) -> TunnelId {
        TunnelId(if self.is_faulty(n) { FAULTY + n } else { n })
    }

    /// True if every honest tunnel's connection is the same apart from identity and key, which only IKE_AUTH needs.
    pub fn rests_on_base(&self) -> bool {
        self.local_ts.is_none()
    }

    /// The connection of tunnel `n`.
    pub fn spec(&self, n: u64, source: IpAddr) -> Arc<ConnectionSpec> {
        let faulty = self.is_faulty(n);
        let shared = matches!(self.psk, Psks::Shared) && self.certificates.is_empty();
        let same = self.id.is_none() && shared && self.local_ts.is_none() && !faulty;
        if same && self.base.local_addr == Some(source) {
            return Arc::clone(&self.base);
        }
        let mut spec = ConnectionSpec::clone(&self.base);
        spec.local_addr = Some(source);
        spec.local_id = self.id(n);
        if let Some(place) = n.checked_rem(self.certificates.len() as u64)
            && let Some(credential) = usize::try_from(place).ok().and_then(|place| self.certificates.get(place))
        {
            spec.local_auth = AuthSpec::Certificate(Arc::clone(credential));
        }
        if let Some(key) = self.psk.get(n) {
            spec.local_auth = AuthSpec::Psk(Arc::clone(&key));
            spec.remote_auth = AuthSpec::Psk(key);
        }
        if let (Some(template), Some(child)) = (&self.local_ts, spec.children.first_mut())
            && let Ok(selector) = crate::config::selector(&template.fill(n))
        {
            child.local_ts = vec![selector];
        }
        match self.faulty.as_ref().filter(|_| faulty).map(|f| f.change) {
            Some(Change::BadPsk) => spec.local_auth = AuthSpec::Psk(Arc::new(Secret::new(b"not the agreed key"))),
            Some(Change::BadProposal) => bad_proposal(&mut spec),
            Some(Change::None) | None => {}
        }
        Arc::new(spec)
    }
}

/// An encryption algorithm from the private-use range stands where the agreed one was.
fn bad_proposal(spec: &mut ConnectionSpec) {
    use crate::wire::registry::TransformType;
    for proposal in &mut spec.ike_proposals {
        for transform in proposal.transforms.iter_mut().filter(|t| t.kind == TransformType::ENCR) {
            transform.id = 65_000;
        }
    }
}

/// The source addresses of one shard: the pool is dealt out so that no two shards of a run share one, unless there are
/// fewer addresses than shards in this process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sources {
    /// The shard's addresses.
    pub addresses: Vec<IpAddr>,
    /// Several shards of this process use the same ones: their sockets share a port, steered by SPI.
    pub shared: bool,
}

impl Sources {
    /// The part of `pool` for thread `thread` of `threads` in process `process` of `processes`.
    ///
    /// # Errors
    ///
    /// If there are fewer addresses than processes.
    pub fn deal(pool: &Pool, process: (u64, u64), thread: (u64, u64)) -> Result<Sources, String> {
        let (process, processes) = process;
        let (thread, threads) = thread;
        // A pool of one stands for each machine's own address.
        if pool.len() == 1 {
            return Ok(Sources { addresses: pool.get(0).into_iter().collect(), shared: threads > 1 });
        }
        let mine = Lane { first: process, stride: processes };
        let count = mine.share(pool.len());
        if count == 0 {
            return Err(format!("{} source addresses cannot be dealt out to {processes} shards", pool.len()));
        }
        let shared = count < threads;
        let addresses = (0..count)
            .filter(|index| shared || index % threads == thread)
            .filter_map(|index| pool.get(mine.number(index)))
            .collect();
        Ok(Sources { addresses, shared })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_dealt_out_without_overlap() {
        let pool = Pool::parse("10.0.0.1-10.0.0.10").expect("a range");
        let mut seen = std::collections::BTreeSet::new();
        for process in 0..2 {
            for thread in 0..2 {
                let part = Sources::deal(&pool, (process, 2), (thread, 2)).expect("enough");
                assert!(!part.shared && (2..=3).contains(&part.addresses.len()), "{part:?}");
                part.addresses.iter().for_each(|a| assert!(seen.insert(*a), "{a} twice"));
            }
        }
        assert_eq!(seen.len(), 10);
        let few = Pool::parse("10.0.0.1-10.0.0.2").expect("a range");
        assert!(Sources::deal(&few, (0, 2), (1, 2)).expect("shared").shared);
        assert!(Sources::deal(&few, (2, 3), (0, 1)).is_err());
        let one = Pool::parse("10.0.0.1").expect("one");
        assert_eq!(Sources::deal(&one, (4, 5), (0, 1)).expect("its own").addresses.len(), 1);
    }
}
