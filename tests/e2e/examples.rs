//! Every manifest that a reader may copy is taken by the API server: the files of `examples/`, and the blocks of YAML in the
//! documents that say which kind they are.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::stack::Stack;

/// Groups of other products' kinds, which are not installed here. What a manifest of theirs says is theirs to check.
const OTHERS: [&str; 11] = [
    "argoproj.io",
    "source.toolkit.fluxcd.io",
    "kustomize.toolkit.fluxcd.io",
    "helm.toolkit.fluxcd.io",
    "kustomize.config.k8s.io",
    "monitoring.coreos.com",
    "keda.sh",
    "external-secrets.io",
    "cert-manager.io",
    "config.kubernetes.io",
    "audit.k8s.io",
];

/// Applies all of them without effect; says what was refused.
pub fn are_accepted(stack: &Stack) {
    let manifests = manifests();
    assert!(manifests.len() >= 5, "there are {} manifests", manifests.len());
    let mut wrong = Vec::new();
    let mut applied = 0;
    for (place, document) in &manifests {
        let (kind, name) = (&document["kind"], &document["metadata"]["name"]);
        let group = document["apiVersion"].as_str().unwrap_or_default().split('/').next().unwrap_or_default();
        if OTHERS.contains(&group) {
            println!("{place}: {kind} {name} is another product's");
            continue;
        }
        if let Some(namespace) = document["metadata"]["namespace"].as_str() {
            // It may be there already.
            stack.try_kubectl(&["create", "namespace", namespace]);
        }
        let path = stack.folder.path().join("example.json");
        std::fs::write(&path, document.to_string()).unwrap();
        let output = stack.try_kubectl(&["apply", "--server-side", "--dry-run=server", "-f", &path.to_string_lossy()]);
        if output.status.success() {
            applied += 1;
        } else {
            wrong.push(format!("{place}: {kind} {name}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    println!("{applied} manifests of examples and documents are accepted");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn files(folder: &Path, ends: &[&str], into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, ends, into);
        } else if path.extension().is_some_and(|end| ends.iter().any(|known| end == *known)) {
            into.push(path);
        }
    }
}

fn manifests() -> Vec<(String, Value)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut yaml, mut documents) = (Vec::new(), vec![root.join("README.md")]);
    files(&root.join("examples"), &["yaml", "yml"], &mut yaml);
    files(&root.join("docs"), &["md"], &mut documents);
    yaml.sort();
    documents.sort();
    let mut texts: Vec<(String, String)> = Vec::new();
    for path in yaml {
        texts.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
    }
    for path in documents {
        let text = std::fs::read_to_string(&path).unwrap();
        texts.extend(blocks(&text).into_iter().map(|(line, block)| (format!("{}:{line}", path.display()), block)));
    }
    let mut found = Vec::new();
    for (place, text) in texts {
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{place} is no YAML: {error}"));
        let complete = documents.into_iter().filter(|document| document["kind"].is_string());
        found.extend(complete.map(|document| (place.clone(), document)));
    }
    found
}

/// The manifests in a document, with their lines: fenced blocks of YAML that name a kind, and what is printed in a session that
/// is set in by four spaces.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut fenced: Option<(usize, String)> = None;
    let mut session: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut fenced, fence) {
            (None, Some("yaml")) => fenced = Some((number + 2, String::new())),
            (Some(_), Some(_)) => blocks.extend(fenced.take()),
            (Some((_, block)), None) => *block += &format!("{line}\n"),
            (None, _) => {}
        }
        match (&mut session, line.strip_prefix("    ")) {
            (None, Some(inner)) if fenced.is_none() && inner.starts_with("apiVersion: ") => {
                session = Some((number + 1, format!("{inner}\n")));
            }
            (Some((_, block)), Some(inner)) if !inner.starts_with("$ ") => *block += &format!("{inner}\n"),
            _ => blocks.extend(session.take()),
        }
    }
    blocks.extend(session);
    blocks.retain(|(_, block)| block.lines().any(|line| line.starts_with("kind: ")));
    blocks
}
