//! flinkrelay: a Prometheus remote-write relay for Apache Flink.
//!
//! ```text
//!  [discovery] -> Target -> [scrape] -> chunks of a page -> exposition -> Sample<'page>
//!      -> flink (catalogue, group filter, normalised labels) -> series cache -> remote_write -> Fragment
//!      -> spool (one per receiver) -> [push] -> receiver -> Outcome -> delivered | retry | dropped
//!             staleness: series of the previous scrape that are missing now -> markers --^
//!  [x] = a shell that does IO.  The rest are pure functions of bytes, config and a clock value passed in.
//! ```
//!
//! Data flows one way. Every core takes the time as an argument, so that tests need no clock and no
//! socket; every shell is a loop that waits, feeds a core and performs what the core asks for.
//! `ARCHITECTURE.md` holds the code map, the invariants and the limits.

pub mod cli;
pub mod config;
pub mod discovery;
pub mod disk;
pub mod doctor;
pub mod exposition;
pub mod flink;
pub mod flink_rest;
pub mod http;
pub mod kube_api;
pub mod kubernetes;
pub mod labels;
pub mod limits;
pub mod push;
pub mod relabel;
pub mod relay;
pub mod remote_write;
pub mod scale;
pub mod scrape;
pub mod series;
pub mod server;
pub mod shard;
pub mod spool;
pub mod status;
pub mod survey;
pub mod target;
pub mod telemetry;
