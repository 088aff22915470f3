//! The windows of one stream and instance that are still open.

use std::collections::BTreeMap;

use efd_shared_model::UtcNanos;

use crate::grid::Resolution;
use crate::kernel::Kernel;
use crate::summary::Summary;

/// Rows wait here until their window closes. That is told by whoever has the clock: for a stream the clock of its blocks,
/// never a sample's stamp, so that one wrong stamp closes nothing.
#[derive(Clone, Debug)]
pub struct Windows {
    resolution: Resolution,
    width: usize,
    rows_max: usize,
    open: BTreeMap<UtcNanos, Open>,
    rows: usize,
    /// Every window that begins before is closed.
    closed: UtcNanos,
}

#[derive(Clone, Debug, Default)]
struct Open {
    times: Vec<UtcNanos>,
    values: Vec<f64>,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    Taken,
    /// Its window, which begins at this time, is closed: it has to be computed anew from everything that is stored.
    Late(UtcNanos),
    /// Not taken: there are `rows_max` rows. [`Windows::close_oldest`] makes room.
    Full,
}

/// A window that is complete.
#[derive(Clone, Copy, Debug)]
pub struct Closed<'a> {
    pub start: UtcNanos,
    pub rows: usize,
    /// One for each column.
    pub summaries: &'a [Summary],
}

impl Windows {
    /// For rows of `width` values, at most `rows_max` of them.
    pub fn new(resolution: Resolution, width: usize, rows_max: usize) -> Self {
        Self {
            resolution,
            width,
            rows_max: rows_max.max(1),
            open: BTreeMap::new(),
            rows: 0,
            closed: UtcNanos(i64::MIN),
        }
    }

    /// Rows that wait.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The start of the oldest open window that has rows.
    pub fn oldest(&self) -> Option<UtcNanos> {
        self.open.keys().next().copied()
    }

    /// # Panics
    /// If the row is not of the width that was given.
    pub fn push(&mut self, time: UtcNanos, row: &[f64]) -> Pushed {
        assert_eq!(row.len(), self.width, "values of a row");
        let start = self.resolution.start(time);
        if start < self.closed {
            return Pushed::Late(start);
        }
        if self.rows == self.rows_max {
            return Pushed::Full;
        }
        let open = self.open.entry(start).or_default();
        open.times.push(time);
        open.values.extend_from_slice(row);
        self.rows += 1;
        Pushed::Taken
    }

    /// Closes every window that ends at `clock` or before, oldest first. What comes for them later is late.
    pub fn close(&mut self, clock: UtcNanos, kernel: &mut Kernel, each: impl FnMut(Closed<'_>)) {
        let through = self.resolution.start(clock);
        self.close_before(through, kernel, each);
    }

    /// Closes the oldest window that has rows, before its time.
    pub fn close_oldest(&mut self, kernel: &mut Kernel, each: impl FnMut(Closed<'_>)) {
        if let Some(oldest) = self.oldest() {
            self.close_before(self.resolution.end(oldest), kernel, each);
        }
    }

    fn close_before(
        &mut self,
        through: UtcNanos,
        kernel: &mut Kernel,
        mut each: impl FnMut(Closed<'_>),
    ) {
        // A clock that goes back closes nothing, and opens nothing again.
        self.closed = self.closed.max(through);
        let still_open = self.open.split_off(&self.closed);
        let mut summaries = Vec::new();
        for (start, open) in std::mem::replace(&mut self.open, still_open) {
            let rows = open.times.len();
            self.rows -= rows;
            summaries.clear();
            kernel.rows(&open.sorted(self.width), self.width, &mut summaries);
            // Without columns there is nothing to tell but that there were rows.
            each(Closed {
                start,
                rows,
                summaries: &summaries,
            });
        }
    }
}

impl Open {
    /// The rows by event time; those of one time as they came.
    fn sorted(self, width: usize) -> Vec<f64> {
        if self.times.is_sorted() || width == 0 {
            return self.values;
        }
        let mut order: Vec<usize> = (0..self.times.len()).collect();
        order.sort_by_key(|&row| self.times[row]);
        let row = |row: usize| &self.values[row * width..(row + 1) * width];
        order.into_iter().flat_map(row).copied().collect()
    }
}
