//! Collisions.
