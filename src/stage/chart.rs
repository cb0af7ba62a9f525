//! Charts that the cluster installs by itself. What a HelmChartConfig changes never shows in that object: only in the Job
//! that installs the chart anew, which starts again and again when it fails, and in what the chart runs.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::cluster::{Look, Watch};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Progress};
use crate::manifest::Wave;
use crate::model::ObjectKey;
use crate::plan::changes::Action;
use crate::stage::Context;
use crate::stage::apply::Rollout;
use crate::stage::contact::until;
use crate::stage::settle::{Awaited, Nothing, Waiting, Watches, kubectl, settle};
use crate::verdict::{Expectation, Judge, Limits, Snapshot};

const GROUP: &str = "helm.cattle.io";
/// What Helm notes on everything that a chart brings.
const RELEASE: &str = "meta.helm.sh/release-name";
/// How long the controller may take to replace the Job.
const BEGINS: Duration = Duration::from_mins(1);
/// How long installing may take when nothing else limits it.
const INSTALLS: Duration = Duration::from_mins(10);

/// A chart that is about to be configured anew.
pub struct Chart {
    name: String,
    namespace: String,
    job: ObjectKey,
    /// Uid of the Job that installed it the last time.
    before: Option<String>,
}

/// The charts that `wave` is about to configure anew, and how things stand where they run.
///
/// # Errors
/// When the cluster cannot be asked.
pub async fn changed(
    context: &Context,
    watches: &mut Watches,
    rollout: &Rollout<'_>,
    wave: &Wave,
) -> Result<Vec<Chart>> {
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
    for chart in &charts {
        watches.measure(&chart.namespace).await?;
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
        settle(context, watches, workloads.into_iter().map(|object| Awaited { object, changed: true })).await?;
    }
    Ok(())
}

/// Until a Job that came after the configuration is complete. The controller may replace it once more.
async fn installed(context: &Context, watch: &mut Watch, chart: &Chart) -> Result<()> {
    let started = Instant::now();
    let why = "the cluster has not begun to install the chart anew";
    context.events.progress(Progress::Waiting { object: chart.job.clone(), why: why.to_owned() });
    if !until(context, watch, BEGINS, |snapshot| current(chart, snapshot).is_some()).await? {
        let message = format!("{} was not made anew within {} s", chart.job, BEGINS.as_secs());
        return Err(Error::new(Kind::Unknown, message).because(why).hint(kubectl(&chart.job, "describe", "")));
    }
    let uid = current(chart, &watch.snapshot()).unwrap_or_default();
    let job = Expectation { replaceable: true, ..Expectation::whatever(chart.job.clone(), uid) };
    let timeout = Some(context.settle.timeout.unwrap_or(INSTALLS));
    let limits = Limits { soak: Duration::ZERO, stall: Duration::MAX, timeout };
    let judge = Judge::new(job, Arc::default(), limits, true);
    let outcome = Waiting::new(context, watch.clone(), vec![judge], started).run(&mut Nothing).await;
    outcome.map_err(|error| error.hint(kubectl(&chart.job, "logs", "")))?;
    context.events.send(Event::JobCompleted { job: chart.job.clone(), elapsed: started.elapsed() });
    Ok(())
}

/// Uid of the Job that installs the chart with its new configuration.
fn current(chart: &Chart, snapshot: &Snapshot) -> Option<String> {
    let metadata = &snapshot.jobs.get(&chart.job.name)?.metadata;
    let uid = metadata.uid.clone().filter(|uid| Some(uid) != chart.before.as_ref())?;
    metadata.deletion_timestamp.is_none().then_some(uid)
}
