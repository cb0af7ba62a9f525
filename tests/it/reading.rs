//! Manifests are read as kubectl reads them: every one is read by both, and the results are compared.
//!
//! `kubectl create --dry-run=client` decodes files as `apply` does, and prints the objects without sending them. It asks
//! the API server which kinds there are, so that custom resources need their definitions: the sandbox has those of the
//! reference stack. `--validate=false`, because this is about reading and not about what the API server would take.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hdeploy::manifest::read::read;
use serde_json::{Deserializer, Value};

/// Files of `tests/fixtures/nasty/stricter`, which kubectl reads and hdeploy refuses, and why it does.
const STRICTER: [(&str, &str); 21] = [
    ("binary-that-is-no-text.yaml", "kubectl puts another character in its place without a word"),
    ("content-behind-three-dots.yaml", "kubectl drops what follows the dots without a word"),
    ("empty-name.yaml", "the API server refuses it"),
    ("generated-name.yaml", "each deploy would make another object"),
    ("half-a-character.json", "kubectl puts another character in its place without a word"),
    ("items-in-an-object.yaml", "kubectl drops the object around the items without a word"),
    ("key-twice-by-resolution.yaml", "one of both is dropped without a word"),
    ("key-twice-in-flow.yaml", "one of both is dropped without a word"),
    ("key-twice-in-the-second-value.json", "one of both is dropped without a word"),
    ("key-twice.json", "one of both is dropped without a word"),
    ("key-twice.yaml", "one of both is dropped without a word"),
    ("line-separator-in-a-comment.yaml", "it is a line break to kubectl alone, so that a comment ends there"),
    ("line-separator-in-quotes.yaml", "it is a line break to kubectl alone"),
    ("list-as-spec.yaml", "the API server refuses it"),
    ("list-without-items.yaml", "the API server has no kind List"),
    ("name-twice.yaml", "one of both is dropped without a word"),
    ("next-line.yaml", "it is a line break to kubectl alone"),
    ("no-api-version.yaml", "the API server refuses it"),
    ("no-name.yaml", "the API server refuses it"),
    ("not-utf-8.yaml", "kubectl puts another character in its place without a word"),
    ("paragraph-separator-in-quotes.yaml", "it is a line break to kubectl alone"),
];

/// kubectl starts slowly, but not so many of it at once that the machine would suffer.
const SIDE_BY_SIDE: usize = 4;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The files of a folder of `tests/fixtures/nasty`, by name.
fn nasty(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("tests/fixtures/nasty").join(folder)).expect("a folder");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn name(file: &Path) -> String {
    file.file_name().expect("a name").to_string_lossy().into_owned()
}

fn start(paths: &[PathBuf]) -> Child {
    let mut command = Command::new("kubectl");
    command.args(["create", "--dry-run=client", "--validate=false", "--output=json", "--recursive"]);
    for path in paths {
        command.arg("-f").arg(path);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("kubectl")
}

/// The objects that kubectl printed, or its words when it refused.
fn finish(kubectl: Child) -> Result<Vec<Value>, String> {
    let output = kubectl.wait_with_output().expect("kubectl");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let values: Result<Vec<Value>, _> = Deserializer::from_slice(&output.stdout).into_iter().collect();
    Ok(values.expect("JSON"))
}

/// What kubectl makes of each file by itself.
fn each_by_kubectl(files: &[PathBuf]) -> Vec<Result<Vec<Value>, String>> {
    let several = files.chunks(SIDE_BY_SIDE);
    several
        .flat_map(|files| {
            let started: Vec<Child> = files.iter().map(|file| start(std::slice::from_ref(file))).collect();
            started.into_iter().map(finish).collect::<Vec<_>>()
        })
        .collect()
}

/// Asserts that `theirs` are the objects that hdeploy reads from `paths`, in the same order.
#[track_caller]
fn assert_same(paths: &[PathBuf], theirs: &[Value]) {
    let read = |path| read(std::slice::from_ref(path)).unwrap_or_else(|error| panic!("{error:#?}"));
    let ours: Vec<_> = paths.iter().flat_map(read).collect();
    let mut differences = Vec::new();
    for (ours, theirs) in ours.iter().zip(theirs) {
        let theirs = comparable(theirs, &ours.value);
        if ours.value != theirs {
            let place = format!("{} (document {})", ours.source, ours.source.document);
            differences.push(format!("{place}: hdeploy reads\n{:#}\nkubectl reads\n{theirs:#}", ours.value));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(ours.len(), theirs.len(), "objects in {paths:?}");
}

/// What kubectl printed, without what is due to its printing: it fills in the namespace of its context, prints floats
/// like integers, and has two zeros.
fn comparable(theirs: &Value, ours: &Value) -> Value {
    let mut theirs = numbers(theirs);
    if ours["metadata"].get("namespace").is_none()
        && let Some(metadata) = theirs["metadata"].as_object_mut()
        && metadata.get("namespace").is_some_and(|namespace| namespace == "default")
    {
        metadata.remove("namespace");
    }
    theirs
}

fn numbers(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(numbers).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), numbers(value))).collect(),
        Value::Number(number) if number.is_u64() && !number.is_i64() => number.as_f64().into(),
        Value::Number(number) if number.as_f64() == Some(0.0) => 0.into(),
        other => other.clone(),
    }
}

#[test]
fn the_reference_stack_is_read_as_kubectl_reads_it() {
    let paths = [root().join("deploy-k3s/manifests"), root().join("deploy-k3s/secrets.yaml.example")];
    let theirs = finish(start(&paths)).expect("kubectl reads it");
    assert!(theirs.len() > 30, "{}", theirs.len());
    assert_same(&paths, &theirs);
}

#[test]
fn nasty_manifests_are_read_as_kubectl_reads_them() {
    let files = nasty("read");
    assert!(files.len() > 40);
    let theirs = finish(start(&files)).expect("kubectl reads them");
    assert_same(&files, &theirs);
}

/// Since 1.33, kubectl reads a file that begins like JSON as YAML when it turns out to be none.
#[test]
fn files_that_only_begin_like_json_are_read_as_newer_kubectls_read_them() {
    let files = nasty("newer");
    for (file, theirs) in files.iter().zip(each_by_kubectl(&files)) {
        match theirs {
            Ok(theirs) => assert_same(std::slice::from_ref(file), &theirs),
            Err(words) => {
                assert!(words.contains("error parsing") && words.contains("json"), "{words}");
                assert!(read(std::slice::from_ref(file)).is_ok(), "{}", file.display());
            }
        }
    }
}

#[test]
fn what_kubectl_refuses_is_refused() {
    let files = nasty("refused");
    for (file, theirs) in files.iter().zip(each_by_kubectl(&files)) {
        assert!(theirs.is_err(), "kubectl reads {}", file.display());
        assert!(read(std::slice::from_ref(file)).is_err(), "hdeploy reads {}", file.display());
    }
}

#[test]
fn what_is_refused_though_kubectl_reads_it_is_known() {
    let files = nasty("stricter");
    let known: Vec<&str> = STRICTER.iter().map(|(file, _)| *file).collect();
    assert_eq!(files.iter().map(|file| name(file)).collect::<Vec<_>>(), known);
    for (file, theirs) in files.iter().zip(each_by_kubectl(&files)) {
        assert!(theirs.is_ok(), "kubectl refuses {}: {theirs:?}", file.display());
        assert!(read(std::slice::from_ref(file)).is_err(), "hdeploy reads {}", file.display());
    }
}
