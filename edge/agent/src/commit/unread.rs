//! What is lost with a segment of parked samples: those without a type of which no record has been made, by topic.
//! Samples that did not fit their type were named when they came.

use std::collections::BTreeMap;

use efd_shared_model::{Loss, LossReason};
use efd_shared_store::{Item, Position, Reader, SegmentInfo};

use crate::parked::{Parked, ParkedKind, ParkedReason};

/// Read at a time.
const READ_BYTES: usize = 1 << 20;

/// One loss for each topic, and one for what cannot be read.
pub(super) fn losses(mut reader: Reader, info: &SegmentInfo, detail: &str) -> Vec<Loss> {
    let mut unread = Unread::default();
    let mut next = info.first;
    while next <= info.last {
        let items = reader.read_of(info, next, READ_BYTES);
        let items = items.unwrap_or_default();
        let Some(end) = items.last().map(Item::next) else {
            unread.unreadable += info.last.0 - next.0 + 1;
            break;
        };
        next = end;
        for item in &items {
            unread.add(&reader, item);
        }
    }
    let Unread {
        by_topic,
        unreadable,
        ..
    } = unread;
    let mut losses: Vec<Loss> = by_topic.into_values().collect();
    for loss in &mut losses {
        detail.clone_into(&mut loss.detail);
    }
    if unreadable > 0 {
        losses.push(Loss {
            lane: info.key.lane.to_string(),
            detail: format!("{detail}: {unreadable} blocks of samples without a type are damaged"),
            ..Loss::new(
                LossReason::Corrupt,
                info.created,
                info.newest().max(info.created),
            )
        });
    }
    losses
}

#[derive(Debug, Default)]
struct Unread {
    by_topic: BTreeMap<String, Loss>,
    /// How far samples have become records.
    through: BTreeMap<ParkedKind, Position>,
    unreadable: u64,
}

impl Unread {
    fn add(&mut self, reader: &Reader, item: &Item) {
        let (position, sealed) = match item {
            Item::Block(position, sealed) => (*position, sealed),
            Item::Damaged(_) => return self.unreadable += 1,
            Item::Absent { .. } => return,
        };
        let Ok(block) = sealed.open() else {
            return self.unreadable += 1;
        };
        for (_, record) in block.records() {
            let Ok(parked) = Parked::decode(record.datum) else {
                continue;
            };
            if parked.reason == ParkedReason::Untyped
                && self.through(reader, ParkedKind::of(&parked)) < position
            {
                self.count(&parked);
            }
        }
    }

    fn through(&mut self, reader: &Reader, kind: ParkedKind) -> Position {
        let known = self.through.entry(kind);
        *known.or_insert_with_key(|kind| kind.read_through(reader))
    }

    fn count(&mut self, parked: &Parked<'_>) {
        let (topic, at) = (parked.dds_topic, parked.received);
        let loss = self
            .by_topic
            .entry(topic.to_owned())
            .or_insert_with(|| Loss {
                topic: topic.to_owned(),
                count: 0,
                ..Loss::new(LossReason::Untyped, at, at)
            });
        loss.count += 1;
        loss.from = loss.from.min(at);
        loss.until = loss.until.max(at.saturating_add(1));
    }
}
