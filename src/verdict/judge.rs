//! Judging one workload, look by look.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::answers::{Answers, Question, lacks, open};
use super::baseline::Baseline;
use super::cause::{Cause, Rule, log_of};
use super::limits::Limits;
use super::memory::{Memory, has_soaked};
use super::overdue::{headlined, late, timed_out};
use super::pods::{Part, is_live, is_terminating, parts};
use super::rules::{Fails, Scene, Sign, signs};
use super::snapshot::Snapshot;
use super::standing::{Early, Meddling, Rollout, Standing, gone};
use super::{Expectation, daemon_set, deployment, job, stateful_set};

/// A controller that has not looked at a change for so long is told of, and given up.
const SILENT: Duration = Duration::from_secs(30);
const DEAD: Duration = Duration::from_mins(2);
/// What was applied and has not been seen for so long is not there any more. Long lists come once a minute.
const UNSEEN: Duration = Duration::from_secs(90);
/// So long a Deployment may have no ReplicaSet, or one that is to have no pods.
const WITHOUT_SET: Duration = Duration::from_secs(90);
/// So long a controller may fail to make the ReplicaSet.
const SET_REFUSED: Duration = Duration::from_secs(5);
/// Pods taken away without progress: so many at least, and each of them and what came in its place.
const DISRUPTIONS: usize = 5;

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// On its way.
    Progressing(Progressing),
    /// Everything that was applied runs, and nothing else does.
    Settled {
        /// How many pods are available; of a Job, how many succeeded.
        replicas: i32,
    },
    /// Somebody else changed what is being waited for.
    Superseded(Meddling),
    /// Nothing can be said: whoever should work on it does not.
    Unknown(String),
    /// It will not get there by itself.
    Failed(Box<Cause>),
}

/// What a workload on its way waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progressing {
    /// In words.
    pub why: String,
    /// What is wrong and was not told before.
    pub warnings: Vec<Warning>,
    /// What has to be found out.
    pub questions: BTreeSet<Question>,
    /// When time alone changes something, on the clock of the looks.
    pub look_again: Option<Duration>,
}

/// A sign that is no failure yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What is wrong.
    pub cause: Box<Cause>,
    /// When it becomes a failure if it stays, from now; `None` when only the deadline ends it.
    pub fails_in: Option<Duration>,
}

/// One workload that is waited for. What it is shown decides, and the clock that comes with it: it asks for nothing and
/// does nothing by itself.
#[derive(Clone, Debug)]
pub struct Judge {
    expectation: Arc<Expectation>,
    baseline: Arc<Baseline>,
    limits: Limits,
    /// Whether this run has written to it.
    changed: bool,
    memory: Memory,
    rest: Option<Rest>,
}

/// Until there is something new to see, a look says the same as the one before.
#[derive(Clone, Debug)]
struct Rest {
    /// How many changes had been seen.
    changes: u64,
    why: String,
    until: Option<Duration>,
}

/// A look's result on its way, with the moments at which it would be another.
struct Look {
    now: Duration,
    next: Option<Duration>,
}

impl Look {
    /// Whether `at` has come.
    fn reached(&mut self, at: Duration) -> bool {
        if self.now >= at {
            return true;
        }
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
        false
    }
}

impl Judge {
    /// A judge of what `expectation` says, measured against `baseline`.
    pub fn new(expectation: Expectation, baseline: Arc<Baseline>, limits: Limits, changed: bool) -> Self {
        Self { expectation: Arc::new(expectation), baseline, limits, changed, memory: Memory::default(), rest: None }
    }

    /// Whom it judges.
    pub fn expectation(&self) -> &Expectation {
        &self.expectation
    }

    /// Judges what `snapshot` shows, which is the same one always, as it changes. `now` is a clock that begins with 0 and
    /// stands still while nothing is known.
    pub fn look(&mut self, snapshot: &Snapshot, answers: &Answers, now: Duration) -> Verdict {
        if let Some(rest) = &self.rest
            && rest.until.is_none_or(|at| now < at)
            && !snapshot.has_touched(&self.expectation.uid, rest.changes)
        {
            let (why, look_again) = (rest.why.clone(), rest.until);
            return Verdict::Progressing(Progressing { why, look_again, ..Progressing::default() });
        }
        let verdict = self.look_anew(snapshot, answers, now);
        self.rest = match &verdict {
            Verdict::Progressing(said) if said.questions.is_empty() && self.may_rest() => {
                Some(Rest { changes: snapshot.changes(), why: said.why.clone(), until: said.look_again })
            }
            _ => None,
        };
        verdict
    }

    /// Whether only its own objects and time decide what comes next. Signs look at what belongs to others, an unchanged
    /// workload's soak at the clock of the server, and a replacement is another object.
    fn may_rest(&self) -> bool {
        let soaks_by_server = !self.changed && self.memory.is_complete();
        !self.memory.has_signs() && !soaks_by_server && !self.expectation.replaceable
    }

    /// A look that does not rest.
    pub(super) fn look_anew(&mut self, snapshot: &Snapshot, answers: &Answers, now: Duration) -> Verdict {
        let mut look = Look { now, next: None };
        self.follow_replacement(snapshot);
        let expectation = Arc::clone(&self.expectation);
        match standing(&expectation, snapshot) {
            Ok(standing) => self.weigh(&standing, snapshot, answers, &mut look),
            Err(early) => self.early(early, &mut look),
        }
    }

    /// A Job that its controller has made anew is judged from its beginning.
    fn follow_replacement(&mut self, snapshot: &Snapshot) {
        let expectation = &self.expectation;
        let live = snapshot.jobs.get(&expectation.key.name).and_then(|job| job.metadata.uid.as_ref());
        if let Some(uid) = live.filter(|uid| expectation.replaceable && **uid != expectation.uid) {
            self.expectation = Arc::new(Expectation { uid: uid.clone(), ..Expectation::clone(expectation) });
            self.memory = Memory::default();
        }
    }

    fn early(&mut self, early: Early, look: &mut Look) -> Verdict {
        let why = match early {
            Early::Failed(cause) => return Verdict::Failed(cause),
            Early::Superseded(how) => return Verdict::Superseded(how),
            Early::Unseen(why) => {
                let since = *self.memory.unseen.get_or_insert(look.now);
                if !self.expectation.replaceable && look.reached(since + UNSEEN) {
                    return Verdict::Failed(Box::new(gone(&self.expectation, "was deleted")));
                }
                why.to_owned()
            }
            Early::Unobserved => {
                let since = *self.memory.unobserved.get_or_insert(look.now);
                if look.reached(since + DEAD) {
                    let seconds = DEAD.as_secs();
                    return Verdict::Unknown(format!("its controller has not looked at the change for {seconds} s"));
                }
                let silent = look.reached(since + SILENT);
                let why =
                    if silent { "its controller does not react" } else { "the controller has not seen the change yet" };
                why.to_owned()
            }
        };
        match self.limits.timeout {
            Some(timeout) if look.reached(timeout) => Verdict::Failed(Box::new(late(timeout, &why))),
            _ => Verdict::Progressing(Progressing { why, look_again: look.next, ..Progressing::default() }),
        }
    }

    fn weigh(&mut self, standing: &Standing<'_>, snapshot: &Snapshot, answers: &Answers, look: &mut Look) -> Verdict {
        self.memory.unobserved = None;
        self.memory.unseen = None;
        self.memory.see_pulls(standing, &self.baseline.pulls);
        self.memory.see_progress(standing, &self.baseline, look.now);
        let scene = Scene {
            expectation: &self.expectation,
            baseline: &self.baseline,
            snapshot,
            standing,
            answers,
            pulls: &self.memory.pulls,
        };
        let mut signs = signs(&scene);
        let mut questions = logs_wanted(&scene);
        signs.extend(set_refused(standing, &self.expectation.uid));
        let since = self.memory.see_signs(&signs, look.now);

        for (sign, since) in signs.iter().zip(&since) {
            if has_failed(sign, *since, answers, look, &mut questions) {
                return Verdict::Failed(Box::new(sign.cause.clone()));
            }
        }
        if let Some(cause) = self.given_up(standing, &signs, snapshot, look) {
            return Verdict::Failed(Box::new(cause));
        }
        let mut why = standing.why.clone();
        if let Some(since) = self.memory.see_complete(standing, look.now) {
            if standing.is_job || self.has_soaked(standing, snapshot, since, look) {
                return Verdict::Settled { replicas: standing.available };
            }
            why = format!(
                "{} of {} available; it has to stay so for {} s",
                standing.available,
                standing.desired,
                self.limits.soak.as_secs()
            );
        }
        let warnings = self.warnings(&signs, &since, look);
        Verdict::Progressing(Progressing { why, warnings, questions, look_again: look.next })
    }

    fn has_soaked(&self, standing: &Standing<'_>, snapshot: &Snapshot, since: Duration, look: &mut Look) -> bool {
        let soak = self.limits.soak;
        !self.changed && has_soaked(standing, snapshot, soak) || look.reached(since + soak)
    }

    fn warnings(&mut self, signs: &[Sign], since: &[Duration], look: &mut Look) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for (sign, since) in signs.iter().zip(since) {
            if look.reached(*since + sign.warns) && self.memory.is_news(sign) {
                let at = match &sign.fails {
                    Fails::After(after) => Some(*since + *after),
                    Fails::Never | Fails::Missing { .. } => None,
                };
                let fails_in = at.map(|at| at.saturating_sub(look.now));
                warnings.push(Warning { cause: Box::new(sign.cause.clone()), fails_in });
            }
        }
        warnings
    }

    /// What is over: the controller's deadline, our own, or everybody's.
    fn given_up(
        &mut self,
        standing: &Standing<'_>,
        signs: &[Sign],
        snapshot: &Snapshot,
        look: &mut Look,
    ) -> Option<Cause> {
        let pending = |headline: String| headlined(headline, standing, signs, snapshot);
        if let Some(rollout) = &standing.rollout {
            if self.controller_gave_up(rollout, standing) {
                let seconds = rollout.progress.and_then(|progress| progress.message.as_deref()).unwrap_or_default();
                return Some(pending(format!("the controller's progressDeadlineSeconds are over: {seconds}")));
            }
            if rollout.lacks_set && is_clear(standing) && standing.desired > 0 {
                let since = *self.memory.without_set.get_or_insert(look.now);
                if look.reached(since + WITHOUT_SET) {
                    return Some(pending("the controller makes no pods of the new template".to_owned()));
                }
            } else {
                self.memory.without_set = None;
            }
        }
        let disruptions = self.memory.disruptions();
        // A node that is emptied takes many at once.
        let each_twice = usize::try_from(standing.desired).unwrap_or(0) * 2;
        if !standing.complete && disruptions >= DISRUPTIONS.max(each_twice) {
            let meaning = "its pods are evicted or preempted faster than they come up";
            let message = format!("{disruptions} of its pods were taken away, and nothing came nearer");
            let cause = Cause::new(Rule::Disrupted, "disrupted", &message, meaning);
            return Some(cause.advise("see what takes them away: kubectl get events, kubectl describe nodes"));
        }
        if let Some(timeout) = self.limits.timeout.filter(|timeout| look.reached(*timeout)) {
            return Some(pending(timed_out(timeout)));
        }
        let ends = self.memory.progressed.saturating_add(self.limits.stall);
        if !standing.complete && !standing.is_job && look.reached(ends) {
            return Some(pending(format!("nothing has come nearer for {} s", self.limits.stall.as_secs())));
        }
        None
    }

    /// What it said before says nothing now. With `Recreate` it may speak while the old pods are still ending.
    fn controller_gave_up(&self, rollout: &Rollout<'_>, standing: &Standing<'_>) -> bool {
        let Some(progress) = rollout.progress else { return false };
        if progress.status != "False" || self.baseline.has(&self.expectation.uid, progress) {
            return false;
        }
        let message = progress.message.as_deref().unwrap_or_default();
        let names = rollout.set.is_some_and(|set| message.contains(&format!("\"{set}\"")));
        if progress.reason.as_deref() != Some("ProgressDeadlineExceeded") || !names {
            return false;
        }
        if !rollout.recreate {
            return true;
        }
        let first =
            standing.new_pods.iter().filter_map(|pod| pod.metadata.creation_timestamp.as_ref()).map(|t| t.0).min();
        let told = progress.last_update_time.as_ref().map(|time| time.0);
        is_clear(standing) && first.zip(told).is_some_and(|(first, told)| told > first)
    }
}

fn standing<'a>(expectation: &'a Expectation, snapshot: &'a Snapshot) -> Result<Standing<'a>, Early> {
    match expectation.key.kind.as_str() {
        "Deployment" => deployment::standing(expectation, snapshot),
        "StatefulSet" => stateful_set::standing(expectation, snapshot),
        "DaemonSet" => daemon_set::standing(expectation, snapshot),
        "Job" => job::standing(expectation, snapshot),
        // Anything else has settled as soon as it is there.
        _ => Ok(Standing { complete: true, is_job: true, ..Standing::counted(0, 0, 0) }),
    }
}

/// The log of whatever has ended is read at once: it may say why, and it goes with its pod.
fn logs_wanted(scene: &Scene<'_>) -> BTreeSet<Question> {
    let ended = |part: &Part<'_>| {
        part.exits() > scene.baseline.exits(part) && part.last_end().is_some_and(|(reason, ..)| reason != "StartError")
    };
    let ended = scene.standing.new_pods.iter().copied().filter(|pod| is_live(pod)).flat_map(parts).filter(ended);
    open(&ended.map(|part| log_of(&part)).collect::<Vec<_>>(), scene.answers)
}

fn has_failed(
    sign: &Sign,
    since: Duration,
    answers: &Answers,
    look: &mut Look,
    questions: &mut BTreeSet<Question>,
) -> bool {
    match &sign.fails {
        Fails::Never => false,
        Fails::After(after) => look.reached(since + *after),
        Fails::Missing { questions: asked, after, else_after } => {
            if !look.reached(since + *after) {
                return false;
            }
            questions.extend(open(asked, answers));
            match lacks(asked, answers) {
                Some(true) => true,
                Some(false) => else_after.is_some_and(|after| look.reached(since + after)),
                None => false,
            }
        }
    }
}

fn set_refused(standing: &Standing<'_>, uid: &str) -> Option<Sign> {
    let progress = standing.rollout.as_ref()?.progress?;
    let refused = progress.status == "False" && progress.reason.as_deref() == Some("ReplicaSetCreateError");
    refused.then(|| {
        let text = progress.message.as_deref().unwrap_or_default();
        let meaning = "the controller cannot make the ReplicaSet";
        let cause = Cause::new(Rule::PodsForbidden, "ReplicaSetCreateError", text, meaning);
        let cause = cause.advise("mend what the message names");
        Sign { about: (uid.to_owned(), "set".into()), cause, fails: Fails::After(SET_REFUSED), warns: Duration::ZERO }
    })
}

/// No old pod does anything any more.
fn is_clear(standing: &Standing<'_>) -> bool {
    standing.old_pods.iter().all(|pod| !is_live(pod) && !is_terminating(pod))
}
