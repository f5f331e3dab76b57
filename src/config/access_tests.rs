//! The sections `eap`, `virtual_ip` and `pool`: what they mean, and exact errors.

use std::path::Path;

use super::*;
use crate::auth::eap::Method;
use crate::engine::*;

const CLIENT: &str = r#"version: 1
local: {id: a.test}
remote: {address: 198.51.100.20}
auth:
  local: {eap: {method: mschapv2, identity: carol, password_env: PASSWORD}}
  remote: {psk_env: PSK}
ike: {proposals: [aes256-sha256-modp2048]}
children: [{proposals: [aes256gcm16], remote_ts: [10.2.0.0/16]}]
virtual_ip: any4, 2001:db8::7
"#;

const SERVER: &str = r#"version: 1
local: {address: 198.51.100.20}
auth:
  local: {psk_env: PSK}
  remote: {eap: {methods: [mschapv2, md5], users: [{name: carol, password_env: PASSWORD}]}}
ike: {proposals: [aes256-sha256-modp2048]}
children: [{proposals: [aes256gcm16], local_ts: [10.2.0.0/16]}]
pool: {addresses: "10.77.0.0/24, 2001:db8::/64", dns: [10.77.0.53], split: [10.2.0.0/16], required: true}
"#;

fn parse_text(text: &str) -> Result<Loaded, ConfigError> {
    let env = |name: &str| match name {
        "PSK" => Some("sesame".to_owned()),
        "PASSWORD" => Some("Ar3etTnp".to_owned()),
        _ => None,
    };
    parse(text, "lab.yaml", Path::new("/nonexistent"), &env)
}

fn broken(good: &str, from: &str, to: &str) -> String {
    assert_eq!(good.matches(from).count(), 1, "{from}");
    parse_text(&good.replace(from, to)).map_or_else(|e| e.to_string(), |_| "no error".into())
}

#[test]
fn a_client() {
    let spec = parse_text(CLIENT).unwrap().spec;
    let AuthSpec::EapPeer(peer) = &spec.local_auth else { panic!("{:?}", spec.local_auth) };
    assert_eq!((peer.identity.as_str(), peer.methods()), ("carol", vec![Method::MsChapV2]));
    assert!(matches!(spec.remote_auth, AuthSpec::Psk(_)));
    assert!(!format!("{spec:?}").contains("Ar3etTnp"));
    let request = CpRequest { v4: Some([0, 0, 0, 0].into()), v6: Some("2001:db8::7".parse().unwrap()) };
    assert_eq!(spec.cp, CpSpec { request: Some(request), pool: None, dynamic: vec![0] });
    let ts: Vec<String> = spec.children[0].local_ts.iter().map(ToString::to_string).collect();
    assert_eq!(ts, ["0.0.0.0/0", "::/0"]);
}

#[test]
fn a_server() {
    let spec = parse_text(SERVER).unwrap().spec;
    let AuthSpec::EapAuthenticator(server) = &spec.remote_auth else { panic!("{:?}", spec.remote_auth) };
    assert_eq!(server.methods, [Method::MsChapV2, Method::Md5]);
    assert!(server.ask_identity);
    assert_eq!(server.users[0].name, "carol");
    let pool = spec.cp.pool.as_ref().unwrap();
    assert_eq!(pool.v4, Some(([10, 77, 0, 1].into(), [10, 77, 0, 254].into())));
    let v6 = |text: &str| text.parse().unwrap();
    assert_eq!(pool.v6, Some((v6("2001:db8::1"), v6("2001:db8::ffff:ffff:ffff:ffff"))));
    assert_eq!((pool.split.len(), pool.dns.len(), pool.required), (1, 1, true));
    assert_eq!(spec.cp.dynamic, [0]);
    assert_eq!(spec.children[0].remote_ts[0].to_string(), "10.77.0.1-10.77.0.254");
}

#[test]
fn errors_name_the_key_and_what_would_be_right() {
    for (good, from, to, wanted) in [
        (
            CLIENT,
            "method: mschapv2",
            "method: mschap",
            "lab.yaml:5:25: auth.local.eap.method: unknown EAP method `mschap` (did you mean mschapv2?)",
        ),
        (
            CLIENT,
            ", password_env: PASSWORD",
            "",
            "lab.yaml:5:16: auth.local.eap: EAP MSCHAPv2 needs a password (password_file: ./password, or password_env: NAME)",
        ),
        (
            CLIENT,
            "password_env: PASSWORD",
            "password_env: NOPE",
            "lab.yaml:5:66: auth.local.eap.password_env: the environment variable NOPE is not set",
        ),
        (
            CLIENT,
            "password_env: PASSWORD",
            "password: x",
            "lab.yaml:5:52: auth.local.eap.password: unknown key `password` (did you mean password_env?)",
        ),
        (
            CLIENT,
            "mschapv2, identity: carol, password_env: PASSWORD",
            "tls, identity: carol",
            "lab.yaml:5:16: auth.local.eap: EAP TLS needs a certificate (tls: {chain: ..., key: ..., ca: [...]})",
        ),
        (
            CLIENT,
            "{psk_env: PSK}",
            "{eap_only: true}",
            "lab.yaml:6:22: auth.remote.eap_only: EAP MSCHAPv2 must not be the only proof (RFC 5998 section 4) (method tls, or a key or certificate for the responder)",
        ),
        (
            CLIENT,
            "  remote: {psk_env: PSK}\n",
            "",
            "lab.yaml:5:10: auth.local: auth.remote is missing: with EAP for us, the responder's own proof must be said (remote: {psk_file: ...}, or {eap_only: true})",
        ),
        (
            CLIENT,
            "any4, 2001:db8::7",
            "any5",
            "lab.yaml:9:13: virtual_ip: `any5` is not an inner address (did you mean any?)",
        ),
        (
            CLIENT,
            "any4, 2001:db8::7",
            "any4, 10.0.0.1",
            "lab.yaml:9:13: virtual_ip: two inner addresses of one IP version",
        ),
        (
            SERVER,
            ", users: [{name: carol, password_env: PASSWORD}]",
            "",
            "lab.yaml:5:17: auth.remote.eap: no EAP users (users: [{name: carol, password_file: ...}])",
        ),
        (
            SERVER,
            ", password_env: PASSWORD",
            "",
            "lab.yaml:5:59: auth.remote.eap.users[0].name: the user carol has no password (password_file: ./password)",
        ),
        (
            SERVER,
            "local: {psk_env: PSK}",
            "local: {eap_only: true}",
            "lab.yaml:4:21: auth.local.eap_only: EAP MSCHAPv2 must not be the only proof (RFC 5998 section 4) (method tls, or a key or certificate for the responder)",
        ),
        (
            SERVER,
            "split: [10.2.0.0/16]",
            "split: [10.2.0.0/99]",
            "lab.yaml:8:77: pool.split[0]: `10.2.0.0/99` is not a network (10.1.0.0/16)",
        ),
        (
            SERVER,
            "pool: {",
            "virtual_ip: any\npool: {",
            "lab.yaml:9:7: pool: a connection either asks for an inner address or hands them out (leave out virtual_ip or pool)",
        ),
        (
            SERVER,
            "local_ts: [10.2.0.0/16]",
            "local_ts: [dynamic]",
            "lab.yaml:7:50: children[0].local_ts[0]: there is no inner address to be dynamic (virtual_ip: any)",
        ),
    ] {
        assert_eq!(broken(good, from, to), wanted, "{to}");
    }
}
