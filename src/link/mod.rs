//! Sockets, and the simulated network that replaces them.
//!
//! A [`Link`] moves datagrams in batches and owns the run's clock: whoever waits for packets also knows what time it is.
//! [`udp::UdpLink`] is the real one, [`sim::SimLink`] the one with a virtual clock. Both put the non-ESP marker before
//! an IKE message, and tell IKE, ESP and keepalives apart on the way in, by the role of the local socket ([`demux`]).

pub mod demux;
pub mod guard;
pub mod hurried;
pub mod middlebox;
pub mod nat;
pub mod netem;
pub mod sim;
pub mod tun;
pub mod udp;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::net::{Class, Path, SocketRole, Transmit};
use crate::time::{Instant, UnixTime};

/// Moves datagrams, and keeps the time of the run.
pub trait Link {
    /// The current instant.
    fn now(&self) -> Instant;

    /// Wall-clock time at which the run began.
    fn epoch(&self) -> UnixTime;

    /// Sends every pending item of `batch` and stores its outcome.
    ///
    /// A datagram that cannot be sent is that item's [`TxOutcome::Failed`] and a [`LinkNote`], not an error: one
    /// unreachable peer must not stop the others.
    ///
    /// # Errors
    ///
    /// Only if the link as a whole is unusable.
    fn send(&mut self, batch: &mut TxBatch) -> io::Result<()>;

    /// Empties `rx` and waits until there is a datagram, until `until` has come, or until a waker is used.
    /// With `until` in the past it only looks; with `None` it waits without limit.
    ///
    /// # Errors
    ///
    /// Only if the link as a whole is unusable.
    fn recv_until(&mut self, until: Option<Instant>, rx: &mut RxBatch) -> io::Result<Wake>;

    /// The next piece of information about the network, if any: refused ports, unreachable hosts.
    fn poll_note(&mut self) -> Option<LinkNote>;

    /// The next datagram that reached this host and was taken away before anybody saw it, and by what: for the record.
    fn poll_dropped(&mut self) -> Option<(Received, &'static str)> {
        None
    }

    /// What has passed so far.
    fn counters(&self) -> LinkCounters;

    /// The next receive takes in datagrams only after this long, as a network card gathers packets before it interrupts: what
    /// comes together costs one wake-up, and one for the peer when the answers leave together. Only for who does not measure
    /// how quick the peer is. Nothing where waiting costs nothing.
    fn gather(&mut self, pause: std::time::Duration) {
        let _ = pause;
    }

    /// Octets of kernel memory that wait in the fullest receive buffer; none where there is no kernel.
    fn receive_queue(&self) -> usize {
        0
    }

    /// Puts a box before this host (`ours`) or before the other one, which translates or only watches, or takes it away; false
    /// where nothing does as it is told.
    fn put_between(&mut self, ours: bool, between: Option<&Between>) -> bool {
        let _ = (ours, between);
        false
    }

    /// How many datagrams the boxes of [`Link::put_between`] have stopped or translated so far; `None` where nobody counts.
    fn between_effects(&self) -> Option<u64> {
        None
    }

    /// The path of a datagram that was received, as it stands in the packet outside of the box before this host: for the
    /// record. The same, where there is no such box.
    fn outside(&self, path: &Path) -> Path {
        *path
    }
}

/// A box on the path that keeps state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Between {
    /// It gives out ports of its own, as a NAT does; otherwise it is a firewall that lets in answers.
    pub translates: bool,
    /// It forgets who was written to after so long without a word from inside; never, without.
    pub forgets: Option<std::time::Duration>,
    /// Only UDP gets through: IP protocol 50 has no ports to be told apart by.
    pub drops_esp: bool,
}

/// Why [`Link::recv_until`] returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wake {
    /// There are datagrams.
    Data,
    /// The time has come, and there are none.
    Timeout,
    /// A waker was used. There may be datagrams too.
    Control,
}

/// A received datagram.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// When it was taken from the socket.
    pub at: Instant,
    /// From where to where; `path.local` is the datagram's own destination address, also on a wildcard socket.
    pub path: Path,
    /// What it is. [`Class::Verbatim`] means none of the others: to be recorded and counted, not handed on.
    pub class: Class,
    /// The UDP payload, without the non-ESP marker if `class` is [`Class::Ike`].
    pub bytes: Vec<u8>,
}

/// Reusable room for received datagrams.
#[derive(Debug)]
pub struct RxBatch {
    slots: Vec<Received>,
    len: usize,
    /// How many of the slots are used.
    most: usize,
}

impl RxBatch {
    /// Room for `capacity` datagrams (at least one).
    pub fn new(capacity: usize) -> Self {
        let blank = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let path = Path { local: blank, remote: blank, role: SocketRole::Ike };
        let slot = || Received { at: Instant::ZERO, path, class: Class::Verbatim, bytes: Vec::new() };
        let most = capacity.max(1);
        RxBatch { slots: (0..most).map(|_| slot()).collect(), len: 0, most }
    }

    /// From now on it takes at most so many datagrams (at least one, and no more than it was made for).
    pub fn limit(&mut self, most: usize) {
        self.most = most.clamp(1, self.slots.len());
    }

    /// The received datagrams, oldest first per socket.
    pub fn received(&self) -> &[Received] {
        &self.slots[..self.len]
    }

    /// The received datagrams, to be taken apart. Buffers left in place are used again.
    pub fn received_mut(&mut self) -> &mut [Received] {
        &mut self.slots[..self.len]
    }

    /// Number of datagrams.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets all datagrams; their buffers stay.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Leaves only those that `keep` wants, in their order. Buffers of the others are used again.
    fn retain(&mut self, mut keep: impl FnMut(&mut Received) -> bool) {
        let mut kept = 0;
        for n in 0..self.len {
            if keep(&mut self.slots[n]) {
                self.slots.swap(kept, n);
                kept += 1;
            }
        }
        self.len = kept;
    }

    fn free(&mut self) -> &mut [Received] {
        let most = self.most.max(self.len);
        &mut self.slots[self.len..most]
    }

    fn push(&mut self, received: Received) -> bool {
        match self.slots[..self.most].get_mut(self.len) {
            Some(slot) => {
                *slot = received;
                self.len += 1;
                true
            }
            None => false,
        }
    }
}

/// What became of a datagram that was handed to [`Link::send`].
#[derive(Debug, Default)]
pub enum TxOutcome {
    /// Not sent yet.
    #[default]
    Pending,
    /// Handed to the network at this instant.
    Sent(Instant),
    /// Taken away on purpose, and by what: a bad path.
    Dropped(&'static str),
    /// Refused by the operating system.
    Failed(io::Error),
}

/// A datagram to send and what became of it.
#[derive(Debug)]
pub struct TxItem {
    /// The datagram.
    pub transmit: Transmit,
    /// Its outcome.
    pub outcome: TxOutcome,
}

/// Reusable room for datagrams to send.
#[derive(Debug, Default)]
pub struct TxBatch {
    items: Vec<TxItem>,
}

impl TxBatch {
    /// An empty batch.
    pub fn new() -> Self {
        TxBatch::default()
    }

    /// Adds a datagram.
    pub fn push(&mut self, transmit: Transmit) {
        self.items.push(TxItem { transmit, outcome: TxOutcome::Pending });
    }

    /// All items, in the order in which they were added.
    pub fn items(&self) -> &[TxItem] {
        &self.items
    }

    /// Number of items.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Forgets all items.
    pub fn clear(&mut self) {
        self.items.clear();
    }

    /// Takes out all items, sent or not.
    pub fn drain(&mut self) -> impl Iterator<Item = Transmit> + '_ {
        self.items.drain(..).map(|item| item.transmit)
    }
}

/// Information from the network that is nobody's answer. It proves nothing (anyone can forge ICMP), so it never ends an
/// IKE SA; it tells a person where to look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkNote {
    /// ICMP port unreachable: the host is there and nothing listens on the port.
    Refused {
        /// The datagram's path; the local address is unspecified if it went out on a wildcard socket.
        path: Path,
    },
    /// Another ICMP error, or no route.
    Unreachable {
        /// The datagram's path.
        path: Path,
        /// Who said so; `None` if it was this host.
        by: Option<IpAddr>,
        /// In plain words.
        why: String,
    },
    /// A datagram was longer than the MTU of the route, as this host knows it: it left as IP fragments, or, with
    /// [`udp::UdpConfig::dont_fragment`], not at all.
    IpFragmented {
        /// The datagram's path.
        path: Path,
        /// Octets of the IP packet.
        octets: usize,
        /// Octets that the route carries.
        mtu: usize,
    },
    /// The operating system would not send a datagram.
    NotSent {
        /// The datagram's path.
        path: Path,
        /// In plain words.
        why: String,
    },
}

impl LinkNote {
    /// The datagram's path.
    pub fn path(&self) -> &Path {
        match self {
            LinkNote::Refused { path }
            | LinkNote::Unreachable { path, .. }
            | LinkNote::IpFragmented { path, .. }
            | LinkNote::NotSent { path, .. } => path,
        }
    }
}

impl fmt::Display for LinkNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkNote::Refused { path } => {
                let (host, port) = (path.remote.ip(), path.remote.port());
                write!(f, "{host} is up, but nothing listens on its UDP port {port} (ICMP port unreachable)")
            }
            LinkNote::Unreachable { path, by: Some(by), why } => {
                write!(f, "{} cannot be reached: {why}, says {by}", path.remote)
            }
            LinkNote::Unreachable { path, by: None, why } => write!(f, "{} cannot be reached: {why}", path.remote),
            LinkNote::IpFragmented { path, octets, mtu } => {
                write!(f, "to {}: IP-fragmented, {octets} octets > MTU {mtu}", path.remote.ip())
            }
            LinkNote::NotSent { path, why } => write!(f, "not sent from {} to {}: {why}", path.local, path.remote),
        }
    }
}

/// Counts of what passed a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LinkCounters {
    /// Datagrams in, of every class.
    pub received: u64,
    /// Octets of UDP payload in, markers included.
    pub received_octets: u64,
    /// IKE messages in.
    pub ike_in: u64,
    /// ESP packets in.
    pub esp_in: u64,
    /// NAT keepalives in.
    pub keepalives_in: u64,
    /// Empty datagrams in, and non-ESP markers with nothing behind them.
    pub empty_in: u64,
    /// Datagrams in that are nothing we know.
    pub garbage_in: u64,
    /// Datagrams out.
    pub sent: u64,
    /// Octets of UDP payload out, markers included.
    pub sent_octets: u64,
    /// IKE messages out.
    pub ike_out: u64,
    /// ESP packets out.
    pub esp_out: u64,
    /// NAT keepalives out.
    pub keepalives_out: u64,
    /// Datagrams out exactly as ordered by a rule.
    pub verbatim_out: u64,
    /// Datagrams that the operating system would not send.
    pub not_sent: u64,
    /// Datagrams that the operating system threw away because our receive buffer was full.
    pub receive_overflows: u64,
    /// ICMP errors.
    pub icmp_errors: u64,
    /// System calls that received.
    pub receive_calls: u64,
    /// System calls that sent.
    pub send_calls: u64,
    /// System calls that waited.
    pub wait_calls: u64,
}

impl LinkCounters {
    fn count_in(&mut self, classified: demux::Classified, octets: usize) {
        self.received += 1;
        self.received_octets += octets as u64;
        match classified {
            demux::Classified::Ike { .. } => self.ike_in += 1,
            demux::Classified::Esp => self.esp_in += 1,
            demux::Classified::Keepalive => self.keepalives_in += 1,
            demux::Classified::Empty => self.empty_in += 1,
            demux::Classified::Garbage => self.garbage_in += 1,
        }
    }

    fn count_out(&mut self, transmit: &Transmit) {
        self.sent += 1;
        self.sent_octets += demux::wire_len(transmit.path.role, transmit.class, transmit.bytes.len()) as u64;
        match transmit.class {
            Class::Ike => self.ike_out += 1,
            Class::Esp => self.esp_out += 1,
            Class::Keepalive => self.keepalives_out += 1,
            Class::Verbatim => self.verbatim_out += 1,
        }
    }
}
