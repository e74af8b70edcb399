//! What has the scheduler look again, and how soon: a guest without a place waits for it, most other changes can wait.

use std::time::Duration;

use tokio::sync::Notify;

use super::gather::incarnation;
use crate::api::Guest;

/// Changes come in bursts: so long is waited for more of them before deciding.
const GATHERING: Duration = Duration::from_millis(50);
/// So long before that where nobody waits for a place.
const AT_LEISURE: Duration = Duration::from_millis(500);
/// A round over many guests takes long, and each that changes asks for another: between rounds is so many times as long a
/// rest as the last one took,
const REST: u32 = 4;
/// and so many times more where nobody waits for a place.
const MORE_REST: u32 = 8;
/// A round counts as this long at most.
const LONGEST: Duration = Duration::from_millis(500);

/// Rung when something has changed.
#[derive(Debug, Default)]
pub struct Bell {
    soon: Notify,
    some_time: Notify,
}

impl Bell {
    /// A guest has changed.
    pub fn guest(&self, guest: &Guest) {
        let binding = guest.spec.binding.as_ref();
        if binding.is_none_or(|binding| binding.incarnation < incarnation(guest)) {
            self.soon.notify_one();
        } else {
            self.some_time.notify_one();
        }
    }

    /// What guests are placed by has changed: pools, namespaces.
    pub fn world(&self) {
        self.some_time.notify_one();
    }

    /// All may be different.
    pub fn anything(&self) {
        self.soon.notify_one();
    }

    /// Waits for a change that asks for another round after one that `took` so long, and in which a guest may have found no
    /// place: it `waits`.
    pub async fn rings(&self, took: Duration, waits: bool) {
        let some_time = async {
            self.some_time.notified().await;
            tokio::time::sleep(leisure(took, waits)).await;
        };
        tokio::select! {
            () = self.soon.notified() => {}
            () = some_time => {}
        }
    }
}

/// How long what can wait is left waiting.
fn leisure(took: Duration, waits: bool) -> Duration {
    if waits { Duration::ZERO } else { AT_LEISURE.max(took.min(LONGEST) * MORE_REST) }
}

/// How long to rest before the next round, whatever asks for it.
#[must_use]
pub fn rest(took: Duration) -> Duration {
    GATHERING.max(took.min(LONGEST) * REST)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use serde_json::json;

    use super::*;
    use crate::scheduler::testing;

    /// Whether this ring is heard at once where nobody waits for a place.
    fn is_urgent(ring: impl FnOnce(&Bell)) -> bool {
        let bell = Bell::default();
        ring(&bell);
        bell.soon.notified().now_or_never().is_some()
    }

    #[test]
    fn a_guest_that_is_to_be_placed_is_urgent_and_one_that_has_a_place_is_not() {
        let guest = |spec, status| testing::guest("web-0", &json!({ "spec": spec, "status": status }));
        let bound = json!({ "binding": { "pool": "xen", "incarnation": 1 } });
        assert!(is_urgent(|bell| bell.guest(&guest(json!({}), json!({})))));
        assert!(!is_urgent(|bell| bell.guest(&guest(bound.clone(), json!({ "incarnation": 1 })))));
        // The VM that it was bound for is gone.
        assert!(is_urgent(|bell| bell.guest(&guest(bound, json!({ "incarnation": 2 })))));
        assert!(!is_urgent(Bell::world));
        assert!(is_urgent(Bell::anything));
    }

    #[test]
    fn rests_follow_from_how_long_a_round_took_and_from_whether_a_guest_waits() {
        for (took, waits, leisure_ms, rest_ms) in [
            (1, false, 500, 50),
            (1, true, 0, 50),
            (100, false, 800, 400),
            (100, true, 0, 400),
            (60_000, false, 4_000, 2_000),
        ] {
            let took = Duration::from_millis(took);
            assert_eq!((leisure(took, waits).as_millis(), rest(took).as_millis()), (leisure_ms, rest_ms), "{took:?}");
        }
    }
}
