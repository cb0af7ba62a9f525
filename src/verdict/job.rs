//! Jobs.

use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;

use super::Expectation;
use super::cause::{Cause, Rule};
use super::pods::{is_live, of_controller, parts};
use super::snapshot::Snapshot;
use super::standing::{Early, Meddling, Standing, live, refused_by_event};

/// It is complete only when it says so, and has failed from `FailureTarget` on, while its pods may still be ending.
pub(super) fn standing<'a>(expectation: &'a Expectation, snapshot: &'a Snapshot) -> Result<Standing<'a>, Early> {
    let job: &Job = live(expectation, snapshot)?;
    let pods = of_controller(snapshot, &expectation.uid);
    let suspended = job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true);
    if suspended {
        return Err(Early::Superseded(Meddling::Suspended));
    }
    let Some(status) = job.status.as_ref().filter(|status| status.start_time.is_some()) else {
        return Err(Early::Unobserved);
    };
    if let Some(condition) = holds(status, "Failed").or_else(|| holds(status, "FailureTarget")) {
        return Err(Early::Failed(Box::new(failure(condition, &pods))));
    }
    if holds(status, "Complete").is_some() {
        return Ok(Standing {
            complete: true,
            available: status.succeeded.unwrap_or(0),
            ..on_its_way(String::new(), pods)
        });
    }
    let refused = refused_by_event(&expectation.uid, snapshot).filter(|_| pods.is_empty());
    let why = progress(job, status, &pods);
    let standing = Standing { refused, ..on_its_way(String::new(), pods) };
    Ok(standing.told(Some(why), snapshot))
}

fn on_its_way(why: String, new_pods: Vec<&Pod>) -> Standing<'_> {
    Standing { why, new_pods, is_job: true, ..Standing::counted(0, 0, 0) }
}

fn holds<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind && condition.status == "True")
}

fn failure(condition: &JobCondition, pods: &[&Pod]) -> Cause {
    let reason = condition.reason.as_deref().unwrap_or("Failed");
    let text = condition.message.as_deref().unwrap_or_default();
    let ended = pods.iter().copied().flat_map(parts).filter_map(|part| {
        let (reason, code, _) = part.last_end()?;
        (code != 0).then_some((part, reason, code))
    });
    let newest = ended.max_by_key(|(part, ..)| part.pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
    let late = reason == "DeadlineExceeded";
    let advice = "mend it and run the same command again: a failed Job is deleted and run anew";
    match newest {
        Some((part, why, code)) if !late => {
            let meaning = match why {
                "OOMKilled" => format!("{} used more memory than it may and was killed", part.known_as()),
                "StartError" => format!("the command of {} cannot be started", part.known_as()),
                _ => format!("{} ended with exit code {code}", part.known_as()),
            };
            Cause::new(Rule::JobFailed, reason, text, meaning).of_part(&part).advise(advice)
        }
        _ if late => {
            Cause::new(Rule::JobFailed, reason, text, "it took longer than its activeDeadlineSeconds").advise(advice)
        }
        _ => Cause::new(Rule::JobFailed, reason, text, "it has failed").advise(advice),
    }
}

fn progress(job: &Job, status: &JobStatus, pods: &[&Pod]) -> String {
    let failed = status.failed.unwrap_or(0);
    let limit = job.spec.as_ref().and_then(|spec| spec.backoff_limit).unwrap_or(6);
    let live = pods.iter().any(|pod| is_live(pod));
    match (live, failed) {
        (true, 0) => "running".to_owned(),
        (true, _) => format!("running, after {failed} failed pods"),
        (false, 0) if pods.is_empty() => "its pod is not there yet".to_owned(),
        (false, 0) => "its pod has ended".to_owned(),
        (false, _) => format!("{failed} failed pods of {}; the next one comes", limit.saturating_add(1)),
    }
}
