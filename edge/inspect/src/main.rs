//! efd-inspect: what is in a buffer, live or from a disk pulled from a rack.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use efd_edge_inspect::cat::Filter;
use efd_edge_inspect::{Exit, InspectError, Screen, Window, cat, ls, verify};
use efd_shared_daemon::exit::chain;
use efd_shared_model::UtcNanos;

/// What is in an edge's buffer: live, copied, on a disk pulled from a rack, or one segment file of it.
///
/// PATH is the buffer's folder (the one with `meta.db` and `segments`), or a segment file
/// (`segments/telemetry/0000000001.db`). Nothing is ever written to it, and an edge that uses it is not disturbed.
/// Times are UTC with a Z, spans are half-open: --from is in, --until is not.
#[derive(Debug, Parser)]
#[command(name = "efd-inspect", version, max_term_width = 110, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  efd-inspect ls /var/lib/efd-edge/buffer              what is there, and what the centre has of it
  efd-inspect verify /mnt/buffer && echo intact        before trusting a disk
  efd-inspect cat /mnt/buffer --topic MTMount.elevation --from -2h | jq .fields.actualPosition
  efd-inspect cat /mnt/buffer --lane losses            what is missing, and why

Exit codes: 0 done and intact, 1 not done, 2 done but something is damaged or cannot be seen (named on standard
error), 3 a newer version has written it.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Lanes, segments, spans, bytes, epochs, and who has acknowledged how many blocks.
    #[command(after_help = "\
FROM and UNTIL are the span of event time, widened to the second: give them to `cat` as they stand.
BYTES are those of the files. An open segment is still written to, or was when its edge died.
ACKNOWLEDGED is as last saved: a block more may be at the centre, never a block less.")]
    Ls {
        /// The buffer's folder, or a segment file.
        path: PathBuf,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Records as JSON, one object a line, lane by lane in the order they were committed.
    #[command(after_help = "\
A line: {\"topic\": …, \"time\": …, \"id\": …, \"instance\": …, \"fields\": {…}}
  time      event time, UTC, nine digits
  id        edge/epoch/lane/block/index: the name of this record everywhere, for ever
  instance  salIndex; absent where the component is not indexed
  fields    in the order of the schema. NaN and infinities are the strings \"NaN\", \"Infinity\", \"-Infinity\"; raw
            bytes are {\"bytes\": <count>}
A record whose publisher stamped nonsense has \"implausible\": true; `time` is then DDS's, or that of reception.
Losses are records of the topic efd.losses; samples that wait for their type are of efd.parked.")]
    Cat(CatArgs),
    /// Every checksum, number and cross-reference; progress on a terminal.
    #[command(after_help = "\
Each finding is a line as it is made: `damage` is something that cannot be given as it was stored, or may not be
all; `note` is worth knowing. Exit code 0: intact. 2: damaged; `ls` and `cat` still show everything that is whole,
copy the disk before anything else. 3: a newer version has written it; use that version's efd-inspect.")]
    Verify {
        /// The buffer's folder, or a segment file.
        path: PathBuf,
        /// One JSON object per finding, then one with the totals.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
struct CatArgs {
    /// The buffer's folder, or a segment file.
    path: PathBuf,
    /// Topics: `MTMount.elevation`, `MTMount.*`, `*.logevent_*`, `efd.losses`; `lsst.sal.` may be left out.
    #[arg(long, value_name = "PATTERN")]
    topic: Option<String>,
    /// One lane: events, telemetry, losses, parked, telemetry.2 …
    #[arg(long)]
    lane: Option<String>,
    /// Event time from here on: 2026-11-24T06:30:00Z, or -2h for two hours ago.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    from: Option<String>,
    /// Event time before this.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Only this instance (salIndex).
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    instance: Option<i32>,
    /// Stop after this many lines.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// The default and only form so far: one JSON object a line.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Asked for help: on standard output, and well. Else the exit code 2 is taken by damage.
            let exit = if error.use_stderr() {
                Exit::Failed
            } else {
                Exit::Intact
            };
            let _printed = error.print();
            return exit.into();
        }
    };
    match run(cli.command) {
        Ok(exit) => exit.into(),
        Err(error) if error.is_broken_pipe() => Exit::Intact.into(),
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the last words of a program")]
            {
                eprintln!("error: {}", chain(&error));
            }
            error.exit().into()
        }
    }
}

fn run(command: Command) -> Result<Exit, InspectError> {
    let out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let stderr = io::stderr();
    let shows_progress = stderr.is_terminal();
    let mut screen = Screen::new(out, stderr.lock(), shows_progress);
    match command {
        Command::Ls { path, json } => ls::ls(&path, json, &mut screen),
        Command::Verify { path, json } => verify::verify(&path, json, &mut screen),
        Command::Cat(args) => {
            let CatArgs {
                path,
                topic,
                lane,
                from,
                until,
                instance,
                limit,
                json: _,
            } = args;
            let window = Window::parse(from.as_deref(), until.as_deref(), now())?;
            let filter = Filter {
                topic,
                lane,
                window,
                instance,
                limit,
            };
            cat::cat(&path, &filter, &mut screen)
        }
    }
}

/// For `-2h`.
#[expect(clippy::disallowed_methods, reason = "the one clock of this program")]
fn now() -> UtcNanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.as_nanos());
    UtcNanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}
