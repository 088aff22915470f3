//! Log lines on standard error: JSON for machines, short text for people.
//!
//! A line has the time (UTC, with Z), the level, the target, the message, the event's fields, and the fields of the
//! spans around it. Lines that repeat collapse ([`collapse`]). Threads never wait for whoever reads the log:
//! lines go through a bounded queue to one writing thread, and what does not fit is counted and reported.

use std::io::{self, IsTerminal, Write};
use std::str::FromStr;

use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::util::TryInitError;

mod collapse;
mod fields;
mod layer;
mod render;
#[cfg(test)]
mod tests;
mod writer;

use layer::LogLayer;
pub use writer::LogGuard;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object to a line.
    Json,
    /// One line of text: the time of day first, then what matters most.
    Text,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("log format `{0}` is not `json` or `text`")]
pub struct LogFormatError(String);

impl FromStr for LogFormat {
    type Err = LogFormatError;
    fn from_str(text: &str) -> Result<Self, LogFormatError> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            other => Err(LogFormatError(other.chars().take(32).collect())),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "{origin} `{text}` is not a log filter; write a level (error, warn, info, debug, trace) or `info,quinn=debug`"
    )]
    Filter {
        origin: &'static str,
        text: String,
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("start the thread that writes the log")]
    Thread(#[source] io::Error),
    #[error("the log was set up twice")]
    Twice(#[source] TryInitError),
}

/// The environment variable for the level; the flag wins over it.
pub const LEVEL_VARIABLE: &str = "EFD_LOG";

/// Sets up the log of the process. `format`: text on a terminal and JSON elsewhere, where none is given.
/// `level`: the flag, such as `debug` or `info,quinn=warn`; else `EFD_LOG`; else `info`.
///
/// What is still queued when the guard is dropped is written first, so hold it to the end of `main`.
pub fn init(format: Option<LogFormat>, level: Option<&str>) -> Result<LogGuard, LogError> {
    let from_variable = std::env::var(LEVEL_VARIABLE).ok();
    let filter = filter(level, from_variable.as_deref())?;
    let terminal = io::stderr().is_terminal();
    let format = format.unwrap_or(if terminal {
        LogFormat::Text
    } else {
        LogFormat::Json
    });
    let (layer, guard) = layer_to(format, terminal, Box::new(io::stderr()))?;
    tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .try_init()
        .map_err(LogError::Twice)?;
    Ok(guard)
}

fn filter(flag: Option<&str>, variable: Option<&str>) -> Result<EnvFilter, LogError> {
    let (origin, text) = match (flag, variable) {
        (Some(text), _) => ("the log level", text),
        (None, Some(text)) if !text.trim().is_empty() => ("the environment variable EFD_LOG", text),
        (None, _) => ("the default", "info"),
    };
    EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(text)
        .map_err(|source| LogError::Filter {
            origin,
            text: text.chars().take(64).collect(),
            source,
        })
}

fn layer_to(
    format: LogFormat,
    colour: bool,
    out: Box<dyn Write + Send>,
) -> Result<(LogLayer, LogGuard), LogError> {
    let (queue, guard) = writer::start(format, colour, out).map_err(LogError::Thread)?;
    Ok((LogLayer::new(queue), guard))
}
