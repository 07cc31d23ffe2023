//! What is fastest on this machine, measured once and remembered.

use crate::bench::processor;
use crate::gguf;
use crate::kernel::{Compute, Layout, Tuning};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Smaller bases stay in the caches, where nothing is to be gained.
const SMALL: usize = 64 << 20;

/// Share of zeros to expect of a squared-ReLU base: over 80 % before `down`, says the technical FAQ of BitNet b1.58.
const EXPECTED_ZEROS: f64 = 0.75;

/// What a base's weights are best kept in on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Best {
    /// The faster layout of ternary weights that are all read.
    pub layout: Layout,
    /// Whether skipping zeros pays.
    pub skip_zeros: bool,
}

/// Sets the threads of `compute` to what is fastest here and says how weights are best kept. Not measured where a base is too small for
/// it to matter. Measured at the first start, about a second; then read from `tuning.json` in the cache folder
/// (`$XDG_CACHE_HOME/locollm` or `~/.cache/locollm`). With `given_threads` the threads stay as they are.
pub fn tune(compute: &mut Compute, file: &gguf::File, given_threads: bool) -> Best {
    let plain = Best { layout: Layout::Panels, skip_zeros: false };
    if file.size() < SMALL {
        return plain;
    }
    let key =
        format!("{}, {}, {} threads, {}", processor(), compute.isa(), compute.threads(), env!("CARGO_PKG_VERSION"));
    let before = compute.used_threads();
    let path = path();
    let mut known = path.as_deref().map(read).unwrap_or_default();
    let tuning = match known.get(&key) {
        Some(tuning) => *tuning,
        None => match Tuning::measure(compute) {
            Ok(tuning) => {
                known.insert(key, tuning);
                if let Some(path) = &path
                    && let Err(e) = write(path, &known)
                {
                    log::debug!("{}: {e}; measured again at the next start", path.display());
                }
                tuning
            }
            Err(e) => {
                log::warn!("no measurement of threads and layouts: {e}");
                return plain;
            }
        },
    };
    compute.set_threads(if given_threads { before } else { tuning.threads });
    log::info!("{tuning:?}");
    Best { layout: tuning.layout, skip_zeros: tuning.skip_from <= EXPECTED_ZEROS }
}

/// `tuning.json`; `None` for a user without a home.
fn path() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = variable("CACHE_DIRECTORY")
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("locollm")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/locollm")));
    cache.map(|dir| dir.join("tuning.json"))
}

/// What is known; nothing if the file is not there or not readable.
fn read(path: &Path) -> BTreeMap<String, Tuning> {
    std::fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

fn write(path: &Path, known: &BTreeMap<String, Tuning>) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer_pretty(&mut file, known)?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Threads;

    #[test]
    fn what_was_written_is_read_and_a_broken_file_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/tuning.json");
        assert!(read(&path).is_empty());
        let tuning = Tuning { threads: Threads { decode: 3, prefill: 4 }, layout: Layout::Trits, skip_from: 0.6 };
        let known = BTreeMap::from([("this machine".to_string(), tuning)]);
        write(&path, &known).unwrap();
        assert_eq!(read(&path), known);
        std::fs::write(&path, "{").unwrap();
        assert!(read(&path).is_empty());
    }

    #[test]
    fn a_small_base_is_not_worth_a_second() {
        let mut compute = Compute::new(None, Some(1)).unwrap();
        let best = tune(&mut compute, &crate::base::open(None).unwrap(), false);
        assert_eq!(best, Best { layout: Layout::Panels, skip_zeros: false });
    }
}
