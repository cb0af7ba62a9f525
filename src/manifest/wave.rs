//! The order in which objects are applied.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::{Object, is_workload};
use crate::error::{Error, Result};
use crate::model::ObjectKey;
use crate::suggest::did_you_mean;

/// Annotation of a workload or gate Job: the workloads that must run before it.
const AFTER: &str = "hdeploy.dev/after";
/// Annotation of a Job: the workloads that wait for it; all of them without it.
const GATES: &str = "hdeploy.dev/gates";

/// What a wave holds. Their order is the order of waves, but for gates and workloads, which the configuration may
/// interleave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaveKind {
    /// Namespaces.
    Namespaces,
    /// CustomResourceDefinitions.
    CustomResourceDefinitions,
    /// ServiceAccounts, roles and bindings.
    AccessControl,
    /// ConfigMaps, Secrets, volumes, quotas and the like: what pods start with.
    Configuration,
    /// NetworkPolicies that will allow less, with the rules of both releases meanwhile.
    WidenedPolicies,
    /// NetworkPolicies that allow something.
    AllowingPolicies,
    /// NetworkPolicies that deny what others do not allow.
    DenyingPolicies,
    /// Services.
    Services,
    /// Jobs that must complete before workloads are touched.
    Gate,
    /// What runs pods.
    Workloads,
    /// Everything else.
    Rest,
    /// NetworkPolicies that allow less than before, when nothing of the old release runs any more.
    NarrowedPolicies,
}

impl fmt::Display for WaveKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespaces => "namespaces",
            Self::CustomResourceDefinitions => "custom resource definitions",
            Self::AccessControl => "access control",
            Self::Configuration => "configuration",
            Self::WidenedPolicies => "network policies of both releases",
            Self::AllowingPolicies => "allowing network policies",
            Self::DenyingPolicies => "denying network policies",
            Self::Services => "services",
            Self::Gate => "gate jobs",
            Self::Workloads => "workloads",
            Self::Rest => "everything else",
            Self::NarrowedPolicies => "narrowed network policies",
        })
    }
}

/// Objects that are applied side by side, after everything before them has settled.
#[derive(Clone, Debug)]
pub struct Wave {
    /// What it holds.
    pub kind: WaveKind,
    /// The objects.
    pub objects: Vec<Object>,
}

impl Wave {
    /// What identifies its objects.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.objects.iter().map(Object::key).collect()
    }
}

/// The wave of `object`, which is whole.
pub fn kind_of(object: &Value) -> WaveKind {
    let Some(key) = ObjectKey::of(object) else { return WaveKind::Rest };
    match (key.group(), key.kind.as_str()) {
        ("", "Namespace") => WaveKind::Namespaces,
        ("apiextensions.k8s.io", _) => WaveKind::CustomResourceDefinitions,
        ("", "ServiceAccount") | ("rbac.authorization.k8s.io", _) => WaveKind::AccessControl,
        (
            "",
            "ConfigMap" | "Secret" | "PersistentVolumeClaim" | "PersistentVolume" | "ResourceQuota" | "LimitRange",
        )
        | ("scheduling.k8s.io" | "storage.k8s.io", _) => WaveKind::Configuration,
        ("networking.k8s.io", "NetworkPolicy") if denies(object) => WaveKind::DenyingPolicies,
        ("networking.k8s.io", "NetworkPolicy") => WaveKind::AllowingPolicies,
        ("", "Service") => WaveKind::Services,
        ("batch", "Job") => WaveKind::Gate,
        ("", "Pod") | ("apps", "ReplicaSet") => WaveKind::Workloads,
        _ if is_workload(&key) => WaveKind::Workloads,
        _ => WaveKind::Rest,
    }
}

fn denies(policy: &Value) -> bool {
    let rules = |field: &str| policy["spec"][field].as_array().is_some_and(|rules| !rules.is_empty());
    !rules("ingress") && !rules("egress")
}

/// Sorts `objects` into waves; `order` names workloads and Jobs by their names in the manifests.
pub fn waves(objects: &[Object], order: &BTreeMap<String, Vec<String>>) -> Result<Vec<Wave>> {
    let mut by_kind: BTreeMap<WaveKind, Vec<Object>> = BTreeMap::new();
    for object in objects {
        by_kind.entry(kind_of(&object.value)).or_default().push(object.clone());
    }
    let gates = by_kind.remove(&WaveKind::Gate).unwrap_or_default();
    let workloads = by_kind.remove(&WaveKind::Workloads).unwrap_or_default();
    let rest = by_kind.remove(&WaveKind::Rest);
    let mut waves: Vec<Wave> = by_kind.into_iter().map(|(kind, objects)| Wave { kind, objects }).collect();
    waves.extend(running(&gates, &workloads, order)?);
    waves.extend(rest.map(|objects| Wave { kind: WaveKind::Rest, objects }));
    Ok(waves)
}

/// Gates and workloads in levels: each after everything that it waits for.
fn running(gates: &[Object], workloads: &[Object], order: &BTreeMap<String, Vec<String>>) -> Result<Vec<Wave>> {
    let mut edges = Edges::new(gates, workloads, order);
    edges.gate(gates, workloads);
    let levels = edges.levels()?;
    let last = levels.values().max().copied().unwrap_or(0);
    let mut waves = Vec::new();
    for level in 0..=last {
        for (kind, objects) in [(WaveKind::Workloads, workloads), (WaveKind::Gate, gates)] {
            let here = |object: &&Object| levels[&base_name(object)] == level;
            let objects: Vec<Object> = objects.iter().filter(here).cloned().collect();
            if !objects.is_empty() {
                waves.push(Wave { kind, objects });
            }
        }
    }
    Ok(waves)
}

/// The name in the manifests: that of a Job is followed by a hash by now.
fn base_name(object: &Object) -> String {
    let label = object.value["metadata"]["labels"][super::rendered::JOB_LABEL].as_str();
    label.unwrap_or(object.name()).to_owned()
}

/// Name to the names that it waits for.
struct Edges(BTreeMap<String, BTreeSet<String>>);

impl Edges {
    fn new(gates: &[Object], workloads: &[Object], order: &BTreeMap<String, Vec<String>>) -> Self {
        let everything: Vec<&Object> = gates.iter().chain(workloads).collect();
        let mut edges: BTreeMap<String, BTreeSet<String>> =
            everything.iter().map(|object| (base_name(object), BTreeSet::new())).collect();
        let mut wanted: Vec<(String, String)> = Vec::new();
        for (name, before) in order {
            wanted.extend(before.iter().map(|other| (name.clone(), other.clone())));
        }
        for object in &everything {
            wanted.extend(names(object.annotation(AFTER)).map(|other| (base_name(object), other.to_owned())));
        }
        for (name, other) in wanted {
            // What this run leaves alone needs no order.
            let Some(before) = edges.get(&name) else { continue };
            if !before.contains(&other) && edges.contains_key(&other) {
                edges.entry(name).or_default().insert(other);
            }
        }
        Self(edges)
    }

    /// Every gate before the workloads that it gates, but for those that it waits for itself.
    fn gate(&mut self, gates: &[Object], workloads: &[Object]) {
        for gate in gates {
            let name = base_name(gate);
            let before = self.everything_before(&name);
            let gated: BTreeSet<&str> = names(gate.annotation(GATES)).collect();
            for workload in workloads.iter().map(base_name) {
                let is_gated = gated.is_empty() || gated.contains(workload.as_str());
                if is_gated && !before.contains(&workload) {
                    self.0.entry(workload).or_default().insert(name.clone());
                }
            }
        }
    }

    fn everything_before(&self, name: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut next = vec![name.to_owned()];
        while let Some(name) = next.pop() {
            for before in self.0.get(&name).into_iter().flatten() {
                if found.insert(before.clone()) {
                    next.push(before.clone());
                }
            }
        }
        found
    }

    fn levels(&self) -> Result<BTreeMap<String, usize>> {
        let mut levels: BTreeMap<String, usize> = BTreeMap::new();
        while levels.len() < self.0.len() {
            let ready: Vec<(String, usize)> = self
                .0
                .iter()
                .filter(|(name, _)| !levels.contains_key(*name))
                .filter_map(|(name, before)| {
                    let levels: Option<Vec<usize>> = before.iter().map(|other| levels.get(other).copied()).collect();
                    Some((name.clone(), levels?.into_iter().max().map_or(0, |level| level + 1)))
                })
                .collect();
            if ready.is_empty() {
                let circle: Vec<&str> =
                    self.0.keys().filter(|name| !levels.contains_key(*name)).map(String::as_str).collect();
                return Err(Error::refused(format!("the order runs in a circle, or behind one: {}", circle.join(", ")))
                    .hint("look at `order` of the configuration, and at the annotations hdeploy.dev/after and hdeploy.dev/gates"));
            }
            levels.extend(ready);
        }
        Ok(levels)
    }
}

fn names(annotation: Option<&str>) -> impl Iterator<Item = &str> {
    annotation.into_iter().flat_map(|text| text.split(',')).map(str::trim).filter(|name| !name.is_empty())
}

/// The workloads that `gate` names; none when it gates them all.
pub fn gated(gate: &Object) -> Vec<&str> {
    names(gate.annotation(GATES)).collect()
}

/// Names in orders and gates that nothing has, not even what is `left_out`: a typo there would quietly take a gate away.
pub fn unknown_names(objects: &[Object], left_out: &[Object], order: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let known: BTreeSet<&str> =
        objects.iter().chain(left_out).filter(|object| runs(object)).map(Object::name).collect();
    let mut named: Vec<(String, &str)> = Vec::new();
    for (name, before) in order {
        named.push(("order of the configuration".into(), name));
        named.extend(before.iter().map(|other| (format!("order of {name} in the configuration"), other.as_str())));
    }
    for object in objects {
        for annotation in [AFTER, GATES] {
            let origin = || format!("{}: {annotation}", object.source);
            named.extend(names(object.annotation(annotation)).map(|name| (origin(), name)));
        }
    }
    let shared = shared_names(objects).into_iter();
    let wrong = named.into_iter().filter(|(_, name)| !known.contains(name));
    shared
        .chain(
            wrong.map(|(origin, name)| format!("{origin} names {name}{}", did_you_mean(name, known.iter().copied()))),
        )
        .collect()
}

/// Orders go by names alone, so that no two things that run may share one.
fn shared_names(objects: &[Object]) -> Vec<String> {
    let mut seen: BTreeMap<&str, &Object> = BTreeMap::new();
    let mut shared = Vec::new();
    for object in objects.iter().filter(|object| runs(object)) {
        if let Some(first) = seen.insert(object.name(), object).filter(|first| first.kind() != object.kind()) {
            let (kind, name, other) = (object.kind(), object.name(), first.kind());
            shared.push(format!(
                "{}: {kind} {name} and {other} {name} share a name, and orders go by names: rename one",
                object.source
            ));
        }
    }
    shared
}

fn runs(object: &Object) -> bool {
    matches!(kind_of(&object.value), WaveKind::Gate | WaveKind::Workloads)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Source;
    use serde_json::{Value, json};

    fn object(api_version: &str, kind: &str, name: &str, more: &Value) -> Object {
        let mut value = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}});
        json_patch::merge(&mut value, more);
        Object { value, source: Source { file: format!("{name}.yaml").into(), document: 1, line: 1 } }
    }

    fn workload(name: &str) -> Object {
        object("apps/v1", "Deployment", name, &json!({}))
    }

    fn job(name: &str, gates: &str) -> Object {
        object("batch/v1", "Job", name, &json!({"metadata": {"annotations": {GATES: gates}}}))
    }

    fn order(pairs: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        let entry = |(name, before): &(&str, &[&str])| {
            ((*name).to_owned(), before.iter().map(|&other| other.to_owned()).collect())
        };
        pairs.iter().map(entry).collect()
    }

    fn said(objects: &[Object], pairs: &[(&str, &[&str])]) -> Vec<String> {
        let waves = waves(objects, &order(pairs)).expect("waves");
        waves
            .iter()
            .map(|wave| {
                let names: Vec<&str> = wave.objects.iter().map(Object::name).collect();
                format!("{}: {}", wave.kind, names.join(" "))
            })
            .collect()
    }

    #[test]
    fn kinds_come_in_the_order_in_which_they_need_each_other() {
        let policy =
            |name: &str, spec: Value| object("networking.k8s.io/v1", "NetworkPolicy", name, &json!({"spec": spec}));
        let objects = [
            object("example.com/v1", "Thing", "thing", &json!({})),
            object("autoscaling/v2", "HorizontalPodAutoscaler", "api", &json!({})),
            workload("api"),
            job("migrate", ""),
            object("v1", "Service", "api", &json!({})),
            policy("deny", json!({"podSelector": {}, "policyTypes": ["Ingress"]})),
            policy("allow", json!({"ingress": [{}]})),
            object("v1", "ConfigMap", "settings", &json!({})),
            object("rbac.authorization.k8s.io/v1", "Role", "api", &json!({})),
            object("apiextensions.k8s.io/v1", "CustomResourceDefinition", "things", &json!({})),
            object("v1", "Namespace", "shop", &json!({})),
        ];
        assert_eq!(
            said(&objects, &[]),
            [
                "namespaces: shop",
                "custom resource definitions: things",
                "access control: api",
                "configuration: settings",
                "allowing network policies: allow",
                "denying network policies: deny",
                "services: api",
                "gate jobs: migrate",
                "workloads: api",
                "everything else: thing api",
            ]
        );
    }

    #[test]
    fn a_gate_waits_for_what_it_needs_and_the_others_wait_for_it() {
        let objects = [workload("api"), workload("redis"), workload("web"), job("migrate", "")];
        assert_eq!(
            said(&objects, &[("migrate", &["redis"]), ("web", &["api"])]),
            ["workloads: redis", "gate jobs: migrate", "workloads: api", "workloads: web"]
        );
        let objects = [workload("api"), workload("web"), job("migrate", "api")];
        assert_eq!(said(&objects, &[]), ["workloads: web", "gate jobs: migrate", "workloads: api"]);
    }

    #[test]
    fn an_order_that_cannot_be_is_refused() {
        let objects = [workload("api"), workload("web")];
        let circle = waves(&objects, &order(&[("api", &["web"]), ("web", &["api"])])).expect_err("a circle");
        assert!(circle.message.contains("api, web"), "{circle:?}");
    }

    #[test]
    fn a_name_that_nothing_has_is_told_with_the_nearest() {
        let mut web = workload("web");
        web.value["metadata"]["annotations"][AFTER] = json!("apy");
        let objects = [workload("api"), web, job("migrate", "api,wep")];
        let findings = unknown_names(&objects, &[], &order(&[("api", &["migrat"]), ("nobody", &[])]));
        assert_eq!(findings.len(), 4, "{findings:?}");
        for text in ["names apy, did you mean \"api\"?", "names wep, did you mean \"web\"?", "\"migrate\"?", "nobody"] {
            assert!(findings.iter().any(|finding| finding.contains(text)), "{text}: {findings:?}");
        }
    }
}
