//! What no single TypeObject can tell: that names and numbers are unique, and that chains end.

use std::collections::{BTreeMap, BTreeSet};

use super::error::XtypesError;
use super::{ALIASES_MAX, BASES_MAX};
use crate::model::{
    Bitmask, Definition, Enum, Member, Resolved, Struct, Type, TypeName, Types, Union,
};

pub(super) fn check(types: &Types, root: &TypeName) -> Result<(), XtypesError> {
    let graph = Graph::of(types);
    graph.ends("is an alias of", |definition, uses| match definition {
        Definition::Alias(it) => {
            for name in all_names(&it.ty) {
                uses.extend(alias(types, name));
            }
        }
        Definition::Struct(_)
        | Definition::Union(_)
        | Definition::Enum(_)
        | Definition::Bitmask(_) => {}
    })?;
    graph.ends("inherits from", |definition, uses| match definition {
        Definition::Struct(it) => uses.extend(it.base.as_ref()),
        Definition::Union(_)
        | Definition::Enum(_)
        | Definition::Bitmask(_)
        | Definition::Alias(_) => {}
    })?;
    graph.ends("contains", contained)?;
    chains_are_short(types)?;
    are_unique(types)?;
    root_is_data(types, root)
}

fn alias<'a>(types: &'a Types, name: &'a TypeName) -> Option<&'a TypeName> {
    match types.definition(name.as_str())? {
        Definition::Alias(_) => Some(name),
        Definition::Struct(_)
        | Definition::Union(_)
        | Definition::Enum(_)
        | Definition::Bitmask(_) => None,
    }
}

/// What is in every value of `definition`. The cases of a union need not be, as in IDL.
fn contained<'a>(definition: &'a Definition, uses: &mut Vec<&'a TypeName>) {
    match definition {
        Definition::Struct(it) => {
            uses.extend(it.base.as_ref());
            let members = it.members.iter().filter(|member| !member.optional);
            uses.extend(members.filter_map(|member| inline_name(&member.ty)));
        }
        Definition::Alias(it) => uses.extend(inline_name(&it.ty)),
        Definition::Union(_) | Definition::Enum(_) | Definition::Bitmask(_) => {}
    }
}

fn inline_name(ty: &Type) -> Option<&TypeName> {
    match ty {
        Type::Named(name) => Some(name),
        Type::Array { element, .. } => inline_name(element),
        Type::Primitive(_)
        | Type::String { .. }
        | Type::WString { .. }
        | Type::Sequence { .. }
        | Type::Map { .. } => None,
    }
}

fn all_names(ty: &Type) -> Vec<&TypeName> {
    match ty {
        Type::Named(name) => vec![name],
        Type::Array { element, .. } | Type::Sequence { element, .. } => all_names(element),
        Type::Map { key, value, .. } => {
            let mut names = all_names(key);
            names.extend(all_names(value));
            names
        }
        Type::Primitive(_) | Type::String { .. } | Type::WString { .. } => Vec::new(),
    }
}

/// Definitions by number.
struct Graph<'a> {
    definitions: Vec<&'a Definition>,
    numbers: BTreeMap<&'a TypeName, usize>,
}

impl<'a> Graph<'a> {
    fn of(types: &'a Types) -> Self {
        let definitions: Vec<&Definition> = types.iter().collect();
        let numbers = definitions.iter().enumerate();
        let numbers = numbers.map(|(number, it)| (it.name(), number)).collect();
        Self {
            definitions,
            numbers,
        }
    }

    /// That no definition comes back to itself by what `uses` gives for each.
    fn ends(
        &self,
        what: &'static str,
        uses: impl Fn(&'a Definition, &mut Vec<&'a TypeName>),
    ) -> Result<(), XtypesError> {
        let number = |name| self.numbers.get(name).copied();
        let used: Vec<Vec<usize>> = self
            .definitions
            .iter()
            .map(|definition| {
                let mut names = Vec::new();
                uses(definition, &mut names);
                names.into_iter().filter_map(number).collect()
            })
            .collect();
        let mut users: Vec<Vec<usize>> = vec![Vec::new(); used.len()];
        for (user, used) in used.iter().enumerate() {
            for &it in used {
                users[it].push(user);
            }
        }
        // What uses nothing is done, then what uses only what is done; a cycle is never done.
        let mut left: Vec<usize> = used.iter().map(Vec::len).collect();
        let mut done: Vec<usize> = (0..left.len()).filter(|&it| left[it] == 0).collect();
        while let Some(it) = done.pop() {
            for &user in &users[it] {
                left[user] -= 1;
                if left[user] == 0 {
                    done.push(user);
                }
            }
        }
        let Some(mut it) = left.iter().position(|&left| left > 0) else {
            return Ok(());
        };
        // From what is not done to what is not done: as many steps as there are end on a cycle.
        for _ in 0..left.len() {
            let next = used[it].iter().find(|&&used| left[used] > 0);
            it = next.copied().unwrap_or(it);
        }
        Err(XtypesError::Endless {
            name: self.definitions[it].name().as_str().to_owned(),
            what,
        })
    }
}

fn chains_are_short(types: &Types) -> Result<(), XtypesError> {
    for definition in types.iter() {
        let too_long = |what, limit| XtypesError::ChainTooLong {
            name: definition.name().as_str().to_owned(),
            what,
            limit,
        };
        match definition {
            Definition::Alias(it) => {
                let named = Type::Named(it.name.clone());
                if let Resolved::Unknown(_) = types.resolve(&named) {
                    return Err(too_long("aliases", ALIASES_MAX));
                }
            }
            Definition::Struct(it) => {
                let lineage = types.lineage(it);
                if lineage.first().is_some_and(|first| first.base.is_some()) {
                    return Err(too_long("bases", BASES_MAX));
                }
            }
            Definition::Union(_) | Definition::Enum(_) | Definition::Bitmask(_) => {}
        }
    }
    Ok(())
}

/// Names and numbers of the members of one definition.
#[derive(Default)]
struct Own<'a> {
    names: BTreeSet<&'a str>,
    ids: BTreeSet<u32>,
}

impl<'a> Own<'a> {
    fn add(&mut self, user: &TypeName, member: &'a Member) -> Result<(), XtypesError> {
        if !self.names.insert(&member.name) {
            return Err(member_twice(user, "member", &member.name));
        }
        if !self.ids.insert(member.id) {
            return Err(id_twice(user, member));
        }
        Ok(())
    }
}

fn are_unique(types: &Types) -> Result<(), XtypesError> {
    let mut structs: BTreeMap<&TypeName, Own<'_>> = BTreeMap::new();
    for definition in types.iter() {
        match definition {
            Definition::Struct(it) => {
                let mut own = Own::default();
                for member in &it.members {
                    own.add(&it.name, member)?;
                }
                structs.insert(&it.name, own);
            }
            Definition::Union(it) => union(it)?,
            Definition::Enum(it) => literals(it)?,
            Definition::Bitmask(it) => flags(it)?,
            Definition::Alias(_) => {}
        }
    }
    for definition in types.iter() {
        match definition {
            Definition::Struct(it) => inherited(types, &structs, it)?,
            Definition::Union(_)
            | Definition::Enum(_)
            | Definition::Bitmask(_)
            | Definition::Alias(_) => {}
        }
    }
    Ok(())
}

/// Only own members are looked up in the bases, never the other way: many structs may share a
/// large base.
fn inherited(
    types: &Types,
    structs: &BTreeMap<&TypeName, Own<'_>>,
    it: &Struct,
) -> Result<(), XtypesError> {
    let mut lineage = types.lineage(it);
    lineage.pop();
    for base in lineage.iter().filter_map(|base| structs.get(&base.name)) {
        for member in &it.members {
            if base.names.contains(member.name.as_str()) {
                return Err(member_twice(&it.name, "member", &member.name));
            }
            if base.ids.contains(&member.id) {
                return Err(id_twice(&it.name, member));
            }
        }
    }
    Ok(())
}

fn union(it: &Union) -> Result<(), XtypesError> {
    let mut own = Own::default();
    let (mut labels, mut has_default) = (BTreeSet::new(), false);
    for case in &it.cases {
        own.add(&it.name, &case.member)?;
        if let Some(&value) = case.labels.iter().find(|&&label| !labels.insert(label)) {
            let what = "label";
            return Err(number_twice(&it.name, what, &case.member.name, value));
        }
        if case.is_default && has_default {
            return Err(XtypesError::DefaultTwice(it.name.as_str().to_owned()));
        }
        has_default |= case.is_default;
    }
    Ok(())
}

fn literals(it: &Enum) -> Result<(), XtypesError> {
    let mut names = BTreeSet::new();
    match it.literals.iter().find(|it| !names.insert(&it.name)) {
        Some(twice) => Err(member_twice(&it.name, "literal", &twice.name)),
        None => Ok(()),
    }
}

fn flags(it: &Bitmask) -> Result<(), XtypesError> {
    let (mut names, mut positions) = (BTreeSet::new(), BTreeSet::new());
    for flag in &it.flags {
        if !names.insert(&flag.name) {
            return Err(member_twice(&it.name, "flag", &flag.name));
        }
        if !positions.insert(flag.position) {
            let value = flag.position.into();
            return Err(number_twice(&it.name, "position", &flag.name, value));
        }
    }
    Ok(())
}

fn root_is_data(types: &Types, root: &TypeName) -> Result<(), XtypesError> {
    let found = match types.resolve(&Type::Named(root.clone())) {
        Resolved::Defined(Definition::Struct(_) | Definition::Union(_)) => return Ok(()),
        Resolved::Defined(Definition::Enum(_)) => "an enum",
        Resolved::Defined(Definition::Bitmask(_)) => "a bitmask",
        Resolved::Defined(Definition::Alias(_)) | Resolved::Unknown(_) => "an alias without end",
        Resolved::Plain(_) => "an alias of neither",
    };
    let root = root.as_str().to_owned();
    Err(XtypesError::RootKind { root, found })
}

fn member_twice(user: &TypeName, what: &'static str, name: &str) -> XtypesError {
    XtypesError::MemberTwice {
        user: user.as_str().to_owned(),
        what,
        name: name.to_owned(),
    }
}

fn id_twice(user: &TypeName, member: &Member) -> XtypesError {
    number_twice(user, "member id", &member.name, member.id.into())
}

fn number_twice(user: &TypeName, what: &'static str, member: &str, value: i64) -> XtypesError {
    XtypesError::NumberTwice {
        user: user.as_str().to_owned(),
        what,
        member: member.to_owned(),
        value,
    }
}
