//! Stories in tests/plans, each a world and what is decided about it, in words that a person can read.

use std::{fmt::Write as _, fs, path::Path};

use innkeeper::plan::{Bound, Costs, Explanation, MoveOptions, Options, Plan, World, decide};
use serde::Deserialize;

#[derive(Deserialize)]
struct Story {
    about: String,
    /// How many moves may be spent on having fewer hosts in use.
    #[serde(default)]
    density: usize,
    world: World,
}

fn place(bound: &Bound) -> String {
    let rest = bound.host.iter().chain(&bound.instance_type).map(|part| format!("/{part}"));
    format!("{}{}", bound.pool, rest.collect::<String>())
}

fn explanation(text: &mut String, world: &World, one: &Explanation) -> std::fmt::Result {
    let name = world.guests.iter().find(|g| g.uid == one.guest).map_or("?", |g| &g.name);
    writeln!(text, "{name}: {}\n  {}", one.reason, one.message)?;
    for term in &one.score {
        writeln!(text, "  score: {} {}", term.name, term.value)?;
    }
    if let Some(next) = &one.runner_up {
        writeln!(text, "  runner-up: {}, worse by {} {}", place(&next.place), next.margin.name, next.margin.value)?;
    }
    for wish in &one.broken_wishes {
        writeln!(text, "  unfulfilled: {wish}")?;
    }
    for rejected in &one.rejected {
        for failure in &rejected.failures {
            let (rule, wanted, free) = (failure.rule, &failure.wanted, &failure.free);
            writeln!(text, "  not {}: {rule:?}: wanted {wanted}, there is {free}: {}", rejected.pool, failure.short)?;
        }
    }
    if one.rejected_more > 0 {
        writeln!(text, "  and {} more pools", one.rejected_more)?;
    }
    if let Some(change) = &one.smallest_change {
        writeln!(text, "  smallest change: {change}")?;
    }
    Ok(())
}

fn costs(text: &mut String, when: &str, costs: &Costs) -> std::fmt::Result {
    let shown = |money: &Option<_>| money.map_or("unknown".into(), |m: innkeeper::api::money::Money| m.to_string());
    writeln!(
        text,
        "cost {when}: {} an hour marginal; amortised {} capital, {} operational",
        shown(&costs.marginal),
        shown(&costs.amortised_capital),
        shown(&costs.amortised_operational),
    )
}

fn tell(story: &Story, plan: &Plan) -> Result<String, std::fmt::Error> {
    let mut text = format!("{}\n\n", story.about.trim());
    for one in &plan.explanations {
        explanation(&mut text, &story.world, one)?;
    }
    for step in &plan.moves {
        let name = story.world.guests.iter().find(|g| g.uid == step.guest).map_or("?", |g| &g.name);
        let (from, to) = (place(&step.from), place(&step.to));
        writeln!(text, "move {name} from {from} to {to}: {:?}, {:?}, wave {}", step.cause, step.how, step.wave)?;
    }
    for uid in &plan.home_room {
        writeln!(text, "room at home for: {uid}")?;
    }
    if let Some(at) = plan.wake_at {
        writeln!(text, "look again at {at}")?;
    }
    costs(&mut text, "before", &plan.cost_before)?;
    costs(&mut text, "after", &plan.cost_after)?;
    Ok(text)
}

#[test]
fn every_story_ends_as_it_is_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .expect("stories")
        .map(|entry| entry.expect("a story").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no stories in {}", folder.display());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(&folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for file in files {
        let text = fs::read_to_string(&file).expect("a story");
        let story: Story = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let plan = decide(
            &story.world,
            &Options { moves: MoveOptions { density: story.density, ..MoveOptions::default() }, ..Options::default() },
        );
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let told = tell(&story, &plan).expect("text");
        settings.bind(|| insta::assert_snapshot!(name, told));
    }
}
