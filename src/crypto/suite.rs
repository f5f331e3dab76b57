//! Negotiated suites: what one proposal with one transform of each kind means.

use std::fmt;

use super::{Encr, Group, Integ, Prf, SkSuite};
use crate::wire::registry::{EsnId, IntegId, KeMethod, PrfId, ProtocolId, TransformType};
use crate::wire::{Proposal, Transform};

/// What protects an IKE SA.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IkeSuite {
    /// Encryption of messages.
    pub encr: Encr,
    /// Key derivation and AUTH.
    pub prf: Prf,
    /// Integrity of messages; `None` with an AEAD.
    pub integ: Option<Integ>,
    /// Key exchange.
    pub ke: Group,
}

/// What protects a pair of ESP SAs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EspSuite {
    /// Encryption of packets.
    pub encr: Encr,
    /// Integrity of packets; `None` with an AEAD.
    pub integ: Option<Integ>,
    /// Key exchange of its own (perfect forward secrecy), if any.
    pub ke: Option<Group>,
    /// Extended sequence numbers.
    pub esn: bool,
}

impl IkeSuite {
    /// Reads a chosen proposal: exactly one transform of each kind, all of them implemented. INTEG may be absent or
    /// NONE with an AEAD and must be there otherwise. The error says what is wrong, in words.
    pub fn from_proposal(proposal: &Proposal) -> Result<Self, String> {
        let chosen = Chosen::read(proposal, ProtocolId::IKE)?;
        if chosen.esn.is_some() {
            return Err(format!("{} is for IKE but has an ESN transform", title(chosen.number)));
        }
        if chosen.encr == Encr::Null {
            return Err(format!("{} has ENCR_NULL, which IKE forbids (RFC 7296 section 5)", title(chosen.number)));
        }
        Ok(IkeSuite {
            encr: chosen.encr,
            prf: chosen.prf.ok_or_else(|| format!("{} has no PRF transform", title(chosen.number)))?,
            integ: chosen.integ,
            ke: chosen.ke.ok_or_else(|| format!("{} has no key exchange transform", title(chosen.number)))?,
        })
    }

    /// The proposal that offers exactly this suite. The SPI is empty in IKE_SA_INIT and 8 octets when rekeying.
    pub fn to_proposal(&self, number: u8, spi: impl Into<Vec<u8>>) -> Proposal {
        let mut transforms = vec![self.encr.to_transform(), Transform::prf(self.prf.id())];
        transforms.extend(self.integ.map(|integ| Transform::integ(integ.id())));
        transforms.push(Transform::ke(self.ke.method()));
        Proposal { number, protocol: ProtocolId::IKE, spi: spi.into(), transforms }
    }

    /// The part that protects messages.
    pub fn sk(&self) -> SkSuite {
        SkSuite { encr: self.encr, integ: self.integ }
    }

    /// What RFC 8247 has against it, one sentence per algorithm; empty if nothing.
    pub fn weak(&self) -> Vec<String> {
        reasons([self.encr.weak(), Some(self.prf).and_then(Prf::weak), weak_integ(self.integ), self.ke.weak()])
    }
}

impl EspSuite {
    /// Reads a chosen proposal: exactly one ENCR and one ESN transform, INTEG unless ENCR is an AEAD, at most one key
    /// exchange. The error says what is wrong, in words.
    pub fn from_proposal(proposal: &Proposal) -> Result<Self, String> {
        let chosen = Chosen::read(proposal, ProtocolId::ESP)?;
        if chosen.prf.is_some() {
            return Err(format!("{} is for ESP but has a PRF transform", title(chosen.number)));
        }
        Ok(EspSuite {
            encr: chosen.encr,
            integ: chosen.integ,
            ke: chosen.ke,
            esn: chosen.esn.ok_or_else(|| format!("{} has no ESN transform", title(chosen.number)))?,
        })
    }

    /// The proposal that offers exactly this suite. The SPI has 4 octets.
    pub fn to_proposal(&self, number: u8, spi: impl Into<Vec<u8>>) -> Proposal {
        let mut transforms = vec![self.encr.to_transform()];
        transforms.extend(self.integ.map(|integ| Transform::integ(integ.id())));
        transforms.extend(self.ke.map(|ke| Transform::ke(ke.method())));
        transforms.push(Transform::esn(EsnId(u16::from(self.esn))));
        Proposal { number, protocol: ProtocolId::ESP, spi: spi.into(), transforms }
    }

    /// What RFC 8247 has against it, one sentence per algorithm; empty if nothing.
    pub fn weak(&self) -> Vec<String> {
        reasons([self.encr.weak(), None, weak_integ(self.integ), self.ke.and_then(Group::weak)])
    }
}

/// `aes256-sha256-modp2048`, `aes256gcm16-prfsha384-ecp384`: strongSwan's spelling. The PRF is left out when it is
/// the one that the integrity algorithm implies.
impl fmt::Display for IkeSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.encr)?;
        if let Some(integ) = self.integ {
            write!(f, "-{integ}")?;
        }
        if self.integ.map(Integ::implied_prf) != Some(self.prf) {
            write!(f, "-{}", self.prf)?;
        }
        write!(f, "-{}", self.ke)
    }
}

/// `aes256-sha256-modp2048`, `aes256gcm16-esn`: strongSwan's spelling.
impl fmt::Display for EspSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.encr)?;
        if let Some(integ) = self.integ {
            write!(f, "-{integ}")?;
        }
        if let Some(ke) = self.ke {
            write!(f, "-{ke}")?;
        }
        if self.esn { f.write_str("-esn") } else { Ok(()) }
    }
}

/// The transforms of a proposal, each kind at most once.
struct Chosen {
    number: u8,
    encr: Encr,
    prf: Option<Prf>,
    integ: Option<Integ>,
    ke: Option<Group>,
    esn: Option<bool>,
}

impl Chosen {
    fn read(proposal: &Proposal, protocol: ProtocolId) -> Result<Self, String> {
        let number = proposal.number;
        let title = title(number);
        if proposal.protocol != protocol {
            return Err(format!("{title} is for {}, not {protocol}", proposal.protocol));
        }
        let (mut encr, mut prf, mut integ, mut ke, mut esn) = (None, None, None, None, None);
        for (at, transform) in proposal.transforms.iter().enumerate() {
            let kind = transform.kind;
            if proposal.transforms[..at].iter().any(|earlier| earlier.kind == kind) {
                return Err(format!("{title} has more than one {kind} transform, where one was to be chosen"));
            }
            let unknown = || format!("{title}: {kind} transform {transform} is not implemented");
            // NONE is a way to say that there is no transform of this kind (RFC 7296 section 3.3.3, RFC 9370).
            let none = transform.id == 0;
            match kind {
                TransformType::ENCR => encr = Some(Encr::from_transform(transform).ok_or_else(unknown)?),
                TransformType::PRF => prf = Some(Prf::from_id(PrfId(transform.id)).ok_or_else(unknown)?),
                TransformType::INTEG if none => {}
                TransformType::INTEG => integ = Some(Integ::from_id(IntegId(transform.id)).ok_or_else(unknown)?),
                TransformType::KE if none => {}
                TransformType::KE => ke = Some(Group::from_method(KeMethod(transform.id)).ok_or_else(unknown)?),
                TransformType::ESN if transform.id <= 1 => esn = Some(transform.id == 1),
                _ if none && kind.0 > TransformType::ESN.0 => {}
                _ => return Err(unknown()),
            }
        }
        let encr: Encr = encr.ok_or_else(|| format!("{title} has no ENCR transform"))?;
        if encr.is_aead() && integ.is_some() {
            return Err(format!("{title} has an INTEG transform beside {encr}, which needs none"));
        }
        if !encr.is_aead() && integ.is_none() {
            return Err(format!("{title} has no INTEG transform, which {encr} needs"));
        }
        Ok(Chosen { number, encr, prf, integ, ke, esn })
    }
}

/// How messages name a proposal.
fn title(number: u8) -> impl fmt::Display {
    fmt::from_fn(move |f| write!(f, "proposal {number}"))
}

fn weak_integ(integ: Option<Integ>) -> Option<&'static str> {
    integ.and_then(Integ::weak)
}

fn reasons(each: [Option<&str>; 4]) -> Vec<String> {
    each.into_iter().flatten().map(str::to_owned).collect()
}
