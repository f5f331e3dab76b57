//! Rendering of results; never computes.
