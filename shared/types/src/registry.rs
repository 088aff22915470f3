//! What a folder of IDL files defines, while files come, change and go.
//!
//! A file that includes another is read again when that comes, changes or goes; until then what it uses of it is unknown.

mod includes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::avro::AvroSchema;
use crate::general::without_ros;
use crate::idl::{self, Constant, IdlError, Parsed};
use crate::model::{Definition, TypeName, Types};
use crate::sal::{Mapping, NoMapping, SalTopic};

/// Types of many IDL files by DDS type name.
///
/// Two files may define one type. Alike is fine; otherwise the file whose name sorts first has it,
/// whatever the order in which they came, and [`Registry::conflicts`] names the other.
#[derive(Debug, Default)]
pub struct Registry {
    files: BTreeMap<String, File>,
    /// Definers of each type by file name, never empty.
    by_type: BTreeMap<TypeName, BTreeMap<String, Arc<Registered>>>,
}

/// One struct of one file and what follows from it. Immutable: a change makes a new one.
#[derive(Debug)]
pub struct Registered {
    pub name: TypeName,
    /// All types of its file and of those that this includes, for what is nested in it.
    pub types: Arc<Types>,
    pub mapping: Result<Mapped, NoMapping>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapped {
    Sal {
        topic: Arc<SalTopic>,
        schema: Arc<AvroSchema>,
    },
    Placeholder,
}

impl Registered {
    /// The topic and its schema, where the type has them.
    pub fn sal(&self) -> Option<(&Arc<SalTopic>, &Arc<AvroSchema>)> {
        match &self.mapping {
            Ok(Mapped::Sal { topic, schema }) => Some((topic, schema)),
            Ok(Mapped::Placeholder) | Err(_) => None,
        }
    }

    fn same_as(&self, other: &Self) -> bool {
        self.mapping == other.mapping && self.made_of() == other.made_of()
    }

    /// Itself and what is nested in it.
    fn made_of(&self) -> BTreeMap<&TypeName, &Definition> {
        let mut found = BTreeMap::new();
        let mut waiting = vec![&self.name];
        while let Some(name) = waiting.pop() {
            if let Some(definition) = self.types.definition(name.as_str())
                && found.insert(name, definition).is_none()
            {
                waiting.extend(idl::used_names(definition));
            }
        }
        found
    }
}

#[derive(Debug)]
struct File {
    errors: Vec<IdlError>,
    warnings: Vec<IdlError>,
    names: Vec<TypeName>,
    definitions: Vec<Definition>,
    constants: Vec<Constant>,
    includes: Vec<String>,
    /// To be read again; of a file that includes others.
    text: Option<Arc<[u8]>>,
}

/// What a file that was taken (again) or removed did to the types that [`Registry::get`] gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    pub added: Vec<TypeName>,
    pub changed: Vec<TypeName>,
    pub removed: Vec<TypeName>,
}

impl Change {
    fn add(&mut self, other: Self) {
        for (names, more) in [
            (&mut self.added, other.added),
            (&mut self.changed, other.changed),
            (&mut self.removed, other.removed),
        ] {
            names.extend(more);
            names.sort();
            names.dedup();
        }
    }
}

impl Registry {
    /// Takes the text of `file` in place of what it said before. Bytes that are not UTF-8 are taken
    /// as ISO-8859-1. Errors do not keep the good structs out: see [`Registry::errors`].
    pub fn load(&mut self, file: &str, text: &[u8]) -> Change {
        let mut change = self.read(file, text);
        change.add(self.read_includers(file));
        change
    }

    fn read(&mut self, file: &str, text: &[u8]) -> Change {
        let includes = idl::includes(text);
        let included = self.included(file, &includes);
        let parsed = idl::parse_bytes_within(text, &included);
        let all = included.definitions.iter().chain(&parsed.definitions);
        let types = Arc::new(all.cloned().collect::<Types>());
        let Parsed {
            versions,
            definitions,
            constants,
            errors,
            warnings,
        } = parsed;
        let structs = definitions
            .iter()
            .filter(|it| matches!(it, Definition::Struct(_)));
        let registered: Vec<Registered> = structs
            .map(|it| Registered {
                name: it.name().clone(),
                types: Arc::clone(&types),
                mapping: Mapping::of(&types, &versions, it.name()).map(|mapping| match mapping {
                    Mapping::Placeholder => Mapped::Placeholder,
                    Mapping::Sal(topic) => {
                        let schema = Arc::new(AvroSchema::of(&topic));
                        Mapped::Sal {
                            topic: Arc::from(topic),
                            schema,
                        }
                    }
                }),
            })
            .collect();
        let names = registered.iter().map(|it| it.name.clone()).collect();
        self.replace(
            file,
            registered,
            Some(File {
                errors,
                warnings,
                names,
                definitions,
                constants,
                text: (!includes.is_empty()).then(|| Arc::from(text)),
                includes,
            }),
        )
    }

    /// Forgets `file`.
    pub fn remove(&mut self, file: &str) -> Change {
        let mut change = self.replace(file, Vec::new(), None);
        change.add(self.read_includers(file));
        change
    }

    fn replace(&mut self, file: &str, registered: Vec<Registered>, new: Option<File>) -> Change {
        let old = self
            .files
            .remove(file)
            .map(|old| old.names)
            .unwrap_or_default();
        let mut touched = old.clone();
        touched.extend(registered.iter().map(|it| it.name.clone()));
        touched.sort();
        touched.dedup();
        let before: Vec<Option<Arc<Registered>>> = touched
            .iter()
            .map(|name| self.get(name.as_str()).cloned())
            .collect();

        for name in &old {
            if let Some(definers) = self.by_type.get_mut(name) {
                definers.remove(file);
                if definers.is_empty() {
                    self.by_type.remove(name);
                }
            }
        }
        for it in registered {
            let definers = self.by_type.entry(it.name.clone()).or_default();
            definers.insert(file.to_owned(), Arc::new(it));
        }
        if let Some(new) = new {
            self.files.insert(file.to_owned(), new);
        }

        let mut change = Change::default();
        for (name, before) in touched.into_iter().zip(before) {
            match (before, self.get(name.as_str())) {
                (None, Some(_)) => change.added.push(name),
                (Some(_), None) => change.removed.push(name),
                (Some(before), Some(after)) if !before.same_as(after) => change.changed.push(name),
                (Some(_), Some(_)) | (None, None) => {}
            }
        }
        change
    }

    /// By DDS type name: `MTMount::elevation_1a2b3c4d`, or as ROS 2 announces it, `std_msgs::msg::dds_::String_`.
    pub fn get(&self, dds_type: &str) -> Option<&Arc<Registered>> {
        let as_in_ros = || self.by_type.get(without_ros(dds_type)?.as_str());
        let definers = self.by_type.get(dds_type).or_else(as_in_ros)?;
        definers.values().next()
    }

    /// All structs, by DDS type name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Registered>> {
        self.by_type
            .values()
            .filter_map(|definers| definers.values().next())
    }

    /// All SAL topics, by DDS type name.
    pub fn topics(&self) -> impl Iterator<Item = (&Arc<SalTopic>, &Arc<AvroSchema>)> {
        self.iter().filter_map(|it| it.sal())
    }

    /// File names, in order.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Errors of all files, by file name and place.
    pub fn errors(&self) -> impl Iterator<Item = (&str, &IdlError)> {
        self.files
            .iter()
            .flat_map(|(name, file)| file.errors.iter().map(move |error| (name.as_str(), error)))
    }

    pub fn warnings(&self) -> impl Iterator<Item = (&str, &IdlError)> {
        self.files
            .iter()
            .flat_map(|(name, file)| file.warnings.iter().map(move |it| (name.as_str(), it)))
    }

    /// Types that a second file defines otherwise: the name, the file that has it, the one that
    /// is not heard.
    pub fn conflicts(&self) -> impl Iterator<Item = (&TypeName, &str, &str)> {
        self.by_type.iter().flat_map(|(name, definers)| {
            let mut definers = definers.iter();
            let first = definers.next();
            definers.filter_map(move |(file, it)| {
                let (first, heard) = first?;
                (!heard.same_as(it)).then_some((name, first.as_str(), file.as_str()))
            })
        })
    }
}
