//! Waiting, and what is told of it.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::verdicts::{evict, lines, recorded, replayed, short_deadline};
use crate::support::sim::{Own, Product, Recording, workload};
use crate::support::{Outcome, meanwhile};

const SOAK: [&str; 5] = ["all", "--tag", "v1", "--soak", "10"];

/// The lines about something that happened.
fn told<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

fn json(product: &Product) -> Outcome {
    product.hdeploy(&["all", "--tag", "v1", "--output", "json", "--soak", "10"])
}

/// Waits until so many pods of `api` are running.
fn until_running(product: &Product, count: usize) {
    let phases = ["pods", "-l", "app.kubernetes.io/name=api", "-o", "jsonpath={.items[*].status.phase}"];
    product.until(&phases, |phases| phases.split(' ').filter(|phase| *phase == "Running").count() >= count);
}

#[test]
fn w1_nothing_is_said_of_what_a_controller_that_stands_still_has_not_seen() {
    let own = Own::new("lagging");
    let product = Product::on(own.0, "lagging");
    product.manifest("api", &workload("api", "sim/ok:v1").replace("replicas: 1", "replicas: 0"));
    product.deploy().exits(0);
    // Without a look at the change, the status says that everything is as it should be.
    product.manifest("api", &workload("api", "sim/ok:v2").replace("replicas: 1", "replicas: 0"));
    own.signal("controller-manager", Signal::STOP);
    let began = Instant::now();
    let mut command = product.command(&["all", "--tag", "v1", "--output", "json"]);
    let mut deploy = command.stdout(Stdio::piped()).spawn().expect("the program starts");
    let mut silent = None;
    for line in BufReader::new(deploy.stdout.take().expect("a pipe")).lines().map_while(Result::ok) {
        let line: Value = serde_json::from_str(&line).expect("JSON");
        if silent.is_none() && line["why"] == "its controller does not react" {
            silent = Some(began.elapsed());
            own.signal("controller-manager", Signal::CONT);
        }
        assert!(line["event"] != "settled" || silent.is_some(), "{line}");
        assert_ne!(line["event"], "workload_failed", "{line}");
    }
    assert_eq!(deploy.wait().expect("it ended").code(), Some(0));
    assert!(silent.is_some_and(|after| after > Duration::from_secs(29)), "it was told after {silent:?}");
}

#[test]
fn w2_a_rollout_that_may_be_without_any_pod_has_not_settled_without_one() {
    let product = Product::new("zero");
    let surge = "{maxUnavailable: 0, maxSurge: 1}";
    product.manifest("api", &workload("api", "sim/never:v1").replace(surge, "{maxUnavailable: 1, maxSurge: 0}"));
    let arguments = ["all", "--tag", "v1", "--timeout", "8", "--force-timeout"];
    product.hdeploy(&arguments).exits(2).says("timeout of 8 s").never_says("settled with 1");
}

#[test]
fn w4_w19_what_the_controller_said_of_a_bad_release_is_no_failure_of_the_next_one() {
    let rolling = "type: RollingUpdate\n    rollingUpdate: {maxUnavailable: 0, maxSurge: 1}";
    thread::scope(|scope| {
        for strategy in [rolling, "type: Recreate"] {
            scope.spawn(move || {
                let product = Product::new("gaveup");
                let release = |image: &str| {
                    product.manifest("api", &workload("api", image).replace(rolling, strategy));
                };
                release("sim/ok:v1");
                product.deploy().exits(0);
                // A controller that is at work already may go by the deadline that it knew.
                short_deadline(&product);
                release("sim/never:v2");
                product.deploy().exits(2).says("progressDeadlineSeconds");
                // Back, and then forward from another bad one.
                release("sim/ok:v1");
                product.deploy().exits(0).says("settled with 1 replica");
                release("sim/never:v3");
                product.deploy().exits(2).says("progressDeadlineSeconds");
                release("sim/ok:v4");
                product.deploy().exits(0).says("settled with 1 replica");
            });
        }
    });
}

#[test]
fn w6_what_a_registry_refuses_for_a_moment_is_no_failure() {
    let product = Product::new("throttled");
    product.workload("api", "sim/throttled:1");
    product.workload("web", "sim/toooften:1");
    product.deploy().exits(0).says("429 Too Many Requests").says("pull QPS exceeded").never_says("error:");
}

#[test]
fn w7_d7_a_program_that_comes_up_at_its_third_start_is_told_of_at_once_and_settles() {
    let product = Product::new("flake");
    product.workload("api", "sim/flake:2");
    let outcome = json(&product).exits(0);
    let lines = lines(&outcome);
    let warned = told(&lines, "trouble");
    let [trouble] = warned[..] else { panic!("{warned:#?}") };
    assert_eq!(trouble["cause"]["rule"], "exits");
    let elapsed = |line: &Value| line["elapsed"].as_f64();
    assert!(elapsed(trouble) < elapsed(told(&lines, "settled")[0]), "{trouble}");
    assert_eq!(told(&lines, "settled").len(), 1);
}

#[test]
fn w8_a_secret_that_comes_a_moment_late_is_no_failure() {
    // Its kubelet does not find it at first, and looks again some time later.
    let outcome = json(&recorded(&Recording::read("15f-optional-recover"))).exits(0).never_says("workload_failed");
    let lines = lines(&outcome);
    assert_eq!(told(&lines, "trouble")[0]["cause"]["rule"], "container_config");
    assert_eq!(told(&lines, "settled").len(), 1);
}

#[test]
fn w9_an_init_container_that_has_done_its_work_and_one_beside_the_others_are_fine() {
    let product = Product::new("init");
    let inits = "initContainers: [{name: schema, image: \"sim/done:1\"}, {name: beside, image: \"sim/ok:0\", restartPolicy: Always}]";
    let containers = "      containers:\n";
    product.manifest("api", &workload("api", "sim/ok:v1").replace(containers, &format!("      {inits}\n{containers}")));
    product.hdeploy(&SOAK).exits(0).says("settled with 1 replica").never_says("error:");
}

#[test]
fn w10_starts_that_take_nearly_all_the_time_that_they_may_pass_pod_after_pod() {
    let product = Product::new("slow");
    let ports = "          ports:";
    let startup = "          startupProbe: {httpGet: {path: /, port: http}, periodSeconds: 1, failureThreshold: 20}\n";
    let release = |image: &str| {
        let text = workload("api", image).replace("replicas: 1", "replicas: 3");
        product.manifest("api", &text.replace(ports, &format!("{startup}{ports}")));
    };
    release("sim/ok:v1");
    product.deploy().exits(0);
    release("sim/slow:15");
    product.deploy().exits(0).says("settled with 3 replicas").never_says("error:");
}

#[test]
fn w12_a_pod_that_is_evicted_in_the_middle_of_a_rollout_is_no_failure_and_no_trouble() {
    let product = Product::new("drained");
    let release = |image: &str| product.manifest("api", &workload("api", image).replace("replicas: 1", "replicas: 2"));
    release("sim/ok:v1");
    product.deploy().exits(0);
    release("sim/slow:4");
    let outcome = meanwhile(
        || product.deploy(),
        || {
            until_running(&product, 3);
            let newest =
                ["get", "pods", "--sort-by=.metadata.creationTimestamp", "-o", "jsonpath={.items[-1:].metadata.name}"];
            evict(&product, &product.kubectl(&newest));
        },
    );
    outcome.exits(0).says("settled with 2 replicas").never_says("error:").never_says("taken away");
}

#[test]
fn w14_scaling_meanwhile_is_followed_and_a_pause_ends_the_wait_without_a_verdict() {
    let product = Product::new("scaled");
    product.workload("api", "sim/slow:8");
    let outcome = meanwhile(
        || product.deploy(),
        || {
            until_running(&product, 1);
            product.kubectl(&["scale", "deployment", "api", "--replicas=3"]);
        },
    );
    outcome.exits(0).says("settled with 3 replicas");

    let product = Product::new("paused");
    product.workload("api", "sim/never:v1");
    let outcome = meanwhile(
        || product.deploy(),
        || {
            until_running(&product, 1);
            product.kubectl(&["rollout", "pause", "deployment/api"]);
        },
    );
    outcome.exits(3).says("somebody paused it").never_says("settled with 1");
}

#[test]
fn w16_where_there_may_be_one_pod_only_it_has_settled_when_the_old_one_is_gone() {
    let product = Product::new("grace");
    let grace = "terminationGracePeriodSeconds: ";
    let release = |image: &str| {
        product.manifest("api", &workload("api", image).replace(&format!("{grace}1"), &format!("{grace}8")));
    };
    release("sim/stubborn:1");
    product.deploy().exits(0);
    release("sim/stubborn:2");
    let outcome = json(&product).exits(0);
    let took = told(&lines(&outcome), "settled")[0]["took"].as_f64().expect("seconds");
    // Its own soak apart.
    assert!(took > 17.0, "settled after {took} s, and the old pod has eight to end");
    let pods = product.json(&["pods"]);
    assert_eq!(pods["items"].as_array().map(Vec::len), Some(1), "{pods:#}");
}

#[test]
fn w17_what_has_run_for_longer_than_the_soak_does_not_soak_again() {
    let product = Product::new("soaked");
    product.workload("api", "sim/ok:v1");
    let took = |outcome: &Outcome| told(&lines(outcome), "settled")[0]["took"].as_f64().expect("seconds");
    assert!(took(&json(&product).exits(0)) >= 10.0);
    assert!(took(&json(&product).exits(0)) < 10.0);
}

#[test]
fn w20_an_image_that_waits_for_others_to_be_pulled_is_no_failure() {
    let product = Product::new("queued");
    product.workload("api", "sim/queued:25");
    product.workload("web", "sim/queued:12");
    product.deploy().exits(0).never_says("warning: api").never_says("error:");
}

#[test]
fn d1_d2_the_cause_is_told_before_anything_else_and_then_the_last_words() {
    let product = Product::new("headline");
    product.workload("api", "sim/crash:v1");
    let outcome = json(&product).exits(2);
    let lines = lines(&outcome);
    let at = |event: &str| lines.iter().position(|line| line["event"] == event).unwrap_or_else(|| panic!("{event}"));
    let (failed, last, end) = (at("workload_failed"), at("last_lines"), at("run_failed"));
    assert!(failed < last && last < end, "{lines:#?}");
    assert_eq!(lines[last]["lines"].as_array().and_then(|lines| lines.last()), Some(&"fatal: no such table".into()));
    assert_eq!(lines[last]["pod"], lines[failed]["cause"]["pod"]);

    // For people too, with everything that names it.
    let product = Product::new("headline");
    product.workload("api", "sim/crash:v1");
    let outcome = product.hdeploy(&SOAK).exits(2);
    let text: Vec<&str> = outcome.stderr.lines().collect();
    let headline = text.iter().position(|line| line.contains("failed:")).expect("a headline");
    let words = text.iter().position(|line| line.contains("fatal: no such table")).expect("its last words");
    let error = text.iter().position(|line| line.starts_with("error:")).expect("an error");
    assert!(headline < error && headline < words, "{}", outcome.stderr);
    for name in ["api-", "sim/crash:v1", "exit"] {
        assert!(text[headline..error].iter().any(|line| line.contains(name)), "{name} is not in\n{}", outcome.stderr);
    }
}

#[test]
fn d4_what_the_kubelet_says_is_explained() {
    let explained = [
        ("03-repo", "no such repository"),
        ("07d-execformat", "another platform than the node's"),
        ("10-exit0", "without an error; what serves must not end"),
        ("11-oom", "more memory than its limit of 16Mi"),
        ("11b-oom-child", "more memory than its limit"),
    ];
    thread::scope(|scope| {
        let deploys: Vec<_> =
            explained.map(|(name, words)| (words, scope.spawn(move || replayed(name)))).into_iter().collect();
        for (words, deploy) in deploys {
            let outcome = deploy.join().expect("a deploy").exits(2);
            let lines = lines(&outcome);
            let failure = told(&lines, "workload_failed")[0];
            assert!(failure["cause"]["meaning"].as_str().is_some_and(|text| text.contains(words)), "{failure:#}");
        }
    });
}

#[test]
fn d6_a_long_wait_tells_what_it_waits_for_when_that_changes_and_every_quarter_of_a_minute() {
    let product = Product::new("long");
    product.workload("api", "sim/slow:35");
    let outcome = json(&product).exits(0);
    let lines = lines(&outcome);
    let waits: Vec<&Value> = lines.iter().filter(|line| line["progress"] == "waiting").collect();
    assert!(waits.iter().all(|line| line["object"]["name"] == "api"), "{waits:#?}");
    assert!(waits.windows(2).any(|pair| pair[0]["why"] != pair[1]["why"]), "{waits:#?}");
    let elapsed: Vec<f64> = lines.iter().filter_map(|line| line["elapsed"].as_f64()).collect();
    let silence = elapsed.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(silence < 25.0, "silent for {silence} s");
    let end = lines.last().expect("an end");
    assert_eq!((&end["event"], &end["changed"]), (&"run_finished".into(), &1.into()), "{end}");
}
