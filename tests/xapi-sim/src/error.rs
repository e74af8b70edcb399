//! XAPI's own failures: a code and its parameters, as they travel on both wires.

/// What every simulated call returns.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

/// A XAPI error: `ErrorDescription` on the XML wire, `[code, params..]` on the JSON wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) code: String,
    pub(crate) params: Vec<String>,
}

impl ApiError {
    pub(crate) fn new<I, S>(code: &str, params: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self { code: code.to_owned(), params: params.into_iter().map(Into::into).collect() }
    }

    pub(crate) fn bare(code: &str) -> Self {
        Self { code: code.to_owned(), params: Vec::new() }
    }

    pub(crate) fn handle_invalid(class: &str, reference: &str) -> Self {
        Self::new("HANDLE_INVALID", [class, reference])
    }

    pub(crate) fn internal(text: impl Into<String>) -> Self {
        Self::new("INTERNAL_ERROR", [text.into()])
    }

    /// The code followed by its parameters, as `task.error_info` holds them.
    pub(crate) fn description(&self) -> Vec<String> {
        std::iter::once(self.code.clone()).chain(self.params.iter().cloned()).collect()
    }
}
