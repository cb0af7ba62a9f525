//! Reading objects.

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
