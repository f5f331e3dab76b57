//! Connection files.
