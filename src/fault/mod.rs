//! Misbehaviour, behind the engine's seams.
