//! The words of the domain as types: what is an image, a tag, a digest, a service, an object.
//!
//! Every newtype is valid by construction; parsing is the only way in.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A text that is not what it was taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// What it was taken for, in words: "an image tag".
    pub what: &'static str,
    /// The text as given.
    pub given: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not {}: {}", self.given, self.what, self.rule)
    }
}

impl std::error::Error for Invalid {}

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(given: &str) -> Result<Self, Invalid> {
                let valid: fn(&str) -> bool = $valid;
                if valid(given) {
                    Ok(Self(given.to_owned()))
                } else {
                    Err(Invalid { what: $what, given: given.to_owned(), rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(given: String) -> Result<Self, Invalid> {
                given.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_newtype!(
    /// The name that the configuration gives a service.
    ServiceName,
    "a service name",
    "lower-case letters, digits and '-', at most 63, starting and ending with a letter or digit",
    is_dns_label
);

text_newtype!(
    /// A tag as the OCI distribution specification allows it, in lower case: some registries fold case.
    Tag,
    "an image tag",
    "lower-case letters, digits, '_', '.' and '-', at most 128, not starting with '.' or '-'",
    |text| {
        (1..=128).contains(&text.len())
            && !text.starts_with(['.', '-'])
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b))
    }
);

text_newtype!(
    /// A sha256 digest, `sha256:` and 64 hexadecimal digits.
    Digest,
    "a digest",
    "'sha256:' and 64 lower-case hexadecimal digits",
    |text| {
        text.strip_prefix("sha256:").is_some_and(|hex| {
            hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        })
    }
);

/// Whether `text` is a DNS label: what namespaces and services are called.
pub fn is_dns_label(text: &str) -> bool {
    text.len() <= 63 && is_dns_part(text)
}

/// Whether `text` is DNS names with '.' between them, at most 253 in all: what most objects are called.
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_part)
}

fn is_dns_part(text: &str) -> bool {
    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !text.is_empty() && text.bytes().all(inside) && !text.starts_with('-') && !text.ends_with('-')
}

impl Digest {
    /// The digest of `bytes`, computed here.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::{Digest as _, Sha256};
        Self(format!("sha256:{}", hex(&Sha256::digest(bytes))))
    }

    /// The first twelve hexadecimal digits: enough for people.
    pub fn short(&self) -> &str {
        &self.0[7..19]
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// One image repository: the registry's `host[:port]` and the path in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
pub struct Repository {
    /// `host` or `host:port`, without a scheme.
    pub registry: String,
    /// Path in the registry, for example `shop/api`.
    pub path: String,
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

/// An image that cannot change any more: a repository and a digest.
///
/// Programs get it as one text, `host[:port]/path@sha256:…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(into = "String")]
pub struct PinnedImage {
    /// Where it lies.
    pub repository: Repository,
    /// The manifest, never an index.
    pub digest: Digest,
}

impl From<PinnedImage> for String {
    fn from(image: PinnedImage) -> Self {
        image.to_string()
    }
}

impl fmt::Display for PinnedImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.repository, self.digest)
    }
}

/// An image reference as it stands in a manifest: `[host[:port]/]path[:tag][@digest]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ImageRef {
    /// `None` when the reference names no host: the container runtime then uses its default.
    pub registry: Option<String>,
    /// Path without host, tag or digest.
    pub path: String,
    /// As written; a manifest of somebody else's may carry capitals.
    pub tag: Option<String>,
    /// What it is pinned to.
    pub digest: Option<Digest>,
}

impl ImageRef {
    /// The reference without tag and digest, as written.
    pub fn name(&self) -> String {
        match &self.registry {
            Some(host) => format!("{host}/{}", self.path),
            None => self.path.clone(),
        }
    }
}

impl FromStr for ImageRef {
    type Err = Invalid;

    fn from_str(given: &str) -> Result<Self, Invalid> {
        let invalid = |rule| Invalid { what: "an image reference", given: given.to_owned(), rule };
        let (rest, digest) = match given.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(digest.parse().map_err(|_| invalid("after '@' a sha256 digest is expected"))?))
            }
            None => (given, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|tag| !is_any_case_tag(tag)) {
            return Err(invalid("the part after ':' is not a tag"));
        }
        let (registry, path) = match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (Some(host.to_owned()), path),
            _ => (None, name),
        };
        if !is_repository_path(path) {
            return Err(invalid("a repository is lower-case letters and digits, separated by '.', '_', '-' or '/'"));
        }
        Ok(Self { registry, path: path.to_owned(), tag: tag.map(str::to_owned), digest })
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn is_any_case_tag(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

/// Whether `text` is a repository path: components of lower-case letters and digits.
pub fn is_repository_path(text: &str) -> bool {
    text.len() <= 255
        && text.split('/').all(|part| {
            let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
            let bytes = part.as_bytes();
            edge(bytes.first())
                && edge(bytes.last())
                && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(b))
        })
}

/// Group, kind, namespace and name of an object.
pub type Identity = (String, String, Option<String>, String);

/// What identifies an object in a cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ObjectKey {
    /// `group/version` or `version`.
    pub api_version: String,
    /// For example `Deployment`.
    pub kind: String,
    /// Cluster-scoped kinds have none.
    pub namespace: Option<String>,
    /// `metadata.name`.
    pub name: String,
}

impl ObjectKey {
    /// The key of `object`, or `None` when it lacks `apiVersion`, `kind` or `metadata.name`.
    pub fn of(object: &Value) -> Option<Self> {
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            api_version: text("/apiVersion")?,
            kind: text("/kind")?,
            namespace: text("/metadata/namespace"),
            name: text("/metadata/name")?,
        })
    }

    /// What the object is whatever version of its kind it is written in: group, kind, namespace and name.
    pub fn identity(&self) -> Identity {
        (self.group().to_owned(), self.kind.clone(), self.namespace.clone(), self.name.clone())
    }

    /// The API group, empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.rsplit_once('/').map_or("", |(group, _)| group)
    }
}

/// `Deployment shop/api`, `Namespace shop`: as people say it.
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;

    fn image(text: &str) -> ImageRef {
        text.parse().expect(text)
    }

    #[test]
    fn image_references_are_taken_apart_and_put_together_again() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, registry, path, tag) in [
            ("redis", None, "redis", None),
            ("redis:7-alpine", None, "redis", Some("7-alpine")),
            ("library/redis", None, "library/redis", None),
            ("localhost/redis", Some("localhost"), "redis", None),
            ("127.0.0.1:3300/admin/api:T1", Some("127.0.0.1:3300"), "admin/api", Some("T1")),
            ("registry.example:5000/api", Some("registry.example:5000"), "api", None),
        ] {
            let parsed = image(text);
            assert_eq!(
                (parsed.registry.as_deref(), parsed.path.as_str(), parsed.tag.as_deref()),
                (registry, path, tag)
            );
            assert_eq!(parsed.to_string(), text);
            let pinned = image(&format!("{text}@{digest}"));
            assert_eq!(pinned.digest.as_ref().map(Digest::as_str), Some(digest.as_str()));
            assert_eq!(pinned.to_string(), format!("{text}@{digest}"));
        }
    }

    #[test]
    fn what_is_no_image_reference_is_refused() {
        for text in ["", "Redis", "redis:", "redis@sha256:12", "a//b", "redis:a b", "host.example/", "-a"] {
            assert!(text.parse::<ImageRef>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn tags_and_service_names_follow_their_rules() {
        assert!("d3708e6-1a2b".parse::<Tag>().is_ok());
        for text in ["", ".a", "-a", "A", "a/b", &"a".repeat(129)] {
            assert!(text.parse::<Tag>().is_err(), "{text:?}");
        }
        for text in ["", "-a", "a-", "A", "a.b", &"a".repeat(64)] {
            assert!(text.parse::<ServiceName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_digest_is_the_hash_of_the_bytes() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").as_str(), empty);
        assert_eq!(Digest::of(b"").short(), "e3b0c44298fc");
    }

    #[test]
    fn any_input_is_read_or_refused() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let samples = [
            "redis:7-alpine".to_owned(),
            format!("127.0.0.1:3300/admin/api:T1@{digest}"),
            digest,
            "a".repeat(300),
            "a/".repeat(200),
        ];
        fuzz::reader(module_path!(), &samples, &[":", "@", "/", "sha256:", "localhost/", "[::1]:80/"], |input| {
            let text = String::from_utf8_lossy(input);
            if let Ok(image) = text.parse::<ImageRef>() {
                assert_eq!(image.to_string(), text);
                assert_eq!(image.to_string().parse(), Ok(image));
            }
            let digest = text.parse::<Digest>().map(|digest| digest.short().len());
            assert!(digest.is_err() || digest == Ok(12));
            let _ = (text.parse::<Tag>().is_ok(), text.parse::<ServiceName>().is_ok(), is_dns_subdomain(&text));
        });
    }
}
