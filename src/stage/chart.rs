//! Charts that the cluster installs by itself. What a HelmChartConfig changes never shows in that object: only in the Job
//! that installs the chart anew, which starts again and again when it fails, and in what the chart runs.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::cluster::{Look, Watch};
use crate::error::{Error, Kind, Result};
use crate::event::Progress;
use crate::manifest::Wave;
use crate::model::ObjectKey;
use crate::plan::changes::Action;
use crate::stage::Context;
use crate::stage::apply::Rollout;
use crate::stage::settle::{Awaited, Watches, kubectl, settle};
use crate::verdict::{Answers, Expectation, Judge, Limits, Progressing, Snapshot, Verdict};

const GROUP: &str = "helm.cattle.io";
/// What Helm notes on everything that a chart brings.
const RELEASE: &str = "meta.helm.sh/release-name";
/// How long the controller may take to replace the Job.
const BEGINS: Duration = Duration::from_mins(1);
/// How long installing may take when nothing else limits it.
const INSTALLS: Duration = Duration::from_mins(10);
/// So many ends of its container are no accident.
const EXITS: i32 = 3;
const LINES: u32 = 20;

/// A chart that is about to be configured anew.
pub struct Chart {
    name: String,
    namespace: String,
    job: ObjectKey,
    /// Uid of the Job that installed it the last time.
    before: Option<String>,
}

/// The charts that `wave` is about to configure anew.
///
/// # Errors
/// When the cluster cannot be asked.
pub async fn changed(context: &Context, rollout: &Rollout<'_>, wave: &Wave) -> Result<Vec<Chart>> {
    let mut charts = Vec::new();
    for object in &wave.objects {
        let key = object.key();
        let differs = rollout.changes.get(&key).is_some_and(|changed| {
            changed.action != Action::Keep
                && changed.live.as_ref().map(|live| &live["spec"]) != Some(&object.value["spec"])
        });
        if key.group() == GROUP && key.kind == "HelmChartConfig" && differs {
            charts.extend(chart(context, key).await?);
        }
    }
    Ok(charts)
}

/// `None` when the cluster installs no chart of that name.
async fn chart(context: &Context, config: ObjectKey) -> Result<Option<Chart>> {
    let job = ObjectKey {
        api_version: "batch/v1".into(),
        kind: "Job".into(),
        name: format!("helm-install-{}", config.name),
        ..config.clone()
    };
    let itself = ObjectKey { kind: "HelmChart".into(), ..config.clone() };
    let before = match (context.cluster.look(&job).await?, context.cluster.look(&itself).await?) {
        (Look::Object(job), _) => job["metadata"]["uid"].as_str().map(str::to_owned),
        (_, Look::Object(_)) => None,
        _ => {
            context.events.note(
                config.to_string(),
                "the cluster installs no chart of that name, so there is nothing to wait for",
            );
            return Ok(None);
        }
    };
    let namespace = config.namespace.unwrap_or_default();
    Ok(Some(Chart { name: config.name, namespace, job, before }))
}

/// Waits until the charts are installed and what they run has settled.
///
/// # Errors
/// When the Job of one fails, or its container ends again and again.
pub async fn follow(context: &Context, watches: &mut Watches, charts: Vec<Chart>) -> Result<()> {
    for chart in charts {
        installed(context, watches.of(&chart.namespace), &chart).await?;
        let mut workloads = Vec::new();
        for kind in ["Deployment", "DaemonSet", "StatefulSet"] {
            let all = context.cluster.list_all("apps/v1", kind, Some(&chart.namespace), None).await?;
            let of_chart = |live: &Value| live["metadata"]["annotations"][RELEASE] == chart.name.as_str();
            workloads.extend(all.into_iter().filter(of_chart));
        }
        settle(context, watches, workloads.iter().map(|object| Awaited { object, changed: true })).await?;
    }
    Ok(())
}

async fn installed(context: &Context, watch: &mut Watch, chart: &Chart) -> Result<()> {
    let started = Instant::now();
    let mut said = String::new();
    let mut judge: Option<Judge> = None;
    loop {
        let snapshot = watch.snapshot();
        let limit = context.settle.timeout.unwrap_or(INSTALLS);
        let limit = if judge.is_some() { limit } else { BEGINS };
        match look(chart, &mut judge, &snapshot, started.elapsed()) {
            Verdict::Settled { .. } => return Ok(()),
            Verdict::Failed(cause) => return Err(failed(context, chart, &snapshot, &cause.meaning).await),
            Verdict::Superseded(why) | Verdict::Unknown(why) => {
                return Err(failed(context, chart, &snapshot, &why).await);
            }
            Verdict::Progressing(on) if on.why != said => {
                context.events.progress(Progress::Waiting { object: chart.job.clone(), why: on.why.clone() });
                said = on.why;
            }
            Verdict::Progressing(_) => {}
        }
        if timeout_at(started + limit, watch.changed()).await.is_err() {
            let why = watch.trouble().unwrap_or(said);
            let message = format!("{} has not ended in time: {why}", chart.job);
            return Err(Error::new(Kind::Unknown, message).hint(kubectl(&chart.job, "describe", "")));
        }
    }
}

/// The controller may replace the Job once more: one that is gone says nothing.
fn look(chart: &Chart, judge: &mut Option<Judge>, snapshot: &Snapshot, now: Duration) -> Verdict {
    let Some(job) = current(chart, snapshot) else {
        let why = "the cluster has not begun to install the chart anew".to_owned();
        return Verdict::Progressing(Progressing { why, ..Progressing::default() });
    };
    let exits = containers(&job, snapshot).map(|(_, container)| exits(container)).max().unwrap_or(0);
    let judge = match judge {
        Some(judge) if judge.expectation().uid == job.uid => judge,
        other => {
            let limits = Limits { soak: Duration::ZERO, stall: Duration::MAX, timeout: None };
            other.insert(Judge::new(job, Arc::default(), limits, true))
        }
    };
    match judge.look(snapshot, &Answers::new(), now) {
        Verdict::Progressing(_) if exits >= EXITS => Verdict::Unknown(format!("its container has ended {exits} times")),
        verdict => verdict,
    }
}

/// The Job that installs the chart with its new configuration.
fn current(chart: &Chart, snapshot: &Snapshot) -> Option<Expectation> {
    let uid = snapshot.jobs.get(&chart.job.name)?.metadata.uid.clone()?;
    let new = Some(&uid) != chart.before.as_ref();
    new.then(|| Expectation::whatever(chart.job.clone(), uid))
}

fn containers<'a>(
    job: &'a Expectation,
    snapshot: &'a Snapshot,
) -> impl Iterator<Item = (&'a Pod, &'a ContainerStatus)> {
    snapshot.pods.of(&job.uid).flat_map(|pod| {
        let status = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        status.map(move |container| (pod, container))
    })
}

fn exits(container: &ContainerStatus) -> i32 {
    let state = container.state.as_ref();
    let ended = state.is_some_and(|state| state.terminated.is_some() || state.waiting.is_some());
    if container.restart_count > 0 || state.is_some_and(|state| state.terminated.is_some()) {
        container.restart_count + i32::from(ended)
    } else {
        0
    }
}

async fn failed(context: &Context, chart: &Chart, snapshot: &Snapshot, why: &str) -> Error {
    let mut lines = Vec::new();
    if let Some(job) = current(chart, snapshot) {
        for (pod, container) in containers(&job, snapshot) {
            let pod = pod.metadata.name.as_deref().unwrap_or_default();
            let previous = container.state.as_ref().is_none_or(|state| state.terminated.is_none());
            let last = context.cluster.last_lines(&chart.namespace, pod, &container.name, previous, LINES).await;
            lines.extend(last.unwrap_or_default());
        }
    }
    Error::new(Kind::Stranded, format!("{} failed: {why}", chart.job))
        .details(lines)
        .hint(kubectl(&chart.job, "logs", ""))
}
