//! What is known of the owner's instances: what was last read, with our own writes laid over it until reads show them.
//! Pure: time is passed in.
//!
//! A cloud's reads follow its writes after a while. An instance that we have just launched may be missing from a read, and
//! one that we have just stopped may be shown as running. What a write answered is therefore kept over any read that
//! began before it, and a launched instance is kept through reads that lack it until the settling time is over.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;

use crate::provider::{Change, Key, ObservedGuest, Power};

/// An instance of ours as a driver knows it.
pub(in crate::provider) trait Rented: Clone {
    /// What it shows.
    fn guest(&self) -> &ObservedGuest;

    /// When it was made, in milliseconds since 1970.
    fn made(&self) -> i64;

    /// Neither terminated nor on its way there.
    fn is_live(&self) -> bool {
        !matches!(self.guest().power, Power::Terminating | Power::Terminated)
    }
}

#[derive(Clone, Debug)]
struct Entry<S> {
    seen: S,
    /// How old this knowledge is: when the read began that showed it, or when a write answered with it.
    as_of: Instant,
    /// When a write of ours last answered with this instance.
    written: Option<Instant>,
}

/// A launch that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::provider) struct Launch {
    /// The client token it carried.
    pub token: String,
    /// When it was last sent.
    pub sent: Instant,
}

/// A read of the provider and when it began.
#[derive(Debug)]
pub(in crate::provider) struct Read<S> {
    /// When the request was made.
    pub began: Instant,
    /// The guest it was about; `None`: all of the owner's.
    pub guest: Option<String>,
    /// What it showed, complete.
    pub seen: Vec<S>,
}

/// See the module.
#[derive(Debug)]
pub(in crate::provider) struct Snapshot<S> {
    settling: Duration,
    entries: BTreeMap<String, Entry<S>>,
    /// Launches whose instance has not been seen yet, by guest.
    launches: BTreeMap<String, Launch>,
    /// When the last read of everything began.
    read: Option<Instant>,
}

impl<S: Rented> Snapshot<S> {
    pub(in crate::provider) const fn new(settling: Duration) -> Self {
        Self { settling, entries: BTreeMap::new(), launches: BTreeMap::new(), read: None }
    }

    /// When the last read of everything began.
    pub(in crate::provider) const fn read_at(&self) -> Option<Instant> {
        self.read
    }

    /// Takes a read in and says which guests look different from before.
    pub(in crate::provider) fn merge(&mut self, read: Read<S>, now: Instant) -> Vec<Change> {
        // A later read of everything has answered first.
        if read.guest.is_none() && self.read.is_some_and(|last| last > read.began) {
            return Vec::new();
        }
        let in_scope = |seen: &S| read.guest.as_ref().is_none_or(|guest| seen.guest().key.guest == *guest);
        let mut fresh: BTreeMap<String, S> =
            read.seen.into_iter().map(|seen| (seen.guest().provider_id.clone(), seen)).collect();
        let mut changed = BTreeSet::new();
        let settling = self.settling;
        self.entries.retain(|id, entry| {
            if !in_scope(&entry.seen) {
                return true;
            }
            let settled = |at: Instant| now.saturating_duration_since(at) >= settling;
            let before = entry.seen.clone();
            let keep = match (fresh.remove(id), entry.written) {
                // Newer than this read: a write answered, or another read, since it began.
                _ if entry.as_of > read.began => true,
                (Some(seen), _) => {
                    (entry.seen, entry.as_of) = (seen, read.began);
                    true
                }
                (None, Some(written)) => !settled(written),
                (None, None) => false,
            };
            if !keep || entry.seen.guest() != before.guest() {
                changed.insert(name_of(&before));
            }
            keep
        });
        for (id, seen) in fresh {
            changed.insert(name_of(&seen));
            self.launches.remove(&seen.guest().key.guest);
            self.entries.insert(id, Entry { seen, as_of: read.began, written: None });
        }
        if read.guest.is_none() && self.read.replace(read.began).is_none() {
            return vec![Change::Everything];
        }
        changed.into_iter().map(|(namespace, name)| Change::Guest { namespace, name }).collect()
    }

    /// Lays what a write answered over what was read.
    pub(in crate::provider) fn write(&mut self, seen: S, now: Instant) {
        self.launches.remove(&seen.guest().key.guest);
        let id = seen.guest().provider_id.clone();
        self.entries.insert(id, Entry { seen, as_of: now, written: Some(now) });
    }

    /// An instance certainly is not there any more.
    pub(in crate::provider) fn forget(&mut self, id: &str) {
        self.entries.remove(id);
    }

    /// A launch for this guest is about to be sent. Answers the one before it that nothing is known of yet.
    pub(in crate::provider) fn launching(&mut self, guest: &str, launch: Launch) -> Option<Launch> {
        self.launches.insert(guest.to_owned(), launch)
    }

    /// The provider refused the launch: nothing will turn up from it, but perhaps from the one before.
    pub(in crate::provider) fn refused(&mut self, guest: &str, before: Option<Launch>) {
        match before {
            Some(before) => self.launches.insert(guest.to_owned(), before),
            None => self.launches.remove(guest),
        };
    }

    /// Whether an instance of this guest may still turn up from a launch of this process with another token. The
    /// provider does not know that the two belong together, so the second must wait.
    pub(in crate::provider) fn is_launched_otherwise(&self, guest: &str, token: &str, now: Instant) -> bool {
        self.may_turn_up(guest, now) && self.launches.get(guest).is_some_and(|launch| launch.token != token)
    }

    /// Whether an instance of this guest may still turn up from a launch of this process.
    pub(in crate::provider) fn may_turn_up(&self, guest: &str, now: Instant) -> bool {
        self.launches.get(guest).is_some_and(|launch| now.saturating_duration_since(launch.sent) < self.settling)
    }

    /// Whether a write of ours answered with this instance so lately that reads may lack it.
    pub(in crate::provider) fn is_settling(&self, id: &str, now: Instant) -> bool {
        let written = self.entries.get(id).and_then(|entry| entry.written);
        written.is_some_and(|at| now.saturating_duration_since(at) < self.settling)
    }

    /// The guest's VM: see [`choose`].
    pub(in crate::provider) fn find(&self, key: &Key) -> Option<S> {
        choose(self.of_guest(&key.guest).filter(|seen| is_same_vm(&seen.guest().key, key))).0.cloned()
    }

    /// Every instance made for the guest, in all its incarnations.
    pub(in crate::provider) fn of_guest<'a>(&'a self, guest: &'a str) -> impl Iterator<Item = &'a S> {
        self.entries.values().map(|entry| &entry.seen).filter(move |seen| seen.guest().key.guest == guest)
    }

    /// Every instance.
    pub(in crate::provider) fn all(&self) -> impl Iterator<Item = &S> {
        self.entries.values().map(|entry| &entry.seen)
    }

    /// Corrects what is known of each instance, and says which guests look different now.
    pub(in crate::provider) fn revise(&mut self, change: impl Fn(&mut S)) -> Vec<Change> {
        let mut changed = BTreeSet::new();
        for Entry { seen, .. } in self.entries.values_mut() {
            let before = seen.guest().clone();
            change(seen);
            if *seen.guest() != before {
                changed.insert(name_of(seen));
            }
        }
        changed.into_iter().map(|(namespace, name)| Change::Guest { namespace, name }).collect()
    }

    /// Each key's VM.
    pub(in crate::provider) fn list(&self) -> Vec<ObservedGuest> {
        let kept = self.by_key().into_values().filter_map(|all| choose(all).0);
        kept.map(|seen| seen.guest().clone()).collect()
    }

    /// Live instances that should not be there.
    pub(in crate::provider) fn surplus(&self) -> Vec<S> {
        self.by_key().into_values().flat_map(|all| choose(all).1).cloned().collect()
    }

    fn by_key(&self) -> BTreeMap<(&str, u32), Vec<&S>> {
        let mut by_key: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for Entry { seen, .. } in self.entries.values() {
            let key = &seen.guest().key;
            by_key.entry((key.guest.as_str(), key.incarnation)).or_default().push(seen);
        }
        by_key
    }

    /// Whether an instance is on its way from one state to another, or is expected to turn up.
    pub(in crate::provider) fn is_moving(&self, now: Instant) -> bool {
        self.entries.values().any(|entry| entry.seen.guest().busy)
            || self.launches.values().any(|launch| now.saturating_duration_since(launch.sent) < self.settling)
    }
}

/// Namespace and name may be a renamed tag's; the UID and the incarnation say which VM it is.
pub(in crate::provider) fn is_same_vm(one: &Key, other: &Key) -> bool {
    one.guest == other.guest && one.incarnation == other.incarnation
}

fn name_of<S: Rented>(seen: &S) -> (String, String) {
    (seen.guest().key.namespace.clone(), seen.guest().key.name.clone())
}

/// Which of one key's instances is the guest's VM, and which should not be there: of several live ones the oldest is
/// kept and the others are surplus, so that every reader chooses the same. Without a live one the last made counts.
pub(in crate::provider) fn choose<'a, S: Rented>(all: impl IntoIterator<Item = &'a S>) -> (Option<&'a S>, Vec<&'a S>) {
    let age = |seen: &&S| (seen.made(), seen.guest().provider_id.clone());
    let (mut live, gone): (Vec<_>, Vec<_>) = all.into_iter().partition(|seen| seen.is_live());
    live.sort_by_key(age);
    if live.is_empty() {
        return (gone.into_iter().max_by_key(age), Vec::new());
    }
    let kept = live.remove(0);
    (Some(kept), live)
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
