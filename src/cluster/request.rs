//! Sending requests: with a timeout each, with retries where a retry can help, and with the warnings that the API
//! server puts into response headers.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use jiff::Timestamp;
use kube::client::{AuthError, Body};
use kube::core::Status;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use super::client::Cluster;
use crate::text::{beginning, both_ends};

pub(super) type Request = http::Request<Vec<u8>>;

/// Answers of a server that has an answer: lists of a namespace are the largest.
const LARGEST: usize = 64 << 20;
const READ_TIMEOUT: Duration = Duration::from_secs(10);
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_FOR: Duration = Duration::from_mins(1);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A successful answer.
pub(super) struct Answer {
    pub body: Bytes,
    /// Texts of the `Warning` headers.
    pub warnings: Vec<String>,
    /// When the API server answered, by its own clock; whole seconds.
    pub date: Option<Timestamp>,
}

/// Why there is no successful answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// No answer, or one that is not the API server's. The chain of causes, outermost first.
    Transport(String),
    /// The API server's own refusal.
    Status(Box<Status>),
}

impl Answer {
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        // The parser's message would quote the body.
        serde_json::from_slice(&self.body).map_err(|e| {
            Failure::Transport(format!(
                "the answer is not what an API server sends (line {}, {:?})",
                e.line(),
                e.classify()
            ))
        })
    }
}

impl Failure {
    pub fn silent(after: Duration) -> Self {
        Self::Transport(format!("no answer within {} s", after.as_secs()))
    }

    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Transport(_) => None,
            Self::Status(status) => Some(status.code),
        }
    }

    /// The path itself is unknown to the API server: its kind is not served (any more, or yet).
    pub fn is_unserved_path(&self) -> bool {
        matches!(self, Self::Status(status) if status.code == 404 && status.message == "404 page not found")
    }

    /// Whether the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport(chain) => !super::trouble::is_lasting(chain),
            Self::Status(status) => match status.code {
                429 | 502..=504 => true,
                409 => status.message.contains("resourcequotas"),
                500 => status.reason == "InternalError" || status.message.contains("etcdserver:"),
                _ => false,
            },
        }
    }

    fn pause(&self, usual: Duration) -> Duration {
        match self {
            Self::Status(status) => {
                let asked = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
                usual.max(Duration::from_secs(asked.into())).min(LONGEST_PAUSE)
            }
            Self::Transport(_) => usual,
        }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Status(status),
            other => Self::Transport(told(&other)),
        }
    }
}

/// The error with its causes, outermost first. Of a login plugin's output only its own complaint is repeated: what it
/// prints otherwise is credentials.
pub(super) fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = || std::iter::successors(Some(error), |error| error.source());
    if let Some(plugin) = causes().find_map(|cause| plugin(cause.downcast_ref()?)) {
        return plugin;
    }
    let mut texts: Vec<String> = Vec::new();
    for text in causes().map(ToString::to_string) {
        if !texts.iter().any(|said| said.contains(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

fn plugin(error: &AuthError) -> Option<String> {
    match error {
        AuthError::AuthExecRun { out, .. } => {
            let complaint = both_ends(String::from_utf8_lossy(&out.stderr).trim(), 300);
            Some(format!("auth exec: the kubeconfig's login plugin failed ({}): {complaint}", out.status))
        }
        AuthError::AuthExecParse(_) => {
            Some("auth exec: what the kubeconfig's login plugin printed are no credentials".to_owned())
        }
        _ => None,
    }
}

/// A GET of `path`, which may carry a query.
pub(super) fn get(path: &str) -> Request {
    bare(Method::GET, path, None)
}

/// A POST of `body` as JSON.
pub(super) fn post(path: &str, body: &serde_json::Value) -> Request {
    bare(Method::POST, path, Some(body))
}

/// A PUT of `body` as JSON.
pub(super) fn put(path: &str, body: &serde_json::Value) -> Request {
    bare(Method::PUT, path, Some(body))
}

/// A PATCH with `body`; its form is the caller's to name.
pub(super) fn patch(path: &str, body: &serde_json::Value) -> Request {
    bare(Method::PATCH, path, Some(body))
}

/// A DELETE with `body` as its options.
pub(super) fn delete(path: &str, body: &serde_json::Value) -> Request {
    bare(Method::DELETE, path, Some(body))
}

fn bare(method: Method, path: &str, body: Option<&serde_json::Value>) -> Request {
    let mut request = Request::new(body.map(|body| body.to_string().into_bytes()).unwrap_or_default());
    *request.method_mut() = method;
    // Paths are made of names that the API server gave or accepted; any other becomes the root, which answers 404.
    *request.uri_mut() = path.parse().unwrap_or_default();
    let json = http::HeaderValue::from_static("application/json");
    request.headers_mut().insert(http::header::CONTENT_TYPE, json.clone());
    request.headers_mut().insert(http::header::ACCEPT, json);
    request
}

impl Cluster {
    /// Sends `request` until it succeeds, is refused for good, or a minute has passed.
    pub(super) async fn call(&self, request: Request) -> Result<Answer, Failure> {
        let end = Instant::now() + RETRY_FOR;
        let mut pause = FIRST_PAUSE;
        loop {
            let failure = match self.once(request.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let wait = failure.pause(pause);
            if !failure.is_transient() || Instant::now() + wait > end {
                return Err(failure);
            }
            sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Sends `request` once; with fresh credentials a second time when the first ones are refused.
    pub(super) async fn once(&self, request: Request) -> Result<Answer, Failure> {
        let renewals = self.renewals();
        match self.attempt(request.clone()).await {
            Err(failure) if failure.code() == Some(401) && Box::pin(self.renew(renewals)).await.is_ok() => {
                self.attempt(request).await
            }
            result => result,
        }
    }

    async fn attempt(&self, request: Request) -> Result<Answer, Failure> {
        let patience = if request.method() == Method::GET { READ_TIMEOUT } else { WRITE_TIMEOUT };
        timeout(patience, Box::pin(self.exchange(request))).await.unwrap_or(Err(Failure::silent(patience)))
    }

    async fn exchange(&self, request: Request) -> Result<Answer, Failure> {
        let response = self.client().send(request.map(Body::from)).await?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, LARGEST).collect().await.map_err(|error| broken(error.as_ref()))?.to_bytes();
        if !parts.status.is_success() {
            return Err(Failure::Status(Box::new(status(parts.status.as_u16(), &body))));
        }
        Ok(Answer { body, warnings: warnings(&parts.headers), date: date(&parts.headers) })
    }
}

fn broken(error: &(dyn std::error::Error + Send + Sync + 'static)) -> Failure {
    if error.is::<LengthLimitError>() {
        return Failure::Transport(format!("the answer is larger than {} MiB", LARGEST >> 20));
    }
    Failure::Transport(told(error))
}

/// The API server's `Status`; proxies and unknown paths answer with plain text instead.
pub(super) fn status(code: u16, body: &[u8]) -> Status {
    let mut status = serde_json::from_slice(body)
        .unwrap_or_else(|_| Status::failure(&beginning(String::from_utf8_lossy(body).trim(), 200), ""));
    status.code = code;
    status
}

fn date(headers: &http::HeaderMap) -> Option<Timestamp> {
    let text = headers.get(http::header::DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::parse(text).ok().map(|time| time.timestamp())
}

fn warnings(headers: &http::HeaderMap) -> Vec<String> {
    headers.get_all(http::header::WARNING).iter().filter_map(|value| warning(value.to_str().ok()?)).collect()
}

/// The text of `299 - "text"`, as RFC 7234 writes it.
pub(super) fn warning(header: &str) -> Option<String> {
    let (_, quoted) = header.split_once('"')?;
    let (text, _) = quoted.rsplit_once('"')?;
    Some(text.replace("\\\"", "\"").replace("\\\\", "\\"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::redact::{Redactor, leaks};

    fn failure(code: u16, reason: &str, message: &str) -> Failure {
        Failure::Status(Box::new(Status { code, ..Status::failure(message, reason) }))
    }

    #[test]
    fn only_what_can_pass_by_itself_is_tried_again() {
        for (code, reason, message, transient) in [
            (429, "TooManyRequests", "", true),
            (503, "", "apiserver not ready", true),
            (500, "InternalError", "failed calling webhook", true),
            (500, "", "etcdserver: request timed out", true),
            (500, "", "failed to create typed patch object (/g; apps/v1, Kind=Deployment): .spec.x", false),
            (409, "Conflict", "Operation cannot be fulfilled on resourcequotas \"q\": modified", true),
            (409, "Conflict", "Apply failed with 1 conflict", false),
            (404, "NotFound", "", false),
            (422, "Invalid", "", false),
        ] {
            assert_eq!(failure(code, reason, message).is_transient(), transient, "{code} {reason} {message}");
        }
        assert!(Failure::Transport("Connection refused".to_owned()).is_transient());
        assert!(!Failure::Transport("invalid peer certificate: UnknownIssuer".to_owned()).is_transient());
    }

    /// A cluster that answers `code` at once, or never; and how often it was asked.
    fn cluster(code: Option<u16>) -> (Cluster, Arc<AtomicU32>) {
        let asked = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&asked);
        let service = tower::service_fn(move |_: http::Request<Body>| {
            count.fetch_add(1, Ordering::Relaxed);
            async move {
                let Some(code) = code else { return std::future::pending().await };
                let response = http::Response::builder().status(code).body(Body::empty());
                Ok::<_, std::convert::Infallible>(response.expect("an answer"))
            }
        });
        (Cluster::of(kube::Client::new(service, "default")), asked)
    }

    #[tokio::test(start_paused = true)]
    async fn b1_a_refusal_for_now_is_repeated_for_a_minute_and_a_lasting_one_is_not() {
        for (code, least, most) in [(503, 10, 20), (500, 1, 1), (422, 1, 1)] {
            let (cluster, asked) = cluster(Some(code));
            let began = Instant::now();
            let failure = cluster.call(patch("/apis/x", &serde_json::json!({}))).await.err().expect("a failure");
            assert_eq!(failure.code(), Some(code));
            let tries = asked.load(Ordering::Relaxed);
            assert!((least..=most).contains(&tries), "{code}: {tries} tries");
            let lasted = began.elapsed();
            assert!(lasted <= RETRY_FOR && (tries == 1 || lasted + LONGEST_PAUSE > RETRY_FOR), "{code}: {lasted:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn b2_a_read_waits_ten_seconds_for_its_answer_and_a_write_thirty() {
        let nothing = serde_json::json!({});
        let writes = [post("/x", &nothing), put("/x", &nothing), patch("/x", &nothing), delete("/x", &nothing)];
        for (request, seconds) in writes.into_iter().map(|write| (write, 30)).chain([(get("/x"), 10)]) {
            let (cluster, asked) = cluster(None);
            let began = Instant::now();
            assert!(cluster.once(request).await.is_err_and(|failure| failure.is_transient()));
            assert_eq!((began.elapsed().as_secs(), asked.load(Ordering::Relaxed)), (seconds, 1));
        }
    }

    #[test]
    fn warnings_are_taken_out_of_their_quotes() {
        let header = r#"299 - "would violate PodSecurity \"restricted:latest\": x""#;
        assert_eq!(warning(header).as_deref(), Some(r#"would violate PodSecurity "restricted:latest": x"#));
        assert_eq!(warning("299"), None);
    }

    #[test]
    fn the_date_of_an_answer_is_read() {
        let headers = [(http::header::DATE, "Sat, 21 Nov 2026 08:15:00 GMT".parse().expect("a header"))];
        let date = date(&headers.into_iter().collect()).expect("a date");
        assert_eq!(date.to_string(), "2026-11-21T08:15:00Z");
    }

    #[test]
    fn a_secret_that_is_cut_in_two_does_not_come_out() {
        let secret = "MADE-UP/SECRET+0123456789";
        let redactor = Redactor::default();
        redactor.learn(secret);
        for length in 150..220 {
            let message = status(502, format!("{}{secret}, and so on", "x".repeat(length)).as_bytes()).message;
            assert!(!leaks(&redactor.mask(&message), secret), "{message}");
        }
    }

    #[test]
    fn an_answer_that_is_no_status_keeps_its_code_and_text() {
        let status = status(404, b"404 page not found\n");
        assert!(Failure::Status(Box::new(status)).is_unserved_path());
    }
}
