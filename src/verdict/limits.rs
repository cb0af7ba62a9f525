//! How long a workload may take.

use std::time::Duration;

use serde_json::Value;

use crate::manifest::budget;

/// What Kubernetes takes for `progressDeadlineSeconds` when a Deployment names none; other kinds have no such field.
const PROGRESS: i64 = 600;

/// How long a workload may take, and how long it has to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// So long everything has to run before it counts.
    pub soak: Duration,
    /// So long nothing may come nearer.
    pub stall: Duration,
    /// So long everything together may take.
    pub timeout: Option<Duration>,
}

impl Limits {
    /// For `workload` as it was applied, in a wave with so many distinct `images`.
    pub fn of(workload: &Value, images: usize, soak: Duration, timeout: Option<Duration>) -> Self {
        let own = workload["spec"]["progressDeadlineSeconds"].as_i64();
        let stall = budget::of_pod(workload, Some(images)).max(own.unwrap_or(PROGRESS)) + turn(workload);
        Self { soak, stall: seconds(stall), timeout }
    }
}

/// How long a rollout of `workload` may take when every pod takes as long as it may: a shorter timeout would end good ones.
pub fn needed(workload: &Value, images: usize, soak: Duration) -> Duration {
    let spec = &workload["spec"];
    let replicas = spec["replicas"].as_i64().unwrap_or(1).max(0);
    let pod = budget::of_pod(workload, Some(images));
    let strategy = &spec["strategy"];
    let all = if strategy["type"] == "Recreate" {
        pod + budget::grace(workload) + 10
    } else {
        let rolling = &strategy["rollingUpdate"];
        let surge = portion(&rolling["maxSurge"], replicas, true);
        let gone = portion(&rolling["maxUnavailable"], replicas, false);
        let at_once = if workload["kind"] == "Deployment" { (surge + gone).max(1) } else { 1 };
        (replicas + at_once - 1) / at_once * (pod + turn(workload))
    };
    seconds(all) + soak
}

/// Seconds until an old pod has made room, where a new one can only come after it.
fn turn(workload: &Value) -> i64 {
    if workload["kind"] == "Deployment" { 0 } else { budget::grace(workload) }
}

/// A number or a share of the replicas; 25 % without either.
pub(super) fn portion(value: &Value, replicas: i64, up: bool) -> i64 {
    let percent = match value {
        Value::Number(number) => return number.as_i64().unwrap_or(0),
        Value::String(text) => text.trim_end_matches('%').parse().unwrap_or(25),
        _ => 25,
    };
    let share = replicas.saturating_mul(percent);
    if up { (share + 99) / 100 } else { share / 100 }
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn w5_w20_a_rollout_may_take_as_long_as_its_pods_one_batch_after_another() {
        let of = |kind: &str, spec: Value| {
            let mut spec = spec;
            spec["template"] = json!({ "spec": { "containers": [{
                "image": "a", "startupProbe": { "periodSeconds": 5, "failureThreshold": 48, "timeoutSeconds": 5 },
            }] } });
            needed(&json!({ "kind": kind, "spec": spec }), 1, Duration::from_secs(10)).as_secs()
        };
        // 245 for the start, 120 for the image, 30; and ten for the soak.
        assert_eq!(of("Deployment", json!({})), 395 + 10);
        assert_eq!(of("Deployment", json!({ "replicas": 4 })), 2 * 395 + 10, "25 % more and 25 % fewer");
        let careful = json!({ "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } });
        assert_eq!(of("Deployment", json!({ "replicas": 3, "strategy": careful })), 3 * 395 + 10);
        let recreate = json!({ "strategy": { "type": "Recreate" } });
        assert_eq!(of("Deployment", recreate), 395 + 30 + 10 + 10);
        assert_eq!(of("StatefulSet", json!({ "replicas": 3 })), 3 * (395 + 30) + 10);
    }
}
