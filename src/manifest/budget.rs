//! How long a pod may take until it is available, by what its manifest says.

use serde_json::Value;

/// Annotation of a workload: seconds that each of its init containers may take.
const INIT_SECONDS: &str = "hdeploy.dev/init-seconds";
/// Seconds that an init container, an image and everything else may take.
const INIT: i64 = 60;
const PULL: i64 = 120;
const REST: i64 = 30;

/// Seconds that a pod of `workload` may take until it is available. A node pulls one image after another, so that all
/// `images` of a wave may come before this one; without that number, those of the pod itself count.
pub fn of_pod(workload: &Value, images: Option<usize>) -> i64 {
    let spec = &workload["spec"];
    let pod = &spec["template"]["spec"];
    let init = workload["metadata"]["annotations"][INIT_SECONDS].as_str().and_then(|text| text.parse().ok());
    let plain = list(&pod["initContainers"]).iter().filter(|c| c["restartPolicy"] != "Always").count();
    let slowest = list(&pod["containers"]).iter().map(until_ready).max().unwrap_or(0);
    let images = images.unwrap_or_else(|| images_of(workload).len());
    let times = |count: usize, seconds: i64| i64::try_from(count).unwrap_or(i64::MAX).saturating_mul(seconds);
    [times(plain, init.unwrap_or(INIT)), slowest, number(spec, "minReadySeconds", 0), times(images, PULL), REST]
        .into_iter()
        .fold(0, i64::saturating_add)
}

/// The images of a workload's containers, each once.
pub fn images_of(workload: &Value) -> std::collections::BTreeSet<&str> {
    let pod = &workload["spec"]["template"]["spec"];
    let containers = ["containers", "initContainers"].iter().flat_map(|field| list(&pod[*field]));
    containers.filter_map(|container| container["image"].as_str()).collect()
}

/// Seconds that a pod of `workload` may take to end.
pub fn grace(workload: &Value) -> i64 {
    number(&workload["spec"]["template"]["spec"], "terminationGracePeriodSeconds", 30)
}

fn until_ready(container: &Value) -> i64 {
    let probe = |field: &str, tries: &str, usual: i64| {
        let probe = container.get(field).filter(|probe| probe.is_object())?;
        let tried = number(probe, tries, usual).saturating_mul(number(probe, "periodSeconds", 10));
        Some(number(probe, "initialDelaySeconds", 0).saturating_add(tried).saturating_add(number(
            probe,
            "timeoutSeconds",
            1,
        )))
    };
    let startup = probe("startupProbe", "failureThreshold", 3).unwrap_or(0);
    startup.saturating_add(probe("readinessProbe", "successThreshold", 1).unwrap_or(0))
}

pub(super) fn number(value: &Value, field: &str, usual: i64) -> i64 {
    value[field].as_i64().unwrap_or(usual)
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
