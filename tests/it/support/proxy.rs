//! What stands between the program and the API server, and does not always pass on what it is given.
//!
//! It speaks plain HTTP to the program and the administrator's TLS to the API server of the sandbox.

use std::collections::BTreeMap;
use std::future::pending;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use super::Project;

type Answer = Response<Body>;
type Broken = Box<dyn std::error::Error + Send + Sync>;

/// What becomes of a request.
#[derive(Clone)]
pub enum Fate {
    /// The API server never hears of it, and this is the answer.
    Answer(u16, Value),
    /// The API server never hears of it, and the answer is good and empty: a watch in which nothing happened.
    Nothing,
    /// The connection ends before the API server hears of it.
    Cut,
    /// The API server does it, and then the connection ends without an answer.
    CutAfterwards,
    /// There is no answer, and no end.
    Stall,
    /// Something happens first.
    Before(Arc<dyn Fn() + Send + Sync>),
}

impl Fate {
    /// A refusal as the API server words it.
    pub fn status(code: u16, reason: &str, message: &str) -> Self {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
            "code": code, "reason": reason, "message": message});
        Self::Answer(code, status)
    }

    /// Does `work`, then lets the request through.
    pub fn before(work: impl Fn() + Send + Sync + 'static) -> Self {
        Self::Before(Arc::new(work))
    }
}

/// A proxy that runs until it is dropped.
pub struct Proxy {
    address: String,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct Shared {
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<(Instant, String)>>,
}

struct Rule {
    parts: Vec<String>,
    /// Which of the requests that it is for, counted from zero.
    which: Range<usize>,
    /// Whether equal requests are counted, or all of them together.
    each: bool,
    counts: BTreeMap<String, usize>,
    fate: Fate,
}

impl Proxy {
    /// Passes everything on to the sandbox.
    pub fn new() -> Self {
        Self::before(Path::new(&std::env::var("KUBECONFIG").expect("the sandbox's kubeconfig")))
    }

    /// Passes everything on to the API server of `kubeconfig`.
    pub fn before(kubeconfig: &Path) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let shared = Arc::new(Shared::default());
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        runtime.spawn(serve(listener, kubeconfig.to_owned(), Arc::clone(&shared)));
        Self { address, shared, runtime: Some(runtime) }
    }

    /// Gives those of the requests that `which` counts a fate. Each of `parts` is in "METHOD path?query authorization".
    pub fn on(&self, parts: &[&str], which: Range<usize>, fate: Fate) -> &Self {
        self.rule(parts, which, false, fate)
    }

    /// The same, where `which` counts equal requests only.
    pub fn on_each(&self, parts: &[&str], which: Range<usize>, fate: Fate) -> &Self {
        self.rule(parts, which, true, fate)
    }

    fn rule(&self, parts: &[&str], which: Range<usize>, each: bool, fate: Fate) -> &Self {
        let parts = parts.iter().map(ToString::to_string).collect();
        lock(&self.shared.rules).push(Rule { parts, which, each, counts: BTreeMap::new(), fate });
        self
    }

    /// When requests came that hold each of `parts`.
    pub fn seen(&self, parts: &[&str]) -> Vec<Instant> {
        self.matching(parts).into_iter().map(|(when, _)| when).collect()
    }

    /// The requests that hold each of `parts`, oldest first.
    pub fn lines(&self, parts: &[&str]) -> Vec<String> {
        self.matching(parts).into_iter().map(|(_, line)| line).collect()
    }

    fn matching(&self, parts: &[&str]) -> Vec<(Instant, String)> {
        let seen = lock(&self.shared.seen);
        seen.iter().filter(|(_, line)| parts.iter().all(|part| line.contains(part))).cloned().collect()
    }

    /// Gives no request a fate any more.
    pub fn pass(&self) {
        lock(&self.shared.rules).clear();
    }

    /// A kubeconfig that leads here, in a file of `project`, with the credentials of `user`.
    pub fn kubeconfig(&self, project: &Project, user: &Value) -> String {
        project.write("proxy.kubeconfig", &self.config(user));
        project.path("proxy.kubeconfig").display().to_string()
    }

    /// A kubeconfig that leads here, with the credentials of `user`.
    pub fn config(&self, user: &Value) -> String {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": format!("http://{}", self.address)}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
            "users": [{"name": "proxy", "user": user}],
        });
        kubeconfig.to_string()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn fate(&self, line: &str) -> Option<Fate> {
        lock(&self.seen).push((Instant::now(), line.to_owned()));
        let mut rules = lock(&self.rules);
        let mut fate = None;
        for rule in rules.iter_mut().filter(|rule| rule.parts.iter().all(|part| line.contains(part.as_str()))) {
            // Watches begin somewhere else each time.
            let same = line.split("resourceVersion=").next().filter(|_| rule.each).unwrap_or_default();
            let count = rule.counts.entry(same.to_owned()).or_default();
            if rule.which.contains(count) && fate.is_none() {
                fate = Some(rule.fate.clone());
            }
            *count += 1;
        }
        fate
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(listener: TcpListener, kubeconfig: PathBuf, shared: Arc<Shared>) {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = config.expect("a configuration");
    (config.read_timeout, config.default_retry) = (None, false);
    let server = Client::try_from(config).expect("a client");
    while let Ok((connection, _)) = listener.accept().await {
        tokio::spawn(converse(connection, server.clone(), Arc::clone(&shared)));
    }
}

async fn converse(connection: TcpStream, server: Client, shared: Arc<Shared>) {
    let service = service_fn(|request| one(request, server.clone(), Arc::clone(&shared)));
    // An end without an answer is one of the fates.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
}

async fn one(request: Request<Incoming>, server: Client, shared: Arc<Shared>) -> Result<Answer, Broken> {
    let bearer = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let line = format!("{} {} {bearer}", request.method(), request.uri());
    match shared.fate(&line) {
        None => pass_on(request, server).await,
        Some(Fate::Answer(code, body)) => Ok(answer(code, &body)),
        Some(Fate::Nothing) => Ok(Response::new(Body::empty())),
        Some(Fate::Cut) => Err("cut".into()),
        Some(Fate::CutAfterwards) => {
            pass_on(request, server).await?.into_body().collect().await?;
            Err("cut".into())
        }
        Some(Fate::Stall) => pending().await,
        Some(Fate::Before(work)) => {
            tokio::task::spawn_blocking(move || work()).await?;
            pass_on(request, server).await
        }
    }
}

async fn pass_on(request: Request<Incoming>, server: Client) -> Result<Answer, Broken> {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(AUTHORIZATION);
    parts.headers.remove(HOST);
    let body = body.collect().await?.to_bytes().to_vec();
    Ok(server.send(Request::from_parts(parts, Body::from(body))).await?)
}

fn answer(code: u16, body: &Value) -> Answer {
    let response = Response::builder().status(code).header(CONTENT_TYPE, "application/json");
    response.body(Body::from(body.to_string().into_bytes())).expect("an answer")
}
