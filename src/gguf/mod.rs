//! Reads and writes GGUF model files.
//!
//! Everything in a file is an allegation until [`File::open`] has validated it: a [`Tensor`] can
//! only be had from a validated [`File`], and its bytes lie inside the file.

mod bytes;

pub use bytes::Bytes;

use crate::quant::Format;
use std::path::{Path, PathBuf};

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
pub struct File {}

/// One tensor's entry: name, shape, format, and where its bytes lie.
#[derive(Debug, Clone)]
pub struct Tensor {
    /// Name, unique in the file.
    pub name: String,
    /// Shape as GGUF writes it, fastest-varying first: a linear layer is `[cols, rows]`.
    pub dims: Vec<usize>,
    /// Block format of the values.
    pub format: Format,
}

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// A typed metadata array (nested arrays are refused).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    Bool(Vec<bool>),
    String(Vec<String>),
}

impl File {
    /// Maps and validates the file at `path`.
    pub fn open(_path: &Path) -> Result<File, Error> {
        todo!()
    }
    /// Validates a file that is part of the program (the embedded demo base).
    pub fn from_static(_name: &str, _bytes: &'static [u8]) -> Result<File, Error> {
        todo!()
    }
    /// The name errors use: the path, or what `from_static` was told.
    pub fn name(&self) -> &str {
        todo!()
    }
    /// All metadata in file order.
    pub fn metadata(&self) -> &[(String, Value)] {
        todo!()
    }
    /// A metadata value, if the key is there.
    pub fn get(&self, _key: &str) -> Option<&Value> {
        todo!()
    }
    /// An unsigned integer of any width (or a non-negative signed one); `Ok(None)` if the key is missing.
    pub fn u64(&self, _key: &str) -> Result<Option<u64>, Error> {
        todo!()
    }
    /// A float of any width; `Ok(None)` if the key is missing.
    pub fn f32(&self, _key: &str) -> Result<Option<f32>, Error> {
        todo!()
    }
    /// A boolean; `Ok(None)` if the key is missing.
    pub fn bool(&self, _key: &str) -> Result<Option<bool>, Error> {
        todo!()
    }
    /// A string; `Ok(None)` if the key is missing.
    pub fn str(&self, _key: &str) -> Result<Option<&str>, Error> {
        todo!()
    }
    /// An array of strings; `Ok(None)` if the key is missing.
    pub fn strings(&self, _key: &str) -> Result<Option<&[String]>, Error> {
        todo!()
    }
    /// An array of floats; `Ok(None)` if the key is missing.
    pub fn floats(&self, _key: &str) -> Result<Option<Vec<f32>>, Error> {
        todo!()
    }
    /// An array of integers; `Ok(None)` if the key is missing.
    pub fn ints(&self, _key: &str) -> Result<Option<Vec<i64>>, Error> {
        todo!()
    }
    /// An [`Error::Key`] about this file, for readers of metadata.
    pub fn key_error(&self, _key: &str, _what: impl Into<String>) -> Error {
        todo!()
    }
    /// An [`Error::Tensor`] about this file, for readers of tensors.
    pub fn tensor_error(&self, _tensor: &str, _what: impl Into<String>) -> Error {
        todo!()
    }
    /// All tensors in file order.
    pub fn tensors(&self) -> &[Tensor] {
        todo!()
    }
    /// A tensor by name.
    pub fn tensor(&self, _name: &str) -> Option<&Tensor> {
        todo!()
    }
    /// The bytes of a tensor of this file, blocks in row order, without copying.
    pub fn bytes(&self, _tensor: &Tensor) -> Bytes {
        todo!()
    }
}
