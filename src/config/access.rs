//! Remote access: the sections `eap`, `virtual_ip` and `pool`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use schemars::JsonSchema;
use serde::Deserialize;

use super::build::one_of;
use super::error::{Place, Problem, did_you_mean};
use super::file::{At, AuthEnd, ConnectionFile};
use super::secret::{self, Sources};
use super::value;
use crate::auth::eap::{AuthenticatorSpec, Credential, Method, PeerSpec, TlsSpec, TlsVersions, User};
use crate::crypto::Secret;
use crate::engine::{AuthSpec, CpRequest, CpSpec, PoolSpec};
use crate::wire::{TrafficSelector, TsRange};

/// EAP of one end. Under `auth.local` we are the client: `method`, `identity` and a password or `tls`. Under `auth.remote`
/// we are the server: `methods`, `users` and perhaps `tls`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EapSection {
    /// As client: `mschapv2`, `md5` or `tls`.
    pub method: Option<At<String>>,
    /// As client: the user's name.
    pub identity: Option<At<String>>,
    /// As client: a file with the password, relative to this file; one trailing newline is not part of it.
    pub password_file: Option<At<String>>,
    /// As client: an environment variable with the password.
    pub password_env: Option<At<String>>,
    /// As server: methods in order of preference; the client may ask for another of them.
    pub methods: Option<At<Vec<At<String>>>>,
    /// As server: who may come in. With `tls`, names that a client's certificate must have one of; all good ones if missing.
    pub users: Option<At<Vec<UserSection>>>,
    /// As server: ask for the EAP identity (the default), or take that of IKE.
    pub ask_identity: Option<At<bool>>,
    /// For the method `tls`.
    pub tls: Option<At<EapTlsSection>>,
}

/// A user of ours.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserSection {
    /// The EAP identity.
    pub name: At<String>,
    /// A file with the password.
    pub password_file: Option<At<String>>,
    /// An environment variable with the password.
    pub password_env: Option<At<String>>,
}

/// Certificates of EAP-TLS; not those of IKE. Files are PEM, relative to this file.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EapTlsSection {
    /// Our certificate, then its intermediates.
    pub chain: At<String>,
    /// Its private key, not encrypted.
    pub key: At<String>,
    /// CA certificates that the other end's must lead to.
    pub ca: At<Vec<At<String>>>,
    /// As client: the name that the server's certificate must have; any by default.
    pub server_name: Option<At<String>>,
    /// `any` (the default), `1.2` or `1.3`.
    pub versions: Option<At<String>>,
    /// Octets of TLS in one EAP packet; 1024 by default.
    pub fragment: Option<At<u16>>,
}

/// What a headend hands out. Addresses are free again when their IKE SA ends.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PoolSection {
    /// `10.77.0.0/24`, `10.77.0.10-10.77.0.99`, one of each IP version separated by a comma.
    pub addresses: At<String>,
    /// Name servers.
    pub dns: Option<At<Vec<At<String>>>>,
    /// Networks to be reached through the tunnel.
    pub split: Option<At<Vec<At<String>>>>,
    /// Refuse a Child SA to who does not ask; false by default.
    pub required: Option<At<bool>>,
    /// What APPLICATION_VERSION says to who asks; nothing by default.
    pub version: Option<At<String>>,
}

/// The word that stands for the inner address in `local_ts` and `remote_ts`.
pub(crate) const DYNAMIC: &str = "dynamic";

/// How one end proves itself, if by EAP; `ours` says which end it is.
pub(crate) fn auth(
    end: &At<AuthEnd>,
    ours: bool,
    sources: &Sources<'_>,
    warnings: &mut Vec<String>,
) -> Result<Option<AuthSpec>, Problem> {
    let AuthEnd { psk_file, psk_env, psk, eap, eap_only, certificate } = &end.value;
    let key = [psk_file, psk_env, psk].into_iter().flatten().map(|key| key.place);
    let key = key.chain(certificate.iter().map(|section| section.place)).next();
    let only = eap_only.as_ref().filter(|only| only.value);
    match (eap, only, key) {
        (None, None, _) => Ok(None),
        (Some(_), _, Some(key)) => Err(Problem::new("both eap and another proof for one end").at(key)),
        (_, Some(only), Some(_)) => Err(Problem::new("eap_only means no key and no certificate").at(only.place)),
        (Some(_), Some(only), _) => Err(Problem::new("eap_only belongs to the end that is not the EAP client")
            .hint(if ours { "auth.remote.eap_only: true" } else { "auth.local.eap_only: true" })
            .at(only.place)),
        (None, Some(_), None) => Ok(Some(AuthSpec::EapOnly)),
        (Some(eap), None, None) if ours => client(eap, sources, warnings).map(Some),
        (Some(eap), None, None) => server(eap, sources, warnings).map(Some),
    }
}

/// What the two ends' sections must have in common.
pub(crate) fn check(file: &ConnectionFile, local: &AuthSpec, remote: &AuthSpec) -> Result<(), Problem> {
    let place = |end: Option<&At<AuthEnd>>| end.and_then(|e| e.value.eap_only.as_ref()).and_then(|only| only.place);
    let (ours, theirs) = (place(Some(&file.auth.local)), place(file.auth.remote.as_ref()));
    let methods = match (local, remote) {
        (AuthSpec::EapPeer(_), AuthSpec::EapAuthenticator(_)) => {
            return Err(Problem::new("EAP has one client; here both ends are")
                .hint("leave out auth.local.eap, or auth.remote.eap")
                .at(file.auth.local.place));
        }
        (AuthSpec::EapPeer(peer), AuthSpec::EapOnly) => peer.methods(),
        (AuthSpec::EapOnly, AuthSpec::EapAuthenticator(server)) => server.methods.clone(),
        (AuthSpec::EapOnly, _) => {
            return Err(Problem::new("eap_only needs the other end's eap").hint("auth.remote.eap: ...").at(ours));
        }
        (_, AuthSpec::EapOnly) => {
            return Err(Problem::new("eap_only needs our eap").hint("auth.local.eap: ...").at(theirs));
        }
        _ => return Ok(()),
    };
    match methods.iter().find(|m| !m.safe_alone()) {
        Some(method) => Err(Problem::new(format!("EAP {method} must not be the only proof (RFC 5998 section 4)"))
            .hint("method tls, or a key or certificate for the responder")
            .at(ours.or(theirs))),
        None => Ok(()),
    }
}

/// The sections `virtual_ip` and `pool`; children that follow the address are filled in by [`dynamic`].
pub(crate) fn cp(file: &ConnectionFile) -> Result<CpSpec, Problem> {
    let request = file.virtual_ip.as_ref().map(request).transpose()?;
    let pool = file.pool.as_ref().map(|at| pool(&at.value)).transpose()?;
    if let (Some(_), Some(at)) = (&request, &file.pool) {
        let message = "a connection either asks for an inner address or hands them out";
        return Err(Problem::new(message).hint("leave out virtual_ip or pool").at(at.place));
    }
    Ok(CpSpec { request, pool: pool.map(Arc::new), dynamic: Vec::new() })
}

/// What a dynamic selector holds before there is an address: all that may come. `ours`: of our side of the tunnel.
pub(crate) fn dynamic(cp: &CpSpec, ours: bool) -> Option<Vec<TrafficSelector>> {
    if ours {
        let asked = cp.request.as_ref()?;
        let v4 = asked.v4.map(|_| TrafficSelector::any_v4());
        return Some(v4.into_iter().chain(asked.v6.map(|_| TrafficSelector::any_v6())).collect());
    }
    let pool = cp.pool.as_ref()?;
    let v4 = pool.v4.map(|(first, last)| TrafficSelector::any_port(TsRange::V4 { start: first, end: last }));
    let v6 = pool.v6.map(|(first, last)| TrafficSelector::any_port(TsRange::V6 { start: first, end: last }));
    Some(v4.into_iter().chain(v6).collect())
}

fn client(eap: &At<EapSection>, sources: &Sources<'_>, warnings: &mut Vec<String>) -> Result<AuthSpec, Problem> {
    let section = &eap.value;
    if let Some(place) = [section.methods.as_ref().map(|m| m.place), section.users.as_ref().map(|u| u.place)]
        .into_iter()
        .flatten()
        .chain(section.ask_identity.as_ref().map(|a| a.place))
        .next()
    {
        return Err(Problem::new("methods, users and ask_identity belong to auth.remote.eap").at(place));
    }
    let word = section
        .method
        .as_ref()
        .ok_or_else(|| Problem::new("no EAP method").hint("method: mschapv2, md5 or tls").at(eap.place))?;
    let method = method(word)?;
    let identity = section
        .identity
        .as_ref()
        .ok_or_else(|| Problem::new("no EAP identity").hint("identity: carol").at(eap.place))?;
    let password = password(section.password_file.as_ref(), section.password_env.as_ref(), sources, warnings)?;
    let need = |what: Option<Arc<Secret>>| {
        what.ok_or_else(|| {
            Problem::new(format!("EAP {method} needs a password"))
                .hint("password_file: ./password, or password_env: NAME")
                .at(eap.place)
        })
    };
    let credential = match method {
        Method::Md5 => Credential::Md5(need(password)?),
        Method::MsChapV2 => Credential::MsChapV2(need(password)?),
        Method::Tls => {
            let tls = section.tls.as_ref().ok_or_else(|| {
                Problem::new("EAP TLS needs a certificate").hint("tls: {chain: ..., key: ..., ca: [...]}").at(eap.place)
            })?;
            Credential::Tls(Arc::new(tls_spec(&tls.value, sources, warnings)?))
        }
    };
    let identity = identity.value.clone();
    Ok(AuthSpec::EapPeer(Arc::new(PeerSpec { identity, credentials: vec![credential] })))
}

fn server(eap: &At<EapSection>, sources: &Sources<'_>, warnings: &mut Vec<String>) -> Result<AuthSpec, Problem> {
    let section = &eap.value;
    let strays = [&section.method, &section.identity, &section.password_file, &section.password_env];
    if let Some(stray) = strays.into_iter().flatten().next() {
        let message = "method, identity and password belong to auth.local.eap";
        return Err(Problem::new(message)
            .hint("methods: [mschapv2], users: [{name: ..., password_file: ...}]")
            .at(stray.place));
    }
    let words = section
        .methods
        .as_ref()
        .filter(|m| !m.value.is_empty())
        .ok_or_else(|| Problem::new("no EAP methods").hint("methods: [mschapv2]").at(eap.place))?;
    let methods = words.value.iter().map(method).collect::<Result<Vec<_>, _>>()?;
    let mut users = Vec::new();
    for user in section.users.iter().flat_map(|users| &users.value) {
        let password = password(user.password_file.as_ref(), user.password_env.as_ref(), sources, warnings)?;
        if password.is_none() && methods.iter().any(|m| *m != Method::Tls) {
            let message = format!("the user {} has no password", user.name.value);
            return Err(Problem::new(message).hint("password_file: ./password").at(user.name.place));
        }
        users.push(User { name: user.name.value.clone(), password });
    }
    if users.is_empty() && methods.iter().any(|m| *m != Method::Tls) {
        return Err(Problem::new("no EAP users").hint("users: [{name: carol, password_file: ...}]").at(eap.place));
    }
    let tls = match &section.tls {
        Some(tls) => Some(Arc::new(tls_spec(&tls.value, sources, warnings)?)),
        None if methods.contains(&Method::Tls) => {
            let hint = "tls: {chain: ..., key: ..., ca: [...]}";
            return Err(Problem::new("EAP TLS needs a certificate").hint(hint).at(eap.place));
        }
        None => None,
    };
    let ask_identity = section.ask_identity.as_ref().is_none_or(|ask| ask.value);
    let name = "ikelab".to_owned();
    Ok(AuthSpec::EapAuthenticator(Arc::new(AuthenticatorSpec { ask_identity, methods, users, tls, name })))
}

fn method(at: &At<String>) -> Result<Method, Problem> {
    let word = at.value.trim().to_ascii_lowercase().replace(['-', '_'], "");
    match word.strip_prefix("eap").unwrap_or(&word) {
        "md5" => Ok(Method::Md5),
        "mschapv2" => Ok(Method::MsChapV2),
        "tls" => Ok(Method::Tls),
        other => {
            let hint = did_you_mean(other, ["mschapv2", "md5", "tls"]);
            let hint = hint.unwrap_or_else(|| "one of mschapv2, md5, tls".to_owned());
            Err(Problem::new(format!("unknown EAP method `{}`", at.value)).hint(hint).at(at.place))
        }
    }
}

fn password(
    file: Option<&At<String>>,
    env: Option<&At<String>>,
    sources: &Sources<'_>,
    warnings: &mut Vec<String>,
) -> Result<Option<Arc<Secret>>, Problem> {
    let secret = match (file, env) {
        (None, None) => return Ok(None),
        (Some(_), Some(env)) => return Err(Problem::new("both password_file and password_env").at(env.place)),
        (Some(file), None) => {
            secret::psk_file_at(&sources.base.join(&file.value), warnings).map_err(|p| p.at(file.place))?
        }
        (None, Some(name)) => match (sources.env)(&name.value) {
            Some(text) if !text.is_empty() => Secret::new(text.into_bytes()),
            Some(_) => {
                return Err(Problem::new(format!("the environment variable {} is empty", name.value)).at(name.place));
            }
            None => {
                return Err(Problem::new(format!("the environment variable {} is not set", name.value)).at(name.place));
            }
        },
    };
    if std::str::from_utf8(secret.as_ref()).is_err() {
        let place = file.or(env).and_then(|at| at.place);
        return Err(Problem::new("the password is not UTF-8 text").at(place));
    }
    Ok(Some(Arc::new(secret)))
}

fn tls_spec(at: &EapTlsSection, sources: &Sources<'_>, warnings: &mut Vec<String>) -> Result<TlsSpec, Problem> {
    let read = |file: &At<String>| {
        let path = sources.base.join(&file.value);
        std::fs::read(&path).map_err(|e| {
            Problem::new(format!("cannot read {}: {}", path.display(), super::io_words(&e))).at(file.place)
        })
    };
    let certificates = |file: &At<String>| {
        let octets = read(file)?;
        let all = CertificateDer::pem_slice_iter(&octets).collect::<Result<Vec<_>, _>>();
        let all = all.map_err(|e| Problem::new(format!("{} is not PEM: {e}", file.value)).at(file.place))?;
        if all.is_empty() {
            return Err(Problem::new(format!("{} holds no certificate", file.value)).at(file.place));
        }
        Ok(all.iter().map(|der| der.as_ref().to_vec()).collect::<Vec<_>>())
    };
    let chain = certificates(&at.chain)?;
    let octets = zeroize::Zeroizing::new(read(&at.key)?);
    let key = PrivateKeyDer::from_pem_slice(&octets).map_err(|e| {
        Problem::new(format!("{} holds no private key: {e}", at.key.value))
            .hint("PKCS#8, PKCS#1 or SEC 1 in PEM, not encrypted")
            .at(at.key.place)
    })?;
    if let Some(mode) = secret::readable_by_others(&sources.base.join(&at.key.value)) {
        warnings.push(format!("{} is readable by others (mode {mode:04o}); chmod 600 it", at.key.value));
    }
    let mut roots = Vec::new();
    for file in &at.ca.value {
        roots.extend(certificates(file)?);
    }
    if roots.is_empty() {
        return Err(Problem::new("no CA to trust").hint("ca: [./ca.pem]").at(at.ca.place));
    }
    Ok(TlsSpec {
        chain,
        key: Secret::from(key.secret_der()),
        roots,
        server_name: at.server_name.as_ref().map(|name| name.value.clone()),
        versions: match one_of(at.versions.as_ref(), "TLS version", &["any", "1.2", "1.3"])? {
            Some("1.2") => TlsVersions::Only12,
            Some("1.3") => TlsVersions::Only13,
            _ => TlsVersions::Any,
        },
        fragment: at.fragment.as_ref().map_or(TlsSpec::FRAGMENT, |n| usize::from(n.value)),
    })
}

/// `any` (IPv4), `any4`, `any6`, or addresses; one of each IP version.
fn request(at: &At<String>) -> Result<CpRequest, Problem> {
    let mut request = CpRequest { v4: None, v6: None };
    for word in at.value.split(',').map(str::trim) {
        let twice = match (word, word.parse()) {
            ("any" | "any4", _) => request.v4.replace(Ipv4Addr::UNSPECIFIED).is_some(),
            ("any6", _) => request.v6.replace(Ipv6Addr::UNSPECIFIED).is_some(),
            (_, Ok(IpAddr::V4(a))) => request.v4.replace(a).is_some(),
            (_, Ok(IpAddr::V6(a))) => request.v6.replace(a).is_some(),
            (_, Err(_)) => {
                let hint = did_you_mean(word, ["any", "any4", "any6"]);
                let hint = hint.unwrap_or_else(|| "any4, any6, or an address; both separated by a comma".to_owned());
                return Err(Problem::new(format!("`{word}` is not an inner address")).hint(hint).at(at.place));
            }
        };
        if twice {
            return Err(Problem::new("two inner addresses of one IP version").at(at.place));
        }
    }
    Ok(request)
}

fn pool(at: &PoolSection) -> Result<PoolSpec, Problem> {
    let mut spec = PoolSpec { v4: None, v6: None, dns: Vec::new(), split: Vec::new(), required: false, version: None };
    for word in at.addresses.value.split(',').map(str::trim) {
        let (selector, _) = value::selector(word).map_err(|p| p.at(at.addresses.place))?;
        let net = word.contains('/');
        let twice = match selector.range {
            TsRange::V4 { start: first, end: last } => {
                let (a, b) = (u32::from(first), u32::from(last));
                // Of a network, neither its own address nor the broadcast.
                let (a, b) = if net && b - a > 1 { (a + 1, b - 1) } else { (a, b) };
                spec.v4.replace((a.into(), b.into())).is_some()
            }
            TsRange::V6 { start: first, end: last } => {
                let (a, b) = (u128::from(first), u128::from(last));
                // Of a network, not the routers' anycast address.
                let a = if net && b > a { a + 1 } else { a };
                spec.v6.replace((a.into(), b.into())).is_some()
            }
            _ => return Err(Problem::new(format!("`{word}` is not a range of addresses")).at(at.addresses.place)),
        };
        if twice {
            return Err(Problem::new("two ranges of one IP version").at(at.addresses.place));
        }
    }
    for server in at.dns.iter().flat_map(|list| &list.value) {
        let problem = || Problem::new(format!("`{}` is not an IP address", server.value)).at(server.place);
        spec.dns.push(server.value.trim().parse().map_err(|_| problem())?);
    }
    for net in at.split.iter().flat_map(|list| &list.value) {
        spec.split.push(network(net)?);
    }
    spec.required = at.required.as_ref().is_some_and(|r| r.value);
    spec.version = at.version.as_ref().map(|v| v.value.clone());
    Ok(spec)
}

fn network(at: &At<String>) -> Result<(IpAddr, u8), Problem> {
    let place: Option<Place> = at.place;
    let problem = || Problem::new(format!("`{}` is not a network", at.value)).hint("10.1.0.0/16").at(place);
    let (address, prefix) = at.value.trim().split_once('/').ok_or_else(problem)?;
    let address: IpAddr = address.parse().map_err(|_| problem())?;
    let prefix: u8 = prefix.parse().map_err(|_| problem())?;
    if prefix > if address.is_ipv4() { 32 } else { 128 } {
        return Err(problem());
    }
    Ok((address, prefix))
}
