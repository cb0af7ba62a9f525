//! Containers that end. Restarts are not the measure: the first one is immediate, and a pause between two shows late.

use super::{Fails, Scene, Sign};
use crate::verdict::answers::Answer;
use crate::verdict::cause::{Cause, Rule, log_of};
use crate::verdict::pods::Part;

/// Annotation of a workload: its containers may end so often before it has failed.
const ANNOTATION: &str = "hdeploy.dev/exits";
const USUAL: i32 = 3;
/// A command that cannot be started does not become one that can.
const CANNOT_START: i32 = 2;
const FOREIGN: &str = "exec format error";
const READ_ONLY: &str = "Read-only file system";
const HOOK: &str = "PostStartHookError";

pub(super) fn sign(scene: &Scene<'_>, part: &Part<'_>) -> Option<Sign> {
    let exits = part.exits().saturating_sub(scene.baseline.exits(part));
    // How often a Job starts again is its own matter, unless somebody else keeps it going for ever.
    if exits < 1 || scene.standing.is_job && !scene.expectation.replaceable {
        return None;
    }
    let (reason, code, text) = part.last_end().unwrap_or_default();
    let waiting = part.waits_for(&["RunContainerError", HOOK]);
    if reason == "StartError" || waiting.is_some_and(|(reason, _)| reason == "RunContainerError") {
        let (reason, text) = waiting.unwrap_or((reason, text));
        let meaning = format!("the command of {} cannot be started", part.known_as());
        return Some(cannot_start(part, reason, text, exits, &meaning));
    }
    if matches!(code, 126 | 127) {
        let meaning = if code == 127 { "a command was not found" } else { "a command may not be executed" };
        let text = format!("exit {code} ({reason}) {text}");
        return Some(cannot_start(part, &format!("exit {code}"), &text, exits, meaning));
    }
    // A binary for another platform ends like any program: only its log tells.
    if let Some(line) = in_log(scene, part, FOREIGN) {
        let meaning = "the program was built for another platform than the node's";
        return Some(cannot_start(part, &format!("exit {code}"), &line, exits, meaning));
    }
    let most = scene.expectation.annotation(ANNOTATION).and_then(|text| text.parse().ok()).unwrap_or(USUAL);
    let fails = if exits >= most.max(1) { Fails::NOW } else { Fails::Never };
    Some(Sign::of_part(part, ended(scene, part, waiting, exits), fails))
}

fn cannot_start(part: &Part<'_>, reason: &str, text: &str, exits: i32, meaning: &str) -> Sign {
    let cause = Cause::new(Rule::CannotStart, reason, text, meaning)
        .of_part(part)
        .advise("mend command, entrypoint or platform of the image")
        .with_log_of(part);
    Sign::of_part(part, cause, if exits >= CANNOT_START { Fails::NOW } else { Fails::Never })
}

fn ended(scene: &Scene<'_>, part: &Part<'_>, waiting: Option<(&str, &str)>, exits: i32) -> Cause {
    let (reason, code, text) = part.last_end().unwrap_or_default();
    let text = waiting.map_or(text, |(_, text)| text);
    let said = if text.is_empty() { String::new() } else { format!(": {text}") };
    let text = format!("exit {code} ({}){said}", if reason.is_empty() { "no reason given" } else { reason });
    let short = match (reason, waiting) {
        (_, Some((hook, _))) => hook.to_owned(),
        ("OOMKilled", _) => reason.to_owned(),
        _ => format!("exit {code}"),
    };
    let cause = Cause::new(Rule::Exits, short, &text, meaning(part, exits)).of_part(part).with_log_of(part);
    let cause = match (reason, code, waiting) {
        (_, _, Some(_)) => cause.advise("mend the hook's command"),
        ("OOMKilled", ..) => cause.advise("raise resources.limits.memory, or let the program use less"),
        (_, 0, _) => cause.advise("see what its command does: a server stays in the foreground"),
        _ if writes_to_read_only_root(scene, part) => {
            cause.advise("mount an emptyDir where it writes: securityContext makes its root file system read-only")
        }
        _ => cause,
    };
    cause.advise_log_of(part)
}

/// What it means that a container has ended so often.
pub(in crate::verdict) fn meaning(part: &Part<'_>, exits: i32) -> String {
    let who = part.known_as();
    let (reason, code, _) = part.last_end().unwrap_or_default();
    let times = match exits {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    };
    let limit = part.spec.resources.as_ref().and_then(|resources| resources.limits.as_ref()?.get("memory"));
    match (reason, code, limit) {
        _ if part.waits_for(&[HOOK]).is_some() => format!("the postStart hook of {who} fails; it ended {times}"),
        ("OOMKilled", _, Some(limit)) => {
            format!("{who} used more memory than its limit of {} and was killed {times}", limit.0)
        }
        ("OOMKilled", ..) => format!("{who} used up the node's memory and was killed {times}"),
        (_, 0, _) => format!("{who} ended by itself {times}, without an error; what serves must not end"),
        _ if exits == 1 => format!("{who} ended once, with exit code {code}"),
        _ => format!("{who} ended {times}, the last time with exit code {code}"),
    }
}

fn writes_to_read_only_root(scene: &Scene<'_>, part: &Part<'_>) -> bool {
    let security = part.spec.security_context.as_ref();
    security.and_then(|security| security.read_only_root_filesystem) == Some(true)
        && in_log(scene, part, READ_ONLY).is_some()
}

/// The first line of its log that holds `words`.
fn in_log(scene: &Scene<'_>, part: &Part<'_>, words: &str) -> Option<String> {
    let Some(Answer::Log(lines)) = scene.answer(&log_of(part)) else { return None };
    lines.iter().find(|line| line.contains(words)).cloned()
}
