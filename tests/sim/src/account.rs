//! The law of every end-to-end run: *published = stored ∪ named losses*, disjoint, nothing twice.
//!
//! In:  the oracle's `publishers.json` and a lake, read as files of Parquet: no code of the daemons takes part.
//! Out: the account, topic by topic.
//!
//! What a loss names, and how exact it is:
//!
//! | loss | names | must hold |
//! |---|---|---|
//! | `dds_gap`, `crash`, `before_contact` | sequence numbers of one publisher | published and not stored: `both` = `misnamed` = 0 |
//! | `queue_full`, `undecodable` | how many of a topic; their gap names which | not more than the topic's named by sequence number, the rest is `misnamed` |
//! | `untyped`, `queue_full` of a topic without a type | how many of a topic by its DDS name; once an IDL file brings the type, a gap names which | as many are absent, or named by sequence number: the rest is `misnamed` |
//! | `evicted`, `corrupt`, `log_retention` | blocks, and how many records are in them | as many are absent from the topics of that lane as are named and did not arrive: the rest is `misnamed` |
//!
//! A block that was sent, and whose acknowledgement was lost with the link, is named when it is evicted and arrives all
//! the same; so does one that a killed edge had named and not yet removed. Its rows are `arrived`: data win over a loss, so
//! this breaks nothing, and it is bounded by what may be in flight when a link breaks (`ship.in_flight_bytes_max` of the
//! edge) and by one segment for each kill. Blocks that are named again count once. Blocks of which nobody counted the
//! records are `uncounted`: they make nothing good, and what was in them is `missing`.

mod lake;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use efd_shared_model::RangeSet;
use serde_json::{Map, Value as Json, json};

use crate::oracle::{Published, Publisher, read_published};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) published: u64,
    pub(crate) stored: u64,
    /// Named as lost and not stored.
    pub(crate) lost: u64,
    /// Neither stored nor named. Of one topic: not named by sequence number, for a block's loss names no topic.
    pub(crate) missing: u64,
    /// Stored, and named by sequence number as lost.
    pub(crate) both: u64,
    /// Rows beyond the first of a sample.
    pub(crate) duplicate: u64,
    /// Rows that nobody published.
    pub(crate) unexpected: u64,
    /// Named as lost, and never published.
    pub(crate) misnamed: u64,
}

impl Line {
    fn add(&mut self, other: &Self) {
        self.published += other.published;
        self.stored += other.stored;
        self.lost += other.lost;
        self.missing += other.missing;
        self.both += other.both;
        self.duplicate += other.duplicate;
        self.unexpected += other.unexpected;
        self.misnamed += other.misnamed;
    }

    pub(crate) fn to_json(self) -> Json {
        let Self {
            published,
            stored,
            lost,
            missing,
            both,
            duplicate,
            unexpected,
            misnamed,
        } = self;
        json!({
            "published": published, "stored": stored, "lost": lost, "missing": missing, "both": both,
            "duplicate": duplicate, "unexpected": unexpected, "misnamed": misnamed,
        })
    }
}

/// Losses that name blocks of a lane, all epochs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LaneLine {
    pub(crate) blocks: u64,
    /// Records that the losses count in these blocks.
    pub(crate) named: u64,
    /// Rows of these blocks that are stored all the same.
    pub(crate) arrived: u64,
    /// Blocks whose records nobody counted.
    pub(crate) uncounted: u64,
    /// Losses that name only what others had named.
    pub(crate) again: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) total: Line,
    pub(crate) topics: BTreeMap<String, Line>,
    pub(crate) lanes: BTreeMap<String, LaneLine>,
    /// Named losses by reason, samples; −1 counts as one.
    pub(crate) reasons: BTreeMap<String, u64>,
}

impl Account {
    pub(crate) fn keeps_the_law(&self) -> bool {
        let Line {
            missing,
            both,
            duplicate,
            unexpected,
            misnamed,
            ..
        } = self.total;
        [missing, both, duplicate, unexpected, misnamed] == [0; 5]
    }

    /// The total line, `arrived`, and the tables.
    pub(crate) fn to_json(&self) -> Json {
        let mut json = self.total.to_json();
        let lanes = self.lanes.iter().map(|(lane, line)| {
            let LaneLine {
                blocks,
                named,
                arrived,
                uncounted,
                again,
            } = line;
            let line = json!({
                "blocks": blocks, "named": named, "arrived": arrived, "uncounted": uncounted, "again": again,
            });
            (lane.clone(), line)
        });
        json["lanes"] = lanes.collect::<Map<_, _>>().into();
        let arrived: u64 = self.lanes.values().map(|line| line.arrived).sum();
        json["arrived"] = arrived.into();
        json["topics"] = self.topics.len().into();
        json["reasons"] = json!(self.reasons);
        json
    }
}

/// Counts `lake` against the oracle in `folder`.
pub(crate) fn account(folder: &Path, lake: &Path) -> Result<Account> {
    let published = read_published(folder)?;
    Ok(lake::read(lake)?.settle(&published))
}

/// What a lake says, before it is held against an oracle. Losses are to be taken before rows.
#[derive(Debug, Default)]
struct Evidence {
    publishers: BTreeMap<Publisher, Tally>,
    blocks: BTreeMap<Lane, NamedBlocks>,
    /// Samples of a topic that a loss counts and does not identify.
    counted: BTreeMap<String, u64>,
    reasons: BTreeMap<String, u64>,
    /// Rows of the table of what the lake could not read.
    rejected: u64,
}

#[derive(Debug, Default)]
struct Tally {
    rows: u64,
    stored: RangeSet,
    lost: RangeSet,
}

/// A lane of one start of an edge's writer, as the lake writes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Lane {
    epoch: String,
    lane: String,
}

impl Lane {
    /// Without its shard.
    fn kind(&self) -> &str {
        self.lane
            .split_once('.')
            .map_or(&self.lane, |(kind, _)| kind)
    }
}

#[derive(Debug, Default)]
struct NamedBlocks {
    numbers: RangeSet,
    line: LaneLine,
}

/// A row of `efd.losses`.
#[derive(Clone, Debug, Default)]
struct NamedLoss {
    reason: String,
    publisher: Publisher,
    first_seq: i64,
    last_seq: i64,
    lane: Lane,
    first_block: i64,
    last_block: i64,
    count: i64,
}

impl Evidence {
    fn take_loss(&mut self, loss: NamedLoss) {
        *self.reasons.entry(loss.reason).or_default() += u64::try_from(loss.count).unwrap_or(1);
        let range = |first: i64, last: i64| {
            let (first, last) = (u64::try_from(first).ok()?, u64::try_from(last).ok()?);
            (0 < first && first <= last).then_some(first..=last)
        };
        if let Some(sequences) = range(loss.first_seq, loss.last_seq) {
            let tally = self.publishers.entry(loss.publisher).or_default();
            tally.lost.insert_range(sequences);
        } else if !loss.lane.lane.is_empty() {
            let named = self.blocks.entry(loss.lane).or_default();
            let before = named.numbers.member_count();
            // A block that was never stored has no number.
            if let Some(numbers) = range(loss.first_block, loss.last_block) {
                named.numbers.insert_range(numbers);
            }
            let blocks = named.numbers.member_count() - before;
            named.line.blocks += blocks;
            // Killed between naming and removing, an edge names the same blocks again: they are absent once.
            if blocks == 0 && before > 0 && loss.last_block > 0 {
                named.line.again += 1;
                return;
            }
            match u64::try_from(loss.count) {
                Ok(count) => named.line.named += count,
                Err(_) => named.line.uncounted += blocks.max(1),
            }
        } else {
            let count = u64::try_from(loss.count).unwrap_or(1);
            *self.counted.entry(loss.publisher.topic).or_default() += count;
        }
    }

    /// `place`: lane and block, needed only where blocks are [named](Self::names_blocks).
    fn take_row(&mut self, publisher: &Publisher, sequence: i64, place: Option<(&Lane, i64)>) {
        let tally = match self.publishers.get_mut(publisher) {
            Some(tally) => tally,
            None => self.publishers.entry(publisher.clone()).or_default(),
        };
        tally.rows += 1;
        tally.stored.insert(sequence.max(0) as u64);
        if let Some((lane, block)) = place
            && let Some(named) = self.blocks.get_mut(lane)
            && named.numbers.contains(block.max(0) as u64)
        {
            named.line.arrived += 1;
        }
    }

    fn names_blocks(&self) -> bool {
        !self.blocks.is_empty()
    }

    fn settle(mut self, published: &Published) -> Account {
        let mut account = Account {
            reasons: self.reasons,
            ..Account::default()
        };
        for (publisher, &last) in &published.last {
            let tally = self.publishers.remove(publisher).unwrap_or_default();
            let line = account.topics.entry(publisher.topic.clone()).or_default();
            line.add(&tally.against(last.max(0) as u64));
        }
        for (publisher, tally) in self.publishers {
            let line = account.topics.entry(publisher.topic).or_default();
            line.add(&tally.against(0));
        }
        for (name, count) in self.counted {
            let by_dds = published.by_dds_topic.get(&name);
            let topic = by_dds.unwrap_or(&name).clone();
            let line = account.topics.entry(topic).or_default();
            if by_dds.is_some() {
                // Nobody could read the numbers of a sample without a type.
                let good = count.min(line.missing);
                line.missing -= good;
                line.lost += good;
            }
            line.misnamed += count.saturating_sub(line.lost);
        }
        if self.rejected > 0 {
            let line = account.topics.entry(lake::REJECTED.to_owned()).or_default();
            line.unexpected += self.rejected;
        }
        for (lane, named) in self.blocks {
            let line = account.lanes.entry(lane.kind().to_owned()).or_default();
            line.blocks += named.line.blocks;
            line.named += named.line.named;
            line.arrived += named.line.arrived;
            line.uncounted += named.line.uncounted;
            line.again += named.line.again;
        }
        account.total = total(&account.topics, &account.lanes);
        account
    }
}

impl Tally {
    fn against(&self, last: u64) -> Line {
        // `1..=0` is empty, and `missing` of it too.
        let within = |set: &RangeSet| {
            let holes = set.missing(1..=last);
            last - holes
                .iter()
                .map(|hole| hole.end() - hole.start() + 1)
                .sum::<u64>()
        };
        let mut known = self.stored.clone();
        known.union(&self.lost);
        let (stored, named, known) = (within(&self.stored), within(&self.lost), within(&known));
        Line {
            published: last,
            stored,
            lost: known - stored,
            missing: last - known,
            both: stored + named - known,
            duplicate: self.rows - self.stored.member_count(),
            unexpected: self.stored.member_count() - stored,
            misnamed: self.lost.member_count() - named,
        }
    }
}

/// Blocks are named by lane and count: they make good what is absent from that lane's topics, as many as they count.
fn total(topics: &BTreeMap<String, Line>, lanes: &BTreeMap<String, LaneLine>) -> Line {
    let mut total = Line::default();
    let mut absent: BTreeMap<&str, u64> = BTreeMap::new();
    for (topic, line) in topics {
        total.add(line);
        *absent.entry(lane_of(topic)).or_default() += line.missing;
    }
    for (lane, line) in lanes {
        let absent = absent.get(lane.as_str()).copied().unwrap_or(0);
        let count = line.named.saturating_sub(line.arrived);
        let good = count.min(absent);
        total.missing -= good;
        total.lost += good;
        total.misnamed += count - good;
    }
    total
}

/// SAL names its commands and events; `lsst.sal.Test.logevent_x`.
fn lane_of(topic: &str) -> &'static str {
    let name = topic.rsplit('.').next().unwrap_or_default();
    let is_event = ["logevent_", "command_", "ackcmd"]
        .iter()
        .any(|begin| name.starts_with(begin));
    if is_event { "events" } else { "telemetry" }
}
