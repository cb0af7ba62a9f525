//! A service that is released again and again, well and badly, on nodes that are simulated: whatever comes in between, the
//! verdict is the right one. The clock is a number.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Pod};
use serde_json::{Value, json};

use super::*;

const RELEASES: usize = 1000;
const REPLICAS: usize = 2;
const SOAK: u64 = 10_000;

/// How a release behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Good,
    /// Ready after so many milliseconds.
    Slow(u64),
    /// Ends so often before it runs.
    Flaky(i32),
    Crashes,
    ImageMissing,
    NeverReady,
}

/// What a container shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shows {
    Creating,
    Running { ready: bool, restarts: i32 },
    Ended { restarts: i32 },
    BackingOff { restarts: i32 },
    CannotPull,
}

impl Kind {
    fn any(dice: &mut Dice) -> Self {
        match dice.below(10) {
            0..3 => Self::Good,
            3 => Self::Slow(1_000 + dice.below(120_000)),
            4 => Self::Flaky(1),
            5 => Self::Flaky(2),
            6 | 7 => Self::Crashes,
            8 => Self::ImageMissing,
            _ => Self::NeverReady,
        }
    }

    /// What is said of it in the end: nothing when it comes right.
    fn fails_by(self) -> Option<Rule> {
        match self {
            Self::Good | Self::Slow(_) | Self::Flaky(_) => None,
            Self::Crashes => Some(Rule::Exits),
            Self::ImageMissing => Some(Rule::ImageMissing),
            Self::NeverReady => Some(Rule::Deadline),
        }
    }

    /// What its container shows so many milliseconds after its pod was made.
    fn shows(self, age: u64) -> Shows {
        let steps: &[(u64, Shows)] = match self {
            Self::Good => &[(900, Shows::Running { ready: true, restarts: 0 })],
            Self::Slow(after) => {
                let ready = age >= 900 + after;
                return if age < 900 { Shows::Creating } else { Shows::Running { ready, restarts: 0 } };
            }
            Self::Flaky(1) => {
                &[(900, Shows::Ended { restarts: 0 }), (1_900, Shows::Running { ready: true, restarts: 1 })]
            }
            Self::Flaky(_) => &[
                (900, Shows::Ended { restarts: 0 }),
                (1_900, Shows::Ended { restarts: 1 }),
                (3_000, Shows::BackingOff { restarts: 1 }),
                (15_000, Shows::Running { ready: true, restarts: 2 }),
            ],
            Self::Crashes => &[
                (900, Shows::Ended { restarts: 0 }),
                (1_900, Shows::Ended { restarts: 1 }),
                (3_000, Shows::BackingOff { restarts: 1 }),
                (16_000, Shows::Running { ready: true, restarts: 2 }),
                (17_000, Shows::Ended { restarts: 2 }),
            ],
            Self::ImageMissing => &[(1_300, Shows::CannotPull)],
            Self::NeverReady => &[(900, Shows::Running { ready: false, restarts: 0 })],
        };
        steps.iter().rev().find(|(from, _)| age >= *from).map_or(Shows::Creating, |(_, shows)| *shows)
    }
}

/// Numbers that look like chance, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

struct Member {
    release: usize,
    made: u64,
    /// Deleted pods go a moment later.
    goes: Option<u64>,
    disrupted: bool,
    told: bool,
}

/// A cluster with one Deployment. Times are milliseconds.
struct World {
    now: u64,
    kinds: Vec<Kind>,
    pods: BTreeMap<String, Member>,
    made: usize,
    snapshot: Snapshot,
    blind: bool,
    /// As everything was shown last: what stays is not told again.
    shown: BTreeMap<String, Value>,
}

impl World {
    fn release(&mut self, kind: Kind) -> Expectation {
        self.kinds.push(kind);
        if let Some(old) = self.newest().checked_sub(10) {
            let old = json!({ "metadata": { "name": format!("app-{old}"), "uid": format!("set-{old}") } });
            super::recordings::put::<ReplicaSet>(&mut self.snapshot, &old, true);
        }
        let set = json!({
            "metadata": {
                "name": format!("app-{}", self.newest()), "uid": format!("set-{}", self.newest()), "generation": 1,
                "ownerReferences": [owner("Deployment", "app")],
            },
            "spec": { "replicas": REPLICAS, "selector": {}, "template": template(self.newest(), true) },
        });
        self.put::<ReplicaSet>(&set);
        let deployment = self.deployment();
        self.put::<Deployment>(&deployment);
        let mut key = deployment;
        key["apiVersion"] = json!("apps/v1");
        key["kind"] = json!("Deployment");
        Expectation::of(&key).expect("an expectation")
    }

    fn newest(&self) -> usize {
        self.kinds.len() - 1
    }

    fn put<T: Kept + Read>(&mut self, object: &Value) {
        let uid = object["metadata"]["uid"].as_str().expect("a uid").to_owned();
        if self.shown.get(&uid) != Some(object) {
            super::recordings::put::<T>(&mut self.snapshot, object, false);
            self.shown.insert(uid, object.clone());
        }
    }

    /// What controllers and kubelets do until the next moment.
    fn tick(&mut self, milliseconds: u64) {
        self.now += milliseconds;
        let gone: Vec<String> = self
            .pods
            .iter()
            .filter(|(_, pod)| pod.goes.is_some_and(|at| at <= self.now))
            .map(|(n, _)| n.clone())
            .collect();
        for name in gone {
            let object = self.pod(&name);
            self.pods.remove(&name);
            self.shown.remove(&name);
            super::recordings::put::<Pod>(&mut self.snapshot, &object, true);
        }
        self.reconcile();
        for name in self.pods.keys().cloned().collect::<Vec<_>>() {
            let object = self.pod(&name);
            self.put::<Pod>(&object);
            self.tell(&name);
        }
        let (set, deployment) = (self.set(), self.deployment());
        self.put::<ReplicaSet>(&set);
        self.put::<Deployment>(&deployment);
    }

    /// One pod more than wanted while both releases run; an old one goes when enough are ready.
    fn reconcile(&mut self) {
        let newest = self.newest();
        let alive = |pod: &&Member| pod.goes.is_none();
        let total = self.pods.values().filter(alive).count();
        let new = self.pods.values().filter(alive).filter(|pod| pod.release == newest).count();
        if new < REPLICAS && total <= REPLICAS {
            self.made += 1;
            let pod = Member { release: newest, made: self.now, goes: None, disrupted: false, told: false };
            self.pods.insert(format!("app-{newest}-{:06}", self.made), pod);
        }
        let ready = self.pods.values().filter(alive).filter(|pod| self.is_ready(pod)).count();
        let unready_old = |pod: &&mut Member, kinds: &[Kind], now: u64| {
            pod.goes.is_none()
                && pod.release != newest
                && !matches!(kinds[pod.release].shows(now - pod.made), Shows::Running { ready: true, .. })
        };
        let (kinds, now) = (self.kinds.clone(), self.now);
        let bad = self.pods.values_mut().find(|pod| unready_old(pod, &kinds, now));
        if let Some(bad) = bad {
            bad.goes = Some(now + 3_000);
        } else if ready > REPLICAS
            && let Some(old) = self.pods.values_mut().find(|pod| pod.goes.is_none() && pod.release != newest)
        {
            old.goes = Some(now + 3_000);
        }
    }

    fn is_ready(&self, pod: &Member) -> bool {
        matches!(self.kinds[pod.release].shows(self.now - pod.made), Shows::Running { ready: true, .. })
    }

    fn counts(&self) -> (usize, usize, usize) {
        let alive = || self.pods.values().filter(|pod| pod.goes.is_none());
        let new = || alive().filter(|pod| pod.release == self.newest());
        (alive().count(), new().count(), alive().filter(|pod| self.is_ready(pod)).count())
    }

    fn deployment(&self) -> Value {
        let (total, new, ready) = self.counts();
        let generation = self.kinds.len();
        json!({
            "metadata": { "name": "app", "namespace": "n", "uid": "app", "generation": generation },
            "spec": {
                "replicas": REPLICAS, "selector": { "matchLabels": { "app": "app" } }, "template": template(self.newest(), false),
                "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
            },
            "status": {
                "observedGeneration": generation, "replicas": total, "updatedReplicas": new, "readyReplicas": ready,
                "availableReplicas": ready, "unavailableReplicas": REPLICAS.saturating_sub(ready),
            },
        })
    }

    fn set(&self) -> Value {
        let mine = || self.pods.values().filter(|pod| pod.goes.is_none() && pod.release == self.newest());
        let ready = mine().filter(|pod| self.is_ready(pod)).count();
        json!({
            "metadata": {
                "name": format!("app-{}", self.newest()), "uid": format!("set-{}", self.newest()), "generation": 1,
                "ownerReferences": [owner("Deployment", "app")],
            },
            "spec": { "replicas": REPLICAS, "selector": {}, "template": template(self.newest(), true) },
            "status": { "observedGeneration": 1, "replicas": mine().count(), "readyReplicas": ready, "availableReplicas": ready },
        })
    }

    fn pod(&self, name: &str) -> Value {
        let member = &self.pods[name];
        let shows = self.kinds[member.release].shows(self.now - member.made);
        let (ready, restarts, state) = match shows {
            Shows::Creating => (false, 0, json!({ "waiting": { "reason": "ContainerCreating" } })),
            Shows::Running { ready, restarts } => (ready, restarts, json!({ "running": {} })),
            Shows::Ended { restarts } => {
                (false, restarts, json!({ "terminated": { "exitCode": 1, "reason": "Error" } }))
            }
            Shows::BackingOff { restarts } => (false, restarts, json!({ "waiting": { "reason": "CrashLoopBackOff" } })),
            Shows::CannotPull => {
                (false, 0, json!({ "waiting": { "reason": "ErrImagePull", "message": "r/app:1: not found" } }))
            }
        };
        let last = (restarts > 0).then(|| json!({ "terminated": { "exitCode": 1, "reason": "Error" } }));
        let mut conditions = vec![
            json!({ "type": "PodScheduled", "status": "True" }),
            json!({ "type": "Ready", "status": if ready { "True" } else { "False" } }),
        ];
        if member.disrupted {
            conditions.push(json!({ "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI" }));
        }
        json!({
            "metadata": {
                "name": name, "namespace": "n", "uid": name, "labels": { "app": "app" },
                "ownerReferences": [owner("ReplicaSet", &format!("set-{}", member.release))],
                "deletionTimestamp": member.goes.map(|_| "2026-01-01T00:00:00Z"),
            },
            "spec": { "nodeName": "sim", "containers": [{ "name": "app", "image": format!("r/app:{}", member.release) }] },
            "status": {
                "phase": if shows == Shows::Creating || shows == Shows::CannotPull { "Pending" } else { "Running" },
                "conditions": conditions,
                "containerStatuses": [{
                    "name": "app", "ready": ready, "restartCount": restarts, "image": "", "imageID": "", "state": state,
                    "lastState": last.unwrap_or_else(|| json!({})),
                }],
            },
        })
    }

    /// The event of a failed pull, before the status shows it; some never come.
    fn tell(&mut self, name: &str) {
        let (now, blind) = (self.now, self.blind);
        let Some(member) = self.pods.get_mut(name) else { return };
        if self.kinds[member.release] != Kind::ImageMissing || member.told || blind || now - member.made < 400 {
            return;
        }
        member.told = true;
        let event = json!({
            "metadata": { "name": format!("{name}.1"), "namespace": "n", "uid": format!("{name}.1") },
            "involvedObject": { "kind": "Pod", "name": name, "uid": name, "fieldPath": "spec.containers{app}" },
            "reason": "Failed", "type": "Warning", "count": 1,
            "message": "Failed to pull image \"r/app:1\": r/app:1: not found",
        });
        self.put::<Event>(&event);
    }

    /// Somebody deletes or evicts a pod.
    fn disturb(&mut self, dice: &mut Dice) {
        let alive: Vec<String> =
            self.pods.iter().filter(|(_, pod)| pod.goes.is_none()).map(|(name, _)| name.clone()).collect();
        let Ok(count) = u64::try_from(alive.len()) else { return };
        if count == 0 {
            return;
        }
        let name = &alive[usize::try_from(dice.below(count)).unwrap_or(0)];
        let disrupted = dice.below(2) == 0;
        if let Some(pod) = self.pods.get_mut(name) {
            pod.goes = Some(self.now + 3_000);
            pod.disrupted = disrupted;
        }
    }
}

fn template(release: usize, hashed: bool) -> Value {
    let mut labels = json!({ "app": "app" });
    if hashed {
        labels["pod-template-hash"] = json!(format!("{release}"));
    }
    json!({ "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "app", "image": format!("r/app:{release}") }] } })
}

/// Rolls one release out until a verdict.
fn roll_out(world: &mut World, dice: &mut Dice, kind: Kind) -> (Verdict, u64) {
    let baseline = Arc::new(Baseline::of(&world.snapshot));
    let expectation = world.release(kind);
    let limits = Limits { soak: Duration::from_millis(SOAK), stall: Duration::from_mins(10), timeout: None };
    let mut judge = Twins::of(Judge::new(expectation, baseline, limits, true));
    let (began, mut answers) = (world.now, Answers::new());
    let mut disturbances = dice.below(4);
    loop {
        // What matters happens early; later only time passes.
        let pace = if world.now - began < 40_000 { 1_500 } else { 8_000 };
        world.tick(50 + dice.below(pace));
        if disturbances > 0 && dice.below(40) == 0 {
            disturbances -= 1;
            world.disturb(dice);
        }
        let now = Duration::from_millis(world.now - began);
        match judge.look(&world.snapshot, &answers, now) {
            Verdict::Progressing(on) => {
                answers.extend(on.questions.into_iter().map(|question| (question, Answer::Log(Vec::new()))));
            }
            verdict => return (verdict, world.now - began),
        }
        assert!(now < Duration::from_hours(1), "{kind:?} never comes to a verdict");
    }
}

#[test]
fn a_thousand_releases_good_slow_flaky_and_broken_are_each_called_what_they_are() {
    let given = std::env::var("HDEPLOY_WALK_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| RandomState::new().hash_one(0) | 1);
    println_seed(seed);
    let mut dice = Dice(seed);
    let mut world = World {
        now: 0,
        kinds: vec![Kind::Good],
        pods: BTreeMap::new(),
        made: 0,
        snapshot: Snapshot::default(),
        blind: false,
        shown: BTreeMap::new(),
    };
    for release in 0..RELEASES {
        world.blind = dice.below(5) == 0;
        let kind = Kind::any(&mut dice);
        let (verdict, took) = roll_out(&mut world, &mut dice, kind);
        let said = match &verdict {
            Verdict::Settled { .. } => None,
            Verdict::Failed(cause) => Some(cause.rule),
            other => panic!("seed {seed}, release {release}, {kind:?}: {other:?} after {took} ms"),
        };
        assert_eq!(said, kind.fails_by(), "seed {seed}, release {release}, {kind:?} after {took} ms: {verdict:?}");
        world.tick(dice.below(30_000));
        world.snapshot.retain::<Event>(&BTreeSet::new());
    }
}

/// What a failed run is repeated with.
#[allow(clippy::disallowed_macros)]
fn println_seed(seed: u64) {
    println!("HDEPLOY_WALK_SEED={seed}");
}
