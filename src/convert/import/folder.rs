//! A Hugging Face model folder: JSON files and the tensors of all its safetensors files.
//!
//! Everything in it is an allegation: headers are validated by `safetensors`, file names in the index must
//! be plain names, JSON files have a size limit.

use super::Error;
use crate::gguf::{self, Bytes};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Longest JSON file that is read. Real index files and tokenizer settings stay below 10 MB.
const MAX_JSON: u64 = 64 << 20;

/// An opened folder.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// config.json.
    pub(super) config: Map<String, Value>,
    tensors: BTreeMap<String, Source>,
}

/// One tensor in one of the folder's safetensors files.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The file, for messages.
    pub(super) path: PathBuf,
    /// Name in the file, for messages.
    pub(super) name: String,
    pub(super) dtype: Dtype,
    /// Slowest-varying first: a linear layer is `[rows, cols]`.
    pub(super) shape: Vec<usize>,
    pub(super) bytes: Bytes,
}

impl Source {
    /// An [`Error::Tensor`] about this tensor.
    pub(super) fn error(&self, what: impl Into<String>) -> Error {
        Error::Tensor { path: self.path.clone(), tensor: self.name.clone(), what: what.into() }
    }
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Folder, Error> {
        let unsupported = |what: String| Err(Error::Unsupported { path: path.to_owned(), what });
        if !path.is_dir() {
            return unsupported("is not a folder; import takes a Hugging Face model folder".into());
        }
        let config = path.join("config.json");
        if !config.is_file() {
            let adapter = path.join("adapter_config.json");
            return unsupported(if adapter.is_file() {
                describe_adapter(&read_json(&adapter)?)
            } else {
                "has no config.json; import takes a Hugging Face model folder".into()
            });
        }
        let config = read_json(&config)?;
        let mut tensors = BTreeMap::new();
        for file in shards(path)? {
            for source in open_safetensors(&path.join(&file))? {
                if let Some(twin) = tensors.insert(source.name.clone(), source) {
                    return Err(twin.error("is in another file of the folder too"));
                }
            }
        }
        Ok(Folder { path: path.to_owned(), config, tensors })
    }

    /// The folder's own name.
    pub(super) fn name(&self) -> String {
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        path.file_name().map_or("model".into(), |name| name.to_string_lossy().into_owned())
    }

    /// A tensor by its Hugging Face name.
    pub(super) fn tensor(&self, name: &str) -> Option<&Source> {
        self.tensors.get(name)
    }

    /// All tensors' names, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// An [`Error::Json`] about config.json.
    pub(super) fn config_error(&self, what: impl Into<String>) -> Error {
        Error::Json { path: self.path.join("config.json"), what: what.into() }
    }

    /// An [`Error::Unsupported`] about config.json.
    pub(super) fn unsupported(&self, what: impl Into<String>) -> Error {
        Error::Unsupported { path: self.path.join("config.json"), what: what.into() }
    }
}

fn describe_adapter(config: &Map<String, Value>) -> String {
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or("unknown");
    format!(
        "is a PEFT adapter (type {}, rank {}, for the base {}), not a model; adapters cannot be imported",
        text("peft_type"),
        config.get("r").and_then(Value::as_u64).map_or("unknown".into(), |r| r.to_string()),
        text("base_model_name_or_path"),
    )
}

/// The names of the safetensors files: one, or those that the index names.
fn shards(folder: &Path) -> Result<BTreeSet<String>, Error> {
    let index = folder.join("model.safetensors.index.json");
    if !index.is_file() {
        if folder.join("model.safetensors").is_file() {
            return Ok(["model.safetensors".to_string()].into());
        }
        let pickled =
            folder.join("pytorch_model.bin").is_file() || folder.join("pytorch_model.bin.index.json").is_file();
        let what = if pickled {
            "has pickled weights (pytorch_model.bin), which can run code when read; convert them to safetensors first"
        } else {
            "has neither model.safetensors nor model.safetensors.index.json"
        };
        return Err(Error::Unsupported { path: folder.to_owned(), what: what.into() });
    }
    let error = |what: String| Error::Json { path: index.clone(), what };
    let map = read_json(&index)?;
    let Some(Value::Object(map)) = map.get("weight_map") else {
        return Err(error("`weight_map` is not an object".into()));
    };
    map.iter()
        .map(|(tensor, file)| {
            // A name with a path in it could point anywhere.
            let plain =
                |f: &&str| Path::new(f).file_name().is_some_and(|name| name == *f) && f.ends_with(".safetensors");
            match file.as_str().filter(plain) {
                Some(file) => Ok(file.to_string()),
                None => {
                    Err(error(format!("`weight_map`: `{tensor}` is in {file}, not a safetensors file of this folder")))
                }
            }
        })
        .collect()
}

/// Maps a safetensors file and validates its header.
fn open_safetensors(path: &Path) -> Result<Vec<Source>, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(io)?;
    let bytes = Bytes::new(gguf::map(&file).map_err(io)?);
    let invalid = |source| Error::Safetensors { path: path.to_owned(), source };
    // Checks that every offset lies in the file, that the tensors do not overlap, and that sizes match the shapes.
    let (header, metadata) = SafeTensors::read_metadata(&bytes).map_err(invalid)?;
    let data = bytes.slice(8 + header..bytes.len());
    let sources = metadata.tensors().into_iter().map(|(name, info)| Source {
        path: path.to_owned(),
        name,
        dtype: info.dtype,
        shape: info.shape.clone(),
        bytes: data.slice(info.data_offsets.0..info.data_offsets.1),
    });
    Ok(sources.collect())
}

fn read_text(path: &Path) -> Result<String, Error> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(io)?.len();
    if size > MAX_JSON {
        return Err(Error::Json { path: path.to_owned(), what: format!("has {size} bytes, more than {MAX_JSON}") });
    }
    std::fs::read_to_string(path).map_err(io)
}

fn read_json(path: &Path) -> Result<Map<String, Value>, Error> {
    serde_json::from_str(&read_text(path)?).map_err(|e| Error::Json { path: path.to_owned(), what: e.to_string() })
}
