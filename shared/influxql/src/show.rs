//! SHOW: what there is.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::Request;
use crate::ast::{Expr, Show};
use crate::catalog::Catalog;
use crate::error::StatementError;
use crate::lexer::SECOND;
use crate::output::{Cell, Head, Writer};
use crate::predicate::Predicate;
use crate::source::Source;

type Shown = Result<(), StatementError>;

pub(crate) fn databases<S: Source>(source: &mut S, writer: &mut Writer<'_>) -> Shown {
    let databases = source.databases().map_err(StatementError::source)?;
    let rows = databases.iter().map(|it| vec![Cell::Text(&it.name)]);
    writer.table(&Head::new(Some("databases"), &["name"]), rows)
}

pub(crate) fn policies<S: Source>(
    database: Option<&str>,
    request: &Request<'_>,
    source: &mut S,
    writer: &mut Writer<'_>,
) -> Shown {
    let database = Catalog::of(source, database.or(request.database))?.into_database();
    let durations: Vec<_> = database
        .policies
        .iter()
        .map(|it| (duration(it.duration), duration(it.shard)))
        .collect();
    let rows = database.policies.iter().zip(&durations).enumerate().map(
        |(index, (policy, (kept, shard)))| {
            let name = Cell::Text(&policy.name);
            vec![
                name,
                Cell::Text(kept),
                Cell::Text(shard),
                Cell::Integer(1),
                Cell::Boolean(index == 0),
            ]
        },
    );
    let columns = [
        "name",
        "duration",
        "shardGroupDuration",
        "replicaN",
        "default",
    ];
    writer.table(&Head::new(None, &columns), rows)
}

pub(crate) fn measurements<S: Source>(
    show: &Show,
    request: &Request<'_>,
    source: &mut S,
    writer: &mut Writer<'_>,
) -> Shown {
    let Some(database) = show.database.as_deref().or(request.database) else {
        return Err(StatementError::DatabaseRequired);
    };
    if let Some(condition) = &show.condition {
        if asks_time(condition) {
            return Err(StatementError::invalid(
                "SHOW MEASUREMENTS doesn't support time in WHERE clause",
            ));
        }
        // It is of tags, and of those that there are.
        return Ok(());
    }
    // As in InfluxDB, of a database that is not there are no measurements.
    let databases = source.databases().map_err(StatementError::source)?;
    if !databases.iter().any(|it| it.name == database) {
        return Ok(());
    }
    let all = source
        .measurements(database)
        .map_err(StatementError::source)?;
    let asked = all
        .iter()
        .filter(|name| show.origins.iter().all(|it| it.name.matches(name)));
    let names: Vec<&String> = show.page.cut(asked).collect();
    if names.is_empty() {
        return Ok(());
    }
    let rows = names.into_iter().map(|it| vec![Cell::Text(it)]);
    writer.table(&Head::new(Some("measurements"), &["name"]), rows)
}

pub(crate) fn field_keys<S: Source>(
    show: &Show,
    request: &Request<'_>,
    source: &mut S,
    writer: &mut Writer<'_>,
) -> Shown {
    for (database, name) in named(show, request, source)? {
        let fields = source
            .fields(&database, &name)
            .map_err(StatementError::source)?;
        let fields: Vec<_> = show.page.cut(fields.iter()).collect();
        if fields.is_empty() {
            continue;
        }
        writer.series(Head::new(Some(&name), &["fieldKey", "fieldType"]));
        for field in fields {
            writer.cells(&[Cell::Text(&field.name), Cell::Text(field.kind.as_str())])?;
        }
    }
    Ok(())
}

/// Keys and values: there is no tag.
pub(crate) fn tags<S: Source>(show: &Show, request: &Request<'_>, source: &mut S) -> Shown {
    named(show, request, source).map(drop)
}

/// Without tags, of each measurement one.
pub(crate) fn series<S: Source>(
    show: &Show,
    request: &Request<'_>,
    source: &mut S,
    writer: &mut Writer<'_>,
) -> Shown {
    let named = named(show, request, source)?;
    if let Some(condition) = &show.condition {
        if asks_time(condition) {
            return Err(StatementError::outside(
                "time in the condition of SHOW SERIES",
            ));
        }
        let predicate = Predicate::new(condition, &mut |_| None)?;
        if !predicate.holds(&|_| None) {
            return Ok(());
        }
    }
    let keys: Vec<String> = named.into_iter().map(|(_, name)| escaped(&name)).collect();
    writer.series(Head::new(None, &["key"]));
    for key in show.page.cut(keys.iter()) {
        writer.cells(&[Cell::Text(key)])?;
    }
    Ok(())
}

/// The measurements that are asked for, each with its database; without FROM all.
fn named<S: Source>(
    show: &Show,
    request: &Request<'_>,
    source: &mut S,
) -> Result<BTreeSet<(String, String)>, StatementError> {
    let default = show.database.as_deref().or(request.database);
    let mut found = BTreeSet::new();
    if show.origins.is_empty() {
        let database = Catalog::of(source, default)?.database(None)?;
        let all = source
            .measurements(&database)
            .map_err(StatementError::source)?;
        found.extend(all.into_iter().map(|name| (database.clone(), name)));
    }
    for origin in &show.origins {
        let catalog = Catalog::of(source, origin.database.as_deref().or(default))?;
        let database = catalog.database(origin.policy.as_deref())?;
        let all = source
            .measurements(&database)
            .map_err(StatementError::source)?;
        let names = all.into_iter().filter(|it| origin.name.matches(it));
        found.extend(names.map(|name| (database.clone(), name)));
    }
    Ok(found)
}

fn asks_time(condition: &Expr) -> bool {
    let mut found = false;
    condition.walk(&mut |it| found |= it.is_time());
    found
}

/// As in line protocol.
fn escaped(name: &str) -> String {
    name.replace(',', "\\,").replace(' ', "\\ ")
}

/// `168h0m0s`.
fn duration(nanos: i64) -> String {
    let seconds = nanos / SECOND;
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = String::new();
    let written = match (hours, minutes) {
        (0, 0) => write!(text, "{rest}s"),
        (0, minutes) => write!(text, "{minutes}m{rest}s"),
        (hours, minutes) => write!(text, "{hours}h{minutes}m{rest}s"),
    };
    debug_assert!(written.is_ok(), "a string takes everything");
    text
}
