//! The edge to the Kubernetes API. Only this module names the kube client.
//!
//! Requests are sent with their own timeouts and retries ([`request`]); objects stay JSON, so that kinds which this
//! program has never heard of are served like the others. What is watched becomes a [`crate::verdict::Snapshot`].

mod access;
mod apply;
mod client;
mod connection;
mod delete;
mod discovery;
mod holder;
mod inventory;
mod journal;
mod lease;
mod logs;
mod objects;
mod ownership;
mod refusal;
mod request;
mod trouble;
mod watch;

pub use apply::{AppliedObject, ApplyOptions, MANAGER};
pub use client::{Cluster, Version};
pub use discovery::Resource;
pub use lease::Lease;
pub use objects::Look;
pub use refusal::{ApplyError, Conflict, Refusal};
pub use watch::Watch;
