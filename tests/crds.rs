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
