//! What containers write.

use std::time::Duration;

use futures_util::io::{AsyncBufRead, AsyncBufReadExt};
use serde_json::Value;
use tokio::time::sleep;

use super::client::Cluster;
use super::request::{Failure, get};
use crate::error::Result;
use crate::model::ObjectKey;
use crate::text::CUT;

/// Bytes of a line that are kept.
const LONGEST_LINE: usize = 64 << 10;
const LOOK_AGAIN: Duration = Duration::from_millis(250);

impl Cluster {
    /// Hands every line of a container to `on_line`, from its first one on, until the container has ended or its pod
    /// is gone. Waits for a container that has not started, and goes on where it stopped when the connection breaks;
    /// a line is neither lost nor repeated.
    ///
    /// # Errors
    /// Only a lasting refusal, such as a missing right.
    pub async fn follow_logs(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        mut on_line: impl FnMut(&str),
    ) -> Result<()> {
        let path = log_path(namespace, pod, container);
        let mut seen = String::new();
        loop {
            let ended = self.ended(namespace, pod, container).await?;
            match self.stream(&path, &mut seen, &mut on_line).await {
                Ok(()) if ended => return Ok(()),
                Err(failure) if failure.code() == Some(404) => return Ok(()),
                // One that has ended and still has no log has never started.
                Err(failure) if failure.code() == Some(400) && ended => return Ok(()),
                Err(failure) if !worth_another_try(&failure) => {
                    return Err(self.error(&format!("cannot read the log of {namespace}/{pod}"), failure));
                }
                Ok(()) | Err(_) => sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// The last `lines` lines that a container has written; those of its previous run with `previous`. Empty when
    /// there are none.
    pub async fn last_lines(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        previous: bool,
        lines: u32,
    ) -> Result<Vec<String>> {
        let path = format!("{}&tailLines={lines}&previous={previous}", log_path(namespace, pod, container));
        match self.once(get(&path)).await {
            Ok(answer) => Ok(String::from_utf8_lossy(&answer.body).lines().map(str::to_owned).collect()),
            Err(failure) if matches!(failure.code(), Some(400 | 404)) => Ok(Vec::new()),
            Err(failure) => Err(self.error(&format!("cannot read the log of {namespace}/{pod}"), failure)),
        }
    }

    async fn stream(&self, path: &str, seen: &mut String, on_line: &mut impl FnMut(&str)) -> Result<(), Failure> {
        // The server knows seconds only: lines of the last second come again and are passed over.
        let since = since(seen);
        let request = get(&format!("{path}&follow=true&timestamps=true{since}"));
        let reader = self.client().request_stream(request).await?;
        lines(reader, seen, on_line).await
    }

    async fn ended(&self, namespace: &str, pod: &str, container: &str) -> Result<bool> {
        let key = ObjectKey {
            api_version: "v1".into(),
            kind: "Pod".into(),
            namespace: Some(namespace.into()),
            name: pod.into(),
        };
        Ok(self.get(&key).await?.is_none_or(|pod| has_ended(&pod, container)))
    }
}

async fn lines(reader: impl AsyncBufRead, seen: &mut String, on_line: &mut impl FnMut(&str)) -> Result<(), Failure> {
    let (mut reader, resumed) = (std::pin::pin!(reader), seen.clone());
    while let Some(line) = next_line(&mut reader).await.map_err(|e| Failure::Transport(e.to_string()))? {
        let (time, text) = line.split_once(' ').unwrap_or((line.trim_end(), ""));
        if time > resumed.as_str() {
            time.clone_into(seen);
            on_line(text);
        }
    }
    Ok(())
}

/// The next line without its end; of one that does not end, its beginning.
async fn next_line(reader: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Option<String>> {
    let (mut line, mut length) = (Vec::new(), 0);
    loop {
        let bytes = reader.fill_buf().await?;
        if bytes.is_empty() && length == 0 {
            return Ok(None);
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = &bytes[..end.unwrap_or(bytes.len())];
        line.extend_from_slice(&part[..part.len().min(LONGEST_LINE - line.len())]);
        length += part.len();
        let is_last = end.is_some() || part.is_empty();
        let taken = part.len() + usize::from(end.is_some());
        reader.consume_unpin(taken);
        if is_last {
            break;
        }
    }
    let text = String::from_utf8_lossy(&line);
    if length > line.len() {
        // A letter may have been cut in two.
        return Ok(Some(format!("{}{CUT}", text.trim_end_matches('\u{fffd}'))));
    }
    Ok(Some(text.trim_end_matches('\r').to_owned()))
}

/// The second of `time`, which the kubelet writes with nine decimals in its own time zone.
fn since(time: &str) -> String {
    let Some((second, rest)) = time.split_at_checked(19) else { return String::new() };
    let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    format!("&sinceTime={second}{}", zone.replace('+', "%2B"))
}

fn log_path(namespace: &str, pod: &str, container: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}")
}

/// 400 is the answer while a pod has no node or a container is still being created, with and without words.
fn worth_another_try(failure: &Failure) -> bool {
    match failure {
        // A kubelet that cannot be reached is a 500 without a reason.
        Failure::Status(status) => status.code >= 500 || matches!(status.code, 400 | 429),
        Failure::Transport(_) => failure.is_transient(),
    }
}

fn has_ended(pod: &Value, container: &str) -> bool {
    let over = matches!(pod.pointer("/status/phase").and_then(Value::as_str), Some("Succeeded" | "Failed"));
    let statuses = ["/status/containerStatuses", "/status/initContainerStatuses"]
        .into_iter()
        .filter_map(|list| pod.pointer(list)?.as_array())
        .flatten();
    let mut ended = statuses
        .filter(|status| status.get("name").and_then(Value::as_str) == Some(container))
        .map(|status| status.pointer("/state/terminated").is_some());
    over || ended.next().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;
    use crate::redact::{Redactor, leaks};
    use serde_json::json;

    #[tokio::test]
    async fn lines_that_come_again_are_passed_over() {
        let text = "2026-01-01T00:00:01.1Z one\n2026-01-01T00:00:01.2Z two\n2026-01-01T00:00:02.1Z\n";
        let (mut seen, mut got) = ("2026-01-01T00:00:01.1Z".to_owned(), Vec::new());
        lines(text.as_bytes(), &mut seen, &mut |line| got.push(line.to_owned())).await.expect("lines");
        assert_eq!(got, ["two", ""]);
        assert_eq!(seen, "2026-01-01T00:00:02.1Z");
    }

    #[tokio::test]
    async fn of_a_line_that_does_not_end_the_beginning_is_told() {
        let text = format!("2026-01-01T00:00:01Z {}\n2026-01-01T00:00:02Z b\n", "é".repeat(LONGEST_LINE));
        let (mut seen, mut got) = (String::new(), Vec::new());
        lines(text.as_bytes(), &mut seen, &mut |line| got.push(line.to_owned())).await.expect("lines");
        assert!(got[0].ends_with("éé…") && got[0].len() <= LONGEST_LINE, "{} bytes", got[0].len());
        assert_eq!(got[1..], ["b"]);
    }

    #[tokio::test]
    async fn a_secret_where_a_line_is_cut_does_not_come_out() {
        let (mut got, secret) = (Vec::new(), "MADE-UP/SECRET+0123456789");
        let redactor = Redactor::default();
        redactor.learn(secret);
        for length in LONGEST_LINE - 70..LONGEST_LINE {
            let text = format!("2026-01-01T00:00:01Z {}{secret}{}\n", "x".repeat(length), "y".repeat(100));
            let mut take = |line: &str| got.push(redactor.shown(line));
            lines(text.as_bytes(), &mut String::new(), &mut take).await.expect("lines");
        }
        assert!(got.len() == 70 && !got.iter().any(|line| leaks(line, secret)));
    }

    #[test]
    fn reading_goes_on_from_the_second_of_the_last_line() {
        assert_eq!(since("2026-01-01T00:00:01.123456789Z"), "&sinceTime=2026-01-01T00:00:01Z");
        assert_eq!(since("2026-01-01T00:00:01.123456789+02:00"), "&sinceTime=2026-01-01T00:00:01%2B02:00");
        assert_eq!(since(""), "");
    }

    #[test]
    fn a_container_has_ended_when_it_or_its_pod_has() {
        let pod = json!({ "status": { "phase": "Running", "containerStatuses": [
            { "name": "a", "state": { "terminated": {} } }, { "name": "b", "state": { "running": {} } },
        ] } });
        assert!(has_ended(&pod, "a") && !has_ended(&pod, "b"));
        assert!(has_ended(&json!({ "status": { "phase": "Failed" } }), "a"));
    }

    #[test]
    fn any_input_is_read_or_refused() {
        let samples = [
            "2026-01-01T00:00:01.123456789Z one\n2026-01-01T00:00:01.2+02:00 two\r\n\n2026-01-01T00:00:02Z\n"
                .to_owned(),
            "2026-01-01T00:00:01Z ".to_owned() + &"x".repeat(200_000),
            "a\n".repeat(50_000),
        ];
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        fuzz::reader(module_path!(), &samples, &["\n2026-01-01T00:00:03Z ", "+14:00"], |input| {
            let mut seen = String::new();
            runtime.block_on(lines(input, &mut seen, &mut |_| {})).expect("all of it");
            assert!(since(&seen).starts_with("&sinceTime=") || seen.len() < 19 || !seen.is_char_boundary(19));
        });
    }
}
