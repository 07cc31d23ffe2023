//! Writes NumPy's `.npy` files, version 1.0: a matrix of little-endian f32, whole or not at all.

use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A matrix file that takes its rows in any order.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: NamedTempFile,
    header: u64,
    cols: usize,
    missing: Vec<bool>,
}

impl Writer {
    /// Begins a matrix `[rows, cols]`; `path` stays as it is until [`Writer::finish`].
    pub fn create(path: &Path, rows: usize, cols: usize) -> io::Result<Writer> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".").suffix(".npy.part");
        // As any new file: what the user's umask leaves.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(folder)?;
        let header = header(rows, cols);
        file.write_all(&header)?;
        Ok(Writer { path: path.to_owned(), file, header: header.len() as u64, cols, missing: vec![true; rows] })
    }

    /// Writes row `row`.
    ///
    /// # Panics
    /// If there is no such row or it has another length.
    pub fn row(&mut self, row: usize, values: &[f32]) -> io::Result<()> {
        assert_eq!(values.len(), self.cols, "row {row}");
        self.missing[row] = false;
        self.file.seek(SeekFrom::Start(self.header + (row * self.cols * 4) as u64))?;
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.file.write_all(&bytes)
    }

    /// Puts the file on the disk and gives it its name.
    ///
    /// # Panics
    /// If a row was not written.
    pub fn finish(self) -> io::Result<()> {
        assert!(!self.missing.contains(&true), "a row was not written");
        self.file.as_file().sync_all()?;
        self.file.persist(&self.path).map_err(|e| e.error)?;
        Ok(())
    }
}

/// Magic, version, and a Python dictionary padded so that the data starts at a multiple of 64.
fn header(rows: usize, cols: usize) -> Vec<u8> {
    let dictionary = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {cols}), }}");
    // Ten bytes come before the dictionary, a newline ends it.
    let length = (10 + dictionary.len() + 1).next_multiple_of(64) - 10;
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    // Two numbers of at most twenty digits: far below 2^16.
    header.extend((length as u16).to_le_bytes());
    header.extend(dictionary.bytes());
    header.resize(10 + length - 1, b' ');
    header.push(b'\n');
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes that `numpy.save` 2.4 writes for `[[1, 2], [3, 4]]` as float32.
    #[test]
    fn a_matrix_is_what_numpy_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.npy");
        let mut writer = Writer::create(&path, 2, 2).unwrap();
        writer.row(1, &[3.0, 4.0]).unwrap();
        writer.row(0, &[1.0, 2.0]).unwrap();
        assert!(!path.exists(), "the file has its name before it is whole");
        writer.finish().unwrap();
        let mut expected =
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }".to_vec();
        expected.resize(127, b' ');
        expected.push(b'\n');
        for value in [1.0f32, 2.0, 3.0, 4.0] {
            expected.extend(value.to_le_bytes());
        }
        assert_eq!(std::fs::read(&path).unwrap(), expected);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file was left behind");
    }
}
