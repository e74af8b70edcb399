//! The pages about Xen pools say what is so: the table of pitfalls has all of them and the tests it names are there; the
//! table of roles has every call.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn source(module: &str) -> String {
    ["src/provider/xapi", "tests/xapi_contract"]
        .iter()
        .flat_map(|place| [format!("{place}/{module}.rs"), format!("{place}/{module}_tests.rs")])
        .filter_map(|path| fs::read_to_string(root().join(path)).ok())
        .collect()
}

#[test]
fn the_table_of_pitfalls_is_true_of_the_tests() {
    let text = fs::read_to_string(root().join("docs/xapi-pitfalls.md")).unwrap();
    let (_, tables) = text.split_once("\n## ").unwrap();
    let rows = tables.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse::<u32>().ok());
    assert_eq!(rows.collect::<Vec<_>>(), (1..=68).collect::<Vec<_>>());
    let named = tables.split('`').filter_map(|word| word.split_once("::")).collect::<Vec<_>>();
    assert!(named.len() > 50, "{named:?}");
    for (module, test) in named {
        assert!(source(module).contains(&format!("fn {test}(")), "there is no test {module}::{test}");
    }
}

/// The driver's source without its tests.
fn driver(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_string_lossy().into_owned();
        if entry.is_dir() {
            text += &driver(&entry);
        } else if entry.extension().is_some_and(|ending| ending == "rs") && !name.contains("tests") {
            text += fs::read_to_string(&entry).unwrap().split("#[cfg(test)]").next().unwrap();
        }
    }
    text
}

/// The least role for a call, as the data model lists it. What it lists for certificates alone changes a VM's host, but for one.
fn role(model: &Value, class: &str, message: &str) -> String {
    let listed = model["classes"][class]["messages"][message]["role"].as_str();
    match (listed, message) {
        (Some("client-cert"), "suspend") => "vm-operator",
        (Some("client-cert"), _) => "vm-power-admin",
        (Some(role), _) => role,
        (None, message) if message.starts_with("get_") => "read-only",
        // Fields of a VM and of what belongs to it.
        (None, _) => "vm-admin",
    }
    .to_owned()
}

#[test]
fn the_table_of_roles_has_every_call() {
    let model = fs::read_to_string(root().join("tests/xapi-sim/model/model.json")).unwrap();
    let model: Value = serde_json::from_str(&model).unwrap();
    let mut called: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for word in driver(&root().join("src/provider/xapi")).split('"') {
        let Some((class, message)) = word.trim_start_matches("Async.").split_once('.') else { continue };
        let is_name = !message.is_empty() && message.chars().all(|c| c.is_ascii_alphabetic() || c == '_');
        if model["classes"].get(class).is_some() && is_name {
            called.entry(role(&model, class, message)).or_default().insert(format!("{class}.{message}"));
        }
    }
    // Whoever may do anything at all may read.
    called.remove("read-only");
    assert!(called.values().flatten().count() > 30, "{called:?}");
    let page = fs::read_to_string(root().join("docs/pools/xen.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let written: BTreeMap<String, BTreeSet<String>> = rows
        .map(|(role, calls)| {
            let calls = calls.split('`').skip(1).step_by(2).filter(|call| !call.contains('/'));
            (role.to_owned(), calls.map(str::to_owned).collect())
        })
        .collect();
    assert_eq!(written, called);
}
