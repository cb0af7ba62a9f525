//! Following a namespace.
//!
//! Every kind is listed, then watched for ten seconds from what was listed, and so on. A connection that dies
//! silently, an event that was lost or a resourceVersion that is too old (410) cannot hide a change for longer. A list of
//! hundreds of objects comes once a minute only, and watches go on from each other in between: a server that holds events back
//! and says nothing of it could hide a change for so long.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::core::params::{ListParams, WatchParams};
use kube::core::{ObjectList, Request as Paths, Resource, WatchEvent};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::client::Cluster;
use super::request::Failure;
use super::trouble::explain;
use crate::verdict::{Kept, Lean, Read, ReplicaSet, Snapshot};

/// One round of watching, on the server's side, in seconds.
const ROUND: u32 = 10;
/// The server ends a round by itself; it gets this much longer.
const ROUND_PATIENCE: Duration = Duration::from_secs(12);
/// Whatever stands between may end every round at once.
const SHORTEST_ROUND: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
const KINDS: usize = 8;
/// Objects of one answer. Thousands in one would be in memory twice.
const PAGE: u32 = 100;
/// A list of more objects is long: it takes longer than everything that is watched, and comes so often only.
const LONG: usize = 500;
const LONG_LISTS: Duration = Duration::from_mins(1);

/// A namespace that is being followed. Clones see the same; watching ends with the last one.
#[derive(Clone)]
pub struct Watch {
    namespace: Arc<str>,
    state: watch::Receiver<State>,
    _tasks: Arc<JoinSet<()>>,
}

#[derive(Clone, Default)]
struct State {
    snapshot: Arc<Snapshot>,
    /// One per kind.
    health: [Health; KINDS],
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Health {
    #[default]
    Unlisted,
    Current,
    Broken(String),
}

/// What a kind needs to be followed.
trait Followed: Kept + Read<Kind: Resource<DynamicType = ()>> + Clone + Debug + Send + Sync {}
impl<K: Kept + Read<Kind: Resource<DynamicType = ()>> + Clone + Debug + Send + Sync> Followed for K {}

impl Cluster {
    /// Follows the workloads of `namespace`, their pods, claims and events, until the last [`Watch`] is dropped.
    pub fn watch(&self, namespace: &str) -> Watch {
        let (sender, state) = watch::channel(State::default());
        let mut tasks = JoinSet::new();
        let follower = |slot| Follower {
            cluster: self.clone(),
            namespace: namespace.into(),
            sender: sender.clone(),
            slot,
            renewals: 0,
        };
        tasks.spawn(follower(0).follow::<Deployment>());
        tasks.spawn(follower(1).follow::<StatefulSet>());
        tasks.spawn(follower(2).follow::<DaemonSet>());
        tasks.spawn(follower(3).follow::<ReplicaSet>());
        tasks.spawn(follower(4).follow::<Pod>());
        tasks.spawn(follower(5).follow::<Job>());
        tasks.spawn(follower(6).follow::<Event>());
        tasks.spawn(follower(7).follow::<PersistentVolumeClaim>());
        Watch { namespace: namespace.into(), state, _tasks: Arc::new(tasks) }
    }
}

impl Watch {
    /// The namespace that is followed.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Waits until something is different from what this clone saw last.
    pub async fn changed(&mut self) {
        if self.state.changed().await.is_err() {
            // The senders live as long as the tasks, and those as long as this.
            std::future::pending::<()>().await;
        }
    }

    /// What is known now. Judge by it only while [`Watch::synced`].
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.state.borrow().snapshot.clone()
    }

    /// Whether every kind was listed and none has lost its connection since.
    pub fn synced(&self) -> bool {
        self.state.borrow().health.iter().all(|health| *health == Health::Current)
    }

    /// Why [`Watch::synced`] is false: nothing while the first lists are under way.
    pub fn trouble(&self) -> Option<String> {
        self.state.borrow().health.iter().find_map(|health| match health {
            Health::Broken(text) => Some(text.clone()),
            Health::Unlisted | Health::Current => None,
        })
    }
}

struct Follower {
    cluster: Cluster,
    namespace: String,
    sender: watch::Sender<State>,
    slot: usize,
    /// How often credentials had been renewed when something was last asked for.
    renewals: u32,
}

/// What was listed.
struct Listed {
    /// To watch from.
    version: String,
    /// Whether it comes seldom.
    is_long: bool,
}

impl Follower {
    async fn follow<K: Followed>(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            let rest = || SHORTEST_ROUND.saturating_sub(began.elapsed());
            let listed = self.list::<K>().await;
            let is_there = listed.is_ok();
            let ended = match listed {
                Ok(listed) => self.rounds::<K>(listed, began + LONG_LISTS).await,
                Err(failure) => Err(failure),
            };
            match ended {
                Ok(()) => {
                    pause = FIRST_PAUSE;
                    sleep(rest()).await;
                }
                // The next list mends it: the resourceVersion or the token of a page was too old.
                Err(failure) if failure.code() == Some(410) => sleep(rest()).await,
                Err(failure) => {
                    // A connection that breaks, or an answer after good rounds, says nothing about the next one.
                    if is_there && failure.code().is_none() || began.elapsed() > ROUND_PATIENCE {
                        pause = FIRST_PAUSE.max(rest());
                    }
                    self.broken::<K>(failure).await;
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Lists everything.
    async fn list<K: Followed>(&mut self) -> Result<Listed, Failure> {
        let paths = Paths::new(K::Kind::url_path(&(), Some(&self.namespace)));
        let mut params =
            ListParams { field_selector: K::SELECTOR.map(str::to_owned), ..ListParams::default().limit(PAGE) };
        let mut names = BTreeSet::new();
        loop {
            let request = paths.list(&params).map_err(|e| Failure::Transport(e.to_string()))?;
            self.renewals = self.cluster.renewals();
            let answer = self.cluster.once(request).await?;
            let page: ObjectList<Lean<K>> = answer.json()?;
            names.extend(page.items.iter().filter_map(|Lean(object)| object.metadata().name.clone()));
            self.tell(|snapshot| page.items.into_iter().for_each(|Lean(object)| snapshot.put(object)));
            if let Some(token) = page.metadata.continue_.filter(|token| !token.is_empty()) {
                params = params.continue_token(&token);
                continue;
            }
            self.tell(|snapshot| {
                snapshot.retain::<K>(&names);
                snapshot.listed = answer.date.or(snapshot.listed);
            });
            self.sender.send_modify(|state| state.health[self.slot] = Health::Current);
            let version = page.metadata.resource_version.unwrap_or_default();
            return Ok(Listed { version, is_long: names.len() > LONG });
        }
    }

    /// Watches from what was `listed` on: one round, or after a long list rounds until it is time for the next one.
    async fn rounds<K: Followed>(&mut self, mut listed: Listed, next_long: Instant) -> Result<(), Failure> {
        loop {
            let began = Instant::now();
            self.renewals = self.cluster.renewals();
            let round = self.watched::<K>(&mut listed.version);
            timeout(ROUND_PATIENCE, round).await.unwrap_or(Err(Failure::silent(ROUND_PATIENCE)))?;
            if !listed.is_long || Instant::now() >= next_long {
                return Ok(());
            }
            sleep(SHORTEST_ROUND.saturating_sub(began.elapsed())).await;
        }
    }

    /// One round. `version` is what was seen last.
    async fn watched<K: Followed>(&self, version: &mut String) -> Result<(), Failure> {
        let paths = Paths::new(K::Kind::url_path(&(), Some(&self.namespace)));
        let params =
            WatchParams { field_selector: K::SELECTOR.map(str::to_owned), ..WatchParams::default().timeout(ROUND) };
        let watch = paths.watch(&params, version).map_err(|e| Failure::Transport(e.to_string()))?;
        let mut events = pin!(self.cluster.client().request_events::<Lean<K>>(watch).await?);
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(Lean(object)) | WatchEvent::Modified(Lean(object)) => {
                    saw(&object, version);
                    self.tell(|snapshot| snapshot.put(object));
                }
                WatchEvent::Deleted(Lean(object)) => {
                    saw(&object, version);
                    self.tell(|snapshot| snapshot.remove(&object));
                }
                WatchEvent::Bookmark(bookmark) => *version = bookmark.metadata.resource_version,
                WatchEvent::Error(status) => return Err(Failure::Status(status)),
            }
        }
        Ok(())
    }

    fn tell(&self, change: impl FnOnce(&mut Snapshot)) {
        self.sender.send_modify(|state| change(Arc::make_mut(&mut state.snapshot)));
    }

    async fn broken<K: Followed>(&self, failure: Failure) {
        if failure.code() == Some(401) {
            // What cannot be renewed now is tried again with the next round.
            let _ = self.cluster.renew(self.renewals).await;
        }
        let why = match failure {
            Failure::Transport(chain) => explain(&chain).0.to_owned(),
            Failure::Status(status) => format!("the API server answered {} {}", status.code, status.message),
        };
        let text = format!("the {} of {} cannot be followed: {why}", K::Kind::plural(&()), self.namespace);
        self.sender.send_if_modified(|state| {
            let health = Health::Broken(text);
            let different = state.health[self.slot] != health;
            state.health[self.slot] = health;
            different
        });
    }
}

fn saw<K: Kept>(object: &K, version: &mut String) {
    if let Some(seen) = &object.metadata().resource_version {
        version.clone_from(seen);
    }
}
