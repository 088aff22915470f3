//! The engine over a real store, against windows that are made of all samples at once.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod change;
mod late;
mod whole;
mod world;
