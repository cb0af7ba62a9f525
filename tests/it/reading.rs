//! Manifests are read as kubectl reads them: compared with the kubectl of this machine, file by file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hdeploy::manifest::read;
use serde_json::{Deserializer, Value};

/// Every file below `folder` whose name `wanted` accepts.
fn files(folder: &str, wanted: impl Fn(&str) -> bool + Copy) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if wanted(&path.file_name().expect("a name").to_string_lossy()) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What kubectl makes of a file, without a word to the API server about its content; or its refusal.
fn kubectl_reads(file: &Path) -> Result<Vec<Value>, String> {
    let output = Command::new("kubectl")
        .args(["create", "--dry-run=client", "--validate=false", "-o", "json", "-f"])
        .arg(file)
        .output()
        .expect("kubectl");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let values: Result<Vec<Value>, _> = Deserializer::from_slice(&output.stdout).into_iter().collect();
    Ok(values.expect("JSON").into_iter().flat_map(items).collect())
}

fn items(value: Value) -> Vec<Value> {
    match value.get("items").and_then(Value::as_array) {
        Some(items) => items.clone(),
        None => vec![value],
    }
}

fn hdeploy_reads(file: &Path) -> Result<Vec<Value>, String> {
    let objects = read::read(&[file.to_owned()]).map_err(|error| format!("{error}\n{}", error.details.join("\n")))?;
    Ok(objects.into_iter().map(|object| canonical(object.value)).collect())
}

/// JSON does not tell 1 from 1.0; the reader keeps them apart.
fn canonical(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(canonical).collect(),
        Value::Object(map) => map.into_iter().map(|(key, value)| (key, canonical(value))).collect(),
        Value::Number(number) => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "it has no fraction and is small")]
            Some(float) if !number.is_i64() && float.fract() == 0.0 && float.abs() < 1e15 => (float as i64).into(),
            _ => Value::Number(number),
        },
        other => other,
    }
}

#[track_caller]
fn same(files: &[PathBuf]) {
    let mut wrong = Vec::new();
    for file in files {
        let kubectl = kubectl_reads(file).map(|values| values.into_iter().map(canonical).collect::<Vec<_>>());
        let hdeploy = hdeploy_reads(file);
        if hdeploy != kubectl || kubectl.is_err() {
            wrong.push(format!("{}\n  kubectl: {kubectl:?}\n  hdeploy: {hdeploy:?}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ\n{}", wrong.len(), files.len(), wrong.join("\n"));
}

#[test]
fn every_manifest_of_the_stack_is_read_as_kubectl_reads_it() {
    let files = files("deploy-k3s/manifests", |_| true);
    assert!(files.len() >= 20, "{files:?}");
    same(&files);
}

#[test]
fn nasty_manifests_are_read_as_kubectl_reads_them() {
    let files = files("tests/fixtures/nasty", |name| !name.starts_with("refused-") && !name.starts_with("stricter-"));
    assert!(files.len() >= 40, "{}", files.len());
    same(&files);
}

#[test]
fn what_kubectl_refuses_is_refused_with_file_and_line() {
    for file in files("tests/fixtures/nasty", |name| name.starts_with("refused-")) {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(kubectl_reads(&file).is_err(), "kubectl reads {name}");
        let refusal = hdeploy_reads(&file).expect_err(&name);
        assert!(refusal.contains(&format!("{name}:")), "{refusal}");
    }
}

/// kubectl takes the last of several values. Nobody writes two on purpose.
#[test]
fn keys_that_stand_twice_are_refused_although_kubectl_reads_them() {
    for file in files("tests/fixtures/nasty", |name| name.starts_with("stricter-")) {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(kubectl_reads(&file).is_ok(), "kubectl refuses {name}");
        let refusal = hdeploy_reads(&file).expect_err(&name);
        assert!(refusal.contains("stands here and in line"), "{refusal}");
    }
}
