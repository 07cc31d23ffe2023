//! Products of unpacked codes, a byte each: for many tokens, which share one unpacking.

use super::pack::GROUP;
use crate::kernel::isa::Kernel;
use std::cell::RefCell;

thread_local! {
    /// Room for unpacked codes, kept from call to call.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// Room for sums.
    static SUMS: RefCell<Vec<i32>> = const { RefCell::new(Vec::new()) };
}

/// At least `len` bytes of this thread's scratch, contents unspecified.
pub(super) fn take_scratch(len: usize) -> Vec<u8> {
    let mut bytes = SCRATCH.take();
    if bytes.len() < len {
        bytes.resize(len, 0);
    }
    bytes
}

/// Gives it back for the next call.
pub(super) fn keep_scratch(bytes: Vec<u8>) {
    SCRATCH.set(bytes);
}

/// At least `len` sums of this thread's scratch, contents unspecified.
pub(super) fn take_sums(len: usize) -> Vec<i32> {
    let mut sums = SUMS.take();
    if sums.len() < len {
        sums.resize(len, 0);
    }
    sums
}

/// Gives them back for the next call.
pub(super) fn keep_sums(sums: Vec<i32>) {
    SUMS.set(sums);
}

/// Calls `put(t, sums)` for each token with `Σ code·q` of 16 rows. `codes` is `[columns / 4][16][4]`, `q(t)` at least as long as
/// the columns.
#[inline(always)]
pub(super) fn group_sums<'a, K: Kernel>(
    kernel: K,
    codes: &[u8],
    tokens: usize,
    q: impl Fn(usize) -> &'a [u8],
    mut put: impl FnMut(usize, &[i32; GROUP]),
) {
    // As many sums as there are registers for: 16 of 64 bytes, 2 · 4 of 32, 4 · 4 of 16.
    let mut t = 0;
    while t < tokens {
        let from = |i: usize| q(t + i);
        match (K::WIDTH, tokens - t) {
            (64, 16..) => t += group_tile::<K, 1, 16>(kernel, codes, from, t, &mut put),
            (64, 8..) => t += group_tile::<K, 1, 8>(kernel, codes, from, t, &mut put),
            (64, 4..) => t += group_tile::<K, 1, 4>(kernel, codes, from, t, &mut put),
            (32, 4..) => t += group_tile::<K, 2, 4>(kernel, codes, from, t, &mut put),
            (16, 4..) => t += group_tile::<K, 4, 4>(kernel, codes, from, t, &mut put),
            (64, _) => t += group_tile::<K, 1, 1>(kernel, codes, from, t, &mut put),
            (32, _) => t += group_tile::<K, 2, 1>(kernel, codes, from, t, &mut put),
            _ => t += group_tile::<K, 4, 1>(kernel, codes, from, t, &mut put),
        }
    }
}

/// `P` parts are all of a 64-byte vector.
#[inline(always)]
fn group_tile<'a, K: Kernel, const P: usize, const T: usize>(
    kernel: K,
    codes: &[u8],
    q: impl Fn(usize) -> &'a [u8],
    first: usize,
    put: &mut impl FnMut(usize, &[i32; GROUP]),
) -> usize {
    let vectors = codes.as_chunks::<64>().0;
    let mut words: [&[[u8; 4]]; T] = [&[]; T];
    for (t, words) in words.iter_mut().enumerate() {
        *words = &q(t).as_chunks::<4>().0[..vectors.len()];
    }
    let mut sums = [[kernel.no_sums(); P]; T];
    for (i, vector) in vectors.iter().enumerate() {
        for t in 0..T {
            let x = kernel.word(&words[t][i]);
            for p in 0..P {
                sums[t][p] = kernel.dot(sums[t][p], kernel.load(&vector[p * K::WIDTH..]), x);
            }
        }
    }
    for (t, sums) in sums.iter().enumerate() {
        let mut all = [0; GROUP];
        for (p, &sums) in sums.iter().enumerate() {
            kernel.store_sums(sums, &mut all[p * K::WIDTH / 4..]);
        }
        put(first + t, &all);
    }
    T
}

/// Where the parts of a 64-byte vector begin.
#[inline(always)]
pub(super) fn parts<K: Kernel>() -> impl Iterator<Item = usize> {
    (0..64 / K::WIDTH).map(
        #[inline(always)]
        |p| p * K::WIDTH,
    )
}

/// Rows that share the loads of activations.
pub(super) const ROWS: usize = 4;

/// Calls `put(t, sums)` for each token with `Σ code·q` of four rows. `codes` is `[4][columns]`, `q(t)` at least as long as
/// the columns, which are a multiple of 64.
#[inline(always)]
pub(super) fn row_sums<'a, K: Kernel>(
    kernel: K,
    codes: &[u8],
    tokens: usize,
    q: impl Fn(usize) -> &'a [u8],
    mut put: impl FnMut(usize, &[i32; ROWS]),
) {
    let mut t = 0;
    while t < tokens {
        let from = |i: usize| q(t + i);
        match (K::WIDTH, tokens - t) {
            (16 | 64, 4..) => t += row_tile::<K, 4>(kernel, codes, from, t, &mut put),
            (_, 2..) => t += row_tile::<K, 2>(kernel, codes, from, t, &mut put),
            _ => t += row_tile::<K, 1>(kernel, codes, from, t, &mut put),
        }
    }
}

#[inline(always)]
fn row_tile<'a, K: Kernel, const T: usize>(
    kernel: K,
    codes: &[u8],
    q: impl Fn(usize) -> &'a [u8],
    first: usize,
    put: &mut impl FnMut(usize, &[i32; ROWS]),
) -> usize {
    let cols = codes.len() / ROWS;
    let rows: [&[u8]; ROWS] = std::array::from_fn(|r| &codes[r * cols..][..cols]);
    let mut x: [&[u8]; T] = [&[]; T];
    for (t, x) in x.iter_mut().enumerate() {
        *x = &q(t)[..cols];
    }
    let mut sums = [[kernel.no_sums(); ROWS]; T];
    for chunk in 0..cols / K::WIDTH {
        let at = chunk * K::WIDTH;
        let w = [
            kernel.load(&rows[0][at..]),
            kernel.load(&rows[1][at..]),
            kernel.load(&rows[2][at..]),
            kernel.load(&rows[3][at..]),
        ];
        for t in 0..T {
            let x = kernel.load(&x[t][at..]);
            for r in 0..ROWS {
                sums[t][r] = kernel.dot(sums[t][r], w[r], x);
            }
        }
    }
    for (t, sums) in sums.iter().enumerate() {
        put(first + t, &kernel.totals(*sums));
    }
    T
}
