//! The cause of what is given up: its time is over, and something was in the way.

use std::time::Duration;

use super::cause::{Cause, Rule};
use super::pods::{Part, is_live, parts};
use super::reports::{latest_of, message};
use super::rules::Sign;
use super::rules::exits::meaning as ended;
use super::rules::probes::target;
use super::snapshot::Snapshot;
use super::standing::Standing;

/// What is over, told by the sign that was there all the while.
pub(super) fn headlined(headline: String, standing: &Standing<'_>, signs: &[Sign], snapshot: &Snapshot) -> Cause {
    if let Some(sign) = signs.first() {
        let mut cause = sign.cause.clone();
        cause.rule = Rule::Deadline;
        cause.meaning = format!("{headline}; {}", cause.meaning);
        return cause;
    }
    let Some(part) = unready(standing) else {
        return Cause::new(Rule::Deadline, "deadline", &standing.why, headline);
    };
    if part.waiting().is_some()
        && let Some((_, code, _)) = part.last_end()
    {
        let said = part.waiting().map_or("", |(_, text)| text);
        let meaning = format!("{headline}; {}", ended(&part, part.exits()));
        let cause = Cause::new(Rule::Deadline, format!("exit {code}"), said, meaning);
        return cause.of_part(&part).with_log_of(&part).advise_log_of(&part);
    }
    let probe = target(&part, "readiness").map(|target| format!("; its readiness probe ({target}) fails"));
    let said = latest_of(snapshot, part.pod, "Unhealthy").map_or(standing.why.as_str(), message);
    let meaning = format!("{headline}{}", probe.as_deref().unwrap_or_default());
    let cause = Cause::new(Rule::Deadline, "not ready", said, meaning).of_part(&part).with_log_of(&part);
    if probe.is_some() {
        cause.advise("see why the program does not answer its probe, or mend the probe's path or port")
    } else {
        cause
    }
}

fn unready<'a>(standing: &Standing<'a>) -> Option<Part<'a>> {
    let pods = standing.new_pods.iter().copied().filter(|pod| is_live(pod));
    pods.flat_map(parts).find(|part| !part.status.ready && !part.is_step)
}

/// The timeout is over before anything could be told.
pub(super) fn late(timeout: Duration, why: &str) -> Cause {
    Cause::new(Rule::Deadline, "timeout", why, timed_out(timeout))
}

/// What `--timeout` ends.
pub(super) fn timed_out(timeout: Duration) -> String {
    format!("it has not settled within the timeout of {} s", timeout.as_secs())
}
