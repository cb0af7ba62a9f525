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

pub(super) fn sign(scene: &Scene<'_>, part: &Part<'_>) -> Option<Sign> {
    let exits = part.exits().saturating_sub(scene.baseline.exits(part));
    if exits < 1 {
        return None;
    }
    let (reason, code, text) = part.last_end().unwrap_or_default();
    let waiting = part.waits_for(&["RunContainerError", "PostStartHookError"]);
    let times = match exits {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    };
    if reason == "StartError" || waiting.is_some_and(|(reason, _)| reason == "RunContainerError") {
        let (reason, text) = waiting.unwrap_or((reason, text));
        return Some(cannot_start(part, reason, text, exits, "the container's command cannot be started"));
    }
    if matches!(code, 126 | 127) {
        let meaning = if code == 127 { "a command was not found" } else { "a command may not be executed" };
        let text = format!("exit {code} ({reason}) {text}");
        return Some(cannot_start(part, &format!("exit {code}"), &text, exits, meaning));
    }
    if let Some(line) = foreign_binary(scene, part) {
        let meaning = "the program was built for another platform than the node's";
        return Some(cannot_start(part, &format!("exit {code}"), &line, exits, meaning));
    }
    Some(ended(scene, part, (reason, code, text), waiting, exits, &times))
}

fn cannot_start(part: &Part<'_>, reason: &str, text: &str, exits: i32, meaning: &str) -> Sign {
    let cause = Cause::new(Rule::CannotStart, reason, text, meaning)
        .of_part(part)
        .advise("mend command, entrypoint or platform of the image")
        .with_log_of(part);
    Sign::of_part(part, cause, if exits >= CANNOT_START { Fails::NOW } else { Fails::Never })
}

fn ended(
    scene: &Scene<'_>,
    part: &Part<'_>,
    (reason, code, text): (&str, i32, &str),
    waiting: Option<(&str, &str)>,
    exits: i32,
    times: &str,
) -> Sign {
    let limit = part.spec.resources.as_ref().and_then(|resources| resources.limits.as_ref()?.get("memory"));
    let (short, meaning, advice) = match (reason, code, waiting) {
        (_, _, Some((hook, _))) => (
            hook.to_owned(),
            format!("its postStart hook fails; it has ended {times}"),
            "mend the hook's command".to_owned(),
        ),
        ("OOMKilled", ..) => (
            "OOMKilled".to_owned(),
            limit.map_or_else(
                || format!("it used up the node's memory and was killed {times}"),
                |limit| format!("it used more memory than its limit of {} and was killed {times}", limit.0),
            ),
            "raise resources.limits.memory, or let the program use less".to_owned(),
        ),
        (_, 0, _) => (
            "exit 0".to_owned(),
            format!("it ended by itself {times}, without an error; what serves must not end"),
            "see what its command does: a server stays in the foreground".to_owned(),
        ),
        (_, code, _) => (
            format!("exit {code}"),
            format!("it ended with exit code {code} {times}"),
            "read the last lines of its log".to_owned(),
        ),
    };
    let text = waiting.map_or(text, |(_, text)| text);
    let said = if text.is_empty() { String::new() } else { format!(": {text}") };
    let text = format!("{short} ({}){said}", if reason.is_empty() { "no reason given" } else { reason });
    let cause = Cause::new(Rule::Exits, short, &text, meaning).of_part(part).advise(advice).with_log_of(part);
    let most = scene.expectation.annotation(ANNOTATION).and_then(|text| text.parse().ok()).unwrap_or(USUAL);
    Sign::of_part(part, cause, if exits >= most.max(1) { Fails::NOW } else { Fails::Never })
}

/// A binary for another platform ends like any program: only its log tells.
fn foreign_binary(scene: &Scene<'_>, part: &Part<'_>) -> Option<String> {
    let Some(Answer::Log(lines)) = scene.answer(&log_of(part)) else { return None };
    lines.iter().find(|line| line.contains(FOREIGN)).cloned()
}
