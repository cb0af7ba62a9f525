//! What went wrong, in words.

use reqwest::{StatusCode, Url};

use super::session::Answer;
use crate::error::Error;
use crate::model::{Digest, Repository};

/// No answer at all.
pub fn unreachable(url: &Url, error: reqwest::Error) -> Error {
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        _ => url.to_string(),
    };
    // The error repeats the whole address, and what stands in its query is nobody's business.
    let error = error.without_url();
    let whole = chain(&error);
    let said = Error::refused(format!("the registry {host} cannot be reached")).because(error);
    if whole.contains("certificate") || whole.contains("UnknownIssuer") {
        said.hint("if it has a certificate authority of its own, name its PEM file in registry.ca")
    } else if whole.contains("InvalidContentType") || whole.contains("corrupt message") {
        said.hint("it may speak plain HTTP: registry.plainHttp is for that, on loopback")
    } else {
        said.hint(format!("is it running, and is registry.server right? curl -v {}://{host}/v2/", url.scheme()))
    }
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

/// The registry's own words, shortened.
fn words(answer: &Answer) -> String {
    let text = String::from_utf8_lossy(&answer.body);
    let short: String = text.trim().chars().take(300).collect();
    if short.is_empty() { answer.status.to_string() } else { format!("{}: {short}", answer.status) }
}

/// The login itself was refused.
pub fn login_refused(registry: &str, username: &str, answer: &Answer) -> Error {
    Error::refused(format!("the registry {registry} does not accept the password of {username}"))
        .because(words(answer))
        .hint(
            "check registry.username and registry.password; an access token may have expired or lack the package scope",
        )
}

/// An upload could not be started.
pub fn push_refused(repository: &Repository, answer: &Answer, username: &str) -> Error {
    let owner = repository.path.split('/').next().unwrap_or_default();
    match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Error::refused(format!("{username} may not push to {repository}"))
                .because(words(answer))
                .hint("the password is wrong, or the access token may only read: it needs the right to write packages")
        }
        StatusCode::NOT_FOUND => {
            Error::refused(format!("the registry {} does not know the owner {owner}", repository.registry))
                .because(words(answer))
                .hint("check registry.owner; an owner has to exist before images can be pushed")
        }
        _ => unexpected(&format!("starting an upload to {repository}"), answer),
    }
}

/// Anything else.
pub fn unexpected(doing: &str, answer: &Answer) -> Error {
    let error = Error::refused(format!("{doing} failed")).because(words(answer));
    match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            error.hint("check registry.username and registry.password, and what they may read")
        }
        StatusCode::NOT_FOUND => error.hint("is registry.server an image registry?"),
        _ => error.hint("look at the registry's own log"),
    }
}

/// The registry does not say which content it means.
pub fn no_digest(repository: &Repository, name: &str) -> Error {
    Error::refused(format!("the registry gives no digest for {repository}:{name}"))
}

/// The bytes are not those that the digest names.
pub fn other_content(repository: &Repository, wanted: &Digest, found: &Digest) -> Error {
    Error::refused(format!("{repository} holds other bytes than {wanted}: they hash to {found}"))
        .hint("do not use this image; look at the registry's storage and at any proxy before it")
}

/// An index names a manifest that is not there.
pub fn incomplete(name: &str, entry: &Digest) -> Error {
    Error::refused(format!("{name} is incomplete: the registry does not have its entry {entry}"))
        .hint("push it again: hdeploy all")
}

/// A manifest that should be there is not.
pub fn gone(repository: &Repository, digest: &Digest) -> Error {
    Error::refused(format!("{repository} does not have {digest} any more"))
        .hint("build it anew: hdeploy all; some registries drop a manifest when its last tag moves away")
}
