//! Real IKEv2 peers, in network namespaces that a test makes and removes.
//!
//! `scripts/test-setup` installs what these tests need. A peer that is missing is a failure, never a skip.

// The harness is used by tests that come one by one; what one of them needs is not dead while another does not.
// Real peers live in real time.
#![allow(clippy::disallowed_methods)]
#![allow(dead_code)]

mod certificates;
mod cli;
mod diagnosis;
mod diagnosis_life;
mod diagnosis_refused;
mod dpd;
mod esp;
mod expectations;
mod failures;
#[path = "../it/faults/mod.rs"]
mod fault_checks;
mod faults_real;
mod faults_tshark;
mod fragments;
mod html_report;
mod libreswan;
mod load;
mod mobike;
mod netns;
mod openiked;
#[path = "../it/pair.rs"]
mod pair;
mod path_relay;
mod peer;
mod personas;
mod pki;
mod preflight;
mod process;
mod proposal;
mod rekeys;
mod remote_access;
mod roaming;
mod rundir;
mod scenarios;
mod strongswan;
mod suites;
mod sweep;
mod tshark;
mod tunnel;
mod tunnels;
mod uml;
mod uml_boxes;
mod uml_data;
mod uml_peer;
mod uml_tests;

mod selftest;
