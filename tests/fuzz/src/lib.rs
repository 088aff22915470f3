//! Hostile bytes for every parser, on the stable toolchain, in bounded time.
//!
//! In:  a [`Target`]: valid inputs from a seed, and what is done with an input. `EFD_FUZZ_SECONDS` (3 for each target),
//!      `EFD_FUZZ_SEED` (else a new one each run, which is printed).
//! Out: a failed test that names the seed, and the input as a file in `corpus/<target>/`, which every later run replays
//!      first.
//!
//! Absent: coverage from the compiler. In its place a run tells by a number *how* an input was taken or refused
//! ([`Target::run`]); an input that was taken in a new way joins those that are mutated.
//!
//! Invariants: for one seed and one corpus the sequence of inputs is the same on every machine; time decides only where
//! it ends. An input is an error of the parser if it panics, or has more memory at once than the target allows.
//!
//! `EFD_FUZZ_WRITE_SEEDS=1` writes valid inputs of this build into the corpus, where a target has none: files of older
//! versions stay there and must stay readable.

mod harness;
mod memory;
mod mutate;
mod rng;

pub use harness::{Target, fuzz, told};
pub use memory::CountingAllocator;
pub use rng::Rng;
