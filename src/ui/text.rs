//! What every event says, in one place for all views.

use std::time::Duration;

use crate::event::{Applied, Decision, Event, Progress, Stage, Target};
use crate::model::{Digest, ObjectKey, Tag};
use crate::text::plain;
use crate::verdict::Cause;

/// What sort of line it is; a view shows it as a mark, a prefix or a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// Something began or was found out.
    Info,
    /// Something ended well.
    Done,
    /// Something was left out on purpose.
    Skipped,
    /// What another program wrote.
    Log,
    /// Not as it should be.
    Warning,
    /// It did not work.
    Failed,
}

/// One thing that is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// The service, workload or stage that it is about.
    pub(super) subject: String,
    /// Without control characters.
    pub(super) text: String,
    /// What sort of line it is.
    pub(super) level: Level,
}

fn line(level: Level, subject: &(impl ToString + ?Sized), text: impl AsRef<str>) -> Line {
    Line { subject: plain(&subject.to_string()), text: plain(text.as_ref()), level }
}

/// What `event` says. `None` for what only counts: an unchanged object, and the end, which the summary or the error tells.
pub(super) fn say(event: &Event) -> Option<Line> {
    use Level::{Done, Failed, Info, Log, Warning};
    Some(match event {
        Event::RunStarted { target, release } => started(target, release),
        Event::StageStarted { stage } => line(Info, name(*stage), begins(*stage)),
        Event::StageFinished { stage, elapsed } => line(Done, name(*stage), format!("done in {}", duration(*elapsed))),
        Event::Decided { service, decision } => {
            let (level, text) = decided(decision);
            line(level, service, text)
        }
        Event::BuildStarted { service } => line(Info, service, "build started"),
        Event::BuildLog { service, line: log } => line(Log, service, log),
        Event::BuildFinished { service, elapsed } => line(Info, service, format!("built in {}", duration(*elapsed))),
        Event::Pushed { service, tag, digest, reused, elapsed } => {
            line(Done, service, pushed(tag, digest, *reused, *elapsed))
        }
        Event::Pinned { service, image, tag } => {
            line(Info, service, format!("pinned to {image}{}", known_as(tag.as_ref())))
        }
        Event::ObjectApplied { outcome: Applied::Unchanged, .. }
        | Event::RunFinished { .. }
        | Event::RecoverFinished { .. }
        | Event::RunFailed { .. }
        | Event::LastLines { .. } => return None,
        Event::ObjectApplied { object, outcome } => {
            line(Info, name(Stage::Apply), format!("{object} {}", became(*outcome)))
        }
        Event::GateStarted { job, how } => line(Info, &job.name, format!("gate {how}")),
        Event::JobLog { job, line: log } => line(Log, &job.name, log),
        Event::JobCompleted { job, elapsed } => line(Done, &job.name, format!("complete after {}", duration(*elapsed))),
        Event::Settled { workload, elapsed, replicas } => {
            let (replicas, elapsed) = (counted(*replicas, "replica"), duration(*elapsed));
            line(Done, &workload.name, format!("settled with {replicas} in {elapsed}"))
        }
        Event::Trouble { workload, cause, fails_in } => line(Warning, &workload.name, trouble(cause, *fails_in)),
        Event::WorkloadFailed { workload, cause, elapsed } => {
            line(Failed, &workload.name, format!("{} (after {})", cause.meaning, duration(*elapsed)))
        }
        Event::Failed { subject, message } => line(Failed, subject, message),
        Event::Warning { subject, message } => line(Warning, subject, message),
        Event::Note { subject, message } => line(Info, subject, message),
    })
}

/// What stands below the line of an event, to stay.
pub(super) fn say_more(event: &Event) -> Vec<Line> {
    match event {
        Event::WorkloadFailed { workload, cause, .. } => {
            let name = &workload.name;
            let place = [("pod", &cause.pod), ("container", &cause.container), ("image", &cause.image)];
            let place = place.iter().filter_map(|(what, which)| Some(format!("{what} {}", which.as_ref()?)));
            let place = place.collect::<Vec<_>>().join(", ");
            let said = told(cause);
            [place, said]
                .into_iter()
                .filter(|text| !text.is_empty())
                .map(|text| line(Level::Info, name, text))
                .collect()
        }
        Event::LastLines { workload, pod, container, lines } => {
            let head = line(Level::Info, &workload.name, format!("last lines of container {container} of {pod}:"));
            let lines = lines.iter().map(|log| line(Level::Log, &workload.name, log));
            std::iter::once(head).chain(lines).collect()
        }
        _ => Vec::new(),
    }
}

fn trouble(cause: &Cause, fails_in: Option<Duration>) -> String {
    let who = match (&cause.pod, &cause.container) {
        (Some(pod), Some(container)) if !cause.meaning.contains(&format!("container {container} ")) => {
            format!("{pod}, container {container}: ")
        }
        (Some(pod), _) => format!("{pod}: "),
        _ => String::new(),
    };
    let until = fails_in.filter(|left| !left.is_zero());
    let until = until.map_or(String::new(), |left| format!(" [given up in {} if it stays so]", clock(left)));
    format!("{who}{}: {}{until}", cause.meaning, told(cause))
}

/// In the words of whoever reported it.
fn told(cause: &Cause) -> String {
    if cause.message.to_lowercase().contains(&cause.reason.to_lowercase()) {
        cause.message.clone()
    } else {
        format!("{}: {}", cause.reason, cause.message)
    }
}

/// Where something stands.
pub(super) fn say_progress(progress: &Progress) -> Line {
    match progress {
        Progress::Building { service, step } => line(Level::Info, service, step),
        Progress::Pushing { service, sent, total } => line(Level::Info, service, pushing(*sent, *total)),
        Progress::Waiting { object: ObjectKey { name, .. }, why } => line(Level::Info, name, why),
    }
}

fn started(target: &Target, release: &str) -> Line {
    let (subject, verb) = if release.is_empty() { ("target", "") } else { ("release", " goes to ") };
    let server = target.context.as_ref().map_or(String::new(), |_| format!(" at {}", target.server));
    let text = format!("{release}{verb}{}{server}, images from {}", place(target), target.registry);
    line(Level::Info, subject, text)
}

/// Context and namespace, `sandbox/shop`; a context without a name is told by the server's address.
pub(super) fn place(target: &Target) -> String {
    match &target.context {
        Some(context) => format!("{context}/{}", target.namespace),
        None => format!("{} at {}", target.namespace, target.server),
    }
}

/// The stage's name.
pub(super) fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Preflight => "preflight",
        Stage::Build => "build",
        Stage::Push => "push",
        Stage::Pin => "pin",
        Stage::Apply => "apply",
    }
}

fn begins(stage: Stage) -> &'static str {
    match stage {
        Stage::Preflight => "checking everything that can be known beforehand",
        Stage::Build => "building images",
        Stage::Push => "pushing images",
        Stage::Pin => "proving digests, completing manifests",
        Stage::Apply => "applying objects, wave by wave",
    }
}

fn decided(decision: &Decision) -> (Level, String) {
    match decision {
        Decision::Build { tag, because: None } => (Level::Info, format!("to be built as {tag}")),
        Decision::Build { tag, because: Some(because) } => (Level::Info, format!("to be built as {tag}: {because}")),
        Decision::Take { origin, because } => (Level::Skipped, format!("not built, image of {origin}: {because}")),
        Decision::Leave { because } => (Level::Skipped, format!("left alone: {because}")),
    }
}

fn pushed(tag: &Tag, digest: &Digest, reused: bool, elapsed: Duration) -> String {
    let (verb, digest, elapsed) = (if reused { "tagged" } else { "pushed" }, digest.short(), duration(elapsed));
    let why = if reused { ", the registry had its content" } else { "" };
    format!("{verb} {tag} sha256:{digest} in {elapsed}{why}")
}

fn known_as(tag: Option<&Tag>) -> String {
    tag.map_or(String::new(), |tag| format!(" ({tag})"))
}

fn became(outcome: Applied) -> &'static str {
    match outcome {
        Applied::Created => "created",
        Applied::Configured => "changed",
        Applied::Unchanged => "unchanged",
        Applied::Deleted => "deleted",
    }
}

fn pushing(sent: u64, total: u64) -> String {
    if total == 0 { format!("pushing, {} sent", megabytes(sent)) } else { format!("pushing {}", share(sent, total)) }
}

fn share(sent: u64, total: u64) -> String {
    let sent = megabytes(sent);
    format!("{} of {}", sent.trim_end_matches(" MB"), megabytes(total))
}

/// Decimal megabytes with one digit.
fn megabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

/// `1 replica`, `2 replicas`, `no replicas`.
pub(super) fn counted(count: impl TryInto<u64>, noun: &str) -> String {
    match count.try_into().unwrap_or(0) {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

/// A duration for people: `850 ms`, `3.2 s`, `1 m 04 s`, `1 h 02 m`.
pub fn duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    // Rounded before the unit is chosen: 59.96 s are a minute, not "60.0 s".
    let (tenths, seconds) = ((millis + 50) / 100, (millis + 500) / 1000);
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..59_950 => format!("{}.{} s", tenths / 10, tenths % 10),
        59_950..3_599_500 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A running clock, in whole seconds: tenths would flicker.
pub(super) fn clock(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} m {:02} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {:02} m", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn every_event_has_its_words() {
        let said: Vec<String> = samples::every_event()
            .iter()
            .flat_map(|event| say(event).into_iter().chain(say_more(event)))
            .map(|line| format!("{:?} {} | {}", line.level, line.subject, line.text))
            .collect();
        insta::assert_snapshot!(said.join("\n"), @r#"
        Info release | d3708e6 goes to sandbox/shop at https://127.0.0.1:6443, images from 127.0.0.1:3300/admin
        Info target | shop at https://127.0.0.1:6443, images from 127.0.0.1:3300/admin
        Info preflight | checking everything that can be known beforehand
        Info build | building images
        Info push | pushing images
        Info pin | proving digests, completing manifests
        Info apply | applying objects, wave by wave
        Done preflight | done in 300 ms
        Info api | to be built as d3708e6
        Info api | to be built as d3708e6: uncommitted changes
        Skipped api | not built, image of tag d3708e6: its inputs are unchanged
        Skipped api | left alone: not asked for
        Info api | build started
        Log api | #9 go build ./...
        Info api | built in 21.0 s
        Done api | pushed d3708e6 sha256:14c2529eb449 in 3.2 s
        Done api | tagged d3708e6 sha256:14c2529eb449 in 3.2 s, the registry had its content
        Info api | pinned to 127.0.0.1:3300/admin/shop-api@sha256:14c2529eb4498c5d1ffd6915d05bf58a91bdda796af59f41d480d11c099d0479 (d3708e6)
        Info apply | Deployment shop/api created
        Info apply | Deployment shop/api changed
        Info migrate | gate started
        Log migrate | 0001_init.sql
        Done migrate | complete after 1 m 04 s
        Done api | settled with 3 replicas in 1 m 04 s
        Warning api | api-5d7f-x2k1p, container api: nothing listens where the registry should be: ErrImagePull: dial tcp 127.0.0.1:3300: connect: connection refused [given up in 3 m 00 s if it stays so]
        Failed api | nothing listens where the registry should be (after 1 m 04 s)
        Info api | pod api-5d7f-x2k1p, container api, image 127.0.0.1:3300/admin/shop-api@sha256:14c2529eb4498c5d1ffd6915d05bf58a91bdda796af59f41d480d11c099d0479
        Info api | ErrImagePull: dial tcp 127.0.0.1:3300: connect: connection refused
        Info api | last lines of container api of api-5d7f-x2k1p:
        Log api | fatal: no such table
        Failed api | build failed
        Warning api | runs with one replica
        Info api | metrics.yaml left out: no token
        "#);
    }

    #[test]
    fn every_progress_has_its_words() {
        let said: Vec<String> = samples::every_progress()
            .iter()
            .map(say_progress)
            .map(|line| format!("{} | {}", line.subject, line.text))
            .collect();
        insta::assert_snapshot!(said.join("\n"), @r#"
        api | [build 4/6] RUN go build ./...
        api | pushing 12.3 of 45.0 MB
        api | pushing, 12.3 MB sent
        api | 1 of 3 updated, api-5d… is starting
        "#);
    }

    #[test]
    fn durations_are_for_people() {
        for (millis, text) in [
            (0, "0 ms"),
            (850, "850 ms"),
            (999, "999 ms"),
            (1000, "1.0 s"),
            (3249, "3.2 s"),
            (59_949, "59.9 s"),
            (59_950, "1 m 00 s"),
            (64_400, "1 m 04 s"),
            (3_599_499, "59 m 59 s"),
            (3_599_500, "1 h 00 m"),
            (3_720_000, "1 h 02 m"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }
}
