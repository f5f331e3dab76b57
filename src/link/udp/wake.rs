//! Wakes a waiting link from a signal handler or another thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Makes [`super::UdpLink`]'s `recv_until` return with [`crate::link::Wake::Control`]. Any number of calls before the
/// link looks count as one.
#[derive(Clone, Debug)]
pub struct Waker(Arc<EventFd>);

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Waker(Arc::new(EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?)))
    }

    /// Wakes the link. Does nothing but one write(2), so a signal handler may call it.
    pub fn wake(&self) {
        // The only possible error is a full counter, and then the link is being woken already.
        let _ = self.0.write(1);
    }

    pub(super) fn reset(&self) -> bool {
        self.0.read().is_ok()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
