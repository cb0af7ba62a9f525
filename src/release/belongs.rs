//! What belongs to a service: its workloads, and everything that only they use.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::manifest::{Object, images, is_workload, publish, wave};
use crate::model::{ObjectKey, ServiceName};

/// What a deploy of some services touches, and what it leaves.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// What belongs to the services.
    pub kept: BTreeSet<ObjectKey>,
    /// What does not, and why.
    pub left: Vec<(ObjectKey, String)>,
}

/// Selects from `objects` what belongs to `services`.
///
/// `references` are the users of each service's image. An object is kept when at least one selected workload uses it and
/// no other does; namespaces are kept, since nothing can be applied without them.
pub fn selection(
    objects: &[Object],
    references: &BTreeMap<ServiceName, Vec<ObjectKey>>,
    services: &BTreeSet<ServiceName>,
) -> Selection {
    let chosen: BTreeSet<&ObjectKey> =
        references.iter().filter(|(name, _)| services.contains(*name)).flat_map(|(_, users)| users).collect();
    let mut pods: Vec<Pods> = objects.iter().filter_map(|object| Pods::of(object, &chosen)).collect();
    let runs: Vec<bool> = pods.iter().map(|job| job.key.kind == "Job" && gate(job.object, &pods).is_ok()).collect();
    for (pods, runs) in pods.iter_mut().zip(runs) {
        pods.selected |= runs;
    }
    let mut selection = Selection::default();
    for object in objects {
        match judge(object, objects, &pods) {
            Ok(()) => drop(selection.kept.insert(object.key())),
            Err(why) => selection.left.push((object.key(), why)),
        }
    }
    selection
}

/// Something that runs pods.
struct Pods<'a> {
    object: &'a Object,
    key: ObjectKey,
    selected: bool,
}

impl<'a> Pods<'a> {
    fn of(object: &'a Object, chosen: &BTreeSet<&ObjectKey>) -> Option<Self> {
        let key = object.key();
        let runs = !images::pod_specs(&object.value).is_empty();
        let gate = key.kind == "Job";
        runs.then(|| Self { object, selected: chosen.contains(&key) && !gate, key })
    }

    fn spec(&self) -> &Value {
        images::pod_specs(&self.object.value)[0]
    }

    fn labels(&self) -> &Value {
        let template = self
            .object
            .value
            .pointer("/spec/template")
            .or_else(|| self.object.value.pointer("/spec/jobTemplate/spec/template"));
        &template.unwrap_or(&self.object.value)["metadata"]["labels"]
    }
}

fn judge(object: &Object, objects: &[Object], pods: &[Pods]) -> Result<(), String> {
    let key = object.key();
    if key.kind == "Namespace" {
        return Ok(());
    }
    if key.kind == "Job" {
        return gate(object, pods);
    }
    if let Some(own) = pods.iter().find(|pods| pods.key == key) {
        return if own.selected { Ok(()) } else { Err("it belongs to none of them".into()) };
    }
    let users: Vec<&Pods> = pods.iter().filter(|pods| uses(object, pods, objects)).collect();
    let others: Vec<&str> = users.iter().filter(|user| !user.selected).map(|user| user.key.name.as_str()).collect();
    match (users.len(), others.len()) {
        (0, _) => Err("none of their pods uses it".into()),
        (_, 0) => Ok(()),
        // A copy is never changed: whoever else reads it loses nothing.
        (all, foreign) if all > foreign && publish::is_copy(&object.value) => Ok(()),
        (all, foreign) if all == foreign => Err(format!("it belongs to {}", others.join(", "))),
        _ => Err(format!("{} uses it too", others.join(", "))),
    }
}

/// A gate runs when it gates a selected workload.
fn gate(job: &Object, pods: &[Pods]) -> Result<(), String> {
    let gated = wave::gated(job);
    let gates = |pods: &&Pods| {
        is_workload(&pods.key) && pods.selected && (gated.is_empty() || gated.contains(&pods.key.name.as_str()))
    };
    if pods.iter().any(|pods| gates(&pods)) { Ok(()) } else { Err("it gates none of them".into()) }
}

/// Whether the pods use `object`, directly or through what they use.
fn uses(object: &Object, pods: &Pods, objects: &[Object]) -> bool {
    let key = object.key();
    if key.namespace != pods.key.namespace && key.namespace.is_some() {
        return false;
    }
    match key.kind.as_str() {
        "Service" => serves(object, pods),
        "PodDisruptionBudget" => matches(&object.value["spec"]["selector"], pods.labels()),
        "NetworkPolicy" => matches(&object.value["spec"]["podSelector"], pods.labels()),
        "HorizontalPodAutoscaler" => {
            let target = &object.value["spec"]["scaleTargetRef"];
            target["kind"] == pods.key.kind.as_str() && target["name"] == pods.key.name.as_str()
        }
        "Ingress" => routes(&object.value, pods, objects),
        "RoleBinding" | "ClusterRoleBinding" => binds(&object.value, pods),
        "Role" | "ClusterRole" => objects.iter().any(|binding| {
            binding.kind().ends_with("RoleBinding")
                && binding.value["roleRef"]["name"] == key.name.as_str()
                && binds(&binding.value, pods)
        }),
        "ServiceAccount" => pods.spec()["serviceAccountName"] == key.name.as_str(),
        "ConfigMap" => reads(object, pods, &["configMapRef", "configMapKeyRef", "configMap"]),
        "Secret" => reads(object, pods, &["secretRef", "secretKeyRef", "secret", "imagePullSecrets"]),
        "PersistentVolumeClaim" => names(pods.spec(), &["persistentVolumeClaim"], &key.name),
        _ => false,
    }
}

/// Whether the pods name the object, or what its content is published as.
fn reads(object: &Object, pods: &Pods, fields: &[&str]) -> bool {
    names(pods.spec(), fields, object.name())
        || publish::name_of_copy(object).is_some_and(|copy| names(pods.spec(), fields, &copy))
}

/// A Service without selector selects nothing.
fn serves(service: &Object, pods: &Pods) -> bool {
    let selector = &service.value["spec"]["selector"];
    selector.as_object().is_some_and(|labels| !labels.is_empty()) && selects(selector, pods.labels())
}

/// An empty selector matches everything. One with expressions may match anything, as far as is known here.
fn matches(selector: &Value, labels: &Value) -> bool {
    selects(&selector["matchLabels"], labels)
}

fn selects(selector: &Value, labels: &Value) -> bool {
    selector.as_object().into_iter().flatten().all(|(key, value)| labels[key] == *value)
}

fn binds(binding: &Value, pods: &Pods) -> bool {
    let account = pods.spec()["serviceAccountName"].as_str().unwrap_or("default");
    binding["subjects"].as_array().into_iter().flatten().any(|subject| subject["name"] == account)
}

/// Whether an Ingress sends requests to a Service that selects the pods.
fn routes(ingress: &Value, pods: &Pods, objects: &[Object]) -> bool {
    objects
        .iter()
        .filter(|object| object.kind() == "Service" && serves(object, pods))
        .any(|service| names(ingress, &["service"], service.name()))
}

/// Whether a field called one of `fields` names `name`, anywhere in `value`.
fn names(value: &Value, fields: &[&str], name: &str) -> bool {
    const NAMES: [&str; 3] = ["name", "secretName", "claimName"];
    let named = |reference: &Value| NAMES.iter().any(|field| reference[*field] == name);
    match value {
        Value::Object(map) => map.iter().any(|(field, inner)| {
            let hit = fields.contains(&field.as_str())
                && (named(inner) || inner.as_array().is_some_and(|list| list.iter().any(named)));
            hit || names(inner, fields, name)
        }),
        Value::Array(items) => items.iter().any(|item| names(item, fields, name)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Source;
    use serde_json::json;

    fn object(kind: &str, name: &str, more: &Value) -> Object {
        let api_version = if kind == "Deployment" { "apps/v1" } else { "v1" };
        let mut value =
            json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "shop"}});
        json_patch::merge(&mut value, more);
        Object { value, source: Source { file: "a".into(), document: 1, line: 1 } }
    }

    fn workload(name: &str) -> Object {
        object(
            "Deployment",
            name,
            &json!({"spec": {"template": {"metadata": {"labels": {"app": name}}, "spec": {
            "serviceAccountName": name, "containers": [{"name": name, "image": format!("shop/{name}"),
            "envFrom": [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": name}}]}]}}}}),
        )
    }

    fn chosen(objects: &[Object]) -> Selection {
        let users = |name: &str| {
            objects.iter().filter(|o| o.name() == name && o.kind() == "Deployment").map(Object::key).collect()
        };
        let service = |name: &str| -> ServiceName { name.parse().expect("a name") };
        let references = [(service("api"), users("api")), (service("web"), users("web"))].into();
        selection(objects, &references, &[service("web")].into())
    }

    #[test]
    fn what_only_they_use_goes_with_them_and_what_is_shared_stays() {
        let objects = [
            object("Namespace", "shop", &json!({})),
            workload("api"),
            workload("web"),
            object("Service", "web", &json!({"spec": {"selector": {"app": "web"}}})),
            object("Service", "api", &json!({"spec": {"selector": {"app": "api"}}})),
            object("ConfigMap", "settings", &json!({})),
            object("Secret", "web", &json!({})),
            object("ServiceAccount", "web", &json!({})),
            object("NetworkPolicy", "deny", &json!({"spec": {"podSelector": {}}})),
            object("NetworkPolicy", "web", &json!({"spec": {"podSelector": {"matchLabels": {"app": "web"}}}})),
            object("PodDisruptionBudget", "web", &json!({"spec": {"selector": {"matchLabels": {"app": "web"}}}})),
            object(
                "Ingress",
                "both",
                &json!({"spec": {"rules": [
                {"http": {"paths": [{"backend": {"service": {"name": "web"}}}, {"backend": {"service": {"name": "api"}}}]}}]}}),
            ),
        ];
        let selection = chosen(&objects);
        let kept: Vec<String> = selection.kept.iter().map(|key| format!("{} {}", key.kind, key.name)).collect();
        assert_eq!(
            kept,
            [
                "Deployment web",
                "Namespace shop",
                "NetworkPolicy web",
                "PodDisruptionBudget web",
                "Secret web",
                "Service web",
                "ServiceAccount web"
            ]
        );
        let why = |kind: &str| selection.left.iter().find(|(key, _)| key.kind == kind).map(|(_, why)| why.clone());
        assert_eq!(why("ConfigMap").as_deref(), Some("api uses it too"));
        assert_eq!(why("Ingress").as_deref(), Some("api uses it too"));
    }

    #[test]
    fn a_gate_runs_only_for_those_that_it_gates() {
        let job = |gates: &str| {
            object(
                "Job",
                "migrate",
                &json!({"metadata": {"annotations": {"hdeploy.dev/gates": gates}},
                "spec": {"template": {"spec": {"containers": [{"name": "m", "image": "shop/api"}]}}}}),
            )
        };
        let kept = |gates: &str| {
            let objects = [workload("api"), workload("web"), job(gates)];
            chosen(&objects).kept.iter().any(|key| key.kind == "Job")
        };
        assert!(kept("") && kept("web") && !kept("api"));
    }
}
