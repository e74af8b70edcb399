//! Offerings that had no room lately. Pure: time is passed in.
//!
//! A full zone stays full for minutes, and each attempt costs one of the calls that a provider allows. So a type that found
//! no room in a zone is put aside for a while, longer each time in a row. A quota counts too: it goes up only when a
//! person asks for it, or when something else is given up.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::provider::OfferingAside;

/// How long after the first refusal. Karpenter waits as long.
const FIRST: Duration = Duration::from_mins(3);

/// The longest.
const LONGEST: Duration = Duration::from_mins(30);

/// What was asked for. Spot capacity is another stock than the rest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::provider) struct Offering {
    pub instance_type: String,
    /// A zone, where one was asked for.
    pub zone: Option<String>,
    pub spot: bool,
}

#[derive(Clone, Debug)]
struct Refusal {
    until: Instant,
    wait: Duration,
    code: String,
}

/// What is put aside.
#[derive(Clone, Debug, Default)]
pub(in crate::provider) struct Aside(BTreeMap<Offering, Refusal>);

impl Aside {
    /// The provider had no room for this.
    pub(in crate::provider) fn refused(&mut self, offering: &Offering, code: &str, now: Instant) {
        let before = self.0.get(offering);
        let wait = match before {
            // Guests that were on their way together are refused together: that is one refusal.
            Some(before) if before.until > now => before.wait,
            Some(before) => (before.wait * 2).min(LONGEST),
            None => FIRST,
        };
        let until = before.map_or(now + wait, |before| before.until.max(now + wait));
        self.0.insert(offering.clone(), Refusal { until, wait, code: code.to_owned() });
    }

    /// An instance was launched: there is room again. `true`: there was none before.
    pub(in crate::provider) fn launched(&mut self, offering: &Offering) -> bool {
        self.0.remove(offering).is_some()
    }

    /// What is put aside now. What has been free for longer than it was put aside is forgotten.
    pub(in crate::provider) fn current(&mut self, now: Instant) -> Vec<OfferingAside> {
        self.0.retain(|_, refusal| now < refusal.until + refusal.wait);
        let still = self.0.iter().filter(|(_, refusal)| refusal.until > now);
        let show = |(offering, refusal): (&Offering, &Refusal)| OfferingAside {
            instance_type: offering.instance_type.clone(),
            zone: offering.zone.clone(),
            spot: offering.spot,
            remaining: refusal.until - now,
            code: refusal.code.clone(),
        };
        still.map(show).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "InsufficientInstanceCapacity";

    fn m7i(zone: Option<&str>) -> Offering {
        Offering { instance_type: "m7i.large".into(), zone: zone.map(str::to_owned), spot: false }
    }

    fn minute(n: u64) -> Duration {
        Duration::from_mins(n)
    }

    fn remaining(aside: &mut Aside, now: Instant) -> Vec<(String, u64)> {
        aside.current(now).into_iter().map(|one| (one.instance_type, one.remaining.as_secs() / 60)).collect()
    }

    #[test]
    fn a_full_offering_waits_and_comes_back() {
        let now = Instant::now();
        let mut aside = Aside::default();
        aside.refused(&m7i(Some("eu-west-1a")), FULL, now);
        assert_eq!(remaining(&mut aside, now), [("m7i.large".to_owned(), 3)]);
        let [one] = &aside.current(now)[..] else { panic!() };
        assert_eq!((one.zone.as_deref(), one.code.as_str()), (Some("eu-west-1a"), FULL));
        assert_eq!(remaining(&mut aside, now + minute(3)), []);
    }

    #[test]
    fn refusals_in_a_row_wait_longer_up_to_a_bound() {
        let mut now = Instant::now();
        let mut aside = Aside::default();
        let mut waits = Vec::new();
        for _ in 0..6 {
            aside.refused(&m7i(None), FULL, now);
            let wait = aside.current(now)[0].remaining;
            waits.push(wait.as_secs() / 60);
            now += wait;
        }
        assert_eq!(waits, [3, 6, 12, 24, 30, 30]);
        // A long peace starts anew.
        now += minute(31);
        aside.current(now);
        aside.refused(&m7i(None), FULL, now);
        assert_eq!(remaining(&mut aside, now), [("m7i.large".to_owned(), 3)]);
    }

    #[test]
    fn guests_refused_together_count_once() {
        let now = Instant::now();
        let mut aside = Aside::default();
        for second in 0..10 {
            aside.refused(&m7i(None), FULL, now + Duration::from_secs(second));
        }
        assert_eq!(aside.current(now)[0].remaining, minute(3) + Duration::from_secs(9));
    }

    #[test]
    fn other_types_and_zones_are_not_touched_and_a_launch_frees() {
        let now = Instant::now();
        let mut aside = Aside::default();
        aside.refused(&m7i(Some("a")), FULL, now);
        aside.refused(&m7i(Some("b")), FULL, now);
        aside.refused(&Offering { spot: true, ..m7i(Some("c")) }, FULL, now);
        assert!(aside.launched(&m7i(Some("a"))));
        assert!(!aside.launched(&m7i(Some("c"))));
        let left: Vec<_> = aside.current(now).into_iter().map(|one| (one.zone.unwrap(), one.spot)).collect();
        assert_eq!(left, [("b".to_owned(), false), ("c".to_owned(), true)]);
    }
}
