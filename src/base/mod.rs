//! Bases: which file a name means, and the demo base that is part of the program.

use crate::gguf;
use std::path::{Path, PathBuf};

/// A base by name or path could not be found or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither a file nor an installed name.
    #[error("no base `{name}`: not a file, and not installed in {} ({known})", dir.display())]
    NotFound {
        /// What was asked for.
        name: String,
        /// Where installed bases are.
        dir: PathBuf,
        /// What is there.
        known: String,
    },
    /// A folder where a file is needed.
    #[error("{0} is a folder; a base is a GGUF file (`loco import` makes one of a Hugging Face folder)")]
    Folder(String),
    /// The file is no good.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
}

/// The name of the embedded demo base.
pub const DEMO: &str = "demo";

/// The demo base, on a boundary that lets its floats be read in place.
#[repr(align(64))]
struct Aligned<T: ?Sized>(T);
static DEMO_FILE: &Aligned<[u8]> = &Aligned(*include_bytes!("../../models/demo/loco-demo-1.58.gguf"));

/// Opens the base that `--model` names: a path, an installed name, or (`None`, `demo`) the embedded demo base.
pub fn open(name: Option<&str>) -> Result<gguf::File, Error> {
    let name = match name {
        None | Some(DEMO) => return Ok(gguf::File::from_static(DEMO, &DEMO_FILE.0)?),
        Some(name) => name,
    };
    let path = Path::new(name);
    if path.is_file() {
        return Ok(gguf::File::open(path)?);
    }
    if path.is_dir() {
        return Err(Error::Folder(name.into()));
    }
    let dir = directory();
    let installed = dir.join(format!("{name}.gguf"));
    // A bare name only: nothing that could step out of the directory.
    if path.components().count() == 1 && installed.is_file() {
        return Ok(gguf::File::open(&installed)?);
    }
    let known = match installed_names(&dir) {
        names if names.is_empty() => "nothing is".into(),
        names => format!("there: {}", names.join(", ")),
    };
    Err(Error::NotFound { name: name.into(), dir, known })
}

/// The name to show and to answer to: the file's stem, or `demo`.
pub fn id(file: &gguf::File) -> String {
    Path::new(file.name()).file_stem().map_or_else(|| DEMO.into(), |stem| stem.to_string_lossy().into_owned())
}

/// Whether this is the demo base that is part of the program, and not a file of that name.
pub fn is_demo(file: &gguf::File) -> bool {
    file.name() == DEMO
}

/// Where installed bases are: `$LOCO_MODELS`, else `locollm/models` in `$XDG_DATA_HOME` or `~/.local/share`.
pub fn directory() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    variable("LOCO_MODELS").unwrap_or_else(|| {
        let data = variable("XDG_DATA_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".local/share")))
            .unwrap_or_else(|| "/var/lib".into());
        data.join("locollm/models")
    })
}

/// Names of the bases installed in `dir`, sorted.
pub fn installed_names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.path().file_name()?.to_str()?.strip_suffix(".gguf").map(str::to_string))
        .collect();
    names.sort();
    names
}
