//! Writes a GGUF file whole or not at all.
//!
//! The bytes go to a temporary file in the same folder, which is read back, synced and renamed
//! onto the target when it is complete. Until then the target is untouched, and whatever goes wrong before
//! that removes the temporary file.

use super::reader::DEFAULT_ALIGNMENT;
use super::value::{Array, Value, id};
use super::{Error, File, types};
use crate::quant::Format;
use std::collections::HashSet;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

const VERSION: u32 = 3;
/// llama.cpp keeps tensor names in 64 bytes with a final zero.
const MAX_TENSOR_NAME: usize = 63;

/// Collects a file's metadata and tensor entries; [`Writer::begin`] then takes the tensors' bytes.
///
/// ```
/// use locollm::gguf::{File, Writer};
/// use locollm::quant::Format;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("tiny.gguf");
/// let mut writer = Writer::new(&path);
/// writer.metadata("general.architecture", "llama");
/// writer.metadata("llama.block_count", 1u32);
/// writer.tensor("output_norm.weight", &[2], Format::F32);
/// let mut body = writer.begin()?;
/// body.write_tensor("output_norm.weight", &[0, 0, 128, 63, 0, 0, 0, 64])?; // 1.0, 2.0
/// body.finish()?;
///
/// let file = File::open(&path)?;
/// assert_eq!(file.str("general.architecture")?, Some("llama"));
/// assert_eq!(file.bytes(&file.tensors()[0]).len(), 8);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    metadata: Vec<(String, Value)>,
    tensors: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    dims: Vec<usize>,
    format: Format,
}

/// A file's beginning, and the sizes of what follows.
#[derive(Debug)]
pub(crate) struct Layout {
    /// Everything before the first tensor.
    pub(crate) header: Vec<u8>,
    /// Bytes of each tensor; each is padded with zeros to [`padded`] of it.
    pub(crate) sizes: Vec<usize>,
    /// Bytes of the whole file.
    pub(crate) size: usize,
}

/// The second half of writing: the tensors' bytes in the order in which they were declared.
/// Dropped without [`Body::finish`], it leaves nothing behind.
#[derive(Debug)]
pub struct Body {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    tensors: Vec<Entry>,
    sizes: Vec<usize>,
    /// Which tensor comes next, and how many bytes of it are written.
    next: usize,
    written: usize,
}

impl Writer {
    /// A file to be written at `path`; nothing happens on disk before [`Writer::begin`].
    pub fn new(path: &Path) -> Writer {
        Writer { path: path.to_owned(), metadata: Vec::new(), tensors: Vec::new() }
    }

    /// Adds a metadata entry; a key that is there already gets the new value, in its old place.
    pub fn metadata(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into();
        match self.metadata.iter_mut().find(|(k, _)| k == key) {
            Some(entry) => entry.1 = value,
            None => self.metadata.push((key.to_owned(), value)),
        }
    }

    /// Declares the next tensor. `dims` is the fastest-varying first, `[cols, rows]` for a linear layer.
    pub fn tensor(&mut self, name: &str, dims: &[usize], format: Format) {
        self.tensors.push(Entry { name: name.to_owned(), dims: dims.to_owned(), format });
    }

    /// Checks the declarations, computes all offsets, and writes everything before the tensors' bytes.
    ///
    /// # Errors
    /// [`Error::Key`] and [`Error::Tensor`] for declarations that do not make a valid file, [`Error::Io`].
    pub fn begin(self) -> Result<Body, Error> {
        let Layout { header, sizes, .. } = self.layout()?;
        let io = |source| Error::Io { path: self.path.clone(), source };
        let file = temporary(&self.path).map_err(io)?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&header).map_err(io)?;
        Ok(Body { path: self.path, file, tensors: self.tensors, sizes, next: 0, written: 0 })
    }

    /// What comes before the tensors' bytes, and how these follow: for files that are not written to a path.
    ///
    /// # Errors
    /// [`Error::Key`] and [`Error::Tensor`] for declarations that do not make a valid file.
    pub(crate) fn layout(&self) -> Result<Layout, Error> {
        let sizes = self.sizes()?;
        let mut header = Vec::new();
        header.extend_from_slice(b"GGUF");
        header.extend_from_slice(&VERSION.to_le_bytes());
        put_len(&mut header, self.tensors.len());
        put_len(&mut header, self.metadata.len());
        for (key, value) in &self.metadata {
            if key.is_empty() || key == "general.alignment" {
                return Err(self.key_error(key, "cannot be written: it is empty or the writer's own"));
            }
            put_string(&mut header, key);
            put_value(&mut header, value);
        }
        let mut offset = 0;
        for (tensor, size) in self.tensors.iter().zip(&sizes) {
            put_string(&mut header, &tensor.name);
            // Ranks are at most 4.
            header.extend_from_slice(&(tensor.dims.len() as u32).to_le_bytes());
            for &dim in &tensor.dims {
                put_len(&mut header, dim);
            }
            header.extend_from_slice(&types::id(tensor.format).to_le_bytes());
            put_len(&mut header, offset);
            offset += padded(*size);
        }
        header.resize(padded(header.len()), 0);
        let size = header.len() + offset;
        Ok(Layout { header, sizes, size })
    }

    /// Bytes of each tensor; refuses what a reader would refuse.
    fn sizes(&self) -> Result<Vec<usize>, Error> {
        let mut names = HashSet::new();
        let mut sizes = Vec::new();
        for t in &self.tensors {
            let error =
                |what: String| Error::Tensor { file: self.path.display().to_string(), tensor: t.name.clone(), what };
            if !names.insert(&t.name) {
                return Err(error("is declared twice".into()));
            }
            if t.name.is_empty() || t.name.len() > MAX_TENSOR_NAME {
                return Err(error(format!("has a name of {} bytes, 1 to {MAX_TENSOR_NAME} are good", t.name.len())));
            }
            if t.dims.is_empty() || t.dims.len() > 4 || t.dims.contains(&0) {
                return Err(error(format!("has the shape {:?}; it needs 1 to 4 dimensions, none of them 0", t.dims)));
            }
            let values = t.dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            let size = values.and_then(|n| t.format.tensor_bytes(n)).filter(|_| t.dims[0] % t.format.block_len() == 0);
            sizes.push(size.ok_or_else(|| error(format!("of shape {:?} cannot be {}", t.dims, t.format.name())))?);
        }
        Ok(sizes)
    }

    fn key_error(&self, key: &str, what: &str) -> Error {
        Error::Key { file: self.path.display().to_string(), key: key.to_owned(), what: what.to_owned() }
    }
}

impl Body {
    /// Writes one whole tensor, the next one in the order of declaration.
    ///
    /// # Errors
    /// [`Error::Tensor`] if it is not `name`'s turn or the length is wrong, [`Error::Io`].
    pub fn write_tensor(&mut self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let turn = self.tensors.get(self.next);
        if turn.is_none_or(|t| t.name != name) || self.written != 0 {
            let turn = turn.map_or("nothing", |t| t.name.as_str());
            return Err(self.error(name, format!("is not next: `{turn}` is")));
        }
        let size = self.sizes[self.next];
        if bytes.len() != size {
            return Err(self.error(name, format!("has {size} bytes, {} were given", bytes.len())));
        }
        self.write_part(bytes)
    }

    /// Writes a part of the next tensor; parts join up until it is complete.
    ///
    /// # Errors
    /// [`Error::Tensor`] if the part is longer than what is missing, [`Error::Io`].
    pub fn write_part(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some(&size) = self.sizes.get(self.next) else {
            return Err(self.error("", "was not declared: all tensors are complete".into()));
        };
        let missing = size - self.written;
        if bytes.len() > missing {
            let name = self.tensors[self.next].name.clone();
            return Err(self.error(&name, format!("lacks {missing} bytes, {} were given", bytes.len())));
        }
        self.put(bytes)?;
        self.written += bytes.len();
        if self.written == size {
            self.put(&[0; DEFAULT_ALIGNMENT as usize][..padded(size) - size])?;
            self.next += 1;
            self.written = 0;
        }
        Ok(())
    }

    /// Validates what was written, puts it on the disk and gives it its name.
    ///
    /// # Errors
    /// [`Error::Tensor`] if a tensor is missing, [`Error::Io`].
    pub fn finish(self) -> Result<(), Error> {
        if let Some(missing) = self.tensors.get(self.next) {
            return Err(self.error(&missing.name, "was declared and not written".into()));
        }
        let Body { path, file, tensors, .. } = self;
        let io = |source| Error::Io { path: path.clone(), source };
        let file = file.into_inner().map_err(|e| io(e.into_error()))?;
        let read = File::open(file.path())?;
        for (written, read) in tensors.iter().zip(read.tensors()) {
            // The group sizes of `Q2_0` share an id and are told apart by length. A file whose `Q2_0_G128` tensors are
            // all so tiny that padding hides the difference would be read as groups of 64: it is refused here.
            if written.format != read.format {
                return Err(Error::Tensor {
                    file: path.display().to_string(),
                    tensor: written.name.clone(),
                    what: format!("was written as {} and reads as {}", written.format.name(), read.format.name()),
                });
            }
        }
        file.as_file().sync_all().map_err(io)?;
        file.persist(&path).map_err(|e| io(e.error))?;
        // The rename itself is on the disk only when the folder is.
        std::fs::File::open(folder(&path)).and_then(|f| f.sync_all()).map_err(io)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(|source| Error::Io { path: self.path.clone(), source })
    }

    fn error(&self, tensor: &str, what: String) -> Error {
        Error::Tensor { file: self.path.display().to_string(), tensor: tensor.to_owned(), what }
    }
}

/// Where the next tensor starts after one that ends at `n`.
pub(crate) fn padded(n: usize) -> usize {
    n.next_multiple_of(DEFAULT_ALIGNMENT as usize)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn temporary(path: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(".gguf.part");
    // As any new file: what the user's umask leaves.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder(path))
}

fn put_len(out: &mut Vec<u8>, n: usize) {
    out.extend_from_slice(&(n as u64).to_le_bytes());
}

fn put_string(out: &mut Vec<u8>, s: &str) {
    put_len(out, s.len());
    out.extend_from_slice(s.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    fn put(out: &mut Vec<u8>, id: u32, bytes: &[u8]) {
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(bytes);
    }
    match value {
        Value::U8(v) => put(out, id::U8, &v.to_le_bytes()),
        Value::I8(v) => put(out, id::I8, &v.to_le_bytes()),
        Value::U16(v) => put(out, id::U16, &v.to_le_bytes()),
        Value::I16(v) => put(out, id::I16, &v.to_le_bytes()),
        Value::U32(v) => put(out, id::U32, &v.to_le_bytes()),
        Value::I32(v) => put(out, id::I32, &v.to_le_bytes()),
        Value::U64(v) => put(out, id::U64, &v.to_le_bytes()),
        Value::I64(v) => put(out, id::I64, &v.to_le_bytes()),
        Value::F32(v) => put(out, id::F32, &v.to_le_bytes()),
        Value::F64(v) => put(out, id::F64, &v.to_le_bytes()),
        Value::Bool(v) => put(out, id::BOOL, &[u8::from(*v)]),
        Value::String(v) => {
            put(out, id::STRING, &[]);
            put_string(out, v);
        }
        Value::Array(v) => {
            put(out, id::ARRAY, &[]);
            put_array(out, v);
        }
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    fn put<T: Copy, const N: usize>(out: &mut Vec<u8>, id: u32, v: &[T], bytes: impl Fn(T) -> [u8; N]) {
        out.extend_from_slice(&id.to_le_bytes());
        put_len(out, v.len());
        out.extend(v.iter().flat_map(|&e| bytes(e)));
    }
    match array {
        Array::U8(v) => put(out, id::U8, v, u8::to_le_bytes),
        Array::I8(v) => put(out, id::I8, v, i8::to_le_bytes),
        Array::U16(v) => put(out, id::U16, v, u16::to_le_bytes),
        Array::I16(v) => put(out, id::I16, v, i16::to_le_bytes),
        Array::U32(v) => put(out, id::U32, v, u32::to_le_bytes),
        Array::I32(v) => put(out, id::I32, v, i32::to_le_bytes),
        Array::U64(v) => put(out, id::U64, v, u64::to_le_bytes),
        Array::I64(v) => put(out, id::I64, v, i64::to_le_bytes),
        Array::F32(v) => put(out, id::F32, v, f32::to_le_bytes),
        Array::F64(v) => put(out, id::F64, v, f64::to_le_bytes),
        Array::Bool(v) => put(out, id::BOOL, v, |b| [u8::from(b)]),
        Array::String(v) => {
            out.extend_from_slice(&id::STRING.to_le_bytes());
            put_len(out, v.len());
            v.iter().for_each(|s| put_string(out, s));
        }
    }
}
