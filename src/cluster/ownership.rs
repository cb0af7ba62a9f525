//! Who owns the fields of an object: changed without changing any value.

use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::apply::MANAGER;
use super::client::Cluster;
use super::objects::object_path;
use super::request::{Failure, patch};
use crate::error::Result;
use crate::model::ObjectKey;
use crate::plan::owners::HOLDER;

impl Cluster {
    /// Replaces the `managedFields` of the object as `live` shows it; `None` when it has changed since.
    pub async fn set_owners(&self, live: &Value, owners: &[Value]) -> Result<Option<Value>> {
        let body = json!([
            {"op": "replace", "path": "/metadata/managedFields", "value": owners},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]},
        ]);
        self.guarded(live, "application/json-patch+json", "", &body).await
    }

    /// Applies what the object has as `live` shows it, so that its fields belong to [`MANAGER`] too; `None` when it has
    /// changed since.
    pub async fn own(&self, live: &Value, body: &Value) -> Result<Option<Value>> {
        let mut body = body.clone();
        body["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
        self.guarded(live, "application/apply-patch+yaml", &format!("?fieldManager={MANAGER}"), &body).await
    }

    /// Sets the replicas that the object has as `live` shows it, under a name of its own; `None` when it has changed
    /// since.
    pub async fn pin_replicas(&self, live: &Value, replicas: i64) -> Result<Option<Value>> {
        let metadata = &live["metadata"];
        let body = json!({
            "apiVersion": live["apiVersion"], "kind": live["kind"],
            "metadata": {"name": metadata["name"], "namespace": metadata["namespace"],
                "resourceVersion": metadata["resourceVersion"]},
            "spec": {"replicas": replicas},
        });
        let query = format!("?fieldManager={HOLDER}&force=true");
        self.guarded(live, "application/apply-patch+yaml", &query, &body).await
    }

    /// A patch that holds for one version of the object only.
    async fn guarded(&self, live: &Value, form: &'static str, query: &str, body: &Value) -> Result<Option<Value>> {
        let Some(key) = ObjectKey::of(live) else { return Ok(None) };
        let failed = |failure: Failure| self.error(&format!("cannot take over the fields of {key}"), failure);
        let Some(resource) = self.resource(&key).await? else { return Ok(None) };
        let mut request = patch(&format!("{}{query}", object_path(&resource, &key)), body);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(form));
        match self.call(request).await {
            Ok(answer) => answer.json().map(Some).map_err(failed),
            Err(failure) if matches!(failure.code(), Some(404 | 409)) => Ok(None),
            Err(failure) => Err(failed(failure)),
        }
    }
}
