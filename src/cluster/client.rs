//! Finding the cluster: kubeconfig files, a context, or the service account of the pod that this program runs in.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config as ClientConfig};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::connection::client;
use super::discovery::Kinds;
use super::request::{Failure, get, told};
use crate::error::{Error, Result};

const VIEW: &str = "kubectl config view --minify shows what it consists of";
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// A Kubernetes cluster. Clones share the connection, the credentials and what was discovered.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    context: Option<String>,
    server: String,
    has_certificate: bool,
    client: RwLock<Client>,
    /// Whoever reads the credentials again does so for all.
    renewing: Mutex<()>,
    renewals: AtomicU32,
    kinds: RwLock<Option<Arc<Kinds>>>,
}

/// What the API server says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Version {
    /// For example `v1.34.4+k3s1`.
    #[serde(rename = "gitVersion")]
    pub git: String,
    /// For example `linux/amd64`.
    #[serde(default)]
    pub platform: String,
}

impl Inner {
    fn new(context: Option<String>, server: String, has_certificate: bool, client: Client) -> Self {
        let (client, kinds) = (RwLock::new(client), RwLock::new(None));
        Self {
            context,
            server,
            has_certificate,
            client,
            renewing: Mutex::default(),
            renewals: AtomicU32::new(0),
            kinds,
        }
    }
}

impl Cluster {
    /// Prepares the connection to the cluster of `context`, or of the kubeconfig's current context, or, without any
    /// kubeconfig, of the pod's service account. Nothing is sent yet, but an exec plugin of the kubeconfig may run.
    ///
    /// # Errors
    /// No kubeconfig, an unreadable one, an unknown context, or one other than the `expected` one.
    pub async fn connect(context: Option<&str>, expected: Option<&str>) -> Result<Self> {
        let (name, config) = configuration(context, expected).await?;
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let user = &config.auth_info;
        let has_certificate = user.client_certificate.is_some() || user.client_certificate_data.is_some();
        let client = client(config).await.map_err(|e| {
            Error::refused(format!("cannot prepare the connection to {server}")).because(told(e.as_ref())).hint(VIEW)
        })?;
        Ok(Self { inner: Arc::new(Inner::new(name, server, has_certificate, client)) })
    }

    /// What `client` leads to.
    #[cfg(test)]
    pub(super) fn of(client: Client) -> Self {
        Self { inner: Arc::new(Inner::new(None, "there".into(), false, client)) }
    }

    /// The kubeconfig context in use; `None` inside a pod.
    pub fn context(&self) -> Option<&str> {
        self.inner.context.as_deref()
    }

    /// URL of the API server.
    pub fn server(&self) -> &str {
        &self.inner.server
    }

    /// Whether a client certificate says who this is.
    pub(super) fn has_certificate(&self) -> bool {
        self.inner.has_certificate
    }

    /// Asks the API server for its version, once, and waits at most three seconds.
    ///
    /// # Errors
    /// Not reachable, a certificate that cannot be trusted, or credentials that are refused.
    pub async fn check(&self) -> Result<Version> {
        let answer = match tokio::time::timeout(CHECK_TIMEOUT, self.once(get("/version"))).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::silent(CHECK_TIMEOUT)),
        };
        let answer = answer.map_err(|failure| self.error("cannot use the cluster", failure))?;
        answer.json().map_err(|failure| self.error("cannot read the version of the cluster", failure))
    }

    pub(super) fn client(&self) -> Client {
        self.inner.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often the credentials were read again.
    pub(super) fn renewals(&self) -> u32 {
        self.inner.renewals.load(Ordering::SeqCst)
    }

    /// Reads the credentials again: tokens and certificates of a kubeconfig expire while a deploy runs. Those that were
    /// refused were read after `renewals`; when somebody has read them again since, there is nothing to do.
    pub(super) async fn renew(&self, renewals: u32) -> Result<()> {
        let _one_by_one = self.inner.renewing.lock().await;
        if self.renewals() != renewals {
            return Ok(());
        }
        let (_, config) = configuration(self.context(), None).await?;
        let fresh = client(config).await.map_err(|e| {
            Error::refused(format!("cannot renew the credentials for {}", self.server())).because(told(e.as_ref()))
        })?;
        *self.inner.client.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        self.inner.renewals.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    pub(super) fn known_kinds(&self) -> Option<Arc<Kinds>> {
        self.inner.kinds.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn remember_kinds(&self, kinds: Arc<Kinds>) {
        *self.inner.kinds.write().unwrap_or_else(PoisonError::into_inner) = Some(kinds);
    }
}

async fn configuration(context: Option<&str>, expected: Option<&str>) -> Result<(Option<String>, ClientConfig)> {
    let Some(kubeconfig) = kubeconfig()? else {
        return in_cluster(context.or(expected)).map(|config| (None, config));
    };
    let name = choose(&kubeconfig, context, expected)?;
    let options = KubeConfigOptions { context: Some(name.clone()), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|e| Error::refused(format!("the kubeconfig's context {name} cannot be used")).because(e).hint(VIEW))?;
    Ok((Some(name), config))
}

fn in_cluster(wanted: Option<&str>) -> Result<ClientConfig> {
    let config = Config::incluster().map_err(|_| no_kubeconfig())?;
    match wanted {
        None => Ok(config),
        Some(name) => Err(Error::refused(format!(
            "context {name} is wanted, but there is no kubeconfig here, only the service account of this pod"
        ))
        .hint("leave the context out of the command line and the configuration, or set KUBECONFIG")),
    }
}

fn no_kubeconfig() -> Error {
    let looked = kubeconfig_files().iter().map(|file| format!("looked at {}", file.display())).collect::<Vec<_>>();
    Error::refused("no kubeconfig was found, so there is no cluster to talk to")
        .details(looked)
        .hint("set KUBECONFIG to the cluster's kubeconfig, on k3s a copy of /etc/rancher/k3s/k3s.yaml")
}

/// The files as kubectl finds them; several are merged, the first one to say something wins.
fn kubeconfig_files() -> Vec<PathBuf> {
    match std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()) {
        Some(value) => std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect(),
        None => std::env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect(),
    }
}

/// Files that do not exist are passed over, as kubectl does.
fn kubeconfig() -> Result<Option<Kubeconfig>> {
    let files: Vec<PathBuf> = kubeconfig_files().into_iter().filter(|file| file.exists()).collect();
    if files.is_empty() {
        return Ok(None);
    }
    let merged = files.iter().try_fold(Kubeconfig::default(), |merged, file| read(file, merged));
    merged.map(Some)
}

fn read(file: &std::path::Path, merged: Kubeconfig) -> Result<Kubeconfig> {
    let unreadable = |e: KubeconfigError| {
        // The parser quotes the lines around its finding, and those may be credentials.
        let error = Error::refused(format!("the kubeconfig {} cannot be read", file.display()));
        let error = match e {
            KubeconfigError::Parse(_) => error.detail("it is not the YAML of a kubeconfig"),
            other => error.because(other),
        };
        error.hint(format!("kubectl --kubeconfig {} config view", file.display()))
    };
    Kubeconfig::read_from(file).and_then(|next| merged.merge(next)).map_err(unreadable)
}

fn choose(kubeconfig: &Kubeconfig, context: Option<&str>, expected: Option<&str>) -> Result<String> {
    let names: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
    let current = kubeconfig.current_context.as_deref().filter(|name| !name.is_empty());
    let Some(name) = context.or(current) else {
        return Err(Error::refused("the kubeconfig has no current context and none was named")
            .hint(format!("name one with --context; there is: {}", list(&names))));
    };
    if !names.contains(&name) {
        return Err(Error::refused(format!("the kubeconfig has no context called {name}")).hint(format!(
            "there is: {}; see: kubectl config get-contexts; KUBECONFIG may name the wrong file",
            list(&names)
        )));
    }
    match expected {
        Some(expected) if expected != name => Err(wrong_context(name, expected)),
        _ => Ok(name.to_owned()),
    }
}

fn wrong_context(name: &str, expected: &str) -> Error {
    Error::refused(format!("the configuration is for the context {expected}, but {name} is in use"))
        .hint(format!("run with --context {expected}, or: kubectl config use-context {expected}"))
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none at all".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn kubeconfig(current: &str) -> Kubeconfig {
        let context = |name| format!("- name: {name}\n  context: {{cluster: c, user: u}}\n");
        Kubeconfig::from_yaml(&format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {current}\ncontexts:\n{}{}",
            context("home"),
            context("prod")
        ))
        .expect("kubeconfig")
    }

    #[test]
    fn the_named_context_goes_before_the_current_one() {
        assert_eq!(choose(&kubeconfig("home"), None, None).expect("current"), "home");
        assert_eq!(choose(&kubeconfig("home"), Some("prod"), Some("prod")).expect("named"), "prod");
    }

    #[test]
    fn a_context_that_is_unknown_or_not_the_expected_one_is_refused_by_name() {
        let unknown = choose(&kubeconfig("home"), Some("prdo"), None).expect_err("unknown");
        assert!(unknown.message.contains("prdo") && unknown.hints[0].contains("home, prod"), "{unknown:?}");
        let other = choose(&kubeconfig("home"), None, Some("prod")).expect_err("other");
        assert!(other.message.contains("home") && other.message.contains("prod"), "{other:?}");
        let none = choose(&kubeconfig("''"), None, None).expect_err("none");
        assert!(none.hints[0].contains("home, prod"), "{none:?}");
    }

    #[tokio::test]
    async fn an_answer_that_does_not_end_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.expect("a connection");
            assert!(connection.read(&mut [0; 4096]).await.expect("a request") > 0);
            let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
            while connection.write_all(&bytes).await.is_ok() {
                bytes = vec![b' '; 1 << 20];
            }
        });
        let config = ClientConfig::new(format!("http://{address}").parse().expect("an address"));
        let error = Cluster::of(client(config).await.expect("a client")).check().await.expect_err("too much");
        assert_eq!(error.causes(), ["the answer is larger than 64 MiB"]);
    }

    async fn refused_plugin(script: &str) -> String {
        let kubeconfig = Kubeconfig::from_yaml(&format!(
            "clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1'}}}}]\ncontexts: [{{name: x, context: {{cluster: c, \
             user: u}}}}]\nusers: [{{name: u, user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: sh, \
             args: [-c, '{script}'], env: [{{name: PLUGIN_SECRET, value: made-up-env}}], interactiveMode: Never}}}}}}]\n"
        ));
        let options = KubeConfigOptions { context: Some("x".to_owned()), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig.expect("a kubeconfig"), &options).await;
        told(client(config.expect("a context")).await.err().expect("no credentials").as_ref())
    }

    #[tokio::test]
    async fn what_a_login_plugin_prints_is_not_repeated() {
        let broken = refused_plugin("echo {status: {token: made-up-token").await;
        let failed = refused_plugin("echo made-up-token; echo log in first >&2; exit 3").await;
        assert!(!format!("{broken}{failed}").contains("made-up"), "{broken} {failed}");
        assert!(broken.contains("are no credentials"), "{broken}");
        assert!(failed.contains("(exit status: 3): log in first"), "{failed}");
    }

    /// What it names is neither read nor run here: those are the person's own files and programs. How far aliases may
    /// multiply is left to the client's parser.
    #[test]
    fn any_input_is_read_or_refused() {
        let samples = [
            "apiVersion: v1\nkind: Config\ncurrent-context: home\npreferences: {}\nclusters:\n- name: c\n  cluster: \
             {server: 'https://127.0.0.1:6443', certificate-authority-data: QQ==, insecure-skip-tls-verify: false}\n\
             contexts:\n- name: home\n  context: {cluster: c, user: u, namespace: shop, extensions: []}\nusers:\n- name: u\n  \
             user: {token: made-up, exec: {apiVersion: client.authentication.k8s.io/v1, command: x, args: [a], env: \
             [{name: A, value: b}], interactiveMode: Never}}\n"
                .to_owned(),
            format!("contexts:\n{}", "- name: a\n  context: {cluster: c}\n".repeat(3000)),
            "[".repeat(50_000),
            "- ".repeat(30_000),
            "---\na: 1\n".repeat(2000),
        ];
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("config");
        let words = ["clusters:\n", "contexts:\n- name: ", "users:\n", "exec: {", "current-context: ", "---\n"];
        crate::fuzz::reader(module_path!(), &samples, &words, |input| {
            std::fs::write(&file, input).expect("written");
            let read = read(&file, Kubeconfig::default()).map(|kubeconfig| choose(&kubeconfig, None, Some("prod")));
            let (Ok(Err(error)) | Err(error)) = read else { return };
            assert!(!error.hints.is_empty());
        });
    }
}
