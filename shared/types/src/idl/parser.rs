//! Recursive descent over the tokens: modules, names, and how to go on after an error.

mod annotations;
mod definitions;
mod members;
mod type_specs;

use std::collections::BTreeMap;

use super::error::{IdlError, Reason};
use super::expr::Const;
use super::lexer::{Kind, Lexer, Token, clip};
use super::suggest::{DidYouMean, did_you_mean};
use super::{Constant, ERRORS_MAX, Included, Parsed, metadata};
use crate::model::{Definition, Metadata, Primitive, Struct, TypeName};

const MODULE_DEPTH_MAX: usize = 32;
const DEFINITIONS_MAX: usize = 65_536;
const CONSTANTS_MAX: usize = 1 << 20;
const KEYLISTS_MAX: usize = 65_536;
const KEYS_MAX: usize = 256;

/// Words that begin a definition and cannot begin a member: a struct whose brace is missing ends
/// before them.
const DEFINITION_WORDS: [&str; 7] = [
    "struct", "module", "union", "enum", "typedef", "const", "bitmask",
];

#[derive(Debug)]
pub(super) struct Parser<'a> {
    lexer: Lexer<'a>,
    current: Token<'a>,
    /// Modules around the current place, joined by `::`.
    scope: String,
    depth: usize,
    /// `{` taken and not yet closed.
    braces: usize,
    /// Inside a struct, union, enum or bitmask, where no definition can begin.
    in_data_body: bool,
    declared: BTreeMap<String, Declared>,
    constants: BTreeMap<String, Const>,
    keylists: Vec<Keylist<'a>>,
    parsed: Parsed,
    /// So many of the definitions are of other files; one of the file's own takes the place of such.
    included: usize,
}

#[derive(Clone, Copy, Debug)]
struct Declared {
    line: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between its `{` and its `}`.
    Open,
    /// Only announced: `struct X;`.
    Forward,
    /// Index into the definitions.
    Defined(usize),
    /// It had errors, which were reported.
    Broken,
}

#[derive(Debug)]
struct Keylist<'a> {
    scope: String,
    text: &'a str,
    line: u32,
    column: u32,
}

impl<'a> Parser<'a> {
    pub(super) fn new(source: &'a str, included: &Included) -> Self {
        let mut lexer = Lexer::new(source);
        let current = lexer.next_token();
        let versions = metadata::versions(source);
        Self {
            lexer,
            current,
            scope: String::new(),
            depth: 0,
            braces: 0,
            in_data_body: false,
            declared: included
                .definitions
                .iter()
                .enumerate()
                .map(|(index, it)| {
                    let state = State::Defined(index);
                    (it.name().as_str().to_owned(), Declared { line: 0, state })
                })
                .collect(),
            constants: included
                .constants
                .iter()
                .map(|it| (it.name.as_str().to_owned(), it.value.clone()))
                .collect(),
            keylists: Vec::new(),
            parsed: Parsed {
                versions,
                definitions: included.definitions.clone(),
                ..Parsed::default()
            },
            included: included.definitions.len(),
        }
    }

    pub(super) fn parse(mut self) -> Parsed {
        self.collect_keylists();
        loop {
            self.definitions();
            if self.current.kind == Kind::End {
                break;
            }
            let stray = self.expected("a definition");
            self.report(stray);
            self.bump();
            if self.current.kind == Kind::Symbol(';') {
                self.bump();
            }
        }
        if let Some((line, column)) = self.lexer.open_comment {
            self.report(IdlError {
                line,
                column,
                reason: Reason::CommentNotClosed,
            });
        }
        self.apply_keylists();
        self.parsed.definitions = self.parsed.definitions.split_off(self.included);
        self.drop_unfinished();
        self.parsed
    }

    // Modules.

    /// Definitions up to a `}` that closes what is around them, or the end of the file.
    fn definitions(&mut self) {
        while !matches!(self.current.kind, Kind::Symbol('}') | Kind::End) {
            let level = self.braces;
            self.in_data_body = false;
            if let Err(error) = self.definition() {
                self.report(error);
                self.skip_definition(level);
            }
        }
    }

    fn module(&mut self) -> Result<(), IdlError> {
        self.bump();
        let (at, name) = self.name("a module name")?;
        self.expect_symbol('{', "`{`")?;
        if self.depth == MODULE_DEPTH_MAX {
            return Err(at.error(Reason::TooDeep {
                what: "module",
                limit: MODULE_DEPTH_MAX,
            }));
        }
        let outer = self.scope.len();
        self.scope = self.scoped(&name);
        self.depth += 1;
        self.definitions();
        if self.current.kind == Kind::End {
            self.report(at.error(Reason::NotClosed(format!("module {name}"))));
        }
        self.depth -= 1;
        self.scope.truncate(outer);
        self.close_definition();
        Ok(())
    }

    /// `}` and `;` of something that is whole: a missing `;` is an error that costs nothing.
    fn close_definition(&mut self) {
        if self.current.kind == Kind::Symbol('}') {
            self.bump();
            if let Err(error) = self.expect_symbol(';', "`;` after `}`") {
                self.report(error);
            }
        }
    }

    // Tokens.

    pub(super) fn current(&self) -> &Token<'a> {
        &self.current
    }

    /// Takes the current token. Keylists are set aside: they may stand anywhere.
    pub(super) fn bump(&mut self) -> Token<'a> {
        let next = self.lexer.next_token();
        let taken = std::mem::replace(&mut self.current, next);
        match taken.kind {
            Kind::Symbol('{') => self.braces += 1,
            Kind::Symbol('}') => self.braces = self.braces.saturating_sub(1),
            _ => {}
        }
        self.collect_keylists();
        taken
    }

    fn collect_keylists(&mut self) {
        while let Kind::Keylist(text) = self.current.kind {
            if self.keylists.len() < KEYLISTS_MAX {
                let (line, column) = (self.current.line, self.current.column);
                self.keylists.push(Keylist {
                    scope: self.scope.clone(),
                    text,
                    line,
                    column,
                });
            } else if self.keylists.len() == KEYLISTS_MAX {
                let reason = Reason::TooMany {
                    what: "keylists",
                    limit: KEYLISTS_MAX,
                };
                let error = self.error_here(reason);
                self.report(error);
                return self.skip_rest();
            }
            // A comment between the token before and the keylist belongs to the former.
            let metadata_of_previous = self.current.metadata_of_previous;
            self.current = Token {
                metadata_of_previous,
                ..self.lexer.next_token()
            };
        }
    }

    fn skip_rest(&mut self) {
        while self.current.kind != Kind::End {
            self.current = self.lexer.next_token();
        }
    }

    fn at_word(&self, word: &str) -> bool {
        self.current.kind == Kind::Word(word)
    }

    fn at_definition_word(&self) -> bool {
        matches!(self.current.kind, Kind::Word(word) if DEFINITION_WORDS.contains(&word))
    }

    fn take_symbol(&mut self, symbol: char) -> bool {
        let found = self.current.kind == Kind::Symbol(symbol);
        if found {
            self.bump();
        }
        found
    }

    pub(super) fn expect_symbol(
        &mut self,
        symbol: char,
        expected: &'static str,
    ) -> Result<(), IdlError> {
        if self.take_symbol(symbol) {
            Ok(())
        } else {
            Err(self.expected(expected))
        }
    }

    fn name(&mut self, expected: &'static str) -> Result<(Token<'a>, String), IdlError> {
        let Kind::Word(word) = self.current.kind else {
            return Err(self.expected(expected));
        };
        Ok((self.bump(), word.to_owned()))
    }

    /// `A::B`, or `::A::B`, as written.
    pub(super) fn scoped_name(
        &mut self,
        expected: &'static str,
    ) -> Result<(Token<'a>, String), IdlError> {
        let at = self.here();
        let mut name = String::new();
        if self.current.kind == Kind::Scope {
            self.bump();
            name.push_str("::");
        }
        loop {
            name.push_str(&self.name(expected)?.1);
            if self.current.kind != Kind::Scope {
                return Ok((at, name));
            }
            self.bump();
            name.push_str("::");
        }
    }

    /// What was said in the comment between the token before this one and the end of its line.
    fn metadata_of_previous(&mut self) -> Metadata {
        let Some(text) = self.current.metadata_of_previous else {
            return Metadata::default();
        };
        metadata::metadata(text).unwrap_or_else(|| {
            let warning = self.error_here(Reason::BadMetadata);
            self.warn(warning);
            Metadata::default()
        })
    }

    // Findings.

    pub(super) fn error_here(&self, reason: Reason) -> IdlError {
        self.current.error(reason)
    }

    pub(super) fn expected(&self, expected: &'static str) -> IdlError {
        self.error_here(Reason::Expected {
            expected,
            found: self.current.describe(),
        })
    }

    fn report(&mut self, error: IdlError) {
        push_limited(&mut self.parsed.errors, error);
    }

    fn warn(&mut self, warning: IdlError) {
        push_limited(&mut self.parsed.warnings, warning);
    }

    /// After an error in a definition that began with `level` braces open: goes on after its `;`,
    /// before the next definition where its end is missing, or at the `}` of what is around it.
    fn skip_definition(&mut self, level: usize) {
        loop {
            match self.current.kind {
                Kind::End => return,
                Kind::Symbol('}') if self.braces == level => return,
                Kind::Symbol(';') if self.braces == level => {
                    self.bump();
                    return;
                }
                _ => {}
            }
            if self.at_definition_word() && (self.braces == level || self.in_data_body) {
                self.braces = level;
                return;
            }
            self.bump();
        }
    }

    // Names.

    fn scoped(&self, name: &str) -> String {
        if self.scope.is_empty() {
            name.to_owned()
        } else {
            format!("{}::{name}", self.scope)
        }
    }

    /// The full names that `name` may stand for here, the nearest scope first.
    fn candidates<'n>(&self, name: &'n str, scope: &'n str) -> impl Iterator<Item = String> + 'n {
        let absolute = name.strip_prefix("::");
        let first = if absolute.is_some() { "" } else { scope };
        let mut next = Some(first);
        std::iter::from_fn(move || {
            let scope = next?;
            next = match scope.rsplit_once("::") {
                Some((outer, _)) => Some(outer),
                None if scope.is_empty() => None,
                None => Some(""),
            };
            let name = absolute.unwrap_or(name);
            Some(if scope.is_empty() {
                name.to_owned()
            } else {
                format!("{scope}::{name}")
            })
        })
    }

    fn find_declared(&self, name: &str) -> Option<(String, Declared)> {
        self.candidates(name, &self.scope).find_map(|full| {
            let declared = *self.declared.get(&full)?;
            Some((full, declared))
        })
    }

    pub(super) fn constant(&self, name: &str) -> Option<Const> {
        self.candidates(name, &self.scope)
            .find_map(|full| self.constants.get(&full).cloned())
    }

    pub(super) fn suggest_constant(&self, name: &str) -> DidYouMean {
        did_you_mean(name, self.constants.keys().map(|full| local(full)))
    }

    fn suggest_type(&self, name: &str) -> DidYouMean {
        if name == "byte" {
            return DidYouMean(Some("octet".to_owned()));
        }
        let modern = ["int16", "uint16", "int32", "uint32", "int64", "uint64"];
        let known = Primitive::ALL
            .iter()
            .map(|primitive| primitive.idl())
            .chain(modern);
        let known = known.chain(["string", "wstring", "sequence", "map"]);
        did_you_mean(
            name,
            known.chain(self.declared.keys().map(|full| local(full))),
        )
    }

    /// Registers a name that must be new (or only announced so far).
    fn open(&mut self, at: &Token<'a>, name: &str) -> Result<TypeName, IdlError> {
        let full = self.scoped(name);
        if let Some(before) = self.declared.get(&full)
            && !matches!(before.state, State::Forward)
            && !self.is_included(before.state)
        {
            return Err(at.error(Reason::Duplicate {
                name: full,
                line: before.line,
            }));
        }
        if self.declared.len() == DEFINITIONS_MAX {
            let limit = DEFINITIONS_MAX;
            return Err(at.error(Reason::TooMany {
                what: "definitions",
                limit,
            }));
        }
        self.in_data_body = true;
        let name = TypeName::new(&full);
        self.declared.insert(
            full,
            Declared {
                line: at.line,
                state: State::Open,
            },
        );
        Ok(name)
    }

    fn is_included(&self, state: State) -> bool {
        matches!(state, State::Defined(index) if index < self.included)
    }

    fn set_state(&mut self, name: &TypeName, state: State) {
        if let Some(declared) = self.declared.get_mut(name.as_str()) {
            declared.state = state;
        }
    }

    fn define(&mut self, definition: Definition) {
        self.set_state(
            definition.name(),
            State::Defined(self.parsed.definitions.len()),
        );
        self.parsed.definitions.push(definition);
    }

    fn define_constant(&mut self, at: &Token<'a>, name: &str, value: Const) {
        let full = self.scoped(name);
        match self.constants.get(&full) {
            Some(before) if *before == value => {}
            Some(_) => self.warn(at.error(Reason::ConstantChanged(clip(&full).to_owned()))),
            None if self.constants.len() == CONSTANTS_MAX => {
                let limit = CONSTANTS_MAX;
                self.report(at.error(Reason::TooMany {
                    what: "constants",
                    limit,
                }));
            }
            None => {
                self.constants.insert(full.clone(), value.clone());
                self.parsed.constants.push(Constant {
                    name: TypeName::new(&full),
                    value,
                });
            }
        }
    }

    // What can be settled only at the end.

    fn apply_keylists(&mut self) {
        for keylist in std::mem::take(&mut self.keylists) {
            let Keylist {
                scope,
                text,
                line,
                column,
            } = keylist;
            if let Err(reason) = self.apply_keylist(&scope, text) {
                self.warn(IdlError {
                    line,
                    column,
                    reason,
                });
            }
        }
    }

    fn apply_keylist(&mut self, scope: &str, text: &str) -> Result<(), Reason> {
        let text = text.split("//").next().unwrap_or_default();
        let mut words = text.split(|c: char| c.is_whitespace() || c == ',' || c == '\\');
        let mut words = words.by_ref().filter(|word| !word.is_empty());
        let name = words.next().unwrap_or_default();
        let declared = self
            .candidates(name, scope)
            .find_map(|full| self.declared.get(&full).copied());
        let index = match declared.map(|declared| declared.state) {
            Some(State::Defined(index)) => index,
            // Reported already.
            Some(State::Broken) => return Ok(()),
            Some(State::Open | State::Forward) | None => {
                return Err(Reason::KeylistUnknownStruct(clip(name).to_owned()));
            }
        };
        let Some(Definition::Struct(structure)) = self.parsed.definitions.get_mut(index) else {
            return Err(Reason::KeylistUnknownStruct(clip(name).to_owned()));
        };
        let paths: Vec<Vec<String>> = words
            .take(KEYS_MAX + 1)
            .map(|path| path.split('.').map(str::to_owned).collect())
            .collect();
        if paths.len() > KEYS_MAX {
            return Err(Reason::TooMany {
                what: "key members of one struct",
                limit: KEYS_MAX,
            });
        }
        apply_paths(structure, paths)
    }

    /// A forward declaration may come to nothing; what uses it cannot be used.
    fn drop_unfinished(&mut self) {
        let mut users: BTreeMap<&str, Vec<&TypeName>> = BTreeMap::new();
        for definition in &self.parsed.definitions {
            let mut used = Vec::new();
            used_names(definition, &mut used);
            for name in used {
                users
                    .entry(name.as_str())
                    .or_default()
                    .push(definition.name());
            }
        }
        let finished = |name: &str| {
            matches!(
                self.declared.get(name),
                Some(Declared {
                    state: State::Defined(_),
                    ..
                })
            )
        };
        let mut missing: Vec<&str> = users
            .keys()
            .copied()
            .filter(|name| !finished(name))
            .collect();
        let mut dropped: BTreeMap<TypeName, String> = BTreeMap::new();
        while let Some(name) = missing.pop() {
            for &user in users.get(name).into_iter().flatten() {
                if dropped.insert(user.clone(), name.to_owned()).is_none() {
                    missing.push(user.as_str());
                }
            }
        }
        for (user, name) in &dropped {
            let line = self
                .declared
                .get(user.as_str())
                .map_or(1, |declared| declared.line);
            let reason = Reason::UsesBroken(name.clone());
            push_limited(
                &mut self.parsed.errors,
                IdlError {
                    line,
                    column: 1,
                    reason,
                },
            );
        }
        self.parsed
            .definitions
            .retain(|definition| !dropped.contains_key(definition.name()));
    }
}

fn apply_paths(structure: &mut Struct, paths: Vec<Vec<String>>) -> Result<(), Reason> {
    let name = || structure.name.as_str().to_owned();
    if !structure.keys.is_empty() {
        let same = paths == structure.keys;
        return if same {
            Ok(())
        } else {
            Err(Reason::KeylistAndKey(name()))
        };
    }
    let position = |path: &Vec<String>| {
        let first = path.first()?;
        structure
            .members
            .iter()
            .position(|member| member.name == *first)
    };
    if let Some(unknown) = paths.iter().find(|path| position(path).is_none()) {
        let path = unknown.join(".");
        let members = structure.members.iter().map(|member| member.name.as_str());
        let suggestion = did_you_mean(&path, members);
        let path = clip(&path).to_owned();
        return Err(Reason::KeylistUnknownMember {
            name: name(),
            path,
            suggestion,
        });
    }
    let mut paths = paths;
    paths.sort_by_key(|path| position(path));
    paths.dedup();
    structure.keys = paths;
    Ok(())
}

pub(super) fn used_names<'d>(definition: &'d Definition, used: &mut Vec<&'d TypeName>) {
    match definition {
        Definition::Struct(it) => {
            used.extend(it.base.as_ref());
            it.members
                .iter()
                .for_each(|member| type_specs::names(&member.ty, used));
        }
        Definition::Union(it) => {
            type_specs::names(&it.discriminator, used);
            it.cases
                .iter()
                .for_each(|case| type_specs::names(&case.member.ty, used));
        }
        Definition::Alias(it) => type_specs::names(&it.ty, used),
        Definition::Enum(_) | Definition::Bitmask(_) => {}
    }
}

fn push_limited(findings: &mut Vec<IdlError>, finding: IdlError) {
    if findings.len() < ERRORS_MAX {
        findings.push(finding);
    } else if findings.len() == ERRORS_MAX {
        let reason = Reason::TooManyErrors { limit: ERRORS_MAX };
        findings.push(IdlError { reason, ..finding });
    }
}

fn local(full: &str) -> &str {
    full.rsplit_once("::").map_or(full, |(_, local)| local)
}
