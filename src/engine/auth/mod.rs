//! IKE_AUTH (RFC 7296 1.2, 2.15, 2.16) with pre-shared keys, certificates and EAP, both roles, and its first Child SA.
//!
//! ```text
//!  initiator                                            responder
//!  HDR, SK {IDi, [CERT+,] [CERTREQ,] [IDr,]      -->
//!           AUTH, SAi2, TSi, TSr}
//!                                                <--    HDR, SK {IDr, [CERT+,] AUTH, SAr2, TSi, TSr}
//!                                                <--    HDR, SK {IDr, AUTH, N(error)}   the IKE SA is up, the Child is not
//!                                                <--    HDR, SK {N(AUTHENTICATION_FAILED)}
//!  HDR, SK {N(AUTHENTICATION_FAILED)}            -->    the initiator's own refusal is an INFORMATIONAL (2.21.2)
//! ```
//!
//! Each original role has one wait state, [`AwaitAuthResponse`] and [`AwaitAuthRequest`]. A state that needs a further round
//! goes back where it was, with the next message id; a message leads to one `Step` of its role's file. What is signed, and
//! by what it is judged, is in [`sign`]; what follows once both ends are authenticated is in [`up`].

mod eap;
mod initiator;
mod responder;
mod sign;
mod up;

use std::sync::Arc;

use self::eap::{Judge, Supplicant};
use self::sign::{Exchanged, Signed};
pub(super) use self::sign::{Takes, announcement, certificate_request};
use super::endpoint::Core;
use super::event::{AuthRefused, Event, NatFinding};
use super::failure::{AuthFault, Failure};
use super::fragment::{Reassembly, Split};
use super::init::AwaitInitResponse;
use super::sa::IkeSa;
use super::spec::ConnectionSpec;
use crate::crypto::{IkeKeys, IkeSuite};
use crate::net::Path;
use crate::wire::registry::{NotifyType, PayloadType};
use crate::wire::{
    AuthPayload, CertPayload, CpPayload, EapPayload, IdPayload, IkeSpi, NotifyPayload, Payload, SaPayload, TsPayload,
};

/// Answers to one IKE_SA_INIT that are followed at once; more are not believed.
pub(super) const MAX_CANDIDATES: usize = 4;

/// Initiator: IKE_AUTH is out, once for each answer to IKE_SA_INIT that could be the genuine one. The first valid
/// protected response decides.
pub(super) struct AwaitAuthResponse {
    pub init: Box<AwaitInitResponse>,
    #[allow(clippy::vec_box)] // large, nearly always one, and handed on whole
    pub candidates: Vec<Box<Candidate>>,
    /// What to say instead of "no answer" when we give up: the last candidate that was not believed.
    pub complaint: Option<Failure>,
    /// Our inbound SPI of the first Child SA.
    pub spi_in: u32,
    /// Our identity as it is sent and signed.
    pub id: IdPayload,
    /// EAP has begun; there is one candidate from then on.
    pub eap: Option<Box<Supplicant>>,
}

/// What one answer to IKE_SA_INIT led to.
pub(super) struct Candidate {
    pub spi_r: IkeSpi,
    pub suite: IkeSuite,
    pub keys: IkeKeys,
    pub nr: Vec<u8>,
    /// The answer as received: the responder's AUTH covers it.
    pub response: Vec<u8>,
    pub nat: NatFinding,
    pub vendor_ids: Vec<Vec<u8>>,
    pub peer_fragments: bool,
    /// Which signatures and certificates the responder takes.
    pub takes: Takes,
    pub path: Path,
    /// Our IKE_AUTH for it.
    pub datagrams: Vec<Vec<u8>>,
    /// Fragments of its answer: never joined with those that another candidate's keys opened.
    pub reassembly: Option<Box<Reassembly>>,
    /// As in the IKE SA: above how many octets messages are split.
    pub fragments: Split,
    /// The responder accepts an IKE_AUTH without a Child SA; then: ours was one (RFC 6023).
    pub childless: bool,
}

impl Candidate {
    /// What AUTH covers if this answer to our request `init` is the genuine one.
    fn exchanged<'a>(&'a self, init: &'a AwaitInitResponse) -> Exchanged<'a> {
        Exchanged {
            suite: &self.suite,
            keys: &self.keys,
            request: &init.request,
            response: &self.response,
            ni: &init.ni,
            nr: &self.nr,
        }
    }
}

/// Responder: IKE_SA_INIT is answered.
pub(super) struct AwaitAuthRequest {
    /// Connections that fit the addresses; the identity decides.
    pub specs: Vec<Arc<ConnectionSpec>>,
    pub suite: IkeSuite,
    pub keys: IkeKeys,
    pub ni: Vec<u8>,
    pub nr: Vec<u8>,
    /// The initiator's IKE_SA_INIT as received: its AUTH covers it.
    pub request: Vec<u8>,
    /// Ours as sent.
    pub response: Vec<u8>,
    pub nat: NatFinding,
    /// Which signatures the initiator takes.
    pub takes: Takes,
    /// EAP has begun.
    pub eap: Option<Box<Judge>>,
}

impl AwaitAuthRequest {
    /// What AUTH covers.
    fn exchanged(&self) -> Exchanged<'_> {
        Exchanged {
            suite: &self.suite,
            keys: &self.keys,
            request: &self.request,
            response: &self.response,
            ni: &self.ni,
            nr: &self.nr,
        }
    }
}

/// The payloads of IKE_AUTH, wherever they stand.
#[derive(Default)]
struct Parts<'a> {
    id_i: Option<&'a IdPayload>,
    id_r: Option<&'a IdPayload>,
    auth: Option<&'a AuthPayload>,
    /// In the order in which they stand: the sender's own certificate comes first.
    certs: Vec<&'a CertPayload>,
    takes: Takes,
    sa: Option<&'a SaPayload>,
    ts_i: Option<&'a TsPayload>,
    ts_r: Option<&'a TsPayload>,
    error: Option<&'a NotifyPayload>,
    eap: Option<&'a EapPayload>,
    cp: Option<&'a CpPayload>,
    /// EAP_ONLY_AUTHENTICATION (RFC 5998).
    eap_only: bool,
    initial_contact: bool,
    /// MOBIKE_SUPPORTED (RFC 4555).
    mobike: bool,
    transport: bool,
    critical: Option<PayloadType>,
}

impl<'a> Parts<'a> {
    fn of(payloads: &'a [Payload]) -> Self {
        let mut parts = Parts::default();
        for payload in payloads {
            parts.takes.note(payload);
            match payload {
                Payload::IdI(id) => parts.id_i = parts.id_i.or(Some(id)),
                Payload::IdR(id) => parts.id_r = parts.id_r.or(Some(id)),
                Payload::Auth(auth) => parts.auth = parts.auth.or(Some(auth)),
                Payload::Cert(cert) => parts.certs.push(cert),
                Payload::Sa(sa) => parts.sa = parts.sa.or(Some(sa)),
                Payload::TsI(ts) => parts.ts_i = parts.ts_i.or(Some(ts)),
                Payload::TsR(ts) => parts.ts_r = parts.ts_r.or(Some(ts)),
                Payload::Eap(eap) => parts.eap = parts.eap.or(Some(eap)),
                Payload::Cp(cp) => parts.cp = parts.cp.or(Some(cp)),
                Payload::Notify(n) if n.kind == NotifyType::EAP_ONLY_AUTHENTICATION => parts.eap_only = true,
                Payload::Notify(n) if n.kind == NotifyType::INITIAL_CONTACT => parts.initial_contact = true,
                Payload::Notify(n) if n.kind == NotifyType::MOBIKE_SUPPORTED => parts.mobike = true,
                Payload::Notify(n) if n.kind == NotifyType::USE_TRANSPORT_MODE => parts.transport = true,
                Payload::Notify(n) if n.kind.is_error() => parts.error = parts.error.or(Some(n)),
                Payload::Raw(raw) if raw.critical => parts.critical = parts.critical.or(Some(raw.kind)),
                _ => {}
            }
        }
        parts
    }

    fn child(&self) -> super::child::Payloads<'a> {
        super::child::Payloads { sa: self.sa, ts_i: self.ts_i, ts_r: self.ts_r, transport: self.transport }
    }
}

impl Core {
    /// Tells what there is to compare keys by, after a fault that a key may have had a part in.
    fn tell_refused(
        &mut self,
        sa: &IkeSa,
        fault: &AuthFault,
        signed: &Signed<'_>,
        specs: &[Arc<ConnectionSpec>],
        auth: &AuthPayload,
    ) {
        if !self.cfg.trace || !matches!(fault, AuthFault::Mismatch { .. } | AuthFault::Identity { .. }) {
            return;
        }
        if let Some(evidence) = signed.evidence(specs, auth) {
            let event = Event::AuthRefused(Box::new(AuthRefused { id: signed.id.clone(), evidence }));
            self.events.push_back((sa.tunnel, sa.id, event));
        }
    }
}
