//! IDL text to [`crate::model`], and back.
//!
//! IDL 4.2 as far as data types go, plus what SAL adds: `// @Metadata=(…)` comments after a member
//! or a struct, `// SAL_VERSION=… XML_VERSION=…` on the first line, `#pragma keylist`. Preprocessor
//! lines are skipped, not run; [`includes`] tells what they include, and [`parse_within`] is given what that
//! defines. Interfaces, valuetypes and the like are reported and skipped.

mod error;
mod expr;
mod lexer;
mod metadata;
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a parser names the tokens it takes; all others are the same error"
)]
mod parser;
mod print;
mod suggest;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

pub use error::{IdlError, Reason};
pub use expr::Const;
pub use print::print;

use crate::model::{Definition, TypeName, Types, Versions};

/// The largest SAL file is 0.6 MB.
pub const FILE_BYTES_MAX: usize = 32 << 20;

/// After so many errors the rest is not listed; good structs are still read.
pub const ERRORS_MAX: usize = 1_000;

/// Of one file.
pub const INCLUDES_MAX: usize = 1_000;

/// What a file says.
#[derive(Debug, Default)]
pub struct Parsed {
    pub versions: Versions,
    /// Good definitions in the order of the file.
    pub definitions: Vec<Definition>,
    pub constants: Vec<Constant>,
    /// Each of these cost a definition, or part of the file.
    pub errors: Vec<IdlError>,
    /// Oddities that cost nothing, such as a keylist for a struct that does not exist.
    pub warnings: Vec<IdlError>,
}

impl Parsed {
    pub fn types(&self) -> Types {
        self.definitions.iter().cloned().collect()
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    pub name: TypeName,
    pub value: Const,
}

/// What the files define that a file includes.
#[derive(Clone, Debug, Default)]
pub struct Included {
    /// Each after those that it uses.
    pub definitions: Vec<Definition>,
    pub constants: Vec<Constant>,
}

/// Never fails: a file with one bad struct still yields the others.
pub fn parse(source: &str) -> Parsed {
    parse_within(source, &Included::default())
}

/// As [`parse`], of a file that includes others. What they define is not in what it says.
pub fn parse_within(source: &str, included: &Included) -> Parsed {
    if source.len() > FILE_BYTES_MAX {
        let reason = Reason::FileTooLarge {
            bytes: source.len(),
            limit: FILE_BYTES_MAX,
        };
        return Parsed {
            errors: vec![IdlError {
                line: 1,
                column: 1,
                reason,
            }],
            ..Parsed::default()
        };
    }
    parser::Parser::new(source, included).parse()
}

/// The paths in `#include "…"` and `#include <…>`, as written.
pub fn includes(source: &[u8]) -> Vec<String> {
    let lines = source.split(|&byte| byte == b'\n');
    let path = |line: &[u8]| {
        let line = std::str::from_utf8(line.trim_ascii()).ok()?;
        let path = line.strip_prefix('#')?.trim_start();
        let path = path.strip_prefix("include")?.trim_start();
        let (path, end) = match path.strip_prefix('"') {
            Some(path) => (path, '"'),
            None => (path.strip_prefix('<')?, '>'),
        };
        Some(path.split_once(end)?.0.to_owned())
    };
    lines.filter_map(path).take(INCLUDES_MAX).collect()
}

/// Names of what a definition is made of, each as often as it is used.
pub fn used_names(definition: &Definition) -> Vec<&TypeName> {
    let mut used = Vec::new();
    parser::used_names(definition, &mut used);
    used
}

/// As [`parse`], for bytes of a file: text that is not UTF-8 is taken as ISO-8859-1.
pub fn parse_bytes(source: &[u8]) -> Parsed {
    parse_bytes_within(source, &Included::default())
}

/// As [`parse_within`] and [`parse_bytes`].
pub fn parse_bytes_within(source: &[u8], included: &Included) -> Parsed {
    let text = match std::str::from_utf8(source) {
        Ok(text) => Cow::Borrowed(text),
        // Only the first bytes of a file over the limit matter: its size is the error.
        Err(_) if source.len() > FILE_BYTES_MAX => {
            let reason = Reason::FileTooLarge {
                bytes: source.len(),
                limit: FILE_BYTES_MAX,
            };
            return Parsed {
                errors: vec![IdlError {
                    line: 1,
                    column: 1,
                    reason,
                }],
                ..Parsed::default()
            };
        }
        Err(_) => source.iter().map(|&byte| char::from(byte)).collect(),
    };
    parse_within(&text, included)
}
