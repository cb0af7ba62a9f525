//! Order and gates.

use crate::support::sim::{Product, job};

#[test]
fn o3_a_job_runs_exactly_once_whatever_is_run_again() {
    let product = Product::new("once");
    product.workload("api", "sim/ok:1");
    product.manifest("migrate", &job("migrate", "sim/done:1"));
    println!("{}", product.deploy().exits(0).text());
    product.deploy().exits(0).says("already complete");
}
