//! Why an object was not accepted, told apart from the API server's answers and said without repeating values.

use std::collections::BTreeMap;
use std::fmt;

use kube::core::Status;
use kube::core::response::StatusCause;
use serde_json::Value;

use super::request::Failure;
use super::trouble::explain;
use crate::error::{Error, Kind};
use crate::model::ObjectKey;

/// An object that the API server did not accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyError {
    /// Which.
    pub object: ObjectKey,
    /// Why.
    pub refusal: Refusal,
}

/// Why the API server did not accept an object. Texts hold no values of Secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Somebody else has set fields to other values.
    Conflict(Vec<Conflict>),
    /// Understood and not allowed by the kind's rules (422): one finding each, "field: what is wrong".
    Invalid(Vec<String>),
    /// Not understood: an unknown or doubled field, or a value of the wrong type (400, and 500 without a reason).
    Malformed(String),
    /// This account has no right to do it (403).
    NoRight(String),
    /// Denied by an admission rule or a quota (403).
    Forbidden(String),
    /// Its namespace does not exist.
    NoNamespace(String),
    /// Its kind is not served.
    UnknownKind,
    /// It, or its namespace, is being deleted. The finalizers are the object's own.
    Terminating {
        /// Who still has to agree.
        finalizers: Vec<String>,
    },
    /// Its uid or resourceVersion is not the one that was sent: it was changed, deleted or made anew.
    Changed(String),
    /// The API server cannot be reached, answers nothing, or fails itself, and did so for a minute.
    Unreachable(String),
    /// Anything else, with the status code.
    Other(u16, String),
}

/// Fields that belong to somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// For example `kubectl-edit`.
    pub manager: String,
    /// For example `.spec.template.spec.containers[name="api"].image`.
    pub fields: Vec<String>,
}

impl ApplyError {
    pub(super) fn nameless(object: &Value) -> Self {
        let text = |field| object.get(field).and_then(Value::as_str).unwrap_or("?").to_owned();
        let object =
            ObjectKey { api_version: text("apiVersion"), kind: text("kind"), namespace: None, name: "?".into() };
        Self { object, refusal: Refusal::Malformed("it lacks apiVersion, kind or metadata.name".to_owned()) }
    }
}

impl Refusal {
    pub(super) fn of(failure: Failure, kind: &str) -> Self {
        let unserved = failure.is_unserved_path();
        match failure {
            Failure::Transport(chain) => Self::Unreachable(format!("{}: {chain}", explain(&chain).0)),
            Failure::Status(_) if unserved => Self::UnknownKind,
            // These texts name the right, the account and the object, and nothing in it.
            Failure::Status(status) if lacks_right(&status) => Self::NoRight(status.message),
            Failure::Status(status) if kind == "Secret" => Self::told_apart(&without_values(&status)),
            Failure::Status(status) => Self::told_apart(&status),
        }
    }

    pub(super) fn from_error(error: &Error) -> Self {
        Self::Unreachable(std::iter::once(error.to_string()).chain(error.causes()).collect::<Vec<_>>().join(": "))
    }

    fn told_apart(status: &Status) -> Self {
        let causes = status.details.as_ref().map_or(&[][..], |details| &details.causes);
        let caused_by = |reason: &str| causes.iter().any(|cause| cause.reason == reason);
        let of_kind = |kind| status.details.as_ref().is_some_and(|details| details.kind == kind);
        match status.code {
            409 if caused_by("FieldManagerConflict") => Self::Conflict(conflicts(causes)),
            409 => Self::Changed(status.message.clone()),
            422 => Self::Invalid(findings(status, causes)),
            403 if caused_by("NamespaceTerminating") => Self::Terminating { finalizers: Vec::new() },
            403 => Self::Forbidden(status.message.clone()),
            404 if of_kind("namespaces") => {
                Self::NoNamespace(status.details.as_ref().map_or("", |d| &d.name).to_owned())
            }
            400 => Self::Malformed(without_input(&status.message)),
            500 if !transient(status) => Self::Malformed(without_input(&status.message)),
            429 | 500..=599 => Self::Unreachable(format!("it answered {} {}", status.code, status.message)),
            code => Self::Other(code, status.message.clone()),
        }
    }
}

/// Authorization says `deployments.apps "api" is forbidden: User "robot" cannot patch resource "deployments" in …`.
fn lacks_right(status: &Status) -> bool {
    let (user, verb) = (status.message.contains(" is forbidden: User \""), status.message.contains("\" cannot "));
    status.code == 403 && user && verb && status.message.contains(" resource \"")
}

fn transient(status: &Status) -> bool {
    status.reason == "InternalError" || status.message.contains("etcdserver:")
}

/// The API server repeats input in its texts, that of Secrets included. Paths, reasons and codes stay.
fn without_values(status: &Status) -> Status {
    let mut status = status.clone();
    let reason = if status.reason.is_empty() { "the object could not be read" } else { &status.reason };
    let place = place(&status.message).map(|place| format!(", at {place}")).unwrap_or_default();
    status.message = format!("{reason}{place} (the rest is withheld, as it may repeat a Secret's values)");
    for cause in status.details.iter_mut().flat_map(|details| &mut details.causes) {
        // These say what is wrong and never what the value was.
        if !matches!(cause.reason.as_str(), "FieldManagerConflict" | "FieldValueForbidden" | "FieldValueRequired") {
            cause.message = cause.reason.clone();
        }
    }
    status
}

/// The field in `failed to create typed patch object (shop/s; v1, Kind=Secret): .data.key: expected string, got …`.
fn place(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("): ")?;
    let (path, _) = rest.split_once(": ")?;
    let is_path = path.starts_with('.') && path.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    is_path.then_some(path)
}

fn conflicts(causes: &[StatusCause]) -> Vec<Conflict> {
    let mut by_manager: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for cause in causes {
        let manager = cause.message.split('"').nth(1).unwrap_or("somebody else").to_owned();
        by_manager.entry(manager).or_default().push(cause.field.clone());
    }
    by_manager.into_iter().map(|(manager, fields)| Conflict { manager, fields }).collect()
}

fn findings(status: &Status, causes: &[StatusCause]) -> Vec<String> {
    if causes.is_empty() {
        return vec![without_dump(&status.message).to_owned()];
    }
    causes.iter().map(|cause| format!("{}: {}", cause.field, without_dump(&cause.message))).collect()
}

/// `.spec.a: expected string, got &value.valueUnstructured{what was sent}`, without what was sent.
fn without_input(message: &str) -> String {
    let lines = message.lines().map(|line| line.split_once(", got &").map_or(line, |(wrong, _)| wrong));
    lines.collect::<Vec<_>>().join("\n")
}

/// `Invalid value: {the whole object}: what is wrong`, without the object; and `Forbidden: what is wrong`, without the
/// lines after it that show what would change, and all around it.
fn without_dump(message: &str) -> &str {
    match message.strip_prefix("Invalid value: ") {
        Some(rest) if rest.len() > 120 || rest.starts_with(['{', '[']) => {
            rest.rsplit_once(": ").map_or("invalid value", |(_, wrong)| wrong)
        }
        _ => message.lines().next().unwrap_or_default(),
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict(conflicts) => {
                let managers: Vec<_> = conflicts.iter().map(|conflict| conflict.manager.as_str()).collect();
                write!(f, "fields of it were set by {}", managers.join(", "))
            }
            Self::Invalid(_) => f.write_str("it is not valid"),
            Self::Malformed(text) => write!(f, "it is not understood: {}", core(text)),
            Self::NoRight(text) | Self::Forbidden(text) => write!(f, "forbidden: {text}"),
            Self::NoNamespace(name) => write!(f, "the namespace {name} does not exist"),
            Self::UnknownKind => f.write_str("its kind is not served by this cluster"),
            Self::Terminating { .. } => f.write_str("it or its namespace is being deleted"),
            Self::Changed(text) => write!(f, "it is not the object any more that it was: {text}"),
            Self::Unreachable(text) => write!(f, "the API server could not take it: {text}"),
            Self::Other(code, text) => write!(f, "the API server answered {code}: {text}"),
        }
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was not applied: {}", self.object, self.refusal)
    }
}

impl std::error::Error for ApplyError {}

/// As a refusal before the first write; whoever has written already changes the kind. Only a lost connection and an
/// object that somebody else changed are [`Kind::Unknown`].
impl From<ApplyError> for Error {
    fn from(error: ApplyError) -> Self {
        let kind = match error.refusal {
            Refusal::Unreachable(_) | Refusal::Changed(_) => Kind::Unknown,
            _ => Kind::Refused,
        };
        let told = Self::new(kind, error.to_string()).details(error.refusal.details());
        match error.refusal.hint(&error.object) {
            Some(hint) => told.hint(hint),
            None => told,
        }
    }
}

impl Refusal {
    fn details(&self) -> Vec<String> {
        match self {
            Self::Conflict(conflicts) => {
                let line = |c: &Conflict| c.fields.iter().map(|field| format!("{field} is {}'s", c.manager)).collect();
                conflicts.iter().flat_map::<Vec<String>, _>(line).collect()
            }
            Self::Invalid(findings) => findings.clone(),
            Self::Terminating { finalizers } if !finalizers.is_empty() => {
                vec![format!("held by finalizers: {}", finalizers.join(", "))]
            }
            _ => Vec::new(),
        }
    }

    fn hint(&self, object: &ObjectKey) -> Option<String> {
        let place = object.namespace.as_ref().map_or_else(String::new, |namespace| format!(" -n {namespace}"));
        match self {
            Self::Conflict(_) => Some(
                "take the change over into the manifests, or apply with --force-conflicts to overwrite it".to_owned(),
            ),
            Self::Invalid(findings) if findings.iter().any(|finding| finding.contains("immutable")) => Some(format!(
                "delete it yourself if it may be made anew: kubectl delete {} {}{place}",
                object.kind, object.name
            )),
            Self::Malformed(_) => Some(format!("see what it may hold: kubectl explain {}", explained(object))),
            Self::NoRight(_) | Self::Forbidden(_) => Some(format!("kubectl auth can-i --list{place}")),
            Self::NoNamespace(name) => Some(format!("kubectl create namespace {name}")),
            Self::UnknownKind => Some(format!("kubectl api-resources | grep {}", object.kind)),
            Self::Terminating { .. } => Some(format!("kubectl get {} {}{place} -o yaml", object.kind, object.name)),
            _ => None,
        }
    }
}

/// What is wrong, of `failed to create typed patch object (shop/api; apps/v1, Kind=Deployment): .spec.x: …` and `failed
/// to convert new object (…) to proper version: unable to convert unstructured object to apps/v1, Kind=…: …`.
fn core(text: &str) -> &str {
    if !text.starts_with("failed to ") {
        return text;
    }
    let (_, rest) = text.split_once("): ").or_else(|| text.split_once(") to proper version: ")).unwrap_or(("", text));
    let converted = rest.strip_prefix("unable to convert unstructured object to ");
    converted.and_then(|rest| rest.split_once(": ")).map_or(rest, |(_, wrong)| wrong)
}

/// The argument of `kubectl explain` that shows the fields of an object of this kind.
fn explained(object: &ObjectKey) -> String {
    let deeper = if matches!(object.kind.as_str(), "ConfigMap" | "Secret") { "" } else { ".spec" };
    format!("{}{deeper} --api-version {}", object.kind.to_lowercase(), object.api_version)
}

#[cfg(test)]
mod tests {
    use super::super::request::{status, warning};
    use super::*;
    use crate::fuzz;
    use serde_json::json;

    /// As the API server answers, for an object of `kind`.
    fn refusal(kind: &str, answer: Value) -> Refusal {
        Refusal::of(Failure::Status(serde_json::from_value(answer).expect("status")), kind)
    }

    fn key(kind: &str) -> ObjectKey {
        ObjectKey { api_version: "v1".into(), kind: kind.into(), namespace: Some("shop".into()), name: "a".into() }
    }

    #[test]
    fn a_conflict_names_managers_and_fields() {
        let cause = |field: &str, manager: &str| {
            let message = format!("conflict with \"{manager}\" using apps/v1");
            json!({ "reason": "FieldManagerConflict", "message": message, "field": field })
        };
        let causes = [cause(".spec.a", "kubectl-edit"), cause(".spec.b", "kubectl-edit"), cause(".spec.c", "helm")];
        let found =
            refusal("Deployment", json!({ "code": 409, "reason": "Conflict", "details": { "causes": causes } }));
        let error: Error = ApplyError { object: key("Deployment"), refusal: found }.into();
        assert_eq!(error.message, "Deployment shop/a was not applied: fields of it were set by helm, kubectl-edit");
        assert_eq!(error.details, [".spec.c is helm's", ".spec.a is kubectl-edit's", ".spec.b is kubectl-edit's"]);
    }

    #[test]
    fn an_immutable_template_is_named_without_its_dump() {
        let message = format!("Invalid value: {{\"env\":\"{}: x\"}}: field is immutable", "CANARY".repeat(40));
        let causes = json!([{ "reason": "FieldValueInvalid", "message": message, "field": "spec.template" }]);
        let found = refusal("Job", json!({ "code": 422, "reason": "Invalid", "details": { "causes": causes } }));
        assert_eq!(found, Refusal::Invalid(vec!["spec.template: field is immutable".to_owned()]));
        let message = "Forbidden: may not change\n  spec {\n-   env: CANARY\n  }\n";
        let causes = json!([{ "reason": "FieldValueForbidden", "message": message, "field": "spec" }]);
        let found = refusal("Pod", json!({ "code": 422, "reason": "Invalid", "details": { "causes": causes } }));
        assert_eq!(found, Refusal::Invalid(vec!["spec: Forbidden: may not change".to_owned()]));
    }

    #[test]
    fn texts_about_secrets_repeat_no_values() {
        let typed =
            "failed to create typed patch object (shop/a; v1, Kind=Secret): .data.key: expected string, got &CANARY";
        let causes = json!([
            { "reason": "FieldValueInvalid", "message": "Invalid value: \"CANARY\": no", "field": "type" },
            { "reason": "FieldValueForbidden", "message": "Forbidden: field is immutable", "field": "data" },
        ]);
        for answer in [
            json!({ "code": 500, "message": typed }),
            json!({ "code": 400, "reason": "BadRequest", "message": "illegal CANARY" }),
            json!({ "code": 403, "reason": "Forbidden", "message": "CANARY" }),
            json!({ "code": 422, "reason": "Invalid", "message": "CANARY", "details": { "causes": causes } }),
        ] {
            let error: Error = ApplyError { object: key("Secret"), refusal: refusal("Secret", answer) }.into();
            assert!(!format!("{error:?}").contains("CANARY"), "{error:?}");
        }
        assert_eq!(place(typed), Some(".data.key"));
    }

    #[test]
    fn what_is_not_understood_is_told_without_what_is_known_anyway() {
        for (text, wrong) in [
            (
                "failed to create typed patch object (shop/a; apps/v1, Kind=Deployment): .spec.x: unknown",
                ".spec.x: unknown",
            ),
            (
                "failed to convert new object (shop/a; apps/v1, Kind=Deployment) to proper version: unable to convert \
                 unstructured object to apps/v1, Kind=Deployment: json: cannot unmarshal",
                "json: cannot unmarshal",
            ),
            ("illegal base64 data (or so): x", "illegal base64 data (or so): x"),
        ] {
            assert_eq!(core(text), wrong);
        }
    }

    #[test]
    fn kinds_of_refusals_are_told_apart() {
        let unknown_field = "failed to create typed patch object (shop/a; apps/v1, Kind=Deployment): .spec.x: field not declared in schema";
        let terminating = json!({ "causes": [{ "reason": "NamespaceTerminating" }] });
        let namespace = json!({ "kind": "namespaces", "name": "shop" });
        let of = |answer| refusal("Deployment", answer);
        assert!(matches!(of(json!({ "code": 500, "message": unknown_field })), Refusal::Malformed(_)));
        assert!(matches!(of(json!({ "code": 500, "reason": "InternalError" })), Refusal::Unreachable(_)));
        assert!(matches!(of(json!({ "code": 403, "details": terminating })), Refusal::Terminating { .. }));
        assert!(matches!(of(json!({ "code": 403 })), Refusal::Forbidden(_)));
        let cannot =
            "deployments.apps \"api\" is forbidden: User \"robot\" cannot patch resource \"deployments\" in API group";
        assert!(matches!(of(json!({ "code": 403, "message": cannot })), Refusal::NoRight(_)));
        assert_eq!(of(json!({ "code": 404, "details": namespace })), Refusal::NoNamespace("shop".to_owned()));
        assert_eq!(of(json!({ "code": 404, "message": "404 page not found" })), Refusal::UnknownKind);
        assert!(matches!(of(json!({ "code": 409, "reason": "Conflict" })), Refusal::Changed(_)));
        assert!(matches!(of(json!({ "code": 418 })), Refusal::Other(418, _)));
    }

    #[test]
    fn what_was_sent_in_place_of_a_text_is_not_repeated() {
        let got = "errors:\n  .a: expected string, got &value.valueUnstructured{Value:\"CANARY\"}\n  .b: expected numeric, got string";
        let told = refusal("Deployment", json!({ "code": 500, "message": got }));
        let kept = "errors:\n  .a: expected string\n  .b: expected numeric, got string";
        assert_eq!(told, Refusal::Malformed(kept.to_owned()));
    }

    /// A status code, a line end, and the body of an answer.
    #[test]
    fn any_input_is_read_or_refused() {
        let of_type =
            "failed to create typed patch object (shop/a; v1, Kind=Secret): .data.key: expected string, got &x";
        let samples = [
            "404\n404 page not found\n".to_owned(),
            "502\n<html><h1>Bad Gateway</h1>".to_owned(),
            format!("500\n{}", json!({ "kind": "Status", "code": 500, "message": of_type })),
            "409\n{\"code\":409,\"reason\":\"Conflict\",\"details\":{\"causes\":[{\"reason\":\"FieldManagerConflict\",\
             \"message\":\"conflict with \\\"helm\\\" using apps/v1\",\"field\":\".spec.a\"}],\"retryAfterSeconds\":1}}".to_owned(),
            "422\n{\"reason\":\"Invalid\",\"details\":{\"name\":\"a\",\"kind\":\"jobs\",\"causes\":[{\"reason\":\"FieldValueInvalid\",\
             \"message\":\"Invalid value: {\\\"a\\\":1}: field is immutable\",\"field\":\"spec.template\"}]}}".to_owned(),
            "403\n{\"details\":{\"causes\":[{\"reason\":\"NamespaceTerminating\"}]}}".to_owned(),
            "404\n{\"details\":{\"kind\":\"namespaces\",\"name\":\"shop\"}}".to_owned(),
            "200\n299 - \"would violate PodSecurity \\\"restricted:latest\\\": x\"".to_owned(),
            format!("422\n{{\"details\":{{\"causes\":[{}{{}}]}}}}", "{},".repeat(20_000)),
            format!("500\n{}", "[".repeat(50_000)),
            format!("400\n{}", "日".repeat(50_000)),
        ];
        let words = [
            "Invalid value: ",
            "): ",
            ": ",
            "\"message\":\"",
            "\"causes\":[",
            "\"field\":",
            "\\\"",
            "299 - \"",
            "\\ud800",
        ];
        fuzz::reader(module_path!(), &samples, &words, |input| {
            let text = String::from_utf8_lossy(input);
            let (code, body) = text.split_once('\n').unwrap_or(("500", &text));
            let status = status(code.parse().unwrap_or(500), body.as_bytes());
            let _ = (warning(body), Failure::Status(Box::new(status.clone())).is_transient());
            for kind in ["Deployment", "Secret"] {
                let refusal = Refusal::of(Failure::Status(Box::new(status.clone())), kind);
                let error = Error::from(ApplyError { object: key(kind), refusal });
                assert!(!error.message.is_empty());
            }
        });
    }
}
