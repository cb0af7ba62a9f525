//! Gate Jobs: each content runs once, and nothing behind it goes on before it has completed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::cluster::{ApplyOptions, Watch};
use crate::error::{Error, Kind, Result};
use crate::event::{Applied, Event, Progress};
use crate::manifest::Object;
use crate::manifest::rendered::JOB_LABEL;
use crate::model::ObjectKey;
use crate::stage::apply::Rollout;
use crate::stage::contact::until;
use crate::stage::settle::{Onlooker, Waiting, Watches, expectation, kubectl};
use crate::stage::{Context, apply};
use crate::verdict::{Answers, Expectation, Judge, Limits, Rule, Snapshot, Verdict};

/// How long the pods of a deleted Job may take to go: longer than any sensible grace period.
const GONE: Duration = Duration::from_mins(5);
/// How long a Job of another release may take when nothing else limits it.
const OTHERS: Duration = Duration::from_hours(1);
/// How long the last lines of a pod that has ended may take to arrive.
const LAST_LINES: Duration = Duration::from_secs(3);

/// Runs the Job, attaches to it when it is running already, or passes at once when it has completed before.
///
/// # Errors
/// When it fails, or has not ended in time: no workload behind it was touched then.
pub async fn run(context: &Context, rollout: &Rollout<'_>, watches: &mut Watches, job: &Object) -> Result<Applied> {
    let key = job.key();
    let started = Instant::now();
    after_others(context, watches, job).await?;
    let live = context.cluster.get(&key).await?;
    let (live, how) = match live {
        Some(live) if holds(&live, &["Complete"]) => {
            has_run(context, &key);
            return Ok(Applied::Unchanged);
        }
        Some(live) if holds(&live, &["Failed", "FailureTarget"]) => {
            delete(context, rollout, &key, live["metadata"]["uid"].as_str()).await?;
            (create(context, rollout, job).await?, "started again, after it had failed")
        }
        Some(live) => (live, "attached to the one that runs"),
        None => (create(context, rollout, job).await?, "started"),
    };
    context.events.send(Event::GateStarted { job: key.clone(), how: how.into() });
    let expectation = expectation(&live)?;
    let watch = watches.of(key.namespace.as_deref().unwrap_or_default());
    await_end(context, rollout, watch, expectation, started).await?;
    context.events.send(Event::JobCompleted { job: key, elapsed: started.elapsed() });
    Ok(Applied::Created)
}

/// Waits for Jobs that came from the same manifest with another content and still run: two migrations never run at once.
/// What came of them is not this release's matter.
async fn after_others(context: &Context, watches: &mut Watches, job: &Object) -> Result<()> {
    let key = job.key();
    let Some(base) = job.value["metadata"]["labels"][JOB_LABEL].as_str() else { return Ok(()) };
    let selector = format!("{JOB_LABEL}={base}");
    let namespace = key.namespace.as_deref();
    let jobs = context.cluster.list_all(&key.api_version, &key.kind, namespace, Some(&selector)).await?;
    for other in jobs.iter().filter(|other| !holds(other, &["Complete", "Failed"])) {
        let Some(other) = Expectation::of(other).filter(|other| other.key.name != key.name) else { continue };
        context
            .events
            .send(Event::GateStarted { job: other.key.clone(), how: "awaited: another release started it".into() });
        let watch = watches.of(namespace.unwrap_or_default());
        let limit = context.settle.timeout.unwrap_or(OTHERS);
        let ended = until(context, watch, limit, |snapshot| !is_under_way(context, &other, snapshot)).await?;
        if !ended {
            let message = format!("{} of another release has not ended within {} s", other.key, limit.as_secs());
            return Err(Error::new(Kind::Unknown, message)
                .detail(format!("{key} and the workloads behind it wait for it; nothing of them was touched"))
                .hint(kubectl(&other.key, "logs", " --all-pods"))
                .hint("the same command again waits for it again"));
        }
    }
    Ok(())
}

/// Whether the Job or any of its pods has not ended.
fn is_under_way(context: &Context, job: &Expectation, snapshot: &Snapshot) -> bool {
    let there = snapshot.jobs.get(&job.key.name).is_some();
    let verdict = judge(context, job.clone()).look(snapshot, &Answers::new(), Duration::ZERO);
    there && matches!(verdict, Verdict::Progressing(_)) || has_pods(job, snapshot)
}

/// A Job has its own deadline, and is done when it is complete.
fn judge(context: &Context, job: Expectation) -> Judge {
    let limits = Limits { soak: Duration::ZERO, stall: Duration::MAX, timeout: context.settle.timeout };
    Judge::new(job, Arc::default(), limits, true)
}

fn has_pods(job: &Expectation, snapshot: &Snapshot) -> bool {
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    snapshot.pods.of(&job.uid).any(|pod| !matches!(phase(pod).as_str(), "Succeeded" | "Failed"))
}

/// Says why the Job is not run.
pub fn has_run(context: &Context, job: &ObjectKey) {
    context.events.note(job.name.clone(), "already complete with this content; it is not run again");
}

fn holds(job: &Value, conditions: &[&str]) -> bool {
    let found = |condition: &Value| {
        condition["status"] == "True" && condition["type"].as_str().is_some_and(|kind| conditions.contains(&kind))
    };
    job["status"]["conditions"].as_array().into_iter().flatten().any(found)
}

async fn delete(context: &Context, rollout: &Rollout<'_>, key: &ObjectKey, uid: Option<&str>) -> Result<()> {
    context.wrote.set();
    rollout.journal.write(context.cluster.delete(key, uid)).await??;
    context.cluster.wait_gone(key, uid, GONE).await
}

async fn create(context: &Context, rollout: &Rollout<'_>, job: &Object) -> Result<Value> {
    context.wrote.set();
    match rollout.journal.write(context.cluster.apply(&job.value, ApplyOptions::default())).await? {
        Ok(applied) => {
            context.events.send(Event::ObjectApplied { object: job.key(), outcome: applied.outcome });
            Ok(applied.value)
        }
        Err(error) => Err(apply::refused(job, error)),
    }
}

async fn await_end(
    context: &Context,
    rollout: &Rollout<'_>,
    watch: &mut Watch,
    job: Expectation,
    started: Instant,
) -> Result<()> {
    let mut logs = Logs { context, job: &job, followed: BTreeSet::new(), tasks: JoinSet::new() };
    let mut waiting = Waiting::new(context, watch.clone(), vec![judge(context, job.clone())], started);
    let outcome = waiting.run(&mut logs).await;
    logs.finish().await;
    let Err(error) = outcome else { return Ok(()) };
    let error = error.detail("the workloads behind it were not touched");
    let failed: BTreeSet<Rule> = waiting.failed().iter().map(|(_, cause)| cause.rule).collect();
    let logs = kubectl(&job.key, "logs", " --all-pods");
    let again = "mend it and run the same command again: a failed Job is deleted and run anew";
    if failed.contains(&Rule::Deadline) {
        let attach = "it may still do its work; the same command again attaches to it";
        return Err(error.hint(logs).hint(attach));
    }
    if failed.contains(&Rule::JobFailed) {
        pods_ended(context, watch, &job).await;
        return Err(error.hint(logs).hint(again));
    }
    if failed.is_empty() || failed.contains(&Rule::Deleted) || has_run_once(&job, &watch.snapshot()) {
        return Err(error.hint(logs));
    }
    // Its pods would start as soon as what keeps them is mended, at a time that nobody expects.
    context.events.note(job.key.name.clone(), "it never ran, and is deleted so that it does not run later");
    if let Err(left) = delete(context, rollout, &job.key, Some(&job.uid)).await {
        context.events.warn(job.key.name.clone(), format!("it may still run later: {left}"));
    }
    Err(error.hint(again))
}

/// Whether any of its containers but those before the main ones ever ran.
fn has_run_once(job: &Expectation, snapshot: &Snapshot) -> bool {
    let of_job = snapshot.jobs.get(&job.key.name).and_then(|live| live.status.as_ref());
    let ran = |container: &ContainerStatus| {
        let state = container.state.as_ref();
        container.restart_count > 0 || state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    let statuses = snapshot.pods.of(&job.uid).flat_map(|pod| &pod.status);
    of_job.and_then(|status| status.failed).unwrap_or(0) > 0
        || statuses.flat_map(|status| status.container_statuses.iter().flatten()).any(ran)
}

/// Waits until no pod of a Job that has failed does anything any more: until then nobody else may have the lock.
async fn pods_ended(context: &Context, watch: &mut Watch, job: &Expectation) {
    if has_pods(job, &watch.snapshot()) {
        let why = "it has failed; its pods are ending".to_owned();
        context.events.progress(Progress::Waiting { object: job.key.clone(), why });
    }
    // What has failed has failed, whether its pods are seen to end or not.
    let _ = until(context, watch, GONE, |snapshot| !has_pods(job, snapshot)).await;
}

/// The logs of a Job's pods, each followed once.
struct Logs<'a> {
    context: &'a Context,
    job: &'a Expectation,
    followed: BTreeSet<String>,
    tasks: JoinSet<()>,
}

impl Onlooker for Logs<'_> {
    fn see(&mut self, snapshot: &Snapshot) {
        for pod in snapshot.pods.of(&self.job.uid) {
            let name = pod.metadata.name.clone().unwrap_or_default();
            if self.followed.insert(name.clone()) {
                let containers =
                    pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
                containers.for_each(|container| self.spawn(&name, &container.name));
            }
        }
    }
}

impl Logs<'_> {
    fn spawn(&mut self, pod: &str, container: &str) {
        let (context, job) = (self.context.clone(), self.job.key.clone());
        let (pod, container) = (pod.to_owned(), container.to_owned());
        self.tasks.spawn(async move {
            let namespace = job.namespace.clone().unwrap_or_default();
            let say = |line: &str| context.events.send(Event::JobLog { job: job.clone(), line: line.to_owned() });
            if let Err(error) = context.cluster.follow_logs(&namespace, &pod, &container, say).await {
                context.events.warn(job.name.clone(), format!("its log cannot be read: {error}"));
            }
        });
    }

    /// Waits a moment for the last lines: what is waited for has ended, but its log may still be on the way.
    async fn finish(mut self) {
        let rest = async { while self.tasks.join_next().await.is_some() {} };
        let _ = timeout(LAST_LINES, rest).await;
    }
}
