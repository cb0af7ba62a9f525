//! The configuration as it is written: shape and source positions, no meaning yet.

use std::path::{Path, PathBuf};

use super::LARGEST;
use super::source::{Place, Sources, clean};
use super::tree::{self, Entry, Node, Yaml};
use super::value::is_reference;
use crate::error::{Error, Result};
use crate::text::{bytes_of, line_beyond_utf8};

const FOLDER: &str = "deploy-k3s";
const NAME: &str = "config.yaml";

/// A configuration file as written, merged over what it extends.
#[derive(Debug)]
pub struct Raw {
    /// The file that was named or found.
    pub file: PathBuf,
    pub(super) root: Option<Node>,
    pub(super) sources: Sources,
}

/// `deploy-k3s/config.yaml` in `from` or the nearest folder above it; inside a folder `deploy-k3s`, `config.yaml`
/// counts as well.
///
/// # Errors
/// When no folder up to the root holds one.
pub fn find(from: &Path) -> Result<PathBuf> {
    let from = clean(from);
    let found = places(&from, NAME).find(|path| path.is_file());
    found.ok_or_else(|| not_found(&from))
}

/// Where a file `name` of the deploy folder may lie, nearest first.
fn places(from: &Path, name: &str) -> impl Iterator<Item = PathBuf> {
    from.ancestors().flat_map(move |folder| {
        let inside = folder.file_name().is_some_and(|own| own == FOLDER).then(|| folder.join(name));
        [Some(folder.join(FOLDER).join(name)), inside].into_iter().flatten()
    })
}

fn not_found(from: &Path) -> Error {
    let error = Error::refused(format!("no {FOLDER}/{NAME} in {} or any folder above it", from.display()));
    let example = places(from, &format!("{NAME}.example")).find(|path| path.is_file());
    match example {
        Some(example) => {
            let shown = Sources::new(from).shown(&example);
            let copy = shown.trim_end_matches(".example");
            error.hint(format!("cp {shown} {copy}, then edit it"))
        }
        None => error.hint("change into the product's folder, or name the file with --config FILE"),
    }
}

/// Reads `file` and what it extends. What is wrong inside them becomes findings of the result, so that they are told
/// together with everything else. Paths are shown relative to `from`.
///
/// # Errors
/// When `file` itself cannot be read.
pub fn read(file: &Path, from: &Path) -> Result<Raw> {
    let file = clean(&from.join(file));
    let sources = Sources::new(from);
    let root = load(&file, &sources).map_err(|cause| unreadable(&sources.shown(&file), cause))?;
    let mut seen = vec![file.clone()];
    let root = root.map(|root| extended(root, &sources, &mut seen));
    Ok(Raw { file, root, sources })
}

fn unreadable(shown: &str, cause: std::io::Error) -> Error {
    let hint = (cause.kind() == std::io::ErrorKind::NotFound).then_some("check the path given with --config");
    let error = Error::refused(format!("cannot read {shown}")).because(cause);
    hint.into_iter().fold(error, Error::hint)
}

fn load(file: &Path, sources: &Sources) -> std::io::Result<Option<Node>> {
    let bytes = bytes_of(file, LARGEST)?;
    let text = String::from_utf8_lossy(&bytes);
    let number = sources.add(file, &text);
    let start = Place::start(number);
    if let Some(line) = line_beyond_utf8(&bytes) {
        sources.report(Place { line, ..start }, "this line is not UTF-8");
        return Ok(None);
    }
    let root = tree::parse(&text, number, sources);
    // A file of comments alone says nothing, which is no error.
    let empty = root.as_ref().is_some_and(Node::is_null);
    Ok(if empty { Some(Node { place: start, value: Yaml::Map(Vec::new()) }) } else { root })
}

/// `root` over the file that its `extends` names, over the file that that one names, and so on.
fn extended(mut root: Node, sources: &Sources, seen: &mut Vec<PathBuf>) -> Node {
    let Some(entry) = take(&mut root, "extends") else { return root };
    match base(&entry, sources, seen) {
        Ok(Some(base)) => merge(base, root),
        Ok(None) => root,
        Err(message) => {
            sources.report(entry.value.place, message);
            root
        }
    }
}

fn base(entry: &Entry, sources: &Sources, seen: &mut Vec<PathBuf>) -> Result<Option<Node>, String> {
    let Some(text) = entry.value.text().filter(|_| !entry.value.is_null()) else {
        return Err(format!("extends names a file; this is {}", entry.value.what()));
    };
    let file = sources.path(entry.value.place, text);
    let again = seen.contains(&file);
    seen.push(file.clone());
    if again {
        let chain: Vec<String> = seen.iter().map(|file| sources.shown(file)).collect();
        return Err(format!("these files extend each other: {}", chain.join(" → ")));
    }
    match load(&file, sources) {
        Ok(root) => Ok(root.map(|root| extended(root, sources, seen))),
        Err(cause) => Err(format!("cannot read {}: {cause}", sources.shown(&file))),
    }
}

fn take(root: &mut Node, key: &str) -> Option<Entry> {
    let Yaml::Map(entries) = &mut root.value else { return None };
    let at = entries.iter().position(|entry| entry.key == key)?;
    Some(entries.remove(at))
}

/// Maps merge key by key; anything else, and a map that says where a value comes from, replaces. Null takes a key
/// away.
fn merge(base: Node, over: Node) -> Node {
    if is_reference(&base) || is_reference(&over) {
        return over;
    }
    match (base.value, over.value) {
        (Yaml::Map(mut entries), Yaml::Map(changes)) => {
            for change in changes {
                put(&mut entries, change);
            }
            Node { place: over.place, value: Yaml::Map(entries) }
        }
        (_, value) => Node { place: over.place, value },
    }
}

fn put(entries: &mut Vec<Entry>, change: Entry) {
    let at = entries.iter().position(|entry| entry.key == change.key);
    match at {
        Some(at) if change.value.is_null() => {
            entries.remove(at);
        }
        Some(at) => {
            let before = entries[at].value.clone();
            entries[at] = Entry { value: merge(before, change.value), ..change };
        }
        None if change.value.is_null() => {}
        None => entries.push(change),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn folder(files: &[(&str, &str)]) -> TempDir {
        let dir = TempDir::new().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    fn get<'a>(raw: &'a Raw, path: &[&str]) -> Option<&'a Node> {
        path.iter().try_fold(raw.root.as_ref()?, |node, key| {
            node.map()?.iter().find(|entry| entry.key == *key).map(|entry| &entry.value)
        })
    }

    #[test]
    fn the_file_is_found_from_any_folder_below_and_from_inside() {
        let dir = folder(&[("deploy-k3s/config.yaml", "a: b"), ("src/deep/x", ""), ("deploy-k3s/manifests/x", "")]);
        for from in ["", "src/deep", "deploy-k3s", "deploy-k3s/manifests"] {
            assert_eq!(find(&dir.path().join(from)).unwrap(), dir.path().join("deploy-k3s/config.yaml"), "{from}");
        }
    }

    #[test]
    fn a_missing_file_says_where_it_was_looked_for_and_what_to_do() {
        let dir = folder(&[("deploy-k3s/config.yaml.example", "")]);
        let error = find(dir.path()).unwrap_err();
        assert!(error.message.starts_with("no deploy-k3s/config.yaml in "), "{error}");
        assert_eq!(error.hints, ["cp deploy-k3s/config.yaml.example deploy-k3s/config.yaml, then edit it"]);
        let error = read(Path::new("nowhere.yaml"), dir.path()).unwrap_err();
        assert_eq!(error.message, "cannot read nowhere.yaml");
    }

    #[test]
    fn a_file_wins_over_what_it_extends_and_null_takes_away() {
        let dir = folder(&[
            ("c.yaml", "extends: sub/b.yaml\nm: {x: 3, gone: null, ref: {env: A}}\nl: [1]\n"),
            ("sub/b.yaml", "extends: a.yaml\nm: {y: 2, gone: 1, ref: {file: f}}\nl: [2, 3]\n"),
            ("sub/a.yaml", "m: {x: 1, z: 1}\nn: 1\n"),
        ]);
        let raw = read(Path::new("c.yaml"), dir.path()).unwrap();
        assert_eq!(raw.sources.findings(), [""; 0]);
        let text = |path: &[&str]| get(&raw, path).and_then(Node::text);
        assert_eq!((text(&["m", "x"]), text(&["m", "y"]), text(&["m", "z"])), (Some("3"), Some("2"), Some("1")));
        assert_eq!((text(&["n"]), get(&raw, &["m", "gone"]).is_none()), (Some("1"), true));
        assert_eq!(get(&raw, &["m", "ref"]).unwrap().map().unwrap().len(), 1);
        assert!(matches!(&get(&raw, &["l"]).unwrap().value, Yaml::List(items) if items.len() == 1));
    }

    #[test]
    fn files_that_extend_each_other_or_nothing_are_findings() {
        let dir =
            folder(&[("a.yaml", "extends: b.yaml"), ("b.yaml", "extends: a.yaml"), ("c.yaml", "extends: d.yaml")]);
        let raw = read(Path::new("a.yaml"), dir.path()).unwrap();
        let findings = raw.sources.findings();
        assert!(findings[0].contains("these files extend each other: a.yaml → b.yaml → a.yaml"), "{findings:?}");
        let raw = read(Path::new("c.yaml"), dir.path()).unwrap();
        assert!(raw.sources.findings()[0].starts_with("c.yaml:1:10: cannot read d.yaml"));
    }
}
