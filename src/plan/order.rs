//! Puts moves into an order in which no host is ever overloaded: a moving guest counts at both ends until its wave has
//! ended. A ring of guests that wait for each other is broken by moving one through a third host.

/// A move to be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step<P> {
    pub guest: u32,
    pub from: P,
    pub to: P,
    /// Where on the way to its end a ring had to be broken.
    pub detour: bool,
    pub wave: u32,
}

/// What the order must know about hosts and guests.
pub(super) trait Ground {
    /// A place.
    type Place: Copy + PartialEq;

    /// Whether the guest has room there now.
    fn has_room(&self, guest: u32, at: Self::Place) -> bool;

    /// Counts, or no longer counts, the guest there.
    fn count(&mut self, guest: u32, at: Self::Place, present: bool);

    /// A place with room where the guest may stay for a while, neither of the two.
    fn aside(&self, guest: u32, from: Self::Place, to: Self::Place) -> Option<Self::Place>;
}

/// The steps in waves, and the guests for which no order was found: they stay.
pub(super) fn ordered<G: Ground>(
    ground: &mut G,
    moves: Vec<(u32, G::Place, G::Place)>,
) -> (Vec<Step<G::Place>>, Vec<u32>) {
    let mut pending = moves;
    let mut done: Vec<Step<G::Place>> = Vec::with_capacity(pending.len());
    let mut aside: Vec<u32> = Vec::new();
    for wave in 0.. {
        let before = done.len();
        pending.retain(|&(guest, from, to)| {
            let goes = ground.has_room(guest, to);
            if goes {
                ground.count(guest, to, true);
                done.push(Step { guest, from, to, detour: false, wave });
            }
            !goes
        });
        if done.len() == before {
            // Everybody waits for somebody. One that has been put aside already would go round in rings.
            let detour = pending.iter_mut().filter(|(guest, ..)| !aside.contains(guest)).find_map(|one| {
                let (guest, from, to) = *one;
                let place = ground.aside(guest, from, to)?;
                one.1 = place;
                Some(Step { guest, from, to: place, detour: true, wave })
            });
            let Some(step) = detour else { break };
            aside.push(step.guest);
            ground.count(step.guest, step.to, true);
            done.push(step);
        }
        for step in &done[before..] {
            ground.count(step.guest, step.from, false);
        }
        if pending.is_empty() {
            break;
        }
    }
    (done, pending.into_iter().map(|(guest, ..)| guest).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hosts by number with so much room; guest n takes n.
    struct Hosts(Vec<i64>);

    impl Ground for Hosts {
        type Place = usize;

        fn has_room(&self, guest: u32, at: usize) -> bool {
            self.0[at] >= i64::from(guest)
        }

        fn count(&mut self, guest: u32, at: usize, present: bool) {
            self.0[at] += if present { -i64::from(guest) } else { i64::from(guest) };
            assert!(self.0[at] >= 0, "host {at} is overloaded");
        }

        fn aside(&self, guest: u32, from: usize, to: usize) -> Option<usize> {
            (0..self.0.len()).find(|at| *at != from && *at != to && self.has_room(guest, *at))
        }
    }

    #[test]
    fn who_waits_for_room_goes_in_a_later_wave() {
        let (steps, left) = ordered(&mut Hosts(vec![0, 0, 3]), vec![(2, 0, 1), (3, 1, 2)]);
        assert_eq!(steps.iter().map(|s| (s.guest, s.wave)).collect::<Vec<_>>(), [(3, 0), (2, 1)]);
        assert!(left.is_empty());
    }

    #[test]
    fn a_ring_is_broken_through_a_third_host() {
        let (steps, left) = ordered(&mut Hosts(vec![0, 0, 4]), vec![(4, 0, 1), (4, 1, 0)]);
        let told: Vec<_> = steps.iter().map(|s| (s.from, s.to, s.detour)).collect();
        assert_eq!(told, [(0, 2, true), (1, 0, false), (2, 1, false)]);
        assert!(left.is_empty());
    }

    #[test]
    fn a_ring_without_a_third_host_stays() {
        let (steps, left) = ordered(&mut Hosts(vec![0, 0, 3]), vec![(4, 0, 1), (4, 1, 0)]);
        assert!(steps.is_empty());
        assert_eq!(left, [4, 4]);
    }
}
