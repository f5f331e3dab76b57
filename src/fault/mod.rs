//! Misbehaviour as data: rules of a few primitives, applied at the engine's seams, and a table of named faults.
//!
//! Every firing is recorded, so that a run can tell a fault that had its effect on the wire from one that never fired.

mod plan;
mod record;
mod rule;
pub mod table;

pub use plan::FaultPlan;
pub use record::{Dropped, Firing, FiringLog};
pub use rule::{Action, Choice, OctetEdit, PayloadSel, Rule, Seam, When};
