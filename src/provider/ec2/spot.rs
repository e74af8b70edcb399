//! The warning that EC2 gives two minutes before it takes spot capacity back. It is told to the instance itself, and to
//! whoever asks for the state of the spot requests: asked is for those alone that are marked, which as a rule are none.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::SpotInstanceRequest;
use jiff::{SignedDuration, Timestamp};

use super::convert::Seen;
use crate::provider::rented::snapshot::Rented as _;

/// The status of a request whose instance is about to be taken back.
pub(super) const MARKED: &str = "marked-for-termination";

/// How long after it was marked an instance is taken back.
const NOTICE: SignedDuration = SignedDuration::from_mins(2);

/// Instances that are about to be taken back, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks(BTreeMap<String, Timestamp>);

impl Marks {
    /// What the requests say that are marked. One that does not say since when was marked just now.
    pub(super) fn of(requests: &[SpotInstanceRequest], now: Timestamp) -> Self {
        let mark = |request: &SpotInstanceRequest| {
            let status = request.status().filter(|status| status.code() == Some(MARKED))?;
            let said = status.update_time().and_then(|time| Timestamp::from_millisecond(time.to_millis().ok()?).ok());
            Some((request.instance_id()?.to_owned(), said.unwrap_or(now).saturating_add(NOTICE).unwrap_or(now)))
        };
        Self(requests.iter().filter_map(mark).collect())
    }

    /// Whether this instance is about to be taken back.
    pub(super) fn has(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// Lets an instance show it. What EC2 says of one that it has taken back stays.
    pub(super) fn show(&self, seen: &mut Seen) {
        if seen.is_live() {
            seen.guest.interrupted_at = self.0.get(&seen.guest.provider_id).copied();
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_ec2::types::SpotInstanceStatus;
    use aws_smithy_types::DateTime;

    use super::*;
    use crate::provider::{Key, ObservedGuest, Power, Stage};

    fn request(id: &str, code: &str, since: Option<i64>) -> SpotInstanceRequest {
        let status = SpotInstanceStatus::builder().code(code).set_update_time(since.map(DateTime::from_secs)).build();
        SpotInstanceRequest::builder().instance_id(id).status(status).build()
    }

    fn seen(id: &str, power: Power) -> Seen {
        let key = Key { guest: "u".into(), incarnation: 1, namespace: "shop".into(), name: "web-0".into() };
        Seen::new(ObservedGuest::new(key, id, Stage::Complete, power), 0)
    }

    #[test]
    fn what_is_marked_is_shown_while_it_lives() {
        let now = Timestamp::from_second(1_000).unwrap();
        let requests =
            [request("i-1", MARKED, Some(900)), request("i-2", "fulfilled", Some(900)), request("i-3", MARKED, None)];
        let marks = Marks::of(&requests, now);
        let shown = |id: &str, power| {
            let mut seen = seen(id, power);
            marks.show(&mut seen);
            seen.guest.interrupted_at.map(Timestamp::as_second)
        };
        assert_eq!(shown("i-1", Power::Running), Some(1_020));
        assert_eq!(shown("i-2", Power::Running), None);
        assert_eq!(shown("i-3", Power::Running), Some(1_120));
        let mut gone = seen("i-1", Power::Terminated);
        gone.guest.interrupted_at = Some(now);
        marks.show(&mut gone);
        assert_eq!(gone.guest.interrupted_at, Some(now), "EC2 says itself when that was");
    }
}
