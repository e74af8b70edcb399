//! What others do to pools and VMs behind our back.

use std::time::{Duration, Instant};

use fault_proxy::{Fault, Matching, Rule};
use kube::ResourceExt;
use serde_json::{Value, json};

use crate::{
    changes::{same, vms},
    check::{self, REST},
    scenario::{at_home, create, delete, overflowing},
    world::{Way, World, until},
};

fn condition(world: &World, pool: &str, kind: &str) -> Option<String> {
    let status = world.pool(pool)?.status?;
    status.conditions.into_iter().find(|condition| condition.type_ == kind).map(|condition| condition.status)
}

/// Somebody switches a VM off, renames it, clones it and runs the clone, and terminates an instance.
pub fn meddle(world: &World, name: &str) -> Result<(), String> {
    create(world, name, 3, &overflowing())?;
    check::at_rest(world, name, 3)?;
    let at_home: Vec<String> = world.truth.xen_vms().into_keys().collect();
    let xapi = |method: &str, parameters: &[Value]| world.truth.xapi(&world.stack, method, parameters);
    let vm = xapi("VM.get_by_uuid", &[at_home[0].clone().into()]);
    xapi("VM.set_name_label", &[vm.clone(), "not-what-it-was".into()]);
    xapi("VM.hard_shutdown", std::slice::from_ref(&vm));
    let runs = || {
        world.revive_operator();
        (world.truth.xen_vms().get(&at_home[0])?["power_state"] == "Running").then_some(())
    };
    until("the same VM runs again", REST, runs)?;

    // A clone of a guest's VM is nobody's: not stopped, not removed, not taken for the guest's.
    let other = xapi("VM.get_by_uuid", &[at_home[1].clone().into()]);
    let snapshot = xapi("VM.snapshot", &[other, "a-snapshot".into()]);
    let clone = xapi("VM.clone", &[snapshot.clone(), "a-clone".into()]);
    xapi("VM.set_is_a_template", &[clone.clone(), false.into()]);
    let copy = xapi("VM.get_uuid", std::slice::from_ref(&clone)).as_str().unwrap_or_default().to_owned();

    let instances = world.truth.instances();
    let gone = instances.first().and_then(|instance| instance.instance_id.clone()).ok_or("no instance")?;
    let ended = world.truth.block_on(async { world.truth.ec2.terminate_instances().instance_ids(&gone).send().await });
    ended.map_err(|error| format!("the neighbour cannot terminate {gone}: {error}"))?;
    let replaced = || {
        world.revive_operator();
        let now = vms(world);
        (now.len() == 3 && !now.contains(&gone)).then_some(())
    };
    until("the guest has another instance", REST, replaced)?;
    if world.truth.xen_vms().remove(&copy).is_none_or(|vm| vm["power_state"] != "Halted") {
        return Err("somebody else's clone was touched".to_owned());
    }
    for vm in [clone, snapshot] {
        destroy(world, &vm);
    }
    check::at_rest(world, name, 3)?;
    delete(world, name)?;
    check::gone(world, name)
}

/// Of a VM that is off, with its disks.
fn destroy(world: &World, vm: &Value) {
    let xapi = |method: &str, of: &Value| world.truth.xapi(&world.stack, method, std::slice::from_ref(of));
    for drive in xapi("VM.get_VBDs", vm).as_array().into_iter().flatten() {
        let disk = xapi("VBD.get_VDI", drive);
        if disk.as_str().is_some_and(|disk| disk != "OpaqueRef:NULL") {
            xapi("VDI.destroy", &disk);
        }
    }
    xapi("VM.destroy", vm);
}

/// Somebody moves one guest's VM to another host, and removes another's while no operator runs.
pub fn move_and_remove(world: &World, name: &str) -> Result<(), String> {
    create(world, name, 2, &at_home())?;
    check::at_rest(world, name, 2)?;
    let there: Vec<String> = world.truth.xen_vms().into_keys().collect();
    let [moved, removed] = there.as_slice() else { return Err(format!("two VMs are expected: {there:?}")) };
    let xapi = |method: &str, parameters: &[Value]| world.truth.xapi(&world.stack, method, parameters);
    let vm = xapi("VM.get_by_uuid", &[moved.clone().into()]);
    let from = xapi("VM.get_resident_on", std::slice::from_ref(&vm));
    let hosts = xapi("host.get_all", &[]);
    let to = hosts.as_array().into_iter().flatten().find(|host| **host != from).ok_or("no other host")?;
    xapi("VM.pool_migrate", &[vm, to.clone(), json!({ "live": "true" })]);
    let host = xapi("host.get_name_label", std::slice::from_ref(to));
    let follows = || {
        world.revive_operator();
        let status = world.guests().into_iter().filter_map(|guest| guest.status);
        let mut of_it = status.filter(|status| status.provider_id.as_ref() == Some(moved));
        of_it.any(|status| status.host.as_deref() == host.as_str()).then_some(())
    };
    until("the guest says where its VM is now", REST, follows)?;

    world.kill_operator();
    let vm = xapi("VM.get_by_uuid", &[removed.clone().into()]);
    xapi("VM.hard_shutdown", std::slice::from_ref(&vm));
    destroy(world, &vm);
    world.start_operator();
    let replaced = || {
        world.revive_operator();
        let now = vms(world);
        (now.len() == 2 && !now.contains(removed)).then_some(())
    };
    until("the guest has another VM", REST, replaced)?;
    check::at_rest(world, name, 2)?;
    if !vms(world).contains(moved) {
        return Err(format!("the VM that was only moved, {moved}, is replaced too: {:?}", vms(world)));
    }
    delete(world, name)?;
    check::gone(world, name)
}

/// The pool has another certificate than the one that is written: it is not talked to, and nothing becomes of its guests.
pub fn certificate(world: &World, name: &str) -> Result<(), String> {
    create(world, name, 1, &at_home())?;
    check::at_rest(world, name, 1)?;
    let before = vms(world);
    let print = world.fingerprint();
    let tls = |print: &str| json!({ "provider": { "xapi": { "tls": { "certificateFingerprints": [print] } } } });
    let another = print
        .chars()
        .map(|c| {
            if c == 'A' {
                'B'
            } else if c == '0' {
                '1'
            } else {
                c
            }
        })
        .collect::<String>();
    world.patch_pool("home", &tls(&another));
    let said = || {
        world.revive_operator();
        (condition(world, "home", "Ready")? == "False").then_some(())
    };
    let refused = until("the pool is not ready", REST, said);
    world.patch_pool("home", &tls(&print));
    refused?;
    let back = || (condition(world, "home", "Ready")? == "True").then_some(());
    until("the pool is ready again", REST, back)?;
    check::at_rest(world, name, 1)?;
    same(world, &before)?;
    delete(world, name)?;
    check::gone(world, name)
}

/// The storage at home is full, and then is not.
pub fn full(world: &World, name: &str) -> Result<(), String> {
    world.truth.fault(
        &json!({ "method": "VM.provision", "kind": "error", "code": "SR_FULL", "params": ["1", "0"], "count": 3 }),
    );
    create(world, name, 2, &at_home())?;
    let result = check::at_rest(world, name, 2);
    world.truth.calm();
    result?;
    delete(world, name)?;
    check::gone(world, name)
}

/// The account may have no more instances, from the second request to launch one on, and then may.
pub fn quota(world: &World, name: &str) -> Result<(), String> {
    let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Errors><Error><Code>InstanceLimitExceeded</Code>\
                <Message>Your quota allows for 0 more running instance(s)</Message></Error></Errors>\
                <RequestID>11111111-2222-3333-4444-555555555555</RequestID></Response>";
    let refuse = Fault::Answer { status: 400, body: body.into(), content_type: "text/xml".into() };
    // All later ones: a launch that succeeds is taken as the end of the quota, and guests are launched side by side.
    world.proxy(Way::Ec2).add(Rule { skip: 1, ..Rule::on("RunInstances", refuse) });
    create(world, name, 4, &overflowing())?;
    let said = || {
        world.revive_operator();
        (world.truth.xen_vms().len() == 2 && condition(world, "rented", "QuotaExceeded")? == "True").then_some(())
    };
    until("the pool says that its quota is met", REST, said)?;
    // Somebody asked for a higher one; types are put aside for minutes, so this is not waited for.
    world.proxy(Way::Ec2).reset(fault_proxy::Seed(0));
    delete(world, name)?;
    check::gone(world, name)
}

/// Home is cut off for longer than a VM that is missing is waited for. Its guests run on, and nobody makes others.
pub fn silence(world: &World, name: &str) -> Result<(), String> {
    create(world, name, 3, &overflowing())?;
    check::at_rest(world, name, 3)?;
    let before = vms(world);
    for way in [Way::Xen, Way::Ec2] {
        let matching = Matching::default();
        world.proxy(way).add(Rule { matching, ..Rule::on("*", Fault::ResetBefore) });
    }
    let until = Instant::now() + Duration::from_mins(4);
    let (mut touched, mut next) = (0, Instant::now());
    while Instant::now() < until {
        world.revive_operator();
        // Somebody notes something on the guests, so that the operator looks at them again and again.
        if Instant::now() >= next {
            touched += 1;
            let note = format!("example.com/looked-at={touched}");
            world.stack.kubectl(&["annotate", "guests", "--all", "--overwrite", &note]);
            next = Instant::now() + Duration::from_secs(10);
        }
        let guests: Vec<String> =
            world.guests().iter().filter(|g| g.incarnation() > 1).map(ResourceExt::name_any).collect();
        if !guests.is_empty() {
            return Err(format!("given up, though nobody knows what became of them: {guests:?}"));
        }
        std::thread::park_timeout(Duration::from_millis(250));
    }
    world.calm(0);
    check::at_rest(world, name, 3)?;
    same(world, &before)?;
    delete(world, name)?;
    check::gone(world, name)
}
