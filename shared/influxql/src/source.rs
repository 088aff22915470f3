//! What owns the data, as this crate sees it.

use std::fmt;
use std::ops::{ControlFlow, RangeInclusive};

/// Measurements are topics, and have no tags: `salIndex` is a field, and arrays are `name0`, `name1`, …
pub trait Source {
    type Error: std::error::Error + Send + Sync + 'static;

    /// Databases with their retention policies, the default one first.
    fn databases(&mut self) -> Result<Vec<Database>, Self::Error>;

    /// Of a database, ascending by name.
    fn measurements(&mut self, database: &str) -> Result<Vec<String>, Self::Error>;

    /// Ascending by name; empty if there is no such measurement.
    fn fields(&mut self, database: &str, measurement: &str) -> Result<Vec<Field>, Self::Error>;

    /// Gives what is asked for to `take`, batch by batch, in the order of time that is asked for, until all is given or
    /// `take` breaks off.
    fn scan(
        &mut self,
        scan: &Scan<'_>,
        take: &mut dyn FnMut(Batch) -> ControlFlow<()>,
    ) -> Result<(), Self::Error>;

    /// What a reader of the answer should know of the scan that has ended, such as what it was read from. Asked for once
    /// after each scan; the answer carries it as a message of level `info`.
    fn message(&mut self) -> Option<String> {
        None
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    pub name: String,
    pub policies: Vec<Policy>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub name: String,
    /// How long data are kept, ns; 0: for ever.
    pub duration: i64,
    /// Of one file of the data, ns.
    pub shard: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub kind: FieldKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    Float,
    Integer,
    Boolean,
    String,
}

impl FieldKind {
    /// As InfluxDB names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Float => "float",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::String => "string",
        }
    }
}

impl fmt::Display for FieldKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a statement needs of one measurement.
#[derive(Clone, Debug)]
pub struct Scan<'a> {
    pub database: &'a str,
    pub measurement: &'a str,
    /// Names that [`Source::fields`] gave; what a batch holds, in this order.
    pub fields: &'a [String],
    /// ns since 1970, UTC.
    pub times: RangeInclusive<i64>,
    pub order: Order,
    /// Values of `salIndex`, where the statement asks for one alone: the source may leave out all others, and need not.
    /// With [`Batch::Windows`] it has to: a summary cannot be taken apart.
    pub instance: Option<i64>,
    /// The source may give [`Batch::Windows`] instead of points.
    pub windows: Option<Grid>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Ascending,
    Descending,
}

/// What windows must be parts of: each begins at or after `offset + k * every` and ends at or before the next of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// ns; 0: one group takes all.
    pub every: i64,
    pub offset: i64,
    /// First or last values are asked for: windows of several instances that begin together do not tell which it is.
    pub ends: bool,
}

#[derive(Clone, Debug)]
pub enum Batch {
    /// A row for each time. At one time there may be several.
    Points {
        times: Vec<i64>,
        columns: Vec<Column>,
    },
    /// For each window that begins in the times asked for, and each field of the scan, a summary.
    Windows {
        /// Their starts, in the order asked for.
        starts: Vec<i64>,
        /// As many for each field as there are starts; `None`: nothing of it in that window.
        fields: Vec<Vec<Option<Summary>>>,
    },
}

/// Values of one field, a value for each time; `None`: the field is not in that point.
#[derive(Clone, Debug)]
pub enum Column {
    Float(Vec<Option<f64>>),
    Integer(Vec<Option<i64>>),
    Boolean(Vec<Option<bool>>),
    String(Vec<Option<String>>),
}

/// Of the values of one field in one window. Only fields of [`FieldKind::Float`] and [`FieldKind::Integer`] have one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// At least 1.
    pub count: u64,
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    /// Of the population.
    pub stdev: f64,
    pub first: f64,
    pub last: f64,
}
