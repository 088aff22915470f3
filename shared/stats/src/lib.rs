//! Windows of event time, and the statistics of what is in them: for the tiers of the edge's buffer and for the
//! centre's aggregates.
//!
//! In:  rows of values, each row one sample with its event time; a clock that closes windows.
//! Out: a [`Summary`] for each column of each window; summaries of coarser windows from those of finer ones
//!      ([`Summary::merge`]).
//!
//! Absent: IO, clocks, schemas, what is done with a window that has to be computed anew.
//!
//! The rules:
//! * Windows are tumbling, on a grid that begins at midnight UTC ([`Resolution`]), and named by their start.
//! * A NaN is no value: it is counted, and takes part in nothing else. Of no values at all, everything but the counts is
//!   NaN.
//! * An infinity is a value: of count, minimum, maximum, quartiles, first and last. The mean is what IEEE 754 gives
//!   (infinite, or NaN where both signs occur), and there is no standard deviation.
//! * The standard deviation is the sample's (n − 1), and absent below two values.
//! * Quartiles interpolate linearly between neighbours (Hyndman and Fan, type 7; numpy's `linear`, Python's
//!   `inclusive`): they lie between values that occurred. They are exact where the values themselves are at hand, and
//!   absent where summaries were merged.
//! * Zero has no sign in what is computed. `first` and `last` are as they came.
//!
//! Accuracy: the mean is a compensated sum (Neumaier 1974), the deviations are taken from it in a second pass and corrected
//! (Chan, Golub and LeVeque 1983), and very large and very small values are scaled by a power of two. [`Summary`] holds the
//! root of the mean of squared deviations: it neither over- nor underflows where the values do not.

mod grid;
mod kernel;
mod network;
mod summary;
mod windows;

pub use grid::{Resolution, ResolutionError};
pub use kernel::Kernel;
pub use summary::{Quartiles, Summary};
pub use windows::{Closed, Pushed, Windows};
