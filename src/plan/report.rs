//! What a deploy would do, for people and programs: nothing in it is needed to do it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::changes::{Action, Changed, Changes, Removal};
use super::difference::{Difference, bare, differences};
use super::fields::FieldSet;
use super::foreign::{ForeignChange, foreign_changes};
use super::intent::Intent;
use super::policies;
use crate::event::Target;
use crate::manifest::publish::{self, PUBLISHED};
use crate::manifest::{Wave, WaveKind, images, is_workload};
use crate::model::{ImageRef, ObjectKey, PinnedImage, ServiceName, Tag};
use crate::redact::MASK;

/// Version of the JSON form. It grows when a field changes its meaning or goes away.
const VERSION: u32 = 1;

/// What a deploy would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Of this form.
    pub version: u32,
    /// Where everything would go.
    pub target: Target,
    /// The release that would be deployed.
    pub release: String,
    /// Whether the deploy would do anything.
    pub changes: bool,
    /// Whether an earlier deploy did not come to its end: it would be put back first, and all of this compared anew.
    pub unfinished: bool,
    /// One for each service whose image is used.
    pub images: Vec<ImagePlan>,
    /// Every object, in the order in which it would be sent.
    pub objects: Vec<ObjectPlan>,
    /// Workloads whose pods would be replaced.
    pub restarts: Vec<Restart>,
    /// What would be done or skipped, in that order.
    pub steps: Vec<Step>,
    /// What others changed since the last deploy.
    pub foreign: Vec<ForeignChange>,
}

/// The image of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImagePlan {
    /// Whose.
    pub service: ServiceName,
    /// What runs now.
    pub before: Option<KnownImage>,
    /// What would run. Without a digest it has to be built first.
    pub after: KnownImage,
    /// Why.
    pub because: String,
}

/// An image, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownImage {
    /// The tag by which people know it.
    pub tag: Option<Tag>,
    /// The image by digest.
    pub image: Option<String>,
}

/// What would happen to an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectPlan {
    /// Which. A Job has the name that the manifests give it.
    pub object: ObjectKey,
    /// Where the manifests define it; absent for what they hold no longer.
    pub source: Option<String>,
    /// What would happen.
    pub action: PlannedAction,
    /// What would change. Values of Secrets are masked.
    pub differences: Vec<Difference>,
}

/// What would happen to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedAction {
    /// It would be made.
    Create,
    /// It would be changed.
    Change,
    /// It is as it should be.
    Keep,
    /// The manifests hold it no longer, and it would be deleted.
    Delete,
    /// The manifests hold it no longer, and it would stay until that is asked for.
    Leave,
    /// The manifests hold it no longer, and it is never deleted.
    Spare,
}

/// A workload whose pods would be replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// Which.
    pub workload: ObjectKey,
    /// Why.
    pub because: Vec<String>,
}

/// A part of a deploy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it is called.
    pub name: String,
    /// What it would do.
    pub does: Vec<String>,
    /// What it would leave, and why.
    pub skips: Vec<String>,
}

/// What a plan is made of.
pub struct Facts<'a> {
    /// Where everything would go.
    pub target: Target,
    /// The release.
    pub release: &'a Tag,
    /// What is decided about images.
    pub intents: &'a BTreeMap<ServiceName, Intent>,
    /// The images with which the objects were rendered; one that is to be built stands in by a made-up digest.
    pub images: &'a BTreeMap<ServiceName, PinnedImage>,
    /// Tags of images that run now, as far as the registry knows them.
    pub running: BTreeMap<ServiceName, KnownImage>,
    /// What would change.
    pub changes: &'a Changes,
    /// What the API server would make of objects that are sent.
    pub after: &'a BTreeMap<ObjectKey, Value>,
    /// In which order.
    pub waves: &'a [Wave],
    /// Whether an earlier deploy did not come to its end.
    pub unfinished: bool,
    /// The field manager of deploys.
    pub manager: &'a str,
}

impl Plan {
    /// Makes the plan of `facts`.
    pub fn of(facts: Facts<'_>) -> Self {
        let to_build = to_build(&facts);
        let in_order = facts.waves.iter().flat_map(Wave::keys).filter_map(|key| facts.changes.get(&key));
        let mut objects: Vec<ObjectPlan> = in_order.map(|changed| object(&facts, changed, &to_build)).collect();
        let restarts = objects.iter().filter_map(|object| restart(object, &objects, &facts)).collect();
        let deleted: Vec<&ObjectKey> = facts.changes.deletions().map(|removal| &removal.key).collect();
        objects
            .extend(facts.changes.removals().iter().map(|removal| removed(removal, deleted.contains(&&removal.key))));
        let live = facts.changes.objects().filter_map(|changed| Some((changed.object.key(), changed.live.as_ref()?)));
        let foreign = live.flat_map(|(key, live)| foreign_changes(&key, live, facts.manager)).collect();
        let builds = facts.intents.values().any(|intent| matches!(intent, Intent::Build { .. }));
        Self {
            version: VERSION,
            release: facts.release.to_string(),
            changes: builds || !facts.changes.is_empty() || facts.unfinished,
            unfinished: facts.unfinished,
            images: facts.intents.iter().map(|(service, intent)| image(service, intent, &facts.running)).collect(),
            steps: steps(&facts),
            target: facts.target,
            objects,
            restarts,
            foreign,
        }
    }

    /// How many objects `action` would happen to.
    pub fn count(&self, action: PlannedAction) -> usize {
        self.objects.iter().filter(|object| object.action == action).count()
    }
}

/// The images of `objects` that belong to `repository`, by digest.
pub fn live_image(changes: &Changes, like: &PinnedImage) -> Option<PinnedImage> {
    let live = changes.objects().filter_map(|changed| changed.live.as_ref());
    let references = live.flat_map(images::references).filter_map(|image| image.parse::<ImageRef>().ok());
    let mut of_it = references.filter(|image| image.path == like.repository.path).filter_map(|image| image.digest);
    of_it.next().map(|digest| PinnedImage { repository: like.repository.clone(), digest })
}

/// What stands in the objects for images that are not built yet, and how people are told of them.
fn to_build(facts: &Facts<'_>) -> BTreeMap<String, String> {
    let build = |(service, image): (&ServiceName, &PinnedImage)| match facts.intents.get(service)? {
        Intent::Build { tag, .. } => Some((image.to_string(), format!("{}:{tag}, to be built", image.repository))),
        Intent::Take(_) => None,
    };
    facts.images.iter().filter_map(build).collect()
}

fn image(service: &ServiceName, intent: &Intent, running: &BTreeMap<ServiceName, KnownImage>) -> ImagePlan {
    let (after, because) = match intent {
        Intent::Build { tag, because, .. } => {
            let because = because.clone().unwrap_or_else(|| "nothing in the registry was made of these sources".into());
            (KnownImage { tag: Some(tag.clone()), image: None }, because)
        }
        Intent::Take(taken) => {
            (KnownImage { tag: taken.tag.clone(), image: Some(taken.image.to_string()) }, taken.because.clone())
        }
    };
    ImagePlan { service: service.clone(), before: running.get(service).cloned(), after, because }
}

fn object(facts: &Facts<'_>, changed: &Changed, to_build: &BTreeMap<String, String>) -> ObjectPlan {
    let (action, mut differences) = match changed.action {
        Action::Create => (PlannedAction::Create, Vec::new()),
        Action::Keep => (PlannedAction::Keep, Vec::new()),
        Action::Change => {
            (PlannedAction::Change, change(changed, facts.after.get(&changed.object.key()), facts.manager))
        }
    };
    let is_secret = changed.object.kind() == "Secret";
    for difference in &mut differences {
        let hide = is_secret && ["data", "stringData"].iter().any(|field| difference.path.starts_with(field));
        for value in [&mut difference.before, &mut difference.after].into_iter().flatten() {
            match value.as_str().and_then(|text| to_build.get(text)) {
                _ if hide => *value = MASK.into(),
                Some(told) => *value = told.clone().into(),
                None => {}
            }
        }
    }
    let source = Some(changed.object.source.to_string());
    ObjectPlan { object: changed.object.known_as(), source, action, differences }
}

/// What would change of a live object. What `kubectl apply` set and the manifests leave out goes away once its fields are
/// taken over; the API server cannot be asked about that without writing, but the object remembers what was set.
fn change(changed: &Changed, after: Option<&Value>, manager: &str) -> Vec<Difference> {
    let Some(live) = &changed.live else { return Vec::new() };
    let mut found = after.map(|after| differences(live, after)).unwrap_or_default();
    let set = last_applied(live).filter(|_| changed.is_foreign(manager));
    if after.is_some() && set.is_none() {
        return found;
    }
    let before = set.unwrap_or_else(|| FieldSet::applied_by(live, manager).cut(live));
    let news = |difference: &Difference| {
        let goes = difference.before.is_some() && difference.after.is_none();
        (after.is_none() || goes) && found.iter().all(|known| known.path != difference.path)
    };
    let by_hand = differences(&identified(before, &changed.object.value), &changed.object.value);
    let news: Vec<Difference> = by_hand.into_iter().filter(news).collect();
    found.extend(news);
    found
}

/// What `kubectl apply` was given the last time.
fn last_applied(live: &Value) -> Option<Value> {
    let text = live["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].as_str()?;
    serde_json::from_str(text).ok()
}

/// `fields` with the identity of `object`, which is no difference.
fn identified(mut fields: Value, object: &Value) -> Value {
    for field in ["apiVersion", "kind"] {
        fields[field] = object[field].clone();
    }
    for field in ["name", "namespace"] {
        fields["metadata"][field] = object["metadata"][field].clone();
    }
    fields
}

fn removed(removal: &Removal, is_deleted: bool) -> ObjectPlan {
    let action = match (is_deleted, removal.is_kept) {
        (true, _) => PlannedAction::Delete,
        (false, true) => PlannedAction::Spare,
        (false, false) => PlannedAction::Leave,
    };
    ObjectPlan { object: removal.key.clone(), source: None, action, differences: Vec::new() }
}

/// Why the pods of a workload would be replaced; `None` when they would not.
fn restart(object: &ObjectPlan, all: &[ObjectPlan], facts: &Facts<'_>) -> Option<Restart> {
    let changes_pods = |difference: &&Difference| difference.path.starts_with("spec.template.");
    if !is_workload(&object.object) || object.action != PlannedAction::Change {
        return None;
    }
    let mut because: Vec<String> = Vec::new();
    for difference in object.differences.iter().filter(changes_pods) {
        let reason = reason(difference, all, facts);
        if !because.contains(&reason) {
            because.push(reason);
        }
    }
    (!because.is_empty()).then(|| Restart { workload: object.object.clone(), because })
}

fn reason(difference: &Difference, all: &[ObjectPlan], facts: &Facts<'_>) -> String {
    if difference.path.rsplit('.').next() == Some("image") {
        return "another image".to_owned();
    }
    let named = difference.after.as_ref().and_then(Value::as_str).unwrap_or_default();
    let copy = facts
        .changes
        .objects()
        .map(|changed| &changed.object)
        .find(|object| object.name() == named && publish::is_copy(&object.value));
    let Some(copy) = copy else { return difference.path.trim_start_matches("spec.template.").to_owned() };
    let base = bare(&copy.value["metadata"]["labels"][PUBLISHED]);
    let original = all.iter().find(|object| object.object.kind == copy.kind() && object.object.name == base);
    let fields = ["data.", "binaryData.", "data[", "binaryData["];
    let keys: Vec<&str> = original
        .into_iter()
        .flat_map(|object| &object.differences)
        .filter_map(|difference| fields.iter().find_map(|field| difference.path.strip_prefix(field)))
        .map(|key| key.trim_end_matches(']'))
        .collect();
    let keys = if keys.is_empty() { String::new() } else { format!(" ({})", keys.join(", ")) };
    format!("{} {base}{keys}", copy.kind())
}

fn steps(facts: &Facts<'_>) -> Vec<Step> {
    let (mut does, mut skips) = (Vec::new(), Vec::new());
    for (service, intent) in facts.intents {
        match intent {
            Intent::Build { .. } => does.push(service.to_string()),
            Intent::Take(taken) => skips.push(format!("{service}: {}", taken.because)),
        }
    }
    let mut steps = vec![Step { name: "build and push".to_owned(), does, skips }];
    let waves = policies::narrowed_last(facts.waves.to_vec(), facts.changes);
    steps.extend(waves.iter().map(|wave| step(facts, wave)));
    let deleted: Vec<String> = facts.changes.deletions().map(|removal| removal.key.to_string()).collect();
    if !deleted.is_empty() {
        steps.push(Step { name: "prune".to_owned(), does: deleted, skips: Vec::new() });
    }
    steps
}

fn step(facts: &Facts<'_>, wave: &Wave) -> Step {
    let (mut does, mut skips) = (Vec::new(), Vec::new());
    for changed in wave.keys().iter().filter_map(|key| facts.changes.get(key)) {
        let key = changed.object.known_as();
        match (changed.action, wave.kind) {
            (Action::Keep, WaveKind::Gate) => skips.push(format!("{}: complete with this content", key.name)),
            (Action::Keep, _) => skips.push(format!("{} {}", key.kind, key.name)),
            (_, WaveKind::Gate) => does.push(key.name),
            _ => does.push(format!("{} {}", key.kind, key.name)),
        }
    }
    Step { name: wave.kind.to_string(), does, skips }
}
