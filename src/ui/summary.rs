//! What remains of a run: which release runs where, with which images, and how long it took.

use std::collections::BTreeMap;
use std::time::Duration;

use console::measure_text_width;

use super::output::{fit, pad};
use super::text::{counted, duration, name, place};
use crate::event::{Event, Stage, Target};
use crate::model::{PinnedImage, ServiceName};

/// The summary that [`Event::RunFinished`] carries, `None` for other events. Without a `width` nothing is shortened;
/// with one, no line is wider.
pub(super) fn summary(event: &Event, target: Option<&Target>, width: Option<usize>) -> Option<Vec<String>> {
    let Event::RunFinished { release, images, stages, elapsed, changed, unchanged } = event else { return None };
    let place = target.map_or(String::new(), |target| format!(" on {}", place(target)));
    let release = if release.is_empty() { "everything".to_owned() } else { format!("release {release}") };
    let mut lines = vec![format!("{release} runs{place}")];
    lines.extend(image_lines(images, width));
    lines.extend(join(times(stages, *elapsed), width));
    lines.push(format!("{} changed, {unchanged} unchanged", counted(*changed as u64, "object")));
    Some(lines.into_iter().map(|line| width.map_or(line.clone(), |width| fit(&line, width))).collect())
}

/// One image per line, all in the same form: as complete as the narrowest allows.
fn image_lines(images: &BTreeMap<ServiceName, PinnedImage>, width: Option<usize>) -> Vec<String> {
    let column = images.keys().map(|service| service.as_str().len()).max().unwrap_or(0);
    let forms: [fn(&PinnedImage) -> String; 3] = [ToString::to_string, with_short_digest, without_registry];
    let in_form = |form: fn(&PinnedImage) -> String| -> Vec<String> {
        images.iter().map(|(service, image)| format!("  {}  {}", pad(service.as_str(), column), form(image))).collect()
    };
    let fits = |lines: &Vec<String>| width.is_none_or(|width| lines.iter().all(|l| measure_text_width(l) <= width));
    forms.into_iter().map(in_form).find(fits).unwrap_or_else(|| in_form(without_registry))
}

fn with_short_digest(image: &PinnedImage) -> String {
    format!("{}@sha256:{}", image.repository, image.digest.short())
}

fn without_registry(image: &PinnedImage) -> String {
    format!("{}@sha256:{}", image.repository.path, image.digest.short())
}

fn times(stages: &[(Stage, Duration)], total: Duration) -> Vec<String> {
    let stages = stages.iter().map(|(stage, elapsed)| format!("{} {}", name(*stage), duration(*elapsed)));
    stages.chain([format!("total {}", duration(total))]).collect()
}

/// `parts` between dots, in as many lines as `width` asks for.
fn join(parts: Vec<String>, width: Option<usize>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if width.is_none_or(|w| measure_text_width(line) + 3 + part.len() <= w) => {
                line.push_str(" · ");
                line.push_str(&part);
            }
            _ => lines.push(part),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn shown(width: Option<usize>) -> String {
        summary(&samples::finished(), Some(&samples::target()), width).expect("valid").join("\n")
    }

    #[test]
    fn the_summary_is_complete_where_nobody_limits_it() {
        insta::assert_snapshot!(shown(None), @r#"
        release d3708e6 runs on sandbox/shop
          api     127.0.0.1:3300/admin/shop-api@sha256:14c2529eb4498c5d1ffd6915d05bf58a91bdda796af59f41d480d11c099d0479
          worker  127.0.0.1:3300/admin/shop-worker@sha256:87eba76e7f3164534045ba922e7770fb58bbd14ad732bbf5ba6f11cc56989e6e
        preflight 300 ms · build 21.0 s · push 2.1 s · pin 100 ms · apply 12.3 s · total 1 m 04 s
        12 objects changed, 31 unchanged
        "#);
        assert_eq!(shown(Some(200)), shown(None));
    }

    #[test]
    fn digests_are_short_where_the_terminal_is_narrow() {
        insta::assert_snapshot!(shown(Some(80)), @r#"
        release d3708e6 runs on sandbox/shop
          api     127.0.0.1:3300/admin/shop-api@sha256:14c2529eb449
          worker  127.0.0.1:3300/admin/shop-worker@sha256:87eba76e7f31
        preflight 300 ms · build 21.0 s · push 2.1 s · pin 100 ms · apply 12.3 s
        total 1 m 04 s
        12 objects changed, 31 unchanged
        "#);
        insta::assert_snapshot!(shown(Some(60)), @r#"
        release d3708e6 runs on sandbox/shop
          api     admin/shop-api@sha256:14c2529eb449
          worker  admin/shop-worker@sha256:87eba76e7f31
        preflight 300 ms · build 21.0 s · push 2.1 s · pin 100 ms
        apply 12.3 s · total 1 m 04 s
        12 objects changed, 31 unchanged
        "#);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 1..160 {
            for line in shown(Some(width)).lines() {
                assert!(measure_text_width(line) <= width, "{width}: {line}");
            }
        }
    }
}
