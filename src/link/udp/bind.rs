//! Opening the sockets, and saying in plain words why one cannot be opened.

use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, sockopt};

use socket2::{Domain, Protocol, Socket, Type};

use super::{steer, sys};
use crate::net::SocketRole;

/// ESP's protocol number.
const PROTOCOL_ESP: i32 = 50;

/// What to bind.
#[derive(Clone, Debug)]
pub struct UdpConfig {
    /// Local addresses; each gets a socket per role. `0.0.0.0` or `::` stands for all of its family.
    pub addresses: Vec<IpAddr>,
    /// Local port without the non-ESP marker; 0 lets the system choose one, the same for every address.
    pub ike_port: u16,
    /// Local port with the non-ESP marker; 0 lets the system choose.
    pub natt_port: u16,
    /// Network interface to which the sockets are tied.
    pub interface: Option<String>,
    /// Wanted size of each socket's buffers in octets of kernel memory.
    pub socket_buffer: usize,
    /// Several links of this process, so many, bind the same addresses and ports, one after the other; each receives what
    /// carries its number as the first octet of our SPI (see `steer.rs` beside this file).
    pub share: Option<u8>,
    /// Bind addresses that this host does not have (yet): IP_FREEBIND.
    pub any_address: bool,
    /// Set DF on IPv4 and send no IPv6 fragments: what is longer than the route's MTU does not leave, and is reported.
    /// Otherwise the kernel fragments it.
    pub dont_fragment: bool,
}

impl Default for UdpConfig {
    fn default() -> Self {
        UdpConfig {
            addresses: Vec::new(),
            ike_port: 500,
            natt_port: 4500,
            interface: None,
            socket_buffer: 8 << 20,
            share: None,
            any_address: false,
            dont_fragment: false,
        }
    }
}

/// Why the sockets could not be opened. The messages are for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// No address was given.
    #[error("no local address to listen on")]
    NoAddress,
    /// Both roles on one port.
    #[error(
        "the IKE port and the NAT traversal port are both {0}: they must differ, because only the port tells which \
         datagrams carry the four-octet non-ESP marker (RFC 7296 section 2.23); usual are 500 and 4500"
    )]
    SamePort(u16),
    /// Somebody else has the port.
    #[error(
        "UDP {0} is in use by another program (often a VPN daemon like charon, pluto or iked); \
         `ss -lunp 'sport = :{port}'` names it. Stop it, or use another port with --source-port",
        port = .0.port()
    )]
    InUse(SocketAddr),
    /// Ports below 1024 need privilege.
    #[error(
        "no permission to use UDP {0}: ports below 1024 are for root. Run as root, or \
         `setcap cap_net_bind_service=+ep` the binary, or use another port with --source-port"
    )]
    Privilege(SocketAddr),
    /// The address is not ours.
    #[error("{0} is not an address of this host (`ip address` lists them)")]
    NoSuchAddress(IpAddr),
    /// The kernel has no IPv6 or no IPv4.
    #[error("this host has no {family}: cannot use {0}", family = if .0.is_ipv6() { "IPv6" } else { "IPv4" })]
    NoFamily(IpAddr),
    /// The interface does not exist.
    #[error("no network interface is called {0} (`ip link` lists them)")]
    NoSuchInterface(String),
    /// The interface cannot be chosen without privilege.
    #[error("no permission to tie a socket to interface {0}: needs root or CAP_NET_RAW")]
    InterfacePrivilege(String),
    /// The host is out of something.
    #[error("cannot open a socket on {0}: {1}")]
    Other(SocketAddr, #[source] io::Error),
    /// Native ESP needs privilege.
    #[error(
        "no permission for native ESP (IP protocol 50): run as root, or `setcap cap_net_raw=+ep` the binary; or let ESP \
         travel in UDP with `nat: {{traversal: force}}` in the connection file"
    )]
    EspPrivilege,
    /// The kernel does not deal datagrams out to the threads.
    #[error("cannot share UDP {0} among threads: {1}; use --threads 1")]
    Steer(SocketAddr, #[source] io::Error),
    /// No epoll or eventfd: the host is out of file descriptors or memory.
    #[error("cannot set up waiting for packets: {0}")]
    Wait(#[source] io::Error),
}

/// An open socket.
pub(super) struct Bound {
    pub fd: OwnedFd,
    pub local: SocketAddr,
    pub role: SocketRole,
    /// Sizes of receive and send buffer that the kernel granted, in octets as asked for.
    pub buffers: (usize, usize),
}

/// Opens all sockets of `config`.
pub(super) fn bind_all(config: &UdpConfig) -> Result<Vec<Bound>, BindError> {
    if config.addresses.is_empty() {
        return Err(BindError::NoAddress);
    }
    if config.ike_port == config.natt_port && config.ike_port != 0 {
        return Err(BindError::SamePort(config.ike_port));
    }
    let mut out = bind_role(config, SocketRole::Ike, config.ike_port)?;
    out.append(&mut bind_role(config, SocketRole::NatT, config.natt_port)?);
    Ok(out)
}

/// Opens a raw socket for IP protocol 50 on an address.
pub(super) fn bind_esp(config: &UdpConfig, address: IpAddr) -> Result<Bound, BindError> {
    let mut local = with_scope(address, 0, config.interface.as_deref());
    let wrong = |errno: Errno| match errno {
        Errno::EPERM | Errno::EACCES => BindError::EspPrivilege,
        other => explain(local, other),
    };
    let broken = |error: io::Error| match error.raw_os_error() {
        Some(code) => wrong(Errno::from_raw(code)),
        None => BindError::Other(local, error),
    };
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let kind = Type::RAW.nonblocking().cloexec();
    let fd: OwnedFd = Socket::new(domain, kind, Some(Protocol::from(PROTOCOL_ESP))).map_err(broken)?.into();
    if let Some(interface) = &config.interface {
        tie_to_interface(&fd, interface).map_err(wrong)?;
    }
    set_options(&fd, local, SocketRole::Esp, config.dont_fragment)?;
    let buffers = raise_buffers(&fd, config.socket_buffer).map_err(wrong)?;
    socket::bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(local)).map_err(wrong)?;
    local.set_port(0);
    Ok(Bound { fd, local, role: SocketRole::Esp, buffers })
}

/// With port 0 the first address chooses and the others follow; somebody may have the port on another address, so
/// another one is tried a few times.
fn bind_role(config: &UdpConfig, role: SocketRole, port: u16) -> Result<Vec<Bound>, BindError> {
    let attempts = if port == 0 { 16 } else { 1 };
    let mut last = BindError::NoAddress;
    for _ in 0..attempts {
        let mut chosen = port;
        let mut out = Vec::with_capacity(config.addresses.len());
        let outcome = config.addresses.iter().try_for_each(|&address| {
            let bound = bind_one(config, role, address, chosen)?;
            chosen = bound.local.port();
            out.push(bound);
            Ok(())
        });
        match outcome {
            Ok(()) => return Ok(out),
            Err(error @ BindError::InUse(_)) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

/// Opens one UDP socket; with port 0 the system chooses one.
pub(super) fn bind_one(config: &UdpConfig, role: SocketRole, address: IpAddr, port: u16) -> Result<Bound, BindError> {
    let local = with_scope(address, port, config.interface.as_deref());
    let wrong = |errno: Errno| explain(local, errno);
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket::socket(family, SockType::Datagram, flags, None).map_err(wrong)?;
    if let Some(interface) = &config.interface {
        tie_to_interface(&fd, interface).map_err(|e| match e {
            Errno::ENODEV => BindError::NoSuchInterface(interface.clone()),
            Errno::EPERM => BindError::InterfacePrivilege(interface.clone()),
            other => explain(local, other),
        })?;
    }
    set_options(&fd, local, role, config.dont_fragment)?;
    if config.any_address {
        // One option name for both families, at the IPv4 level.
        sys::set_option(fd.as_fd(), libc::IPPROTO_IP, libc::IP_FREEBIND, 1).map_err(|e| BindError::Other(local, e))?;
    }
    if config.share.is_some() {
        socket::setsockopt(&fd, sockopt::ReusePort, &true).map_err(wrong)?;
    }
    let buffers = raise_buffers(&fd, config.socket_buffer).map_err(wrong)?;
    socket::bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(local)).map_err(wrong)?;
    if let Some(shards) = config.share {
        sys::steer(fd.as_fd(), &steer::program(role, shards)).map_err(|e| BindError::Steer(local, e))?;
    }
    let mut local = local;
    if port == 0 {
        local.set_port(bound_port(&fd).map_err(wrong)?);
    }
    Ok(Bound { fd, local, role, buffers })
}

fn set_options(fd: &OwnedFd, local: SocketAddr, role: SocketRole, dont_fragment: bool) -> Result<(), BindError> {
    let wrong = |errno: Errno| explain(local, errno);
    let option =
        |level, name, value| sys::set_option(fd.as_fd(), level, name, value).map_err(|e| BindError::Other(local, e));
    // Errors that ICMP reports are read from the socket's error queue; an unconnected socket gets none otherwise.
    // Fragmenting is left to the kernel (no DF bit) unless it is forbidden: RFC 7383 fragments are the engine's, and a lab wants to see what
    // a path does to large packets instead of an error from the own host.
    if local.is_ipv4() {
        socket::setsockopt(fd, sockopt::Ipv4PacketInfo, &true).map_err(wrong)?;
        socket::setsockopt(fd, sockopt::Ipv4RecvErr, &true).map_err(wrong)?;
        let how = if dont_fragment { libc::IP_PMTUDISC_DO } else { libc::IP_PMTUDISC_DONT };
        option(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, how)?;
    } else {
        // A raw socket is of one family anyway, and its protocol number counts as a port: too late for this option.
        if role != SocketRole::Esp {
            socket::setsockopt(fd, sockopt::Ipv6V6Only, &true).map_err(wrong)?;
        }
        socket::setsockopt(fd, sockopt::Ipv6RecvPacketInfo, &true).map_err(wrong)?;
        socket::setsockopt(fd, sockopt::Ipv6RecvErr, &true).map_err(wrong)?;
        let how = if dont_fragment { libc::IPV6_PMTUDISC_DO } else { libc::IPV6_PMTUDISC_DONT };
        option(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, how)?;
    }
    socket::setsockopt(fd, sockopt::RxqOvfl, &1).map_err(wrong)
}

/// The source address that the routing table gives to packets for `remote`. Sends nothing.
///
/// # Errors
///
/// If there is no route.
pub fn source_address_for(remote: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if remote.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
    let socket = std::net::UdpSocket::bind((any, 0))?;
    // The port does not matter for a connected but silent datagram socket.
    socket.connect((remote, 9))?;
    Ok(socket.local_addr()?.ip())
}

/// Octets of the longest IP packet that the route from `local` to `remote` carries, as this host knows it. Sends nothing.
///
/// # Errors
///
/// If there is no route.
pub fn route_mtu(local: IpAddr, remote: IpAddr) -> io::Result<usize> {
    let socket = std::net::UdpSocket::bind((local, 0))?;
    socket.connect((remote, 9))?;
    let (level, name) =
        if remote.is_ipv4() { (libc::IPPROTO_IP, libc::IP_MTU) } else { (libc::IPPROTO_IPV6, libc::IPV6_MTU) };
    let mtu = sys::get_option(std::os::fd::AsFd::as_fd(&socket), level, name)?;
    Ok(usize::try_from(mtu).unwrap_or(usize::MAX))
}

fn tie_to_interface(fd: &OwnedFd, interface: &str) -> nix::Result<()> {
    socket::setsockopt(fd, sockopt::BindToDevice, &interface.into())
}

fn with_scope(address: IpAddr, port: u16, interface: Option<&str>) -> SocketAddr {
    match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => {
            let scope = interface.and_then(|name| nix::net::if_::if_nametoindex(name).ok()).unwrap_or(0);
            SocketAddrV6::new(v6, port, 0, scope).into()
        }
        _ => SocketAddr::new(address, port),
    }
}

fn bound_port(fd: &OwnedFd) -> nix::Result<u16> {
    let name: SockaddrStorage = socket::getsockname(std::os::fd::AsRawFd::as_raw_fd(fd))?;
    let v4 = name.as_sockaddr_in().map(nix::sys::socket::SockaddrIn::port);
    let v6 = name.as_sockaddr_in6().map(nix::sys::socket::SockaddrIn6::port);
    v4.or(v6).ok_or(Errno::EAFNOSUPPORT)
}

/// Past the system's limit with privilege, up to it without. The kernel doubles what it is asked for (socket(7)), so
/// the sizes returned are half of what it reports.
fn raise_buffers(fd: &OwnedFd, want: usize) -> nix::Result<(usize, usize)> {
    if socket::setsockopt(fd, sockopt::RcvBufForce, &want).is_err() {
        socket::setsockopt(fd, sockopt::RcvBuf, &want)?;
    }
    if socket::setsockopt(fd, sockopt::SndBufForce, &want).is_err() {
        socket::setsockopt(fd, sockopt::SndBuf, &want)?;
    }
    Ok((socket::getsockopt(fd, sockopt::RcvBuf)? / 2, socket::getsockopt(fd, sockopt::SndBuf)? / 2))
}

fn explain(local: SocketAddr, errno: Errno) -> BindError {
    match errno {
        Errno::EADDRINUSE => BindError::InUse(local),
        Errno::EACCES | Errno::EPERM => BindError::Privilege(local),
        Errno::EADDRNOTAVAIL => BindError::NoSuchAddress(local.ip()),
        // A link-local address without an interface.
        Errno::EINVAL if local.is_ipv6() => BindError::NoSuchAddress(local.ip()),
        Errno::EAFNOSUPPORT => BindError::NoFamily(local.ip()),
        other => BindError::Other(local, other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_words() {
        let at = "192.0.2.1:500".parse().expect("an address");
        let text = |errno| explain(at, errno).to_string();
        assert!(text(Errno::EADDRINUSE).contains("192.0.2.1:500 is in use"));
        assert!(text(Errno::EADDRINUSE).contains("sport = :500"));
        assert!(text(Errno::EACCES).contains("below 1024"));
        assert!(text(Errno::EADDRNOTAVAIL).contains("192.0.2.1 is not an address of this host"));
        assert!(text(Errno::EAFNOSUPPORT).contains("no IPv4"));
        assert!(text(Errno::EMFILE).contains("192.0.2.1:500: Too many open files"));
    }
}
