//! One of everything, for the tests of the views.

use std::time::Duration;

use crate::error::{Error, Kind};
use crate::event::{Applied, Decision, Event, Progress, Stage, Target};
use crate::model::{Digest, ObjectKey, PinnedImage, Repository, ServiceName, Tag};
use crate::verdict::{Cause, Rule};

pub(super) fn service(name: &str) -> ServiceName {
    name.parse().expect("valid")
}

pub(super) fn object(kind: &str, name: &str) -> ObjectKey {
    let (api_version, namespace) = ("apps/v1".to_owned(), Some("shop".to_owned()));
    ObjectKey { api_version, kind: kind.to_owned(), namespace, name: name.to_owned() }
}

pub(super) fn target() -> Target {
    Target {
        context: Some("sandbox".to_owned()),
        server: "https://127.0.0.1:6443".to_owned(),
        namespace: "shop".to_owned(),
        registry: "127.0.0.1:3300/admin".to_owned(),
    }
}

fn tag() -> Tag {
    "d3708e6".parse().expect("valid")
}

fn image(name: &str) -> PinnedImage {
    let repository = Repository { registry: "127.0.0.1:3300".to_owned(), path: format!("admin/shop-{name}") };
    PinnedImage { repository, digest: Digest::of(name.as_bytes()) }
}

pub(super) fn pushed(name: &str, reused: bool) -> Event {
    let (digest, elapsed) = (image(name).digest, Duration::from_millis(3200));
    Event::Pushed { service: service(name), tag: tag(), digest, reused, elapsed }
}

pub(super) fn log(line: &str) -> Event {
    Event::BuildLog { service: service("api"), line: line.to_owned() }
}

pub(super) fn building(step: &str) -> Progress {
    Progress::Building { service: service("api"), step: step.to_owned() }
}

pub(super) fn waiting(name: &str, why: &str) -> Progress {
    Progress::Waiting { object: object("Deployment", name), why: why.to_owned() }
}

pub(super) fn finished() -> Event {
    let seconds = |tenths: u64| Duration::from_millis(tenths * 100);
    Event::RunFinished {
        release: "d3708e6".to_owned(),
        images: [(service("api"), image("api")), (service("worker"), image("worker"))].into(),
        stages: vec![
            (Stage::Preflight, seconds(3)),
            (Stage::Build, seconds(210)),
            (Stage::Push, seconds(21)),
            (Stage::Pin, seconds(1)),
            (Stage::Apply, seconds(123)),
        ],
        elapsed: seconds(639),
        changed: 12,
        unchanged: 31,
    }
}

fn decisions() -> Vec<Event> {
    let text = str::to_owned;
    [
        Decision::Build { tag: tag(), because: None },
        Decision::Build { tag: tag(), because: Some(text("uncommitted changes")) },
        Decision::Take { origin: text("tag d3708e6"), because: text("its inputs are unchanged") },
        Decision::Leave { because: text("not asked for") },
    ]
    .map(|decision| Event::Decided { service: service("api"), decision })
    .into()
}

fn of_images() -> Vec<Event> {
    let api = || service("api");
    vec![
        Event::BuildStarted { service: api() },
        log("#9 \u{1b}[1mgo build\u{1b}[0m ./..."),
        Event::BuildFinished { service: api(), elapsed: Duration::from_secs(21) },
        pushed("api", false),
        pushed("api", true),
        Event::Pinned { service: api(), image: image("api"), tag: Some(tag()) },
    ]
}

fn of_the_cluster() -> Vec<Event> {
    let (api, job) = (|| object("Deployment", "api"), || object("Job", "migrate"));
    let elapsed = Duration::from_millis(64_400);
    vec![
        Event::ObjectApplied { object: api(), outcome: Applied::Created },
        Event::ObjectApplied { object: api(), outcome: Applied::Configured },
        Event::ObjectApplied { object: api(), outcome: Applied::Unchanged },
        Event::GateStarted { job: job(), how: "started".to_owned() },
        Event::JobLog { job: job(), line: "0001_init.sql".to_owned() },
        Event::JobCompleted { job: job(), elapsed },
        Event::Settled { workload: api(), elapsed, replicas: 3 },
        Event::Trouble { workload: api(), cause: cause(), fails_in: Some(Duration::from_mins(3)) },
        Event::WorkloadFailed { workload: api(), cause: cause(), elapsed },
        Event::LastLines {
            workload: api(),
            pod: "api-5d7f-x2k1p".to_owned(),
            container: "api".to_owned(),
            lines: vec!["fatal: no such table".to_owned()],
        },
    ]
}

fn cause() -> Box<Cause> {
    Box::new(Cause {
        rule: Rule::PullFails,
        pod: Some("api-5d7f-x2k1p".to_owned()),
        container: Some("api".to_owned()),
        image: Some(image("api").to_string()),
        reason: "ErrImagePull".to_owned(),
        message: "dial tcp 127.0.0.1:3300: connect: connection refused".to_owned(),
        meaning: "nothing listens where the registry should be".to_owned(),
        advice: vec!["check from the node that the registry answers".to_owned()],
        log: None,
    })
}

fn error() -> Error {
    Error::new(Kind::Stranded, "Deployment shop/api failed: nothing listens where the registry should be")
        .because("connection refused")
        .detail("config.yaml:41:3: here")
        .hint("kubectl -n shop describe deployment/api")
}

pub(super) fn every_event() -> Vec<Event> {
    let (subject, elapsed) = (|| "api".to_owned(), Duration::from_millis(300));
    let mut events = vec![Event::RunStarted { target: target(), release: "d3708e6".to_owned() }];
    events.push(Event::RunStarted { target: Target { context: None, ..target() }, release: String::new() });
    for stage in [Stage::Preflight, Stage::Build, Stage::Push, Stage::Pin, Stage::Apply] {
        events.push(Event::StageStarted { stage });
    }
    events.push(Event::StageFinished { stage: Stage::Preflight, elapsed });
    events.extend(decisions().into_iter().chain(of_images()).chain(of_the_cluster()));
    events.push(Event::Failed { subject: subject(), message: "build failed".to_owned() });
    events.push(Event::Warning { subject: subject(), message: "runs with one replica".to_owned() });
    events.push(Event::Note { subject: subject(), message: "metrics.yaml left out: no token".to_owned() });
    events.push(finished());
    events.push(Event::RecoverFinished { put_back: 3, elapsed });
    events.push(Event::run_failed(&error()));
    events
}

pub(super) fn every_progress() -> Vec<Progress> {
    let pushing = |sent, total| Progress::Pushing { service: service("api"), sent, total };
    vec![
        building("[build 4/6] RUN go build ./..."),
        pushing(12_345_678, 45_000_000),
        pushing(12_345_678, 0),
        waiting("api", "1 of 3 updated, api-5d… is starting"),
    ]
}
