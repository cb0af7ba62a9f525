//! Gate Jobs: each content runs once, and nothing goes on before it has completed.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::cluster::ApplyOptions;
use crate::error::{Error, Kind, Result};
use crate::event::{Applied, Event, Progress};
use crate::manifest::Object;
use crate::model::ObjectKey;
use crate::stage::Context;
use crate::stage::settle::{Watches, kubectl};
use crate::verdict::{JobVerdict, judge_job};

/// How long the pods of a deleted Job may take to go: longer than any sensible grace period.
const GONE: Duration = Duration::from_secs(300);

/// Runs the Job, attaches to it when it is running already, or passes at once when it has completed before.
///
/// # Errors
/// When it fails: no workload was touched by this wave then.
pub async fn run(context: &Context, watches: &mut Watches, job: &Object) -> Result<Applied> {
    let key = job.key();
    let started = Instant::now();
    let how = match state(context.cluster.get(&key).await?.as_ref()) {
        State::Complete => {
            context.events.send(Event::GateStarted { job: key, how: "already complete".into() });
            return Ok(Applied::Unchanged);
        }
        State::Active => "attached to the one that runs",
        State::Failed(uid) => {
            context.wrote.set();
            context.cluster.delete(&key, Some(&uid)).await?;
            context.cluster.wait_gone(&key, &uid, GONE).await?;
            create(context, job).await?;
            "started again, after it had failed"
        }
        State::Absent => {
            create(context, job).await?;
            "started"
        }
    };
    context.events.send(Event::GateStarted { job: key.clone(), how: how.into() });
    await_end(context, watches, &key, started).await?;
    context.events.send(Event::GatePassed { job: key, elapsed: started.elapsed() });
    Ok(Applied::Created)
}

enum State {
    Absent,
    Active,
    Complete,
    Failed(String),
}

fn state(live: Option<&Value>) -> State {
    let Some(live) = live else { return State::Absent };
    match judge_job(live) {
        JobVerdict::Complete => State::Complete,
        JobVerdict::Failed(_) => State::Failed(live["metadata"]["uid"].as_str().unwrap_or_default().to_owned()),
        JobVerdict::Progressing(_) => State::Active,
    }
}

async fn create(context: &Context, job: &Object) -> Result<()> {
    context.wrote.set();
    let options = ApplyOptions { dry_run: false, force: false };
    match context.cluster.apply(&job.value, options).await {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::new(Kind::Stranded, format!("{}: {error}", job.source))
            .hint("mend the cause and run the same command again")),
    }
}

async fn await_end(context: &Context, watches: &mut Watches, key: &ObjectKey, started: Instant) -> Result<()> {
    let namespace = key.namespace.clone().unwrap_or_default();
    let logs = context.cluster.follow_job(key, {
        let (events, job) = (context.events.clone(), key.clone());
        move |line| events.send(Event::JobLog { job: job.clone(), line })
    });
    let watch = watches.of(&namespace).await?;
    let mut why = String::new();
    loop {
        match watch.snapshot().job(key) {
            Some(JobVerdict::Complete) => {
                logs.finish().await;
                return Ok(());
            }
            Some(JobVerdict::Failed(reason)) => {
                logs.finish().await;
                return Err(failed(key, &reason));
            }
            Some(JobVerdict::Progressing(now)) if now != why => {
                why.clone_from(&now);
                context.events.progress(Progress::Waiting { object: key.clone(), why: now });
            }
            Some(JobVerdict::Progressing(_)) | None => {}
        }
        if timeout_at(started + context.config.settle_timeout, watch.changed()).await.is_err() {
            return Err(failed(key, &format!("it has not ended in time: {why}")));
        }
    }
}

fn failed(key: &ObjectKey, why: &str) -> Error {
    Error::new(Kind::Stranded, format!("{key} failed: {why}"))
        .detail("the workloads behind it were not touched")
        .hint(kubectl(key, "logs", " --all-pods"))
        .hint("mend it and run the same command again: a failed Job is deleted and run anew")
}
