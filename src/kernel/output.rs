//! Buffers that several threads write at once, each its own part.

#![allow(unsafe_code)]

use std::marker::PhantomData;

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
