//! efd-inspect: what is in a buffer, live or from a disk pulled from a rack.

mod cli;
mod manual;

use std::io::{self, IsTerminal, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use efd_edge_inspect::account::Detail;
use efd_edge_inspect::export::Format;
#[cfg(feature = "play")]
use efd_edge_inspect::play;
#[cfg(feature = "rescue")]
use efd_edge_inspect::send;
use efd_edge_inspect::{
    Exit, InspectError, Pace, Pattern, Screen, Window, account, cat, export, ls, repair, retention,
    show, tiers, verify, watch,
};
use efd_shared_daemon::exit::chain;
use efd_shared_daemon::idle::run_when_idle;
use efd_shared_daemon::when::Named;
use efd_shared_model::UtcNanos;
use efd_shared_store::Depth;

use cli::{CatArgs, Cli, Command, FormatName};

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
    if !cli.eager && yields_to_the_edge(&cli.command) {
        // Where it is forbidden the work is done all the same.
        run_when_idle();
    }
    match run(cli.command) {
        Ok(exit) => exit.into(),
        Err(error) if error.is_broken_pipe() => Exit::Intact.into(),
        Err(error) => {
            // Where nobody can hear them, the last words change nothing.
            let _unheard = writeln!(io::stderr(), "error: {}", chain(&error));
            error.exit().into()
        }
    }
}

/// Whatever runs beside a live edge takes what that leaves. What keeps time or feeds a link is as important as others.
fn yields_to_the_edge(command: &Command) -> bool {
    match command {
        #[cfg(feature = "rescue")]
        Command::Send(_) => false,
        #[cfg(feature = "play")]
        Command::Play(_) => false,
        _ => true,
    }
}

fn run(command: Command) -> Result<Exit, InspectError> {
    let out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let stderr = io::stderr();
    // Records on the same terminal would be torn by it.
    let is_torn = matches!(command, Command::Cat(_)) && io::stdout().is_terminal();
    let shows_progress = stderr.is_terminal() && !is_torn;
    let mut screen = Screen::new(out, stderr.lock(), shows_progress);
    match command {
        Command::Tiers {
            path,
            cat: tier,
            topic,
            from,
            until,
            json,
        } => {
            let wanted = tiers::Wanted {
                tier,
                topic: topic.as_deref().map(Pattern::new),
                window: Window::parse(Named::OPTIONS, from.as_deref(), until.as_deref(), now())?,
            };
            tiers::tiers(&path, &wanted, json, &mut screen)
        }
        Command::Ls { path, json } => ls::ls(&path, json, &mut screen),
        Command::Show { path, what, json } => {
            let what = show::What::parse(what.as_deref())?;
            show::show(&path, &what, json, &mut screen)
        }
        Command::Account { which, hours, json } => {
            let (path, filter) = which.filter(now())?;
            let detail = if hours { Detail::Hours } else { Detail::Topics };
            account::account(&path, &filter, detail, json, &mut screen)
        }
        Command::Retention {
            path,
            retain,
            retain_events,
            bytes_max,
            quotas,
            make_room,
            untyped_bytes_max,
            destination,
            json,
        } => {
            let limits = retention::Limits {
                age_max: retain.duration(),
                events_age_max: retain_events.duration(),
                bytes_max: bytes_max.map(|size| size.bytes()),
                quotas: quotas.of(bytes_max),
                make_room: make_room.map_or(0, |size| size.bytes()),
                unshipped_bytes_max: untyped_bytes_max.bytes(),
                destination,
            };
            retention::retention(&path, &limits, now(), json, &mut screen)
        }
        #[cfg(feature = "play")]
        Command::Play(arguments) => replay(arguments, &mut screen),
        Command::Watch {
            path,
            every,
            count,
            json,
        } => {
            let options = watch::Options {
                every: every.get().duration(),
                count,
                json,
            };
            watch::watch(&path, &options, &Wall::begin(), window, &mut screen)
        }
        Command::Completions { shell } => {
            manual::completions(shell, &mut screen.out)?;
            Ok(screen.end()?)
        }
        Command::Man { to: None } => {
            manual::page(&mut screen.out)?;
            Ok(screen.end()?)
        }
        Command::Man { to: Some(folder) } => {
            for path in manual::pages(&folder)? {
                writeln!(screen.out, "{}", path.display())?;
            }
            Ok(screen.end()?)
        }
        #[cfg(feature = "rescue")]
        Command::Verify { path, json, .. } if send::is_parcel(&path) => {
            send::verify_parcel(&path, json, &mut screen)
        }
        Command::Verify { path, deep, json } => {
            let depth = if deep { Depth::Content } else { Depth::Stored };
            verify::verify(&path, depth, json, &mut screen)
        }
        Command::Cat(CatArgs {
            which,
            fields,
            raw,
            follow,
            json: _,
        }) => {
            let (path, filter) = which.filter(now())?;
            let form = match (raw, fields.is_empty()) {
                (true, _) => cat::Form::Raw,
                (false, true) => cat::Form::All,
                (false, false) => cat::Form::Only(fields.into_iter().collect()),
            };
            let wall = Wall::begin();
            let follow = follow.then_some(&wall as &dyn Pace);
            cat::cat(&path, &filter, &form, follow, &mut screen)
        }
        Command::Repair { path, to, json } => repair::repair(&path, &to, json, &mut screen),
        #[cfg(feature = "rescue")]
        Command::Send(arguments) => rescue(arguments, &mut screen),
        Command::Export {
            which,
            to,
            format,
            json,
        } => {
            let (path, filter) = which.filter(now())?;
            let format = match format {
                FormatName::Parquet => Format::Parquet,
                FormatName::Csv => Format::Csv,
                FormatName::Avro => Format::Avro,
            };
            let options = export::Options { to, format };
            export::export(&path, &filter, &options, json, &mut screen)
        }
    }
}

#[cfg(feature = "rescue")]
fn rescue(
    arguments: cli::SendArgs,
    screen: &mut Screen<impl io::Write, impl io::Write>,
) -> Result<Exit, InspectError> {
    let cli::SendArgs {
        path,
        centre,
        certificates,
        seal,
        from,
        until,
        lane,
        edge,
        without,
        receipt,
        rate,
        patience,
        json,
    } = arguments;
    let now = now();
    let choice = send::Choice {
        window: Window::parse(Named::OPTIONS, from.as_deref(), until.as_deref(), now)?,
        lane: lane.map(|lane| lane.parse()).transpose()?,
        edge,
        receipt: without.map(|path| send::Receipt::read(&path)).transpose()?,
    };
    match (seal, centre, certificates) {
        (None, Some(centre), Some(certificates)) => {
            let delivery = send::Delivery {
                centre,
                certificates,
                rate: rate.map(|rate| rate.bytes_per_second()),
                patience: patience.duration(),
                receipt,
            };
            send::send(&path, &choice, &delivery, now, json, screen)
        }
        (Some(file), _, _) => send::seal_file(&path, &choice, &file, json, screen),
        (None, _, _) => unreachable!("the command line asks for one of them"),
    }
}

#[cfg(feature = "play")]
fn replay(
    arguments: cli::PlayArgs,
    screen: &mut Screen<impl io::Write, impl io::Write>,
) -> Result<Exit, InspectError> {
    let cli::PlayArgs {
        which,
        domain,
        interface,
        peers,
        no_multicast,
        idl,
        speed,
        partition,
        commands,
        restamp,
        wait,
        linger,
        yes_this_domain,
        json,
    } = arguments;
    let (path, filter) = which.filter(now())?;
    let options = play::Options {
        domain,
        interface,
        multicast: !no_multicast,
        peers,
        idl,
        speed,
        partition,
        commands,
        restamp,
        wait: wait.duration(),
        linger: linger.duration(),
        is_sure: yes_this_domain,
    };
    play::play(&path, filter, &options, &Wall::begin(), json, screen)
}

/// Of standard output, where it is a terminal that tells its size.
fn window() -> Option<watch::Window> {
    let stdout = io::stdout();
    let size = rustix::termios::tcgetwinsize(&stdout).ok();
    let size = size.filter(|size| stdout.is_terminal() && size.ws_col > 0 && size.ws_row > 0)?;
    Some(watch::Window {
        columns: size.ws_col,
        rows: size.ws_row,
    })
}

/// The wall clock, and time as it passes.
struct Wall {
    begin: Instant,
}

impl Wall {
    #[expect(clippy::disallowed_methods, reason = "the one clock of this program")]
    fn begin() -> Self {
        Self {
            begin: Instant::now(),
        }
    }
}

impl Pace for Wall {
    fn utc(&self) -> UtcNanos {
        now()
    }

    fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    fn sleep(&self, span: Duration) {
        std::thread::sleep(span);
    }
}

/// For `-2h`.
#[expect(clippy::disallowed_methods, reason = "the one clock of this program")]
fn now() -> UtcNanos {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.as_nanos());
    UtcNanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}
