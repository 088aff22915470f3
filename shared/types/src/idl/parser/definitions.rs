//! Everything that can stand in a module, except what is inside a struct or a union.

use std::collections::BTreeSet;

use super::annotations::Annotations;
use super::type_specs::Holds;
use super::{Declared, Parser, State};
use crate::idl::error::{IdlError, Reason};
use crate::idl::expr::{Const, Place};
use crate::idl::lexer::{Kind, clip};
use crate::model::{Alias, Bitmask, Definition, Enum, Flag, Literal, Type, TypeName};

const LITERALS_MAX: usize = 65_536;

impl<'a> Parser<'a> {
    pub(super) fn definition(&mut self) -> Result<(), IdlError> {
        if self.take_symbol(';') {
            return Ok(());
        }
        let annotations = self.annotations()?;
        let Kind::Word(word) = self.current.kind else {
            return Err(self.expected("a definition"));
        };
        let unsupported = match word {
            "module" => return self.module(),
            "struct" => return self.structure(annotations),
            "union" => return self.union(annotations),
            "enum" => return self.enumeration(&annotations),
            "bitmask" => return self.bitmask(&annotations),
            "typedef" => return self.typedef(),
            "const" => return self.constant_definition(),
            "interface" | "abstract" | "local" => "interfaces",
            "valuetype" | "custom" => "valuetypes",
            "exception" => "exceptions",
            "bitset" => "bitsets",
            "native" => "native types",
            "import" | "typeid" | "typeprefix" => "repository directives",
            _ => return Err(self.expected("a definition")),
        };
        Err(self.error_here(Reason::Unsupported { what: unsupported }))
    }

    /// `struct X;`
    pub(super) fn forward(&mut self, line: u32, name: &str) {
        self.bump();
        let full = self.scoped(name);
        self.declared.entry(full).or_insert(Declared {
            line,
            state: State::Forward,
        });
    }

    fn constant_definition(&mut self) -> Result<(), IdlError> {
        self.bump();
        let ty = self.type_spec(Holds::Inline)?;
        let (at, name) = self.name("a constant name")?;
        self.expect_symbol('=', "`=`")?;
        let value_at = self.here();
        let value = self.expression(Place::Open)?;
        let value = self
            .constant_of(&ty, value)
            .map_err(|reason| value_at.error(reason))?;
        self.define_constant(&at, &name, value);
        self.expect_symbol(';', "`;`")
    }

    fn constant_of(&self, ty: &Type, value: Const) -> Result<Const, Reason> {
        let mut ty = ty;
        while let Type::Named(name) = ty {
            match self.defined(name) {
                Some(Definition::Alias(alias)) => ty = &alias.ty,
                _ => return Ok(value),
            }
        }
        match (ty, &value) {
            (Type::Primitive(primitive), _) => value.into_primitive(*primitive),
            (Type::String { .. } | Type::WString { .. }, Const::Text(_)) => Ok(value),
            _ => Err(Reason::BadConstant {
                ty: ty.kind(),
                value: value.describe(),
            }),
        }
    }

    fn typedef(&mut self) -> Result<(), IdlError> {
        self.bump();
        if self.at_definition_word() {
            let what = "definitions inside a typedef";
            return Err(self.error_here(Reason::Unsupported { what }));
        }
        self.annotations()?;
        let ty = self.type_spec(Holds::Inline)?;
        loop {
            let (at, name) = self.name("a name")?;
            let ty = self.dimensions(ty.clone())?;
            let name = self.open(&at, &name)?;
            self.define(Definition::Alias(Alias { name, ty }));
            if !self.take_symbol(',') {
                return self.expect_symbol(';', "`;`");
            }
        }
    }

    fn enumeration(&mut self, annotations: &Annotations<'a>) -> Result<(), IdlError> {
        self.bump();
        let (at, name) = self.name("an enum name")?;
        let full = self.open(&at, &name)?;
        let bit_bound = annotations.bit_bound.unwrap_or(32);
        let limit = |what| {
            at.error(Reason::TooMany {
                what,
                limit: LITERALS_MAX,
            })
        };
        let body = |parser: &mut Self| {
            if bit_bound > 32 {
                let (what, value) = ("@bit_bound of an enum", i128::from(bit_bound));
                return Err(at.error(Reason::OutOfRange {
                    what,
                    value,
                    min: 1,
                    max: 32,
                }));
            }
            parser.expect_symbol('{', "`{`")?;
            let (mut literals, mut default): (Vec<Literal>, _) = (Vec::new(), None);
            while parser.current.kind != Kind::Symbol('}') {
                let annotations = parser.annotations()?;
                let (at, name) = parser.name("a literal or `}`")?;
                let next = literals.last().map_or(0, |last| i64::from(last.value) + 1);
                let mut value = annotations.value.map_or(next, i64::from);
                if parser.take_symbol('=') {
                    let (min, max) = (i32::MIN.into(), i32::MAX.into());
                    let given = parser.integer("an enum literal", Place::Open, min, max)?;
                    value = i64::try_from(given).unwrap_or_default();
                }
                let (min, max) = (i32::MIN.into(), i32::MAX.into());
                let out_of_range = Reason::OutOfRange {
                    what: "an enum literal",
                    value: value.into(),
                    min,
                    max,
                };
                let value = i32::try_from(value).map_err(|_| at.error(out_of_range))?;
                if annotations.default_literal {
                    default = Some(literals.len());
                }
                literals.push(Literal { name, value });
                if literals.len() > LITERALS_MAX {
                    return Err(limit("literals"));
                }
                if !parser.take_symbol(',') {
                    break;
                }
            }
            parser.expect_closing(&format!("enum {name}"))?;
            Ok((literals, default))
        };
        let (literals, default) = self.or_broken(&full, body)?;
        for literal in &literals {
            let value = Const::Int(literal.value.into());
            for full in [
                format!("{full}::{}", literal.name),
                self.scoped(&literal.name),
            ] {
                self.constants.entry(full).or_insert_with(|| value.clone());
            }
        }
        self.define(Definition::Enum(Enum {
            name: full,
            bit_bound,
            literals,
            default,
        }));
        self.close_definition();
        Ok(())
    }

    fn bitmask(&mut self, annotations: &Annotations<'a>) -> Result<(), IdlError> {
        self.bump();
        let (at, name) = self.name("a bitmask name")?;
        let full = self.open(&at, &name)?;
        let bit_bound = annotations.bit_bound.unwrap_or(32);
        let body = |parser: &mut Self| {
            parser.expect_symbol('{', "`{`")?;
            let (mut flags, mut next) = (Vec::new(), 0_u8);
            let mut taken = BTreeSet::new();
            while parser.current.kind != Kind::Symbol('}') {
                let annotations = parser.annotations()?;
                let (at, name) = parser.name("a flag or `}`")?;
                let position = annotations.position.unwrap_or(next);
                if position >= bit_bound {
                    let (value, max) = (position.into(), i128::from(bit_bound) - 1);
                    let what = "the position of a flag";
                    return Err(at.error(Reason::OutOfRange {
                        what,
                        value,
                        min: 0,
                        max,
                    }));
                }
                if !taken.insert(position) {
                    let name = clip(&name).to_owned();
                    return Err(at.error(Reason::DuplicateId {
                        name,
                        id: position.into(),
                    }));
                }
                next = position + 1;
                flags.push(Flag { name, position });
                if !parser.take_symbol(',') {
                    break;
                }
            }
            parser.expect_closing(&format!("bitmask {name}"))?;
            Ok(flags)
        };
        let flags = self.or_broken(&full, body)?;
        self.define(Definition::Bitmask(Bitmask {
            name: full,
            bit_bound,
            flags,
        }));
        self.close_definition();
        Ok(())
    }

    /// A name whose body fails is known as broken, so that its users are not told that it is
    /// unknown.
    pub(super) fn or_broken<T>(
        &mut self,
        name: &TypeName,
        body: impl FnOnce(&mut Self) -> Result<T, IdlError>,
    ) -> Result<T, IdlError> {
        let result = body(self);
        if result.is_err() {
            self.set_state(name, State::Broken);
        }
        result
    }

    /// At the `}` of the current definition, without taking it.
    pub(super) fn expect_closing(&mut self, what: &str) -> Result<(), IdlError> {
        match self.current.kind {
            Kind::Symbol('}') => Ok(()),
            Kind::End => Err(self.error_here(Reason::NotClosed(what.to_owned()))),
            _ => Err(self.expected("`,` or `}`")),
        }
    }
}
