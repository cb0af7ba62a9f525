//! Whether these credentials suffice, asked before anything is written.

use std::collections::BTreeSet;

use futures_util::stream::{StreamExt, TryStreamExt, iter};
use serde::Deserialize;
use serde_json::json;

use super::client::Cluster;
use super::request::{Failure, post};
use crate::error::Result;
use crate::model::ObjectKey;

const AT_ONCE: usize = 8;
const APPLYING: [&str; 4] = ["get", "list", "create", "patch"];
/// For the lock, the journal, the inventory and copies of configuration.
const KEEPING: [(&str, &str, &[&str]); 3] = [
    ("", "configmaps", &["get", "list", "create", "patch", "delete"]),
    ("coordination.k8s.io", "leases", &["get", "create", "update"]),
    ("", "secrets", &["get", "list", "create", "patch", "delete"]),
];
const WATCHED: [(&str, &str); 8] = [
    ("apps", "deployments"),
    ("apps", "statefulsets"),
    ("apps", "daemonsets"),
    ("apps", "replicasets"),
    ("", "pods"),
    ("batch", "jobs"),
    ("", "events"),
    ("", "persistentvolumeclaims"),
];

/// One question: may these credentials do this?
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    namespace: Option<String>,
    group: String,
    resource: String,
    verb: &'static str,
}

#[derive(Default, Deserialize)]
struct Rules {
    #[serde(default, rename = "resourceRules")]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    api_groups: Vec<String>,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

#[derive(Deserialize)]
struct Review<T> {
    status: T,
}

#[derive(Deserialize)]
struct Access {
    #[serde(default)]
    allowed: bool,
}

impl Rule {
    fn covers(&self, right: &Right) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|item| item == "*" || item == wanted);
        self.resource_names.is_empty()
            && has(&self.verbs, right.verb)
            && has(&self.api_groups, &right.group)
            && has(&self.resources, &right.resource)
    }
}

impl Cluster {
    /// What these credentials may not do and need to: apply the objects `keys`, look at those of `read`, and watch and
    /// explain workloads in `namespace`. One sentence each; none when everything is allowed. Kinds that are not served
    /// are passed over.
    pub async fn missing_rights(&self, namespace: &str, keys: &[ObjectKey], read: &[ObjectKey]) -> Result<Vec<String>> {
        let mut needed = self.needed(keys, &APPLYING).await?;
        needed.extend(self.needed(read, &["get"]).await?);
        // A Job that has failed gives way to the next try.
        let jobs: Vec<ObjectKey> =
            keys.iter().filter(|key| key.group() == "batch" && key.kind == "Job").cloned().collect();
        needed.extend(self.needed(&jobs, &["delete"]).await?);
        needed.extend(watched(namespace));
        needed.extend(kept(namespace));
        self.missing(namespace, needed).await
    }

    /// The same for deleting the objects `keys`.
    pub async fn missing_rights_to_delete(&self, namespace: &str, keys: &[ObjectKey]) -> Result<Vec<String>> {
        let needed = self.needed(keys, &["delete"]).await?;
        self.missing(namespace, needed).await
    }

    async fn missing(&self, namespace: &str, needed: BTreeSet<Right>) -> Result<Vec<String>> {
        if needed.is_empty() {
            return Ok(Vec::new());
        }
        let denied = self.denied(namespace, needed).await;
        denied.map_err(|failure| self.error("cannot ask for this account's rights", failure))
    }

    /// What it takes to do `verbs` with `keys`.
    async fn needed(&self, keys: &[ObjectKey], verbs: &[&'static str]) -> Result<BTreeSet<Right>> {
        let resources = self.resolve_kinds(keys).await?;
        let mut needed = BTreeSet::new();
        for (key, resource) in keys.iter().zip(resources) {
            let Some(resource) = resource else { continue };
            let place = key.namespace.as_deref().filter(|_| resource.namespaced);
            needed.extend(verbs.iter().map(|verb| right(place, resource.group(), &resource.plural, verb)));
        }
        Ok(needed)
    }

    /// One review answers for a whole namespace; what it does not cover is asked one by one, as it may be incomplete.
    async fn denied(&self, namespace: &str, needed: BTreeSet<Right>) -> Result<Vec<String>, Failure> {
        let rules = self.rules(namespace).await?;
        let here = |right: &Right| right.namespace.as_deref() == Some(namespace);
        let open = needed.into_iter().filter(|right| !(here(right) && rules.iter().any(|rule| rule.covers(right))));
        let asked = iter(open.map(|right| async move { self.allowed(&right).await.map(|allowed| (right, allowed)) }));
        let answers: Vec<(Right, bool)> = asked.buffered(AT_ONCE).try_collect().await?;
        Ok(in_words(answers.into_iter().filter(|(_, allowed)| !allowed).map(|(right, _)| right)))
    }

    async fn rules(&self, namespace: &str) -> Result<Vec<Rule>, Failure> {
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": { "namespace": namespace },
        });
        let answer = self.call(post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", &body)).await?;
        Ok(answer.json::<Review<Rules>>()?.status.rules)
    }

    async fn allowed(&self, right: &Right) -> Result<bool, Failure> {
        let (resource, subresource) = right.resource.split_once('/').unwrap_or((&right.resource, ""));
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "namespace": right.namespace, "group": right.group, "verb": right.verb,
                "resource": resource, "subresource": subresource,
            } },
        });
        let answer = self.call(post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &body)).await?;
        Ok(answer.json::<Review<Access>>()?.status.allowed)
    }
}

/// What it takes to follow workloads.
fn watched(namespace: &str) -> impl Iterator<Item = Right> {
    let here = move |group: &str, resource: &str, verb| right(Some(namespace), group, resource, verb);
    let follow =
        WATCHED.iter().flat_map(move |(group, resource)| ["list", "watch"].map(|verb| here(group, resource, verb)));
    follow.chain([here("", "pods", "get"), here("", "pods/log", "get")])
}

fn right(namespace: Option<&str>, group: &str, resource: &str, verb: &'static str) -> Right {
    Right { namespace: namespace.map(str::to_owned), group: group.to_owned(), resource: resource.to_owned(), verb }
}

/// What hdeploy keeps for itself.
fn kept(namespace: &str) -> impl Iterator<Item = Right> {
    let rights = move |(group, resource, verbs): (&'static str, &'static str, &'static [&'static str])| {
        verbs.iter().map(move |verb| right(Some(namespace), group, resource, verb))
    };
    KEEPING.into_iter().flat_map(rights)
}

/// "may not create, patch deployments.apps in shop".
fn in_words(denied: impl Iterator<Item = Right>) -> Vec<String> {
    let mut lines: Vec<(Right, Vec<&'static str>)> = Vec::new();
    for right in denied {
        let verb = right.verb;
        let same = |other: &Right| {
            (&other.namespace, &other.group, &other.resource) == (&right.namespace, &right.group, &right.resource)
        };
        match lines.iter_mut().find(|(other, _)| same(other)) {
            Some((_, verbs)) => verbs.push(verb),
            None => lines.push((right, vec![verb])),
        }
    }
    lines.iter().map(|(right, verbs)| sentence(right, verbs)).collect()
}

fn sentence(right: &Right, verbs: &[&str]) -> String {
    let group = if right.group.is_empty() { String::new() } else { format!(".{}", right.group) };
    let place = right.namespace.as_ref().map_or_else(String::new, |namespace| format!(" in {namespace}"));
    format!("may not {} {}{group}{place}", verbs.join(", "), right.resource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_covers_what_it_names_and_only_for_all_names() {
        let mut rule: Rule = serde_json::from_value(json!({
            "verbs": ["get", "patch"], "apiGroups": ["apps"], "resources": ["deployments"],
        }))
        .expect("rule");
        assert!(rule.covers(&right(Some("a"), "apps", "deployments", "patch")));
        assert!(!rule.covers(&right(Some("a"), "apps", "deployments", "create")));
        assert!(!rule.covers(&right(Some("a"), "", "deployments", "get")));
        rule.resource_names.push("api".to_owned());
        assert!(!rule.covers(&right(Some("a"), "apps", "deployments", "patch")));
    }

    #[test]
    fn missing_rights_are_one_sentence_per_resource() {
        let denied = [
            right(Some("shop"), "apps", "deployments", "create"),
            right(Some("shop"), "apps", "deployments", "patch"),
            right(None, "", "namespaces", "create"),
        ];
        assert_eq!(
            in_words(denied.into_iter()),
            ["may not create, patch deployments.apps in shop", "may not create namespaces"]
        );
    }
}
