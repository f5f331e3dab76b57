//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::exit::{CliError, Exit};
use crate::link::udp::Waker;

/// Says whether a person or a supervisor wants the run to end.
#[derive(Clone, Debug)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Watches for signals from now on; the first one uses `waker`.
    pub fn watch(waker: Waker) -> Result<Stop, CliError> {
        Stop::watch_flag(waker, Arc::new(AtomicBool::new(false)))
    }

    /// The same with a flag that others look at.
    pub fn watch_flag(waker: Waker, flag: Arc<AtomicBool>) -> Result<Stop, CliError> {
        Stop::watch_all(vec![waker], flag)
    }

    /// The same for several links.
    pub fn watch_all(wakers: Vec<Waker>, flag: Arc<AtomicBool>) -> Result<Stop, CliError> {
        let stop = Stop(flag);
        let flag = stop.clone();
        let failed = |e: std::io::Error| CliError::environment(format!("cannot watch for signals: {e}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let (mut interrupt, mut terminate) = {
            use tokio::signal::unix::{SignalKind, signal};
            let _inside = runtime.enter();
            (signal(SignalKind::interrupt()).map_err(failed)?, signal(SignalKind::terminate()).map_err(failed)?)
        };
        // The thread ends with the process.
        std::thread::spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    if flag.0.swap(true, Ordering::SeqCst) {
                        std::process::exit(Exit::Inconclusive as i32);
                    }
                    wakers.iter().for_each(Waker::wake);
                }
            });
        });
        Ok(stop)
    }

    /// The flag that the first signal sets, before it uses the waker.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }

    /// True once the first signal has come.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
