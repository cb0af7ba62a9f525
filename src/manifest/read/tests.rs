use super::*;

fn of(text: &str) -> (Vec<Object>, Vec<String>) {
    let (mut objects, mut findings) = (Vec::new(), Vec::new());
    read_text(Path::new("a.yaml"), text, &mut objects, &mut findings);
    (objects, findings)
}

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: api}\n";

#[test]
fn a_line_of_a_file_with_a_secret_is_not_shown() {
    let (_, findings) = of("kind: Secret\nstringData:\n  a: made-up-value\n  a: made-up-value\n");
    assert!(findings[0].starts_with("a.yaml:4:3") && !findings[0].contains("made-up"), "{findings:?}");
    assert!(findings[0].contains("the key \"a\" stands here and in line 3"), "{findings:?}");
    for value in ["!!int made-up-value", "!!binary made-up-value", "\"made-up\\/value\""] {
        let (_, findings) = of(&format!("kind: Secret\nstringData: {{a: {value}}}\n"));
        assert!(findings[0].starts_with("a.yaml:2:") && !findings[0].contains("made-up"), "{findings:?}");
    }
}

#[test]
fn lists_are_taken_apart() {
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}", SERVICE.replace('\n', "\n  "));
    let (objects, findings) = of(&list);
    assert_eq!((objects.len(), findings.len()), (1, 0), "{findings:?}");
    assert_eq!(objects[0].name(), "api");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_place() {
    let text = format!("{SERVICE}---\na: [\n---\nkind: Service\n---\n{SERVICE}---\n- 1\n");
    let (objects, findings) = of(&text);
    assert_eq!(objects.len(), 2);
    assert_eq!(findings.len(), 3, "{findings:#?}");
    assert!(findings.iter().any(|f| f.starts_with("a.yaml:7 ") && f.contains("no apiVersion")), "{findings:#?}");
}

/// What is said to each file of a folder of `tests/fixtures/nasty`.
fn refusals(folder: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/nasty").join(folder);
    let (mut files, mut findings) = (Vec::new(), Vec::new());
    collect(&folder, true, &mut files, &mut findings);
    assert!(findings.is_empty(), "{findings:?}");
    let told = files.iter().map(|file| match read(std::slice::from_ref(file)) {
        Ok(_) => panic!("{} is read", file.display()),
        Err(error) if error.details.is_empty() => error.message,
        Err(error) => error.details.join("\n"),
    });
    let told = told.collect::<Vec<_>>().join("\n");
    told.replace(&format!("{}/", shown(&folder).display()), "")
}

#[test]
fn what_kubectl_refuses_is_refused_with_file_document_and_line() {
    insta::assert_snapshot!(refusals("refused"));
}

#[test]
fn what_kubectl_reads_in_its_own_way_is_refused_with_file_document_and_line() {
    insta::assert_snapshot!(refusals("stricter"));
}

#[test]
fn a_file_beyond_every_manifest_is_not_read() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    file.as_file().set_len(LARGEST as u64 + 1).expect("a large file");
    let error = read(&[file.path().to_owned()]).expect_err("too large");
    assert!(error.details[0].ends_with(": it cannot be read: it is larger than 32 MiB"), "{error:?}");
}
