//! Child processes that never outlive their test: standard input is null, both outputs go to files, and the guard
//! ends the process by its id.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often conditions are looked at again.
const POLL: Duration = Duration::from_millis(5);

/// Calls `look` until it returns something or `timeout` is over.
pub fn try_wait_for<T>(timeout: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + timeout;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(POLL);
    }
}

/// Like [`try_wait_for`]; panics with `what` when it never comes.
#[track_caller]
pub fn wait_for<T>(what: &str, timeout: Duration, look: impl FnMut() -> Option<T>) -> T {
    match try_wait_for(timeout, look) {
        Some(found) => found,
        None => panic!("waited {timeout:?} in vain for {what}"),
    }
}

/// A directory for one test's files below `target/interop/`, emptied first and kept afterwards for a person to read.
/// A test that asks again gets another one: `NAME`, `NAME-2`, ...
pub fn run_dir() -> PathBuf {
    static GIVEN: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());
    let mut name = std::thread::current().name().unwrap_or("main").replace("::", ".");
    let count = {
        let mut given = GIVEN.lock().unwrap_or_else(|e| e.into_inner());
        let n = given.entry(name.clone()).or_default();
        *n += 1;
        *n
    };
    if count > 1 {
        name += &format!("-{count}");
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/interop").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("cannot make {}: {e}", dir.display()));
    dir
}

/// What a finished command left.
pub struct Finished {
    /// `None` when it had to be killed because its time was over.
    pub status: Option<ExitStatus>,
    pub stdout: String,
    pub stderr: String,
    command: String,
}

impl Finished {
    pub fn success(&self) -> bool {
        self.status.is_some_and(|s| s.success())
    }

    /// The exit code; `None` after a signal or a timeout.
    pub fn code(&self) -> Option<i32> {
        self.status.and_then(|s| s.code())
    }

    /// Standard output of a command that has to succeed.
    #[track_caller]
    pub fn expect_success(self) -> String {
        assert!(self.success(), "{self}");
        self.stdout
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let status = self.status.map_or("killed after its timeout".to_owned(), |s| s.to_string());
        write!(f, "{}: {status}\n--- stdout\n{}--- stderr\n{}", self.command, self.stdout, self.stderr)
    }
}

/// Runs a command to its end, or kills it after `timeout`. Panics when the program cannot be started at all.
#[track_caller]
pub fn run(command: &mut Command, timeout: Duration) -> Finished {
    let spelled = spell(command);
    let read = |f: &mut File| {
        use std::io::{Read, Seek};
        let mut bytes = Vec::new();
        f.rewind().and_then(|()| f.read_to_end(&mut bytes)).expect("a temporary file can be read back");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let mut out = tempfile::tempfile().expect("a temporary file can be made");
    let mut err = tempfile::tempfile().expect("a temporary file can be made");
    let clone = |f: &File| Stdio::from(f.try_clone().expect("a descriptor can be duplicated"));
    let mut child =
        command.stdin(Stdio::null()).stdout(clone(&out)).stderr(clone(&err)).spawn().unwrap_or_else(|e| {
            panic!("cannot start `{spelled}`: {e} (scripts/test-setup installs what the tests need)")
        });
    let status = try_wait_for(timeout, || child.try_wait().expect("a child can be waited for"));
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    Finished { status, stdout: read(&mut out), stderr: read(&mut err), command: spelled }
}

/// A process that runs beside the test. Its outputs are `DIR/NAME.out` and `DIR/NAME.err`.
pub struct Process {
    child: Child,
    name: String,
    out: PathBuf,
    err: PathBuf,
}

impl Process {
    /// Starts `command`. Panics when the program cannot be started.
    #[track_caller]
    pub fn spawn(dir: &Path, name: &str, command: &mut Command) -> Process {
        let (out, err) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.err")));
        let create = |p: &Path| File::create(p).unwrap_or_else(|e| panic!("cannot create {}: {e}", p.display()));
        let spelled = spell(command);
        let child =
            command.stdin(Stdio::null()).stdout(create(&out)).stderr(create(&err)).spawn().unwrap_or_else(|e| {
                panic!("cannot start `{spelled}`: {e} (scripts/test-setup installs what the tests need)")
            });
        Process { child, name: name.to_owned(), out, err }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub fn stdout(&self) -> String {
        text_of(&self.out)
    }

    pub fn stderr(&self) -> String {
        text_of(&self.err)
    }

    /// Waits for a condition of a process that must stay alive meanwhile; panics with its outputs otherwise.
    #[track_caller]
    pub fn wait_until<T>(&mut self, what: &str, timeout: Duration, mut look: impl FnMut() -> Option<T>) -> T {
        let found = try_wait_for(timeout, || match look() {
            Some(t) => Some(Some(t)),
            None => (!self.is_running()).then_some(None),
        });
        match found {
            Some(Some(t)) => t,
            Some(None) => panic!("{} ended before {what}\n{}{}", self.name, self.stdout(), self.stderr()),
            None => panic!("{}: waited {timeout:?} in vain for {what}\n{}{}", self.name, self.stdout(), self.stderr()),
        }
    }

    /// Sends a signal, for example SIGINT.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id fits in pid_t");
        let _ = kill(Pid::from_raw(pid), signal);
    }

    /// Waits for the end of a process that is about to finish by itself; `None` when it does not.
    pub fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        try_wait_for(timeout, || self.child.try_wait().expect("a child can be waited for"))
    }

    /// Asks politely, then kills.
    pub fn stop(&mut self) {
        if self.is_running() {
            self.signal(Signal::SIGTERM);
            if self.wait(Duration::from_millis(800)).is_none() {
                self.kill();
            }
        }
    }

    /// Ends it without letting it say goodbye to its peer.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A file's text; empty when there is none yet.
pub fn text_of(path: &Path) -> String {
    fs::read(path).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
}

/// Writes a file and panics with its name otherwise.
#[track_caller]
pub fn put(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
}

/// A word that `sh` reads back unchanged.
pub fn shell_quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:@,+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The command as a person would type it. Environment changes come first.
pub fn spell(command: &Command) -> String {
    let mut s = String::new();
    let mut envs = command.get_envs().filter_map(|(k, v)| Some((k, v?))).peekable();
    if envs.peek().is_some() {
        s.push_str("env ");
    }
    for (k, v) in envs {
        let _ = write!(s, "{}={} ", k.to_string_lossy(), shell_quote(&v.to_string_lossy()));
    }
    s.push_str(&shell_quote(&command.get_program().to_string_lossy()));
    for a in command.get_args() {
        let _ = write!(s, " {}", shell_quote(&a.to_string_lossy()));
    }
    s
}
