//! Types as they are written before a name.

use super::{Parser, State};
use crate::idl::error::{IdlError, Reason};
use crate::idl::expr::Place;
use crate::idl::lexer::{Kind, clip};
use crate::model::{Definition, Primitive, Type, TypeName};

/// Sequences of sequences of …
const TYPE_DEPTH_MAX: usize = 32;

/// Elements of an array, all dimensions multiplied. The largest of SAL has 3,024.
const ARRAY_ELEMENTS_MAX: usize = 1 << 24;

/// Whether the type may be one that is not complete yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// The value is inside: it must be known how large it is.
    Inline,
    /// There may be none of it: a sequence, a map, an optional.
    Indirect,
}

impl Parser<'_> {
    pub(super) fn type_spec(&mut self, holds: Holds) -> Result<Type, IdlError> {
        self.type_spec_at(holds, 0)
    }

    fn type_spec_at(&mut self, holds: Holds, depth: usize) -> Result<Type, IdlError> {
        if depth == TYPE_DEPTH_MAX {
            let limit = TYPE_DEPTH_MAX;
            return Err(self.error_here(Reason::TooDeep {
                what: "type",
                limit,
            }));
        }
        let word = match self.current.kind {
            Kind::Word(word) => word,
            Kind::Scope => return self.named(holds),
            _ => return Err(self.expected("a type")),
        };
        let primitive = match word {
            "boolean" => Primitive::Boolean,
            "octet" => Primitive::Octet,
            "int8" => Primitive::I8,
            "uint8" => Primitive::U8,
            "short" | "int16" => Primitive::I16,
            "uint16" => Primitive::U16,
            "int32" => Primitive::I32,
            "uint32" => Primitive::U32,
            "int64" => Primitive::I64,
            "uint64" => Primitive::U64,
            "float" => Primitive::F32,
            "double" => Primitive::F64,
            "char" => Primitive::Char8,
            "wchar" => Primitive::Char16,
            "long" => return Ok(self.long()),
            "int" => return Ok(self.int(Primitive::I32)),
            "unsigned" => return self.unsigned(),
            "string" => {
                return Ok(Type::String {
                    bound: self.text_bound()?,
                });
            }
            "wstring" => {
                return Ok(Type::WString {
                    bound: self.text_bound()?,
                });
            }
            "sequence" => return self.sequence(depth),
            "map" => return self.map(depth),
            "fixed" => {
                return Err(self.error_here(Reason::Unsupported {
                    what: "fixed-point numbers",
                }));
            }
            "any" => {
                return Err(self.error_here(Reason::Unsupported {
                    what: "members of type any",
                }));
            }
            _ => return self.named(holds),
        };
        self.bump();
        Ok(Type::Primitive(primitive))
    }

    fn long(&mut self) -> Type {
        self.bump();
        let primitive = match self.current.kind {
            Kind::Word("long") => Primitive::I64,
            Kind::Word("double") => Primitive::F128,
            _ => return Type::Primitive(Primitive::I32),
        };
        self.bump();
        Type::Primitive(primitive)
    }

    /// The observatory's own reader takes `int`, so it may occur.
    fn int(&mut self, primitive: Primitive) -> Type {
        let warning = self.error_here(Reason::IntIsLong);
        self.warn(warning);
        self.bump();
        Type::Primitive(primitive)
    }

    fn unsigned(&mut self) -> Result<Type, IdlError> {
        self.bump();
        let primitive = match self.current.kind {
            Kind::Word("short") => Primitive::U16,
            Kind::Word("int") => return Ok(self.int(Primitive::U32)),
            Kind::Word("long") => {
                self.bump();
                if !self.at_word("long") {
                    return Ok(Type::Primitive(Primitive::U32));
                }
                Primitive::U64
            }
            _ => return Err(self.expected("`short` or `long` after `unsigned`")),
        };
        self.bump();
        Ok(Type::Primitive(primitive))
    }

    fn text_bound(&mut self) -> Result<Option<u32>, IdlError> {
        self.bump();
        if !self.take_symbol('<') {
            return Ok(None);
        }
        let bound = self.size("a string bound", Place::InAngles)?;
        self.expect_symbol('>', "`>`")?;
        Ok(Some(bound))
    }

    fn sequence(&mut self, depth: usize) -> Result<Type, IdlError> {
        self.bump();
        self.expect_symbol('<', "`<` after `sequence`")?;
        let element = Box::new(self.type_spec_at(Holds::Indirect, depth + 1)?);
        let bound = self.bound_and_close()?;
        Ok(Type::Sequence { element, bound })
    }

    fn map(&mut self, depth: usize) -> Result<Type, IdlError> {
        self.bump();
        self.expect_symbol('<', "`<` after `map`")?;
        let key = Box::new(self.type_spec_at(Holds::Indirect, depth + 1)?);
        self.expect_symbol(',', "`,`")?;
        let value = Box::new(self.type_spec_at(Holds::Indirect, depth + 1)?);
        let bound = self.bound_and_close()?;
        Ok(Type::Map { key, value, bound })
    }

    fn bound_and_close(&mut self) -> Result<Option<u32>, IdlError> {
        let bound = match self.take_symbol(',') {
            true => Some(self.size("a bound", Place::InAngles)?),
            false => None,
        };
        self.expect_symbol('>', "`>`")?;
        Ok(bound)
    }

    fn named(&mut self, holds: Holds) -> Result<Type, IdlError> {
        let (at, name) = self.scoped_name("a type")?;
        let Some((full, declared)) = self.find_declared(&name) else {
            let suggestion = self.suggest_type(&name);
            let name = clip(&name).to_owned();
            return Err(at.error(Reason::UnknownType { name, suggestion }));
        };
        match declared.state {
            State::Defined(_) => Ok(Type::Named(TypeName::new(&full))),
            State::Open | State::Forward if holds == Holds::Indirect => {
                Ok(Type::Named(TypeName::new(&full)))
            }
            State::Open | State::Forward => Err(at.error(Reason::Incomplete(full))),
            State::Broken => Err(at.error(Reason::UsesBroken(full))),
        }
    }

    /// A struct that is complete, for `: Base`.
    pub(super) fn base(&mut self) -> Result<TypeName, IdlError> {
        let at = self.here();
        let Type::Named(name) = self.named(Holds::Inline)? else {
            return Err(at.error(Reason::Expected {
                expected: "a struct",
                found: at.describe(),
            }));
        };
        match self.defined(&name) {
            Some(Definition::Struct(_)) | None => Ok(name),
            Some(other) => Err(at.error(Reason::WrongKind {
                name: name.as_str().to_owned(),
                found: other.kind(),
                expected: "struct",
            })),
        }
    }

    pub(super) fn defined(&self, name: &TypeName) -> Option<&Definition> {
        match self.declared.get(name.as_str())?.state {
            State::Defined(index) => self.parsed.definitions.get(index),
            State::Open | State::Forward | State::Broken => None,
        }
    }

    /// `[3][4]` after a name.
    pub(super) fn dimensions(&mut self, element: Type) -> Result<Type, IdlError> {
        let (mut dimensions, mut elements) = (Vec::new(), 1_usize);
        while self.current.kind == Kind::Symbol('[') {
            let at = self.bump();
            let size = self.size("an array dimension", Place::Open)?;
            elements = elements.saturating_mul(size as usize);
            if elements > ARRAY_ELEMENTS_MAX {
                let limit = ARRAY_ELEMENTS_MAX;
                return Err(at.error(Reason::TooMany {
                    what: "elements in one array",
                    limit,
                }));
            }
            self.expect_symbol(']', "`]`")?;
            dimensions.push(size);
            if dimensions.len() > TYPE_DEPTH_MAX {
                let limit = TYPE_DEPTH_MAX;
                return Err(at.error(Reason::TooMany {
                    what: "dimensions",
                    limit,
                }));
            }
        }
        if dimensions.is_empty() {
            return Ok(element);
        }
        Ok(Type::Array {
            element: Box::new(element),
            dimensions,
        })
    }
}

pub(super) fn names<'t>(ty: &'t Type, used: &mut Vec<&'t TypeName>) {
    match ty {
        Type::Named(name) => used.push(name),
        Type::Array { element, .. } | Type::Sequence { element, .. } => names(element, used),
        Type::Map { key, value, .. } => {
            names(key, used);
            names(value, used);
        }
        Type::Primitive(_) | Type::String { .. } | Type::WString { .. } => {}
    }
}
