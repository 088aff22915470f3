//! Whole records: the newest of a topic, and events along time.

use std::ops::ControlFlow;

use efd_shared_model::{LaneKind, UtcNanos};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::catalogue::component;
use crate::columns::{Order, Rows, Values};
use crate::error::QueryError;
use crate::library::{Budget, Library};
use crate::raw::{self, RawAsk, Wanted, What};

#[derive(Debug, Serialize)]
pub struct Record {
    pub topic: String,
    pub component: String,
    pub instance: Option<i32>,
    /// Event time, ns UTC.
    pub time: i64,
    /// An object: every field by its name.
    pub fields: Box<RawValue>,
}

/// The newest of something, newest first.
#[derive(Debug)]
pub struct Newest {
    pub records: Vec<Record>,
    /// There are more.
    pub is_cut: bool,
    pub damaged_blocks: u64,
}

/// Whole records are large.
const ROWS: usize = 64;
/// Stamps of now may be ahead of us by so much, ns.
const AHEAD: i64 = 3_600_000_000_000;

impl Library {
    /// The newest record of each instance that has come since the start; of a topic that has not, the newest.
    pub fn latest(
        &mut self,
        topic: &str,
        now: UtcNanos,
        budget: &dyn Budget,
    ) -> Result<Newest, QueryError> {
        let alive = self.holdings.activity.of(topic);
        let instances = alive.map(|alive| alive.instances).unwrap_or_default();
        if instances.is_empty() {
            return self.last(topic, None, 1, now, budget);
        }
        let mut all = Newest {
            records: Vec::new(),
            is_cut: false,
            damaged_blocks: 0,
        };
        for instance in instances {
            let newest = self.last(topic, instance, 1, now, budget)?;
            all.records.extend(newest.records);
            all.damaged_blocks += newest.damaged_blocks;
        }
        Ok(all)
    }

    pub fn last(
        &mut self,
        topic: &str,
        instance: Option<i32>,
        count: usize,
        now: UtcNanos,
        budget: &dyn Budget,
    ) -> Result<Newest, QueryError> {
        let topic = self.topic(topic)?;
        let ask = RawAsk {
            lane: topic.lane(),
            wanted: Wanted::Topic(&topic.name),
            what: What::Whole,
            instance,
            times: (i64::MIN + 1, now.0.saturating_add(AHEAD)),
            order: Order::Descending,
            rows: count.clamp(1, ROWS),
        };
        self.newest(&ask, count, budget)
    }

    /// Events of a component, or of all, in `from..until`.
    pub fn events(
        &mut self,
        of_component: Option<&str>,
        (from, until): (i64, i64),
        count: usize,
        budget: &dyn Budget,
    ) -> Result<Newest, QueryError> {
        let is_wanted = |topic: &str| {
            let is_event = topic.rsplit('.').next();
            is_event.is_some_and(|name| name.starts_with("logevent_"))
                && of_component.is_none_or(|wanted| component(topic) == wanted)
        };
        let ask = RawAsk {
            lane: LaneKind::Events,
            wanted: Wanted::Matching(&is_wanted),
            what: What::Whole,
            instance: None,
            times: (from, until.saturating_sub(1)),
            order: Order::Descending,
            rows: count.clamp(1, ROWS),
        };
        self.newest(&ask, count, budget)
    }

    fn newest(
        &mut self,
        ask: &RawAsk<'_>,
        count: usize,
        budget: &dyn Budget,
    ) -> Result<Newest, QueryError> {
        let bytes_max = self.holdings.limits.bytes_max;
        let mut records = Vec::new();
        let mut is_cut = false;
        let mut bytes = 0;
        let gaps = raw::scan(self, ask, budget, &mut |mut rows| {
            for row in 0..rows.len() {
                if count <= records.len() {
                    is_cut = true;
                    return Ok(ControlFlow::Break(()));
                }
                let Some(record) = record(&mut rows, row) else {
                    continue;
                };
                bytes += record.fields.get().len() + record.topic.len() + 64;
                if bytes_max < bytes {
                    return Err(QueryError::TooManyBytes { max: bytes_max });
                }
                records.push(record);
            }
            Ok(ControlFlow::Continue(()))
        });
        let damaged_blocks = match gaps {
            Ok(gaps) => gaps.damaged_blocks,
            // A topic that has been silent for long: what was found in the time that there is.
            Err(QueryError::TooLong { .. }) => {
                is_cut = true;
                0
            }
            Err(error) => return Err(error),
        };
        Ok(Newest {
            records,
            is_cut,
            damaged_blocks,
        })
    }
}

fn record(rows: &mut Rows, row: usize) -> Option<Record> {
    let [Values::Text(topics), Values::Text(fields)] = &mut rows.columns[..] else {
        return None;
    };
    let topic = topics[row].take()?;
    Some(Record {
        component: component(&topic).to_owned(),
        topic,
        instance: rows.instances[row],
        time: rows.times[row],
        fields: RawValue::from_string(fields[row].take()?).ok()?,
    })
}
