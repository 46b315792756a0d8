//! The program `twinline`. Everything is in the library; this only hands over.

use std::process::ExitCode;

fn main() -> ExitCode {
    twinline::cli::run()
}
