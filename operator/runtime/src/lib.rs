//! What the programs of this project repeat around their own work: [`cli`] (command line and exit
//! codes), [`telemetry`] (logs), [`admin`] (listener and metrics), [`signals`], and [`run`], which
//! a `main` consists of.

pub mod admin;
pub mod cli;
pub mod signals;
pub mod telemetry;
mod tls;

use std::error::Error;
use std::process::ExitCode;

use crate::cli::Exit;
use crate::telemetry::LogFormat;

/// Runs a program from its parsed command line to its exit code: logging and the TLS provider
/// first, then `start`.
pub fn run<C, E>(
    program: &str,
    command: Result<C, Exit>,
    log_format: impl FnOnce(&C) -> LogFormat,
    start: impl FnOnce(C) -> Result<(), E>,
) -> ExitCode
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let command = match command {
        Ok(command) => command,
        Err(exit) => return exit.print(program),
    };
    telemetry::init(log_format(&command));
    tls::install_provider();
    match start(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = telemetry::chain(error.into().as_ref()), "fatal error");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ExitCode` has no equality.
    fn shown(code: ExitCode) -> String {
        format!("{code:?}")
    }

    #[test]
    fn exit_code_names_the_outcome() {
        let run = |command: Result<(), Exit>, result: Result<(), &'static str>| {
            shown(super::run("wsc-test", command, |()| LogFormat::Json, |()| result))
        };
        assert_eq!(run(Ok(()), Ok(())), shown(ExitCode::SUCCESS));
        assert_eq!(run(Ok(()), Err("no port")), shown(ExitCode::FAILURE));
        assert_eq!(
            run(Err(Exit::Usage("x".to_owned())), Err("not started")),
            shown(ExitCode::from(2))
        );
        assert_eq!(
            run(Err(Exit::Text("x".to_owned())), Err("not started")),
            shown(ExitCode::SUCCESS)
        );
    }
}
