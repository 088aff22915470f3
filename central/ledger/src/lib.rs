//! The account: for each topic and hour what was published, what the edge stored, what the log has and each store; and for
//! every difference its reason.
//!
//! In:  blocks of the central log ([`run`], or [`Ledger::take`] step by step), among them the losses that edges name.
//! Out: [`Ledger`]'s book, an SQLite file, and what is asked of it: [`Book::account`], [`Book::trace`].
//!
//! Absent: networks, tokio, the stores themselves: what they have is told by whoever asks, as a [`Progress`] or as counts.
//!
//! Invariants:
//! * A transaction of the book holds counts and the consumer's progress: a block is counted once or not yet.
//! * Nothing of it is truth: a book that is lost is made anew from the log, as far back as the log goes.
//! * *Numbers − data − losses = nothing.* What numbers show to be absent and no loss names is told as `unnamed`.
//! * Data win over losses: a loss of blocks counts for those blocks alone that did not come.
//!
//! An hour is one of UTC, and a record belongs to that of its event time, as in the lake. `published` rests on SAL's
//! `private_seqNum`; of topics that are not SAL's nothing numbers the samples, and it is what came and what was named.
//!
//! [`Progress`]: efd_central_log::Progress

mod account;
mod behind;
mod blame;
mod book;
mod compare;
mod error;
mod ledger;
mod link;
mod numbers;
mod run;
mod series;
#[cfg(test)]
mod tests;
mod trace;
mod verify;

pub use account::{Account, Filter, LaneRow, Row, Stage};
pub use behind::{Counts, Held, Key, recount};
pub use book::Book;
pub use compare::{Compared, InLog, Standing};
pub use error::LedgerError;
pub use ledger::{Counters, Ledger};
pub use link::LinkHour;
pub use run::run;
pub use trace::{Gap, LostBlocks, Neighbour, Publisher, Sighting, Sought, Stamps, Trace};
pub use verify::{Basis, Difference};

/// Nanoseconds.
pub const HOUR: i64 = 3_600_000_000_000;

/// Hours since 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(pub i64);

impl Hour {
    pub fn of(time: efd_shared_model::UtcNanos) -> Self {
        Self(time.0.div_euclid(HOUR))
    }

    pub fn begin(self) -> efd_shared_model::UtcNanos {
        efd_shared_model::UtcNanos(self.0.saturating_mul(HOUR))
    }
}
