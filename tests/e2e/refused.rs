//! Manifests with mistakes: each is refused by `kubectl apply`, with a sentence that names the field and the remedy.
//!
//! The first lines of each file say what must be in the answer: `# expect: ...`.

use std::path::PathBuf;

use crate::stack::Stack;

fn files() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifests/invalid");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_mistake_is_refused_with_its_remedy_and_every_example_is_accepted() {
    let stack = Stack::start();
    let files = files();
    assert!(files.len() >= 15, "there are {} mistakes", files.len());
    let mut wrong = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let expected: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# expect: ")).collect();
        assert!(expected.len() >= 2, "{}: name the field and the remedy", file.display());
        // What stands before the mark is applied first, where a change is what is refused.
        if let Some((first, _)) = text.split_once("# then\n") {
            stack.apply(first);
        }
        let then = text.split_once("# then\n").map_or(text.as_str(), |(_, then)| then);
        let path = stack.folder.path().join("mistake.yaml");
        std::fs::write(&path, then).unwrap();
        let output = stack.try_kubectl(&["apply", "-f", &path.to_string_lossy()]);
        let answer = String::from_utf8_lossy(&output.stderr).into_owned();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        println!("{name}: {}", answer.trim());
        if output.status.success() || !expected.iter().all(|part| answer.contains(part)) {
            wrong.push(format!("{name}: expected {expected:?}, got: {answer}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The same API server, as starting one takes longer than asking it.
    crate::examples::are_accepted(&stack);
}
