//! Where a pool can be asked: from what the user wrote and from what the pool says of its members.

use std::net::Ipv6Addr;

use reqwest::Url;

/// The endpoints worth trying, best first.
pub(super) struct Candidates {
    /// What the user wrote.
    configured: Vec<Url>,
    /// Where the coordinator was last.
    last: Option<Url>,
    /// The members as the pool last named them.
    members: Vec<Url>,
}

impl Candidates {
    pub(super) fn new(configured: Vec<Url>) -> Self {
        Self { configured, last: None, members: Vec::new() }
    }

    /// After a login: the coordinator, and the members by their addresses instead of all that was known before.
    pub(super) fn replace<'a>(&mut self, coordinator: &Url, addresses: impl Iterator<Item = &'a str>) {
        self.members = addresses.filter_map(|address| of_member(coordinator, address)).collect();
        self.last = Some(coordinator.clone());
    }

    /// The rounds of a search: each is tried at once, the next only where the one before found nothing. What the user wrote
    /// comes last, for pools whose members are known inside under addresses that do not work from here. The pool's uuid is
    /// checked wherever the answer came from.
    pub(super) fn rounds(&self) -> Vec<Vec<Url>> {
        let mut rounds: Vec<Vec<Url>> = Vec::new();
        rounds.extend(self.last.clone().map(|last| vec![last]));
        rounds.push(self.members.clone());
        rounds.push(self.configured.clone());
        rounds.retain(|round| !round.is_empty());
        rounds
    }
}

/// The endpoint of a member known by its address, reached the same way as `like`: same scheme, and same port unless the
/// address names one.
pub(super) fn of_member(like: &Url, address: &str) -> Option<Url> {
    let address = address.trim();
    if address.is_empty() {
        return None;
    }
    let bare_v6 = address.parse::<Ipv6Addr>().is_ok();
    let authority = if bare_v6 { format!("[{address}]") } else { address.to_owned() };
    let named: Url = format!("{}://{authority}/", like.scheme()).parse().ok()?;
    let mut url = like.clone();
    url.set_host(named.host_str()).ok()?;
    if named.port().is_some() {
        url.set_port(named.port()).ok()?;
    }
    Some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn members_are_reached_like_the_endpoint_that_answered() {
        for (like, address, expected) in [
            ("https://xen1.example.org", "10.0.0.2", Some("https://10.0.0.2/")),
            ("https://xen1.example.org:8443", "10.0.0.2", Some("https://10.0.0.2:8443/")),
            ("https://xen1.example.org", "2001:db8::2", Some("https://[2001:db8::2]/")),
            ("https://xen1.example.org", "[2001:db8::2]", Some("https://[2001:db8::2]/")),
            ("http://127.0.0.1:8080", "127.0.0.1:8081", Some("http://127.0.0.1:8081/")),
            ("https://xen1.example.org", "", None),
            ("https://xen1.example.org", "not a host", None),
        ] {
            assert_eq!(of_member(&url(like), address).map(String::from).as_deref(), expected, "{address}");
        }
    }

    #[test]
    fn membership_is_replaced_and_never_added_to() {
        let mut candidates = Candidates::new(vec![url("https://a")]);
        candidates.replace(&url("https://a"), ["10.0.0.1", "10.0.0.2"].into_iter());
        candidates.replace(&url("https://10.0.0.1"), ["10.0.0.1", "10.0.0.3"].into_iter());
        assert_eq!(
            candidates.rounds(),
            [
                vec![url("https://10.0.0.1")],
                vec![url("https://10.0.0.1"), url("https://10.0.0.3")],
                vec![url("https://a")],
            ]
        );
    }
}
