//! Deploys that are killed, at any moment, and locks that cannot be renewed.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::front::{Fate, Front, Request};
use crate::support::sim::{Product, job};

const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: api}
spec: {selector: {app.kubernetes.io/name: api}, ports: [{port: 80, targetPort: 8080}]}
";

/// A configuration that somebody else applied, with kubectl.
fn legacy(release: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: legacy, namespace: NAMESPACE}}\ndata: {{release: {release}}}\n"
    )
}

/// A product with two releases, `a` and `b`, which differ in everything.
struct Releases {
    product: Product,
    front: Front,
    /// What a release looks like, alone.
    states: BTreeMap<&'static str, Value>,
    /// How many contents the Job has had.
    jobs: u32,
}

impl Releases {
    fn new(name: &str) -> Self {
        let product = Product::new(name);
        let front = Front::new(&product.sim.kubeconfig, &product.path("."));
        let mut releases = Self { product, front, states: BTreeMap::new(), jobs: 0 };
        for release in ["b", "a"] {
            releases.write(release);
            releases.product.deploy().exits(0);
            releases.states.insert(release, releases.live());
        }
        assert_ne!(releases.states["a"], releases.states["b"]);
        releases
    }

    fn write(&self, release: &str) {
        let product = &self.product;
        product.manifest("legacy", &legacy(release));
        let settings = format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: settings}}\nstringData: {{{release}: made-up-{release}}}\n"
        );
        product.manifest("settings", &settings);
        product.manifest("service", &SERVICE.replace("8080", if release == "a" { "8080" } else { "8081" }));
        for name in ["api", "web"] {
            product.workload(name, &format!("sim/ok:{release}"));
        }
        let job = job("migrate", "sim/done:0");
        product.manifest(
            "migrate",
            &job.replace("JOB", "migrate")
                .replace("image:", &format!("env: [{{name: RUN, value: \"{}\"}}]\n          image:", self.jobs)),
        );
    }

    /// Everything that runs or is read, without what the server keeps for itself.
    fn live(&self) -> Value {
        let list = self.product.json(&["configmaps,secrets,services,deployments", "-l", "!hdeploy.dev/journal"]);
        let objects = list["items"]
            .as_array()
            .expect("a list")
            .iter()
            .filter(|object| object["metadata"]["name"] != "kube-root-ca.crt");
        let bare = |object: &Value| {
            let mut object = object.clone();
            object.as_object_mut().expect("an object").remove("status");
            let metadata = object["metadata"].as_object_mut().expect("metadata");
            let _ = ["uid", "resourceVersion", "generation", "creationTimestamp", "managedFields"]
                .map(|field| metadata.remove(field));
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                let own = ["deployment.kubernetes.io/revision", "kubectl.kubernetes.io/last-applied-configuration"];
                let _ = own.map(|name| annotations.remove(name));
            }
            object
        };
        objects.map(bare).collect()
    }

    /// Which release is live; panics when it is neither.
    #[track_caller]
    fn release(&self, after: &str) -> &'static str {
        let live = self.live();
        let found = self.states.iter().find(|(_, state)| **state == live);
        let Some((release, _)) = found else { panic!("{after}: neither release is live:\n{live:#}") };
        release
    }

    /// Deploys `release` until the program is killed.
    fn killed(&mut self, release: &str, point: Point, fate: Fate) {
        // Somebody applies what is live with kubectl, so that there is something to take over.
        self.product.file("legacy.yaml", &legacy(other(release)));
        self.product.kubectl(&["apply", "-f", &self.product.path("legacy.yaml").display().to_string()]);
        // The gate passes at once but where it is meant.
        self.jobs += u32::from(point.name == GATE);
        self.write(release);
        let mut seen = 0;
        self.front.rule(move |request| {
            seen += usize::from((point.wanted)(request));
            if seen == point.nth && (point.wanted)(request) { fate } else { Fate::Pass }
        });
        let outcome = self.front.run(&mut self.product.command(&["all", "--tag", "v1"]));
        assert_eq!(outcome.code, -1, "{}: it was not killed\n{}", point.name, outcome.text());
        self.front.rule(|_| Fate::Pass);
    }

    /// A deploy that nobody disturbs takes away what killed ones left of their journals.
    fn leave_nothing(self) {
        let new = other(self.release("the end"));
        self.write(new);
        self.product.deploy().exits(0);
        assert_eq!(self.release("the end"), new);
        assert_eq!(self.product.kubectl(&["get", "secrets", "-l", "hdeploy.dev/journal", "-o", "name"]), "");
    }
}

fn writes(request: &Request, path: &str) -> bool {
    request.writes() && request.is_about(path)
}

fn part_of_a_journal(request: &Request) -> bool {
    request.writes() && request.path.contains("/secrets/hdeploy-journal-")
}

/// A moment of a deploy: the nth request that is meant.
#[derive(Clone, Copy)]
struct Point {
    name: &'static str,
    wanted: fn(&Request) -> bool,
    nth: usize,
}

const fn point(name: &'static str, wanted: fn(&Request) -> bool) -> Point {
    Point { name, wanted, nth: 1 }
}

/// In the order in which they come.
const WRITES: [Point; 12] = [
    point("the lock", |request| request.method == "PUT" && writes(request, "/leases/hdeploy")),
    point("a fold", |request| writes(request, "/configmaps/legacy") && request.headers.contains("json-patch")),
    point("a part of the journal", part_of_a_journal),
    point("the header of the journal", |request| writes(request, "/secrets/hdeploy-journal")),
    point("the first object", |request| writes(request, "/secrets/settings")),
    point("an object in the middle", |request| writes(request, "/services/api")),
    point(GATE, |request| request.writes() && request.path.contains("/jobs/migrate-")),
    point("between two waves", |request| writes(request, "/deployments/api")),
    point("the last object", |request| writes(request, "/deployments/web")),
    point("the end of the journal", |request| {
        request.method == "DELETE" && writes(request, "/secrets/hdeploy-journal")
    }),
    point(REST, |request| request.method == "DELETE" && part_of_a_journal(request)),
    Point { nth: 2, ..point(UNLOCKED, |request| request.method == "PUT" && writes(request, "/leases/hdeploy")) },
];
const GATE: &str = "a gate";
const REST: &str = "the rest of the journal";
const UNLOCKED: &str = "the end of the lock";

/// Between writes: while the Job of a gate runs, and while workloads settle.
const WAITS: [(Point, Fate); 2] = [
    (point(GATE, |request| request.path.contains("/log?")), Fate::KillBefore),
    (point("settling", |request| writes(request, "/deployments/web")), Fate::KillLater(Duration::from_millis(400))),
];

fn other(release: &str) -> &'static str {
    if release == "a" { "b" } else { "a" }
}

#[test]
fn r1_c2_killed_before_any_kind_of_write_a_deploy_is_taken_back() {
    let mut releases = Releases::new("before");
    for (point, fate) in WRITES.map(|point| (point, Fate::KillBefore)).into_iter().chain(WAITS) {
        let before = releases.release(point.name);
        releases.killed(other(before), point, fate);
        releases.product.hdeploy(&["recover"]).exits(0);
        // Until the journal is gone the old release counts, from then on the new one.
        let is_new = [REST, UNLOCKED].contains(&point.name);
        assert_eq!(releases.release(point.name), if is_new { other(before) } else { before }, "{}", point.name);
    }
    releases.leave_nothing();
}

#[test]
fn r1_c2_killed_after_any_kind_of_write_the_next_deploy_comes_to_its_end() {
    let mut releases = Releases::new("after");
    for (point, fate) in WRITES.map(|point| (point, Fate::KillAfter)).into_iter().chain(WAITS) {
        let new = other(releases.release(point.name));
        releases.killed(new, point, fate);
        releases.product.deploy().exits(0);
        assert_eq!(releases.release(point.name), new, "{}", point.name);
    }
    releases.leave_nothing();
}

#[test]
fn r1_a_first_deploy_that_was_killed_while_it_made_its_namespace_is_simply_run_again() {
    for fate in [Fate::KillBefore, Fate::KillAfter] {
        let product = Product::new("first");
        product.workload("api", "sim/ok:v1");
        let front = Front::new(&product.sim.kubeconfig, &product.path("."));
        front.rule(move |request| if request.writes() { fate } else { Fate::Pass });
        let killed = front.run(&mut product.command(&["all", "--tag", "v1"]));
        assert_eq!(killed.code, -1, "{}", killed.text());
        product.deploy().exits(0).says("settled with 1 replica");
    }
}

/// Text that does not shrink.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed * 2 + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + u8::try_from(state % 26).expect("a letter"))
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn r1_ten_megabytes_of_manifests_are_journalled_in_parts_that_secrets_can_hold() {
    const EACH: usize = 880 << 10;
    let product = Product::new("large");
    let write = |release: u64| {
        for number in 0..12 {
            let text = noise(release * 100 + number, EACH);
            let map = format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: large-{number}}}\ndata: {{text: {text}}}\n"
            );
            product.manifest(&format!("large-{number}"), &map);
        }
    };
    let live = || {
        let maps = product.json(&["configmaps"]);
        let texts = maps["items"].as_array().expect("a list").iter().map(|map| map["data"]["text"].clone());
        texts.filter(|text| !text.is_null()).collect::<Vec<_>>()
    };
    write(1);
    let manifests = product.path("deploy-k3s/manifests").display().to_string();
    product.sim.kubectl(&["create", "namespace", &product.name]);
    product.kubectl(&["apply", "--server-side", "--field-manager=hdeploy", "-f", &manifests]);
    let before = live();

    write(2);
    let front = Front::new(&product.sim.kubeconfig, &product.path("."));
    let mut seen = 0;
    front.rule(move |request| {
        seen += usize::from(request.writes() && request.path.contains("/configmaps/large-"));
        if seen == 6 { Fate::KillAfter } else { Fate::Pass }
    });
    let killed = front.run(&mut product.command(&["all", "--tag", "v1"]));
    assert_eq!(killed.code, -1, "{}", killed.text());
    assert!(live() != before, "nothing was written: {}", killed.text());

    let journal = product.json(&["secrets", "-l", "hdeploy.dev/journal"]);
    let content = |part: &Value| STANDARD.decode(part["data"]["content"].as_str().expect("content")).expect("base64");
    let parts: Vec<usize> =
        journal["items"].as_array().expect("a list").iter().map(|part| content(part).len()).collect();
    assert!(parts.iter().all(|length| *length <= 768 << 10), "{parts:?}");
    assert!(parts.len() > 5, "{parts:?}");

    product.hdeploy(&["recover"]).exits(0);
    assert!(live() == before, "the old texts are back");
}

#[test]
fn c1_nothing_is_written_when_the_lock_was_not_renewed_for_twenty_seconds() {
    let product = Product::new("stalled");
    product.workload("api", "sim/slow:22");
    product.workload("web", "sim/ok:v1");
    product.configure("order: {web: [api]}\n");
    let front = Front::new(&product.sim.kubeconfig, &product.path("."));
    let mut taken = false;
    front.rule(move |request| {
        let about = request.path.contains("/leases");
        let fate = if about && taken { Fate::Stall } else { Fate::Pass };
        taken |= about && request.method == "PUT";
        fate
    });
    let outcome = front.run(&mut product.command(&["all", "--tag", "v1"])).exits(3);
    outcome.says("settled with 1 replica").says("could not be renewed for 2").says("nothing more is written");
    assert_eq!(product.kubectl(&["get", "deployments", "-o", "name"]), "deployment.apps/api\n");

    // The next run has the lock, and puts back what was written.
    product.hdeploy(&["recover"]).exits(0).says("deleted: it was not there before");
}
