//! A listing as tables and as JSON. Spans are half-open: `until` is behind the last record, and in tables both ends
//! are widened to the second, so that they can be given to `cat` as they stand.

use std::io::{self, Write};

use efd_shared_model::EpochDeclaration;
use efd_shared_store::{SegmentInfo, SegmentState};
use serde_json::{Map, Value, json};

use super::{ListedLane, Listing, Totals};
use crate::screen::printable;
use crate::table::{Table, ceiling, floor, size};

impl Listing {
    pub(super) fn json(&self) -> Value {
        let lanes = self.lanes.iter().map(|lane| {
            let mut object = self.totals_json(&lane.totals);
            let acked = lane.acked.iter().flatten().zip(&self.destinations);
            let acked: Map<_, _> = acked
                .map(|(&blocks, name)| {
                    (
                        name.clone(),
                        json!({"blocks": blocks, "of": lane.totals.blocks}),
                    )
                })
                .collect();
            object.insert("shipped".into(), lane.acked.is_some().into());
            object.insert("acknowledged".into(), acked.into());
            object.insert(
                "segments".into(),
                lane.segments
                    .iter()
                    .map(|info| self.segment_json(info))
                    .collect(),
            );
            let mut named = Map::from_iter([("lane".to_owned(), lane.name.as_str().into())]);
            named.append(&mut object);
            Value::from(named)
        });
        json!({
            "path": self.path.display().to_string(),
            "epochs": self.epochs.iter().map(epoch_json).collect::<Vec<_>>(),
            "lanes": lanes.collect::<Vec<_>>(),
            "totals": self.totals_json(&self.totals()),
            "set_aside": self.set_aside.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
            "notices": self.unseen,
        })
    }

    fn totals_json(&self, totals: &Totals) -> Map<String, Value> {
        let Totals {
            segments,
            blocks,
            records,
            bytes,
            damaged,
            span,
        } = *totals;
        Map::from_iter([
            ("segment_count".to_owned(), segments.into()),
            ("blocks".to_owned(), blocks.into()),
            ("records".to_owned(), records.into()),
            ("bytes".to_owned(), bytes.into()),
            ("damaged_blocks".to_owned(), damaged.into()),
            (
                "from".to_owned(),
                span.map(|(min, _)| min.to_string()).into(),
            ),
            (
                "until".to_owned(),
                span.map(|(_, max)| max.saturating_add(1).to_string())
                    .into(),
            ),
        ])
    }

    fn segment_json(&self, info: &SegmentInfo) -> Value {
        let mut object = self.totals_json(&info.into());
        object.remove("segment_count");
        let mut named = Map::from_iter([
            ("segment".to_owned(), info.key.to_string().into()),
            ("state".to_owned(), state(info.state).into()),
            ("created".to_owned(), info.created.to_string().into()),
            ("first_position".to_owned(), info.first.0.into()),
            ("last_position".to_owned(), info.last.0.into()),
        ]);
        named.append(&mut object);
        named.into()
    }

    pub(super) fn write_tables(&self, out: &mut impl Write) -> io::Result<()> {
        let totals = self.totals();
        writeln!(
            out,
            "{}: {} segments, {} blocks, {} records, {}",
            self.path.display(),
            totals.segments,
            totals.blocks,
            totals.records,
            size(totals.bytes)
        )?;
        if !self.epochs.is_empty() {
            let mut table = Table::new(&["EPOCH", "BEGAN", "SITE", "EDGE", "PARENT", "SOFTWARE"]);
            for epoch in &self.epochs {
                let parent = epoch
                    .parent
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |parent| parent.epoch.to_string());
                table.row([
                    epoch.epoch.to_string(),
                    floor(epoch.began.utc),
                    epoch.site.to_string(),
                    epoch.edge.to_string(),
                    parent,
                    printable(&epoch.software),
                ]);
            }
            writeln!(out)?;
            table.write(out)?;
        }
        let mut head = vec![
            "LANE", "SEGMENTS", "FROM", "UNTIL", "BLOCKS", "RECORDS", "BYTES", "DAMAGED",
        ];
        let acked_by: Vec<_> = self
            .destinations
            .iter()
            .map(|name| format!("ACKNOWLEDGED BY {}", printable(name)))
            .collect();
        head.extend(acked_by.iter().map(String::as_str));
        let mut table = Table::new(&head);
        for lane in &self.lanes {
            let mut row = vec![lane.name.to_string(), lane.totals.segments.to_string()];
            row.extend(cells(&lane.totals));
            row.extend((0..self.destinations.len()).map(|index| lane.acked_cell(index)));
            table.row(row);
        }
        writeln!(out)?;
        table.write(out)?;
        let mut table = Table::new(&[
            "SEGMENT", "STATE", "FROM", "UNTIL", "BLOCKS", "RECORDS", "BYTES", "DAMAGED",
        ]);
        for info in self.lanes.iter().flat_map(|lane| &lane.segments) {
            let mut row = vec![info.key.to_string(), state(info.state).to_owned()];
            row.extend(cells(&info.into()));
            table.row(row);
        }
        writeln!(out)?;
        table.write(out)
    }
}

impl ListedLane {
    fn acked_cell(&self, destination: usize) -> String {
        match self.acked.as_ref().and_then(|acked| acked.get(destination)) {
            Some(blocks) => format!("{blocks} of {}", self.totals.blocks),
            None => "never shipped".to_owned(),
        }
    }
}

fn epoch_json(epoch: &EpochDeclaration) -> Value {
    let EpochDeclaration {
        edge,
        site,
        epoch,
        parent,
        began,
        software,
    } = epoch;
    json!({
        "epoch": epoch.to_string(),
        "began": began.utc.to_string(),
        "site": site.as_str(),
        "edge": edge.to_string(),
        "parent": parent.as_ref().map(|parent| parent.epoch.to_string()),
        "software": software,
    })
}

fn state(state: SegmentState) -> &'static str {
    match state {
        SegmentState::Open => "open",
        SegmentState::Closed => "closed",
    }
}

/// Span, blocks, records, bytes, damaged.
fn cells(totals: &Totals) -> [String; 6] {
    let Totals {
        segments: _,
        blocks,
        records,
        bytes,
        damaged,
        span,
    } = *totals;
    let none = || "-".to_owned();
    [
        span.map_or_else(none, |(min, _)| floor(min)),
        span.map_or_else(none, |(_, max)| ceiling(max)),
        blocks.to_string(),
        records.to_string(),
        size(bytes),
        if damaged == 0 {
            none()
        } else {
            damaged.to_string()
        },
    ]
}
