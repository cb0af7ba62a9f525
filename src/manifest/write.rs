//! Objects as text that kubectl reads back as the same objects.

use serde_json::{Value, json};

/// `object` as one YAML document, without a separator.
pub fn yaml(object: &Value) -> String {
    // What YAML 1.1 would take for a number, a boolean or a date is quoted; long lines stay lines.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    serde_saphyr::to_string_with_options(object, options).expect("JSON values have a YAML form")
}

/// `objects` as one JSON document, a List as `kubectl get -o json` prints it.
pub fn json<'a>(objects: impl IntoIterator<Item = &'a Value>) -> String {
    let items: Vec<&Value> = objects.into_iter().collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    serde_json::to_string_pretty(&list).expect("values are JSON")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::read;
    use super::*;

    fn read_back(text: &str) -> Value {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("object.yaml");
        std::fs::write(&file, text).expect("a file");
        read::read(&[file]).expect(text).remove(0).value
    }

    fn object(text: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"key": text, text: "key"}})
    }

    #[test]
    fn texts_that_look_like_something_else_stay_texts() {
        let wide = format!("{} {}", "word ".repeat(60), "end");
        for text in [
            "",
            " ",
            "yes",
            "No",
            "on",
            "y",
            "null",
            "~",
            "0400",
            "0o17",
            "0x1F",
            "1_000",
            "1e3",
            ".inf",
            "12:30:45",
            "2026-11-21",
            "1.0",
            "-",
            "- a",
            "a: b",
            "a #b",
            "#b",
            "&a",
            "*a",
            "!a",
            "%a",
            "@a",
            "`a",
            "'a'",
            "\"a\"",
            "{a}",
            "[a]",
            "a\nb",
            "a\nb\n",
            "\n",
            "\na",
            " a\nb",
            "a\n\n\n",
            "tab\there",
            "a\rb",
            "\u{feff}a",
            "\u{85}",
            "…",
            "\u{1f600}",
            "\u{7}",
            "---",
            "...",
            "--- a",
            "<<",
            "=",
            "|",
            ">",
            "a:",
            "?",
            "? a",
            ",",
            "a\\nb",
            "\u{2028}",
            &wide,
        ] {
            assert_eq!(read_back(&yaml(&object(text))), object(text), "{}", yaml(&object(text)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn any_text_is_read_back_as_it_was(text in r"[ -~\n\t…é:#'-]{0,40}") {
            prop_assert_eq!(read_back(&yaml(&object(&text))), object(&text), "{}", yaml(&object(&text)));
        }

        #[test]
        fn any_number_is_read_back_as_it_was(whole in any::<i64>(), part in any::<f64>().prop_filter("JSON", |n| n.is_finite())) {
            let object = json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "a"}, "n": whole, "m": part});
            let back = read_back(&yaml(&object));
            prop_assert_eq!(&back["n"], &object["n"]);
            prop_assert_eq!(back["m"].as_f64(), object["m"].as_f64());
        }
    }
}
