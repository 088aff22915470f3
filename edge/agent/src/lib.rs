//! efd-edge: from the bus to the buffer to the centre.
//!
//! In:  samples of a DDS bus, IDL files, acknowledgements. Out: blocks of Avro records, durable in the buffer and shipped.
//!
//! The way of the data, a thread each, a bounded queue between:
//! [`bus`] (who is there; a reader each) → ring → [`pipeline`] with [`intake`] (samples to records) → [`commit`]
//! (records to durable blocks, retention) → [`ship`] (blocks to the centre); beside it [`tiers`] (blocks to statistics)
//! and [`lint`] (publishers that do not do what they should).
//!
//! Invariants: a block is announced only after it is durable; a sample is recorded, parked, a repetition, or named as a loss;
//! nothing behind the ring can hold up the bus.

pub mod binding;
pub mod budget;
pub mod bus;
pub mod commit;
pub mod config;
pub mod identity;
pub mod idl;
pub mod intake;
pub mod leap;
pub mod ledger;
pub mod lint;
pub mod meters;
pub mod parked;
pub mod partitions;
pub mod pipeline;
pub mod publishers;
pub mod queues;
pub mod recent;
pub mod restore;
pub mod run;
pub mod tiers;
