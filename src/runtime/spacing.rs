//! Keeps the runs of one object apart: what stands for many guests is told of each of them, and need not look each time.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

/// Which names are handed on when: each at most once in `apart`. The first of many is handed on at once, the rest together
/// when it is time: none is lost.
struct Spacing<T> {
    apart: Duration,
    /// The names that were handed on less than `apart` ago; whether they were told again since.
    told_again: HashMap<T, bool>,
    /// The same names, by when their time is over.
    until: VecDeque<(Instant, T)>,
}

impl<T: Clone + Eq + Hash> Spacing<T> {
    /// Whether the name is to be handed on now. If not, it is due later.
    fn tell(&mut self, name: &T, now: Instant) -> bool {
        if let Some(again) = self.told_again.get_mut(name) {
            *again = true;
            return false;
        }
        self.begin(name.clone(), now);
        true
    }

    /// When to ask again what is due.
    fn next_due(&self) -> Option<Instant> {
        self.until.front().map(|(until, _)| *until)
    }

    /// A name that was told again, and whose time is over.
    fn due(&mut self, now: Instant) -> Option<T> {
        while self.next_due().is_some_and(|until| until <= now) {
            let (_, name) = self.until.pop_front()?;
            if self.told_again.remove(&name) == Some(true) {
                self.begin(name.clone(), now);
                return Some(name);
            }
        }
        None
    }

    fn begin(&mut self, name: T, now: Instant) {
        // All wait equally long: who begins last ends last.
        self.until.push_back((now + self.apart, name.clone()));
        self.told_again.insert(name, false);
    }
}

/// The names that come from a channel, so spaced.
pub(super) struct Spaced<T> {
    receiver: mpsc::UnboundedReceiver<T>,
    spacing: Spacing<T>,
}

impl<T: Clone + Eq + Hash> Spaced<T> {
    /// Nothing is held back where `apart` is zero.
    pub(super) fn new(receiver: mpsc::UnboundedReceiver<T>, apart: Duration) -> Self {
        Self { receiver, spacing: Spacing { apart, told_again: HashMap::new(), until: VecDeque::new() } }
    }

    /// The next name; `None` when there will be no more.
    pub(super) async fn next(&mut self) -> Option<T> {
        if self.spacing.apart.is_zero() {
            return self.receiver.recv().await;
        }
        loop {
            if let Some(name) = self.spacing.due(Instant::now()) {
                return Some(name);
            }
            let next = self.spacing.next_due();
            let name = tokio::select! {
                name = self.receiver.recv() => name?,
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now).into()), if next.is_some() => continue,
            };
            if self.spacing.tell(&name, Instant::now()) {
                return Some(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is handed on and when, in milliseconds, of names that are told at these milliseconds.
    fn handed_on(told: &[(u64, &'static str)]) -> Vec<(u64, &'static str)> {
        let mut spacing =
            Spacing { apart: Duration::from_millis(500), told_again: HashMap::new(), until: VecDeque::new() };
        let (began, mut handed_on) = (Instant::now(), Vec::new());
        for at in 0..3000 {
            let now = began + Duration::from_millis(at);
            while let Some(name) = spacing.due(now) {
                handed_on.push((at, name));
            }
            for (_, name) in told.iter().filter(|(when, _)| *when == at) {
                if spacing.tell(name, now) {
                    handed_on.push((at, name));
                }
            }
        }
        assert!(spacing.told_again.is_empty() && spacing.until.is_empty(), "nothing is kept for ever");
        handed_on
    }

    #[test]
    fn the_first_comes_at_once_and_the_rest_together() {
        let told = [(0, "a"), (10, "a"), (20, "b"), (30, "a"), (450, "a")];
        assert_eq!(handed_on(&told), [(0, "a"), (20, "b"), (500, "a")]);
    }

    #[test]
    fn what_is_told_on_and_on_comes_at_its_pace() {
        let told: Vec<_> = (0..15).map(|n| (n * 100, "a")).collect();
        assert_eq!(handed_on(&told), [(0, "a"), (500, "a"), (1000, "a"), (1500, "a")]);
    }

    #[test]
    fn after_a_rest_it_comes_at_once_again() {
        assert_eq!(handed_on(&[(0, "a"), (700, "a")]), [(0, "a"), (700, "a")]);
    }

    #[tokio::test]
    async fn names_come_through_and_end_with_their_channel() {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut spaced = Spaced::new(receiver, Duration::from_millis(1));
        for name in ["a", "b", "a"] {
            sender.send(name).unwrap();
        }
        let mut heard = Vec::new();
        for _ in 0..3 {
            heard.extend(spaced.next().await);
        }
        heard.sort_unstable();
        assert_eq!(heard, ["a", "a", "b"]);
        drop(sender);
        assert_eq!(spaced.next().await, None);
    }
}
