//! Reads of many pages: complete or an error.

use crate::provider::{ErrorKind, ProviderError, Result};

/// Pages of one read after which something is wrong with the endpoint: a million instances.
const MAX_PAGES: u32 = 1000;

/// Where a paginated read stands.
#[derive(Debug, Default)]
pub(in crate::provider) struct Pages {
    pub(in crate::provider) token: Option<String>,
    count: u32,
}

impl Pages {
    /// Notes the end of a page. `false`: it was the last.
    pub(in crate::provider) fn next(&mut self, act: &str, token: Option<&str>) -> Result<bool> {
        self.count += 1;
        let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(false) };
        if self.token.as_deref() == Some(token) || self.count >= MAX_PAGES {
            let message = format!("the list does not end after {} pages", self.count);
            return Err(ProviderError::new(ErrorKind::Unavailable, act, message));
        }
        self.token = Some(token.to_owned());
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_end() {
        let mut pages = Pages::default();
        assert!(pages.next("list", Some("a")).unwrap());
        assert!(pages.next("list", Some("b")).unwrap());
        assert!(!pages.next("list", None).unwrap());
        let mut pages = Pages::default();
        assert!(!pages.next("list", Some("")).unwrap(), "an empty token ends the list too");
    }

    #[test]
    fn a_list_that_goes_in_circles_is_an_error() {
        let mut pages = Pages::default();
        pages.next("list", Some("a")).unwrap();
        assert_eq!(pages.next("list", Some("a")).unwrap_err().kind, ErrorKind::Unavailable);
    }
}
