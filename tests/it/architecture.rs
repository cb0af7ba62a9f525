//! Who may import whom, as the module map says; and words that do not belong into the sources.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// First component of a source's path inside `src/`: its module.
fn module(file: &Path) -> String {
    let inside = file.strip_prefix(root()).expect("a source file");
    let first = inside.iter().next().expect("a component").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The modules of this crate that `text` names.
fn imports(text: &str) -> Vec<String> {
    text.match_indices("crate::")
        .map(|(at, found)| {
            let rest = &text[at + found.len()..];
            rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
        })
        .collect()
}

const PURE: [&str; 11] =
    ["model", "manifest", "plan", "verdict", "release", "event", "redact", "error", "config", "suggest", "text"];
const EDGES: [&str; 4] = ["docker", "registry", "cluster", "git"];

fn may_import(from: &str, to: &str) -> bool {
    match from {
        // The command chooses observers, and connects the edges that it hands to the engine.
        "lib" | "main" | "command" => true,
        "engine" => to == "stage" || PURE.contains(&to),
        "stage" => PURE.contains(&to) || EDGES.contains(&to),
        // What tests are made with.
        _ => to == "fuzz" || PURE.contains(&to),
    }
}

#[test]
fn modules_import_only_what_the_map_allows() {
    let mut wrong = Vec::new();
    for file in sources(&root()) {
        let from = module(&file);
        for to in imports(&fs::read_to_string(&file).expect("a readable source")) {
            if from != to && !may_import(&from, &to) {
                wrong.push(format!("{} imports {to}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn each_client_is_named_by_its_edge_alone() {
    for (name, owner) in [
        ("bollard", "docker"),
        ("oci_client", "registry"),
        ("reqwest", "registry"),
        ("kube", "cluster"),
        ("indicatif", "ui"),
        ("console", "ui"),
    ] {
        for file in sources(&root()) {
            let text = fs::read_to_string(&file).expect("a readable source");
            let named = text.contains(&format!("{name}::"));
            assert!(!named || module(&file) == owner, "{} names {name}", file.display());
        }
    }
}

#[test]
fn the_product_is_not_in_the_code() {
    for file in sources(&root()) {
        let text = fs::read_to_string(&file).expect("a readable source").to_lowercase();
        for word in ["honeydue", "honey_due", "gitea", "vmagent", "treytartt", "traefik"] {
            assert!(!text.contains(word), "{} holds the product's word {word:?}", file.display());
        }
    }
}
