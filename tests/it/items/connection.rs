//! B: a connection that dies, falls silent or is refused while pods are waited for.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::scope;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use serde_json::json;

use crate::support::sim::{Own, Product};
use crate::support::{Fate, Outcome, Proxy, Relay, lasts};

/// No end of them.
const ALL: usize = usize::MAX;
/// So many kinds are watched.
const KINDS: usize = 8;
/// With so many objects a list is a long one: `LONG` in `cluster/watch.rs`. After the first answer it takes as many pages.
const CROWD: usize = 501;
const PAGE: usize = 100;
const FURTHER: usize = CROWD / PAGE;
/// Whoever misses something does not miss it without end.
const LIMITED: [&str; 3] = ["--timeout", "150", "--force-timeout"];

/// A program that does not outlive its test.
struct Program(Option<Child>);

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(program) = &mut self.0 {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

/// A deploy that waits for the Deployment `web`.
struct Waiting {
    product: Product,
    program: Program,
    began: Instant,
}

impl Waiting {
    /// The pod of `web` is there and runs `image`; the program reaches the API server by `kubeconfig`.
    fn new(product: Product, image: &str, arguments: &[&str], kubeconfig: &Path) -> Self {
        product.workload("web", image);
        let began = Instant::now();
        let program = Program(Some(product.start_with(arguments, kubeconfig)));
        product.until(&["pods", "-o", "jsonpath={.items[*].status.phase}"], |phase| phase == "Running");
        Self { product, program, began }
    }

    fn delete(&self) {
        self.product.kubectl(&["delete", "deployment", "web", "--wait=false"]);
    }

    /// Until containers of the pod have ended so many times.
    fn until_exits(&mut self, number: u64) {
        while self.waits() {
            let pods = self.product.json(&["pods"]);
            let status = &pods["items"][0]["status"]["containerStatuses"][0];
            let ended = u64::from(status["state"].get("terminated").is_some());
            if status["restartCount"].as_u64().unwrap_or_default() + ended >= number {
                return;
            }
        }
        panic!("it has ended before");
    }

    /// Whether the program still runs.
    fn waits(&mut self) -> bool {
        self.program.0.as_mut().is_some_and(|program| program.try_wait().expect("a program").is_none())
    }

    /// Waits, as long as the program does.
    fn until(&mut self, is_so: impl Fn() -> bool) {
        while !is_so() {
            assert!(self.waits(), "it has ended before");
            lasts(Duration::from_millis(50));
        }
    }

    /// The end, and how long after `since` it came.
    fn ends(mut self, since: Instant) -> (Outcome, Duration, Product) {
        let program = self.program.0.take().expect("a program");
        let outcome = Outcome::from(program.wait_with_output().expect("it ends"));
        let lasted = since.elapsed();
        (outcome, lasted, self.product)
    }

    /// It settles within so much time from now, and nothing was written twice.
    #[track_caller]
    fn settles(self, within: Duration) -> Outcome {
        let (outcome, lasted, product) = self.ends(Instant::now());
        assert!(lasted < within, "{lasted:?}: {}", outcome.text());
        assert_eq!(applied(&product), 1);
        outcome.exits(0).says("settled")
    }
}

/// A product, and a relay in front of the control plane.
fn relayed(name: &str) -> (Product, Relay) {
    let product = Product::new(name);
    let relay = Relay::new(&product.sim.kubeconfig, &product.path("."));
    (product, relay)
}

/// A product, and a proxy in front of the control plane.
fn proxied(name: &str) -> (Product, Proxy, PathBuf) {
    let product = Product::new(name);
    let proxy = Proxy::before(&product.sim.kubeconfig);
    product.file("proxy.kubeconfig", &proxy.config(&json!({})));
    let kubeconfig = product.path("proxy.kubeconfig");
    (product, proxy, kubeconfig)
}

/// How often `web` was written.
fn applied(product: &Product) -> usize {
    product.sim.audit.writes(&product.name).iter().filter(|write| write.contains("/deployments/web?")).count()
}

#[test]
fn b3_a_whole_deploy_needs_a_few_connections() {
    let (product, relay) = relayed("few");
    for name in ["api", "web", "worker"] {
        product.workload(name, "sim/slow:2");
    }
    product.job("migrate", "sim/done:1");
    let program = product.start_with(&[], &relay.kubeconfig);
    Outcome::from(program.wait_with_output().expect("it ends")).exits(0);
    assert!((1..=4).contains(&relay.opened()), "{} connections", relay.opened());
}

#[test]
fn b3_a_workload_that_is_deleted_behind_a_dead_connection_is_seen_within_seconds() {
    let (product, relay) = relayed("halfopen");
    let waiting = Waiting::new(product, "sim/never:0", &[], &relay.kubeconfig);
    relay.freeze();
    let frozen = Instant::now();
    waiting.delete();
    let (outcome, lasted, _product) = waiting.ends(frozen);
    outcome.exits(2).says("deleted");
    assert!(lasted < Duration::from_secs(20), "{lasted:?}");
}

#[test]
fn b3_a_crash_behind_a_dead_connection_is_judged_as_without_it() {
    let (product, relay) = relayed("halfopen");
    let mut waiting = Waiting::new(product, "sim/crash:0", &[], &relay.kubeconfig);
    waiting.until_exits(2);
    // The third one comes twelve seconds later.
    lasts(Duration::from_secs(8));
    relay.freeze();
    assert!(waiting.waits(), "the third end is still to come");
    let (outcome, lasted, _product) = waiting.ends(Instant::now());
    outcome.exits(2).says("fatal: no such table").never_says("contact was lost");
    assert!(lasted < Duration::from_secs(20), "{lasted:?}");
}

#[test]
fn b3_a_rollout_that_becomes_good_behind_a_dead_connection_settles() {
    let (product, relay) = relayed("halfopen");
    let waiting = Waiting::new(product, "sim/slow:5", &[], &relay.kubeconfig);
    relay.freeze();
    waiting.settles(Duration::from_secs(20));
}

#[test]
fn b3_watches_that_stay_silent_do_not_hide_a_failure() {
    let (product, proxy, kubeconfig) = proxied("silent");
    let mut waiting = Waiting::new(product, "sim/never:0", &[], &kubeconfig);
    let watches = || proxy.seen(&["watch=true"]).len();
    let before = watches();
    proxy.on(&["watch=true"], 0..ALL, Fate::Stall);
    // Those that are under way end by themselves.
    waiting.until(|| watches() >= before + KINDS);
    let deleted = Instant::now();
    waiting.delete();
    let (outcome, lasted, _product) = waiting.ends(deleted);
    outcome.exits(2).says("deleted");
    assert!(lasted < Duration::from_secs(20), "{lasted:?}");
}

#[test]
fn b3_watches_that_end_without_any_event_hide_nothing() {
    for (image, code, words) in
        [("sim/slow:3", 0, "settled with 1 replica"), ("sim/crash:0", 2, "fatal: no such table")]
    {
        let (product, proxy, kubeconfig) = proxied("empty");
        proxy.on(&["watch=true"], 0..ALL, Fate::Nothing);
        let waiting = Waiting::new(product, image, &LIMITED, &kubeconfig);
        let (outcome, _, product) = waiting.ends(Instant::now());
        outcome.exits(code).says(words).never_says("contact is lost");
        assert_eq!(applied(&product), 1);
    }
}

/// A product in a namespace with more ReplicaSets than a list shows at once: those of `api` come before them, those of
/// `web` behind.
fn crowded(name: &str) -> (Product, Proxy, PathBuf) {
    let (product, proxy, kubeconfig) = proxied(name);
    let labels = json!({"app": "crowd"});
    let set = |number: usize| {
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": format!("crowd-{number:03}")},
            "spec": {"replicas": 0, "selector": {"matchLabels": &labels}, "template": {"metadata": {"labels": &labels},
                "spec": {"containers": [{"name": "crowd", "image": "sim/ok:0"}]}}}})
    };
    let crowd: Vec<_> = (0..CROWD).map(set).collect();
    product.file("crowd.json", &json!({"apiVersion": "v1", "kind": "List", "items": crowd}).to_string());
    product.sim.kubectl(&["create", "namespace", &product.name]);
    product.kubectl(&["create", "-f", &product.path("crowd.json").display().to_string()]);
    (product, proxy, kubeconfig)
}

/// Deploys both, `web` with `image`.
fn deploys(product: &Product, image: &str, kubeconfig: &Path) -> Outcome {
    product.workload("api", "sim/ok:0");
    product.workload("web", image);
    Outcome::from(product.start_with(&LIMITED, kubeconfig).wait_with_output().expect("it ends"))
}

#[test]
fn b3_what_stands_on_a_later_page_of_a_list_is_found() {
    let (product, proxy, kubeconfig) = crowded("pages");
    let further = || proxy.seen(&["GET", "/replicasets?", "continue="]).len();
    deploys(&product, "sim/ok:0", &kubeconfig).exits(0);
    // Now everything stands in the lists.
    let before = further();
    assert!(before > 0);
    deploys(&product, "sim/ok:0", &kubeconfig).exits(0).says("no objects changed");
    // With a second list it would be found late.
    assert_eq!(further(), before + FURTHER);
    deploys(&product, "sim/crash:0", &kubeconfig).exits(2).says("fatal: no such table");
    assert_eq!(applied(&product), 2);
}

#[test]
fn b3_a_long_list_is_not_asked_for_again_while_rounds_of_watching_go_on() {
    let (product, proxy, kubeconfig) = crowded("rounds");
    deploys(&product, "sim/slow:13", &kubeconfig).exits(0);
    let lines = proxy.lines(&["GET", "/replicasets?"]);
    let version = |line: &String| {
        let version = line.trim().rsplit_once("resourceVersion=").filter(|_| line.contains("watch=true"))?.1;
        Some(version.parse::<u64>().expect("a version"))
    };
    let watched_from: Vec<Option<u64>> = lines.iter().map(version).collect();
    // One list, and then rounds from what was seen last.
    let (list, rounds) = watched_from.split_at((1 + FURTHER).min(watched_from.len()));
    assert!(list.iter().all(Option::is_none), "{lines:#?}");
    assert!(matches!(rounds, [Some(first), Some(second), ..] if first < second), "{lines:#?}");
}

#[test]
fn b3_a_long_list_comes_again_when_watches_tell_nothing() {
    let (product, proxy, kubeconfig) = crowded("again");
    proxy.on(&["/replicasets?", "watch=true"], 0..ALL, Fate::Nothing);
    deploys(&product, "sim/ok:0", &kubeconfig).exits(0).never_says("contact is lost");
    assert!(proxy.seen(&["/replicasets?", "continue="]).len() > FURTHER);
    assert_eq!(applied(&product), 1);
}

#[test]
fn b4_a_list_whose_next_page_has_expired_begins_again() {
    let (product, proxy, kubeconfig) = crowded("token");
    let expired = Fate::status(410, "Expired", "the provided continue parameter is too old");
    proxy.on(&["/replicasets?", "continue="], 0..5, expired);
    deploys(&product, "sim/ok:0", &kubeconfig).exits(0).never_says("contact is lost");
    assert!(proxy.seen(&["/replicasets?", "continue="]).len() > 5);
}

/// As an answer of its own, and as an event of a watch that was accepted.
fn expired() -> [Fate; 2] {
    let words = "too old resource version: 1 (2)";
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": words, "reason": "Expired", "code": 410});
    [Fate::status(410, "Expired", words), Fate::Answer(200, json!({"type": "ERROR", "object": status}))]
}

#[test]
fn b4_what_is_gone_when_a_watch_has_expired_counts_as_deleted() {
    for fate in expired() {
        let (product, proxy, kubeconfig) = proxied("expired");
        proxy.on(&["watch=true"], 0..ALL, fate);
        let waiting = Waiting::new(product, "sim/never:0", &[], &kubeconfig);
        let deleted = Instant::now();
        waiting.delete();
        let (outcome, lasted, _product) = waiting.ends(deleted);
        outcome.exits(2).says("deleted").never_says("410").never_says("contact is lost");
        assert!(lasted < Duration::from_secs(10), "{lasted:?}");
    }
}

#[test]
fn b4_watches_that_expire_all_the_time_do_not_disturb_a_rollout() {
    for fate in expired() {
        let (product, proxy, kubeconfig) = proxied("expired");
        proxy.on(&["watch=true"], 0..ALL, fate);
        let waiting = Waiting::new(product, "sim/slow:3", &[], &kubeconfig);
        let seen = proxy.seen(&["watch=true", "/deployments?"]).len();
        let (outcome, lasted, _product) = waiting.ends(Instant::now());
        outcome.exits(0).never_says("410").never_says("contact is lost");
        let asked = proxy.seen(&["watch=true", "/deployments?"]).len() - seen;
        assert!(asked <= 2 * usize::try_from(lasted.as_secs()).expect("few") + 2, "{asked} in {lasted:?}");
    }
}

#[test]
fn b1_b5_refusals_for_now_leave_a_rollout_undecided_and_are_said() {
    let busy = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 429, "reason": "TooManyRequests",
        "message": "too many requests, please try again later", "details": {"retryAfterSeconds": 1}});
    let starting = Fate::status(503, "ServiceUnavailable", "apiserver is shutting down");
    for (fate, code) in [(Fate::Answer(429, busy), "429"), (starting, "503")] {
        let (product, proxy, kubeconfig) = proxied("refused");
        let mut waiting = Waiting::new(product, "sim/slow:12", &[], &kubeconfig);
        let lists = || proxy.seen(&["GET", "/deployments?"]).len();
        let before = lists();
        proxy.on(&["GET"], 0..ALL, fate);
        // The watch that is under way ends by itself; then it takes some seconds to ask so often.
        waiting.until(|| lists() >= before + 6);
        assert!(waiting.waits(), "{code}");
        proxy.pass();
        let outcome = waiting.settles(Duration::from_secs(15));
        outcome.says("contact is lost").says(&format!("the API server answered {code}"));
    }
}

#[test]
fn b5_connections_that_break_again_and_again_do_not_disturb_a_rollout() {
    let (product, relay) = relayed("breaking");
    let waiting = Waiting::new(product, "sim/slow:5", &[], &relay.kubeconfig);
    for _ in 0..5 {
        relay.cut();
        lasts(Duration::from_millis(700));
    }
    waiting.settles(Duration::from_secs(10));
}

#[test]
fn b5_a_network_that_swallows_everything_for_a_while_does_not_disturb_a_rollout() {
    let (product, relay) = relayed("swallowed");
    let mut waiting = Waiting::new(product, "sim/slow:3", &[], &relay.kubeconfig);
    relay.swallow();
    lasts(Duration::from_secs(12));
    assert!(waiting.waits());
    relay.up();
    waiting.settles(Duration::from_secs(12)).says("contact is lost").says("contact is back");
}

#[test]
fn b5_the_clock_of_a_timeout_stands_still_while_the_api_server_is_down() {
    let limited = ["--timeout", "12", "--force-timeout"];
    // Without an outage that is too little for it.
    let (product, relay) = relayed("paused");
    let waiting = Waiting::new(product, "sim/slow:16", &limited, &relay.kubeconfig);
    lasts(Duration::from_secs(1));
    relay.down();
    lasts(Duration::from_secs(9));
    relay.up();
    let began = waiting.began;
    let (outcome, lasted, product) = waiting.ends(began);
    outcome.exits(0).says("settled").says("contact is lost").says("contact is back");
    assert!(lasted > Duration::from_secs(13), "{lasted:?}");
    assert_eq!(applied(&product), 1);
}

#[test]
fn b5_an_api_server_that_stays_away_ends_the_wait_and_what_nobody_knows_is_named() {
    let (product, relay) = relayed("away");
    let waiting = Waiting::new(product, "sim/slow:8", &["--timeout", "8", "--force-timeout"], &relay.kubeconfig);
    relay.down();
    let down = Instant::now();
    let (outcome, lasted, product) = waiting.ends(down);
    outcome.exits(3).says("contact is lost").says("contact was lost for 8 s").says("web: nobody knows whether it runs");
    assert!((8..30).contains(&lasted.as_secs()), "{lasted:?}");
    assert_eq!(applied(&product), 1);
    relay.up();
    let program = product.start_with(&[], &relay.kubeconfig);
    Outcome::from(program.wait_with_output().expect("it ends")).exits(0);
}

#[test]
fn b5_a_restart_of_the_api_server_does_not_disturb_a_rollout() {
    let own = Own::new("restarted");
    let product = Product::on(own.0, "restarted");
    let mut waiting = Waiting::new(product, "sim/slow:40", &[], &own.0.kubeconfig);
    own.signal("apiserver", Signal::KILL);
    own.until_ended("apiserver");
    lasts(Duration::from_secs(3));
    assert!(waiting.waits());
    own.start();
    waiting.settles(Duration::from_mins(2)).says("contact is lost").says("contact is back");
}

#[test]
fn w1_old_pods_that_run_are_no_success_while_the_controller_stands_still() {
    let own = Own::new("still");
    let product = Product::on(own.0, "still");
    product.workload("web", "sim/ok:0");
    product.deploy().exits(0);
    own.signal("controller-manager", Signal::STOP);
    let mut waiting = Waiting::new(product, "sim/ok:1", &[], &own.0.kubeconfig);
    lasts(Duration::from_secs(10));
    assert!(waiting.waits());
    own.signal("controller-manager", Signal::CONT);
    let (outcome, _, product) = waiting.ends(Instant::now());
    outcome.exits(0).says("settled");
    let image = ["deployment,pods", "-o", "jsonpath={.items[*].spec.containers[0].image}"];
    product.until(&image, |image| image == "sim/ok:1");
}

/// Three workloads and a gate, through a line to which `disturb` happens again and again until the end.
fn disturbed(pause: Duration, disturb: impl Fn(&Relay)) {
    let (product, relay) = relayed("disturbed");
    let names = ["api", "web", "worker"];
    for name in names {
        product.workload(name, "sim/slow:2");
    }
    product.job("migrate", "sim/done:1");
    let mut program = product.start_with(&[], &relay.kubeconfig);
    product.until(&["lease", "hdeploy", "-o", "name"], |lease| !lease.is_empty());
    while program.try_wait().expect("a program").is_none() {
        disturb(&relay);
        lasts(pause);
    }
    let outcome = Outcome::from(program.wait_with_output().expect("it ends"));
    outcome.exits(0);
    for name in names {
        assert_eq!(product.json(&["deployment", name])["metadata"]["generation"], 1, "{name}");
    }
    assert_eq!(product.kubectl(&["get", "secrets", "-l", "hdeploy.dev/journal", "-o", "name"]), "");
}

#[test]
fn b1_connections_that_break_all_the_time_do_not_stop_a_deploy() {
    disturbed(Duration::from_millis(500), Relay::cut);
}

#[test]
fn b3_connections_that_die_silently_again_and_again_do_not_stop_a_deploy() {
    // Each is noticed after six seconds, and the lock has to be renewed in between.
    disturbed(Duration::from_secs(13), Relay::freeze);
}

/// What makes a program's wall clock wrong.
fn shifted_clock(product: &Product) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clock/shifted.c");
    let library = product.path("shifted.so");
    let status = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).status();
    assert!(status.expect("cc").success());
    library
}

/// Deploys with a wall clock that is wrong by so many seconds; how long that took.
fn deploy_at(product: &Product, kubeconfig: &Path, shift: i64, arguments: &[&str]) -> (Outcome, Duration) {
    let mut command = product.command(&[&["all", "--tag", "v1"], arguments].concat());
    command.env("KUBECONFIG", kubeconfig).env("LD_PRELOAD", product.path("shifted.so"));
    command.env("CLOCK_SHIFT", shift.to_string()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (began, hour) = (Instant::now(), Timestamp::now() + SignedDuration::from_secs(shift));
    let outcome = Outcome::of(&mut command);
    let minutes = [hour, hour + SignedDuration::from_secs(60)].map(|time| time.strftime("%H:%M:").to_string());
    assert!(minutes.iter().any(|minute| outcome.stderr.starts_with(minute)), "{minutes:?}: {}", outcome.stderr);
    (outcome, began.elapsed())
}

#[test]
fn b7_a_clock_that_is_an_hour_wrong_changes_no_verdict() {
    let deploys = |shift: i64| {
        // Certificates of a server that is younger than an hour are not valid yet for a clock that is late.
        let (product, _proxy, kubeconfig) = proxied("clock");
        shifted_clock(&product);
        let deploy = |arguments: &[&str]| deploy_at(&product, &kubeconfig, shift, arguments);
        product.workload("web", "sim/ok:0");
        let (outcome, lasted) = deploy(&["--soak", "3"]);
        outcome.exits(0).says("settled");
        assert!((3..20).contains(&lasted.as_secs()), "{lasted:?}");
        // What did not change has soaked when its pods have been ready for so long, by the server's clock.
        let (outcome, lasted) = deploy(&["--soak", "15"]);
        outcome.exits(0).says("no objects changed");
        assert!((4..25).contains(&lasted.as_secs()), "{lasted:?}");
        let (outcome, lasted) = deploy(&["--soak", "15"]);
        outcome.exits(0).says("no objects changed");
        assert!(lasted < Duration::from_secs(10), "{lasted:?}");
        product.workload("web", "sim/slow:20");
        let (outcome, lasted) = deploy(&["--timeout", "6", "--force-timeout"]);
        outcome.exits(2);
        assert!((6..20).contains(&lasted.as_secs()), "{lasted:?}");
        product.workload("web", "sim/crash:0");
        deploy(&[]).0.exits(2).says("fatal: no such table");
    };
    scope(|scope| {
        for shift in [3600, -3600] {
            scope.spawn(move || deploys(shift));
        }
    });
}
