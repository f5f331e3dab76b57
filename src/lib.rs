//! ikelab: a userspace IKEv2 test peer and interop simulator.
//!
//! Start reading at [`engine`], the sans-IO IKEv2 peer, then [`wire`] below it and [`drive`] above it.
//! `ARCHITECTURE.md` holds the dependency rule; a test enforces it.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod auth;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod diagnose;
pub mod drive;
pub mod engine;
pub mod esp;
pub mod fault;
pub mod link;
pub mod load;
pub mod net;
pub mod preflight;
pub mod record;
pub mod report;
pub mod scenario;
pub mod seed;
pub mod time;
pub mod vendor;
pub mod wire;
