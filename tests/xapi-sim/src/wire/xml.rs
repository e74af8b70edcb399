//! The XML-RPC wire.

use std::fmt::Write as _;
use std::sync::Arc;

use quick_xml::escape::{escape, unescape};
use quick_xml::events::Event;
use quick_xml::reader::Reader;

use super::{Framing, Request};
use crate::error::ApiResult;
use crate::value::{Map, Value};

/// How deep a request's values may nest; deeper ones are malformed.
const MAX_DEPTH: usize = 32;

/// One step through a document: empty elements count as a start and an end.
#[derive(Debug, PartialEq)]
enum Token {
    Start(String),
    Text(String),
    End(String),
}

/// Reads a request; `None` when it is malformed.
pub(crate) fn read(body: &[u8]) -> Option<Request> {
    let tokens = tokens(std::str::from_utf8(body).ok()?)?;
    let mut cursor = Cursor { tokens: &tokens, at: 0 };
    cursor.open("methodCall")?;
    cursor.open("methodName")?;
    let method = cursor.text().trim().to_owned();
    cursor.close("methodName")?;
    let mut params = Vec::new();
    if cursor.open("params").is_some() {
        while cursor.open("param").is_some() {
            params.push(cursor.value(0)?);
            cursor.close("param")?;
        }
        cursor.close("params")?;
    }
    cursor.close("methodCall")?;
    Some(Request { framing: Framing::Xml, method, params })
}

/// Reads a document into tokens without the white space between elements.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut reader = Reader::from_str(text);
    let mut tokens = Vec::new();
    let mut pending = String::new();
    loop {
        let event = reader.read_event().ok()?;
        match &event {
            Event::Text(t) => pending.push_str(&unescape(t).ok()?),
            Event::CData(t) => pending.push_str(t),
            Event::GeneralRef(r) => {
                pending.push_str(&unescape(&format!("&{};", &**r)).ok()?);
            }
            Event::Start(_) | Event::End(_) | Event::Empty(_) | Event::Eof => {
                let ends_leaf = matches!(&event, Event::End(_)) && matches!(tokens.last(), Some(Token::Start(_)));
                if ends_leaf || !pending.trim().is_empty() {
                    tokens.push(Token::Text(std::mem::take(&mut pending)));
                }
                pending.clear();
            }
            _ => {}
        }
        match event {
            Event::Start(e) => tokens.push(Token::Start(e.name().as_ref().to_owned())),
            Event::End(e) => tokens.push(Token::End(e.name().as_ref().to_owned())),
            Event::Empty(e) => {
                let name = e.name().as_ref().to_owned();
                tokens.push(Token::Start(name.clone()));
                tokens.push(Token::Text(String::new()));
                tokens.push(Token::End(name));
            }
            Event::Eof => return Some(tokens),
            _ => {}
        }
    }
}

struct Cursor<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl Cursor<'_> {
    fn open(&mut self, name: &str) -> Option<()> {
        matches!(self.tokens.get(self.at)?, Token::Start(n) if n == name).then(|| self.at += 1)
    }

    fn close(&mut self, name: &str) -> Option<()> {
        // An element whose content was empty was given an empty text by the tokeniser.
        if matches!(self.tokens.get(self.at)?, Token::Text(t) if t.trim().is_empty()) {
            self.at += 1;
        }
        matches!(self.tokens.get(self.at)?, Token::End(n) if n == name).then(|| self.at += 1)
    }

    fn text(&mut self) -> String {
        match self.tokens.get(self.at) {
            Some(Token::Text(t)) => {
                self.at += 1;
                t.clone()
            }
            _ => String::new(),
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.open("value")?;
        let Token::Start(kind) = self.tokens.get(self.at)? else {
            let text = self.text();
            self.close("value")?;
            return Some(Value::str(text));
        };
        let kind = kind.clone();
        self.at += 1;
        let value = match kind.as_str() {
            "array" => self.array(depth)?,
            "struct" => self.members(depth)?,
            scalar => scalar_value(scalar, &self.text())?,
        };
        self.close(&kind)?;
        self.close("value")?;
        Some(value)
    }

    fn array(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        self.open("data")?;
        while matches!(self.tokens.get(self.at)?, Token::Start(n) if n == "value") {
            items.push(self.value(depth + 1)?);
        }
        self.close("data")?;
        Some(Value::Set(items))
    }

    fn members(&mut self, depth: usize) -> Option<Value> {
        let mut map = Map::new();
        while self.open("member").is_some() {
            self.open("name")?;
            let name = self.text();
            self.close("name")?;
            let value = self.value(depth + 1)?;
            map.insert(Arc::from(name), value);
            self.close("member")?;
        }
        Some(Value::Map(map))
    }
}

fn scalar_value(kind: &str, text: &str) -> Option<Value> {
    match kind {
        "string" => Some(Value::str(text)),
        "int" | "i4" | "i8" => text.trim().parse().ok().map(Value::Int),
        "double" => text.trim().parse().ok().map(Value::Float),
        "boolean" => Some(Value::Bool(text.trim() == "1")),
        "dateTime.iso8601" => Some(Value::str(text.trim())),
        "nil" => Some(Value::Void),
        _ => None,
    }
}

/// Writes `<value>..</value>`, integers as text and plain strings without an element of their own.
pub(crate) fn write(value: &Value, out: &mut String) {
    out.push_str("<value>");
    let _ = match value {
        Value::Void => Ok(()),
        Value::Bool(b) => write!(out, "<boolean>{}</boolean>", u8::from(*b)),
        Value::Int(i) => write!(out, "{i}"),
        Value::Float(f) => write!(out, "<double>{f:?}</double>"),
        Value::Str(s) => {
            out.push_str(&escape(&**s));
            Ok(())
        }
        Value::Time(t) => write!(out, "<dateTime.iso8601>{t}</dateTime.iso8601>"),
        Value::Set(items) => {
            out.push_str("<array><data>");
            for item in items {
                write(item, out);
            }
            out.push_str("</data></array>");
            Ok(())
        }
        Value::Map(map) => {
            write_members(map, out);
            Ok(())
        }
        Value::Record(map) => {
            write_members(map, out);
            Ok(())
        }
    };
    out.push_str("</value>");
}

fn write_members(map: &Map, out: &mut String) {
    out.push_str("<struct>");
    for (key, value) in map.iter().filter(|(_, v)| **v != Value::Void) {
        let _ = write!(out, "<member><name>{}</name>", escape(&**key));
        write(value, out);
        out.push_str("</member>");
    }
    out.push_str("</struct>");
}

pub(super) fn answer(method: &str, result: &ApiResult<Value>) -> String {
    let mut out = String::from("<?xml version=\"1.0\"?><methodResponse><params><param>");
    match result {
        // The one method that answers without the Status structure.
        Ok(value) if method == "system.listMethods" => write(value, &mut out),
        Ok(value) => {
            out.push_str("<value><struct><member><name>Status</name><value>Success</value></member>");
            out.push_str("<member><name>Value</name>");
            write(value, &mut out);
            out.push_str("</member></struct></value>");
        }
        Err(error) => {
            out.push_str("<value><struct><member><name>Status</name><value>Failure</value></member>");
            out.push_str("<member><name>ErrorDescription</name>");
            write(&Value::strings(error.description()), &mut out);
            out.push_str("</member></struct></value>");
        }
    }
    out.push_str("</param></params></methodResponse>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(params: &str) -> Option<Request> {
        let text =
            format!("<?xml version='1.0'?>\n<methodCall>\n<methodName>a.b</methodName>\n{params}\n</methodCall>");
        read(text.as_bytes())
    }

    fn param(value: &str) -> Option<Value> {
        call(&format!("<params><param>{value}</param></params>"))?.params.pop()
    }

    #[test]
    fn values_are_read_in_all_their_spellings() {
        for (text, expected) in [
            ("<value>plain</value>", Value::str("plain")),
            ("<value></value>", Value::str("")),
            ("<value/>", Value::str("")),
            ("<value><string/></value>", Value::str("")),
            ("<value> <string>a &lt;&amp;&#65; b</string> </value>", Value::str("a <&A b")),
            ("<value><i8>-7</i8></value>", Value::Int(-7)),
            ("<value><double>1.5</double></value>", Value::Float(1.5)),
            ("<value><boolean>1</boolean></value>", Value::Bool(true)),
            ("<value><array><data></data></array></value>", Value::Set(Vec::new())),
            ("<value><array>\n<data/>\n</array></value>", Value::Set(Vec::new())),
            ("<value><struct/></value>", Value::map(Vec::<(&str, Value)>::new())),
            (
                "<value><struct><member><name>k</name><value><array><data><value>v</value></data></array></value></member></struct></value>",
                Value::map([("k", Value::strings(["v"]))]),
            ),
        ] {
            assert_eq!(param(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let value = Value::map([
            ("text", Value::str(" <a> & \"b\" ")),
            ("set", Value::Set(vec![Value::Bool(false), Value::Float(0.5), Value::str("")])),
        ]);
        let mut text = String::new();
        write(&value, &mut text);
        assert_eq!(param(&text), Some(value));
    }

    #[test]
    fn malformed_requests_are_refused() {
        assert_eq!(call("").unwrap().params, Vec::new());
        for broken in [
            "<params><param></param></params>",
            "<params>",
            "<params><param><value><i4>x</i4></value></param></params>",
        ] {
            assert_eq!(call(broken), None, "{broken}");
        }
        let deep = format!("{}x{}", "<value><array><data>".repeat(40), "</data></array></value>".repeat(40));
        assert_eq!(param(&deep), None);
    }
}
