//! The action that a request asks for, where protocols send all of them to one path.

/// Bytes of a body that are looked at. The names stand at its beginning.
pub const LOOK_AT: usize = 1 << 20;

/// Whether a body of this media type can name an action.
#[must_use]
pub fn may_be_named(content_type: &str) -> bool {
    ["x-www-form-urlencoded", "xml", "json"].iter().any(|kind| content_type.contains(kind))
}

/// `Action` of a form (EC2), `method` of a JSON-RPC call, `methodName` of an XML-RPC call; else method and path, such as
/// `GET /api/v1/pods`.
#[must_use]
pub fn of(method: &str, path: &str, content_type: &str, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let named = if content_type.contains("x-www-form-urlencoded") {
        text.split('&').find_map(|pair| pair.strip_prefix("Action=")).map(str::to_owned)
    } else if content_type.contains("xml") {
        let after = text.split_once("<methodName>").map(|(_, after)| after);
        after.and_then(|after| after.split_once("</methodName>")).map(|(name, _)| name.trim().to_owned())
    } else if content_type.contains("json") {
        json_method(&text)
    } else {
        None
    };
    named.unwrap_or_else(|| format!("{method} {path}"))
}

/// Whether a request changes something at its server, by what its protocol calls such requests: what does not only read,
/// watch, or open and close a session.
#[must_use]
pub fn changes(method: &str, action: &str) -> bool {
    if action.starts_with(&format!("{method} ")) {
        return !matches!(method, "GET" | "HEAD" | "OPTIONS");
    }
    let call = action.strip_prefix("Async.").unwrap_or(action);
    match call.split_once('.') {
        Some((class, call)) => {
            !(call.starts_with("get_")
                || call.starts_with("assert_")
                || call.starts_with("is_")
                || matches!(class, "session" | "event" | "system"))
        }
        None => !(call.starts_with("Describe") || call.starts_with("Get")),
    }
}

fn json_method(text: &str) -> Option<String> {
    // An object of the Kubernetes API is JSON too: a call has parameters or a version beside its method.
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let is_call = value.get("params").is_some() || value.get("jsonrpc").is_some();
    value.get("method").filter(|_| is_call)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_change_nothing() {
        for (method, action) in [
            ("GET", "GET /api/v1/pods"),
            ("POST", "VM.get_all_records"),
            ("POST", "event.from"),
            ("POST", "session.login_with_password"),
            ("POST", "VM.assert_can_boot_here"),
            ("POST", "DescribeInstances"),
        ] {
            assert!(!changes(method, action), "{action}");
        }
        for (method, action) in [
            ("PATCH", "PATCH /apis/innkeeper.dev/v1alpha1/guests/a/status"),
            ("DELETE", "DELETE /api/v1/pods/a"),
            ("POST", "Async.VM.clone"),
            ("POST", "task.destroy"),
            ("POST", "RunInstances"),
            ("POST", "CreateTags"),
        ] {
            assert!(changes(method, action), "{action}");
        }
    }

    #[test]
    fn protocols_name_their_actions() {
        for (content_type, body, expected) in [
            ("application/x-www-form-urlencoded", "Action=RunInstances&Version=2016-11-15", "RunInstances"),
            ("application/x-www-form-urlencoded; charset=utf-8", "Version=1&Action=StopInstances", "StopInstances"),
            ("application/json", r#"{"jsonrpc":"2.0","method":"VM.clone","params":["s"],"id":1}"#, "VM.clone"),
            ("application/json", r#"{"method":"VM.start","params":[]}"#, "VM.start"),
            ("text/xml", "<methodCall><methodName>VM.get_all</methodName></methodCall>", "VM.get_all"),
            ("application/json", r#"{"kind":"Pod","method":"x"}"#, "POST /path"),
            ("application/json", "not json", "POST /path"),
            ("application/octet-stream", "Action=RunInstances", "POST /path"),
        ] {
            assert_eq!(of("POST", "/path", content_type, body.as_bytes()), expected, "{body}");
        }
    }
}
