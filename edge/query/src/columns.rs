//! Values of some fields, column by column, as they come out of records.

use std::ops::Range;

use efd_shared_avro::{Nested, Sink};

/// Of one field, or one element of an array; `None` where a record has none.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    Double(Vec<Option<f64>>),
    Long(Vec<Option<i64>>),
    Boolean(Vec<Option<bool>>),
    Text(Vec<Option<String>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Double,
    Long,
    Boolean,
    Text,
}

impl Kind {
    pub fn empty(self) -> Values {
        match self {
            Self::Double => Values::Double(Vec::new()),
            Self::Long => Values::Long(Vec::new()),
            Self::Boolean => Values::Boolean(Vec::new()),
            Self::Text => Values::Text(Vec::new()),
        }
    }
}

/// Does the same with each kind of column.
macro_rules! each_kind {
    ($values:expr, $column:ident => $what:expr) => {
        match $values {
            Values::Double($column) => $what,
            Values::Long($column) => $what,
            Values::Boolean($column) => $what,
            Values::Text($column) => $what,
        }
    };
}

impl Values {
    pub fn len(&self) -> usize {
        each_kind!(self, column => column.len())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those at `order`, in that order; they are taken.
    fn take(&mut self, order: &[u32]) -> Self {
        fn taken<T>(column: &mut [Option<T>], order: &[u32]) -> Vec<Option<T>> {
            order.iter().map(|&at| column[at as usize].take()).collect()
        }
        match self {
            Self::Double(column) => Self::Double(taken(column, order)),
            Self::Long(column) => Self::Long(taken(column, order)),
            Self::Boolean(column) => Self::Boolean(taken(column, order)),
            Self::Text(column) => Self::Text(taken(column, order)),
        }
    }

    /// As a number, if it is one: booleans are 0 and 1.
    pub fn number(&self, row: usize) -> Option<f64> {
        match self {
            Self::Double(column) => column[row],
            Self::Long(column) => column[row].map(|value| value as f64),
            Self::Boolean(column) => column[row].map(|value| f64::from(u8::from(value))),
            Self::Text(_) => None,
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Double(_) => Kind::Double,
            Self::Long(_) => Kind::Long,
            Self::Boolean(_) => Kind::Boolean,
            Self::Text(_) => Kind::Text,
        }
    }

    pub(crate) fn append(&mut self, more: &mut Self) {
        match (self, more) {
            (Self::Double(column), Self::Double(more)) => column.append(more),
            (Self::Long(column), Self::Long(more)) => column.append(more),
            (Self::Boolean(column), Self::Boolean(more)) => column.append(more),
            (Self::Text(column), Self::Text(more)) => column.append(more),
            (column, more) => {
                let rows = column.len() + more.len();
                column.pad(rows);
            }
        }
    }

    fn pad(&mut self, rows: usize) {
        each_kind!(self, column => column.resize(rows, None));
    }

    /// Bytes of memory, about.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Double(column) => column.len() * 16,
            Self::Long(column) => column.len() * 16,
            Self::Boolean(column) => column.len(),
            Self::Text(column) => {
                let texts = column.iter().flatten();
                column.len() * 24 + texts.map(String::len).sum::<usize>()
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Ascending,
    Descending,
}

/// Records of one topic.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Event times, ns UTC.
    pub times: Vec<i64>,
    pub instances: Vec<Option<i32>>,
    pub columns: Vec<Values>,
    /// Block and record, so that equal times keep the order in which they came.
    places: Vec<(u64, u32)>,
}

impl Rows {
    pub fn new(kinds: impl IntoIterator<Item = Kind>) -> Self {
        Self {
            times: Vec::new(),
            instances: Vec::new(),
            columns: kinds.into_iter().map(Kind::empty).collect(),
            places: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.times.len()
    }

    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let columns = self.columns.iter().map(Values::bytes).sum::<usize>();
        columns + self.len() * 32
    }

    /// After the record's values were taken into the columns: what it lacks is absent.
    pub(crate) fn end_row(&mut self, time: i64, instance: Option<i32>, place: (u64, u32)) {
        self.times.push(time);
        self.instances.push(instance);
        self.places.push(place);
        let rows = self.times.len();
        for column in &mut self.columns {
            if column.len() != rows {
                column.pad(rows);
            }
        }
    }

    /// Takes back what a record that could not be read has left.
    pub(crate) fn abandon_row(&mut self) {
        let rows = self.times.len();
        for column in &mut self.columns {
            each_kind!(column, column => column.truncate(rows));
        }
    }

    /// Rows that nothing to come can precede, in order; the others stay. `before`: the earliest time to come; in
    /// descending order the latest.
    pub(crate) fn split_ready(&mut self, order: Order, before: Option<i64>) -> Self {
        let is_ready = |time: i64| match (before, order) {
            (None, _) => true,
            (Some(before), Order::Ascending) => time < before,
            (Some(before), Order::Descending) => before < time,
        };
        let mut sorted: Vec<u32> = (0..self.len() as u32).collect();
        let key = |at: &u32| (self.times[*at as usize], self.places[*at as usize]);
        if !sorted.is_sorted_by_key(key) {
            sorted.sort_by_key(key);
        }
        if order == Order::Descending {
            sorted.reverse();
        }
        let count = sorted.partition_point(|&at| is_ready(self.times[at as usize]));
        let (ready, rest) = sorted.split_at(count);
        let ready = self.take(ready);
        *self = self.take(rest);
        ready
    }

    /// Of rows in ascending order.
    pub(crate) fn drop_before(&mut self, time: i64) {
        let first = self.times.partition_point(|&it| it < time);
        if first > 0 {
            let kept: Vec<u32> = (first as u32..self.len() as u32).collect();
            *self = self.take(&kept);
        }
    }

    /// Those of one instance are taken out, in their order.
    pub(crate) fn take_instance(&mut self, instance: Option<i32>) -> Self {
        let rows = self.instances.iter().enumerate();
        let its = rows.filter(|(_, found)| **found == instance);
        let its: Vec<u32> = its.map(|(row, _)| row as u32).collect();
        self.take(&its)
    }

    fn take(&mut self, order: &[u32]) -> Self {
        fn picked<T: Copy>(all: &[T], order: &[u32]) -> Vec<T> {
            order.iter().map(|&at| all[at as usize]).collect()
        }
        Self {
            times: picked(&self.times, order),
            instances: picked(&self.instances, order),
            columns: self.columns.iter_mut().map(|it| it.take(order)).collect(),
            places: picked(&self.places, order),
        }
    }
}

/// Which elements of a field go into which columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pick {
    /// Its number in the schema of the record.
    pub(crate) field: usize,
    /// 0 of a field that is no array.
    pub(crate) elements: Range<usize>,
    /// Of the first element.
    pub(crate) column: usize,
}

/// Puts what is picked of a datum into columns.
pub(crate) struct Picking<'a> {
    /// By the number of the field; a field may be picked more than once.
    picks: &'a [Vec<Pick>],
    columns: &'a mut [Values],
    field: usize,
    element: usize,
}

impl<'a> Picking<'a> {
    pub(crate) fn new(picks: &'a [Vec<Pick>], columns: &'a mut [Values]) -> Self {
        Self {
            picks,
            columns,
            field: usize::MAX,
            element: 0,
        }
    }

    #[inline]
    fn put(&mut self, field: usize, put: impl Fn(&mut Values)) {
        if self.picks[field].is_empty() {
            return;
        }
        if self.field != field {
            self.field = field;
            self.element = 0;
        }
        for pick in &self.picks[field] {
            if pick.elements.contains(&self.element) {
                put(&mut self.columns[pick.column + self.element - pick.elements.start]);
            }
        }
        self.element += 1;
    }
}

impl Sink for Picking<'_> {
    fn boolean(&mut self, field: usize, value: bool) {
        self.put(field, |column| match column {
            Values::Boolean(column) => column.push(Some(value)),
            Values::Double(_) | Values::Long(_) | Values::Text(_) => {}
        });
    }

    fn long(&mut self, field: usize, value: i64) {
        self.put(field, |column| match column {
            Values::Long(column) => column.push(Some(value)),
            Values::Double(column) => column.push(Some(value as f64)),
            Values::Boolean(_) | Values::Text(_) => {}
        });
    }

    fn double(&mut self, field: usize, value: f64) {
        self.put(field, |column| match column {
            Values::Double(column) => column.push(Some(value)),
            Values::Long(_) | Values::Boolean(_) | Values::Text(_) => {}
        });
    }

    fn string(&mut self, field: usize, value: &str) {
        self.put(field, |column| match column {
            Values::Text(column) => column.push(Some(value.to_owned())),
            Values::Double(_) | Values::Long(_) | Values::Boolean(_) => {}
        });
    }

    fn bytes(&mut self, field: usize, value: &[u8]) {
        self.put(field, |column| match column {
            Values::Text(column) => {
                let digits = value.iter().map(|byte| format!("{byte:02x}"));
                column.push(Some(digits.collect()));
            }
            Values::Double(_) | Values::Long(_) | Values::Boolean(_) => {}
        });
    }

    fn end_array(&mut self, _field: usize) {}

    /// A row without a value gets none in [`Rows::end_row`].
    fn null(&mut self, _field: usize) {}

    fn nested(&mut self, field: usize, value: Nested<'_>) {
        self.put(field, |column| match column {
            Values::Text(column) => {
                let mut text = Vec::new();
                value.put_json(&mut text);
                column.push(Some(String::from_utf8_lossy(&text).into_owned()));
            }
            Values::Double(_) | Values::Long(_) | Values::Boolean(_) => {}
        });
    }

    fn doubles(&mut self, field: usize, items: &[[u8; 8]]) {
        let picks = &self.picks[field];
        if picks.is_empty() {
            return;
        }
        if self.field != field {
            self.field = field;
            self.element = 0;
        }
        // An array may come in several parts.
        let here = self.element..self.element + items.len();
        for pick in picks {
            let first = pick.elements.start.max(here.start);
            let end = pick.elements.end.min(here.end);
            for element in first..end {
                let value = f64::from_le_bytes(items[element - here.start]);
                if let Values::Double(column) =
                    &mut self.columns[pick.column + element - pick.elements.start]
                {
                    column.push(Some(value));
                }
            }
        }
        self.element = here.end;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use efd_shared_avro::{Decoder, RecordSchema};

    use super::*;
    use crate::ask::columns;

    /// What types have that are not SAL's: a null is a row without a value, nested values are JSON.
    #[test]
    fn enums_nulls_and_nested_values() {
        let text = r#"{"type":"record","name":"T","fields":[
            {"name":"pose","type":{"type":"record","name":"P","fields":[{"name":"x","type":["null","long"]},{"name":"y","type":["null","long"]}]}},
            {"name":"mode","type":{"type":"enum","name":"E","symbols":["A","B"]}},
            {"name":"points","type":{"type":"array","items":"P"}},{"name":"end","type":"long"}]}"#;
        let schema = Arc::new(RecordSchema::parse(text).unwrap());
        let columns = columns("T", &schema, &[]).unwrap();
        let mut rows = Rows::new(columns.iter().map(|column| column.kind));
        let pick = |column| Pick {
            field: column,
            elements: 0..1,
            column,
        };
        let picks: Vec<Vec<Pick>> = (0..columns.len()).map(|it| vec![pick(it)]).collect();
        let mut picking = Picking::new(&picks, &mut rows.columns);
        let datum = [0, 2, 8, 2, 2, 2, 2, 0, 0, 10];
        Decoder::new(schema).decode(&datum, &mut picking).unwrap();
        rows.end_row(1, None, (0, 0));
        let expected = [
            Values::Long(vec![None]),
            Values::Long(vec![Some(4)]),
            Values::Text(vec![Some("B".into())]),
            Values::Text(vec![Some(r#"[{"x":1,"y":null}]"#.into())]),
            Values::Long(vec![Some(5)]),
        ];
        assert_eq!(rows.columns, expected);
    }
}
