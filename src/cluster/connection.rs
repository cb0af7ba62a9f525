//! The connection to the API server: one for all requests where it speaks HTTP/2, as API servers do.

use std::time::Duration;

use http::HeaderValue;
use http::header::USER_AGENT;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::{Client, Config};
use rustls::pki_types::ServerName;
use tower::{BoxError, ServiceBuilder};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// All requests share one connection, so one that died silently has to be noticed before they run out of patience, and
/// before the lock does.
const PING_EVERY: Duration = Duration::from_secs(2);
/// The answer waits behind whatever comes on a slow line.
const PING_TIMEOUT: Duration = Duration::from_secs(4);

/// A client of the API server that `config` names. Whatever the kubeconfig runs to log in runs on a thread of its own: it may
/// wait for a person, and the lock of a deploy has to be kept meanwhile. There are no retries in it, as those of the library repeat 429, 503
/// and 504 for minutes and nothing else, and no read timeout, which would end watches; every call has its own instead.
pub(super) async fn client(config: Config) -> Result<Client, BoxError> {
    tokio::task::spawn_blocking(move || build(config)).await?
}

fn build(mut config: Config) -> Result<Client, BoxError> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = None;
    config.write_timeout = Some(WRITE_TIMEOUT);
    config.default_retry = false;
    // Audit logs name it.
    config.headers.push((USER_AGENT, HeaderValue::from_static(concat!("hdeploy/", env!("CARGO_PKG_VERSION")))));
    // The library knows how to go through a proxy, and knows HTTP/1.1 only.
    if config.proxy_url.is_some() { Ok(Client::try_from(config)?) } else { direct(&config) }
}

fn direct(config: &Config) -> Result<Client, BoxError> {
    let https = HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_or_http();
    let https = match &config.tls_server_name {
        Some(name) => {
            https.with_server_name_resolver(FixedServerNameResolver::new(ServerName::try_from(name.clone())?))
        }
        None => https,
    };
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let mut connector = TimeoutConnector::new(https.enable_all_versions().wrap_connector(tcp));
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_write_timeout(config.write_timeout);
    let transport: legacy::Client<_, Body> = legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(transport);
    Ok(ClientBuilder::new(service, config.default_namespace.clone()).build())
}
