//! Requests with the right credentials to the right host, and to no other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use reqwest::{Method, StatusCode, Url};
use tokio::sync::Mutex;

use super::auth::{Challenge, Grant, basic, challenge};
use super::transport::{Answer, Request, Transport};
use super::trouble;
use crate::config::{self, Credentials};
use crate::error::{Error, Result};
use crate::model::Repository;
use crate::redact::Redactor;

/// Connections, and what each registry granted so far.
pub struct Session {
    transport: Transport,
    config: config::Registry,
    redactor: Redactor,
    grants: Mutex<BTreeMap<Scope, Arc<Mutex<Option<Grant>>>>>,
    /// What a registry has asked for once, it asks for again: the next request comes with it at once.
    challenges: Mutex<BTreeMap<String, Challenge>>,
    /// Repositories that are read in every run: one token does for all of them.
    together: Vec<Repository>,
    /// Unless such a token was refused once, or did not open one of them.
    one_by_one: AtomicBool,
}

/// What a token is good for. The registry is part of it: no token reaches another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Scope {
    repositories: Vec<Repository>,
    right: &'static str,
}

/// What is asked of a registry.
struct Ask<'a> {
    method: Method,
    repository: &'a Repository,
    url: Url,
    body: Option<(&'a str, Bytes)>,
}

impl Ask<'_> {
    fn reads(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }

    fn scope(&self) -> Scope {
        Scope { repositories: vec![self.repository.clone()], right: if self.reads() { "pull" } else { "pull,push" } }
    }

    fn with(&self, authorization: Option<String>) -> Request<'_> {
        Request { method: self.method.clone(), url: self.url.clone(), authorization, body: self.body.clone() }
    }
}

impl Session {
    /// For a run that reads the repositories `together`; those of another registry are asked for one by one.
    pub fn new(config: &config::Registry, mut together: Vec<Repository>, redactor: &Redactor) -> Result<Self> {
        together.retain(|repository| repository.registry == config.server);
        Ok(Self {
            transport: Transport::new(config.ca.as_deref())?,
            config: config.clone(),
            redactor: redactor.clone(),
            grants: Mutex::default(),
            challenges: Mutex::default(),
            together,
            one_by_one: AtomicBool::new(false),
        })
    }

    /// Who `repository`'s registry is asked as; `None` for nobody.
    pub fn username(&self, repository: &Repository) -> Option<&str> {
        self.credentials(repository).map(|credentials| credentials.username.as_str())
    }

    fn credentials(&self, repository: &Repository) -> Option<&Credentials> {
        self.config.credentials.as_ref().filter(|_| repository.registry == self.config.server)
    }

    /// Sends a request for something of `repository`; `path` counts from `/v2/`.
    pub async fn send(
        &self,
        method: Method,
        repository: &Repository,
        path: &str,
        body: Option<(&str, Bytes)>,
    ) -> Result<Answer> {
        let url = self.url(repository, path)?;
        self.authorized(Ask { method, repository, url, body }).await
    }

    /// Sends a request to a place that the registry named itself. Refused when it is not the registry's.
    pub async fn send_to(&self, method: Method, repository: &Repository, url: Url) -> Result<Answer> {
        if url.origin() != self.url(repository, "")?.origin() {
            return Err(Error::refused(format!("{} sends to another host, {url}", repository.registry)));
        }
        self.authorized(Ask { method, repository, url, body: None }).await
    }

    fn url(&self, repository: &Repository, path: &str) -> Result<Url> {
        let plain = self.config.plain_http && repository.registry == self.config.server;
        let scheme = if plain { "http" } else { "https" };
        let text = format!("{scheme}://{}/v2/{path}", repository.registry);
        Url::parse(&text).map_err(|error| Error::refused(format!("{text} is no address")).because(error))
    }

    /// Sends the request with a token for everything that is read; where that is not enough, with one of its own.
    async fn authorized(&self, ask: Ask<'_>) -> Result<Answer> {
        let shared = ask.reads() && self.together.len() > 1 && self.together.contains(ask.repository);
        if shared && !self.one_by_one.load(Ordering::Relaxed) {
            let scope = Scope { repositories: self.together.clone(), right: "pull" };
            let answer = self.within(&ask, &scope).await?;
            if !matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) || !answer.is_from(&ask.url) {
                return Ok(answer);
            }
            self.one_by_one.store(true, Ordering::Relaxed);
        }
        self.within(&ask, &ask.scope()).await
    }

    /// Sends the request; when it is challenged, meets the challenge once and sends it again.
    async fn within(&self, ask: &Ask<'_>, scope: &Scope) -> Result<Answer> {
        let slot = Arc::clone(self.grants.lock().await.entry(scope.clone()).or_default());
        let known = self.known(ask, scope, &slot).await?;
        let answer = self.transport.send(&ask.with(known.clone())).await?;
        // A host that blobs lie on may challenge too, but it is none to give credentials for.
        if answer.status != StatusCode::UNAUTHORIZED || !answer.is_from(&ask.url) {
            return Ok(answer);
        }
        let Some(challenge) = challenge(&answer.headers) else { return Ok(answer) };
        self.challenges.lock().await.insert(origin(ask), challenge.clone());
        // Others may ask for the same at the same time: one of them gets it for all.
        let mut grant = slot.lock().await;
        let mut header = grant.as_ref().and_then(Grant::header);
        if header == known {
            *grant = self.meet(challenge, ask, scope).await?;
            header = grant.as_ref().and_then(Grant::header);
        }
        drop(grant);
        if header.is_none() || header == known {
            return Ok(answer);
        }
        self.transport.send(&ask.with(header)).await
    }

    /// What is known to open the door: granted before, or asked for before by the same registry.
    async fn known(&self, ask: &Ask<'_>, scope: &Scope, slot: &Mutex<Option<Grant>>) -> Result<Option<String>> {
        let mut grant = slot.lock().await;
        if let Some(header) = grant.as_ref().and_then(Grant::header) {
            return Ok(Some(header));
        }
        let challenge = self.challenges.lock().await.get(&origin(ask)).cloned();
        if let Some(challenge) = challenge {
            *grant = self.meet(challenge, ask, scope).await?;
        }
        Ok(grant.as_ref().and_then(Grant::header))
    }

    /// What meets a challenge; `None` when there is nothing to meet it with.
    async fn meet(&self, challenge: Challenge, ask: &Ask<'_>, scope: &Scope) -> Result<Option<Grant>> {
        let credentials = self.credentials(ask.repository);
        match challenge {
            Challenge::Basic => Ok(credentials.map(|credentials| Grant::lasting(basic(credentials)))),
            Challenge::Bearer { realm, service } => {
                let realm = self.realm(&realm, service, ask.repository, scope)?;
                let request =
                    Request { method: Method::GET, url: realm, authorization: credentials.map(basic), body: None };
                let answer = self.transport.send(&request).await?;
                // It may grant one repository and not another, or not know one.
                let is_shared = scope.repositories.len() > 1;
                if is_shared && matches!(answer.status.as_u16(), 400 | 403 | 404 | 414) {
                    return Ok(None);
                }
                self.token(&answer, ask.repository).map(Some)
            }
        }
    }

    /// Where a token for `scope` is to be had.
    fn realm(&self, text: &str, service: Option<String>, repository: &Repository, scope: &Scope) -> Result<Url> {
        let mut realm =
            Url::parse(text).map_err(|error| Error::refused(format!("{text} is no address")).because(error))?;
        if self.credentials(repository).is_some() && !self.may_learn_the_password(&realm) {
            return Err(trouble::unsafe_realm(repository, &realm));
        }
        let mut query = realm.query_pairs_mut();
        for repository in &scope.repositories {
            query.append_pair("scope", &format!("repository:{}:{}", repository.path, scope.right));
        }
        if let Some(service) = service {
            query.append_pair("service", &service);
        }
        drop(query);
        Ok(realm)
    }

    /// Whoever is asked over TLS, or the very registry that is spoken to in plain.
    fn may_learn_the_password(&self, realm: &Url) -> bool {
        let plain = Url::parse(&format!("http://{}/", self.config.server));
        realm.scheme() == "https"
            || (self.config.plain_http && plain.is_ok_and(|plain| plain.origin() == realm.origin()))
    }

    fn token(&self, answer: &Answer, repository: &Repository) -> Result<Grant> {
        match answer.status {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                return Err(trouble::login_refused(repository, self.username(repository), answer));
            }
            _ => return Err(trouble::unexpected(&format!("logging in to {}", repository.registry), answer)),
        }
        let grant = Grant::read(&answer.body, &self.redactor);
        grant.ok_or_else(|| Error::refused(format!("{} gave no token", answer.url.origin().ascii_serialization())))
    }
}

fn origin(ask: &Ask<'_>) -> String {
    ask.url.origin().ascii_serialization()
}
