//! A pool's credentials are changed while the operator runs.

use std::time::Duration;

use crate::{stack::Stack, truth::Truth};

const SOON: Duration = Duration::from_mins(1);

fn set_password(stack: &Stack, password: &str) {
    let patch = serde_json::json!({ "stringData": { "password": password } }).to_string();
    stack.kubectl(&["patch", "secret", "xen-london", "-n", "innkeeper-system", "-p", &patch]);
}

fn wait_for(stack: &Stack, ready: &str, reason: &str) {
    stack.until(&format!("the pool is {reason}"), SOON, || {
        let pool = stack.get(&["cloudpool", "xen-london"]);
        let conditions = pool["status"]["conditions"].as_array()?.clone();
        conditions.into_iter().find(|one| one["type"] == "Ready" && one["status"] == ready && one["reason"] == reason)
    });
}

#[test]
fn a_wrong_password_is_told_and_a_right_one_is_used_without_a_restart() {
    let stack = Stack::start();
    let truth = Truth::of(&stack);
    let (_operator, _) = stack.operator();
    stack.apply_examples();
    stack.wait_for_guests(6, SOON);
    let logins = || truth.calls().get("session.login_with_password").copied().unwrap_or_default();
    let before = logins();

    set_password(&stack, "a-wrong-one");
    wait_for(&stack, "False", "CredentialsRefused");
    // What works is kept: the guests' own connection is still the old one.
    stack.kubectl(&["scale", "vw/web", "--replicas=7"]);
    stack.wait_for_guests(7, SOON);
    assert!(logins() - before <= 3, "{} logins with a wrong password", logins() - before);

    set_password(&stack, crate::stack::PASSWORD);
    wait_for(&stack, "True", "InventoryCurrent");
    assert!(!stack.operator_log().contains("a-wrong-one"));
}
