//! What a registry asks for when it answers 401, and what it gives.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

use super::image::json;
use crate::config::Credentials;
use crate::redact::Redactor;

/// A challenge of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// Fetch a token there.
    Bearer {
        /// URL of the token service.
        realm: String,
        /// Its `service` parameter.
        service: Option<String>,
    },
    /// Send user name and password with each request.
    Basic,
}

/// The challenge to meet: a token where that is possible.
pub fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let said: Vec<&str> = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).collect();
    let bearer = said.iter().find_map(|text| bearer(text));
    let basic = said.iter().any(|text| text.trim_start().to_ascii_lowercase().starts_with("basic"));
    bearer.or(basic.then_some(Challenge::Basic))
}

fn bearer(text: &str) -> Option<Challenge> {
    let (scheme, parameters) = text.trim_start().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let realm = parameter(parameters, "realm")?;
    Some(Challenge::Bearer { realm, service: parameter(parameters, "service") })
}

/// The value of `name="…"` in a list of parameters.
fn parameter(text: &str, name: &str) -> Option<String> {
    let mut rest = text;
    while let Some((key, after)) = rest.split_once("=\"") {
        let (value, next) = after.split_once('"')?;
        if key.trim_matches([' ', ',']).eq_ignore_ascii_case(name) {
            return Some(value.to_owned());
        }
        rest = next;
    }
    None
}

/// What is sent with requests once the challenge is met.
pub struct Grant {
    header: String,
    /// `None` when it holds until the registry refuses it.
    until: Option<Instant>,
}

impl Grant {
    /// One that does not end.
    pub fn lasting(header: String) -> Self {
        Self { header, until: None }
    }

    /// The token in the answer of a token service, which `redactor` learns.
    pub fn read(body: &[u8], redactor: &Redactor) -> Option<Self> {
        let body = json("the token", body).ok()?;
        let token = ["token", "access_token"].iter().find_map(|key| body[*key].as_str().filter(|it| !it.is_empty()))?;
        redactor.learn(token);
        let lasts = body["expires_in"].as_u64().map(Duration::from_secs);
        // Not to its very end: a request takes its time.
        let until = lasts.and_then(|lasts| Instant::now().checked_add(lasts / 5 * 4));
        Some(Self { header: format!("Bearer {token}"), until })
    }

    /// The header's value; `None` when it has ended.
    pub fn header(&self) -> Option<String> {
        self.header_at(Instant::now())
    }

    fn header_at(&self, now: Instant) -> Option<String> {
        let ended = self.until.is_some_and(|until| until <= now);
        (!ended).then(|| self.header.clone())
    }
}

/// User name and password as a header's value.
pub fn basic(credentials: &Credentials) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{}", credentials.username, credentials.password.expose())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_used_until_shortly_before_it_ends() {
        let grant = Grant::read(br#"{"access_token": "made-up", "expires_in": 60}"#, &Redactor::default());
        let grant = grant.expect("a token");
        assert_eq!(grant.header().as_deref(), Some("Bearer made-up"));
        assert_eq!(grant.header_at(Instant::now() + Duration::from_secs(49)), None);
        assert!(Grant::read(br#"{"token": ""}"#, &Redactor::default()).is_none());
    }

    #[test]
    fn a_token_is_learnt_as_a_secret() {
        let redactor = Redactor::default();
        Grant::read(br#"{"token": "made-up-token"}"#, &redactor).expect("a token");
        assert!(!redactor.mask("Bearer made-up-token").contains("made-up"));
    }

    fn of(texts: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(WWW_AUTHENTICATE, text.parse().expect("a header"));
        }
        challenge(&headers)
    }

    #[test]
    fn a_token_is_preferred_to_the_password() {
        let bearer = "Bearer realm=\"http://127.0.0.1:1/v2/token\",service=\"container_registry\",scope=\"*\"";
        let expected = Challenge::Bearer {
            realm: "http://127.0.0.1:1/v2/token".into(),
            service: Some("container_registry".into()),
        };
        assert_eq!(of(&["Basic realm=\"x\"", bearer]), Some(expected));
        assert_eq!(of(&["Basic realm=\"x\""]), Some(Challenge::Basic));
        assert_eq!(of(&["Bearer nothing"]), None);
        assert_eq!(of(&[]), None);
    }
}
