//! Integration tests, one binary.

mod corpus;
mod crypto_oracle;
