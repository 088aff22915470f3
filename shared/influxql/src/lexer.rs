//! From text to tokens. A regular expression is lexed where the parser expects one: elsewhere its slash divides.

use std::fmt;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    End,
    /// Upper case.
    Keyword(&'static str),
    Identifier(String),
    String(String),
    Integer(i64),
    Number(f64),
    /// ns.
    Duration(i64),
    /// Operators and punctuation.
    Symbol(&'static str),
    Regex(String),
    /// What cannot be a token, or does not end.
    Bad(String),
}

impl Token {
    fn is_quoted(&self, text: &str) -> bool {
        text.starts_with(['"', '\'']) && !matches!(self, Self::Symbol(_))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("EOF"),
            Self::Keyword(text) | Self::Symbol(text) => f.write_str(text),
            Self::Identifier(text) | Self::String(text) | Self::Regex(text) | Self::Bad(text) => {
                f.write_str(text)
            }
            Self::Integer(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Duration(nanos) => write!(f, "{nanos}ns"),
        }
    }
}

/// Not to be used as names without quotes.
const KEYWORDS: &[&str] = &[
    "ALL",
    "ALTER",
    "ANALYZE",
    "AND",
    "ANY",
    "AS",
    "ASC",
    "BEGIN",
    "BY",
    "CARDINALITY",
    "CONTINUOUS",
    "CREATE",
    "DATABASE",
    "DATABASES",
    "DEFAULT",
    "DELETE",
    "DESC",
    "DESTINATIONS",
    "DIAGNOSTICS",
    "DISTINCT",
    "DROP",
    "DURATION",
    "END",
    "EVERY",
    "EXACT",
    "EXPLAIN",
    "FALSE",
    "FIELD",
    "FOR",
    "FROM",
    "GRANT",
    "GRANTS",
    "GROUP",
    "GROUPS",
    "IN",
    "INF",
    "INSERT",
    "INTO",
    "KEY",
    "KEYS",
    "KILL",
    "LIMIT",
    "MEASUREMENT",
    "MEASUREMENTS",
    "NAME",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "PASSWORD",
    "POLICIES",
    "POLICY",
    "PRIVILEGES",
    "QUERIES",
    "QUERY",
    "READ",
    "REPLICATION",
    "RESAMPLE",
    "RETENTION",
    "REVOKE",
    "SELECT",
    "SERIES",
    "SET",
    "SHARD",
    "SHARDS",
    "SHOW",
    "SLIMIT",
    "SOFFSET",
    "STATS",
    "SUBSCRIPTION",
    "SUBSCRIPTIONS",
    "TAG",
    "TO",
    "TRUE",
    "USER",
    "USERS",
    "VALUES",
    "WHERE",
    "WITH",
    "WRITE",
];

/// Longer ones first.
const SYMBOLS: &[&str] = &[
    "::", "!=", "<>", "<=", ">=", "=~", "!~", "=", "<", ">", "(", ")", ",", ";", ":", ".", "+",
    "-", "*", "/", "%", "&", "|", "^", "$",
];

pub(crate) const SECOND: i64 = 1_000_000_000;

/// Longer ones first.
const UNITS: &[(&str, i64)] = &[
    ("ns", 1),
    ("ms", 1_000_000),
    ("u", 1000),
    ("µ", 1000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
    ("d", 24 * 3600 * SECOND),
    ("w", 7 * 24 * 3600 * SECOND),
];

#[derive(Clone, Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token, and where it begins.
    pub(crate) fn token(&mut self) -> (Token, usize) {
        self.skip();
        let begin = self.at;
        (self.lex(), begin)
    }

    /// A regular expression, if what comes next at `begin` is one.
    pub(crate) fn regex(&mut self, begin: usize) -> Option<Token> {
        let text = self.text.get(begin..)?.strip_prefix('/')?;
        let mut pattern = String::new();
        let mut chars = text.char_indices();
        while let Some((index, char)) = chars.next() {
            match char {
                '/' => {
                    self.at = begin + index + 2;
                    return Some(Token::Regex(pattern));
                }
                '\\' if text[index + 1..].starts_with('/') => {
                    pattern.push('/');
                    chars.next();
                }
                '\n' => return None,
                other => pattern.push(other),
            }
        }
        None
    }

    /// Line and character of a token, from 1, counted as InfluxDB counts them: what is in quotes begins one earlier, and
    /// the end after a word is one later.
    pub(crate) fn position(text: &str, token: &Token, begin: usize) -> (usize, usize) {
        let before = &text[..begin];
        let line = before.matches('\n').count() + 1;
        let char = before
            .rsplit('\n')
            .next()
            .map_or(0, |it| it.chars().count())
            + 1;
        if *token == Token::End {
            (line, char + usize::from(before.ends_with(is_of_word)))
        } else {
            (line, char - usize::from(token.is_quoted(&text[begin..])))
        }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Over spaces and comments.
    fn skip(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r']);
            self.at += rest.len() - trimmed.len();
            let comment = if trimmed.starts_with("--") {
                trimmed.find('\n').unwrap_or(trimmed.len())
            } else if trimmed.starts_with("/*") {
                trimmed.find("*/").map_or(trimmed.len(), |end| end + 2)
            } else {
                return;
            };
            self.at += comment;
        }
    }

    fn lex(&mut self) -> Token {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Token::End;
        };
        let is_fraction = first == '.' && rest[1..].starts_with(|it: char| it.is_ascii_digit());
        match first {
            '"' => self.quoted('"').map_or_else(Token::Bad, Token::Identifier),
            '\'' => self.quoted('\'').map_or_else(Token::Bad, Token::String),
            'A'..='Z' | 'a'..='z' | '_' => self.word(),
            '0'..='9' => self.number(),
            '.' if is_fraction => self.number(),
            other => match SYMBOLS.iter().find(|it| rest.starts_with(**it)) {
                Some(symbol) => {
                    self.at += symbol.len();
                    Token::Symbol(symbol)
                }
                None => {
                    self.at += other.len_utf8();
                    Token::Bad(other.to_string())
                }
            },
        }
    }

    fn word(&mut self) -> Token {
        let rest = self.rest();
        let word = &rest[..rest.find(|it| !is_of_word(it)).unwrap_or(rest.len())];
        self.at += word.len();
        match KEYWORDS.iter().find(|it| it.eq_ignore_ascii_case(word)) {
            Some(keyword) => Token::Keyword(keyword),
            None => Token::Identifier(word.to_owned()),
        }
    }

    /// What is between quotes, or of what does not end the rest.
    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let rest = self.rest();
        let mut inner = String::new();
        let mut chars = rest.char_indices().skip(1);
        while let Some((index, char)) = chars.next() {
            match char {
                end if end == quote => {
                    self.at += index + 1;
                    return Ok(inner);
                }
                '\n' => break,
                '\\' => match chars.next() {
                    Some((_, 'n')) => inner.push('\n'),
                    Some((_, escaped @ ('\\' | '"' | '\''))) => inner.push(escaped),
                    Some(_) | None => break,
                },
                other => inner.push(other),
            }
        }
        self.at = self.text.len();
        Err(inner)
    }

    fn number(&mut self) -> Token {
        let rest = self.rest();
        let digits = |text: &str| {
            text.len()
                - text
                    .trim_start_matches(|it: char| it.is_ascii_digit())
                    .len()
        };
        let whole = digits(rest);
        let fraction = match rest[whole..].strip_prefix('.') {
            Some(after) => 1 + digits(after),
            None => 0,
        };
        let text = &rest[..whole + fraction];
        if fraction > 0 {
            self.at += text.len();
            return text
                .parse()
                .map_or_else(|_| Token::Bad(text.to_owned()), Token::Number);
        }
        let after = &rest[whole..];
        if after.starts_with(|it: char| it.is_ascii_alphabetic() || it == 'µ') {
            return self.duration();
        }
        self.at += text.len();
        text.parse()
            .map_or_else(|_| Token::Bad(text.to_owned()), Token::Integer)
    }

    fn duration(&mut self) -> Token {
        let rest = self.rest();
        let length = rest
            .find(|it: char| !(it.is_ascii_alphanumeric() || it == 'µ'))
            .unwrap_or(rest.len());
        let text = &rest[..length];
        self.at += length;
        duration(text).map_or_else(|| Token::Bad(text.to_owned()), Token::Duration)
    }
}

/// In the largest unit that it is a whole number of.
pub(crate) struct Duration(pub(crate) i64);

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(nanos) = *self;
        let whole = UNITS
            .iter()
            .filter(|(unit, length)| *unit != "µ" && nanos % length == 0);
        match whole.max_by_key(|(_, length)| *length) {
            Some((unit, length)) if nanos != 0 => write!(f, "{}{unit}", nanos / length),
            Some(_) | None => f.write_str("0s"),
        }
    }
}

fn is_of_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

/// `1h30m` and the like.
fn duration(text: &str) -> Option<i64> {
    let (mut rest, mut nanos) = (text, 0i64);
    while !rest.is_empty() {
        let digits = rest.find(|it: char| !it.is_ascii_digit())?;
        let value: i64 = rest[..digits].parse().ok()?;
        let (unit, length) = UNITS
            .iter()
            .find(|(unit, _)| rest[digits..].starts_with(unit))?;
        nanos = nanos.checked_add(value.checked_mul(*length)?)?;
        rest = &rest[digits + unit.len()..];
    }
    Some(nanos)
}

/// Whether it is a name without quotes.
pub(crate) fn is_plain(name: &str) -> bool {
    let mut lexer = Lexer::new(name);
    lexer.token().0 == Token::Identifier(name.to_owned())
        && lexer.at == name.len()
        && !name.starts_with('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[Token]) {
        let mut lexer = Lexer::new(text);
        let next = || Some(lexer.token().0).filter(|it| *it != Token::End);
        let tokens: Vec<Token> = std::iter::from_fn(next).collect();
        assert_eq!(tokens, expected, "{text}");
    }

    #[test]
    fn tokens() {
        use Token::*;
        let name = |text: &str| Identifier(text.to_owned());
        check("select A_1", &[Keyword("SELECT"), name("A_1")]);
        check(
            r#""a\"b.c" 'it\'s'"#,
            &[name("a\"b.c"), String("it's".to_owned())],
        );
        check(
            "1 2.5 .5 3. 1h30m 5µ 7ms",
            &[
                Integer(1),
                Number(2.5),
                Number(0.5),
                Number(3.0),
                Duration(5400 * SECOND),
                Duration(5000),
                Duration(7_000_000),
            ],
        );
        check(
            "5x 99999999999999999999 9999999999w",
            &[
                Bad("5x".to_owned()),
                Bad("99999999999999999999".to_owned()),
                Bad("9999999999w".to_owned()),
            ],
        );
        check("a -- b\n/* c */ >=", &[name("a"), Symbol(">=")]);
        check("'a", &[Bad("a".to_owned())]);
        check("é", &[Bad("é".to_owned())]);
        check("::<>!~", &[Symbol("::"), Symbol("<>"), Symbol("!~")]);
    }
}
