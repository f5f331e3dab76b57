//! Integration tests, one binary.

mod cli_errors;
mod corpus;
mod crypto_oracle;
mod engine_basic;
mod layers;
mod pair;
