//! The JSON-RPC wire, 1.0 and 2.0.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value as Json;

use super::{Framing, Ints, Request};
use crate::error::ApiResult;
use crate::value::Value;

/// Reads a request; `None` when it is malformed, which xapi answers with HTTP 500 and a page of HTML.
pub(crate) fn read(body: &[u8]) -> Option<Request> {
    let json: Json = serde_json::from_slice(body).ok()?;
    let id = json.get("id").filter(|id| !id.is_null())?.clone();
    let method = json.get("method")?.as_str()?.to_owned();
    let params = json.get("params")?.as_array()?.iter().map(to_value).collect();
    let framing = match json.get("jsonrpc") {
        Some(version) if version.as_str() == Some("2.0") => Framing::JsonRpc2 { id },
        Some(_) => return None,
        None => Framing::JsonRpc1 { id },
    };
    Some(Request { framing, method, params })
}

/// Takes JSON as it is; types are applied when the method is known.
pub(crate) fn to_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Void,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => n.as_i64().map_or_else(|| Value::Float(n.as_f64().unwrap_or_default()), Value::Int),
        Json::String(s) => Value::str(s),
        Json::Array(items) => Value::Set(items.iter().map(to_value).collect()),
        Json::Object(map) => Value::Map(map.iter().map(|(k, v)| (Arc::from(k.as_str()), to_value(v))).collect()),
    }
}

/// Writes a value as xapi does: infinities and NaN bare, as they are not JSON but what it sends.
pub(crate) fn write(value: &Value, ints: Ints, out: &mut String) {
    match value {
        Value::Void => out.push_str("\"\""),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Int(i) => {
            let _ = match ints {
                Ints::AsNumbers => write!(out, "{i}"),
                Ints::AsStrings => write!(out, "\"{i}\""),
            };
        }
        Value::Float(f) => write_float(*f, out),
        Value::Str(s) | Value::Time(s) => write_text(s, out),
        Value::Set(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, ints, out);
            }
            out.push(']');
        }
        Value::Map(map) => write_map(map.iter(), ints, out),
        Value::Record(map) => write_map(map.iter(), ints, out),
    }
}

fn write_map<'a>(entries: impl Iterator<Item = (&'a Arc<str>, &'a Value)>, ints: Ints, out: &mut String) {
    out.push('{');
    let mut first = true;
    for (key, value) in entries {
        // An option that is not set is a field that is not there.
        if *value == Value::Void {
            continue;
        }
        if !first {
            out.push(',');
        }
        first = false;
        write_text(key, out);
        out.push(':');
        write(value, ints, out);
    }
    out.push('}');
}

fn write_float(float: f64, out: &mut String) {
    let _ = if float.is_nan() {
        write!(out, "NaN")
    } else if float.is_infinite() {
        write!(out, "{}Infinity", if float < 0.0 { "-" } else { "" })
    } else {
        write!(out, "{float:?}")
    };
}

fn write_text(text: &str, out: &mut String) {
    out.push('"');
    // Nearly all texts are plain. Counted over the whole text, many bytes are looked at at a time.
    if text.bytes().filter(|b| matches!(b, b'"' | b'\\' | 0..b' ')).count() == 0 {
        out.push_str(text);
        out.push('"');
        return;
    }
    let mut rest = text;
    // What needs a backslash is ASCII, so bytes may be looked at, and cut at, without decoding.
    while let Some(at) = rest.bytes().position(|b| b == b'"' || b == b'\\' || b < b' ') {
        out.push_str(&rest[..at]);
        let _ = match rest.as_bytes()[at] {
            b'\n' => write!(out, "\\n"),
            b'\t' => write!(out, "\\t"),
            b'\r' => write!(out, "\\r"),
            control if control < b' ' => write!(out, "\\u{control:04x}"),
            mark => write!(out, "\\{}", char::from(mark)),
        };
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

pub(super) fn answer_1(id: &Json, result: &ApiResult<Value>, ints: Ints) -> String {
    let mut out = String::from("{\"result\":");
    match result {
        Ok(value) => {
            write(value, ints, &mut out);
            out.push_str(",\"error\":null");
        }
        Err(error) => {
            out.push_str("null,\"error\":");
            write(&Value::strings(error.description()), ints, &mut out);
        }
    }
    let _ = write!(out, ",\"id\":{id}}}");
    out
}

pub(super) fn answer_2(id: &Json, result: &ApiResult<Value>, ints: Ints) -> String {
    let mut out = String::from("{\"jsonrpc\":\"2.0\",");
    match result {
        Ok(value) => {
            out.push_str("\"result\":");
            write(value, ints, &mut out);
        }
        Err(error) => {
            out.push_str("\"error\":{\"code\":1,\"message\":");
            write_text(&error.code, &mut out);
            out.push_str(",\"data\":");
            write(&Value::strings(&error.params), ints, &mut out);
            out.push('}');
        }
    }
    let _ = write!(out, ",\"id\":{id}}}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_json_again() {
        let text = "quote \" backslash \\ newline \n tab \t bell \u{7} ümlaut";
        let mut out = String::new();
        write(&Value::map([("t", Value::str(text)), ("gone", Value::Void)]), Ints::AsNumbers, &mut out);
        let json: Json = serde_json::from_str(&out).unwrap();
        assert_eq!(json, serde_json::json!({ "t": text }));
    }

    #[test]
    fn numbers_are_written_as_xapi_does() {
        for (value, ints, expected) in [
            (Value::Int(5), Ints::AsNumbers, "5"),
            (Value::Int(5), Ints::AsStrings, "\"5\""),
            (Value::Float(1.0), Ints::AsNumbers, "1.0"),
            (Value::Float(f64::NAN), Ints::AsNumbers, "NaN"),
            (Value::Float(f64::NEG_INFINITY), Ints::AsNumbers, "-Infinity"),
        ] {
            let mut out = String::new();
            write(&value, ints, &mut out);
            assert_eq!(out, expected);
        }
    }
}
