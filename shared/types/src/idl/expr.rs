//! Constant expressions: bounds, dimensions, labels, `const`.

use super::error::{IdlError, Reason};
use super::lexer::{Kind, Token, clip};
use super::parser::Parser;
use crate::model::Primitive;

/// Parentheses and signs inside each other.
const EXPRESSION_DEPTH_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq)]
pub enum Const {
    Int(i128),
    Float(f64),
    Bool(bool),
    Char(char),
    Text(String),
}

impl Const {
    /// This value as a constant of an IDL type; an integer may become a float, nothing else changes.
    pub(super) fn into_primitive(self, primitive: Primitive) -> Result<Self, Reason> {
        let ty = primitive.idl();
        match (&self, primitive.integer_range()) {
            (&Self::Int(value), Some((min, max))) if value < min || max < value => {
                Err(Reason::OutOfRange {
                    what: ty,
                    value,
                    min,
                    max,
                })
            }
            (Self::Int(_), Some(_)) => Ok(self),
            (&Self::Int(value), None) if is_float(primitive) => Ok(Self::Float(value as f64)),
            (Self::Float(_), None) if is_float(primitive) => Ok(self),
            (Self::Bool(_), None) if primitive == Primitive::Boolean => Ok(self),
            (Self::Char(_), None) if matches!(primitive, Primitive::Char8 | Primitive::Char16) => {
                Ok(self)
            }
            _ => Err(Reason::BadConstant {
                ty,
                value: self.describe(),
            }),
        }
    }

    pub(super) fn describe(&self) -> String {
        match self {
            Self::Int(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::Char(value) => format!("{value:?}"),
            Self::Text(value) => format!("{:?}", clip(value)),
        }
    }

    /// Labels of a union compare as numbers.
    pub(super) fn as_label(&self) -> Option<i64> {
        match self {
            Self::Int(value) => i64::try_from(*value).ok(),
            Self::Bool(value) => Some(i64::from(*value)),
            Self::Char(value) => Some(i64::from(u32::from(*value))),
            Self::Float(_) | Self::Text(_) => None,
        }
    }
}

fn is_float(primitive: Primitive) -> bool {
    matches!(primitive, Primitive::F32 | Primitive::F64 | Primitive::F128)
}

/// Where an expression stands: inside `<…>` a `>>` closes two brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Open,
    InAngles,
}

/// Operators by binding, the loosest first. `<` and `>` stand for the shifts.
const LEVELS: [&[char]; 6] = [
    &['|'],
    &['^'],
    &['&'],
    &['<', '>'],
    &['+', '-'],
    &['*', '/', '%'],
];

impl<'a> Parser<'a> {
    pub(super) fn expression(&mut self, place: Place) -> Result<Const, IdlError> {
        self.binary(0, place, 0)
    }

    /// A positive number that fits 32 bits, for bounds and dimensions.
    pub(super) fn size(&mut self, what: &'static str, place: Place) -> Result<u32, IdlError> {
        let (min, max) = (1, i128::from(u32::MAX));
        let value = self.integer(what, place, min, max)?;
        Ok(u32::try_from(value).unwrap_or(u32::MAX))
    }

    pub(super) fn integer(
        &mut self,
        what: &'static str,
        place: Place,
        min: i128,
        max: i128,
    ) -> Result<i128, IdlError> {
        let start = self.here();
        match self.expression(place)? {
            Const::Int(value) if (min..=max).contains(&value) => Ok(value),
            Const::Int(value) => Err(start.error(Reason::OutOfRange {
                what,
                value,
                min,
                max,
            })),
            other @ (Const::Float(_) | Const::Bool(_) | Const::Char(_) | Const::Text(_)) => {
                Err(start.error(Reason::BadConstant {
                    ty: what,
                    value: other.describe(),
                }))
            }
        }
    }

    fn binary(&mut self, level: usize, place: Place, depth: usize) -> Result<Const, IdlError> {
        let Some(operators) = LEVELS.get(level) else {
            return self.unary(depth);
        };
        let mut left = self.binary(level + 1, place, depth)?;
        while let Some(operator) = self.operator(operators, place) {
            let at = self.bump();
            if matches!(operator, '<' | '>') {
                self.bump();
            }
            let right = self.binary(level + 1, place, depth)?;
            left = apply(operator, left, right).map_err(|reason| at.error(reason))?;
        }
        Ok(left)
    }

    fn operator(&self, operators: &[char], place: Place) -> Option<char> {
        let Kind::Symbol(symbol) = self.current().kind else {
            return None;
        };
        let shift = matches!(symbol, '<' | '>');
        let usable = !shift || self.current().doubled && place == Place::Open;
        (operators.contains(&symbol) && usable).then_some(symbol)
    }

    fn unary(&mut self, depth: usize) -> Result<Const, IdlError> {
        if depth >= EXPRESSION_DEPTH_MAX {
            let limit = EXPRESSION_DEPTH_MAX;
            return Err(self.error_here(Reason::TooDeep {
                what: "expression",
                limit,
            }));
        }
        let Kind::Symbol(symbol @ ('-' | '+' | '~')) = self.current().kind else {
            return self.primary(depth);
        };
        let at = self.bump();
        let operand = self.unary(depth + 1)?;
        let value = match (symbol, operand) {
            ('-', Const::Int(value)) => value.checked_neg().map(Const::Int),
            ('-', Const::Float(value)) => Some(Const::Float(-value)),
            ('+', value @ (Const::Int(_) | Const::Float(_))) => Some(value),
            ('~', Const::Int(value)) => Some(Const::Int(!value)),
            _ => None,
        };
        value.ok_or_else(|| at.error(Reason::BadOperands(symbol)))
    }

    fn primary(&mut self, depth: usize) -> Result<Const, IdlError> {
        match self.current().kind.clone() {
            Kind::Number(text) => {
                let at = self.bump();
                number(text).ok_or_else(|| at.error(Reason::BadNumber(clip(text).to_owned())))
            }
            Kind::Character(value) => {
                self.bump();
                Ok(Const::Char(value))
            }
            Kind::Text(first) => {
                self.bump();
                let mut text = first;
                while let Kind::Text(more) = &self.current().kind {
                    text.push_str(more);
                    self.bump();
                }
                Ok(Const::Text(text))
            }
            Kind::Symbol('(') => {
                self.bump();
                let value = self.binary(0, Place::Open, depth + 1)?;
                self.expect_symbol(')', "`)`")?;
                Ok(value)
            }
            Kind::Word("TRUE") => self.taken(Const::Bool(true)),
            Kind::Word("FALSE") => self.taken(Const::Bool(false)),
            Kind::Word(_) | Kind::Scope => {
                let (at, name) = self.scoped_name("a constant")?;
                self.constant(&name).ok_or_else(|| {
                    let suggestion = self.suggest_constant(&name);
                    at.error(Reason::UnknownConstant {
                        name: clip(&name).to_owned(),
                        suggestion,
                    })
                })
            }
            Kind::Symbol(_) | Kind::Keylist(_) | Kind::End => Err(self.expected("a value")),
        }
    }

    fn taken(&mut self, value: Const) -> Result<Const, IdlError> {
        self.bump();
        Ok(value)
    }

    pub(super) fn here(&self) -> Token<'a> {
        self.current().clone()
    }
}

fn apply(operator: char, left: Const, right: Const) -> Result<Const, Reason> {
    let value = match (left, right) {
        (Const::Int(left), Const::Int(right)) => integers(operator, left, right)?.map(Const::Int),
        (Const::Float(left), Const::Float(right)) => floats(operator, left, right),
        (Const::Float(left), Const::Int(right)) => floats(operator, left, right as f64),
        (Const::Int(left), Const::Float(right)) => floats(operator, left as f64, right),
        _ => None,
    };
    value.ok_or(Reason::BadOperands(operator))
}

fn integers(operator: char, left: i128, right: i128) -> Result<Option<i128>, Reason> {
    let shift = u32::try_from(right).ok().filter(|&shift| shift < 64);
    Ok(match operator {
        '|' => Some(left | right),
        '^' => Some(left ^ right),
        '&' => Some(left & right),
        // Past 64 bits nothing can be a constant of any IDL type.
        '<' => shift.and_then(|shift| left.checked_mul(1 << shift)),
        '>' => shift.map(|shift| left >> shift),
        '+' => left.checked_add(right),
        '-' => left.checked_sub(right),
        '*' => left.checked_mul(right),
        '/' | '%' if right == 0 => return Err(Reason::DivisionByZero),
        '/' => left.checked_div(right),
        '%' => left.checked_rem(right),
        _ => None,
    })
}

fn floats(operator: char, left: f64, right: f64) -> Option<Const> {
    Some(Const::Float(match operator {
        '+' => left + right,
        '-' => left - right,
        '*' => left * right,
        '/' => left / right,
        _ => return None,
    }))
}

/// `12`, `04` (octal), `0x05`, `1.5e3`, `2.`, `.5`, `3d`.
fn number(text: &str) -> Option<Const> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return digits(hex, 16);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.strip_prefix('0') {
            Some("") => Some(Const::Int(0)),
            Some(octal) => digits(octal, 8),
            None => digits(text, 10),
        };
    }
    let bare = text.strip_suffix(['d', 'D', 'f', 'F']).unwrap_or(text);
    let is_float = bare
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    let value = bare
        .parse::<f64>()
        .ok()
        .filter(|value| is_float && value.is_finite())?;
    Some(Const::Float(value))
}

fn digits(text: &str, radix: u32) -> Option<Const> {
    let plain = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let value = i128::from_str_radix(text, radix).ok().filter(|_| plain)?;
    Some(Const::Int(value))
}
