//! The table of verdicts: each row by what a real kubelet, scheduler or controller says of it.

mod cluster;
mod recorded;

use serde_json::Value;

use crate::support::sim::Product;
use crate::support::{Outcome, meanwhile};

pub(super) use cluster::{evict, short_deadline};
pub(super) use recorded::{recorded, replayed};

/// A machine under load may be so many seconds late; by then the deadlines of workloads are still far away.
const LATE: f64 = 30.0;

const JSON: [&str; 7] = ["all", "--tag", "v1", "--output", "json", "--soak", "10"];

/// What programs read.
pub(super) fn lines(outcome: &Outcome) -> Vec<Value> {
    outcome.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// Asserts that the run has ended with exit code 2 because a Deployment has failed by this rule, in these words,
/// so many seconds after the apply. Returns the cause.
#[track_caller]
fn failed(outcome: Outcome, rule: &str, words: &str, from: f64, to: f64) -> Value {
    let outcome = outcome.exits(2);
    let lines = lines(&outcome);
    let failures: Vec<&Value> = lines.iter().filter(|line| line["event"] == "workload_failed").collect();
    let [failure] = failures[..] else { panic!("{} failures: {}", failures.len(), outcome.text()) };
    let (workload, cause) = (&failure["workload"], &failure["cause"]);
    let took = failure["took"].as_f64().expect("seconds");
    assert_eq!(cause["rule"], rule, "{}", outcome.text());
    assert!(cause["message"].as_str().is_some_and(|message| message.contains(words)), "{words:?} is not in {cause}");
    assert_eq!(workload["kind"], "Deployment");
    if let Some(pod) = cause["pod"].as_str() {
        assert!(workload["name"].as_str().is_some_and(|name| pod.starts_with(&format!("{name}-"))), "{failure}");
    }
    // It began to wait a moment after the apply.
    assert!((from - 1.0..=to + LATE).contains(&took), "after {took} s, not {from} to {to}\n{}", outcome.text());
    cause.clone()
}

/// A deploy, and what happens while its gate holds the workloads back.
fn behind_a_gate(product: &Product, work: impl FnOnce()) -> Outcome {
    product.job("migrate", "sim/held:0");
    let at_the_gate = || {
        product.until(&["pods", "-o", "jsonpath={.items[*].status.phase}"], |phases| phases.contains("Running"));
        work();
        product.kubectl(&["label", "pods", "--all", "go=now"]);
    };
    meanwhile(|| product.hdeploy(&JSON), at_the_gate)
}

/// The namespace, before the first deploy.
fn with_namespace(name: &str) -> Product {
    let product = Product::new(name);
    let namespace = product.path("deploy-k3s/manifests/namespace.yaml");
    product.sim.kubectl(&["create", "-f", &namespace.display().to_string()]);
    product
}

fn create(product: &Product, object: &Value) {
    product.file("object.json", &object.to_string());
    product.kubectl(&["apply", "-f", &product.path("object.json").display().to_string()]);
}
