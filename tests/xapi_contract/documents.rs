//! The table of pitfalls says what is so: it has all of them, and the tests it names are there.

use std::{fs, path::Path};

fn source(root: &Path, module: &str) -> String {
    ["src/provider/xapi", "tests/xapi_contract"]
        .iter()
        .flat_map(|place| [format!("{place}/{module}.rs"), format!("{place}/{module}_tests.rs")])
        .filter_map(|path| fs::read_to_string(root.join(path)).ok())
        .collect()
}

#[test]
fn the_table_of_pitfalls_is_true_of_the_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/xapi-pitfalls.md")).unwrap();
    let (_, tables) = text.split_once("\n## ").unwrap();
    let rows = tables.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse::<u32>().ok());
    assert_eq!(rows.collect::<Vec<_>>(), (1..=68).collect::<Vec<_>>());
    let named = tables.split('`').filter_map(|word| word.split_once("::")).collect::<Vec<_>>();
    assert!(named.len() > 50, "{named:?}");
    for (module, test) in named {
        assert!(source(root, module).contains(&format!("fn {test}(")), "there is no test {module}::{test}");
    }
}
