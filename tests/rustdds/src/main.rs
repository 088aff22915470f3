//! A publisher on RustDDS: a vendor of its own, without type information, and without source times unless asked for.
//!
//! In:  how many samples, how fast. Out: samples on the bus, and a line of JSON in the oracle before each.
//!
//! Absent: the project's own crates; it is there to find their faults.

mod garbage;
mod types;
mod values;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use byteorder::{BigEndian, LittleEndian};
use clap::Parser;
use rustdds::dds::WriteError;
use rustdds::policy::History;
use rustdds::{
    CDRSerializerAdapter, DomainParticipant, DomainParticipantStatusEvent, GUID, Keyed as _,
    Publisher, QosPolicies, QosPolicyBuilder, RTPSEntity as _, StatusEvented as _, Timestamp,
    Topic, TopicKind, no_key, with_key,
};
use serde_json::{Value as Json, json};

use garbage::Garbage;
use types::{Everything, Masked, Numbered, Sample};
use values::Random;

/// Publishes on RustDDS what the types in tests/e2e/dialects can hold.
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, default_value_t = 0)]
    domain: u16,
    /// Of each topic.
    #[arg(long, default_value_t = 100)]
    samples: i64,
    /// Samples a second, all topics together.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Lines of JSON are appended to it.
    #[arg(long)]
    oracle: PathBuf,
    /// Number of the first sample of each topic.
    #[arg(long, default_value_t = 1)]
    first: i64,
    /// Characters of ISO-8859-1 beyond ASCII too.
    #[arg(long)]
    latin1: bool,
}

/// A writer, with what it makes and writes for a number.
struct Source {
    topic: &'static str,
    is_stamped: bool,
    guid: GUID,
    make: Box<Make>,
    acknowledged: Box<dyn Fn() -> Result<bool>>,
}

type Make = dyn Fn(&mut Random, i64) -> Made;

struct Made {
    record: Json,
    write: Box<dyn FnOnce(Option<Timestamp>) -> Result<()>>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let participant = DomainParticipant::new(arguments.domain).context("make a participant")?;
    let bus = Bus::new(&participant)?;
    let sources = sources(&bus)?;
    wait_for_readers(&participant, &sources)?;
    say("writers have readers");
    let mut lines = File::options()
        .append(true)
        .create(true)
        .open(&arguments.oracle)
        .with_context(|| format!("open {}", arguments.oracle.display()))?;
    let mut random = Random::new(arguments.first as u64, arguments.latin1);
    let pause = Duration::from_secs(1) / arguments.rate;
    for number in arguments.first..arguments.first + arguments.samples {
        for source in &sources {
            let made = (source.make)(&mut random, number);
            // The time of the library's clock is not told; that there is one is.
            let source_time = source.is_stamped.then_some(true);
            let line =
                json!({"topic": source.topic, "source_time": source_time, "record": made.record});
            writeln!(lines, "{line}").context("write the oracle")?;
            (made.write)(source.is_stamped.then(Timestamp::now))?;
            thread::sleep(pause);
        }
    }
    for source in &sources {
        ensure!(
            (source.acknowledged)()?,
            "{} is not acknowledged",
            source.topic
        );
    }
    say(&format!(
        "done, published {}",
        arguments.samples * sources.len() as i64
    ));
    thread::sleep(Duration::from_secs(1));
    Ok(())
}

fn sources(bus: &Bus<'_>) -> Result<Vec<Source>> {
    Ok(vec![
        bus.keyless::<Everything, CDRSerializerAdapter<_, LittleEndian>>(
            "Dialects/rust/Plain",
            "Dialects::Plain",
            false,
        )?,
        bus.keyless::<Everything, CDRSerializerAdapter<_, BigEndian>>(
            "Dialects/rust/PlainBig",
            "Dialects::Plain",
            false,
        )?,
        bus.keyless::<Everything, CDRSerializerAdapter<_, LittleEndian>>(
            "Dialects/rust/Growing",
            "Dialects::Growing",
            true,
        )?,
        bus.keyless::<Masked, CDRSerializerAdapter<_, BigEndian>>(
            "Dialects/rust/Masked",
            "Dialects::Masked",
            true,
        )?,
        bus.keyed::<CDRSerializerAdapter<_, LittleEndian>>("Dialects/rust/Keyed")?,
        bus.keyed::<CDRSerializerAdapter<_, BigEndian>>("Dialects/rust/KeyedBig")?,
        bus.keyed::<Garbage>("Dialects/rust/Garbage")?,
    ])
}

struct Bus<'a> {
    participant: &'a DomainParticipant,
    publisher: Publisher,
    qos: QosPolicies,
}

const PATIENCE: Duration = Duration::from_secs(20);

impl<'a> Bus<'a> {
    fn new(participant: &'a DomainParticipant) -> Result<Self> {
        let qos = QosPolicyBuilder::new()
            .reliable(PATIENCE.into())
            .history(History::KeepAll)
            .build();
        Ok(Self {
            participant,
            publisher: participant
                .create_publisher(&qos)
                .context("make a publisher")?,
            qos,
        })
    }

    fn topic(&self, topic: &str, ty: &str, kind: TopicKind) -> Result<Topic> {
        let made = self
            .participant
            .create_topic(topic.into(), ty.into(), &self.qos, kind);
        made.with_context(|| format!("make the topic {topic}"))
    }

    fn keyless<D, A>(&self, topic: &'static str, ty: &str, is_stamped: bool) -> Result<Source>
    where
        D: Sample + 'static,
        A: no_key::SerializerAdapter<D> + 'static,
    {
        let made = self.topic(topic, ty, TopicKind::NoKey)?;
        let writer = self.publisher.create_datawriter_no_key::<D, A>(&made, None);
        let writer = Arc::new(writer.with_context(|| format!("make a writer of {topic}"))?);
        let all = Arc::clone(&writer);
        Ok(Source {
            topic,
            is_stamped,
            guid: writer.guid(),
            make: Box::new(move |random, number| {
                let (sample, writer) = (D::make(random, number), Arc::clone(&writer));
                Made {
                    record: sample.record(),
                    write: Box::new(move |time| sound(topic, writer.write(sample, time))),
                }
            }),
            acknowledged: Box::new(move || sound(topic, all.wait_for_acknowledgments(PATIENCE))),
        })
    }

    /// Its instances are disposed of now and then.
    fn keyed<A>(&self, topic: &'static str) -> Result<Source>
    where
        A: with_key::SerializerAdapter<Numbered> + 'static,
    {
        let made = self.topic(topic, "Dialects::Keyed", TopicKind::WithKey)?;
        let writer = self.publisher.create_datawriter::<_, A>(&made, None);
        let writer = Arc::new(writer.with_context(|| format!("make a writer of {topic}"))?);
        let all = Arc::clone(&writer);
        Ok(Source {
            topic,
            is_stamped: false,
            guid: writer.guid(),
            make: Box::new(move |random, number| {
                let (sample, writer) = (Numbered::make(random, number), Arc::clone(&writer));
                Made {
                    record: sample.record(),
                    write: Box::new(move |time| {
                        let key = sample.key();
                        sound(topic, writer.write(sample, time))?;
                        match number % 5 {
                            0 => sound(topic, writer.dispose(&key, time)),
                            _ => Ok(()),
                        }
                    }),
                }
            }),
            acknowledged: Box::new(move || sound(topic, all.wait_for_acknowledgments(PATIENCE))),
        })
    }
}

fn sound<T, D>(topic: &str, result: Result<T, WriteError<D>>) -> Result<T> {
    result.map_err(|error| anyhow!("{topic}: {error}"))
}

fn wait_for_readers(participant: &DomainParticipant, sources: &[Source]) -> Result<()> {
    let status = participant.status_listener();
    let mut lonely: BTreeSet<GUID> = sources.iter().map(|source| source.guid).collect();
    for _ in 0..600 {
        while let Some(event) = status.try_recv_status() {
            if let DomainParticipantStatusEvent::RemoteReaderMatched { local_writer, .. } = event {
                lonely.remove(&local_writer);
            }
        }
        if lonely.is_empty() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
    bail!(
        "{} of {} writers have no reader",
        lonely.len(),
        sources.len()
    )
}

#[expect(clippy::print_stdout, reason = "a program that tells how far it is")]
fn say(line: &str) {
    println!("{line}");
}
