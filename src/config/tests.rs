//! Exact errors for broken files, and what whole files mean.

mod certificates;

use std::path::Path;

use super::*;
use crate::engine::*;

const GOOD: &str = r#"version: 1
name: lab
local: {address: 203.0.113.10, id: "ipv4:203.0.113.10"}
remote: {address: 198.51.100.20, id: "ipv4:198.51.100.20", vendor: paloalto-panos, lifetimes: {ike: 28800s, child: 1h}}
persona: plain
auth:
  local: {psk_env: PSK}
ike: {proposals: [aes256-sha256-modp2048, aes-gcm-256 prf sha384 group 20], lifetime: 8h, fragmentation: true}
children:
  - name: lan
    proposals: [aes256-sha256]
    pfs: group 14
    local_ts: [10.10.10.0/24]
    remote_ts: [10.20.20.0/24]
    lifetime: 3600
dpd: {interval: 10s, mode: on-demand}
nat: {traversal: force, keepalive: 0s}
retransmit: {initial: 500ms, factor: 1.5, attempts: 4}
behaviour: {narrowing: refuse-wider, unprotected_errors: 2s, vendor_ids: ["0x4142", TEXT]}
limits: {cookie_threshold: 0, max_ike_sas: 7}
control:
  initiate: "ssh fw 'test vpn ike-sa gateway G'"
  clear: "prompt: please clear it"
"#;

fn parse_text(text: &str) -> Result<Loaded, ConfigError> {
    parse(text, "lab.yaml", Path::new("/nonexistent"), &|name| (name == "PSK").then(|| "sesame".to_owned()))
}

/// The good file with one piece replaced.
fn broken(from: &str, to: &str) -> String {
    assert_eq!(GOOD.matches(from).count(), 1, "{from}");
    parse_text(&GOOD.replace(from, to)).map_or_else(|e| e.to_string(), |_| "no error".into())
}

#[test]
fn a_whole_file() {
    let loaded = parse_text(GOOD).unwrap();
    let spec = &loaded.spec;
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!((spec.name.as_str(), spec.local_id.to_string()), ("lab", "ipv4:203.0.113.10".into()));
    assert_eq!(
        spec.ike_proposals.iter().map(proposal_words).collect::<Vec<_>>(),
        ["aes256-sha256-modp2048", "aes256gcm16-prfsha384-ecp384"]
    );
    assert_eq!(spec.children[0].pfs.iter().map(|m| m.0).collect::<Vec<_>>(), [14]);
    assert_eq!(spec.children[0].local_ts[0].to_string(), "10.10.10.0/24");
    assert_eq!(spec.children[0].lifetime.unwrap().as_secs(), 3600);
    assert_eq!(spec.lifetime.unwrap().as_secs(), 28800);
    assert_eq!(spec.dpd.as_ref().unwrap().mode, DpdMode::OnDemand);
    assert_eq!((spec.nat.traversal, spec.nat.keepalive.as_secs()), (NatTraversal::Force, 0));
    assert_eq!(
        (spec.retransmit.initial.as_millis(), spec.retransmit.factor_percent, spec.retransmit.attempts),
        (500, 150, 4)
    );
    assert_eq!(spec.behaviour.narrowing, Narrowing::RefuseWider);
    assert_eq!(spec.behaviour.unprotected_errors, UnprotectedErrors::Wait(std::time::Duration::from_secs(2)));
    assert_eq!(spec.behaviour.vendor_ids, [b"AB".to_vec(), b"TEXT".to_vec()]);
    let AuthSpec::Psk(psk) = &spec.remote_auth else { panic!("a key") };
    assert_eq!(psk.as_ref().as_ref(), b"sesame");
    assert_eq!(loaded.peer.vendor, Some(Vendor::PaloAltoPanos));
    assert_eq!(loaded.peer.child_lifetime.unwrap().as_secs(), 3600);
    let limits = loaded.limits.unwrap();
    assert_eq!((limits.cookie_threshold, limits.max_ike_sas), (Some(0), Some(7)));
    assert_eq!(loaded.control.initiate, Some(ControlAction::Shell("ssh fw 'test vpn ike-sa gateway G'".into())));
    assert_eq!(loaded.control.clear, Some(ControlAction::Prompt("please clear it".into())));
}

#[test]
fn defaults_follow_from_what_is_there() {
    let mut loaded = parse_text(
        "version: 1\nremote: {address: fw.example}\nauth: {local: {psk_env: PSK}}\nike: {proposals: [aes128-sha1-modp2048]}\n\
         children: [{proposals: [aes128-sha1-modp2048]}]\n",
    )
    .unwrap();
    assert_eq!((loaded.spec.name.as_str(), loaded.remote_host.as_deref()), ("lab", Some("fw.example")));
    assert_eq!((loaded.spec.remote_addr, loaded.local_id_pending), (None, true));
    assert_eq!(loaded.spec.remote_id, IdMatch::Any);
    assert_eq!(loaded.spec.children[0].name, "child-1");
    assert_eq!(loaded.spec.children[0].pfs.len(), 1, "a group in the proposal is PFS");
    assert_eq!(loaded.spec.children[0].remote_ts[0].to_string(), "0.0.0.0/0");
    assert!(loaded.spec.dpd.is_none());
    loaded.set_local_address("192.0.2.7".parse().unwrap());
    assert_eq!(loaded.spec.local_id.to_string(), "ipv4:192.0.2.7");
}

#[test]
fn errors_say_where_what_and_what_instead() {
    let mut wrong = Vec::new();
    for (from, to, wanted) in [
        (
            "aes256-sha256-modp2048,",
            "aes257-sha256-modp2048,",
            "lab.yaml:8:19: ike.proposals[0]: unknown algorithm `aes257` in `aes257-sha256-modp2048` (did you mean aes256?)",
        ),
        ("  - name: lan", "  - nam: lan", "lab.yaml:10:5: children[0].nam: unknown key `nam` (did you mean name?)"),
        (
            "persona: plain",
            "colour: blue",
            "lab.yaml:5:1: colour: unknown key `colour` (one of version, name, local, remote, persona, auth, ike, children, \
             virtual_ip, pool, dpd, nat, mobike, retransmit, rekey, behaviour, data, path, limits, control)",
        ),
        ("persona: plain", "persona: plane", "lab.yaml:5:10: persona: unknown persona `plane` (did you mean plain?)"),
        (
            "version: 1",
            "version: 2",
            "lab.yaml:1:10: version: version 2 is not one that this ikelab reads (version: 1)",
        ),
        ("version: 1\n", "", "lab.yaml:1:1: the key `version` is missing"),
        ("  local: {psk_env: PSK}", "  remote: {psk_env: PSK}", "lab.yaml:7:3: auth: the key `local` is missing"),
        (
            "{psk_env: PSK}",
            "{psk_env: PKS}",
            "lab.yaml:7:20: auth.local.psk_env: the environment variable PKS is not set",
        ),
        (
            "{psk_env: PSK}",
            "{psk_file: psk}",
            "lab.yaml:7:21: auth.local.psk_file: cannot read /nonexistent/psk: no such file",
        ),
        (
            "{psk_env: PSK}",
            "{}",
            "lab.yaml:7:10: auth.local: no pre-shared key and no certificate (psk_file: ./psk, psk_env: NAME, certificate:, or eap:)",
        ),
        (
            "{psk_env: PSK}",
            "{psk_env: PSK, psk: x}",
            "lab.yaml:7:10: auth.local: more than one of psk_file, psk_env and psk",
        ),
        (
            "address: 198.51.100.20,",
            "address: 198.51.100.299,",
            "lab.yaml:4:19: remote.address: `198.51.100.299` is neither an IP address nor a host name",
        ),
        (
            "address: 198.51.100.20,",
            "address: \"2001:db8::1\",",
            "lab.yaml:4:19: remote.address: 2001:db8::1 and local.address 203.0.113.10 are not of one IP version",
        ),
        (
            "id: \"ipv4:203.0.113.10\"",
            "id: \"ip4:203.0.113.10\"",
            "lab.yaml:3:36: local.id: unknown identity type `ip4` (did you mean ipv4?)",
        ),
        ("vendor: paloalto-panos", "vendor: paloalto", "no error"),
        (
            "vendor: paloalto-panos",
            "vendor: cisco-isa",
            "lab.yaml:4:68: remote.vendor: unknown vendor `cisco-isa` (did you mean cisco-asa?)",
        ),
        (
            "interval: 10s",
            "interval: often",
            "lab.yaml:16:17: dpd.interval: `often` is not a duration (for example 500ms, 10s, 8h)",
        ),
        (
            "  clear: \"prompt: please clear it\"",
            "  show: [\"prompt: look\"]",
            "lab.yaml:23:10: control.show[0]: this is a command's work, nobody is asked for it (a shell command)",
        ),
        ("interval: 10s", "interval: 0s", "lab.yaml:16:17: dpd.interval: must be longer than nothing"),
        (
            "mode: on-demand",
            "mode: sometimes",
            "lab.yaml:16:28: dpd.mode: unknown mode `sometimes` (one of periodic, on-demand)",
        ),
        (
            "traversal: force",
            "traversal: forced",
            "lab.yaml:17:18: nat.traversal: unknown traversal `forced` (did you mean force?)",
        ),
        (
            "local_ts: [10.10.10.0/24]",
            "local_ts: [10.10.10.0/42]",
            "lab.yaml:13:16: children[0].local_ts[0]: `/42` is not a prefix length (0 to 32)",
        ),
        (
            "proposals: [aes256-sha256]",
            "proposals: [aes256gcm16-sha256]",
            "lab.yaml:11:17: children[0].proposals[0]: `aes256gcm16-sha256` has an integrity algorithm beside an AEAD cipher, \
             which brings its own (leave it out)",
        ),
        (
            "proposals: [aes256-sha256]",
            "proposals: [aes256-sha256-ecp256]",
            "lab.yaml:11:17: children[0].proposals[0]: the proposal names ecp256 and pfs does not (leave one of the two out)",
        ),
        (
            "proposals: [aes256-sha256]",
            "proposals: []",
            "lab.yaml:11:16: children[0].proposals: an empty list of proposals",
        ),
        ("proposals: [aes256-sha256]", "proposals: aes256-sha256", "lab.yaml:11:16: children[0].proposals: not a list"),
        ("attempts: 4", "attempts: 400", "lab.yaml:18:53: retransmit.attempts: not a number from 0 to 255"),
        ("fragmentation: true", "fragmentation: maybe", "lab.yaml:8:106: ike.fragmentation: neither true nor false"),
        ("dpd: {interval: 10s, mode: on-demand}", "dpd: 10s", "lab.yaml:16:6: dpd: not a section of keys and values"),
        ("persona: plain", "name: again", "lab.yaml:5:1: name: the key `name` stands here twice"),
        ("narrowing: refuse-wider", "narrowing: refuse_wider", "no error"),
        (
            "persona: plain",
            "rekey: {margin: 120%}",
            "lab.yaml:5:17: rekey.margin: `120%` is not a percentage below 100 (like 10%, or a time like 9m)",
        ),
        (
            "persona: plain",
            "rekey: {child_bytes: 5 parsecs}",
            "lab.yaml:5:22: rekey.child_bytes: `5 parsecs` is not an amount of traffic (like 4608000KB, 500MB or 1GiB)",
        ),
        (
            "persona: plain",
            "rekey: {reauth_order: make-frist}",
            "lab.yaml:5:23: rekey.reauth_order: unknown reauth_order `make-frist` (did you mean make-first?)",
        ),
        (
            "persona: plain",
            "rekey: {child_packets: 0}",
            "lab.yaml:5:24: rekey.child_packets: a Child SA carries at least one packet",
        ),
    ] {
        let got = broken(from, to);
        if got != wanted {
            wrong.push(format!("{from} -> {to}\n  got    {got}\n  wanted {wanted}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn when_sas_are_renewed() {
    let plain = parse_text(GOOD).unwrap().spec.behaviour;
    assert_eq!((&plain.rekey, plain.childless, plain.all_children), (&RekeySpec::default(), Childless::Allow, true));
    let text = GOOD.replace("behaviour: {", "behaviour: {childless: prefer, all_children: false, ")
        + "rekey: {margin: 9m, jitter_percent: 5, as_responder: false, child_bytes: 4608000KB, child_packets: 1000000,\n  \
           answer: rekey-only, reauth: 24h, reauth_order: break-first, obey_auth_lifetime: false, auth_lifetime: 1h}\n";
    let behaviour = parse_text(&text).unwrap().spec.behaviour;
    assert_eq!((behaviour.childless, behaviour.all_children), (Childless::Prefer, false));
    let hour = std::time::Duration::from_secs(3600);
    let wanted = RekeySpec {
        margin: Some(hour * 9 / 60),
        jitter_percent: 5,
        as_responder: false,
        child_bytes: Some(4_608_000_000),
        child_packets: Some(1_000_000),
        answer: CreateChildPolicy::RekeyOnly,
        reauth_after: Some(hour * 24),
        reauth: ReauthOrder::BreakFirst,
        obey_auth_lifetime: false,
        auth_lifetime: Some(hour),
        ..RekeySpec::default()
    };
    assert_eq!(behaviour.rekey, wanted);
    let percent = GOOD.to_owned() + "rekey: {margin: 25%, child_bytes: 1GiB}\n";
    let rekey = parse_text(&percent).unwrap().spec.behaviour.rekey;
    assert_eq!((rekey.margin_percent, rekey.margin, rekey.child_bytes), (25, None, Some(1 << 30)));
}

#[test]
fn a_file_that_is_not_yaml() {
    let error = |text| parse_text(text).unwrap_err().to_string();
    assert_eq!(error(""), "lab.yaml:1:1: the file is empty (it begins with version: 1)");
    let unclosed = error("version: 1\nname: 'x\n");
    assert!(unclosed.starts_with("lab.yaml:3:1: ") && !unclosed.contains("at line"), "{unclosed}");
    let tab = error("version: 1\nchildren:\n - a\n\t- b\n");
    assert!(tab.starts_with("lab.yaml:3:4: ") && tab.contains("tab"), "{tab}");
}

#[test]
fn warns_about_what_is_legal_and_weak_or_odd() {
    let text = GOOD
        .replace("{psk_env: PSK}", "{psk: sesame}")
        .replace("aes256-sha256-modp2048,", "3des-sha1-modp1024,")
        .replace("[10.10.10.0/24]", "[10.10.10.7/24]");
    let warnings = parse_text(&text).unwrap().warnings;
    assert!(warnings[0].starts_with("the pre-shared key stands in the YAML file"), "{warnings:?}");
    assert!(warnings.iter().any(|w| w.starts_with("weak ike algorithm 3des: ")), "{warnings:?}");
    assert!(warnings.iter().any(|w| w.starts_with("weak ike algorithm modp1024: ")), "{warnings:?}");
    assert!(warnings.contains(&"10.10.10.7/24 has host bits set; taken as 10.10.10.0/24".to_owned()), "{warnings:?}");
}

#[cfg(unix)]
#[test]
fn key_files_lose_one_newline_and_are_watched() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("psk");
    let read = |content: &[u8], mode| {
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let (AuthSpec::Psk(secret), warnings) = psk_file(&path)? else { panic!("a key") };
        Ok::<_, String>((secret.as_ref().as_ref().to_vec(), warnings.len()))
    };
    assert_eq!(read(b"sesame\n", 0o600), Ok((b"sesame".to_vec(), 0)));
    assert_eq!(read(b"sesame\r\n", 0o600), Ok((b"sesame".to_vec(), 0)));
    assert_eq!(read(b"sesame\n\n", 0o600), Ok((b"sesame\n".to_vec(), 1)), "only one, and a warning");
    assert_eq!(read(b"sesame ", 0o644), Ok((b"sesame ".to_vec(), 2)), "white space and permissions");
    assert_eq!(read(b"\n", 0o600), Err(format!("{} is empty", path.display())));
}

#[test]
fn the_committed_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/connection.schema.json");
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == connection_schema(), "schema/connection.schema.json is stale: `ikelab schema` prints it");
}

/// Every key of the schema is one that the loader knows, and the examples load.
#[test]
fn the_examples_load() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut count = 0;
    for entry in std::fs::read_dir(&examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let loaded = parse(&text, &path.display().to_string(), &examples, &|_| Some("sesame".into()));
            loaded.unwrap_or_else(|e| panic!("{e}"));
            count += 1;
        }
    }
    assert!(count >= 3, "only {count} examples found");
}
