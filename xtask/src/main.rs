//! Reads the command line, runs one verb, and turns its error into an exit code.

use std::process::ExitCode;

use clap::Parser;
use xtask::cmd::{self, Arguments};
use xtask::failure;
use xtask::ui::Ui;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ui = Ui::new(arguments.format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            ui.error(&anyhow::Error::new(error).context("start the runtime"));
            return ExitCode::from(failure::Kind::Failed.exit_code());
        }
    };
    match runtime.block_on(cmd::run(arguments, &ui)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui.error(&error);
            ExitCode::from(failure::kind(&error).exit_code())
        }
    }
}
