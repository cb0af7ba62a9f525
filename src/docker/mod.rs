//! The edge to the Docker daemon and its BuildKit. Only this module names bollard.

pub mod context;

mod dockerfile;
mod ignore;
