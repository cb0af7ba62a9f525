//! What is changed: the files of the repository, and what is known to hurt.

use std::fs;
use std::path::Path;

/// The files below the repository's `folders` whose names end in one of `ends`.
pub fn files(folders: &[&str], ends: &[&str]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for folder in folders {
        collect(&super::root().join(folder), ends, &mut found);
    }
    assert!(!found.is_empty(), "there is no sample in {folders:?}");
    found
}

fn collect(path: &Path, ends: &[&str], found: &mut Vec<Vec<u8>>) {
    if !path.is_dir() {
        let name = path.to_string_lossy();
        if ends.iter().any(|end| name.ends_with(end)) {
            found.push(fs::read(path).expect("a readable sample"));
        }
        return;
    }
    let entries = fs::read_dir(path).expect("a readable folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        collect(&path, ends, found);
    }
}

/// What `line` says, from 0 to less than `count`.
pub fn many(count: usize, line: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    (0..count).for_each(|number| text.push_str(&line(number)));
    text
}

/// Small texts that want to become large trees.
pub fn yaml_bombs() -> Vec<String> {
    vec![
        // Aliases of aliases, of a long text, each inside the one before, and with every level kept.
        "a0: &a0 [x, x]\n".to_owned() + &many(11, |n| format!("a{}: &a{0} [{}]\n", n + 1, format!("*a{n},").repeat(9))),
        "a0: &a0 {x: y}\n".to_owned() + &many(39, |n| format!("a{}: &a{0} {{<<: *a{n}, k{n}: *a{n}}}\n", n + 1)),
        format!("a: &a {}\nb: [{}]\n", "x".repeat(40_000), "*a,".repeat(8000)),
        "a0: &a0 [x]\n".to_owned() + &many(2999, |n| format!("a{}: &a{0} [*a{n}]\n", n + 1)),
        format!("a: {}{}{}\n", many(200, |n| format!("&b{n} [")), "x,".repeat(12_000), "]".repeat(200)),
        "---\na: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n\
         d: &d [*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d]\nf: [*e,*e]\n"
            .repeat(200),
        // Depth.
        "[".repeat(20_000),
        "{".repeat(20_000),
        "{a: ".repeat(6000),
        "- ".repeat(12_000),
        "? ".repeat(12_000),
        many(240, |n| format!("{}a:\n", " ".repeat(n))),
        // Width: values, keys, findings, documents.
        format!("[{}]", "a,".repeat(25_000)),
        format!("[{}]", "[],".repeat(15_000)),
        many(6000, |n| format!("k{n}:\n")),
        format!("{{{}}}", "a: b, ".repeat(8000)),
        "---\n".repeat(15_000),
        "---\na: 1\n".repeat(6000),
        "---\na: [\n".repeat(6000),
        "{}".repeat(20_000),
        format!("{{\"a\": [{}0]}}", "0,".repeat(40_000)),
        // Long.
        format!("a: {}", "x".repeat(100_000)),
        format!("{}: a", "x".repeat(100_000)),
        format!("a: |9\n{}b", " ".repeat(50_000)),
        format!("a: \"{}\"", "\\x41".repeat(30_000)),
        format!("#{}\na: 1", "#".repeat(50_000)),
    ]
}
