//! `play`: publishes what was recorded onto the DDS domain of a test bench, to relive an incident there.
//!
//! What readers get is what the publishers sent: values, private fields, source timestamps, in the order and with the
//! spacing of event times. The buffer is walked as it is played, a few blocks ahead.

mod bus;
mod cast;
mod gather;
mod merge;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use efd_edge_dds::{EntityError, OpenError, WriteError};
use efd_shared_avro::RecordSchema;
use efd_shared_model::{Lane, LaneKind, LeapTable, UtcNanos};
use efd_shared_store::{LaneName, ReadOnlyStore};
use serde_json::json;

use crate::open::open;
use crate::outcome::{Exit, InspectError};
use crate::pace::Pace;
use crate::pattern::Pattern;
use crate::screen::Screen;
use crate::table::floor;
use crate::walk::{Filter, Walk};
use bus::{Bus, Written};
use cast::{Cast, LeftOut, read_idl};
use gather::{AllLeftOut, LaneWalk, Word};
use merge::{Merge, Sample};

/// Where to, and how.
#[derive(Clone, Debug)]
pub struct Options {
    pub domain: u32,
    /// Network interface by name.
    pub interface: Option<String>,
    /// Without it others are found at `peers` only.
    pub multicast: bool,
    pub peers: Vec<String>,
    /// IDL files, or folders of them.
    pub idl: Vec<PathBuf>,
    pub speed: Speed,
    /// Begin of the partitions: `<partition>.<component>.data`.
    pub partition: String,
    /// Commands and their acknowledgements as well.
    pub commands: bool,
    /// `private_sndStamp` and the source timestamp become the time of the replay.
    pub restamp: bool,
    /// For readers, at most; nothing: nobody has to be there.
    pub wait: Duration,
    /// After the last sample.
    pub linger: Duration,
    /// Also onto a bus that looks like one in operation.
    pub is_sure: bool,
}

/// Pace of the event times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as it was: more than 0.
    Times(f64),
    /// As fast as readers take it.
    Max,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("speed `{0}` is neither a number above 0 (1, 10, 0.5) nor max")]
pub struct SpeedError(String);

#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    #[error(
        "domain 0 is the one that observatories operate on, where a replay would be taken for the present: \
         choose another, or say --yes-this-domain if this is a test bench"
    )]
    DomainZero,
    #[error(
        "{topic} is published in partition {partition} of domain {domain} already, by {by}: nobody could tell the \
         replay from it. Choose another --partition or --domain, or say --yes-this-domain"
    )]
    Live {
        domain: u32,
        topic: String,
        partition: String,
        by: String,
    },
    #[error(
        "nobody on domain {domain} reads any of these {topics} topics in the partitions {partition}.* ({participants} other \
         participants are there): are --domain, --interface and --partition those of the bench? --wait 0s plays to nobody"
    )]
    Nobody {
        domain: u32,
        partition: String,
        topics: usize,
        participants: usize,
    },
    #[error("partition `{0}` is not 1 to 64 characters without `*`, `?` and `,`")]
    Partition(String),
    #[error(
        "none of the topics that are asked for can be published: {}",
        first(reasons)
    )]
    NoTopic { reasons: Vec<String> },
    #[error("no IDL file in {}", shown(paths))]
    NoIdl { paths: Vec<PathBuf> },
    #[error("read IDL {}", path.display())]
    Idl {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Entity(#[from] EntityError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

fn first(reasons: &[String]) -> String {
    match reasons {
        [] => "nothing is recorded there".to_owned(),
        [reason] => reason.clone(),
        [reason, others @ ..] => format!("{reason}; and {} more", others.len()),
    }
}

fn shown(paths: &[PathBuf]) -> String {
    let paths = paths.iter().map(|path| path.display().to_string());
    paths.collect::<Vec<_>>().join(", ")
}

impl FromStr for Speed {
    type Err = SpeedError;
    fn from_str(text: &str) -> Result<Self, SpeedError> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let times = text.strip_suffix('x').unwrap_or(text).parse().ok();
        let times = times.filter(|times: &f64| times.is_finite() && *times > 0.0);
        times
            .map(Self::Times)
            .ok_or_else(|| SpeedError(text.to_owned()))
    }
}

impl Speed {
    /// How long after the first sample one is due whose event time is `after` ns later. One that comes before the first
    /// is due at once; what is too far off to be said is due never.
    fn due(self, after: i64) -> Duration {
        match self {
            Self::Max => Duration::ZERO,
            Self::Times(times) => {
                let seconds = after.max(0) as f64 / 1e9 / times;
                Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
            }
        }
    }
}

/// IDL errors that are shown.
const IDL_ERRORS_MAX: usize = 10;
/// Between two words about the progress.
const PROGRESS: Duration = Duration::from_millis(500);

/// A replay that is so far behind is not what it should be.
const LATE: Duration = Duration::from_secs(1);

/// Publishes what `filter` wants of the buffer at `path`. Records that make no sample are named and left out; an error
/// is that nothing may or can be published ([`PlayError`]), or that the bus or the buffer failed on the way.
pub fn play(
    path: &Path,
    mut filter: Filter,
    options: &Options,
    pace: &impl Pace,
    json: bool,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Exit, InspectError> {
    check(options)?;
    let limit = filter.limit.take().unwrap_or(u64::MAX);
    let registry = read_idl(&options.idl)?;
    for (file, error) in registry.errors().take(IDL_ERRORS_MAX) {
        screen.note(format_args!("{file}:{error}"))?;
    }
    let store = open(path, screen)?;
    // Names a lane or topic that is not there.
    Walk::new(&store, &filter)?;
    let mut cast = Cast::new(registry, options.commands);
    meet(&store, &filter, &mut cast)?;

    let mut bus = Bus::join(options)?;
    if !options.is_sure {
        bus.refuse_if_live(cast.sources(), options.domain, pace)?;
    }
    bus.add(cast.sources())?;
    let listening = bus.wait_for_readers(options.wait, pace)?;
    if listening == 0 && !options.wait.is_zero() {
        return Err(PlayError::Nobody {
            domain: options.domain,
            partition: options.partition.clone(),
            topics: cast.sources().len(),
            participants: bus.participants(),
        }
        .into());
    }
    let lanes = lanes(&store, &filter);
    let filters: Vec<_> = lanes
        .into_iter()
        .map(|lane| Filter {
            lane: Some(lane.to_string()),
            ..filter.clone()
        })
        .collect();
    let player = Player {
        bus: &mut bus,
        options,
        pace,
        leaps: LeapTable::built_in(),
        played: Played::default(),
    };
    let played = player.run(&store, &filters, &Mutex::new(cast), limit, screen)?;
    bus.leave(options.linger, pace);
    report(&played, options, json, screen)?;
    Ok(screen.end()?)
}

fn check(options: &Options) -> Result<(), PlayError> {
    if options.domain == 0 && !options.is_sure {
        return Err(PlayError::DomainZero);
    }
    let partition = &options.partition;
    let is_plain = !partition.contains(['*', '?', ',', '\0']);
    if !is_plain || partition.is_empty() || partition.chars().count() > 64 {
        return Err(PlayError::Partition(partition.clone()));
    }
    Ok(())
}

/// Events and telemetry: what the edge wrote about itself, and what it could not read, was no sample.
fn lanes(store: &ReadOnlyStore, filter: &Filter) -> Vec<LaneName> {
    let is_played = |lane: &LaneName| {
        let kind = lane.as_str().parse().map(|lane: Lane| lane.kind);
        // A lone segment whose description is damaged is called otherwise; its streams tell.
        !matches!(
            kind,
            Ok(LaneKind::Losses | LaneKind::Reduced | LaneKind::Parked)
        )
    };
    let is_wanted = |lane: &LaneName| filter.lane.as_ref().is_none_or(|it| it == lane.as_str());
    let mut lanes = store.reader().lanes();
    lanes.retain(|lane| is_played(lane) && is_wanted(lane));
    lanes
}

/// Makes the acquaintance of every stream that may have a part, so that its readers can be waited for. Others are met
/// on the way.
fn meet(store: &ReadOnlyStore, filter: &Filter, cast: &mut Cast) -> Result<(), PlayError> {
    let mut reader = store.reader();
    let pattern = filter.topic.as_deref().map(Pattern::new);
    let mut epochs: Vec<_> = store
        .segments()
        .iter()
        .flat_map(|info| info.contents.lanes.clone())
        .filter(|(_, held)| {
            filter
                .window
                .touches(held.event_time_min, held.event_time_max)
        })
        .map(|(log, _)| log.epoch)
        .collect();
    epochs.sort();
    epochs.dedup();
    let mut reasons = Vec::new();
    for epoch in epochs {
        let streams = reader.streams(epoch).unwrap_or_default();
        let is_wanted = |topic: &str| pattern.as_ref().is_none_or(|it| it.matches(topic));
        for stream in streams {
            if stream.dds_type.is_empty() || !is_wanted(&stream.topic) {
                continue;
            }
            let schema = reader.schema(&stream.schema).ok().flatten();
            let schema = schema.and_then(|schema| RecordSchema::parse(schema.text()).ok());
            // Without it the walk says what is wrong.
            let Some(schema) = schema else { continue };
            if let Err(reason) = cast.resolve(&stream, &schema) {
                reasons.push(format!("{}: {reason}", stream.topic));
            }
        }
    }
    if cast.sources().is_empty() {
        return Err(PlayError::NoTopic { reasons });
    }
    Ok(())
}

/// What was done.
#[derive(Debug, Default)]
struct Played {
    samples: u64,
    topics: usize,
    first: Option<UtcNanos>,
    last: Option<UtcNanos>,
    took: Duration,
    /// Behind its due time, at most.
    late_max: Duration,
    out_of_order: u64,
    left_out: AllLeftOut,
}

struct Player<'a, P> {
    bus: &'a mut Bus,
    options: &'a Options,
    pace: &'a P,
    leaps: LeapTable,
    played: Played,
}

impl<P: Pace> Player<'_, P> {
    fn run(
        mut self,
        store: &ReadOnlyStore,
        filters: &[Filter],
        cast: &Mutex<Cast>,
        limit: u64,
        screen: &mut Screen<impl Write, impl Write>,
    ) -> Result<Played, InspectError> {
        std::thread::scope(|scope| {
            let start = |filter| LaneWalk::start(scope, store, filter, cast);
            let walks: Vec<_> = filters.iter().map(start).collect();
            let played = self.merge(&walks, cast, limit, screen);
            // Also after an error: a walk that nobody listens to ends.
            let ended: Vec<_> = walks.into_iter().map(LaneWalk::end).collect();
            played?;
            for left_out in ended {
                for (key, count) in left_out? {
                    *self.played.left_out.entry(key).or_default() += count;
                }
            }
            Ok(self.played)
        })
    }

    fn merge(
        &mut self,
        walks: &[LaneWalk<'_>],
        cast: &Mutex<Cast>,
        limit: u64,
        screen: &mut Screen<impl Write, impl Write>,
    ) -> Result<(), InspectError> {
        let mut merge = Merge::new(walks.len());
        let mut seen = vec![false; self.count(cast)?];
        let begin = self.pace.elapsed();
        let mut told = begin;
        while self.played.samples < limit {
            while let Some(lane) = merge.wants() {
                match walks.get(lane).map(|walk| walk.words.recv()) {
                    Some(Ok(Word::Batch(batch))) => merge.offer(lane, batch),
                    Some(Ok(Word::Damaged(what))) => screen.damaged(what)?,
                    Some(Ok(Word::Note(what))) => screen.note(what)?,
                    Some(Err(_)) | None => merge.end(lane),
                }
            }
            let Some(sample) = merge.next() else { break };
            if seen.len() <= sample.source {
                seen.resize(self.count(cast)?, false);
            }
            if let Some(seen) = seen.get_mut(sample.source) {
                self.played.topics += usize::from(!std::mem::replace(seen, true));
            }
            self.one(sample, begin, &mut told, screen)?;
        }
        self.played.took = self.pace.elapsed().saturating_sub(begin);
        self.played.out_of_order = merge.out_of_order();
        Ok(screen.clear_progress()?)
    }

    /// Of the streams that are known: each has a writer from here on.
    fn count(&mut self, cast: &Mutex<Cast>) -> Result<usize, InspectError> {
        let cast = cast.lock().unwrap_or_else(PoisonError::into_inner);
        self.bus.add(cast.sources())?;
        Ok(cast.sources().len())
    }

    fn one(
        &mut self,
        mut sample: Sample,
        begin: Duration,
        told: &mut Duration,
        screen: &mut Screen<impl Write, impl Write>,
    ) -> Result<(), InspectError> {
        let first = *self.played.first.get_or_insert(sample.time);
        let due = self.options.speed.due(sample.time.since(first));
        let due = begin.saturating_add(due);
        loop {
            let now = self.pace.elapsed();
            if *told + PROGRESS <= now {
                *told = now;
                self.tell(&sample, screen)?;
            }
            if due <= now {
                if self.options.speed != Speed::Max {
                    self.played.late_max = self.played.late_max.max(now - due);
                }
                break;
            }
            self.pace.sleep((due - now).min(PROGRESS));
        }
        let source_time = if self.options.restamp {
            let tai = self.leaps.to_tai(self.pace.utc()).as_seconds();
            let at = sample.snd_stamp_at;
            if let Some(stamp) = sample.payload.get_mut(at..at + 8) {
                stamp.copy_from_slice(&tai.to_le_bytes());
            }
            None
        } else {
            Some(sample.time.0)
        };
        let written = self
            .bus
            .write(sample.source, &sample.payload, source_time, self.pace);
        if written? == Written::HeldUp {
            let time = floor(sample.time);
            screen.note(format_args!("a reader held up the replay at {time}"))?;
        }
        self.played.samples += 1;
        self.played.last = self.played.last.max(Some(sample.time));
        Ok(())
    }

    fn tell(
        &self,
        next: &Sample,
        screen: &mut Screen<impl Write, impl Write>,
    ) -> Result<(), InspectError> {
        let (count, time) = (self.played.samples, floor(next.time));
        Ok(screen.progress(format_args!("{count} samples published, now at {time}"))?)
    }
}

fn report(
    played: &Played,
    options: &Options,
    json: bool,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<(), InspectError> {
    let Played {
        samples,
        topics,
        first,
        last,
        took,
        late_max,
        out_of_order,
        left_out,
    } = played;
    let (mut commands, mut others) = (0, 0);
    for ((topic, reason), count) in left_out {
        if *reason == LeftOut::Command {
            commands += count;
        } else {
            others += count;
            screen.damaged(format_args!("{topic}: {count} records left out: {reason}"))?;
        }
    }
    if commands > 0 {
        let reason = LeftOut::Command;
        screen.note(format_args!("{commands} records left out: {reason}"))?;
    }
    if *out_of_order > 0 {
        screen.note(format_args!(
            "{out_of_order} samples were published after one of a later event time: they were recorded too late to be put in order"
        ))?;
    }
    if LATE <= *late_max {
        let seconds = late_max.as_secs_f64();
        screen.note(format_args!("the replay was up to {seconds:.1} s behind"))?;
    }
    let (domain, partition) = (options.domain, &options.partition);
    if json {
        let summary = json!({
            "published": samples, "topics": topics, "left_out": others, "commands_left_out": commands,
            "out_of_order": out_of_order, "first": first.map(|time| time.to_string()),
            "last": last.map(|time| time.to_string()), "seconds": took.as_secs_f64(),
            "late_seconds_max": late_max.as_secs_f64(), "domain": domain, "partition": partition,
        });
        writeln!(screen.out, "{summary}")?;
        return Ok(());
    }
    let span = match first.zip(*last) {
        Some((first, last)) => format!(", of {} to {}", floor(first), floor(last)),
        None => String::new(),
    };
    writeln!(
        screen.out,
        "{samples} samples of {topics} topics{span}, published in {:.1} s onto domain {domain}, partition {partition}",
        took.as_secs_f64()
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds() {
        for (text, expected) in [
            ("1", Speed::Times(1.0)),
            ("0.5", Speed::Times(0.5)),
            ("10x", Speed::Times(10.0)),
            ("max", Speed::Max),
        ] {
            assert_eq!(text.parse(), Ok(expected));
        }
        for text in ["", "0", "-1", "inf", "NaN", "fast", "x", "1xx"] {
            assert_eq!(text.parse::<Speed>(), Err(SpeedError(text.to_owned())));
        }
    }

    #[test]
    fn a_sample_is_due_by_its_event_time() {
        let second = 1_000_000_000;
        let check = |speed: Speed, after: i64, expected: Duration| {
            assert_eq!(speed.due(after), expected, "{speed:?} {after}");
        };
        check(Speed::Times(1.0), 3 * second, Duration::from_secs(3));
        check(Speed::Times(10.0), 3 * second, Duration::from_millis(300));
        check(Speed::Times(0.5), second, Duration::from_secs(2));
        check(Speed::Times(1.0), -second, Duration::ZERO);
        check(Speed::Times(1e-300), i64::MAX, Duration::MAX);
        check(Speed::Max, 3 * second, Duration::ZERO);
    }
}
