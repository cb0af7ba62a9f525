//! Jobs.

use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::{Event, Pod};

use super::pods::{is_live, of_controller};
use super::snapshot::Snapshot;
use super::words::{shortened, troubled};
use super::{Expectation, Verdict, live};

/// Judges a Job: it has settled only when it is `Complete`, and failed from `FailureTarget` on, while its pods may
/// still be ending.
pub fn judge_job(expectation: &Expectation, snapshot: &Snapshot) -> Verdict {
    let job: &Job = match live(expectation, snapshot) {
        Ok(job) => job,
        Err(verdict) => return verdict,
    };
    let status = job.status.clone().unwrap_or_default();
    if let Some(condition) = holds(&status, "Failed").or_else(|| holds(&status, "FailureTarget")) {
        return Verdict::Failed(failure(condition));
    }
    if holds(&status, "Complete").is_some() {
        return Verdict::Settled { replicas: status.succeeded.unwrap_or(0) };
    }
    let suspended = job.spec.as_ref().and_then(|spec| spec.suspend) == Some(true);
    Verdict::Progressing(if suspended {
        "it is suspended".to_owned()
    } else {
        progress(expectation, &status, snapshot)
    })
}

fn holds<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind && condition.status == "True")
}

fn failure(condition: &JobCondition) -> String {
    let reason = condition.reason.as_deref().unwrap_or("Failed");
    match condition.message.as_deref().filter(|message| !message.is_empty()) {
        Some(message) => format!("{reason}: {}", shortened(message)),
        None => reason.to_owned(),
    }
}

fn progress(expectation: &Expectation, status: &JobStatus, snapshot: &Snapshot) -> String {
    let pods: Vec<&Pod> = of_controller(snapshot, &expectation.uid);
    if let Some(text) = troubled(&pods, snapshot) {
        return text;
    }
    if pods.is_empty() {
        return refused_pods(expectation, snapshot).unwrap_or_else(|| "its pod is not there yet".to_owned());
    }
    if !pods.iter().any(|pod| is_live(pod)) {
        return "its pod has ended".to_owned();
    }
    match status.failed.unwrap_or(0) {
        0 => "running".to_owned(),
        failed => format!("running, after {failed} failed pods"),
    }
}

/// Only events say why a Job has no pods.
fn refused_pods(expectation: &Expectation, snapshot: &Snapshot) -> Option<String> {
    let about = |event: &&Event| {
        event.involved_object.uid.as_deref() == Some(&expectation.uid)
            && event.reason.as_deref() == Some("FailedCreate")
    };
    let latest =
        snapshot.events.iter().filter(about).max_by_key(|event| event.last_timestamp.as_ref().map(|time| time.0))?;
    Some(format!("no pod: {}", shortened(latest.message.as_deref().unwrap_or_default())))
}
