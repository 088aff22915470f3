//! IDL text to tokens, one at a time.

use super::error::{IdlError, Reason};
use super::metadata;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind<'a> {
    /// Names and keywords alike: which word is a keyword depends on where it stands, and SAL has
    /// members called `default` and `port`.
    Word(&'a str),
    /// A number as written; [`super::expr`] reads it.
    Number(&'a str),
    Text(String),
    Character(char),
    /// `::`
    Scope,
    Symbol(char),
    /// `#pragma keylist NAME PATH…`, what follows the word keylist.
    Keylist(&'a str),
    End,
}

#[derive(Clone, Debug)]
pub(super) struct Token<'a> {
    pub kind: Kind<'a>,
    pub line: u32,
    pub column: u32,
    /// The next character of the text is this symbol again: `>>` is a shift, `> >` is not.
    pub doubled: bool,
    /// What follows `@Metadata=` in a comment that stands between the *previous* token and the end
    /// of its line.
    pub metadata_of_previous: Option<&'a str>,
}

impl Token<'_> {
    pub(super) fn error(&self, reason: Reason) -> IdlError {
        IdlError {
            line: self.line,
            column: self.column,
            reason,
        }
    }

    /// For "found …".
    pub(super) fn describe(&self) -> String {
        match &self.kind {
            Kind::Word(word) => format!("`{}`", clip(word)),
            Kind::Number(number) => format!("`{}`", clip(number)),
            Kind::Text(_) => "a text".to_owned(),
            Kind::Character(_) => "a character".to_owned(),
            Kind::Scope => "`::`".to_owned(),
            Kind::Symbol(symbol) => format!("`{}`", symbol.escape_default()),
            Kind::Keylist(_) => "#pragma keylist".to_owned(),
            Kind::End => "the end of the file".to_owned(),
        }
    }
}

/// Messages quote at most so much of a file.
pub(super) fn clip(text: &str) -> &str {
    text.char_indices()
        .nth(64)
        .map_or(text, |(end, _)| &text[..end])
}

#[derive(Debug)]
pub(super) struct Lexer<'a> {
    source: &'a str,
    at: usize,
    line: u32,
    line_start: usize,
    /// The last place whose column was asked, and that column: counting goes on from there, so a
    /// file that is one long line costs no more than any other.
    column_mark: (usize, u32),
    /// Nothing but blanks so far in this line, so `#` begins a directive.
    line_is_blank: bool,
    /// Where a comment that never ends begins.
    pub open_comment: Option<(u32, u32)>,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(source: &'a str) -> Self {
        let at = if source.starts_with('\u{feff}') {
            '\u{feff}'.len_utf8()
        } else {
            0
        };
        Self {
            source,
            at,
            line: 1,
            line_start: at,
            column_mark: (at, 1),
            line_is_blank: true,
            open_comment: None,
        }
    }

    pub(super) fn next_token(&mut self) -> Token<'a> {
        let metadata_of_previous = self.skip_trivia();
        let (line, column) = (self.line, self.column());
        let kind = self.kind();
        let doubled = matches!(kind, Kind::Symbol(symbol) if self.rest().starts_with(symbol));
        Token {
            kind,
            line,
            column,
            doubled,
            metadata_of_previous,
        }
    }

    fn rest(&self) -> &'a str {
        &self.source[self.at..]
    }

    fn column(&mut self) -> u32 {
        let (from, column) = if self.column_mark.0 < self.line_start {
            (self.line_start, 1)
        } else {
            self.column_mark
        };
        let chars = self.source[from..self.at].chars().count();
        let column = column.saturating_add(u32::try_from(chars).unwrap_or(u32::MAX));
        self.column_mark = (self.at, column);
        column
    }

    fn newline(&mut self) {
        self.line += 1;
        self.line_start = self.at;
        self.line_is_blank = true;
    }

    /// Blanks, comments and directives without meaning.
    fn skip_trivia(&mut self) -> Option<&'a str> {
        let (first_line, mut metadata) = (self.line, None);
        loop {
            let rest = self.rest();
            let Some(next) = rest.chars().next() else {
                return metadata;
            };
            if next == '\n' {
                self.at += 1;
                self.newline();
            } else if next.is_whitespace() || next == '\u{feff}' || next == '\u{1a}' {
                self.at += next.len_utf8();
            } else if let Some(comment) = rest.strip_prefix("//") {
                let comment = &comment[..comment.find('\n').unwrap_or(comment.len())];
                if self.line == first_line && metadata.is_none() {
                    metadata = metadata::find_metadata(comment).map(str::trim_end);
                }
                self.at += 2 + comment.len();
            } else if rest.starts_with("/*") {
                self.skip_block_comment();
            } else if next == '#' && self.line_is_blank && keylist(self.directive()).is_none() {
                let lines = self.directive().len();
                self.skip_lines(lines);
            } else {
                return metadata;
            }
        }
    }

    fn skip_block_comment(&mut self) {
        let start = (self.line, self.column());
        let body = &self.rest()[2..];
        match body.find("*/") {
            Some(end) => self.skip_lines(end + 4),
            None => {
                self.open_comment = Some(start);
                self.at = self.source.len();
            }
        }
    }

    fn skip_lines(&mut self, bytes: usize) {
        let end = self.at + bytes;
        while let Some(newline) = self.source[self.at..end].find('\n') {
            self.at += newline + 1;
            let blank = self.line_is_blank;
            self.newline();
            self.line_is_blank = blank;
        }
        self.at = end;
    }

    /// The directive that begins here, with its continuation lines, without the last line end.
    fn directive(&self) -> &'a str {
        let rest = self.rest();
        let mut end = 0;
        loop {
            let line = &rest[end..];
            let Some(newline) = line.find('\n') else {
                return rest;
            };
            end += newline;
            if !line[..newline].trim_end_matches('\r').ends_with('\\') {
                return &rest[..end];
            }
            end += 1;
        }
    }

    fn kind(&mut self) -> Kind<'a> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return Kind::End;
        };
        if first == '#' && self.line_is_blank {
            let directive = self.directive();
            if let Some(keys) = keylist(directive) {
                self.skip_lines(directive.len());
                return Kind::Keylist(keys);
            }
        }
        self.line_is_blank = false;
        let starts_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
        if first == '_' || first.is_ascii_alphabetic() {
            let word = take_while(rest, |c| c == '_' || c.is_ascii_alphanumeric());
            self.at += word.len();
            // IDL escapes a name that is a keyword with one underscore.
            let escaped = word
                .strip_prefix('_')
                .filter(|word| word.starts_with(char::is_alphabetic));
            return Kind::Word(escaped.unwrap_or(word));
        }
        if starts_number(rest) || first == '.' && starts_number(&rest[1..]) {
            let number = take_number(rest);
            self.at += number.len();
            return Kind::Number(number);
        }
        if rest.starts_with("::") {
            self.at += 2;
            return Kind::Scope;
        }
        if first == '"' {
            return self.quoted('"').map_or(Kind::Symbol('"'), Kind::Text);
        }
        if first == '\'' {
            let text = self.quoted('\'');
            let mut chars = text.iter().flat_map(|text| text.chars());
            return match (chars.next(), chars.next()) {
                (Some(only), None) => Kind::Character(only),
                _ => Kind::Symbol('\''),
            };
        }
        self.at += first.len_utf8();
        Kind::Symbol(first)
    }

    /// A literal within one line; `None` (and one character taken) where its end is missing.
    fn quoted(&mut self, quote: char) -> Option<String> {
        let mut text = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.at += at + 1;
                return Some(text);
            }
            match c {
                '\n' => break,
                '\\' => {
                    let Some((_, escaped)) = chars.next() else {
                        break;
                    };
                    text.push(match escaped {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        '0' => '\0',
                        other => other,
                    });
                }
                other => text.push(other),
            }
        }
        self.at += 1;
        None
    }
}

fn keylist(directive: &str) -> Option<&str> {
    let pragma = directive
        .strip_prefix('#')?
        .trim_start()
        .strip_prefix("pragma")?;
    let keys = pragma.trim_start().strip_prefix("keylist")?;
    (keys.is_empty() || keys.starts_with(char::is_whitespace)).then_some(keys)
}

fn take_while(text: &str, accept: impl Fn(char) -> bool) -> &str {
    &text[..text.find(|c| !accept(c)).unwrap_or(text.len())]
}

/// Digits, letters and dots, and a sign after a decimal exponent: whether they make a number is
/// decided by who reads it.
fn take_number(text: &str) -> &str {
    let hex = text.starts_with("0x") || text.starts_with("0X");
    let mut previous = ' ';
    take_while_mut(text, |c| {
        let sign = matches!(c, '+' | '-') && !hex && matches!(previous, 'e' | 'E');
        previous = c;
        sign || c == '.' || c == '_' || c.is_ascii_alphanumeric()
    })
}

fn take_while_mut(text: &str, mut accept: impl FnMut(char) -> bool) -> &str {
    &text[..text.find(|c| !accept(c)).unwrap_or(text.len())]
}
