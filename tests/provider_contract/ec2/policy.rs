//! The policy that `examples/ec2/` tells people to attach.

use std::collections::BTreeSet;

use serde_json::Value;

/// The actions that it allows, without the service's prefix.
pub fn actions() -> BTreeSet<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/ec2/policy.json")).unwrap();
    let policy: Value = serde_json::from_str(&text).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    let allowed = statements.iter().filter(|statement| statement["Effect"] == "Allow");
    let actions = allowed.flat_map(|statement| match &statement["Action"] {
        Value::String(one) => vec![one.clone()],
        many => serde_json::from_value(many.clone()).unwrap(),
    });
    let bare = |action: String| {
        let known = ["ec2:", "pricing:"].into_iter().find_map(|service| action.strip_prefix(service));
        known.expect("only EC2 and its prices are needed").to_owned()
    };
    actions.map(bare).collect()
}
