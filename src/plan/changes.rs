//! What a deploy changes: the objects as they are to be sent, against those that are live.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::difference::content;
use super::fields::FieldSet;
use super::owners::{Scaled, entries, scaled, taken_over};
use crate::manifest::rendered::APPLIED;
use crate::manifest::{Object, Rendered, Wave, is_never_deleted};
use crate::model::ObjectKey;
use crate::release::journal::{Before, Entry};

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is not there.
    Create,
    /// It is there, and not as it was sent the last time, or is to be sent differently.
    Change,
    /// It is there as it is to be sent. It is not sent.
    Keep,
}

/// An object to send, and the one that is live.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// As it is to be sent.
    pub object: Object,
    /// As it is.
    pub live: Option<Value>,
    /// What happens to it.
    pub action: Action,
    /// An autoscaler had its replicas, and the manifests say again how many there are.
    pub regains_replicas: bool,
}

/// An object that was deployed and that the manifests hold no longer.
#[derive(Clone, Debug, PartialEq)]
pub struct Removal {
    /// Which.
    pub key: ObjectKey,
    /// As it is.
    pub live: Value,
    /// Whether nothing ever deletes it: what it holds would be lost with it.
    pub is_kept: bool,
}

impl Removal {
    /// The live object `key`.
    pub fn new(key: ObjectKey, live: Value) -> Self {
        // Its claims would go with it.
        let takes_claims = live["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] == "Delete";
        Self { is_kept: is_never_deleted(&key) || takes_claims, key, live }
    }

    /// Its uid.
    pub fn uid(&self) -> Option<&str> {
        self.live["metadata"]["uid"].as_str()
    }
}

/// Every object of a deploy, with what happens to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    objects: BTreeMap<ObjectKey, Changed>,
    removals: Vec<Removal>,
    prune: bool,
}

impl Changes {
    /// Compares `rendered` with what is `live`. Fields belong to whom applied them under the name `manager`.
    pub fn of(rendered: &Rendered, mut live: BTreeMap<ObjectKey, Value>, manager: &str) -> Self {
        let changed = |object: &Object| {
            let live = live.remove(&object.key());
            let action = action(&object.value, live.as_ref(), manager);
            (object.key(), Changed { object: object.clone(), live, action, regains_replicas: false })
        };
        Self { objects: rendered.objects().iter().map(changed).collect(), ..Self::default() }
    }

    /// Adds what the manifests hold no longer, which is deleted if `prune` says so.
    #[must_use]
    pub fn with_removals(self, removals: Vec<Removal>, prune: bool) -> Self {
        Self { removals, prune, ..self }
    }

    /// What the manifests hold no longer.
    pub fn removals(&self) -> &[Removal] {
        &self.removals
    }

    /// What of it is deleted.
    pub fn deletions(&self) -> impl Iterator<Item = &Removal> {
        self.removals.iter().filter(|removal| self.prune && !removal.is_kept)
    }

    /// What happens to the object called `key`.
    pub fn get(&self, key: &ObjectKey) -> Option<&Changed> {
        self.objects.get(key)
    }

    /// Lets go of the objects of `wave`: they are as they are to be by now.
    pub fn forget(&mut self, wave: &Wave) {
        for key in wave.keys() {
            self.objects.remove(&key);
        }
    }

    /// Every object.
    pub fn objects(&self) -> impl Iterator<Item = &Changed> {
        self.objects.values()
    }

    /// The same, given away.
    pub fn into_objects(self) -> impl Iterator<Item = Changed> {
        self.objects.into_values()
    }

    /// The objects that are sent.
    pub fn writes(&self) -> impl Iterator<Item = &Changed> {
        self.objects.values().filter(|changed| changed.action != Action::Keep)
    }

    /// The same, to note what became of their live objects.
    pub fn writes_mut(&mut self) -> impl Iterator<Item = &mut Changed> {
        self.objects.values_mut().filter(|changed| changed.action != Action::Keep)
    }

    /// Nothing is sent or deleted.
    pub fn is_empty(&self) -> bool {
        self.writes().next().is_none() && self.deletions().next().is_none()
    }

    /// What a journal has to hold before any of it happens, in the order in which it would be put back: first what is
    /// deleted, then what is sent, as `waves` hold it. `after` is what the API server would make of each object.
    pub fn entries(&self, waves: &[Wave], after: &BTreeMap<ObjectKey, Value>, manager: &str) -> Vec<Entry> {
        let sent = |key: &ObjectKey| self.get(key).filter(|changed| changed.action != Action::Keep);
        let deleted = self.deletions().map(|removal| Entry {
            object: removal.key.clone(),
            before: Some(whole(&removal.live)),
            deleted: true,
        });
        let sent = waves.iter().flat_map(Wave::keys).filter_map(|key| sent(&key));
        deleted.chain(sent.map(|changed| changed.pre_image(after.get(&changed.object.key()), manager))).collect()
    }
}

impl Changed {
    /// `after` tells which fields `manager` is about to own.
    fn pre_image(&self, after: Option<&Value>, manager: &str) -> Entry {
        let before = self.live.as_ref().map(|live| pre_image(live, after, manager));
        Entry { object: self.object.key(), before, deleted: false }
    }

    /// Whether `answer`, which the API server gave to a dry run, still holds: the same was sent, over the same live object.
    pub fn is_answered_by(&self, answer: &Value) -> bool {
        let version = |object: &Value| object["metadata"]["resourceVersion"].as_str().map(str::to_owned);
        hash(answer).is_some()
            && hash(answer) == hash(&self.object.value)
            && version(answer) == self.live.as_ref().and_then(version)
    }

    /// Whether fields of the live object have to be taken over before it is sent.
    pub fn is_foreign(&self, manager: &str) -> bool {
        self.owners_to_set(manager).is_some() || self.of_nobody().is_some()
    }

    /// Who is to own the fields of the live object before it is sent: `manager` what `kubectl apply` owns, nobody the
    /// replicas that an autoscaler had. `None` when that is so.
    pub fn owners_to_set(&self, manager: &str) -> Option<Vec<Value>> {
        let regained = || self.scaled().filter(|_| self.regains_replicas).map(|scaled| scaled.others);
        taken_over(self.live.as_ref()?, manager).or_else(regained)
    }

    /// What names the live object whose owners are not known, as after a backup was put back. Applied, it makes the API
    /// server note that everything was there before the first apply.
    pub fn of_nobody(&self) -> Option<Value> {
        let live = self.live.as_ref().filter(|live| entries(live).is_empty())?;
        Some(body_of(live, &FieldSet::default()))
    }

    /// The live object as `manager` has to apply it before it may ask for Recreate: what it owns already, and with it the
    /// rolling update that the API server filled in for an applier who left it out. Nobody could let go of that otherwise,
    /// and a Recreate beside it is refused.
    pub fn rolling_update_to_own(&self, manager: &str) -> Option<Value> {
        let live = self.live.as_ref().filter(|_| self.object.kind() == "Deployment")?;
        let recreate = self.object.value["spec"]["strategy"]["type"] == "Recreate";
        let rolling = live["spec"]["strategy"]["rollingUpdate"].as_object().filter(|_| recreate)?;
        let owned = FieldSet::applied_by(live, manager);
        if rolling.keys().all(|name| owned.has(&["spec", "strategy", "rollingUpdate", name])) {
            return None;
        }
        let strategy = json!({"f:spec": {"f:strategy": {"f:type": {}, "f:rollingUpdate": {}}}});
        Some(body_of(live, &owned.union(FieldSet::parse(&strategy))))
    }

    /// Who holds the live replicas for an autoscaler, when the manifests set them and have none.
    pub fn scaled(&self) -> Option<Scaled> {
        self.object.value["spec"].get("replicas")?;
        scaled(self.live.as_ref()?)
    }

    /// The live replicas, when `manager` owns them and is about to let go of them: the API server would set them to one.
    pub fn replicas_to_pin(&self, manager: &str) -> Option<i64> {
        let live = self.live.as_ref()?;
        let owned = FieldSet::applied_by(live, manager).has(&["spec", "replicas"]);
        let sent = self.object.value["spec"].get("replicas").is_some();
        (owned && !sent).then(|| live["spec"]["replicas"].as_i64()).flatten()
    }
}

/// The hash of what was sent, or is to be.
fn hash(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][APPLIED].as_str()
}

fn action(body: &Value, live: Option<&Value>, manager: &str) -> Action {
    let Some(live) = live else { return Action::Create };
    let same = hash(body).is_some() && hash(body) == hash(live) && FieldSet::applied_by(live, manager).covers(body);
    let goes = live["metadata"].get("deletionTimestamp").is_some();
    // A Job that runs is waited for, and one that has failed is run again.
    if same && !goes && (live["kind"] != "Job" || is_complete(live)) { Action::Keep } else { Action::Change }
}

fn is_complete(job: &Value) -> bool {
    let complete = |condition: &Value| condition["type"] == "Complete" && condition["status"] == "True";
    job["status"]["conditions"].as_array().into_iter().flatten().any(complete)
}

/// All of `live`, to be made anew.
fn whole(live: &Value) -> Before {
    let mut body = content(live);
    without_last_applied(&mut body);
    Before { uid: live["metadata"]["uid"].as_str().unwrap_or_default().to_owned(), body }
}

fn without_last_applied(body: &mut Value) {
    if let Some(annotations) = body.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.shift_remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// The fields of `live` that `manager` owns, or will own in `after`, with their values.
fn pre_image(live: &Value, after: Option<&Value>, manager: &str) -> Before {
    let owned = FieldSet::applied_by(live, manager);
    let will = after.map(|after| FieldSet::applied_by(after, manager)).unwrap_or_default();
    let mut body = body_of(live, &owned.union(will));
    without_last_applied(&mut body);
    Before { uid: live["metadata"]["uid"].as_str().unwrap_or_default().to_owned(), body }
}

/// The `fields` of `live`, and what identifies it.
fn body_of(live: &Value, fields: &FieldSet) -> Value {
    let mut body = fields.cut(live);
    body["apiVersion"] = live["apiVersion"].clone();
    body["kind"] = live["kind"].clone();
    body["metadata"]["name"] = live["metadata"]["name"].clone();
    if let Some(namespace) = live["metadata"].get("namespace") {
        body["metadata"]["namespace"] = namespace.clone();
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Source;

    const MANAGER: &str = "hdeploy";

    fn body(colour: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": "shop", "annotations": {APPLIED: colour}}, "data": {"colour": colour}})
    }

    /// `body` as the API server has it after it was applied.
    fn live(body: &Value, manager: &str) -> Value {
        let mut live = body.clone();
        live["metadata"]["uid"] = json!("u");
        live["metadata"]["managedFields"] = json!([{"manager": manager, "operation": "Apply", "fieldsV1":
            {"f:metadata": {"f:annotations": {format!("f:{APPLIED}"): {}}}, "f:data": {"f:colour": {}}}}]);
        live
    }

    fn rendered(value: Value) -> Rendered {
        Rendered::of(vec![Object { value, source: Source { file: "a".into(), document: 1, line: 1 } }])
    }

    fn action_of(body: &Value, live: Option<Value>) -> Action {
        let live = live.into_iter().filter_map(|live| Some((ObjectKey::of(&live)?, live))).collect();
        let changes = Changes::of(&rendered(body.clone()), live, MANAGER);
        let action = changes.objects().next().expect("one").action;
        assert_eq!(changes.is_empty(), action == Action::Keep);
        action
    }

    #[test]
    fn only_what_was_sent_the_same_and_still_belongs_to_us_is_kept() {
        assert_eq!(action_of(&body("blue"), None), Action::Create);
        assert_eq!(action_of(&body("blue"), Some(live(&body("blue"), MANAGER))), Action::Keep);
        assert_eq!(action_of(&body("blue"), Some(live(&body("green"), MANAGER))), Action::Change);
        // Somebody else has set the field since.
        assert_eq!(action_of(&body("blue"), Some(live(&body("blue"), "kubectl-edit"))), Action::Change);
    }

    #[test]
    fn an_empty_list_that_nobody_owns_is_no_change() {
        let mut sent = body("blue");
        sent["finalizers"] = json!([]);
        sent["nothing"] = json!(null);
        assert_eq!(action_of(&sent, Some(live(&sent, MANAGER))), Action::Keep);
    }

    #[test]
    fn an_answer_holds_for_the_same_body_over_the_same_live_object_only() {
        let at = |version: Option<&str>, colour: &str| {
            let mut object = live(&body(colour), MANAGER);
            if let Some(version) = version {
                object["metadata"]["resourceVersion"] = json!(version);
            }
            object
        };
        let changed = |live: Option<Value>| {
            let live = live.into_iter().filter_map(|live| Some((ObjectKey::of(&live)?, live))).collect();
            Changes::of(&rendered(body("green")), live, MANAGER).objects().next().expect("one").clone()
        };
        assert!(changed(Some(at(Some("1"), "blue"))).is_answered_by(&at(Some("1"), "green")));
        assert!(!changed(Some(at(Some("2"), "blue"))).is_answered_by(&at(Some("1"), "green")));
        assert!(!changed(Some(at(Some("1"), "blue"))).is_answered_by(&at(Some("1"), "red")));
        assert!(changed(None).is_answered_by(&at(None, "green")));
        assert!(!changed(Some(at(Some("1"), "blue"))).is_answered_by(&at(None, "green")));
    }

    #[test]
    fn a_pre_image_has_the_old_values_of_what_was_and_will_be_owned() {
        let mut before = live(&body("blue"), MANAGER);
        before["data"]["size"] = json!("large");
        before["data"]["foreign"] = json!("kept");
        let mut after = live(&body("green"), MANAGER);
        after["metadata"]["managedFields"][0]["fieldsV1"]["f:data"]["f:size"] = json!({});
        let key = ObjectKey::of(&before).expect("a key");
        let changes = Changes::of(&rendered(body("green")), [(key.clone(), before)].into(), MANAGER);
        let waves = rendered(body("green")).waves(&BTreeMap::new()).expect("waves");
        let after = [(key, after)].into();
        let mut entries = changes.entries(&waves, &after, MANAGER);
        assert_eq!(entries.len(), 1);
        let before = entries.remove(0).before.expect("it was there");
        assert_eq!(before.uid, "u");
        let mut expected = body("blue");
        expected["data"]["size"] = json!("large");
        assert_eq!(before.body, expected);
    }

    #[test]
    fn replicas_are_pinned_when_they_would_be_let_go() {
        let deployment = |replicas: Option<i64>| {
            let mut value = json!({"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "a", "namespace": "shop"}, "spec": {"paused": false}});
            if let Some(replicas) = replicas {
                value["spec"]["replicas"] = json!(replicas);
            }
            value
        };
        let pinned = |sent: Option<i64>, owned: bool| {
            let mut live = deployment(Some(5));
            let fields =
                if owned { json!({"f:spec": {"f:replicas": {}}}) } else { json!({"f:spec": {"f:paused": {}}}) };
            live["metadata"]["managedFields"] = json!([{"manager": MANAGER, "operation": "Apply", "fieldsV1": fields}]);
            let key = ObjectKey::of(&live).expect("a key");
            let changes = Changes::of(&rendered(deployment(sent)), [(key, live)].into(), MANAGER);
            changes.objects().next().and_then(|changed| changed.replicas_to_pin(MANAGER))
        };
        assert_eq!(pinned(None, true), Some(5));
        assert_eq!(pinned(None, false), None);
        assert_eq!(pinned(Some(3), true), None);
    }
}
