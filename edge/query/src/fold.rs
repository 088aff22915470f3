//! Fewer windows out of many, and windows out of records.

use std::collections::BTreeMap;

use efd_shared_stats::{Kernel, Summary};

use crate::columns::Rows;

/// Of the window of `nanos` that `time` is in: windows at the begin of a span come whole.
pub(crate) fn begin_of(time: i64, nanos: i64) -> i64 {
    time.saturating_sub(time.rem_euclid(nanos))
}

pub(crate) type ByInstance = BTreeMap<Option<i32>, Windows>;

/// Windows of some columns of one instance, ascending by their start.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Windows {
    width: usize,
    pub(crate) starts: Vec<i64>,
    /// A row of `width` for each start.
    summaries: Vec<Summary>,
}

impl Windows {
    /// `width`: how many columns.
    pub(crate) fn new(width: usize) -> Self {
        Self {
            width,
            starts: Vec::new(),
            summaries: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.summaries.len() * size_of::<Summary>()
    }

    pub(crate) fn get(&self, window: usize, column: usize) -> &Summary {
        &self.summaries[window * self.width + column]
    }

    pub(crate) fn row(&self, window: usize) -> &[Summary] {
        &self.summaries[window * self.width..][..self.width]
    }

    pub(crate) fn drop_from(&mut self, start: i64) {
        let kept = self.starts.partition_point(|it| *it < start);
        self.starts.truncate(kept);
        self.summaries.truncate(kept * self.width);
    }

    fn push(&mut self, start: i64, row: &[Summary]) {
        debug_assert_eq!(row.len(), self.width);
        self.starts.push(start);
        self.summaries.extend_from_slice(row);
    }

    /// All columns of a series have the same windows: the first that is put says which.
    pub(crate) fn put_column(
        &mut self,
        column: usize,
        starts: &[efd_shared_model::UtcNanos],
        summary: impl Fn(usize) -> Summary,
    ) {
        if self.starts.is_empty() {
            self.starts = starts.iter().map(|start| start.0).collect();
            self.summaries = vec![Summary::empty(0); starts.len() * self.width];
        }
        debug_assert_eq!(self.starts.len(), starts.len());
        for row in 0..starts.len().min(self.starts.len()) {
            self.summaries[row * self.width + column] = summary(row);
        }
    }

    /// Windows of later files, or of another series of the same instance: of both in one window are one.
    pub(crate) fn append(&mut self, more: Self) {
        let is_after = match (self.starts.last(), more.starts.first()) {
            (Some(last), Some(first)) => last < first,
            (None, _) | (_, None) => true,
        };
        if is_after {
            self.starts.extend(more.starts);
            self.summaries.extend(more.summaries);
            return;
        }
        let before = std::mem::replace(self, Self::new(self.width));
        let mut all: BTreeMap<i64, Vec<Summary>> = BTreeMap::new();
        for windows in [&before, &more] {
            for (window, &start) in windows.starts.iter().enumerate() {
                let row = windows.row(window);
                all.entry(start)
                    .and_modify(|known| merge(known, row))
                    .or_insert_with(|| row.to_vec());
            }
        }
        for (start, row) in all {
            self.push(start, &row);
        }
    }

    /// Windows of `nanos`, each of several: on the grid that begins at 1970.
    pub(crate) fn coarsened(self, nanos: i64) -> Self {
        self.coarsened_until(nanos, i64::MAX)
    }

    /// As [`Self::coarsened`]; those that end after `until` stay as they are.
    pub(crate) fn coarsened_until(self, nanos: i64, until: i64) -> Self {
        let mut coarse = Self::new(self.width);
        for (window, start) in self.starts.iter().enumerate() {
            let group = begin_of(*start, nanos);
            let row = self.row(window);
            if until < group.saturating_add(nanos) {
                coarse.push(*start, row);
            } else if coarse.starts.last() == Some(&group) {
                let begin = coarse.summaries.len() - self.width;
                merge(&mut coarse.summaries[begin..], row);
            } else {
                coarse.push(group, row);
            }
        }
        coarse
    }
}

fn merge(known: &mut [Summary], later: &[Summary]) {
    for (known, later) in known.iter_mut().zip(later) {
        *known = known.merge(later);
    }
}

/// Windows out of records that come in the order of their times.
#[derive(Debug)]
pub(crate) struct Folding {
    nanos: i64,
    width: usize,
    kernel: Kernel,
    open: BTreeMap<Option<i32>, Open>,
    done: ByInstance,
    summaries: Vec<Summary>,
    /// In the windows that are open.
    values: usize,
}

#[derive(Debug)]
struct Open {
    start: i64,
    columns: Vec<Vec<f64>>,
}

impl Folding {
    pub(crate) fn new(nanos: i64, width: usize) -> Self {
        Self {
            nanos,
            width,
            kernel: Kernel::new(),
            open: BTreeMap::new(),
            done: BTreeMap::new(),
            summaries: Vec::new(),
            values: 0,
        }
    }

    /// Values that are absent are no values; text has none.
    pub(crate) fn take(&mut self, rows: &Rows) {
        for row in 0..rows.len() {
            let (time, instance) = (rows.times[row], rows.instances[row]);
            let start = begin_of(time, self.nanos);
            if self.open.get(&instance).is_some_and(|it| it.start != start) {
                self.close(instance);
            }
            let width = self.width;
            let open = self.open.entry(instance).or_insert_with(|| Open {
                start,
                columns: vec![Vec::new(); width],
            });
            for (values, column) in open.columns.iter_mut().zip(&rows.columns) {
                let number = column.number(row);
                self.values += usize::from(number.is_some());
                values.extend(number);
            }
        }
    }

    fn close(&mut self, instance: Option<i32>) {
        let Some(open) = self.open.remove(&instance) else {
            return;
        };
        self.values -= open.columns.iter().map(Vec::len).sum::<usize>();
        self.summaries.clear();
        // Columns of one window may differ in how many values they have.
        for column in &open.columns {
            match column.is_empty() {
                true => self.summaries.push(Summary::empty(0)),
                false => self.kernel.columns(&[column], &mut self.summaries),
            }
        }
        let width = self.width;
        let done = self.done.entry(instance);
        done.or_insert_with(|| Windows::new(width))
            .push(open.start, &self.summaries);
    }

    pub(crate) fn finish(mut self) -> ByInstance {
        let open: Vec<_> = self.open.keys().copied().collect();
        for instance in open {
            self.close(instance);
        }
        self.done
    }

    /// Windows so far, closed or not.
    pub(crate) fn len(&self) -> usize {
        self.open.len() + self.done.values().map(Windows::len).sum::<usize>()
    }

    /// Memory, about.
    pub(crate) fn bytes(&self) -> usize {
        self.values * size_of::<f64>() + self.len() * self.width * size_of::<Summary>()
    }
}
