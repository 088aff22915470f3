//! Answers questions from an edge's buffer and its tiers, while the edge runs.
//!
//! In:  requests over HTTP ([`http`]); durable blocks, as [`efd_shared_store::Reader`] gives them; the files of tiers.
//! Out: series, records and lists as JSON, CSV or Arrow; or what an InfluxDB would say.
//!
//! The way: [`ask`] reads a request → [`choose`] says from where it is answered → [`raw`] reads records, [`tiered`] reads
//! windows, [`windows`] adds those that a tier has not yet → [`fold`] makes fewer of them → [`answer`] → [`render`].
//!
//! Absent: clocks but for deadlines, writing of any kind. A few threads of low priority do the work: nothing of the way
//! from the bus to the centre waits for this.
//!
//! Invariants:
//! - Every answer says where it comes from: raw records or a tier, and why.
//! - Rows, bytes and time of an answer have limits; more is an error that names the limit, or is said to be cut.
//! - What is answered was durable.

pub mod activity;
pub mod answer;
pub mod ask;
mod catalogue;
pub mod choose;
pub mod columns;
mod error;
mod fold;
pub mod http;
mod influx;
mod library;
mod raw;
pub mod records;
mod render;
pub mod series;
mod tiered;
mod topics;
mod windows;
mod workers;

pub use activity::Activity;
pub use error::QueryError;
pub use library::{Budget, Holdings, Library, Limits};
pub use workers::{Counters, Waiting, Workers};
