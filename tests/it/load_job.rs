//! The Kubernetes Indexed Job and what `docs/load-shards.md` says about it, as far as no cluster is needed: the manifest is
//! read, and its very command line and the document's own loop are run, each pod being a process of this machine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::cli_errors::free_ports;
use crate::load_cli::{Lab, says};

const JOB: &str = include_str!("../../docker/kubernetes/load-job.yaml");
const DOCS: &str = include_str!("../../docs/load-shards.md");

fn job() -> Value {
    serde_saphyr::from_str(JOB).expect("YAML")
}

fn container(job: &Value) -> &Value {
    &job["spec"]["template"]["spec"]["containers"][0]
}

fn script(job: &Value) -> String {
    assert_eq!(container(job)["command"], serde_json::json!(["/bin/sh", "-c"]));
    let args = container(job)["args"].as_array().unwrap();
    assert_eq!(args.len(), 1);
    args[0].as_str().unwrap().to_owned()
}

/// The value of one of the container's environment variables.
fn environment<'a>(job: &'a Value, name: &str) -> &'a str {
    let all = container(job)["env"].as_array().unwrap();
    all.iter().find(|e| e["name"] == name).and_then(|e| e["value"].as_str()).expect(name)
}

/// The `name` of everything in a list.
fn names(list: &Value) -> BTreeSet<&str> {
    list.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
}

/// What stands behind each `$` of a shell script.
fn variables(script: &str) -> BTreeSet<&str> {
    let word = |text: &str| text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    script.split('$').skip(1).map(|rest| &rest[..word(rest)]).filter(|name| !name.is_empty()).collect()
}

/// The commands with which the document collects the results.
fn collection() -> &'static str {
    let block = DOCS.split("kubectl apply -f -\n").nth(1).expect("the job is made first");
    block.split("```").next().expect("up to the end of the block")
}

#[test]
fn the_manifest_is_one_job_that_ikelab_understands() {
    let job = job();
    assert_eq!((&job["apiVersion"], &job["kind"]), (&"batch/v1".into(), &"Job".into()));
    let spec = &job["spec"];
    // Only an Indexed Job tells its pods who they are.
    assert_eq!(spec["completionMode"], "Indexed");
    assert_eq!(spec["completions"].as_u64(), environment(&job, "IKELAB_SHARDS").parse().ok());
    assert_eq!(spec["completions"], spec["parallelism"], "all begin together");
    assert_eq!((&spec["backoffLimit"], &spec["template"]["spec"]["restartPolicy"]), (&0.into(), &"Never".into()));
    let pod = &spec["template"];
    let apart = &pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
    assert_eq!(apart["labelSelector"]["matchLabels"], pod["metadata"]["labels"]);
    assert_eq!(names(&container(&job)["volumeMounts"]), names(&pod["spec"]["volumes"]));

    let script = script(&job);
    let one_line = script.replace("\\\n", " ");
    let command = one_line.lines().find(|line| line.starts_with("ikelab load ")).expect("the command");
    let lab = tempfile::tempdir().unwrap();
    let ikelab = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ikelab"));
        command.args(args).current_dir(&lab).env_remove("JOB_COMPLETION_INDEX").env_remove("IKELAB_SHARDS");
        command
    };
    let help = says(&ikelab(&["load", "--help"]).output().unwrap());
    let known: BTreeSet<&str> = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').collect();
    let flags: Vec<&str> = command.split_whitespace().filter(|word| word.starts_with('-')).collect();
    assert!(flags.len() >= 5, "{flags:?}");
    for flag in &flags {
        assert!(known.contains(flag), "{flag} is no flag of ikelab load");
    }
    let port = command.split("--metrics 0.0.0.0:").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    assert_eq!(container(&job)["ports"][0]["containerPort"].as_u64(), port.parse().ok());
    for mount in ["/config", "/runs", "/secrets"] {
        let mounts = container(&job)["volumeMounts"].as_array().unwrap();
        assert!(mounts.iter().any(|m| m["mountPath"] == mount), "{mount}");
    }

    // What the script names, Kubernetes or the manifest or the script itself sets.
    let set = names(&container(&job)["env"]);
    let used = variables(&script);
    for name in &used {
        let here = script.lines().any(|line| line.trim_start().starts_with(&format!("{name}=")));
        assert!(here || set.contains(name) || *name == "JOB_COMPLETION_INDEX", "${name}");
    }
    // The rest is for ikelab, which reads it: as many shards as completions are one too few for this one.
    let for_ikelab: Vec<&&str> = set.difference(&used).collect();
    assert_eq!(for_ikelab, [&"IKELAB_SHARDS"]);
    let shards = environment(&job, for_ikelab[0]);
    let mut beyond = ikelab(&["load", "192.0.2.1"]);
    let refused = beyond.env(for_ikelab[0], shards).env("JOB_COMPLETION_INDEX", shards).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        says(&refused).contains(&format!("IKELAB_SHARDS: `{shards}/{shards}` is not like 0/4")),
        "{}",
        says(&refused)
    );

    // The document speaks of this manifest.
    let at = environment(&job, "START_AT");
    assert!(DOCS.contains(&format!("sed \"s/{at}/")) && JOB.matches(at).count() == 1, "{at}");
    let name = job["metadata"]["name"].as_str().unwrap();
    assert!(collection().contains(&format!("-l job-name={name} ")), "{name}");
    for volume in pod["spec"]["volumes"].as_array().unwrap() {
        let config =
            volume["configMap"]["name"].as_str().map(|name| format!("create configmap {name} --from-file=load.yaml "));
        let secret = volume["secret"]["secretName"]
            .as_str()
            .map(|name| format!("create secret generic {name} --from-file=psk "));
        for made in config.into_iter().chain(secret) {
            assert!(DOCS.contains(&made), "{made}");
        }
    }
}

/// A pod: the container's script with directories of its own in place of what is mounted.
struct Pod {
    runs: PathBuf,
    process: Child,
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What stands for `kubectl`: it lists the pods in `$PODS`, and runs commands with a pod's own /runs.
const KUBECTL: &str = r#"#!/bin/sh
case "$*" in
"get pods -l job-name=ikelab-load -o name")
    for pod in "$PODS"/*; do echo "pod/${pod##*/}"; done ;;
"exec pod/"*)
    runs="$PODS/${2#pod/}"
    [ "$3" = -- ] || exit 1
    shift 3
    for word; do
        shift
        case $word in /runs*) word="$runs${word#/runs}" ;; esac
        set -- "$@" "$word"
    done
    exec "$@" ;;
*)
    echo "not understood: kubectl $*" >&2
    exit 1 ;;
esac
"#;

/// Directories with `ikelab` and the given one, then what there was.
fn path_with(dir: &Path) -> String {
    let ikelab = Path::new(env!("CARGO_BIN_EXE_ikelab")).parent().unwrap();
    format!("{}:{}:{}", dir.display(), ikelab.display(), std::env::var("PATH").unwrap())
}

#[test]
fn the_job_runs_is_collected_and_joined() {
    use std::os::unix::fs::PermissionsExt;

    let (lab, mut headend) = Lab::new(95);
    let dir = |name: &str| {
        let path = lab.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    };
    let (secrets, tools, pods, mine) = (dir("secrets"), dir("tools"), dir("pods"), dir("mine"));
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    std::fs::write(secrets.join("psk"), "sesame").unwrap();
    mode(&secrets.join("psk"), 0o400);
    std::fs::write(tools.join("kubectl"), KUBECTL).unwrap();
    mode(&tools.join("kubectl"), 0o755);
    // Pods have an address each, and here they share one: ports of their own, and metrics, too.
    let file = std::fs::read_to_string(lab.path().join("i.yaml")).unwrap();
    let key = format!("psk_file: {}", secrets.join("psk").display());
    let file = replace(&file, "psk_env: IKELAB_TEST_PSK", &key);
    let script = script(&job());
    let script = replace(&script, "--rate 1000 --for 60s", "--rate 40 --for 1s");
    let script = replace(&script, "0.0.0.0:9500", "127.0.0.1:0");

    let ports = free_ports();
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut all: Vec<Pod> = (0..2)
        .map(|index| {
            let runs = dir(&format!("pods/ikelab-load-{index}"));
            let ports = format!("port: {}, natt_port: {}", ports[2 * index], ports[2 * index + 1]);
            let file = replace(&file, "local: {address:", &format!("local: {{{ports}, address:"));
            let config = dir(&format!("config-{index}")).join("load.yaml");
            std::fs::write(&config, file).unwrap();
            let script = replace(&script, "/config/load.yaml", &config.display().to_string());
            let script = script.replace("/runs", &runs.display().to_string());
            let log = std::fs::File::create(lab.path().join(format!("log-{index}"))).unwrap();
            let mut shell = Command::new("/bin/sh");
            shell.args(["-c", &script]).current_dir(lab.path()).stdin(Stdio::null());
            shell.env("PATH", path_with(&tools)).env("START_AT", (unix + 5).to_string());
            shell.env("JOB_COMPLETION_INDEX", index.to_string()).env("IKELAB_SHARDS", "2");
            let process = shell.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
            Pod { runs, process }
        })
        .collect();
    let logs =
        || (0..2).map(|n| std::fs::read_to_string(lab.path().join(format!("log-{n}"))).unwrap()).collect::<String>();
    let collect = |commands: &str| {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", commands]).current_dir(&mine).env("PATH", path_with(&tools)).env("PODS", &pods);
        shell.stdin(Stdio::null()).output().unwrap()
    };

    // Where results cannot be stored, no pod is let go.
    let commands = replace(collection(), "sleep 5", "sleep 0.2");
    let lost = collect(&replace(&commands, "mkdir -p runs\n", ""));
    assert!(!lost.status.success() && !mine.join("runs").exists(), "{}", says(&lost));
    for pod in &mut all {
        assert!(pod.runs.join("exit-code").exists() && !pod.runs.join("fetched").exists(), "{}", logs());
        assert!(pod.process.try_wait().unwrap().is_none(), "it waits: {}", logs());
    }
    let joined = collect(&commands);
    // How late this machine is, is not the question: 4 says that, and nothing else may.
    assert!(matches!(joined.status.code(), Some(0 | 4)), "{} {}", says(&joined), logs());
    assert!(!says(&joined).contains("warning"), "they began together, by one plan: {}", says(&joined));
    for pod in &mut all {
        assert_eq!(pod.process.wait().unwrap().code(), Some(0), "{}", logs());
    }
    let result = lab.result("mine/all");
    assert_eq!((result.stages[0].planned, result.stages[0].done, result.stages[1].done), (40, 40, 40));
    assert_eq!(result.stages[0].latency["T_up"].count, 40);
    for (index, out) in ["mine/runs/shard-0", "mine/runs/shard-1"].into_iter().enumerate() {
        let part = lab.result(out);
        assert_eq!((part.tester.shard, part.tester.shards, part.stages[0].done), (index as u64, 2, 20));
    }
    headend.end();
}

/// `text` with `to` in place of `from`, which must stand there once.
fn replace(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
    text.replace(from, to)
}
