//! Lifetimes.
