//! The cloud's flavours by name. Read seldom: an administrator changes them a few times a year.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::wire::Flavor;

/// Time between two reads.
const SELDOM: Duration = Duration::from_mins(10);
/// A name that is not known is looked for again after so long.
const AGAIN: Duration = Duration::from_secs(30);

/// See the module. Pure: time is passed in.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    by_name: BTreeMap<String, Vec<Flavor>>,
    read: Option<Instant>,
}

/// What a name stands for.
#[derive(Debug)]
pub(super) enum Found<'f> {
    /// One flavour.
    One(&'f Flavor),
    /// Several have this name, and the pool cannot mean them all.
    Several,
    /// None.
    None,
}

impl Catalogue {
    /// Whether it should be read before this name is looked up.
    pub(super) fn is_due(&self, name: &str, now: Instant) -> bool {
        let Some(read) = self.read else { return true };
        let since = now.saturating_duration_since(read);
        since >= SELDOM || (since >= AGAIN && !self.by_name.contains_key(name))
    }

    /// Takes in a complete read.
    pub(super) fn learn(&mut self, flavors: Vec<Flavor>, now: Instant) {
        self.by_name.clear();
        for flavor in flavors {
            self.by_name.entry(flavor.name.clone()).or_default().push(flavor);
        }
        self.read = Some(now);
    }

    /// The flavour of this name.
    pub(super) fn find(&self, name: &str) -> Found<'_> {
        match self.by_name.get(name).map(Vec::as_slice) {
            None | Some([]) => Found::None,
            Some([one]) => Found::One(one),
            Some(_) => Found::Several,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flavor(id: &str, name: &str) -> Flavor {
        Flavor { id: id.into(), name: name.into(), disk: 20 }
    }

    #[test]
    fn names_are_looked_up_and_read_again_where_unknown() {
        let now = Instant::now();
        let mut catalogue = Catalogue::default();
        assert!(catalogue.is_due("m1.small", now));
        catalogue.learn(vec![flavor("1", "m1.small"), flavor("2", "twin"), flavor("3", "twin")], now);
        assert!(matches!(catalogue.find("m1.small"), Found::One(one) if one.id == "1"));
        assert!(matches!(catalogue.find("twin"), Found::Several));
        assert!(matches!(catalogue.find("m1.huge"), Found::None));
        assert!(!catalogue.is_due("m1.small", now + AGAIN));
        assert!(catalogue.is_due("m1.huge", now + AGAIN));
        assert!(catalogue.is_due("m1.small", now + SELDOM));
    }
}
