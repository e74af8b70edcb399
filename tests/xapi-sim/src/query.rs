//! The expressions of `get_all_records_where`: `field "power_state" = "Running" and not (field "is_a_template" = "true")`.

use crate::error::{ApiError, ApiResult};
use crate::value::{Map, Value};

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Query {
    True,
    False,
    Equal(Operand, Operand),
    Not(Box<Query>),
    And(Box<Query>, Box<Query>),
    Or(Box<Query>, Box<Query>),
}

/// A side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operand {
    Field(String),
    Literal(String),
}

impl Operand {
    fn text(&self, fields: &Map) -> String {
        match self {
            Self::Literal(text) => text.clone(),
            Self::Field(name) => match fields.get(name.as_str()) {
                Some(Value::Bool(b)) => b.to_string(),
                Some(Value::Int(i)) => i.to_string(),
                Some(value) => value.as_str().to_owned(),
                None => String::new(),
            },
        }
    }
}

impl Query {
    pub(crate) fn holds(&self, fields: &Map) -> bool {
        match self {
            Self::True => true,
            Self::False => false,
            Self::Equal(a, b) => a.text(fields) == b.text(fields),
            Self::Not(a) => !a.holds(fields),
            Self::And(a, b) => a.holds(fields) && b.holds(fields),
            Self::Or(a, b) => a.holds(fields) || b.holds(fields),
        }
    }
}

pub(crate) fn parse(text: &str) -> ApiResult<Query> {
    let bad = || ApiError::internal(format!("Db_filter.Expression_error({text:?}, Parsing.Parse_error)"));
    let tokens = tokens(text).ok_or_else(bad)?;
    let mut parser = Parser { tokens: &tokens, at: 0 };
    let query = parser.either().ok_or_else(bad)?;
    if parser.at == tokens.len() { Ok(query) } else { Err(bad()) }
}

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Mark(char),
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '(' | ')' | '=' => tokens.push(Token::Mark(c)),
            '"' | '\'' => {
                let mut inner = String::new();
                loop {
                    match chars.next()? {
                        end if end == c => break,
                        '\\' => inner.push(chars.next()?),
                        other => inner.push(other),
                    }
                }
                tokens.push(Token::Text(inner));
            }
            c => {
                let mut word = String::from(c);
                while let Some(next) = chars.next_if(|n| n.is_alphanumeric() || *n == '_') {
                    word.push(next);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Some(tokens)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Parser<'_> {
    fn take(&mut self, wanted: &Token) -> bool {
        let found = self.tokens.get(self.at) == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &str) -> bool {
        self.take(&Token::Word(word.to_owned()))
    }

    fn either(&mut self) -> Option<Query> {
        let mut left = self.both()?;
        while self.word("or") {
            left = Query::Or(Box::new(left), Box::new(self.both()?));
        }
        Some(left)
    }

    fn both(&mut self) -> Option<Query> {
        let mut left = self.unary()?;
        while self.word("and") {
            left = Query::And(Box::new(left), Box::new(self.unary()?));
        }
        Some(left)
    }

    fn unary(&mut self) -> Option<Query> {
        if self.word("not") {
            return Some(Query::Not(Box::new(self.unary()?)));
        }
        if self.take(&Token::Mark('(')) {
            let inner = self.either()?;
            return self.take(&Token::Mark(')')).then_some(inner);
        }
        if self.word("true") {
            return Some(Query::True);
        }
        if self.word("false") {
            return Some(Query::False);
        }
        let left = self.operand()?;
        if !self.take(&Token::Mark('=')) {
            return None;
        }
        Some(Query::Equal(left, self.operand()?))
    }

    fn operand(&mut self) -> Option<Operand> {
        let is_field = self.word("field");
        let Token::Text(text) = self.tokens.get(self.at)? else { return None };
        self.at += 1;
        Some(if is_field { Operand::Field(text.clone()) } else { Operand::Literal(text.clone()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_hold_or_do_not() {
        let fields: Map = [("power_state", Value::str("Running")), ("is_a_template", Value::Bool(false))]
            .into_iter()
            .map(|(k, v)| (k.into(), v))
            .collect();
        for (text, expected) in [
            ("true", true),
            (r#"field "power_state" = "Running""#, true),
            (r#"not field "power_state"="Running""#, false),
            (r#"field "is_a_template" = "false" and (field "power_state" = "Halted" or true)"#, true),
            (r#"field "absent" = """#, true),
            ("'a' = 'b' or false", false),
        ] {
            assert_eq!(parse(text).unwrap().holds(&fields), expected, "{text}");
        }
        for broken in ["", "field", "true true", "(true", r#"field "x" = "#, r#""open"#] {
            assert_eq!(parse(broken).unwrap_err().code, "INTERNAL_ERROR", "{broken}");
        }
    }
}
