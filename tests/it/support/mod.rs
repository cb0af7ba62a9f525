//! What tests stand on: the sandbox that `scripts/test` brought up, and projects made for one test each.

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
