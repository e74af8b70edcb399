//! `innkeeper plan`, and what it ends with.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

/// The exit code and what is printed for a pool with room for guests of up to 4 GiB, and one guest of this size.
fn planned(memory: &str) -> (Option<i32>, String) {
    let manifests = format!(
        r#"
apiVersion: innkeeper.dev/v1alpha1
kind: CloudPool
metadata: {{ name: london, creationTimestamp: "2026-11-01T08:00:00Z" }}
spec:
  provider: {{ xapi: {{ endpoints: [], credentialsSecretRef: {{ namespace: a, name: b }} }} }}
  location: {{ jurisdiction: GB }}
  images: [{{ name: debian-12, providerId: debian-12 }}]
  pricing: {{ owned: {{ currency: EUR, monthlyRunningCost: "100" }} }}
status:
  hosts:
    - {{ id: a, name: xen1, schedulable: true, cpus: 8, memory: 8Gi, allocatableMemory: 4Gi, vcpusOthers: 0, guestsOthers: 0 }}
  conditions:
    - {{ type: Ready, status: "True", reason: InventoryCurrent, message: "", lastTransitionTime: "2026-11-01T08:00:00Z" }}
---
apiVersion: innkeeper.dev/v1alpha1
kind: VirtualWorkload
metadata: {{ name: web, namespace: shop }}
spec:
  replicas: 1
  template: {{ image: {{ name: debian-12 }}, size: {{ vcpus: 1, memory: {memory} }} }}
"#
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_innkeeper"));
    command.args(["plan", "-f", "-", "-o", "json"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(manifests.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn the_exit_code_tells_whether_all_find_a_place() {
    let (code, text) = planned("2Gi");
    assert!(code == Some(0) && text.contains("Placed on london/xen1"), "{code:?} {text}");
    let (code, text) = planned("6Gi");
    assert!(code == Some(2) && text.contains("1 pool: london: short of 2 GiB memory"), "{code:?} {text}");
    // That nobody could be asked is another matter than that nothing fits.
    let (code, text) = planned("[");
    assert!(code == Some(1) && text.contains("cannot understand - as YAML"), "{code:?} {text}");
}
