//! Files to objects.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::yaml::{self, Wrong};
use super::{Object, Source};
use crate::config;
use crate::error::{Error, Result};
use crate::text::{around, beginning, bytes_of, line_beyond_utf8};

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
        match bytes_of(file, LARGEST) {
            Ok(bytes) => read_bytes(&shown(file), &bytes, &mut objects, &mut findings),
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
    config::shown(path, &env::current_dir().unwrap_or_default())
}

fn read_bytes(file: &Path, bytes: &[u8], objects: &mut Vec<Object>, findings: &mut Vec<String>) {
    match line_beyond_utf8(bytes) {
        Some(line) => findings.push(format!("{}:{line}: this line is not UTF-8", file.display())),
        None => read_text(file, &String::from_utf8_lossy(bytes), objects, findings),
    }
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
    let message = beginning(&wrong.message, LONGEST_FINDING);
    if text.lines().any(|line| line.contains("kind") && line.contains("Secret")) {
        // What the line holds may be a value.
        return format!("{place} (document {document}): {message}; the line is not shown, as the file holds secrets");
    }
    let line = text.lines().nth(wrong.line.saturating_sub(1)).unwrap_or_default();
    let (line, _) = around(line, wrong.column.saturating_sub(1));
    let line = line.replace(|c: char| c.is_control() && c != '\t', "\u{fffd}");
    format!("{place} (document {document}): {message}\n  {:>4} | {line}", wrong.line)
}

/// Takes an object, or those of a list. Whatever has items is a list to kubectl.
fn take(mut value: Value, source: &Source, objects: &mut Vec<Object>, findings: &mut Vec<String>) {
    let Some(items) = value.as_object_mut().and_then(|map| map.remove("items")) else {
        return take_one(value, source, objects, findings);
    };
    let mut wrong = |why: &str| findings.push(format!("{source} (document {}): {why}", source.document));
    let Some(of) = value["kind"].as_str().and_then(|kind| kind.strip_suffix("List")) else {
        return wrong("it has items but is no list by its kind; kubectl would drop everything but the items");
    };
    match items {
        Value::Array(items) if items.iter().any(|item| item.get("items").is_some()) => wrong("it is a list of lists"),
        Value::Array(items) => {
            for item in items {
                take_one(typed(item, of, &value["apiVersion"]), source, objects, findings);
            }
        }
        Value::Null => {}
        _ => wrong("its items are no list"),
    }
}

/// An item of a list of one kind need not say what it is.
fn typed(mut item: Value, kind: &str, api_version: &Value) -> Value {
    if let Some(map) = item.as_object_mut()
        && !kind.is_empty()
        && !map.contains_key("kind")
        && !map.contains_key("apiVersion")
    {
        map.insert("apiVersion".into(), api_version.clone());
        map.insert("kind".into(), kind.into());
    }
    item
}

fn take_one(value: Value, source: &Source, objects: &mut Vec<Object>, findings: &mut Vec<String>) {
    match identity(&value) {
        Ok(()) => objects.push(Object { value, source: source.clone() }),
        Err(wrong) => {
            let wrong = beginning(&wrong, LONGEST_FINDING);
            findings.push(format!("{source} (document {}): {wrong}", source.document));
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
    metadata(&value["metadata"])?;
    let name = value.pointer("/metadata/name");
    if value.pointer("/metadata/generateName").is_some() && name.is_none() {
        return Err("generateName makes another object each time: give it a name".into());
    }
    match name {
        Some(Value::String(name)) if !name.is_empty() => Ok(()),
        Some(Value::String(_)) | None => Err(format!("this {} has no metadata.name", value["kind"])),
        Some(other) => Err(no_text("name", other)),
    }
}

/// What kubectl refuses because of its type.
fn metadata(metadata: &Value) -> Result<(), String> {
    let is_text = |value: &Value| value.is_string() || value.is_null();
    if !is_text(&metadata["namespace"]) {
        return Err(no_text("namespace", &metadata["namespace"]));
    }
    for field in ["labels", "annotations"] {
        let mut entries = metadata[field].as_object().into_iter().flatten();
        if let Some((key, value)) = entries.find(|(_, value)| !is_text(value)) {
            return Err(no_text(&format!("{field}.{key}"), value));
        }
    }
    Ok(())
}

fn no_text(field: &str, value: &Value) -> String {
    format!("metadata.{field} is {value}, not a text: put it into quotes")
}

#[cfg(test)]
mod tests;
