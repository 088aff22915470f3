//! The parameters of a request.

use efd_shared_daemon::when::{Named, Window};
use efd_shared_model::UtcNanos;

use crate::ask::{FieldAsk, Stat, TierAsk};
use crate::error::QueryError;
use crate::render::Format;
use crate::series::SeriesAsk;

pub(super) const SERIES: [&str; 9] = [
    "topic",
    "field",
    "instance",
    "from",
    "until",
    "points",
    "tier",
    "statistics",
    "format",
];

const POINTS_MAX: usize = 1_000_000;
/// Without a span the last hour is meant.
const SPAN: i64 = 3_600_000_000_000;

/// Names and values as they were written, names known.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, QueryError> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query.unwrap_or_default())
            .map_err(|error| QueryError::Bad(format!("parameters: {error}")))?;
        for (name, _) in &pairs {
            if !known.contains(&name.as_str()) {
                let known = match known {
                    [] => "none".to_owned(),
                    known => known.join(", "),
                };
                let name: String = name.chars().take(80).collect();
                return Err(QueryError::Bad(format!(
                    "parameter `{name}` is not known here: there are {known}"
                )));
            }
        }
        Ok(Self(pairs))
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let of_name = self.0.iter().filter(move |(found, _)| found == name);
        of_name.map(|(_, value)| value.as_str())
    }

    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, QueryError> {
        let mut all = self.all(name);
        let first = all.next();
        match all.next() {
            None => Ok(first),
            Some(_) => Err(QueryError::Bad(format!("parameter `{name}` comes twice"))),
        }
    }

    pub(super) fn needed(&self, name: &str) -> Result<&str, QueryError> {
        let missing = || QueryError::Bad(format!("parameter `{name}` is missing"));
        self.one(name)?.ok_or_else(missing)
    }

    pub(super) fn count(
        &self,
        name: &str,
        default: usize,
        max: usize,
    ) -> Result<usize, QueryError> {
        let Some(text) = self.one(name)? else {
            return Ok(default);
        };
        let count = text.parse().ok().filter(|count| (1..=max).contains(count));
        count.ok_or_else(|| {
            QueryError::Bad(format!("`{name}` = `{text}`: a number from 1 to {max}"))
        })
    }

    pub(super) fn instance(&self) -> Result<Option<i32>, QueryError> {
        let Some(text) = self.one("instance")? else {
            return Ok(None);
        };
        let bad = || {
            QueryError::Bad(format!(
                "`instance` = `{text}`: a salIndex is a whole number"
            ))
        };
        text.parse().map(Some).map_err(|_| bad())
    }

    /// `from..until`, ns UTC: until now and an hour before it where nothing is said.
    pub(super) fn times(&self, now: UtcNanos) -> Result<(i64, i64), QueryError> {
        let (from, until) = (self.one("from")?, self.one("until")?);
        let read = |text: Option<&str>| match text {
            None => Ok(None),
            Some("now") => Ok(Some(now)),
            // Numbers are ns; an hour ago begins with a sign as well, and has a unit.
            Some(text) => match text.parse() {
                Ok(nanos) => Ok(Some(UtcNanos(nanos))),
                Err(_) => {
                    let window = Window::parse(Named::PARAMETERS, Some(text), None, now)?;
                    Ok::<_, QueryError>(window.from)
                }
            },
        };
        let until = read(until)?.unwrap_or_else(|| now.saturating_add(1));
        let from = read(from)?.unwrap_or_else(|| until.saturating_sub(SPAN));
        if until <= from {
            return Err(QueryError::Bad(format!(
                "nothing is between from {from} and until {until}: the first must be earlier"
            )));
        }
        Ok((from.0, until.0))
    }

    pub(super) fn series(&self, now: UtcNanos) -> Result<SeriesAsk, QueryError> {
        let points = match self.one("points")? {
            None => None,
            Some(_) => Some(self.count("points", 0, POINTS_MAX)?),
        };
        let statistics = match self.one("statistics")? {
            None => vec![Stat::Mean, Stat::Min, Stat::Max],
            Some(list) => Stat::parse_list(list)?,
        };
        let fields = self.all("field").map(FieldAsk::parse);
        Ok(SeriesAsk {
            topic: self.needed("topic")?.to_owned(),
            fields: fields.collect::<Result<_, _>>()?,
            instance: self.instance()?,
            times: self.times(now)?,
            points,
            tier: TierAsk::parse(self.one("tier")?.unwrap_or_default()),
            statistics,
        })
    }

    pub(super) fn format(&self) -> Result<Format, QueryError> {
        self.one("format")?
            .map_or(Ok(Format::default()), Format::parse)
    }
}
