//! Reads and writes GGUF model files.
//!
//! Everything in a file is an allegation until [`File::open`] has validated it: a [`Tensor`] can
//! only be had from a validated [`File`], and its bytes lie inside the file.

mod bytes;
mod index;
mod reader;
mod types;
mod value;
mod writer;

pub use bytes::Bytes;
pub use value::{Array, Value};
pub(crate) use writer::padded;
pub use writer::{Body, Writer};

use crate::quant::Format;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is wrong with a GGUF file, and where.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes are not a valid GGUF file.
    #[error("{file}: {what} at byte {offset}")]
    Invalid {
        /// The file's name.
        file: String,
        /// What is wrong, naming the key or tensor.
        what: String,
        /// Where in the file.
        offset: u64,
    },
    /// A metadata key is missing or has another type than needed.
    #[error("{file}: metadata key `{key}` {what}")]
    Key {
        /// The file's name.
        file: String,
        /// The key.
        key: String,
        /// What is wrong with it.
        what: String,
    },
    /// A tensor is missing or has another shape or format than needed.
    #[error("{file}: tensor `{tensor}` {what}")]
    Tensor {
        /// The file's name.
        file: String,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        what: String,
    },
}

/// A validated GGUF file, mapped into memory. Cheap to clone; [`Bytes`] taken from it keep the
/// mapping alive after the `File` is dropped.
#[derive(Debug, Clone)]
pub struct File(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    bytes: Bytes,
    /// The mapping, if it is one.
    map: Option<Mapped>,
    directory: reader::Directory,
}

/// One tensor's entry: name, shape, format, and where its bytes lie.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Name, unique in the file.
    pub name: String,
    /// Shape as GGUF writes it, fastest-varying first: a linear layer is `[cols, rows]`.
    pub dims: Vec<usize>,
    /// Block format of the values.
    pub format: Format,
    /// Where the bytes are in the file; checked by the reader.
    range: Range<usize>,
}

impl Tensor {
    /// Number of values: the product of `dims`.
    pub fn values(&self) -> usize {
        self.dims.iter().product()
    }

    /// Where the tensor's bytes are in the file.
    pub fn range(&self) -> Range<usize> {
        self.range.clone()
    }
}

impl File {
    /// Maps and validates the file at `path`.
    pub fn open(path: &Path) -> Result<File, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(io)?;
        if !file.metadata().map_err(io)?.is_file() {
            return Err(io(std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a regular file")));
        }
        File::from_map(&path.display().to_string(), map(&file).map_err(io)?)
    }

    /// Validates a mapped file. Errors call it `name`.
    pub(crate) fn from_map(name: &str, map: memmap2::Mmap) -> Result<File, Error> {
        let map = Mapped(Arc::new(map));
        File::read(name, Bytes::new(map.clone()), Some(map))
    }

    /// Validates a file that is part of the program (the embedded demo base).
    pub fn from_static(name: &str, bytes: &'static [u8]) -> Result<File, Error> {
        File::from_bytes(name, Bytes::new(bytes))
    }

    /// Validates a file that is in memory already. Errors call it `name`.
    pub fn from_bytes(name: &str, bytes: Bytes) -> Result<File, Error> {
        File::read(name, bytes, None)
    }

    fn read(name: &str, bytes: Bytes, map: Option<Mapped>) -> Result<File, Error> {
        let directory = reader::read(name, &bytes)?;
        Ok(File(Arc::new(Inner { name: name.to_owned(), bytes, map, directory })))
    }

    /// The name errors use: the path, or what `from_static` was told.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Length of the whole file in bytes.
    pub fn size(&self) -> usize {
        self.0.bytes.len()
    }

    /// GGUF version, 1 to 3.
    pub fn version(&self) -> u32 {
        self.0.directory.version
    }

    /// Tensors start at multiples of this many bytes.
    pub fn alignment(&self) -> u32 {
        self.0.directory.alignment
    }

    /// All metadata in file order.
    pub fn metadata(&self) -> &[(String, Value)] {
        &self.0.directory.metadata
    }

    /// A metadata value, if the key is there.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let metadata = self.metadata();
        self.0.directory.keys.find(key, |i| &metadata[i].0).map(|i| &metadata[i].1)
    }

    /// An unsigned integer of any width (or a non-negative signed one); `Ok(None)` if the key is missing.
    pub fn u64(&self, key: &str) -> Result<Option<u64>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let n = value.integer().ok_or_else(|| self.wrong_type(key, value.kind(), "an unsigned integer"))?;
        u64::try_from(n).map(Some).map_err(|_| self.key_error(key, format!("is {n}, must not be negative")))
    }

    /// A float of any width; `Ok(None)` if the key is missing.
    pub fn f32(&self, key: &str) -> Result<Option<f32>, Error> {
        self.typed(key, "a float", |value| match *value {
            Value::F32(v) => Some(v),
            Value::F64(v) => Some(v as f32),
            _ => None,
        })
    }

    /// A boolean; `Ok(None)` if the key is missing.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Error> {
        self.typed(key, "a boolean", |value| match *value {
            Value::Bool(v) => Some(v),
            _ => None,
        })
    }

    /// A string; `Ok(None)` if the key is missing.
    pub fn str(&self, key: &str) -> Result<Option<&str>, Error> {
        self.typed(key, "a string", |value| match value {
            Value::String(v) => Some(v.as_str()),
            _ => None,
        })
    }

    /// An array of strings; `Ok(None)` if the key is missing.
    pub fn strings(&self, key: &str) -> Result<Option<&[String]>, Error> {
        self.typed(key, "an array of strings", |value| match value {
            Value::Array(Array::String(v)) => Some(v.as_slice()),
            _ => None,
        })
    }

    /// An array of floats; `Ok(None)` if the key is missing.
    pub fn floats(&self, key: &str) -> Result<Option<Vec<f32>>, Error> {
        self.typed(key, "an array of floats", |value| match value {
            Value::Array(Array::F32(v)) => Some(v.clone()),
            Value::Array(Array::F64(v)) => Some(v.iter().map(|&f| f as f32).collect()),
            _ => None,
        })
    }

    /// An array of integers; `Ok(None)` if the key is missing.
    pub fn ints(&self, key: &str) -> Result<Option<Vec<i64>>, Error> {
        fn widen<T: Copy + Into<i64>>(v: &[T]) -> Option<Vec<i64>> {
            Some(v.iter().map(|&n| n.into()).collect())
        }
        self.typed(key, "an array of integers below 2^63", |value| match value {
            Value::Array(Array::U8(v)) => widen(v),
            Value::Array(Array::I8(v)) => widen(v),
            Value::Array(Array::U16(v)) => widen(v),
            Value::Array(Array::I16(v)) => widen(v),
            Value::Array(Array::U32(v)) => widen(v),
            Value::Array(Array::I32(v)) => widen(v),
            Value::Array(Array::I64(v)) => widen(v),
            Value::Array(Array::U64(v)) => v.iter().map(|&n| n.try_into().ok()).collect(),
            _ => None,
        })
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        wanted: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.wrong_type(key, value.kind(), wanted))
    }

    fn wrong_type(&self, key: &str, is: &str, wanted: &str) -> Error {
        self.key_error(key, format!("is of type {is}, must be {wanted}"))
    }

    /// An [`Error::Key`] about this file, for readers of metadata.
    pub fn key_error(&self, key: &str, what: impl Into<String>) -> Error {
        Error::Key { file: self.name().to_owned(), key: key.to_owned(), what: what.into() }
    }

    /// An [`Error::Tensor`] about this file, for readers of tensors.
    pub fn tensor_error(&self, tensor: &str, what: impl Into<String>) -> Error {
        Error::Tensor { file: self.name().to_owned(), tensor: tensor.to_owned(), what: what.into() }
    }

    /// All tensors in file order.
    pub fn tensors(&self) -> &[Tensor] {
        &self.0.directory.tensors
    }

    /// A tensor by name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        let tensors = self.tensors();
        self.0.directory.names.find(name, |i| &tensors[i].name).map(|i| &tensors[i])
    }

    /// The bytes of a tensor of this file, blocks in row order, without copying.
    ///
    /// # Panics
    /// May panic if the tensor is another file's.
    pub fn bytes(&self, tensor: &Tensor) -> Bytes {
        self.0.bytes.slice(tensor.range())
    }
}

impl File {
    /// Gives the memory of a tensor's pages back to the system: what is kept of it is kept elsewhere. Reading it again
    /// reads the disk.
    pub(crate) fn release(&self, tensor: &Tensor) {
        self.release_bytes(tensor, tensor.range.clone());
    }

    /// The same of some rows of a matrix.
    pub(crate) fn release_rows(&self, tensor: &Tensor, rows: std::ops::Range<usize>) {
        let row = tensor.range.len() / tensor.dims.get(1).copied().unwrap_or(1).max(1);
        let start = tensor.range.start;
        self.release_bytes(tensor, start + rows.start * row..start + rows.end * row);
    }

    #[allow(unsafe_code)]
    fn release_bytes(&self, tensor: &Tensor, range: std::ops::Range<usize>) {
        let Some(Mapped(map)) = &self.0.map else { return };
        // Whole pages inside the range; the neighbours may be in use.
        let page = 1 << 16;
        let (start, end) = (range.start.next_multiple_of(page), range.end.min(tensor.range.end) / page * page);
        if start < end {
            // SAFETY: the mapping is of a file and only ever read, so dropped pages come back with the same bytes.
            let advice = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
            if let Err(e) = advice {
                log::debug!("{}: the pages of `{}` stay in memory: {e}", self.name(), tensor.name);
            }
        }
    }
}

/// A mapping that [`Bytes`] and a [`File`] share.
#[derive(Debug, Clone)]
struct Mapped(Arc<memmap2::Mmap>);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Maps a whole file for reading.
#[allow(unsafe_code)]
pub(crate) fn map(file: &std::fs::File) -> std::io::Result<memmap2::Mmap> {
    // SAFETY: the mapping is private to this process and only ever read. Nobody can rule out that another
    // program truncates or rewrites the file meanwhile; as with every mapped file that is the
    // operator's promise. Our own writer never changes a file in place, it replaces it by a rename.
    unsafe { memmap2::Mmap::map(file) }
}

#[cfg(test)]
mod tests;
