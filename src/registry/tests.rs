//! What a well-behaved registry cannot be made to do, from a script on loopback. Everything else is seen against real
//! registries.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::Credentials;
use crate::fuzz;
use crate::redact::{Secret, leaks};

/// Requests as they came in: first line, then what stood in `Authorization`.
type Seen = Arc<Mutex<Vec<String>>>;

/// A server that answers the first line and the authorization of a request with `script`; its `host:port`.
async fn server(script: impl Fn(&str) -> String + Send + 'static) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let asked = request(&mut connection).await;
            let answer = script(&asked);
            log.lock().expect("the log").push(asked);
            let _ = connection.write_all(answer.as_bytes()).await;
        }
    });
    (host, seen)
}

async fn request(connection: &mut TcpStream) -> String {
    let (mut text, mut buffer) = (String::new(), [0; 4096]);
    while !text.contains("\r\n\r\n") {
        let count = connection.read(&mut buffer).await.unwrap_or(0);
        if count == 0 {
            break;
        }
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    let first = text.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1");
    let authorization = text.lines().find_map(|line| line.strip_prefix("authorization: ")).unwrap_or("-");
    format!("{first} {authorization}")
}

fn answer(status: &str, headers: &[&str], body: &str) -> String {
    let length = format!("content-length: {}", body.len());
    let lines = [&["connection: close", &length], headers].concat().join("\r\n");
    format!("HTTP/1.1 {status}\r\n{lines}\r\n\r\n{body}")
}

fn requests(seen: &Seen) -> Vec<String> {
    seen.lock().expect("the log").clone()
}

fn client(server: &str) -> (Registry, Repository) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let credentials = Credentials { username: "robot".into(), password: Secret::new("made-up") };
    let config = config::Registry {
        server: server.to_owned(),
        owner: "shop".into(),
        credentials: Some(credentials),
        ca: None,
        plain_http: true,
    };
    let repositories = vec![repository(server, "api"), repository(server, "web")];
    let registry = Registry::new(&config, repositories, &Redactor::default()).expect("a client");
    (registry, repository(server, "api"))
}

fn repository(server: &str, name: &str) -> Repository {
    Repository { registry: server.to_owned(), path: format!("shop/{name}") }
}

fn latest() -> Tag {
    "latest".parse().expect("a tag")
}

const BASIC: &str = "www-authenticate: Basic realm=\"x\"";

#[tokio::test]
async fn bytes_that_are_not_what_the_digest_says_are_refused() {
    let (host, _) = server(|_| answer("200 OK", &[], "{\"config\": {}}")).await;
    let (registry, repository) = client(&host);
    let asked = Reference::Digest(Digest::of(b"other"));
    let error = registry.resolve(&repository, &asked).await.expect_err("other bytes");
    assert!(error.message.contains("holds other bytes than"), "{error}");
}

#[tokio::test]
async fn a_manifest_that_the_registry_takes_under_another_digest_is_refused() {
    let wrong = format!("docker-content-digest: {}", Digest::of(b"other"));
    let (host, _) = server(move |asked| match asked.split(' ').next() {
        Some("PUT") => answer("201 Created", &[&wrong], ""),
        Some("HEAD") => answer("404 Not Found", &[], ""),
        _ => answer("200 OK", &[], "{\"config\": {}}"),
    })
    .await;
    let (registry, repository) = client(&host);
    let error = registry.tag(&repository, &Digest::of(b"{\"config\": {}}"), &latest()).await.expect_err("other");
    assert!(error.message.contains("holds other bytes than"), "{error}");
}

#[tokio::test]
async fn only_requests_without_effect_are_sent_again() {
    let (host, seen) = server(|_| answer("503 Service Unavailable", &[], "")).await;
    let (registry, repository) = client(&host);
    assert!(registry.head(&repository, &latest()).await.is_err());
    assert_eq!(requests(&seen).len(), 3);
    assert!(registry.session.send(Method::POST, &repository, "x", None).await.is_ok());
    assert_eq!(requests(&seen).len(), 4);
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once() {
    let host = Arc::new(Mutex::new(String::new()));
    let (realm, given) = (Arc::clone(&host), Mutex::new(0));
    let (name, seen) = server(move |asked| {
        let challenge = format!("www-authenticate: Bearer realm=\"http://{}/token\"", realm.lock().expect("set"));
        if asked.starts_with("GET /token") {
            let mut given = given.lock().expect("a number");
            *given += 1;
            answer("200 OK", &[], &format!("{{\"token\": \"t{given}\"}}"))
        } else if asked.ends_with("Bearer t2") {
            answer("404 Not Found", &[], "")
        } else {
            answer("401 Unauthorized", &[&challenge, BASIC], "")
        }
    })
    .await;
    host.lock().expect("unset").clone_from(&name);
    let (registry, repository) = (client(&name).0, repository(&name, "one-of-its-own"));
    assert!(registry.head(&repository, &latest()).await.is_err(), "the first token is refused");
    assert_eq!(registry.head(&repository, &latest()).await.expect("the second is not"), None);
    let tokens = requests(&seen).iter().filter(|line| line.starts_with("GET /token?scope=")).count();
    assert_eq!(tokens, 2);
}

/// A registry whose token service has a word for each token, made of the scopes that it was asked for; and which words of
/// it open the repository of a request, by its path.
async fn registry_with_tokens(opens: fn(path: &str, token: &str) -> bool) -> (String, Seen) {
    let host = Arc::new(Mutex::new(String::new()));
    let realm = Arc::clone(&host);
    let (name, seen) = server(move |asked| {
        let challenge = format!("www-authenticate: Bearer realm=\"http://{}/token\"", realm.lock().expect("set"));
        let path = asked.split(' ').nth(1).expect("a path");
        let token = asked.rsplit(' ').next().expect("a token");
        if let Some((_, query)) = path.split_once("/token?") {
            let scopes = query.split('&').filter_map(|pair| pair.strip_prefix("scope=repository%3Ashop%2F"));
            let word = scopes.map(|scope| scope.replace("%3A", "-")).collect::<Vec<_>>().join("_");
            if opens("token", &word) {
                answer("200 OK", &[], &format!("{{\"token\": \"{word}\"}}"))
            } else {
                answer("403 Forbidden", &[], "")
            }
        } else if opens(path, token) {
            answer("404 Not Found", &[], "")
        } else {
            answer("401 Unauthorized", &[&challenge], "")
        }
    })
    .await;
    host.lock().expect("unset").clone_from(&name);
    (name, seen)
}

fn tokens(seen: &Seen) -> usize {
    requests(seen).iter().filter(|line| line.starts_with("GET /token?")).count()
}

#[tokio::test]
async fn one_token_reads_all_repositories_and_writes_none() {
    let (name, seen) = registry_with_tokens(|path, token| match token {
        "api-pull_web-pull" => !path.contains("uploads"),
        "api-pull%2Cpush" => path == "token" || path.starts_with("/v2/shop/api/"),
        _ => false,
    })
    .await;
    let (registry, api) = client(&name);
    for repository in [&api, &repository(&name, "web"), &api] {
        assert_eq!(registry.head(repository, &latest()).await.expect("open"), None);
    }
    assert_eq!(tokens(&seen), 1);
    assert!(registry.prove_push(&api).await.is_err(), "404 for an upload");
    assert_eq!(tokens(&seen), 2, "one with the right to push");
}

#[tokio::test]
async fn each_repository_gets_a_token_of_its_own_where_one_for_all_is_refused_or_does_not_open_them() {
    for opens in [
        (|path, token| matches!(token, "api-pull" | "web-pull") && (path == "token" || path.contains(&token[..3])))
            as fn(&str, &str) -> bool,
        |path, token| path == "token" || token.len() == 8 && path.contains(&token[..3]),
    ] {
        let (name, seen) = registry_with_tokens(opens).await;
        let (registry, api) = client(&name);
        for repository in [&api, &repository(&name, "web"), &api] {
            assert_eq!(registry.head(repository, &latest()).await.expect("open"), None);
        }
        assert_eq!(tokens(&seen), 3, "one in vain");
    }
}

#[tokio::test]
async fn the_password_goes_to_no_realm_without_tls() {
    let (elsewhere, seen) = server(|_| answer("200 OK", &[], "{\"token\": \"t\"}")).await;
    let challenge = format!("www-authenticate: Bearer realm=\"http://{elsewhere}/token\"");
    let (host, _) = server(move |_| answer("401 Unauthorized", &[&challenge], "")).await;
    let (registry, repository) = client(&host);
    let error = registry.prove_push(&repository).await.expect_err("a realm in plain");
    assert!(error.message.contains(&format!("http://{elsewhere}, unencrypted")), "{error}");
    assert_eq!(requests(&seen), Vec::<String>::new());
}

#[tokio::test]
async fn a_host_that_is_redirected_to_gets_no_credentials_even_when_it_asks() {
    let (elsewhere, seen) = server(|_| answer("401 Unauthorized", &[BASIC], "")).await;
    let place = format!("location: http://{elsewhere}/blob");
    let (host, _) = server(move |asked| {
        let known = asked.contains("Basic ");
        if known { answer("307 Moved", &[&place], "") } else { answer("401 Unauthorized", &[BASIC], "") }
    })
    .await;
    let (registry, repository) = client(&host);
    assert!(registry.tags(&repository).await.is_err());
    assert_eq!(requests(&seen), ["GET /blob -"]);
}

#[tokio::test]
async fn an_upload_is_cancelled_on_the_registry_wherever_it_says_that_it_lies() {
    let (elsewhere, seen_elsewhere) = server(|_| answer("204 No Content", &[], "")).await;
    let place = format!("location: http://{elsewhere}/v2/shop/api/blobs/uploads/1");
    let (host, seen) = server(move |asked| {
        let known = asked.contains("Basic ");
        if known { answer("202 Accepted", &[&place], "") } else { answer("401 Unauthorized", &[BASIC], "") }
    })
    .await;
    let (registry, repository) = client(&host);
    registry.prove_push(&repository).await.expect("accepted");
    assert_eq!(requests(&seen_elsewhere), Vec::<String>::new());
    let last = requests(&seen).pop().expect("requests");
    assert!(last.starts_with("DELETE /v2/shop/api/blobs/uploads/1 Basic "), "{last}");
}

#[tokio::test]
async fn tags_are_followed_by_links_until_nothing_new_comes() {
    let (host, seen) = server(|asked| {
        let (body, next) = if asked.contains("page=2") { ("[\"b\", \"C\"]", 3) } else { ("[\"a\", \"b\"]", 2) };
        let body = if asked.contains("page=3") { "null" } else { body };
        let link = format!("link: </v2/shop/api/tags/list?page={next}>; rel=\"next\"");
        answer("200 OK", &[&link], &format!("{{\"tags\": {body}}}"))
    })
    .await;
    let (registry, repository) = client(&host);
    let tags = registry.tags(&repository).await.expect("tags");
    assert_eq!(tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(requests(&seen).len(), 3);
}

#[tokio::test]
async fn what_answers_like_a_web_site_is_no_registry() {
    let (host, _) = server(|_| answer("200 OK", &["content-type: text/html"], "<html>")).await;
    let (registry, repository) = client(&host);
    let error = registry.check(&repository).await.expect_err("a web site");
    assert!(error.message.ends_with("is not an image registry"), "{error}");
}

#[tokio::test]
async fn an_answer_that_does_not_end_is_given_up() {
    let (host, _) = server(|_| format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", " ".repeat(5 << 20))).await;
    let (registry, repository) = client(&host);
    let error = registry.tags(&repository).await.expect_err("too much");
    assert!(error.message.ends_with("answers with more than 4 MiB"), "{error}");
}

#[tokio::test]
async fn tags_that_do_not_end_are_given_up() {
    let page = std::sync::atomic::AtomicUsize::new(0);
    let (host, _) = server(move |_| {
        let page = page.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let tags: Vec<String> = (0..50_000).map(|tag| format!("\"t{page}-{tag}\"")).collect();
        let link = format!("link: </v2/shop/api/tags/list?page={page}>; rel=\"next\"");
        answer("200 OK", &[&link], &format!("{{\"tags\": [{}]}}", tags.join(",")))
    })
    .await;
    let (registry, repository) = client(&host);
    let error = registry.tags(&repository).await.expect_err("too many");
    assert!(error.message.ends_with("has more than 200000 tags"), "{error}");
}

#[test]
fn a_secret_that_is_cut_in_two_does_not_come_out() {
    let secret = "MADE-UP/SECRET+0123456789";
    let redactor = Redactor::default();
    redactor.learn(secret);
    for length in 250..320 {
        let body = format!("{}{secret}, and so on", "x".repeat(length)).into();
        let url = Url::parse("https://registry.test/v2/").expect("an address");
        let answer = Answer { status: StatusCode::BAD_GATEWAY, headers: reqwest::header::HeaderMap::new(), body, url };
        let told = trouble::unexpected("asking", &answer).causes().join(" ");
        assert!(told.contains("502") && !leaks(&redactor.mask(&told), secret), "{told}");
    }
}

/// Header lines, then a body, then another after this line: an image's configuration.
const CUT: &str = "\n====\n";

#[test]
fn any_input_is_read_or_refused() {
    let digest = Digest::of(b"x");
    let config = format!(
        "{{\"os\":\"linux\",\"architecture\":\"amd64\",\"created\":\"2026-01-02T03:04:05Z\",\"config\":\
         {{\"Labels\":{{\"a\":\"b\"}},\"Env\":[\"A=1\"]}},\"rootfs\":{{\"diff_ids\":[\"{digest}\"]}}}}"
    );
    let samples = [
        format!("docker-content-digest: {digest}\ncontent-type: application/json; charset=utf-8\n\n{{\"schemaVersion\":2,\
            \"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{{\"digest\":\"{digest}\",\"size\":7}},\
            \"layers\":[{{\"digest\":\"{digest}\",\"size\":18446744073709551615}},{{\"size\":1}}]}}{CUT}{config}"),
        format!("\n{{\"manifests\":[{{\"digest\":\"{digest}\",\"platform\":{{\"os\":\"linux\",\"architecture\":\"amd64\"}}}},\
            {{\"digest\":\"{digest}\",\"platform\":{{\"os\":\"unknown\",\"architecture\":\"unknown\"}}}}]}}{CUT}{config}"),
        "link: </v2/a/tags/list?n=1&last=b>; rel=\"next\"\n\n{\"name\":\"a\",\"tags\":[\"a\",\"B\",null]}".to_owned(),
        "location: https://registry.test/v2/a/blobs/uploads/1?_state=x\n\n".to_owned(),
        "www-authenticate: Basic realm=\"x\"\nwww-authenticate: Bearer realm=\"https://a/t\",service=\"b\",scope=\"c,d\"\n\n\
         {\"errors\":[{\"code\":\"UNAUTHORIZED\",\"message\":\"authentication required\",\"detail\":null}]}".to_owned(),
        "\n{\"token\":\"made-up\",\"access_token\":\"made-up\",\"expires_in\":300,\"issued_at\":\"2026-01-02T03:04:05Z\"}".to_owned(),
        "\n{\"token\":\"made-up\",\"expires_in\":18446744073709551615}".to_owned(),
        "content-type: text/html\n\n<html><body><h1>502 Bad Gateway</h1></body></html>".to_owned(),
        format!("\n{{\"config\":{{}},\"layers\":[{}{{}}]}}{CUT}{config}", "{},".repeat(80_000)),
        format!("\n{{\"tags\":[{}0]}}", "[],".repeat(80_000)),
        format!("\n{}", "[".repeat(100_000)),
        format!("\n{}", "{\"a\":".repeat(40_000)),
        format!("www-authenticate: Bearer {}\n\n", "a=\"b\",".repeat(10_000)),
        format!("link: {}\n\n", "<a>; rel=\"next\",".repeat(5000)),
    ];
    let words = [
        CUT,
        "\"mediaType\":",
        "\"manifests\":[",
        "\"config\":{",
        "\"layers\":[",
        "\"size\":",
        "\"diff_ids\":[",
        "\"tags\":[",
        "\"token\":\"",
        "\"expires_in\":",
        "Bearer ",
        "realm=\"",
        "www-authenticate: ",
        "location: ",
        "link: <",
        "\\u0000",
    ];
    fuzz::reader(module_path!(), &samples, &words, |input| {
        let text = String::from_utf8_lossy(input);
        let (head, rest) = text.split_once("\n\n").unwrap_or(("", &text));
        let (body, blob) = rest.split_once(CUT).unwrap_or((rest, rest));
        for status in [StatusCode::OK, StatusCode::UNAUTHORIZED] {
            look_at(transport::Answer {
                status,
                headers: head.lines().filter_map(header).collect(),
                body: Bytes::copy_from_slice(body.as_bytes()),
                url: Url::parse("https://registry.test:5000/v2/shop/api/tags/list?n=2").expect("an address"),
            });
        }
        let _ = image::read("x", body.as_bytes(), blob.as_bytes()).is_ok();
    });
}

fn header(line: &str) -> Option<(reqwest::header::HeaderName, reqwest::header::HeaderValue)> {
    let (name, value) = line.split_once(": ")?;
    Some((name.parse().ok()?, value.parse().ok()?))
}

/// Everything that is ever read in an answer.
fn look_at(answer: Answer) {
    let repository = Repository { registry: "registry.test:5000".into(), path: "shop/api".into() };
    for place in [answer.location(), answer.next_page()].into_iter().flatten() {
        assert_eq!(place.origin(), answer.url.origin());
    }
    if let Some(auth::Challenge::Bearer { realm, .. }) = auth::challenge(&answer.headers) {
        let _ = Url::parse(&realm).map(|realm| trouble::unsafe_realm(&repository, &realm));
    }
    let _ = (answer.is_of_a_registry(), trouble::unexpected("asking", &answer).causes());
    let _ = auth::Grant::read(&answer.body, &Redactor::default()).and_then(|grant| grant.header());
    let _ = image::platform_entry("x", &answer.body).and_then(|_| image::config_digest("x", &answer.body));
    let _ = image::tags("x", &answer.body).map(|tags| tags.len());
    let _ = verified(&repository, "latest", answer).map(|manifest| manifest.media_type);
}
