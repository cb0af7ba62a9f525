#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::error::Error;
use crate::fuzz;

const DIGEST: &str = "sha256:0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a";

const GOOD: &str = "\
namespace: shop
context: shop
registry:
  server: registry.example
  owner: team
  username: robot
  password: {file: registry-password}
services:
  api:
    image: shop-api
    build: {context: .., target: api, args: {RELEASE: 1.10, URL: {env: API_URL}}}
  site: {image: shop-site}
manifests: [manifests]
allowedNamespaces: [kube-system]
order: {migrate: [cache]}
configMap:
  name: shop-config
  envFile: settings.env
  values: {LEVEL: info, PORT: 8000, FROM: Shop <noreply@shop.example>}
substitutions:
  TOKEN_HERE: {envFile: settings.env, key: INGEST_TOKEN}
  OTHER_HERE: {envFile: nowhere.env, key: OTHER}
images: {cache: mirror.example/cache@DIGEST}
patches:
  - target: {kind: Deployment, name: site}
    merge: {spec: {replicas: 2, paused: no, env: [{name: A, value: {env: API_URL}}], x: null, ref: {key: a, name: b}}}
  - target: {kind: Deployment, name: site, namespace: shop, apiVersion: apps/v1}
    json: [{op: replace, path: /a, value: {file: registry-password}}]
settle: {timeout: 1800}
placeholders: [replace-this]
checks:
  - allOrNone: [B_KEY, B_NAME]
  - {value: PORT, format: int}
";

struct Product(TempDir);

impl Product {
    fn new() -> Self {
        let product = Self(TempDir::new().unwrap());
        for (path, text) in [
            ("Dockerfile", ""),
            ("deploy-k3s/manifests/a.yaml", ""),
            ("deploy-k3s/registry-password", "made-up-password\n"),
            ("deploy-k3s/settings.env", "INGEST_TOKEN='made-up-token'\nLEVEL=debug\n"),
        ] {
            product.write(path, text);
        }
        std::fs::write(product.0.path().join("deploy-k3s/latin"), b"\xe9").unwrap();
        product
    }

    fn good() -> String {
        GOOD.replace("DIGEST", DIGEST)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn load(&self, text: &str) -> (Result<Config, Error>, Redactor) {
        self.write("deploy-k3s/config.yaml", text);
        self.load_file("deploy-k3s/config.yaml")
    }

    fn load_file(&self, file: &str) -> (Result<Config, Error>, Redactor) {
        let redactor = Redactor::default();
        let environment = |name: &str| (name == "API_URL").then(|| "https://api.example".to_owned());
        let raw = raw::read(Path::new(file), self.0.path()).unwrap();
        (resolve::resolve_in(&raw, &redactor, &environment), redactor)
    }

    fn findings(&self, text: &str) -> Vec<String> {
        self.load(text).0.unwrap_err().details
    }
}

/// The first lines of the findings of [`GOOD`] with `from` replaced.
fn changed(from: &str, to: &str) -> Vec<String> {
    let good = Product::good();
    assert!(good.contains(from), "{from}");
    let findings = Product::new().findings(&good.replace(from, to));
    findings.iter().map(|finding| finding.lines().next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_whole_configuration_means_what_it_says() {
    let product = Product::new();
    let config = product.load(&Product::good()).0.unwrap_or_else(|error| panic!("{:#?}", error.details));
    assert_eq!(config.root, product.0.path().join("deploy-k3s"));
    assert_eq!(config.registry.credentials.as_ref().unwrap().password.expose(), "made-up-password");
    let api = &config.services[0];
    assert_eq!(api.repository.to_string(), "registry.example/team/shop-api");
    let build = api.build.as_ref().unwrap();
    assert_eq!((build.context.as_path(), build.dockerfile.as_str()), (product.0.path(), "Dockerfile"));
    assert_eq!((build.args["RELEASE"].as_str(), build.args["URL"].as_str()), ("1.10", "https://api.example"));
    assert!(config.services[1].build.is_none());
    assert_eq!(config.manifests, [product.0.path().join("deploy-k3s/manifests")]);
    assert_eq!(config.settle.timeout, Some(Duration::from_mins(30)));
    assert_eq!(config.order["migrate"], ["cache"]);
    assert_eq!(config.images[0].1.to_string(), format!("mirror.example/cache@{DIGEST}"));
}

#[test]
fn values_of_the_config_map_win_over_its_env_file() {
    let config = Product::new().load(&Product::good()).0.unwrap();
    let map = config.config_map.unwrap();
    assert_eq!((map.values["LEVEL"].as_str(), map.values["PORT"].as_str()), ("info", "8000"));
    assert_eq!(map.values["INGEST_TOKEN"], "made-up-token");
}

#[test]
fn patches_are_typed_and_their_references_followed() {
    let config = Product::new().load(&Product::good()).0.unwrap();
    let PatchOperation::Merge(merge) = &config.patches[0].operation else { panic!("a merge patch") };
    let spec = json!({"replicas": 2, "paused": false, "env": [{"name": "A", "value": "https://api.example"}], "x": null,
        "ref": {"key": "a", "name": "b"}});
    assert_eq!(merge["spec"], spec);
    assert_eq!(config.patches[0].origin, "config.yaml:25");
    let PatchOperation::Json(json) = &config.patches[1].operation else { panic!("a JSON patch") };
    assert_eq!(serde_json::to_value(json).unwrap()[0]["value"], json!("made-up-password"));
}

#[test]
fn what_stands_in_patches_means_what_it_would_in_a_manifest() {
    let values = "[2, 0400, 0o400, 1_000, 0x10, 1.5, 1.0, 1e3, yes, off, 2s, 12:30:45, '2', \"yes\", ~, 2020-01-01]";
    let merge = Product::good().replace("{spec: {replicas: 2,", &format!("{{spec: {{replicas: {values},"));
    let config = Product::new().load(&merge).0.unwrap();
    let PatchOperation::Merge(merge) = &config.patches[0].operation else { panic!("a merge patch") };
    let expected =
        json!([2, 256, 256, 1000, 16, 1.5, 1, 1000, true, false, "2s", "12:30:45", "2", "yes", null, "2020-01-01"]);
    assert_eq!(merge["spec"]["replicas"], expected);
}

#[test]
fn a_substitution_without_value_is_no_error() {
    let config = Product::new().load(&Product::good()).0.unwrap();
    let [token, other] = config.substitutions.as_slice() else { panic!("two substitutions") };
    assert_eq!(token.value.as_ref().unwrap().expose(), "made-up-token");
    assert_eq!(token.origin, "INGEST_TOKEN of settings.env");
    assert!(other.value.is_none());
    let product = Product::new();
    product.write("deploy-k3s/settings.env", "INGEST_TOKEN=\n");
    assert!(product.load(&Product::good()).0.unwrap().substitutions[0].value.is_none());
}

#[test]
fn secrets_are_learnt_as_they_are_read() {
    let (_, redactor) = Product::new().load(&Product::good());
    assert_eq!(redactor.mask("made-up-password made-up-token"), "••••• •••••");
    assert_eq!(redactor.mask("https://api.example"), "https://api.example");
    let written = Product::good().replace("{file: registry-password}\nservices", "written-down\nservices");
    let (config, redactor) = Product::new().load(&written);
    assert_eq!(config.unwrap().registry.credentials.unwrap().password.expose(), "written-down");
    assert_eq!(redactor.mask("written-down"), "•••••");
}

#[test]
fn values_written_down_under_secret_names_are_learnt_too() {
    let written = Product::good()
        .replace("{LEVEL: info", "{LEVEL: info, DB_PASSWORD: made-up-one, KEY_ID: shown-one")
        .replace("{RELEASE: 1.10", "{RELEASE: 1.10, NPM_TOKEN: made-up-two")
        .replace("x: null, ref: {key: a,", "x: null, apiKey: made-up-three, ref: {key: shown-two,");
    let (config, redactor) = Product::new().load(&written);
    config.unwrap();
    assert_eq!(
        redactor.mask("made-up-one shown-one made-up-two made-up-three shown-two"),
        "••••• shown-one ••••• ••••• shown-two"
    );
}

#[test]
fn paths_count_from_the_file_in_which_they_stand() {
    let product = Product::new();
    product.load(&Product::good()).0.unwrap();
    product.write("deploy-k3s/other/sub.yaml", "extends: ../config.yaml\nregistry: {password: {file: ./pw}}\n");
    product.write("deploy-k3s/other/pw", "another-password");
    let config = product.load_file("deploy-k3s/other/sub.yaml").0.unwrap();
    assert_eq!(config.registry.credentials.unwrap().password.expose(), "another-password");
    assert_eq!(config.services[0].build.as_ref().unwrap().context, product.0.path());
}

#[test]
fn every_finding_has_its_own_words() {
    for (from, to, finding) in [
        ("services:\n", "servces:\n", "8:1: unknown key \"servces\", did you mean \"services\"?"),
        ("manifests: [manifests]\n", "", "1:1: manifests is missing"),
        ("namespace: shop\n", "namespace: Shop\n", "1:12: \"Shop\" is not a namespace"),
        ("namespace: shop\n", "namespace: [shop]\n", "1:12: namespace is a text; this is a list"),
        ("  owner: team\n", "  owner:\n", "registry.owner is missing"),
        ("  owner: team\n", "  owner: Team\n", "5:10: \"Team\" is no part of an image's path"),
        ("  username: robot\n", "", "6:13: registry.password needs registry.username beside it"),
        ("  owner: team\n", "  owner: team\n  plainHttp: true\n", "6:14: plainHttp would send the password to"),
        ("server: registry", "server: https://registry", "registry.server is host or host:port; this is"),
        ("{file: registry-password}\nservices", "{env: PW}\nservices", "7:19: the environment variable PW is not set"),
        ("{file: registry-password}\nservices", "{file: pw}\nservices", "the file deploy-k3s/pw does not exist"),
        ("{file: registry-password}\nservices", "CHANGEME\nservices", "registry.password still has the placeholder"),
        ("  api:\n", "  Api:\n", "9:3: \"Api\" is not a service name"),
        ("image: shop-api", "image: shop/Api", "\"shop/Api\" is no image"),
        ("image: shop-site", "image: shop-api", "the services api and site have the same image \"shop-api\""),
        ("{RELEASE:", "{RE-LEASE:", "\"RE-LEASE\" cannot be the name of a build argument"),
        ("{env: API_URL}}}\n  site", "{env: API-URL}}}\n  site", "cannot be the name of an environment variable"),
        ("[manifests]", "[manifets]", "13:13: deploy-k3s/manifets does not exist"),
        ("{migrate: [cache]}", "{a: [b], b: [a]}", "a waits for itself: a → b → a"),
        ("{migrate: [cache]}", "{a: [a]}", "a waits for itself: a → a"),
        ("{LEVEL: info", "{'A B': info", "\"A B\" is not a key of a ConfigMap"),
        ("{LEVEL: info", "{LEVEL: replace-this", "LEVEL still has the placeholder \"replace-this\""),
        ("{LEVEL: info", "{LEVEL: ", "LEVEL is a text; this is nothing: write \"\""),
        ("{LEVEL: info", "{B_KEY: x", "all of these or none: there is B_KEY, but no B_NAME"),
        ("PORT: 8000", "PORT: many", "PORT is no int"),
        ("PORT: 8000", "PORT: {envFile: settings.env, key: LEVL}", "settings.env has no LEVL, did you mean \"LEVEL\"?"),
        ("envFile: settings.env\n", "envFile: s.env\n", "the file deploy-k3s/s.env does not exist"),
        ("OTHER_HERE:", "TOKEN:", "the placeholder \"TOKEN\" is part of the placeholder \"TOKEN_HERE\""),
        (concat!("@", "sha256"), ":sha256", "is not an image reference"),
        ("images: {cache: ", "images: {b: 'c:1', cache: ", "\"c:1\" has no digest"),
        ("json: [{op: replace", "json: [{op: change", "no operation of RFC 6902"),
        ("    merge:", "    merges:", "a patch has either merge or json"),
        ("replicas: 2", "replicas: .inf", "replicas: JSON knows neither infinity nor NaN"),
        ("timeout: 1800", "timeout: 10m", "settle.timeout is a whole number of seconds"),
        ("format: int", "format: integer", "unknown format \"integer\", did you mean \"int\"?"),
        ("context: shop\n", "context: shop\ncontext: b\n", "the key \"context\" stands here again; first in line 2"),
        ("namespace: shop\n", "namespace: [shop\n", "no YAML: "),
        ("namespace: shop\n", "namespace: ''\n", "1:12: namespace is empty"),
        ("[kube-system]", "[Kube]", "14:21: \"Kube\" is not a namespace"),
        ("[kube-system]", "kube-system", "allowedNamespaces is a list; this is a text"),
        ("registry:\n", "registry: [a]\nregistri:\n", "registry is a map; this is a list"),
        ("  owner: team\n", "  owner: team\n  plainHttp: maybe\n", "registry.plainHttp is true or false"),
        ("  owner: team\n", "  owner: team\n  ca: no.pem\n", "6:7: the file deploy-k3s/no.pem does not exist"),
        ("  password: {file: registry-password}\n", "", "6:13: registry.username needs registry.password beside it"),
        ("services:\n", "services: {}\nother:\n", "services names at least one service"),
        ("{RELEASE: 1.10,", "{<<: text, RELEASE: 1.10,", "<< takes a map or a list of maps"),
        ("{LEVEL: info", "{.: info", "\".\" is not a key of a ConfigMap"),
        ("{LEVEL: info", "{..a: info", "\"..a\" is not a key of a ConfigMap"),
        ("envFile: settings.env\n", "envFile: [a]\n", "configMap.envFile is a path; this is a list"),
        ("OTHER_HERE:", "'':", "a placeholder is a text to look for; this one is empty"),
        ("images: {cache: ", "images: {'cache:1': ", "\"cache:1\" is a repository: without tag and digest"),
        ("images: {cache: ", "images: {Cache: ", "\"Cache\" is not an image reference"),
        ("merge: {spec:", "merge: [a]\n    x: {spec:", "patch.merge is a map; this is a list"),
        ("timeout: 1800", "timeout: 0", "settle.timeout is a whole number of seconds"),
        ("timeout: 1800", "timeout: 86401", "settle.timeout is a whole number of seconds"),
        ("[replace-this]", "[[a]]", "placeholders is a list of texts"),
        ("{value: PORT, format: int}", "{format: int}", "a check has either allOrNone, value or file"),
        ("{value: PORT, format: int}", "{value: PORT, file: a, format: int}", "a check has either allOrNone, value or"),
        ("{value: PORT, format: int}", "{value: PORT}", "format is missing"),
        ("{value: PORT,", "{file: no.pem,", "the file deploy-k3s/no.pem does not exist"),
        ("{value: PORT,", "{file: settings.env,", "deploy-k3s/settings.env is no int"),
        ("{value: PORT,", "{file: manifests,", "cannot read deploy-k3s/manifests"),
        ("{value: PORT,", "{file: latin,", "the file deploy-k3s/latin is not UTF-8"),
        ("namespace: shop\n", "extends: [a]\nnamespace: shop\n", "1:10: extends names a file; this is a list"),
    ] {
        let findings = changed(from, to);
        assert!(findings.iter().any(|line| line.contains(finding)), "{to:?}: {findings:#?}");
    }
}

#[test]
fn a_key_of_a_config_map_has_room_for_253_letters() {
    let findings = |length| changed("{LEVEL: info", &format!("{{{}: info", "a".repeat(length)));
    assert!(findings(254)[0].contains("is not a key of a ConfigMap"));
    let longest = Product::good().replace("{LEVEL: info", &format!("{{{}: info", "a".repeat(253)));
    assert!(Product::new().load(&longest).0.is_ok());
}

#[test]
fn all_findings_are_told_at_once_in_order_with_their_lines() {
    let product = Product::new();
    product.write("deploy-k3s/settings.env", "LEVEL=info\nnonsense\n");
    let good = Product::good().replace("services:\n", "servces:\n").replace("shop-config", "Shop_Config");
    let error = product.load(&good).0.unwrap_err();
    assert_eq!(error.message, "deploy-k3s/config.yaml cannot be used: 3 findings");
    insta::assert_snapshot!(error.details.join("\n"), @r#"
    deploy-k3s/config.yaml:8:1: unknown key "servces", did you mean "services"?
        8 | servces:
          | ^^^^^^^
    deploy-k3s/config.yaml:17:9: "Shop_Config" is not the name of a ConfigMap: lower-case letters, digits, '-' and '.'
       17 |   name: Shop_Config
          |         ^^^^^^^^^^^
    deploy-k3s/settings.env:2:1: a line is KEY=value; this one has no '='
        2 | nonsense
          | ^^^^^^^^
    "#);
}

#[test]
fn bytes_that_are_no_text_are_a_finding() {
    let product = Product::new();
    std::fs::write(product.0.path().join("deploy-k3s/config.yaml"), b"a: 1\nb: \xff\n").unwrap();
    let error = product.load_file("deploy-k3s/config.yaml").0.unwrap_err();
    assert!(error.details[0].starts_with("deploy-k3s/config.yaml:2:1: this line is not UTF-8"), "{:?}", error.details);
}

#[test]
fn services_name_at_least_one() {
    let good = Product::good();
    let (begin, end) = (good.find("services:").unwrap(), good.find("manifests:").unwrap());
    let findings = Product::new().findings(&format!("{}services: {{}}\n{}", &good[..begin], &good[end..]));
    assert!(findings.iter().any(|finding| finding.contains("services names at least one service")), "{findings:?}");
}

#[test]
fn what_is_no_yaml_is_the_only_finding() {
    let product = Product::new();
    let findings = product.findings("a: [1\nb: 2\n");
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(product.findings("").iter().any(|finding| finding.contains("namespace is missing")));
    assert!(product.findings("# nothing yet\n").iter().any(|finding| finding.contains("services is missing")));
}

#[test]
fn any_input_is_read_or_refused() {
    let mut samples = fuzz::files(
        &["deploy-k3s", "tests/fixtures/product/config.yaml"],
        &[".example", "sandbox.yaml", "config.yaml"],
    );
    samples.push(Product::good().into_bytes());
    samples.extend(fuzz::yaml_bombs().into_iter().map(String::into_bytes));
    // Lists and maps whose members are compared with each other.
    let many = |from: &str, line: fn(usize) -> String| {
        let lines = fuzz::many(3000, line);
        Product::good().replace(from, &format!("{from}{lines}")).into_bytes()
    };
    samples.push(many("order: {migrate: [cache]", |n| format!(", a{n}: [a{}]", n + 1)));
    samples.push(many("substitutions:\n", |n| format!("  T{n}_: {{env: A}}\n")));
    samples.push(many("services:\n", |n| format!("  a{n}: {{image: i{n}}}\n")));
    samples.push(Product::good().replace("namespace", &"namespace".repeat(4000)).into_bytes());
    let words = [
        "{env: API_URL}",
        "{file: registry-password}",
        "{envFile: settings.env, key: INGEST_TOKEN}",
        ", default: x",
        "extends: base.yaml\n",
        "extends: config.yaml\n",
        "merge: ",
        "json: ",
        "path: /a/-",
        "op: add",
        "null",
        DIGEST,
    ];
    let product = Product::new();
    product.write("deploy-k3s/base.yaml", "registry: {owner: other}\nplaceholders: [x]\n");
    fuzz::reader(module_path!(), &samples, &words, |input| {
        std::fs::write(product.0.path().join("deploy-k3s/config.yaml"), input).unwrap();
        if let Err(error) = product.load_file("deploy-k3s/config.yaml").0 {
            assert!(!error.details.is_empty());
        }
    });
}
