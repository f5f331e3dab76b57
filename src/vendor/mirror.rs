//! A connection as the box at the other end sees it, and what the renderers share.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::PeerConfig;
use super::words::{self, Phase};
use crate::config::{Loaded, Vendor};
use crate::crypto::{Encr, Group, Integ, KeyKind, Prf};
use crate::engine::{AuthSpec, ChildSpec, ConnectionSpec, IdMatch, ProposalSpec};
use crate::wire::registry::{EsnId, IdType, IntegId, KeMethod, PrfId, TransformType};
use crate::wire::{IdPayload, TrafficSelector, TsRange};

/// The other end's view: its `near` is our remote.
pub(super) struct Mirror<'a> {
    pub loaded: &'a Loaded,
    pub spec: &'a ConnectionSpec,
    /// The box's address.
    pub near: String,
    /// Our address.
    pub far: String,
    /// The box's identity; `None` when we accept any.
    pub near_id: Option<&'a IdPayload>,
    /// Our identity.
    pub far_id: IdPayload,
    /// Both directions use one key, or only one of them uses a key.
    pub one_key: bool,
    /// How the box proves who it is.
    pub near_proof: Proof,
    /// How ikelab does.
    pub far_proof: Proof,
}

/// How an end proves who it is, in what a configuration says about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Proof {
    Key,
    /// A certificate with a key of this kind, if that is known.
    Certificate(Option<KeyKind>),
}

impl Proof {
    fn of(auth: &AuthSpec) -> Self {
        match auth {
            AuthSpec::Psk(_) | AuthSpec::EapPeer(_) | AuthSpec::EapAuthenticator(_) | AuthSpec::EapOnly => Proof::Key,
            AuthSpec::Certificate(credential) => Proof::Certificate(Some(credential.key().kind())),
            AuthSpec::Trust(trust) => {
                let key = trust.pin.as_ref().and_then(|pin| pin.public_key().ok());
                Proof::Certificate(key.map(|key| key.kind()))
            }
        }
    }

    pub(super) fn is_certificate(self) -> bool {
        matches!(self, Proof::Certificate(_))
    }

    /// ECDSA rather than RSA.
    pub(super) fn is_curve(self) -> bool {
        matches!(self, Proof::Certificate(Some(KeyKind::P256 | KeyKind::P384 | KeyKind::P521)))
    }
}

/// Stands where the key must be filled in.
pub(super) const KEY: &str = "<PSK>";
/// The key with which ikelab authenticates, when the two differ.
pub(super) const FAR_KEY: &str = "<PSK-OF-IKELAB>";
/// The key with which the box authenticates, when the two differ.
pub(super) const NEAR_KEY: &str = "<PSK-OF-THIS-BOX>";

impl<'a> Mirror<'a> {
    pub fn new(loaded: &'a Loaded) -> Self {
        let spec = &loaded.spec;
        let far = spec.local_addr.map_or_else(|| "<ADDRESS-OF-IKELAB>".to_owned(), |a| a.to_string());
        let near = match (spec.remote_addr, &loaded.remote_host) {
            (Some(addr), _) => addr.to_string(),
            (None, Some(host)) => host.clone(),
            (None, None) => "<ADDRESS-OF-THIS-BOX>".to_owned(),
        };
        Mirror {
            loaded,
            spec,
            near,
            far,
            near_id: match &spec.remote_id {
                IdMatch::Exact(id) => Some(id),
                IdMatch::Any => None,
            },
            far_id: spec.local_id.clone(),
            one_key: match (&spec.local_auth, &spec.remote_auth) {
                (AuthSpec::Psk(local), AuthSpec::Psk(remote)) => local == remote,
                _ => true,
            },
            near_proof: Proof::of(&spec.remote_auth),
            far_proof: Proof::of(&spec.local_auth),
        }
    }

    pub fn far_key(&self) -> &'static str {
        if self.one_key { KEY } else { FAR_KEY }
    }

    pub fn near_key(&self) -> &'static str {
        if self.one_key { KEY } else { NEAR_KEY }
    }

    /// The box's lifetime of the IKE SA: as the file knows it, or ours.
    pub fn ike_lifetime(&self) -> Option<Duration> {
        self.loaded.peer.ike_lifetime.or(self.spec.lifetime)
    }

    /// The box's lifetime of a Child SA.
    pub fn child_lifetime(&self, child: &ChildSpec) -> Option<Duration> {
        self.loaded.peer.child_lifetime.or(child.lifetime)
    }
}

/// The value of an identity without its type.
pub(super) fn id_value(id: &IdPayload) -> String {
    let text = id.to_string();
    text.split_once(':').map_or(text.clone(), |(_, value)| value.to_owned())
}

/// Whether an identity is an IP address.
pub(super) fn is_address(id: &IdPayload) -> bool {
    matches!(id.kind, IdType::ID_IPV4_ADDR | IdType::ID_IPV6_ADDR)
}

/// The transforms of a proposal by type.
#[derive(Default)]
pub(super) struct Parts {
    pub encr: Vec<Encr>,
    pub integ: Vec<Integ>,
    pub prf: Vec<Prf>,
    pub groups: Vec<Group>,
    pub esn: bool,
}

impl Parts {
    pub fn of(proposal: &ProposalSpec) -> Self {
        let mut parts = Parts::default();
        for t in &proposal.transforms {
            match t.kind {
                TransformType::ENCR => parts.encr.extend(Encr::from_transform(t)),
                TransformType::INTEG => parts.integ.extend(Integ::from_id(IntegId(t.id))),
                TransformType::PRF => parts.prf.extend(Prf::from_id(PrfId(t.id))),
                TransformType::KE => parts.groups.extend(Group::from_method(KeMethod(t.id))),
                TransformType::ESN => parts.esn |= EsnId(t.id) == EsnId::ESN,
                _ => {}
            }
        }
        parts
    }

    /// Whether the PRFs are those that follow from the integrity algorithms.
    pub fn prf_follows(&self) -> bool {
        self.prf.iter().copied().eq(self.integ.iter().map(|i| crate::config::prf_of(*i)))
    }

    pub fn is_aead(&self) -> bool {
        self.encr.iter().any(|e| e.is_aead())
    }
}

/// Columns of a comment, its mark left out.
const COMMENT_WIDTH: usize = 100;

/// A configuration under construction.
pub(super) struct Out {
    vendor: Vendor,
    /// What begins a comment line.
    comment: &'static str,
    text: String,
    gaps: Vec<String>,
}

impl Out {
    pub fn new(vendor: Vendor, comment: &'static str) -> Self {
        Out { vendor, comment, text: String::new(), gaps: Vec::new() }
    }

    pub fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    pub fn note(&mut self, text: impl AsRef<str>) {
        self.line(format!("{} {}", self.comment, text.as_ref()));
    }

    /// Before what would take something from the box's other tunnels.
    pub fn danger(&mut self, text: &str) {
        self.notes(&format!("DANGER: {text}"));
    }

    /// A comment of several lines.
    pub fn notes(&mut self, text: &str) {
        let mut line = String::new();
        for word in text.split(' ') {
            if line.len() + word.len() > COMMENT_WIDTH {
                self.note(std::mem::take(&mut line).trim_end());
            }
            line.push_str(word);
            line.push(' ');
        }
        self.note(line.trim_end());
    }

    /// What this does not write and traffic needs.
    pub fn before_traffic(&mut self, needed: &str) {
        self.notes(&format!("Before traffic passes: {needed}."));
        self.note(
            "See: ikelab failures data/routing; ikelab failures data/nat-exemption; ikelab failures data/security-policy",
        );
    }

    /// Something that the box's words do not cover.
    pub fn gap(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.gaps.contains(&text) {
            self.note(format!("NOT EXPRESSED: {text}"));
            self.gaps.push(text);
        }
    }

    pub fn head(&mut self, mirror: &Mirror<'_>) {
        self.note(format!("The other end of ikelab connection {}, for {}.", mirror.spec.name, self.vendor.title()));
        self.note("Fill in what stands in <...>; the pre-shared key is never printed.");
        let spec = mirror.spec;
        let by_eap = |auth: &AuthSpec| matches!(auth, AuthSpec::EapPeer(_) | AuthSpec::EapAuthenticator(_));
        if self.vendor != Vendor::StrongSwan && (by_eap(&spec.local_auth) || by_eap(&spec.remote_auth)) {
            self.gap("EAP: this writes a pre-shared key where the connection has EAP");
        }
        if self.vendor != Vendor::StrongSwan && spec.cp != Default::default() {
            self.gap("inner addresses (virtual_ip, pool)");
        }
    }

    /// The vendor's words for some ciphers; a gap for each one without.
    pub fn encrs(&mut self, phase: Phase, list: &[Encr]) -> Vec<String> {
        let vendor = self.vendor;
        self.words(list, |e| words::encr(vendor, phase, *e), |e| crate::config::encr_word(*e))
    }

    /// The vendor's words for some integrity algorithms.
    pub fn integs(&mut self, phase: Phase, list: &[Integ]) -> Vec<String> {
        let vendor = self.vendor;
        self.words(list, |i| words::integ(vendor, phase, *i), |i| crate::config::integ_word(*i).to_owned())
    }

    /// The vendor's words for some PRFs.
    pub fn prfs(&mut self, list: &[Prf]) -> Vec<String> {
        let vendor = self.vendor;
        self.words(list, |p| words::prf(vendor, *p), |p| crate::config::prf_word(*p).to_owned())
    }

    /// The vendor's words for some groups.
    pub fn groups(&mut self, list: &[Group]) -> Vec<String> {
        let vendor = self.vendor;
        self.words(list, |g| words::group(vendor, *g), |g| g.name().to_owned())
    }

    fn words<T>(
        &mut self,
        list: &[T],
        word: impl Fn(&T) -> Option<String>,
        name: impl Fn(&T) -> String,
    ) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        for item in list {
            match word(item) {
                Some(word) if !words.contains(&word) => words.push(word),
                Some(_) => {}
                None => self.gap(format!("no {} word is known for {}", self.vendor.title(), name(item))),
            }
        }
        words
    }

    /// What is configured, and on the box is not on its standard ports.
    pub fn port_gaps(&mut self, mirror: &Mirror<'_>) {
        for (whose, ports) in [("this box's", mirror.spec.remote_ports), ("ikelab's", mirror.spec.local_ports)] {
            if ports != crate::engine::Ports::default() {
                self.gap(format!("{whose} ports are {} and {}, not 500 and 4500", ports.ike, ports.natt));
            }
        }
    }

    pub fn finish(self) -> PeerConfig {
        PeerConfig { text: self.text, gaps: self.gaps }
    }
}

/// A selector as a network; `None` when it is a range that is no network, or of an unknown type.
pub(super) fn net_of(selector: &TrafficSelector) -> Option<(IpAddr, u8)> {
    let (addr, prefix): (IpAddr, u32) = match selector.range {
        TsRange::V4 { start, end } => (start.into(), (u32::from(start) ^ u32::from(end)).leading_zeros()),
        TsRange::V6 { start, end } => (start.into(), (u128::from(start) ^ u128::from(end)).leading_zeros()),
        TsRange::Unknown { .. } => return None,
    };
    let prefix = u8::try_from(prefix).ok()?;
    let whole = TrafficSelector::from_net(addr, prefix);
    (whole.range == selector.range).then_some((addr, prefix))
}

/// A host within a selector: its first usable address.
pub(super) fn host_in(selector: &TrafficSelector) -> Option<IpAddr> {
    match selector.range {
        TsRange::V4 { start, end } if u32::from(start) == 0 && u32::from(end) == u32::MAX => None,
        TsRange::V4 { start, end } if start == end => Some(start.into()),
        TsRange::V4 { start, .. } => Some(Ipv4Addr::from(u32::from(start).saturating_add(1)).into()),
        TsRange::V6 { start, end } if u128::from(start) == 0 && u128::from(end) == u128::MAX => None,
        TsRange::V6 { start, end } if start == end => Some(start.into()),
        TsRange::V6 { start, .. } => Some(std::net::Ipv6Addr::from(u128::from(start).saturating_add(1)).into()),
        TsRange::Unknown { .. } => None,
    }
}

/// The netmask of an IPv4 prefix length.
pub(super) fn netmask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from(!u32::MAX.checked_shr(prefix.into()).unwrap_or(0))
}

/// The IOS wildcard of an IPv4 prefix length: the netmask's complement.
pub(super) fn wildcard(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::MAX.checked_shr(prefix.into()).unwrap_or(0))
}

/// Every pair of the box's and our selectors, as IPv4 networks; what is no such thing becomes a gap.
pub(super) fn v4_pairs(out: &mut Out, child: &ChildSpec) -> Vec<((Ipv4Addr, u8), (Ipv4Addr, u8))> {
    let mut nets = |list: &[TrafficSelector]| {
        let mut nets = Vec::new();
        for selector in list {
            match net_of(selector) {
                Some((IpAddr::V4(addr), prefix)) if selector.is_any_port() => nets.push((addr, prefix)),
                _ => out.gap(format!("the selector {selector} of child {} is not a plain IPv4 network", child.name)),
            }
        }
        nets
    };
    let (near, far) = (nets(&child.remote_ts), nets(&child.local_ts));
    near.iter().flat_map(|n| far.iter().map(|f| (*n, *f))).collect()
}

/// The pairs of a child that may stand in a crypto map: one from everywhere to everywhere would make the box encrypt all
/// that leaves the interface.
pub(super) fn map_pairs(out: &mut Out, child: &ChildSpec) -> Vec<((Ipv4Addr, u8), (Ipv4Addr, u8))> {
    let mut pairs = v4_pairs(out, child);
    let all = pairs.len();
    pairs.retain(|((_, near), (_, far))| (*near, *far) != (0, 0));
    if pairs.len() < all {
        out.gap(format!(
            "everything to everything in child {}, beside other children: in a crypto map this would encrypt all that \
             leaves the interface; as the only child it becomes a tunnel interface",
            child.name
        ));
    }
    pairs
}

/// Whether a child carries everything, as a route-based tunnel does.
pub(super) fn is_any_to_any(child: &ChildSpec) -> bool {
    let any = |list: &[TrafficSelector]| matches!(list, [one] if *one == TrafficSelector::any_v4());
    any(&child.local_ts) && any(&child.remote_ts)
}
