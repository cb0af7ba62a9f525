//! From what was written to what was meant.

use std::time::Duration;

use super::fields::Fields;
use super::raw::Raw;
use super::tree::{Node, Yaml};
use super::value::Values;
use super::{Config, Settle, checks, objects, order, services};
use crate::error::{Error, Result};
use crate::model::is_dns_label;
use crate::redact::Redactor;

const KEYS: [&str; 14] = [
    "allowedNamespaces",
    "checks",
    "configMap",
    "context",
    "images",
    "manifests",
    "namespace",
    "order",
    "patches",
    "placeholders",
    "registry",
    "services",
    "settle",
    "substitutions",
];
/// Kubelets report an end up to a second late, and programs that end at once do so within a few.
const SOAK: Duration = Duration::from_secs(10);

/// Validates `raw` and reads every value that comes from elsewhere.
///
/// # Errors
/// All findings at once.
pub fn resolve(raw: &Raw, redactor: &Redactor) -> Result<Config> {
    resolve_in(raw, redactor, &|name| std::env::var(name).ok())
}

/// [`resolve`] with an environment of the caller's.
pub(super) fn resolve_in(
    raw: &Raw,
    redactor: &Redactor,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Config> {
    let config = raw.root.as_ref().and_then(|root| {
        let values = Values::new(&raw.sources, redactor, environment, placeholders(root));
        config(raw, root, &values)
    });
    let findings = raw.sources.findings();
    match config {
        Some(config) if findings.is_empty() => Ok(config),
        _ => Err(refused(&raw.sources.shown(&raw.file), findings)),
    }
}

fn refused(shown: &str, findings: Vec<String>) -> Error {
    let count = match findings.len() {
        1 => "one finding".to_owned(),
        count => format!("{count} findings"),
    };
    Error::refused(format!("{shown} cannot be used: {count}"))
        .details(findings)
        .hint(format!("mend it; hdeploy render --config {shown} reads it again and changes nothing"))
}

/// The texts that this configuration declares as not yet replaced; wrong items are told when the list is opened.
fn placeholders(root: &Node) -> Vec<String> {
    let declared = root.map().unwrap_or_default().iter().find(|entry| entry.key == "placeholders");
    match declared.map(|entry| &entry.value.value) {
        Some(Yaml::List(items)) => items.iter().filter_map(Node::text).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// Every part is read before any is given up, so that all findings are told.
fn config(raw: &Raw, root: &Node, values: &Values<'_>) -> Option<Config> {
    let fields = Fields::open(values, root, "", &KEYS)?;
    refuse_wrong_placeholders(&fields);
    let namespace = namespace(&fields);
    let registry = services::registry(&fields, values);
    let services = services::services(&fields, values, registry.as_ref());
    let config_map = objects::config_map(&fields, values);
    checks::run(&fields, values, config_map.as_ref());
    let config = Config {
        file: raw.file.clone(),
        root: raw.file.parent()?.to_owned(),
        context: fields.text("context"),
        manifests: objects::manifests(&fields, values),
        allowed_namespaces: allowed_namespaces(&fields, values),
        config_map,
        substitutions: objects::substitutions(&fields, values),
        images: objects::images(&fields, values),
        patches: super::patches::patches(&fields, values),
        order: order::order(&fields, values),
        settle: settle(&fields, values),
        services,
        namespace: namespace?,
        registry: registry?,
    };
    Some(config)
}

fn refuse_wrong_placeholders(fields: &Fields<'_>) {
    if fields.list("placeholders").iter().any(|node| node.is_null() || node.text().is_none()) {
        fields.report("placeholders", "placeholders is a list of texts");
    }
}

fn namespace(fields: &Fields<'_>) -> Option<String> {
    let namespace = fields.required_text("namespace")?;
    if !is_dns_label(&namespace) {
        fields.report("namespace", not_a_namespace(&namespace));
    }
    Some(namespace)
}

fn not_a_namespace(name: &str) -> String {
    format!("{name:?} is not a namespace: lower-case letters, digits and '-', at most 63")
}

fn allowed_namespaces(fields: &Fields<'_>, values: &Values<'_>) -> Vec<String> {
    let names = fields.texts("allowedNamespaces");
    for (place, name) in names.iter().filter(|(_, name)| !is_dns_label(name)) {
        values.sources.report(*place, not_a_namespace(name));
    }
    names.into_iter().map(|(_, name)| name).collect()
}

fn settle(root: &Fields<'_>, values: &Values<'_>) -> Settle {
    let fields = root.get("settle").and_then(|node| Fields::open(values, node, "settle", &["timeout", "soak"]));
    let seconds = |name: &str, least: u64| {
        let fields = fields.as_ref()?;
        let seconds = fields.text(name)?.parse().ok().filter(|seconds| (least..=86_400).contains(seconds));
        if seconds.is_none() {
            fields.report(name, format!("settle.{name} is a whole number of seconds, from {least} to 86400"));
        }
        seconds.map(Duration::from_secs)
    };
    Settle { timeout: seconds("timeout", 1), force_timeout: false, soak: seconds("soak", 0).unwrap_or(SOAK) }
}
