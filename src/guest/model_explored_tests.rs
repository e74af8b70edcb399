//! The life of a guest, explored to its end in small worlds. `make model` goes further, with stateright.

use super::model_small::{Small, explore};

/// From the environment, to go further.
fn number(name: &str, otherwise: usize) -> usize {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn a_guest_runs_once_and_leaves_without_a_trace_whatever_breaks_once() {
    // One fault at any place. From each state the world is then left in peace until it rests.
    let explored = explore(Small { faults: 1, ticks: number("MODEL_TICKS", 1) });
    println!("model: {} states, {} steps deep", explored.states, explored.depth);
    if let Some((what, way)) = explored.violation {
        panic!("violated after {way:?}: {what}");
    }
    assert!(explored.states > 300, "the world is larger than this: {explored:?}");
}

/// Run by `make model`: `MODEL_FAULTS` and `MODEL_TICKS` say how far.
#[cfg(feature = "model")]
#[test]
fn stateright_finds_nothing() {
    use stateright::{Checker as _, Model as _};

    use super::model_small::{Calm, Checked};

    let small = Small { faults: number("MODEL_FAULTS", 2), ticks: number("MODEL_TICKS", 3) };
    let began = std::time::Instant::now();
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let checker = Checked { small, calm: Calm::default() }.checker().threads(threads).spawn_bfs().join();
    let (states, unique, depth) = (checker.state_count(), checker.unique_state_count(), checker.max_depth());
    println!(
        "model: {small:?}, states generated: {states}, unique: {unique}, depth: {depth}, seconds: {}",
        began.elapsed().as_secs()
    );
    // The way there says more than the last state.
    for (name, path) in checker.discoveries() {
        let last = path.last_state().clone();
        let what = last.world.violated.clone().or_else(|| Calm::default().unrest(&last));
        panic!("violated: {name}, after {:?}: {what:?}", path.into_actions());
    }
}
