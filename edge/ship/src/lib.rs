//! Ships durable blocks to the centre: the shell around the edge's session machine in `shared/wire`.
//!
//! In:  what a [`Source`] holds, and [`Notice`]s of what becomes durable or leaves. Out: blocks on QUIC; [`Outcome`]s,
//! which whoever owns the source keeps.
//!
//! Two programs ship: the edge itself, and the rescue of a dead edge's disk. To the centre they are the same but for
//! their certificates.

mod congestion;
mod endpoint;
mod held;
mod left;
mod shipper;
mod source;

pub use endpoint::{Endpoint, EndpointError, Link, LinkError};
pub use held::{CENTRE, head, held_epochs};
pub use left::{Cause, Left};
pub use shipper::{Keeper, Notice, Observer, Outcome, Shipper};
pub use source::{Source, SourceError};
