//! Third-party clients, unchanged, against the simulator. `tests/clients/install.sh` fetches them; where they are not
//! installed the tests say so and pass.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use support::Lab;
use tokio::process::Command;
use tokio::time::timeout;

/// Where the install script puts things.
fn cache() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("INNKEEPER_CACHE").unwrap_or_else(|| {
        let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|h| h.join(".cache")));
        base.unwrap_or_else(std::env::temp_dir).join("innkeeper")
    })
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Runs a client's script against a simulator; it must end well within its time.
async fn drive(mut command: Command) {
    let lab = Lab::start().await;
    command.args([&lab.running.url, &lab.running.user, &lab.running.password]).kill_on_drop(true);
    let output = timeout(Duration::from_mins(2), command.output()).await.expect("the client hangs").unwrap();
    let text = [output.stdout, output.stderr].map(|o| String::from_utf8_lossy(&o).into_owned()).concat();
    assert!(output.status.success() && text.contains("done"), "{text}");
}

#[tokio::test]
async fn npm_xen_api_works_unchanged() {
    let clients = cache().join("xapi-clients");
    if !clients.join("complete").exists() {
        eprintln!("skipped: npm's xen-api is not installed (tests/xapi-sim/tests/clients/install.sh)");
        return;
    }
    let mut command = Command::new("node");
    command.arg(script("xen_api.mjs")).arg(clients);
    drive(command).await;
}

#[tokio::test]
async fn pypi_xenapi_works_unchanged() {
    let python = cache().join("venv/bin/python");
    let has_it = Command::new(&python).args(["-c", "import XenAPI"]).output().await;
    if !has_it.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: PyPI's XenAPI is not installed (tests/xapi-sim/tests/clients/install.sh)");
        return;
    }
    let mut command = Command::new(python);
    command.arg(script("xenapi_client.py"));
    drive(command).await;
}
