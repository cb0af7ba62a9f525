//! Probes that fail, and those that only take their time.

use serde_json::{Value, json};

use super::{SHORT, SOAK, container, deployed, probe, reads, running};

const SERVES: &str = "mkdir /tmp/www; echo listening; exec httpd -f -p 8080 -h /tmp/www";

fn health() -> Value {
    json!({"httpGet": {"path": "/health", "port": 8080}})
}

#[test]
fn w10_d4_a_readiness_probe_that_fails_is_named_with_its_target_and_the_answer() {
    let unready = running(SERVES, |api| container(api)["readinessProbe"] = probe(&health(), 3));
    let outcome = deployed("unready", &[unready], &SHORT).exits(2).says("GET :8080/health").says("statuscode: 404");
    reads(&outcome, "readiness-probe");
}

#[test]
fn w10_a_start_of_thirty_seconds_passes_where_its_startup_probe_gives_it_the_time() {
    let slow = running("sleep 30; touch /tmp/up; sleep 3600", |api| {
        container(api)["startupProbe"] = probe(&json!({"exec": {"command": ["test", "-e", "/tmp/up"]}}), 120);
    });
    deployed("slow", &[slow], &[]).exits(0).says("settled with 1 replica").never_says("error:").never_says("next:");
}

#[test]
fn v9_a_startup_probe_that_gives_up_fails() {
    let mute = running("echo starting; sleep 3600", |api| container(api)["startupProbe"] = probe(&health(), 3));
    reads(&deployed("startup", &[mute], &[]).exits(2), "startup-probe");
}

#[test]
fn v10_a_liveness_probe_that_ends_the_container_again_and_again_fails() {
    let killed = running(SERVES, |api| container(api)["livenessProbe"] = probe(&health(), 2));
    reads(&deployed("liveness", &[killed], &SOAK).exits(2), "liveness-probe");
}
