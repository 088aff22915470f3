//! Records out of the buffer's blocks, in the order of their event times.
//!
//! Blocks come in the order of the earliest time that each may have; what is read is kept until no block to come can
//! have anything earlier. A block with one stamp far off is thus read early and holds nothing up.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BinaryHeap};
use std::ops::ControlFlow;

use efd_shared_avro::{DatumError, Decoder, json};
use efd_shared_model::{EpochId, LaneKind, SealedBlock, StreamNumber, UtcNanos};
use efd_shared_store::{BlockSpan, Item, SegmentInfo};

use crate::ask::Column;
use crate::columns::{Kind, Order, Pick, Picking, Rows, Values};
use crate::error::QueryError;
use crate::library::{Budget, Library};

/// What is wanted of which records.
#[derive(Clone)]
pub(crate) struct RawAsk<'a> {
    pub(crate) lane: LaneKind,
    pub(crate) wanted: Wanted<'a>,
    pub(crate) what: What<'a>,
    pub(crate) instance: Option<i32>,
    /// Both inclusive, ns UTC.
    pub(crate) times: (i64, i64),
    pub(crate) order: Order,
    /// They are given in parts of about so many.
    pub(crate) rows: usize,
}

#[derive(Clone, Copy)]
pub(crate) enum Wanted<'a> {
    Topic(&'a str),
    /// By the name of the topic.
    Matching(&'a dyn Fn(&str) -> bool),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum What<'a> {
    Columns(&'a [Column]),
    /// Two columns of text: the topic, and all fields as a JSON object.
    Whole,
}

impl What<'_> {
    fn rows(&self) -> Rows {
        match self {
            Self::Columns(columns) => Rows::new(columns.iter().map(|column| column.kind)),
            Self::Whole => Rows::new([Kind::Text, Kind::Text]),
        }
    }
}

/// What could not be read on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gaps {
    pub(crate) damaged_blocks: u64,
    pub(crate) unfit_records: u64,
}

/// For who wants them all.
pub(crate) const ROWS: usize = 4096;

/// A time as it is sorted: descending order is ascending order of the negated.
fn rank(order: Order, time: i64) -> i64 {
    match order {
        Order::Ascending => time,
        Order::Descending => time.saturating_neg(),
    }
}

fn time_of(order: Order, rank: i64) -> i64 {
    // It is its own inverse.
    self::rank(order, rank)
}

/// The first time that something of `min..=max` may have, as it is sorted.
fn first_rank(order: Order, min: UtcNanos, max: UtcNanos) -> i64 {
    match order {
        Order::Ascending => rank(order, min.0),
        Order::Descending => rank(order, max.0),
    }
}

/// Segments and blocks that may have something, the next one first.
struct Way {
    order: Order,
    /// By rank, the next one last.
    segments: Vec<(i64, SegmentInfo)>,
    opened: Vec<SegmentInfo>,
    /// Rank, position, which of the opened segments.
    blocks: BinaryHeap<Reverse<(i64, u64, usize)>>,
}

impl Way {
    fn new(library: &Library, ask: &RawAsk<'_>) -> Self {
        let (from, through) = ask.times;
        let mut segments: Vec<(i64, SegmentInfo)> = library
            .reader
            .segments()
            .into_iter()
            .filter(|info| info.key.lane.is_of(ask.lane))
            .filter_map(|info| {
                let (min, max) = info.contents.event_span()?;
                let may_have = min.0 <= through && from <= max.0;
                may_have.then(|| (first_rank(ask.order, min, max), info))
            })
            .collect();
        segments.sort_by_key(|(rank, info)| Reverse((*rank, info.first)));
        Self {
            order: ask.order,
            segments,
            opened: Vec::new(),
            blocks: BinaryHeap::new(),
        }
    }

    /// The next block, and the rank that nothing after it comes before.
    fn next(
        &mut self,
        library: &mut Library,
        ask: &RawAsk<'_>,
    ) -> Result<Option<(usize, u64)>, QueryError> {
        let times = UtcNanos(ask.times.0)..=UtcNanos(ask.times.1);
        while let Some((segment_rank, _)) = self.segments.last() {
            let is_before = |block: &Reverse<(i64, u64, usize)>| block.0.0 < *segment_rank;
            if self.blocks.peek().is_some_and(is_before) {
                break;
            }
            let Some((_, info)) = self.segments.pop() else {
                break;
            };
            let number = self.opened.len();
            for span in library.reader.spans(&info.key, &times)? {
                let BlockSpan {
                    position,
                    event_time_min,
                    event_time_max,
                    payload_bytes: _,
                } = span;
                let rank = first_rank(self.order, event_time_min, event_time_max);
                self.blocks.push(Reverse((rank, position.0, number)));
            }
            self.opened.push(info);
        }
        Ok(self
            .blocks
            .pop()
            .map(|Reverse((_, position, segment))| (segment, position)))
    }

    fn next_rank(&self) -> Option<i64> {
        let block = self.blocks.peek().map(|block| block.0.0);
        let segment = self.segments.last().map(|(rank, _)| *rank);
        match (block, segment) {
            (Some(block), Some(segment)) => Some(block.min(segment)),
            (block, segment) => block.or(segment),
        }
    }
}

/// How the records of one stream are read.
struct Plan {
    decoder: Decoder,
    reading: Reading,
}

enum Reading {
    /// By the number of the field.
    Picked(Vec<Vec<Pick>>),
    Whole {
        topic: String,
    },
}

impl Plan {
    fn new(decoder: Decoder, topic: &str, what: &What<'_>) -> Self {
        let reading = match what {
            What::Columns(columns) => Reading::Picked(picks(&decoder, columns)),
            What::Whole => Reading::Whole {
                topic: topic.to_owned(),
            },
        };
        Self { decoder, reading }
    }

    fn read(&self, datum: &[u8], columns: &mut [Values]) -> Result<(), DatumError> {
        match &self.reading {
            Reading::Picked(picks) => self
                .decoder
                .decode(datum, &mut Picking::new(picks, columns)),
            Reading::Whole { topic } => {
                let fields = json(&self.decoder, datum)?.to_string();
                for (column, text) in columns.iter_mut().zip([topic.clone(), fields]) {
                    if let Values::Text(column) = column {
                        column.push(Some(text));
                    }
                }
                Ok(())
            }
        }
    }
}

fn picks(decoder: &Decoder, columns: &[Column]) -> Vec<Vec<Pick>> {
    let fields = &decoder.schema().fields;
    let picks = fields.iter().enumerate().map(|(number, field)| {
        let of_field = columns.iter().enumerate();
        let of_field = of_field.filter(|(_, column)| column.field == field.name);
        of_field
            .map(|(index, column)| {
                let element = column.element.unwrap_or(0);
                Pick {
                    field: number,
                    elements: element..element + 1,
                    column: index,
                }
            })
            .fold(Vec::new(), joined)
    });
    picks.collect()
}

/// Neighbours that go into neighbouring columns are one.
fn joined(mut all: Vec<Pick>, pick: Pick) -> Vec<Pick> {
    if let Some(last) = all.last_mut()
        && last.elements.end == pick.elements.start
        && last.column + last.elements.len() == pick.column
    {
        last.elements.end = pick.elements.end;
        return all;
    }
    all.push(pick);
    all
}

/// Gives the records to `each`, part by part, until it breaks off.
pub(crate) fn scan(
    library: &mut Library,
    ask: &RawAsk<'_>,
    budget: &dyn Budget,
    each: &mut dyn FnMut(Rows) -> Result<ControlFlow<()>, QueryError>,
) -> Result<Gaps, QueryError> {
    let mut way = Way::new(library, ask);
    let mut plans: BTreeMap<(EpochId, StreamNumber), Option<Plan>> = BTreeMap::new();
    let mut rows = ask.what.rows();
    let mut gaps = Gaps::default();
    let mut kept_back = 0;
    while let Some((segment, position)) = way.next(library, ask)? {
        budget.check()?;
        let info = &way.opened[segment];
        let position = efd_shared_store::Position(position);
        for item in library.reader.read_of(info, position, 1)? {
            match item {
                Item::Block(at, block) if at == position => {
                    take(
                        library, ask, &block, position.0, &mut plans, &mut rows, &mut gaps,
                    )?;
                }
                Item::Damaged(_) => gaps.damaged_blocks += 1,
                // Removed meanwhile; or the one after it.
                Item::Absent { .. } | Item::Block(..) => {}
            }
        }
        if rows.len() >= kept_back + ask.rows {
            let next = way.next_rank().map(|rank| time_of(ask.order, rank));
            let ready = rows.split_ready(ask.order, next);
            kept_back = rows.len();
            let max = library.holdings.limits.memory_max;
            if max < rows.bytes() {
                return Err(QueryError::TooMuchMemory { max });
            }
            if !ready.is_empty() && each(ready)?.is_break() {
                return Ok(gaps);
            }
        }
    }
    let rest = rows.split_ready(ask.order, None);
    if !rest.is_empty() {
        // Nothing comes after it.
        let _flow = each(rest)?;
    }
    Ok(gaps)
}

fn take(
    library: &mut Library,
    ask: &RawAsk<'_>,
    block: &SealedBlock,
    position: u64,
    plans: &mut BTreeMap<(EpochId, StreamNumber), Option<Plan>>,
    rows: &mut Rows,
    gaps: &mut Gaps,
) -> Result<(), QueryError> {
    let Library {
        reader, catalogue, ..
    } = library;
    let epoch = block.id().lane.epoch;
    let through = block.header().streams_through;
    let wanted = catalogue.streams_of(reader, epoch, through, ask.wanted)?;
    if wanted.is_empty() {
        return Ok(());
    }
    let opened = match block.open_if(|stream| wanted.contains(&stream)) {
        Ok(Some(opened)) => opened,
        Ok(None) => return Ok(()),
        Err(error) => {
            tracing::warn!(%error, "A block cannot be read");
            gaps.damaged_blocks += 1;
            return Ok(());
        }
    };
    for section in opened.sections() {
        if !wanted.contains(&section.stream()) {
            continue;
        }
        let name = (epoch, section.stream());
        let plan = match plans.entry(name) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let declared = catalogue.declaration(reader, epoch, section.stream())?;
                let plan = match declared.cloned() {
                    Some(declared) => catalogue
                        .decoder(reader, &declared.schema)?
                        .map(|decoder| Plan::new(decoder, &declared.topic, &ask.what)),
                    None => None,
                };
                place.insert(plan)
            }
        };
        let Some(plan) = plan else {
            gaps.unfit_records += section.len() as u64;
            continue;
        };
        for record in section.records() {
            let (time, instance) = (record.stamps.event_time.0, record.stamps.instance);
            let is_wanted = ask.times.0 <= time
                && time <= ask.times.1
                && (ask.instance.is_none() || ask.instance == instance);
            if !is_wanted {
                continue;
            }
            match plan.read(record.datum, &mut rows.columns) {
                Ok(()) => rows.end_row(time, instance, (position, record.index)),
                Err(_) => {
                    rows.abandon_row();
                    gaps.unfit_records += 1;
                }
            }
        }
    }
    Ok(())
}
