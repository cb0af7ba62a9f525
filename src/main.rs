//! hdeploy, the program: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    hdeploy::command::run()
}
