//! What is asked of the book: the table of completeness.

mod gather;

use std::collections::BTreeMap;

use efd_shared_model::{Pattern, Site};
use serde_json::{Value, json};

use crate::behind::Counts;
use crate::{Book, Hour, LedgerError};

pub(crate) use gather::block_losses;

/// What of the account is wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub site: Option<Site>,
    /// `*` and `?` are wildcards.
    pub topic: Option<String>,
    pub from: Option<Hour>,
    /// Exclusive.
    pub until: Option<Hour>,
}

impl Filter {
    fn wants_topic(&self, topic: &str) -> bool {
        let pattern = self.topic.as_deref().map(Pattern::new);
        pattern.is_none_or(|pattern| pattern.matches(topic))
    }

    fn wants_site(&self, site: &str) -> bool {
        self.site
            .as_ref()
            .is_none_or(|wanted| wanted.as_str() == site)
    }

    pub(crate) fn wants(&self, (site, topic, hour): &(String, String, Hour)) -> bool {
        self.wants_site(site) && self.wants_topic(topic) && self.wants_hour(*hour)
    }

    /// Whether anything of the hours from the first on, the last exclusive, can be wanted.
    pub fn wants_part(&self, site: &str, topic: &str, (first, last): (Hour, Hour)) -> bool {
        let touches = self.from.is_none_or(|from| from < last)
            && self.until.is_none_or(|until| first < until);
        touches && self.wants_site(site) && self.wants_topic(topic)
    }

    fn wants_hour(&self, hour: Hour) -> bool {
        self.from.is_none_or(|from| from <= hour) && self.until.is_none_or(|until| hour < until)
    }
}

/// One of the stores behind the log.
#[derive(Clone, Debug)]
pub struct Stage {
    /// `log`, `feed`, `lake`.
    pub name: &'static str,
    /// What it lacks of the records that the ledger has, by site, topic and hour; else why that is not known.
    pub lacks: Result<Counts, String>,
}

/// Of one topic in one hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub site: String,
    pub topic: String,
    pub hour: Hour,
    /// Samples, by the publishers' numbers; where nothing numbers them, what came and what was named.
    pub published: u64,
    /// Of them, those that DDS brought to the edge.
    pub received: u64,
    /// Records that were durable at the edge.
    pub edge: u64,
    /// Records that the centre has acknowledged and counted.
    pub centre: u64,
    /// By the name of the stage; `None` where it is not known.
    pub stages: BTreeMap<&'static str, Option<u64>>,
    /// Samples by reason.
    pub lost: BTreeMap<String, u64>,
    /// Losses whose count nobody can tell.
    pub uncounted: u64,
    /// Samples before the first one that we had of a publisher: from before our time, or lost.
    pub before_contact: u64,
    /// Absent by the numbers, and named by no loss.
    pub unnamed: u64,
}

/// Losses of blocks that no topic's numbers show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneRow {
    pub site: String,
    pub lane: String,
    pub reason: String,
    pub first: Option<Hour>,
    pub blocks: u64,
    /// `None` where nobody can tell.
    pub records: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    pub rows: Vec<Row>,
    pub lanes: Vec<LaneRow>,
}

impl Book {
    /// By site, topic and hour.
    pub fn account(&self, filter: &Filter, stages: &[Stage]) -> Result<Account, LedgerError> {
        // One reading, whatever is written meanwhile.
        let transaction = self
            .connection
            .unchecked_transaction()
            .map_err(self.wrong("begin to read"))?;
        let mut account = gather::account(self, filter)?;
        drop(transaction);
        for row in &mut account.rows {
            for stage in stages {
                let key = (row.site.clone(), row.topic.clone(), row.hour);
                let has = stage.lacks.as_ref().ok().map(|lacks| {
                    let lacking = lacks.get(&key).copied().unwrap_or_default();
                    row.centre.saturating_sub(lacking.rows)
                });
                row.stages.insert(stage.name, has);
            }
        }
        Ok(account)
    }
}

impl Row {
    fn of(site: &str, topic: &str, hour: Hour) -> Self {
        Self {
            site: site.to_owned(),
            topic: topic.to_owned(),
            hour,
            published: 0,
            received: 0,
            edge: 0,
            centre: 0,
            stages: BTreeMap::new(),
            lost: BTreeMap::new(),
            uncounted: 0,
            before_contact: 0,
            unnamed: 0,
        }
    }

    fn add(&mut self, other: &Self) {
        self.published += other.published;
        self.received += other.received;
        self.edge += other.edge;
        self.centre += other.centre;
        for (name, has) in &other.stages {
            let sum = self.stages.entry(name).or_insert(Some(0));
            *sum = sum.zip(*has).map(|(sum, has)| sum + has);
        }
        for (reason, samples) in &other.lost {
            *self.lost.entry(reason.clone()).or_default() += samples;
        }
        self.uncounted += other.uncounted;
        self.before_contact += other.before_contact;
        self.unnamed += other.unnamed;
    }

    /// Everything that was published is at the centre and in every store, as far as anybody can tell.
    pub fn is_complete(&self) -> bool {
        let has_all = |has: &Option<u64>| has.is_none_or(|has| has == self.centre);
        self.published == self.centre && self.unnamed == 0 && self.stages.values().all(has_all)
    }

    fn to_json(&self, with_hour: bool) -> Value {
        let Self {
            site,
            topic,
            hour,
            published,
            received,
            edge,
            centre,
            stages,
            lost,
            uncounted,
            before_contact,
            unnamed,
        } = self;
        let mut row = json!({
            "site": site, "topic": topic, "published": published, "received": received, "edge": edge, "centre": centre,
            "lost": lost, "uncounted": uncounted, "before_contact": before_contact, "unnamed": unnamed,
            "complete": self.is_complete(),
        });
        for (name, has) in stages {
            row[*name] = (*has).into();
        }
        if with_hour {
            row["hour"] = hour.begin().to_string().into();
        }
        row
    }
}

impl Account {
    /// All hours of a topic in one row, with the first of them.
    #[must_use]
    pub fn by_topic(self) -> Self {
        let mut rows: BTreeMap<(String, String), Row> = BTreeMap::new();
        for row in self.rows {
            match rows.entry((row.site.clone(), row.topic.clone())) {
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(row);
                }
                std::collections::btree_map::Entry::Occupied(mut entry) => {
                    entry.get_mut().add(&row)
                }
            }
        }
        Self {
            rows: rows.into_values().collect(),
            lanes: self.lanes,
        }
    }

    pub fn total(&self) -> Row {
        let mut total = Row::of("", "", Hour(0));
        self.rows.iter().for_each(|row| total.add(row));
        total
    }

    pub fn to_json(&self, with_hours: bool) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| row.to_json(with_hours))
            .collect();
        let lanes: Vec<Value> = self
            .lanes
            .iter()
            .map(|row| {
                let LaneRow {
                    site,
                    lane,
                    reason,
                    first,
                    blocks,
                    records,
                } = row;
                json!({
                    "site": site, "lane": lane, "reason": reason, "from": first.map(|hour| hour.begin().to_string()),
                    "blocks": blocks, "records": records,
                })
            })
            .collect();
        let mut total = self.total().to_json(false);
        if let Some(total) = total.as_object_mut() {
            total.remove("site");
            total.remove("topic");
        }
        json!({ "rows": rows, "lanes": lanes, "total": total })
    }
}
