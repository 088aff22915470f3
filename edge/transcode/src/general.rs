//! Samples of any type to Avro datums, by a plan that is compiled once per type.
//!
//! In:  a [`GeneralTopic`](efd_shared_types::GeneralTopic), once ([`GeneralPlan::compile`]); then payloads
//!      with their encapsulation headers, and the [`GeneralStamps`] of the moment.
//! Out: the datum's bytes behind what `out` already holds, and a [`GeneralOutcome`]; the key of a
//!      sample ([`GeneralPlan::key_bytes`]).
//!
//! Absent: clocks, DDS, a tree of values, allocation per sample (beyond growth of `out`, and once per
//! thread of a table for mutable structs).
//!
//! The invariants are those of the crate, and:
//! - Each byte that is read is in the payload, and an element that is announced has bytes there for the
//!   least that it takes. A datum is at most [`EXPANSION`] times the payload and one default of the type.
//! - Values within values end at [`DEPTH_MAX`](efd_shared_types::general::DEPTH_MAX) levels.
//! - An error names the byte, and the way to the value: `pose.covariance[3]`.
//!
//! # The wire
//!
//! By OMG DDS-XTypes 1.3 § 7.4. Where it leaves room, or writers do otherwise, what Cyclone DDS does
//! decides (`edge/dds/tests/agreement` compares):
//!
//! | question | answer |
//! |---|---|
//! | layout of the whole sample | the encapsulation's, whatever the type says: types from IDL may lack the writer's `@appendable` |
//! | layout of structs and unions inside | the type's |
//! | XCDR2: a length before collections | unless elements (of a map: both) are primitive; enums, bitmasks, structs and texts are not |
//! | arrays of arrays by typedef | one array of several dimensions, so one length |
//! | enums and bitmasks | 1, 2, 4 (or 8) bytes by `@bit_bound`, in XCDR1 too |
//! | bits of a bitmask that no flag has | kept |
//! | wide text | its length counts bytes, without a terminator; in XCDR1 too |
//! | `long double` | 16 bytes, aligned to 8 in XCDR1 and to 4 in XCDR2 |
//! | optional member in XCDR1 | parameter header, short or extended; length 0 for none |
//! | end of a parameter in XCDR1 | up to three bytes of padding (older revisions of the standard) |
//! | XCDR1: appendable | as final; what a newer writer added is passed over within a parameter only |
//! | XCDR2: appendable | what follows the known members is passed over; where it ends early, the rest is absent |
//! | mutable | any order; twice the same member is an error; an unknown one is passed over, unless it must be understood |
//! | mutable union | the discriminator is member 0 |
//! | absent member | null where optional, else the default of the schema, and counted |
//! | key member, or one inside a key, that is absent | has no key bytes |
//! | sample of a key only | the type without its other members, headers and lengths as before |

mod avro;
mod fault;
mod key;
mod list;
mod plan;
mod sink;
mod union;
mod walk;

pub use avro::{EXPANSION, GeneralOutcome, GeneralStamps};
pub use plan::GeneralPlan;
