//! Files of `KEY=value` lines.
//!
//! Read here rather than by dotenvy, which neither says in which line something is wrong nor goes on after it, and
//! which puts other variables into values.

use std::collections::HashMap;

use super::source::{Place, Sources};

/// One line that sets a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub name: String,
    pub value: String,
    pub place: Place,
}

/// Reads `text`; lines that set nothing are findings. When a name is set twice, the later line wins, as in a shell.
pub(super) fn parse(text: &str, file: usize, sources: &Sources) -> Vec<Variable> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut variables: Vec<Variable> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let place = Place { file, line: index + 1, column: 1, width: line.chars().count() };
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        match variable(line, &mut lines.by_ref().map(|(_, line)| line)) {
            Ok((name, value)) => {
                let at = *known.entry(name.clone()).or_insert(variables.len());
                let variable = Variable { name, value, place };
                match variables.get_mut(at) {
                    Some(earlier) => *earlier = variable,
                    None => variables.push(variable),
                }
            }
            Err(message) => sources.report(place, message),
        }
    }
    variables
}

/// Whether `name` can be the name of an environment variable.
pub(super) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn variable(line: &str, more: &mut dyn Iterator<Item = &str>) -> Result<(String, String), String> {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let Some((name, value)) = line.split_once('=') else {
        return Err("a line is KEY=value; this one has no '='".into());
    };
    let name = name.trim_end();
    if !is_variable_name(name) {
        return Err("before '=' stands a name of letters, digits and '_', not starting with a digit".into());
    }
    Ok((name.to_owned(), unquoted(value.trim(), more)?))
}

fn unquoted(value: &str, more: &mut dyn Iterator<Item = &str>) -> Result<String, String> {
    match value.chars().next() {
        Some(quote @ ('"' | '\'')) => quoted(&value[1..], quote, more),
        _ => Ok(without_comment(value).to_owned()),
    }
}

/// `value # why`: a comment begins at a `#` after a blank.
fn without_comment(value: &str) -> &str {
    if value.starts_with('#') {
        return "";
    }
    let end = value.match_indices('#').find(|(at, _)| value[..*at].ends_with([' ', '\t'])).map(|(at, _)| at);
    value[..end.unwrap_or(value.len())].trim_end()
}

/// The text up to the closing quote, which may stand in a later line. Only double quotes know escapes.
fn quoted(rest: &str, quote: char, more: &mut dyn Iterator<Item = &str>) -> Result<String, String> {
    let mut value = String::new();
    let mut line = rest;
    loop {
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match c {
                c if c == quote => return after_quote(chars.as_str()).map(|()| value),
                // A backslash at a line's end stands for itself and the line end.
                '\\' if quote == '"' => value.push_str(&chars.next().map_or_else(|| "\\".to_owned(), escaped)),
                c => value.push(c),
            }
        }
        line = more.next().ok_or_else(|| format!("the quote {quote} is not closed"))?;
        value.push('\n');
    }
}

fn after_quote(rest: &str) -> Result<(), String> {
    let rest = rest.trim();
    if rest.is_empty() || rest.starts_with('#') { Ok(()) } else { Err("something follows the closing quote".into()) }
}

fn escaped(c: char) -> String {
    match c {
        'n' => "\n".into(),
        'r' => "\r".into(),
        't' => "\t".into(),
        '"' | '\\' | '$' => c.into(),
        other => format!("\\{other}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::fuzz;

    fn read(text: &str) -> (Vec<(String, String)>, Vec<String>) {
        let sources = Sources::new(Path::new("/"));
        let file = sources.add(Path::new("/prod.env"), text);
        let variables = parse(text, file, &sources);
        (variables.into_iter().map(|found| (found.name, found.value)).collect(), sources.findings())
    }

    #[test]
    fn every_way_to_write_a_value_is_understood() {
        for (line, value) in [
            ("A=b", "b"),
            ("export A=b", "b"),
            ("  A = b  ", "b"),
            ("A=", ""),
            ("A=b c # why", "b c"),
            ("A=b#c", "b#c"),
            ("A=#", ""),
            ("A='b # $c \\n'", "b # $c \\n"),
            ("A=\"b\\nc \\\"d\\\" \\x\" # why", "b\nc \"d\" \\x"),
            ("A=\"b\nc\"", "b\nc"),
            ("A=b=c", "b=c"),
            ("A=b\r\n# x\r\n", "b"),
            ("\u{feff}A=b", "b"),
            ("A=a\nA=b", "b"),
        ] {
            let (variables, findings) = read(line);
            assert!(findings.is_empty(), "{line:?}: {findings:?}");
            assert_eq!(variables, [("A".to_owned(), value.to_owned())], "{line:?}");
        }
    }

    #[test]
    fn every_wrong_line_is_told_with_its_number_and_without_its_value() {
        let (variables, findings) = read("A=1\nnonsense\n1B=x\nB=2\nDB_PASSWORD=\"abc\" d\nC='open\n");
        assert_eq!(variables.len(), 2);
        assert_eq!(findings.len(), 4, "{findings:?}");
        assert!(findings[0].starts_with("prod.env:2:1: a line is KEY=value"));
        assert!(findings[3].starts_with("prod.env:6:1: the quote ' is not closed"));
        assert!(!findings.join("").contains("abc"), "{findings:?}");
    }

    #[test]
    fn any_input_is_read_or_refused() {
        let samples = [
            "A=b\nexport B=\"c\\nd\" # why\n# x\nC='e\nf'\nDB_PASSWORD=made-up\n".to_owned(),
            "A='\n".repeat(5000),
            format!("A=\"{}", "b\n".repeat(10_000)),
            fuzz::many(10_000, |number| format!("A{number}=\n")),
            format!("{}\"", "\\".repeat(50_000)),
        ];
        fuzz::reader(module_path!(), &samples, &["A=", "export ", "=\"", "='", "\\\"", " #"], |input| {
            let (variables, findings) = read(&String::from_utf8_lossy(input));
            assert!(variables.iter().all(|(name, _)| is_variable_name(name)));
            assert!(findings.iter().take(100).all(|finding| finding.starts_with("prod.env:")));
        });
    }
}
