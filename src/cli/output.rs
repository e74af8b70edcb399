//! How results are written: tables for people, JSON and YAML for programs.

use std::io::{self, Write as _};

use clap::ValueEnum;
use serde::Serialize;
use snafu::{ResultExt, Snafu};

/// How a result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// For programs
    Json,
    /// For programs and people
    Yaml,
}

/// Why a result cannot be written.
#[derive(Debug, Snafu)]
pub enum OutputError {
    /// It has no JSON form.
    #[snafu(display("cannot write the result as JSON"))]
    RenderJson {
        /// Why.
        source: serde_json::Error,
    },
    /// It has no YAML form.
    #[snafu(display("cannot write the result as YAML"))]
    RenderYaml {
        /// Why.
        source: serde_saphyr::ser::Error,
    },
    /// The standard output takes nothing.
    #[snafu(display("cannot write the result to the standard output"))]
    Print {
        /// Why.
        source: io::Error,
    },
}

/// Writes a result to the standard output. Whoever closes it early (`| head`) has read enough.
pub fn print<T: Serialize>(output: Output, value: &T, table: impl FnOnce(&T) -> String) -> Result<(), OutputError> {
    let text = match output {
        Output::Table => table(value),
        Output::Json => format!("{}\n", serde_json::to_string_pretty(value).context(RenderJsonSnafu)?),
        Output::Yaml => serde_saphyr::to_string(value).context(RenderYamlSnafu)?,
    };
    put(&text)
}

/// Writes text to the standard output.
pub fn put(text: &str) -> Result<(), OutputError> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context(PrintSnafu),
    }
}
