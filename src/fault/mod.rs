//! Misbehaviour as data: rules of a few primitives, applied at the engine's seams, and a table of named faults.
//!
//! Every firing is recorded, so that a run can tell a fault that had its effect on the wire from one that never fired.

mod action;
mod esp;
mod message;
mod octets;
mod plan;
mod record;
mod rule;
pub mod table;
mod wire;

pub use action::{Action, Choice, EspFault, FragmentEdit, Invention, Junk, Moment, ProposalEdit, Redirect, TsEdit};
pub use octets::OctetEdit;
pub use plan::FaultPlan;
pub use record::{Dropped, Firing, FiringLog};
pub use rule::{PayloadSel, Rule, Seam, When};
