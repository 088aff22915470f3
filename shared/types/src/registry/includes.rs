//! Files that use what others define.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::{Change, Registry};
use crate::idl::{Constant, Included};
use crate::model::Definition;

/// Of one file, for one that came: two that include each other may never come to rest.
const READINGS_MAX: usize = 8;
const DEPTH_MAX: usize = 64;

impl Registry {
    /// What a file is given that includes these.
    pub(super) fn included(&self, file: &str, includes: &[String]) -> Included {
        let mut visited = BTreeSet::from([file]);
        let mut included = Included::default();
        self.collect(includes, DEPTH_MAX, &mut visited, &mut included);
        let mut names = BTreeSet::new();
        let is_first = |it: &Definition| names.insert(it.name().clone());
        included.definitions.retain(is_first);
        included
    }

    /// What is included first, comes first.
    fn collect<'a>(
        &'a self,
        includes: &[String],
        depth: usize,
        visited: &mut BTreeSet<&'a str>,
        included: &mut Included,
    ) {
        for include in includes {
            let called = self
                .files
                .iter()
                .filter(|(name, _)| is_called(name, include));
            let best = called.max_by_key(|(name, _)| {
                let is_new = !visited.contains(name.as_str());
                (parts_alike(name, include), is_new, Reverse(*name))
            });
            let Some((name, found)) = best else {
                continue;
            };
            if visited.insert(name) {
                if depth > 0 {
                    self.collect(&found.includes, depth - 1, visited, included);
                }
                let definitions = found.definitions.iter().cloned();
                included.definitions.extend(definitions);
                included.constants.extend(found.constants.iter().cloned());
            }
        }
    }

    /// Reads again what includes `file`, what includes that, and so on.
    pub(super) fn read_includers(&mut self, file: &str) -> Change {
        let mut change = Change::default();
        let mut visited = BTreeSet::new();
        let mut waiting = VecDeque::from([file.to_owned()]);
        let mut readings = BTreeMap::<String, usize>::new();
        while let Some(file) = waiting.pop_front() {
            for (includer, text) in self.includers(&file) {
                let times = readings.entry(includer.clone()).or_default();
                if *times == READINGS_MAX {
                    continue;
                }
                *times += 1;
                let before = self.defined_by(&includer);
                change.add(self.read(&includer, &text));
                // Once is enough, unless it was read before what it includes came to rest.
                if before != self.defined_by(&includer) || !visited.contains(&includer) {
                    visited.insert(includer.clone());
                    waiting.push_back(includer);
                }
            }
        }
        change
    }

    fn defined_by(&self, file: &str) -> Option<(Vec<Definition>, Vec<Constant>)> {
        let file = self.files.get(file)?;
        Some((file.definitions.clone(), file.constants.clone()))
    }

    fn includers(&self, file: &str) -> Vec<(String, Arc<[u8]>)> {
        let others = self.files.iter().filter(|(name, _)| *name != file);
        others
            .filter(|(_, other)| other.includes.iter().any(|it| is_called(file, it)))
            .filter_map(|(name, other)| Some((name.clone(), Arc::clone(other.text.as_ref()?))))
            .collect()
    }
}

/// Whether an `#include` of this path may mean the file: folders within folders are not watched, so not all of it needs to
/// be there.
fn is_called(file: &str, include: &str) -> bool {
    parts_alike(file, include) > 0
}

/// Of two paths, from their ends.
fn parts_alike(file: &str, include: &str) -> usize {
    let parts = file.rsplit('/').zip(include.rsplit('/'));
    parts.take_while(|(one, other)| one == other).count()
}
