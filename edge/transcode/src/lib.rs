//! CDR samples to Avro datums, by a plan that is compiled once per type.
//!
//! In:  a [`SalTopic`](efd_shared_types::SalTopic), once ([`Plan::compile`]); then payloads as DDS
//!      delivers them, each with its 4-byte encapsulation header, and the [`Stamps`] of the moment.
//! Out: the datum's bytes behind what `out` already holds, as the topic's Avro schema says (bare,
//!      without any frame), and an [`Outcome`] with what the pipeline needs to know about it.
//!
//! That is the plan of a SAL topic, which is flat. Any other type has a [`GeneralPlan`]; see [`general`].
//!
//! And back: an [`Encoder`] makes the sample of a datum again, so that what was recorded can be published.
//!
//! Absent: clocks, DDS, a tree of values, allocation per sample (beyond growth of `out`).
//!
//! Invariants:
//! - Malformed input is an [`Undecodable`] that names the byte and the field; never a panic.
//! - After an error `out` is as long as before.
//! - Values are unaltered: NaN payloads bit for bit, floats widened exactly, text as it came. Only
//!   `private_rcvStamp` is ours, and the two stamps that stand before the fields.
//! - What is tolerated is stated: garbage in padding (OpenSplice), at most [`PADDING_MAX`] bytes
//!   after the last member, text without its terminator, text of declared length 0 (read as empty),
//!   text beyond its bound, NULs inside text (kept). Anything else that does not fit the type is an
//!   error, as it means that the type is not the writer's.
//! - [`Encoder::encode`] and then [`Plan::transcode`] give the same datum, or the first says why it cannot.

mod cdr;
mod convert;
mod encode;
mod error;
pub mod general;
mod key;
mod mutable;
mod plan;
mod stamps;

pub use cdr::{HEADER_BYTES, PADDING_MAX};
pub use encode::{Encoded, Encoder, NoSample, NotEncodable};
pub use error::{Cause, Undecodable};
pub use general::{GeneralOutcome, GeneralPlan, GeneralStamps};
pub use key::KeyOf;
pub use plan::{Outcome, Plan};
pub use stamps::{LeapSeconds, LeapSecondsError, Stamps};
