//! The authenticator: judges who the peer is.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::sync::Arc;

use super::fault::printable;
use super::packet::{Code, Packet, request, verdict};
use super::spec::AuthenticatorSpec;
use super::{EapFault, Method, MethodType, md5, mschapv2, tls};
use crate::crypto::Secret;

/// More rounds than this are a loop: the longest honest conversation is a certificate chain in fragments.
const MAX_ROUNDS: u16 = 200;

/// One conversation, seen from the authenticator.
pub struct Authenticator {
    spec: Arc<AuthenticatorSpec>,
    rng: ChaCha20Rng,
    unix: u64,
    id: u8,
    rounds: u16,
    /// The lower layer's until the peer gave its own.
    identity: Vec<u8>,
    state: State,
    /// The last one asked for.
    method: Method,
    tls: Option<String>,
    msk: Option<Secret>,
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Send this request and wait.
    Ask(Vec<u8>),
    /// Send this Success: the peer is who it says.
    Success(Vec<u8>),
    /// Send this Failure.
    Failure(Vec<u8>, EapFault),
}

enum State {
    Identity,
    Md5([u8; md5::CHALLENGE]),
    MsChapV2([u8; mschapv2::CHALLENGE_LEN]),
    /// The method's own verdict is out.
    MsChapV2Said(Result<Secret, EapFault>),
    Tls(Box<tls::Channel>),
    Over,
}

impl Authenticator {
    /// A fresh conversation. `lower_identity` is who the lower layer says the peer is (IDi); `rng` gives challenges and the
    /// first identifier, `unix` (seconds since 1970) the time for certificates.
    pub fn new(spec: Arc<AuthenticatorSpec>, lower_identity: &[u8], mut rng: ChaCha20Rng, unix: u64) -> Self {
        let mut id = [0];
        rng.fill_bytes(&mut id);
        let identity = lower_identity.to_vec();
        let method = spec.methods.first().copied().unwrap_or(Method::Md5);
        let (id, state) = (id[0], State::Over);
        Authenticator { spec, rng, unix, id, rounds: 0, identity, state, method, tls: None, msk: None }
    }

    /// The first packet.
    pub fn start(&mut self) -> Verdict {
        if self.spec.ask_identity {
            self.state = State::Identity;
            return Verdict::Ask(request(self.id, MethodType::IDENTITY, &[]));
        }
        self.begin(self.spec.methods.first().copied(), &[])
    }

    /// Takes a packet of the peer.
    pub fn handle(&mut self, octets: &[u8]) -> Verdict {
        self.rounds += 1;
        match self.judge(octets) {
            Ok(verdict) => verdict,
            Err(fault) => self.fail(fault),
        }
    }

    /// The peer's identity in EAP, or the lower layer's where none was asked for; made printable.
    pub fn identity(&self) -> String {
        printable(&self.identity)
    }

    /// The method that is asked for, or ran.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The TLS version, where TLS ran to its end.
    pub fn tls_version(&self) -> Option<String> {
        self.tls.clone()
    }

    /// What the method has found wrong already, while the peer's last word on it is awaited.
    pub fn pending_fault(&self) -> Option<&EapFault> {
        match &self.state {
            State::MsChapV2Said(Err(fault)) => Some(fault),
            State::Tls(channel) => channel.fault(),
            _ => None,
        }
    }

    /// The Master Session Key after success; `None` for a method that makes none.
    pub fn msk(&self) -> Option<&Secret> {
        self.msk.as_ref()
    }

    fn judge(&mut self, octets: &[u8]) -> Result<Verdict, EapFault> {
        let packet = Packet::parse(octets)?;
        if packet.code != Code::Response || packet.id != self.id {
            return Err(EapFault::Unexpected("not a response to the last request"));
        }
        if self.rounds > MAX_ROUNDS {
            return Err(EapFault::Unexpected("a conversation without end"));
        }
        if packet.kind == MethodType::NAK {
            return self.nak(packet.data);
        }
        let wanted = match &self.state {
            State::Identity => MethodType::IDENTITY,
            State::Md5(_) => MethodType::MD5,
            State::MsChapV2(_) | State::MsChapV2Said(_) => MethodType::MSCHAPV2,
            State::Tls(_) => MethodType::TLS,
            State::Over => return Err(EapFault::Unexpected("a response after the end")),
        };
        if packet.kind != wanted {
            return Err(EapFault::Unexpected("a response of another type than asked for"));
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Identity => {
                self.identity = packet.data.to_vec();
                Ok(self.begin(self.spec.methods.first().copied(), &[]))
            }
            State::Md5(challenge) => {
                let good = match self.password() {
                    Some(password) => md5::check(packet.id, &challenge, packet.data, password.as_ref().as_ref())?,
                    None => return Err(EapFault::UnknownUser { identity: self.identity() }),
                };
                if good { Ok(self.succeed()) } else { Err(EapFault::WrongPassword { identity: self.identity() }) }
            }
            State::MsChapV2(challenge) => self.mschapv2(&challenge, packet.data),
            State::MsChapV2Said(outcome) => {
                if !mschapv2::acknowledges(packet.data, outcome.is_ok()) {
                    return Err(outcome.err().unwrap_or(EapFault::Unexpected("no acknowledgement of Success")));
                }
                self.msk = Some(outcome?);
                Ok(self.succeed())
            }
            State::Tls(channel) => self.tls(channel, packet.data),
            State::Over => Err(EapFault::Unexpected("a response after the end")),
        }
    }

    /// The peer would rather have another method (RFC 3748 5.3.1). Only the first request of a method can be refused so.
    fn nak(&mut self, wanted: &[u8]) -> Result<Verdict, EapFault> {
        let refused = match &self.state {
            State::Md5(_) => Method::Md5,
            State::MsChapV2(_) => Method::MsChapV2,
            State::Tls(channel) if channel.version().is_none() => Method::Tls,
            _ => return Err(EapFault::Unexpected("a Nak in the middle of a method")),
        };
        let theirs: Vec<MethodType> = wanted.iter().take(16).copied().map(MethodType).collect();
        // Each method is asked for once: the list behind the refused one, so that Naks cannot go in circles.
        let at = self.spec.methods.iter().position(|m| *m == refused).map_or(0, |at| at + 1);
        let rest = self.spec.methods.get(at..).unwrap_or_default();
        let next = rest.iter().copied().find(|m| theirs.contains(&m.kind()));
        Ok(self.begin(next, &theirs))
    }

    fn begin(&mut self, method: Option<Method>, theirs: &[MethodType]) -> Verdict {
        let Some(method) = method else {
            let fault = EapFault::NoCommonMethod { ours: self.spec.methods.clone(), theirs: theirs.to_vec() };
            return self.fail(fault);
        };
        self.id = self.id.wrapping_add(1);
        self.method = method;
        let data = match method {
            Method::Md5 => {
                let mut challenge = [0; md5::CHALLENGE];
                self.rng.fill_bytes(&mut challenge);
                self.state = State::Md5(challenge);
                md5::challenge(&challenge, &self.spec.name)
            }
            Method::MsChapV2 => {
                let mut challenge = [0; mschapv2::CHALLENGE_LEN];
                self.rng.fill_bytes(&mut challenge);
                self.state = State::MsChapV2(challenge);
                mschapv2::challenge(self.id, &challenge, &self.spec.name)
            }
            Method::Tls => {
                let channel = match &self.spec.tls {
                    Some(tls) => tls::Channel::server(tls, self.unix),
                    None => Err(EapFault::Tls("no certificate is configured".to_owned())),
                };
                match channel {
                    Ok(channel) => self.state = State::Tls(Box::new(channel)),
                    Err(fault) => return self.fail(fault),
                }
                tls::Channel::start()
            }
        };
        Verdict::Ask(request(self.id, method.kind(), &data))
    }

    fn mschapv2(&mut self, challenge: &[u8; mschapv2::CHALLENGE_LEN], data: &[u8]) -> Result<Verdict, EapFault> {
        let answer = mschapv2::Answer::read(data)?;
        if !self.spec.ask_identity && self.identity.is_empty() {
            self.identity = answer.name().to_vec();
        }
        let checked = match self.password() {
            Some(password) => answer
                .check(challenge, password.as_ref().as_ref())
                .ok_or_else(|| EapFault::WrongPassword { identity: self.identity() }),
            // On the wire the same as a wrong password: who exists is nobody's business.
            None => Err(EapFault::UnknownUser { identity: self.identity() }),
        };
        let (data, outcome) = match checked {
            Ok((success, msk)) => (success, Ok(msk)),
            Err(fault) => {
                let mut next = [0; mschapv2::CHALLENGE_LEN];
                self.rng.fill_bytes(&mut next);
                (answer.refuse(&next), Err(fault))
            }
        };
        self.state = State::MsChapV2Said(outcome);
        self.id = self.id.wrapping_add(1);
        Ok(Verdict::Ask(request(self.id, MethodType::MSCHAPV2, &data)))
    }

    fn tls(&mut self, mut channel: Box<tls::Channel>, data: &[u8]) -> Result<Verdict, EapFault> {
        let next = channel.step(data)?;
        if let Some(data) = next {
            self.state = State::Tls(channel);
            self.id = self.id.wrapping_add(1);
            return Ok(Verdict::Ask(request(self.id, MethodType::TLS, &data)));
        }
        if let Some(fault) = channel.fault() {
            return Err(fault.clone());
        }
        if !channel.done() {
            return Err(EapFault::Unexpected("an acknowledgement in the middle of TLS"));
        }
        let names = channel.names();
        let welcome = self.spec.users.is_empty() || self.spec.users.iter().any(|user| names.contains(&user.name));
        if !welcome {
            return Err(EapFault::CertificateNames(names));
        }
        self.msk = channel.msk();
        self.tls = channel.version().map(|v| format!("{v:?}"));
        Ok(self.succeed())
    }

    /// The password of whom the peer says it is; a Windows domain in front of the name does not count.
    fn password(&self) -> Option<Arc<Secret>> {
        let bare = self.identity.rsplit(|b| *b == b'\\').next().unwrap_or_default();
        let is = |name: &str| name.as_bytes() == self.identity || name.as_bytes() == bare;
        self.spec.users.iter().find(|user| is(&user.name)).and_then(|user| user.password.clone())
    }

    fn succeed(&mut self) -> Verdict {
        self.state = State::Over;
        Verdict::Success(verdict(true, self.id))
    }

    fn fail(&mut self, fault: EapFault) -> Verdict {
        self.state = State::Over;
        self.msk = None;
        Verdict::Failure(verdict(false, self.id), fault)
    }
}
