//! XAPI's calls and answers as JSON-RPC.
//!
//! Requests are JSON-RPC 2.0. Answers are understood in the shapes of 2.0 (`error: {code, message, data}`) and of 1.0
//! (`error: [CODE, args..]` beside `result`), which older pools send whatever was asked.

use serde::{Deserialize, de::DeserializeOwned, de::IgnoredAny};
use serde_json::{Value, json};
use snafu::Snafu;

use super::fault::Fault;

/// Why an answer is not a result.
#[derive(Debug, Snafu)]
pub(super) enum AnswerError {
    /// XAPI refused or failed the call.
    #[snafu(display("{fault}"))]
    Refused {
        /// What it said.
        fault: Fault,
    },
    /// The answer is not JSON-RPC, or its result is not what the call gives.
    #[snafu(display("the answer cannot be read"))]
    Unreadable {
        /// What the JSON reader said.
        source: serde_json::Error,
    },
}

/// The body of a call.
pub(super) fn encode(method: &str, params: &[Value]) -> Vec<u8> {
    json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": 1 }).to_string().into_bytes()
}

#[derive(Deserialize)]
struct Success<T> {
    result: T,
    #[serde(default)]
    error: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Failure {
    error: Option<FailureBody>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum FailureBody {
    Two {
        message: String,
        #[serde(default)]
        data: Value,
    },
    One(Vec<Value>),
}

/// Reads an answer's body.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, AnswerError> {
    match decode_strict(body) {
        Err(AnswerError::Unreadable { source }) if has_bare_float(body) => decode_strict(&without_bare_floats(body))
            .map_err(|again| match again {
                AnswerError::Unreadable { .. } => AnswerError::Unreadable { source },
                refused @ AnswerError::Refused { .. } => refused,
            }),
        other => other,
    }
}

fn decode_strict<T: DeserializeOwned>(body: &[u8]) -> Result<T, AnswerError> {
    let source = match serde_json::from_slice::<Success<T>>(body) {
        Ok(Success { result, error: None }) => return Ok(result),
        Ok(_) => None,
        Err(source) => Some(source),
    };
    match (serde_json::from_slice::<Failure>(body), source) {
        (Ok(Failure { error: Some(body) }), _) => RefusedSnafu { fault: fault(body) }.fail(),
        (_, Some(source)) | (Err(source), None) => Err(AnswerError::Unreadable { source }),
        // Both readers agree that there is an error and disagree whether there is: cannot be, but must not be a success.
        (Ok(Failure { error: None }), None) => RefusedSnafu { fault: Fault::new("INTERNAL_ERROR", Vec::new()) }.fail(),
    }
}

fn fault(body: FailureBody) -> Fault {
    match body {
        FailureBody::Two { message, data } => {
            let params = match data {
                Value::Array(items) => items.iter().map(text).collect(),
                Value::Null => Vec::new(),
                other => vec![text(&other)],
            };
            Fault::new(message, params)
        }
        FailureBody::One(items) => {
            let mut items = items.iter().map(text);
            Fault::new(items.next().unwrap_or_else(|| "INTERNAL_ERROR".into()), items.collect())
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

const BARE_FLOATS: [&[u8]; 5] = [b"-Infinity", b"+Infinity", b"Infinity", b"NaN", b"-nan"];

fn has_bare_float(body: &[u8]) -> bool {
    BARE_FLOATS.iter().any(|name| body.windows(name.len()).any(|window| window == *name))
}

/// The body with `Infinity` and `NaN`, which xapi writes for floats and JSON has no words for, made `null`.
fn without_bare_floats(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let (mut rest, mut in_string) = (body, false);
    while let Some((&byte, after)) = rest.split_first() {
        if !in_string && let Some(name) = BARE_FLOATS.iter().find(|name| rest.starts_with(name)) {
            out.extend_from_slice(b"null");
            rest = &rest[name.len()..];
            continue;
        }
        out.push(byte);
        rest = after;
        if in_string && byte == b'\\' {
            if let Some((&escaped, after)) = rest.split_first() {
                out.push(escaped);
                rest = after;
            }
        } else if byte == b'"' {
            in_string = !in_string;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(body: &str) -> Fault {
        match decode::<String>(body.as_bytes()) {
            Err(AnswerError::Refused { fault }) => fault,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn results_of_both_versions_are_read() {
        for body in [
            r#"{"jsonrpc":"2.0","result":"x","id":1}"#,
            r#"{"result":"x","error":null,"id":1}"#,
            r#"{"result":"x","id":1,"extra":[1]}"#,
        ] {
            assert_eq!(decode::<String>(body.as_bytes()).unwrap(), "x", "{body}");
        }
    }

    #[test]
    fn errors_of_both_versions_are_read() {
        let expected = Fault::new("HOST_IS_SLAVE", vec!["10.99.0.11".to_owned()]);
        for body in [
            r#"{"jsonrpc":"2.0","error":{"code":1,"message":"HOST_IS_SLAVE","data":["10.99.0.11"]},"id":1}"#,
            r#"{"result":null,"error":["HOST_IS_SLAVE","10.99.0.11"],"id":1}"#,
            r#"{"result":"","error":["HOST_IS_SLAVE","10.99.0.11"],"id":1}"#,
        ] {
            assert_eq!(refused(body), expected, "{body}");
        }
        assert_eq!(refused(r#"{"error":{"code":1,"message":"X"},"id":1}"#), Fault::new("X", vec![]));
        assert_eq!(refused(r#"{"error":["X", 5],"result":null}"#), Fault::new("X", vec!["5".to_owned()]));
    }

    #[test]
    fn what_is_no_answer_is_unreadable() {
        for body in ["", "<html>500</html>", "[]", r#"{"id":1}"#, r#"{"result":5,"id":1}"#] {
            assert!(matches!(decode::<String>(body.as_bytes()), Err(AnswerError::Unreadable { .. })), "{body}");
        }
    }

    #[test]
    fn bare_infinities_do_not_spoil_an_answer() {
        let body = r#"{"result":{"a":-Infinity,"b":NaN,"c":"NaN \" Infinity"},"id":1}"#;
        let value: Value = decode(body.as_bytes()).unwrap();
        assert_eq!(value, json!({ "a": null, "b": null, "c": "NaN \" Infinity" }));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Value>(&body);
        }

        #[test]
        fn strings_survive_the_float_repair(text in ".{0,40}") {
            let body = json!({ "result": [text], "id": 1 }).to_string();
            let repaired = without_bare_floats(body.as_bytes());
            prop_assert_eq!(body.as_bytes(), repaired.as_slice());
        }
    }
}
