//! What the API server serves: the plural and the scope of every kind, in two requests.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::ACCEPT;
use kube::core::discovery::v2::{APIGroupDiscovery, APIGroupDiscoveryList, APIResourceDiscovery};
use tokio::time::{Instant, sleep};

use super::client::Cluster;
use super::request::{Failure, get};
use crate::error::{Error, Result};
use crate::model::ObjectKey;

/// Aggregated discovery, served since Kubernetes 1.26 (v2: 1.30).
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                          application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// How the objects of a kind are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// `group/version` or `version`.
    pub api_version: String,
    /// For example `Deployment`.
    pub kind: String,
    /// For example `deployments`.
    pub plural: String,
    /// Whether its objects lie in namespaces.
    pub namespaced: bool,
}

/// Every kind that is served, by `apiVersion` and `kind`.
pub(super) struct Kinds(HashMap<(String, String), Resource>);

impl Resource {
    /// The API group, empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.rsplit_once('/').map_or("", |(group, _)| group)
    }

    /// The path of the kind's objects in `namespace`, or in all of them.
    pub(super) fn path(&self, namespace: Option<&str>) -> String {
        let root = if self.group().is_empty() { "api" } else { "apis" };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("/{root}/{}/namespaces/{namespace}/{}", self.api_version, self.plural),
            None => format!("/{root}/{}/{}", self.api_version, self.plural),
        }
    }
}

impl Kinds {
    fn of(lists: impl IntoIterator<Item = APIGroupDiscoveryList>) -> Self {
        let groups = lists.into_iter().flat_map(|list| list.items);
        Self(groups.flat_map(resources).map(|found| ((found.api_version.clone(), found.kind.clone()), found)).collect())
    }

    fn find(&self, api_version: &str, kind: &str) -> Option<&Resource> {
        self.0.get(&(api_version.to_owned(), kind.to_owned()))
    }
}

fn resources(group: APIGroupDiscovery) -> impl Iterator<Item = Resource> {
    let name = group.metadata.and_then(|metadata| metadata.name).unwrap_or_default();
    group.versions.into_iter().flat_map(move |served| {
        let version = served.version.unwrap_or_default();
        let api_version = if name.is_empty() { version } else { format!("{name}/{version}") };
        served.resources.into_iter().filter_map(move |found| resource(&api_version, found))
    })
}

fn resource(api_version: &str, found: APIResourceDiscovery) -> Option<Resource> {
    Some(Resource {
        api_version: api_version.to_owned(),
        kind: found.response_kind?.kind?,
        plural: found.resource?,
        namespaced: found.scope.as_deref() == Some("Namespaced"),
    })
}

impl Cluster {
    /// How the objects called `keys` are reached, in the same order; `None` for a kind that is not served.
    ///
    /// The API server is asked once per run; [`Cluster::refresh`] asks again.
    pub async fn resolve_kinds(&self, keys: &[ObjectKey]) -> Result<Vec<Option<Resource>>> {
        let kinds = self.kinds().await?;
        Ok(keys.iter().map(|key| kinds.find(&key.api_version, &key.kind).cloned()).collect())
    }

    /// Forgets what was discovered and asks again.
    pub async fn refresh(&self) -> Result<()> {
        let kinds = self.discover().await.map_err(|failure| self.error("cannot learn the cluster's kinds", failure))?;
        self.remember_kinds(Arc::new(kinds));
        Ok(())
    }

    /// Waits until every kind of `keys` is served: a CustomResourceDefinition needs a moment after it was applied.
    ///
    /// # Errors
    /// The kinds that are still unknown after `patience`, or the API server not answering.
    pub async fn wait_for_kinds(&self, keys: &[ObjectKey], patience: Duration) -> Result<()> {
        let end = Instant::now() + patience;
        loop {
            self.refresh().await?;
            let found = self.resolve_kinds(keys).await?;
            let missing: Vec<_> =
                keys.iter().zip(found).filter(|(_, found)| found.is_none()).map(|(key, _)| key).collect();
            if missing.is_empty() {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(unserved(&missing, patience));
            }
            sleep(ASK_AGAIN).await;
        }
    }

    pub(super) async fn resource(&self, key: &ObjectKey) -> Result<Option<Resource>> {
        self.resource_of(&key.api_version, &key.kind).await
    }

    pub(super) async fn resource_of(&self, api_version: &str, kind: &str) -> Result<Option<Resource>> {
        Ok(self.kinds().await?.find(api_version, kind).cloned())
    }

    async fn kinds(&self) -> Result<Arc<Kinds>> {
        if let Some(known) = self.known_kinds() {
            return Ok(known);
        }
        self.refresh().await?;
        self.known_kinds().ok_or_else(|| Error::refused("the cluster's kinds are unknown"))
    }

    async fn discover(&self) -> Result<Kinds, Failure> {
        let (core, groups) = tokio::try_join!(self.aggregated("/api"), self.aggregated("/apis"))?;
        Ok(Kinds::of([core, groups]))
    }

    async fn aggregated(&self, path: &str) -> Result<APIGroupDiscoveryList, Failure> {
        let mut request = get(path);
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(AGGREGATED));
        self.call(request).await?.json()
    }
}

fn unserved(missing: &[&ObjectKey], patience: Duration) -> Error {
    let names: Vec<String> =
        missing.iter().map(|key| format!("{} of {}, for {key}", key.kind, key.api_version)).collect();
    Error::refused(format!("the API server does not serve every kind that is needed, {} s later", patience.as_secs()))
        .details(names)
        .hint("kubectl get crd shows what is installed; kubectl describe crd NAME says why one is not established")
}
