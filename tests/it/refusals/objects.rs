//! Manifests, and what the API server, the namespace and the pods would make of them.

use std::process::Command;

use super::{CLOSED, CONFIG, MANIFESTS, Refused};
use crate::support::{Project, kubectl};

const LEVEL: &str = "pod-security.kubernetes.io/";

fn api() -> String {
    format!("{MANIFESTS}/api.yaml")
}

#[test]
fn a1_a2_objects_that_the_api_server_would_refuse_all_at_once() {
    let project = Project::new("objects");
    project.edit(&api(), "replicas: 1", "replcas: 1");
    project.edit(&format!("{MANIFESTS}/site.yaml"), "periodSeconds: 1", "periodSeconds: often");
    project.write(
        &format!("{MANIFESTS}/thing.yaml"),
        "apiVersion: example.test/v1\nkind: Thing\nmetadata: {name: thing}\n",
    );
    Refused::of(&project).says(&[
        "api.yaml:11",
        "it is not understood: .spec.replcas: field not declared",
        "kubectl explain deployment.spec --api-version apps/v1",
        "site.yaml:11",
        "periodSeconds",
        "thing.yaml:1",
        "its kind is not served by this cluster",
        "kubectl api-resources | grep Thing",
    ]);
}

#[test]
fn a7_manifests_that_nobody_can_mean() {
    let project = Project::new("manifests");
    project.edit(&api(), "  name: api\n  namespace", "  name: api\n  name: twice\n  namespace");
    Refused::of(&project).says(&["api.yaml:5", "\"name\" stands here and in line 4"]);
    project.edit(&api(), "  name: twice\n", "");

    project.edit(
        &api(),
        "ports: [{name: http, containerPort: 8080}]",
        "ports: [{containerPort: 8080}, {containerPort: 8080}]",
    );
    project.edit(&api(), "envFrom:", "env: [{name: TWICE, value: a}, {name: TWICE, value: b}]\n          envFrom:");
    project.edit(&format!("{MANIFESTS}/site.yaml"), "cpu: 5m", "cpu: 5mm");
    project.edit(
        &format!("{MANIFESTS}/site.yaml"),
        "targetPort: 8080}",
        "targetPort: 8080}\n    - {name: more, port: 80}",
    );
    let mounts = "volumeMounts: [{name: a, mountPath: /a}, {name: b, mountPath: /a}]\n          envFrom:";
    project.edit(&format!("{MANIFESTS}/site.yaml"), "envFrom:", mounts);
    Refused::of(&project).says(&[
        "api.yaml:11",
        "env: TWICE stands here twice",
        "ports: 8080/TCP stands here twice",
        "site.yaml:1: ",
        "spec.ports: 80/TCP stands here twice, as entries 0 and 1",
        "volumeMounts: /a stands here twice, as entries 0 and 1",
        "site.yaml:12",
        "containers[site].resources.requests.cpu: \"5mm\" is no quantity",
    ]);

    let project = Project::new("outside");
    project.edit(&api(), &format!("namespace: {}", project.name), "namespace: elsewhere");
    Refused::of(&project).says(&["elsewhere", "allowedNamespaces"]);

    let project = Project::new("torn");
    project.edit(&api(), "spec:\n  selector:", "spec:\n selector:\n  -");
    Refused::of(&project).says(&["api.yaml:"]);
}

#[test]
fn a6_fields_that_somebody_else_owns() {
    let project = Project::new("foreign");
    project.hdeploy(&["all"]).exits(0);
    project.kubectl(&["scale", "deployment", "site", "--replicas=2"]);
    let replicas = || project.kubectl(&["get", "deployment", "site", "-o", "jsonpath={.spec.replicas}"]);
    Refused::of(&project).says(&["site.yaml:11", ".spec.replicas", "kubectl", "--force-conflicts"]);
    assert_eq!(replicas(), "2");
    project.hdeploy(&["all", "--force-conflicts"]).exits(0);
    assert_eq!(replicas(), "1");
}

#[test]
fn a11_a_change_of_what_cannot_change() {
    let project = Project::new("immutable");
    project.hdeploy(&["all"]).exits(0);
    project.edit(&api(), "{app.kubernetes.io/name: api}", "{app.kubernetes.io/name: api, tier: front}");
    Refused::of(&project).says(&["api.yaml:11", "spec.selector", "immutable", "kubectl delete"]);
}

#[test]
fn a16_pods_that_the_namespace_would_refuse() {
    let project = Project::new("security");
    let label = |enforce: &str, warn: &str| {
        let (enforce, warn) = (format!("{LEVEL}enforce={enforce}"), format!("{LEVEL}warn={warn}"));
        project.kubectl(&["label", "--overwrite", "namespace", &project.name, &enforce, &warn]);
    };
    let namespace = format!("the namespace {} would refuse its pods", project.name);
    let look = format!("kubectl get namespace {} --show-labels", project.name);
    let violates = |level: &str| format!("would refuse its pods: PodSecurity \"{level}:");

    // Whatever it warns of: by another level, it warns of too little.
    for warn in ["restricted", "privileged"] {
        label("restricted", warn);
        let places = ["api.yaml:11: ", "site.yaml:11: ", "job.yaml:1: "];
        let why = [&violates("restricted"), "runAsNonRoot", &namespace, &look];
        Refused::of(&project).says(&[&places[..], &why].concat());
    }
    let privileged = "          securityContext: {privileged: true}\n";
    project.edit(&api(), "          envFrom:", &format!("{privileged}          envFrom:"));
    label("baseline", "restricted");
    let words = ["api.yaml:11: ", &violates("baseline"), "must not set securityContext.privileged=true", &namespace];
    Refused::of(&project).says(&words).never_says("site.yaml:11: ");

    // A stricter level that is not enforced is worth a warning, said once.
    project.edit(&api(), privileged, "");
    let outcome = project.hdeploy(&["all"]).exits(0);
    for object in ["Deployment", "Job"].map(|kind| format!("{kind} {}/", project.name)) {
        let said = outcome.text();
        let warnings = said.lines().filter(|line| line.contains(&object) && line.contains("would violate PodSecurity"));
        assert_eq!(warnings.count(), if object.starts_with("Job") { 1 } else { 2 }, "{said}");
    }
}

#[test]
fn a16_pods_that_the_namespace_would_refuse_as_the_manifests_change_it() {
    let project = Project::new("level");
    project.kubectl(&["label", "namespace", &project.name, &format!("{LEVEL}warn=restricted")]);
    let file = format!("{MANIFESTS}/namespace.yaml");
    let labels = |level: &str| format!("metadata:\n  labels: {{{LEVEL}enforce: {level}}}\n");
    project.edit(&file, "metadata:\n", &labels("restricted"));
    Refused::of(&project).says(&["api.yaml:11: ", "would refuse its pods: PodSecurity \"restricted:"]);

    // The other way round: it refuses them now, and will not when they come.
    project.kubectl(&["label", "namespace", &project.name, &format!("{LEVEL}enforce=restricted")]);
    project.edit(&file, &labels("restricted"), &labels("baseline"));
    project.hdeploy(&["all", "--force-conflicts"]).exits(0);
}

#[test]
fn o8_what_pods_need_and_nobody_provides() {
    let project = Project::new("needs");
    project.kubectl(&["delete", "secret", "pull"]);
    project.kubectl(&["create", "secret", "generic", "keys", "--from-literal=other=made-up"]);
    project.edit(&api(), "name: settings", "name: no-such-settings");
    let key = "env: [{name: KEY, valueFrom: {secretKeyRef: {name: keys, key: wanted}}}]";
    project.edit(&format!("{MANIFESTS}/site.yaml"), "envFrom:", &format!("{key}\n          envFrom:"));
    let name = &project.name;
    Refused::of(&project).says(&[
        &format!("Secret {name}/pull is missing; needed by Deployment {name}/api"),
        &format!("ConfigMap {name}/no-such-settings is missing"),
        &format!("Secret {name}/keys has no key wanted; needed by Deployment {name}/site"),
        &format!("kubectl -n {name} create secret docker-registry pull"),
        &format!("kubectl -n {name} create configmap no-such-settings"),
        &format!("kubectl -n {name} edit Secret keys"),
    ]);
}

#[test]
fn mistakes_of_every_sort_come_in_one_answer() {
    let project = Project::new("several");
    project.edit(&api(), "replicas: 1", "replcas: 1");
    project.edit(CONFIG, "target: job", "target: jobb");
    project.kubectl(&["delete", "secret", "pull"]);
    let environment = [("SHOP_PASSWORD", "made-up-wrong-password"), ("DOCKER_HOST", "unix:///nowhere/docker.sock")];
    let of_here = [".spec.replcas", "\"jobb\"", "/pull is missing"];
    let of_there = ["does not accept the password of admin", "/nowhere/docker.sock"];
    let outcome = Refused::of(&project).with(&environment).says(&[&of_here[..], &of_there].concat());
    outcome.says("5 things stand in the way");

    // What does not depend on a registry is found without one, and the same goes for a cluster.
    project.edit(CONFIG, "target: jobb", "target: job");
    project.edit(CONFIG, &project.sandbox().registry.clone(), CLOSED);
    Refused::of(&project).says(&[".spec.replcas", &format!("{CLOSED} cannot be reached")]);
    project.edit(CONFIG, CLOSED, &project.sandbox().registry.clone());
    project
        .write("kubeconfig", &crate::support::kubectl(&["config", "view", "--raw"]).replace("10.41.0.1:17443", CLOSED));
    let kubeconfig = project.path("kubeconfig").display().to_string();
    let token = project.sandbox().read_token.clone();
    let environment = [("SHOP_PASSWORD", token.as_str()), ("KUBECONFIG", &kubeconfig)];
    Refused::of(&project).with(&environment).says(&[&format!("https://{CLOSED}"), "admin may not push to"]);
}

#[test]
fn nothing_is_written_outside_of_namespaces_either() {
    let project = Project::new("role");
    let role = format!("{}-role", project.name);
    let object = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: ";
    project.write(&format!("{MANIFESTS}/role.yaml"), &format!("{object}{role}\nrules: []\n"));
    project.edit(&api(), "replicas: 1", "replcas: 1");
    Refused::of(&project).says(&[".spec.replcas"]);

    // The audit log would have told.
    project.edit(&api(), "replcas: 1", "replicas: 1");
    project.hdeploy(&["all"]).exits(0);
    kubectl(&["delete", "clusterrole", &role]);
    let writes = project.sandbox().writes(&project.name);
    assert!(writes.iter().any(|write| write.contains(&format!("/clusterroles/{role}"))), "{writes:?}");
}

/// What a test made outside of its namespace, deleted in the end.
struct Made(String);

impl Drop for Made {
    fn drop(&mut self) {
        let _ = Command::new("kubectl").args(["delete", "--wait=false", "--ignore-not-found", &self.0]).output();
    }
}

#[test]
fn a2_what_the_deploy_itself_brings_is_not_missing() {
    let project = Project::new("brings");
    let name = &project.name;
    for manifest in ["api", "job", "site"] {
        std::fs::remove_file(project.path(&format!("{MANIFESTS}/{manifest}.yaml"))).expect("a manifest");
    }
    let (group, other) = (format!("{name}.example.test"), format!("{name}-other"));
    let made = [format!("crd/things.{group}"), format!("namespace/{other}")].map(Made);
    let schema = "{openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}";
    let objects = [
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {other}}}\n"),
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: {other}}}\n"),
        format!(
            "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: things.{group}}}\n\
             spec:\n  group: {group}\n  scope: Namespaced\n  names: {{kind: Thing, plural: things}}\n  \
             versions: [{{name: v1, served: true, storage: true, schema: {schema}}}]\n"
        ),
        format!("apiVersion: {group}/v1\nkind: Thing\nmetadata: {{name: a}}\n"),
    ];
    project.write(&format!("{MANIFESTS}/objects.yaml"), &objects.join("---\n"));
    project.edit(CONFIG, "manifests:", &format!("allowedNamespaces: [{other}]\nmanifests:"));
    project.hdeploy(&["all"]).exits(0);
    assert_eq!(project.kubectl(&["get", &format!("things.{group}"), "-o", "name"]), format!("thing.{group}/a\n"));
    drop(made);
}
