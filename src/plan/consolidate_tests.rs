use super::*;
use crate::plan::{Capacity, GuestState, Health, Host, inventory::World, model::Model};

#[test]
fn a_move_pays_by_how_long_ago_a_host_was_begun_and_by_how_many_are_left() {
    for (since, budget, occupied, moves, wait) in [
        (9_700, 100, 100, 100, None),
        (9_699, 100, 100, 100, Some(1)),
        (19_700, 25, 100, 100, None),
        (19_699, 25, 100, 100, Some(1)),
        (0, 100, 100, 3, None),
        (0, 100, 100, 4, Some(100)),
        (0, 100, 1, 30, None),
        (0, 3, 2, 30, Some(2_150)),
        (i64::MAX, 1, 1_000_000, 0, None),
        (-5, 1, 1, 4, Some(100)),
    ] {
        let price = Price { since, budget, occupied };
        assert_eq!(price.wait_for(moves), wait, "{since} s, {budget} moves, {occupied} hosts, {moves} moves");
    }
}

/// Three hosts with room for four guests of one vCPU.
fn world() -> World {
    let guest = |name: &str, host: &str, vcpus: u32| {
        format!(
            "
  - {{ uid: {name}, namespace: shop, name: {name}, workload: {name}, createdAt: 2026-11-20T08:00:00Z,
  size: {{ vcpus: {vcpus}, memory: {vcpus}Gi }}, policy: {{ objective: Density }}, bound: {{ pool: hall, host: {host} }} }}"
        )
    };
    let guests =
        [guest("moved", "a", 2), guest("large", "b", 2), guest("small", "b", 1), guest("beside", "c", 3)].concat();
    let host = |name: &str| format!("{{ name: {name}, memory: 64Gi, vcpus: 4, foreignGuests: 0 }}");
    let hosts = ["a", "b", "c"].map(host).join(", ");
    let text = format!(
        "
now: 2026-11-23T09:00:00Z
currency: EUR
pools:
  - {{ name: hall, capacity: {{ hosts: {{ hosts: [{hosts}] }} }} }}
guests:{guests}
"
    );
    serde_saphyr::from_str(&text).unwrap()
}

/// No host is emptied with one move: the guest to come fits only where another one moves on.
#[test]
fn no_more_moves_are_made_than_are_allowed() {
    let world = world();
    let model = Model::new(&world);
    for (allowed, made) in [(0, 0), (1, 0), (2, 2), (9, 2)] {
        assert_eq!(gathered(&model, &with(allowed)).changes.len(), made, "{allowed} allowed");
    }
    let none = MoveOptions { steps: 0, ..with(9) };
    assert_eq!(gathered(&model, &none).changes.len(), 0);
}

fn with(density: usize) -> MoveOptions {
    MoveOptions { density, ..MoveOptions::default() }
}

fn gathered(model: &Model<'_>, options: &MoveOptions) -> Gathered {
    empty_hosts(&mut Ledger::new(model), model.world.now, options)
}

/// What each of these does to the world above leaves no host to be emptied.
#[test]
fn what_must_or_need_not_be_moved_is_left_alone() {
    let changed = |change: &dyn Fn(&mut World)| {
        let mut world = world();
        change(&mut world);
        let gathered = gathered(&Model::new(&world), &with(9));
        (gathered.changes.len(), gathered.wake_at)
    };
    let hosts = |world: &mut World, change: &dyn Fn(&mut Host)| {
        if let Capacity::Hosts { hosts, .. } = &mut world.pools[0].capacity {
            hosts.iter_mut().for_each(change);
        }
    };
    assert_eq!(changed(&|_| {}), (2, None));
    assert_eq!(changed(&|world| hosts(world, &|host| host.foreign_guests = Some(1))), (0, None));
    assert_eq!(changed(&|world| hosts(world, &|host| host.foreign_guests = None)), (0, None));
    assert_eq!(changed(&|world| hosts(world, &|host| host.enabled = false)), (0, None));
    assert_eq!(changed(&|world| world.pools[0].cordoned = true), (0, None));
    assert_eq!(changed(&|world| world.guests.iter_mut().for_each(|guest| guest.movable = false)), (0, None));
    assert_eq!(changed(&|world| world.guests.iter_mut().for_each(|guest| guest.leaving = true)), (0, None));
    let unreachable = Health::Unreachable("timed out".into());
    assert_eq!(changed(&|world| world.pools[0].health = unreachable.clone()), (0, None));
    // Moved a short time ago, or a host was begun just now: it is said when to look again.
    let later = |world: &World, seconds| Some(world.now + SignedDuration::from_secs(seconds));
    assert_eq!(
        changed(&|world| world.guests.iter_mut().for_each(|guest| guest.moved_at = Some(world.now))),
        (0, later(&world(), 1800))
    );
    let crowd = |world: &mut World| {
        let now = world.now;
        let many = |guest: &GuestState| {
            let named = |n| GuestState { uid: format!("{}{n}", guest.uid), ..guest.clone() };
            (0..4).map(named).collect::<Vec<_>>()
        };
        world.guests = world.guests.iter().flat_map(many).collect();
        world.guests.iter_mut().for_each(|guest| (guest.size.vcpus, guest.created_at) = (0, now));
    };
    assert_eq!(changed(&crowd), (0, later(&world(), 100)));
}
