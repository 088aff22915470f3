//! What a SELECT computes: its columns as nodes over fields or calls, its groups, its times. What cannot be computed is
//! found here, before anything is read.

mod check;
mod dimensions;
mod node;

use std::ops::RangeInclusive;

use crate::ast::{Expr, Fill, Page, Select};
use crate::error::StatementError;
use crate::expand::{Fields, expand, names};
use crate::function::Function;
use crate::instant;
use crate::limits::Limits;
use crate::predicate::Predicate;
use crate::source::{FieldKind, Grid};
use crate::times;

pub(crate) use node::{Call, Node};

pub(crate) const INSTANCE: &str = "salIndex";

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Of all columns, that of time first.
    pub(crate) columns: Vec<String>,
    /// Of the columns but time.
    pub(crate) nodes: Vec<Node>,
    /// Of the nodes' values; `None`: there are none.
    pub(crate) kinds: Vec<Option<FieldKind>>,
    /// How many transforms are in the nodes.
    pub(crate) transforms: usize,
    /// What nodes and predicate refer to by number.
    pub(crate) fields: Vec<String>,
    /// How many of the fields are the nodes'.
    pub(crate) selected: usize,
    pub(crate) groups: Option<Groups>,
    pub(crate) predicate: Option<Predicate>,
    pub(crate) instance: Option<i64>,
    pub(crate) times: RangeInclusive<i64>,
    /// Asked for; no point has one.
    pub(crate) tags: Vec<String>,
    pub(crate) fill: Fill,
    pub(crate) is_descending: bool,
    pub(crate) page: Page,
}

#[derive(Clone, Debug)]
pub(crate) struct Groups {
    pub(crate) calls: Vec<Call>,
    /// Of GROUP BY time.
    pub(crate) grid: Option<Grid>,
    /// Whether what is given has the time of the point that was selected.
    pub(crate) has_own_times: bool,
    /// Numbers of fields that are given as the selected point has them.
    pub(crate) beside: Vec<usize>,
}

impl Plan {
    pub(crate) fn new(
        select: &Select,
        fields: &Fields,
        now: i64,
        limits: &Limits,
    ) -> Result<Self, StatementError> {
        if let Some(zone) = &select.zone {
            return Err(StatementError::outside(format!("tz('{zone}')")));
        }
        let (outputs, time) = check::without_time(&select.fields)?;
        let dimensions = dimensions::Dimensions::new(&select.dimensions, now)?;
        let interval = dimensions.grid.map(|it| it.every);
        let is_aggregate = check::fields(&outputs, interval, select.fill)?;
        let outputs = expand(&outputs, fields)?;
        StatementError::at_most(
            "columns of a statement",
            outputs.len() as u64,
            limits.fields as u64,
        )?;

        let mut columns = vec![time];
        columns.extend(names(&outputs));
        let mut builder = node::Builder::new(fields, is_aggregate, interval);
        let typed = outputs.iter().map(|it| builder.typed(&it.expr));
        let (nodes, kinds) = typed.collect::<Result<(Vec<Node>, Vec<Option<FieldKind>>), _>>()?;

        let (condition, times) = match &select.condition {
            Some(condition) => times::split(condition, now)?,
            None => (None, times::Times::default()),
        };
        let groups = builder.groups(dimensions.grid);
        if let Some(groups) = &groups {
            check::groups(groups, select.fill, select.page.limit)?;
        }
        let transforms = builder.transforms();
        let mut numbers = builder.into_fields();
        let selected = numbers.len();
        let predicate = predicate(condition.as_ref(), fields, &mut numbers)?;
        let instance = numbers.iter().position(|it| it == INSTANCE);
        let instance = instance.and_then(|number| predicate.as_ref()?.required(number));
        let max = if dimensions.grid.is_some() {
            now
        } else {
            instant::MAX
        };
        Ok(Self {
            columns,
            nodes,
            kinds,
            transforms,
            fields: numbers,
            selected,
            groups,
            predicate,
            instance,
            times: times.min.unwrap_or(instant::MIN)..=times.max.unwrap_or(max),
            tags: dimensions.tags,
            fill: select.fill,
            is_descending: select.is_descending,
            page: select.page,
        })
    }

    /// The grid of windows whose summaries are enough; fields are those of the measurement.
    pub(crate) fn windows(&self, kind: impl Fn(&str) -> Option<FieldKind>) -> Option<Grid> {
        let groups = self.groups.as_ref()?;
        let is_summed = |call: &Call| {
            let kind = kind(&self.fields[call.field]);
            call.function.is_of_summaries()
                && matches!(kind, None | Some(FieldKind::Float | FieldKind::Integer))
        };
        let asks_more = |predicate: &Predicate| {
            let instance = self.fields.iter().position(|it| it == INSTANCE);
            !instance.is_some_and(|number| predicate.is_only(number))
        };
        // A window at the edge of one call's times may be in those of another as a part only.
        let is_one_reach = groups
            .calls
            .iter()
            .all(|it| it.reach == groups.calls[0].reach);
        let needs_points = groups.has_own_times
            || !is_one_reach
            || !groups.beside.is_empty()
            || !groups.calls.iter().all(is_summed)
            || self.predicate.as_ref().is_some_and(asks_more);
        let ends = groups
            .calls
            .iter()
            .any(|it| matches!(it.function, Function::First | Function::Last));
        (!needs_points).then(|| {
            let all = Grid {
                every: 0,
                offset: 0,
                ends,
            };
            groups.grid.map_or(all, |grid| Grid { ends, ..grid })
        })
    }
}

fn predicate(
    condition: Option<&Expr>,
    fields: &Fields,
    numbers: &mut Vec<String>,
) -> Result<Option<Predicate>, StatementError> {
    let Some(condition) = condition else {
        return Ok(None);
    };
    let mut number = |name: &str| {
        if !fields.contains_key(name) {
            return None;
        }
        let found = numbers.iter().position(|it| it == name);
        Some(found.unwrap_or_else(|| {
            numbers.push(name.to_owned());
            numbers.len() - 1
        }))
    };
    Predicate::new(condition, &mut number).map(Some)
}
