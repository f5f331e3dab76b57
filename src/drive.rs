//! The one loop that joins an endpoint to a link.
//!
//! A turn receives a batch, hands each IKE message to the endpoint, lets time pass, drains events (to the recorder and
//! to an [`Observer`]), then drains and sends datagrams. Events come before the datagrams they belong to: an observer
//! has installed an inbound ESP SA before the packet leaves that tells the peer its SPI.
//!
//! Everything that was received is recorded before the engine sees it, since the engine decrypts in place.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use crate::engine::{Deliver, Endpoint, EspNote, Event, SaId, TunnelId};
use crate::link::{Link, LinkNote, Received, RxBatch, TxBatch, TxOutcome, Wake};
use crate::net::{Class, Path, SocketRole, Transmit};
use crate::record::{Direction, Fate, News, NewsKind, Recorder};
use crate::time::Instant;

/// How many datagrams a turn receives at most before it answers.
const BATCH: usize = 64;

/// How long an ESP packet waits for the message that brings its Child SA up.
const HOLD: Duration = Duration::from_secs(1);
/// How many wait at most.
const HELD_MOST: usize = 64;

/// A datagram that the link's own bad path lost, as it was told to. It says nothing about the peer.
#[derive(Clone, Copy, Debug)]
pub struct Lost<'a> {
    /// When.
    pub at: Instant,
    /// Which way it went.
    pub direction: Direction,
    /// Its path as this host sees it.
    pub path: &'a Path,
    /// What it was.
    pub class: Class,
    /// Its octets, without the non-ESP marker.
    pub bytes: &'a [u8],
    /// How, as `path: blackout`.
    pub why: &'a str,
}

/// What happens during a turn, for whoever lives beside the endpoint: a data plane, a scenario, a terminal.
#[allow(unused_variables)]
pub trait Observer {
    /// An event of the endpoint, before the datagrams that follow from it are sent.
    fn event(&mut self, now: Instant, tunnel: TunnelId, sa: SaId, event: Event) {}

    /// An ESP packet, in UDP or not (`path.role` tells); it begins with the SPI.
    fn esp(&mut self, now: Instant, path: Path, packet: &mut Vec<u8>) {}

    /// News from the network.
    fn note(&mut self, now: Instant, note: LinkNote) {}

    /// A datagram was lost by the path that was ordered.
    fn lost(&mut self, lost: &Lost<'_>) {}

    /// A datagram to send beside the endpoint's; asked until there is none.
    fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        None
    }

    /// What the engine shall know of the traffic on a Child SA, which our SPI names; asked until there is none.
    fn poll_note(&mut self) -> Option<(u32, EspNote)> {
        None
    }

    /// The buffer of an ESP packet that was sent, to be used again.
    fn reclaim(&mut self, buffer: Vec<u8>) {}

    /// When the observer wants a turn, whatever else happens.
    fn poll_timeout(&mut self) -> Option<Instant> {
        None
    }
}

/// Keeps events and notes for later. An endpoint without data plane needs no more.
#[derive(Debug, Default)]
pub struct Queue {
    /// Events, oldest first.
    pub events: VecDeque<(Instant, TunnelId, SaId, Event)>,
    /// News from the network, oldest first.
    pub notes: VecDeque<(Instant, LinkNote)>,
}

impl Observer for Queue {
    fn event(&mut self, now: Instant, tunnel: TunnelId, sa: SaId, event: Event) {
        self.events.push_back((now, tunnel, sa, event));
    }

    fn note(&mut self, now: Instant, note: LinkNote) {
        self.notes.push_back((now, note));
    }
}

/// What kind of news a note is.
pub fn news_kind(note: &LinkNote) -> NewsKind {
    match note {
        LinkNote::Refused { .. } => NewsKind::PortUnreachable,
        LinkNote::Unreachable { why, .. } if why.contains("MTU") => NewsKind::TooLong,
        LinkNote::Unreachable { by: Some(_), .. } => NewsKind::Unreachable,
        LinkNote::Unreachable { by: None, .. } => NewsKind::NoRoute,
        LinkNote::IpFragmented { .. } => NewsKind::TooLong,
        LinkNote::NotSent { .. } => NewsKind::NotSent,
    }
}

/// An endpoint on a link, recorded.
pub struct Driver<L> {
    /// The IKE peer. Commands given to it between turns take effect at the next turn.
    pub endpoint: Endpoint,
    /// Its network.
    pub link: L,
    /// What is kept of it.
    pub recorder: Recorder,
    rx: RxBatch,
    tx: TxBatch,
    /// Sent before the batch was whole.
    early: usize,
    /// ESP packets that have overtaken the message that brings their Child SA up: the peer may send on it as soon as it has
    /// answered, and a network keeps no order.
    held: VecDeque<HeldEsp>,
    held_back: u64,
}

/// An ESP packet on a Child SA under negotiation.
struct HeldEsp {
    until: Instant,
    spi: u32,
    at: Instant,
    path: Path,
    bytes: Vec<u8>,
}

/// What a turn did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Turn {
    /// Why waiting ended.
    pub wake: Wake,
    /// Datagrams received.
    pub received: usize,
    /// Datagrams sent, or tried.
    pub sent: usize,
    /// Events.
    pub events: usize,
}

impl Turn {
    /// True if nothing at all happened.
    pub fn is_idle(&self) -> bool {
        self.wake == Wake::Timeout && self.received == 0 && self.sent == 0 && self.events == 0
    }
}

impl<L: Link> Driver<L> {
    /// Joins them.
    pub fn new(endpoint: Endpoint, link: L, recorder: Recorder) -> Self {
        Driver {
            endpoint,
            link,
            recorder,
            rx: RxBatch::new(BATCH),
            tx: TxBatch::new(),
            early: 0,
            held: VecDeque::new(),
            held_back: 0,
        }
    }

    /// From now on a turn receives at most so many datagrams (64 at most), so that whoever has something else to do on time
    /// gets to it soon.
    pub fn set_batch(&mut self, batch: usize) {
        self.rx.limit(batch);
    }

    /// One turn: sends what is due, waits until something comes, until a timer of the endpoint or of the observer is
    /// due, or until `until`, and deals with it.
    ///
    /// # Errors
    ///
    /// If the link is unusable, or if a record could not be written: evidence that is missing must not go unnoticed.
    pub fn turn(&mut self, until: Option<Instant>, observer: &mut impl Observer) -> io::Result<Turn> {
        // Commands since the last turn, and timers that are due already.
        let (mut events, mut sent) = self.settle(observer)?;

        let held = self.held.front().map(|held| held.until);
        let timers = [until, self.endpoint.poll_timeout().map(|(at, _)| at), observer.poll_timeout(), held];
        let wake = self.link.recv_until(timers.into_iter().flatten().min(), &mut self.rx)?;
        let received = self.rx.len();
        while let Some((received, why)) = self.link.poll_dropped() {
            let Received { at, path, class, bytes } = received;
            self.recorder.datagram(at, Direction::In, &path, class, &bytes, Fate::LostOnPath(why));
            observer.lost(&Lost { at, direction: Direction::In, path: &path, class, bytes: &bytes, why });
        }
        events += self.handle_received(observer)?;

        let (more_events, more_sent) = self.settle(observer)?;
        events += more_events;
        sent += more_sent;
        while let Some(note) = self.link.poll_note() {
            let now = self.link.now();
            self.recorder.news(now, &News { path: note.path(), kind: news_kind(&note), text: &note.to_string() });
            observer.note(now, note);
        }
        self.recorder.flush()?;
        Ok(Turn { wake, received, sent, events })
    }

    /// When the endpoint wants to be woken.
    pub fn next_timeout(&self) -> Option<Instant> {
        let held = self.held.front().map(|held| held.until);
        self.endpoint.poll_timeout().map(|(at, _)| at).into_iter().chain(held).min()
    }

    /// ESP packets so far that came before the message that brought their Child SA up.
    pub fn held_back(&self) -> u64 {
        self.held_back
    }

    /// Events carry the time at which their datagram was received, not that at which the whole batch was dealt with.
    ///
    /// What is to be sent is gathered after each datagram, so that it leaves in the order in which it was made: an ESP
    /// packet on an old Child SA must not be overtaken by the message that ends it.
    fn handle_received(&mut self, observer: &mut impl Observer) -> io::Result<usize> {
        let mut events = 0;
        for n in 0..self.rx.len() {
            let Some(received) = self.rx.received_mut().get_mut(n) else { break };
            let (at, path) = (received.at, received.path);
            let class = received.class;
            let outside = self.link.outside(&path);
            if class == Class::Ike && self.endpoint.is_tampered() {
                // Its fate is known only when the rules have seen it, and then it is decrypted.
                let bytes = received.bytes.clone();
                let fate = match self.endpoint.handle_datagram(at, path, &mut received.bytes) {
                    Deliver::Drop => Fate::Withheld,
                    Deliver::HoldUntil(until) => Fate::Held(until),
                    Deliver::Yes | Deliver::Twice(_) => Fate::Passed,
                };
                self.recorder.datagram(at, Direction::In, &outside, class, &bytes, fate);
            } else {
                self.recorder.datagram(at, Direction::In, &outside, class, &received.bytes, Fate::Passed);
            }
            match class {
                // Handled above.
                Class::Ike if self.endpoint.is_tampered() => {}
                Class::Ike => {
                    self.endpoint.handle_datagram(at, path, &mut received.bytes);
                }
                Class::Esp => match negotiated(&self.endpoint, &received.bytes) {
                    Some(spi) if self.held.len() < HELD_MOST => {
                        let (until, bytes) = (at + HOLD, std::mem::take(&mut received.bytes));
                        self.held.push_back(HeldEsp { until, spi, at, path, bytes });
                        self.held_back += 1;
                    }
                    _ => observer.esp(at, path, &mut received.bytes),
                },
                // A keepalive says nothing (RFC 3948 2.3); what is none of these the link has counted.
                Class::Keepalive | Class::Verbatim => {}
            }
            while let Some((tunnel, sa, event)) = self.endpoint.poll_event() {
                self.recorder.event(at, tunnel, sa, &event);
                observer.event(at, tunnel, sa, event);
                events += 1;
            }
            self.release_held(at, observer);
            self.gather(at, observer)?;
        }
        Ok(events)
    }

    /// Hands on what no longer waits: its Child SA has come up or will not, or it has waited long enough.
    fn release_held(&mut self, now: Instant, observer: &mut impl Observer) {
        if self.held.is_empty() {
            return;
        }
        for mut held in std::mem::take(&mut self.held) {
            if held.until > now && self.endpoint.negotiates(held.spi) {
                self.held.push_back(held);
            } else {
                observer.esp(held.at, held.path, &mut held.bytes);
            }
        }
    }

    /// Collects what is to be sent: the endpoint's datagrams, which its events have announced, then the observer's, which
    /// follow from them.
    fn gather(&mut self, now: Instant, observer: &mut impl Observer) -> io::Result<()> {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            self.put(transmit, observer)?;
        }
        while let Some(transmit) = observer.poll_transmit(now) {
            self.put(transmit, observer)?;
        }
        Ok(())
    }

    /// Adds a datagram to the batch. A link keeps the order within a socket only, and native ESP has one of its own.
    fn put(&mut self, transmit: Transmit, observer: &mut impl Observer) -> io::Result<()> {
        let native = |transmit: &Transmit| transmit.path.role == SocketRole::Esp;
        if self.tx.items().last().is_some_and(|last| native(&last.transmit) != native(&transmit)) {
            self.early += self.tx.len();
            self.send(observer)?;
        }
        self.tx.push(transmit);
        Ok(())
    }

    /// Lets due timers fire, drains events, then sends; again while sending or observing brought up more.
    fn settle(&mut self, observer: &mut impl Observer) -> io::Result<(usize, usize)> {
        let (mut events, mut sent) = (0, 0);
        loop {
            let now = self.link.now();
            if self.endpoint.poll_timeout().is_some_and(|(at, _)| at <= now) {
                self.endpoint.handle_timeout(now);
            }
            while let Some((spi_in, note)) = observer.poll_note() {
                self.endpoint.esp_activity(now, spi_in, note);
            }
            let before = events;
            while let Some((tunnel, sa, event)) = self.endpoint.poll_event() {
                self.recorder.event(now, tunnel, sa, &event);
                observer.event(now, tunnel, sa, event);
                events += 1;
            }
            self.release_held(now, observer);
            self.gather(now, observer)?;
            sent += std::mem::take(&mut self.early);
            if self.tx.is_empty() && events == before {
                return Ok((events, sent));
            }
            sent += self.tx.len();
            self.send(observer)?;
        }
    }

    fn send(&mut self, observer: &mut impl Observer) -> io::Result<()> {
        if self.tx.is_empty() {
            return Ok(());
        }
        let outcome = self.link.send(&mut self.tx);
        for item in self.tx.items() {
            let Transmit { path, class, bytes } = &item.transmit;
            let why;
            let (at, fate) = match &item.outcome {
                TxOutcome::Sent(at) => (*at, Fate::Passed),
                TxOutcome::Dropped(why) => {
                    let at = self.link.now();
                    observer.lost(&Lost { at, direction: Direction::Out, path, class: *class, bytes, why });
                    (at, Fate::LostOnPath(why))
                }
                TxOutcome::Failed(error) => {
                    why = error.to_string();
                    (self.link.now(), Fate::NotSent(&why))
                }
                TxOutcome::Pending => (self.link.now(), Fate::NotSent("the link failed")),
            };
            self.recorder.datagram(at, Direction::Out, path, *class, bytes, fate);
        }
        for transmit in self.tx.drain() {
            if transmit.class == Class::Esp {
                observer.reclaim(transmit.bytes);
            }
        }
        outcome
    }
}

/// The SPI of an ESP packet, if it is that of a Child SA under negotiation.
fn negotiated(endpoint: &Endpoint, packet: &[u8]) -> Option<u32> {
    let spi = u32::from_be_bytes(*packet.first_chunk()?);
    endpoint.negotiates(spi).then_some(spi)
}
