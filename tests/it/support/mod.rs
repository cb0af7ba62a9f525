//! What tests stand on: the sandbox that `scripts/test` brought up, and projects made for one test each.

use std::sync::mpsc;
use std::time::Duration;

mod audit;
pub mod front;
mod outcome;
mod project;
mod proxy;
mod relay;
mod sandbox;
pub mod sim;

pub use outcome::Outcome;
pub use project::Project;
pub use proxy::{Fate, Proxy};
pub use relay::Relay;
pub use sandbox::{Sandbox, kubectl, pods};

/// Lets so much time pass: an outage that lasts.
pub fn lasts(time: Duration) {
    // Nobody sends: this is a wait.
    let (_sender, nobody) = mpsc::channel::<()>();
    let _ = nobody.recv_timeout(time);
}
