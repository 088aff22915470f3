//! The way through a buffer, lane by lane, in the order of commits: what a command is asked for reaches its [`Taker`].
//!
//! A segment is passed over by its span of event time and by the streams of its epochs, a block by its header, a
//! section by its stream: what is not asked for is not decompressed, where the header can tell.

mod ahead;
mod streams;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use efd_shared_model::block::Section;
use efd_shared_model::{BlockId, Lane, LaneKind, RecordId, RecordRef};
use efd_shared_store::{Item, LaneName, Position, ReadOnlyStore, Reader, SegmentInfo};

use crate::outcome::InspectError;
use crate::pattern::Pattern;
use crate::screen::Screen;
use ahead::{Chosen, Opened};
use efd_shared_daemon::when::Window;
use streams::{Missing, Streams};

pub(crate) use streams::{Stream, own_schema};

/// What is wanted. The default is everything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub topic: Option<String>,
    /// A lane of the store: `telemetry`, `events.2`.
    pub lane: Option<String>,
    pub window: Window,
    /// `salIndex`.
    pub instance: Option<i32>,
    /// Records at most.
    pub limit: Option<u64>,
}

/// Blocks read at a time, in bytes: a block can be larger, and is then read alone.
const BATCH_BYTES: usize = 1 << 20;
/// Other topics named where none matches.
const SIMILAR_MAX: usize = 10;

/// What is done with the records on the way.
pub(crate) trait Taker<O> {
    /// Records of a stream that is not wanted are passed over, and do not count.
    fn wants(&mut self, _stream: &Stream) -> bool {
        true
    }

    /// The inner error: the record cannot be read by its schema.
    fn record(
        &mut self,
        stream: &Stream,
        id: RecordId,
        record: &RecordRef<'_>,
    ) -> Result<Result<(), String>, InspectError>;

    /// After each block of which something was taken.
    fn block_done(&mut self, out: &mut O) -> Result<(), InspectError>;
}

type Flow = Result<ControlFlow<()>, InspectError>;

/// Items in their order, each block with what opening it gave.
struct Group {
    items: Vec<Item>,
    opened: Vec<Option<Opened>>,
}

/// One walk, or several one after the other: each goes on where the one before ended.
pub(crate) struct Walk<'a> {
    reader: Reader,
    streams: Streams,
    filter: &'a Filter,
    /// `None`: all, and those to come.
    lane: Option<LaneName>,
    first: Option<LaneKind>,
    /// Records.
    left: u64,
    /// Walks done.
    walks: u64,
    threads: usize,
    /// The next position of each lane, where a walk has been there.
    next: BTreeMap<LaneName, Position>,
}

impl<'a> Walk<'a> {
    /// An error where a lane or topic is asked for that is not there: a slip of the fingers, not an empty answer.
    pub(crate) fn new(store: &ReadOnlyStore, filter: &'a Filter) -> Result<Self, InspectError> {
        let mut reader = store.reader();
        let lane = chosen_lane(&reader, filter)?;
        if let (Some(pattern), true) = (&filter.topic, store.notices().is_empty()) {
            check_topic(pattern, &mut reader)?;
        }
        let pattern = filter.topic.as_deref().map(Pattern::new);
        Ok(Self {
            reader,
            streams: Streams::new(pattern),
            filter,
            lane,
            first: None,
            left: filter.limit.unwrap_or(u64::MAX),
            walks: 0,
            threads: ahead::threads(),
            next: BTreeMap::new(),
        })
    }

    /// This lane comes before the others.
    pub(crate) fn begin_with(&mut self, lane: LaneKind) {
        self.first = Some(lane);
    }

    /// Whether the limit has been reached.
    pub(crate) fn is_done(&self) -> bool {
        self.left == 0
    }

    pub(crate) fn run<O: Write>(
        &mut self,
        store: &ReadOnlyStore,
        taker: &mut impl Taker<O>,
        screen: &mut Screen<O, impl Write>,
    ) -> Result<(), InspectError> {
        // A connection of the last walk may be to a WAL that a restart of the edge has replaced.
        self.reader = store.reader();
        self.streams.look_again();
        let segments = store.segments();
        let wanted = self.lane.clone();
        let chosen = segments
            .iter()
            .filter(|info| wanted.as_ref().is_none_or(|lane| *lane == info.key.lane));
        let mut chosen: Vec<_> = chosen.collect();
        let first = self.first.map(LaneKind::as_str);
        chosen.sort_by_key(|info| first != Some(info.key.lane.as_str()));
        for (index, info) in chosen.iter().enumerate() {
            if self.is_done() {
                break;
            }
            screen.progress(format_args!(
                "segment {} of {}: {}",
                index + 1,
                chosen.len(),
                info.key
            ))?;
            if self.segment(store, info, taker, screen)?.is_break() {
                break;
            }
        }
        self.walks += 1;
        Ok(screen.clear_progress()?)
    }

    fn segment<O: Write>(
        &mut self,
        store: &ReadOnlyStore,
        info: &SegmentInfo,
        taker: &mut impl Taker<O>,
        screen: &mut Screen<O, impl Write>,
    ) -> Flow {
        let path = store.path(&info.key);
        let lane = &info.key.lane;
        let begin = self.next.get(lane).copied().unwrap_or_default();
        let mut next = info.first.max(begin);
        if info.last < next {
            return Ok(ControlFlow::Continue(()));
        }
        if self.walks > 0 && Position::FIRST < begin && begin < info.first {
            screen.note(format_args!(
                "lane {lane}: nothing is held from position {begin} to {}: removed before it was read, or never used",
                info.first.0 - 1
            ))?;
        }
        if !self.may_hold(info, &path) {
            self.next.insert(lane.clone(), info.last.next());
            return Ok(ControlFlow::Continue(()));
        }
        // While a group is taken, the next one is opened.
        let mut ready: Option<Group> = None;
        let mut read = Vec::new();
        loop {
            let group = self.group(info, &path, &mut next, &mut read);
            // What was read before an error is taken all the same.
            let (items, failed) = match group {
                Ok(items) => (items, None),
                Err(error) => (Vec::new(), Some(error)),
            };
            let chosen = self.choose(&path, &items);
            let (opened, flow) = ahead::open(&chosen, self.threads, || {
                let group = ready.take();
                group.map_or(Ok(ControlFlow::Continue(())), |group| {
                    self.take(&path, group, taker, screen)
                })
            });
            // What is found is seen while the search goes on.
            screen.out.flush()?;
            if flow?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if let Some(error) = failed {
                return Err(error);
            }
            if items.is_empty() {
                break;
            }
            ready = Some(Group { items, opened });
        }
        if next <= info.last && !path.exists() {
            screen.note(format_args!(
                "segment {} was removed by retention meanwhile, from position {next} on it was not read",
                info.key
            ))?;
        }
        self.next.insert(lane.clone(), info.last.next());
        Ok(ControlFlow::Continue(()))
    }

    /// The next items of a segment, from `next` on: as many of those in `read` as may be open together, which is
    /// filled where it is empty. None at the segment's end, and where retention has removed it.
    fn group(
        &mut self,
        info: &SegmentInfo,
        path: &Path,
        next: &mut Position,
        read: &mut Vec<Item>,
    ) -> Result<Vec<Item>, InspectError> {
        if read.is_empty() {
            let items = self.reader.read_of(info, *next, BATCH_BYTES)?;
            // A file that is open is read to its end, also where retention has unlinked it.
            let is_gone = matches!(items.first(), Some(Item::Damaged(_))) && !path.exists();
            if is_gone {
                return Ok(Vec::new());
            }
            *read = items;
        }
        let rest = read.split_off(ahead::fitting(read).min(read.len()));
        let group = std::mem::replace(read, rest);
        // The store promises an item for every position that it holds.
        if let Some(last) = group.last() {
            *next = last.next();
        }
        Ok(group)
    }

    fn may_hold(&mut self, info: &SegmentInfo, path: &Path) -> bool {
        // Where rows cannot be read, the summary does not speak for them: reading names them.
        if info.is_empty() || !info.damaged.is_empty() {
            return !info.is_empty();
        }
        info.contents.lanes.iter().any(|(log, contents)| {
            self.filter
                .window
                .touches(contents.event_time_min, contents.event_time_max)
                && self.streams.may_want(log.epoch, path, &mut self.reader)
        })
    }

    /// The blocks of these items that may hold anything wanted.
    fn choose<'b>(&mut self, path: &Path, items: &'b [Item]) -> Vec<Option<Chosen<'b>>> {
        let choose = |item: &'b Item| {
            let Item::Block(_, block) = item else {
                return None;
            };
            let header = block.header();
            let (epoch, through) = (header.id.lane.epoch, header.streams_through);
            let window = &self.filter.window;
            if !window.touches(header.event_time_min, header.event_time_max) {
                return None;
            }
            let streams = &mut self.streams;
            let unwanted = streams.unwanted_through(epoch, through, path, &mut self.reader)?;
            Some(Chosen { block, unwanted })
        };
        items.iter().map(choose).collect()
    }

    fn take<O: Write>(
        &mut self,
        path: &Path,
        group: Group,
        taker: &mut impl Taker<O>,
        screen: &mut Screen<O, impl Write>,
    ) -> Flow {
        for (item, opened) in group.items.iter().zip(group.opened) {
            match (item, opened) {
                (Item::Block(_, block), Some(opened)) => {
                    let flow = self.block(block.id(), opened, path, taker, screen)?;
                    if flow.is_break() {
                        return Ok(flow);
                    }
                }
                (Item::Damaged(damaged), _) if path.exists() => {
                    let id = damaged
                        .id
                        .map(|id| format!(", block {id}"))
                        .unwrap_or_default();
                    let (segment, position) = (&damaged.segment, damaged.position);
                    let reason = &damaged.reason;
                    screen.damaged(format_args!(
                        "segment {segment}, position {position}{id}: {reason}"
                    ))?;
                }
                (Item::Block(..) | Item::Damaged(_) | Item::Absent { .. }, _) => {}
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn block<O: Write>(
        &mut self,
        id: BlockId,
        opened: Opened,
        path: &Path,
        taker: &mut impl Taker<O>,
        screen: &mut Screen<O, impl Write>,
    ) -> Flow {
        let on = ControlFlow::Continue(());
        let block = match opened {
            Ok(Some(block)) => block,
            Ok(None) => return Ok(on),
            Err(error) => {
                screen.damaged(format_args!("block {id}: {error}"))?;
                return Ok(on);
            }
        };
        for section in block.sections() {
            let (min, max) = (section.event_time_min(), section.event_time_max());
            if !self.filter.window.touches(min, max) {
                continue;
            }
            match self
                .streams
                .get(id.lane.epoch, section.stream(), path, &mut self.reader)
            {
                Ok(None) => {}
                Ok(Some(stream)) if !taker.wants(&stream) => {}
                Ok(Some(stream)) => {
                    if let Some(reason) = self.section(id, &section, &stream, taker)? {
                        let (topic, number) = (&stream.topic, section.stream().0);
                        screen.damaged(format_args!(
                            "block {id}, stream {number} ({topic}): {reason}"
                        ))?;
                    }
                }
                Err(missing) => name_missing(id, &section, &missing, screen)?,
            }
            if self.is_done() {
                break;
            }
        }
        taker.block_done(&mut screen.out)?;
        Ok(if self.is_done() {
            ControlFlow::Break(())
        } else {
            on
        })
    }

    /// Gives the first reason why a record could not be read by its schema.
    fn section<O>(
        &mut self,
        block: BlockId,
        section: &Section<'_>,
        stream: &Stream,
        taker: &mut impl Taker<O>,
    ) -> Result<Option<String>, InspectError> {
        let mut undecodable = None;
        for record in section.records() {
            if self.is_done() {
                break;
            }
            let is_other =
                self.filter.instance.is_some() && self.filter.instance != record.stamps.instance;
            if is_other || !self.filter.window.contains(record.stamps.event_time) {
                continue;
            }
            let id = RecordId {
                block,
                index: record.index,
            };
            if let Err(reason) = taker.record(stream, id, &record)? {
                undecodable.get_or_insert(reason);
            }
            self.left -= 1;
        }
        Ok(undecodable)
    }
}

fn name_missing<O: Write>(
    block: BlockId,
    section: &Section<'_>,
    missing: &Missing,
    screen: &mut Screen<O, impl Write>,
) -> std::io::Result<()> {
    let (number, count) = (section.stream().0, section.len());
    screen.damaged(format_args!(
        "block {block}: {count} records of stream {number} cannot be shown: {missing}"
    ))
}

fn chosen_lane(reader: &Reader, filter: &Filter) -> Result<Option<LaneName>, InspectError> {
    let Some(wanted) = &filter.lane else {
        return Ok(None);
    };
    let lane: LaneName = wanted.parse()?;
    let lanes = reader.lanes();
    // One that an edge can have, and has nothing in: nothing was lost, nothing waits for its type.
    if lanes.contains(&lane) || wanted.parse::<Lane>().is_ok() {
        return Ok(Some(lane));
    }
    Err(InspectError::NoLane {
        lane: lane.to_string(),
        lanes: lanes.iter().map(LaneName::to_string).collect(),
    })
}

fn check_topic(text: &str, reader: &mut Reader) -> Result<(), InspectError> {
    let pattern = Pattern::new(text);
    let mut topics = BTreeSet::new();
    for epoch in reader.epochs()? {
        let streams = reader.streams(epoch.epoch)?;
        topics.extend(streams.into_iter().map(|stream| stream.topic));
    }
    if topics.iter().any(|topic| pattern.matches(topic)) {
        return Ok(());
    }
    Err(InspectError::NoTopic {
        pattern: text.to_owned(),
        of: topics.len(),
        similar: pattern.similar(topics.iter().map(String::as_str), SIMILAR_MAX),
    })
}
