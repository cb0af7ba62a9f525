//! Which names promise a secret, and lines of files without the secret that they give.

use crate::redact::MASK;

const WORDS: [&str; 9] =
    ["password", "passwd", "passphrase", "secret", "token", "key", "apikey", "credential", "credentials"];

/// Last words that tell of a thing beside the secret: where it lies, or which one it is.
const BESIDE: [&str; 7] = ["id", "path", "file", "name", "url", "host", "user"];

/// Whether a value of this name is taken for a secret: one of its words says so, and its last word does not say that
/// it is only about one (`PUSH_KEY` is, `PUSH_KEY_PATH` is not).
pub fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    let about = words.last().is_some_and(|last| BESIDE.contains(&last.as_str()));
    !about && words.iter().any(|word| WORDS.iter().any(|known| word == known || is_compound(word, known)))
}

/// `dbpassword`: run together with another word. `key` is left out: `monkey`, `keyboard`.
fn is_compound(word: &str, known: &str) -> bool {
    known.len() > 5 && word.contains(known)
}

/// The words of `fileName`, `FILE_NAME` and `file-name`, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && after_lower) {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        after_lower = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A line of a YAML or env file without the secrets that are written in it: from the first value on whose name
/// promises one, and wholly when it is a line of a key. References to values elsewhere stay.
pub(super) fn without_value(line: &str) -> String {
    if is_key_material(line.trim()) {
        return MASK.to_owned();
    }
    let ends = line.match_indices([':', '=']).map(|(at, _)| at + 1);
    match ends.map(|end| line.split_at(end)).find(|(name, value)| gives_secret(name, value.trim_start())) {
        Some((name, value)) => {
            let gap = &value[..value.len() - value.trim_start().len()];
            format!("{name}{gap}{MASK}")
        }
        None => line.to_owned(),
    }
}

fn gives_secret(before: &str, value: &str) -> bool {
    let before = before[..before.len() - 1].trim_end().trim_end_matches(['"', '\'']);
    let name = before.rsplit(|c: char| !c.is_alphanumeric() && !"_-.".contains(c)).next().unwrap_or_default();
    // `key` alone says which line of an env file is meant.
    let secret = name == "default" || (name != "key" && is_secret_name(name));
    secret && !value.is_empty() && !value.starts_with('{')
}

/// One long word, as PEM files have them.
fn is_key_material(line: &str) -> bool {
    line.len() >= 40 && line.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_promise_secrets() {
        for name in ["password", "DB_PASSWORD", "apiToken", "SECRET_KEY", "api-key", "dbpassword", "PUSH_KEY"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["PUSH_KEY_PATH", "B_KEY_ID", "monkey", "LOG_LEVEL", "keyboard", "", "TOKEN_URL"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn a_line_keeps_its_name_only() {
        assert_eq!(without_value("  password: hunter22"), format!("  password: {MASK}"));
        assert_eq!(without_value("export API_TOKEN=abc"), format!("export API_TOKEN={MASK}"));
        assert_eq!(without_value("password: {file: pw}"), "password: {file: pw}");
        assert_eq!(without_value("level: info"), "level: info");
        assert_eq!(without_value("r: {user: a, 'password': hunter22}"), format!("r: {{user: a, 'password': {MASK}"));
        assert_eq!(without_value("T_TOKEN: {envFile: a, key: B}"), "T_TOKEN: {envFile: a, key: B}");
        assert_eq!(without_value("a: {env: B, default: c}"), format!("a: {{env: B, default: {MASK}"));
        assert_eq!(without_value(&format!("    {}", "MADEUP".repeat(10))), MASK);
    }
}
