use std::collections::BTreeSet;

use super::*;
use crate::scenario::file::Evidence;

const GOOD: &str = "\
id: auth/mine
title: Mine
phase: auth
story: It fails.
mechanics: On the wire, RFC 7296 2.15.
sources: [RFC 7296 2.15]
roles:
  initiator:
    plays: we have another key
    change: {auth.psk: differ}
    detects: peer
    steps:
      - establish: {}
      - expect: {any: [{notify: AUTHENTICATION_FAILED}], within: 5s}
";

fn error(text: &str) -> String {
    parse(text, Path::new("mine.yaml")).expect_err("it is wrong").to_string()
}

#[test]
fn a_good_file() {
    let scenario = parse(GOOD, Path::new("mine.yaml")).expect("it is good");
    assert_eq!(scenario.id, "auth/mine");
    assert!(scenario.after.sanity);
    assert!(scenario.roles.responder.is_none());
}

/// Each mistake gets line, column, what is wrong, and the nearest valid name.
#[test]
fn mistakes() {
    let cases = [
        ("change: {auth", "chnge: {auth", "mine.yaml:10:5: unknown key \"chnge\"; did you mean \"change\"?"),
        (
            "auth.psk: differ",
            "auth.pks: differ",
            "mine.yaml:10:14: \"auth.pks\" cannot be changed; did you mean \"auth.psk\"?",
        ),
        (
            "establish: {}",
            "estabilsh: {}",
            "mine.yaml:13:9: \"estabilsh\" is not known here; did you mean \"establish\"?",
        ),
        (
            "AUTHENTICATION_FAILED",
            "AUTHENTICATION_FAILD",
            "mine.yaml:14:33: there is no notify \"AUTHENTICATION_FAILD\"; did you mean \"AUTHENTICATION_FAILED\"?",
        ),
        ("within: 5s", "within: 5", "mine.yaml:14:66: \"5\" is not a duration; write 500ms, 5s, 2m or 1h"),
        ("phase: auth", "phase: child", "mine.yaml:1:5: the id \"auth/mine\" must begin with its phase, \"child\""),
        ("phase: auth", "phase: aut", "mine.yaml:3:8: \"aut\" is not known here; did you mean \"auth\"?"),
        ("detects: peer", "detects: pear", "mine.yaml:11:14: \"pear\" is not known here; did you mean \"peer\"?"),
        ("story: It fails.\n", "", "the key \"story\" is missing"),
        ("    change: {auth.psk: differ}\n", "", "nothing is changed and no fault is ordered"),
        (
            "    change: {auth.psk: differ}\n",
            "    faults: [{use: drop-snt}]\n",
            "mine.yaml:10:20: there is no fault \"drop-snt\"; did you mean \"drop-sent\"?",
        ),
        (
            "      - expect: {any: [{notify: AUTHENTICATION_FAILED}], within: 5s}\n",
            "",
            "role initiator expects nothing",
        ),
        ("{notify: AUTHENTICATION_FAILED}", "{}", "an empty sight would match everything"),
        ("title: Mine", "title: Mine\ntitle: Yours", "mine.yaml:3:1: the key \"title\" stands here twice"),
    ];
    for (from, to, wanted) in cases {
        assert!(GOOD.contains(from), "{from}");
        let got = error(&GOOD.replacen(from, to, 1));
        assert!(got.contains(wanted), "\n got    {got}\n wanted {wanted}");
        assert!(got.starts_with("mine.yaml"), "{got}");
    }
    assert!(error("").starts_with("mine.yaml"));
    assert!(error("id: [").starts_with("mine.yaml"));
}

#[test]
fn unknown_vendors_are_refused() {
    let text = format!("{GOOD}symptoms: {{cisco-assa: {{log: [x], evidence: observed}}}}\n");
    assert!(error(&text).contains("did you mean \"cisco-asa\"?"), "{}", error(&text));
}

#[test]
fn every_embedded_scenario_is_complete() {
    let all = embedded().unwrap_or_else(|error| panic!("{error}"));
    assert!(all.len() >= 13, "{}", all.len());
    let mut ids = BTreeSet::new();
    for one in &all {
        let s = &one.scenario;
        assert!(ids.insert(s.id.clone()), "{} stands twice", s.id);
        assert_eq!(one.file.with_extension(""), Path::new(&s.id), "the file is named after the id");
        assert!(s.story.len() > 80 && s.mechanics.contains("RFC "), "{}: story and mechanics", s.id);
        assert!(!s.sources.is_empty(), "{}: a source", s.id);
        let vendors: Vec<&str> = s.symptoms.keys().map(|vendor| vendor.as_str()).collect();
        for vendor in ["cisco-ios-xe", "cisco-asa", "paloalto-panos"] {
            assert!(vendors.contains(&vendor), "{}: what {vendor} shows", s.id);
            assert!(s.fix.keys().any(|own| own.as_str() == vendor), "{}: the fix on {vendor}", s.id);
        }
        for (vendor, symptoms) in &s.symptoms {
            for symptom in symptoms.iter() {
                let says = !symptom.log.is_empty() || !symptom.show.is_empty() || symptom.note.is_some();
                assert!(says, "{}: {} says nothing", s.id, vendor.as_str());
                let lines = symptom.log.iter().chain(&symptom.show);
                assert!(lines.clone().all(|line| !line.contains("[MEM]") && !line.trim().is_empty()), "{}", s.id);
                // What nobody saw and no document says must not look as if it were a quotation from one.
                assert!(
                    symptom.evidence != Evidence::Inferred || symptom.note.is_some(),
                    "{}: {} is inferred, from what?",
                    s.id,
                    vendor.as_str()
                );
            }
        }
        if let Some(explained) = &s.explained {
            assert!(explained.because.len() > 40, "{}: why there is nothing to play", s.id);
            for other in &explained.looks_like {
                let found = all.iter().find(|one| one.scenario.id == *other);
                let played = found.is_some_and(|one| one.scenario.explained.is_none());
                assert!(played, "{}: {other} is no scenario that can be played", s.id);
            }
            continue;
        }
        let both = s.roles.initiator.is_some() && s.roles.responder.is_some();
        assert!(both || s.roles.only_one_because.is_some(), "{}: both roles, or why not", s.id);
        for role in Role::ALL {
            let Some(case) = s.roles.get(role) else { continue };
            for step in &case.steps {
                let Step::Expect(expect) = step else { continue };
                let named = expect.any.iter().all(|sight| sight.words.is_some());
                assert!(expect.any.len() < 2 || named, "{} {role}: alternatives are named", s.id);
            }
        }
    }
}

#[test]
fn selectors() {
    let all = || embedded().expect("they load");
    let ids = |selectors: &[&str]| {
        let selectors: Vec<String> = selectors.iter().map(|s| s.to_string()).collect();
        select(all(), &selectors).map(|list| list.into_iter().map(|one| one.scenario.id).collect::<Vec<_>>())
    };
    assert_eq!(ids(&[]).unwrap().len(), all().len());
    assert_eq!(ids(&["auth/psk-mismatch"]).unwrap(), ["auth/psk-mismatch"]);
    assert_eq!(ids(&["psk-mismatch"]).unwrap(), ["auth/psk-mismatch"]);
    assert!(ids(&["child"]).unwrap().iter().all(|id| id.starts_with("child/")));
    assert_eq!(ids(&["*psk-mism*"]).unwrap(), ["auth/psk-mismatch"]);
    assert_eq!(
        ids(&["psk-mismach"]).unwrap_err(),
        "no scenario is called \"psk-mismach\"; did you mean \"psk-mismatch\"?"
    );
}

/// The schema that editors use is the one in the repository. To renew it: `UPDATE_SCHEMA=1 cargo test schema`.
#[test]
fn the_schema_file_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/scenario.schema.json");
    let now = format!("{}\n", serde_json::to_string_pretty(&schema()).expect("a schema is JSON"));
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder can be made");
        std::fs::write(&path, &now).expect("the schema can be written");
    }
    let file = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(file == now, "schema/scenario.schema.json is out of date");
}
