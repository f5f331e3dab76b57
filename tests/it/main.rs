//! Integration tests, one binary.

mod capture;
mod corpus;
mod crypto_oracle;
mod engine_basic;
mod pair;
