//! The binary: the command line, and the wiring of the crates that do the work.

mod admin_listener;
mod allocator;
mod bench;
mod build_policy;
mod check;
mod cli;
mod conformance;
mod demo;
mod dev;
mod logging;
mod policy;
mod run;
mod scaffold;
mod server;
mod sign;
mod socket_file;
mod systemd;
mod upgrade;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Conformance(arguments) => conformance::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::New(arguments) => scaffold::run(&arguments),
        Command::Build(arguments) => build_policy::run(&arguments),
        Command::Dev(arguments) => dev::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Policy(arguments) => policy::run(&arguments),
        Command::Keygen(arguments) => sign::keygen(&arguments),
        Command::Sign(arguments) => sign::sign(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
