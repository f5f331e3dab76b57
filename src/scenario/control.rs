//! Drives the box at the other end: runs the `control` commands of a connection file, or asks a person.
//!
//! Every command runs in a shell and a process group of its own, with a time-out, and what it prints goes into the run
//! directory with UTC times. `initiate` does not wait: the box's command may last until the tunnel is up, and it is us
//! who must answer meanwhile.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;

use super::file::PeerOrder;
use super::peer::PeerDriver;
use super::pki::Presented;
use crate::config::{ControlAction, ControlSpec, Loaded};
use crate::time::{RealClock, utc_text};

/// How much of a command's output is kept, per stream, in octets.
const KEPT: u64 = 4 << 20;

/// Runs `control` commands and keeps what they print.
pub struct Controller {
    spec: ControlSpec,
    initiate: ControlAction,
    clear: ControlAction,
    directory: Option<PathBuf>,
    clock: RealClock,
    /// A person wants the run to stop.
    asked: Arc<AtomicBool>,
    /// The run is over.
    over: Arc<AtomicBool>,
    count: u32,
    running: Vec<JoinHandle<Result<Output, String>>>,
}

/// What a command did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    /// Exit code; `None` when a signal or the time-out ended it.
    pub code: Option<i32>,
    /// It was ended because it took too long.
    pub timed_out: bool,
    /// It was ended because the run is to stop.
    pub halted: bool,
    /// What it wrote to standard output, as text.
    pub stdout: String,
    /// What it wrote to standard error, as text.
    pub stderr: String,
}

impl Controller {
    /// A controller for the box of `loaded`. Outputs go to `directory` (made when needed), if given.
    pub fn new(loaded: &Loaded, directory: Option<&Path>, clock: RealClock) -> Self {
        let spec = loaded.control.clone();
        Controller {
            initiate: spec.initiate.clone().unwrap_or_else(|| crate::vendor::initiate_prompt(loaded)),
            clear: spec.clear.clone().unwrap_or_else(|| crate::vendor::clear_prompt(loaded)),
            spec,
            directory: directory.map(Path::to_owned),
            clock,
            asked: Arc::default(),
            over: Arc::default(),
            count: 0,
            running: Vec::new(),
        }
    }

    /// Ends running commands as soon as `asked` is true: whoever presses Ctrl-C does not wait for a time-out. What is
    /// started later runs all the same, except that the box is not made to initiate any more.
    pub fn halted_by(mut self, asked: Arc<AtomicBool>) -> Self {
        self.asked = asked;
        self
    }

    /// Whether the box initiates by a command, without a person.
    pub fn initiates_by_itself(&self) -> bool {
        matches!(self.initiate, ControlAction::Shell(_))
    }

    /// Makes the box initiate, without waiting for the command to end. Gives a text if a person has to do it.
    ///
    /// # Errors
    ///
    /// If the output file cannot be made.
    pub fn initiate(&mut self) -> Result<Option<String>, String> {
        match self.initiate.clone() {
            ControlAction::Prompt(text) => Ok(Some(text)),
            ControlAction::Shell(command) => {
                let job = self.job("initiate", command)?;
                self.running.push(std::thread::spawn(move || job.run()));
                Ok(None)
            }
        }
    }

    /// Whether the box rekeys by a command: the Child SA, the IKE SA.
    pub fn rekeys_by_itself(&self) -> [bool; 2] {
        [&self.spec.rekey_child, &self.spec.rekey_ike].map(|a| matches!(a, Some(ControlAction::Shell(_))))
    }

    /// Makes the box rekey the IKE SA, or else the Child SA, without waiting for the command to end.
    ///
    /// # Errors
    ///
    /// If no command is configured, or the output file cannot be made.
    pub fn rekey(&mut self, ike: bool) -> Result<(), String> {
        let (what, action) =
            if ike { ("rekey_ike", &self.spec.rekey_ike) } else { ("rekey_child", &self.spec.rekey_child) };
        let Some(ControlAction::Shell(command)) = action.clone() else {
            return Err(format!("the connection file has no control.{what}"));
        };
        let job = self.job(what, command)?;
        self.running.push(std::thread::spawn(move || job.run()));
        Ok(())
    }

    /// Makes the box forget what it has for us, and waits for the command. False if no command is configured: a person is
    /// only asked ([`PeerDriver::clear_by_hand`]) where it would have to be waited out.
    ///
    /// # Errors
    ///
    /// If the command fails or takes too long.
    pub fn clear(&mut self) -> Result<bool, String> {
        match self.clear.clone() {
            ControlAction::Prompt(_) => Ok(false),
            ControlAction::Shell(command) => {
                let job = self.job("clear", command)?;
                succeeded("control.clear", &job.run()?).map(|()| true)
            }
        }
    }

    /// Runs every `show` command and joins what they print. `None` if there is none. A failing command does not stop the
    /// others: its error output is kept, too.
    pub fn show(&mut self) -> Option<String> {
        let mut text = String::new();
        for action in self.spec.show.clone() {
            let ControlAction::Shell(command) = action else { continue };
            let outcome = self.job("show", command.clone()).and_then(|job| job.run());
            text.push_str(&format!("$ {command}\n"));
            match outcome {
                Ok(output) => text.push_str(&format!("{}{}", output.stdout, output.stderr)),
                Err(why) => text.push_str(&format!("{why}\n")),
            }
        }
        (!text.is_empty()).then_some(text)
    }

    /// Waits for the commands that [`Controller::initiate`] has started, each for at most its time-out. The outcomes, in
    /// the order of starting.
    pub fn finish(&mut self) -> Vec<Result<Output, String>> {
        let handles = std::mem::take(&mut self.running);
        handles.into_iter().map(|h| h.join().unwrap_or_else(|_| Err("the command's thread panicked".into()))).collect()
    }

    fn job(&mut self, what: &str, command: String) -> Result<Job, String> {
        self.count += 1;
        let file = match &self.directory {
            Some(directory) => {
                std::fs::create_dir_all(directory)
                    .map_err(|e| format!("cannot create {}: {e}", directory.display()))?;
                Some(directory.join(format!("{:03}-{what}.txt", self.count)))
            }
            None => None,
        };
        let asked = Some(Arc::clone(&self.asked)).filter(|a| {
            matches!(what, "initiate" | "rekey_child" | "rekey_ike" | "second_child" | "delete" | "ping" | "restart")
                || !a.load(Ordering::SeqCst)
        });
        let halt = Halted(asked.into_iter().chain([Arc::clone(&self.over)]).collect());
        Ok(Job { command, timeout: self.spec.timeout, file, clock: self.clock, halt })
    }
}

/// The box, as a scenario drives it.
impl PeerDriver for Controller {
    fn initiate(&mut self) -> Result<Option<String>, String> {
        Controller::initiate(self)
    }

    fn clear(&mut self) -> Result<bool, String> {
        Controller::clear(self)
    }

    fn clear_by_hand(&self) -> Option<&str> {
        match &self.clear {
            ControlAction::Prompt(text) => Some(text),
            ControlAction::Shell(_) => None,
        }
    }

    fn by_hand(&self, order: Option<PeerOrder>) -> bool {
        let action = match order {
            None => Some(&self.initiate),
            Some(order) => self.spec.orders.get(order.key()),
        };
        !matches!(action, Some(ControlAction::Shell(_)))
    }

    fn order(&mut self, order: PeerOrder) -> Result<Option<String>, String> {
        match self.spec.orders.get(order.key()).cloned() {
            None => Ok(Some(order.words().to_owned())),
            Some(ControlAction::Prompt(text)) => Ok(Some(text)),
            Some(ControlAction::Shell(command)) => {
                let job = self.job(order.key(), command)?;
                self.running.push(std::thread::spawn(move || job.run()));
                Ok(None)
            }
        }
    }

    fn present(&mut self, presented: Option<&Presented>) -> Result<(), String> {
        let Some(ControlAction::Shell(command)) = self.spec.orders.get(ControlSpec::CERTIFICATE).cloned() else {
            return match presented {
                Some(_) => {
                    Err("cannot be played: needs control.certificate, which exchanges the box's certificate for a \
                                bad one"
                        .to_owned())
                }
                None => Ok(()),
            };
        };
        let directory = self.directory.clone().ok_or("there is no directory for the box's certificate")?;
        let (chain, key) = (directory.join("presented.pem"), directory.join("presented.key"));
        let place = match presented {
            Some(presented) => {
                let write = |file: &Path, octets: &[u8]| {
                    std::fs::create_dir_all(&directory)?;
                    // For us alone from its first octet on.
                    let mut options = std::fs::OpenOptions::new();
                    options.write(true).create(true).truncate(true).mode(0o600).open(file)?.write_all(octets)
                };
                write(&chain, presented.chain.as_bytes())
                    .and_then(|()| write(&key, presented.key.as_ref()))
                    .map_err(|e| format!("cannot write {}: {e}", directory.display()))?;
                // The command may look from anywhere.
                let whole = |file: &Path| std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
                [whole(&chain), whole(&key)].map(|file| file.display().to_string().replace('\'', r"'\''"))
            }
            None => {
                let _ = std::fs::remove_file(&key);
                [String::new(), String::new()]
            }
        };
        let command = format!("export IKELAB_CHAIN='{}' IKELAB_KEY='{}'\n{command}", place[0], place[1]);
        let job = self.job(ControlSpec::CERTIFICATE, command)?;
        succeeded("control.certificate", &job.run()?)
    }

    fn show(&mut self) -> Option<String> {
        Controller::show(self)
    }
}

impl Drop for Controller {
    /// What still runs has a moment to end by itself, and is ended then.
    fn drop(&mut self) {
        let end = self.clock.now() + LAST_MOMENT;
        while self.clock.now() < end && self.running.iter().any(|job| !job.is_finished()) {
            std::thread::park_timeout(HALT_POLL);
        }
        self.over.store(true, Ordering::SeqCst);
        self.finish();
    }
}

/// Says that a command is to end now.
#[derive(Clone, Default)]
struct Halted(Vec<Arc<AtomicBool>>);

impl Halted {
    fn now(&self) -> bool {
        self.0.iter().any(|flag| flag.load(Ordering::SeqCst))
    }
}

/// An error unless the command ended with 0.
fn succeeded(what: &str, output: &Output) -> Result<(), String> {
    let why = match output {
        Output { code: Some(0), .. } => return Ok(()),
        Output { timed_out: true, .. } => "took too long and was ended".to_owned(),
        Output { halted: true, .. } => "was ended because the run stops".to_owned(),
        Output { code: Some(code), .. } => format!("ended with exit code {code}"),
        Output { code: None, .. } => "was ended by a signal".to_owned(),
    };
    match output.stderr.lines().rev().find(|line| !line.trim().is_empty()) {
        Some(line) => Err(format!("{what} {why}: {line}")),
        None => Err(format!("{what} {why}")),
    }
}

/// One command.
struct Job {
    command: String,
    timeout: Duration,
    file: Option<PathBuf>,
    clock: RealClock,
    halt: Halted,
}

impl Job {
    fn run(self) -> Result<Output, String> {
        let started = self.clock.epoch().at(self.clock.now());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| format!("cannot run commands: {e}"))?;
        let run = shell(&self.command, self.timeout, &self.halt);
        let outcome = runtime.block_on(run).map_err(|e| format!("cannot run a shell: {e}"));
        let ended = self.clock.epoch().at(self.clock.now());
        if let Some(file) = &self.file {
            let text = self.protocol(started, ended, &outcome);
            std::fs::write(file, text).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
        }
        outcome
    }

    fn protocol(&self, started: u64, ended: u64, outcome: &Result<Output, String>) -> String {
        let head = format!("command: {}\nstarted: {}\nended:   {}\n", self.command, utc_text(started), utc_text(ended));
        match outcome {
            Ok(output) => {
                let how = match (output.code, output.timed_out) {
                    (_, true) => format!("ended after the time-out of {}", crate::config::duration_words(self.timeout)),
                    _ if output.halted => "ended because the run stops".to_owned(),
                    (Some(code), _) => format!("exit code {code}"),
                    (None, _) => "ended by a signal".to_owned(),
                };
                format!("{head}outcome: {how}\n\n--- output\n{}--- errors\n{}", output.stdout, output.stderr)
            }
            Err(why) => format!("{head}outcome: {why}\n"),
        }
    }
}

/// How soon a command notices that the run is to stop.
const HALT_POLL: Duration = Duration::from_millis(20);
/// How long a command that makes the box initiate may outlast the run.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Runs `command` with `sh -c`, with no input, and ends its whole process group after `timeout`, or once it is to halt.
async fn shell(command: &str, timeout: Duration, halt: &Halted) -> io::Result<Output> {
    let mut child = tokio::process::Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let all = async {
        tokio::try_join!(read(&mut stdout, &mut out), read(&mut stderr, &mut err))?;
        child.wait().await
    };
    let halted = async {
        while !halt.now() {
            tokio::time::sleep(HALT_POLL).await;
        }
    };
    let (status, halted) = tokio::select! {
        outcome = tokio::time::timeout(timeout, all) => (outcome.ok().transpose()?, false),
        () = halted => (None, true),
    };
    if status.is_none() {
        // What the command has started must not outlive it: an ssh or a ping would go on.
        if let Some(group) = group {
            let _ = killpg(group, Signal::SIGKILL);
        }
        child.wait().await?;
    }
    Ok(Output {
        code: status.and_then(|s| s.code()),
        timed_out: status.is_none() && !halted,
        halted,
        stdout: String::from_utf8_lossy(&out).into_owned(),
        stderr: String::from_utf8_lossy(&err).into_owned(),
    })
}

async fn read(from: &mut Option<impl tokio::io::AsyncRead + Unpin>, to: &mut Vec<u8>) -> io::Result<()> {
    if let Some(from) = from {
        (&mut *from).take(KEPT).read_to_end(to).await?;
        // The rest is read and dropped, or the command would wait for a reader.
        tokio::io::copy(from, &mut tokio::io::sink()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controller(control: &str, directory: &Path) -> Controller {
        let text = format!(
            "version: 1\nremote: {{vendor: panos}}\nauth: {{local: {{psk_env: PSK}}}}\n\
             ike: {{proposals: [aes256-sha256-modp2048]}}\nchildren: [{{proposals: [aes256-sha256]}}]\ncontrol:\n{control}"
        );
        let loaded = crate::config::parse(&text, "t.yaml", Path::new(""), &|_| Some("x".into())).unwrap();
        Controller::new(&loaded, Some(directory), RealClock::start())
    }

    #[test]
    fn commands_run_and_their_output_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut c = controller(
            "  initiate: echo begun; exit 3\n  clear: echo cleared\n  show: [echo one, 'echo two >&2; false']\n",
            dir.path(),
        );
        assert_eq!((c.clear(), c.clear_by_hand()), (Ok(true), None));
        assert!(!c.by_hand(None) && c.by_hand(Some(PeerOrder::RekeyIke)));
        assert_eq!(c.show().as_deref(), Some("$ echo one\none\n$ echo two >&2; false\ntwo\n"));
        assert_eq!(c.initiate(), Ok(None));
        let outcome = c.finish();
        assert_eq!(outcome[0].as_ref().map(|o| (o.code, o.stdout.as_str())), Ok((Some(3), "begun\n")));
        let kept = std::fs::read_to_string(dir.path().join("001-clear.txt")).unwrap();
        assert!(kept.starts_with("command: echo cleared\nstarted: 20"), "{kept}");
        assert!(kept.contains("Z\noutcome: exit code 0\n\n--- output\ncleared\n"), "{kept}");
        assert!(dir.path().join("004-initiate.txt").exists());
    }

    #[test]
    fn initiate_does_not_wait() {
        let dir = tempfile::tempdir().unwrap();
        let clock = RealClock::start();
        let mut c = controller("  initiate: sleep 0.3\n", dir.path());
        assert_eq!(c.initiate(), Ok(None));
        assert!(clock.now().elapsed() < Duration::from_millis(250));
        assert_eq!(c.finish()[0].as_ref().map(|o| o.code), Ok(Some(0)));
    }

    #[test]
    fn a_command_that_hangs_is_ended_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let mut c = controller("  clear: sleep 60 & sleep 60\n  timeout: 100ms\n", dir.path());
        assert_eq!(c.clear(), Err("control.clear took too long and was ended".into()));
    }

    #[test]
    fn a_run_that_stops_ends_what_runs_and_starts_no_peer() {
        let dir = tempfile::tempdir().unwrap();
        let asked = Arc::new(AtomicBool::new(false));
        let mut c = controller("  initiate: sleep 60 & sleep 60\n  show: [echo shown]\n", dir.path())
            .halted_by(Arc::clone(&asked));
        let clock = RealClock::start();
        assert_eq!(c.initiate(), Ok(None));
        asked.store(true, Ordering::SeqCst);
        let outcome = c.finish();
        assert_eq!(outcome[0].as_ref().map(|o| (o.code, o.halted, o.timed_out)), Ok((None, true, false)));
        assert!(clock.now().elapsed() < Duration::from_secs(5));
        let kept = std::fs::read_to_string(dir.path().join("001-initiate.txt")).unwrap();
        assert!(kept.contains("outcome: ended because the run stops\n"), "{kept}");
        // What the box has to say is still asked for.
        assert_eq!(c.show().as_deref(), Some("$ echo shown\nshown\n"));
    }

    #[test]
    fn a_command_that_fails_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let mut c = controller("  clear: 'echo no route to fw >&2; exit 255'\n", dir.path());
        assert_eq!(c.clear(), Err("control.clear ended with exit code 255: no route to fw".into()));
    }

    #[test]
    fn without_commands_a_person_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let mut c = controller("  timeout: 5s\n", dir.path());
        assert!(!c.initiates_by_itself());
        assert_eq!(c.initiate(), Ok(Some("on the firewall, enter: test vpn ike-sa gateway <GATEWAY>".into())));
        assert_eq!(c.clear(), Ok(false));
        assert_eq!(c.clear_by_hand(), Some("on the firewall, enter: clear vpn ike-sa gateway <GATEWAY>"));
        assert!(c.by_hand(None) && c.by_hand(Some(PeerOrder::Delete)));
        assert_eq!(c.show(), None);
    }
}
