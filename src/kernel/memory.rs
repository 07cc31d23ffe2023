//! Where packed matrices live: bytes that begin at a cache line, in huge pages where the system has them.

#![allow(unsafe_code)]

use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Bytes that begin at a cache line, as layouts in 64-byte vectors want.
#[derive(Debug)]
pub(super) enum Aligned {
    /// A small number, and how many bytes of it.
    Small(Vec<Line>, usize),
    /// A part of pages that others have parts of too.
    Part(Arc<memmap2::MmapRaw>, Range<usize>),
}

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([u8; 64]);

// SAFETY: 64 plain bytes, all of which may be zero.
unsafe impl bytemuck::Zeroable for Line {}
// SAFETY: 64 plain bytes at an alignment of 64: no padding, every value is one.
unsafe impl bytemuck::Pod for Line {}

/// Pages that matrices are given parts of, one behind the other; they go back to the system when the last of them is dropped.
static PAGES: Mutex<Option<(Arc<memmap2::MmapRaw>, usize)>> = Mutex::new(None);
/// Bytes that are mapped at once.
const PAGES_LEN: usize = 64 << 20;

impl Aligned {
    /// `len` zeros, of which the system gives memory to those that are written. Larger ones share huge pages where the system
    /// has them: fewer addresses to look up for the same stream.
    pub(super) fn zeroed(len: usize) -> Aligned {
        const LARGE: usize = 1 << 18;
        if len >= LARGE
            && let Some(part) = Self::part(len)
        {
            return part;
        }
        Aligned::Small(bytemuck::zeroed_vec(len.div_ceil(64)), len)
    }

    fn part(len: usize) -> Option<Aligned> {
        let mut pages = PAGES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (map, used) = match pages.take() {
            Some((map, used)) if used + len <= map.len() => (map, used),
            _ => {
                let map = memmap2::MmapOptions::new().len(PAGES_LEN.max(len)).map_anon().ok()?;
                #[cfg(target_os = "linux")]
                if let Err(e) = map.advise(memmap2::Advice::HugePage) {
                    log::debug!("no huge pages: {e}");
                }
                (Arc::new(memmap2::MmapRaw::from(map)), 0)
            }
        };
        *pages = Some((map.clone(), (used + len).next_multiple_of(64)));
        Some(Aligned::Part(map, used..used + len))
    }
}

impl Drop for Aligned {
    /// Gives the memory of its pages back, while others still have parts of the same mapping.
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        if let Aligned::Part(map, range) = self {
            // Whole pages, of any size that a system has.
            let page = 1 << 16;
            let (start, end) = (range.start.next_multiple_of(page), range.end / page * page);
            if start < end {
                // SAFETY: the range is this value's alone and nobody reads it any more: it may as well be zeros.
                let advice =
                    unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, end - start) };
                if let Err(e) = advice {
                    log::debug!("{} bytes stay in memory: {e}", end - start);
                }
            }
        }
    }
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        match self {
            Aligned::Small(lines, len) => &bytemuck::cast_slice(lines)[..*len],
            // SAFETY: `part` gave this range of the mapping, which it lies in, to this value alone, so only this value's `&mut` writes
            // it; the mapping lives as long as the value, and its pages begin as zeros.
            Aligned::Part(map, range) => unsafe {
                std::slice::from_raw_parts(map.as_ptr().add(range.start), range.len())
            },
        }
    }
}

impl std::ops::Deref for Aligned {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.as_ref()
    }
}

impl std::ops::DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Aligned::Small(lines, len) => &mut bytemuck::cast_slice_mut(lines)[..*len],
            // SAFETY: as above, and `self` is borrowed alone.
            Aligned::Part(map, range) => unsafe {
                std::slice::from_raw_parts_mut(map.as_mut_ptr().add(range.start), range.len())
            },
        }
    }
}

/// Calls `f(first, part)` with parts of `out` that are whole units of `unit` bytes, from unit `first` on, on all cores.
pub(super) fn spread(out: &mut [u8], unit: usize, f: &(dyn Fn(usize, &mut [u8]) + Sync)) {
    let units = out.len() / unit.max(1);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(units.max(1));
    let each = units.div_ceil(threads).max(1);
    // A little is done sooner than a thread has started.
    if each * unit < 1 << 18 {
        f(0, out);
        return;
    }
    std::thread::scope(|scope| {
        for (i, part) in out.chunks_mut(each * unit).enumerate() {
            scope.spawn(move || f(i * each, part));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_shared_pages_are_apart_and_zero() {
        let mut all: Vec<Aligned> = [3 << 20, 300_001, 64, 1 << 18].map(Aligned::zeroed).into();
        for (i, bytes) in all.iter_mut().enumerate() {
            assert!(bytes.iter().all(|&b| b == 0) && bytes.as_ptr().addr().is_multiple_of(64));
            bytes.fill(i as u8 + 1);
        }
        assert!(matches!((&all[0], &all[2]), (Aligned::Part(..), Aligned::Small(..))));
        drop(all.remove(1));
        for (bytes, value) in all.iter().zip([1, 3, 4]) {
            assert!(bytes.iter().all(|&b| b == value));
        }
    }
}
