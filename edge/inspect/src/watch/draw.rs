//! A view on a terminal: lines cut to the window, drawn over the ones before.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::state::{Count, Lag, Losses, View, age};
use super::{Options, Window};
use crate::screen::printable;
use crate::table::{floor, size};

/// An edge with a bus to listen to commits more often.
const QUIET: Duration = Duration::from_secs(30);
/// Shown at a time.
const NOTICES: usize = 3;

/// Where on the terminal the view is.
#[derive(Debug)]
pub(super) struct Canvas {
    title: String,
    every: Duration,
    drawn: Option<(Window, usize)>,
}

impl Canvas {
    pub(super) fn new(path: &Path, options: &Options) -> Self {
        Self {
            title: printable(&path.display().to_string()),
            every: options.every,
            drawn: None,
        }
    }

    /// What to write: back to the first line of the view before, each line anew, and nothing left behind it. The cursor
    /// ends below. A window of another size has folded the old lines: it is cleared.
    pub(super) fn draw(&mut self, view: &View, window: Window) -> String {
        let lines = self.lines(view, window);
        let mut text = match self.drawn {
            None => String::new(),
            Some((before, count)) if before == window && count > 0 => format!("\x1b[{count}A\r"),
            Some((before, _)) if before == window => String::new(),
            Some(_) => "\x1b[H\x1b[2J".to_owned(),
        };
        self.drawn = Some((window, lines.len()));
        for line in lines {
            text.push_str(&line);
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        text
    }

    /// One fewer than the window has rows, as the cursor takes one.
    fn lines(&self, view: &View, window: Window) -> Vec<String> {
        let rows = usize::from(window.rows).saturating_sub(1);
        let mut lines = self.head(view);
        let notices = view.notices.len().min(NOTICES);
        let shown = view.notices[view.notices.len() - notices..].iter();
        let notices: Vec<_> = shown
            .map(|notice| format!("! {}", printable(notice)))
            .collect();
        lines.push(String::new());
        let room = rows.saturating_sub(lines.len() + notices.len());
        lines.extend(components(view, room));
        lines.extend(notices);
        lines.truncate(rows);
        for line in &mut lines {
            *line = line.chars().take(window.columns.into()).collect();
        }
        lines
    }

    fn head(&self, view: &View) -> Vec<String> {
        let now = floor(view.utc);
        let every = span(self.every);
        let mut lines = vec![format!("{}   {now}   every {every}", self.title)];
        let mut line = |name: &str, text: String| lines.push(format!("{name:<8}{text}"));
        line("newest", newest(view));
        line("rate", rate(view));
        for lag in &view.lag {
            line("lag", lag_text(lag, view));
        }
        let began = floor(view.began);
        let (new, hour) = (losses(&view.since_begin), losses(&view.last_hour));
        line(
            "losses",
            format!("since {began}: {new}; in the last hour: {hour}"),
        );
        line("disk", disk(view));
        if view.passed_over > 0 {
            let count = view.passed_over;
            line(
                "",
                format!(
                    "{count} blocks came too fast to be looked into: they are not in the rates"
                ),
            );
        }
        lines
    }
}

fn newest(view: &View) -> String {
    match (view.newest, view.age) {
        (Some(newest), Some(age)) => {
            let silent = if QUIET < age {
                ": the edge is down, or nothing is published"
            } else {
                ""
            };
            format!("block {} old, of {}{silent}", span(age), floor(newest))
        }
        _ => "no block yet".to_owned(),
    }
}

fn rate(view: &View) -> String {
    let Some(interval) = view.interval else {
        return "-".to_owned();
    };
    let of = |count: Count| {
        let (records, bytes) = per_second(count, interval);
        format!("{records} records/s, {bytes}/s")
    };
    let mut text = of(view.total);
    for (lane, count) in view.lanes.iter().filter(|(_, count)| count.records > 0) {
        let (records, _) = per_second(*count, interval);
        let written = write!(text, "; {} {records}", printable(lane));
        debug_assert!(written.is_ok(), "memory takes all");
    }
    text
}

fn lag_text(lag: &Lag, view: &View) -> String {
    let name = lag.destination.as_deref().map(printable);
    if lag.blocks == 0 {
        return match name {
            Some(name) => format!("{name} has acknowledged everything"),
            None => "nothing to acknowledge".to_owned(),
        };
    }
    let oldest = lag.oldest.map_or_else(String::new, |oldest| {
        format!(", the oldest {}", span(age(view.utc, oldest)))
    });
    let held = format!("{} blocks, about {}{oldest}", lag.blocks, size(lag.bytes));
    match name {
        Some(name) => format!("{name} has not acknowledged {held}"),
        None => format!("nobody has acknowledged anything: {held}"),
    }
}

fn losses(losses: &Losses) -> String {
    if losses.is_empty() {
        return "none".to_owned();
    }
    let texts = losses.iter().map(|(reason, lost)| match lost.uncounted {
        0 => format!("{reason} {}", lost.count),
        uncounted => format!("{reason} {} and {uncounted} of unknown count", lost.count),
    });
    texts.collect::<Vec<_>>().join(", ")
}

fn disk(view: &View) -> String {
    let mut text = format!("{} of buffer", size(view.buffer_bytes));
    let written = match (view.free_bytes, view.filling, view.full_in) {
        (None, _, _) => Ok(()),
        (Some(free), Some(filling), Some(full_in)) => write!(
            text,
            ", {} free: full in {} at {}/s",
            size(free),
            span(full_in),
            size(filling as u64)
        ),
        (Some(free), Some(_), None) => write!(text, ", {} free and not becoming fewer", size(free)),
        (Some(free), None, _) => write!(text, ", {} free", size(free)),
    };
    debug_assert!(written.is_ok(), "memory takes all");
    text
}

/// At most `rows` lines, the last of which says what did not fit.
fn components(view: &View, rows: usize) -> Vec<String> {
    let all = &view.components;
    if all.is_empty() || rows < 2 {
        return Vec::new();
    }
    let width = all.iter().map(|(name, _)| name.chars().count()).max();
    let width = width.unwrap_or(0).clamp(9, 30);
    let mut lines = vec![format!(
        "{:<width$}  {:>10}  {:>12}",
        "COMPONENT", "RECORDS/S", "BYTES/S"
    )];
    let room = rows - 1;
    let shown = if all.len() <= room {
        all.len()
    } else {
        room - 1
    };
    for (name, count) in &all[..shown] {
        let interval = view.interval.unwrap_or(Duration::ZERO);
        let (records, bytes) = per_second(*count, interval);
        let name: String = printable(name).chars().take(width).collect();
        lines.push(format!("{name:<width$}  {records:>10}  {bytes:>12}"));
    }
    if shown < all.len() {
        lines.push(format!("and {} more", all.len() - shown));
    }
    lines
}

fn per_second(count: Count, interval: Duration) -> (String, String) {
    let seconds = interval.as_secs_f64().max(1e-3);
    let records = count.records as f64 / seconds;
    let records = if records >= 100.0 || records == 0.0 {
        format!("{records:.0}")
    } else {
        format!("{records:.1}")
    };
    (records, size((count.bytes as f64 / seconds) as u64))
}

/// Two units at most, rounded down.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..10 => {
            let tenths = span.as_millis() / 100;
            if tenths.is_multiple_of(10) {
                format!("{seconds} s")
            } else {
                format!("{seconds}.{} s", tenths % 10)
            }
        }
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{minutes} min {} s", seconds % 60),
        7200..172_800 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests;
