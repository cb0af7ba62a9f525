//! Who owns the fields of an object: changed without changing any value.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::apply::MANAGER;
use super::client::Cluster;
use super::objects::object_path;
use super::request::{Failure, patch};
use crate::error::Result;
use crate::model::ObjectKey;
use crate::plan::fields::HOLDER;

const AT_ONCE: usize = 8;
/// Kinds of which at most so many objects are wanted are read one by one.
const FEW: usize = 2;

impl Cluster {
    /// The live objects called `keys`, those that are there: one list for each kind and namespace.
    pub async fn live(&self, keys: &[ObjectKey]) -> Result<BTreeMap<ObjectKey, Value>> {
        let mut groups: BTreeMap<(String, String, Option<String>), BTreeSet<ObjectKey>> = BTreeMap::new();
        for key in keys {
            let group = (key.api_version.clone(), key.kind.clone(), key.namespace.clone());
            groups.entry(group).or_default().insert(key.clone());
        }
        let found = iter(groups.into_values().map(|wanted| self.group(wanted))).buffer_unordered(AT_ONCE);
        let found: Vec<Vec<(ObjectKey, Value)>> = found.try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn group(&self, wanted: BTreeSet<ObjectKey>) -> Result<Vec<(ObjectKey, Value)>> {
        let Some(one) = wanted.first().cloned() else { return Ok(Vec::new()) };
        if self.resource(&one).await?.is_none() {
            return Ok(Vec::new());
        }
        if wanted.len() <= FEW {
            let mut found = Vec::new();
            for key in wanted {
                found.extend(self.get(&key).await?.map(|live| (key, live)));
            }
            return Ok(found);
        }
        let all = self.list_all(&one.api_version, &one.kind, one.namespace.as_deref(), None).await?;
        let keyed = all.into_iter().filter_map(|live| Some((ObjectKey::of(&live)?, live)));
        Ok(keyed.filter(|(key, _)| wanted.contains(key)).collect())
    }

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
