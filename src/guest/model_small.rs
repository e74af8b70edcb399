//! A world that is small enough to be explored to its end: one guest, two pools, so many faults, so much time.
//!
//! Each step is one run of the controller in which at most one thing goes wrong, at any place where one can: a read that
//! fails or lags, a write or a call that is cut off before or after its effect, refused, heard late, or whose answer is
//! lost. Between runs time passes, another operator takes over that knows nothing of requests under way, the guest is
//! deleted, its VM is removed by somebody, forgotten by its provider for a while, or its pool falls silent.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
};

use super::{
    model_faults::Faults,
    model_tests::{delete_object, one_round},
    model_world::World,
};
use crate::{api::guest::Phase, provider::Power};

/// One state of it.
#[derive(Clone, Debug)]
pub struct State {
    pub world: World,
    /// How many faults, and steps of time, there may still be.
    pub faults: usize,
    pub ticks: usize,
    pub deleted: bool,
    /// Until when its provider has forgotten what is there. It does so once, and not while the guest is deleted: what is
    /// remembered when the guest is gone is reported as an orphan, and not removed.
    pub forgotten: Option<i64>,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A run, with what goes wrong in it.
    Run(Option<(usize, u8)>),
    /// Twenty seconds pass.
    Tick,
    /// Another operator goes on.
    Succeed,
    /// The user deletes the guest.
    Delete,
    /// Somebody removes what is there.
    Vanish,
    /// What is there is not shown for a while.
    Forget,
    /// The guest's pool does not answer any more.
    Silence,
    /// It answers again.
    Answer,
}

/// How far to go.
#[derive(Clone, Copy, Debug)]
pub struct Small {
    pub faults: usize,
    pub ticks: usize,
}

const TICK: i64 = 20;
/// How many calm runs bring any state to rest, ten seconds apart.
const CALM: usize = 90;

impl State {
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }

    fn after(&self, change: impl FnOnce(&mut Self)) -> Self {
        let mut next = self.clone();
        change(&mut next);
        // Who reads late reads the version before the last.
        let old = next.world.objects.len().saturating_sub(2);
        next.world.objects.drain(..old);
        next
    }

    /// Whether the VM is waited for already: forgotten on top of that, it may be away for longer than it is waited for.
    fn is_missed(&self) -> bool {
        let creation = self.world.object().and_then(|guest| guest.status.as_ref()?.creation.as_ref());
        creation.is_some_and(|creation| creation.missing_since.is_some())
    }

    /// Whether all is as wished.
    fn rests(&self) -> bool {
        let world = &self.world;
        if self.deleted {
            return world.object().is_none() && world.made.is_empty();
        }
        let runs = world.made.iter().filter(|made| made.power == Power::Running).count() == 1 && world.made.len() == 1;
        let told = world.object().and_then(|guest| guest.status.as_ref()).and_then(|status| status.phase);
        runs && told == Some(Phase::Running)
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.faults, self.ticks, self.deleted, self.forgotten).hash(state);
        self.world.hash(state);
    }
}

/// By the fingerprint, as the explorers tell states apart.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

impl Small {
    pub fn beginnings(self) -> Vec<State> {
        let begin = |liked| State {
            world: World::new(Faults::chosen(None), liked),
            faults: self.faults,
            ticks: self.ticks,
            deleted: false,
            forgotten: None,
        };
        [0, 1].map(begin).into()
    }

    pub fn actions(state: &State, actions: &mut Vec<Action>) {
        let world = &state.world;
        if world.violated.is_some() || (world.object().is_none() && world.made.is_empty()) {
            return;
        }
        actions.push(Action::Run(None));
        if state.faults > 0 {
            let mut dry = world.clone();
            dry.faults = Faults::chosen(None);
            one_round(&mut dry);
            if let Faults::Chosen { places, .. } = &dry.faults {
                let ways = places.iter().enumerate().flat_map(|(place, ways)| (1..=*ways).map(move |way| (place, way)));
                actions.extend(ways.map(|fault| Action::Run(Some(fault))));
            }
            if !world.made.is_empty() {
                actions.push(Action::Vanish);
            }
            if !world.made.is_empty() && !state.deleted && state.forgotten.is_none() && !state.is_missed() {
                actions.push(Action::Forget);
            }
            if world.silent.is_none() && world.object().is_some_and(|guest| guest.spec.binding.is_some()) {
                actions.push(Action::Silence);
            }
        }
        if world.made.iter().any(|made| made.own) {
            actions.push(Action::Succeed);
        }
        if world.silent.is_some() {
            actions.push(Action::Answer);
        }
        if state.ticks > 0 {
            actions.push(Action::Tick);
        }
        if !state.deleted && state.forgotten.is_none_or(|until| world.now >= until) {
            actions.push(Action::Delete);
        }
    }

    /// `None`: it changes nothing.
    pub fn next(state: &State, action: Action) -> Option<State> {
        let next = state.after(|state| {
            let world = &mut state.world;
            match action {
                Action::Run(fault) => {
                    world.faults = Faults::chosen(fault);
                    one_round(world);
                    world.faults = Faults::chosen(None);
                    state.faults -= usize::from(fault.is_some());
                }
                Action::Tick => {
                    world.pass(TICK);
                    state.ticks -= 1;
                }
                Action::Succeed => world.made.iter_mut().for_each(|made| made.own = false),
                Action::Delete => {
                    delete_object(world);
                    state.deleted = true;
                }
                Action::Vanish => {
                    let now = world.now;
                    world.made.retain(|made| made.lands > now);
                    state.faults -= 1;
                }
                Action::Forget => {
                    let until = world.now + 2 * TICK;
                    world.made.iter_mut().for_each(|made| (made.own, made.shows) = (false, made.shows.max(until)));
                    state.forgotten = Some(until);
                    state.faults -= 1;
                }
                Action::Silence => {
                    world.silent = world.bound_pool();
                    state.faults -= 1;
                }
                Action::Answer => world.silent = None,
            }
        });
        (next.fingerprint() != state.fingerprint()).then_some(next)
    }
}

/// States from which a calm world is known to come to rest.
#[derive(Debug, Default)]
pub struct Calm(Mutex<HashSet<u64>>);

impl Calm {
    /// What keeps all from becoming as wished when nothing goes wrong any more.
    pub fn unrest(&self, state: &State) -> Option<String> {
        let mut one = state.clone();
        (one.faults, one.ticks, one.world.silent) = (0, 0, None);
        let mut way = Vec::new();
        for _ in 0..CALM {
            let print = one.fingerprint();
            if one.rests() || self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&print) {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(way);
                return one.world.violated;
            }
            way.push(print);
            one = one.after(|one| {
                one_round(&mut one.world);
                one.world.pass(10);
            });
        }
        Some(format!("it never comes to rest: {one:#?}"))
    }
}

/// What was explored.
#[derive(Debug)]
pub struct Explored {
    pub states: usize,
    pub depth: usize,
    /// How the first state that must not be was reached.
    pub violation: Option<(String, Vec<Action>)>,
}

/// All states, breadth first. `make model` has stateright do the same, further.
pub fn explore(small: Small) -> Explored {
    let calm = Calm::default();
    let mut came_from: HashMap<u64, Option<(u64, Action)>> = HashMap::new();
    let mut queue: VecDeque<(State, usize)> = VecDeque::new();
    for state in small.beginnings() {
        came_from.insert(state.fingerprint(), None);
        queue.push_back((state, 0));
    }
    let mut deepest = 0;
    while let Some((state, depth)) = queue.pop_front() {
        deepest = deepest.max(depth);
        let print = state.fingerprint();
        if let Some(wrong) = state.world.violated.clone().or_else(|| calm.unrest(&state)) {
            let (mut way, mut at) = (Vec::new(), print);
            while let Some(Some((before, action))) = came_from.get(&at) {
                way.insert(0, *action);
                at = *before;
            }
            return Explored { states: came_from.len(), depth, violation: Some((wrong, way)) };
        }
        let mut actions = Vec::new();
        Small::actions(&state, &mut actions);
        for action in actions {
            let Some(next) = Small::next(&state, action) else { continue };
            let of_next = next.fingerprint();
            if let std::collections::hash_map::Entry::Vacant(free) = came_from.entry(of_next) {
                free.insert(Some((print, action)));
                queue.push_back((next, depth + 1));
            }
        }
    }
    Explored { states: came_from.len(), depth: deepest, violation: None }
}

#[cfg(feature = "model")]
mod checked {
    use stateright::{Model, Property};

    use super::{Action, Calm, Small, State};

    /// The same for stateright.
    pub struct Checked {
        pub small: Small,
        pub calm: Calm,
    }

    impl Model for Checked {
        type State = State;
        type Action = Action;

        fn init_states(&self) -> Vec<State> {
            self.small.beginnings()
        }

        fn actions(&self, state: &State, actions: &mut Vec<Action>) {
            Small::actions(state, actions);
        }

        fn next_state(&self, last: &State, action: Action) -> Option<State> {
            Small::next(last, action)
        }

        fn properties(&self) -> Vec<Property<Self>> {
            vec![
                Property::always("at most one VM, and none that ran is lost", |_, state: &State| {
                    state.world.violated.is_none()
                }),
                Property::always("as wished when the faults stop", |model: &Self, state: &State| {
                    state.world.violated.is_some() || model.calm.unrest(state).is_none()
                }),
            ]
        }
    }
}

#[cfg(feature = "model")]
pub use checked::Checked;
