//! What a registry asks for when it answers 401.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

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

#[cfg(test)]
mod tests {
    use super::*;

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
