//! What was asked for on the command line.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{ServiceName, Tag};

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Build nothing.
    pub skip_build: bool,
    /// With `skip_build`: images of the current revision may stand beside some that run now.
    pub mixed: bool,
    /// The release, by name.
    pub tag: Option<Tag>,
    /// Only these services; all when empty.
    pub only: BTreeSet<ServiceName>,
    /// Take over fields that another field manager owns.
    pub force_conflicts: bool,
    /// Delete what was applied and the manifests hold no longer.
    pub prune: bool,
    /// How long to wait for what was applied.
    pub wait: Wait,
}

/// How long to wait; what is not said is as the configuration says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// A wave may take so long.
    pub timeout: Option<Duration>,
    /// Also when good rollouts may need longer.
    pub force_timeout: bool,
    /// So long everything has to run before it counts.
    pub soak: Option<Duration>,
}
