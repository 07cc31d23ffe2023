//! Packed matrices kept on the disk beside a base's file: the next start maps them in place of packing again.
//!
//! ```text
//! matrices, each at a multiple of 4096 bytes │ JSON │ length of the JSON (u64) │ magic (8 bytes)
//! ```
//!
//! Such a file is never needed for a correct answer. It is used only if it was made of this very base file (size, time of change, shapes
//! and the beginning of each tensor), in the same layouts, and each matrix has the SHA-256 that the JSON says; else it is left alone.

use super::weights::{COMPACT_HEAD, Loader};
use super::{Config, Error, Packing};
use crate::gguf::{self, Bytes, File};
use crate::kernel::{Layout, Matrix, Packed};
use crate::quant::Format;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

const MAGIC: &[u8; 8] = b"LOCOPRE1";
/// Matrices begin at multiples of this.
const ALIGNMENT: usize = 4096;

/// Where the packed matrices of a base's file are kept; `None` for a base that is no file on a disk.
pub fn prepared_path(file: &File) -> Option<PathBuf> {
    let path = Path::new(file.name());
    path.is_file().then(|| PathBuf::from(format!("{}.loco", path.display())))
}

/// What [`prepare`] has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// How many matrices are in it.
    pub matrices: usize,
}

/// Packs the matrices of a base and keeps them beside its file, for the next [`super::Model::load_with`] with the same `packing`. One
/// layer is in memory at a time.
///
/// # Errors
/// As [`super::Model::load`]; [`Error::Prepare`] if the base is no file on a disk, or writing fails: then nothing is changed.
pub fn prepare(file: &File, packing: Packing) -> Result<Prepared, Error> {
    let failed = |path: &Path, source: io::Error| Error::Prepare { path: path.into(), source };
    let Some(path) = prepared_path(file) else {
        return Err(failed(
            Path::new(file.name()),
            io::Error::new(io::ErrorKind::Unsupported, "it is no file on a disk"),
        ));
    };
    let io = |source| failed(&path, source);
    let config = Config::from_gguf(file)?;
    let mut loader = Loader::new(file, &config, packing, Store::default());
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".").suffix(".loco.part");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut out = Out { to: BufWriter::new(builder.tempfile_in(folder).map_err(io)?), at: 0, entries: Vec::new() };
    loader.each(&mut |name, matrix| out.put(name, matrix).map_err(io))?;
    let contents = Contents {
        source: Source::of(file).map_err(io)?,
        layout: packing.layout,
        skip_zeros: packing.skip_zeros,
        matrices: std::mem::take(&mut out.entries),
    };
    let matrices = contents.matrices.len();
    let bytes = out.finish(&contents, &path).map_err(io)?;
    // The rename itself is on the disk only when the folder is.
    std::fs::File::open(folder).and_then(|f| f.sync_all()).map_err(io)?;
    Ok(Prepared { path, bytes, matrices })
}

/// The JSON.
#[derive(Debug, Serialize, Deserialize)]
struct Contents {
    source: Source,
    layout: Layout,
    skip_zeros: bool,
    matrices: Vec<Entry>,
}

/// What tells a base's file from others.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Source {
    size: u64,
    /// Nanoseconds since 1970.
    modified: u64,
    /// SHA-256 of the tensors' names, shapes, formats and first bytes.
    tensors: String,
}

impl Source {
    fn of(file: &File) -> io::Result<Source> {
        /// Bytes that are looked at per tensor.
        const SAMPLE: usize = 64;
        let about = std::fs::metadata(file.name())?;
        let modified = about.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let mut hash = Sha256::new();
        for tensor in file.tensors() {
            hash.update(format!("{tensor:?}").as_bytes());
            let bytes = file.bytes(tensor);
            hash.update(&bytes[..bytes.len().min(SAMPLE)]);
        }
        Ok(Source { size: about.len(), modified: modified.as_nanos() as u64, tensors: hex(&hash.finalize()) })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    name: String,
    rows: usize,
    cols: usize,
    kind: Kind,
    offset: usize,
    bytes: usize,
    sha256: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// The scale as the bits of an f32, so that no digit is lost.
    Ternary {
        layout: Layout,
        scale: u32,
    },
    Blocks {
        format: Format,
    },
}

impl Kind {
    fn format(&self) -> Option<Format> {
        match self {
            Kind::Ternary { .. } => None,
            Kind::Blocks { format } => Some(*format),
        }
    }
}

struct Out {
    to: BufWriter<tempfile::NamedTempFile>,
    at: usize,
    entries: Vec<Entry>,
}

impl Out {
    fn put(&mut self, name: &str, matrix: &Matrix) -> io::Result<()> {
        let (kind, bytes) = match matrix.packed() {
            None => return Ok(()),
            Some(Packed::Ternary { layout, scale, bytes }) => (Kind::Ternary { layout, scale: scale.to_bits() }, bytes),
            Some(Packed::Blocks { format, bytes }) => (Kind::Blocks { format }, bytes),
        };
        let offset = self.at.next_multiple_of(ALIGNMENT);
        self.to.write_all(&vec![0; offset - self.at])?;
        self.to.write_all(&bytes)?;
        self.at = offset + bytes.len();
        self.entries.push(Entry {
            name: name.into(),
            rows: matrix.rows(),
            cols: matrix.cols(),
            kind,
            offset,
            bytes: bytes.len(),
            sha256: hex(&Sha256::digest(&bytes[..])),
        });
        Ok(())
    }

    /// Writes the end and gives the file its name; returns its size.
    fn finish(mut self, contents: &Contents, path: &Path) -> io::Result<u64> {
        let json = serde_json::to_vec(contents)?;
        self.to.write_all(&json)?;
        self.to.write_all(&(json.len() as u64).to_le_bytes())?;
        self.to.write_all(MAGIC)?;
        let file = self.to.into_inner().map_err(|e| e.into_error())?;
        file.as_file().sync_all()?;
        let bytes = file.as_file().metadata()?.len();
        file.persist(path).map_err(|e| e.error)?;
        Ok(bytes)
    }
}

/// Packed matrices by name; empty where nothing is prepared.
#[derive(Debug, Default)]
pub(super) struct Store {
    bytes: Option<Bytes>,
    entries: HashMap<String, Entry>,
}

impl Store {
    /// What is prepared for this file and packing.
    pub(super) fn of(file: &File, packing: Packing) -> Store {
        let Some(path) = prepared_path(file).filter(|path| path.is_file()) else { return Store::default() };
        match Self::read(file, packing, &path) {
            Ok(store) => store,
            Err(why) => {
                log::warn!("{} is not used: {why}; matrices are packed again", path.display());
                Store::default()
            }
        }
    }

    fn read(file: &File, packing: Packing, path: &Path) -> Result<Store, String> {
        let map = std::fs::File::open(path).and_then(|f| gguf::map(&f)).map_err(|e| e.to_string())?;
        let bytes = Bytes::new(map);
        let contents = contents(&bytes).ok_or("it has no readable end")?;
        if contents.source != Source::of(file).map_err(|e| e.to_string())? {
            return Err("it was made of another file".into());
        }
        if (contents.layout, contents.skip_zeros) != (packing.layout, packing.skip_zeros) {
            return Err("it has other layouts than are wanted".into());
        }
        let whole = |e: &Entry| e.offset.checked_add(e.bytes).is_some_and(|end| end <= bytes.len());
        if let Some(e) = contents.matrices.iter().find(|e| !whole(e) || !e.offset.is_multiple_of(ALIGNMENT)) {
            return Err(format!("`{}` is not in it", e.name));
        }
        if let Some(name) = damaged(&bytes, &contents.matrices) {
            return Err(format!("`{name}` has another SHA-256 than it should: the file is damaged"));
        }
        let entries = contents.matrices.into_iter().map(|e| (e.name.clone(), e)).collect();
        Ok(Store { bytes: Some(bytes), entries })
    }

    /// The matrix `name`, if it is there in this shape.
    pub(super) fn take(&mut self, name: &str, rows: usize, cols: usize) -> Option<Matrix> {
        let (Some(bytes), Some(e)) = (&self.bytes, self.entries.remove(name)) else { return None };
        if (e.rows, e.cols) != (rows, cols) {
            return None;
        }
        let bytes = bytes.slice(e.offset..e.offset + e.bytes);
        let packed = match &e.kind {
            Kind::Ternary { layout, scale } => {
                Packed::Ternary { layout: *layout, scale: f32::from_bits(*scale), bytes }
            }
            Kind::Blocks { format } => Packed::Blocks { format: *format, bytes },
        };
        Matrix::from_packed(rows, cols, packed).ok()
    }

    /// The compact head, if it is there in this format.
    pub(super) fn take_head(&mut self, format: Format, rows: usize, cols: usize) -> Option<Matrix> {
        let entry = self.entries.get(COMPACT_HEAD)?;
        if entry.kind.format() != Some(format) {
            return None;
        }
        self.take(COMPACT_HEAD, rows, cols)
    }
}

fn contents(bytes: &[u8]) -> Option<Contents> {
    let (rest, magic) = bytes.split_last_chunk::<8>()?;
    let (rest, len) = rest.split_last_chunk::<8>()?;
    let start = rest.len().checked_sub(usize::try_from(u64::from_le_bytes(*len)).ok()?)?;
    if magic != MAGIC { None } else { serde_json::from_slice(&rest[start..]).ok() }
}

/// The name of a matrix whose SHA-256 is not what it should be. All cores take part.
fn damaged<'a>(bytes: &[u8], entries: &'a [Entry]) -> Option<&'a str> {
    let next = AtomicUsize::new(0);
    let bad = AtomicUsize::new(usize::MAX);
    let work = || {
        while let Some(e) = entries.get(next.fetch_add(1, Ordering::Relaxed)) {
            if hex(&Sha256::digest(&bytes[e.offset..e.offset + e.bytes])) != e.sha256 {
                let at = entries.iter().position(|other| std::ptr::eq(other, e)).unwrap_or(0);
                bad.fetch_min(at, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        let others = std::thread::available_parallelism().map_or(1, |n| n.get()) - 1;
        (0..others).for_each(|_| {
            scope.spawn(work);
        });
        work();
    });
    entries.get(bad.into_inner()).map(|e| e.name.as_str())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{CompactHead, Model};
    use super::*;

    /// The demo base as a file.
    fn on_disk(folder: &Path) -> File {
        let path = folder.join("demo.gguf");
        std::fs::write(&path, include_bytes!("../../models/demo/loco-demo-1.58.gguf")).unwrap();
        File::open(&path).unwrap()
    }

    fn packing(layout: Layout) -> Packing {
        Packing { head: CompactHead::Q8_0, layout, skip_zeros: true }
    }

    fn all(model: &Model) -> Vec<(String, Vec<u8>)> {
        let packed = |m: &Matrix| match m.packed() {
            Some(Packed::Ternary { bytes, .. } | Packed::Blocks { bytes, .. }) => bytes.to_vec(),
            None => Vec::new(),
        };
        model.weights.named().map(|(name, m)| (name, packed(m))).collect()
    }

    #[test]
    fn what_was_prepared_is_what_is_packed() {
        let folder = tempfile::tempdir().unwrap();
        let file = on_disk(folder.path());
        for layout in [Layout::Panels, Layout::Trits] {
            let packed = all(&Model::load_with(&file, packing(layout)).unwrap());
            let done = prepare(&file, packing(layout)).unwrap();
            assert_eq!(done.path, folder.path().join("demo.gguf.loco"));
            assert_eq!(done.bytes, std::fs::metadata(&done.path).unwrap().len());
            assert_eq!(done.matrices, packed.iter().filter(|(_, bytes)| !bytes.is_empty()).count());
            let mut store = Store::read(&file, packing(layout), &done.path).unwrap();
            assert_eq!(store.entries.len(), done.matrices);
            assert!(store.take_head(Format::Q4_K, 1, 1).is_none(), "another format");
            assert_eq!(all(&Model::load_with(&file, packing(layout)).unwrap()), packed);
            std::fs::remove_file(&done.path).unwrap();
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn files_that_do_not_fit_are_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let file = on_disk(folder.path());
        let done = prepare(&file, packing(Layout::Panels)).unwrap();
        let why = |layout| Store::read(&file, packing(layout), &done.path).unwrap_err();
        assert!(why(Layout::Trits).contains("layouts"));
        let good = std::fs::read(&done.path).unwrap();
        for (at, what) in [(5000, "damaged"), (good.len() - 1, "end"), (good.len() - 12, "end"), (good.len() - 100, "")]
        {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            std::fs::write(&done.path, bad).unwrap();
            assert!(why(Layout::Panels).contains(what), "byte {at}: {}", why(Layout::Panels));
        }
        for len in [0, 7, 16, 4000, good.len() / 2] {
            std::fs::write(&done.path, &good[..len]).unwrap();
            why(Layout::Panels);
        }
        std::fs::write(&done.path, &good).unwrap();
        let changed = std::fs::OpenOptions::new().append(true).open(file.name()).unwrap();
        changed.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert!(why(Layout::Panels).contains("another file"));
        Model::load_with(&file, packing(Layout::Panels)).unwrap();
    }

    #[test]
    fn a_base_that_is_no_file_cannot_be_prepared() {
        let bytes = include_bytes!("../../models/demo/loco-demo-1.58.gguf");
        let file = File::from_static("embedded", bytes).unwrap();
        let what = prepare(&file, Packing::default()).unwrap_err().to_string();
        assert!(what.contains("embedded") && what.contains("no file"), "{what}");
    }
}
