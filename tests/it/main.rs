//! Integration tests, one binary.

mod corpus;
mod engine_basic;
mod pair;
