//! What `--json` prints and what transcripts hold, judged by the published schema: on real sockets, of tunnels that come up
//! and of such that do not.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Map, Value};

use super::cli_errors::{Lab, interrupt, rest, until_line};

fn schema() -> Value {
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/events.schema.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// What is wrong with `value`. Strict: a property that the schema does not name is wrong, too, or an event could grow a
/// field that nobody told readers of.
fn problems(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let known = check(schema, schema, value, "line", &mut found);
    for key in value.as_object().into_iter().flatten().map(|(k, _)| k) {
        if !known.contains(key) {
            found.push(format!("line: `{key}` is not in the schema"));
        }
    }
    found
}

/// Checks one value and returns the properties that the schema names for it. Knows the keywords that the schema uses.
fn check(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) -> Vec<String> {
    let Some(schema) = schema.as_object() else { return Vec::new() };
    let mut known = Vec::new();
    for (keyword, rule) in schema {
        match keyword.as_str() {
            "$ref" => {
                let target = root.pointer(rule.as_str().unwrap().trim_start_matches('#')).expect("a definition");
                known.extend(check(root, target, value, at, found));
            }
            "type" => {
                let is = |name: &str| match name {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_u64() || value.is_i64(),
                    "number" => value.is_number(),
                    "null" => value.is_null(),
                    other => panic!("type {other}"),
                };
                let fits =
                    rule.as_str().map_or_else(|| rule.as_array().unwrap().iter().any(|t| is(t.as_str().unwrap())), is);
                if !fits {
                    found.push(format!("{at}: {value} is not of type {rule}"));
                }
            }
            "const" if rule != value => found.push(format!("{at}: {value} is not {rule}")),
            "enum" if !rule.as_array().unwrap().contains(value) => {
                found.push(format!("{at}: {value} is not in {rule}"))
            }
            "minimum" if value.as_f64() < rule.as_f64() => found.push(format!("{at}: {value} < {rule}")),
            "maximum" if value.as_f64() > rule.as_f64() => found.push(format!("{at}: {value} > {rule}")),
            "pattern" if !matches(rule.as_str().unwrap(), value.as_str().unwrap_or_default()) => {
                found.push(format!("{at}: {value} does not match {rule}"));
            }
            "required" => {
                for key in rule.as_array().unwrap().iter().filter(|k| value.get(k.as_str().unwrap()).is_none()) {
                    found.push(format!("{at}: {key} is missing in {value}"));
                }
            }
            "properties" => {
                let object = value.as_object().cloned().unwrap_or_default();
                for (key, rule) in rule.as_object().unwrap() {
                    known.push(key.clone());
                    if let Some(inner) = object.get(key) {
                        let at = format!("{at}.{key}");
                        let names = check(root, rule, inner, &at, found);
                        strict(inner, &names, &at, found);
                    }
                }
            }
            "items" => {
                for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                    let at = format!("{at}[{n}]");
                    let names = check(root, rule, item, &at, found);
                    strict(item, &names, &at, found);
                }
            }
            "oneOf" | "anyOf" => known.extend(alternatives(root, rule, value, at, found)),
            "const" | "enum" | "minimum" | "maximum" | "pattern" | "description" | "title" | "$schema" | "$defs"
            | "format" | "default" => {}
            other => panic!("the schema uses `{other}`, which this test does not know"),
        }
    }
    known
}

fn alternatives(root: &Value, rule: &Value, value: &Value, at: &str, found: &mut Vec<String>) -> Vec<String> {
    let mut best: Option<Vec<String>> = None;
    let mut fitting = 0;
    let mut known = Vec::new();
    for one in rule.as_array().unwrap() {
        let mut wrong = Vec::new();
        let names = check(root, one, value, at, &mut wrong);
        if wrong.is_empty() {
            fitting += 1;
            known = names;
        } else if best.as_ref().is_none_or(|b| wrong.len() < b.len()) {
            best = Some(wrong);
        }
    }
    if fitting == 0 {
        found.extend(best.into_iter().flatten());
    }
    known
}

fn strict(value: &Value, known: &[String], at: &str, found: &mut Vec<String>) {
    for key in value.as_object().unwrap_or(&Map::new()).keys().filter(|k| !known.contains(k)) {
        found.push(format!("{at}: `{key}` is not in the schema"));
    }
}

/// The few patterns of the schema, without a regular expression engine.
fn matches(pattern: &str, text: &str) -> bool {
    let hex = |t: &str| t.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    match pattern {
        r"^[0-9]+\.[0-9]+$" => text.split_once('.').is_some_and(|(a, b)| digits(a) && digits(b)),
        "^([0-9a-f]{2})*$" => hex(text) && text.len().is_multiple_of(2),
        "^[0-9a-f]{16}$" => hex(text) && text.len() == 16,
        "^[0-9a-f]{8}$" => hex(text) && text.len() == 8,
        ":[0-9]+$" => text.rsplit_once(':').is_some_and(|(_, port)| digits(port)),
        other => panic!("the schema has the pattern {other}, which this test does not know"),
    }
}

#[track_caller]
fn judge(text: &str, events: &mut Vec<String>) {
    let schema = schema();
    assert!(!text.is_empty());
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        let wrong = problems(&schema, &value);
        assert!(wrong.is_empty(), "{line}\n{}", wrong.join("\n"));
        events.push(value["event"].as_str().unwrap().to_owned());
    }
}

#[test]
fn the_committed_schema_is_what_the_program_prints() {
    let lab = Lab::new();
    for (of, file) in [("events", "events"), ("connection", "connection"), ("scenario", "scenario")] {
        let output = lab.command(&["schema", of]).output().unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schema/{file}.schema.json"));
        let committed = std::fs::read_to_string(&path).unwrap();
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        let committed: Value = serde_json::from_str(&committed).unwrap();
        assert!(printed == committed, "{}: `ikelab schema {of}` prints another", path.display());
    }
}

/// The judge is worth something: each of these is refused.
#[test]
fn lines_that_the_schema_refuses() {
    let schema = schema();
    let good = r#"{"v":1,"t":0.5,"tunnel":1,"sa":"0.0","event":"deleted","by":"peer"}"#;
    let fine = |text: &str| problems(&schema, &serde_json::from_str(text).unwrap()).is_empty();
    assert!(fine(good));
    for (was, becomes) in [
        ("\"v\":1", "\"v\":2"),
        ("\"t\":0.5", "\"t\":-1"),
        ("\"t\":0.5,", ""),
        ("\"0.0\"", "\"0\""),
        ("\"by\":\"peer\"", "\"by\":\"nobody\""),
        (",\"by\":\"peer\"", ""),
        ("\"deleted\"", "\"forgotten\""),
        ("\"by\":", "\"who\":\"me\",\"by\":"),
    ] {
        assert!(!fine(&good.replace(was, becomes)), "{becomes}");
    }
}

/// What the path that was ordered has lost stands in the lines and in the ladder; the finding speaks of the peer alone.
#[test]
fn what_our_own_path_lost_is_told() {
    let lab = Lab::new();
    lab.both_ends();
    let quick =
        std::fs::read_to_string(lab.path().join("i.yaml")).unwrap() + "retransmit: {initial: 50ms, attempts: 2}\n";
    lab.file("lost.yaml", &quick);
    let run = |more: &[&str]| {
        let args = [&["connect", "-c", "lost.yaml", "--path", "out.loss=100%"][..], more].concat();
        String::from_utf8(lab.command(&args).output().unwrap().stdout).unwrap()
    };
    let text = run(&["--json", "--out", "lost"]);
    let mut events = Vec::new();
    judge(&text, &mut events);
    assert_eq!(events.iter().filter(|event| *event == "path_lost").count(), 2, "{events:?}");
    assert!(text.contains("\"text\":\"lost by our own path, as ordered\""), "{text}");
    let result = std::fs::read_to_string(lab.path().join("lost/result.json")).unwrap();
    assert!(result.contains("no_response") && !result.contains("as ordered"), "{result}");
    let ladder = run(&["--out", "shown"]);
    assert_eq!(ladder.matches("lost by our own path, as ordered (lost)").count(), 2, "{ladder}");
}

/// Two ends on real sockets, with `--json` at both: every line of both, and of both transcripts.
#[test]
fn every_line_of_a_tunnel_fits_the_schema() {
    let lab = Lab::new();
    lab.both_ends();
    let piped = |args: &[&str]| {
        let mut command = lab.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut events = Vec::new();
    // Nobody listens yet: a failure with its retransmissions.
    let quick =
        std::fs::read_to_string(lab.path().join("i.yaml")).unwrap() + "retransmit: {initial: 50ms, attempts: 2}\n";
    lab.file("alone.yaml", &quick);
    let alone = lab.command(&["connect", "-c", "alone.yaml", "--json", "--out", "alone"]).output().unwrap();
    judge(&String::from_utf8(alone.stdout).unwrap(), &mut events);

    let mut listen = lab.command(&["listen", "-c", "r.yaml", "--json", "--out", "r"]);
    let mut listen = listen.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    super::cli_errors::until(|| lab.path().join("r/run.pcapng").exists());
    std::thread::sleep(std::time::Duration::from_millis(100));
    let mut connect = piped(&["connect", "-c", "i.yaml", "--json", "--keys", "--out", "i"]);
    let mut text = String::new();
    while !text.contains("\"child_outbound\"") {
        text.push_str(&until_line(&mut connect, "{"));
    }
    interrupt(&connect);
    text.push_str(&rest(&mut connect));
    assert_eq!(connect.wait().unwrap().code(), Some(0), "{text}");
    judge(&text, &mut events);
    interrupt(&listen);
    judge(&rest(&mut listen), &mut events);
    listen.wait().unwrap();
    for dir in ["i/transcript", "r/transcript"] {
        for file in std::fs::read_dir(lab.path().join(dir)).unwrap().flatten() {
            judge(&std::fs::read_to_string(file.path()).unwrap(), &mut events);
        }
    }
    for event in
        ["message", "retransmit", "failed", "init_done", "ike_keys", "ike_up", "child_inbound", "child_outbound"]
            .into_iter()
            .chain(["child_down", "deleted", "closed"])
    {
        assert!(events.iter().any(|e| e == event), "{event} never came: {events:?}");
    }
}
