//! EAP-TLS (RFC 5216, RFC 9190): TLS cut into EAP packets, and the key that its exporter gives.
//!
//! Each packet begins with flags: L, four octets with the whole length follow; M, more fragments follow, to be
//! acknowledged by an empty packet; S, the authenticator's start.

use std::io::Write as _;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Connection, DigitallySignedStruct, Error, ProtocolVersion,
    RootCertStore, ServerConfig, ServerConnection, SignatureScheme, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::spec::{TlsSpec, TlsVersions};
use super::{EapFault, MethodType};
use crate::crypto::Secret;

const LENGTH: u8 = 0x80;
const MORE: u8 = 0x40;
const START: u8 = 0x20;

/// A TLS flight longer than this is refused: a chain of certificates takes a tenth of it.
const MAX_FLIGHT: usize = 64 * 1024;

/// One end of TLS inside EAP.
pub(super) struct Channel {
    conn: Connection,
    fragment: usize,
    /// Our flight and how much of it has left.
    out: Vec<u8>,
    sent: usize,
    /// The other end's flight so far, and the length that it announced.
    flight: Vec<u8>,
    announced: Option<usize>,
    /// TLS 1.3, authenticator: the commitment (an octet of zero) is on its way; peer: it has come (RFC 9190 2.5).
    committed: bool,
    fault: Option<EapFault>,
}

impl Channel {
    /// The peer's end. `unix` is the time in seconds since 1970 by which certificates are judged.
    pub(super) fn client(spec: &TlsSpec, unix: u64) -> Result<Self, EapFault> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let name = match &spec.server_name {
            Some(name) => ServerName::try_from(name.clone())
                .map_err(|_| EapFault::Tls(format!("{name:?} is not a name that a server certificate can have")))?,
            None => ServerName::try_from("unnamed.invalid").expect("a DNS name"),
        };
        let verifier = ChainVerifier {
            roots: roots(spec)?,
            name: spec.server_name.is_some().then(|| name.clone()),
            algorithms: provider.signature_verification_algorithms,
        };
        let (chain, key) = identity(spec)?;
        let mut config = ClientConfig::builder_with_details(Arc::clone(&provider), Arc::new(FixedTime(unix)))
            .with_protocol_versions(versions(spec.versions))
            .map_err(fault)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(chain, key)
            .map_err(fault)?;
        config.resumption = Resumption::disabled();
        config.enable_sni = spec.server_name.is_some();
        let conn = ClientConnection::new(Arc::new(config), name).map_err(fault)?;
        Ok(Channel::new(conn.into(), spec))
    }

    /// The authenticator's end.
    pub(super) fn server(spec: &TlsSpec, unix: u64) -> Result<Self, EapFault> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(spec)?), Arc::clone(&provider));
        let verifier = verifier.build().map_err(|error| EapFault::Tls(error.to_string()))?;
        let (chain, key) = identity(spec)?;
        let mut config = ServerConfig::builder_with_details(provider, Arc::new(FixedTime(unix)))
            .with_protocol_versions(versions(spec.versions))
            .map_err(fault)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(fault)?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let conn = ServerConnection::new(Arc::new(config)).map_err(fault)?;
        Ok(Channel::new(conn.into(), spec))
    }

    fn new(conn: Connection, spec: &TlsSpec) -> Self {
        let fragment = spec.fragment.clamp(64, 16 * 1024);
        let (out, flight) = (Vec::new(), Vec::new());
        Channel { conn, fragment, out, sent: 0, flight, announced: None, committed: false, fault: None }
    }

    /// The authenticator's first packet.
    pub(super) fn start() -> Vec<u8> {
        vec![START]
    }

    /// Takes one packet's type data and says what to send; `None` if there is nothing left to say.
    ///
    /// A TLS error does not show here but in [`Channel::fault`]: its alert has to reach the other end first.
    pub(super) fn step(&mut self, data: &[u8]) -> Result<Option<Vec<u8>>, EapFault> {
        let client = matches!(self.conn, Connection::Client(_));
        let (&flags, mut body) = data.split_first().ok_or(EapFault::Malformed("EAP-TLS flags"))?;
        if flags & LENGTH != 0 {
            let (octets, rest) = body.split_first_chunk().ok_or(EapFault::Malformed("an EAP-TLS length"))?;
            let says = u32::from_be_bytes(*octets) as usize;
            if says > MAX_FLIGHT || self.announced.is_some_and(|before| before != says) {
                return Err(EapFault::Malformed("a sensible EAP-TLS length"));
            }
            self.announced = Some(says);
            body = rest;
        }
        let starts = client && flags & START != 0;
        if body.is_empty() && !starts {
            // An acknowledgement: the next fragment, or the end.
            return Ok(self.next_fragment());
        }
        if self.sent < self.out.len() {
            return Err(EapFault::Unexpected("TLS data where an acknowledgement belongs"));
        }
        if self.flight.len() + body.len() > self.announced.unwrap_or(MAX_FLIGHT) {
            return Err(EapFault::Malformed("an EAP-TLS length that holds"));
        }
        self.flight.extend_from_slice(body);
        if flags & MORE != 0 {
            return Ok(Some(vec![0]));
        }
        if self.announced.take().is_some_and(|says| says != self.flight.len()) {
            return Err(EapFault::Malformed("an EAP-TLS length that holds"));
        }
        let flight = std::mem::take(&mut self.flight);
        self.run(&flight);
        // A peer always answers, if only by acknowledging.
        Ok(self.next_fragment().or_else(|| client.then(|| vec![0])))
    }

    /// The handshake is over and everything of ours has left.
    pub(super) fn done(&self) -> bool {
        self.fault.is_none() && self.sent == self.out.len() && !self.conn.is_handshaking()
    }

    /// With TLS 1.3 the authenticator commits to success before it says so (RFC 9190 2.5). Servers of before that RFC do not,
    /// and derive another key.
    pub(super) fn committed(&self) -> bool {
        self.committed || self.conn.protocol_version() != Some(ProtocolVersion::TLSv1_3)
    }

    /// Why TLS failed.
    pub(super) fn fault(&self) -> Option<&EapFault> {
        self.fault.as_ref()
    }

    /// The first half of what the exporter gives (RFC 5216 2.3, RFC 9190 2.3).
    pub(super) fn msk(&self) -> Option<Secret> {
        if !self.done() {
            return None;
        }
        let mut both = Secret::new(vec![0; 128]);
        let exported = match self.conn.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => {
                let context = [MethodType::TLS.0];
                self.conn.export_keying_material(both.as_mut(), b"EXPORTER_EAP_TLS_Key_Material", Some(&context))
            }
            _ => self.conn.export_keying_material(both.as_mut(), b"client EAP encryption", None),
        };
        exported.ok()?;
        Some(Secret::from(&both.as_ref()[..64]))
    }

    /// What the other end's certificate says it is: common name, then alternative names.
    pub(super) fn names(&self) -> Vec<String> {
        let leaf = self.conn.peer_certificates().and_then(|chain| chain.first());
        leaf.map(|leaf| names(leaf)).unwrap_or_default()
    }

    /// `TLSv1_3`, once agreed.
    pub(super) fn version(&self) -> Option<ProtocolVersion> {
        self.conn.protocol_version()
    }

    fn run(&mut self, mut flight: &[u8]) {
        loop {
            // Reading from memory cannot fail but for a full buffer, which the next step empties.
            let read = self.conn.read_tls(&mut flight).unwrap_or(0);
            match self.conn.process_new_packets() {
                Ok(state) => self.committed |= state.plaintext_bytes_to_read() > 0,
                Err(error) => {
                    self.fault.get_or_insert_with(|| fault(error));
                    break;
                }
            }
            if read == 0 || flight.is_empty() {
                break;
            }
        }
        let commits = matches!(self.conn, Connection::Server(_))
            && self.conn.protocol_version() == Some(ProtocolVersion::TLSv1_3)
            && self.fault.is_none()
            && !self.conn.is_handshaking()
            && !self.committed;
        if commits {
            self.committed = self.conn.writer().write_all(&[0]).is_ok();
        }
        self.out.clear();
        self.sent = 0;
        while self.conn.wants_write() {
            if self.conn.write_tls(&mut self.out).unwrap_or(0) == 0 {
                break;
            }
        }
    }

    fn next_fragment(&mut self) -> Option<Vec<u8>> {
        let rest = self.out.get(self.sent..).filter(|rest| !rest.is_empty())?;
        let part = &rest[..rest.len().min(self.fragment)];
        let more = if part.len() < rest.len() { MORE } else { 0 };
        let mut packet = Vec::with_capacity(part.len() + 5);
        if self.sent == 0 && more != 0 {
            packet.push(LENGTH | MORE);
            packet.extend((self.out.len() as u32).to_be_bytes());
        } else {
            packet.push(more);
        }
        packet.extend_from_slice(part);
        self.sent += part.len();
        Some(packet)
    }
}

/// The time as an argument.
#[derive(Debug)]
struct FixedTime(u64);

impl TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(self.0)))
    }
}

/// Judges a server's certificate by its path, and by its name only if one is configured: EAP has no host name of its own.
#[derive(Debug)]
struct ChainVerifier {
    roots: RootCertStore,
    name: Option<ServerName<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ChainVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        rustls::client::verify_server_cert_signed_by_trust_anchor(&leaf, &self.roots, intermediates, now, algorithms)?;
        if let Some(name) = &self.name {
            rustls::client::verify_server_name(&leaf, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

static ONLY12: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
static ONLY13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

fn versions(which: TlsVersions) -> &'static [&'static SupportedProtocolVersion] {
    match which {
        TlsVersions::Any => rustls::ALL_VERSIONS,
        TlsVersions::Only12 => &ONLY12,
        TlsVersions::Only13 => &ONLY13,
    }
}

fn roots(spec: &TlsSpec) -> Result<RootCertStore, EapFault> {
    let mut roots = RootCertStore::empty();
    for der in &spec.roots {
        roots.add(CertificateDer::from(der.clone())).map_err(fault)?;
    }
    Ok(roots)
}

fn identity(spec: &TlsSpec) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), EapFault> {
    let chain = spec.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let key = PrivateKeyDer::try_from(spec.key.as_ref().to_vec())
        .map_err(|_| EapFault::Tls("the private key is neither PKCS#8, PKCS#1 nor SEC 1".to_owned()))?;
    Ok((chain, key))
}

fn names(der: &[u8]) -> Vec<String> {
    let Ok((_, cert)) = X509Certificate::from_der(der) else { return Vec::new() };
    let common = cert.subject().iter_common_name().filter_map(|cn| cn.as_str().ok());
    let mut names: Vec<String> = common.map(str::to_owned).collect();
    if let Ok(Some(alternatives)) = cert.subject_alternative_name() {
        names.extend(alternatives.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::RFC822Name(name) => Some((*name).to_owned()),
            _ => None,
        }));
    }
    names
}

/// In plain words, where a certificate or an alert is the cause.
fn fault(error: Error) -> EapFault {
    use CertificateError as C;
    EapFault::Tls(match &error {
        Error::InvalidCertificate(why) => match why {
            C::Expired | C::ExpiredContext { .. } => "the other end's certificate has expired".to_owned(),
            C::NotValidYet | C::NotValidYetContext { .. } => "the other end's certificate is not valid yet".to_owned(),
            C::UnknownIssuer => {
                "the other end's certificate leads to no trusted CA (another CA, or an intermediate is missing)"
                    .to_owned()
            }
            C::NotValidForName | C::NotValidForNameContext { .. } => {
                "the other end's certificate has another name".to_owned()
            }
            C::InvalidPurpose | C::InvalidPurposeContext { .. } => {
                "the other end's certificate is not for this purpose (extended key usage)".to_owned()
            }
            C::Revoked => "the other end's certificate is revoked".to_owned(),
            C::BadSignature => "the other end's proof of its private key is wrong".to_owned(),
            other => format!("the other end's certificate is refused: {other}"),
        },
        Error::NoCertificatesPresented => "the other end has no certificate to show".to_owned(),
        Error::AlertReceived(alert) => format!("the other end refused with alert {alert:?}"),
        Error::PeerIncompatible(why) => format!("no TLS version or cipher suite in common: {why:?}"),
        other => other.to_string(),
    })
}
