//! Load: many tunnels at a planned rate, measured. Shared-nothing: one thread per shard, merged at the report.
//!
//! Start at [`run`], which makes the shards and leads them through the stages of a workload. A [`shard`] begins what
//! [`arrival`] has planned and keeps its [`book`]; [`measure`] is what comes out.

pub mod answer;
pub mod arrival;
pub mod book;
pub mod ca;
pub mod capacity;
pub mod files;
pub mod fresh;
pub mod gauge;
pub mod keep;
pub mod leak;
pub mod measure;
pub mod merge;
pub mod pace;
pub mod peers;
pub mod resource;
pub mod run;
pub mod shard;
pub mod summary;
pub mod template;
pub mod threshold;
pub mod traffic;
pub mod verdict;
pub mod workload;
