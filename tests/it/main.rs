//! Tests of the program as its user meets it: the binary, against a real registry, daemon and cluster.
//!
//! `scripts/test` brings those up and tells the tests where they are.

mod architecture;
mod cli;
mod deploy;
mod events;
mod golden;
mod images;
mod items;
mod locking;
mod planning;
mod pruning;
mod publishing;
mod reading;
mod refusals;
mod registries;
mod render;
mod scaling;
mod second_product;
mod stack;
mod support;
mod tags;
mod verdicts;
