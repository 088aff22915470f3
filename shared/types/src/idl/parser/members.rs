//! Structs and unions.

use std::collections::BTreeSet;

use super::annotations::Annotations;
use super::type_specs::{Holds, names};
use super::{Parser, State};
use crate::idl::error::{IdlError, Reason};
use crate::idl::expr::Place;
use crate::idl::lexer::{Kind, Token, clip};
use crate::model::{
    Case, Definition, Extensibility, KeyPath, Member, Metadata, Primitive, Struct, Type, TypeName,
    Union,
};

/// Members of one struct, without its bases. The largest of SAL has 206.
const MEMBERS_MAX: usize = 16_384;
const LABELS_MAX: usize = 16_384;

/// The members of a struct while it is read.
#[derive(Default)]
struct Body {
    members: Vec<Member>,
    keys: Vec<KeyPath>,
    names: BTreeSet<String>,
    ids: BTreeSet<u32>,
    next_id: u32,
    /// Its ids matter, as the headers of members carry them.
    mutable: bool,
    failed: bool,
}

impl Body {
    fn push(
        &mut self,
        at: &Token<'_>,
        mut member: Member,
        annotations: &Annotations<'_>,
    ) -> Result<(), IdlError> {
        member.id = annotations.id.unwrap_or(self.next_id);
        if let Some(token) = annotations.hashed.as_ref().filter(|_| self.mutable) {
            return Err(token.error(Reason::Unsupported {
                what: "hashed member ids",
            }));
        }
        if !self.names.insert(member.name.clone()) {
            return Err(at.error(Reason::DuplicateMember(clip(&member.name).to_owned())));
        }
        if !self.ids.insert(member.id) {
            let name = clip(&member.name).to_owned();
            return Err(at.error(Reason::DuplicateId {
                name,
                id: member.id,
            }));
        }
        if self.members.len() == MEMBERS_MAX {
            let limit = MEMBERS_MAX;
            return Err(at.error(Reason::TooMany {
                what: "members in one struct",
                limit,
            }));
        }
        if annotations.key {
            self.keys.push(vec![member.name.clone()]);
        }
        self.next_id = member.id + 1;
        self.members.push(member);
        Ok(())
    }

    fn inherit(&mut self, base: &Struct) {
        self.names
            .extend(base.members.iter().map(|member| member.name.clone()));
        self.ids.extend(base.members.iter().map(|member| member.id));
        let last = base.members.last().map_or(0, |member| member.id + 1);
        self.next_id = self.next_id.max(last);
    }
}

impl<'a> Parser<'a> {
    pub(super) fn structure(&mut self, annotations: Annotations<'a>) -> Result<(), IdlError> {
        self.bump();
        let (at, name) = self.name("a struct name")?;
        if self.current.kind == Kind::Symbol(';') {
            self.forward(at.line, &name);
            return Ok(());
        }
        let full = self.open(&at, &name)?;
        let level = self.braces;
        let result = self.or_broken(&full, |parser| parser.struct_body(&annotations));
        let (base, mut metadata, body) = result?;
        if metadata.units.is_none() {
            metadata.units.clone_from(&annotations.units);
        }
        if self.current.kind != Kind::Symbol('}') {
            self.set_state(&full, State::Broken);
            self.report(self.error_here(Reason::NotClosed(format!("struct {name}"))));
            self.braces = level;
            return Ok(());
        }
        if body.failed {
            self.set_state(&full, State::Broken);
        } else {
            self.define(Definition::Struct(Struct {
                name: full,
                base,
                extensibility: annotations.extensibility.unwrap_or_default(),
                members: body.members,
                keys: body.keys,
                metadata,
            }));
        }
        self.close_definition();
        Ok(())
    }

    /// Base, header comment and members, up to `}` or to what cannot be inside a struct.
    fn struct_body(
        &mut self,
        annotations: &Annotations<'a>,
    ) -> Result<(Option<TypeName>, Metadata, Body), IdlError> {
        let mutable = annotations.extensibility == Some(Extensibility::Mutable);
        let mut body = Body {
            mutable,
            ..Body::default()
        };
        let mut header = self.metadata_of_previous();
        let base = if self.take_symbol(':') {
            Some(self.base()?)
        } else {
            None
        };
        let mut ancestor = base.clone();
        while let Some(name) = ancestor.take() {
            let Some(Definition::Struct(structure)) = self.defined(&name) else {
                break;
            };
            ancestor = structure.base.clone();
            let structure = structure.clone();
            body.inherit(&structure);
        }
        self.expect_symbol('{', "`{`")?;
        if header == Metadata::default() {
            header = self.metadata_of_previous();
        }
        while !matches!(self.current.kind, Kind::Symbol('}') | Kind::End)
            && !self.at_definition_word()
        {
            if let Err(error) = self.member(&mut body) {
                self.report(error);
                body.failed = true;
                self.skip_member();
            }
        }
        Ok((base, header, body))
    }

    /// `long a, b[3]; // @Metadata=(…)`
    fn member(&mut self, body: &mut Body) -> Result<(), IdlError> {
        let annotations = self.annotations()?;
        let holds = if annotations.optional {
            Holds::Indirect
        } else {
            Holds::Inline
        };
        let ty = self.type_spec(holds)?;
        let first = body.members.len();
        loop {
            let (at, name) = self.name("a member name")?;
            let ty = self.dimensions(ty.clone())?;
            let metadata = Metadata {
                units: annotations.units.clone(),
                description: None,
            };
            let optional = annotations.optional;
            body.push(
                &at,
                Member {
                    id: 0,
                    name,
                    ty,
                    optional,
                    metadata,
                },
                &annotations,
            )?;
            if !self.take_symbol(',') {
                break;
            }
        }
        self.expect_symbol(';', "`;`")?;
        let said = self.metadata_of_previous();
        for member in &mut body.members[first..] {
            add_metadata(&mut member.metadata, &said);
        }
        Ok(())
    }

    /// After an error in a member: goes on after its `;`, or at the end of the body.
    fn skip_member(&mut self) {
        while !matches!(self.current.kind, Kind::Symbol('}') | Kind::End)
            && !self.at_definition_word()
        {
            if self.bump().kind == Kind::Symbol(';') {
                return;
            }
        }
    }

    pub(super) fn union(&mut self, annotations: Annotations<'a>) -> Result<(), IdlError> {
        self.bump();
        let (at, name) = self.name("a union name")?;
        if self.current.kind == Kind::Symbol(';') {
            self.forward(at.line, &name);
            return Ok(());
        }
        let full = self.open(&at, &name)?;
        let (discriminator, metadata, cases) =
            self.or_broken(&full, |parser| parser.union_body(&name))?;
        self.define(Definition::Union(Union {
            name: full,
            extensibility: annotations.extensibility.unwrap_or_default(),
            discriminator,
            cases,
            metadata,
        }));
        self.close_definition();
        Ok(())
    }

    fn union_body(&mut self, name: &str) -> Result<(Type, Metadata, Vec<Case>), IdlError> {
        if !self.at_word("switch") {
            return Err(self.expected("`switch`"));
        }
        self.bump();
        self.expect_symbol('(', "`(`")?;
        self.annotations()?;
        let discriminator = self.discriminator()?;
        self.expect_symbol(')', "`)`")?;
        self.expect_symbol('{', "`{`")?;
        let metadata = self.metadata_of_previous();
        let mut cases: Vec<Case> = Vec::new();
        let (mut labels, mut member_names) = (BTreeSet::new(), BTreeSet::new());
        while self.at_word("case") || self.at_word("default") {
            let at = self.here();
            let case = self.case(cases.len(), &discriminator)?;
            if !member_names.insert(case.member.name.clone()) {
                let name = clip(&case.member.name).to_owned();
                return Err(at.error(Reason::DuplicateMember(name)));
            }
            if let Some(twice) = case.labels.iter().find(|&&label| !labels.insert(label)) {
                let (name, line) = (format!("case {twice}"), at.line);
                return Err(at.error(Reason::Duplicate { name, line }));
            }
            if cases.len() == MEMBERS_MAX {
                let limit = MEMBERS_MAX;
                return Err(at.error(Reason::TooMany {
                    what: "members in one union",
                    limit,
                }));
            }
            cases.push(case);
        }
        self.expect_closing(&format!("union {name}"))?;
        Ok((discriminator, metadata, cases))
    }

    fn discriminator(&mut self) -> Result<Type, IdlError> {
        let at = self.here();
        let ty = self.type_spec(Holds::Inline)?;
        let mut used = Vec::new();
        names(&ty, &mut used);
        let mut resolved = &ty;
        while let Type::Named(name) = resolved {
            match self.defined(name) {
                Some(Definition::Alias(alias)) => resolved = &alias.ty,
                Some(Definition::Enum(_)) => return Ok(ty),
                _ => break,
            }
        }
        match resolved {
            Type::Primitive(Primitive::F32 | Primitive::F64 | Primitive::F128) => {}
            Type::Primitive(_) => return Ok(ty),
            _ => {}
        }
        let expected = "an integer, boolean, character or enum to switch on";
        Err(at.error(Reason::Expected {
            expected,
            found: at.describe(),
        }))
    }

    /// `case 1: case 2: long a;`
    fn case(&mut self, index: usize, discriminator: &Type) -> Result<Case, IdlError> {
        let (mut labels, mut is_default) = (Vec::new(), false);
        loop {
            if self.at_word("default") {
                self.bump();
                is_default = true;
            } else if self.at_word("case") {
                self.bump();
                labels.push(self.label(discriminator)?);
            } else {
                break;
            }
            self.expect_symbol(':', "`:`")?;
            if labels.len() > LABELS_MAX {
                let limit = LABELS_MAX;
                return Err(self.error_here(Reason::TooMany {
                    what: "labels of one case",
                    limit,
                }));
            }
        }
        let annotations = self.annotations()?;
        let ty = self.type_spec(Holds::Indirect)?;
        let (_, name) = self.name("a member name")?;
        let ty = self.dimensions(ty)?;
        self.expect_symbol(';', "`;`")?;
        let mut metadata = Metadata {
            units: annotations.units,
            description: None,
        };
        add_metadata(&mut metadata, &self.metadata_of_previous());
        let id = annotations
            .id
            .unwrap_or_else(|| u32::try_from(index + 1).unwrap_or(u32::MAX));
        let member = Member {
            id,
            name,
            ty,
            optional: annotations.optional,
            metadata,
        };
        Ok(Case {
            labels,
            is_default,
            member,
        })
    }

    /// A literal of the discriminator's enum goes by its bare name, wherever the enum is.
    fn label(&mut self, discriminator: &Type) -> Result<i64, IdlError> {
        let at = self.here();
        if let (Type::Named(name), Kind::Word(word)) = (discriminator, &self.current.kind)
            && let Some(Definition::Enum(it)) = self.defined(name)
            && let Some(literal) = it.literals.iter().find(|literal| literal.name == *word)
        {
            let value = literal.value;
            self.bump();
            return Ok(value.into());
        }
        let value = self.expression(Place::Open)?;
        value.as_label().ok_or_else(|| {
            at.error(Reason::BadConstant {
                ty: "a label",
                value: value.describe(),
            })
        })
    }
}

/// What the comment says counts more than what the annotation says.
fn add_metadata(metadata: &mut Metadata, said: &Metadata) {
    let Metadata { units, description } = said;
    if units.is_some() {
        metadata.units.clone_from(units);
    }
    metadata.description.clone_from(description);
}
