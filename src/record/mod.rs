//! What a run leaves behind: captures, key tables, transcripts.
//!
//! The drive loop tells a [`Recorder`] of every datagram and every event; it passes both on to its sinks. Sinks write
//! into buffers and are flushed at the end of every turn, so that a crash never loses what an earlier turn recorded.

mod faults;
mod json;
mod keys;
pub mod lines;
mod packet;
mod pcapng;
mod transcript;
mod uat;

use std::collections::VecDeque;
use std::io;

pub use keys::{KeyTables, UNSUPPORTED_FILE};
pub use lines::events_schema;
pub use pcapng::PcapNg;
pub use transcript::{SCHEMA_VERSION, Transcript, TranscriptDir};
pub use uat::{EspUat, IkeUat, Unsupported, esp_uat, ike_uat};

use crate::engine::{Event, SaId, TunnelId};
use crate::net::{Class, Path};
use crate::time::Instant;
use crate::wire::registry::ExchangeType;
use crate::wire::{Header, IkeSpi};

/// Which way a datagram went.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// To us.
    In,
    /// From us.
    Out,
}

/// Whether a datagram really passed the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate<'a> {
    /// It did.
    Passed,
    /// A rule took it away before it left (or, inbound, before it was looked at). Names the rule.
    DroppedByRule(&'a str),
    /// The bad path that was ordered lost it on its way out or in. Says how, as `path: blackout`.
    LostOnPath(&'a str),
    /// The operating system would not send it; in words.
    NotSent(&'a str),
    /// It arrived, and a rule kept it from the engine.
    Withheld,
    /// It arrived, and a rule kept it from the engine until then.
    Held(Instant),
}

/// A datagram as told to the sinks.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Its number, from 1; the frame number in a capture that holds the whole run.
    pub number: u64,
    /// When it was received or sent.
    pub at: Instant,
    /// Which way.
    pub direction: Direction,
    /// Its two ends as seen from here.
    pub path: &'a Path,
    /// What it is; decides whether the non-ESP marker stood before it.
    pub class: Class,
    /// The UDP payload without the non-ESP marker.
    pub bytes: &'a [u8],
    /// Whether it passed.
    pub fate: Fate<'a>,
}

/// What is said of a datagram that never arrived because the bad path that was ordered lost it: the peer has no part in it.
pub const LOST_ON_PATH: &str = "lost by our own path, as ordered";

/// How the ordered path lost a datagram, in a word or two: `blackout` of `path: blackout`.
pub fn how_lost(why: &str) -> &str {
    why.strip_prefix("path: ").unwrap_or(why)
}

/// What the network or the operating system said of a datagram. It proves nothing, and tells a person where to look.
#[derive(Clone, Copy, Debug)]
pub struct News<'a> {
    /// The datagram's path.
    pub path: &'a Path,
    /// What kind of news it is.
    pub kind: NewsKind,
    /// In words.
    pub text: &'a str,
}

/// Kinds of news from the network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewsKind {
    /// ICMP: nothing listens on the port.
    PortUnreachable,
    /// ICMP, another error that comes from somewhere on the way or from the host there.
    Unreachable,
    /// This host knows no way.
    NoRoute,
    /// Longer than the path carries.
    TooLong,
    /// Not sent.
    NotSent,
}

impl NewsKind {
    /// Every one.
    pub const ALL: [NewsKind; 5] =
        [NewsKind::PortUnreachable, NewsKind::Unreachable, NewsKind::NoRoute, NewsKind::TooLong, NewsKind::NotSent];

    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            NewsKind::PortUnreachable => "port_unreachable",
            NewsKind::Unreachable => "unreachable",
            NewsKind::NoRoute => "no_route",
            NewsKind::TooLong => "too_long",
            NewsKind::NotSent => "not_sent",
        }
    }
}

/// A sink.
pub trait Record: Send {
    /// Takes note of a datagram. An error is kept for [`Record::flush`].
    fn datagram(&mut self, datagram: &Datagram<'_>);

    /// Takes note of an event. An error is kept for [`Record::flush`].
    fn event(&mut self, at: Instant, tunnel: TunnelId, sa: SaId, event: &Event);

    /// Takes note of what the network said.
    fn news(&mut self, _at: Instant, _news: &News<'_>) {}

    /// Hands everything to the operating system.
    ///
    /// # Errors
    ///
    /// If something could not be written, now or earlier; the message names the file.
    fn flush(&mut self) -> io::Result<()>;
}

/// Numbers datagrams and passes everything on to any number of sinks.
#[derive(Default)]
pub struct Recorder {
    sinks: Vec<Box<dyn Record>>,
    datagrams: u64,
    recent: VecDeque<(PacketKey, u64)>,
    dirty: bool,
}

/// How many recent IKE datagrams [`Recorder::packet`] knows.
const RECENT: usize = 512;

/// What names an IKE message on the wire, apart from its contents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct PacketKey {
    direction: Direction,
    spis: (IkeSpi, IkeSpi),
    exchange: ExchangeType,
    response: bool,
    message_id: u32,
}

impl PacketKey {
    fn new(direction: Direction, header: &Header) -> Self {
        PacketKey {
            direction,
            spis: (header.spi_i, header.spi_r),
            exchange: header.exchange,
            response: header.flags.is_response(),
            message_id: header.message_id,
        }
    }

    fn of(datagram: &Datagram<'_>) -> Option<Self> {
        let header = (datagram.class == Class::Ike).then(|| Header::read(datagram.bytes)).flatten()?;
        Some(PacketKey::new(datagram.direction, &header))
    }
}

impl Recorder {
    /// A recorder without sinks; it only counts.
    pub fn new() -> Self {
        Recorder::default()
    }

    /// Adds a sink.
    pub fn add(&mut self, sink: impl Record + 'static) {
        self.sinks.push(Box::new(sink));
    }

    /// True if nothing is recorded, so that a caller need not make up what nobody reads.
    pub fn is_idle(&self) -> bool {
        self.sinks.is_empty()
    }

    /// Records a datagram and returns its number.
    pub fn datagram(
        &mut self,
        at: Instant,
        direction: Direction,
        path: &Path,
        class: Class,
        bytes: &[u8],
        fate: Fate<'_>,
    ) -> u64 {
        self.datagrams += 1;
        let number = self.datagrams;
        if self.sinks.is_empty() {
            return number;
        }
        let datagram = Datagram { number, at, direction, path, class, bytes, fate };
        if let Some(key) = PacketKey::of(&datagram) {
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back((key, number));
        }
        for sink in &mut self.sinks {
            sink.datagram(&datagram);
        }
        self.dirty = true;
        number
    }

    /// Records an event.
    pub fn event(&mut self, at: Instant, tunnel: TunnelId, sa: SaId, event: &Event) {
        for sink in &mut self.sinks {
            sink.event(at, tunnel, sa, event);
        }
        self.dirty = true;
    }

    /// Records what the network said.
    pub fn news(&mut self, at: Instant, news: &News<'_>) {
        for sink in &mut self.sinks {
            sink.news(at, news);
        }
        self.dirty = true;
    }

    /// The number of the latest datagram that carried a message with this header; for "packet 4" in reports. Knows
    /// only recent ones, and none without sinks.
    pub fn packet(&self, direction: Direction, header: &Header) -> Option<u64> {
        let key = PacketKey::new(direction, header);
        self.recent.iter().rev().find(|(other, _)| *other == key).map(|&(_, number)| number)
    }

    /// How many datagrams were recorded.
    pub fn datagrams(&self) -> u64 {
        self.datagrams
    }

    /// Flushes all sinks.
    ///
    /// # Errors
    ///
    /// The first sink's that failed; the others are flushed nevertheless.
    pub fn flush(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.dirty) {
            return Ok(());
        }
        self.sinks.iter_mut().map(|sink| sink.flush()).fold(Ok(()), io::Result::and)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Whoever wants to know of errors has flushed before.
        let _ = self.flush();
    }
}

/// A writer that remembers its first error until somebody flushes.
struct Sink<W> {
    what: String,
    out: W,
    error: Option<io::Error>,
}

impl<W: io::Write> Sink<W> {
    fn new(what: String, out: W) -> Self {
        Sink { what, out, error: None }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.error.is_none()
            && let Err(error) = self.out.write_all(bytes)
        {
            self.error = Some(error);
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let outcome = self.error.take().map_or(Ok(()), Err).and_then(|()| self.out.flush());
        outcome.map_err(|error| io::Error::new(error.kind(), format!("cannot write {}: {error}", self.what)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::net::SocketRole;
    use crate::wire::Flags;

    struct Probe(Arc<Mutex<Vec<String>>>);

    impl Record for Probe {
        fn datagram(&mut self, datagram: &Datagram<'_>) {
            self.0.lock().expect("no panic holds it").push(format!("{} {:?}", datagram.number, datagram.direction));
        }
        fn event(&mut self, _: Instant, tunnel: TunnelId, _: SaId, event: &Event) {
            self.0.lock().expect("no panic holds it").push(format!("{tunnel} {event:?}"));
        }
        fn flush(&mut self) -> io::Result<()> {
            self.0.lock().expect("no panic holds it").push("flush".to_owned());
            Ok(())
        }
    }

    fn path() -> Path {
        let local: SocketAddr = "192.0.2.1:500".parse().expect("an address");
        Path { local, remote: "192.0.2.2:500".parse().expect("an address"), role: SocketRole::Ike }
    }

    #[test]
    fn all_sinks_hear_everything_and_idle_flushes_are_free() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let mut recorder = Recorder::new();
        assert!(recorder.is_idle());
        recorder.add(Probe(Arc::clone(&heard)));
        recorder.add(Probe(Arc::clone(&heard)));
        let number = recorder.datagram(Instant::ZERO, Direction::In, &path(), Class::Ike, b"x", Fate::Passed);
        let sa = SaId { slot: 0, generation: 0 };
        recorder.event(Instant::ZERO, TunnelId(3), sa, &Event::Closed);
        for _ in 0..2 {
            recorder.flush().expect("the probe never fails");
        }
        drop(recorder);
        assert_eq!(number, 1);
        let expected = ["1 In", "1 In", "tunnel 3 Closed", "tunnel 3 Closed", "flush", "flush"];
        assert_eq!(*heard.lock().expect("no panic holds it"), expected);
    }

    #[test]
    fn a_message_is_found_by_its_header() {
        let mut recorder = Recorder::new();
        recorder.add(Probe(Arc::default()));
        let header = |id| Header::new(IkeSpi(1), IkeSpi(2), ExchangeType::IKE_AUTH, Flags::INITIATOR, id);
        let mut bytes = Vec::new();
        header(1).write(&mut bytes);
        for direction in [Direction::Out, Direction::Out, Direction::In] {
            recorder.datagram(Instant::ZERO, direction, &path(), Class::Ike, &bytes, Fate::Passed);
        }
        assert_eq!(recorder.packet(Direction::Out, &header(1)), Some(2), "the latest");
        assert_eq!(recorder.packet(Direction::In, &header(1)), Some(3));
        assert_eq!(recorder.packet(Direction::In, &header(2)), None);
    }

    #[test]
    fn an_error_waits_for_the_flush_and_names_the_file() {
        struct Full;
        impl io::Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut sink = Sink::new("run.pcapng".to_owned(), Full);
        sink.write(b"x");
        let error = sink.flush().expect_err("the disk is full").to_string();
        assert!(error.starts_with("cannot write run.pcapng: "), "{error}");
    }
}
