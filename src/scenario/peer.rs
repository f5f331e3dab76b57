//! The other end, as a scenario sees it: something that can be made to initiate and to forget.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::file::PeerOrder;
use super::persona::PeerLine;
use super::pki::Presented;
use crate::auth::eap::{AuthenticatorSpec, Credential, Method, PeerSpec, User};
use crate::engine::{AuthSpec, ConnectionSpec, CpRequest, CpSpec, IdMatch, PoolSpec};

/// Drives the other end.
pub trait PeerDriver {
    /// Makes it initiate, or asks for it. `Ok(None)` if it was started; a text if a person has to do something.
    ///
    /// # Errors
    /// In words, if there is no way or it failed.
    fn initiate(&mut self) -> Result<Option<String>, String>;

    /// Makes it forget what it has for us; false if there is no way.
    ///
    /// # Errors
    /// In words, if it failed.
    fn clear(&mut self) -> Result<bool, String>;

    /// What a person would have to do to make it forget, where nothing else can.
    fn clear_by_hand(&self) -> Option<&str> {
        None
    }

    /// Whether it takes a person to make it initiate, or with an order to make it do that.
    fn by_hand(&self, _order: Option<PeerOrder>) -> bool {
        false
    }

    /// Makes it do something else, or asks for it. `Ok(None)` if it was told to; a text if a person has to do something.
    ///
    /// # Errors
    /// In words, if there is no way or it failed.
    fn order(&mut self, order: PeerOrder) -> Result<Option<String>, String>;

    /// What it has logged since it was last asked, with absolute times; `None` if its log is not ours to read.
    fn log(&mut self) -> Option<Vec<PeerLine>> {
        None
    }

    /// Makes it prove itself with `presented` from now on, or with its own again.
    ///
    /// # Errors
    /// In words, if there is no way: a box's certificate is its own business.
    fn present(&mut self, presented: Option<&Presented>) -> Result<(), String> {
        match presented {
            Some(_) => {
                Err("cannot be played: needs a peer whose certificate can be exchanged for a bad one".to_owned())
            }
            None => Ok(()),
        }
    }

    /// What it shows of its state, as text to be kept.
    fn show(&mut self) -> Option<String> {
        None
    }
}

/// The other end of a connection: both sides exchanged, everything else alike.
pub fn mirror(spec: &ConnectionSpec) -> ConnectionSpec {
    let mut mirrored = spec.clone();
    mirrored.name = format!("{}-mirrored", spec.name);
    std::mem::swap(&mut mirrored.local_addr, &mut mirrored.remote_addr);
    std::mem::swap(&mut mirrored.local_ports, &mut mirrored.remote_ports);
    (mirrored.local_auth, mirrored.remote_auth) = (other_end(&spec.remote_auth), other_end(&spec.local_auth));
    mirrored.cp = other_end_cp(&spec.cp);
    for child in &mut mirrored.children {
        std::mem::swap(&mut child.local_ts, &mut child.remote_ts);
    }
    mirrored.remote_id = IdMatch::Exact(spec.local_id.clone());
    if let IdMatch::Exact(id) = &spec.remote_id {
        mirrored.local_id = id.clone();
    } else if let Some(address) = mirrored.local_addr {
        mirrored.local_id = crate::config::address_id(address);
    }
    mirrored
}

/// What the other end needs to do its half of the same authentication.
fn other_end(auth: &AuthSpec) -> AuthSpec {
    match auth {
        AuthSpec::EapPeer(peer) => {
            let password = peer.credentials.iter().find_map(|c| match c {
                Credential::Md5(password) | Credential::MsChapV2(password) => Some(Arc::clone(password)),
                Credential::Tls(_) => None,
            });
            let tls = peer.credentials.iter().find_map(|c| match c {
                Credential::Tls(tls) => Some(Arc::clone(tls)),
                _ => None,
            });
            AuthSpec::EapAuthenticator(Arc::new(AuthenticatorSpec {
                ask_identity: true,
                methods: peer.methods(),
                users: password.map(|p| User { name: peer.identity.clone(), password: Some(p) }).into_iter().collect(),
                tls,
                name: "embedded-peer".to_owned(),
            }))
        }
        AuthSpec::EapAuthenticator(server) => {
            let user = server.users.first();
            let credential = |method: &Method| match (method, user.and_then(|u| u.password.clone()), &server.tls) {
                (Method::Md5, Some(password), _) => Some(Credential::Md5(password)),
                (Method::MsChapV2, Some(password), _) => Some(Credential::MsChapV2(password)),
                (Method::Tls, _, Some(tls)) => Some(Credential::Tls(Arc::clone(tls))),
                _ => None,
            };
            AuthSpec::EapPeer(Arc::new(PeerSpec {
                identity: user.map(|u| u.name.clone()).unwrap_or_default(),
                credentials: server.methods.iter().filter_map(credential).collect(),
            }))
        }
        other => other.clone(),
    }
}

/// Who asks for an inner address meets a pool, and a pool meets somebody who asks.
fn other_end_cp(cp: &CpSpec) -> CpSpec {
    let request = cp.pool.as_ref().map(|pool| CpRequest {
        v4: pool.v4.map(|_| Ipv4Addr::UNSPECIFIED),
        v6: pool.v6.map(|_| Ipv6Addr::UNSPECIFIED),
    });
    let pool = cp.request.as_ref().map(|asked| {
        let v4 = asked.v4.map(|_| (Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 254)));
        let v6 = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
        let v6 = asked.v6.map(|_| (v6(1), v6(0xffff)));
        Arc::new(PoolSpec { v4, v6, dns: Vec::new(), split: Vec::new(), required: false, version: None })
    });
    CpSpec { request, pool, dynamic: cp.dynamic.clone() }
}
