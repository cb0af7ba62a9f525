//! One request, sent until it is answered.

use std::error::Error as StdError;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, LINK, LOCATION};
use reqwest::{Certificate, Client, Method, StatusCode, Url};

use super::trouble;
use crate::error::{Error, Result};
use crate::model::Digest;

const CONNECT: Duration = Duration::from_secs(3);
const READ: Duration = Duration::from_secs(30);
/// What lies between the tries of a request without effect.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(600)];
/// How long one exchange may take, for registries that send a byte now and then.
const WHOLE: Duration = Duration::from_mins(1);
/// Answers are manifests, configurations and lists: anything larger, in bytes, is not what was asked for. Registries take
/// manifests of up to this size.
const LARGEST: usize = 4 << 20;

const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, \
    application/json, */*";

/// Connections to registries.
pub struct Transport {
    client: Client,
}

/// What is sent.
pub struct Request<'a> {
    pub method: Method,
    pub url: Url,
    pub authorization: Option<String>,
    /// Media type and content.
    pub body: Option<(&'a str, Bytes)>,
}

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Who answered: another host than the one that was asked when it redirected.
    pub url: Url,
}

/// Why nothing came back.
enum Broken {
    Transport(reqwest::Error),
    TooLarge,
}

impl Transport {
    /// A client that trusts the platform's roots and those in the file `ca`.
    pub fn new(ca: Option<&Path>) -> Result<Self> {
        let builder = Client::builder()
            .user_agent(concat!("hdeploy/", env!("CARGO_PKG_VERSION")))
            .referer(false)
            .connect_timeout(CONNECT)
            .read_timeout(READ)
            .timeout(WHOLE)
            .tls_certs_merge(ca.map_or_else(|| Ok(Vec::new()), certificates)?);
        let client = builder.build().map_err(|error| Error::refused("the HTTP client did not start").because(error))?;
        Ok(Self { client })
    }

    /// Sends `request`; one without effect up to three times, when the registry or the network stumbles.
    ///
    /// # Errors
    /// When no answer came, or one that is too large. A refusal by the registry is an answer.
    pub async fn send(&self, request: &Request<'_>) -> Result<Answer> {
        let harmless = matches!(request.method, Method::GET | Method::HEAD);
        for pause in PAUSES.iter().filter(|_| harmless) {
            match self.once(request).await {
                Ok(answer) if stumbles(answer.status) => {}
                Err(Broken::Transport(error)) if passes(&error) => {}
                done => return done.map_err(|broken| broken.at(&request.url)),
            }
            tokio::time::sleep(*pause).await;
        }
        self.once(request).await.map_err(|broken| broken.at(&request.url))
    }

    async fn once(&self, request: &Request<'_>) -> Result<Answer, Broken> {
        let mut sent = self.client.request(request.method.clone(), request.url.clone()).header(ACCEPT, MANIFESTS);
        if let Some(value) = &request.authorization {
            sent = sent.header(AUTHORIZATION, value);
        }
        if let Some((media_type, bytes)) = &request.body {
            sent = sent.header(CONTENT_TYPE, *media_type).body(bytes.clone());
        }
        let mut response = sent.send().await?;
        let (status, url) = (response.status(), response.url().clone());
        let headers = std::mem::take(response.headers_mut());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST {
                return Err(Broken::TooLarge);
            }
        }
        Ok(Answer { status, headers, body: body.into(), url })
    }
}

impl From<reqwest::Error> for Broken {
    fn from(error: reqwest::Error) -> Self {
        Self::Transport(error)
    }
}

impl Broken {
    fn at(self, url: &Url) -> Error {
        match self {
            Self::Transport(error) => trouble::unreachable(url, error),
            Self::TooLarge => trouble::too_large(url, LARGEST >> 20),
        }
    }
}

fn certificates(file: &Path) -> Result<Vec<Certificate>> {
    let unusable = |error: Box<dyn StdError + Send + Sync>| {
        Error::refused(format!("the registry's authority in {} cannot be used", file.display()))
            .because(error)
            .hint("registry.ca names a file with one or more certificates in PEM")
    };
    let pem = fs::read(file).map_err(|error| unusable(error.into()))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(error.into()))?;
    if certificates.is_empty() { Err(unusable("it holds no certificate".into())) } else { Ok(certificates) }
}

fn stumbles(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// Whether it may be over in a second. A wrong name or certificate is not, and whoever waited long enough for an answer
/// waits no longer.
fn passes(error: &reqwest::Error) -> bool {
    !(error.is_timeout() || error.is_redirect() || error.is_builder()) && (!error.is_connect() || is_turned_away(error))
}

fn is_turned_away(error: &reqwest::Error) -> bool {
    let mut next = error.source();
    while let Some(cause) = next {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset)) {
            return true;
        }
        next = cause.source();
    }
    false
}

impl Answer {
    fn text(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// What the registry says that the content hashes to.
    pub fn digest(&self) -> Option<Digest> {
        self.text(&HeaderName::from_static("docker-content-digest")).and_then(|text| text.parse().ok())
    }

    /// The media type, without parameters.
    pub fn content_type(&self) -> Option<String> {
        self.text(&CONTENT_TYPE).and_then(|text| text.split(';').next()).map(|text| text.trim().to_owned())
    }

    /// The place that `Location` names, on the host that answered.
    pub fn location(&self) -> Option<Url> {
        self.text(&LOCATION).and_then(|text| self.here(text))
    }

    /// The page after this one, on the host that answered.
    pub fn next_page(&self) -> Option<Url> {
        let links = self.headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
        let next = links.flat_map(|text| text.split(',')).find(|link| link.contains("rel=\"next\""))?;
        self.here(next.split_once('<')?.1.split_once('>')?.0)
    }

    /// Path and query of `reference` on the origin that answered. Behind a proxy registries name addresses with another
    /// scheme or port than the one they are reached by; and no credentials follow them to another host.
    fn here(&self, reference: &str) -> Option<Url> {
        let named = self.url.join(reference).ok().filter(|named| named.host() == self.url.host())?;
        let mut here = self.url.clone();
        here.set_path(named.path());
        here.set_query(named.query());
        Some(here)
    }

    /// Whether the one who was asked at `url` answered it.
    pub fn is_from(&self, url: &Url) -> bool {
        self.url.origin() == url.origin()
    }

    /// Whether this answer to `/v2/` can be a registry's.
    pub fn is_of_a_registry(&self) -> bool {
        let names_itself = self.headers.contains_key("docker-distribution-api-version");
        match self.status {
            StatusCode::OK => names_itself || self.content_type().is_none_or(|text| text == "application/json"),
            StatusCode::UNAUTHORIZED => names_itself || super::auth::challenge(&self.headers).is_some(),
            _ => names_itself,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(name: HeaderName, value: &str) -> Answer {
        let headers = [(name, value.parse().expect("a header"))].into_iter().collect();
        let url = Url::parse("https://registry.test:5000/v2/a/tags/list?n=2").expect("an address");
        Answer { status: StatusCode::OK, headers, body: Bytes::new(), url }
    }

    fn location(value: &str) -> Option<String> {
        answer(LOCATION, value).location().map(String::from)
    }

    #[test]
    fn a_place_that_the_registry_names_is_looked_for_on_the_registry_itself() {
        let here = Some("https://registry.test:5000/v2/a/blobs/uploads/1?state=x".to_owned());
        assert_eq!(location("/v2/a/blobs/uploads/1?state=x"), here);
        assert_eq!(location("http://registry.test/v2/a/blobs/uploads/1?state=x"), here);
        assert_eq!(location("https://elsewhere.test/v2/a/blobs/uploads/1"), None);
    }

    #[test]
    fn the_next_page_is_the_one_that_the_link_names() {
        let next = |value: &str| answer(LINK, value).next_page().map(String::from);
        let page = Some("https://registry.test:5000/v2/a/tags/list?next_page=k3".to_owned());
        assert_eq!(next("</v2/a/tags/list?next_page=k3>; rel=\"next\""), page);
        assert_eq!(next("</v2/a/tags/list?n=1>; rel=\"prev\""), None);
    }
}
