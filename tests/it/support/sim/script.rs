//! What containers do, by their image: the table that the simulated kubelet plays.
//!
//! `sim/NAME:ARGUMENT` names a row, `sim/replay:NAME` a recording instead. Times, order and wording are those of a real kubelet (v1.34.4 with containerd).

use std::time::Duration;

/// What a container shows from a moment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Waiting {
        reason: &'static str,
        message: String,
    },
    /// Ready counts only with a readiness probe: without one, whatever runs is ready.
    Running {
        ready: bool,
    },
    Exited {
        code: i32,
        reason: &'static str,
    },
}

/// Something that the kubelet says about a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// `Normal` or `Warning`.
    pub kind: String,
    pub reason: String,
    /// With `{image}`, `{container}`, `{pod}`, `{namespace}` and `{uid}`.
    pub message: String,
}

/// One moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Since the step before.
    pub after: Duration,
    pub state: Option<State>,
    pub said: Option<Said>,
}

/// A container's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    pub steps: Vec<Step>,
    /// The step to go on with behind the last one; without it the container stays as it is.
    pub again: Option<usize>,
    /// From the order to end until its end, at most the grace period.
    pub ends_after: Duration,
    /// Its last step waits until the pod has the label `go`.
    pub held: bool,
    /// What it writes, one line each.
    pub log: &'static str,
}

const REFUSED: &str = "failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": failed to do request: Head \"http://127.0.0.1:5999/v2/admin/api/manifests/v1\": dial tcp 127.0.0.1:5999: connect: connection refused";
const TOO_MANY: &str = "failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": pulling from host 127.0.0.1:5998 failed with status code [manifests v1]: 429 Too Many Requests";
const TOO_OFTEN: &str = "pull QPS exceeded";
const NOT_FOUND: &str = "rpc error: code = NotFound desc = failed to pull and unpack image \"{image}\": failed to resolve reference \"{image}\": {image}: not found";
/// Gaps between attempts to pull, in seconds, and from an attempt to the status that shows it.
const PULLS: [(f64, f64); 4] = [(0.36, 0.94), (12.0, 15.0), (15.0, 15.0), (38.0, 15.0)];

/// The row of `image`.
pub fn script(image: &str) -> Script {
    let (name, argument) = parts(image);
    let number: f64 = argument.parse().unwrap_or(0.0);
    match name {
        "ok" | "slow" => lives(ready_after(number)),
        "never" => Script { again: Some(4), ..lives(never_ready()) },
        "stubborn" => Script { ends_after: Duration::MAX, ..lives(ready_after(0.0)) },
        "done" => Script { log: "it is done\n", ..lives(runs(number, 0, "Completed")) },
        "held" => Script { held: true, ..lives(runs(0.5, 0, "Completed")) },
        "fail" => Script { log: "fatal: it cannot be done\n", ..lives(exits(&[number], 1, "Error", true)) },
        "crash" => Script { log: "fatal: no such table\n", ..lives(exits(&[0.0; 8], 1, "Error", true)) },
        "oom" => lives(exits(&[0.0; 8], 137, "OOMKilled", true)),
        "flake" => lives(flakes(argument.parse().unwrap_or(1))),
        "notfound" => pulls(NOT_FOUND),
        "queued" => lives(queued(number)),
        "refused" => pulls(REFUSED),
        // So many attempts to pull fail, and the next one does not.
        "throttled" => lives(pulled_at_last(TOO_MANY, argument.parse().unwrap_or(1))),
        "toooften" => lives(pulled_at_last(TOO_OFTEN, argument.parse().unwrap_or(1))),
        other => panic!("no script for the image {image}: {other}"),
    }
}

/// `docker.io/sim/slow:230` is `slow` and `230`.
fn parts(image: &str) -> (&str, &str) {
    let last = image.split('@').next().and_then(|name| name.rsplit('/').next()).unwrap_or_default();
    last.split_once(':').unwrap_or((last, ""))
}

fn lives(steps: Vec<Step>) -> Script {
    Script { steps, again: None, ends_after: Duration::from_millis(100), held: false, log: "" }
}

fn shows(after: f64, state: State) -> Step {
    Step { after: Duration::from_secs_f64(after), state: Some(state), said: None }
}

fn says(after: f64, kind: &str, reason: &str, message: &str) -> Step {
    let said = Some(Said { kind: kind.to_owned(), reason: reason.to_owned(), message: message.to_owned() });
    Step { after: Duration::from_secs_f64(after), state: None, said }
}

fn waits(after: f64, reason: &'static str, message: String) -> Step {
    shows(after, State::Waiting { reason, message })
}

fn starts() -> Vec<Step> {
    vec![
        says(0.13, "Normal", "Pulled", "Container image \"{image}\" already present on machine"),
        says(0.01, "Normal", "Created", "Created container: {container}"),
        says(0.06, "Normal", "Started", "Started container {container}"),
    ]
}

const UNHEALTHY: &str = "Readiness probe failed: HTTP probe failed with statuscode: 404";

fn ready_after(seconds: f64) -> Vec<Step> {
    let mut steps = starts();
    steps.push(shows(0.65, State::Running { ready: seconds == 0.0 }));
    if seconds > 0.0 {
        steps.push(says(0.0, "Warning", "Unhealthy", UNHEALTHY));
        steps.push(shows(seconds, State::Running { ready: true }));
    }
    steps
}

/// Its last step is told again and again.
fn never_ready() -> Vec<Step> {
    let mut steps = starts();
    steps.push(shows(0.65, State::Running { ready: false }));
    steps.push(says(1.0, "Warning", "Unhealthy", UNHEALTHY));
    steps
}

fn runs(seconds: f64, code: i32, reason: &'static str) -> Vec<Step> {
    let mut steps = starts();
    if seconds > 0.0 {
        steps.push(shows(0.65, State::Running { ready: true }));
    }
    steps.push(shows(seconds.max(0.65), State::Exited { code, reason }));
    steps
}

/// Runs of so many seconds each that end badly, the first restart at once, later ones with growing pauses. In a pod
/// that never restarts, the first one is the last.
fn exits(seconds: &[f64], code: i32, reason: &'static str, backs_off_at_last: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    for (run, seconds) in seconds.iter().enumerate() {
        if run >= 2 {
            // The status shows the pause late, and the container starts again a little later than it says.
            steps.extend(backs_off(run - 1));
            let pause = f64::from(10 << (run - 2).min(5));
            steps.push(says(
                pause - 1.0 + 2.5,
                "Normal",
                "Pulled",
                "Container image \"{image}\" already present on machine",
            ));
        }
        steps.extend(runs(*seconds, code, reason));
        if run >= 1 {
            steps.push(says(0.0, "Warning", "BackOff", RESTARTING));
        }
    }
    if backs_off_at_last && seconds.len() > 1 {
        steps.extend(backs_off(seconds.len() - 1));
    }
    steps
}

const RESTARTING: &str = "Back-off restarting failed container {container} in pod {pod}_{namespace}({uid})";

fn backs_off(restart: usize) -> Vec<Step> {
    let pause = ["10s", "20s", "40s", "1m20s", "2m40s", "5m0s"][(restart - 1).min(5)];
    let message =
        format!("back-off {pause} restarting failed container={{container}} pod={{pod}}_{{namespace}}({{uid}})");
    vec![waits(1.0, "CrashLoopBackOff", message)]
}

fn flakes(times: usize) -> Vec<Step> {
    let mut steps = exits(&vec![0.0; times], 1, "Error", false);
    if times >= 2 {
        steps.extend(backs_off(times - 1));
        steps.push(says(11.0, "Normal", "Pulled", "Container image \"{image}\" already present on machine"));
    }
    steps.extend(ready_after(0.0));
    steps
}

/// An image that cannot be pulled: the status alternates between the error and the pause, one attempt behind.
fn pulls(error: &str) -> Script {
    let steps = attempts(error, PULLS.len());
    let again = steps.len() - 7;
    Script { again: Some(again), ..lives(steps) }
}

fn pulled_at_last(error: &str, failures: usize) -> Vec<Step> {
    let mut steps = attempts(error, failures);
    steps.push(says(PULLS[failures].0, "Normal", "Pulling", "Pulling image \"{image}\""));
    steps.extend(ready_after(0.0));
    steps
}

/// Pulled only after so many seconds: a node pulls one image after another.
fn queued(seconds: f64) -> Vec<Step> {
    let mut steps = vec![says(0.3, "Normal", "Pulling", "Pulling image \"{image}\"")];
    steps.push(says(seconds, "Normal", "Pulled", "Successfully pulled image \"{image}\""));
    steps.extend(ready_after(0.0));
    steps
}

fn attempts(error: &str, times: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    for (gap, lag) in PULLS.into_iter().take(times) {
        steps.push(says(gap, "Normal", "Pulling", "Pulling image \"{image}\""));
        if gap > 1.0 {
            let message = format!("Back-off pulling image \"{{image}}\": ErrImagePull: {error}");
            steps.push(waits(0.0, "ImagePullBackOff", message));
        }
        steps.push(says(0.02, "Warning", "Failed", &format!("Failed to pull image \"{{image}}\": {error}")));
        steps.push(says(0.0, "Warning", "Failed", "Error: ErrImagePull"));
        steps.push(waits(lag, "ErrImagePull", error.to_owned()));
        steps.push(says(0.0, "Normal", "BackOff", "Back-off pulling image \"{image}\""));
        steps.push(says(0.01, "Warning", "Failed", "Error: ImagePullBackOff"));
    }
    steps
}
