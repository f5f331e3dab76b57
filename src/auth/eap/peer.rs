//! The peer: proves who it is.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::sync::Arc;

use super::fault::printable;
use super::packet::{Code, Packet, response};
use super::spec::{Credential, PeerSpec};
use super::{EapFault, Method, MethodType, md5, mschapv2, tls};
use crate::crypto::Secret;

/// One conversation, seen from the peer.
pub struct Peer {
    spec: Arc<PeerSpec>,
    rng: ChaCha20Rng,
    unix: u64,
    running: Option<Running>,
    /// What the authenticator told the user (RFC 3748 5.2).
    notices: Vec<String>,
    /// The requested types that were answered with a Nak.
    refused_types: Vec<MethodType>,
}

/// What to do next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Send this response and wait.
    Respond(Vec<u8>),
    /// Success: the method ran to its end, and the authenticator is content.
    Success,
}

enum Running {
    Md5,
    MsChapV2(Box<mschapv2::PeerState>),
    Tls(Box<tls::Channel>),
}

impl Peer {
    /// A fresh conversation. `rng` gives the challenges, `unix` (seconds since 1970) the time for certificates.
    pub fn new(spec: Arc<PeerSpec>, rng: ChaCha20Rng, unix: u64) -> Self {
        Peer { spec, rng, unix, running: None, notices: Vec::new(), refused_types: Vec::new() }
    }

    /// Takes a packet of the authenticator.
    ///
    /// # Errors
    /// The conversation is over: the authenticator refused, broke the method, or did not prove itself.
    pub fn handle(&mut self, octets: &[u8]) -> Result<Step, EapFault> {
        let packet = Packet::parse(octets)?;
        match packet.code {
            Code::Request => self.request(&packet).map(Step::Respond),
            Code::Response => Err(EapFault::Unexpected("a response to the one who responds")),
            Code::Success => self.success(),
            Code::Failure => Err(self.failure()),
        }
    }

    /// The method that runs or ran.
    pub fn method(&self) -> Option<Method> {
        self.running.as_ref().map(|running| match running {
            Running::Md5 => Method::Md5,
            Running::MsChapV2(_) => Method::MsChapV2,
            Running::Tls(_) => Method::Tls,
        })
    }

    /// Who the peer says it is.
    pub fn identity(&self) -> &str {
        &self.spec.identity
    }

    /// The Master Session Key, once the method is over; `None` for a method that makes none.
    pub fn msk(&self) -> Option<Secret> {
        match self.running.as_ref()? {
            Running::Md5 => None,
            Running::MsChapV2(state) => state.msk().cloned(),
            Running::Tls(channel) => channel.msk(),
        }
    }

    /// What the authenticator had to tell the user, made printable.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// The TLS version, where TLS ran.
    pub fn tls_version(&self) -> Option<String> {
        match &self.running {
            Some(Running::Tls(channel)) => channel.version().map(|v| format!("{v:?}")),
            _ => None,
        }
    }

    fn request(&mut self, packet: &Packet<'_>) -> Result<Vec<u8>, EapFault> {
        let answer = |kind, data: &[u8]| Ok(response(packet.id, kind, data));
        match packet.kind {
            MethodType::IDENTITY => answer(MethodType::IDENTITY, self.spec.identity.as_bytes()),
            MethodType::NOTIFICATION => {
                // Someone who notifies without end is not remembered without end.
                if self.notices.len() < 8 {
                    self.notices.push(printable(packet.data));
                }
                answer(MethodType::NOTIFICATION, &[])
            }
            kind => match self.credential(kind) {
                Some(credential) => {
                    let data = self.run(&credential, packet)?;
                    answer(kind, &data)
                }
                None => {
                    if self.refused_types.len() < 8 {
                        self.refused_types.push(kind);
                    }
                    let wanted: Vec<u8> = self.spec.methods().iter().map(|m| m.kind().0).collect();
                    answer(MethodType::NAK, if wanted.is_empty() { &[0] } else { &wanted })
                }
            },
        }
    }

    fn credential(&self, kind: MethodType) -> Option<Credential> {
        let method = Method::of(kind)?;
        self.spec.credentials.iter().find(|c| c.method() == method).cloned()
    }

    fn run(&mut self, credential: &Credential, packet: &Packet<'_>) -> Result<Vec<u8>, EapFault> {
        if self.method().is_some_and(|running| running != credential.method()) {
            return Err(EapFault::Unexpected("another method in the middle of one"));
        }
        let user = &self.spec.identity;
        match (credential, &mut self.running) {
            (Credential::Md5(password), running) => {
                *running = Some(Running::Md5);
                md5::answer(packet.id, packet.data, user, password.as_ref().as_ref())
            }
            (Credential::MsChapV2(password), running) => {
                let rng = &mut self.rng;
                let state = running.get_or_insert_with(|| {
                    let mut challenge = [0; mschapv2::CHALLENGE_LEN];
                    rng.fill_bytes(&mut challenge);
                    Running::MsChapV2(Box::new(mschapv2::PeerState::new(challenge)))
                });
                let Running::MsChapV2(state) = state else { unreachable!("the running method was compared") };
                state.answer(packet.data, user, password.as_ref().as_ref())
            }
            (Credential::Tls(spec), running) => {
                if running.is_none() {
                    *running = Some(Running::Tls(Box::new(tls::Channel::client(spec, self.unix)?)));
                }
                let Some(Running::Tls(channel)) = running else { unreachable!("the running method was compared") };
                Ok(channel.step(packet.data)?.unwrap_or_else(|| vec![0]))
            }
        }
    }

    /// A Success before the method's end is no success: anybody could say it.
    fn success(&mut self) -> Result<Step, EapFault> {
        let over = match &self.running {
            None => false,
            Some(Running::Md5) => true,
            Some(Running::MsChapV2(state)) => state.msk().is_some(),
            Some(Running::Tls(channel)) => channel.done(),
        };
        if let Some(Running::Tls(channel)) = &self.running
            && over
            && !channel.committed()
        {
            return Err(EapFault::Tls(
                "Success came without the commitment of RFC 9190 2.5: the server's TLS 1.3 is of before that RFC; \
                 TLS 1.2 would do (tls.versions: \"1.2\")"
                    .to_owned(),
            ));
        }
        if over { Ok(Step::Success) } else { Err(EapFault::Unexpected("Success before the method was over")) }
    }

    fn failure(&mut self) -> EapFault {
        let known = match &self.running {
            Some(Running::MsChapV2(state)) => state.refused().cloned(),
            Some(Running::Tls(channel)) => channel.fault().cloned(),
            Some(Running::Md5) => None,
            None if !self.refused_types.is_empty() => {
                Some(EapFault::NoCommonMethod { ours: self.spec.methods(), theirs: self.refused_types.clone() })
            }
            None => None,
        };
        let text = self.notices.last().cloned().unwrap_or_default();
        known.unwrap_or(EapFault::Refused { method: self.method(), code: None, text })
    }
}
