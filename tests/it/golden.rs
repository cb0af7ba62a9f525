//! What is done to manifests before they are sent, each thing as a diff from the manifest to what is sent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hdeploy::config::Config;
use hdeploy::manifest::{Draft, Object, read, write};
use hdeploy::model::{Digest, PinnedImage};
use hdeploy::redact::Redactor;
use similar::TextDiff;

fn config(file: &Path) -> Config {
    let folder = file.parent().expect("a folder");
    Config::load(Some(file), folder, &Redactor::default()).unwrap_or_else(|error| panic!("{:#?}", error.details))
}

/// The objects as read, and as sent with digests that are made up from the services' names.
fn both(config: &Config) -> (Vec<Object>, Vec<Object>) {
    let read = read::read(&config.manifests).expect("manifests");
    let pins: BTreeMap<_, _> = config
        .services
        .iter()
        .map(|service| {
            let digest = Digest::of(service.name.as_str().as_bytes());
            (service.name.clone(), PinnedImage { repository: service.repository.clone(), digest })
        })
        .collect();
    let mut rendered = Draft::new(config, read.clone()).expect("a draft").pin(&pins).expect("no hole");
    rendered.complete(&config.namespace, |_| Some(true));
    (read, rendered.objects().to_vec())
}

fn diff(before: &str, after: &str) -> String {
    TextDiff::from_lines(before, after).unified_diff().context_radius(1).to_string()
}

#[test]
fn each_thing_that_is_done_to_a_manifest() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden");
    let (read, sent) = both(&config(&folder.join("config.yaml")));
    for (number, after) in sent.iter().enumerate() {
        let before = read.get(number).map(|object| write::yaml(&object.value)).unwrap_or_default();
        let name = read.get(number).map_or_else(|| after.name(), Object::name);
        insta::assert_snapshot!(format!("{}-{name}", after.kind()), diff(&before, &write::yaml(&after.value)));
    }
}

#[test]
fn the_reference_stack_from_manifests_to_objects() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy-k3s");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yaml");
    let manifests: PathBuf = root.join("manifests");
    // The example, with values of its own in place of those that it makes up.
    let text = std::fs::read_to_string(root.join("config.yaml.example")).expect("the example");
    let text = text
        .replace("manifests: [manifests]", &format!("manifests: [{}]", manifests.display()))
        .replace("password: {file: registry-password}", "password: made-up-password")
        .replace("{envFile: ../deploy/prod.env, key: OBS_INGEST_TOKEN}", "made-up-token");
    let text = text.lines().filter(|line| !line.starts_with("placeholders:")).collect::<Vec<_>>().join("\n");
    std::fs::write(&file, text).expect("a file");

    let (read, sent) = both(&config(&file));
    let named = |object: &Object| format!("# {} {}\n{}", object.kind(), object.name(), write::yaml(&object.value));
    let yaml = |objects: &[Object]| objects.iter().map(named).collect::<Vec<_>>().concat();
    insta::assert_snapshot!("reference-stack", diff(&yaml(&read), &yaml(&sent)));
}
