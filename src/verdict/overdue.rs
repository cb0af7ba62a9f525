//! The cause of what is given up: its time is over, and something was in the way.

use std::time::Duration;

use super::cause::{Cause, Rule};
use super::pods::{Part, is_live, is_ready, parts, uid};
use super::reports::{latest_of, message};
use super::rules::Sign;
use super::rules::exits::meaning as ended;
use super::rules::probes::target;
use super::snapshot::Snapshot;
use super::standing::Standing;

/// What is over, told by the sign that was there all the while.
pub(super) fn headlined(headline: String, standing: &Standing<'_>, signs: &[Sign], snapshot: &Snapshot) -> Cause {
    let part = unready(standing);
    if let Some(sign) = signs.iter().find(|sign| part.is_none() || !has_passed(sign, standing)) {
        let mut cause = sign.cause.clone();
        cause.rule = Rule::Deadline;
        cause.meaning = format!("{headline}; {}", cause.meaning);
        return cause;
    }
    match part {
        None => Cause::new(Rule::Deadline, "deadline", &standing.why, headline),
        Some(part) if part.is_running() => not_ready(headline, standing, &part, snapshot),
        Some(part) => not_running(&headline, standing, &part),
    }
}

/// A container that had ended and is ready again is not what holds it up.
fn has_passed(sign: &Sign, standing: &Standing<'_>) -> bool {
    let is_about = |part: &Part<'_>| sign.about.0 == uid(part.pod) && sign.about.1 == part.spec.name;
    matches!(sign.cause.rule, Rule::Exits | Rule::CannotStart)
        && standing
            .new_pods
            .iter()
            .copied()
            .flat_map(parts)
            .any(|part| is_about(&part) && part.is_running() && part.status.ready)
}

/// What a pod that is not ready waits for: an init container before all others.
fn unready<'a>(standing: &Standing<'a>) -> Option<Part<'a>> {
    let pods = standing.new_pods.iter().copied().filter(|pod| is_live(pod) && !is_ready(pod));
    let has_done_its_job = |part: &Part<'_>| standing.is_job && part.last_end().is_some_and(|(_, code, _)| code == 0);
    let waits = |part: &Part<'_>| if part.is_step { !part.is_done() } else { !part.status.ready };
    pods.flat_map(parts).find(|part| waits(part) && !has_done_its_job(part))
}

fn not_running(headline: &str, standing: &Standing<'_>, part: &Part<'_>) -> Cause {
    let (reason, said) = part.waiting().unwrap_or_default();
    if let Some((_, code, _)) = part.last_end() {
        let meaning = format!("{headline}; {}", ended(part, part.exits()));
        let cause = Cause::new(Rule::Deadline, format!("exit {code}"), said, meaning);
        let cause = cause.of_part(part).with_log_of(part);
        return if standing.is_job { cause } else { cause.advise_log_of(part) };
    }
    let said = if said.is_empty() { &standing.why } else { said };
    let meaning = format!("{headline}; {} has not started", part.known_as());
    Cause::new(Rule::Deadline, if reason.is_empty() { "not started" } else { reason }, said, meaning).of_part(part)
}

fn not_ready(headline: String, standing: &Standing<'_>, part: &Part<'_>, snapshot: &Snapshot) -> Cause {
    let probe = target(part, "readiness").filter(|_| !part.is_step);
    let mut meaning = headline;
    if part.is_step {
        meaning = format!("{meaning}; {} has not come to its end", part.known_as());
    }
    if let Some(target) = &probe {
        meaning = format!("{meaning}; its readiness probe ({target}) fails");
    }
    let said = latest_of(snapshot, part.pod, "Unhealthy").map_or(standing.why.as_str(), message);
    let cause = Cause::new(Rule::Deadline, "not ready", said, meaning).of_part(part).with_log_of(part);
    match probe {
        Some(_) => cause.advise("see why the program does not answer its probe, or mend the probe's path or port"),
        None => cause,
    }
}

/// The timeout is over before anything could be told.
pub(super) fn late(timeout: Duration, why: &str) -> Cause {
    Cause::new(Rule::Deadline, "timeout", why, timed_out(timeout))
}

/// The words for a timeout that is over.
pub(super) fn timed_out(timeout: Duration) -> String {
    format!("it has not settled within the timeout of {} s", timeout.as_secs())
}
