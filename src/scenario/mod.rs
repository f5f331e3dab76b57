//! Failure scenarios: schema, steps, verdict.

pub mod control;
