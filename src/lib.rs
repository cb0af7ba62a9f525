//! hdeploy builds, pushes and rolls out the images of a product on a Kubernetes cluster.
//!
//! # The story of a deploy
//!
//! A deploy is data that flows one way; every stage takes the value of the stage before and returns the next one.
//! [`config`] is read and becomes an intent per service ([`plan`]): build it, take what is there, or leave it. Images
//! are built and pushed side by side ([`docker`], [`registry`]). The manifests were read into a draft before, which is a
//! set of objects with holes where images go ([`manifest`]). The proved digests fill the holes, and the rendered objects
//! are compared with what is live ([`plan::changes`]). Under a lock, and after what is about to change was written down
//! ([`release::journal`]), the changes are applied wave by wave, and each wave settles before the next ([`cluster`],
//! [`verdict`]). [`engine`] tells this story in code; [`event`] is how everybody else hears of it, and [`ui`] the only one that prints.

pub mod cli;
pub mod cluster;
pub mod command;
pub mod config;
pub mod docker;
pub mod engine;
pub mod error;
pub mod event;
#[cfg(test)]
mod fuzz;
pub mod git;
pub mod manifest;
pub mod model;
pub mod plan;
pub mod redact;
pub mod registry;
pub mod release;
pub mod stage;
pub mod suggest;
pub mod text;
pub mod ui;
pub mod verdict;
