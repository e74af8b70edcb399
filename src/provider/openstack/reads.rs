//! Reads of Nova: all pages of them, or a failure.

use super::{
    client::{Api, Request},
    wire::{Flavor, Flavors, Link, OneServer, Server, Servers},
};
use crate::provider::{ErrorKind, ProviderError, Result, rented::pages::Pages};

/// What names the next page: the last entry of this one, where Nova says that there is one.
fn next<'a>(links: &[Link], last: Option<&'a str>) -> Option<&'a str> {
    last.filter(|_| links.iter().any(|link| link.rel == "next"))
}

fn marker(pages: &Pages) -> String {
    pages.token.as_ref().map(|marker| format!("&marker={marker}")).unwrap_or_default()
}

impl Api {
    /// The servers that carry all these tags.
    pub(super) async fn servers(&self, act: &str, tags: &[String], page_size: usize) -> Result<Vec<Server>> {
        let (mut pages, mut all) = (Pages::default(), Vec::new());
        loop {
            let tags = tags.join(",");
            let path = format!("/servers/detail?tags={tags}&limit={page_size}{}", marker(&pages));
            let page: Servers = self.ask(act, Request::get(path)).await.map_err(|error| {
                // The last server of one page was removed before the next was asked for.
                if error.kind == ErrorKind::Invalid && pages.token.is_some() {
                    return ProviderError::new(ErrorKind::Unavailable, act, error.message);
                }
                error
            })?;
            if let Some(dark) = page.servers.iter().find(|server| server.metadata.is_none()) {
                let message = format!("a part of the cloud does not answer, and server {} is in it", dark.id);
                return Err(ProviderError::new(ErrorKind::Unavailable, act, message));
            }
            let last = page.servers.last().map(|server| server.id.clone());
            let more = pages.next(act, next(&page.servers_links, last.as_deref()))?;
            all.extend(page.servers);
            if !more {
                return Ok(all);
            }
        }
    }

    /// One server.
    pub(super) async fn server(&self, act: &str, id: &str) -> Result<Server> {
        let found: Result<OneServer> = self.ask(act, Request::get(format!("/servers/{id}"))).await;
        match found {
            Ok(one) => Ok(one.server),
            Err(error) if error.kind == ErrorKind::NotFound => {
                Err(ProviderError::new(ErrorKind::NotFound, act, format!("there is no server {id} in the project")))
            }
            Err(error) => Err(error),
        }
    }

    /// All flavours that the project may use.
    pub(super) async fn flavors(&self, act: &str) -> Result<Vec<Flavor>> {
        let (mut pages, mut all) = (Pages::default(), Vec::new());
        loop {
            let path = format!("/flavors/detail?limit=500{}", marker(&pages));
            let page: Flavors = self.ask(act, Request::get(path)).await?;
            let last = page.flavors.last().map(|flavor| flavor.id.clone());
            let more = pages.next(act, next(&page.flavors_links, last.as_deref()))?;
            all.extend(page.flavors);
            if !more {
                return Ok(all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_another_after_it_where_nova_says_so() {
        let links = [Link { rel: "next".into() }];
        assert_eq!(next(&links, Some("a")), Some("a"));
        assert_eq!(next(&links, None), None);
        assert_eq!(next(&[Link { rel: "self".into() }], Some("a")), None);
    }
}
