//! Buffers: those that several threads write at once, each its own part, and those that begin at a cache line.

#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// `y[n][rows]`, of which each task writes its own rows of all tokens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output<'a> {
    y: *mut f32,
    tokens: usize,
    rows: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: it stands for an exclusive borrow of plain floats that its owner has split up by rows: `Output::new` is unsafe, and whoever
// calls it promises that no row is written by two threads.
unsafe impl Send for Output<'_> {}
// SAFETY: as above.
unsafe impl Sync for Output<'_> {}

impl<'a> Output<'a> {
    /// # Safety
    /// Copies of the value may be used by several threads, but no two of them write the same row.
    ///
    /// # Panics
    /// If `y` is not `[tokens][rows]`.
    pub(super) unsafe fn new(y: &'a mut [f32], tokens: usize, rows: usize) -> Self {
        assert_eq!(y.len(), tokens * rows, "output of {tokens} tokens × {rows} rows");
        Output { y: y.as_mut_ptr(), tokens, rows, borrow: PhantomData }
    }

    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    /// Writes rows `first..` of token `t`.
    #[inline(always)]
    pub(super) fn write(&self, t: usize, first: usize, values: &[f32]) {
        assert!(t < self.tokens && first + values.len() <= self.rows);
        // SAFETY: inside `y` by the assertion and the length check in `new`; nobody else touches these rows, by the promise made to `new`.
        unsafe { self.y.add(t * self.rows + first).copy_from_nonoverlapping(values.as_ptr(), values.len()) }
    }
}

impl Output<'_> {
    /// Writes rows `first..` of token `t`, of which the matrix has only the first `rows`.
    #[inline(always)]
    pub(super) fn write_some<const N: usize>(&self, t: usize, first: usize, values: &[f32; N], rows: usize) {
        // A whole group has a size that the compiler knows: a few stores in place of a call.
        if rows == N { self.write(t, first, values) } else { self.write(t, first, &values[..rows]) }
    }
}

/// A slice cut into chunks of one size, of which each is given away once.
#[derive(Debug)]
pub(super) struct Chunks<'a, T> {
    data: *mut T,
    chunks: usize,
    size: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for the exclusive borrow of a slice; whoever calls `get` promises not to take a chunk twice.
unsafe impl<T: Send> Sync for Chunks<'_, T> {}

impl<'a, T> Chunks<'a, T> {
    /// # Panics
    /// If `data` is not a whole number of chunks.
    pub(super) fn new(data: &'a mut [T], size: usize) -> Self {
        assert!(size > 0 && data.len().is_multiple_of(size), "{} values in chunks of {size}", data.len());
        Chunks { data: data.as_mut_ptr(), chunks: data.len() / size, size, borrow: PhantomData }
    }

    pub(super) fn len(&self) -> usize {
        self.chunks
    }

    /// Chunk `i`.
    ///
    /// # Safety
    /// No chunk is asked for twice.
    ///
    /// # Panics
    /// If there is no such chunk.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn get(&self, i: usize) -> &'a mut [T] {
        assert!(i < self.chunks, "chunk {i} of {}", self.chunks);
        // SAFETY: chunk i lies inside the borrowed slice, and nobody else has it, by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(i * self.size), self.size) }
    }
}

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
