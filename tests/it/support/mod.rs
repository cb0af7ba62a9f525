//! What tests stand on: the sandbox that `scripts/test` brought up, and projects made for one test each.

use std::sync::mpsc;
use std::thread;
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

/// What a `deploy` comes to, when there is `work` while it waits.
pub fn meanwhile(deploy: impl FnOnce() -> Outcome + Send, work: impl FnOnce()) -> Outcome {
    thread::scope(|scope| {
        let deploy = scope.spawn(deploy);
        work();
        deploy.join().expect("a deploy")
    })
}

/// Lets so much time pass: an outage that lasts.
pub fn lasts(time: Duration) {
    // Nobody sends: this is a wait.
    let (_sender, nobody) = mpsc::channel::<()>();
    let _ = nobody.recv_timeout(time);
}
