//! A pcapng capture of what this program sent and received, readable by Wireshark without privilege to capture.
//!
//! Two interfaces: `wire` for what really passed, `not-sent` for what a rule or the operating system kept back
//! (`frame.interface_name == "not-sent"` in a display filter), each with a comment that says why. Raw IP packets
//! (LINKTYPE_RAW), nanosecond timestamps, direction in the packet flags.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use super::packet::append_packet;
use super::{Datagram, Direction, Fate, Record, Sink};
use crate::engine::{Event, SaId, TunnelId};
use crate::time::{Instant, UnixTime};

const LINKTYPE_RAW: u16 = 101;
const BLOCK_SECTION: u32 = 0x0a0d_0d0a;
const BLOCK_INTERFACE: u32 = 1;
const BLOCK_PACKET: u32 = 6;
const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const OPTION_SECTION_APPLICATION: u16 = 4;
const OPTION_INTERFACE_NAME: u16 = 2;
const OPTION_INTERFACE_DESCRIPTION: u16 = 3;
const OPTION_INTERFACE_RESOLUTION: u16 = 9;
const OPTION_PACKET_FLAGS: u16 = 2;
const INTERFACE_WIRE: u32 = 0;
const INTERFACE_NOT_SENT: u32 = 1;

/// A capture being written.
pub struct PcapNg<W: Write> {
    sink: Sink<W>,
    epoch: UnixTime,
    frames: u64,
    block: Vec<u8>,
    packet: Vec<u8>,
}

impl PcapNg<BufWriter<File>> {
    /// Creates (or empties) a file.
    ///
    /// # Errors
    ///
    /// If it cannot be created or written; the message names it.
    pub fn create(file: &std::path::Path, epoch: UnixTime) -> io::Result<Self> {
        let name = file.display().to_string();
        let open = File::create(file).map_err(|e| io::Error::new(e.kind(), format!("cannot create {name}: {e}")))?;
        let mut capture = PcapNg::named(name, BufWriter::with_capacity(1 << 16, open), epoch);
        capture.sink.flush()?;
        Ok(capture)
    }
}

impl<W: Write> PcapNg<W> {
    /// Begins a capture on any writer. `epoch` is the wall-clock time of instant zero.
    pub fn new(out: W, epoch: UnixTime) -> Self {
        Self::named("the capture".to_owned(), out, epoch)
    }

    fn named(what: String, out: W, epoch: UnixTime) -> Self {
        let sink = Sink::new(what, out);
        let mut capture = PcapNg { sink, epoch, frames: 0, block: Vec::new(), packet: Vec::new() };
        capture.section();
        capture.interface("wire", "datagrams that ikelab sent or received; IP and UDP headers are made up from them");
        capture.interface("not-sent", "datagrams that never left, or were withheld from ikelab, each with the reason");
        capture
    }

    /// Frames written so far; the next one has this number plus one in Wireshark.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Writes a datagram; returns its frame number in this file.
    pub fn write(&mut self, datagram: &Datagram<'_>) -> u64 {
        self.frames += 1;
        let mut packet = std::mem::take(&mut self.packet);
        packet.clear();
        let total = append_packet(&mut packet, datagram);

        let interface = match datagram.fate {
            Fate::Passed | Fate::Held(_) => INTERFACE_WIRE,
            _ => INTERFACE_NOT_SENT,
        };
        let time = self.epoch.at(datagram.at);
        self.begin(BLOCK_PACKET);
        self.u32(interface);
        self.u32((time >> 32) as u32);
        self.u32(time as u32);
        self.u32(u32::try_from(packet.len()).unwrap_or(u32::MAX));
        self.u32(u32::try_from(total).unwrap_or(u32::MAX));
        self.block.extend_from_slice(&packet);
        self.pad();
        match datagram.fate {
            Fate::Passed => {}
            Fate::DroppedByRule(rule) => {
                let what = if datagram.direction == Direction::Out { "not sent" } else { "withheld" };
                self.option(OPTION_COMMENT, format!("dropped by rule {rule}: {what}").as_bytes());
            }
            Fate::LostOnPath(why) => {
                let how = super::how_lost(why);
                self.option(OPTION_COMMENT, format!("{}: {how}", super::LOST_ON_PATH).as_bytes());
            }
            Fate::NotSent(why) => self.option(OPTION_COMMENT, format!("not sent: {why}").as_bytes()),
            Fate::Withheld => self.option(OPTION_COMMENT, b"arrived, but a rule withheld it"),
            Fate::Held(until) => {
                let ms = until.since(datagram.at).as_millis();
                self.option(OPTION_COMMENT, format!("arrived; a rule held it back for {ms} ms").as_bytes());
            }
        }
        let direction: u32 = match datagram.direction {
            Direction::In => 1,
            Direction::Out => 2,
        };
        self.option(OPTION_PACKET_FLAGS, &direction.to_le_bytes());
        self.option(OPTION_END, &[]);
        self.end();
        self.packet = packet;
        self.frames
    }

    fn section(&mut self) {
        self.begin(BLOCK_SECTION);
        self.u32(0x1a2b_3c4d); // byte order
        self.u32(1); // version 1.0: major, then minor, in little-endian halves
        self.block.extend_from_slice(&u64::MAX.to_le_bytes()); // section length not known
        self.option(OPTION_SECTION_APPLICATION, concat!("ikelab ", env!("CARGO_PKG_VERSION")).as_bytes());
        self.option(OPTION_END, &[]);
        self.end();
    }

    fn interface(&mut self, name: &str, description: &str) {
        self.begin(BLOCK_INTERFACE);
        self.u32(u32::from(LINKTYPE_RAW));
        self.u32(0); // no snapshot length
        self.option(OPTION_INTERFACE_NAME, name.as_bytes());
        self.option(OPTION_INTERFACE_DESCRIPTION, description.as_bytes());
        self.option(OPTION_INTERFACE_RESOLUTION, &[9]);
        self.option(OPTION_END, &[]);
        self.end();
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.u32(kind);
        self.u32(0); // total length, set by `end`
    }

    fn end(&mut self) {
        let len = u32::try_from(self.block.len() + 4).expect("a block holds one packet of at most 64 KiB");
        self.block[4..8].copy_from_slice(&len.to_le_bytes());
        self.u32(len);
        self.sink.write(&self.block);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.block.extend_from_slice(&code.to_le_bytes());
        self.block.extend_from_slice(&(value.len() as u16).to_le_bytes());
        self.block.extend_from_slice(value);
        self.pad();
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn u32(&mut self, value: u32) {
        self.block.extend_from_slice(&value.to_le_bytes());
    }
}

impl<W: Write + Send> Record for PcapNg<W> {
    fn datagram(&mut self, datagram: &Datagram<'_>) {
        self.write(datagram);
    }

    fn event(&mut self, _: Instant, _: TunnelId, _: SaId, _: &Event) {}

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Class, Path, SocketRole};

    /// Splits a capture into blocks, checking what every reader checks.
    fn blocks(mut bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let word = |bytes: &[u8]| u32::from_le_bytes(bytes[..4].try_into().expect("four octets"));
        let mut out = Vec::new();
        while !bytes.is_empty() {
            let len = word(&bytes[4..]) as usize;
            assert_eq!(len % 4, 0);
            assert_eq!(word(&bytes[len - 4..]) as usize, len, "the length stands at both ends");
            out.push((word(bytes), bytes[8..len - 4].to_vec()));
            bytes = &bytes[len..];
        }
        out
    }

    #[test]
    fn blocks_are_well_formed_and_frames_are_counted() {
        let mut bytes = Vec::new();
        {
            let mut capture = PcapNg::new(&mut bytes, UnixTime(1_700_000_000_000_000_000));
            let path = Path {
                local: "192.0.2.1:500".parse().expect("an address"),
                remote: "192.0.2.2:500".parse().expect("an address"),
                role: SocketRole::Ike,
            };
            let at = Instant(5);
            let direction = Direction::Out;
            for (number, fate) in [(1, Fate::Passed), (2, Fate::DroppedByRule("r1"))] {
                let class = Class::Ike;
                let datagram = Datagram { number, at, direction, path: &path, class, bytes: b"abc", fate };
                assert_eq!(capture.write(&datagram), number);
            }
            assert_eq!(capture.frames(), 2);
        }
        let blocks = blocks(&bytes);
        let kinds: Vec<_> = blocks.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [BLOCK_SECTION, BLOCK_INTERFACE, BLOCK_INTERFACE, BLOCK_PACKET, BLOCK_PACKET]);
        let time = 1_700_000_000_000_000_005_u64;
        let passed = &blocks[3].1;
        assert_eq!(passed[4..8], ((time >> 32) as u32).to_le_bytes());
        assert_eq!(passed[8..12], (time as u32).to_le_bytes());
        assert_eq!((passed[0], blocks[4].1[0]), (0, 1), "the second one is on the interface not-sent");
        let comment = String::from_utf8_lossy(&blocks[4].1).into_owned();
        assert!(comment.contains("dropped by rule r1: not sent"));
    }
}
