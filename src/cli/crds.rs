//! `innkeeper crds`: the definitions of the kinds, for `kubectl apply -f -`.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use snafu::{ResultExt, Snafu};

use super::reference;
use crate::api;

/// Options of `innkeeper crds`.
#[derive(Args, Debug)]
pub struct CrdsArgs {
    /// Write one file for each kind into this folder instead of printing them
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// What is written of each kind
    #[arg(long, value_enum, default_value_t = Format::Yaml)]
    format: Format,
}

/// What is written of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Its definition
    Yaml,
    /// A page for people about its fields
    Markdown,
}

/// What can go wrong.
#[derive(Debug, Snafu)]
pub enum CrdsError {
    /// A definition cannot be written as YAML.
    #[snafu(display("cannot write the definition of {name} as YAML"))]
    RenderCrd {
        /// Which one.
        name: String,
        /// What the serialiser said.
        source: serde_saphyr::ser::Error,
    },
    /// A file cannot be written.
    #[snafu(display("cannot write {}", path.display()))]
    WriteCrd {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The standard output is closed.
    #[snafu(display("cannot print the definitions"))]
    PrintCrds {
        /// Why.
        source: io::Error,
    },
}

/// Prints the definitions, or writes them as files.
pub fn crds(args: &CrdsArgs) -> Result<(), CrdsError> {
    for crd in api::crds() {
        let (name, text) = match args.format {
            Format::Yaml => (file_name(&crd), render(&crd)?),
            Format::Markdown => (reference::file_name(&crd), reference::markdown(&crd)),
        };
        let divider = if args.format == Format::Yaml { "---\n" } else { "" };
        match &args.output {
            Some(folder) => write(folder, &name, &text)?,
            None => write!(io::stdout(), "{divider}{text}").context(PrintCrdsSnafu)?,
        }
    }
    Ok(())
}

/// One definition as YAML.
pub fn render(crd: &CustomResourceDefinition) -> Result<String, CrdsError> {
    serde_saphyr::to_string(crd).context(RenderCrdSnafu { name: crd.metadata.name.as_deref().unwrap_or_default() })
}

/// The name of the file that holds a definition: that of `kubectl`'s and kubebuilder's habit, `GROUP_PLURAL.yaml`.
#[must_use]
pub fn file_name(crd: &CustomResourceDefinition) -> String {
    format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural)
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), CrdsError> {
    let path = folder.join(name);
    fs::create_dir_all(folder).and_then(|()| fs::write(&path, text)).context(WriteCrdSnafu { path })
}
