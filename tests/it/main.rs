//! Integration tests, one binary.

mod capture;
mod certificates;
mod certificates_cli;
#[allow(clippy::disallowed_methods)] // real processes live in real time
mod cli_errors;
#[allow(clippy::disallowed_methods)] // here, too
mod cli_run;
mod corpus;
mod crypto_oracle;
mod diagnosis;
mod drive;
mod eap;
mod engine_basic;
mod engine_rules;
mod esp;
mod evidence;
#[allow(dead_code)] // what only the interop tests read
mod faults;
#[path = "faults/played.rs"]
mod faults_played;
mod fragments;
mod inner_address;
mod invented;
mod layers;
mod licence;
mod liveness;
mod load;
mod load_classes;
#[allow(clippy::disallowed_methods)] // real processes live in real time
mod load_cli;
#[allow(clippy::disallowed_methods)] // here, too
mod load_job;
#[allow(clippy::disallowed_methods)] // and here
mod load_shards;
mod mobike;
mod pair;
#[allow(clippy::disallowed_methods)] // and here
mod path_cli;
#[allow(clippy::disallowed_methods)] // and here
mod path_items;
mod preflight;
mod rekey;
mod rekey_anew;
mod rekey_collisions;
mod rekey_life;
mod rekey_plane;
mod roaming;
#[allow(clippy::disallowed_methods)] // and here
mod schema;
mod simulation;
mod world;
