//! Order and gates.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::Outcome;
use crate::support::sim::{Product, job, workload};

/// Pods that the Jobs of the namespace ever had.
fn executions(product: &Product) -> usize {
    let by_jobs = |entry: &&Value| {
        entry["verb"] == "create"
            && entry["objectRef"]["resource"] == "pods"
            && entry["objectRef"]["namespace"] == *product.name
            && entry["user"]["username"].as_str().is_some_and(|user| user.ends_with(":job-controller"))
            && entry["responseStatus"]["code"] == 201
    };
    product.sim.audit.entries(&product.name).iter().filter(by_jobs).count()
}

/// Resources that hdeploy wrote, in order, its own notes apart; doubles beside each other once.
fn written(product: &Product) -> Vec<String> {
    let writes = product.sim.audit.writes(&product.name);
    let paths = writes.iter().filter_map(|write| write.split_once(' ')?.1.split('?').next()?.strip_prefix('"'));
    let kinds = paths.filter(|path| !path.contains("/hdeploy-")).map(|path| {
        let parts: Vec<&str> = path.trim_matches('"').rsplit('/').collect();
        match parts[1] {
            "networkpolicies" => format!("{} {}", parts[1], parts[0]),
            kind => kind.to_owned(),
        }
    });
    let mut kinds: Vec<String> = kinds.collect();
    kinds.dedup();
    kinds
}

const EVERY_KIND: &str = r"
apiVersion: example.test/v1
kind: ThingOfNAMESPACE
metadata: {name: first}
spec: {colour: blue}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: api}
spec: {minAvailable: 1, selector: {matchLabels: {app.kubernetes.io/name: api}}}
---
apiVersion: v1
kind: Service
metadata: {name: api}
spec: {ports: [{port: 80}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}, policyTypes: [Ingress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow}
spec: {podSelector: {}, ingress: [{ports: [{port: 80}]}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {COLOUR: blue}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: api}
rules: []
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: NAMESPACE-things.example.test}
spec:
  group: example.test
  scope: Namespaced
  names: {plural: NAMESPACE-things, singular: NAMESPACE-thing, kind: ThingOfNAMESPACE}
  versions:
    - name: v1
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {colour: {type: string}}}}}}
";

#[test]
fn o1_o2_objects_are_written_in_waves_and_a_new_kind_may_be_used_in_the_folder_that_brings_it() {
    let product = Product::new("waves");
    product.manifest("a-all", EVERY_KIND);
    product.delete_in_the_end("crd", &format!("{}-things.example.test", product.name));
    product.job("migrate", "sim/done:0");
    product.workload("api", "sim/ok:0");
    product.workload("redis", "sim/ok:0");
    product.configure("order: {api: [redis]}\n");
    product.deploy().exits(0);
    let things = format!("{}-things", product.name);
    let expected = [
        "namespaces",
        "customresourcedefinitions",
        "roles",
        "configmaps",
        "networkpolicies allow",
        "networkpolicies deny",
        "services",
        "jobs",
        "deployments",
    ];
    let kinds = written(&product);
    assert_eq!(kinds[..expected.len()], expected);
    let mut rest = kinds[expected.len()..].to_vec();
    rest.sort();
    assert_eq!(rest, ["poddisruptionbudgets".to_owned(), things.clone()]);
    assert_eq!(product.json(&[&things, "first"])["spec"]["colour"], "blue");

    // What comes last is written when everything before has settled, workload after workload.
    let time = |arguments: &[&str], path: &str| {
        let text = product.json(arguments).pointer(path).and_then(Value::as_str).map(str::to_owned);
        text.unwrap_or_else(|| panic!("{arguments:?} has no {path}"))
    };
    let ready = |name: &str| {
        let set = product.json(&["pods", "-l", &format!("app.kubernetes.io/name={name}")]);
        let conditions = set["items"][0]["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready").cloned().unwrap_or_default();
        ready["lastTransitionTime"].as_str().expect("ready").to_owned()
    };
    assert!(ready("redis") <= time(&["deployment", "api"], "/metadata/creationTimestamp"));
    assert!(ready("api") <= time(&["poddisruptionbudget", "api"], "/metadata/creationTimestamp"));
}

/// The ports that the policy `allow` has had, version after version.
struct Ports {
    watch: std::process::Child,
}

impl Ports {
    fn watch(product: &Product) -> Self {
        let mut watch = product.sim.command();
        watch.args(["-n", &product.name, "get", "networkpolicy", "allow", "--watch", "-o", "json"]);
        let mut watch = watch.stdout(Stdio::piped()).spawn().expect("kubectl");
        // The first byte is there when the watch has begun.
        let out = watch.stdout.as_mut().expect("a pipe");
        out.read_exact(&mut [0]).expect("the first version");
        Self { watch }
    }

    fn seen(mut self) -> Vec<Vec<u64>> {
        self.watch.kill().expect("it runs");
        let mut text = String::from("{");
        self.watch.stdout.take().expect("a pipe").read_to_string(&mut text).expect("text");
        self.watch.wait().expect("it ended");
        let versions = serde_json::Deserializer::from_str(&text).into_iter::<Value>().map_while(Result::ok);
        versions
            .map(|policy| {
                let rules = policy["spec"]["ingress"].as_array().cloned().unwrap_or_default();
                let mut ports: Vec<u64> = rules.iter().filter_map(|rule| rule["ports"][0]["port"].as_u64()).collect();
                ports.sort_unstable();
                ports
            })
            .collect()
    }
}

#[test]
fn o1_no_connection_breaks_while_a_policy_and_the_pods_behind_it_change() {
    let policy = |port: u16| {
        format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: allow}}\nspec: {{podSelector: {{}}, ingress: [{{ports: [{{port: {port}}}]}}]}}\n"
        )
    };
    let product = Product::new("policies");
    product.manifest("policy", &policy(8080));
    product.workload("api", "sim/ok:v1");
    product.deploy().exits(0);

    let ports = Ports::watch(&product);
    let before = product.sim.audit.writes(&product.name).len();
    product.manifest("policy", &policy(9090));
    product.manifest("api", &workload("api", "sim/ok:v2").replace("8080", "9090"));
    product.deploy().exits(0).says("2 objects changed");

    // Pods of both releases are reached until the old ones are gone: the new port comes before the new pods, and the old
    // one goes when they have settled.
    assert_eq!(ports.seen(), [vec![8080], vec![8080, 9090], vec![9090]]);
    let writes = product.sim.audit.writes(&product.name)[before..].to_vec();
    let kinds = ["networkpolicies/", "deployments/", "journal"];
    let order: Vec<&str> =
        writes.iter().filter_map(|write| kinds.into_iter().find(|kind| write.contains(kind))).collect();
    let first = order.iter().position(|kind| *kind != "journal").expect("a write");
    assert_eq!(order[first..first + 3], ["networkpolicies/", "deployments/", "networkpolicies/"], "{writes:?}");
    product.deploy().exits(0).says("no objects changed");
}

#[test]
fn o3_a_job_runs_exactly_once_whatever_is_run_again() {
    let product = Product::new("once");
    product.job("migrate", "sim/done:2");
    product.workload("api", "sim/ok:v1");
    let mut killed = product.start();
    product.until(&["pods", "-o", "jsonpath={.items[*].status.phase}"], |phases| phases.contains("Running"));
    assert_eq!(product.kubectl(&["get", "deployments", "-o", "name"]), "", "active is not success");
    killed.kill().expect("it runs");
    killed.wait().expect("it ended");

    product.deploy().exits(0).says("attached to the one that runs").says("it is done").says("complete after");
    product.deploy().exits(0).says("already complete");
    product.workload("api", "sim/ok:v2");
    product.deploy().exits(0).says("already complete");
    assert_eq!(executions(&product), 1);
}

#[test]
fn o3_a_failed_job_is_run_again_when_its_pods_are_gone() {
    let product = Product::new("again");
    product.job("migrate", "sim/fail:0");
    product.deploy().exits(2).says("fatal: it cannot be done").says("BackoffLimitExceeded");
    let failed = product.json(&["pods"])["items"][0]["metadata"]["uid"].clone();
    product.deploy().exits(2).says("started again, after it had failed");
    let pods = product.json(&["pods"]);
    assert_eq!(pods["items"].as_array().map(Vec::len), Some(1));
    assert_ne!(pods["items"][0]["metadata"]["uid"], failed);
    assert_eq!(executions(&product), 2);
}

#[test]
fn o3_a_job_of_another_release_is_awaited() {
    let product = Product::new("awaited");
    product.job("migrate", "sim/done:3");
    let mut killed = product.start();
    product.until(&["pods", "-o", "jsonpath={.items[*].status.phase}"], |phases| phases.contains("Running"));
    killed.kill().expect("it runs");
    killed.wait().expect("it ended");
    product.job("migrate", "sim/done:0");
    product.deploy().exits(0).says("another release started it");
    let jobs = product.json(&["jobs", "--sort-by=.metadata.creationTimestamp"]);
    let ended = jobs["items"][0]["status"]["completionTime"].as_str().expect("the first one is complete");
    assert!(ended <= jobs["items"][1]["metadata"]["creationTimestamp"].as_str().expect("a second one"));
}

#[test]
fn o3_nothing_is_written_when_a_job_of_another_release_does_not_end_in_time() {
    let product = Product::new("others");
    let migrate = |image: &str| {
        product.manifest("migrate", &job("migrate", image).replace("Seconds: 60", "Seconds: 600"));
    };
    product.workload("api", "sim/ok:v1");
    product.deploy().exits(0);
    migrate("sim/held:0");
    let mut killed = product.start();
    product.until(&["pods", "-l", "job-name", "-o", "jsonpath={.items[*].status.phase}"], |phase| phase == "Running");
    killed.kill().expect("it runs");
    killed.wait().expect("it ended");
    let jobs = || product.kubectl(&["get", "jobs", "-o", "jsonpath={.items[*].metadata.name}"]);
    let writes = || {
        let writes = product.sim.audit.writes(&product.name);
        writes.into_iter().filter(|write| !write.contains("/hdeploy-")).collect::<Vec<_>>()
    };
    let (other, before) = (jobs(), writes());

    migrate("sim/done:0");
    product.workload("api", "sim/ok:v2");
    let outcome = product.hdeploy(&["all", "--tag", "v1", "--timeout", "3", "--force-timeout"]).exits(3);
    outcome.says(&format!("/{other} of another release has not ended within 3 s")).says("nothing of them was touched");
    assert_eq!((jobs(), writes()), (other, before));
    let image = ["get", "deployment", "api", "-o", "jsonpath={.spec.template.spec.containers[0].image}"];
    assert_eq!(product.kubectl(&image), "sim/ok:v1");

    product.kubectl(&["label", "pods", "-l", "job-name", "go=yes"]);
    product.deploy().exits(0).says("settled with 1 replica");
    assert_eq!(product.kubectl(&image), "sim/ok:v2");
}

#[test]
fn o4_nobody_knows_how_a_job_ends_that_does_not_in_time_and_the_next_deploy_attaches_to_it() {
    let product = Product::new("late");
    product.manifest("migrate", &job("migrate", "sim/held:0").replace("Seconds: 60", "Seconds: 600"));
    product.workload("api", "sim/ok:v1");
    let outcome = product.hdeploy(&["all", "--tag", "v1", "--timeout", "3", "--force-timeout"]).exits(3);
    outcome.says("nobody knows how Job").says("the workloads behind it were not touched").says("attaches to it");
    assert_eq!(product.kubectl(&["get", "deployments", "-o", "name"]), "");
    product.until(&["pods", "-l", "job-name", "-o", "jsonpath={.items[*].status.phase}"], |phase| phase == "Running");
    product.kubectl(&["label", "pods", "-l", "job-name", "go=yes"]);
    product.deploy().exits(0).says("attached to the one that runs").says("settled with 1 replica");
    assert_eq!(executions(&product), 1);
}

/// A Job that does not end in time and whose pod takes its grace period to the last second.
fn stubborn() -> String {
    job("migrate", "sim/stubborn:1")
        .replace("activeDeadlineSeconds: 60", "activeDeadlineSeconds: 2")
        .replace("terminationGracePeriodSeconds: 1", "terminationGracePeriodSeconds: 8")
}

#[test]
fn o4_a_failing_job_is_told_at_once_and_nobody_else_gets_the_lock_until_its_pods_have_ended() {
    let product = Product::new("grace");
    product.manifest("migrate", &stubborn());
    product.workload("api", "sim/ok:v1");
    let mut first = product.start();
    let mut told = None;
    for line in BufReader::new(first.stderr.take().expect("a pipe")).lines().map_while(Result::ok) {
        if told.is_none() && line.contains("DeadlineExceeded") {
            told = Some(Instant::now());
            product.until(&["jobs", "-o", "jsonpath={.items[*].status.conditions[*].type}"], |found| {
                assert_eq!(found, "FailureTarget", "it is told before the Job itself has ended");
                true
            });
            product.deploy().exits(5);
        }
    }
    assert_eq!(first.wait().expect("it ended").code(), Some(2));
    let waited = told.expect("it was told").elapsed();
    assert!(waited > Duration::from_secs(4), "the pod had eight seconds, and the lock was let go after {waited:?}");
    let phases = product.kubectl(&["get", "pods", "-o", "jsonpath={.items[*].status.phase}"]);
    assert!(!phases.contains("Running"), "{phases}");
    assert_eq!(product.kubectl(&["get", "deployments", "-o", "name"]), "");
}

const VOLUME: &str = "apiVersion: v1
kind: PersistentVolume
metadata: {name: NAMESPACE-data}
spec:
  accessModes: [ReadWriteOnce]
  capacity: {storage: 1Gi}
  storageClassName: local-path
  claimRef: {namespace: NAMESPACE, name: data}
  local: {path: /nowhere}
  nodeAffinity:
    required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [sim]}]}]}
";

#[test]
fn o6_a_claim_is_bound_when_a_pod_needs_it_and_holds_up_nothing_until_then() {
    let claim = |name: &str| {
        format!(
            "---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}}}\nspec: {{storageClassName: local-path, \
             accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}\n"
        )
    };
    let product = Product::new("claims");
    product.file("volume.yaml", VOLUME);
    product.kubectl(&["create", "-f", &product.path("volume.yaml").display().to_string()]);
    product.delete_in_the_end("persistentvolume", &format!("{}-data", product.name));
    product.manifest("claims", &format!("{}{}", claim("data"), claim("spare")));
    let volumes = "      volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]\n      containers:\n";
    let rolling = workload("redis", "sim/ok:v1").replace("      containers:\n", volumes);
    product.manifest("redis", &rolling);
    product.deploy().exits(4).says("the claim data can be mounted on one node only").says("set Recreate");

    let strategy = "type: RollingUpdate\n    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}";
    product.manifest("redis", &rolling.replace(strategy, "type: Recreate"));
    product.deploy().exits(0).says("settled with 1 replica");
    let phase = |name: &str| product.json(&["persistentvolumeclaim", name])["status"]["phase"].clone();
    assert_eq!((phase("data"), phase("spare")), ("Bound".into(), "Pending".into()));
}

/// A chart that the cluster installs by itself: the Job of its controller, and what it runs.
struct Chart<'a>(&'a Product);

impl Chart<'_> {
    fn job(&self, image: &str) {
        let job = job("helm-install-ingress", image);
        let job = job.replace("backoffLimit: 0", "backoffLimit: 1000").replace("Never", "OnFailure");
        self.apply(&job);
    }

    fn apply(&self, text: &str) {
        self.0.file("chart.yaml", text);
        self.0.kubectl(&["apply", "-f", &self.0.path("chart.yaml").display().to_string()]);
    }

    fn runs(&self, image: &str) {
        let note = "name: ingress\n  annotations: {meta.helm.sh/release-name: ingress}\nspec:";
        self.apply(&workload("ingress", image).replacen("name: ingress\nspec:", note, 1));
    }

    /// What the controller does when the configuration changes.
    fn install_anew(&self, image: &str) {
        self.0.until(&["helmchartconfigs", "-o", "name"], |found| !found.is_empty());
        self.0.kubectl(&["delete", "job", "helm-install-ingress"]);
        self.job(image);
    }
}

#[test]
fn o7_a_chart_of_the_cluster_is_followed_until_it_runs_and_its_failure_is_told() {
    for (image, code) in [("sim/done:1", 0), ("sim/crash:1", 2)] {
        let product = Product::new("chart");
        let config = "apiVersion: helm.cattle.io/v1\nkind: HelmChartConfig\nmetadata: {name: ingress}\nspec: {valuesContent: \"a: b\"}\n";
        product.manifest("ingress", config);
        let namespace = product.path("deploy-k3s/manifests/namespace.yaml");
        product.sim.kubectl(&["create", "-f", &namespace.display().to_string()]);
        let chart = Chart(&product);
        chart.job("sim/done:0");
        chart.runs("sim/ok:v1");
        let deploy = product.start();
        chart.install_anew(image);
        chart.runs("sim/slow:2");
        let outcome = Outcome::from(deploy.wait_with_output().expect("it ended")).exits(code);
        if code == 0 {
            outcome.says("settled with 1 replica");
            let ready = product.kubectl(&[
                "get",
                "deployment",
                "ingress",
                "-o",
                "jsonpath={.status.updatedReplicas} {.status.replicas}",
            ]);
            assert_eq!(ready, "1 1");
        } else {
            outcome
                .says("helm-install-ingress failed: the container helm-install-ingress ended 3 times")
                .says("fatal: no such table");
        }
    }
}
