//! Why a question has no answer.

use std::time::Duration;

use efd_shared_daemon::when::WindowError;
use efd_shared_store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("{0}")]
    Bad(String),
    #[error(transparent)]
    Window(#[from] WindowError),
    #[error("no topic `{topic}` is held here{}", did_you_mean(.similar))]
    NoTopic { topic: String, similar: Vec<String> },
    #[error("{topic} has no field `{field}`{}", did_you_mean(.similar))]
    NoField {
        topic: String,
        field: String,
        similar: Vec<String>,
    },
    #[error("`{field}` of {topic}: {fault}")]
    Field {
        topic: String,
        field: String,
        fault: String,
    },
    #[error("no tier `{asked}`: there are {known}")]
    NoTier { asked: String, known: String },
    #[error(
        "more than {max} values: ask for fewer fields or a shorter span, give `points`, or name a tier"
    )]
    TooManyValues { max: usize },
    #[error("more than {max} bytes of answer: ask for less")]
    TooManyBytes { max: usize },
    #[error(
        "more than {max} bytes of memory: ask for fewer fields, a shorter span, or a coarser tier"
    )]
    TooMuchMemory { max: usize },
    #[error(
        "not answered within {within:?}: ask for a shorter span, or for a tier instead of raw records"
    )]
    TooLong { within: Duration },
    #[error("more than {max} bytes of answers are under way: ask again in a moment")]
    TooManyUnderWay { max: usize },
    #[error("{waiting} questions wait already: ask again in a moment")]
    Busy { waiting: usize },
    #[error("whoever asked has gone, or the edge stops")]
    Gone,
    #[error("read the buffer")]
    Store(#[from] StoreError),
}

impl QueryError {
    /// Of HTTP.
    pub fn status(&self) -> u16 {
        match self {
            Self::Bad(_) | Self::Window(_) | Self::Field { .. } | Self::NoTier { .. } => 400,
            Self::NoTopic { .. } | Self::NoField { .. } => 404,
            Self::TooManyValues { .. } | Self::TooManyBytes { .. } | Self::TooMuchMemory { .. } => {
                413
            }
            Self::TooLong { .. } | Self::Gone => 503,
            Self::Busy { .. } | Self::TooManyUnderWay { .. } => 429,
            Self::Store(_) => 500,
        }
    }
}

fn did_you_mean(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(", ")),
    }
}

/// A few of `known` that look like `name`, the most alike first.
pub(crate) fn alike<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    const MAX: usize = 3;
    let wanted = name.to_ascii_lowercase();
    let mut scored: Vec<(usize, &str)> = known
        .filter_map(|candidate| {
            let lower = candidate.to_ascii_lowercase();
            let distance = distance(&wanted, &lower);
            let is_near = distance <= 2.max(wanted.len() / 10) || lower.contains(&wanted);
            is_near.then_some((distance, candidate))
        })
        .collect();
    scored.sort();
    scored.truncate(MAX);
    scored
        .into_iter()
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// Levenshtein's.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_fingers() {
        let known = ["lsst.sal.MTMount.elevation", "lsst.sal.MTMount.azimuth"];
        let found = |name: &str| alike(name, known.into_iter());
        assert_eq!(found("lsst.sal.MTMount.elevatoin"), [known[0]]);
        assert_eq!(found("azimuth"), [known[1]]);
        assert!(found("weather").is_empty());
    }
}
