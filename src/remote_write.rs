//! Remote write: from a series and its value to the body of a request, and from the answer to what
//! becomes of the samples.
//!
//! ```text
//!  Labels --labels_block--> block --Encoder::push--> Fragment --body--> request --answer--> Outcome
//!            once per series         once per scrape   (compressed)              Retry -> Backoff
//! ```
//!
//! - [`v1`] writes the messages of remote write 1.0 by hand, because that is where the time goes:
//!   the labels of a series are encoded once and copied at each scrape.
//! - [`v2`] writes that of 2.0: texts are numbered once and each stands once in a request.
//! - [`Fragment`] is a run of whole messages that is already compressed. Fragments join into a
//!   request without being decompressed, which is what lets batches be cut after the scrape.
//! - [`Negotiation`] finds out which of the two a receiver understands.
//! - [`outcome()`] and [`Backoff`] say what an answer means and how long to wait before the next try.
//! - [`proto`] is the generated Rust of the same messages, for everything that is not hot.
//!
//! Nothing here reads a clock or a socket; times and random numbers are arguments.

mod backoff;
mod direct;
mod encoding;
mod fragment;
mod message;
mod negotiation;
mod outcome;
mod pieces;
/// The messages of remote write 1.0 as prost generates them from `proto/`; `tests/proto.rs` compares.
#[rustfmt::skip]
pub mod proto;
/// The message of remote write 2.0, likewise.
#[rustfmt::skip]
pub mod proto_v2;
mod replay;
pub mod v1;
pub mod v2;

pub use backoff::{Backoff, BackoffError};
pub use encoding::{Encoding, ZstdError, zstd};
pub use fragment::{Encoder, Fragment, body};
pub use message::{Message, Wanted};
pub use negotiation::{
    Answer, Heard, Negotiation, News, SAMPLES_WRITTEN, Sending, Why, samples_written,
};
pub use outcome::{Action, Outcome, StatusError, StatusPolicy, Statuses, outcome, unwritten};
pub use pieces::{Part, Pieces, PiecesError};
pub use replay::Replay;
