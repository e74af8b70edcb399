//! Claims per second through the whole decide path: bursts of guests arrive at a world in which those of the bursts
//! before are bound already but not yet seen; each burst is decided by one call, from the plain world to the plan.

use std::time::{Duration, Instant};

use innkeeper::plan::{Options, check::check, decide};
use serde_json::json;

use crate::{
    Failure,
    input::Numbers,
    mixed::{guests, pools, world},
};

pub(crate) fn run(args: &[&str]) -> Result<serde_json::Value, Failure> {
    let total: usize = args.first().unwrap_or(&"20000").parse()?;
    let burst: usize = args.get(1).unwrap_or(&"1000").parse()?;
    let mut numbers = Numbers(42);
    let pools = pools(&mut numbers)?;
    // Every burst holds guests of each kind.
    let mut waiting = guests(total, &mut numbers);
    for at in (1..waiting.len()).rev() {
        let with = numbers.below(at + 1);
        waiting.swap(at, with);
    }
    let mut world = world(pools, Vec::new())?;
    let (mut spent, mut slowest, mut claims, mut broken, mut bursts) = (Duration::ZERO, Duration::ZERO, 0, 0, 0u32);
    while !waiting.is_empty() {
        let from = world.guests.len();
        world.guests.extend(waiting.drain(..burst.min(waiting.len())));
        let start = Instant::now();
        let plan = decide(&world, &Options::default());
        let took = start.elapsed();
        spent += took;
        slowest = slowest.max(took);
        claims += plan.bindings.len();
        bursts += 1;
        if bursts.is_multiple_of(5) || waiting.is_empty() {
            broken += check(&world, &plan).len();
        }
        for binding in plan.bindings {
            let guest = world.guests[from..].iter_mut().find(|g| g.uid == binding.guest);
            if let Some(guest) = guest {
                guest.bound = Some(binding.place);
            }
        }
    }
    Ok(json!({
        "work": "bursts",
        "seconds": spent.as_secs_f64(),
        "placements": claims,
        "quality": f64::from(u32::try_from(claims)?) / spent.as_secs_f64(),
        "quality_is": format!("claims a second, in bursts of {burst}, each from the plain world to the plan"),
        "slowest_burst_seconds": slowest.as_secs_f64(),
        "broken_rules": broken,
        "moves": 0,
    }))
}
