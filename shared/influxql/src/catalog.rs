//! Databases and their retention policies.

use crate::error::StatementError;
use crate::source::{Database, Source};

/// One database, that there is.
#[derive(Debug)]
pub(crate) struct Catalog(Database);

impl Catalog {
    pub(crate) fn of<S: Source>(
        source: &mut S,
        name: Option<&str>,
    ) -> Result<Self, StatementError> {
        let name = name
            .filter(|it| !it.is_empty())
            .ok_or(StatementError::DatabaseRequired)?;
        let databases = source.databases().map_err(StatementError::source)?;
        let found = databases.into_iter().find(|it| it.name == name);
        found
            .map(Self)
            .ok_or_else(|| StatementError::DatabaseNotFound(name.to_owned()))
    }

    /// Its name, if it has the policy; `None`: the default.
    pub(crate) fn database(&self, policy: Option<&str>) -> Result<String, StatementError> {
        match policy {
            Some(policy) if !self.0.policies.iter().any(|it| it.name == policy) => {
                Err(StatementError::PolicyNotFound(policy.to_owned()))
            }
            Some(_) | None => Ok(self.0.name.clone()),
        }
    }

    pub(crate) fn into_database(self) -> Database {
        self.0
    }
}
