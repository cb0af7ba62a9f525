use std::path::Path;
use std::time::Duration;

use super::super::read;
use super::*;
use crate::config::{ConfigMap, Patch, PatchOperation, PatchTarget, Registry, Service};
use crate::fuzz;
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
        settle: crate::config::Settle { timeout: None, force_timeout: false, soak: Duration::ZERO },
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
    let of_service = draft.warnings().iter().filter(|warning| warning.subject == "api");
    let warnings: Vec<&str> = of_service.map(|warning| warning.message.as_str()).collect();
    assert_eq!(warnings, ["no manifest uses the image shop/api"]);
}

#[test]
fn any_input_is_read_or_refused() {
    let mut samples = fuzz::files(&["deploy-k3s/manifests", "tests/fixtures", "scripts/sandbox/manifests"], &[".yaml"]);
    samples.extend(fuzz::files(&["tests/fixtures/nasty"], &[".json"]));
    samples.extend(fuzz::yaml_bombs().into_iter().map(String::into_bytes));
    let recorded: BTreeMap<String, Value> =
        serde_json::from_str(include_str!("../../../tests/fixtures/yaml/as-kubectl-reads.json")).expect("recordings");
    samples.extend(recorded.values().filter_map(|entry| entry["yaml"].as_str()).map(|text| text.as_bytes().to_vec()));
    let words = [
        "apiVersion: v1\n",
        "kind: Secret\n",
        "kind: Job\n",
        "kind: List\n",
        "items:\n",
        "metadata:\n",
        "  name: a\n",
        "stringData: {a: b}\n",
        "data: {a: QQ==}\n",
        "image: shop/api",
        "HOLE",
        "GAP",
        "hdeploy.dev/after: a,b",
    ];
    // Settings are about objects that most inputs do not have: those are refused then.
    let configs = [config(), every_setting()];
    fuzz::reader(module_path!(), &samples, &words, |input| {
        let text = String::from_utf8_lossy(input);
        for config in &configs {
            all_the_way(config, &text);
        }
    });
}

#[test]
fn large_manifests_take_time_in_proportion_and_little_memory() {
    let map = |data: String| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {data}\n");
    let texts = |scale: usize| {
        let many = |count: usize, text: &dyn Fn(usize) -> String| fuzz::many(count * scale, text);
        let deployment = include_str!("../../../tests/fixtures/product/workload.yaml");
        [
            // The larger of two has 250 kB or 2500 documents each; in the long run 10 MB and 100,000.
            many(60, &|n| {
                format!("---\n{}", deployment.replace("NAMESPACE", "shop").replace("SERVICE", &format!("a{n}")))
            }),
            map(format!("|\n{}", many(800, &|_| format!("    {}\n", "a line of text ".repeat(5))))),
            map(format!("{{{}}}", many(60, &|n| format!("k{n}: '{}', ", "x".repeat(990))))),
            map(format!("'{}'", many(1, &|_| "x".repeat(62_500)))),
            many(625, &|n| format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a{n}}}\n")),
            many(625, &|_| "---\na: [\n".to_owned()),
            many(625, &|_| "---\n".to_owned()),
            format!("{{\"a\": [{}0]}}", many(31_000, &|_| "0,".to_owned())),
        ]
    };
    let test = concat!(module_path!(), "::large_manifests_take_time_in_proportion_and_little_memory");
    let config = config();
    fuzz::large(test, texts, |input| all_the_way(&config, &String::from_utf8_lossy(input)));
}

/// Something to do for every step that a draft goes through.
fn every_setting() -> Config {
    let substitution = |placeholder: &str, value: Option<&str>| Substitution {
        placeholder: placeholder.into(),
        origin: "made up".into(),
        value: value.map(Secret::new),
    };
    let patch = |name: &str, operation| Patch {
        target: PatchTarget { api_version: None, kind: "Deployment".into(), name: name.into(), namespace: None },
        operation,
        origin: "config.yaml:1".into(),
    };
    let json = json!([{"op": "replace", "path": "/spec/replicas", "value": 2}, {"op": "copy", "from": "/spec", "path": "/spec/x"}]);
    Config {
        config_map: Some(ConfigMap { name: "settings".into(), values: [("A".to_owned(), "b".to_owned())].into() }),
        substitutions: vec![substitution("HOLE", Some("x")), substitution("GAP", None)],
        patches: vec![
            patch("api", PatchOperation::Merge(json!({"spec": {"replicas": 1, "strategy": null}}))),
            patch("web", PatchOperation::Json(serde_json::from_value(json).expect("a patch"))),
        ],
        order: [("api".to_owned(), vec!["redis".to_owned()])].into(),
        ..config()
    }
}

#[test]
fn what_stands_twice_is_refused_whatever_version_or_namespace_is_written() {
    let of = |file: &str, api_version: &str, namespace: Option<&str>| {
        let mut value =
            json!({"apiVersion": api_version, "kind": "HorizontalPodAutoscaler", "metadata": {"name": "api"}});
        if let Some(namespace) = namespace {
            value["metadata"]["namespace"] = json!(namespace);
        }
        object(file, value)
    };
    let twice = |second: Object| {
        let first = of("a.yaml", "autoscaling/v2", None);
        Draft::new(&config(), vec![first, second]).map_err(|error| error.details.join("\n"))
    };
    for second in [of("b.yaml", "autoscaling/v2", Some("shop")), of("b.yaml", "autoscaling/v1", None)] {
        let error = twice(second).expect_err("it stands twice");
        assert!(error.starts_with("b.yaml:1: HorizontalPodAutoscaler shop/api stands in a.yaml:1 already"), "{error}");
    }
    assert!(twice(of("b.yaml", "autoscaling/v2", Some("kube-system"))).is_ok());
}

#[test]
fn things_that_run_need_names_of_their_own_and_bare_pods_are_warned_of() {
    let run =
        |api: &str, kind: &str| object("a.yaml", json!({"apiVersion": api, "kind": kind, "metadata": {"name": "api"}}));
    let error =
        Draft::new(&config(), vec![run("apps/v1", "Deployment"), run("batch/v1", "Job")]).expect_err("one name");
    assert!(error.details[0].contains("Job api and Deployment api share a name"), "{:?}", error.details);
    let draft = Draft::new(&config(), vec![run("v1", "Pod")]).expect("a draft");
    assert!(draft.warnings().iter().any(|warning| warning.message.contains("nobody waits for it")));
}

#[test]
fn a_patch_that_breaks_the_shape_of_an_object_is_refused() {
    let target = PatchTarget { api_version: None, kind: "Deployment".into(), name: "api".into(), namespace: None };
    let operation = PatchOperation::Merge(json!({"metadata": {"labels": "oops"}}));
    let patches = vec![Patch { target, operation, origin: "config.yaml:3".into() }];
    let config = Config { patches, ..config() };
    let error = Draft::new(&config, vec![deployment("shop/api")]).expect_err("labels are no map");
    assert!(error.details[0].contains("metadata.labels is no map"), "{:?}", error.details);
}

/// What a deploy does with manifests, from their text to the last wave.
fn all_the_way(config: &Config, text: &str) {
    let (mut objects, mut findings) = (Vec::new(), Vec::new());
    read::read_text(Path::new("a.yaml"), text, &mut objects, &mut findings);
    assert!(findings.iter().all(|finding| finding.starts_with("a.yaml:")), "{findings:?}");
    let draft = match Draft::new(config, objects) {
        Ok(draft) => draft,
        Err(error) => return assert!(!error.details.is_empty()),
    };
    let _ = (draft.references(), draft.skipped().len());
    let Ok(mut rendered) = draft.pin(&pins()) else { return };
    rendered.complete("shop", |_| Some(true));
    let _ = (rendered.waves(&config.order).is_ok(), rendered.needs());
    for key in rendered.keys().into_iter().take(20) {
        let _ = (rendered.minimum_replicas(&key), rendered.readers(&key));
    }
}
