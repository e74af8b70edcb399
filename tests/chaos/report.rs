//! Which runs are played, and what is printed of them.

use std::{collections::BTreeMap, ops::RangeInclusive, path::PathBuf, process::ExitCode, time::Instant};

use crate::{
    check,
    kill::{self, Point},
    leaks::Before,
    scenario::{self, Plays, Scenario},
    storm,
    world::{Way, World},
};

/// Kill points that are played of a scenario when nothing else is asked for: enough for each way and side, few enough for
/// every run of the tests.
const A_FEW: u64 = 16;
/// No scenario has so many calls that change something on one way.
const MOST: u64 = 400;

/// What was played.
#[derive(Default)]
struct Tally {
    runs: u64,
    points: BTreeMap<&'static str, u64>,
    storms: u64,
    faults: BTreeMap<String, u64>,
    violations: Vec<String>,
}

struct Player {
    world: World,
    program: PathBuf,
    /// How many times as fast the operator's clock runs in storms.
    pace: u32,
    runs: u64,
    tally: Tally,
    began: Instant,
}

/// Which storms are played of each scenario.
struct Storms {
    seeds: RangeInclusive<u64>,
    /// Storms and nothing else.
    alone: bool,
}

impl Storms {
    /// `3`: the first three. `4-200`: those, and nothing else. Not given: one.
    fn read(text: Option<&str>) -> Self {
        let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("CHAOS_SEEDS is {text:?}: write 3 or 4-200"));
        match text.map(|text| text.split_once('-').ok_or(text)) {
            None => Self { seeds: 1..=1, alone: false },
            Some(Err(last)) => Self { seeds: 1..=number(last), alone: false },
            Some(Ok((first, last))) => Self { seeds: number(first)..=number(last), alone: true },
        }
    }
}

/// The scenarios that `CHAOS_SCENARIOS` names, or all.
fn meant(only: &str) -> Vec<&'static Scenario> {
    let all: Vec<&str> = scenario::ALL.iter().map(|scenario| scenario.name).collect();
    let names: Vec<&str> = only.split(',').filter(|name| !name.is_empty()).collect();
    for name in &names {
        assert!(all.contains(name), "CHAOS_SCENARIOS names {name:?}: there are {}", all.join(", "));
    }
    let is_meant = |scenario: &&Scenario| names.is_empty() || names.contains(&scenario.name);
    scenario::ALL.iter().filter(is_meant).collect()
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}: write a whole number")))
}

pub fn run() -> ExitCode {
    // Cargo passes words to filter tests by; this is one test, and a word that is not in its name leaves it out.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    if !words.is_empty() && !words.iter().any(|word| "chaos".contains(word.as_str())) {
        return ExitCode::SUCCESS;
    }
    if std::env::args().any(|word| word == "--list") {
        println!("chaos: test");
        return ExitCode::SUCCESS;
    }
    let program =
        std::env::var_os("CHAOS_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_innkeeper").into(), PathBuf::from);
    let pace = number("CHAOS_SPEED").map_or(1, |pace| u32::try_from(pace).expect("CHAOS_SPEED is small"));
    let scenarios = meant(&std::env::var("CHAOS_SCENARIOS").unwrap_or_default());
    let world = World::start(program.clone());
    let mut player = Player { world, program, pace, runs: 0, tally: Tally::default(), began: Instant::now() };
    match std::env::var("CHAOS_REPLAY") {
        Ok(replay) if !replay.is_empty() => player.replay(&replay),
        _ => player.play_all(&scenarios),
    }
    player.print()
}

impl Player {
    fn play_all(&mut self, scenarios: &[&Scenario]) {
        let stride = number("CHAOS_STRIDE");
        let storms = Storms::read(std::env::var("CHAOS_SEEDS").ok().filter(|text| !text.is_empty()).as_deref());
        let are_chosen = scenarios.len() < scenario::ALL.len();
        for scenario in scenarios {
            match (scenario.plays, stride) {
                (Plays::Alone { .. }, _) if storms.alone => {}
                _ if storms.alone => storms.seeds.clone().for_each(|seed| self.storm(scenario, seed)),
                (Plays::Alone { minutes: true }, None) if !are_chosen => {}
                (Plays::Alone { .. }, _) => self.alone(scenario),
                (Plays::Once, None) => {
                    // A way and a side that follow from the name, and a call that every scenario comes to.
                    let sum: usize = scenario.name.bytes().map(usize::from).sum();
                    let way = if sum.is_multiple_of(2) { Way::Api } else { Way::Xen };
                    self.kill(scenario, Point { way, number: 7, after_effect: (sum / 2).is_multiple_of(2) });
                }
                // A minute or two each: what was asked of a Xen pool and is not seen may still turn up.
                (Plays::WaitsOnXen, None) => {
                    for way in [Way::Api, Way::Ec2] {
                        self.kill_points(scenario, way, stride);
                    }
                }
                _ => {
                    for way in Way::ALL {
                        self.kill_points(scenario, way, stride);
                    }
                    storms.seeds.clone().for_each(|seed| self.storm(scenario, seed));
                }
            }
        }
    }

    /// Plays a scenario that has its own faults, with a sound operator.
    fn alone(&mut self, scenario: &Scenario) {
        let (name, began) = (self.next_name(), Instant::now());
        self.world.set_pace(1);
        self.world.calm(0);
        let before = Before::of(&self.world);
        self.world.start_operator();
        let result = (scenario.run)(&self.world, &name)
            .and_then(|()| check::never_twice(&self.world))
            .and_then(|()| before.is_all_that_is_left(&self.world));
        self.world.kill_operator();
        self.world.calm(0);
        *self.tally.faults.entry(scenario.name.to_owned()).or_default() += 1;
        self.note(&format!("{}/alone", scenario.name), "by itself", began, result);
    }

    fn replay(&mut self, replay: &str) {
        let (name, what) = replay.split_once('/').expect("write CHAOS_REPLAY as SCENARIO/POINT or SCENARIO/seed:N");
        let scenario = scenario::ALL.iter().find(|scenario| scenario.name == name).expect("there is such a scenario");
        match what.strip_prefix("seed:") {
            None if what == "alone" => self.alone(scenario),
            Some(seed) => self.storm(scenario, seed.parse().expect("a seed is a whole number")),
            None => drop(self.kill(scenario, what.parse().unwrap_or_else(|error: String| panic!("{error}")))),
        }
    }

    /// Kills at the points of one way, until the scenario ends before one is reached. With a stride, both sides of every
    /// so-many-th call; else a few calls, one side each in turn.
    fn kill_points(&mut self, scenario: &Scenario, way: Way, stride: Option<u64>) {
        let step = stride.unwrap_or(A_FEW).max(1);
        // The very first calls of the few are left out: after a lost answer to one, the Xen pool is waited for two minutes.
        let first = if stride.is_some() { 1 } else { 4 };
        for turn in 0..MOST {
            let sides: &[bool] = if stride.is_some() { &[false, true] } else { &[turn.is_multiple_of(2)] };
            for &after_effect in sides {
                if !self.kill(scenario, Point { way, number: turn * step + first, after_effect }) {
                    return;
                }
            }
        }
    }

    /// Whether the point was reached.
    fn kill(&mut self, scenario: &Scenario, point: Point) -> bool {
        let name = self.next_name();
        let began = Instant::now();
        self.world.set_pace(1);
        let done = kill::play(&self.world, scenario, &name, point);
        let what = done.killed_at.as_ref().map_or_else(|| "not reached".to_owned(), Clone::clone);
        if done.killed_at.is_some() {
            *self.tally.points.entry(scenario.name).or_default() += 1;
            let kind = format!("kill {} {}", if point.after_effect { "after" } else { "before" }, point.way.name());
            *self.tally.faults.entry(kind).or_default() += 1;
        }
        self.note(&format!("{}/{point}", scenario.name), &what, began, done.result);
        done.killed_at.is_some()
    }

    fn storm(&mut self, scenario: &Scenario, seed: u64) {
        let name = self.next_name();
        let began = Instant::now();
        self.world.set_pace(self.pace);
        let (fired, result) = storm::play(&self.world, scenario, &name, seed);
        for (kind, times) in fired {
            *self.tally.faults.entry(kind).or_default() += times;
        }
        self.tally.storms += 1;
        self.note(&format!("{}/seed:{seed}", scenario.name), "a storm", began, result);
    }

    fn next_name(&mut self) -> String {
        self.runs += 1;
        format!("c{}", self.runs)
    }

    fn note(&mut self, run: &str, what: &str, began: Instant, result: Result<(), String>) {
        self.tally.runs += 1;
        let seconds = began.elapsed().as_secs_f32();
        match result {
            Ok(()) => println!("chaos: {run} ({what}): ok, {seconds:.1} s"),
            Err(why) => {
                println!("chaos: {run} ({what}): VIOLATION after {seconds:.1} s: {why}");
                let pace = if run.contains("seed:") && self.pace > 1 {
                    format!("SPEED={} ", self.pace)
                } else {
                    String::new()
                };
                println!("chaos: again with: {pace}CHAOS_REPLAY={run} make chaos");
                self.tally.violations.push(run.to_owned());
                // What is left would spoil the runs after it.
                self.world.kill_operator();
                self.world = World::start(self.program.clone());
            }
        }
    }

    fn print(self) -> ExitCode {
        let Tally { runs, points, storms, faults, violations } = self.tally;
        println!("\nscenarios: {}, kill points: {points:?}, storms: {storms}", scenario::ALL.len());
        println!("faults by kind: {faults:?}");
        println!("runs: {runs}, seconds: {}", self.began.elapsed().as_secs());
        for violation in &violations {
            println!("violated: {violation}");
        }
        // In the words of a test run, for whoever counts tests.
        let word = if violations.is_empty() { "ok" } else { "FAILED" };
        let (good, bad) = (runs - violations.len() as u64, violations.len());
        println!("test result: {word}. {good} passed; {bad} failed; 0 ignored; 0 measured; 0 filtered out");
        println!("violations: {bad}");
        if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
