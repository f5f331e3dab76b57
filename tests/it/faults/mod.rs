//! Every named fault between two engines: what the other end decodes differs as the fault says, and does not without it.
//!
//! A check looks at datagrams (octets, times, paths) of the bent end. It must hold with the fault and must not hold in the
//! same run without it; the record must say that the fault had its effect.

mod auth;
mod init;
mod life;
mod payload;
pub mod seen;
mod transport;
pub mod world;

use ikelab::wire::registry::ExchangeType;

use crate::pair::End;
use world::{Packet, Run, Scene, play, rule};

/// The checks of all faults that act on IKE, in their sections.
pub static SECTIONS: [&[Check]; 5] = [transport::CHECKS, payload::CHECKS, init::CHECKS, auth::CHECKS, life::CHECKS];

/// Arguments of a fault.
type With = &'static [(&'static str, &'static str)];

/// A fault that is there in both runs.
#[derive(Clone, Copy)]
struct Beside {
    end: End,
    name: &'static str,
    with: With,
    exchange: Option<ExchangeType>,
    times: Option<u32>,
}

/// What tells the run with the fault from the run without.
#[derive(Clone, Copy)]
enum See {
    /// Some datagram of the bent end is like this; without the fault none is.
    Some(fn(&Packet) -> bool),
    /// No datagram of the bent end is like this; without the fault some is.
    No(fn(&Packet) -> bool),
    /// Of the run as a whole.
    Run(fn(&mut Run) -> bool),
    /// Of the honest run and the other one; of two honest runs it does not hold.
    Both(fn(&Run, &Run) -> bool),
}

/// One check of one named fault.
#[derive(Clone, Copy)]
pub struct Check {
    pub name: &'static str,
    with: With,
    end: End,
    scene: Scene,
    exchange: Option<ExchangeType>,
    times: Option<u32>,
    beside: Option<Beside>,
    see: See,
}

const fn check(name: &'static str, scene: Scene, see: See) -> Check {
    Check { name, with: &[], end: End::Left, scene, exchange: None, times: None, beside: None, see }
}

impl Check {
    const fn with(self, with: With) -> Self {
        Check { with, ..self }
    }

    const fn right(self) -> Self {
        Check { end: End::Right, ..self }
    }

    const fn during(self, exchange: ExchangeType) -> Self {
        Check { exchange: Some(exchange), ..self }
    }

    const fn once(self) -> Self {
        Check { times: Some(1), ..self }
    }

    const fn beside(self, beside: Beside) -> Self {
        Check { beside: Some(beside), ..self }
    }

    /// Plays it, with or without the fault. Runs with different salts draw different SPIs, nonces and keys.
    pub fn play(&self, bent: bool, salt: u64) -> Run {
        let (mut left, mut right) = (Vec::new(), Vec::new());
        // The one that is there anyway comes first: the other may bend what it makes.
        if let Some(other) = self.beside {
            let side = if other.end == End::Left { &mut left } else { &mut right };
            side.push(rule(other.name, other.with, other.exchange, other.times));
        }
        if bent {
            let side = if self.end == End::Left { &mut left } else { &mut right };
            side.push(rule(self.name, self.with, self.exchange, self.times));
        }
        play(self.scene, self.end, left, right, salt)
    }

    /// What is wrong with the fault, if anything.
    pub fn judge(&self) -> Result<(), String> {
        let (mut honest, mut faulty) = (self.play(false, 0), self.play(true, 0));
        let (with, without) = match self.see {
            See::Some(like) => (faulty.sent().any(like), honest.sent().any(like)),
            See::No(like) => (!faulty.sent().any(like), !honest.sent().any(like)),
            See::Run(like) => (like(&mut faulty), like(&mut honest)),
            See::Both(like) => (like(&honest, &faulty), like(&honest, &self.play(false, 0))),
        };
        let name = self.name;
        if faulty.log.effective(name) == 0 {
            return Err(format!("{name}: had no effect; firings {:?}", faulty.log.all()));
        }
        match (with, without) {
            (true, false) => Ok(()),
            (false, _) => Err(format!("{name}: the other end sees nothing of it\n{}", ladder(&faulty))),
            (true, true) => Err(format!("{name}: it is to be seen without the fault, too\n{}", ladder(&honest))),
        }
    }
}

fn ladder(run: &Run) -> String {
    let line = |packet: &Packet| {
        let kind = packet.header.map(|h| format!("{} {:?} id {}", h.exchange, h.flags, h.message_id));
        let raws: Vec<u8> = packet.raws().iter().map(|raw| raw.kind).collect();
        let at = packet.at.as_secs_f64();
        format!("  {at:.3} {:?} {} octets {} {raws:?}\n", packet.from, packet.bytes.len(), kind.unwrap_or_default())
    };
    run.packets.iter().take(30).map(line).collect()
}
