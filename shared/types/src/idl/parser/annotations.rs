//! `@key`, `@id(3)` and their kind. What is not known here is skipped: it does not change the data.

use super::Parser;
use crate::idl::error::{IdlError, Reason};
use crate::idl::expr::{Const, Place};
use crate::idl::lexer::{Kind, Token};
use crate::model::Extensibility;

/// What the annotations before a definition, a member or a literal say.
#[derive(Clone, Debug, Default)]
pub(super) struct Annotations<'a> {
    pub extensibility: Option<Extensibility>,
    pub key: bool,
    pub optional: bool,
    pub id: Option<u32>,
    /// `@hashid` or `@autoid(HASH)`: ids from an MD5 of the name.
    pub hashed: Option<Token<'a>>,
    pub bit_bound: Option<u8>,
    pub position: Option<u8>,
    pub value: Option<i32>,
    pub default_literal: bool,
    pub units: Option<String>,
}

impl<'a> Parser<'a> {
    pub(super) fn annotations(&mut self) -> Result<Annotations<'a>, IdlError> {
        let mut annotations = Annotations::default();
        while self.take_symbol('@') {
            // Not a scoped name: in `@optional ::A::B member` the type begins after the word.
            let (at, name) = self.name("an annotation name")?;
            match name.to_ascii_lowercase().as_str() {
                "key" => annotations.key = self.flag()?,
                "optional" => annotations.optional = self.flag()?,
                "default_literal" | "defaultliteral" => annotations.default_literal = true,
                "final" => annotations.extensibility = Some(Extensibility::Final),
                "appendable" => annotations.extensibility = Some(Extensibility::Appendable),
                "mutable" => annotations.extensibility = Some(Extensibility::Mutable),
                "extensibility" => annotations.extensibility = Some(self.extensibility()?),
                "autoid" => {
                    if self.word_argument()? != Some("SEQUENTIAL") {
                        annotations.hashed = Some(at);
                    }
                }
                "hashid" => {
                    self.skip_arguments()?;
                    annotations.hashed = Some(at);
                }
                "id" => annotations.id = Some(self.bounded("@id", 0, 0x0fff_ffff)?),
                "bit_bound" | "bitbound" => {
                    annotations.bit_bound = Some(self.bounded("@bit_bound", 1, 64)?);
                }
                "position" => annotations.position = Some(self.bounded("@position", 0, 63)?),
                "value" => {
                    let (min, max) = (i32::MIN.into(), i32::MAX.into());
                    annotations.value = Some(self.bounded("@value", min, max)?);
                }
                "unit" => annotations.units = self.text()?,
                _ => self.skip_arguments()?,
            }
        }
        Ok(annotations)
    }

    /// `@key`, `@key(TRUE)`, `@key(value=FALSE)`.
    fn flag(&mut self) -> Result<bool, IdlError> {
        if !self.open_argument() {
            return Ok(true);
        }
        let flag = self.expression(Place::Open)? != Const::Bool(false);
        self.expect_symbol(')', "`)`")?;
        Ok(flag)
    }

    fn bounded<T: TryFrom<i128>>(
        &mut self,
        what: &'static str,
        min: i128,
        max: i128,
    ) -> Result<T, IdlError> {
        if !self.open_argument() {
            return Err(self.expected("`(`"));
        }
        let at = self.here();
        let value = self.integer(what, Place::Open, min, max)?;
        self.expect_symbol(')', "`)`")?;
        T::try_from(value).map_err(|_| {
            at.error(Reason::OutOfRange {
                what,
                value,
                min,
                max,
            })
        })
    }

    fn text(&mut self) -> Result<Option<String>, IdlError> {
        if !self.open_argument() {
            return Ok(None);
        }
        let value = self.expression(Place::Open)?;
        self.expect_symbol(')', "`)`")?;
        Ok(match value {
            Const::Text(text) => Some(text),
            Const::Int(_) | Const::Float(_) | Const::Bool(_) | Const::Char(_) => None,
        })
    }

    fn extensibility(&mut self) -> Result<Extensibility, IdlError> {
        match self.word_argument()? {
            Some("FINAL" | "FINAL_EXTENSIBILITY") => Ok(Extensibility::Final),
            Some("APPENDABLE" | "EXTENSIBLE_EXTENSIBILITY") => Ok(Extensibility::Appendable),
            Some("MUTABLE" | "MUTABLE_EXTENSIBILITY") => Ok(Extensibility::Mutable),
            Some(_) | None => Err(self.expected("FINAL, APPENDABLE or MUTABLE")),
        }
    }

    fn word_argument(&mut self) -> Result<Option<&'a str>, IdlError> {
        if !self.open_argument() {
            return Ok(None);
        }
        let Kind::Word(word) = self.current.kind else {
            return Err(self.expected("a word"));
        };
        self.bump();
        self.expect_symbol(')', "`)`")?;
        Ok(Some(word))
    }

    /// `(`, and `name =` where the argument is given by name.
    fn open_argument(&mut self) -> bool {
        if !self.take_symbol('(') {
            return false;
        }
        if self.at_word("value") {
            self.bump();
            self.take_symbol('=');
        }
        true
    }

    fn skip_arguments(&mut self) -> Result<(), IdlError> {
        let mut depth = 0_usize;
        loop {
            match self.current.kind {
                Kind::Symbol('(') => depth += 1,
                Kind::Symbol(')') if depth > 0 => {
                    depth -= 1;
                    if depth == 0 {
                        self.bump();
                        return Ok(());
                    }
                }
                Kind::End | Kind::Symbol('{' | '}' | ';') if depth > 0 => {
                    return Err(self.expected("`)`"));
                }
                _ if depth == 0 => return Ok(()),
                _ => {}
            }
            self.bump();
        }
    }
}
