//! `account`: the edge's half of the promise from a bare disk. Streams by hour: records, losses with their reasons, and
//! gaps in publishers' numbers that nobody has named.

mod sequences;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use efd_shared_avro::{Numbered, Numbers};
use efd_shared_model::committed::COMMITTED_TOPIC;
use efd_shared_model::loss::LOSS_TOPIC;
use efd_shared_model::reduced::REDUCED_TOPIC;
use efd_shared_model::time::NANOS_PER_SECOND;
use efd_shared_model::{EpochLane, LaneKind, Loss, RangeSet, RecordId, RecordRef, UtcNanos};
use efd_shared_store::ReadOnlyStore;
use serde_json::{Map, Value, json};

use crate::open::open;
use crate::outcome::{Exit, InspectError};
use crate::pattern::Pattern;
use crate::screen::{Screen, printable};
use crate::table::{Table, floor};
use crate::walk::{Filter, Stream, Taker, Walk};
use sequences::{Publisher, Sequences};

const HOUR: i64 = 3600 * NANOS_PER_SECOND;

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    Topics,
    Hours,
}

/// Counts what `filter` wants. Losses are those that the buffer itself holds: of topics that match, and of whole lanes.
pub fn account(
    path: &Path,
    filter: &Filter,
    detail: Detail,
    json: bool,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Exit, InspectError> {
    let store = open(path, screen)?;
    let pattern = filter.topic.as_deref().map(Pattern::new);
    // Losses are records of a topic and a lane of their own, whatever they are losses of.
    let is_apart = filter.topic.is_some() || filter.lane.is_some() || filter.instance.is_some();
    let takes = if is_apart { Takes::Records } else { Takes::All };
    let mut account = Account::of(takes, pattern, filter.instance);
    let mut walk = Walk::new(&store, filter)?;
    if is_apart {
        account.takes = Takes::Losses;
        losses(&store, filter, &mut account, screen)?;
        account.takes = takes;
    }
    account.absent = store.absent();
    if let Some(lane) = &filter.lane {
        account
            .absent
            .retain(|log, _| log.lane.to_string() == *lane);
    }
    walk.begin_with(LaneKind::Losses);
    walk.run(&store, &mut account, screen)?;
    if json {
        writeln!(screen.out, "{}", account.json())?;
    } else {
        account.write(detail, &mut screen.out)?;
    }
    Ok(screen.end()?)
}

fn losses<O: Write>(
    store: &ReadOnlyStore,
    filter: &Filter,
    account: &mut Account,
    screen: &mut Screen<O, impl Write>,
) -> Result<(), InspectError> {
    let lane = LaneKind::Losses.as_str();
    let has_lane = store.reader().lanes().iter().any(|it| it.as_str() == lane);
    let losses = Filter {
        topic: Some(LOSS_TOPIC.to_owned()),
        lane: has_lane.then(|| lane.to_owned()),
        window: filter.window,
        ..Filter::default()
    };
    match Walk::new(store, &losses) {
        Ok(mut walk) => walk.run(store, account, screen),
        // Nothing was ever lost.
        Err(InspectError::NoTopic { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What a walk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    All,
    Records,
    Losses,
}

struct Account {
    topics: BTreeMap<String, Topic>,
    /// By the number of the stream.
    numbered: BTreeMap<usize, Option<Numbered>>,
    /// Of the record that is looked at.
    numbers: Numbers,
    sequences: Sequences,
    /// Losses of whole blocks: reason, lane.
    blocks: BTreeMap<(String, String), Lost>,
    /// Blocks that were stored and are not here, whether a loss names them or not.
    absent: BTreeMap<EpochLane, RangeSet>,
    takes: Takes,
    /// Only losses of these topics, and of whole lanes.
    pattern: Option<Pattern>,
    /// Only losses of this `salIndex`, and those that are of no single one.
    instance: Option<i32>,
}

#[derive(Default)]
struct Topic {
    hours: BTreeMap<i64, Hour>,
}

#[derive(Clone, Default)]
struct Hour {
    records: u64,
    /// By reason.
    lost: BTreeMap<String, Lost>,
}

#[derive(Clone, Copy, Default)]
struct Lost {
    losses: u64,
    /// Samples or records, where they are known.
    count: u64,
    /// Losses whose count nobody can tell.
    uncounted: u64,
}

impl Lost {
    fn add(&mut self, count: i64) {
        self.losses += 1;
        match u64::try_from(count) {
            Ok(count) => self.count += count,
            Err(_) => self.uncounted += 1,
        }
    }

    fn merge(&mut self, other: Self) {
        self.losses += other.losses;
        self.count += other.count;
        self.uncounted += other.uncounted;
    }

    fn json(self) -> Value {
        let Self {
            losses,
            count,
            uncounted,
        } = self;
        json!({"losses": losses, "count": count, "uncounted": uncounted})
    }

    fn text(self) -> String {
        match self.uncounted {
            0 => self.count.to_string(),
            uncounted => format!("{} and {uncounted} of unknown count", self.count),
        }
    }
}

impl<O: Write> Taker<O> for Account {
    fn wants(&mut self, stream: &Stream) -> bool {
        match self.takes {
            // Nobody published what stands in the place of records, nor what the edge says of itself.
            Takes::All => ![REDUCED_TOPIC, COMMITTED_TOPIC].contains(&&*stream.topic),
            Takes::Records => {
                ![LOSS_TOPIC, REDUCED_TOPIC, COMMITTED_TOPIC].contains(&&*stream.topic)
            }
            Takes::Losses => stream.topic == LOSS_TOPIC,
        }
    }

    fn record(
        &mut self,
        stream: &Stream,
        _id: RecordId,
        record: &RecordRef<'_>,
    ) -> Result<Result<(), String>, InspectError> {
        if stream.topic == LOSS_TOPIC {
            return Ok(match Loss::decode(record.datum) {
                Ok(loss) => {
                    self.loss(&loss);
                    Ok(())
                }
                Err(error) => Err(error.to_string()),
            });
        }
        let hour = record.stamps.event_time.0.div_euclid(HOUR);
        if !self.topics.contains_key(&stream.topic) {
            self.topics.insert(stream.topic.clone(), Topic::default());
        }
        if let Some(topic) = self.topics.get_mut(&stream.topic) {
            topic.hours.entry(hour).or_default().records += 1;
        }
        let numbered = self
            .numbered
            .entry(stream.number)
            .or_insert_with(|| Numbered::of(stream.decoder.schema()));
        let Some(numbered) = numbered else {
            return Ok(Ok(()));
        };
        Ok(match numbered.read(record.datum, &mut self.numbers) {
            Ok(()) => {
                let instance = record.stamps.instance.map_or(-1, i64::from);
                self.sequences.seen(&stream.topic, instance, &self.numbers);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        })
    }

    fn block_done(&mut self, _out: &mut O) -> Result<(), InspectError> {
        Ok(())
    }
}

impl Account {
    fn of(takes: Takes, pattern: Option<Pattern>, instance: Option<i32>) -> Self {
        Self {
            topics: BTreeMap::new(),
            numbered: BTreeMap::new(),
            numbers: Numbers::default(),
            sequences: Sequences::default(),
            blocks: BTreeMap::new(),
            absent: BTreeMap::new(),
            takes,
            pattern,
            instance,
        }
    }

    fn is_asked_for(&self, loss: &Loss) -> bool {
        let is_other_topic = |pattern: &Pattern| !pattern.matches(&loss.topic);
        let is_other_instance =
            |instance: i32| loss.sal_index != i64::from(instance) && loss.sal_index >= 0;
        loss.topic.is_empty()
            || !(self.pattern.as_ref().is_some_and(is_other_topic)
                || self.instance.is_some_and(is_other_instance))
    }

    fn loss(&mut self, loss: &Loss) {
        if !self.is_asked_for(loss) {
            return;
        }
        let reason = loss.reason.to_string();
        if loss.topic.is_empty() {
            let key = (reason, loss.lane.clone());
            return self.blocks.entry(key).or_default().add(loss.count);
        }
        let hour = loss.from.0.div_euclid(HOUR);
        let topic = self.topics.entry(loss.topic.clone()).or_default();
        let lost = &mut topic.hours.entry(hour).or_default().lost;
        lost.entry(reason).or_default().add(loss.count);
        if loss.first_seq <= loss.last_seq {
            let publisher = Publisher {
                topic: loss.topic.clone(),
                instance: loss.sal_index,
                identity: loss.identity.clone().into_bytes(),
                origin: loss.origin,
            };
            self.sequences
                .named(publisher, loss.first_seq, loss.last_seq);
        }
    }

    fn json(&self) -> Value {
        let unnamed = self.sequences.unnamed();
        let topics: Vec<_> = self
            .topics
            .iter()
            .map(|(name, topic)| {
                let hours: Vec<_> = topic
                    .hours
                    .iter()
                    .map(|(hour, it)| {
                        json!({"hour": hour_text(*hour), "records": it.records, "lost": reasons(&it.lost)})
                    })
                    .collect();
                let sum = topic.sum();
                json!({
                    "topic": name, "records": sum.records, "lost": reasons(&sum.lost),
                    "unnamed": unnamed.get(name).copied().unwrap_or(0), "hours": hours,
                })
            })
            .collect();
        let blocks: Vec<_> = self
            .blocks
            .iter()
            .map(|((reason, lane), lost)| {
                let mut all = Map::from_iter([
                    ("reason".to_owned(), reason.as_str().into()),
                    ("lane".to_owned(), lane.as_str().into()),
                ]);
                if let Value::Object(mut numbers) = lost.json() {
                    all.append(&mut numbers);
                }
                Value::from(all)
            })
            .collect();
        let mut absent = Vec::new();
        for (log, numbers) in &self.absent {
            absent.extend(numbers.iter().map(
                |range| json!({"log": log.to_string(), "first": range.start(), "last": range.end()}),
            ));
        }
        let records: u64 = self.topics.values().map(|topic| topic.sum().records).sum();
        let sum: u64 = unnamed.values().sum();
        json!({
            "records": records, "unnamed": sum, "topics": topics, "lost_blocks": blocks, "absent_blocks": absent,
        })
    }

    fn write(&self, detail: Detail, out: &mut impl Write) -> Result<(), InspectError> {
        let unnamed = self.sequences.unnamed();
        let mut table = match detail {
            Detail::Topics => Table::new(&["TOPIC", "RECORDS", "UNNAMED", "LOST"]),
            Detail::Hours => Table::new(&["TOPIC", "HOUR", "RECORDS", "LOST"]),
        };
        for (name, topic) in &self.topics {
            match detail {
                Detail::Topics => {
                    let sum = topic.sum();
                    let unnamed = unnamed.get(name).copied().unwrap_or(0);
                    table.row([
                        printable(name),
                        sum.records.to_string(),
                        unnamed.to_string(),
                        lost_text(&sum.lost),
                    ]);
                }
                Detail::Hours => {
                    for (hour, it) in &topic.hours {
                        table.row([
                            printable(name),
                            hour_text(*hour),
                            it.records.to_string(),
                            lost_text(&it.lost),
                        ]);
                    }
                }
            }
        }
        table.write(out)?;
        for ((reason, lane), lost) in &self.blocks {
            writeln!(
                out,
                "{reason}: blocks of the lane {} with {} records",
                printable(lane),
                lost.text()
            )?;
        }
        for (log, numbers) in &self.absent {
            let count = numbers.member_count();
            writeln!(out, "not here: {count} blocks of {log}: {numbers}")?;
        }
        let records: u64 = self.topics.values().map(|topic| topic.sum().records).sum();
        let gaps: u64 = unnamed.values().sum();
        let lost_blocks = if self.blocks.is_empty() && self.absent.is_empty() || gaps == 0 {
            ""
        } else {
            " (some may be in the blocks above)"
        };
        writeln!(
            out,
            "{records} records of {} topics; {gaps} numbers of publishers that nobody has named{lost_blocks}",
            self.topics.len()
        )?;
        Ok(())
    }
}

impl Topic {
    fn sum(&self) -> Hour {
        let mut sum = Hour::default();
        for hour in self.hours.values() {
            sum.records += hour.records;
            for (reason, lost) in &hour.lost {
                sum.lost.entry(reason.clone()).or_default().merge(*lost);
            }
        }
        sum
    }
}

fn hour_text(hour: i64) -> String {
    floor(UtcNanos(hour.saturating_mul(HOUR)))
}

fn reasons(lost: &BTreeMap<String, Lost>) -> Map<String, Value> {
    lost.iter()
        .map(|(reason, lost)| (reason.clone(), lost.json()))
        .collect()
}

fn lost_text(lost: &BTreeMap<String, Lost>) -> String {
    if lost.is_empty() {
        return "-".to_owned();
    }
    let texts = lost
        .iter()
        .map(|(reason, lost)| format!("{reason} {}", lost.text()));
    texts.collect::<Vec<_>>().join(", ")
}
