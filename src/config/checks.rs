//! `checks:`: the product's own rules about values of its ConfigMap and about files.
//!
//! A check on a value that is absent or empty passes: that values come together is what `allOrNone` is for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::ConfigMap;
use super::fields::{Fields, items, texts};
use super::tree::Node;
use super::value::Values;
use crate::suggest::did_you_mean;

type Format = (&'static str, fn(&str) -> Result<(), &'static str>);

const FORMATS: [Format; 5] =
    [("base64", is_base64), ("email", is_email), ("int", is_int), ("pkcs8-ec-p256", is_pkcs8_ec_p256), ("url", is_url)];

/// Runs every check; each that fails is a finding.
pub(super) fn run(root: &Fields<'_>, values: &Values<'_>, config_map: Option<&ConfigMap>) {
    let value = |key: &str| config_map?.values.get(key).map(String::as_str).filter(|text| !text.is_empty());
    for node in root.list("checks") {
        let Some(check) = Fields::open(values, node, "check", &["allOrNone", "file", "format", "value"]) else {
            continue;
        };
        match (check.get("allOrNone"), check.get("value"), check.get("file")) {
            (Some(keys), None, None) => all_or_none(keys, values, &value),
            (None, Some(_), None) => of_value(&check, values, &value),
            (None, None, Some(_)) => of_file(&check, values),
            _ => values.sources.report(check.place(), "a check has either allOrNone, value or file"),
        }
    }
}

fn all_or_none<'v>(node: &Node, values: &Values<'_>, value: &dyn Fn(&str) -> Option<&'v str>) {
    let keys = texts(values, items(values, node, "check.allOrNone"), "check.allOrNone");
    let names = keys.iter().map(|(_, key)| key.as_str());
    let (there, absent): (Vec<&str>, Vec<&str>) = names.partition(|key| value(key).is_some());
    if !there.is_empty() && !absent.is_empty() {
        let message = format!("all of these or none: there is {}, but no {}", there.join(", "), absent.join(", "));
        values.sources.report(node.place, message);
    }
}

fn of_value<'v>(check: &Fields<'_>, values: &Values<'_>, value: &dyn Fn(&str) -> Option<&'v str>) {
    let (Some(format), Some(key)) = (format(check), check.text("value")) else { return };
    if let Some(Err(wrong)) = value(&key).map(format.1) {
        values.sources.report(check.place(), format!("{key} is no {}: {wrong}", format.0));
    }
}

fn of_file(check: &Fields<'_>, values: &Values<'_>) {
    let (Some(format), Some(path)) = (format(check), check.path("file")) else { return };
    match values.read(&path) {
        Err(message) => check.report("file", message),
        Ok(text) => {
            if format.0 == "pkcs8-ec-p256" {
                values.learn(&text);
            }
            if let Err(wrong) = format.1(text.trim()) {
                let shown = values.sources.shown(&path);
                check.report("file", format!("{shown} is no {}: {wrong}", format.0));
            }
        }
    }
}

fn format(check: &Fields<'_>) -> Option<Format> {
    let name = check.required_text("format")?;
    let known = FORMATS.into_iter().find(|(known, _)| *known == name);
    if known.is_none() {
        let names = FORMATS.map(|(name, _)| name);
        let near = did_you_mean(&name, names);
        check.report("format", format!("unknown format {name:?}{near} There are {}", names.join(", ")));
    }
    known
}

fn is_int(text: &str) -> Result<(), &'static str> {
    text.parse::<i64>().map(|_| ()).map_err(|_| "digits only, with '-' before them if need be")
}

fn is_base64(text: &str) -> Result<(), &'static str> {
    STANDARD.decode(text).map(|_| ()).map_err(|_| "it cannot be decoded; '=' fills it up to a multiple of four")
}

fn is_email(text: &str) -> Result<(), &'static str> {
    let address = text.strip_suffix('>').and_then(|text| text.rsplit_once('<')).map_or(text, |(_, address)| address);
    let good = |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || "<>,;@".contains(c));
    match address.split_once('@') {
        Some((name, host)) if good(name) && good(host) && host.contains('.') => Ok(()),
        _ => Err("name@host or Name <name@host> is expected"),
    }
}

fn is_url(text: &str) -> Result<(), &'static str> {
    let url = text.parse::<http::Uri>().map_err(|_| "scheme://host is expected")?;
    match (url.scheme(), url.host()) {
        (Some(_), Some(host)) if !host.is_empty() => Ok(()),
        (None, _) => Err("scheme://host is expected"),
        _ => Err("it names no host"),
    }
}

/// A PEM "PRIVATE KEY" whose algorithm is an elliptic-curve key on P-256: the only form that some push services take.
fn is_pkcs8_ec_p256(text: &str) -> Result<(), &'static str> {
    // SEQUENCE { id-ecPublicKey, prime256v1 }
    const ALGORITHM: [u8; 21] = [
        0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
        0x03, 0x01, 0x07,
    ];
    if text.contains("-----BEGIN EC PRIVATE KEY-----") {
        return Err("it is a SEC1 key; convert it with openssl pkcs8 -topk8 -nocrypt");
    }
    let body = text.trim().strip_prefix("-----BEGIN PRIVATE KEY-----");
    let body = body.and_then(|text| text.strip_suffix("-----END PRIVATE KEY-----"));
    let body: String = body.ok_or("it does not begin and end as a PEM PRIVATE KEY")?.split_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|_| "what stands between its first and last line is no base64")?;
    match content(&der) {
        Some([0x02, 0x01, 0 | 1, rest @ ..]) if rest.starts_with(&ALGORITHM) => Ok(()),
        Some([0x02, 0x01, 0 | 1, ..]) => Err("it is a key of another kind than P-256"),
        _ => Err("it is cut off or no private key"),
    }
}

/// What the outermost SEQUENCE holds, when its length is that of `der`.
fn content(der: &[u8]) -> Option<&[u8]> {
    let (length, content) = match der {
        [0x30, length @ 0..=0x7f, content @ ..] | [0x30, 0x81, length, content @ ..] => (usize::from(*length), content),
        [0x30, 0x82, high, low, content @ ..] => (usize::from(*high) << 8 | usize::from(*low), content),
        _ => return None,
    };
    (content.len() == length).then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: &str, text: &str) -> Result<(), &'static str> {
        FORMATS.into_iter().find(|(name, _)| *name == format).expect(format).1(text)
    }

    fn pem(der: &[u8]) -> String {
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", STANDARD.encode(der))
    }

    #[test]
    fn simple_formats_take_what_they_should() {
        for (format, good, bad) in [
            ("int", "-5432", "54a"),
            ("base64", "aGk=", "a b"),
            ("email", "Team <a@b.example>", "a@b@c.example"),
            ("email", "a@b.example", "a@b"),
            ("url", "https://a.example/b", "a.example/b"),
            ("url", "postgres://u@h/db", "mailto:a@b.example"),
            ("url", "https://a.example", "https://:443/b"),
        ] {
            assert!(check(format, good).is_ok(), "{format} {good}");
            assert!(check(format, bad).is_err(), "{format} {bad}");
        }
    }

    #[test]
    fn keys_are_told_apart() {
        let head = [0x30, 0x18, 0x02, 0x01, 0x00, 0x30, 0x13];
        let oids = [
            0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
        ];
        let p256 = [&head[..], &oids, &[0x07]].concat();
        let other = [&head[..], &oids, &[0x01]].concat();
        let check = |text: &str| check("pkcs8-ec-p256", text);
        assert_eq!(check(&pem(&p256)), Ok(()));
        assert_eq!(check(&pem(&other)), Err("it is a key of another kind than P-256"));
        assert_eq!(check(&pem(&p256[..20])), Err("it is cut off or no private key"));
        assert!(check("-----BEGIN EC PRIVATE KEY-----").is_err_and(|wrong| wrong.contains("SEC1")));
        let begun = |text: &str| format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----");
        assert_eq!(check(&begun("a b!")), Err("what stands between its first and last line is no base64"));
        assert!(check("nonsense").is_err() && check(&pem(&[])).is_err());
    }
}
