//! The seam of the data plane: outgoing packets as no honest peer sends them. An honest packet does not pass here twice.

use std::collections::VecDeque;

use super::child::Child;
use super::counters::SendError;
use super::packet::{Context, HEADER_LEN};
use crate::engine::{EspCx, EspEdit, SaId, Tamper};
use crate::net::Transmit;
use crate::time::Instant;

/// The longest ICV that a rule may ask for.
const MAX_ICV: usize = 64;

/// The bender, and what it has done to the packet that is being made.
#[derive(Default)]
pub(super) struct Bend {
    pub tamper: Option<Box<dyn Tamper>>,
    /// What becomes of the packet sealed last.
    pending: Option<EspEdit>,
    /// Packets that the next one overtakes.
    overtaken: Vec<Transmit>,
}

impl Bend {
    /// Seals a packet in the way that the rules want it; `None` if they want nothing, and the packet is the honest one.
    pub fn seal(
        &mut self,
        now: Instant,
        sa: Option<SaId>,
        child: &mut Child,
        payload: &[u8],
        next_header: u8,
        out: &mut Vec<u8>,
    ) -> Option<Result<bool, SendError>> {
        let tamper = self.tamper.as_mut()?;
        let (suite, initiator) = (child.suite, child.initiator);
        let cx =
            EspCx { sa, tunnel: child.tunnel, spi_in: child.spi_in, spi_out: child.spi_out, initiator, suite, now };
        let honest = child.honest(payload, next_header);
        let mut edit = honest.clone();
        tamper.esp(&cx, &mut edit);
        if edit == honest {
            return None;
        }
        // Keys of a wrong length key nothing.
        let context = Context::new(&suite, &edit.encr_key, &edit.integ_key)
            .or_else(|_| Context::new(&suite, &honest.encr_key, &honest.integ_key));
        let Ok(mut context) = context else { return None };
        context.seal(edit.spi, edit.sequence, &edit.payload, 0, edit.next_header, out).ok()?;
        child.count();
        if edit.clear {
            out.truncate(HEADER_LEN);
            out.extend_from_slice(&edit.payload);
        } else {
            let icv = out.len() - context.icv_len();
            if let Some(first) = out.get_mut(icv) {
                *first ^= edit.icv_mask;
            }
            if let Some(len) = edit.icv_len {
                out.resize(icv + len.min(MAX_ICV), 0);
            }
            if let Some(first) = out.get_mut(HEADER_LEN) {
                *first ^= edit.body_mask;
            }
        }
        self.pending = Some(edit);
        Some(Ok(false))
    }

    /// Puts the packet sealed last into the queue: once, several times, behind the next one, or not at all.
    pub fn release(&mut self, transmit: Transmit, out: &mut VecDeque<Transmit>) {
        let Some(edit) = self.pending.take() else {
            out.push_back(transmit);
            out.extend(self.overtaken.drain(..));
            return;
        };
        let copies = usize::from(edit.copies) + 1;
        let packets = std::iter::repeat_n(transmit, if edit.send { copies } else { 0 });
        if edit.overtaken {
            self.overtaken.extend(packets);
        } else {
            out.extend(packets);
            out.extend(self.overtaken.drain(..));
        }
    }
}
