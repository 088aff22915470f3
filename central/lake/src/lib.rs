//! From the log to a lake of Parquet files, each record once.
//!
//! In:  blocks of the central log ([`run`], or [`Lake::take`] step by step).
//!      Hands that ask for a part to be made whole ([`Request`]), and eyes that recount the lake beside its writer ([`audit()`]).
//! Out: `<root>/efd_site=…/efd_topic=…/efd_date=…/*.parquet`, and the chain of commits `<root>/_commits/<n>.json`
//!      that says which files are the lake's and which blocks are in them. `LAKE.md` beside this crate's manifest is the
//!      page for those who read the lake.
//!
//! Absent: networks, tokio, object stores (they would be another [`Disk`]). Only [`run`] reads a clock.
//!
//! Invariants:
//! * A commit is the truth. It is put if absent, durable before it counts, and holds the files that it adds and the
//!   consumer's whole progress: output and progress are one act, so a record is in the lake once or not yet.
//! * Files are durable in `_tmp/` before the commit that names them, and renamed into place after it. A crash leaves files
//!   in `_tmp/` only: [`Lake::open`] renames what the newest commit names and deletes the rest.
//! * The renames of commit n are durable before commit n + 1 is: the sync of the one's files covers them. So only the
//!   newest commit can need recovery.
//! * A record that its schema does not decode becomes a row of the topic `efd.rejected`, with reason and bytes; it never
//!   blocks another.
//! * A live file is what its commit states, or an audit names it. Making a part whole takes damaged files out of the
//!   lake, never a sound row, and leaves the progress as it is.
//! * Memory: at most [`Options::memory_bytes`] of buffered records, and one slice of one file in the making.

mod audit;
mod buffer;
mod carry;
mod chain;
mod commit;
mod compact;
mod completeness;
mod counters;
mod disk;
mod error;
mod examine;
mod identity;
mod lake;
mod layout;
mod live;
mod options;
mod part;
mod rejected;
mod requests;
mod restore;
mod run;
mod seek;
mod table;
mod write;

pub use audit::{Audit, PartAudit, audit, newest, progress_at};
pub use commit::{Commit, FileEntry, Totals};
pub use compact::Compacted;
pub use completeness::{CompletenessRow, put_completeness};
pub use counters::Counters;
pub use disk::{Disk, LocalDisk};
pub use error::LakeError;
pub use examine::{Fault, FaultKind};
pub use lake::Lake;
pub use layout::{folder_of, topic_folder};
pub use options::{Now, Options};
pub use part::Part;
pub use rejected::{REJECTED_SCHEMA, REJECTED_TOPIC};
pub use requests::{Mailbox, Offered, Refused, Request, Requests};
pub use restore::{Blocks, Candidates, Restored, Wanted};
pub use run::{Course, run};
pub use seek::{RowFound, Told, seek, time_of};
