//! One pod, played.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Event, Pod};
use kube::Client;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::kubelet::NODE;
use super::logs::Logs;
use super::replay::{Recording, Shows};
use super::script::{Said, State, Step, script};

/// The kubelet drops further warnings of a pod.
const WARNINGS: u32 = 25;

/// A pod that is bound to the node, until it is gone.
pub struct Playing {
    pod: Pod,
    pods: Api<Pod>,
    events: Api<Event>,
    logs: Logs,
    /// What its status says. Writes go out one after the other.
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    containers: BTreeMap<String, Life>,
    ended: bool,
    ready_since: Option<(bool, Timestamp)>,
    /// Name and count of every event, by kind and text.
    told: BTreeMap<(String, String), (String, u32)>,
    warnings: u32,
}

#[derive(Clone, Default)]
struct Life {
    state: Option<State>,
    since: Option<Timestamp>,
    exits: Vec<Value>,
}

impl Playing {
    pub fn new(client: &Client, logs: &Logs, pod: Pod) -> Self {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let (pods, events) = (Api::namespaced(client.clone(), &namespace), Api::namespaced(client.clone(), &namespace));
        Self { pod, pods, events, logs: logs.clone(), shown: Mutex::default() }
    }

    /// Plays the pod until `deleted`, and then its end.
    pub async fn play(self, mut deleted: watch::Receiver<bool>) {
        let over = async {
            let _ = deleted.wait_for(|deleted| *deleted).await;
        };
        tokio::select! {
            () = over => {}
            () = self.live() => { let _ = deleted.wait_for(|deleted| *deleted).await; }
        }
        self.end().await;
    }

    async fn live(&self) {
        let phase = self.pod.status.as_ref().and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return;
        }
        sleep(Duration::from_millis(20)).await;
        if let Some(recording) = Recording::of(&self.pod) {
            return self.replay(&recording).await;
        }
        self.write().await;
        let spec = self.pod.spec.as_ref().expect("a pod has a spec");
        let mut beside: Vec<BoxFuture<'_, i32>> = Vec::new();
        for container in spec.init_containers.iter().flatten() {
            if container.restart_policy.as_deref() == Some("Always") {
                beside.push(self.container(container, "Always").boxed());
            } else if self.container(container, "OnFailure").await != 0 {
                return;
            }
        }
        let policy = spec.restart_policy.as_deref().unwrap_or("Always");
        let containers = join_all(spec.containers.iter().map(|container| self.container(container, policy)));
        tokio::select! {
            _ = containers => {}
            _ = join_all(beside), if spec.init_containers.iter().flatten().any(|c| c.restart_policy.is_some()) => {}
        }
        // The phase lags behind the containers.
        sleep(Duration::from_millis(1200)).await;
        self.shown.lock().await.ended = true;
        self.write().await;
    }

    async fn replay(&self, recording: &Recording) {
        let begin = Instant::now();
        for moment in recording.moments(&self.pod) {
            sleep_until(begin + moment.at).await;
            match moment.shows {
                Shows::Status(status) => self.put(&status).await,
                Shows::Said(part, said) => self.tell(part, &said.kind, &said.reason, said.message).await,
                Shows::Log(container, text) => self.logs.write(self.address(&container), &text),
            }
        }
        std::future::pending::<()>().await;
    }

    /// The exit code with which it ended for good.
    async fn container(&self, container: &Container, policy: &str) -> i32 {
        let script = script(image(container));
        let mut next = 0;
        loop {
            let Some(step) = script.steps.get(next) else {
                match script.again {
                    Some(again) => next = again,
                    None => std::future::pending().await,
                }
                continue;
            };
            next += 1;
            sleep(step.after).await;
            if script.held && next == script.steps.len() {
                self.until_told().await;
            }
            self.step(container, step).await;
            if step.said.as_ref().is_some_and(|said| said.reason == "Started") {
                self.logs.write(self.address(&container.name), script.log);
            }
            if let Some(State::Exited { code, .. }) = step.state
                && (policy == "Never" || policy == "OnFailure" && code == 0)
            {
                return code;
            }
        }
    }

    async fn until_told(&self) {
        let is_told = |pod: Pod| pod.metadata.labels.is_some_and(|labels| labels.contains_key("go"));
        while !self.pods.get(self.name()).await.is_ok_and(is_told) {
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn step(&self, container: &Container, step: &Step) {
        if let Some(said) = &step.said {
            self.say(container, said).await;
        }
        if let Some(state) = &step.state {
            let mut state = state.clone();
            if let State::Waiting { message, .. } = &mut state {
                *message = self.text(container, message);
            }
            self.shown.lock().await.containers.entry(container.name.clone()).or_default().show(state);
            self.write().await;
        }
    }

    fn address(&self, container: &str) -> String {
        let namespace = self.pod.metadata.namespace.as_deref().unwrap_or_default();
        format!("{namespace}/{}/{container}", self.name())
    }

    fn name(&self) -> &str {
        self.pod.metadata.name.as_deref().unwrap_or_default()
    }

    fn text(&self, container: &Container, template: &str) -> String {
        let metadata = &self.pod.metadata;
        template
            .replace("{image}", image(container))
            .replace("{container}", &container.name)
            .replace("{pod}", self.name())
            .replace("{namespace}", metadata.namespace.as_deref().unwrap_or_default())
            .replace("{uid}", metadata.uid.as_deref().unwrap_or_default())
    }

    async fn say(&self, container: &Container, said: &Said) {
        let part = format!("spec.containers{{{}}}", container.name);
        self.tell(Some(part), &said.kind, &said.reason, self.text(container, &said.message)).await;
    }

    async fn tell(&self, part: Option<String>, kind: &str, reason: &str, message: String) {
        let mut shown = self.shown.lock().await;
        if kind == "Warning" {
            shown.warnings += 1;
            if shown.warnings > WARNINGS {
                return;
            }
        }
        let number = shown.told.len();
        let known = shown.told.entry((reason.to_owned(), message.clone())).or_default();
        known.1 += 1;
        let now = seconds(Timestamp::now());
        // Nobody minds an event that is lost because its namespace goes.
        if known.1 > 1 {
            let more = json!({"count": known.1, "lastTimestamp": now});
            let _ = self.events.patch(&known.0, &PatchParams::default(), &Patch::Merge(more)).await;
            return;
        }
        let metadata = &self.pod.metadata;
        known.0 = format!("{}.{}.{number}", self.name(), metadata.uid.as_deref().unwrap_or_default());
        let event = json!({
            "metadata": {"name": known.0, "namespace": metadata.namespace},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": self.name(), "namespace": metadata.namespace,
                "uid": metadata.uid, "fieldPath": part},
            "type": kind, "reason": reason, "message": message, "count": 1,
            "firstTimestamp": now, "lastTimestamp": now, "source": {"component": "kubelet", "host": NODE},
        });
        let event: Event = serde_json::from_value(event).expect("an event");
        let _ = self.events.create(&PostParams::default(), &event).await;
    }

    /// The order to end came: containers get their time, then the pod is taken away.
    async fn end(&self) {
        let spec = self.pod.spec.as_ref().expect("a pod has a spec");
        let live = self.pods.get_opt(self.name()).await.ok().flatten();
        let Some(live) = live.filter(|live| live.metadata.uid == self.pod.metadata.uid) else { return };
        let grace = live.metadata.deletion_grace_period_seconds.unwrap_or(30);
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        let running: Vec<&Container> = {
            let shown = self.shown.lock().await;
            let runs = |c: &&Container| {
                shown.containers.get(&c.name).is_some_and(|life| matches!(life.state, Some(State::Running { .. })))
            };
            spec.containers.iter().filter(runs).collect()
        };
        let mut longest = Duration::ZERO;
        for container in &running {
            let part = format!("spec.containers{{{}}}", container.name);
            let message = format!("Stopping container {}", container.name);
            self.tell(Some(part), "Normal", "Killing", message).await;
            longest = longest.max(script(image(container)).ends_after);
        }
        sleep(longest.min(grace)).await;
        let code = if longest > grace { 137 } else { 143 };
        let mut shown = self.shown.lock().await;
        for container in running {
            shown.containers.entry(container.name.clone()).or_default().show(State::Exited { code, reason: "Error" });
        }
        shown.ended = true;
        drop(shown);
        self.write().await;
        sleep(Duration::from_millis(200)).await;
        let gone = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: self.pod.metadata.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        let _ = self.pods.delete(self.name(), &gone).await;
    }

    async fn write(&self) {
        let mut shown = self.shown.lock().await;
        let status = self.status(&mut shown);
        self.put(&status).await;
    }

    async fn put(&self, status: &Value) {
        let patch = Patch::Strategic(json!({"status": status}));
        // A pod may be gone, or its API server: the next write says it all again.
        for _ in 0..5 {
            match self.pods.patch_status(self.name(), &PatchParams::default(), &patch).await {
                Err(kube::Error::Api(status)) if status.code < 500 => return,
                Ok(_) => return,
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
    }

    fn status(&self, shown: &mut Shown) -> Value {
        let spec = self.pod.spec.as_ref().expect("a pod has a spec");
        let inits: Vec<Value> = spec.init_containers.iter().flatten().map(|c| shown.status(c)).collect();
        let containers: Vec<Value> = spec.containers.iter().map(|c| shown.status(c)).collect();
        let unready: Vec<&str> =
            containers.iter().filter(|c| c["ready"] == false).filter_map(|c| c["name"].as_str()).collect();
        let ready = unready.is_empty() && !shown.ended;
        let now = Timestamp::now();
        let since = match shown.ready_since {
            Some((was, since)) if was == ready => since,
            _ => now,
        };
        shown.ready_since = Some((ready, since));
        let message = format!("containers with unready status: [{}]", unready.join(" "));
        let condition = |kind: &str| {
            let mut condition = json!({"type": kind, "status": "True", "lastTransitionTime": seconds(since), "reason": null, "message": null});
            if !ready {
                condition["status"] = json!("False");
                condition["reason"] = json!("ContainersNotReady");
                condition["message"] = json!(message);
            }
            condition
        };
        let started = seconds(self.pod.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0));
        let initialized = json!({"type": "Initialized", "status": "True", "lastTransitionTime": started});
        json!({
            "phase": phase(&containers, shown.ended),
            "startTime": started, "hostIP": "127.0.0.1", "podIP": "10.250.0.1", "podIPs": [{"ip": "10.250.0.1"}],
            "conditions": [initialized, condition("Ready"), condition("ContainersReady")],
            "initContainerStatuses": inits, "containerStatuses": containers,
        })
    }
}

/// The image of a container, as its manifest names it.
pub fn image(container: &Container) -> &str {
    container.image.as_deref().unwrap_or_default()
}

fn phase(containers: &[Value], ended: bool) -> &'static str {
    let failed = |status: &Value| status["state"]["terminated"]["exitCode"] != 0;
    let waits = |status: &Value| status["restartCount"] == 0 && status["state"].get("waiting").is_some();
    match ended {
        true if containers.iter().any(failed) => "Failed",
        true => "Succeeded",
        false if containers.iter().all(waits) => "Pending",
        false => "Running",
    }
}

/// As the API server writes times.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Life {
    fn show(&mut self, state: State) {
        let now = Timestamp::now();
        if let State::Exited { code, reason } = state {
            let began = self.since.unwrap_or(now);
            self.exits.push(
                json!({"exitCode": code, "reason": reason, "startedAt": seconds(began), "finishedAt": seconds(now),
                "containerID": format!("containerd://{:012x}", self.exits.len() + 1)}),
            );
        }
        self.since = Some(now);
        self.state = Some(state);
    }
}

impl Shown {
    fn status(&self, container: &Container) -> Value {
        let life = self.containers.get(&container.name).cloned().unwrap_or_default();
        let exits = life.exits.len();
        let since = seconds(life.since.unwrap_or_else(Timestamp::now));
        let probed = container.readiness_probe.is_some();
        let (state, earlier, ready) = match &life.state {
            None => (json!({"waiting": {"reason": "ContainerCreating"}}), exits, false),
            Some(State::Waiting { reason, message }) => {
                (json!({"waiting": {"reason": reason, "message": message}}), exits, false)
            }
            Some(State::Running { ready }) => (json!({"running": {"startedAt": since}}), exits, *ready || !probed),
            Some(State::Exited { .. }) => (json!({"terminated": life.exits.last()}), exits - 1, false),
        };
        let restarts = match life.state {
            Some(State::Waiting { .. }) => exits.saturating_sub(1),
            _ => earlier,
        };
        let last = earlier.checked_sub(1).map_or_else(|| json!({}), |at| json!({"terminated": life.exits[at]}));
        let started = matches!(life.state, Some(State::Running { .. }));
        json!({"name": container.name, "image": container.image, "imageID": "", "restartCount": restarts,
            "state": state, "lastState": last, "ready": ready, "started": started,
            "containerID": format!("containerd://{:012x}", exits)})
    }
}
