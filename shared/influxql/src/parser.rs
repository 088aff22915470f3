//! From tokens to statements, by recursive descent; how deep, the limits say.

mod expression;
mod select;

use crate::ast::{Name, Origin, Page, Pattern, Show, Statement};
use crate::error::ParseError;
use crate::lexer::{Lexer, Token};
use crate::limits::Limits;

type Parsed<T> = Result<T, ParseError>;

pub(crate) fn parse(text: &str, limits: &Limits) -> Parsed<Vec<Statement>> {
    at_most("bytes of a request", text.len(), limits.statement_bytes)?;
    let mut parser = Parser {
        text,
        lexer: Lexer::new(text),
        peeked: None,
        limits,
        depth: 0,
        operators: 0,
    };
    let mut statements = Vec::new();
    loop {
        while parser.is_symbol(";") {}
        if *parser.peek() == Token::End {
            return Ok(statements);
        }
        at_most(
            "statements of a request",
            statements.len() + 1,
            limits.statements,
        )?;
        statements.push(parser.statement()?);
        if *parser.peek() != Token::End {
            parser.symbol(";")?;
        }
    }
}

fn at_most(what: &'static str, value: usize, limit: usize) -> Parsed<()> {
    if value > limit {
        Err(ParseError::Limit { what, value, limit })
    } else {
        Ok(())
    }
}

const STATEMENTS: &[&str] = &[
    "SELECT", "DELETE", "SHOW", "CREATE", "DROP", "EXPLAIN", "GRANT", "REVOKE", "ALTER", "SET",
    "KILL",
];
const SHOWS: &[&str] = &[
    "CONTINUOUS",
    "DATABASES",
    "DIAGNOSTICS",
    "FIELD",
    "GRANTS",
    "MEASUREMENT",
    "MEASUREMENTS",
    "QUERIES",
    "RETENTION",
    "SERIES",
    "SHARD",
    "SHARDS",
    "STATS",
    "SUBSCRIPTIONS",
    "TAG",
    "USERS",
];

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    peeked: Option<(Token, usize)>,
    limits: &'a Limits,
    depth: usize,
    operators: usize,
}

impl Parser<'_> {
    fn statement(&mut self) -> Parsed<Statement> {
        match self.one_of(STATEMENTS)? {
            "SELECT" => self.select().map(Statement::Select),
            "SHOW" => self.show(),
            other => self.outside(other.to_owned()),
        }
    }

    fn show(&mut self) -> Parsed<Statement> {
        match self.one_of(SHOWS)? {
            "DATABASES" => Ok(Statement::ShowDatabases),
            "RETENTION" => {
                self.keyword("POLICIES")?;
                Ok(Statement::ShowPolicies {
                    database: self.on()?,
                })
            }
            "MEASUREMENTS" => self.show_measurements(),
            "FIELD" if self.is_keyword("KEYS") => {
                let (database, origins) = (self.on()?, self.from()?);
                let page = self.page("LIMIT", "OFFSET")?;
                Ok(Statement::ShowFieldKeys(Show {
                    database,
                    origins,
                    condition: None,
                    page,
                }))
            }
            "SERIES"
                if *self.peek() != Token::Keyword("CARDINALITY")
                    && *self.peek() != Token::Keyword("EXACT") =>
            {
                self.show_rest(false).map(Statement::ShowSeries)
            }
            "TAG" if self.is_keyword("KEYS") => self.show_rest(false).map(Statement::ShowTagKeys),
            "TAG" if self.is_keyword("VALUES") => {
                self.show_rest(true).map(Statement::ShowTagValues)
            }
            other => self.outside(format!("SHOW {other}")),
        }
    }

    fn show_measurements(&mut self) -> Parsed<Statement> {
        let database = self.on()?;
        let mut origins = Vec::new();
        if self.is_keyword("WITH") {
            self.keyword("MEASUREMENT")?;
            let name = if self.is_symbol("=~") {
                Name::Matching(self.pattern()?)
            } else if self.is_symbol("=") {
                Name::Exact(self.identifier("identifier")?)
            } else {
                return self.unexpected("=, =~");
            };
            origins.push(Origin {
                database: None,
                policy: None,
                name,
            });
        }
        let (condition, page) = (self.condition()?, self.page("LIMIT", "OFFSET")?);
        Ok(Statement::ShowMeasurements(Show {
            database,
            origins,
            condition,
            page,
        }))
    }

    /// No measurement has a tag: which keys are asked for makes no difference, as long as it is a question.
    fn show_rest(&mut self, has_keys: bool) -> Parsed<Show> {
        let (database, origins) = (self.on()?, self.from()?);
        if has_keys {
            self.keyword("WITH")?;
            self.keyword("KEY")?;
            self.keys()?;
        }
        let condition = self.condition()?;
        self.order()?;
        let page = self.page("LIMIT", "OFFSET")?;
        Ok(Show {
            database,
            origins,
            condition,
            page,
        })
    }

    fn keys(&mut self) -> Parsed<()> {
        if self.is_keyword("IN") {
            self.symbol("(")?;
            loop {
                self.identifier("identifier")?;
                if !self.is_symbol(",") {
                    return self.symbol(")");
                }
            }
        }
        if self.is_symbol("=") || self.is_symbol("!=") || self.is_symbol("<>") {
            return self.identifier("identifier").map(drop);
        }
        if self.is_symbol("=~") || self.is_symbol("!~") {
            return self.pattern().map(drop);
        }
        self.unexpected("=, !=, =~, !~, IN")
    }

    /// To its end it is not looked at.
    fn outside(&mut self, mut name: String) -> Parsed<Statement> {
        if let Token::Keyword(keyword) = *self.peek() {
            name = format!("{name} {keyword}");
        }
        loop {
            match self.peek() {
                Token::End | Token::Symbol(";") => return Ok(Statement::Outside(name)),
                Token::Bad(_) => return self.unexpected(";"),
                Token::Keyword(_)
                | Token::Identifier(_)
                | Token::String(_)
                | Token::Integer(_)
                | Token::Number(_)
                | Token::Duration(_)
                | Token::Symbol(_)
                | Token::Regex(_) => self.next(),
            };
        }
    }

    fn on(&mut self) -> Parsed<Option<String>> {
        if self.is_keyword("ON") {
            self.identifier("identifier").map(Some)
        } else {
            Ok(None)
        }
    }

    fn from(&mut self) -> Parsed<Vec<Origin>> {
        if self.is_keyword("FROM") {
            self.origins()
        } else {
            Ok(Vec::new())
        }
    }

    fn origins(&mut self) -> Parsed<Vec<Origin>> {
        let mut origins = Vec::new();
        loop {
            origins.push(self.origin()?);
            at_most(
                "measurements of a statement",
                origins.len(),
                self.limits.fields,
            )?;
            if !self.is_symbol(",") {
                return Ok(origins);
            }
        }
    }

    /// Up to three names with points between; in the middle one may lack.
    fn origin(&mut self) -> Parsed<Origin> {
        let begin = self.begin();
        if *self.peek() == Token::Symbol("(") {
            return self.not_here("a subquery is");
        }
        let mut names: Vec<Option<String>> = Vec::new();
        let name = loop {
            if *self.peek() == Token::Symbol("/") {
                break Name::Matching(self.pattern()?);
            }
            if !names.is_empty() && self.is_symbol(".") {
                names.push(None);
                continue;
            }
            let name = self.identifier("identifier")?;
            if !self.is_symbol(".") {
                break Name::Exact(name);
            }
            names.push(Some(name));
        };
        match <[_; 0]>::try_from(names) {
            Ok([]) => Ok(Origin {
                database: None,
                policy: None,
                name,
            }),
            Err(names) => match <[_; 1]>::try_from(names) {
                Ok([policy]) => Ok(Origin {
                    database: None,
                    policy,
                    name,
                }),
                Err(names) => match <[_; 2]>::try_from(names) {
                    Ok([database, policy]) => Ok(Origin {
                        database,
                        policy,
                        name,
                    }),
                    Err(names) => {
                        let (line, char) = Lexer::position(self.text, &Token::Symbol("."), begin);
                        Err(ParseError::Other(format!(
                            "too many segments in a measurement's name: {}, limit 3 at line {line}, char {char}",
                            names.len() + 1
                        )))
                    }
                },
            },
        }
    }

    fn page(&mut self, limit: &'static str, offset: &'static str) -> Parsed<Page> {
        let limit = if self.is_keyword(limit) {
            self.integer()?
        } else {
            0
        };
        let offset = if self.is_keyword(offset) {
            self.integer()?
        } else {
            0
        };
        Ok(Page { limit, offset })
    }

    fn integer(&mut self) -> Parsed<u64> {
        let Token::Integer(value) = *self.peek() else {
            return self.unexpected("integer");
        };
        self.next();
        // A token has no sign.
        Ok(value.unsigned_abs())
    }

    fn pattern(&mut self) -> Parsed<Pattern> {
        let begin = self.begin();
        let Some(Token::Regex(text)) = self.lexer.regex(begin) else {
            return self.unexpected("regex");
        };
        self.peeked = None;
        Pattern::new(&text).map_err(|error| {
            let (line, char) = Lexer::position(self.text, &Token::Symbol("/"), begin);
            ParseError::Other(format!(
                "error parsing regexp: {error} at line {line}, char {char}"
            ))
        })
    }

    fn identifier(&mut self, expected: &str) -> Parsed<String> {
        let Token::Identifier(name) = self.peek() else {
            return self.unexpected(expected);
        };
        let name = name.clone();
        self.next();
        Ok(name)
    }

    fn one_of(&mut self, keywords: &'static [&'static str]) -> Parsed<&'static str> {
        if let Token::Keyword(found) = *self.peek()
            && keywords.contains(&found)
        {
            self.next();
            return Ok(found);
        }
        self.unexpected(&keywords.join(", "))
    }

    fn keyword(&mut self, keyword: &'static str) -> Parsed<()> {
        if self.is_keyword(keyword) {
            Ok(())
        } else {
            self.unexpected(keyword)
        }
    }

    fn symbol(&mut self, symbol: &'static str) -> Parsed<()> {
        if self.is_symbol(symbol) {
            Ok(())
        } else {
            self.unexpected(symbol)
        }
    }

    /// Takes it, if it comes next.
    fn is_keyword(&mut self, keyword: &'static str) -> bool {
        let found = *self.peek() == Token::Keyword(keyword);
        if found {
            self.next();
        }
        found
    }

    /// Takes it, if it comes next.
    fn is_symbol(&mut self, symbol: &'static str) -> bool {
        let found = *self.peek() == Token::Symbol(symbol);
        if found {
            self.next();
        }
        found
    }

    fn unexpected<T>(&mut self, expected: &str) -> Parsed<T> {
        let begin = self.begin();
        Err(ParseError::unexpected(
            self.text,
            self.peek(),
            begin,
            expected,
        ))
    }

    fn not_here<T>(&mut self, what: &'static str) -> Parsed<T> {
        let begin = self.begin();
        let (line, char) = Lexer::position(self.text, self.peek(), begin);
        Err(ParseError::Outside { what, line, char })
    }

    fn begin(&mut self) -> usize {
        self.peeked().1
    }

    fn peek(&mut self) -> &Token {
        &self.peeked().0
    }

    fn peeked(&mut self) -> &(Token, usize) {
        let lexer = &mut self.lexer;
        self.peeked.get_or_insert_with(|| lexer.token())
    }

    fn next(&mut self) -> (Token, usize) {
        self.peeked.take().unwrap_or_else(|| self.lexer.token())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ast::{Expr, Literal, Operator};

    const WRITTEN: &str = include_str!("../tests/fixtures/statements.txt");

    fn is_same_again(text: &str) -> bool {
        let limits = Limits::default();
        let Ok(statements) = parse(text, &limits) else {
            return true;
        };
        statements.iter().all(|statement| {
            let Statement::Select(select) = statement else {
                return true;
            };
            let written = select.to_string();
            parse(&written, &limits).as_deref() == Ok(std::slice::from_ref(statement))
        })
    }

    #[test]
    fn what_is_parsed_can_be_written_and_parsed_again() {
        for text in WRITTEN.lines().filter(|it| !it.starts_with(['#', '@'])) {
            assert!(is_same_again(text), "{text}");
        }
    }

    fn check(text: &str, expected: &str) {
        let error = parse(text, &Limits::default()).expect_err(text).to_string();
        assert_eq!(error, format!("error parsing query: {expected}"));
    }

    #[test]
    fn errors_say_where() {
        check(
            "SELECT a FRM m",
            "found FRM, expected FROM at line 1, char 10",
        );
        check(
            "SELECT a\nFROM m\n  LIMIT x",
            "found x, expected integer at line 3, char 9",
        );
        check(
            "SELECT é FROM m",
            "found é, expected identifier, string, number, bool at line 1, char 8",
        );
        check(
            "SELECT a FROM m WHERE t > 5x",
            "invalid number or duration: 5x",
        );
        check(
            "SELECT a FROM (SELECT b FROM m)",
            "a subquery is outside the subset that is answered here, at line 1, char 15",
        );
        check(
            "SELECT a FROM a.b.c.d",
            "too many segments in a measurement's name: 4, limit 3 at line 1, char 15",
        );
    }

    fn expr() -> impl Strategy<Value = Expr> {
        let leaf = prop_oneof![
            "[a-zA-Z_ \\\\\"'./\\n]{1,8}".prop_map(Expr::Field),
            any::<u32>().prop_map(|it| Expr::Number(Literal::Integer(i64::from(it)))),
            (0.0..1e9f64).prop_map(|it| Expr::Number(Literal::Float(it))),
            any::<u32>().prop_map(|it| Expr::Duration(i64::from(it))),
            "\\PC{0,8}".prop_map(Expr::String),
            any::<bool>().prop_map(Expr::Boolean),
        ];
        leaf.prop_recursive(4, 24, 3, |inner| {
            let arithmetic: Vec<Operator> = Operator::ALL
                .into_iter()
                .filter(|it| it.is_arithmetic())
                .collect();
            let paren = inner.clone().prop_map(|it| Expr::Paren(Box::new(it)));
            prop_oneof![
                (
                    prop::sample::select(arithmetic),
                    paren.clone(),
                    paren.clone()
                )
                    .prop_map(|(operator, a, b)| Expr::Binary(
                        operator,
                        Box::new(a),
                        Box::new(b)
                    )),
                prop::collection::vec(inner, 0..3).prop_map(|it| Expr::Call("f".to_owned(), it)),
                paren,
            ]
        })
    }

    proptest! {
        #[test]
        fn expressions_can_be_written_and_parsed_again(expr in expr()) {
            let text = format!("SELECT {expr} FROM m");
            let statements = parse(&text, &Limits::default());
            let Ok([Statement::Select(select)]) = statements.as_deref() else {
                return Err(TestCaseError::fail(format!("{text}: {statements:?}")));
            };
            prop_assert_eq!(&select.fields[0].expr, &expr, "{}", text);
        }

        #[test]
        fn whatever_is_parsed_can_be_written(text in "SELECT [a-z0-9 ()+*'\"/=-]{0,60} FROM m") {
            prop_assert!(is_same_again(&text));
        }
    }
}
