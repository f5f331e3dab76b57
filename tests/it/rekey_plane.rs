//! A data plane for tests: which ESP SAs each end has installed, and on which it sends. Fed by events alone.

use std::collections::BTreeMap;

use ikelab::crypto::Secret;
use ikelab::engine::{ChildSa, Event};

use crate::pair::{End, Pair};

/// One end's ESP SAs.
#[derive(Default, Debug)]
pub struct Plane {
    /// Installed Child SAs by our inbound SPI.
    pub installed: BTreeMap<u32, Esp>,
    /// The Child SA that is sent on, by the child's name.
    pub sending: BTreeMap<String, u32>,
    /// Child SAs rekeyed so far: old and new inbound SPI.
    pub rekeyed: Vec<(u32, u32)>,
    /// What went against the rules.
    pub faults: Vec<String>,
}

/// One installed Child SA.
#[derive(Debug)]
pub struct Esp {
    pub name: String,
    pub spi_out: u32,
    /// Key of the packets that we receive.
    pub key_in: Secret,
    /// Key of the packets that we send.
    pub key_out: Secret,
}

impl Esp {
    fn of(child: &ChildSa) -> Esp {
        let (i, r) = (child.keys.i_encr.clone(), child.keys.r_encr.clone());
        let (key_out, key_in) = if child.initiator { (i, r) } else { (r, i) };
        Esp { name: child.name.clone(), spi_out: child.spi_out, key_in, key_out }
    }
}

impl Plane {
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::ChildInbound(child) if self.installed.insert(child.spi_in, Esp::of(child)).is_some() => {
                self.faults.push(format!("{:08x} installed twice", child.spi_in));
            }
            Event::ChildOutbound { spi_in } => match self.installed.get(spi_in) {
                Some(esp) => drop(self.sending.insert(esp.name.clone(), *spi_in)),
                None => self.faults.push(format!("told to send on {spi_in:08x}, which is not there")),
            },
            Event::ChildClosing { spi_in } => self.sending.retain(|_, spi| spi != spi_in),
            Event::ChildDown { spi_in, .. } => {
                self.sending.retain(|_, spi| spi != spi_in);
                if self.installed.remove(spi_in).is_none() {
                    self.faults.push(format!("{spi_in:08x} is down and was never there"));
                }
            }
            Event::ChildRekeyed { old, new } => self.rekeyed.push((*old, *new)),
            _ => {}
        }
    }

    /// The peer's SPIs on which this end sends now.
    pub fn outbound(&self) -> impl Iterator<Item = (u32, &Esp)> {
        self.sending.values().filter_map(|spi| self.installed.get(spi).map(|esp| (*spi, esp)))
    }
}

/// Both ends' data planes.
#[derive(Default, Debug)]
pub struct Planes {
    pub left: Plane,
    pub right: Plane,
    seen: usize,
}

impl Planes {
    pub fn at(&self, end: End) -> &Plane {
        if end == End::Left { &self.left } else { &self.right }
    }

    /// Takes in the events that are new.
    pub fn follow(&mut self, pair: &Pair) {
        for (end, _, _, event) in &pair.events[self.seen..] {
            let plane = if *end == End::Left { &mut self.left } else { &mut self.right };
            plane.event(event);
        }
        self.seen = pair.events.len();
    }

    /// A packet sent now, by either end on whatever it sends on, would be understood: the receiver has that SPI
    /// installed, with the same key. As this holds at every moment, no packet arrives at an SPI that is not installed
    /// yet, or that was removed before it was sent.
    pub fn check(&self) -> Result<(), String> {
        for (from, to, name) in [(&self.left, &self.right, "left"), (&self.right, &self.left, "right")] {
            if let Some(fault) = from.faults.first() {
                return Err(format!("{name}: {fault}"));
            }
            for (_, esp) in from.outbound() {
                match to.installed.get(&esp.spi_out) {
                    None => return Err(format!("{name} sends on {:08x}, which is not there", esp.spi_out)),
                    Some(other) if other.key_in != esp.key_out => return Err(format!("{name}: keys differ")),
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Both ends have the same Child SAs, one for each of `names`, and send on them.
    pub fn mirrored(&self, names: &[&str]) -> Result<(), String> {
        for (here, there) in [(&self.left, &self.right), (&self.right, &self.left)] {
            let have: Vec<&str> = here.installed.values().map(|esp| esp.name.as_str()).collect();
            if have != names {
                return Err(format!("Child SAs {have:?}, wanted {names:?}"));
            }
            let sending: Vec<&str> = here.sending.keys().map(String::as_str).collect();
            if sending != names {
                return Err(format!("sends on {sending:?}, wanted {names:?}"));
            }
            for (spi_in, esp) in &here.installed {
                if there.installed.get(&esp.spi_out).is_none_or(|other| other.spi_out != *spi_in) {
                    return Err(format!("{spi_in:08x} has no counterpart"));
                }
            }
        }
        Ok(())
    }
}
