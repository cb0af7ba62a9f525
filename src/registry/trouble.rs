//! What went wrong, in words.

use std::time::Duration;

use reqwest::{StatusCode, Url};

use super::transport::Answer;
use crate::error::Error;
use crate::model::{Digest, Repository};
use crate::text::beginning;

/// No answer at all.
pub fn unreachable(url: &Url, error: reqwest::Error) -> Error {
    // The error repeats the whole address, and what stands in its query is nobody's business.
    let error = error.without_url();
    let (whole, timeout) = (chain(&error), error.is_timeout());
    let host = host(url);
    let says = |needle: &str| whole.contains(needle);
    let (reason, hint) = if timeout {
        ("it does not answer in time", look(url))
    } else if says("dns error") {
        ("there is no such host", "check registry.server, and the name server of this machine".to_owned())
    } else if says("Connection refused") {
        ("nothing listens there", look(url))
    } else if says("certificate") {
        ("its certificate is not trusted", certificate(&whole).to_owned())
    } else if says("InvalidContentType") || says("corrupt message") {
        let hint = "if it is to speak plain HTTP, which is for loopback only: registry.plainHttp: true";
        ("it does not speak TLS", hint.to_owned())
    } else {
        ("the connection broke", look(url))
    };
    Error::refused(format!("the registry {host} cannot be reached: {reason}")).because(error).hint(hint)
}

fn look(url: &Url) -> String {
    format!("is it running, and is registry.server right? curl -v {}://{}/v2/", url.scheme(), host(url))
}

fn certificate(whole: &str) -> &'static str {
    if whole.contains("expired") {
        "renew it where the registry runs"
    } else if whole.contains("not valid for name") {
        "registry.server has to be one of the names in the certificate"
    } else {
        "if the registry has a certificate authority of its own, name its PEM file in registry.ca"
    }
}

fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// No answer within the time that there is for it.
pub fn silent(registry: &str, waited: Duration) -> Error {
    Error::refused(format!("the registry {registry} gave no answer within {} s", waited.as_secs()))
        .hint("is it running, and can this machine reach it? look at the registry's own log")
}

/// An answer that goes on and on.
pub fn too_large(url: &Url, mebibytes: usize) -> Error {
    Error::refused(format!("{}{} answers with more than {mebibytes} MiB", host(url), url.path()))
        .hint("is registry.server an image registry?")
}

/// A list that goes on and on.
pub fn too_many_tags(repository: &Repository, most: usize) -> Error {
    Error::refused(format!("{repository} has more than {most} tags"))
        .hint("delete those that nobody needs; most registries have clean-up rules for that")
}

/// The registry's own words, shortened.
fn words(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let short = beginning(text.trim(), 300);
    if short.is_empty() { answer.status.to_string() } else { format!("{}: {short}", answer.status) }
}

/// The login itself was refused, or there is none.
pub fn login_refused(repository: &Repository, username: Option<&str>, answer: &Answer) -> Error {
    let registry = &repository.registry;
    let Some(username) = username else {
        return Error::refused(format!("the registry {registry} asks for a login, and there is none"))
            .because(words(answer))
            .hint("set registry.username and registry.password");
    };
    Error::refused(format!("the registry {registry} does not accept the password of {username}"))
        .because(words(answer))
        .hint("check registry.username and registry.password; an access token may have expired or lack a package scope")
}

/// The token service is a place where nobody should send a password.
pub fn unsafe_realm(repository: &Repository, realm: &Url) -> Error {
    let asked = realm.origin().ascii_serialization();
    Error::refused(format!("the registry {} wants the password sent to {asked}, unencrypted", repository.registry))
        .hint("give the registry its public https address in its own settings; nothing was sent")
}

/// The login is good, but not for this.
pub fn may_not_push(repository: &Repository, username: Option<&str>, answer: &Answer) -> Error {
    let error = match username {
        Some(username) => Error::refused(format!("{username} may not push to {repository}: the login may only read")),
        None => Error::refused(format!("nobody may push to {repository} without a login")),
    };
    error.because(words(answer)).hint("registry.password needs the right to write packages of registry.owner")
}

/// There is nobody whom images could belong to.
pub fn no_owner(repository: &Repository, answer: &Answer) -> Error {
    let owner = repository.path.split('/').next().unwrap_or_default();
    Error::refused(format!("the registry {} does not know the owner {owner}", repository.registry))
        .because(words(answer))
        .hint("check registry.owner; an owner has to exist before images can be pushed")
}

/// Something else is served there.
pub fn no_registry(repository: &Repository, answer: &Answer) -> Error {
    Error::refused(format!("{} is not an image registry", repository.registry))
        .because(format!("/v2/ answers {}", words(answer)))
        .hint(format!("check registry.server, its port, and registry.plainHttp: curl -v {}", answer.url))
}

/// Anything else.
pub fn unexpected(doing: &str, answer: &Answer) -> Error {
    let error = Error::refused(format!("{doing} failed")).because(words(answer));
    match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            error.hint("check registry.username and registry.password, and what they may read")
        }
        StatusCode::NOT_FOUND => error.hint("is registry.server an image registry?"),
        StatusCode::TOO_MANY_REQUESTS => error.hint("the registry limits how often it is asked: wait, and try again"),
        _ => error.hint("look at the registry's own log"),
    }
}

/// The bytes are not those that the digest names.
pub fn other_content(repository: &Repository, wanted: &Digest, found: &Digest) -> Error {
    Error::refused(format!("{repository} holds other bytes than {wanted}: they hash to {found}"))
        .hint("do not use this image; look at the registry's storage and at any proxy before it")
}

/// What an image or index names is not there.
pub fn incomplete(name: &str, part: &Digest) -> Error {
    Error::refused(format!("{name} is incomplete: the registry does not have its part {part}"))
        .hint("push it again: hdeploy all")
}

/// A manifest that should be there is not.
pub fn gone(repository: &Repository, digest: &Digest) -> Error {
    Error::refused(format!("{repository} does not have {digest} any more"))
        .hint("build it anew: hdeploy all; some registries drop a manifest when its last tag moves away")
}
