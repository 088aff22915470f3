//! What is answered.

use crate::ask::Stat;
use crate::columns::Values;

/// Values of one topic over a span of time.
#[derive(Clone, Debug)]
pub struct Answer {
    pub topic: String,
    /// `raw`, or the tier's name.
    pub tier: String,
    /// Of the choice.
    pub why: String,
    /// Of windows, ns; `None` of records.
    pub resolution: Option<i64>,
    /// `from..until`, ns UTC.
    pub times: (i64, i64),
    pub columns: Vec<AnswerColumn>,
    pub parts: Vec<Part>,
    /// From here on windows were made of raw records, as the tier did not have them yet, ns UTC.
    pub raw_since: Option<i64>,
    /// Up to here all that is held is in the answer, ns UTC. Before the end where a tier does not go so far yet, and raw
    /// records in its place would be too many to be read without being asked for.
    pub complete_until: i64,
    /// The tier is still being made of what was held before it: windows may be missing anywhere.
    pub is_building: bool,
    /// Blocks that could not be read: the account names them.
    pub damaged_blocks: u64,
    /// Files of the tier that could not be read: `efd-inspect tiers` says why.
    pub unread_files: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AnswerColumn {
    /// `position`, `force[3]`, `force[3].mean`.
    pub name: String,
    pub field: String,
    pub element: Option<usize>,
    /// `None` of a record's value.
    pub statistic: Option<Stat>,
    pub units: Option<String>,
}

/// Of one instance.
#[derive(Clone, Debug)]
pub struct Part {
    pub instance: Option<i32>,
    /// Event times of records, starts of windows, ns UTC.
    pub times: Vec<i64>,
    /// By column.
    pub values: Vec<Values>,
}

impl Answer {
    pub fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.times.len()).sum()
    }
}
