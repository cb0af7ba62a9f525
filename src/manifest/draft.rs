//! The objects of a deploy, complete but for the digests of images that may still have to be built.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::rendered::{Rendered, scopes};
use super::{Object, Source, images, is_namespaced, lint, normal, patch, publish, read, rollout, substitute, wave};
use crate::config::{Config, Substitution};
use crate::error::{Error, Result};
use crate::model::{Identity, ImageRef, ObjectKey, PinnedImage, ServiceName};

/// Objects with holes where the images of services go.
#[derive(Clone, Debug)]
pub struct Draft {
    objects: Vec<Object>,
    skipped: Vec<Skipped>,
    warnings: Vec<Warning>,
    /// Repository path to service.
    services: BTreeMap<String, ServiceName>,
    /// Everything that the manifests define, whatever of it is deployed.
    wanted: BTreeSet<Identity>,
}

/// A file that is left out because a value for it is missing.
#[derive(Clone, Debug)]
pub struct Skipped {
    /// The file.
    pub file: PathBuf,
    /// What it holds.
    pub placeholder: String,
    /// Where the value should have come from.
    pub origin: String,
    /// What it would have defined.
    pub objects: Vec<ObjectKey>,
}

/// Something to say that is no reason to stop.
#[derive(Clone, Debug)]
pub struct Warning {
    /// What it is about.
    pub subject: String,
    /// One sentence.
    pub message: String,
}

impl Draft {
    /// Turns what was read into what will be sent, as far as that is known without images.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn new(config: &Config, objects: Vec<Object>) -> Result<Self> {
        let mut findings = Vec::new();
        let (mut objects, left_out, skipped) = without_skipped(objects, &config.substitutions);
        config_map(config, &mut objects, &mut findings);
        patch::apply(&mut objects, &left_out, &config.patches, &mut findings);
        findings.extend(wave::unknown_names(&objects, &left_out, &config.order));
        drop(left_out);
        let services = config.services.iter().map(|s| (s.repository.path.clone(), s.name.clone())).collect();
        let mut draft = Self { objects, skipped, warnings: Vec::new(), services, wanted: BTreeSet::new() };
        draft.fill_in(config);
        draft.namespaces(config, &mut findings);
        draft.twice(&mut findings);
        draft.check(config, &mut findings);
        if findings.is_empty() {
            draft.unused(config);
            draft.wanted = draft.everything(&config.namespace);
            publish::publish(&mut draft.objects);
            // The name of a copy may be that of another object.
            draft.twice(&mut findings);
        }
        if findings.is_empty() {
            return Ok(draft);
        }
        Err(Error::refused("the manifests cannot be deployed").details(findings).hint(read::READ_AGAIN))
    }

    /// The objects, with whatever the manifests say where images go.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// Files that were left out.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// What else there is to say.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The objects that use each service's image.
    pub fn references(&self) -> BTreeMap<ServiceName, Vec<ObjectKey>> {
        let mut references: BTreeMap<ServiceName, Vec<ObjectKey>> = BTreeMap::new();
        for object in &self.objects {
            let used: BTreeSet<&ServiceName> =
                images::references(&object.value).into_iter().filter_map(|image| self.service_of(image)).collect();
            for service in used {
                references.entry(service.clone()).or_default().push(object.key());
            }
        }
        references
    }

    /// Drops every object that `keep` refuses.
    pub fn retain(&mut self, mut keep: impl FnMut(&ObjectKey) -> bool) {
        self.objects.retain(|object| keep(&object.key()));
    }

    /// Fills the holes.
    ///
    /// # Errors
    /// When a service's image is used and `pins` does not have it.
    pub fn pin(self, pins: &BTreeMap<ServiceName, PinnedImage>) -> Result<Rendered> {
        let mut open = BTreeSet::new();
        let Self { mut objects, services, wanted, .. } = self;
        for object in &mut objects {
            images::replace(&mut object.value, |image| {
                let path = image.parse::<ImageRef>().ok()?.path;
                let service = services.get(&path)?;
                let pin = pins.get(service);
                if pin.is_none() {
                    open.insert(service.to_string());
                }
                pin.map(ToString::to_string)
            });
        }
        if open.is_empty() {
            return Ok(Rendered::new(objects, wanted));
        }
        let open: Vec<String> = open.into_iter().collect();
        Err(Error::refused(format!("there is no image for {}", open.join(", "))))
    }

    /// An object whose kind only the cluster knows is taken for one in `namespace` as well as for one in none.
    fn everything(&self, namespace: &str) -> BTreeSet<Identity> {
        let skipped = self.skipped.iter().flat_map(|skipped| skipped.objects.clone());
        let keys = self.objects.iter().map(Object::key).chain(skipped);
        let places = |key: ObjectKey| {
            let here =
                key.namespace.is_none().then(|| ObjectKey { namespace: Some(namespace.to_owned()), ..key.clone() });
            here.into_iter().chain([key])
        };
        keys.flat_map(places).map(|key| key.identity()).collect()
    }

    fn service_of(&self, image: &str) -> Option<&ServiceName> {
        self.services.get(&image.parse::<ImageRef>().ok()?.path)
    }

    fn fill_in(&mut self, config: &Config) {
        for object in &mut self.objects {
            normal::normalize(&mut object.value);
            for substitution in &config.substitutions {
                if let Some(value) = &substitution.value {
                    substitute::put(&mut object.value, &substitution.placeholder, value.expose());
                }
            }
            images::replace(&mut object.value, |image| mirrored(image, &config.images));
        }
    }

    fn namespaces(&mut self, config: &Config, findings: &mut Vec<String>) {
        let own_kinds = scopes(&self.objects);
        for object in &mut self.objects {
            let key = object.key();
            let namespaced =
                is_namespaced(&key).or_else(|| own_kinds.get(&(key.group().into(), key.kind.clone())).copied());
            let allowed = |name: &str| name == config.namespace || config.allowed_namespaces.iter().any(|n| n == name);
            match (&key.namespace, namespaced) {
                (None, Some(true)) => object.value["metadata"]["namespace"] = json!(config.namespace),
                (Some(namespace), _) if !allowed(namespace) => findings.push(outside(object, namespace)),
                _ if key.kind == "Namespace" && !allowed(&key.name) => findings.push(outside(object, &key.name)),
                _ => {}
            }
        }
    }

    /// What two manifests define, or one in two versions: which of them would hold in the end is chance.
    fn twice(&self, findings: &mut Vec<String>) {
        let mut seen: BTreeMap<Identity, &Source> = BTreeMap::new();
        for object in &self.objects {
            let key = object.key();
            if let Some(first) = seen.insert(key.identity(), &object.source) {
                findings.push(format!("{}: {key} stands in {first} already", object.source));
            }
        }
    }

    fn check(&self, config: &Config, findings: &mut Vec<String>) {
        let left_over: Vec<&str> = config.substitutions.iter().map(|s| s.placeholder.as_str()).collect();
        for object in &self.objects {
            let say = |finding: String| format!("{}: {}: {finding}", object.source, object.key());
            findings.extend(lint::lint(&object.value, &left_over).into_iter().map(say));
            findings.extend(rollout::lint(object, &self.objects).into_iter().map(say));
            for image in images::references(&object.value) {
                if self.service_of(image).is_none() {
                    findings.extend(lint::foreign_image(image).map(say));
                }
            }
        }
    }

    fn unused(&mut self, config: &Config) {
        let used = self.references();
        let unused = config.services.iter().filter(|service| !used.contains_key(&service.name));
        let bare = self.objects.iter().filter(|object| matches!(object.kind(), "Pod" | "ReplicaSet"));
        self.warnings.extend(bare.map(|object| Warning {
            subject: object.key().to_string(),
            message: format!(
                "{}: nobody waits for it; of a Deployment it would be known whether it runs",
                object.source
            ),
        }));
        let unprobed = self.objects.iter().flat_map(|object| {
            let containers = rollout::unprobed(object).into_iter();
            containers.map(|name| Warning {
                subject: object.key().to_string(),
                message: format!(
                    "{}: the container {name} has no readiness probe: it counts as ready when it runs",
                    object.source
                ),
            })
        });
        self.warnings.extend(unprobed);
        self.warnings.extend(unused.map(|service| Warning {
            subject: service.name.to_string(),
            message: format!("no manifest uses the image {}", service.repository.path),
        }));
    }
}

fn outside(object: &Object, namespace: &str) -> String {
    format!(
        "{}: {} lies in the namespace {namespace}, which the configuration does not name; allowedNamespaces would allow it",
        object.source,
        object.key()
    )
}

/// Separates the objects of files that hold a placeholder without value.
fn without_skipped(objects: Vec<Object>, substitutions: &[Substitution]) -> (Vec<Object>, Vec<Object>, Vec<Skipped>) {
    let mut skipped: Vec<Skipped> = Vec::new();
    for missing in substitutions.iter().filter(|substitution| substitution.value.is_none()) {
        for object in objects.iter().filter(|object| substitute::holds(&object.value, &missing.placeholder)) {
            if skipped.iter().all(|known| known.file != object.source.file) {
                skipped.push(Skipped {
                    file: object.source.file.clone(),
                    placeholder: missing.placeholder.clone(),
                    origin: missing.origin.clone(),
                    objects: Vec::new(),
                });
            }
        }
    }
    let is_out = |object: &Object| skipped.iter().any(|file| file.file == object.source.file);
    let (left_out, kept): (Vec<Object>, Vec<Object>) = objects.into_iter().partition(is_out);
    for file in &mut skipped {
        file.objects = left_out.iter().filter(|o| o.source.file == file.file).map(Object::key).collect();
    }
    (kept, left_out, skipped)
}

/// Adds the ConfigMap of the configuration.
fn config_map(config: &Config, objects: &mut Vec<Object>, findings: &mut Vec<String>) {
    let Some(wanted) = &config.config_map else { return };
    if let Some(other) = objects.iter().find(|object| object.kind() == "ConfigMap" && object.name() == wanted.name) {
        findings.push(format!("{}: the configuration makes ConfigMap {} already", other.source, wanted.name));
        return;
    }
    let value: Value = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": wanted.name, "namespace": config.namespace},
        "data": wanted.values,
    });
    let file = read::shown(&config.file);
    objects.push(Object { value, source: Source { file, document: 1, line: 0 } });
}

/// The mirror's reference for `image`, when the configuration names one.
fn mirrored(image: &str, mirrors: &[(String, ImageRef)]) -> Option<String> {
    let name = image.parse::<ImageRef>().ok()?.name();
    let (_, mirror) = mirrors.iter().find(|(from, _)| canonical(from) == canonical(&name))?;
    Some(mirror.to_string())
}

/// Docker Hub's names have three spellings.
fn canonical(name: &str) -> &str {
    let name = name.strip_prefix("docker.io/").unwrap_or(name);
    name.strip_prefix("library/").unwrap_or(name)
}

#[cfg(test)]
mod tests;
