//! Waiting until what was applied runs everywhere, and stays so; or until it is certain that it will not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::cluster::Watch;
use crate::error::{Error, Kind, Result};
use crate::event::{Event, Progress};
use crate::manifest::{Object, budget, is_workload};
use crate::model::ObjectKey;
use crate::stage::contact::{BLINK, Clock, Contact, until};
use crate::stage::{Context, evidence};
use crate::verdict::{
    Answer, Answers, Baseline, Cause, Expectation, Judge, Limits, Meddling, Progressing, Question, Rule, Snapshot,
    Verdict,
};

/// A change seldom comes alone: what comes within this time is looked at together. Each workload adds to it: the more
/// there are, the more changes come.
const TOGETHER: Duration = Duration::from_millis(20);
const EACH: Duration = Duration::from_millis(1);
const LONGEST_TOGETHER: Duration = Duration::from_millis(250);

/// The watches of this run, one set per namespace, opened when first needed.
pub struct Watches {
    context: Context,
    open: BTreeMap<String, Watch>,
    baselines: BTreeMap<String, Arc<Baseline>>,
}

impl Watches {
    /// None open yet.
    pub fn new(context: &Context) -> Self {
        Self { context: context.clone(), open: BTreeMap::new(), baselines: BTreeMap::new() }
    }

    /// The watch of `namespace`.
    pub fn of(&mut self, namespace: &str) -> &mut Watch {
        self.open.entry(namespace.to_owned()).or_insert_with(|| self.context.cluster.watch(namespace))
    }

    /// How things stood in `namespace` when it was last measured, or when this is first asked.
    ///
    /// # Errors
    /// When it cannot be followed.
    pub async fn baseline(&mut self, namespace: &str) -> Result<Arc<Baseline>> {
        if let Some(known) = self.baselines.get(namespace) {
            return Ok(Arc::clone(known));
        }
        let mut watch = self.of(namespace).clone();
        until(&self.context, &mut watch, Duration::MAX, |_| true).await?;
        let baseline = Arc::new(Baseline::of(&watch.snapshot()));
        self.baselines.insert(namespace.to_owned(), Arc::clone(&baseline));
        Ok(baseline)
    }

    /// [`Watches::baseline`], as of now: what ended while an earlier wave was waited for may have ended because that wave was
    /// not there yet.
    ///
    /// # Errors
    /// When it cannot be followed.
    pub async fn measure(&mut self, namespace: &str) -> Result<()> {
        self.baselines.remove(namespace);
        self.baseline(namespace).await.map(drop)
    }

    /// [`Watches::measure`] wherever there are workloads among the `objects`.
    ///
    /// # Errors
    /// When a namespace cannot be followed.
    pub async fn measure_all(&mut self, objects: &[Object]) -> Result<()> {
        let keys = objects.iter().map(Object::key).filter(is_workload);
        let namespaces: BTreeSet<String> = keys.filter_map(|key| key.namespace).collect();
        for namespace in namespaces {
            self.measure(&namespace).await?;
        }
        Ok(())
    }
}

/// A live object that is waited for.
pub struct Awaited {
    /// As the API server answered it.
    pub object: Value,
    /// Whether this run has changed it.
    pub changed: bool,
}

/// Waits until every workload among the `awaited` has settled.
///
/// # Errors
/// When one fails, is changed by somebody else, or contact is lost for too long.
pub async fn settle(
    context: &Context,
    watches: &mut Watches,
    awaited: impl IntoIterator<Item = Awaited>,
) -> Result<()> {
    let workloads =
        awaited.into_iter().filter(|awaited| ObjectKey::of(&awaited.object).is_some_and(|key| is_workload(&key)));
    let workloads: Vec<Awaited> = workloads.collect();
    let images: BTreeSet<&str> = workloads.iter().flat_map(|awaited| budget::images_of(&awaited.object)).collect();
    let images = images.len();
    let mut by_namespace: BTreeMap<String, Vec<Judge>> = BTreeMap::new();
    for Awaited { object, changed } in workloads {
        let expectation = expectation(&object)?;
        let namespace = expectation.key.namespace.clone().unwrap_or_default();
        let limits = Limits::of(&object, images, context.settle.soak, context.settle.timeout);
        let baseline = watches.baseline(&namespace).await?;
        by_namespace.entry(namespace).or_default().push(Judge::new(expectation, baseline, limits, changed));
    }
    let started = Instant::now();
    let all = by_namespace.into_iter().map(|(namespace, judges)| {
        let watch = watches.of(&namespace).clone();
        async move { Waiting::new(context, watch, judges, started).run(&mut Nothing).await }
    });
    try_join_all(all).await.map(drop)
}

/// What is expected of a live `object`.
pub fn expectation(object: &Value) -> Result<Expectation> {
    let name = || ObjectKey::of(object).map_or_else(|| "an object".to_owned(), |key| key.to_string());
    Expectation::of(object)
        .ok_or_else(|| Error::new(Kind::Unknown, format!("the API server answered no whole object for {}", name())))
}

/// Who wants to see what the judges see.
pub trait Onlooker {
    /// A new state of the namespace.
    fn see(&mut self, snapshot: &Snapshot);
}

/// Nobody.
pub struct Nothing;

impl Onlooker for Nothing {
    fn see(&mut self, _: &Snapshot) {}
}

/// Workloads of a namespace that are waited for together.
pub struct Waiting<'a> {
    context: &'a Context,
    watch: Watch,
    judges: Vec<Judge>,
    started: Instant,
    clock: Clock,
    contact: Contact<'a>,
    said: BTreeMap<ObjectKey, String>,
    troubled: BTreeSet<ObjectKey>,
    answers: Answers,
    asked: BTreeSet<Question>,
    asking: JoinSet<(Question, Answer)>,
    failed: Vec<(ObjectKey, Box<Cause>)>,
}

impl<'a> Waiting<'a> {
    /// Waits for what the `judges` judge; `started` is when that began for people.
    pub fn new(context: &'a Context, watch: Watch, judges: Vec<Judge>, started: Instant) -> Self {
        let contact = Contact::new(context, watch.namespace());
        Self {
            context,
            watch,
            judges,
            started,
            clock: Clock::default(),
            contact,
            said: BTreeMap::new(),
            troubled: BTreeSet::new(),
            answers: Answers::new(),
            asked: BTreeSet::new(),
            asking: JoinSet::new(),
            failed: Vec::new(),
        }
    }

    /// Until all have settled.
    ///
    /// # Errors
    /// At the first look at which one has failed or was changed by somebody else, or when contact is lost for too long.
    pub async fn run(&mut self, onlooker: &mut impl Onlooker) -> Result<()> {
        loop {
            let synced = self.watch.synced();
            self.clock.run(synced);
            let mut again = None;
            if synced {
                self.contact.found();
                let snapshot = self.watch.snapshot();
                onlooker.see(&snapshot);
                let now = self.clock.now();
                again = self.look(&snapshot, now)?.map(|at| Instant::now() + at.saturating_sub(now));
                if !self.failed.is_empty() {
                    return Err(self.tell().await);
                }
                if self.judges.is_empty() {
                    return Ok(());
                }
            } else {
                self.contact.lost(&self.watch).map_err(|error| {
                    let subjects = self.judges.iter().map(|judge| &judge.expectation().key);
                    error.details(subjects.map(|subject| format!("{subject}: nobody knows whether it runs")))
                })?;
            }
            self.wait(again, synced).await;
        }
    }

    /// What has failed, and why.
    pub fn failed(&self) -> &[(ObjectKey, Box<Cause>)] {
        &self.failed
    }

    /// Until there is something to look at.
    async fn wait(&mut self, again: Option<Instant>, synced: bool) {
        let later = Instant::now() + if synced { Duration::from_hours(1) } else { BLINK };
        let workloads = u32::try_from(self.judges.len()).unwrap_or(u32::MAX);
        let together = (TOGETHER + EACH * workloads).min(LONGEST_TOGETHER);
        tokio::select! {
            () = self.watch.changed() => sleep(together).await,
            Some(answer) = self.asking.join_next() => {
                // One that panicked has said so.
                self.answers.extend(answer.ok());
            }
            () = sleep_until(again.unwrap_or(later)) => {}
        }
    }

    fn look(&mut self, snapshot: &Snapshot, now: Duration) -> Result<Option<Duration>> {
        let mut again: Option<Duration> = None;
        let mut elsewhere = None;
        for mut judge in std::mem::take(&mut self.judges) {
            let key = judge.expectation().key.clone();
            match judge.look(snapshot, &self.answers, now) {
                // Whoever waits for one says itself that it is complete: its log may still be on the way.
                Verdict::Settled { .. } if key.kind == "Job" => {}
                Verdict::Settled { replicas } => {
                    if replicas == 0 && key.kind == "DaemonSet" {
                        self.context.events.warn(key.name.clone(), "no node takes it: nothing of it runs");
                    }
                    let elapsed = self.started.elapsed();
                    self.context.events.send(Event::Settled { workload: key, elapsed, replicas });
                }
                Verdict::Progressing(on) => {
                    again = [again, on.look_again].into_iter().flatten().min();
                    self.on_its_way(&key, on);
                    self.judges.push(judge);
                }
                Verdict::Superseded(how) => elsewhere = elsewhere.or(Some(superseded(&key, how))),
                Verdict::Unknown(why) => elsewhere = elsewhere.or(Some(unknown(&key, &why))),
                Verdict::Failed(cause) => self.failed.push((key, cause)),
            }
        }
        match elsewhere {
            Some(error) if self.failed.is_empty() => Err(error),
            _ => Ok(again),
        }
    }

    fn on_its_way(&mut self, key: &ObjectKey, on: Progressing) {
        if self.said.get(key) != Some(&on.why) {
            self.context.events.progress(Progress::Waiting { object: key.clone(), why: on.why.clone() });
            self.said.insert(key.clone(), on.why);
        }
        for warning in on.warnings {
            self.troubled.insert(key.clone());
            let (cause, fails_in) = (warning.cause, warning.fails_in);
            self.context.events.send(Event::Trouble { workload: key.clone(), cause, fails_in });
        }
        for question in on.questions {
            if self.asked.insert(question.clone()) {
                let context = self.context.clone();
                self.asking.spawn(async move {
                    let answer = evidence::answer(&context, &question).await;
                    (question, answer)
                });
            }
        }
    }

    /// Says at once what has failed and why, then what the containers wrote.
    async fn tell(&mut self) -> Error {
        let elapsed = self.started.elapsed();
        for (workload, cause) in &self.failed {
            let (workload, cause) = (workload.clone(), cause.clone());
            self.context.events.send(Event::WorkloadFailed { workload, cause, elapsed });
        }
        for (workload, cause) in &self.failed {
            evidence::tell(self.context, workload, cause, &self.answers).await;
        }
        let errors: Vec<Error> = self.failed.iter().map(|(key, cause)| failed(key, cause)).collect();
        let error = match <[Error; 1]>::try_from(errors) {
            Ok([error]) => error,
            Err(errors) => Error::several(Kind::Stranded, format!("{} workloads failed", errors.len()), errors),
        };
        error.details(self.left())
    }

    /// What was still on its way when another failed, and how it stood.
    fn left(&self) -> Vec<String> {
        let keys = self.judges.iter().map(|judge| &judge.expectation().key);
        let (troubled, others): (Vec<&ObjectKey>, Vec<&ObjectKey>) = keys.partition(|key| self.troubled.contains(key));
        let said = |key: &ObjectKey| self.said.get(key).map(String::as_str).unwrap_or_default();
        let mut left: Vec<String> =
            troubled.iter().map(|key| format!("{key} is in trouble as well: {}", said(key))).collect();
        if !others.is_empty() {
            let names: Vec<&str> = others.iter().map(|key| key.name.as_str()).collect();
            left.push(format!("not waited for any longer: {}", names.join(", ")));
        }
        left
    }
}

fn superseded(key: &ObjectKey, how: Meddling) -> Error {
    let error = Error::new(Kind::Unknown, format!("{key} is not what was applied any more: {how}"))
        .hint(format!("see who changed it: {}", kubectl(key, "get", " --show-managed-fields -o yaml")));
    if how == Meddling::Paused { error.hint(kubectl(key, "rollout resume", "")) } else { error }
}

fn unknown(key: &ObjectKey, why: &str) -> Error {
    Error::new(Kind::Unknown, format!("nobody knows how {key} stands: {why}"))
        .hint("see whether kube-controller-manager runs; on k3s: systemctl status k3s")
}

fn failed(key: &ObjectKey, cause: &Cause) -> Error {
    let error = if key.kind == "Job" && cause.rule == Rule::Deadline {
        // It may still do its work.
        Error::new(Kind::Unknown, format!("nobody knows how {key} ends: {}", cause.meaning))
    } else {
        Error::new(Kind::Stranded, format!("{key} failed: {}", cause.meaning))
    };
    let error = cause.advice.iter().fold(error, |error, advice| error.hint(advice.clone()));
    match &cause.pod {
        // A gate says itself how to go on: its pods may be gone.
        _ if key.kind == "Job" => error,
        Some(pod) => {
            let pod = ObjectKey { api_version: "v1".into(), kind: "Pod".into(), name: pod.clone(), ..key.clone() };
            error.hint(kubectl(&pod, "describe", ""))
        }
        None if cause.rule == Rule::Deleted => error,
        None => error.hint(kubectl(key, "describe", "")),
    }
}

/// A command to try next.
pub fn kubectl(key: &ObjectKey, verb: &str, options: &str) -> String {
    let namespace = key.namespace.as_ref().map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
    format!("kubectl{namespace} {verb} {}/{}{options}", key.kind.to_lowercase(), key.name)
}
