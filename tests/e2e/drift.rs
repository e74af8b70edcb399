//! What others do behind our back is seen and mended.

use std::time::Duration;

use crate::{
    stack::{Stack, until},
    truth::Truth,
};

const SOON: Duration = Duration::from_secs(90);

#[test]
fn what_others_stop_or_remove_comes_back() {
    let stack = Stack::start();
    let truth = Truth::of(&stack);
    let (_operator, _) = stack.operator();
    stack.apply_examples();
    stack.wait_for_guests(6, SOON);

    // Somebody switches a VM off on the Xen pool: it is the same VM that runs again.
    let (uuid, _) = truth.xen_vms().pop_first().unwrap();
    let vm = truth.xapi(&stack, "VM.get_by_uuid", &[uuid.clone().into()]);
    truth.xapi(&stack, "VM.hard_shutdown", &[vm]);
    assert_eq!(truth.xen_vms()[&uuid]["power_state"], "Halted");
    until("the VM runs again", SOON, || (truth.xen_vms().get(&uuid)?["power_state"] == "Running").then_some(()));

    // Somebody terminates an instance: a new one is made, counted as another VM of the same guest.
    let gone = truth.instances().pop().unwrap().instance_id.unwrap();
    truth.block_on(async { truth.ec2.terminate_instances().instance_ids(&gone).send().await.unwrap() });
    let guest = until("the guest has a new VM", SOON, || {
        stack.guests().into_iter().find(|guest| {
            guest["status"]["incarnation"] == 2
                && guest["status"]["phase"] == "Running"
                && guest["status"]["providerId"] != gone.as_str()
        })
    });
    assert_eq!(guest["spec"]["binding"]["incarnation"], 2);
    assert_eq!((truth.xen_vms().len(), truth.instances().len()), (4, 2));

    // A guest that somebody deletes is made anew under its name.
    stack.kubectl(&["delete", "guest", "web-0", "--timeout=60s"]);
    stack.wait_for_guests(6, SOON);
    assert_eq!((truth.xen_vms().len(), truth.instances().len()), (4, 2));

    // Switched off as wished: it is Ready, and stays off.
    stack.kubectl(&["patch", "vw", "web", "--type=merge", "-p", r#"{"spec":{"template":{"powerState":"Stopped"}}}"#]);
    until("all VMs are off", SOON, || {
        let halted = truth.xen_vms().values().all(|vm| vm["power_state"] == "Halted");
        let stopped = truth.instances().iter().all(|i| crate::truth::state(i).is_some_and(|s| s.as_str() == "stopped"));
        (halted && stopped).then_some(())
    });
    stack.kubectl(&["wait", "--for=condition=Ready", "vw/web", "--timeout=60s"]);
    assert!(stack.guests().iter().all(|guest| guest["status"]["phase"] == "Stopped"));
}
