//! Who sets the replicas: an autoscaler, or the manifests when there is none.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::Project;

const CONFIG: &str = "namespace: NAMESPACE
manifests: [manifests]
settle: {soak: 0}
registry: {server: REGISTRY, owner: OWNER, username: OWNER, password: {env: SHOP_PASSWORD}, plainHttp: true}
services: {other: {image: NAMESPACE-other}}
";

/// What the manifests say of the replicas is not what an autoscaler allows at first.
const WORKLOAD: &str = r#"apiVersion: apps/v1
kind: Deployment
metadata:
  name: api
  namespace: NAMESPACE
  annotations: {release: "0"}
spec:
  replicas: 3
  selector: {matchLabels: {app: api}}
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxUnavailable: 0, maxSurge: 100%}
  template:
    metadata: {labels: {app: api}}
    spec:
      terminationGracePeriodSeconds: 1
      automountServiceAccountToken: false
      imagePullSecrets: [{name: pull}]
      containers:
        - name: api
          image: BUSYBOX
          command: [sleep, "3600"]
          env: [{name: RELEASE, value: first}]
          resources: {requests: {cpu: 5m, memory: 8Mi}, limits: {cpu: 20m}}
"#;

/// Nobody provides the metric: this one never scales for a load, only to stay within its bounds.
const AUTOSCALER: &str = "apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: api
  namespace: NAMESPACE
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: api}
  minReplicas: 2
  maxReplicas: 4
  metrics:
    - type: External
      external: {metric: {name: of-nobody}, target: {type: Value, value: 1}}
";
const OF_NOBODY: &str = "type: External\n      external: {metric: {name: of-nobody}, target: {type: Value, value: 1}}";
const CPU: &str = "type: Resource\n      resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}";

const MANIFEST: &str = "product/manifests/api.yaml";
const SCALER: &str = "product/manifests/scaler.yaml";

/// A product of one Deployment and its autoscaler.
fn scaled(name: &str) -> Project {
    let mut project = Project::empty(name);
    let sandbox = project.sandbox();
    let named = |text: &str| {
        text.replace("NAMESPACE", &project.name)
            .replace("REGISTRY", &sandbox.registry)
            .replace("OWNER", &sandbox.owner)
            .replace("BUSYBOX", &sandbox.busybox)
    };
    project.write("product/deploy-k3s.yaml", &named(CONFIG));
    project.write(MANIFEST, &named(WORKLOAD));
    project.write(SCALER, &named(AUTOSCALER));
    project.make_namespace();
    let sandbox = project.sandbox();
    project.pull_secret("pull", &sandbox.registry, &sandbox.user, &sandbox.password);
    project
}

/// Deploys the manifests as they are.
#[track_caller]
fn deploy(project: &Project) -> crate::support::Outcome {
    project.hdeploy(&["--config", "deploy-k3s.yaml", "all", "--tag", "t1"]).exits(0)
}

/// Deploys as release `number`: the annotation changes, and with `pods` what runs as well.
#[track_caller]
fn release(project: &Project, number: usize, pods: bool) {
    let text = fs::read_to_string(project.path(MANIFEST)).expect("the manifest");
    let mark = |line: &str| match line.trim_start() {
        said if said.starts_with("annotations:") => format!("  annotations: {{release: \"{number}\"}}"),
        said if said.starts_with("env:") && pods => {
            format!("          env: [{{name: RELEASE, value: \"{number}\"}}]")
        }
        _ => line.to_owned(),
    };
    project.write(MANIFEST, &text.lines().map(|line| mark(line) + "\n").collect::<String>());
    deploy(project);
}

/// What of the Deployment is at `path`.
fn live(project: &Project, path: &str) -> String {
    project.kubectl(&["get", "deployment", "api", "--show-managed-fields", "-o", &format!("jsonpath={{{path}}}")])
}

/// The names under which somebody owns the replicas.
fn owners(project: &Project) -> Vec<String> {
    let text = project.kubectl(&["get", "deployment", "api", "--show-managed-fields", "-o", "json"]);
    let live: Value = serde_json::from_str(&text).expect("a Deployment");
    let entries = live["metadata"]["managedFields"].as_array().expect("owners");
    let owns = |entry: &&Value| entry.pointer("/fieldsV1/f:spec/f:replicas").is_some();
    entries.iter().filter(owns).map(|entry| entry["manager"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Records every state of the Deployments, in the order in which the API server had them.
struct Watch<'a> {
    project: &'a Project,
    kubectl: Child,
    log: PathBuf,
}

impl<'a> Watch<'a> {
    /// Begins. A Deployment of none marks in the record where it begins and ends.
    fn start(project: &'a Project) -> Self {
        project.kubectl(&["create", "deployment", "mark", "--image=none", "--replicas=0"]);
        let log = project.path("watch");
        let line = r#"jsonpath={.metadata.name} {.spec.replicas} {.metadata.annotations.release}{"\n"}"#;
        let kubectl = Command::new("kubectl")
            .args(["-n", &project.name, "get", "deployments", "--watch", "-o", line])
            .stdout(fs::File::create(&log).expect("a file"))
            .stdin(Stdio::null())
            .spawn()
            .expect("kubectl");
        let watch = Self { project, kubectl, log };
        watch.read("mark 0 ");
        watch
    }

    /// What was recorded, as soon as `awaited` is among it.
    fn read(&self, awaited: &str) -> String {
        let recorded = || fs::read_to_string(&self.log).expect("the record");
        let there = |_: &str| recorded().lines().any(|line| line.starts_with(awaited));
        self.project.until(&["deployment", "mark", "-o", "name"], there);
        recorded()
    }

    /// Every replicas that the Deployment had, each with the release at that time; the same twice in a row counts once.
    fn replicas(&self) -> Vec<(usize, String)> {
        self.project.kubectl(&["annotate", "deployment", "mark", "release=end"]);
        let text = self.read("mark 0 end");
        let recorded = text.lines().filter_map(|line| line.strip_prefix("api ")).map(|line| {
            let (replicas, release) = line.split_once(' ').expect("a line");
            (replicas.parse().expect("a number"), release.to_owned())
        });
        let mut recorded: Vec<(usize, String)> = recorded.collect();
        recorded.dedup();
        recorded
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

fn of_releases(replicas: usize, releases: impl IntoIterator<Item = usize>) -> Vec<(usize, String)> {
    releases.into_iter().map(|release| (replicas, release.to_string())).collect()
}

/// Waits until the Deployment is to have so many replicas.
fn until_scaled(project: &Project, replicas: &str) {
    project.until(&["deployment", "api", "-o", "jsonpath={.spec.replicas}"], |found| found == replicas);
}

#[test]
fn a5_what_an_autoscaler_set_under_load_stays_when_hdeploy_takes_over_and_in_ten_deploys() {
    let project = scaled("load");
    project.edit(SCALER, OF_NOBODY, CPU);
    project.edit(MANIFEST, "command: [sleep, \"3600\"]", "command: [sh, -c, 'while :; do :; done']");
    let manifests = project.path("product/manifests");
    project.kubectl(&["apply", "-f", &manifests.to_string_lossy()]);
    until_scaled(&project, "4");
    let active = "jsonpath={.status.desiredReplicas} {.status.conditions[?(@.type==\"ScalingActive\")].status}";
    assert_eq!(project.kubectl(&["get", "hpa", "api", "-o", active]), "4 True");

    let watch = Watch::start(&project);
    deploy(&project);
    assert!(!live(&project, ".metadata.managedFields[*].manager").contains("kubectl-client-side-apply"));
    for number in 1..=10 {
        release(&project, number, number % 3 == 0);
    }
    assert_eq!(watch.replicas(), of_releases(4, 0..=10));
    assert_eq!(owners(&project), ["kube-controller-manager"]);
}

#[test]
fn a5_an_autoscaler_that_never_scaled_finds_the_replicas_as_they_were() {
    let project = scaled("idle");
    let manifests = project.path("product/manifests");
    project.kubectl(&["apply", "-f", &manifests.to_string_lossy()]);
    let watch = Watch::start(&project);
    deploy(&project);
    release(&project, 1, false);
    release(&project, 2, true);
    assert_eq!(watch.replicas(), of_releases(3, 0..=2));

    // Its bounds move, and so do the replicas, by its hand alone.
    project.edit(SCALER, "minReplicas: 2", "minReplicas: 4");
    release(&project, 3, false);
    until_scaled(&project, "4");
    release(&project, 4, true);
    let moved = watch.replicas();
    assert_eq!(moved.first(), Some(&(3, "0".to_owned())));
    assert_eq!(moved.last(), Some(&(4, "4".to_owned())));
    assert!(
        moved.is_sorted_by_key(|(replicas, _)| *replicas) && moved.iter().all(|(n, _)| [3, 4].contains(n)),
        "{moved:?}"
    );
    assert_eq!(owners(&project), ["kube-controller-manager"]);

    // Without it the manifests say how many there are, although it was the last to set them.
    fs::remove_file(project.path(SCALER)).expect("the autoscaler");
    project.kubectl(&["delete", "hpa", "api"]);
    project.edit(MANIFEST, "replicas: 3", "replicas: 1");
    deploy(&project).never_says("fields of it were set by");
    assert_eq!((live(&project, ".spec.replicas").as_str(), owners(&project)), ("1", vec!["hdeploy".to_owned()]));
    deploy(&project).says("no objects changed");
}

#[test]
fn a5_a_new_workload_begins_with_the_least_that_its_autoscaler_allows() {
    let project = scaled("least");
    let watch = Watch::start(&project);
    deploy(&project);
    release(&project, 1, true);
    release(&project, 2, false);
    assert_eq!(watch.replicas(), of_releases(2, 0..=2));

    // The autoscaler goes from the manifests: what was held for it is theirs again.
    fs::remove_file(project.path(SCALER)).expect("the autoscaler");
    deploy(&project).says("no longer in the manifests; --prune deletes it");
    assert_eq!((live(&project, ".spec.replicas").as_str(), owners(&project)), ("3", vec!["hdeploy".to_owned()]));
}

#[test]
fn a5_an_autoscaler_that_somebody_else_made_keeps_what_it_set() {
    let project = scaled("foreign");
    fs::rename(project.path(SCALER), project.path("by-hand.yaml")).expect("the autoscaler");
    deploy(&project);
    project.edit("by-hand.yaml", "minReplicas: 2", "minReplicas: 4");
    project.kubectl(&["apply", "-f", &project.path("by-hand.yaml").to_string_lossy()]);
    until_scaled(&project, "4");
    let watch = Watch::start(&project);
    project.edit(MANIFEST, "value: first", "value: second");
    let refused = project.hdeploy(&["--config", "deploy-k3s.yaml", "all", "--tag", "t1"]).exits(4);
    refused.says(".spec.replicas is kube-controller-manager's");
    assert_eq!(watch.replicas(), of_releases(4, [0]));
}

#[test]
fn r6_a_killed_deploy_is_undone_and_what_the_autoscaler_set_meanwhile_stays() {
    let project = scaled("undo");
    deploy(&project);
    assert_eq!(owners(&project), ["hdeploy"], "it never scaled");
    let watch = Watch::start(&project);
    project.edit(MANIFEST, "value: first", "value: second");
    project.edit(
        MANIFEST,
        "          resources:",
        "          readinessProbe: {exec: {command: [\"false\"]}}\n          resources:",
    );
    let mut killed = project.start(&["--config", "deploy-k3s.yaml", "all", "--tag", "t1"]);
    let value = ["deployment", "api", "-o", "jsonpath={.spec.template.spec.containers[0].env[0].value}"];
    project.until(&value, |found| found == "second");
    project.kubectl(&["patch", "hpa", "api", "--type=merge", "--patch", r#"{"spec": {"minReplicas": 3}}"#]);
    until_scaled(&project, "3");
    killed.kill();

    project.hdeploy(&["--config", "deploy-k3s.yaml", "recover"]).exits(0).says("put back as it was");
    assert_eq!(live(&project, ".spec.template.spec.containers[0].env[0].value"), "first");
    assert_eq!(watch.replicas(), [(2, "0".to_owned()), (3, "0".to_owned())]);
}
