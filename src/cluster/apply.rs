//! Server-side apply: the API server merges, remembers who set which field, and refuses what it does not know.

use std::time::Duration;

use kube::api::{Patch, PatchParams, ValidationDirective};
use kube::core::Request as Paths;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::client::Cluster;
use super::delete::finalizers;
use super::discovery::Resource;
use super::refusal::{ApplyError, Refusal};
use super::request::{Answer, Failure, post};
use crate::event::Applied;
use crate::model::ObjectKey;
use crate::plan::difference::content;

/// The name under which fields are owned.
pub const MANAGER: &str = "hdeploy";

/// How long a kind that discovery knows may answer 404: the endpoint of a new CustomResourceDefinition lags behind.
const NEW_KIND: Duration = Duration::from_secs(30);
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How an object is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ApplyOptions {
    /// The API server checks and answers as if, but stores nothing.
    pub dry_run: bool,
    /// Fields that others own are taken from them.
    pub force: bool,
}

/// An object that the API server accepted.
#[derive(Clone, Debug)]
pub struct AppliedObject {
    /// As it is now, defaults included.
    pub value: Value,
    /// Whether this changed anything. Status, bookkeeping and ownership of fields do not count.
    pub outcome: Applied,
    /// What the API server warns of, in its own words.
    pub warnings: Vec<String>,
}

impl Cluster {
    /// Applies `object` under the manager [`MANAGER`], unknown fields refused. Nothing is written to an object or a
    /// namespace that is being deleted.
    ///
    /// Connection failures and temporary refusals are repeated for up to a minute.
    pub async fn apply(&self, object: &Value, options: ApplyOptions) -> Result<AppliedObject, ApplyError> {
        let (key, resource) = self.place(object).await?;
        let before = self.read(&resource, &key).await;
        let before = before.map_err(|failure| refused(&key, Refusal::of(failure, &key.kind)))?;
        self.apply_over(before.as_ref(), object, options).await
    }

    /// As [`Cluster::apply`], over an object that was read already: `before` is what was there.
    pub async fn apply_over(
        &self,
        before: Option<&Value>,
        object: &Value,
        options: ApplyOptions,
    ) -> Result<AppliedObject, ApplyError> {
        let (key, resource) = self.place(object).await?;
        let failed = |failure| refused(&key, Refusal::of(failure, &key.kind));
        alive(before).map_err(|refusal| refused(&key, refusal))?;
        let answer = self.patch(&resource, &key, object, options).await.map_err(failed)?;
        let value: Value = answer.json().map_err(failed)?;
        alive(Some(&value)).map_err(|refusal| refused(&key, refusal))?;
        Ok(AppliedObject { outcome: outcome(before, &value), value, warnings: answer.warnings })
    }

    async fn place(&self, object: &Value) -> Result<(ObjectKey, Resource), ApplyError> {
        let Some(key) = ObjectKey::of(object) else { return Err(ApplyError::nameless(object)) };
        match self.resource(&key).await {
            Ok(Some(resource)) => Ok((key, resource)),
            Ok(None) => Err(refused(&key, Refusal::UnknownKind)),
            Err(error) => Err(refused(&key, Refusal::from_error(&error))),
        }
    }

    /// Why the API server would forbid `pod` in its namespace, in its words; nothing is written. `None` when it would
    /// not, and also when that cannot be found out.
    pub async fn forbids_pod(&self, pod: &Value) -> Option<String> {
        let namespace = pod["metadata"]["namespace"].as_str()?;
        let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldManager={MANAGER}");
        match self.once(post(&path, pod)).await {
            Err(Failure::Status(status)) if status.code == 403 => Some(status.message.clone()),
            _ => None,
        }
    }

    async fn patch(
        &self,
        resource: &Resource,
        key: &ObjectKey,
        object: &Value,
        options: ApplyOptions,
    ) -> Result<Answer, Failure> {
        let params = PatchParams {
            dry_run: options.dry_run,
            force: options.force,
            field_manager: Some(MANAGER.to_owned()),
            field_validation: Some(ValidationDirective::Strict),
        };
        let paths = Paths::new(resource.path(key.namespace.as_deref()));
        let request =
            paths.patch(&key.name, &params, &Patch::Apply(object)).map_err(|e| Failure::Transport(e.to_string()))?;
        let end = Instant::now() + NEW_KIND;
        loop {
            match self.call(request.clone()).await {
                Err(failure) if failure.is_unserved_path() && Instant::now() < end => sleep(ASK_AGAIN).await,
                result => return result,
            }
        }
    }
}

fn refused(key: &ObjectKey, refusal: Refusal) -> ApplyError {
    ApplyError { object: key.clone(), refusal }
}

/// The API server accepts applies to objects that are being deleted, and then they vanish all the same.
fn alive(object: Option<&Value>) -> Result<(), Refusal> {
    match object.filter(|object| object.pointer("/metadata/deletionTimestamp").is_some()) {
        Some(dying) => Err(Refusal::Terminating { finalizers: finalizers(dying) }),
        None => Ok(()),
    }
}

/// A controller may write its notes between the reading before and the apply: they are no change.
fn outcome(before: Option<&Value>, after: &Value) -> Applied {
    let Some(before) = before else { return Applied::Created };
    let version = |object: &Value| object.pointer("/metadata/resourceVersion").cloned();
    if version(before) == version(after) && before == after || content(before) == content(after) {
        Applied::Unchanged
    } else {
        Applied::Configured
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(version: &str, image: &str) -> Value {
        json!({
            "metadata": { "name": "a", "resourceVersion": version, "generation": 3, "managedFields": [version] },
            "spec": { "image": image },
            "status": { "seen": version },
        })
    }

    #[test]
    fn only_content_counts_as_change() {
        assert_eq!(outcome(None, &object("1", "a")), Applied::Created);
        assert_eq!(outcome(Some(&object("1", "a")), &object("1", "a")), Applied::Unchanged);
        assert_eq!(outcome(Some(&object("1", "a")), &object("2", "a")), Applied::Unchanged);
        assert_eq!(outcome(Some(&object("1", "a")), &object("1", "b")), Applied::Configured);
        let mut noted = object("2", "a");
        noted["metadata"]["annotations"] = json!({ "deployment.kubernetes.io/revision": "1" });
        assert_eq!(outcome(Some(&object("1", "a")), &noted), Applied::Unchanged);
    }

    #[test]
    fn an_object_that_is_being_deleted_is_not_alive() {
        let mut dying = object("1", "a");
        dying["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        dying["metadata"]["finalizers"] = json!(["example.test/hold"]);
        let refusal = alive(Some(&dying)).expect_err("dying");
        assert!(matches!(refusal, Refusal::Terminating { finalizers } if finalizers == ["example.test/hold"]));
    }
}
