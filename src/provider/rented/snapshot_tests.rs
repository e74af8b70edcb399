use super::*;
use crate::provider::Stage;

#[derive(Clone, Debug, PartialEq)]
struct Seen {
    guest: ObservedGuest,
    made: i64,
}

impl Rented for Seen {
    fn guest(&self) -> &ObservedGuest {
        &self.guest
    }

    fn made(&self) -> i64 {
        self.made
    }
}

const SETTLING: Duration = Duration::from_mins(1);

fn second(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn seen(id: &str, guest: &str, made: i64, power: Power) -> Seen {
    let key = Key { guest: guest.into(), incarnation: 1, namespace: "shop".into(), name: format!("name-{guest}") };
    let busy = matches!(power, Power::Starting | Power::Stopping | Power::Terminating);
    let guest = ObservedGuest { busy, ..ObservedGuest::new(key, id, Stage::Complete, power) };
    Seen { guest, made }
}

fn all(began: Instant, seen: Vec<Seen>) -> Read<Seen> {
    Read { began, guest: None, seen }
}

fn one(began: Instant, guest: &str, seen: Vec<Seen>) -> Read<Seen> {
    Read { began, guest: Some(guest.into()), seen }
}

fn launch(token: &str, sent: Instant) -> Launch {
    Launch { token: token.into(), sent }
}

fn power(snapshot: &Snapshot<Seen>, guest: &str) -> Option<Power> {
    let key = Key { guest: guest.into(), incarnation: 1, namespace: String::new(), name: String::new() };
    snapshot.find(&key).map(|seen| seen.guest.power)
}

fn named(changes: &[Change]) -> Vec<&str> {
    fn name(change: &Change) -> &str {
        match change {
            Change::Guest { name, .. } => name,
            Change::Pool => "pool",
            Change::Everything => "everything",
        }
    }
    changes.iter().map(name).collect()
}

#[test]
fn tells_what_changed() {
    let now = Instant::now();
    let mut snapshot = Snapshot::<Seen>::new(SETTLING);
    let first = vec![seen("i-a", "a", 1, Power::Starting), seen("i-b", "b", 1, Power::Running)];
    assert_eq!(named(&snapshot.merge(all(now, first.clone()), now)), ["everything"]);
    assert!(snapshot.merge(all(now + second(1), first), now + second(1)).is_empty());
    let next = vec![seen("i-a", "a", 1, Power::Running), seen("i-c", "c", 1, Power::Running)];
    assert_eq!(named(&snapshot.merge(all(now + second(2), next), now + second(2))), ["name-a", "name-b", "name-c"]);
}

#[test]
fn a_launched_instance_survives_reads_that_lack_it() {
    let now = Instant::now();
    let mut snapshot = Snapshot::<Seen>::new(SETTLING);
    snapshot.launching("a", launch("t", now));
    assert!(snapshot.may_turn_up("a", now));
    snapshot.write(seen("i-a", "a", 1, Power::Starting), now);
    assert!(!snapshot.may_turn_up("a", now), "it has turned up");
    for at in [1, 30, 59] {
        snapshot.merge(all(now + second(at), Vec::new()), now + second(at));
        assert_eq!(power(&snapshot, "a"), Some(Power::Starting), "after {at} s");
        assert!(snapshot.is_settling("i-a", now + second(at)));
    }
    snapshot.merge(all(now + second(60), Vec::new()), now + second(60));
    assert_eq!(power(&snapshot, "a"), None);
}

#[test]
fn a_read_begun_before_a_write_does_not_undo_it() {
    let now = Instant::now();
    let mut snapshot = Snapshot::<Seen>::new(SETTLING);
    snapshot.merge(all(now, vec![seen("i-a", "a", 1, Power::Running)]), now);
    snapshot.write(seen("i-a", "a", 1, Power::Stopping), now + second(2));
    snapshot.merge(all(now + second(1), vec![seen("i-a", "a", 1, Power::Running)]), now + second(3));
    assert_eq!(power(&snapshot, "a"), Some(Power::Stopping));
    snapshot.merge(all(now + second(4), vec![seen("i-a", "a", 1, Power::Stopped)]), now + second(5));
    assert_eq!(power(&snapshot, "a"), Some(Power::Stopped));
}

#[test]
fn an_older_read_that_answers_late_is_dropped() {
    let now = Instant::now();
    let mut snapshot = Snapshot::<Seen>::new(SETTLING);
    snapshot.merge(all(now + second(2), vec![seen("i-a", "a", 1, Power::Stopped)]), now + second(3));
    assert!(snapshot.merge(all(now, vec![seen("i-a", "a", 1, Power::Running)]), now + second(4)).is_empty());
    assert_eq!(power(&snapshot, "a"), Some(Power::Stopped));
}

#[test]
fn a_read_of_one_guest_says_nothing_of_the_others() {
    let now = Instant::now();
    let mut snapshot = Snapshot::<Seen>::new(SETTLING);
    let both = vec![seen("i-a", "a", 1, Power::Running), seen("i-b", "b", 1, Power::Running)];
    snapshot.merge(all(now, both), now);
    snapshot.merge(one(now + second(1), "a", Vec::new()), now + second(1));
    assert_eq!((power(&snapshot, "a"), power(&snapshot, "b")), (None, Some(Power::Running)));
    assert_eq!(snapshot.read_at(), Some(now), "it was no read of everything");
}

#[test]
fn a_launch_without_an_answer_is_awaited_for_the_settling_time() {
    let now = Instant::now();
    let mut snapshot = Snapshot::<Seen>::new(SETTLING);
    snapshot.launching("a", launch("t", now));
    assert!(snapshot.is_moving(now));
    assert!(snapshot.may_turn_up("a", now + second(59)));
    assert!(!snapshot.may_turn_up("a", now + second(60)));
    assert!(!snapshot.is_launched_otherwise("a", "t", now), "the same launch may be repeated");
    assert!(snapshot.is_launched_otherwise("a", "u", now + second(59)));
    assert!(!snapshot.is_launched_otherwise("a", "u", now + second(60)));
    let before = snapshot.launching("b", launch("t", now));
    snapshot.refused("b", before);
    assert!(!snapshot.may_turn_up("b", now));
    let before = snapshot.launching("a", launch("t", now + second(50)));
    snapshot.refused("a", before);
    assert!(snapshot.may_turn_up("a", now + second(59)), "the first launch may still turn up");
    assert!(!snapshot.may_turn_up("a", now + second(60)));
}

#[test]
fn surplus_is_told_apart() {
    let now = Instant::now();
    let mut snapshot = Snapshot::<Seen>::new(SETTLING);
    let twice = vec![seen("i-2", "a", 2, Power::Running), seen("i-1", "a", 1, Power::Running)];
    snapshot.merge(all(now, twice), now);
    assert_eq!(snapshot.list().iter().map(|guest| guest.provider_id.as_str()).collect::<Vec<_>>(), ["i-1"]);
    assert_eq!(snapshot.surplus().iter().map(|seen| seen.guest.provider_id.as_str()).collect::<Vec<_>>(), ["i-2"]);
}
