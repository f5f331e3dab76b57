//! Several processes of one `ikelab load`, and flags that would do nothing: as a person meets them.

use crate::load_cli::{Lab, says};

#[test]
fn a_blocked_shard_is_joined_and_its_oddities_are_named() {
    let (lab, mut headend) = Lab::new(91);
    std::fs::write(lab.path().join("wrong"), "not the key\n").unwrap();
    let shard = |number: &str, more: &[&str]| {
        let (part, out) = (format!("{number}/2"), format!("s{number}"));
        lab.load(&[&["--rate", "20", "--for", "1s", "--shard", &part, "--out", &out], more].concat())
    };
    let honest = shard("0", &[]);
    assert_eq!(honest.status.code(), Some(0), "{}", says(&honest));
    std::thread::sleep(std::time::Duration::from_millis(500));
    let blocked = shard("1", &["--psk-lines", "wrong", "--threshold", "success>=50%"]);
    assert_eq!(blocked.status.code(), Some(1), "{}", says(&blocked));
    assert!(
        says(&blocked).contains("--psk-lines: wrong holds 1 keys, and there are more tunnels"),
        "{}",
        says(&blocked)
    );
    assert_eq!(lab.result("s1").stages.len(), 1, "there was nothing to delete");

    let merged = lab.command(&["report", "--merge", "s0", "s1", "--out", "all"]).output().unwrap();
    let text = says(&merged);
    assert_eq!(merged.status.code(), Some(1), "{text}");
    let result = lab.result("all");
    let [setup, delete] = &result.stages[..] else { panic!("{:?}", result.stages) };
    assert_eq!((setup.planned, setup.done, setup.failed), (20, 10, 10));
    assert_eq!((delete.name.as_str(), delete.planned, delete.done), ("delete", 10, 10));
    assert!(text.contains("warning: shard 1 began ") && text.contains(" s later than shard 0"), "{text}");
    assert!(text.contains("warning: shard 1 had other thresholds (success>=50%)"), "{text}");
    assert!(!text.contains("another plan"), "{text}");
    headend.end();
}

#[test]
fn each_shard_of_a_closed_loop_plans_its_own_share() {
    let (lab, mut headend) = Lab::new(92);
    for (shard, share) in [("0/2", 6), ("1/2", 5)] {
        let args = ["--workload", "closed", "--tunnels", "11", "--window", "4", "--threads", "1", "--shard", shard];
        let output = lab.load(&[&args[..], &["--out", &shard[..1]]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", says(&output));
        assert!(says(&output).contains("11 tunnels, 4 at a time per thread"), "{}", says(&output));
        let stage = &lab.result(&shard[..1]).stages[0];
        assert_eq!((stage.planned, stage.done, stage.configured), (share, share, share));
    }
    let merged = lab.command(&["report", "--merge", "0", "1", "--out", "all"]).output().unwrap();
    assert_eq!(lab.result("all").stages[0].planned, 11, "{}", says(&merged));
    headend.end();
}

/// Every pod of a job that lacks one of the two would do the whole run.
#[test]
fn half_of_an_indexed_job_is_refused() {
    let (lab, mut headend) = Lab::new(93);
    let load = |environment: &[(&str, &str)], args: &[&str]| {
        let mut load = lab.command(&["load", "-c", "i.yaml", "--source-port", "0", "--natt-port", "0"]);
        load.args(["--rate", "10", "--for", "100ms"]).args(args).envs(environment.iter().copied());
        let output = load.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (index, shards) = ("JOB_COMPLETION_INDEX", "IKELAB_SHARDS");
    for (environment, line) in [
        (&[(index, "1")][..], "error: JOB_COMPLETION_INDEX is set and IKELAB_SHARDS is not"),
        (&[(shards, "2")], "error: IKELAB_SHARDS is set and JOB_COMPLETION_INDEX is not"),
        (&[(index, "2"), (shards, "2")], "error: JOB_COMPLETION_INDEX/IKELAB_SHARDS: `2/2` is not like 0/4"),
    ] {
        let (code, text) = load(environment, &[]);
        assert!(code == Some(2) && text.starts_with(line), "{environment:?}: {text}");
    }
    // What stands on the command line is what counts.
    let (code, text) = load(&[(index, "1")], &["--shard", "0/1", "--out", "one"]);
    assert!(code != Some(2), "{text}");
    assert_eq!(lab.result("one").tester.shards, 1);
    headend.end();
}

#[test]
fn what_would_do_nothing_or_something_else_is_said() {
    let (lab, mut headend) = Lab::new(94);
    let lines = |name: &str, text: &str| std::fs::write(lab.path().join(name), text).unwrap();
    lines("gap", "first\n\nthird\n");
    lines("three", "sesame\nsesame\r\nsesame\n\n");
    lines("bad.yaml", &(std::fs::read_to_string(lab.path().join("i.yaml")).unwrap() + "path: {loss: 5%}\n"));
    for (args, line) in [
        (&["--workload", "serial", "--shard", "1/2"][..], "--workload serial: one tunnel after the other"),
        (&["--workload", "serial", "--rate", "10"], "--rate: not with --workload serial or closed"),
        (&["--path", "loss=5%"], "--path: a load run leaves the path as it is"),
        (&["--search", "--rate", "10..50"], "--rate: `10..50` with --search"),
        (&["--search", "--rate", "10,50"], "--rate: `10,50` with --search"),
        (&["--search", "--keep"], "--keep: not with --search"),
        (&["--psk-lines", "gap"], "--psk-lines: gap:2: an empty line in place of tunnel 1's key"),
        (
            &["--ts-template", "10.{n}.0.0/16", "--rate", "257", "--for", "1s"],
            "--ts-template: tunnel 256: `10.256.0.0/16`",
        ),
        (&["--ts-template", "10.{n}.0.0/16", "--search"], "--ts-template: tunnel 256: `10.256.0.0/16`"),
    ] {
        let output = lab.load(args);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && text.starts_with(&format!("error: {line}")), "{args:?}: {text}");
    }
    let bad = lab.command(&["load", "-c", "bad.yaml"]).output().unwrap();
    let text = says(&bad);
    assert!(bad.status.code() == Some(2) && text.contains("bad.yaml: path: a load run leaves"), "{text}");

    // As many keys and selectors as tunnels, and fewer tunnels than were asked for.
    let args = ["--psk-lines", "three", "--ts-template", "10.1.{n+253}.0/24", "--rate", "3", "--for", "1s"];
    let output = lab.load(&[&args[..], &["--out", "all-three"]].concat());
    let text = says(&output);
    assert!(output.status.code() == Some(0) && !text.contains("warning"), "{text}");
    assert_eq!(lab.result("all-three").stages[0].done, 3);
    let output = lab.load(&["--rate", "20", "--for", "500ms", "--tunnels", "5000", "--out", "fewer"]);
    let text = says(&output);
    let line =
        "warning: 20.0 per second for 500ms makes 10 of the 5000 --tunnels: for all of them, raise --rate or --for";
    assert!(output.status.code() == Some(0) && text.contains(line), "{text}");
    let output = lab.load(&["--workload", "serial", "--tunnels", "3", "--out", "serial"]);
    let text = says(&output);
    assert!(text.contains("3 tunnels one after the other   1 thread") && !text.contains("10.0/s"), "{text}");
    headend.end();
}
