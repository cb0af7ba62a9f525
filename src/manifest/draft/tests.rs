use std::time::Duration;

use super::*;
use crate::config::{ConfigMap, Patch, PatchOperation, PatchTarget, Registry, Service};
use crate::model::{Digest, Repository};
use crate::redact::Secret;

fn config() -> Config {
    let repository = Repository { registry: "registry.example".into(), path: "shop/api".into() };
    Config {
        file: "/p/config.yaml".into(),
        root: "/p".into(),
        namespace: "shop".into(),
        context: None,
        registry: Registry {
            server: "registry.example".into(),
            owner: "shop".into(),
            credentials: None,
            ca: None,
            plain_http: false,
        },
        services: vec![Service { name: "api".parse().expect("a name"), repository, build: None }],
        manifests: Vec::new(),
        allowed_namespaces: vec!["kube-system".into()],
        config_map: None,
        substitutions: Vec::new(),
        images: Vec::new(),
        patches: Vec::new(),
        order: BTreeMap::new(),
        settle_timeout: Duration::from_secs(1),
    }
}

fn object(file: &str, value: Value) -> Object {
    Object { value, source: Source { file: file.into(), document: 1, line: 1 } }
}

fn deployment(image: &str) -> Object {
    object(
        "api.yaml",
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "api"},
            "spec": {"template": {"spec": {"initContainers": [{"name": "init", "image": image}],
                "containers": [{"name": "api", "image": image}]}}}}),
    )
}

fn pins() -> BTreeMap<ServiceName, PinnedImage> {
    let repository = Repository { registry: "registry.example".into(), path: "shop/api".into() };
    [("api".parse().expect("a name"), PinnedImage { repository, digest: Digest::of(b"image") })].into()
}

#[test]
fn every_reference_of_a_service_becomes_its_digest_whatever_host_it_names() {
    let draft = Draft::new(&config(), vec![deployment("old.example:5000/shop/api:latest")]).expect("a draft");
    assert_eq!(draft.references().len(), 1);
    let rendered = draft.clone().pin(&pins()).expect("rendered");
    let expected = format!("registry.example/shop/api@{}", Digest::of(b"image"));
    assert_eq!(images::references(&rendered.objects()[0].value), [expected.as_str(), expected.as_str()]);
    assert_eq!(rendered.objects()[0].key().namespace.as_deref(), Some("shop"));
    assert!(draft.pin(&BTreeMap::new()).is_err());
}

#[test]
fn a_file_without_its_value_is_left_out_as_a_whole_with_its_patches() {
    let mut config = config();
    let substitution = |value: Option<&str>| Substitution {
        placeholder: "TOKEN_PLACEHOLDER".into(),
        origin: "TOKEN of prod.env".into(),
        value: value.map(Secret::new),
    };
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"},
        "stringData": {"token": "TOKEN_PLACEHOLDER"}});
    let beside = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "agent"}});
    let objects =
        || vec![deployment("shop/api"), object("agent.yaml", secret.clone()), object("agent.yaml", beside.clone())];

    config.substitutions = vec![substitution(None)];
    let draft = Draft::new(&config, objects()).expect("a draft");
    assert_eq!((draft.objects().len(), draft.skipped()[0].objects.len()), (1, 2));

    config.substitutions = vec![substitution(Some("made-up"))];
    let draft = Draft::new(&config, objects()).expect("a draft");
    assert_eq!(draft.objects()[1].value["data"]["token"], "bWFkZS11cA==");

    config.substitutions.clear();
    let error = Draft::new(&config, objects()).expect_err("a placeholder is left in");
    assert!(error.details[0].contains("TOKEN_PLACEHOLDER was left in"), "{error:?}");
}

#[test]
fn third_party_images_come_from_the_mirror_in_every_spelling() {
    let mut config = config();
    let mirror = format!("mirror.example/redis@{}", Digest::of(b"redis"));
    config.images = vec![("redis".into(), mirror.parse().expect("a reference"))];
    for image in ["redis:7", "docker.io/library/redis:7", "library/redis"] {
        let draft = Draft::new(&config, vec![deployment(image)]).expect("a draft");
        assert_eq!(images::references(&draft.objects()[0].value)[0], mirror, "{image}");
    }
    let error = Draft::new(&config, vec![deployment("other:latest")]).expect_err("latest");
    assert_eq!(error.details.len(), 2);
}

#[test]
fn objects_outside_the_namespaces_are_refused() {
    let lies = |namespace: &str| {
        object(
            "a.yaml",
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": namespace}}),
        )
    };
    assert!(Draft::new(&config(), vec![lies("shop"), lies("kube-system")]).is_ok());
    let namespace = object("b.yaml", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}));
    let role = object(
        "c.yaml",
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "x"}}),
    );
    let error = Draft::new(&config(), vec![lies("other"), namespace, role]).expect_err("outside");
    assert_eq!(error.details.len(), 2, "{error:?}");
}

#[test]
fn the_configmap_of_the_configuration_is_an_object_like_any_other() {
    let mut config = config();
    config.config_map = Some(ConfigMap { name: "settings".into(), values: [("A".into(), "1".into())].into() });
    let draft = Draft::new(&config, vec![deployment("shop/api")]).expect("a draft");
    assert_eq!(draft.objects()[1].value["data"], json!({"A": "1"}));
    let same = object("a.yaml", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}}));
    assert!(Draft::new(&config, vec![same]).is_err());
}

#[test]
fn patches_and_orders_that_name_nothing_are_told_at_once() {
    let mut config = config();
    let target = PatchTarget { api_version: None, kind: "Deployment".into(), name: "apy".into(), namespace: None };
    let operation = PatchOperation::Merge(json!({}));
    config.patches = vec![Patch { target, operation, origin: "config.yaml:4".into() }];
    config.order = [("api".to_owned(), vec!["apx".to_owned()])].into();
    let error = Draft::new(&config, vec![deployment("shop/api")]).expect_err("names of nothing");
    assert_eq!(error.details.len(), 2, "{error:?}");
    assert!(error.details[0].contains("no manifest holds Deployment apy"), "{error:?}");
    assert!(error.details[1].contains("names apx"), "{error:?}");
}

#[test]
fn a_service_whose_image_nothing_uses_is_told() {
    let draft = Draft::new(&config(), vec![deployment("example.test/other:1")]).expect("a draft");
    let warnings: Vec<String> = draft.warnings().iter().map(|w| format!("{}: {}", w.subject, w.message)).collect();
    assert_eq!(warnings, ["api: no manifest uses the image shop/api"]);
}
