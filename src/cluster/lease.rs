//! The lock: one deploy at a time per namespace, as a Lease that its holder renews.
//!
//! Times in the Lease are the API server's, taken from its answers: clocks of several machines are never compared. What
//! this process may still do is counted by its own monotonic clock: a write that is under way when the lock has not been
//! renewed for twenty seconds is given up, ten seconds before anybody else may take it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::client::Cluster;
use super::holder::Holder;
use super::request::{Failure, get, post, put};
use crate::error::{Error, Kind, Result};

/// Name of the Lease.
const NAME: &str = "hdeploy";
/// Annotation that tells others what is being done.
const DOING: &str = "hdeploy.dev/doing";
/// How long a Lease holds after its last renewal.
const DURATION: Duration = Duration::from_secs(30);
const RENEW: Duration = Duration::from_secs(10);
/// How long one try to renew may take: a silent connection must not use up the time of the next ones.
const PATIENCE: Duration = Duration::from_secs(3);
/// After this long without a renewal nothing is written any more.
const WRITE: Duration = Duration::from_secs(20);
/// How often the lock is tried for when others try at the same moment.
const TRIES: u32 = 5;
/// Longer before each further try.
const PAUSE: Duration = Duration::from_millis(100);

/// The lock on a namespace, renewed until it is released or dropped.
pub struct Lease {
    held: Arc<Held>,
    renewing: AbortHandle,
}

struct Held {
    cluster: Cluster,
    path: String,
    namespace: String,
    holder: Holder,
    state: Mutex<State>,
}

struct State {
    /// Of this process' clock, before the request that renewed it left.
    renewed: Instant,
    /// Why it is lost for good.
    lost: Option<String>,
    /// Why it could not be renewed the last time.
    trouble: Option<String>,
}

impl Cluster {
    /// Takes the lock on `namespace`; `doing` tells others what for.
    ///
    /// # Errors
    /// [`Kind::Locked`] when another deploy holds it, with who and until when.
    pub async fn lock(&self, namespace: &str, doing: &str) -> Result<Lease> {
        let folder = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases");
        let path = format!("{folder}/{NAME}");
        for attempt in 0..TRIES {
            sleep(PAUSE * attempt).await;
            let renewed = Instant::now();
            let mut live = self.lease(&path, namespace).await?;
            if live.is_none() {
                // First without a holder: an answer has to tell the server's time, which the lock is taken with.
                self.make_lease(&folder, namespace).await?;
                live = self.lease(&path, namespace).await?;
            }
            let Some(live) = live else { continue };
            if self.take(&path, namespace, doing, live, attempt + 1 == TRIES).await? {
                return Ok(Lease::held(self.clone(), path, namespace, renewed));
            }
        }
        let message = format!("the lock on the namespace {namespace} could not be taken: others try too");
        Err(Error::new(Kind::Locked, message).hint("try again in a minute"))
    }

    /// The Lease, with the server's time.
    async fn lease(&self, path: &str, namespace: &str) -> Result<Option<(Value, Timestamp)>> {
        match self.call(get(path)).await {
            Ok(answer) => {
                let live = answer.json().map_err(|failure| self.no_lock(namespace, failure))?;
                let date = answer.date.ok_or_else(|| self.no_lock(namespace, dateless()))?;
                Ok(Some((live, date)))
            }
            Err(failure) if failure.code() == Some(404) => Ok(None),
            Err(failure) => Err(self.no_lock(namespace, failure)),
        }
    }

    async fn make_lease(&self, folder: &str, namespace: &str) -> Result<()> {
        let kind = ("coordination.k8s.io/v1", "Lease");
        let new = json!({"apiVersion": kind.0, "kind": kind.1, "metadata": {"name": NAME, "namespace": namespace}});
        match self.call(post(folder, &new)).await {
            Err(failure) if failure.code() != Some(409) => Err(self.no_lock(namespace, failure)),
            _ => Ok(()),
        }
    }

    /// Not taken when somebody else was faster, or when our own try succeeded and its answer was lost.
    async fn take(
        &self,
        path: &str,
        namespace: &str,
        doing: &str,
        live: (Value, Timestamp),
        is_last: bool,
    ) -> Result<bool> {
        let (live, now) = live;
        free(&live, now).map_err(|held| locked(namespace, held))?;
        match self.once(put(path, &taken(live, &Holder::this(), doing, now))).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.code() == Some(409) || (failure.is_transient() && !is_last) => Ok(false),
            Err(failure) => Err(self.no_lock(namespace, failure)),
        }
    }

    fn no_lock(&self, namespace: &str, failure: Failure) -> Error {
        self.error(&format!("cannot lock the namespace {namespace}"), failure)
    }
}

/// Nothing when the lock may be taken, otherwise why not.
fn free(lease: &Value, now: Timestamp) -> Result<(), String> {
    let spec = &lease["spec"];
    let identity = spec["holderIdentity"].as_str().unwrap_or_default();
    let holder = Holder::parse(identity);
    if identity.is_empty() || holder.as_ref().is_some_and(|holder| *holder == Holder::this() || holder.is_gone()) {
        return Ok(());
    }
    let who = holder.map_or_else(|| identity.to_owned(), |holder| holder.to_string());
    let renewed: Option<Timestamp> = spec["renewTime"].as_str().and_then(|text| text.parse().ok());
    let seconds = spec["leaseDurationSeconds"].as_i64().unwrap_or(0);
    let left =
        renewed.map_or(0, |renewed| (renewed + SignedDuration::from_secs(seconds)).duration_since(now).as_secs());
    if left < 0 || renewed.is_none() {
        return Ok(());
    }
    let doing = lease["metadata"]["annotations"][DOING].as_str().map(|text| format!(": {text}")).unwrap_or_default();
    Err(format!("{who} holds it{doing}; without a sign of life it is free in {} s", left + 1))
}

fn locked(namespace: &str, held: String) -> Error {
    Error::new(Kind::Locked, format!("another deploy to the namespace {namespace} is running"))
        .detail(held)
        .hint("wait for it to end, then run the same command again")
        .hint(format!("kubectl get lease {NAME} -n {namespace} -o yaml"))
}

/// `lease`, held by `holder` from `now` on.
fn taken(mut lease: Value, holder: &Holder, doing: &str, now: Timestamp) -> Value {
    let transitions = lease["spec"]["leaseTransitions"].as_i64().unwrap_or(-1) + 1;
    lease["metadata"]["annotations"][DOING] = doing.into();
    lease["spec"] = json!({
        "holderIdentity": holder.identity(),
        "leaseDurationSeconds": DURATION.as_secs(),
        "acquireTime": micro(now),
        "renewTime": micro(now),
        "leaseTransitions": transitions,
    });
    lease
}

/// A Kubernetes `MicroTime`.
fn micro(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

impl Lease {
    fn held(cluster: Cluster, path: String, namespace: &str, renewed: Instant) -> Self {
        let state = Mutex::new(State { renewed, lost: None, trouble: None });
        let held = Arc::new(Held { cluster, path, namespace: namespace.to_owned(), holder: Holder::this(), state });
        let renewing = tokio::spawn(Arc::clone(&held).renew_for_ever()).abort_handle();
        Self { held, renewing }
    }

    /// Whether something may still be written. To be asked before every write.
    ///
    /// # Errors
    /// [`Kind::Unknown`] when the lock is somebody else's, or may be soon.
    pub fn check(&self) -> Result<()> {
        let state = self.held.state.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = state.renewed.elapsed();
        let why = match &state.lost {
            Some(why) => why.clone(),
            None if silent < WRITE => return Ok(()),
            None => {
                let why = state.trouble.as_deref().unwrap_or("no answer");
                format!("it could not be renewed for {} s: {why}", silent.as_secs())
            }
        };
        let message =
            format!("the lock on the namespace {} is lost: {why}; nothing more is written", self.held.namespace);
        Err(Error::new(Kind::Unknown, message).hint("run the same command again: it puts back what was changed before it begins; hdeploy recover does only that"))
    }

    /// Does `work`, which writes, for as long as the lock is held.
    ///
    /// # Errors
    /// As [`Lease::check`]; what was under way may or may not have been written then.
    pub async fn hold<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        tokio::pin!(work);
        loop {
            self.check()?;
            let end = self.held.state.lock().unwrap_or_else(PoisonError::into_inner).renewed + WRITE;
            tokio::select! {
                done = &mut work => return Ok(done),
                () = sleep_until(end) => {}
            }
        }
    }

    /// Lets others go on at once. Best effort: without it they wait until the Lease runs out.
    pub async fn release(self) {
        self.renewing.abort();
        // A renewal that was under way makes the first try fail.
        for _ in 0..2 {
            let Ok(answer) = self.held.cluster.once(get(&self.held.path)).await else { return };
            let Ok(mut lease) = answer.json::<Value>() else { return };
            if lease["spec"]["holderIdentity"] != self.held.holder.identity() {
                return;
            }
            lease["spec"]["holderIdentity"] = "".into();
            if self.held.cluster.once(put(&self.held.path, &lease)).await.is_ok() {
                return;
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

impl Held {
    async fn renew_for_ever(self: Arc<Self>) {
        loop {
            sleep(RENEW).await;
            self.renew_until_answered().await;
            if self.state.lock().unwrap_or_else(PoisonError::into_inner).lost.is_some() {
                return;
            }
        }
    }

    /// Tries again every second: another ten would be too late.
    async fn renew_until_answered(&self) {
        loop {
            let began = Instant::now();
            let tried = timeout(PATIENCE, self.renew()).await;
            match tried.unwrap_or_else(|_| Err(Lost::Perhaps("no answer".to_owned()))) {
                Ok(()) => {
                    self.state.lock().unwrap_or_else(PoisonError::into_inner).renewed = began;
                    return;
                }
                Err(Lost::Surely(lost)) => {
                    self.state.lock().unwrap_or_else(PoisonError::into_inner).lost = Some(lost);
                    return;
                }
                Err(Lost::Perhaps(why)) => {
                    self.state.lock().unwrap_or_else(PoisonError::into_inner).trouble = Some(why);
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn renew(&self) -> Result<(), Lost> {
        let answer = self.cluster.once(get(&self.path)).await.map_err(Lost::of)?;
        let mut lease: Value = answer.json().map_err(Lost::of)?;
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        if holder != self.holder.identity() {
            let who = Holder::parse(holder).map_or_else(|| format!("{holder:?}"), |holder| holder.to_string());
            return Err(Lost::Surely(format!("{who} has taken it")));
        }
        let now = answer.date.ok_or_else(|| Lost::of(dateless()))?;
        lease["spec"]["renewTime"] = micro(now).into();
        self.cluster.once(put(&self.path, &lease)).await.map(drop).map_err(Lost::of)
    }
}

/// The lock was not renewed.
enum Lost {
    /// It is somebody else's.
    Surely(String),
    /// It may be renewed with the next try.
    Perhaps(String),
}

impl Lost {
    fn of(failure: Failure) -> Self {
        match failure {
            Failure::Status(status) if status.code == 404 => Self::Surely("somebody deleted it".to_owned()),
            Failure::Status(status) => Self::Perhaps(format!("{} {}", status.code, status.message)),
            Failure::Transport(why) => Self::Perhaps(why),
        }
    }
}

fn dateless() -> Failure {
    Failure::Transport("its answers do not say when they were given".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, renewed: &str) -> Value {
        json!({"metadata": {"annotations": {DOING: "release d3708e6"}},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 30, "renewTime": renewed}})
    }

    fn now() -> Timestamp {
        "2026-11-21T08:00:00Z".parse().expect("a time")
    }

    #[test]
    fn a_lock_is_free_when_released_run_out_or_left_behind_on_this_machine() {
        let elsewhere = "operator@elsewhere/boot/17/99";
        assert!(free(&lease("", "2026-11-21T07:59:59.000000Z"), now()).is_ok());
        assert!(free(&lease(elsewhere, "2026-11-21T07:59:29.000000Z"), now()).is_ok());
        assert!(free(&json!({"metadata": {}}), now()).is_ok());
        let gone = Holder::this().identity().rsplit_once('/').map(|(before, _)| format!("{before}/1")).expect("parts");
        assert!(free(&lease(&gone, "2026-11-21T07:59:59.000000Z"), now()).is_ok());

        let held = free(&lease(elsewhere, "2026-11-21T07:59:50.000000Z"), now()).expect_err("held");
        assert_eq!(
            held,
            "operator@elsewhere (process 17) holds it: release d3708e6; without a sign of life it is free in 21 s"
        );
        let foreign = free(&lease("somebody", "2026-11-21T07:59:50.000000Z"), now()).expect_err("held");
        assert!(foreign.starts_with("somebody holds it"), "{foreign}");
    }

    #[test]
    fn times_are_written_as_kubernetes_writes_them() {
        assert_eq!(micro(now()), "2026-11-21T08:00:00.000000Z");
    }
}
