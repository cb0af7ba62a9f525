//! What has to be remembered from one look to the next.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::baseline::Baseline;
use super::cause::Rule;
use super::pods::{Part, is_disrupted, is_live, parts, uid};
use super::rules::Sign;
use super::snapshot::Snapshot;
use super::standing::Standing;

type About = (String, String);

/// Attempts to pull an image, as the status shows them: it alternates between the error and the pause, once per attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pulls {
    pub attempts: i32,
    in_error: bool,
}

impl Pulls {
    /// What failed before counts for nothing.
    pub fn before(part: &Part<'_>) -> Self {
        Self { attempts: 0, in_error: part.waits_for(&["ErrImagePull"]).is_some() }
    }

    fn see(&mut self, part: &Part<'_>, is_first: bool) {
        let in_error = part.waits_for(&["ErrImagePull"]).is_some();
        let in_pause = part.waits_for(&["ImagePullBackOff"]).is_some();
        if in_error && !self.in_error || in_pause && is_first {
            self.attempts += 1;
        }
        self.in_error = in_error;
        if !in_error && !in_pause && part.is_running() {
            self.attempts = 0;
        }
    }
}

/// The furthest that a rollout has come.
#[derive(Clone, Copy, Debug, Default)]
struct Furthest {
    updated: i32,
    ready: i32,
    available: i32,
    /// Old pods that are gone.
    gone: i32,
    most_old: i32,
    new_pods: usize,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    first_seen: BTreeMap<(Rule, About), Duration>,
    warned: BTreeSet<(Rule, About)>,
    pub pulls: HashMap<About, Pulls>,
    furthest: Furthest,
    /// When something last came nearer.
    pub progressed: Duration,
    /// Pods that were taken away, and how many of them before something last came nearer.
    disrupted: BTreeSet<String>,
    forgiven: usize,
    /// Since when everything runs, and how often containers had ended by then.
    complete: Option<(Duration, i32)>,
    pub unobserved: Option<Duration>,
    pub unseen: Option<Duration>,
    pub without_set: Option<Duration>,
}

impl Memory {
    /// Since when every one of the `signs` is there. Those that are gone begin anew.
    pub fn see_signs(&mut self, signs: &[Sign], now: Duration) -> Vec<Duration> {
        let key = |sign: &Sign| (sign.cause.rule, sign.about.clone());
        let keys: BTreeSet<_> = signs.iter().map(key).collect();
        self.first_seen.retain(|known, _| keys.contains(known));
        signs.iter().map(|sign| *self.first_seen.entry(key(sign)).or_insert(now)).collect()
    }

    /// Whether there were signs at the last look that got so far.
    pub fn has_signs(&self) -> bool {
        !self.first_seen.is_empty()
    }

    /// Whether everything has been running since some look.
    pub fn is_complete(&self) -> bool {
        self.complete.is_some()
    }

    /// Whether the sign is to be told now: once for each.
    pub fn is_news(&mut self, sign: &Sign) -> bool {
        self.warned.insert((sign.cause.rule, sign.about.clone()))
    }

    pub fn see_pulls(&mut self, standing: &Standing<'_>, before: &HashMap<About, Pulls>) {
        for part in standing.new_pods.iter().copied().flat_map(parts) {
            let about = (uid(part.pod).to_owned(), part.spec.name.clone());
            let known = self.pulls.get(&about).or_else(|| before.get(&about)).copied();
            let mut pulls = known.unwrap_or_default();
            pulls.see(&part, known.is_none());
            self.pulls.insert(about, pulls);
        }
    }

    /// Whether something has come nearer: only what was not reached before counts, so that pods that come and go are none.
    pub fn see_progress(&mut self, standing: &Standing<'_>, before: &Baseline, now: Duration) {
        let old = i32::try_from(standing.old_pods.len()).unwrap_or(i32::MAX);
        let best = &mut self.furthest;
        best.most_old = best.most_old.max(old);
        let gone = best.most_old - old;
        let nearer = standing.updated > best.updated
            || standing.ready > best.ready
            || standing.available > best.available
            || gone > best.gone
            || best.new_pods == 0 && !standing.new_pods.is_empty();
        best.updated = best.updated.max(standing.updated);
        best.ready = best.ready.max(standing.ready);
        best.available = best.available.max(standing.available);
        best.gone = best.gone.max(gone);
        best.new_pods = best.new_pods.max(standing.new_pods.len());
        let disrupted =
            standing.new_pods.iter().filter(|pod| is_disrupted(pod) && !before.disrupted.contains(uid(pod)));
        self.disrupted.extend(disrupted.map(|pod| uid(pod).to_owned()));
        if nearer {
            self.progressed = now;
            self.forgiven = self.disrupted.len();
        }
    }

    /// Pods taken away since something came nearer.
    pub fn disruptions(&self) -> usize {
        self.disrupted.len() - self.forgiven
    }

    /// Since when everything has been running without an end of any container.
    pub fn see_complete(&mut self, standing: &Standing<'_>, now: Duration) -> Option<Duration> {
        if !standing.complete {
            self.complete = None;
            return None;
        }
        let exits = standing.new_pods.iter().copied().flat_map(parts).map(|part| part.exits()).sum();
        let (since, _) = *self.complete.insert(match self.complete {
            Some((since, before)) if before == exits => (since, exits),
            _ => (now, exits),
        });
        Some(since)
    }
}

/// Whether every new pod has been ready for `soak` by the server's own clock.
pub(super) fn has_soaked(standing: &Standing<'_>, snapshot: &Snapshot, soak: Duration) -> bool {
    let Some(now) = snapshot.listed else { return false };
    standing.new_pods.iter().filter(|pod| is_live(pod)).all(|pod| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let mut since = conditions
            .filter(|c| c.type_ == "Ready" && c.status == "True")
            .filter_map(|c| c.last_transition_time.as_ref());
        since.any(|since| now.duration_since(since.0).unsigned_abs() >= soak && now >= since.0)
    })
}
