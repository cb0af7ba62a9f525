//! Deleting objects, and seeing that they are gone.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::client::Cluster;
use super::objects::object_path;
use super::request::delete;
use crate::error::{Error, Kind, Result};
use crate::model::ObjectKey;

const LOOK_AGAIN: Duration = Duration::from_millis(300);

impl Cluster {
    /// Asks for the object to be deleted; with `uid`, only if it is still that one. An object that is not there is no
    /// error. Workloads and Jobs stay until their pods are gone, so that [`Cluster::wait_gone`] waits for those too.
    ///
    /// # Errors
    /// An object with another uid ([`Kind::Unknown`]), or the API server's refusal.
    pub async fn delete(&self, key: &ObjectKey, uid: Option<&str>) -> Result<()> {
        let Some(resource) = self.resource(key).await? else { return Ok(()) };
        let request = delete(&object_path(&resource, key), &options(key, uid));
        match self.call(request).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.code() == Some(404) => Ok(()),
            Err(failure) if failure.code() == Some(409) && uid.is_some() => Err(replaced(key)),
            Err(failure) => Err(self.error(&format!("cannot delete {key}"), failure)),
        }
    }

    /// Waits until the object is gone, or until another one has taken the place of the one with `uid`.
    ///
    /// # Errors
    /// After `patience`, with what keeps it; or the API server's refusal.
    pub async fn wait_gone(&self, key: &ObjectKey, uid: Option<&str>, patience: Duration) -> Result<()> {
        let end = Instant::now() + patience;
        loop {
            let Some(live) = self.get(key).await? else { return Ok(()) };
            if uid.is_some_and(|uid| live.pointer("/metadata/uid").and_then(Value::as_str) != Some(uid)) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(lingering(key, &live, patience));
            }
            sleep(LOOK_AGAIN).await;
        }
    }
}

fn options(key: &ObjectKey, uid: Option<&str>) -> Value {
    let policy = if matches!(key.group(), "apps" | "batch") { "Foreground" } else { "Background" };
    let mut options = json!({ "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy });
    if let Some(uid) = uid {
        options["preconditions"] = json!({ "uid": uid });
    }
    options
}

fn replaced(key: &ObjectKey) -> Error {
    Error::new(Kind::Unknown, format!("{key} is not the object any more that was to be deleted; it was left alone"))
        .hint("somebody deleted it and made it anew; look at it before you go on")
}

fn lingering(key: &ObjectKey, live: &Value, patience: Duration) -> Error {
    let error = Error::new(Kind::Unknown, format!("{key} is still there {} s after its deletion", patience.as_secs()));
    match finalizers(live) {
        names if names.is_empty() => error,
        names => error.detail(format!("it is held by finalizers: {}", names.join(", "))),
    }
}

/// Who has to agree before the object goes.
pub(super) fn finalizers(live: &Value) -> Vec<String> {
    let names = live.pointer("/metadata/finalizers").and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
