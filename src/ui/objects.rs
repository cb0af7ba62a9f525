//! Objects on standard output, for people and for programs.

use super::{output, print};
use crate::error::Result;
use crate::manifest::{Object, write};
use crate::redact::Redactor;

/// How objects are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A document for each, with the place in the manifests above it.
    Yaml,
    /// One List.
    Json,
}

/// Prints `objects` in their order. With a `redactor` the values of Secrets are masked, and it says so.
///
/// # Errors
/// When standard output takes no more, for example on a full disk. A reader that is gone is none.
pub fn print_objects(objects: &[Object], format: Format, redactor: Option<&Redactor>) -> Result<()> {
    let shown = redactor.map_or_else(|| objects.to_vec(), |redactor| masked(objects, redactor));
    print(&text(&shown, format))?;
    if shown != objects {
        output::stderr().line("values are masked; --show-secrets shows them");
    }
    Ok(())
}

fn masked(objects: &[Object], redactor: &Redactor) -> Vec<Object> {
    let masked = |object: &Object| Object { value: redactor.object(&object.value), source: object.source.clone() };
    objects.iter().map(masked).collect()
}

fn text(objects: &[Object], format: Format) -> String {
    match format {
        Format::Yaml => objects.iter().map(document).collect(),
        Format::Json => write::json(objects.iter().map(|object| &object.value)),
    }
}

fn document(object: &Object) -> String {
    format!("---\n# {}\n{}", object.source, write::yaml(&object.value))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::manifest::Source;

    fn objects() -> Vec<Object> {
        let object = |value| Object { value, source: Source { file: "manifests/a.yaml".into(), document: 1, line: 3 } };
        vec![
            object(
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"key": "c2hvcnQ="}}),
            ),
            object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data":
                {"on": "yes", "url": "https://a:made-up-token-0123@b", "script": "one\ntwo\n"}})),
        ]
    }

    #[test]
    fn secrets_are_masked_by_field_and_by_value() {
        let redactor = Redactor::default();
        redactor.learn("made-up-token-0123");
        insta::assert_snapshot!(text(&masked(&objects(), &redactor), Format::Yaml), @r#"
        ---
        # manifests/a.yaml:3
        apiVersion: v1
        kind: Secret
        metadata:
          name: s
        data:
          key: •••••
        ---
        # manifests/a.yaml:3
        apiVersion: v1
        kind: ConfigMap
        metadata:
          name: c
        data:
          "on": "yes"
          url: https://a:•••••@b
          script: |
            one
            two
        "#);
        let json = text(&masked(&objects(), &redactor), Format::Json);
        assert!(!json.contains("made-up-token") && !json.contains("c2hvcnQ=") && json.contains("•••••"), "{json}");
    }

    #[test]
    fn everything_is_shown_on_demand() {
        let all = text(&objects(), Format::Json);
        assert!(all.contains("made-up-token-0123") && all.contains("c2hvcnQ="), "{all}");
        let list: Value = serde_json::from_str(&all).expect("JSON");
        assert_eq!((&list["kind"], &list["items"][1]), (&json!("List"), &objects()[1].value));
    }
}
