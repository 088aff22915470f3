//! Statements, as they were written.

use std::fmt;

use regex::Regex;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Statement {
    Select(Select),
    ShowDatabases,
    ShowPolicies {
        database: Option<String>,
    },
    ShowMeasurements(Show),
    ShowFieldKeys(Show),
    ShowTagKeys(Show),
    ShowTagValues(Show),
    ShowSeries(Show),
    /// By name: it is of InfluxQL, and not of the subset.
    Outside(String),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Show {
    pub(crate) database: Option<String>,
    /// Of SHOW MEASUREMENTS: what WITH MEASUREMENT asks for.
    pub(crate) origins: Vec<Origin>,
    pub(crate) condition: Option<Expr>,
    pub(crate) page: Page,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Select {
    pub(crate) fields: Vec<Output>,
    pub(crate) origins: Vec<Origin>,
    pub(crate) condition: Option<Expr>,
    pub(crate) dimensions: Vec<Expr>,
    pub(crate) fill: Fill,
    pub(crate) is_descending: bool,
    pub(crate) page: Page,
    pub(crate) series: Page,
    pub(crate) zone: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Output {
    pub(crate) expr: Expr,
    pub(crate) alias: Option<String>,
}

/// LIMIT and OFFSET; a limit of 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) limit: u64,
    pub(crate) offset: u64,
}

impl Page {
    pub(crate) fn cut<T>(self, all: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        let size = |of: u64| usize::try_from(of).unwrap_or(usize::MAX);
        let limit = if self.limit == 0 {
            usize::MAX
        } else {
            size(self.limit)
        };
        all.skip(size(self.offset)).take(limit)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Origin {
    pub(crate) database: Option<String>,
    pub(crate) policy: Option<String>,
    pub(crate) name: Name,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Name {
    Exact(String),
    Matching(Pattern),
}

impl Name {
    pub(crate) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Matching(pattern) => pattern.is_match(name),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Fill {
    #[default]
    Null,
    None,
    Previous,
    Linear,
    Number(Literal),
}

/// A number as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Literal {
    Integer(i64),
    Float(f64),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    Field(String),
    /// `name::kind`.
    Cast(String, String),
    /// `*`, or of one kind.
    Wildcard(Option<String>),
    Regex(Pattern),
    Number(Literal),
    Duration(i64),
    String(String),
    Boolean(bool),
    /// Lower case.
    Call(String, Vec<Self>),
    /// Without parentheses: `DISTINCT f`.
    Distinct(String),
    Paren(Box<Self>),
    Binary(Operator, Box<Self>, Box<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Matches,
    MatchesNot,
    Add,
    Subtract,
    BitOr,
    BitXor,
    Multiply,
    Divide,
    Modulo,
    BitAnd,
}

impl Operator {
    pub(crate) const ALL: [Self; 18] = [
        Self::Or,
        Self::And,
        Self::Equal,
        Self::NotEqual,
        Self::Less,
        Self::LessEqual,
        Self::Greater,
        Self::GreaterEqual,
        Self::Matches,
        Self::MatchesNot,
        Self::Add,
        Self::Subtract,
        Self::BitOr,
        Self::BitXor,
        Self::Multiply,
        Self::Divide,
        Self::Modulo,
        Self::BitAnd,
    ];

    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Or => "OR",
            Self::And => "AND",
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessEqual => "<=",
            Self::Greater => ">",
            Self::GreaterEqual => ">=",
            Self::Matches => "=~",
            Self::MatchesNot => "!~",
            Self::Add => "+",
            Self::Subtract => "-",
            Self::BitOr => "|",
            Self::BitXor => "^",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
            Self::BitAnd => "&",
        }
    }

    /// What binds tighter is greater.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Equal
            | Self::NotEqual
            | Self::Less
            | Self::LessEqual
            | Self::Greater
            | Self::GreaterEqual
            | Self::Matches
            | Self::MatchesNot => 3,
            Self::Add | Self::Subtract | Self::BitOr | Self::BitXor => 4,
            Self::Multiply | Self::Divide | Self::Modulo | Self::BitAnd => 5,
        }
    }

    pub(crate) fn is_arithmetic(self) -> bool {
        self.precedence() > 3
    }

    /// With the sides exchanged.
    pub(crate) fn mirrored(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            Self::Or
            | Self::And
            | Self::Equal
            | Self::NotEqual
            | Self::Matches
            | Self::MatchesNot
            | Self::Add
            | Self::Subtract
            | Self::BitOr
            | Self::BitXor
            | Self::Multiply
            | Self::Divide
            | Self::Modulo
            | Self::BitAnd => self,
        }
    }
}

/// A regular expression, with what it was made of.
#[derive(Clone)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    pub(crate) fn new(text: &str) -> Result<Self, regex::Error> {
        /// Of the compiled program: a statement is short, its program need not be.
        const BYTES_MAX: usize = 1 << 20;
        let built = regex::RegexBuilder::new(text).size_limit(BYTES_MAX).build();
        built.map(Self)
    }

    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.as_str())
    }
}

impl Expr {
    pub(crate) fn is_time(&self) -> bool {
        matches!(self, Self::Field(name) if name.eq_ignore_ascii_case("time"))
    }

    /// It, then what is in it, outermost first.
    pub(crate) fn walk<'a>(&'a self, visit: &mut dyn FnMut(&'a Self)) {
        visit(self);
        match self {
            Self::Call(_, arguments) => arguments.iter().for_each(|it| it.walk(visit)),
            Self::Paren(inner) => inner.walk(visit),
            Self::Binary(_, left, right) => {
                left.walk(visit);
                right.walk(visit);
            }
            Self::Field(_)
            | Self::Cast(..)
            | Self::Wildcard(_)
            | Self::Regex(_)
            | Self::Number(_)
            | Self::Duration(_)
            | Self::String(_)
            | Self::Boolean(_)
            | Self::Distinct(_) => {}
        }
    }
}
