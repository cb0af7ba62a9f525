//! Reading objects.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{StreamExt as _, TryStreamExt as _, iter};
use kube::core::Request as Paths;
use kube::core::params::ListParams;
use serde::Deserialize;
use serde_json::Value;

use super::client::Cluster;
use super::discovery::Resource;
use super::request::{Failure, get};
use crate::error::{Error, Result};
use crate::model::ObjectKey;

const PAGE: u32 = 500;
const AT_ONCE: usize = 8;
/// Kinds of which at most so many objects are wanted are read one by one.
const FEW: usize = 2;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMetadata,
    items: Vec<Value>,
}

#[derive(Default, Deserialize)]
struct PageMetadata {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

/// What looking at an object shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Look {
    /// It is there.
    Object(Value),
    /// It, its namespace or its kind is not there.
    Nothing,
    /// This account may not know.
    Forbidden,
}

impl Cluster {
    /// Like [`Cluster::get`], where a missing right is an answer too.
    pub async fn look(&self, key: &ObjectKey) -> Result<Look> {
        let Some(resource) = self.resource(key).await? else { return Ok(Look::Nothing) };
        match self.read(&resource, key).await {
            Ok(Some(object)) => Ok(Look::Object(object)),
            Ok(None) => Ok(Look::Nothing),
            Err(failure) if failure.code() == Some(403) => Ok(Look::Forbidden),
            Err(failure) => Err(self.error(&format!("cannot read {key}"), failure)),
        }
    }

    /// The live object, or `None` when it, its namespace or its kind is not there.
    pub async fn get(&self, key: &ObjectKey) -> Result<Option<Value>> {
        let Some(resource) = self.resource(key).await? else { return Ok(None) };
        self.read(&resource, key).await.map_err(|failure| self.error(&format!("cannot read {key}"), failure))
    }

    pub(super) async fn read(&self, resource: &Resource, key: &ObjectKey) -> Result<Option<Value>, Failure> {
        match self.call(get(&object_path(resource, key))).await {
            Ok(answer) => answer.json().map(Some),
            Err(failure) if failure.code() == Some(404) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

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

    /// All objects of a kind in `namespace`, or in all namespaces, that `selector` selects ("app=api,tier!=db"). Each
    /// has its `apiVersion` and `kind`, which lists leave out.
    ///
    /// # Errors
    /// A kind that is not served, or the API server's refusal.
    pub async fn list_all(
        &self,
        api_version: &str,
        kind: &str,
        namespace: Option<&str>,
        selector: Option<&str>,
    ) -> Result<Vec<Value>> {
        let Some(resource) = self.resource_of(api_version, kind).await? else {
            return Err(Error::refused(format!("{} does not serve {kind} of {api_version}", self.server()))
                .hint("kubectl api-resources shows what it serves"));
        };
        let place = namespace.map_or_else(|| "all namespaces".to_owned(), str::to_owned);
        let failed = |failure| self.error(&format!("cannot list the {} of {place}", resource.plural), failure);
        self.pages(&resource, namespace, selector).await.map_err(failed)
    }

    async fn pages(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        selector: Option<&str>,
    ) -> Result<Vec<Value>, Failure> {
        let mut params = ListParams { limit: Some(PAGE), ..ListParams::default() };
        params.label_selector = selector.map(str::to_owned);
        let paths = Paths::new(resource.path(namespace));
        let mut objects = Vec::new();
        loop {
            let request = paths.list(&params).map_err(|e| Failure::Transport(e.to_string()))?;
            let page: Page = self.call(request).await?.json()?;
            objects.extend(page.items.into_iter().map(|item| whole(item, resource)));
            match page.metadata.next.filter(|next| !next.is_empty()) {
                Some(next) => params.continue_token = Some(next),
                None => return Ok(objects),
            }
        }
    }
}

pub(super) fn object_path(resource: &Resource, key: &ObjectKey) -> String {
    format!("{}/{}", resource.path(key.namespace.as_deref()), key.name)
}

fn whole(mut item: Value, resource: &Resource) -> Value {
    item["apiVersion"] = resource.api_version.clone().into();
    item["kind"] = resource.kind.clone().into();
    item
}
