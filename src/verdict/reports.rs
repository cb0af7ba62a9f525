//! What events report. They come early and may stop at any time (a kubelet drops a pod's warnings from the 25th on), so
//! that nothing is decided by their absence.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Event, Pod};

use super::pods::{Part, uid};
use super::snapshot::Snapshot;

/// From the tenth differing message on, a kubelet puts this in front.
const COMBINED: &str = "(combined from similar events): ";

/// How often every event had been seen before the workload was touched, by name of the event.
pub(super) type Seen = BTreeMap<String, i32>;

/// The events about the object with this uid.
pub(super) fn about<'a>(snapshot: &'a Snapshot, uid: &str) -> impl Iterator<Item = &'a Event> {
    snapshot.events.of(uid)
}

pub(super) fn reason(event: &Event) -> &str {
    event.reason.as_deref().unwrap_or_default()
}

pub(super) fn message(event: &Event) -> &str {
    let message = event.message.as_deref().unwrap_or_default();
    message.strip_prefix(COMBINED).unwrap_or(message)
}

/// How often it has been seen. Some reporters count in the event, some in its series, some not at all.
pub(super) fn count(event: &Event) -> i32 {
    event.count.or_else(|| event.series.as_ref().and_then(|series| series.count)).unwrap_or(1).max(1)
}

/// How often it has been seen since `before`.
pub(super) fn fresh(event: &Event, before: &Seen) -> i32 {
    let name = event.metadata.name.as_deref().unwrap_or_default();
    count(event).saturating_sub(before.get(name).copied().unwrap_or(0)).max(0)
}

/// The events about a pod's container.
pub(super) fn about_part<'a>(snapshot: &'a Snapshot, part: &Part<'a>) -> impl Iterator<Item = &'a Event> {
    let place = format!("{{{}}}", part.spec.name);
    about(snapshot, uid(part.pod))
        .filter(move |event| event.involved_object.field_path.as_deref().is_some_and(|path| path.ends_with(&place)))
}

/// The newest of the `events`.
pub(super) fn latest<'a>(events: impl Iterator<Item = &'a Event>) -> Option<&'a Event> {
    events.max_by_key(|event| {
        let series = event.series.as_ref().and_then(|series| series.last_observed_time.as_ref()).map(|time| time.0);
        let time = event.last_timestamp.as_ref().map(|time| time.0);
        (series.or(time).or(event.event_time.as_ref().map(|time| time.0)), count(event))
    })
}

/// The newest event about `pod` for this reason.
pub(super) fn latest_of<'a>(snapshot: &'a Snapshot, pod: &Pod, wanted: &str) -> Option<&'a Event> {
    latest(about(snapshot, uid(pod)).filter(|event| reason(event) == wanted))
}
