//! Files to objects.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::yaml::{self, Wrong};
use super::{Object, Source};
use crate::error::{Error, Result};
use crate::text::{around, beginning, text_of};

/// What to do about findings.
pub(super) const READ_AGAIN: &str = "mend it; hdeploy render reads it again and changes nothing";

/// Larger than any manifest, smaller than what hurts.
const LARGEST: usize = 32 << 20;
/// Letters of a name or kind: the API server takes no longer ones.
const LONGEST_NAME: usize = 253;
/// Letters of one finding.
const LONGEST_FINDING: usize = 400;

/// Reads every object in `paths`: folders with everything below them in the order of names, files whatever their name.
///
/// # Errors
/// Everything that is wrong in any file, each with file, line and the line itself.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Object>> {
    let mut files = Vec::new();
    let mut objects = Vec::new();
    let mut findings = Vec::new();
    for path in paths {
        collect(path, true, &mut files, &mut findings);
    }
    for file in &files {
        match text_of(file, LARGEST) {
            Ok(text) => read_text(&shown(file), &text, &mut objects, &mut findings),
            Err(error) => findings.push(unreadable(file, &error)),
        }
    }
    match (findings.is_empty(), objects.is_empty()) {
        (true, false) => Ok(objects),
        (true, true) => {
            let places: Vec<String> = paths.iter().map(|path| shown(path).display().to_string()).collect();
            Err(Error::refused(format!("there is no manifest in {}", places.join(", ")))
                .hint("`manifests` of the configuration names folders and files"))
        }
        (false, _) => Err(Error::refused("the manifests cannot be used").details(findings).hint(READ_AGAIN)),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("{}: it cannot be read: {error}", shown(path).display())
}

fn collect(path: &Path, named: bool, files: &mut Vec<PathBuf>, findings: &mut Vec<String>) {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => return findings.push(unreadable(path, &error)),
    };
    let wanted = path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
    if metadata.is_file() && (named || wanted) {
        files.push(path.to_owned());
    }
    if !metadata.is_dir() {
        return;
    }
    let entries = fs::read_dir(path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut names: Vec<PathBuf> = match entries {
        Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect(),
        Err(error) => return findings.push(unreadable(path, &error)),
    };
    names.sort();
    for name in names {
        let hidden = name.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden {
            collect(&name, false, files, findings);
        }
    }
}

/// `path` as a person at the working directory would write it.
pub fn shown(path: &Path) -> PathBuf {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).to_owned()
}

pub(super) fn read_text(file: &Path, text: &str, objects: &mut Vec<Object>, findings: &mut Vec<String>) {
    for (number, document) in yaml::documents(text).into_iter().enumerate() {
        match document {
            Ok(document) if document.value.is_null() => {}
            Ok(document) => {
                let source = Source { file: file.to_owned(), document: number + 1, line: document.line };
                take(document.value, &source, objects, findings);
            }
            Err(wrong) => findings.push(finding(file, text, number + 1, &wrong)),
        }
    }
}

fn finding(file: &Path, text: &str, document: usize, wrong: &Wrong) -> String {
    let place = format!("{}:{}:{}", file.display(), wrong.line, wrong.column.max(1));
    if text.lines().any(|line| line.contains("kind") && line.contains("Secret")) {
        // What the line holds may be a value.
        return format!(
            "{place} (document {document}): {}; the line is not shown, as the file holds secrets",
            wrong.message
        );
    }
    let line = text.lines().nth(wrong.line.saturating_sub(1)).unwrap_or_default();
    let (line, _) = around(line, wrong.column.saturating_sub(1));
    let message = beginning(&wrong.message, LONGEST_FINDING);
    format!("{place} (document {document}): {message}\n  {:>4} | {line}", wrong.line)
}

/// Takes an object, or those of a list.
fn take(value: Value, source: &Source, objects: &mut Vec<Object>, findings: &mut Vec<String>) {
    let is_list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && value["items"].is_array();
    if is_list {
        if let Value::Object(mut list) = value
            && let Some(Value::Array(items)) = list.remove("items")
        {
            for item in items {
                take(item, source, objects, findings);
            }
        }
        return;
    }
    match identity(&value) {
        Ok(()) => objects.push(Object { value, source: source.clone() }),
        Err(missing) => {
            let missing = beginning(&missing, LONGEST_FINDING);
            findings.push(format!("{source} (document {}): {missing}", source.document));
        }
    }
}

/// Whether `value` has what identifies an object, and the shape that every object has.
pub(super) fn identity(value: &Value) -> Result<(), String> {
    if !value.is_object() {
        return Err("it is no object".into());
    }
    for (pointer, name) in [("/apiVersion", "apiVersion"), ("/kind", "kind")] {
        if value.pointer(pointer).and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(format!("it has no {name}"));
        }
    }
    for pointer in ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"] {
        let text = value.pointer(pointer).and_then(Value::as_str);
        if text.is_some_and(|text| text.chars().nth(LONGEST_NAME).is_some()) {
            return Err(format!("{} is longer than {LONGEST_NAME} letters", pointer[1..].replace('/', ".")));
        }
    }
    for pointer in ["/metadata", "/metadata/labels", "/metadata/annotations", "/spec"] {
        if value.pointer(pointer).is_some_and(|part| !part.is_object() && !part.is_null()) {
            return Err(format!("{} is no map", pointer[1..].replace('/', ".")));
        }
    }
    if value.pointer("/metadata/namespace").is_some_and(|namespace| !namespace.is_string() && !namespace.is_null()) {
        return Err("metadata.namespace is no text: put it into quotes".into());
    }
    let name = value.pointer("/metadata/name");
    if value.pointer("/metadata/generateName").is_some() && name.is_none() {
        return Err("generateName makes another object each time: give it a name".into());
    }
    match name {
        Some(Value::String(name)) if !name.is_empty() => Ok(()),
        Some(Value::String(_)) | None => Err(format!("this {} has no metadata.name", value["kind"])),
        Some(other) => Err(format!("metadata.name is {other}, not a text: put it into quotes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (Vec<Object>, Vec<String>) {
        let (mut objects, mut findings) = (Vec::new(), Vec::new());
        read_text(Path::new("a.yaml"), text, &mut objects, &mut findings);
        (objects, findings)
    }

    const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: api}\n";

    #[test]
    fn a_line_of_a_file_with_a_secret_is_not_shown() {
        let (_, findings) = of("kind: Secret\nstringData:\n  a: made-up-value\n  a: made-up-value\n");
        assert!(findings[0].starts_with("a.yaml:4:3") && !findings[0].contains("made-up"), "{findings:?}");
        assert!(findings[0].contains("the key \"a\" stands here and in line 3"), "{findings:?}");
    }

    #[test]
    fn lists_are_taken_apart() {
        let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}", SERVICE.replace('\n', "\n  "));
        let (objects, findings) = of(&list);
        assert_eq!((objects.len(), findings.len()), (1, 0), "{findings:?}");
        assert_eq!(objects[0].name(), "api");
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once_with_its_place() {
        let text = format!("{SERVICE}---\na: [\n---\nkind: Service\n---\n{SERVICE}---\n- 1\n");
        let (objects, findings) = of(&text);
        assert_eq!(objects.len(), 2);
        assert_eq!(findings.len(), 3, "{findings:#?}");
        assert!(findings.iter().any(|f| f.starts_with("a.yaml:7 ") && f.contains("no apiVersion")), "{findings:#?}");
    }
}
