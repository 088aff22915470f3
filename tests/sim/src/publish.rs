//! Publishes SAL traffic: writers as SAL makes them (names, partitions, QoS, private fields), samples on a schedule.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use efd_edge_dds::{
    DomainConfig, Durability, History, Keying, Multicast, Ownership, Participant, WriteError,
    Writer, WriterSpec,
};
use efd_shared_model::LeapTable;
use efd_shared_types::sal::SalKind;
use efd_shared_types::{Registry, SalTopic};

use crate::cdr;
use crate::faults::{self, Faults};
use crate::oracle::{Oracle, Publisher};
use crate::traffic::{self, Profile};
use crate::values::{Mix, Seat, Value, mix};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// IDL files, or folders of them.
    #[arg(long, required = true)]
    idl: Vec<PathBuf>,
    /// Only these components.
    #[arg(long = "component")]
    components: Vec<String>,
    /// Only topics whose DDS name contains one of these.
    #[arg(long = "topic")]
    topics: Vec<String>,
    /// Begin of the partitions: `<site>.<component>.data`.
    #[arg(long, default_value = "summit")]
    site: String,
    /// Only so many topics, spread evenly over all.
    #[arg(long)]
    topics_max: Option<usize>,
    /// So many topics more come and go: there for 5 s with a sample a second, gone for 3 s, and so on.
    #[arg(long, default_value_t = 0)]
    coming: usize,
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Samples a second, all topics together.
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// Instances of each indexed component.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(i32).range(1..=1000))]
    instances: i32,
    #[arg(long, value_enum, default_value_t)]
    profile: ProfileName,
    /// Tables of megabytes per topic, for `--profile table`.
    #[arg(long)]
    traffic: Vec<PathBuf>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// NaN, infinities, the ends of the integers, text that is not UTF-8.
    #[arg(long)]
    extreme: bool,
    /// Writers keep all until it is acknowledged, where SAL's keep the last 100: one stuck reader then holds up all.
    #[arg(long)]
    keep_all: bool,
    /// Every so many samples one is cut short on its way; it counts as published.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    truncate_every: Option<u64>,
    #[command(flatten)]
    faults: Faults,
    /// Folder for the oracle.
    #[arg(long)]
    oracle: PathBuf,
    /// Write every sample's values into the oracle.
    #[arg(long)]
    values: bool,
    /// `private_origin`; the process id by default.
    #[arg(long)]
    origin: Option<i64>,
    #[arg(long, default_value_t = 0)]
    domain: u32,
    #[arg(long)]
    interface: Option<String>,
    #[arg(long)]
    no_multicast: bool,
    #[arg(long = "peer")]
    peers: Vec<String>,
    /// Seconds to wait until every writer has a reader; 0: publish at once.
    #[arg(long, default_value_t = 60)]
    wait: u32,
    /// Seconds to stay after the last sample, so that reliable readers get it.
    #[arg(long, default_value_t = 3)]
    linger: u32,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum ProfileName {
    /// Every topic alike.
    #[default]
    Even,
    /// M1M3's telemetry at 50 Hz, the rest evenly.
    M1m3,
    /// M1M3's telemetry at 50 Hz, of the rest one sample in ten seconds; `--rate` does not matter.
    M1m3Alone,
    /// In the ratios of `--traffic`.
    Table,
}

struct Source {
    topic: Arc<SalTopic>,
    writer: Writer,
    publishers: Vec<(Publisher, i64)>,
    next: usize,
    period: Duration,
    number: u64,
}

/// Of topics that come and go.
const THERE: Duration = Duration::from_secs(5);
const GONE: Duration = Duration::from_secs(3);

/// SAL's durability service and writers keep this many samples an instance (ts_ddsconfig, QoS.xml).
const SAL_DEPTH: u16 = 100;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let registry = read_idl(&arguments.idl)?;
    let wanted = |topic: &SalTopic| {
        let component =
            arguments.components.is_empty() || arguments.components.contains(&topic.component);
        let names = &arguments.topics;
        component
            && (names.is_empty()
                || names
                    .iter()
                    .any(|name| topic.dds_topic.contains(name.as_str())))
    };
    let mut topics: Vec<Arc<SalTopic>> = registry
        .topics()
        .map(|(topic, _)| Arc::clone(topic))
        .filter(|t| wanted(t))
        .collect();
    if let Some(max) = arguments.topics_max.filter(|&max| max < topics.len()) {
        topics = (0..max)
            .map(|n| Arc::clone(&topics[n * topics.len() / max]))
            .collect();
    }
    ensure!(
        !topics.is_empty(),
        "no SAL topic in {:?} is wanted",
        arguments.idl
    );
    let participant = Participant::open(&DomainConfig {
        domain_id: arguments.domain,
        interface: arguments.interface.clone(),
        multicast: if arguments.no_multicast {
            Multicast::Off
        } else {
            Multicast::On
        },
        peers: arguments.peers.clone(),
        lease: Duration::from_secs(10),
        ..DomainConfig::default()
    })?;
    let coming = topics.split_off(topics.len().saturating_sub(arguments.coming));
    ensure!(
        !topics.is_empty(),
        "--coming {}: some topic must stay",
        arguments.coming
    );
    let mut sources = sources(arguments, &participant, &topics)?;
    let asked: f64 = sources
        .iter()
        .map(|source| source.period.as_secs_f64().recip())
        .sum();
    say(&format!(
        "asked for {asked:.1} a second of {} topics, published 0",
        sources.len()
    ));
    let wait = Duration::from_secs(arguments.wait.into());
    wait_for_readers(&sources, wait)?;
    let oracle = Oracle::create(&arguments.oracle, arguments.values)
        .with_context(|| format!("make oracle {}", arguments.oracle.display()))?;
    let oracle = Mutex::new(oracle);
    let span = Duration::from_secs(arguments.seconds.into());
    let mut run = Run::new(arguments);
    let come_and_gone = std::thread::scope(|scope| {
        let coming = scope.spawn(|| come_and_go(arguments, &participant, &coming, &oracle));
        run.publish(&mut sources, &oracle, span)?;
        coming
            .join()
            .unwrap_or_else(|_| bail!("the topics that come and go have panicked"))
    })?;
    run.last_words(&mut sources, &oracle)?;
    lock(&oracle).flush().context("write oracle")?;
    let published = run.published + come_and_gone;
    say(&format!("done, published {published}"));
    std::thread::sleep(Duration::from_secs(arguments.linger.into()));
    drop(sources);
    if let Err(error) = participant.close(Duration::from_secs(10)) {
        say(&format!("{error}, published {published}"));
    }
    Ok(())
}

/// Publishers whose writers come and go, and who count on.
fn come_and_go(
    arguments: &Arguments,
    participant: &Participant,
    topics: &[Arc<SalTopic>],
    oracle: &Mutex<Oracle>,
) -> Result<u64> {
    let begin = now();
    let span = Duration::from_secs(arguments.seconds.into());
    let mut run = Run::new(arguments);
    let mut counted: Vec<Vec<(Publisher, i64)>> = Vec::new();
    let mut times = 0;
    while !topics.is_empty() && begin.elapsed() + THERE < span {
        let mut sources = sources(arguments, participant, topics)?;
        for (source, publishers) in sources.iter_mut().zip(counted) {
            source.publishers = publishers;
        }
        for source in &mut sources {
            source.period = Duration::from_secs(1);
        }
        wait_for_readers(&sources, Duration::from_secs(arguments.wait.into()))?;
        run.publish(&mut sources, oracle, THERE)?;
        run.last_words(&mut sources, oracle)?;
        std::thread::sleep(Duration::from_secs(arguments.linger.into()));
        counted = sources
            .into_iter()
            .map(|source| source.publishers)
            .collect();
        times += 1;
        say(&format!(
            "{} topics came and went {times} times",
            topics.len()
        ));
        std::thread::sleep(GONE);
    }
    Ok(run.published)
}

fn lock(oracle: &Mutex<Oracle>) -> MutexGuard<'_, Oracle> {
    oracle.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_idl(paths: &[PathBuf]) -> Result<Registry> {
    let mut registry = Registry::default();
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let entries =
                std::fs::read_dir(path).with_context(|| format!("list {}", path.display()))?;
            for entry in entries {
                files.push(entry?.path());
            }
        } else {
            files.push(path.clone());
        }
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "idl"));
    ensure!(!files.is_empty(), "no IDL file in {paths:?}");
    files.sort();
    for file in files {
        let text = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        registry.load(&file.display().to_string(), &text);
    }
    Ok(registry)
}

fn sources(
    arguments: &Arguments,
    participant: &Participant,
    topics: &[Arc<SalTopic>],
) -> Result<Vec<Source>> {
    let mut megabytes = BTreeMap::new();
    for path in &arguments.traffic {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        megabytes.extend(traffic::read_table(&text));
    }
    let profile = match arguments.profile {
        ProfileName::Even => Profile::Even,
        ProfileName::M1m3 => Profile::M1m3,
        ProfileName::M1m3Alone => Profile::M1m3Alone,
        ProfileName::Table => Profile::Table,
    };
    let plain: Vec<&SalTopic> = topics.iter().map(AsRef::as_ref).collect();
    let rates = traffic::rates(&plain, profile, arguments.rate.into(), &megabytes);
    let origin = arguments
        .origin
        .unwrap_or_else(|| std::process::id().into());
    let numbered = topics.iter().zip(rates).zip(1..);
    numbered
        .map(|((topic, rate), number)| {
            let writer = participant.create_writer(&writer_spec(topic, arguments))?;
            let publishers = publishers(topic, arguments.instances, origin);
            let period = Duration::from_secs_f64(1.0 / rate.max(1e-6));
            Ok(Source {
                topic: Arc::clone(topic),
                writer,
                publishers,
                next: 0,
                period,
                number,
            })
        })
        .collect()
}

/// As SAL's QoS.xml has it; TRANSIENT_LOCAL stands for OpenSplice's TRANSIENT.
fn writer_spec(topic: &SalTopic, arguments: &Arguments) -> WriterSpec {
    let site = &arguments.site;
    let end = if topic.kind == SalKind::Command {
        "cmd"
    } else {
        "data"
    };
    let keying = if topic.keys.is_empty() {
        Keying::Keyless
    } else {
        // The index comes first in every indexed SAL type.
        Keying::Keyed(Some(Arc::new(|payload: &[u8], key| {
            match payload.get(4..8) {
                Some(index) => {
                    let mut big_endian = [index[0], index[1], index[2], index[3]];
                    big_endian.reverse();
                    key.push(&big_endian);
                    true
                }
                None => false,
            }
        })))
    };
    WriterSpec {
        keying,
        partitions: vec![format!("{site}.{}.{end}", topic.component)],
        durability: if topic.kind == SalKind::Event {
            Durability::TransientLocal
        } else {
            Durability::Volatile
        },
        ownership: if topic.kind == SalKind::AckCmd {
            Ownership::Exclusive
        } else {
            Ownership::Shared
        },
        history: if arguments.keep_all {
            History::KeepAll
        } else {
            History::KeepLast(SAL_DEPTH)
        },
        durability_service: History::KeepLast(SAL_DEPTH),
        autodispose: true,
        ..WriterSpec::new(topic.dds_topic.clone(), topic.dds_type.as_str())
    }
}

/// One for each instance; commands come from people, scripts and other components, and so does what acknowledges them.
fn publishers(topic: &SalTopic, instances: i32, origin: i64) -> Vec<(Publisher, i64)> {
    let indices: Vec<Option<i32>> = if topic.is_indexed() {
        (1..=instances).map(Some).collect()
    } else {
        vec![None]
    };
    let component = |index: Option<i32>| match index {
        Some(index) => format!("{}:{index}", topic.component),
        None => topic.component.clone(),
    };
    let commanders = || ["observer@console", "Script:100013", "ScriptQueue:1"].map(str::to_owned);
    let identities = |index| match topic.kind {
        SalKind::Command => commanders().to_vec(),
        SalKind::AckCmd => [&[component(index)], &commanders()[..2]].concat(),
        SalKind::Telemetry | SalKind::Event => vec![component(index)],
    };
    let has_identity = topic.private.identity.is_some();
    let has_origin = topic.private.origin.is_some();
    indices
        .into_iter()
        .flat_map(|sal_index| {
            let identities = if has_identity {
                identities(sal_index)
            } else {
                vec![String::new()]
            };
            identities
                .into_iter()
                .map(move |identity| (sal_index, identity))
        })
        .map(|(sal_index, identity)| {
            let publisher = Publisher {
                topic: topic.avro_name(),
                sal_index,
                identity,
                origin: if has_origin { origin } else { 0 },
            };
            (publisher, 0)
        })
        .collect()
}

#[expect(clippy::disallowed_methods, reason = "a publisher runs by the clock")]
fn now() -> Instant {
    Instant::now()
}

fn wait_for_readers(sources: &[Source], within: Duration) -> Result<()> {
    if within.is_zero() {
        return Ok(());
    }
    let begin = now();
    let mut waiting: Vec<&Source> = sources.iter().collect();
    loop {
        waiting.retain(|source| source.writer.matched_readers().unwrap_or(0) == 0);
        if waiting.is_empty() {
            say(&format!(
                "{} writers have readers, published 0",
                sources.len()
            ));
            return Ok(());
        }
        if begin.elapsed() > within {
            bail!(
                "{} of {} writers have no reader after {within:?}, {} among them: is an edge listening on this domain and partition?",
                waiting.len(),
                sources.len(),
                waiting[0].topic.dds_topic
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

struct Run {
    seed: u64,
    mix: Mix,
    leaps: LeapTable,
    truncate_every: Option<u64>,
    faults: Faults,
    /// Since the begin, of the sample that is due.
    at: Duration,
    published: u64,
    payload: Vec<u8>,
    pad: u64,
}

impl Run {
    fn new(arguments: &Arguments) -> Self {
        Self {
            seed: arguments.seed,
            mix: if arguments.extreme {
                Mix::Extreme
            } else {
                Mix::Plausible
            },
            leaps: LeapTable::built_in(),
            truncate_every: arguments.truncate_every,
            faults: arguments.faults.clone(),
            at: Duration::ZERO,
            published: 0,
            payload: Vec::new(),
            pad: arguments.seed,
        }
    }

    fn publish(
        &mut self,
        sources: &mut [Source],
        oracle: &Mutex<Oracle>,
        span: Duration,
    ) -> Result<()> {
        let begin = now();
        // Spread over their first period, so that topics of one rate do not all fire together.
        let first = |index: usize, source: &Source| {
            source
                .period
                .mul_f64((mix(index as u64) % 1000) as f64 / 1000.0)
        };
        let mut due: BinaryHeap<Reverse<(Duration, usize)>> = sources
            .iter()
            .enumerate()
            .map(|(index, source)| Reverse((first(index, source), index)))
            .collect();
        let mut next_word = Duration::from_secs(1);
        while let Some(Reverse((at, index))) = due.pop() {
            if at >= span {
                break;
            }
            let mut elapsed = begin.elapsed();
            if elapsed < at {
                std::thread::sleep(at - elapsed);
                elapsed = begin.elapsed();
            }
            self.at = at;
            self.one(&mut sources[index], oracle)?;
            let source = &sources[index];
            let period = self.faults.period(&source.topic, at);
            due.push(Reverse((at + period.unwrap_or(source.period), index)));
            if elapsed >= next_word {
                let late = elapsed.saturating_sub(at);
                say(&format!(
                    "{:.0} s, {late:.1?} behind, published {}",
                    elapsed.as_secs_f64(),
                    self.published
                ));
                next_word = elapsed + Duration::from_secs(1);
            }
        }
        Ok(())
    }

    /// A publisher that falls silent leaves no gap to see: each ends with one whole sample more.
    fn last_words(&mut self, sources: &mut [Source], oracle: &Mutex<Oracle>) -> Result<()> {
        let truncate_every = self.truncate_every.take();
        for source in sources {
            for _ in 0..source.publishers.len() {
                self.one(source, oracle)?;
            }
        }
        self.truncate_every = truncate_every;
        Ok(())
    }

    /// The next sample of `source`: noted, then encoded, then written.
    fn one(&mut self, source: &mut Source, oracle: &Mutex<Oracle>) -> Result<()> {
        let turn = source.next;
        source.next = (turn + 1) % source.publishers.len();
        let (publisher, last) = &mut source.publishers[turn];
        let sequence = *last + 1;
        *last = sequence;
        let utc = efd_shared_daemon::clock::utc_now();
        let ahead = self.faults.stamps_ahead(&source.topic);
        let mut values = values(
            &source.topic,
            publisher,
            sequence,
            self.leaps.to_tai(utc).as_seconds() + ahead,
            &Seat {
                seed: self.seed,
                topic: source.number,
                instance: publisher.sal_index.unwrap_or(0),
                sequence,
                mix: self.mix,
            },
        );
        if self.faults.is_nan(&source.topic, self.at) {
            let private = &source.topic.private;
            let stamps = [private.snd_stamp, private.rcv_stamp];
            let others = values.iter_mut().enumerate();
            for (_, value) in others.filter(|(index, _)| !stamps.contains(index)) {
                *value = faults::without_numbers(value.clone());
            }
        }
        lock(oracle)
            .note(publisher, sequence, &source.topic, &values)
            .context("write oracle")?;
        let pad = &mut self.pad;
        let garbage = || {
            *pad = pad.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (*pad >> 56) as u8
        };
        cdr::encode(&source.topic.fields, &values, garbage, &mut self.payload);
        let is_due = |every: u64| (self.published + 1).is_multiple_of(every);
        if self.truncate_every.is_some_and(is_due) {
            self.payload.truncate(self.payload.len() * 2 / 3);
        }
        // A reliable writer whose readers are behind says so; the sample is not written until it says otherwise.
        while let Err(error) = source.writer.write_cdr(&self.payload, Some(utc.0)) {
            if !matches!(error, WriteError::Timeout(_)) {
                return Err(error).with_context(|| format!("write {}", source.topic.dds_topic));
            }
        }
        self.published += 1;
        Ok(())
    }
}

/// Private fields as a publisher fills them, the rest as the seat says.
fn values(
    topic: &SalTopic,
    publisher: &Publisher,
    sequence: i64,
    snd_stamp: f64,
    seat: &Seat,
) -> Vec<Value> {
    let private = &topic.private;
    topic
        .fields
        .iter()
        .enumerate()
        .map(|(index, field)| {
            if index == private.snd_stamp {
                Value::Double(snd_stamp)
            } else if index == private.rcv_stamp {
                Value::Double(0.0)
            } else if index == private.seq_num {
                Value::Integer(sequence)
            } else if Some(index) == private.rev_code {
                Value::Text(topic.revision.clone().into_bytes())
            } else if Some(index) == private.identity {
                Value::Text(publisher.identity.clone().into_bytes())
            } else if Some(index) == private.origin {
                Value::Integer(publisher.origin)
            } else if Some(index) == private.index {
                Value::Integer(publisher.sal_index.unwrap_or(0).into())
            } else {
                seat.value(index, field)
            }
        })
        .collect()
}

#[expect(clippy::print_stdout, reason = "progress for whoever watches")]
fn say(line: &str) {
    println!("{line}");
}
