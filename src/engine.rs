//! The story of a deploy, from top to bottom.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::config::Config;
use crate::error::Result;
use crate::event::{Applied, Event, Events, Stage, Target};
use crate::manifest::{Draft, Object, Rendered, Wave, WaveKind};
use crate::model::{Digest, ObjectKey, PinnedImage, ServiceName, Tag};
use crate::plan::changes::Changes;
use crate::plan::policies;
use crate::plan::report::{Facts, Plan};
use crate::plan::request::Request;
use crate::stage::apply::{AppliedObject, Rollout};
use crate::stage::catalogue::{Catalogue, Release};
use crate::stage::preflight::{Doors, Foreseen, Purpose, Ready};
use crate::stage::settle::{Awaited, Watches};
use crate::stage::{self, Context};

/// A shorter soak is told of: a kubelet reports an end up to a second late.
const SOAK: Duration = Duration::from_secs(8);
/// How long the API server may take to serve a kind whose definition it has accepted.
const KINDS_PATIENCE: Duration = Duration::from_secs(30);

/// Deploys what `context.config` describes.
///
/// # Errors
/// Before the first write everything is a refusal. Afterwards the error's kind says how the cluster was left.
pub async fn deploy(context: &Context, request: &Request) -> Result<()> {
    let mut run = Run::start(context);

    run.begin(Stage::Preflight);
    let Beginning { draft, release, doors } = begin(context, request).await?;
    context.events.send(Event::RunStarted { target: target(context), release: release.tag.to_string() });
    let mut watches = Watches::new(context);
    if request.skip_build {
        // Everything there is will be listed by the time it is judged. A build may take longer than that is worth.
        watches.of(&context.config.namespace);
    }
    let mut ready = stage::preflight::check(context, request, &draft, release.clone(), doors, Purpose::Deploy).await?;
    if ready.foreseen.unfinished {
        // What runs is half of a release: nothing is decided from it.
        let doing = format!("release {}", release.tag);
        stage::journal::under_lock(context, &doing, async |lease| {
            stage::journal::unfinished(context, lease).await.map(drop)
        })
        .await?;
        let doors = stage::preflight::knock(context, &draft).await;
        ready = stage::preflight::check(context, request, &draft, release, doors, Purpose::Deploy).await?;
    }
    let Ready { survey, daemon, foreseen } = ready;
    stage::prune::tell(context, &foreseen.changes);
    run.end(Stage::Preflight);

    run.begin(Stage::Build);
    // What is applied already was held when it was applied.
    let held = foreseen.changes.is_empty();
    let images = stage::build::images(context, daemon, &survey, held).await?;
    run.end(Stage::Build);

    run.begin(Stage::Pin);
    let foreseen = if foreseen.images == images {
        foreseen
    } else {
        let rendered = stage::draft::pin(context, draft, &images).await?;
        let changes = stage::changes::against_live(context, request, &rendered).await?;
        Foreseen { rendered, changes, ..foreseen }
    };
    run.end(Stage::Pin);

    run.begin(Stage::Apply);
    let Foreseen { rendered, changes, after, unfinished, .. } = foreseen;
    if changes.is_empty() && !unfinished {
        judge(context, &mut watches, changes, &mut run).await?;
    } else {
        // They are looked for again under the lock.
        drop(changes);
        Box::pin(locked(context, request, &survey.release.tag, &rendered, after, &mut watches, &mut run)).await?;
    }
    run.end(Stage::Apply);

    run.finish(survey.release.tag.to_string(), images);
    Ok(())
}

/// What is known before anything is decided.
struct Beginning {
    draft: Draft,
    release: Release,
    doors: Doors,
}

/// Manifests, revisions, registry and cluster have nothing to do with each other: all are asked at once.
async fn begin(context: &Context, request: &Request) -> Result<Beginning> {
    let (config, asked) = (Arc::clone(&context.config), request.clone());
    let release = tokio::spawn(async move { Release::name(&config, &asked).await });
    // Reading manifests waits for nothing; git does, and begins first.
    tokio::task::yield_now().await;
    let draft = stage::draft::read(&context.config, &context.events, request)?;
    let doors = stage::preflight::knock(context, &draft).await;
    let release = release.await.expect("naming a release does not panic")?;
    Ok(Beginning { draft, release, doors })
}

/// What a deploy would do, found out without doing any of it.
///
/// # Errors
/// What the deploy would be refused for, as far as neither the daemon nor the right to push has to be asked for it.
pub async fn plan(context: &Context, request: &Request) -> Result<Plan> {
    let Beginning { draft, release, doors } = begin(context, request).await?;
    let Ready { survey, foreseen, .. } =
        stage::preflight::check(context, request, &draft, release, doors, Purpose::Plan).await?;
    let Foreseen { images, rendered, changes, after, unfinished } = foreseen;
    Ok(Plan::of(Facts {
        target: target(context),
        release: &survey.release.tag,
        intents: &survey.intents,
        running: stage::survey::running(context, &images, &changes).await,
        images: &images,
        changes: &changes,
        after: &after,
        waves: &rendered.waves(&context.config.order)?,
        unfinished,
        manager: stage::MANAGER,
    }))
}

/// Puts back what a deploy changed that did not come to its end, and waits until it runs.
///
/// # Errors
/// When another deploy holds the lock, or something could not be put back.
pub async fn recover(context: &Context) -> Result<()> {
    let (namespace, started) = (&context.config.namespace, Instant::now());
    context.events.send(Event::RunStarted { target: target(context), release: String::new() });
    context.cluster.check().await?;
    let mut put_back = 0;
    if context.cluster.has_journal(namespace).await? {
        stage::journal::under_lock(context, "recover", async |lease| {
            let restored = stage::journal::unfinished(context, lease).await?.unwrap_or_default();
            put_back = restored.len();
            let restored = restored.into_iter().map(|object| Awaited { object, changed: true });
            stage::settle::settle(context, &mut Watches::new(context), restored).await
        })
        .await?;
    } else {
        context.events.note(namespace.clone(), "nothing to recover: the last deploy came to its end");
    }
    context.events.send(Event::RecoverFinished { put_back, elapsed: started.elapsed() });
    Ok(())
}

/// Nothing is to be written: what runs is judged.
async fn judge(context: &Context, watches: &mut Watches, changes: Changes, run: &mut Run<'_>) -> Result<()> {
    for changed in changes.objects() {
        run.count(Applied::Unchanged);
        if changed.object.kind() == "Job" {
            stage::gate::has_run(context, &changed.object.key());
        }
    }
    let live = changes.into_objects().filter_map(|changed| changed.live);
    let live = live.map(|object| Awaited { object, changed: false });
    stage::settle::settle(context, watches, live).await
}

/// Under the lock: puts back what an earlier deploy left half-done, looks again at what changes, writes down how it was,
/// and rolls out. `known` is what the API server would make of objects, as far as it was asked before. The lock is let go whatever comes of it.
async fn locked(
    context: &Context,
    request: &Request,
    release: &Tag,
    rendered: &Rendered,
    known: BTreeMap<ObjectKey, Value>,
    watches: &mut Watches,
    run: &mut Run<'_>,
) -> Result<()> {
    stage::apply::namespace(context, rendered).await?;
    stage::journal::under_lock(context, &format!("release {release}"), async |lease| {
        stage::journal::unfinished(context, lease).await?;
        let mut changes = stage::changes::against_live(context, request, rendered).await?;
        stage::prune::tell(context, &changes);
        stage::changes::take_over(context, lease, &mut changes).await?;
        let after = stage::preflight::dry_run(context, request, rendered, &changes, known).await?;
        let waves = rendered.waves(&context.config.order)?;
        let entries = changes.entries(&waves, &after, stage::MANAGER);
        drop(after);
        let journal = stage::journal::open(context, lease, release, entries).await?;
        let waves = policies::narrowed_last(waves, &changes);
        let mut rollout = Rollout { rendered, changes, journal };
        let outcome = roll_out(context, request, &mut rollout, &waves, watches, run).await;
        // What stands stands: without this the next deploy would put it back.
        let closed = rollout.journal.close(context).await;
        stage::journal::told(outcome, closed)?;
        stage::collect::unused_copies(context, lease, rendered).await;
        stage::prune::note_gone(context, lease, rendered).await
    })
    .await
}

/// The objects that a deploy would send, in that order, found out without a daemon and without a cluster. Images whose
/// digests are not `given` are those that the registry has.
///
/// # Errors
/// When the manifests are wrong, or the registry lacks an image.
pub async fn render(
    config: &Config,
    events: &Events,
    catalogue: Catalogue<'_>,
    request: &Request,
    given: &BTreeMap<ServiceName, Digest>,
) -> Result<Vec<Object>> {
    stage::draft::known_services(config, given.keys())?;
    let draft = stage::draft::read(config, events, request)?;
    let (named, asked): (BTreeSet<_>, BTreeSet<_>) =
        draft.references().into_keys().partition(|service| given.contains_key(service));
    let mut images = catalogue.images(request, &asked).await?;
    for service in named {
        let (repository, digest) = (catalogue.service(&service).repository.clone(), given[&service].clone());
        images.insert(service, PinnedImage { repository, digest });
    }

    let mut rendered = draft.pin(&images)?;
    for key in rendered.of_unknown_scope() {
        events.warn(
            key.to_string(),
            "names no namespace, and only the cluster knows whether its kind has one: taken as if it has",
        );
    }
    rendered.complete(&config.namespace, |_| Some(true));
    Ok(rendered.waves(&config.order)?.into_iter().flat_map(|wave| wave.objects).collect())
}

/// Applies wave after wave; each is settled before the next begins.
async fn roll_out(
    context: &Context,
    request: &Request,
    rollout: &mut Rollout<'_>,
    waves: &[Wave],
    watches: &mut Watches,
    run: &mut Run<'_>,
) -> Result<()> {
    warn_of_short_soak(context);
    stage::prune::note_applied(context, rollout).await?;
    for wave in waves {
        if wave.kind == WaveKind::Gate {
            for job in &wave.objects {
                let outcome = stage::gate::run(context, rollout, watches, job).await?;
                run.count(outcome);
            }
            continue;
        }

        watches.measure_all(&wave.objects).await?;
        let charts = stage::chart::changed(context, &mut *watches, rollout, wave).await?;
        let applied = stage::apply::wave(context, request, rollout, wave).await?;
        for object in &applied {
            // Those are sent once more in the end.
            if wave.kind != WaveKind::WidenedPolicies {
                run.count(object.outcome);
            }
            tell_readers(context, rollout.rendered, object);
        }
        if wave.kind == WaveKind::CustomResourceDefinitions {
            context.cluster.wait_for_kinds(&rollout.rendered.keys(), KINDS_PATIENCE).await?;
        }
        let awaited = applied.into_iter().map(AppliedObject::awaited);
        stage::settle::settle(context, watches, awaited).await?;
        stage::chart::follow(context, watches, charts).await?;
    }
    let deleted = stage::prune::delete(context, rollout).await?;
    run.changed += deleted;
    Ok(())
}

/// Whatever crashes a few seconds after it is ready passes for running without a soak.
fn warn_of_short_soak(context: &Context) {
    let soak = context.settle.soak;
    if soak < SOAK {
        let message = format!(
            "only {} s: what ends a few seconds after it is ready counts as running; {} s are safe",
            soak.as_secs(),
            SOAK.as_secs()
        );
        context.events.warn("soak", message);
    }
}

/// Says who keeps the old values of a ConfigMap or Secret that was changed in place.
fn tell_readers(context: &Context, rendered: &Rendered, object: &AppliedObject) {
    let read_at_start = matches!(object.key.kind.as_str(), "ConfigMap" | "Secret");
    if !read_at_start || object.outcome != Applied::Configured {
        return;
    }
    let readers = rendered.readers(&object.key);
    if !readers.is_empty() {
        let names: Vec<&str> = readers.iter().map(|reader| reader.name.as_str()).collect();
        let message = format!("changed; pods of {} keep the old values until they restart", names.join(", "));
        context.events.warn(object.key.to_string(), message);
    }
}

fn target(context: &Context) -> Target {
    let registry = &context.config.registry;
    Target {
        context: context.cluster.context().map(str::to_owned),
        server: context.cluster.server().to_owned(),
        namespace: context.config.namespace.clone(),
        registry: format!("{}/{}", registry.server, registry.owner),
    }
}

/// Times and counts of this run, for its summary.
struct Run<'a> {
    context: &'a Context,
    started: Instant,
    begun: Instant,
    stages: Vec<(Stage, Duration)>,
    changed: usize,
    unchanged: usize,
}

impl<'a> Run<'a> {
    fn start(context: &'a Context) -> Self {
        let now = Instant::now();
        Self { context, started: now, begun: now, stages: Vec::new(), changed: 0, unchanged: 0 }
    }

    fn begin(&mut self, stage: Stage) {
        self.begun = Instant::now();
        self.context.events.send(Event::StageStarted { stage });
    }

    fn end(&mut self, stage: Stage) {
        let elapsed = self.begun.elapsed();
        self.stages.push((stage, elapsed));
        self.context.events.send(Event::StageFinished { stage, elapsed });
    }

    fn count(&mut self, outcome: Applied) {
        match outcome {
            Applied::Unchanged => self.unchanged += 1,
            Applied::Created | Applied::Configured | Applied::Deleted => self.changed += 1,
        }
    }

    fn finish(self, release: String, images: stage::build::Images) {
        self.context.events.send(Event::RunFinished {
            release,
            images,
            stages: self.stages,
            elapsed: self.started.elapsed(),
            changed: self.changed,
            unchanged: self.unchanged,
        });
    }
}
