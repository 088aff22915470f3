//! Which lines are written, and which are only counted.
//!
//! Pure: time comes in as an argument. The first line of its kind is written at once and opens a window; those of the
//! same kind within it are counted; at its end one line says how many there were, with the fields of the last.
//! The kind is level, target, message and enclosing spans: values in fields differ from line to line, identities
//! (which edge, which topic) are in spans and keep lines apart.

use std::collections::BTreeMap;

use super::render::Line;

/// Within it, lines of one kind collapse.
pub(super) const WINDOW_NANOS: i64 = 10_000_000_000;

/// Kinds that are remembered at a time. A line of yet another kind is written as it comes.
pub(super) const KINDS_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    level: tracing::Level,
    target: String,
    message: String,
    spans: String,
}

impl Kind {
    fn of(line: &Line) -> Self {
        Self {
            level: line.level,
            target: line.target.clone(),
            message: line.message.clone(),
            spans: line.span_text(),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Collapse {
    open: BTreeMap<Kind, Window>,
}

#[derive(Debug)]
struct Window {
    ends_at: i64,
    repeated: u64,
    last: Option<Line>,
}

/// Lines to write, in order.
pub(super) type Lines = Vec<Line>;

impl Collapse {
    /// A line at monotonic time `now`. What is returned is to be written: the line itself, behind what was counted
    /// of its kind in a window that is over; or nothing.
    pub(super) fn admit(&mut self, line: Line, now: i64) -> Lines {
        let kind = Kind::of(&line);
        if let Some(window) = self.open.get_mut(&kind)
            && now < window.ends_at
        {
            window.repeated += 1;
            window.last = Some(line);
            return Lines::new();
        }
        let mut due: Lines = self
            .open
            .remove(&kind)
            .and_then(Window::summary)
            .into_iter()
            .collect();
        if self.open.len() >= KINDS_MAX {
            due.extend(self.expire(now));
        }
        if self.open.len() < KINDS_MAX {
            let window = Window {
                ends_at: now.saturating_add(WINDOW_NANOS),
                repeated: 0,
                last: None,
            };
            self.open.insert(kind, window);
        }
        due.push(line);
        due
    }

    /// Closes the windows that are over, and gives their summaries.
    pub(super) fn expire(&mut self, now: i64) -> Lines {
        self.open
            .extract_if(.., |_, window| window.ends_at <= now)
            .filter_map(|(_, window)| window.summary())
            .collect()
    }

    /// Closes all windows, at the end of the process.
    pub(super) fn close(&mut self) -> Lines {
        self.expire(i64::MAX)
    }

    /// When [`expire`](Self::expire) is next worth calling.
    pub(super) fn deadline(&self) -> Option<i64> {
        self.open.values().map(|window| window.ends_at).min()
    }
}

impl Window {
    fn summary(self) -> Option<Line> {
        let mut line = self.last?;
        line.repeated = self.repeated;
        Some(line)
    }
}
