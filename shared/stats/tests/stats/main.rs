//! The statistics against arithmetic that is slow and plain, and against Python's exact fractions.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops where it fails, in its helpers too"
)]

mod exact;
mod windows;
