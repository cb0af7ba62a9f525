//! BuildKit's status messages as lines that people read.

use std::collections::{HashMap, VecDeque};

use bollard::moby::buildkit::v1::{StatusResponse, Vertex};

use super::BuildUpdate;
use crate::text::{CUT, both_ends, plain};

/// How many lines of a failed step are shown.
const LAST_LINES: usize = 20;
/// Bytes of a line without an end that are kept, and letters of any line that are shown.
const LONGEST_LINE: usize = 16 << 10;
const LONGEST_SHOWN: usize = 4000;

/// What is known about the steps of one build.
#[derive(Default)]
pub(super) struct Log {
    steps: HashMap<String, Step>,
    /// The step whose lines came last.
    speaking: Option<String>,
    failed: Option<Failed>,
}

#[derive(Default)]
struct Step {
    name: String,
    begun: bool,
    cached: bool,
    /// What came after the last line end.
    rest: Vec<u8>,
    last: VecDeque<String>,
}

/// The step that ended the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) vertex: String,
    pub(super) step: String,
    pub(super) error: String,
    pub(super) log: Vec<String>,
}

impl Log {
    /// Takes one message and says what it means.
    pub(super) fn take(&mut self, status: StatusResponse) -> Vec<BuildUpdate> {
        let mut updates = Vec::new();
        for vertex in &status.vertexes {
            self.begin(vertex, &mut updates);
        }
        for log in status.logs {
            self.write(&log.vertex, &log.msg, &mut updates);
        }
        for vertex in status.vertexes {
            if vertex.completed.is_some() || !vertex.error.is_empty() {
                self.end(&vertex, &mut updates);
            }
        }
        updates
    }

    /// What is left when the stream ends.
    pub(super) fn finish(&mut self) -> Vec<BuildUpdate> {
        let mut updates = Vec::new();
        let open: Vec<String> = self.steps.keys().cloned().collect();
        for vertex in open {
            self.flush(&vertex, &mut updates);
        }
        updates
    }

    /// The step that failed, with its own last lines.
    pub(super) fn failed(&self) -> Option<Failed> {
        let mut failed = self.failed.clone()?;
        failed.log = self.steps.get(&failed.vertex).map(|step| step.last.iter().cloned().collect()).unwrap_or_default();
        Some(failed)
    }

    fn begin(&mut self, vertex: &Vertex, updates: &mut Vec<BuildUpdate>) {
        let step = self.steps.entry(vertex.digest.clone()).or_default();
        if !vertex.name.is_empty() {
            step.name = clean(vertex.name.as_bytes());
        }
        if vertex.cached && !step.cached {
            step.cached = true;
            if is_of_dockerfile(&step.name) {
                updates.push(BuildUpdate::Log(format!("CACHED {}", step.name)));
                updates.push(BuildUpdate::Step(format!("CACHED {}", step.name)));
                self.speaking = None;
            }
        } else if vertex.started.is_some() && !step.begun && !step.cached {
            step.begun = true;
            let name = step.name.clone();
            if is_of_dockerfile(&name) {
                updates.push(BuildUpdate::Log(name.clone()));
                self.speaking = Some(vertex.digest.clone());
            }
            updates.push(BuildUpdate::Step(name));
        }
    }

    fn write(&mut self, vertex: &str, bytes: &[u8], updates: &mut Vec<BuildUpdate>) {
        let step = self.steps.entry(vertex.to_owned()).or_default();
        let before = step.rest.len();
        step.rest.extend_from_slice(bytes);
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n').map(|at| before + at) else {
            forget_overwritten(&mut step.rest);
            return;
        };
        let complete: Vec<u8> = step.rest.drain(..=end).collect();
        for line in complete[..end].split(|byte| *byte == b'\n') {
            self.say(vertex, line, updates);
        }
    }

    fn flush(&mut self, vertex: &str, updates: &mut Vec<BuildUpdate>) {
        let rest = self.steps.get_mut(vertex).map(|step| std::mem::take(&mut step.rest)).unwrap_or_default();
        if !rest.is_empty() {
            self.say(vertex, &rest, updates);
        }
    }

    fn say(&mut self, vertex: &str, line: &[u8], updates: &mut Vec<BuildUpdate>) {
        let line = clean(line);
        let step = self.steps.entry(vertex.to_owned()).or_default();
        step.last.push_back(line.clone());
        if step.last.len() > LAST_LINES {
            step.last.pop_front();
        }
        // Steps run side by side: a line after another step's is led by its own step's name again.
        if self.speaking.as_deref() != Some(vertex) && !step.name.is_empty() {
            updates.push(BuildUpdate::Log(step.name.clone()));
            self.speaking = Some(vertex.to_owned());
        }
        updates.push(BuildUpdate::Log(line));
    }

    fn end(&mut self, vertex: &Vertex, updates: &mut Vec<BuildUpdate>) {
        self.flush(&vertex.digest, updates);
        // The steps beside a failed one are cancelled; they did not fail.
        if vertex.error.is_empty() || vertex.error.contains("context canceled") || self.failed.is_some() {
            return;
        }
        let step = self.steps.get(&vertex.digest).map(|step| step.name.clone()).unwrap_or_default();
        self.failed = Some(Failed {
            vertex: vertex.digest.clone(),
            step,
            error: clean(vertex.error.as_bytes()),
            log: Vec::new(),
        });
    }
}

fn is_of_dockerfile(name: &str) -> bool {
    name.starts_with('[') && !name.starts_with("[internal]")
}

/// A bar that is redrawn for an hour without a line end takes no more memory than its last state; a line that goes on
/// without either is kept by its end.
fn forget_overwritten(rest: &mut Vec<u8>) {
    if rest.len() <= LONGEST_LINE {
        return;
    }
    let end = rest.trim_ascii_end().len();
    let shown = rest[..end].iter().rposition(|byte| *byte == b'\r').map_or(0, |at| at + 1);
    rest.drain(..shown);
    if let Some(most) = rest.len().checked_sub(LONGEST_LINE).filter(|more| *more > 0) {
        // Letters are not cut in two.
        let inside = rest[most..].iter().take_while(|byte| (0x80..0xc0).contains(*byte)).count();
        let mut kept = CUT.to_string().into_bytes();
        kept.extend_from_slice(&rest[most + inside..]);
        *rest = kept;
    }
}

fn clean(bytes: &[u8]) -> String {
    both_ends(&plain(&String::from_utf8_lossy(bytes)), LONGEST_SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use crate::redact::{Redactor, leaks};
    use bollard::moby::buildkit::v1::VertexLog;

    fn vertex(digest: &str, name: &str) -> Vertex {
        Vertex { digest: digest.into(), name: name.into(), started: Some(stamp()), ..Vertex::default() }
    }

    /// The type's own path is not public in bollard; a default is enough.
    fn stamp<T: Default>() -> T {
        T::default()
    }

    fn log(vertex: &str, text: &str) -> VertexLog {
        VertexLog { vertex: vertex.into(), msg: text.into(), ..VertexLog::default() }
    }

    fn said(log: &mut Log, vertexes: Vec<Vertex>, logs: Vec<VertexLog>) -> Vec<String> {
        let updates = log.take(StatusResponse { vertexes, logs, ..StatusResponse::default() });
        updates
            .into_iter()
            .map(|update| match update {
                BuildUpdate::Step(step) => format!("> {step}"),
                BuildUpdate::Log(line) => line,
            })
            .collect()
    }

    #[test]
    fn lines_are_put_together_and_led_by_their_step() {
        let mut state = Log::default();
        let seen = said(&mut state, vec![vertex("a", "[a 1/2] RUN a"), vertex("b", "[b 1/2] RUN b")], vec![]);
        assert_eq!(seen, ["[a 1/2] RUN a", "> [a 1/2] RUN a", "[b 1/2] RUN b", "> [b 1/2] RUN b"]);
        assert_eq!(said(&mut state, vec![], vec![log("b", "one\ntw")]), ["one"]);
        assert_eq!(
            said(&mut state, vec![], vec![log("a", "x\n"), log("b", "o\r\n")]),
            ["[a 1/2] RUN a", "x", "[b 1/2] RUN b", "two"]
        );
        let done = Vertex { completed: Some(stamp()), ..vertex("a", "") };
        assert_eq!(said(&mut state, vec![done], vec![log("a", "no end")]), ["[a 1/2] RUN a", "no end"]);
    }

    #[test]
    fn cached_steps_are_recognisable_and_said_once() {
        let mut state = Log::default();
        let cached = || Vertex { cached: true, completed: Some(stamp()), ..vertex("a", "[a 1/2] RUN a") };
        assert_eq!(said(&mut state, vec![cached()], vec![]), ["CACHED [a 1/2] RUN a", "> CACHED [a 1/2] RUN a"]);
        assert!(said(&mut state, vec![cached()], vec![]).is_empty());
    }

    #[test]
    fn the_failed_step_keeps_its_own_last_lines() {
        let mut state = Log::default();
        said(&mut state, vec![vertex("a", "[2/2] RUN a"), vertex("b", "[1/2] RUN b")], vec![]);
        for number in 0..30 {
            said(&mut state, vec![], vec![log("a", &format!("{number}\n")), log("b", "other\n")]);
        }
        let cancelled = Vertex { error: "context canceled".into(), ..vertex("b", "") };
        let broken = Vertex { error: "exit code: 3".into(), ..vertex("a", "") };
        said(&mut state, vec![cancelled, broken], vec![]);
        let failed = state.failed().expect("failed");
        assert_eq!((failed.step.as_str(), failed.error.as_str()), ("[2/2] RUN a", "exit code: 3"));
        assert_eq!((failed.log.len(), failed.log[0].as_str(), failed.log[19].as_str()), (20, "10", "29"));
    }

    #[test]
    fn a_secret_comes_out_of_no_line_however_its_bytes_arrive() {
        let secret = "MADE-UP/SECRET+0123456789";
        let redactor = Redactor::default();
        redactor.learn(secret);
        // Before, across and behind the places where a long line is cut.
        let places = [0, LONGEST_SHOWN / 3 - 30, LONGEST_LINE - 40].map(|start| (start..start + 40).step_by(5));
        for length in places.into_iter().flatten() {
            let text = format!("{}{secret}{}", "x".repeat(length), "é".repeat(LONGEST_LINE / 2));
            for chunk in [97, 5000, text.len()] {
                let mut state = Log::default();
                let mut seen = Vec::new();
                for bytes in text.as_bytes().chunks(chunk) {
                    let log = VertexLog { vertex: "a".into(), msg: bytes.to_vec(), ..VertexLog::default() };
                    seen.extend(state.take(StatusResponse { logs: vec![log], ..StatusResponse::default() }));
                }
                seen.extend(state.finish());
                for update in seen {
                    let (BuildUpdate::Step(line) | BuildUpdate::Log(line)) = update;
                    assert!(!leaks(&redactor.shown(&line), secret), "{length} letters before, in chunks of {chunk}");
                }
            }
        }
    }

    #[test]
    fn a_line_without_an_end_stays_small() {
        let mut state = Log::default();
        said(&mut state, vec![vertex("a", "[1/1] RUN a")], vec![]);
        for percent in 0..20_000 {
            said(&mut state, vec![], vec![log("a", &format!("{percent} done\r"))]);
        }
        assert!(state.steps["a"].rest.len() <= LONGEST_LINE);
        assert_eq!(said(&mut state, vec![], vec![log("a", "\n")]), ["19999 done"]);
        said(&mut state, vec![], vec![log("a", &"é".repeat(3 * LONGEST_LINE))]);
        said(&mut state, vec![], vec![log("a", "x")]);
        assert!(state.steps["a"].rest.len() <= LONGEST_LINE + CUT.len_utf8());
        let line = said(&mut state, vec![], vec![log("a", "\n")]).remove(0);
        assert!(line.starts_with("…é") && line.ends_with("éx") && line.len() < LONGEST_LINE, "{} bytes", line.len());
    }

    /// Each line is something that BuildKit says of a step, which its first letter names: its name, that it began, an
    /// error, that it ended, or else output, with or without a line end.
    #[test]
    fn any_input_is_read_or_refused() {
        let samples = [
            "an[build 1/2] RUN a\nab\nao10%\rl20%\nbn[2/2] COPY\nbb\nbl\u{1b}[31mred\u{1b}[0m\naeexit code: 1\nad\n"
                .to_owned(),
            format!("ab\n{}", "ao10%\r".repeat(5000)),
            format!("ao{}\n", "x".repeat(100_000)),
            format!("al{}\n", "\u{1b}]8;;".repeat(20_000)),
            "al\nbl\n".repeat(10_000),
            ('\u{100}'..'\u{2800}').flat_map(|c| [c, 'l', '\n']).collect(),
        ];
        let words = ["\nan", "\nab", "\nal", "\nao", "\nae", "\nad", "\u{1b}[", "\u{1b}]", "\u{7}", "context canceled"];
        fuzz::reader(module_path!(), &samples, &words, |input| {
            let mut state = Log::default();
            for line in input.split(|byte| *byte == b'\n') {
                let text = String::from_utf8_lossy(line);
                let mut chars = text.chars();
                let (digest, what) = (chars.next().unwrap_or('a').to_string(), chars.next());
                let rest = chars.as_str();
                let mut status = StatusResponse::default();
                let vertex = Vertex { digest: digest.clone(), ..Vertex::default() };
                match what {
                    Some('n') => status.vertexes.push(Vertex { name: rest.into(), ..vertex }),
                    Some('b') => status.vertexes.push(Vertex { started: Some(stamp()), ..vertex }),
                    Some('e') => status.vertexes.push(Vertex { error: rest.into(), ..vertex }),
                    Some('d') => status.vertexes.push(Vertex { completed: Some(stamp()), ..vertex }),
                    Some('l') => status.logs.push(log(&digest, &format!("{rest}\n"))),
                    _ => {
                        let msg = line.get(2..).unwrap_or_default().to_vec();
                        status.logs.push(VertexLog { vertex: digest, msg, ..VertexLog::default() });
                    }
                }
                for update in state.take(status) {
                    let (BuildUpdate::Step(text) | BuildUpdate::Log(text)) = update;
                    assert!(!text.contains(['\n', '\r', '\u{1b}']), "{text:?}");
                }
            }
            let _ = (state.finish(), state.failed());
        });
    }
}
