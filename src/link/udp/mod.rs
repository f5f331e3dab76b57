//! Real UDP, in batches: sendmmsg and recvmmsg on one socket per local address and role.
//!
//! A socket bound to a wildcard address learns each datagram's own destination (IP_PKTINFO), and an answer leaves from
//! there: behind a multi-homed host anything else would break NAT detection and the peer's look-up. Errors that ICMP
//! reports become [`LinkNote`]s. Packets larger than the route's MTU are fragmented by the kernel, and reported; with
//! [`UdpConfig::dont_fragment`] they do not leave.
//!
//! Nothing here is global: several links (one per shard) may live in one process.

mod bind;
mod steer;
mod sys;
mod wake;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

pub use bind::{BindError, UdpConfig, route_mtu, source_address_for};
pub use wake::Waker;

use super::{Link, LinkCounters, LinkNote, Received, RxBatch, TxBatch, TxItem, TxOutcome, Wake, demux};
use crate::net::{Class, Path, SocketRole, Transmit};
use crate::time::{Instant, RealClock, UnixTime};

/// Epoll token of the waker; sockets are numbered from 0.
const WAKER: u64 = u64::MAX;
/// Epoll token of whatever else is watched.
const WATCHED: u64 = u64::MAX - 1;
/// The longest pause of [`UdpLink::gather`].
const GATHER_MOST: Duration = Duration::from_millis(10);
/// Notes kept until somebody asks; older ones are dropped, since they repeat.
const NOTES_MAX: usize = 256;
/// Octets of UDP payload that every route carries: the least MTU of IPv6 less its headers.
const NEVER_FRAGMENTED: usize = 1_280 - 48;
/// How long a full send buffer may hold up a batch before a datagram is given up.
const SEND_WAIT: u16 = 50;

/// Batched UDP sockets with the operating system's clock.
pub struct UdpLink {
    sockets: Vec<Socket>,
    by_address: BTreeMap<(SocketRole, IpAddr), usize>,
    /// The sockets of [`UdpLink::open_outside`], by address and port; behind all others.
    outside: BTreeMap<SocketAddr, usize>,
    epoll: Epoll,
    events: Vec<libc::epoll_event>,
    waker: Waker,
    clock: RealClock,
    arena: sys::Arena,
    error_slot: [Received; 1],
    order: Vec<(usize, usize)>,
    notes: VecDeque<LinkNote>,
    counters: LinkCounters,
    buffer_wanted: usize,
    dont_fragment: bool,
    /// The longest packet to each destination that was reported as longer than the route's MTU.
    too_long: BTreeMap<IpAddr, usize>,
    /// How long the next receive lets datagrams gather.
    pause: Duration,
}

/// One local socket, as bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LocalSocket {
    /// Its address and port.
    pub local: SocketAddr,
    /// Its role.
    pub role: SocketRole,
    /// Granted receive buffer in octets, as asked for in [`UdpConfig::socket_buffer`].
    pub receive_buffer: usize,
    /// Granted send buffer in octets.
    pub send_buffer: usize,
    /// Datagrams that the kernel threw away because the receive buffer was full.
    pub overflows: u32,
}

struct Socket {
    fd: OwnedFd,
    info: LocalSocket,
}

impl UdpLink {
    /// Opens two sockets, one per role, on each address of `config`.
    ///
    /// # Errors
    ///
    /// In plain words, which address and port, why not, and what to do.
    pub fn bind(config: &UdpConfig, clock: RealClock) -> Result<Self, BindError> {
        let bound = bind::bind_all(config)?;
        let wait = |e: nix::Error| BindError::Wait(e.into());
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(wait)?;
        let waker = Waker::new().map_err(BindError::Wait)?;
        epoll.add(&waker, EpollEvent::new(EpollFlags::EPOLLIN, WAKER)).map_err(wait)?;
        let mut sockets = Vec::with_capacity(bound.len());
        let mut by_address = BTreeMap::new();
        for (index, bound) in bound.into_iter().enumerate() {
            epoll.add(&bound.fd, EpollEvent::new(EpollFlags::EPOLLIN, index as u64)).map_err(wait)?;
            by_address.insert((bound.role, bound.local.ip()), index);
            let (receive_buffer, send_buffer) = bound.buffers;
            let info = LocalSocket { local: bound.local, role: bound.role, receive_buffer, send_buffer, overflows: 0 };
            sockets.push(Socket { fd: bound.fd, info });
        }
        let blank = Path { local: sockets[0].info.local, remote: sockets[0].info.local, role: SocketRole::Ike };
        Ok(UdpLink {
            events: vec![libc::epoll_event { events: 0, u64: 0 }; (sockets.len() + 1).min(64)],
            sockets,
            by_address,
            outside: BTreeMap::new(),
            epoll,
            waker,
            clock,
            arena: sys::Arena::new(),
            error_slot: [Received { at: Instant::ZERO, path: blank, class: Class::Verbatim, bytes: Vec::new() }],
            order: Vec::new(),
            notes: VecDeque::new(),
            counters: LinkCounters::default(),
            buffer_wanted: config.socket_buffer,
            dont_fragment: config.dont_fragment,
            too_long: BTreeMap::new(),
            pause: Duration::ZERO,
        })
    }

    /// Opens a raw socket for native ESP (IP protocol 50) beside each UDP socket of the IKE role. Packets that come in on it
    /// and go out have [`SocketRole::Esp`]. To be called before [`UdpLink::open_outside`].
    ///
    /// # Errors
    ///
    /// Mostly [`BindError::EspPrivilege`]; the link goes on without.
    pub fn open_esp(&mut self, config: &UdpConfig) -> Result<(), BindError> {
        let addresses = self.sockets.iter().filter(|s| s.info.role == SocketRole::Ike).map(|s| s.info.local.ip());
        let bound = addresses.map(|address| bind::bind_esp(config, address)).collect::<Result<Vec<_>, _>>()?;
        for bound in bound {
            let at = (bound.role, bound.local.ip());
            let index = self.add(bound)?;
            self.by_address.insert(at, index);
        }
        Ok(())
    }

    /// Opens one more socket of a UDP role on `address`, with a port that the system chooses: the outside of a NAT that is
    /// played here. A datagram that comes to it has that port at its local end, and one with that local end leaves from it.
    ///
    /// # Errors
    ///
    /// If the system has no socket or no port left.
    pub fn open_outside(
        &mut self,
        config: &UdpConfig,
        role: SocketRole,
        address: IpAddr,
    ) -> Result<SocketAddr, BindError> {
        let bound = bind::bind_one(config, role, address, 0)?;
        let local = bound.local;
        let index = self.add(bound)?;
        self.outside.insert(local, index);
        Ok(local)
    }

    /// Closes the sockets of [`UdpLink::open_outside`].
    pub fn close_outside(&mut self) {
        if let Some(first) = self.outside.values().copied().min() {
            self.sockets.truncate(first);
        }
        self.outside.clear();
    }

    /// Takes in one more socket; its number.
    fn add(&mut self, bound: bind::Bound) -> Result<usize, BindError> {
        let index = self.sockets.len();
        let event = EpollEvent::new(EpollFlags::EPOLLIN, index as u64);
        self.epoll.add(&bound.fd, event).map_err(|e| BindError::Wait(e.into()))?;
        let (receive_buffer, send_buffer) = bound.buffers;
        let info = LocalSocket { local: bound.local, role: bound.role, receive_buffer, send_buffer, overflows: 0 };
        self.sockets.push(Socket { fd: bound.fd, info });
        Ok(index)
    }

    /// Makes [`Link::recv_until`] return with [`Wake::Control`] while there is something to read from `source`, which the
    /// caller reads and keeps open.
    ///
    /// # Errors
    ///
    /// If the operating system cannot watch it.
    pub fn watch(&self, source: &impl AsFd) -> io::Result<()> {
        Ok(self.epoll.add(source, EpollEvent::new(EpollFlags::EPOLLIN, WATCHED))?)
    }

    /// A handle that makes [`Link::recv_until`] return from elsewhere.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// The sockets as bound: the ports that were chosen, the buffers that were granted.
    pub fn sockets(&self) -> impl Iterator<Item = LocalSocket> + '_ {
        self.sockets.iter().map(|socket| socket.info)
    }

    /// The bound port of a role, the same on every address.
    pub fn port(&self, role: SocketRole) -> u16 {
        let socket = self.sockets.iter().find(|s| s.info.role == role);
        socket.expect("bind opens both roles on at least one address").info.local.port()
    }

    /// The smallest receive buffer granted, if it is smaller than what was asked for: the system's limit
    /// (net.core.rmem_max) then bounds how large a burst survives.
    pub fn receive_buffer_clamp(&self) -> Option<usize> {
        self.sockets.iter().map(|s| s.info.receive_buffer).min().filter(|&granted| granted < self.buffer_wanted)
    }

    fn socket_for(&self, path: &Path) -> Option<usize> {
        if let Some(&index) = self.outside.get(&path.local) {
            return (self.sockets[index].info.role == path.role).then_some(index);
        }
        let any = match path.local {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let exact = self.by_address.get(&(path.role, path.local.ip()));
        let index = *exact.or_else(|| self.by_address.get(&(path.role, any)))?;
        (self.sockets[index].info.local.port() == path.local.port()).then_some(index)
    }

    fn note(&mut self, note: LinkNote) {
        if self.notes.len() == NOTES_MAX {
            self.notes.pop_front();
        }
        self.notes.push_back(note);
    }

    fn wait(&mut self, until: Option<Instant>) -> io::Result<usize> {
        loop {
            let timeout = until.map(|until| until.since(self.clock.now()));
            self.counters.wait_calls += 1;
            match sys::epoll_wait(self.epoll.0.as_fd(), &mut self.events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Fills free room of `rx` from one socket.
    fn receive(&mut self, index: usize, rx: &mut RxBatch) -> io::Result<()> {
        let mut errors = 0;
        while !rx.free().is_empty() {
            let fd = self.sockets[index].fd.as_fd();
            self.counters.receive_calls += 1;
            let got = match self.arena.receive(fd, rx.free(), 0) {
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    // An ICMP error pending on the socket; reading it clears it. If there was none to read, or it
                    // comes back again and again, the socket itself is broken.
                    errors += 1;
                    if (self.drain_errors(index) || is_network_error(&error)) && errors < 16 {
                        continue;
                    }
                    return Err(error);
                }
            };
            let at = self.clock.now();
            let full = got == rx.free().len().min(sys::BATCH);
            self.accept(index, at, got, rx);
            if !full {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Fills in path and class of `got` datagrams that were just received into the free room of `rx`.
    fn accept(&mut self, index: usize, at: Instant, got: usize, rx: &mut RxBatch) {
        let info = &mut self.sockets[index].info;
        for (n, slot) in rx.free().iter_mut().take(got).enumerate() {
            slot.at = at;
            slot.path.role = info.role;
            slot.path.local = info.local;
            slot.path.remote = self.arena.name(n).unwrap_or(info.local);
            for message in self.arena.control(n) {
                match (message.level, message.kind) {
                    (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                        // struct in_pktinfo: interface, local address, header destination.
                        if let Some(&octets) = message.data.get(8..).and_then(|d| d.first_chunk::<4>()) {
                            slot.path.local.set_ip(Ipv4Addr::from(octets).into());
                        }
                    }
                    (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                        if let Some(&octets) = message.data.first_chunk::<16>() {
                            slot.path.local.set_ip(Ipv6Addr::from(octets).into());
                        }
                    }
                    (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                        if let Some(&octets) = message.data.first_chunk::<4>() {
                            let total = u32::from_ne_bytes(octets);
                            self.counters.receive_overflows += u64::from(total.wrapping_sub(info.overflows));
                            info.overflows = total;
                        }
                    }
                    _ => {}
                }
            }
            if info.role == SocketRole::Esp {
                strip_ip_header(slot);
            }
            let classified = demux::classify(info.role, &slot.bytes);
            self.counters.count_in(classified, slot.bytes.len());
            slot.class = classified.class();
            if let demux::Classified::Ike { marker } = classified {
                slot.bytes.drain(..marker);
            }
        }
        rx.len += got;
    }

    /// Turns the socket's error queue into notes. True if there was anything.
    fn drain_errors(&mut self, index: usize) -> bool {
        let mut any = false;
        loop {
            let socket = &self.sockets[index];
            match self.arena.receive(socket.fd.as_fd(), &mut self.error_slot, libc::MSG_ERRQUEUE) {
                Ok(got) if got > 0 => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                _ => return any,
            }
            any = true;
            let info = socket.info;
            let remote = self.arena.name(0);
            let queued = self.arena.control(0).find_map(|m| QueuedError::read(&m));
            // What this host itself reports there is reported by the failing call too.
            let queued = queued.filter(|queued| queued.from_icmp);
            if let (Some(remote), Some(queued)) = (remote, queued) {
                self.counters.icmp_errors += 1;
                let path = Path { local: info.local, remote, role: info.role };
                self.note(queued.note(path));
            }
        }
    }

    /// Sends the items at `order[from..to]`, all on socket `index`.
    fn send_run(&mut self, index: usize, from: usize, to: usize, items: &mut [TxItem]) {
        let mut next = from;
        let mut waits = 0;
        let mut drains = 0;
        while next < to {
            let socket = &self.sockets[index];
            let wildcard = socket.info.local.ip().is_unspecified();
            let order = &self.order[next..to];
            let piece = |n: usize| {
                let transmit = &items[order[n].1].transmit;
                let from = transmit.path.local.ip();
                sys::Piece {
                    head: transmit.class.marker(transmit.path.role),
                    bytes: &transmit.bytes,
                    to: transmit.path.remote,
                    from: (wildcard && !from.is_unspecified()).then_some(from),
                }
            };
            self.counters.send_calls += 1;
            match self.arena.send(socket.fd.as_fd(), order.len(), piece) {
                Ok(sent) => {
                    let at = self.clock.now();
                    for &(_, item) in order.iter().take(sent) {
                        self.counters.count_out(&items[item].transmit);
                        items[item].outcome = TxOutcome::Sent(at);
                    }
                    for n in next..next + sent {
                        self.look_at_length(&items[order_item(&self.order, n)].transmit);
                    }
                    next += sent;
                    (waits, drains) = (0, 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_full(&error) && waits < 3 => {
                    waits += 1;
                    let mut fds = [PollFd::new(socket.fd.as_fd(), PollFlags::POLLOUT)];
                    let _ = poll(&mut fds, PollTimeout::from(SEND_WAIT));
                }
                Err(error) => {
                    // With IP_RECVERR an earlier datagram's ICMP error is reported once at the next call, whatever
                    // that one's destination: it has been taken off the socket now, so try again, but not for ever.
                    self.drain_errors(index);
                    if is_network_error(&error) && drains < 3 {
                        drains += 1;
                        continue;
                    }
                    self.give_up(&mut items[order_item(&self.order, next)], error);
                    next += 1;
                    (waits, drains) = (0, 0);
                }
            }
        }
    }

    /// Reports an IP packet that is longer than its route carries, each time that one is longer than those before.
    fn look_at_length(&mut self, transmit: &Transmit) {
        let Path { local, remote, role } = transmit.path;
        let payload = demux::wire_len(role, transmit.class, transmit.bytes.len());
        if payload <= NEVER_FRAGMENTED {
            return;
        }
        let headers = if remote.is_ipv4() { 20 } else { 40 } + if role == SocketRole::Esp { 0 } else { 8 };
        let octets = payload + headers;
        if self.too_long.get(&remote.ip()).is_some_and(|longest| octets <= *longest) {
            return;
        }
        self.too_long.insert(remote.ip(), octets);
        if let Ok(mtu) = route_mtu(local.ip(), remote.ip())
            && octets > mtu
        {
            self.note(LinkNote::IpFragmented { path: transmit.path, octets, mtu });
        }
    }

    fn give_up(&mut self, item: &mut TxItem, error: io::Error) {
        self.counters.not_sent += 1;
        let path = item.transmit.path;
        let why = match error.raw_os_error() {
            Some(libc::EMSGSIZE) if self.dont_fragment => {
                let mtu = route_mtu(path.local.ip(), path.remote.ip());
                let mtu = mtu.map_or_else(|_| "its MTU".to_owned(), |mtu| format!("MTU {mtu}"));
                format!("longer than the route carries ({mtu}), and it must not be fragmented")
            }
            // It was bound all the same (IP_FREEBIND), or is taken from a pool.
            Some(libc::EINVAL | libc::ENETUNREACH) if is_foreign(path.local.ip()) => {
                let ip = path.local.ip();
                format!("{ip} is no address of this host (`ip route add local {ip} dev lo` makes it one)")
            }
            _ => plain(&error),
        };
        item.outcome = TxOutcome::Failed(io::Error::new(error.kind(), why.clone()));
        self.note(LinkNote::NotSent { path: item.transmit.path, why });
    }
}

/// Readable while there is something to receive; for [`UdpLink::watch`] of another link.
impl AsFd for UdpLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl Link for UdpLink {
    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn epoch(&self) -> UnixTime {
        self.clock.epoch()
    }

    fn send(&mut self, batch: &mut TxBatch) -> io::Result<()> {
        let items = &mut batch.items;
        self.order.clear();
        for (n, item) in items.iter_mut().enumerate() {
            if !matches!(item.outcome, TxOutcome::Pending) {
                continue;
            }
            match self.socket_for(&item.transmit.path) {
                Some(index) => self.order.push((index, n)),
                None => {
                    let why =
                        format!("no {:?} socket is bound to {}", item.transmit.path.role, item.transmit.path.local);
                    self.give_up(item, io::Error::new(io::ErrorKind::AddrNotAvailable, why));
                }
            }
        }
        // One run per socket; within a run the order stays.
        self.order.sort_unstable();
        let mut from = 0;
        while let Some(&(index, _)) = self.order.get(from) {
            let to = from + self.order[from..].partition_point(|&(other, _)| other == index);
            self.send_run(index, from, to, items);
            from = to;
        }
        Ok(())
    }

    fn recv_until(&mut self, until: Option<Instant>, rx: &mut RxBatch) -> io::Result<Wake> {
        rx.clear();
        let pause = std::mem::take(&mut self.pause);
        if !pause.is_zero() {
            #[allow(clippy::disallowed_methods)]
            // ten milliseconds at most, and not to be cut short by what it waits for
            std::thread::sleep(pause);
        }
        loop {
            let ready = self.wait(until)?;
            let mut control = false;
            for n in 0..ready {
                let event = self.events[n];
                match event.u64 {
                    WAKER => {
                        control |= self.waker.reset();
                        continue;
                    }
                    WATCHED => {
                        control = true;
                        continue;
                    }
                    _ => {}
                }
                let Some(index) = usize::try_from(event.u64).ok().filter(|&i| i < self.sockets.len()) else { continue };
                if event.events & libc::EPOLLERR as u32 != 0 {
                    self.drain_errors(index);
                }
                if event.events & libc::EPOLLIN as u32 != 0 {
                    self.receive(index, rx)?;
                }
            }
            if control {
                return Ok(Wake::Control);
            }
            if !rx.is_empty() {
                return Ok(Wake::Data);
            }
            if until.is_some_and(|until| self.clock.now() >= until) {
                return Ok(Wake::Timeout);
            }
        }
    }

    fn poll_note(&mut self) -> Option<LinkNote> {
        self.notes.pop_front()
    }

    fn counters(&self) -> LinkCounters {
        self.counters
    }

    fn gather(&mut self, pause: Duration) {
        self.pause = pause.min(GATHER_MOST);
    }

    /// To be compared with [`LocalSocket::receive_buffer`], of which the kernel grants twice as much, for its own book-keeping.
    fn receive_queue(&self) -> usize {
        self.sockets.iter().filter_map(|s| sys::receive_queue(s.fd.as_fd()).ok()).max().unwrap_or(0)
    }
}

impl AsMut<Vec<u8>> for Received {
    fn as_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

/// A raw IPv4 socket hands over the IP header, an IPv6 one does not; neither has ports.
fn strip_ip_header(slot: &mut Received) {
    slot.path.remote.set_port(0);
    if slot.path.remote.is_ipv4() {
        let header = slot.bytes.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
        slot.bytes.drain(..header.min(slot.bytes.len()));
    }
}

/// An entry of a socket's error queue: `struct sock_extended_err` and the address of who complained.
struct QueuedError {
    errno: i32,
    from_icmp: bool,
    by: Option<IpAddr>,
    info: u32,
}

impl QueuedError {
    fn read(message: &sys::ControlMessage<'_>) -> Option<Self> {
        let known = [(libc::IPPROTO_IP, libc::IP_RECVERR), (libc::IPPROTO_IPV6, libc::IPV6_RECVERR)];
        if !known.contains(&(message.level, message.kind)) {
            return None;
        }
        let errno = u32::from_ne_bytes(*message.data.first_chunk()?);
        let origin = *message.data.get(4)?;
        let info = u32::from_ne_bytes(*message.data.get(8..)?.first_chunk()?);
        let from_icmp = origin == libc::SO_EE_ORIGIN_ICMP || origin == libc::SO_EE_ORIGIN_ICMP6;
        let by = sys::read_name(message.data.get(16..)?).map(|name| name.ip()).filter(|_| from_icmp);
        Some(QueuedError { errno: i32::try_from(errno).ok()?, from_icmp, by, info })
    }

    fn note(&self, path: Path) -> LinkNote {
        if self.errno == libc::ECONNREFUSED {
            return LinkNote::Refused { path };
        }
        let mut why = plain(&io::Error::from_raw_os_error(self.errno));
        if self.errno == libc::EMSGSIZE {
            why = format!("the packet is larger than the path's MTU of {} octets", self.info);
        }
        LinkNote::Unreachable { path, by: self.by, why }
    }
}

fn order_item(order: &[(usize, usize)], at: usize) -> usize {
    order[at].1
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS))
}

/// Errors that ICMP can leave behind on a socket.
fn is_network_error(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::ENOPROTOOPT
                | libc::EPROTO
                | libc::EOPNOTSUPP
                | libc::EACCES
                | libc::EMSGSIZE
        )
    )
}

/// The operating system's words, with advice where they are known to mislead.
/// Nobody can use this address here.
fn is_foreign(ip: IpAddr) -> bool {
    let bound = std::net::UdpSocket::bind((ip, 0));
    bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

fn plain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENETUNREACH) => "no route to that network".to_owned(),
        Some(libc::EHOSTUNREACH) => "no route to that host, or it does not answer on its own network".to_owned(),
        Some(libc::EPERM) => "a firewall rule on this host forbids it".to_owned(),
        Some(libc::EACCES) => "forbidden: a firewall on the way, or a broadcast address".to_owned(),
        Some(libc::EINVAL) => "the source address does not fit the destination".to_owned(),
        Some(libc::EMSGSIZE) => "too large for one UDP datagram".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests;
