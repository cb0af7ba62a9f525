//! A plan on standard output, for people and for programs.

use console::Term;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::output::{Paint, pad};
use super::print;
use super::text::{counted, place};
use crate::error::Result;
use crate::model::Digest;
use crate::plan::difference::{Difference, bare};
use crate::plan::report::{ImagePlan, KnownImage, ObjectPlan, Plan, PlannedAction, Step};
use crate::redact::{MASK, Redactor};
use crate::text::{CUT, plain};

/// Prints `plan` without any secret, as one JSON object or as text.
///
/// # Errors
/// When standard output takes no more, for example on a full disk. A reader that is gone is none.
pub fn print_plan(plan: &Plan, as_json: bool, redactor: &Redactor) -> Result<()> {
    let value = redactor.object(&serde_json::to_value(without_old_secrets(plan, redactor)).expect("a plan is JSON"));
    if as_json {
        return print(&serde_json::to_string_pretty(&value).expect("JSON is text"));
    }
    let plan: Plan = serde_json::from_value(value).expect("masking changes texts alone");
    print(&text(&plan, Paint::of(&Term::stdout())))
}

/// Where a secret is to be, what was there before was one too, though nobody knows it any more.
fn without_old_secrets(plan: &Plan, redactor: &Redactor) -> Plan {
    let mut plan = plan.clone();
    for difference in plan.objects.iter_mut().flat_map(|object| &mut object.differences) {
        if difference.after.as_ref().is_some_and(|after| redactor.object(after) != *after) {
            difference.before = difference.before.is_some().then(|| MASK.into());
        }
    }
    plan
}

fn text(plan: &Plan, paint: Paint) -> String {
    let mut lines = vec![paint.bold(&headline(plan))];
    if plan.unfinished {
        lines.push(paint.yellow("an earlier deploy did not come to its end, or another is under way: what it changed would be put back first"));
    }
    section(&mut lines, paint, "images", images(plan));
    section(&mut lines, paint, "objects", plan.objects.iter().flat_map(|object| shown(object, paint)).collect());
    let restarts = plan.restarts.iter();
    let restarts = restarts.map(|restart| format!("  {}: {}", restart.workload, restart.because.join("; "))).collect();
    section(&mut lines, paint, "restarts", restarts);
    section(&mut lines, paint, "steps", steps(&plan.steps));
    let foreign = plan.foreign.iter();
    let foreign = foreign.map(|change| {
        let fields = some(&change.fields);
        format!("  {} by {} on {}: {fields}", change.object, plain(&change.manager), change.time)
    });
    section(&mut lines, paint, "changed by others since the last deploy", foreign.collect());
    lines.join("\n")
}

fn headline(plan: &Plan) -> String {
    let counts = [
        (PlannedAction::Create, "created"),
        (PlannedAction::Change, "changed"),
        (PlannedAction::Delete, "deleted"),
        (PlannedAction::Keep, "unchanged"),
    ];
    let some = counts.iter().filter(|(action, _)| plan.count(*action) > 0);
    let counts: Vec<String> = some.map(|(action, word)| format!("{} {word}", plan.count(*action))).collect();
    let what = if plan.changes { format!("objects: {}", counts.join(", ")) } else { "nothing to do".to_owned() };
    format!("release {} on {}, {what}", plan.release, place(&plan.target))
}

fn section(lines: &mut Vec<String>, paint: Paint, title: &str, content: Vec<String>) {
    if !content.is_empty() {
        lines.push(String::new());
        lines.push(paint.bold(title));
        lines.extend(content);
    }
}

fn images(plan: &Plan) -> Vec<String> {
    let column = plan.images.iter().map(|image| image.service.as_str().len()).max().unwrap_or(0);
    let line = |image: &ImagePlan| {
        let change = match &image.before {
            Some(before) if before.image == image.after.image => format!("{}, as it runs", known(&image.after)),
            Some(before) => format!("{} → {}", known(before), known(&image.after)),
            None => known(&image.after),
        };
        format!("  {}  {change}: {}", pad(image.service.as_str(), column), image.because)
    };
    plan.images.iter().map(line).collect()
}

fn known(image: &KnownImage) -> String {
    let tag = image.tag.as_ref().map(ToString::to_string);
    let digest = image.image.as_ref().and_then(|image| image.split_once('@')?.1.parse::<Digest>().ok());
    match (tag, digest) {
        (Some(tag), Some(digest)) => format!("{tag} sha256:{}", digest.short()),
        (Some(tag), None) => format!("{tag}, to be built"),
        (None, Some(digest)) => format!("sha256:{}", digest.short()),
        (None, None) => "unknown".to_owned(),
    }
}

fn shown(object: &ObjectPlan, paint: Paint) -> Vec<String> {
    let source = object.source.as_ref().map(|source| format!("  {source}")).unwrap_or_default();
    let line = match object.action {
        PlannedAction::Keep => return Vec::new(),
        PlannedAction::Create => paint.green(&format!("  + {}", object.object)) + &paint.dim(&source),
        PlannedAction::Change => paint.yellow(&format!("  ~ {}", object.object)) + &paint.dim(&source),
        PlannedAction::Delete => paint.red(&format!("  - {}", object.object)) + "  no longer in the manifests",
        PlannedAction::Spare => {
            format!("  ? {}  no longer in the manifests; it is never deleted by hdeploy", object.object)
        }
        PlannedAction::Leave => format!("  ? {}  no longer in the manifests; --prune deletes it", object.object),
    };
    let mut lines = vec![line];
    lines.extend(object.differences.iter().flat_map(|difference| fields(difference, paint)));
    if object.action == PlannedAction::Change && object.differences.is_empty() {
        lines.push(paint.dim("      only who owns its fields"));
    }
    lines
}

fn fields(difference: &Difference, paint: Paint) -> Vec<String> {
    let mut lines = vec![format!("      {}", plain(&difference.path))];
    let texts = (difference.before.as_ref().and_then(Value::as_str), difference.after.as_ref().and_then(Value::as_str));
    if let (Some(before), Some(after)) = texts
        && (before.contains('\n') || after.contains('\n'))
    {
        lines.extend(text_lines(before, after, paint));
        return lines;
    }
    let shown = |value: &Option<Value>| value.as_ref().map(bare);
    let (before, after) = (shown(&difference.before), shown(&difference.after));
    let same = match (&before, &after) {
        (Some(before), Some(after)) => before.chars().zip(after.chars()).take_while(|(b, a)| b == a).count(),
        _ => 0,
    };
    let side = |value: &Option<String>, mark: &str, paint: &dyn Fn(&str) -> String| {
        value.iter().map(|text| paint(&format!("      {mark} {}", plain(&excerpt(text, same))))).collect::<Vec<_>>()
    };
    lines.extend(side(&before, "-", &|text| paint.red(text)));
    lines.extend(side(&after, "+", &|text| paint.green(text)));
    lines
}

/// A value as it is, or of a long one what stands around the place of which all before is the `same`.
fn excerpt(text: &str, same: usize) -> String {
    const LONG: usize = 160;
    const BEFORE: usize = 40;
    let letters = text.chars().count();
    if letters <= LONG {
        return text.to_owned();
    }
    let from = same.saturating_sub(BEFORE).min(letters - LONG);
    let part: String = text.chars().skip(from).take(LONG).collect();
    let cut = |is_cut: bool| if is_cut { CUT.to_string() } else { String::new() };
    format!("{}{part}{} ({letters} letters)", cut(from > 0), cut(from + LONG < letters))
}

/// The lines of a long text that differ, with two around them.
fn text_lines(before: &str, after: &str, paint: Paint) -> Vec<String> {
    let diff = TextDiff::from_lines(before, after);
    let mut lines = Vec::new();
    for (number, group) in diff.grouped_ops(2).iter().enumerate() {
        if number > 0 {
            lines.push(paint.dim("        …"));
        }
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let text = plain(change.value().trim_end_matches('\n'));
            lines.push(match change.tag() {
                ChangeTag::Delete => paint.red(&format!("      - {text}")),
                ChangeTag::Insert => paint.green(&format!("      + {text}")),
                ChangeTag::Equal => format!("        {text}"),
            });
        }
    }
    lines
}

fn steps(steps: &[Step]) -> Vec<String> {
    let column = steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
    let line = |step: &Step| {
        let skipped = match step.skips.len() {
            0 => None,
            _ if step.does.is_empty() && step.skips.len() <= 3 => Some(format!("skipped ({})", step.skips.join("; "))),
            count => Some(format!("{} unchanged", counted(count as u64, "object"))),
        };
        let does = (!step.does.is_empty()).then(|| some(&step.does));
        let parts: Vec<String> = does.into_iter().chain(skipped).collect();
        format!("  {}  {}", pad(&step.name, column), parts.join("; "))
    };
    steps.iter().filter(|step| !step.does.is_empty() || !step.skips.is_empty()).map(line).collect()
}

/// The first of `names`, and how many more there are.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| plain(name)).collect();
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
