//! Requests with the right credentials to the right host, and to no other.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, LINK, LOCATION};
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::Value;
use tokio::sync::Mutex;

use super::auth::{Challenge, challenge};
use super::trouble;
use crate::config::{self, Credentials};
use crate::error::{Error, Result};
use crate::model::{Digest, Repository};

/// Answers are manifests and configurations: anything larger is not what was asked for.
const LARGEST: usize = 16 << 20;
/// How often a request without effect is tried when the registry or the network stumbles.
const TRIES: u32 = 3;

const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, \
    application/json, */*";

/// Connections to one registry, and what it asked for so far.
pub struct Session {
    client: Client,
    config: config::Registry,
    /// Header values by repository path and right: tokens are given for both.
    tokens: Mutex<BTreeMap<(String, &'static str), String>>,
}

/// What is kept of a response.
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
    pub digest: Option<Digest>,
    pub content_type: Option<String>,
    pub location: Option<Url>,
    pub has_next: bool,
}

impl Session {
    pub fn new(config: &config::Registry) -> Result<Self> {
        let mut builder = Client::builder()
            .user_agent(concat!("hdeploy/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(4))
            .read_timeout(Duration::from_secs(30));
        if let Some(file) = &config.ca {
            let unusable = |error: Box<dyn std::error::Error + Send + Sync>| {
                Error::refused(format!("the registry's authority in {} cannot be used", file.display()))
                    .because(error)
                    .hint("registry.ca names a file with one or more certificates in PEM")
            };
            let pem = fs::read(file).map_err(|error| unusable(error.into()))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(error.into()))?;
            if certificates.is_empty() {
                return Err(unusable("it holds no certificate".into()));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(|error| Error::refused("the HTTP client did not start").because(error))?;
        Ok(Self { client, config: config.clone(), tokens: Mutex::default() })
    }

    pub fn username(&self) -> &str {
        self.config.credentials.as_ref().map_or("nobody", |credentials| credentials.username.as_str())
    }

    /// Sends a request for something in `repository`; `path` counts from `/v2/`.
    pub async fn send(
        &self,
        method: Method,
        repository: &Repository,
        path: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<Answer> {
        let url = self.url(repository, path)?;
        self.authorized(&method, repository, &url, body).await
    }

    /// Sends a request to a place that the registry named itself.
    pub async fn send_to(&self, method: Method, repository: &Repository, url: &Url) -> Result<Answer> {
        self.authorized(&method, repository, url, None).await
    }

    fn url(&self, repository: &Repository, path: &str) -> Result<Url> {
        let plain = self.config.plain_http && repository.registry == self.config.server;
        let scheme = if plain { "http" } else { "https" };
        let text = format!("{scheme}://{}/v2/{path}", repository.registry);
        Url::parse(&text).map_err(|error| Error::refused(format!("{text} is no address")).because(error))
    }

    /// Sends the request; when it is challenged, meets the challenge once and sends it again.
    async fn authorized(
        &self,
        method: &Method,
        repository: &Repository,
        url: &Url,
        body: Option<(&str, Bytes)>,
    ) -> Result<Answer> {
        let right = if matches!(*method, Method::GET | Method::HEAD) { "pull" } else { "pull,push" };
        let key = (repository.path.clone(), right);
        let known = self.tokens.lock().await.get(&key).cloned();
        let response = self.tried(method, url, known.as_deref(), body.clone()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return answer(response).await;
        }
        let Some(header) = self.meet(response.headers(), repository, right).await? else {
            return answer(response).await;
        };
        if known.as_ref() == Some(&header) {
            return answer(response).await;
        }
        self.tokens.lock().await.insert(key, header.clone());
        answer(self.tried(method, url, Some(&header), body).await?).await
    }

    async fn tried(
        &self,
        method: &Method,
        url: &Url,
        authorization: Option<&str>,
        body: Option<(&str, Bytes)>,
    ) -> Result<Response> {
        let harmless = matches!(*method, Method::GET | Method::HEAD);
        let mut tries = 0;
        loop {
            tries += 1;
            let mut request = self.client.request(method.clone(), url.clone()).header(ACCEPT, MANIFESTS);
            if let Some(value) = authorization {
                request = request.header(AUTHORIZATION, value);
            }
            if let Some((media_type, bytes)) = &body {
                request = request.header(CONTENT_TYPE, *media_type).body(bytes.clone());
            }
            match request.send().await {
                Ok(response) if harmless && stumbles(response.status()) && tries < TRIES => {}
                Ok(response) => return Ok(response),
                // Nobody there stays so for the next seconds; a connection that broke may be mended already.
                Err(error) if harmless && !error.is_connect() && tries < TRIES => {}
                Err(error) => return Err(trouble::unreachable(url, error)),
            }
            tokio::time::sleep(Duration::from_millis(200) * tries).await;
        }
    }

    /// The header that meets the challenge in `headers`; `None` when there is nothing to meet it with.
    async fn meet(&self, headers: &HeaderMap, repository: &Repository, right: &str) -> Result<Option<String>> {
        let ours = repository.registry == self.config.server;
        let credentials = self.config.credentials.as_ref().filter(|_| ours);
        match challenge(headers) {
            None => Ok(None),
            Some(Challenge::Basic) => Ok(credentials.map(basic)),
            Some(Challenge::Bearer { realm, service }) => {
                let realm = Url::parse(&realm)
                    .map_err(|error| Error::refused(format!("{realm} is no address")).because(error))?;
                let credentials = credentials.filter(|_| self.trusted(&realm));
                self.token(realm, service, repository, right, credentials).await.map(Some)
            }
        }
    }

    /// Whether the password may be sent to `realm`: over TLS, or to the very registry that is spoken to in plain.
    fn trusted(&self, realm: &Url) -> bool {
        let host = realm.host_str().unwrap_or_default();
        let same = match realm.port() {
            Some(port) => self.config.server == format!("{host}:{port}"),
            None => self.config.server == host,
        };
        realm.scheme() == "https" || (self.config.plain_http && same)
    }

    async fn token(
        &self,
        mut realm: Url,
        service: Option<String>,
        repository: &Repository,
        right: &str,
        credentials: Option<&Credentials>,
    ) -> Result<String> {
        realm.query_pairs_mut().append_pair("scope", &format!("repository:{}:{right}", repository.path));
        if let Some(service) = service {
            realm.query_pairs_mut().append_pair("service", &service);
        }
        let request = with(self.client.get(realm.clone()), credentials);
        let response = request.send().await.map_err(|error| trouble::unreachable(&realm, error))?;
        let answer = answer(response).await?;
        if answer.status != StatusCode::OK {
            return Err(trouble::login_refused(&repository.registry, self.username(), &answer));
        }
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let token = body["token"].as_str().or_else(|| body["access_token"].as_str());
        match token {
            Some(token) => Ok(format!("Bearer {token}")),
            None => Err(Error::refused(format!("{} gave no token", repository.registry))),
        }
    }
}

fn with(request: RequestBuilder, credentials: Option<&Credentials>) -> RequestBuilder {
    match credentials {
        Some(credentials) => request.header(AUTHORIZATION, basic(credentials)),
        None => request,
    }
}

fn basic(credentials: &Credentials) -> String {
    use base64::Engine as _;
    let pair = format!("{}:{}", credentials.username, credentials.password.expose());
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

fn stumbles(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

async fn answer(mut response: Response) -> Result<Answer> {
    let url = response.url().clone();
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let location = text(LOCATION.as_str()).and_then(|text| url.join(&text).ok());
    let mut answer = Answer {
        status: response.status(),
        digest: text("docker-content-digest").and_then(|text| text.parse().ok()),
        content_type: text(CONTENT_TYPE.as_str()),
        location: location.filter(|place| place.host() == url.host()),
        has_next: text(LINK.as_str()).is_some_and(|text| text.contains("rel=\"next\"")),
        body: Bytes::new(),
    };
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| trouble::unreachable(&url, error))? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST {
            return Err(Error::refused(format!("{url} answers with more than {} MiB", LARGEST >> 20)));
        }
    }
    answer.body = body.into();
    Ok(answer)
}
