//! `flinkrelay doctor` against worlds with one fault each: the program finds it, says which line goes
//! where, and exits with 1; where all is well it finds nothing.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the lints spare test functions, not the functions they call"
)]

#[expect(dead_code, reason = "shared with the tests of the relay, which use all of it")]
#[path = "common/fakes.rs"]
mod fakes;
#[path = "doctor/flink.rs"]
mod flink;
#[path = "doctor/here.rs"]
mod here;
#[path = "doctor/pages.rs"]
mod pages;
#[path = "cli/process.rs"]
mod process;
#[path = "doctor/receivers.rs"]
mod receivers;
#[path = "doctor/targets.rs"]
mod targets;
#[path = "doctor/world.rs"]
mod world;
