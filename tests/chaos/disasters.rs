//! What befalls the API server, and the operator's clock.

use std::time::Duration;

use fault_proxy::{Fault, Rule, Seed};
use serde_json::{Value, json};

use crate::{
    changes::{same, vms},
    check, clock,
    scenario::{being_made, create, delete, overflowing, patch},
    world::{Way, World, until},
};

const GUESTS: &str = "/apis/innkeeper.dev/v1alpha1/guests";

/// The API server and etcd are killed and started again: while guests are made, then while the operator is cut off and a
/// workload is scaled, until etcd has forgotten all that the operator knows of, and while the workload is deleted.
pub fn restarts(world: &World, name: &str) -> Result<(), String> {
    create(world, name, 3, &overflowing())?;
    being_made(world)?;
    world.stack.restart_api();
    check::at_rest(world, name, 3)?;

    world.proxy(Way::Api).add(Rule::on("*", Fault::ResetBefore));
    let now: Value =
        serde_json::from_str(&world.stack.kubectl(&["get", "--raw", GUESTS])).map_err(|e| e.to_string())?;
    let version = now["metadata"]["resourceVersion"].as_str().ok_or("a list has a version")?.to_owned();
    patch(world, name, &json!({ "replicas": 1 }))?;
    let then = format!("{GUESTS}?resourceVersion={version}&resourceVersionMatch=Exact&limit=500");
    let forgotten = || {
        let said = world.stack.try_kubectl(&["get", "--raw", &then]);
        (!said.status.success() && String::from_utf8_lossy(&said.stderr).contains("too old")).then_some(())
    };
    until("etcd has forgotten it", Duration::from_mins(2), forgotten)?;
    // A new one has no events of before either: whoever asks for them is told that they are gone.
    world.stack.restart_api();
    world.proxy(Way::Api).reset(Seed(0));
    check::at_rest(world, name, 1)?;

    delete(world, name)?;
    world.stack.restart_api();
    check::gone(world, name)
}

/// The operator's clock jumps two hours ahead while guests are made, and is put back; later it jumps two hours back.
pub fn clock(world: &World, name: &str) -> Result<(), String> {
    let Some(library) = clock::library() else { return Ok(()) };
    let hand = world.stack.folder.path().join("clock");
    let set = |offset: &str| std::fs::write(&hand, offset).map_err(|error| format!("the clock cannot be set: {error}"));
    set("+0")?;
    let program = world.stack.folder.path().join("innkeeper-with-clock");
    let settings = format!("FAKETIME_TIMESTAMP_FILE={} FAKETIME_DONT_FAKE_MONOTONIC=1", hand.display());
    clock::wrap(&program, &world.program, library, &settings)
        .map_err(|error| format!("a program with a clock: {error}"))?;
    world.kill_operator();
    world.start_operator_of(&program);
    create(world, name, 3, &overflowing())?;
    being_made(world)?;
    set("+7200s")?;
    check::at_rest(world, name, 3)?;
    let before = vms(world);
    set("+0")?;
    check::at_rest(world, name, 3)?;
    same(world, &before)?;
    patch(world, name, &json!({ "replicas": 1 }))?;
    set("-7200s")?;
    check::at_rest(world, name, 1)?;
    set("+7200s")?;
    delete(world, name)?;
    let gone = check::gone(world, name);
    // Its log tells when it was: two hours from now.
    let log = std::fs::read_to_string(program.with_extension("log")).unwrap_or_default();
    let ahead = jiff::Timestamp::now() + jiff::SignedDuration::from_mins(100);
    let mut times = log.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
    if !times.any(|time: jiff::Timestamp| time > ahead) {
        return Err("the operator's clock was right all the time".to_owned());
    }
    gone
}
