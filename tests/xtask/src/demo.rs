//! A minute of the whole system on embedded defaults: publisher → edge → centre, with the link cut in the middle.

use std::fs;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use efd_tests_e2e::{Account, Network, Rig, RigOptions, Sim};
use efd_tests_testkit::install::{Group, Installer};
use serde_json::Value as Json;

use crate::project::{Profile, build_programs, complain, root, say, succeed, target_folder, typed};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long the publisher publishes, 12 to 3600. The link is cut from a third of it on for a quarter: from second 20 to
    /// 35 of a minute.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(12..=3600))]
    seconds: u32,
    /// Where everything lands; emptied first if a demo made it.
    #[arg(long, default_value = "target/demo")]
    dir: PathBuf,
    /// Samples a second.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    rate: u32,
    /// The last line of standard output is a JSON object with `published`, `stored`, `missing`, `lost`, `duplicate` and
    /// more, also where the account does not balance; errors go to standard error.
    #[arg(long)]
    json: bool,
}

/// Says that a folder may be emptied.
const MARK: &str = ".efd-demo";
/// One that the observatory does not use, so that a demo on a shared network stays by itself.
const DOMAIN: u16 = 77;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    Installer::new()?.packages(Group::Build)?;
    say("building; the first time this takes minutes");
    let programs = build_programs(Profile::Demo, &[])?;
    let Shown { account, looked } = show(arguments, &programs)?;
    if arguments.json {
        say(&account.json.to_string());
    }
    balances(&account)?;
    looked
}

fn balances(account: &Account) -> Result<()> {
    let summary = account.summary();
    ensure!(
        account.keeps_the_promise(),
        "the account does not balance: {summary}"
    );
    Ok(())
}

/// Part of `cargo xtask test`: the programs that its tests built, a shorter run.
pub(crate) fn as_test() -> Result<()> {
    let programs = target_folder()?.join(Profile::Dev.folder());
    let arguments = Arguments {
        seconds: 24,
        dir: "target/demo-test".into(),
        rate: 500,
        json: false,
    };
    let Shown { account, looked } = show(&arguments, &programs)?;
    balances(&account)?;
    ensure!(
        account.lost == 0,
        "a cut link costs nothing: {}",
        account.summary()
    );
    looked
}

struct Shown {
    account: Account,
    /// Whether the commands that look at it went well: the account is told first.
    looked: Result<()>,
}

fn show(arguments: &Arguments, programs: &Path) -> Result<Shown> {
    let folder = prepare_folder(&arguments.dir)?;
    let idl = vec![root().join("tests/sim/idl")];
    let network = Network::Loopback { domain: DOMAIN };
    let mut rig = Rig::new(RigOptions::new(&folder, programs, idl, network))?;
    say(&format!("everything lands in {}", folder.display()));
    rig.start_central()?;
    rig.start_edge()?;
    rig.start_sim(&Sim {
        seconds: arguments.seconds,
        rate: arguments.rate,
        more: Vec::new(),
    })?;
    watch(&mut rig, arguments.seconds)?;
    rig.drain(Duration::from_secs(60))?;
    rig.stop()?;
    let account = rig.account()?;
    print_table(&account);
    let looked = look(&rig, programs);
    Ok(Shown { account, looked })
}

fn prepare_folder(folder: &Path) -> Result<PathBuf> {
    let folder = root().join(folder);
    if folder.exists() {
        let is_ours = folder.join(MARK).exists() || fs::read_dir(&folder)?.next().is_none();
        ensure!(
            is_ours,
            "{} exists and no demo made it; name another with --dir",
            folder.display()
        );
        fs::remove_dir_all(&folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    fs::write(folder.join(MARK), "")?;
    Ok(folder)
}

/// Live progress until the publisher has ended; cuts and heals the link on the way.
#[expect(clippy::disallowed_methods, reason = "a demo runs by the wall clock")]
fn watch(rig: &mut Rig, seconds: u32) -> Result<()> {
    let (cut_at, heal_at) = (f64::from(seconds) / 3.0, f64::from(seconds) * 7.0 / 12.0);
    let began = Instant::now();
    let (mut cut, mut healed) = (false, false);
    let terminal = std::io::stdout().is_terminal();
    let mut next_line = 0.0;
    say(
        "Read one after the other, the lake first. What was cut off with the link may be in the lake before its acknowledgement is here.",
    );
    say("   time      link   published    recorded  acknowledged     in the lake");
    let mut acknowledged = 0;
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let now = began.elapsed().as_secs_f64();
        if !cut && now >= cut_at {
            rig.relay().cut();
            cut = true;
        }
        if !healed && now >= heal_at {
            rig.relay().heal();
            healed = true;
        }
        let ended = rig.sim()?.exit_status()?;
        if now >= next_line || ended.is_some() {
            next_line = now + if terminal { 1.0 } else { 5.0 };
            let link = if cut && !healed { "CUT" } else { "up" };
            progress(rig, now, link, &mut acknowledged)?;
        }
        if let Some(status) = ended {
            ensure!(
                status.success(),
                "efd-sim ended with {status}; see {}",
                rig.folder().join("sim.log").display()
            );
            if !healed {
                rig.relay().heal();
            }
            return Ok(());
        }
        if now > f64::from(seconds) + 120.0 {
            bail!("efd-sim should have ended after {seconds} s");
        }
    }
}

/// The lake is asked first, then the edge, then the publisher: against the way of the data, so that no number is behind
/// the one that follows from it. The publisher says its own once a second.
fn progress(rig: &mut Rig, now: f64, link: &str, acknowledged: &mut u64) -> Result<()> {
    let central = rig.central_status()?;
    let edge = rig.edge_status()?;
    let number = |json: &Json, path: &str| json.pointer(path).and_then(Json::as_u64).unwrap_or(0);
    let published = rig.sim()?.log().tail(1);
    let published = published
        .trim()
        .rsplit(' ')
        .next()
        .and_then(|word| word.parse::<u64>().ok())
        .unwrap_or(0);
    // What is recorded was published, whatever the publisher's last line says.
    let recorded = number(&edge, "/samples/recorded");
    // An estimate of the edge's, from whole segments.
    *acknowledged = number(&edge, "/buffer/acknowledged_records").max(*acknowledged);
    say(&format!(
        "{now:6.0} s {link:>8} {:>11} {recorded:>11} {acknowledged:>13} {:>15}",
        published.max(recorded),
        number(&central, "/lake/records"),
    ));
    Ok(())
}

fn print_table(account: &Account) {
    say("");
    say(&format!(
        "{:<44} {:>10} {:>10} {:>6} {:>8} {:>6} {:>10}",
        "topic", "published", "stored", "lost", "missing", "both", "duplicate"
    ));
    let empty = serde_json::Map::new();
    let lines = account.json["lines"].as_object().unwrap_or(&empty);
    let row = |name: &str, line: &Json| {
        let number = |key: &str| line[key].as_u64().unwrap_or(0);
        say(&format!(
            "{name:<44} {:>10} {:>10} {:>6} {:>8} {:>6} {:>10}",
            number("published"),
            number("stored"),
            number("lost"),
            number("missing"),
            number("both"),
            number("duplicate")
        ));
    };
    for (topic, line) in lines {
        row(topic, line);
    }
    row("total", &account.json);
    say(
        "both: stored, and named as lost as well. The promise: stored and lost are published, the other three are 0.",
    );
    if account.keeps_the_promise() {
        say(&format!(
            "It held: {} published = {} stored + {} named as lost; nothing is missing, nothing is there twice.",
            account.published, account.stored, account.lost
        ));
    }
}

/// Commands with which to look at what the demo left: each is run here, and printed with the begin of what it says.
fn look(rig: &Rig, programs: &Path) -> Result<()> {
    const LINES: usize = 12;
    const COLUMNS: usize = 160;
    let topic = "lsst.sal.LabMount.elevation";
    let program = |name: &str| Command::new(programs.join(name));
    let mut ls = program("efd-inspect");
    ls.arg("ls").arg(rig.buffer());
    let mut cat = program("efd-inspect");
    cat.arg("cat")
        .arg(rig.buffer())
        .args(["--topic", topic, "--limit", "3"]);
    let mut verify = program("efd-inspect");
    verify.arg("verify").arg(rig.buffer());
    let mut show = program("efd-inspect");
    show.arg("show").arg(rig.buffer()).arg("LabMount.elevation");
    say("\nlook at what it left:");
    for mut command in [ls, show, cat, verify] {
        let output = command
            .output()
            .with_context(|| format!("start `{}`", typed(&command)))?;
        ensure!(
            output.status.success(),
            "`{}` ended with {}: {}",
            typed(&command),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        say(&format!("\n$ {}", typed(&command)));
        let text = String::from_utf8_lossy(&output.stdout);
        for line in text.lines().take(LINES) {
            let is_long = line.chars().count() > COLUMNS;
            let begin: String = line.chars().take(COLUMNS).collect();
            say(&format!("  {begin}{}", if is_long { "…" } else { "" }));
        }
        if text.lines().count() > LINES {
            say("  …");
        }
    }
    match Installer::new().and_then(|installer| installer.python()) {
        Ok(python) => {
            let mut query = Command::new(python.interpreter());
            query.arg("-c").arg(format!(
                "import duckdb; print(duckdb.sql(\"select time, actualPosition from '{}/efd_site=*/efd_topic={topic}/*/*.parquet' order by time limit 5\"))",
                rig.lake().display()
            ));
            say(&format!("\n$ {}", typed(&query)));
            succeed(&mut query)
        }
        Err(error) => {
            complain(&format!(
                "\nno query of the lake: a Python with DuckDB cannot be made here: {:#}",
                anyhow::Error::from(error)
            ));
            Ok(())
        }
    }
}
