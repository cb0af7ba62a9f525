//! Jobs.

use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;

use super::Expectation;
use super::cause::{Cause, Rule};
use super::pods::{is_live, of_controller, parts};
use super::snapshot::Snapshot;
use super::standing::{Early, Standing, live, refused_by_event};

/// It is complete only when it says so, and has failed from `FailureTarget` on, while its pods may still be ending.
pub(super) fn standing<'a>(expectation: &'a Expectation, snapshot: &'a Snapshot) -> Result<Standing<'a>, Early> {
    let job: &Job = live(expectation, snapshot)?;
    let pods = of_controller(snapshot, &expectation.uid);
    let Some(status) = &job.status else {
        return Ok(on_its_way("its pod is not there yet".to_owned(), pods));
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
    let suspended = job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true);
    if suspended {
        return Ok(on_its_way("it is suspended".to_owned(), pods));
    }
    let refused = refused_by_event(&expectation.uid, snapshot).filter(|_| pods.is_empty());
    let why = progress(job, status, &pods, refused.is_some());
    let standing = Standing { refused, ..on_its_way(why.0, pods) };
    Ok(standing.told(Some(why.1), snapshot))
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

fn progress(job: &Job, status: &JobStatus, pods: &[&Pod], refused: bool) -> (String, String) {
    let failed = status.failed.unwrap_or(0);
    let limit = job.spec.as_ref().and_then(|spec| spec.backoff_limit).unwrap_or(6);
    let why = if pods.is_empty() && failed == 0 && !refused {
        "its pod is not there yet".to_owned()
    } else if refused {
        String::new()
    } else if failed > 0 && !pods.iter().any(|pod| is_live(pod)) {
        format!("{failed} failed pods of {}; the next one comes", limit.saturating_add(1))
    } else if !pods.iter().any(|pod| is_live(pod)) {
        "its pod has ended".to_owned()
    } else if failed > 0 {
        format!("running, after {failed} failed pods")
    } else {
        "running".to_owned()
    };
    (String::new(), why)
}
