//! Waiting until what was applied runs everywhere.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::cluster::{Cluster, Watch};
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Progress};
use crate::manifest::is_workload;
use crate::model::ObjectKey;
use crate::stage::Context;
use crate::verdict::{Expectation, Verdict, judge};

/// The watches of this run, one set per namespace, opened when first needed.
pub struct Watches {
    cluster: Cluster,
    open: BTreeMap<String, Watch>,
}

impl Watches {
    /// None open yet.
    pub fn new(context: &Context) -> Self {
        Self { cluster: context.cluster.clone(), open: BTreeMap::new() }
    }

    /// The watch of `namespace`.
    pub fn of(&mut self, namespace: &str) -> &mut Watch {
        self.open.entry(namespace.to_owned()).or_insert_with(|| self.cluster.watch(namespace))
    }
}

/// Waits until every workload among the live `objects` has settled.
///
/// # Errors
/// When one fails, is changed by somebody else, or is not there at the deadline.
pub async fn settle<'a>(
    context: &Context,
    watches: &mut Watches,
    objects: impl IntoIterator<Item = &'a Value>,
) -> Result<()> {
    let mut by_namespace: BTreeMap<String, Vec<Expectation>> = BTreeMap::new();
    for object in objects {
        let Some(key) = ObjectKey::of(object).filter(is_workload) else { continue };
        let expectation = Expectation::of(object)
            .ok_or_else(|| Error::new(Kind::Unknown, format!("the API server answered no whole object for {key}")))?;
        by_namespace.entry(key.namespace.unwrap_or_default()).or_default().push(expectation);
    }
    let started = Instant::now();
    for (namespace, expected) in by_namespace {
        let watch = watches.of(&namespace);
        in_namespace(context, watch, expected, started).await?;
    }
    Ok(())
}

async fn in_namespace(
    context: &Context,
    watch: &mut Watch,
    mut waiting: Vec<Expectation>,
    started: Instant,
) -> Result<()> {
    let limit = context.config.settle_timeout;
    let mut said: BTreeMap<ObjectKey, String> = BTreeMap::new();
    loop {
        let snapshot = watch.snapshot();
        let synced = watch.synced();
        let mut still = Vec::new();
        for expectation in waiting {
            if !synced {
                still.push(expectation);
                continue;
            }
            match judge(&expectation, &snapshot) {
                Verdict::Settled { replicas } => context.events.send(Event::Settled {
                    workload: expectation.key.clone(),
                    elapsed: started.elapsed(),
                    replicas,
                }),
                Verdict::Progressing(why) => {
                    say(context, &mut said, &expectation.key, why);
                    still.push(expectation);
                }
                Verdict::Superseded(why) => {
                    tell(context, &expectation.key);
                    return Err(superseded(&expectation.key, &why));
                }
                Verdict::Failed(why) => {
                    tell(context, &expectation.key);
                    return Err(failed(&expectation.key, &why));
                }
            }
        }
        waiting = still;
        if waiting.is_empty() {
            return Ok(());
        }
        if timeout_at(started + limit, watch.changed()).await.is_err() {
            for expectation in &waiting {
                tell(context, &expectation.key);
            }
            return Err(late(&waiting, &said, limit, watch.trouble()));
        }
    }
}

fn say(context: &Context, said: &mut BTreeMap<ObjectKey, String>, key: &ObjectKey, why: String) {
    if said.get(key) != Some(&why) {
        context.events.progress(Progress::Waiting { object: key.clone(), why: why.clone() });
        said.insert(key.clone(), why);
    }
}

fn tell(context: &Context, key: &ObjectKey) {
    context.events.send(Event::Failed { subject: key.name.clone(), message: "did not settle".into() });
}

fn superseded(key: &ObjectKey, why: &str) -> Error {
    Error::new(Kind::Unknown, format!("{key} is not what was applied any more: {why}"))
        .hint(format!("see who changed it: {}", kubectl(key, "get", " --show-managed-fields -o yaml")))
}

fn failed(key: &ObjectKey, why: &str) -> Error {
    Error::new(Kind::Stranded, format!("{key} failed: {why}")).hint(kubectl(key, "describe", ""))
}

fn late(
    waiting: &[Expectation],
    said: &BTreeMap<ObjectKey, String>,
    limit: Duration,
    trouble: Option<String>,
) -> Error {
    let why = |key: &ObjectKey| said.get(key).map_or("no sign of it yet", String::as_str).to_owned();
    let details = waiting.iter().map(|expectation| format!("{}: {}", expectation.key, why(&expectation.key)));
    let error = match trouble {
        Some(trouble) => Error::new(Kind::Unknown, format!("contact was lost: {trouble}")),
        None => Error::new(Kind::Stranded, format!("not everything runs after {} s", limit.as_secs())),
    };
    waiting.iter().fold(error.details(details), |error, still| error.hint(kubectl(&still.key, "describe", "")))
}

/// A command to try next.
pub fn kubectl(key: &ObjectKey, verb: &str, options: &str) -> String {
    let namespace = key.namespace.as_ref().map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
    format!("kubectl{namespace} {verb} {}/{}{options}", key.kind.to_lowercase(), key.name)
}
