//! The two wires: what a request is once parsed, and how its answer is written.

pub(crate) mod json;
pub(crate) mod xml;

use crate::error::ApiResult;
use crate::value::Value;

/// How the client framed its call, which is how the answer must be framed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Framing {
    Xml,
    JsonRpc1 { id: serde_json::Value },
    JsonRpc2 { id: serde_json::Value },
}

/// A call as it came in.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) framing: Framing,
    pub(crate) method: String,
    pub(crate) params: Vec<Value>,
}

/// How numbers are written in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ints {
    /// As xapi 26.x does.
    AsNumbers,
    /// As older xapi does.
    AsStrings,
}

/// The body of an answer and its exact content type.
pub(crate) fn write_answer(request: &Request, result: &ApiResult<Value>, ints: Ints) -> (String, &'static str) {
    match &request.framing {
        Framing::Xml => (xml::answer(&request.method, result), "text/xml"),
        Framing::JsonRpc1 { id } => (json::answer_1(id, result, ints), "application/json"),
        Framing::JsonRpc2 { id } => (json::answer_2(id, result, ints), "application/json"),
    }
}
