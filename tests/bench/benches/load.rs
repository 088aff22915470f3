//! The whole way at the observatory's full rate: publisher → edge → centre, into the log and the lake.
//! Prints lost samples, cores and memory of each process, and what the machine had.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::print_stdout, reason = "a benchmark prints")]

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use efd_tests_e2e::{Network, Rig, RigOptions, Sim};
use efd_tests_testkit::netns::Namespace;
use efd_tests_testkit::process::{Daemon, Usage, get};
use efd_tests_testkit::tmp::WorkDir;
use serde_json::{Value as Json, json};

#[derive(Debug, Parser)]
struct Arguments {
    /// Samples a second, all topics together; the default is the observatory's target (SQR-029).
    #[arg(long, default_value_t = 29_284)]
    rate: u32,
    #[arg(long, default_value_t = 600)]
    seconds: u32,
    /// `even`; `m1m3`: M1M3's telemetry whole at 50 Hz and the rest evenly, so that the rates add up to `--rate`;
    /// `m1m3-alone`: M1M3's telemetry at 50 Hz, its other topics once in ten seconds, no other component, and `--rate`
    /// does not matter.
    #[arg(long, default_value = "m1m3")]
    profile: String,
    /// Only these components; of `m1m3-alone` it is MTM1M3.
    #[arg(long = "component")]
    components: Vec<String>,
    /// Runs `efd-inspect ls`, `cat` and `verify` beside the edge, one after the other, without a pause.
    #[arg(long)]
    inspect: bool,
    /// So many clients ask the edge for plots, newest records and lists, and one more for everything, without a pause.
    #[arg(long, default_value_t = 0)]
    clients: usize,
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    if arguments.profile == "m1m3-alone" && arguments.components.is_empty() {
        arguments.components.push("MTM1M3".into());
    }
    let idl = efd_tests_bench::idl();
    let programs =
        efd_tests_bench::programs().context("build the programs first: cargo build --release")?;
    let folder = WorkDir::new("bench-load")?;
    let network = match Namespace::new() {
        Ok(namespace) => Network::Namespace(namespace),
        Err(_) => Network::Loopback { domain: 90 },
    };
    let mut rig = Rig::new(RigOptions::new(
        folder.path(),
        &programs,
        vec![idl],
        network,
    ))?;
    rig.start_central()?;
    rig.start_edge()?;
    let mut more = vec![
        "--profile".to_owned(),
        arguments.profile.clone(),
        "--instances".into(),
        "1".into(),
    ];
    more.extend(
        arguments
            .components
            .iter()
            .flat_map(|component| ["--component".to_owned(), component.clone()]),
    );
    rig.start_sim(&Sim {
        seconds: arguments.seconds,
        rate: arguments.rate,
        more,
    })?;
    let asked = asked_per_second(&mut rig)?;
    let inspecting = arguments.inspect.then(|| Inspecting::start(&rig));
    let asking = (arguments.clients > 0).then(|| Asking::start(&rig, arguments.clients));
    let watching = Watching::start(&rig);
    let (figures, took) = measure(&mut rig, arguments.seconds)?;
    let latency = watching.end()?;
    let questions = asking.map(Asking::end).transpose()?;
    let inspections = inspecting.map(Inspecting::end).transpose()?;
    rig.drain(Duration::from_secs(300))?;
    let edge = rig.edge_status()?;
    let central = rig.central_status()?;
    rig.stop()?;
    let account = rig.account()?;
    let number = |json: &Json, path: &str| json.pointer(path).and_then(Json::as_f64).unwrap_or(0.0);
    let result = json!({
        "asked_per_second": asked, "seconds": arguments.seconds, "profile": arguments.profile,
        "topics": account.json["topics"], "published": account.published,
        "took_seconds": took.as_secs_f64(), "published_per_second": account.published as f64 / took.as_secs_f64(),
        "cdr_megabytes_per_second": number(&edge, "/samples/received_bytes") / 1e6 / took.as_secs_f64(),
        "stored": account.stored, "lost": account.lost, "missing": account.missing, "both": account.both,
        "duplicate": account.duplicate, "unexpected": account.unexpected, "misnamed": account.misnamed,
        "reasons": account.json["reasons"],
        "mean_cdr_bytes": number(&edge, "/samples/received_bytes") / number(&edge, "/samples/received").max(1.0),
        "dropped": number(&edge, "/samples/dropped"), "blocks": number(&central, "/log/blocks"),
        "log_bytes": number(&central, "/log/bytes"), "lake_bytes": number(&central, "/lake/bytes_written"),
        "inspections": inspections, "questions": questions, "to_the_centre": latency, "processes": figures, "cores_of_this_machine": std::thread::available_parallelism()?.get(),
    });
    println!("{result:#}");
    let out = efd_tests_bench::root().join("target/bench");
    std::fs::create_dir_all(&out)?;
    std::fs::write(out.join("load.json"), result.to_string())?;
    ensure!(
        account.keeps_the_promise(),
        "the law is broken: {}",
        account.summary()
    );
    folder.finish()?;
    Ok(())
}

/// What the profile comes to, as the publisher says.
fn asked_per_second(rig: &mut Rig) -> Result<f64> {
    let sim = rig.sim()?;
    sim.wait_for_line("asked for ", Duration::from_secs(120))?;
    let text = sim.log().text()?;
    let rate = text.lines().find_map(|line| {
        line.strip_prefix("asked for ")?
            .split(' ')
            .next()?
            .parse()
            .ok()
    });
    rate.with_context(|| format!("no rate in {text}"))
}

/// CPU and memory of each process while the publisher publishes; the first seconds, in which all begin, are left out.
/// Also how long it published: longer than asked for, where the machine cannot do it.
fn measure(rig: &mut Rig, seconds: u32) -> Result<(Json, Duration)> {
    const WARM_UP: Duration = Duration::from_secs(10);
    rig.sim()?
        .wait_for_line("writers have readers", Duration::from_secs(120))?;
    let first = Instant::now();
    put_first(rig.sim()?.pid());
    put_first(rig.central()?.pid());
    std::thread::sleep(WARM_UP);
    let began = Instant::now();
    let before = usages(rig)?;
    let threads_before = rig.edge()?.cpu_by_thread()?;
    std::thread::sleep(Duration::from_secs(seconds.into()).saturating_sub(WARM_UP * 2));
    let span = began.elapsed().as_secs_f64();
    let after = usages(rig)?;
    let threads = rig.edge()?.cpu_by_thread()?;
    // A machine that cannot keep up takes longer.
    let patience = Duration::from_secs(u64::from(seconds) + 300);
    rig.sim()?.wait_for_line("done, published", patience)?;
    let took = first.elapsed();
    rig.sim()?.wait(Duration::from_secs(60))?;
    let names = ["efd-sim", "efd-edge", "efd-central"];
    let rows = names.iter().zip(before.iter().zip(&after)).map(|(name, (before, after))| {
        let cores = (after.cpu - before.cpu).as_secs_f64() / span;
        let disk = (after.disk_bytes_written - before.disk_bytes_written) as f64 / span;
        let row = json!({ "cores": cores, "rss_peak_mib": after.rss_bytes_peak >> 20, "disk_bytes_per_second": disk });
        ((*name).to_owned(), row)
    });
    let mut rows: serde_json::Map<_, _> = rows.collect();
    let of_thread = threads.iter().map(|(name, cpu)| {
        let before = threads_before.get(name).copied().unwrap_or_default();
        let cores = cpu.saturating_sub(before).as_secs_f64() / span;
        (name.clone(), json!((cores * 1e4).round() / 1e4))
    });
    rows["efd-edge"]["cores_by_thread"] = Json::Object(of_thread.collect());
    Ok((Json::Object(rows), took))
}

/// The publisher and the centre stand for other machines: what is asked of the edge is not to slow them down. Who may not
/// set priorities measures without.
fn put_first(pid: u32) {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task"));
    for thread in threads.into_iter().flatten().flatten() {
        let id = thread.file_name().to_str().and_then(|it| it.parse().ok());
        if let Some(id) = id.and_then(rustix::process::Pid::from_raw) {
            let _refused = rustix::process::setpriority_process(Some(id), -10);
        }
    }
}

/// The inspection tool beside the edge, again and again.
struct Inspecting {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl Inspecting {
    fn start(rig: &Rig) -> Self {
        const COMMANDS: [&[&str]; 3] = [&["ls"], &["cat", "--limit", "100000"], &["verify"]];
        let buffer = rig.buffer();
        let commands = COMMANDS.map(|words| {
            let mut command = rig.command("efd-inspect");
            command.arg(words[0]).arg(&buffer).args(&words[1..]);
            command.stdout(Stdio::null());
            command
        });
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let (mut commands, mut count) = (commands, 0);
            while !seen.load(Ordering::Relaxed) {
                for command in &mut commands {
                    let status = command.status().context("run efd-inspect")?;
                    ensure!(status.success(), "{command:?}: {status}");
                    count += 1;
                }
            }
            Ok(count)
        });
        Self { ended, thread }
    }

    /// How many commands were run.
    fn end(self) -> Result<u64> {
        self.ended.store(true, Ordering::Relaxed);
        let panicked = |_| anyhow::anyhow!("the inspecting thread panicked");
        self.thread.join().map_err(panicked)?
    }
}

/// Clients of the edge's HTTP, again and again.
struct Asking {
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<BTreeMap<String, u64>>>,
    began: Instant,
}

impl Asking {
    fn start(rig: &Rig, clients: usize) -> Self {
        const TOPIC: &str = "lsst.sal.MTM1M3.forceActuatorData";
        let plot = |more: &str| format!("/api/v1/series?topic={TOPIC}&{more}");
        let questions = [
            plot("field=primaryCylinderForce[7]&from=-5m&points=1000"),
            plot("field=primaryCylinderForce[0:12]&from=-1h&points=500&tier=10s"),
            "/api/v1/topics".to_owned(),
            format!("/api/v1/latest?topic={TOPIC}"),
            "/api/v1/events?from=-5m&n=200".to_owned(),
            format!(
                "/query?db=efd&epoch=ms&q=SELECT%20mean(primaryCylinderForce7)%20FROM%20%22{TOPIC}%22%20WHERE%20time%20%3E%20now()%20-%205m%20GROUP%20BY%20time(10s)"
            ),
        ];
        let everything = format!("/query?db=efd&chunked=true&q=SELECT%20*%20FROM%20%22{TOPIC}%22");
        let ended = Arc::new(AtomicBool::new(false));
        let url = rig.edge_url();
        let thread = |number: usize| {
            let (seen, url, network) = (Arc::clone(&ended), url.clone(), rig.network());
            let questions: Vec<String> = match number {
                0 => vec![everything.clone()],
                _ => questions
                    .iter()
                    .cycle()
                    .skip(number)
                    .take(6)
                    .cloned()
                    .collect(),
            };
            std::thread::spawn(move || {
                // They stand for other machines: what they need of this one is not to be the edge's or the publisher's.
                let _refused = rustix::process::nice(19);
                let mut counts = BTreeMap::new();
                // Until the first windows are there.
                std::thread::sleep(Duration::from_secs(25));
                for question in questions.iter().cycle() {
                    if seen.load(Ordering::Relaxed) {
                        break;
                    }
                    let answer =
                        network.run(|| get(&format!("{url}{question}"), Duration::from_secs(60)));
                    let kind = match answer.ok().and_then(Result::ok) {
                        Some(answer) => answer.status.to_string(),
                        None => "no answer".to_owned(),
                    };
                    *counts.entry(kind).or_default() += 1;
                }
                counts
            })
        };
        Self {
            threads: (0..=clients).map(thread).collect(),
            ended,
            began: Instant::now(),
        }
    }

    fn end(self) -> Result<Json> {
        let seconds = self.began.elapsed().as_secs_f64();
        self.ended.store(true, Ordering::Relaxed);
        let mut by_status: BTreeMap<String, u64> = BTreeMap::new();
        for thread in self.threads {
            let counts = thread
                .join()
                .map_err(|_| anyhow::anyhow!("an asking thread panicked"))?;
            for (kind, count) in counts {
                *by_status.entry(kind).or_default() += count;
            }
        }
        let answered = by_status.get("200").copied().unwrap_or_default();
        Ok(json!({ "by_status": by_status, "answered_per_second": answered as f64 / seconds }))
    }
}

/// How long blocks take from the buffer to the centre's log and back: as many are under way as come in that time (Little's
/// law), by the edge's own status.
struct Watching {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<(Vec<f64>, f64)>,
}

impl Watching {
    fn start(rig: &Rig) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let (seen, url, network) = (Arc::clone(&ended), rig.edge_url(), rig.network());
        let thread = std::thread::spawn(move || {
            let (mut waiting, mut ends) = (Vec::new(), Vec::new());
            while !seen.load(Ordering::Relaxed) {
                let answer = network.run(|| get(&format!("{url}/status"), Duration::from_secs(5)));
                let status = answer.ok().and_then(Result::ok);
                let status: Option<Json> =
                    status.and_then(|it| serde_json::from_str(&it.body).ok());
                let number = |path| status.as_ref()?.pointer(path)?.as_f64();
                waiting.extend(number("/buffer/unacknowledged_blocks"));
                ends.extend(
                    number("/buffer/blocks_committed").map(|count| (Instant::now(), count)),
                );
                std::thread::sleep(Duration::from_millis(200));
            }
            let rate = match (ends.first(), ends.last()) {
                (Some(first), Some(last)) if first.0 < last.0 => {
                    (last.1 - first.1) / (last.0 - first.0).as_secs_f64()
                }
                _ => f64::NAN,
            };
            (waiting, rate)
        });
        Self { ended, thread }
    }

    fn end(self) -> Result<Json> {
        self.ended.store(true, Ordering::Relaxed);
        let (mut waiting, rate) = self
            .thread
            .join()
            .map_err(|_| anyhow::anyhow!("the watching thread panicked"))?;
        ensure!(!waiting.is_empty(), "the edge's status was never answered");
        let mean = waiting.iter().sum::<f64>() / waiting.len() as f64;
        waiting.sort_by(f64::total_cmp);
        let most = waiting[waiting.len() * 99 / 100];
        Ok(
            json!({ "mean_ms": mean / rate * 1e3, "p99_ms": most / rate * 1e3, "blocks_per_second": rate, "looks": waiting.len() }),
        )
    }
}

fn usages(rig: &mut Rig) -> Result<[Usage; 3]> {
    let usage = |daemon: &Daemon| daemon.usage();
    Ok([
        usage(rig.sim()?)?,
        usage(rig.edge()?)?,
        usage(rig.central()?)?,
    ])
}
