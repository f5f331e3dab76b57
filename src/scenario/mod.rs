//! Failure scenarios: schema, steps, verdict.
