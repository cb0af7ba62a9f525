//! What a verdict asks, and what is shown of it.

use std::time::Duration;

use tokio::time::timeout;

use crate::cluster::Look;
use crate::event::Event;
use crate::model::ObjectKey;
use crate::stage::Context;
use crate::verdict::{Answer, Answers, Cause, Question};

/// Lines of a log that are shown.
const LINES: u32 = 30;
/// A log that has not come by then is left out.
const PATIENCE: Duration = Duration::from_secs(2);

/// Finds out what `question` asks. What cannot be found out is as good as forbidden.
pub async fn answer(context: &Context, question: &Question) -> Answer {
    match question {
        Question::Object { object, key } => match context.cluster.look(object).await {
            Ok(Look::Object(live)) => {
                context.events.keep_secret(&live);
                has_key(&live, key.as_deref())
            }
            Ok(Look::Nothing) => Answer::Missing,
            _ => Answer::Forbidden,
        },
        Question::Log { namespace, pod, container, previous } => {
            let lines = context.cluster.last_lines(namespace, pod, container, *previous, LINES);
            Answer::Log(timeout(PATIENCE, lines).await.ok().and_then(Result::ok).unwrap_or_default())
        }
    }
}

fn has_key(object: &serde_json::Value, key: Option<&str>) -> Answer {
    let has = |key: &str| ["data", "binaryData"].iter().any(|field| object[field].get(key).is_some());
    if key.is_none_or(has) { Answer::Present } else { Answer::Missing }
}

/// Shows the last lines of the container that has failed.
pub async fn tell(context: &Context, workload: &ObjectKey, cause: &Cause, answers: &Answers) {
    let Some(question) = &cause.log else { return };
    // What was read at the first end may tell of another cause; a pod that is gone has nothing newer.
    let answer = match answer(context, question).await {
        Answer::Log(lines) if !lines.is_empty() => Answer::Log(lines),
        _ => answers.get(question).cloned().unwrap_or(Answer::Missing),
    };
    let (Answer::Log(lines), Some(pod), Some(container)) = (answer, &cause.pod, &cause.container) else { return };
    if !lines.is_empty() {
        let (workload, pod, container) = (workload.clone(), pod.clone(), container.clone());
        context.events.send(Event::LastLines { workload, pod, container, lines });
    }
}
