use proptest::prelude::*;

use super::*;

const TERM: Duration = Duration::from_secs(15);

fn s(seconds: u64) -> Moment {
    Moment::at(Duration::from_secs(seconds))
}

fn seen(holder: Option<&str>, since: u64) -> Sight {
    let record = Record { holder: holder.map(str::to_owned), term: TERM, version: "1".into() };
    Sight { record: Some(record), since: s(since) }
}

#[test]
fn what_is_done_in_each_situation() {
    let nothing = Sight { record: None, since: s(0) };
    let until = s(115);
    for (sight, valid_until, now, expected) in [
        (nothing.clone(), None, 0, Decision::Acquire),
        (seen(None, 100), None, 100, Decision::Acquire),
        (seen(Some(""), 100), None, 100, Decision::Acquire),
        (seen(Some("other"), 100), None, 100, Decision::Follow { until }),
        (seen(Some("other"), 100), None, 114, Decision::Follow { until }),
        (seen(Some("other"), 100), None, 115, Decision::Acquire),
        (seen(Some("me"), 100), None, 101, Decision::Acquire),
        (seen(Some("me"), 100), Some(s(110)), 109, Decision::Renew),
        (seen(Some("me"), 100), Some(s(110)), 110, Decision::Lost),
        (seen(Some("other"), 100), Some(s(110)), 101, Decision::Lost),
        (seen(None, 100), Some(s(110)), 101, Decision::Lost),
        (nothing, Some(s(110)), 101, Decision::Lost),
    ] {
        assert_eq!(decide("me", &sight, valid_until, s(now)), expected, "{sight:?} {valid_until:?} at {now}");
    }
}

#[test]
fn a_renewal_starts_the_term_anew_and_a_look_does_not() {
    let record = |version: &str| Some(Record { holder: Some("other".into()), term: TERM, version: version.into() });
    let first = Sight::after_look(None, record("1"), s(10));
    let same = Sight::after_look(Some(first.clone()), record("1"), s(20));
    assert_eq!(same, first);
    assert_eq!(Sight::after_look(Some(same), record("2"), s(21)).since, s(21));
}

/// A world of two candidates with clocks that do not know each other, one Lease with compare-and-swap, and replies that get
/// lost on their way.
struct World {
    lease: Option<Record>,
    versions: u32,
    candidates: [Candidate; 2],
}

#[derive(Default)]
struct Candidate {
    clock_ahead: u64,
    sight: Option<Sight>,
    valid_until: Option<Moment>,
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
enum Reply {
    Heard,
    Lost,
    NeverSent,
}

impl World {
    fn now(&self, who: usize, at: u64) -> Moment {
        s(at + self.candidates[who].clock_ahead)
    }

    fn turn(&mut self, who: usize, at: u64, reply: Reply) {
        let now = self.now(who, at);
        if self.candidates[who].ended || matches!(reply, Reply::NeverSent) {
            return;
        }
        let me = ["a", "b"][who];
        let sight = Sight::after_look(self.candidates[who].sight.take(), self.lease.clone(), now);
        let decision = decide(me, &sight, self.candidates[who].valid_until, now);
        self.candidates[who].sight = Some(sight);
        match decision {
            Decision::Follow { .. } => {}
            Decision::Lost => {
                self.candidates[who].ended = true;
                self.candidates[who].valid_until = None;
            }
            Decision::Acquire | Decision::Renew => {
                self.versions += 1;
                let record = Record { holder: Some(me.into()), term: TERM, version: self.versions.to_string() };
                self.lease = Some(record);
                if matches!(reply, Reply::Heard) {
                    self.candidates[who].valid_until = Some(now.after(Timing::of_term(TERM).renew_within));
                }
            }
        }
    }

    fn acting(&self, at: u64) -> usize {
        let acts = |who: &usize| self.candidates[*who].valid_until.is_some_and(|end| self.now(*who, at) < end);
        [0, 1].iter().filter(|who| acts(who)).count()
    }
}

proptest! {
    #[test]
    fn never_two_act(
        ahead in prop::array::uniform2(0u64..1000),
        turns in prop::collection::vec((0usize..2, 0u64..9, prop_oneof![
            5 => Just(Reply::Heard), 1 => Just(Reply::Lost), 2 => Just(Reply::NeverSent),
        ]), 1..300),
    ) {
        let mut world = World { lease: None, versions: 0, candidates: Default::default() };
        world.candidates.iter_mut().zip(ahead).for_each(|(candidate, ahead)| candidate.clock_ahead = ahead);
        let mut at = 0;
        for (who, later, reply) in turns {
            for moment in at..=at + later {
                prop_assert!(world.acting(moment) <= 1, "two act at {moment}");
            }
            at += later;
            if world.candidates[who].ended {
                let clock_ahead = world.candidates[who].clock_ahead;
                // The process was started anew: under the same name here, which is harder than a new one.
                world.candidates[who] = Candidate { clock_ahead, ..Candidate::default() };
            }
            world.turn(who, at, reply);
            prop_assert!(world.acting(at) <= 1, "two act at {at}");
        }
    }

    #[test]
    fn somebody_leads_in_the_end(who in 0usize..2, at in 0u64..1000) {
        let record = Record { holder: Some("gone".into()), term: TERM, version: "1".into() };
        let mut world = World { lease: Some(record), versions: 1, candidates: Default::default() };
        world.turn(who, at, Reply::Heard);
        prop_assert_eq!(world.acting(at), 0);
        world.turn(who, at + TERM.as_secs(), Reply::Heard);
        prop_assert_eq!(world.acting(at + TERM.as_secs()), 1);
    }
}
