//! What is printed for people.

use std::io::{self, Write};

pub(crate) use efd_shared_daemon::units::size;
use efd_shared_model::UtcNanos;
use efd_shared_model::time::NANOS_PER_SECOND;

/// In tables both ends of a span are widened to the second, so that they can be given to `cat` as they stand.
pub(crate) fn floor(time: UtcNanos) -> String {
    let text = time
        .saturating_sub(time.0.rem_euclid(NANOS_PER_SECOND))
        .to_string();
    text.replace(".000000000Z", "Z")
}

/// The first whole second behind `time`.
pub(crate) fn ceiling(time: UtcNanos) -> String {
    floor(time.saturating_add(NANOS_PER_SECOND))
}

/// Columns as wide as their widest cell; those of numbers to the right.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self {
            rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()],
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let columns = self.rows.first().map_or(0, Vec::len);
        let widths: Vec<_> = (0..columns).map(width).collect();
        let is_number = |column: usize| {
            let head = self.rows.first().and_then(|head| head.get(column));
            head.is_some_and(|head| {
                matches!(
                    head.as_str(),
                    "SEGMENTS" | "BLOCKS" | "RECORDS" | "BYTES" | "DAMAGED"
                )
            })
        };
        for row in &self.rows {
            let cells = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(column, (cell, &width))| {
                    if is_number(column) {
                        format!("{cell:>width$}")
                    } else {
                        format!("{cell:<width$}")
                    }
                });
            writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_in_tables_cover_what_they_are_of() {
        assert_eq!(floor(UtcNanos(1_999_999_999)), "1970-01-01T00:00:01Z");
        assert_eq!(ceiling(UtcNanos(1_999_999_999)), "1970-01-01T00:00:02Z");
        assert_eq!(ceiling(UtcNanos(2_000_000_000)), "1970-01-01T00:00:03Z");
        assert_eq!(floor(UtcNanos(-1)), "1969-12-31T23:59:59Z");
    }
}
