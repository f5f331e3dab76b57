//! Soft interrupts, told apart from the CPU time of threads.
//!
//! A datagram over a virtual link is delivered by a soft interrupt, which the kernel runs at once where it was sent: on the
//! sender's core, inside the sender's system call. /proc/stat has each core's time in soft interrupts on every kernel. What
//! the CPU time of a thread is (schedstat and CLOCK_PROCESS_CPUTIME_ID: both the scheduler's) depends on how the kernel was
//! built. With CONFIG_IRQ_TIME_ACCOUNTING the scheduler's clock stands still in interrupts: threads' times are without them,
//! and /proc/stat's figure is exact. Without it the clock goes on: threads' times include the soft interrupts that were run
//! inside them, and /proc/stat counts those timer ticks that found a soft interrupt running, which is right on average.
//!
//! Which it is, is found out by doing. A thread that does nothing but send and receive over loopback, on one core, accounts
//! for all of the time that passes: its CPU time, the time that it waited for the core (schedstat's second figure), what the
//! hypervisor took, and the interrupts, if they are not in the first of these. So where about the core's soft interrupts are
//! missing from the sum, they are kept apart; where nothing is, threads' times include them, and they are subtracted here.
//!
//! What is subtracted are all soft interrupts of the core, also the few that found it idle or belong to somebody else: the
//! rest is a little too small rather than too large, for charon as for us. The sum of both is printed, too.

#![allow(clippy::disallowed_methods)] // it measures real time

use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use ikelab::load::resource::{Core, Used};

/// How /proc/stat counts: ticks per second, the same on every Linux that has these cores.
const TICKS: f64 = 100.0;
/// How long the trial takes.
const TRIAL: Duration = Duration::from_secs(1);
/// A core that sends over loopback is in soft interrupts for more of its time than this.
const LEAST: f64 = 0.02;

/// The option that makes a benchmark be the trial.
pub const OPTION: &str = "--softirq-trial";

/// Where this kernel puts soft interrupts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accounting {
    /// The CPU time of threads includes those that were run inside them.
    Included,
    /// It does not.
    Apart,
    /// It does, and how long they took is not told.
    Untold,
}

/// One side's microseconds per handshake.
#[derive(Clone, Copy, Debug)]
pub struct Side {
    /// CPU time of its threads, without soft interrupts.
    pub cpu: f64,
    /// Soft interrupts of its core.
    pub softirq: f64,
}

impl Side {
    /// From the seconds of its threads and of its core's soft interrupts, for so many handshakes.
    pub fn of(accounting: Accounting, threads: f64, softirq: f64, handshakes: u64) -> Side {
        let each = |seconds: f64| seconds * 1e6 / handshakes as f64;
        match accounting {
            Accounting::Included => Side { cpu: each((threads - softirq).max(0.0)), softirq: each(softirq) },
            Accounting::Apart => Side { cpu: each(threads), softirq: each(softirq) },
            Accounting::Untold => Side { cpu: each(threads), softirq: 0.0 },
        }
    }

    /// Both.
    pub fn all(&self) -> f64 {
        self.cpu + self.softirq
    }
}

/// Seconds that each core has spent in soft interrupts, by number.
pub fn seconds(core: u32) -> f64 {
    of_core(core).softirq as f64 / TICKS
}

fn of_core(number: u32) -> Core {
    Core::all().into_iter().find(|core| core.number == number).expect("the machine has the core")
}

/// Finds out how this kernel accounts, and says so in a sentence.
pub fn find_out() -> (Accounting, String) {
    let program = std::env::current_exe().expect("we are a file");
    let mut trial = Command::new("taskset");
    trial.args(["-c", "0", "nice", "-n", "-15"]).arg(program).args(["--bench", OPTION]);
    let done = trial.output().expect("taskset runs");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    let figures: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let &[wall, cpu, waited, steal, softirq] = figures.as_slice() else {
        panic!("the trial said `{text}` and {}", String::from_utf8_lossy(&done.stderr))
    };
    let accounting = judge(wall, cpu, waited, steal, softirq);
    let words = match accounting {
        Accounting::Included => {
            "threads' CPU time includes the soft interrupts run inside them: they are subtracted below"
        }
        Accounting::Apart => "threads' CPU time is without soft interrupts (CONFIG_IRQ_TIME_ACCOUNTING)",
        Accounting::Untold => "does not tell the time of soft interrupts: it is in the threads' CPU time below",
    };
    let sentence = format!(
        "this kernel: {words}; found by {wall:.2} s of sending over loopback: CPU time {cpu:.2} s, waited for the core {waited:.2} s, \
         taken by the hypervisor {steal:.2} s, soft interrupts of the core {softirq:.2} s"
    );
    (accounting, sentence)
}

/// Of the time that passed, is about as much missing as soft interrupts took?
fn judge(wall: f64, cpu: f64, waited: f64, steal: f64, softirq: f64) -> Accounting {
    let missing = wall - cpu - waited - steal;
    match () {
        () if softirq < wall * LEAST => Accounting::Untold,
        () if missing > softirq / 2.0 => Accounting::Apart,
        () => Accounting::Included,
    }
}

/// The trial itself, on the core that it was put on: prints what [`find_out`] reads.
pub fn trial() {
    // What a rule does that nothing here can try out: the other kind of kernel.
    assert_eq!(judge(1.0, 0.6, 0.02, 0.0, 0.37), Accounting::Apart);
    assert_eq!(judge(1.0, 0.9, 0.07, 0.03, 0.37), Accounting::Included);
    assert_eq!(judge(1.0, 0.9, 0.1, 0.0, 0.0), Accounting::Untold);
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback binds");
    socket.connect(socket.local_addr().expect("it is bound")).expect("loopback");
    let mut octets = [0; 400];
    let (begin, used, core) = (Instant::now(), Used::of_thread(), of_core(0));
    while begin.elapsed() < TRIAL {
        for _ in 0..64 {
            socket.send(&octets).expect("loopback takes it");
            socket.recv(&mut octets).expect("loopback gives it back");
        }
    }
    let (used, core) = (Used::of_thread().since(&used), of_core(0).since(&core));
    println!(
        "{} {} {} {} {}",
        used.wall.as_secs_f64(),
        used.cpu.as_secs_f64(),
        used.waited.as_secs_f64(),
        core.steal as f64 / TICKS,
        core.softirq as f64 / TICKS
    );
}
