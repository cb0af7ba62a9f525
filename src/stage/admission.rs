//! What the namespaces of the objects say to them: one that is being deleted, and the pods that one would refuse.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde_json::Value;

use crate::error::Error;
use crate::manifest::{Object, Rendered, pod_security};
use crate::model::ObjectKey;
use crate::plan::changes::Changes;
use crate::stage::preflight::CONCURRENT;
use crate::stage::{Context, side_by_side};

/// The namespaces of the objects, by name.
pub struct Namespaces {
    /// As they are now. One that is not there or may not be read is not in it.
    live: BTreeMap<String, Value>,
    /// The Pod Security level that the objects themselves give them.
    given: BTreeMap<String, String>,
}

impl Namespaces {
    /// Reads them.
    pub async fn read(context: &Context, rendered: &Rendered) -> Self {
        let names: BTreeSet<String> = rendered.keys().into_iter().filter_map(|key| key.namespace).collect();
        let live = join_all(names.into_iter().map(|name| async move {
            let key = ObjectKey { api_version: "v1".into(), kind: "Namespace".into(), namespace: None, name };
            let live = context.cluster.get(&key).await.ok().flatten()?;
            Some((key.name, live))
        }));
        let given = rendered.objects().iter().filter(|object| object.kind() == "Namespace");
        let given = given.filter_map(|object| Some((object.name().to_owned(), level(&object.value)?.to_owned())));
        Self { live: live.await.into_iter().flatten().collect(), given: given.collect() }
    }

    /// A namespace that is being deleted takes nothing new, and what is changed in it is lost.
    pub fn dying(&self) -> Vec<Error> {
        self.live.iter().filter_map(|(name, live)| dying(name, live)).collect()
    }

    /// Whether the pods of `object` would be refused, after the API server accepted it with `warnings`.
    pub fn refuses(&self, pods: &Pods, object: &Object, warnings: &[String]) -> Option<Error> {
        let name = object.key().namespace?;
        let given = self.given.get(&name).map(String::as_str);
        // Where this run changes the level, the new one decides.
        let answer = pods.0.get(&object.key()).filter(|text| given.is_none_or(|to| pod_security::refuses(text, to)));
        let enforced = given.or_else(|| self.live.get(&name).and_then(level));
        let warned = || warnings.iter().find(|text| enforced.is_some_and(|by| pod_security::refuses(text, by)));
        answer.or_else(warned).map(|text| pods_refused(object, &name, text))
    }
}

fn level(namespace: &Value) -> Option<&str> {
    namespace["metadata"]["labels"][pod_security::ENFORCE].as_str()
}

fn dying(name: &str, live: &Value) -> Option<Error> {
    live.pointer("/metadata/deletionTimestamp")?;
    let conditions = live["status"]["conditions"].as_array().into_iter().flatten();
    let holds = conditions.filter(|condition| condition["status"] == "True").filter_map(|c| c["message"].as_str());
    Some(
        Error::refused(format!("the namespace {name} is being deleted, so nothing can be deployed to it"))
            .details(holds)
            .hint(format!("wait until it is gone, or see what holds it: kubectl get namespace {name} -o yaml")),
    )
}

fn pods_refused(object: &Object, namespace: &str, text: &str) -> Error {
    // What stands before names the pod that was asked for, which nobody knows.
    let why = text.find("PodSecurity").map_or(text, |start| &text[start..]);
    let known = object.known_as();
    Error::refused(format!("{}: {known}: the namespace {namespace} would refuse its pods: {why}", object.source)).hint(
        format!("correct the pod template, or see which level is set: kubectl get namespace {namespace} --show-labels"),
    )
}

/// What Pod Security says of pods like those that workloads would make.
pub struct Pods(BTreeMap<ObjectKey, String>);

impl Pods {
    /// Asks for a pod of each workload that changes, without writing. A namespace that this run creates cannot be asked yet.
    pub async fn ask(context: &Context, changes: &Changes) -> Self {
        let objects = changes.writes().map(|changed| &changed.object);
        let pods = objects.filter_map(|object| Some((object.key(), pod_security::pod(object)?)));
        let ask = |(key, pod)| async move { Some((key, context.cluster.forbids_pod(&pod).await?)) };
        let answers = side_by_side(pods.map(ask), CONCURRENT).await;
        // Quotas forbid pods too, and may have room again when these are made.
        let violates = |(_, text): &(ObjectKey, String)| pod_security::violated(text).is_some();
        Self(answers.into_iter().flatten().filter(violates).collect())
    }
}
