//! `cat`: records as JSON lines, lane by lane, in the order they were committed.
//!
//! A segment is passed over by its span of event time and by the streams of its epochs, a block by its header, a
//! section by its stream: what is not asked for is not decompressed, where the header can tell.

mod line;
mod streams;

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use efd_shared_model::{BlockId, RecordId, SealedBlock};
use efd_shared_store::{Item, LaneName, ReadOnlyStore, Reader, SegmentInfo};

use crate::open::open;
use crate::outcome::{Exit, InspectError};
use crate::pattern::Pattern;
use crate::screen::Screen;
use crate::when::Window;
use streams::{Missing, Streams};

/// What to show. The default is everything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub topic: Option<String>,
    /// A lane of the store: `telemetry`, `events.2`.
    pub lane: Option<String>,
    pub window: Window,
    /// `salIndex`.
    pub instance: Option<i32>,
    /// Lines at most.
    pub limit: Option<u64>,
}

/// Blocks read at a time, in bytes: a block can be larger, and is then read alone.
const BATCH_BYTES: usize = 1 << 20;
/// Other topics named where none matches.
const SIMILAR_MAX: usize = 10;

/// One JSON object a line: `{"topic", "time", "id", "instance"?, "implausible"?, "fields": {…}}`.
///
/// `time` is the record's event time, UTC with nine digits. NaN and infinities are the strings `"NaN"`, `"Infinity"`
/// and `"-Infinity"`; a field of raw bytes is `{"bytes": <count>}`. A record that cannot be read by its schema has
/// `"error"` for `"fields"`.
pub fn cat(
    path: &Path,
    filter: &Filter,
    screen: &mut Screen<impl Write, impl Write>,
) -> Result<Exit, InspectError> {
    let store = open(path, screen)?;
    let mut reader = store.reader();
    let lanes = chosen_lanes(&reader, filter)?;
    let pattern = filter.topic.as_deref().map(Pattern::new);
    let streams = Streams::new(pattern);
    if let (Some(pattern), true) = (&filter.topic, store.notices().is_empty()) {
        check_topic(pattern, &mut reader)?;
    }
    let mut walk = Walk {
        store: &store,
        reader,
        streams,
        filter,
        left: filter.limit.unwrap_or(u64::MAX),
        text: Vec::new(),
        screen,
    };
    if walk.left > 0 {
        let segments = store.segments();
        let segments = segments
            .iter()
            .filter(|info| lanes.contains(&info.key.lane));
        for info in segments {
            if walk.segment(info)?.is_break() {
                break;
            }
        }
    }
    Ok(screen.end()?)
}

fn chosen_lanes(reader: &Reader, filter: &Filter) -> Result<Vec<LaneName>, InspectError> {
    let lanes = reader.lanes();
    let Some(wanted) = &filter.lane else {
        return Ok(lanes);
    };
    let lane: LaneName = wanted.parse()?;
    if lanes.contains(&lane) {
        Ok(vec![lane])
    } else {
        Err(InspectError::NoLane {
            lane: lane.to_string(),
            lanes: lanes.iter().map(LaneName::to_string).collect(),
        })
    }
}

/// A pattern that cannot match is a slip of the fingers, not an empty answer.
fn check_topic(text: &str, reader: &mut Reader) -> Result<(), InspectError> {
    let pattern = Pattern::new(text);
    let mut topics = std::collections::BTreeSet::new();
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

struct Walk<'a, O, E> {
    store: &'a ReadOnlyStore,
    reader: Reader,
    streams: Streams,
    filter: &'a Filter,
    /// Lines.
    left: u64,
    /// Of one block.
    text: Vec<u8>,
    screen: &'a mut Screen<O, E>,
}

type Flow = Result<ControlFlow<()>, InspectError>;

impl<O: Write, E: Write> Walk<'_, O, E> {
    fn segment(&mut self, info: &SegmentInfo) -> Flow {
        if !self.may_hold(info) {
            return Ok(ControlFlow::Continue(()));
        }
        let path = self.store.path(&info.key);
        let mut next = info.first;
        while next <= info.last {
            let items = self.reader.read(&info.key.lane, next, BATCH_BYTES)?;
            // The store promises an item for every position that it holds.
            let Some(end) = items.last().map(Item::next) else {
                break;
            };
            next = end;
            for item in items {
                if self.item(info, &path, item)?.is_break() {
                    self.screen.out.flush()?;
                    return Ok(ControlFlow::Break(()));
                }
            }
            // What is found is seen while the search goes on.
            self.screen.out.flush()?;
            if !path.exists() {
                self.screen.note(format_args!(
                    "segment {} was removed by retention meanwhile",
                    info.key
                ))?;
                break;
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn may_hold(&mut self, info: &SegmentInfo) -> bool {
        // Where rows cannot be read, the summary does not speak for them: reading names them.
        if info.is_empty() || !info.damaged.is_empty() {
            return !info.is_empty();
        }
        let path = self.store.path(&info.key);
        info.contents.lanes.iter().any(|(log, contents)| {
            self.filter
                .window
                .touches(contents.event_time_min, contents.event_time_max)
                && self.streams.may_want(log.epoch, &path, &mut self.reader)
        })
    }

    fn item(&mut self, info: &SegmentInfo, path: &Path, item: Item) -> Flow {
        match item {
            // A batch may reach into the next segment, which is asked on its own.
            Item::Block(position, _) if info.last < position => {}
            Item::Block(_, block) => return self.block(&block, path),
            Item::Damaged(damaged) if damaged.position <= info.last && path.exists() => {
                let id = damaged
                    .id
                    .map(|id| format!(", block {id}"))
                    .unwrap_or_default();
                let (segment, position) = (&damaged.segment, damaged.position);
                let reason = &damaged.reason;
                self.screen.damaged(format_args!(
                    "segment {segment}, position {position}{id}: {reason}"
                ))?;
            }
            Item::Damaged(_) | Item::Absent { .. } => {}
        }
        Ok(ControlFlow::Continue(()))
    }

    fn block(&mut self, block: &SealedBlock, path: &Path) -> Flow {
        let on = ControlFlow::Continue(());
        let (header, id) = (block.header(), block.id());
        if !self
            .filter
            .window
            .touches(header.event_time_min, header.event_time_max)
        {
            return Ok(on);
        }
        let through = header.streams_through;
        if !self
            .streams
            .may_want_through(id.lane.epoch, through, path, &mut self.reader)
        {
            return Ok(on);
        }
        let block = match block.open() {
            Ok(block) => block,
            Err(error) => {
                self.screen.damaged(format_args!("block {id}: {error}"))?;
                return Ok(on);
            }
        };
        self.text.clear();
        let mut flow = on;
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
                Ok(Some(stream)) => {
                    let undecodable = self.section(id, &section, &stream);
                    if let Some(reason) = undecodable {
                        let (topic, number) = (&stream.topic, section.stream().0);
                        self.screen.damaged(format_args!(
                            "block {id}, stream {number} ({topic}): {reason}"
                        ))?;
                    }
                }
                Err(missing) => self.missing(id, &section, &missing)?,
            }
            if self.left == 0 {
                flow = ControlFlow::Break(());
                break;
            }
        }
        self.screen.out.write_all(&self.text)?;
        Ok(flow)
    }

    /// Gives the first reason why a record could not be read by its schema.
    fn section(
        &mut self,
        block: BlockId,
        section: &efd_shared_model::block::Section<'_>,
        stream: &streams::Stream,
    ) -> Option<String> {
        let mut undecodable = None;
        for record in section.records() {
            if self.left == 0 {
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
            if let Err(reason) = stream.write_line(id, &record, &mut self.text) {
                undecodable.get_or_insert(reason);
            }
            self.left -= 1;
        }
        undecodable
    }

    fn missing(
        &mut self,
        block: BlockId,
        section: &efd_shared_model::block::Section<'_>,
        missing: &Missing,
    ) -> std::io::Result<()> {
        let (number, count) = (section.stream().0, section.len());
        self.screen.damaged(format_args!(
            "block {block}: {count} records of stream {number} cannot be shown: {missing}"
        ))
    }
}
