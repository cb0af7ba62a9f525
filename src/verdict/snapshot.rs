//! What is known of a namespace.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::lean::ReplicaSet;
use super::pods::controller;

/// The objects of a namespace at one moment, as far as they were seen. Clones share them until one is changed.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// By name.
    pub deployments: Arc<Objects<Deployment>>,
    /// By name.
    pub stateful_sets: Arc<Objects<StatefulSet>>,
    /// By name.
    pub daemon_sets: Arc<Objects<DaemonSet>>,
    /// By name.
    pub replica_sets: Arc<Objects<ReplicaSet>>,
    /// By name.
    pub pods: Arc<Objects<Pod>>,
    /// By name.
    pub jobs: Arc<Objects<Job>>,
    /// By name.
    pub events: Arc<Objects<Event>>,
    /// By name.
    pub claims: Arc<Objects<PersistentVolumeClaim>>,
    /// When the API server last listed something, by its own clock; whole seconds.
    pub listed: Option<Timestamp>,
    /// Uids of workloads that were seen and are there no more. A uid never comes back.
    gone: BTreeSet<String>,
    /// Found out when first asked for: every Deployment asks.
    orphans: OnceLock<Vec<Arc<Pod>>>,
    /// How many changes there were.
    changes: u64,
    /// The last change that concerns a workload, by its uid.
    touched: HashMap<Arc<str>, u64>,
    /// The last one of which nobody knows whom it concerns.
    touched_any: u64,
}

/// Objects of one kind: by name, and by what they belong to. A thousand pods are looked for many times a
/// second: hashes, as comparing names and uids takes time.
#[derive(Clone, Debug)]
pub struct Objects<T> {
    named: HashMap<Arc<str>, Arc<T>>,
    /// By the uid of the owner, and by name.
    owned: HashMap<Arc<str>, BTreeMap<Arc<str>, Arc<T>>>,
    uids: HashMap<Arc<str>, Arc<T>>,
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self { named: HashMap::new(), owned: HashMap::new(), uids: HashMap::new() }
    }
}

impl<T> Objects<T> {
    /// The object called `name`.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.named.get(name).map(Arc::as_ref)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.named.values().map(Arc::as_ref)
    }

    /// What belongs to the object with this uid, by name.
    pub fn of(&self, uid: &str) -> impl Iterator<Item = &T> {
        self.owned.get(uid).into_iter().flat_map(BTreeMap::values).map(Arc::as_ref)
    }

    /// Whether one of them has this uid.
    pub fn has(&self, uid: &str) -> bool {
        self.uids.contains_key(uid)
    }

    fn with_uid(&self, uid: &str) -> Option<&T> {
        self.uids.get(uid).map(Arc::as_ref)
    }
}

impl<T: Kept> Objects<T> {
    fn insert(&mut self, object: T) {
        let name: Arc<str> = name(&object).into();
        self.take(&name);
        let object = Arc::new(object);
        if let Some(owner) = object.owner() {
            self.owned.entry(owner.into()).or_default().insert(name.clone(), object.clone());
        }
        self.uids.extend(uid(object.as_ref()).map(|uid| (Arc::from(uid), object.clone())));
        self.named.insert(name, object);
    }

    fn take(&mut self, name: &str) {
        let Some(object) = self.named.remove(name) else { return };
        if let Some(uid) = uid(object.as_ref()) {
            self.uids.remove(uid);
        }
        if let Some(owner) = object.owner()
            && let Some(objects) = self.owned.get_mut(owner)
        {
            objects.remove(name);
            if objects.is_empty() {
                self.owned.remove(owner);
            }
        }
    }
}

/// A kind that a snapshot keeps.
pub trait Kept: Sized + 'static {
    /// Whether deletions of the kind are remembered.
    const REMEMBERED: bool;
    /// Whether a change of one concerns every workload: it is looked for by name.
    const CONCERNS_ALL: bool = false;
    /// Which of them anything is read from, as a field selector; all without one.
    const SELECTOR: Option<&'static str> = None;
    /// Its objects.
    fn kept(snapshot: &Snapshot) -> &Objects<Self>;
    /// Its objects, to be changed.
    fn kept_mut(snapshot: &mut Snapshot) -> &mut Objects<Self>;
    /// An object's metadata.
    fn metadata(&self) -> &ObjectMeta;
    /// Uid of what it belongs to: its controller, or what an event is about.
    fn owner(&self) -> Option<&str> {
        controller(self.metadata()).map(|owner| owner.uid.as_str())
    }
}

macro_rules! kept {
    ($($kind:ty, $field:ident, $remembered:literal $(, { $($more:item)* })?;)*) => {
        $(impl Kept for $kind {
            const REMEMBERED: bool = $remembered;
            fn kept(snapshot: &Snapshot) -> &Objects<Self> {
                &snapshot.$field
            }
            fn kept_mut(snapshot: &mut Snapshot) -> &mut Objects<Self> {
                Arc::make_mut(&mut snapshot.$field)
            }
            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }
            $($($more)*)?
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
    Event, events, false, {
        // Several come with every pod that say nothing about it. What is wrong with a Deployment or a ReplicaSet stands in
        // its conditions.
        const SELECTOR: Option<&'static str> = Some("involvedObject.kind!=Deployment,involvedObject.kind!=ReplicaSet,\
            reason!=Scheduled,reason!=Created,reason!=Started");
        fn owner(&self) -> Option<&str> {
            self.involved_object.uid.as_deref()
        }
    };
    PersistentVolumeClaim, claims, false, {
        const CONCERNS_ALL: bool = true;
    };
}

impl Snapshot {
    /// An object that is there.
    pub fn put<T: Kept>(&mut self, object: T) {
        if T::kept(self).get(name(&object)).is_some_and(|known| is_same(known, &object)) {
            return;
        }
        match T::kept(self).named.get(name(&object)).cloned() {
            Some(before) if uid(before.as_ref()) != uid(&object) => self.remove(before.as_ref()),
            // Whose it was has lost it.
            Some(before) if before.owner() != object.owner() => self.touch(before.as_ref(), true),
            _ => {}
        }
        let stays = uid(&object).is_some_and(|uid| T::kept(self).has(uid));
        self.touch(&object, stays);
        self.change::<T>().insert(object);
    }

    /// An object that is there no more.
    pub fn remove<T: Kept>(&mut self, object: &T) {
        self.touch(object, false);
        let objects = self.change::<T>();
        if objects.get(name(object)).is_some_and(|live| uid(live) == uid(object)) {
            objects.take(name(object));
        }
        if T::REMEMBERED {
            self.gone.extend(uid(object).map(str::to_owned));
        }
    }

    /// The names of all objects of a kind that are there: absence means deletion.
    pub fn retain<T: Kept>(&mut self, names: &BTreeSet<String>) {
        let known = T::kept(self).named.iter();
        let absent: Vec<Arc<T>> =
            known.filter(|(name, _)| !names.contains(name.as_ref())).map(|(_, object)| object.clone()).collect();
        for object in absent {
            self.remove(object.as_ref());
        }
    }

    /// Whether the workload with this uid was seen and is there no more.
    pub fn is_gone(&self, uid: &str) -> bool {
        self.gone.contains(uid)
    }

    /// Pods whose ReplicaSet is not known: it is there no more, or was not seen yet.
    pub fn orphans(&self) -> impl Iterator<Item = &Pod> {
        let orphans = self.orphans.get_or_init(|| {
            let is_known = |owner: &Arc<str>| self.replica_sets.has(owner);
            let pods = self.pods.owned.iter().filter(|(owner, _)| !is_known(owner)).flat_map(|(_, pods)| pods.values());
            let is_of_set = |pod: &&Arc<Pod>| controller(&pod.metadata).is_some_and(|owner| owner.kind == "ReplicaSet");
            let mut orphans: Vec<Arc<Pod>> = pods.filter(is_of_set).cloned().collect();
            orphans.sort_by(|one, other| name(one.as_ref()).cmp(name(other.as_ref())));
            orphans
        });
        orphans.iter().map(Arc::as_ref)
    }

    fn change<T: Kept>(&mut self) -> &mut Objects<T> {
        self.orphans.take();
        T::kept_mut(self)
    }

    /// How many changes there have been.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether one of the changes after the first `changes` may concern the workload with this uid: of itself, of what
    /// belongs to it, or an event about these. Claims concern everybody.
    pub fn has_touched(&self, uid: &str, changes: u64) -> bool {
        self.touched_any.max(self.touched.get(uid).copied().unwrap_or(0)) > changes
    }

    /// Notes whom it concerns that `object` changes, or comes or goes.
    fn touch<T: Kept>(&mut self, object: &T, stays: bool) {
        self.changes += 1;
        // Its pods become somebody's, or nobody's.
        let moves_pods = !stays && uid(object).is_some_and(|uid| self.pods.owned.contains_key(uid));
        let whose = if T::REMEMBERED { uid(object) } else { object.owner().and_then(|uid| self.workload_of(uid)) };
        match whose.filter(|_| !moves_pods && !T::CONCERNS_ALL).map(Arc::from) {
            Some(workload) => drop(self.touched.insert(workload, self.changes)),
            None => self.touched_any = self.changes,
        }
    }

    /// Whose the object with this uid is, that something belongs to.
    fn workload_of<'a>(&'a self, mut uid: &'a str) -> Option<&'a str> {
        let owner = |metadata: &'a ObjectMeta| controller(metadata).map(|owner| owner.uid.as_str());
        if let Some(pod) = self.pods.with_uid(uid) {
            uid = owner(&pod.metadata)?;
        }
        if let Some(set) = self.replica_sets.with_uid(uid) {
            uid = owner(&set.metadata)?;
        }
        let is_known =
            self.deployments.has(uid) || self.stateful_sets.has(uid) || self.daemon_sets.has(uid) || self.jobs.has(uid);
        is_known.then_some(uid)
    }
}

fn name<T: Kept>(object: &T) -> &str {
    object.metadata().name.as_deref().unwrap_or_default()
}

/// Whether nothing has changed from one to the other.
fn is_same<T: Kept>(known: &T, object: &T) -> bool {
    let version = |object: &T| object.metadata().resource_version.clone();
    version(known).is_some() && version(known) == version(object) && uid(known) == uid(object)
}

fn uid<T: Kept>(object: &T) -> Option<&str> {
    object.metadata().uid.as_deref()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ObjectReference;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    fn job(uid: &str) -> Job {
        let metadata = ObjectMeta { name: Some("a".to_owned()), uid: Some(uid.to_owned()), ..ObjectMeta::default() };
        Job { metadata, ..Job::default() }
    }

    fn owned(name: &str, kind: &str, owner: Option<&str>) -> ObjectMeta {
        let owner = owner.map(|uid| {
            let (api_version, name) = ("apps/v1".to_owned(), uid.to_owned());
            let (kind, uid) = (kind.to_owned(), uid.to_owned());
            OwnerReference { api_version, name, kind, uid, controller: Some(true), block_owner_deletion: None }
        });
        let (name, owners) = (Some(name.to_owned()), owner.map(|owner| vec![owner]));
        ObjectMeta { uid: name.clone(), name, owner_references: owners, ..ObjectMeta::default() }
    }

    fn pod(name: &str, set: Option<&str>) -> Pod {
        Pod { metadata: owned(name, "ReplicaSet", set), ..Pod::default() }
    }

    fn set(name: &str, deployment: &str) -> ReplicaSet {
        ReplicaSet { metadata: owned(name, "Deployment", Some(deployment)), replicas: 1, template: None, status: None }
    }

    /// Which of the Deployments "a" and "b" it touches.
    fn touches(snapshot: &mut Snapshot, change: impl FnOnce(&mut Snapshot)) -> String {
        let before = snapshot.changes();
        change(snapshot);
        ["a", "b"].into_iter().filter(|uid| snapshot.has_touched(uid, before)).collect()
    }

    #[test]
    fn a_change_touches_whom_it_concerns() {
        let mut snapshot = Snapshot::default();
        for name in ["a", "b"] {
            let deployment = Deployment { metadata: owned(name, "", None), ..Deployment::default() };
            assert_eq!(touches(&mut snapshot, |snapshot| snapshot.put(deployment)), name);
            assert_eq!(touches(&mut snapshot, |snapshot| snapshot.put(set(&format!("set-{name}"), name))), name);
        }
        let about = |uid: &str| Event {
            metadata: owned("event", "", None),
            involved_object: ObjectReference { uid: Some(uid.to_owned()), ..ObjectReference::default() },
            ..Event::default()
        };
        assert_eq!(touches(&mut snapshot, |snapshot| snapshot.put(pod("pod", Some("set-a")))), "a");
        assert_eq!(touches(&mut snapshot, |snapshot| snapshot.put(about("pod"))), "a");
        assert_eq!(touches(&mut snapshot, |snapshot| snapshot.remove(&about("pod"))), "a");
        assert_eq!(touches(&mut snapshot, |snapshot| snapshot.put(pod("pod", Some("set-b")))), "ab", "both of them");
        assert_eq!(touches(&mut snapshot, |snapshot| snapshot.remove(&pod("pod", Some("set-b")))), "b");
        // Whose the pod is shows only when its ReplicaSet does.
        assert_eq!(touches(&mut snapshot, |snapshot| snapshot.put(pod("early", Some("set-c")))), "ab");
        assert_eq!(touches(&mut snapshot, |snapshot| snapshot.put(set("set-c", "b"))), "ab");
        assert_eq!(touches(&mut snapshot, |snapshot| snapshot.put(pod("early", Some("set-c")))), "b");
        assert_eq!(touches(&mut snapshot, |snapshot| snapshot.remove(&set("set-c", "b"))), "ab");
        let claim = PersistentVolumeClaim {
            metadata: owned("claim", "Deployment", Some("a")),
            ..PersistentVolumeClaim::default()
        };
        assert_eq!(touches(&mut snapshot, |snapshot| snapshot.put(claim)), "ab");
    }

    #[test]
    fn what_was_seen_and_is_missing_is_gone() {
        let mut snapshot = Snapshot::default();
        snapshot.put(job("1"));
        assert!(!snapshot.is_gone("1"));
        snapshot.put(job("2"));
        assert!(snapshot.is_gone("1") && !snapshot.is_gone("2"));
        snapshot.retain::<Job>(&BTreeSet::from(["a".to_owned()]));
        assert!(!snapshot.is_gone("2"));
        snapshot.retain::<Job>(&BTreeSet::new());
        assert!(snapshot.is_gone("2") && snapshot.jobs.get("a").is_none());
        snapshot.put(job("3"));
        assert!(snapshot.is_gone("2") && !snapshot.is_gone("3"));
        snapshot.remove(&job("2"));
        assert!(snapshot.jobs.get("a").is_some(), "a late deletion of an earlier object");
        snapshot.remove(&job("3"));
        assert!(snapshot.is_gone("3") && snapshot.jobs.get("a").is_none());
    }
}
