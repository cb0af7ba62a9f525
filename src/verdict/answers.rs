//! What a verdict has to ask, because no watch tells it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::ObjectKey;

/// What has to be found out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Whether an object is there, and of a ConfigMap or Secret whether it has a key.
    Object {
        /// Which.
        object: ObjectKey,
        /// The key of its data.
        key: Option<String>,
    },
    /// What a container wrote before it ended.
    Log {
        /// Where its pod is.
        namespace: String,
        /// Its pod.
        pod: String,
        /// Which.
        container: String,
        /// The run before the present one.
        previous: bool,
    },
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The object or its key is not there.
    Missing,
    /// It is there.
    Present,
    /// It may not be read.
    Forbidden,
    /// The last lines.
    Log(Vec<String>),
}

/// Answers by question.
pub type Answers = BTreeMap<Question, Answer>;

impl Question {
    pub(super) fn object(kind: &str, namespace: &str, name: &str, key: Option<&str>) -> Self {
        let object = ObjectKey {
            api_version: "v1".into(),
            kind: kind.into(),
            namespace: Some(namespace.into()),
            name: name.into(),
        };
        Self::Object { object, key: key.map(str::to_owned) }
    }
}

/// Whether one of the `questions` was answered with a lack; `None` while one of them is open and none lacks.
pub(super) fn lacks(questions: &[Question], answers: &Answers) -> Option<bool> {
    if questions.iter().any(|question| answers.get(question) == Some(&Answer::Missing)) {
        return Some(true);
    }
    questions.iter().all(|question| answers.contains_key(question)).then_some(false)
}

/// Those that nobody has answered.
pub(super) fn open(questions: &[Question], answers: &Answers) -> BTreeSet<Question> {
    questions.iter().filter(|question| !answers.contains_key(question)).cloned().collect()
}
