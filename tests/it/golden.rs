//! What becomes of objects between the manifests and the cluster: one test for each thing that is done to them, with the
//! difference that it makes. What no test shows is not done.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use hdeploy::config::Config;
use hdeploy::manifest::read::read;
use hdeploy::manifest::{Draft, Object};
use hdeploy::model::{Digest, PinnedImage, ServiceName};
use hdeploy::redact::Redactor;
use similar::TextDiff;
use tempfile::TempDir;

const CONFIG: &str = "
namespace: shop
registry: {server: registry.example, owner: team}
services: {api: {image: shop-api}}
manifests: [manifests]
";

/// The difference between the objects of `manifests` as they are read and as they are sent, with `more` in the
/// configuration. Digests are made up.
fn becomes(more: &str, manifests: &str) -> String {
    let folder = TempDir::new().expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
    fs::create_dir(folder.path().join("manifests")).expect("a folder");
    for (number, text) in manifests.split("=== another file\n").enumerate() {
        write(&format!("manifests/{number}.yaml"), text);
    }
    write("config.yaml", &format!("{CONFIG}{more}"));
    difference(&folder.path().join("config.yaml"), 3)
}

/// The same for the product whose configuration is `file`, with `context` lines around each difference.
fn difference(file: &Path, context: usize) -> String {
    let config = Config::load(Some(file), file.parent().expect("a folder"), &Redactor::default());
    let config = config.unwrap_or_else(|error| panic!("{error:#?}"));
    let read = read(&config.manifests).unwrap_or_else(|error| panic!("{error:#?}"));
    let before = yaml(&read);
    let mut rendered = Draft::new(&config, read)
        .and_then(|draft| draft.pin(&digests(&config)))
        .unwrap_or_else(|error| panic!("{error:#?}"));
    // What a cluster says of a kind that it knows and the manifests do not define.
    rendered.complete(&config.namespace, |key| (key.group() == "known.test").then_some(true));
    let after = yaml(rendered.objects());
    TextDiff::from_lines(&before, &after).unified_diff().context_radius(context).header("read", "sent").to_string()
}

fn digests(config: &Config) -> BTreeMap<ServiceName, PinnedImage> {
    let pin = |name: &ServiceName| Digest::of(name.as_str().as_bytes());
    let services = config.services.iter();
    services.map(|s| (s.name.clone(), PinnedImage { repository: s.repository.clone(), digest: pin(&s.name) })).collect()
}

/// The objects as YAML, long texts in one line.
fn yaml(objects: &[Object]) -> String {
    let options = serde_saphyr::ser_options! { folded_wrap_chars: 1000 };
    let text = |object: &Object| serde_saphyr::to_string_with_options(&object.value, options.clone()).expect("YAML");
    objects.iter().map(text).flat_map(|text| ["---\n".to_owned(), text]).collect()
}

#[test]
fn an_object_that_needs_nothing_is_sent_as_it_is_read() {
    let service = "
apiVersion: v1
kind: Service
metadata: {name: api, namespace: shop, labels: {app: api}}
spec: {ports: [{port: 80, targetPort: 0x1F90}], selector: {app: api}, sessionAffinity: null}
";
    insta::assert_snapshot!(becomes("", service), @"");
}

#[test]
fn what_only_the_server_sets_is_taken_out() {
    let map = "
apiVersion: v1
kind: ConfigMap
metadata:
  name: settings
  namespace: shop
  creationTimestamp: 2026-01-01T00:00:00Z
  generation: 3
  managedFields: []
  resourceVersion: '12'
  selfLink: /x
  uid: 5b9f
  annotations:
    kubectl.kubernetes.io/last-applied-configuration: '{}'
    mine: stays
data: {status: stays, uid: stays}
status: {phase: Active}
";
    insta::assert_snapshot!(becomes("", map), @r#"
    --- read
    +++ sent
    @@ -4,17 +4,8 @@
     metadata:
       name: settings
       namespace: shop
    -  creationTimestamp: "2026-01-01T00:00:00Z"
    -  generation: 3
    -  managedFields: []
    -  resourceVersion: "12"
    -  selfLink: /x
    -  uid: 5b9f
       annotations:
    -    kubectl.kubernetes.io/last-applied-configuration: "{}"
         mine: stays
     data:
       status: stays
       uid: stays
    -status:
    -  phase: Active
    "#);
}

#[test]
fn the_texts_of_a_secret_become_its_data() {
    let secret = "
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: shop}
data: {a: b2xk, b: c3RheXM=}
stringData: {a: made up, c: made up as well}
";
    insta::assert_snapshot!(becomes("", secret), @r"
    --- read
    +++ sent
    @@ -5,8 +5,6 @@
       name: keys
       namespace: shop
     data:
    -  a: b2xk
    +  a: bWFkZSB1cA==
       b: c3RheXM=
    -stringData:
    -  a: made up
    -  c: made up as well
    +  c: bWFkZSB1cCBhcyB3ZWxs
    ");
}

#[test]
fn the_fields_of_a_rolling_update_are_sent_in_any_case() {
    let deployments = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: without, namespace: shop}
spec: {selector: {}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: half, namespace: shop}
spec: {strategy: {rollingUpdate: {maxUnavailable: 0}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: recreated, namespace: shop}
spec: {strategy: {type: Recreate}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: other-kind, namespace: shop}
spec: {serviceName: x}
";
    insta::assert_snapshot!(becomes("", deployments), @r"
    --- read
    +++ sent
    @@ -6,6 +6,11 @@
       namespace: shop
     spec:
       selector: {}
    +  strategy:
    +    type: RollingUpdate
    +    rollingUpdate:
    +      maxUnavailable: 25%
    +      maxSurge: 25%
     ---
     apiVersion: apps/v1
     kind: Deployment
    @@ -14,8 +19,10 @@
       namespace: shop
     spec:
       strategy:
    +    type: RollingUpdate
         rollingUpdate:
           maxUnavailable: 0
    +      maxSurge: 25%
     ---
     apiVersion: apps/v1
     kind: Deployment
    ");
}

const WORKLOADS: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: api, namespace: shop}
spec:
  template:
    spec:
      initContainers: [{name: init, image: team/shop-api}]
      containers:
      - {name: api, image: old.example:5000/team/shop-api:latest, args: [team/shop-api]}
      - {name: cache, image: 'docker.io/library/redis:7'}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly, namespace: shop}
spec:
  jobTemplate:
    spec: {template: {spec: {containers: [{name: job, image: 'team/shop-api:v1'}]}}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: about, namespace: shop}
data: {image: team/shop-api}
";

#[test]
fn images_of_services_become_digests_wherever_pods_are_described() {
    insta::assert_snapshot!(becomes("", WORKLOADS), @r"
    --- read
    +++ sent
    @@ -9,10 +9,10 @@
         spec:
           initContainers:
           - name: init
    -        image: team/shop-api
    +        image: registry.example/team/shop-api@sha256:14c2529eb4498c5d1ffd6915d05bf58a91bdda796af59f41d480d11c099d0479
           containers:
           - name: api
    -        image: old.example:5000/team/shop-api:latest
    +        image: registry.example/team/shop-api@sha256:14c2529eb4498c5d1ffd6915d05bf58a91bdda796af59f41d480d11c099d0479
             args:
             - team/shop-api
           - name: cache
    @@ -30,7 +30,7 @@
             spec:
               containers:
               - name: job
    -            image: team/shop-api:v1
    +            image: registry.example/team/shop-api@sha256:14c2529eb4498c5d1ffd6915d05bf58a91bdda796af59f41d480d11c099d0479
     ---
     apiVersion: v1
     kind: ConfigMap
    ");
}

#[test]
fn images_of_others_come_from_the_mirror() {
    let mirror = format!("images: {{redis: 'mirror.example/redis@{}'}}\n", Digest::of(b"redis"));
    let pod = "
apiVersion: v1
kind: Pod
metadata: {name: others, namespace: shop}
spec:
  containers:
  - {name: a, image: redis}
  - {name: b, image: 'redis:7@sha256:0000000000000000000000000000000000000000000000000000000000000000'}
  - {name: c, image: docker.io/library/redis}
  - {name: d, image: 'elsewhere.example/redis:7'}
  - {name: e, image: 'redis-exporter:1'}
";
    insta::assert_snapshot!(becomes(&mirror, pod), @r"
    --- read
    +++ sent
    @@ -7,11 +7,11 @@
     spec:
       containers:
       - name: a
    -    image: redis
    +    image: mirror.example/redis@sha256:34fb46c847bb9df96e5205a39d382f648a6e8dce1e014cd85b4ca6a88d88ed03
       - name: b
    -    image: redis:7@sha256:0000000000000000000000000000000000000000000000000000000000000000
    +    image: mirror.example/redis@sha256:34fb46c847bb9df96e5205a39d382f648a6e8dce1e014cd85b4ca6a88d88ed03
       - name: c
    -    image: docker.io/library/redis
    +    image: mirror.example/redis@sha256:34fb46c847bb9df96e5205a39d382f648a6e8dce1e014cd85b4ca6a88d88ed03
       - name: d
         image: elsewhere.example/redis:7
       - name: e
    ");
}

#[test]
fn a_merge_patch_changes_what_it_names() {
    let patch = "
patches:
- target: {kind: DaemonSet, name: api}
  merge:
    metadata: {annotations: {added: here}}
    spec: {minReadySeconds: 5, template: {spec: {initContainers: null}}}
";
    let workload = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: api, namespace: shop, annotations: {stays: there}}
spec:
  minReadySeconds: 1
  template: {spec: {initContainers: [], hostNetwork: false}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: api-two, namespace: shop}
";
    insta::assert_snapshot!(becomes(patch, workload), @r"
    --- read
    +++ sent
    @@ -6,11 +6,11 @@
       namespace: shop
       annotations:
         stays: there
    +    added: here
     spec:
    -  minReadySeconds: 1
    +  minReadySeconds: 5
       template:
         spec:
    -      initContainers: []
           hostNetwork: false
     ---
     apiVersion: apps/v1
    ");
}

#[test]
fn a_json_patch_changes_single_values() {
    let patch = "
patches:
- target: {kind: NetworkPolicy, name: api}
  json:
  - {op: test, path: /spec/ingress/0/ports/0/port, value: 80}
  - {op: replace, path: /spec/ingress/0/ports/0/port, value: 0400}
  - {op: add, path: /spec/ingress/0/ports/-, value: {port: 443, endPort: 450}}
  - {op: remove, path: /spec/egress}
";
    let policy = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api, namespace: shop}
spec:
  ingress: [{ports: [{port: 80}]}]
  egress: []
";
    insta::assert_snapshot!(becomes(patch, policy), @r"
    --- read
    +++ sent
    @@ -7,5 +7,6 @@
     spec:
       ingress:
       - ports:
    -    - port: 80
    -  egress: []
    +    - port: 256
    +    - port: 443
    +      endPort: 450
    ");
}

#[test]
fn the_configuration_makes_a_config_map() {
    let map = "configMap: {name: settings, values: {PORT: 8000, LEVEL: info, ON: yes}}\n";
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    insta::assert_snapshot!(becomes(map, namespace), @r#"
    --- read
    +++ sent
    @@ -3,3 +3,13 @@
     kind: Namespace
     metadata:
       name: shop
    +---
    +apiVersion: v1
    +kind: ConfigMap
    +metadata:
    +  name: settings
    +  namespace: shop
    +data:
    +  LEVEL: info
    +  "ON": "yes"
    +  PORT: "8000"
    "#);
}

#[test]
fn placeholders_get_their_values_also_inside_base64() {
    let manifests = "
apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: shop, annotations: {TOKEN_HERE: TOKEN_HERE}}
data: {a: QmVhcmVyIFRPS0VOX0hFUkU=, b: AAEC}
stringData: {c: 'token: TOKEN_HERE'}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: file, namespace: shop}
data: {x: 'a: \"TOKEN_HERE\", TOKEN_HERE'}
";
    insta::assert_snapshot!(becomes("substitutions: {TOKEN_HERE: \"made \\\"up\"}\n", manifests), @r#"
    --- read
    +++ sent
    @@ -5,12 +5,11 @@
       name: keys
       namespace: shop
       annotations:
    -    TOKEN_HERE: TOKEN_HERE
    +    TOKEN_HERE: made "up
     data:
    -  a: QmVhcmVyIFRPS0VOX0hFUkU=
    +  a: QmVhcmVyIG1hZGUgInVw
       b: AAEC
    -stringData:
    -  c: "token: TOKEN_HERE"
    +  c: dG9rZW46IG1hZGUgInVw
     ---
     apiVersion: v1
     kind: ConfigMap
    @@ -18,4 +17,4 @@
       name: file
       namespace: shop
     data:
    -  x: "a: \"TOKEN_HERE\", TOKEN_HERE"
    +  x: "a: \"made \"up\", made \"up"
    "#);
}

#[test]
fn a_file_whose_placeholder_has_no_value_is_left_out_whole() {
    let manifests = "
apiVersion: v1
kind: ConfigMap
metadata: {name: one, namespace: shop}
data: {a: TOKEN_HERE}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: beside, namespace: shop}
=== another file
apiVersion: v1
kind: ConfigMap
metadata: {name: two, namespace: shop}
";
    insta::assert_snapshot!(becomes("substitutions: {TOKEN_HERE: {envFile: nowhere.env, key: TOKEN}}\n", manifests), @r"
    --- read
    +++ sent
    @@ -2,19 +2,5 @@
     apiVersion: v1
     kind: ConfigMap
     metadata:
    -  name: one
    -  namespace: shop
    -data:
    -  a: TOKEN_HERE
    ----
    -apiVersion: v1
    -kind: ConfigMap
    -metadata:
    -  name: beside
    -  namespace: shop
    ----
    -apiVersion: v1
    -kind: ConfigMap
    -metadata:
       name: two
       namespace: shop
    ");
}

#[test]
fn objects_that_lie_in_a_namespace_get_that_of_the_product() {
    let manifests = "
apiVersion: v1
kind: ConfigMap
metadata: {name: without}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: nothing, namespace: }
---
apiVersion: v1
kind: ConfigMap
metadata: {name: elsewhere, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: of-the-cluster}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: walls.example.test}
spec: {group: example.test, scope: Cluster, names: {kind: Wall}}
---
apiVersion: example.test/v1
kind: Wall
metadata: {name: of-the-cluster-too}
---
apiVersion: known.test/v1
kind: Thing
metadata: {name: as-the-cluster-says}
";
    insta::assert_snapshot!(becomes("allowedNamespaces: [kube-system]\n", manifests), @r"
    --- read
    +++ sent
    @@ -3,12 +3,13 @@
     kind: ConfigMap
     metadata:
       name: without
    +  namespace: shop
     ---
     apiVersion: v1
     kind: ConfigMap
     metadata:
       name: nothing
    -  namespace: null
    +  namespace: shop
     ---
     apiVersion: v1
     kind: ConfigMap
    @@ -40,3 +41,4 @@
     kind: Thing
     metadata:
       name: as-the-cluster-says
    +  namespace: shop
    ");
}

#[test]
fn a_job_is_named_after_its_content() {
    let job = "
apiVersion: batch/v1
kind: Job
metadata: {name: migrate, namespace: shop}
spec: {template: {spec: {containers: [{name: migrate, image: 'example.test/migrate:1'}]}}}
";
    insta::assert_snapshot!(becomes("", job), @r"
    --- read
    +++ sent
    @@ -2,8 +2,10 @@
     apiVersion: batch/v1
     kind: Job
     metadata:
    -  name: migrate
    +  name: migrate-89d6a63e57
       namespace: shop
    +  labels:
    +    hdeploy.dev/job: migrate
     spec:
       template:
         spec:
    ");
}

#[test]
fn the_reference_stack() {
    let folder = TempDir::new().expect("a folder");
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy-k3s");
    assert!(Command::new("cp").arg("-r").arg(from).arg(folder.path()).status().expect("cp").success());
    fs::create_dir(folder.path().join("deploy")).expect("a folder");
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
    write("deploy-k3s/registry-password", "made-up\n");
    write("deploy/prod.env", "OBS_INGEST_TOKEN=made-up-token\n");
    insta::assert_snapshot!(difference(&folder.path().join("deploy-k3s/config.yaml.example"), 2));
}
