//! A TUN device, so that real programs use a tunnel. It has neither addresses nor routes until somebody gives it some.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use tun_rs::{DeviceBuilder, SyncDevice};

/// Room for an inner packet with everything that ESP in UDP over IPv6 puts around it, within 1500 octets.
pub const MTU: u16 = 1400;

/// A TUN device. It disappears when dropped.
pub struct Tun {
    device: SyncDevice,
    name: String,
}

/// Why there is no device. The messages are for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum TunError {
    /// Needs privilege.
    #[error("no permission to create the TUN device {0}: run as root, or `setcap cap_net_admin=+ep` the binary")]
    Privilege(String),
    /// The kernel has none.
    #[error("this host has no TUN devices (/dev/net/tun is missing; `modprobe tun` loads them)")]
    NoTun,
    /// The name is taken.
    #[error("a network device called {0} exists already (`ip link` lists them)")]
    Exists(String),
    /// Something else.
    #[error("cannot create the TUN device {0}: {1}")]
    Other(String, #[source] io::Error),
}

impl Tun {
    /// Creates a device and brings it up.
    ///
    /// # Errors
    ///
    /// In plain words, why not, and what to do.
    pub fn create(name: &str) -> Result<Self, TunError> {
        let made = DeviceBuilder::new().name(name).mtu(MTU).build_sync();
        let device = made.map_err(|error| match error.raw_os_error() {
            Some(nix::libc::EPERM | nix::libc::EACCES) => TunError::Privilege(name.to_owned()),
            Some(nix::libc::ENOENT | nix::libc::ENODEV | nix::libc::ENXIO) => TunError::NoTun,
            Some(nix::libc::EBUSY | nix::libc::EEXIST) => TunError::Exists(name.to_owned()),
            _ => TunError::Other(name.to_owned(), error),
        })?;
        device.set_nonblocking(true).map_err(|error| TunError::Other(name.to_owned(), error))?;
        Ok(Tun { device, name: name.to_owned() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next packet that this host sends into it, in `room`; `None` if there is none now.
    ///
    /// # Errors
    ///
    /// If the device is unusable.
    pub fn receive<'r>(&self, room: &'r mut [u8]) -> io::Result<Option<&'r [u8]>> {
        loop {
            match self.device.recv(room) {
                Ok(len) => return Ok(room.get(..len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives this host a packet. False if it did not take it: a device that is down, a full queue.
    pub fn send(&self, packet: &[u8]) -> bool {
        self.device.send(packet).is_ok()
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}
