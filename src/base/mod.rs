//! Bases: which file a name means, and the demo base that is part of the program.

use crate::gguf;
use std::path::PathBuf;

/// A base by name or path could not be found or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither a file nor an installed name.
    #[error("no base `{name}`: not a file, and not among the installed ones in {dir} (there: {known})", dir = dir.display())]
    NotFound {
        /// What was asked for.
        name: String,
        /// Where installed bases are.
        dir: PathBuf,
        /// What is there.
        known: String,
    },
    /// The file is no good.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
}

/// Opens the base that `--model` names: a path, an installed name, or (`None`, `demo`) the embedded demo base.
pub fn open(_name: Option<&str>) -> Result<gguf::File, Error> {
    todo!()
}
