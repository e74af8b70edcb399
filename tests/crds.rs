//! The definitions in `crds/`, and the pages about them in `docs/reference/`, are those of the code.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[test]
fn the_definitions_in_the_tree_are_those_of_the_code() {
    for crd in innkeeper::api::crds() {
        let path = format!("{}/crds/{}", env!("CARGO_MANIFEST_DIR"), innkeeper::cli::crds::file_name(&crd));
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == innkeeper::cli::crds::render(&crd).unwrap(), "{path} is out of date: run `make crds`");
    }
}

#[test]
fn the_pages_about_the_fields_are_those_of_the_code() {
    for crd in innkeeper::api::crds() {
        let name = innkeeper::cli::reference::file_name(&crd);
        let path = format!("{}/docs/reference/{name}", env!("CARGO_MANIFEST_DIR"));
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(written == innkeeper::cli::reference::markdown(&crd), "{path} is out of date: run `make crds`");
    }
}

/// The texts in code marks of a table's first cells, for the lines below a heading.
fn first_cells(page: &str, heading: &str) -> Vec<String> {
    let part = page.split(heading).nth(1).unwrap().split("\n#").next().unwrap();
    let cells = part.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    cells.flat_map(|(cell, _)| cell.split("`, `").map(str::to_owned)).collect()
}

#[test]
fn what_can_change_later_is_said_of_every_field() {
    let read = |page: &str| std::fs::read_to_string(format!("{}/docs/{page}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let fields = first_cells(&read("reference/virtualworkload.md"), "\n## spec\n");
    let said = first_cells(&read("api.md"), "\n### What can change later\n");
    assert!(fields.len() > 50 && said.len() > 10, "{said:?}");
    let is_in = |field: &str, whole: &str| {
        field.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    for whole in &said {
        assert!(fields.iter().any(|field| is_in(field, whole)), "docs/api.md speaks of {whole}, which is no field");
        assert_eq!(said.iter().filter(|other| *other == whole).count(), 1, "docs/api.md says {whole} twice");
    }
    let above = |field: &str| said.iter().any(|whole| is_in(whole, field));
    let silent: Vec<_> =
        fields.iter().filter(|field| !said.iter().any(|whole| is_in(field, whole)) && !above(field)).collect();
    assert_eq!(silent, Vec::<&String>::new(), "docs/api.md does not say what a change of these does");
}
