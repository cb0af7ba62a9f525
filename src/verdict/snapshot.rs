//! What is known of a namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The objects of a namespace at one moment, as far as they were seen. Clones share the objects.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// By name.
    pub deployments: Objects<Deployment>,
    /// By name.
    pub stateful_sets: Objects<StatefulSet>,
    /// By name.
    pub daemon_sets: Objects<DaemonSet>,
    /// By name.
    pub replica_sets: Objects<ReplicaSet>,
    /// By name.
    pub pods: Objects<Pod>,
    /// By name.
    pub jobs: Objects<Job>,
    /// By name.
    pub events: Objects<Event>,
    /// By name.
    pub claims: Objects<PersistentVolumeClaim>,
    /// When the API server last listed something, by its own clock; whole seconds.
    pub listed: Option<Timestamp>,
    /// Uids of workloads that were seen and are there no more. A uid never comes back.
    gone: BTreeSet<String>,
}

/// Objects of one kind: by name, and by what they belong to.
#[derive(Clone, Debug)]
pub struct Objects<T> {
    named: BTreeMap<String, Arc<T>>,
    /// Names by the uid of the owner. A thousand pods are looked at many times a second.
    owned: BTreeMap<String, BTreeSet<String>>,
    uids: BTreeSet<String>,
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self { named: BTreeMap::new(), owned: BTreeMap::new(), uids: BTreeSet::new() }
    }
}

impl<T> Objects<T> {
    /// The object called `name`.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.named.get(name).map(Arc::as_ref)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.named.values().map(Arc::as_ref)
    }

    /// What belongs to the object with this uid, by name.
    pub fn of(&self, uid: &str) -> impl Iterator<Item = &T> {
        self.owned.get(uid).into_iter().flatten().filter_map(|name| self.get(name))
    }

    /// Whether one of them has this uid.
    pub fn has(&self, uid: &str) -> bool {
        self.uids.contains(uid)
    }

    /// The uids of all owners.
    pub fn owners(&self) -> impl Iterator<Item = &str> {
        self.owned.keys().map(String::as_str)
    }
}

impl<T: Kept> Objects<T> {
    fn insert(&mut self, object: T) -> Option<Arc<T>> {
        let name = name(&object).to_owned();
        let before = self.take(&name);
        if let Some(owner) = object.owner() {
            self.owned.entry(owner.to_owned()).or_default().insert(name.clone());
        }
        self.uids.extend(uid(&object).map(str::to_owned));
        self.named.insert(name, Arc::new(object));
        before
    }

    fn take(&mut self, name: &str) -> Option<Arc<T>> {
        let object = self.named.remove(name)?;
        if let Some(uid) = uid(object.as_ref()) {
            self.uids.remove(uid);
        }
        if let Some(owner) = object.owner()
            && let Some(names) = self.owned.get_mut(owner)
        {
            names.remove(name);
            if names.is_empty() {
                self.owned.remove(owner);
            }
        }
        Some(object)
    }
}

/// A kind that a snapshot keeps.
pub trait Kept: Sized + 'static {
    /// Whether deletions of the kind are remembered.
    const REMEMBERED: bool;
    /// Its objects.
    fn kept(snapshot: &Snapshot) -> &Objects<Self>;
    /// Its objects, to be changed.
    fn kept_mut(snapshot: &mut Snapshot) -> &mut Objects<Self>;
    /// An object's metadata.
    fn metadata(&self) -> &ObjectMeta;
    /// Uid of what it belongs to: its controller, or what an event is about.
    fn owner(&self) -> Option<&str> {
        self.metadata().owner_references.iter().flatten().find(|o| o.controller == Some(true)).map(|o| o.uid.as_str())
    }
}

macro_rules! kept {
    ($($kind:ty, $field:ident, $remembered:literal $(, $owner:item)?;)*) => {
        $(impl Kept for $kind {
            const REMEMBERED: bool = $remembered;
            fn kept(snapshot: &Snapshot) -> &Objects<Self> {
                &snapshot.$field
            }
            fn kept_mut(snapshot: &mut Snapshot) -> &mut Objects<Self> {
                &mut snapshot.$field
            }
            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }
            $($owner)?
        })*
    };
}

kept! {
    Deployment, deployments, true;
    StatefulSet, stateful_sets, true;
    DaemonSet, daemon_sets, true;
    Job, jobs, true;
    ReplicaSet, replica_sets, false;
    Pod, pods, false;
    Event, events, false, fn owner(&self) -> Option<&str> { self.involved_object.uid.as_deref() };
    PersistentVolumeClaim, claims, false;
}

impl Snapshot {
    /// An object that is new or has changed.
    pub fn put<T: Kept>(&mut self, object: T) {
        let name = name(&object).to_owned();
        let before = T::kept_mut(self).insert(object);
        if let Some(before) = before.filter(|before| uid(before.as_ref()) != self.uid_of::<T>(&name)) {
            self.remember(before.as_ref());
        }
    }

    /// An object that is there no more.
    pub fn remove<T: Kept>(&mut self, object: &T) {
        let objects = T::kept_mut(self);
        if objects.get(name(object)).is_some_and(|live| uid(live) == uid(object)) {
            objects.take(name(object));
        }
        self.remember(object);
    }

    /// All objects of a kind that are there now: absence means deletion.
    pub fn replace<T: Kept>(&mut self, objects: Vec<T>) {
        let mut all = Objects::default();
        for object in objects {
            all.insert(object);
        }
        let before = std::mem::replace(T::kept_mut(self), all);
        for object in before.iter() {
            if self.uid_of::<T>(name(object)) != uid(object) {
                self.remember(object);
            }
        }
    }

    /// Whether the workload with this uid was seen and is there no more.
    pub fn is_gone(&self, uid: &str) -> bool {
        self.gone.contains(uid)
    }

    fn remember<T: Kept>(&mut self, object: &T) {
        if T::REMEMBERED {
            self.gone.extend(uid(object).map(str::to_owned));
        }
    }

    fn uid_of<T: Kept>(&self, name: &str) -> Option<&str> {
        T::kept(self).get(name).and_then(uid)
    }
}

fn name<T: Kept>(object: &T) -> &str {
    object.metadata().name.as_deref().unwrap_or_default()
}

fn uid<T: Kept>(object: &T) -> Option<&str> {
    object.metadata().uid.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(uid: &str) -> Job {
        let metadata = ObjectMeta { name: Some("a".to_owned()), uid: Some(uid.to_owned()), ..ObjectMeta::default() };
        Job { metadata, ..Job::default() }
    }

    #[test]
    fn what_was_seen_and_is_missing_is_gone() {
        let mut snapshot = Snapshot::default();
        snapshot.put(job("1"));
        assert!(!snapshot.is_gone("1"));
        snapshot.replace(vec![job("2")]);
        assert!(snapshot.is_gone("1") && !snapshot.is_gone("2"));
        snapshot.put(job("3"));
        assert!(snapshot.is_gone("2") && !snapshot.is_gone("3"));
        snapshot.remove(&job("2"));
        assert!(snapshot.jobs.get("a").is_some(), "a late deletion of an earlier object");
        snapshot.remove(&job("3"));
        assert!(snapshot.is_gone("3") && snapshot.jobs.get("a").is_none());
    }
}
