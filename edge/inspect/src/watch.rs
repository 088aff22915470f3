//! `watch`: what a running edge writes into its buffer, live, from beside it.

mod draw;
mod json;
mod observe;
mod state;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::open::open;
use crate::outcome::{Exit, InspectError};
use crate::pace::Pace;
use crate::screen::Screen;
use draw::Canvas;
use observe::Observer;
use state::State;

/// How it is watched.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// From one look to the next.
    pub every: Duration,
    /// Intervals; `None`: until it is interrupted.
    pub count: Option<u64>,
    pub json: bool,
}

/// What can be drawn on, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub columns: u16,
    pub rows: u16,
}

/// Shows the buffer at `path` once an interval: in place where there is a `window`, else one JSON object a line. No mode
/// of the terminal is changed, so whatever ends this leaves nothing to be put right.
pub fn watch(
    path: &Path,
    options: &Options,
    pace: &impl Pace,
    window: impl Fn() -> Option<Window>,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Exit, InspectError> {
    let mut observer = Observer::new(path, open(path, screen)?);
    let mut state = State::default();
    let mut canvas = (!options.json && window().is_some()).then(|| Canvas::new(path, options));
    let mut due = pace.elapsed();
    let mut intervals = 0;
    loop {
        observer.refresh()?;
        let observation = observer.look(pace.utc(), pace.elapsed())?;
        for notice in &observation.notices {
            match canvas {
                Some(_) => screen.count_damage(),
                None => screen.damaged(notice)?,
            }
        }
        let view = state.take(observation);
        match (&mut canvas, window()) {
            (Some(canvas), Some(window)) => {
                screen
                    .out
                    .write_all(canvas.draw(&view, window).as_bytes())?;
            }
            // A terminal without a size shows nothing.
            (Some(_), None) => {}
            // The first look has no interval behind it.
            (None, _) if intervals == 0 => {}
            (None, _) => writeln!(screen.out, "{}", json::line(&view))?,
        }
        screen.out.flush()?;
        if options.count == Some(intervals) {
            return Ok(screen.end()?);
        }
        intervals += 1;
        // One that was missed is not made up for.
        due = (due + options.every).max(pace.elapsed());
        pace.sleep_until(due);
    }
}
