//! Reads a Dockerfile as far as a deploy needs it: stages, base images, and which line a step came from.

use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a name with its variables resolved, and levels of defaults inside defaults.
const LONGEST: usize = 1024;
const MOST_LEVELS: usize = 8;

/// A Dockerfile's instructions, comments and continuation lines put away.
#[derive(Debug)]
pub(super) struct Dockerfile {
    lines: Vec<String>,
    instructions: Vec<Instruction>,
    syntax: Option<String>,
}

#[derive(Debug)]
struct Instruction {
    /// Of its first line, from 1.
    line: usize,
    keyword: String,
    /// What follows the keyword, on one line.
    rest: String,
}

/// One `FROM` and what follows it.
struct Stage<'a> {
    name: Option<String>,
    image: String,
    instructions: &'a [Instruction],
}

impl Dockerfile {
    pub(super) fn parse(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let escape = match directive(&lines, "escape").as_deref() {
            Some("`") => '`',
            _ => '\\',
        };
        Self { instructions: instructions(&lines, escape), syntax: directive(&lines, "syntax"), lines }
    }

    /// The line `number` from 1, trimmed.
    pub(super) fn line(&self, number: usize) -> Option<&str> {
        self.lines.get(number.checked_sub(1)?).map(|line| line.trim())
    }

    /// The names by which a target can be chosen.
    pub(super) fn stage_names(&self) -> Vec<String> {
        self.stages().into_iter().filter_map(|stage| stage.name).collect()
    }

    /// Whether `target` names a stage: by name, or by number from 0.
    pub(super) fn has_stage(&self, target: &str) -> bool {
        let stages = self.stages();
        stages.iter().any(|stage| stage.name.as_deref() == Some(&target.to_lowercase()))
            || target.parse::<usize>().is_ok_and(|number| number < stages.len())
    }

    /// The images that are pulled: of `FROM`, `COPY --from`, `RUN --mount=from=` and the syntax directive, with
    /// variables resolved.
    pub(super) fn images(&self, args: &BTreeMap<String, String>) -> Vec<String> {
        let known = self.global_args(args);
        let stages = self.stages();
        let names: BTreeSet<&str> = stages.iter().filter_map(|stage| stage.name.as_deref()).collect();
        let is_stage = |image: &str| image.parse::<usize>().is_ok() || names.contains(image.to_lowercase().as_str());
        let copied =
            self.instructions.iter().filter(|one| one.keyword == "COPY").filter_map(|one| flag(&one.rest, "from"));
        let mounted = self.instructions.iter().filter(|one| one.keyword == "RUN").flat_map(|one| mounts(&one.rest));
        let mut images: Vec<String> = stages
            .iter()
            .map(|stage| stage.image.clone())
            .chain(copied.chain(mounted).map(str::to_owned))
            .map(|image| expand(&image, &known))
            .filter(|image| !image.is_empty() && image != "scratch" && !is_stage(image))
            .chain(self.syntax.clone())
            .collect();
        images.sort();
        images.dedup();
        images
    }

    /// The first line of the instruction that BuildKit calls `vertex`: `[build 4/6] RUN go build ./...`.
    pub(super) fn line_of_step(&self, vertex: &str) -> Option<usize> {
        let (head, text) = vertex.strip_prefix('[')?.split_once("] ")?;
        let (stage, position) = match head.rsplit_once(' ') {
            // Builds for other platforms than the daemon's own may lead with it: `[linux/amd64 build 2/5]`.
            Some((stage, position)) => (stage.split_whitespace().next_back(), position),
            None => (None, head),
        };
        let index: usize = position.split_once('/')?.0.trim().parse().ok()?;
        let keyword = text.split_whitespace().next()?.to_uppercase();
        let stages = self.stages();
        let stage = match stage.filter(|name| !name.contains('/')) {
            Some(name) => stages.iter().enumerate().find(|(number, stage)| {
                stage.name.clone().unwrap_or_else(|| format!("stage-{number}")) == name.to_lowercase()
            }),
            None => stages.iter().enumerate().next_back(),
        }?;
        self.step_in(stage.1, index, &keyword, text)
    }

    /// The line of the first `FROM` that fetches `image`, which BuildKit names in full.
    pub(super) fn line_of_image(&self, image: &str, args: &BTreeMap<String, String>) -> Option<usize> {
        let known = self.global_args(args);
        self.stages().iter().find_map(|stage| {
            let written = expand(&stage.image, &known);
            let same = image.strip_suffix(&written).is_some_and(|host| host.is_empty() || host.ends_with('/'))
                || image
                    .strip_suffix(&format!("{written}:latest"))
                    .is_some_and(|host| host.is_empty() || host.ends_with('/'));
            (same && !written.is_empty()).then(|| stage.instructions[0].line)
        })
    }

    fn step_in(&self, stage: &Stage<'_>, index: usize, keyword: &str, text: &str) -> Option<usize> {
        let based_on_stage = self.stage_names().iter().any(|name| *name == stage.image.to_lowercase());
        let counted_from = usize::from(stage.image == "scratch" || based_on_stage);
        let steps: Vec<&Instruction> = stage
            .instructions
            .iter()
            .skip(counted_from)
            .filter(|one| ["FROM", "RUN", "COPY", "ADD", "WORKDIR"].contains(&one.keyword.as_str()))
            .collect();
        let by_index = index.checked_sub(1).and_then(|index| steps.get(index));
        // Triggers of a base image shift the count: then the text decides.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let by_text = || steps.iter().find(|one| words(&format!("{} {}", one.keyword, one.rest)) == words(text));
        by_index.filter(|one| one.keyword == keyword).or_else(by_text).map(|one| one.line)
    }

    fn stages(&self) -> Vec<Stage<'_>> {
        let starts: Vec<usize> =
            (0..self.instructions.len()).filter(|i| self.instructions[*i].keyword == "FROM").collect();
        let ends = starts.iter().skip(1).copied().chain([self.instructions.len()]);
        starts.iter().zip(ends).map(|(start, end)| stage(&self.instructions[*start..end])).collect()
    }

    /// What `FROM` lines can use: arguments before the first stage, and those that BuildKit brings.
    fn global_args(&self, args: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut known: BTreeMap<String, String> = ["TARGET", "BUILD"]
            .iter()
            .flat_map(|side| {
                [("PLATFORM", "linux/amd64"), ("OS", "linux"), ("ARCH", "amd64")]
                    .map(|(k, v)| (format!("{side}{k}"), v.to_owned()))
            })
            .collect();
        for one in self.instructions.iter().take_while(|one| one.keyword != "FROM").filter(|one| one.keyword == "ARG") {
            for word in one.rest.split_whitespace() {
                let (name, default) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
                let value = args.get(name).cloned().or_else(|| default.map(|text| expand(unquoted(text), &known)));
                known.extend(value.map(|value| (name.to_owned(), value)));
            }
        }
        known
    }
}

fn stage(instructions: &[Instruction]) -> Stage<'_> {
    let words: Vec<&str> = instructions[0].rest.split_whitespace().skip_while(|word| word.starts_with("--")).collect();
    let name = match words[..] {
        [_, r#as, name, ..] if r#as.eq_ignore_ascii_case("as") => Some(name.to_lowercase()),
        _ => None,
    };
    Stage { name, image: words.first().map(|image| unquoted(image).to_owned()).unwrap_or_default(), instructions }
}

fn flag<'a>(rest: &'a str, name: &str) -> Option<&'a str> {
    rest.split_whitespace()
        .take_while(|word| word.starts_with("--"))
        .find_map(|word| word.strip_prefix("--")?.strip_prefix(name)?.strip_prefix('='))
}

/// The images and stages that a `RUN` mounts.
fn mounts(rest: &str) -> impl Iterator<Item = &str> {
    rest.split_whitespace()
        .take_while(|word| word.starts_with("--"))
        .filter_map(|word| word.strip_prefix("--mount="))
        .flat_map(|mount| mount.split(','))
        .filter_map(|option| option.strip_prefix("from="))
}

fn unquoted(text: &str) -> &str {
    ['"', '\''].iter().find_map(|q| text.strip_prefix(*q)?.strip_suffix(*q)).unwrap_or(text)
}

/// `$A`, `${A}`, `${A:-default}` and `${A:+other}` replaced. Values may double themselves line by line: what is longer
/// than any image's name is cut off.
fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    expand_in(text, known, 0)
}

fn expand_in(text: &str, known: &BTreeMap<String, String>, level: usize) -> String {
    let get = |name: &str| known.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some((inside, behind)) = after.strip_prefix('{').and_then(closing_brace) {
            let (name, modifier) = inside.split_at(inside.find(|c: char| !is_name(c)).unwrap_or(inside.len()));
            let word =
                |word: &str| if level < MOST_LEVELS { expand_in(word, known, level + 1) } else { word.to_owned() };
            match modifier.trim_start_matches(':').split_at_checked(1) {
                Some(("-", default)) => out.push_str(&get(name).map_or_else(|| word(default), str::to_owned)),
                Some(("+", other)) => out.push_str(&get(name).map(|_| word(other)).unwrap_or_default()),
                _ => out.push_str(get(name).unwrap_or_default()),
            }
            rest = behind;
        } else {
            let (name, behind) = after.split_at(after.find(|c: char| !is_name(c)).unwrap_or(after.len()));
            out.push_str(get(name).unwrap_or_default());
            rest = behind;
        }
        if out.len() > LONGEST {
            out.truncate(out.floor_char_boundary(LONGEST));
            return out;
        }
    }
    out + rest
}

fn closing_brace(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some((&text[..at], &text[at + 1..])),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The value of `# name=value` among the comments at the top.
fn directive(lines: &[String], name: &str) -> Option<String> {
    lines
        .iter()
        .map_while(|line| line.trim().strip_prefix('#'))
        .map_while(|line| line.split_once('='))
        .find_map(|(key, value)| key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned()))
}

fn instructions(lines: &[String], escape: char) -> Vec<Instruction> {
    let mut found = Vec::new();
    let mut numbered = lines.iter().enumerate();
    while let Some((index, line)) = numbered.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut text = String::new();
        let mut next = Some(line);
        while let Some(line) = next.take() {
            match line.strip_suffix(escape) {
                Some(line) => {
                    text.push_str(line);
                    // Comments and empty lines inside a continued instruction do not end it.
                    next = numbered
                        .by_ref()
                        .map(|(_, line)| line.trim())
                        .find(|line| !line.is_empty() && !line.starts_with('#'));
                }
                None => text.push_str(line),
            }
        }
        let (keyword, rest) = text.split_once(char::is_whitespace).unwrap_or((&text, ""));
        let keyword = keyword.to_uppercase();
        if ["RUN", "COPY", "ADD"].contains(&keyword.as_str()) {
            for end in heredocs(rest) {
                numbered.by_ref().find(|(_, line)| line.trim_start_matches('\t') == end);
            }
        }
        found.push(Instruction { line: index + 1, keyword, rest: rest.trim().to_owned() });
    }
    found
}

/// The words that end the here-documents of an instruction.
fn heredocs(rest: &str) -> Vec<String> {
    rest.split("<<")
        .skip(1)
        .filter_map(|after| {
            let word = after.trim_start_matches('-').split_whitespace().next()?;
            let word = unquoted(word);
            (word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && word.chars().all(is_name))
                .then(|| word.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;

    const SAMPLE: &str = "# syntax=docker/dockerfile:1\n\
        ARG GO=registry.example/go:1\n\
        ARG TAG\n\
        FROM --platform=$BUILDPLATFORM ${GO} AS Build\n\
        ENV A=1\n\
        WORKDIR /src\n\
        COPY . .\n\
        RUN one \\\n\
        # a comment\n\
        \n\
        \x20 && two\n\
        RUN <<END\n\
        FROM nothing\n\
        END\n\
        FROM scratch\n\
        COPY --from=build /out /\n\
        COPY --from=other.example/tool:${TAG:-2} /x /x\n\
        FROM build\n\
        RUN three\n";

    #[test]
    fn stages_and_images_are_found() {
        let file = Dockerfile::parse(SAMPLE);
        assert_eq!(file.stage_names(), ["build"]);
        assert!(file.has_stage("BUILD") && file.has_stage("2") && !file.has_stage("3") && !file.has_stage("x"));
        let none = BTreeMap::new();
        assert_eq!(file.images(&none), ["docker/dockerfile:1", "other.example/tool:2", "registry.example/go:1"]);
        let args = [("GO".to_owned(), "go:9".to_owned()), ("TAG".to_owned(), "7".to_owned())].into();
        assert_eq!(file.images(&args), ["docker/dockerfile:1", "go:9", "other.example/tool:7"]);
    }

    #[test]
    fn mounted_images_are_pulled_too() {
        let file = Dockerfile::parse(
            "FROM a AS one\nRUN --network=none --mount=type=bind,from=b.example/c:1,target=/c --mount=from=one,target=/o x",
        );
        assert_eq!(file.images(&BTreeMap::new()), ["a", "b.example/c:1"]);
    }

    #[test]
    fn a_step_is_traced_to_its_first_line() {
        let file = Dockerfile::parse(SAMPLE);
        for (step, line) in [
            ("[build 1/5] FROM registry.example/go:1", Some(4)),
            ("[build 2/5] WORKDIR /src", Some(6)),
            ("[build 4/5] RUN one   && two", Some(8)),
            ("[build  5/12] RUN <<END (...)", Some(12)),
            ("[stage-1 1/2] COPY --from=build /out /", Some(16)),
            ("[stage-2 1/1] RUN three", Some(19)),
            ("[build 2/5] RUN one   && two", Some(8)),
            ("[linux/arm64->amd64 build 2/5] WORKDIR /src", Some(6)),
            ("[linux/amd64 1/1] RUN three", Some(19)),
            ("[nowhere 1/1] RUN x", None),
            ("[internal] load build definition from Dockerfile", None),
            ("exporting to image", None),
        ] {
            assert_eq!(file.line_of_step(step), line, "{step}");
        }
        assert_eq!(file.line(8), Some("RUN one \\"));
        assert_eq!(Dockerfile::parse("FROM a\nRUN b").line_of_step("[2/2] RUN b"), Some(2));
    }

    #[test]
    fn variables_are_resolved() {
        let known = [("A".to_owned(), "1".to_owned()), ("E".to_owned(), String::new())].into();
        for (text, expected) in [
            ("x$A/y", "x1/y"),
            ("${A}${B:-$A}", "11"),
            ("${E:-d}${A:+z}${B:+z}", "dz"),
            ("${B:-${A}-alpine}", "1-alpine"),
            ("$B", ""),
            ("plain", "plain"),
            ("${A", "{A"),
            ("${A:-", "{A:-"),
        ] {
            assert_eq!(expand(text, &known), expected, "{text}");
        }
    }

    #[test]
    fn values_that_double_themselves_stay_short() {
        let doubled = fuzz::many(63, |n| format!("ARG A{}=$A{n}$A{n}\n", n + 1));
        let file = Dockerfile::parse(&format!("ARG A0=xxxxxxxx\n{doubled}FROM $A63\n"));
        assert_eq!(file.images(&BTreeMap::new()), ["x".repeat(LONGEST)]);
    }
}
