//! Rows of a tensor from one format to another, on several threads.

use super::Error;
use crate::gguf::{File, Tensor};
use crate::quant::{Format, dequantize_rows, quantize};
use std::num::NonZeroUsize;
use std::sync::Mutex;

/// About how many values a thread takes at a time.
const CHUNK: usize = 1 << 16;

/// The tensor in another format, whose blocks are independent.
pub(super) fn pack(file: &File, tensor: &Tensor, to: Format, threads: NonZeroUsize) -> Result<Vec<u8>, Error> {
    let cols = tensor.dims[0];
    let rows = (CHUNK / cols).max(1);
    let row_bytes = cols / to.block_len() * to.block_bytes();
    let mut packed = vec![0; tensor.values() / cols * row_bytes];
    for_each_chunk(&mut packed, rows * row_bytes, threads, |i, packed| {
        let mut values = vec![0.0; packed.len() / row_bytes * cols];
        read(file, tensor, i * rows, &mut values)?;
        if to == Format::F16
            && let Some(v) = values.iter().find(|v| v.abs() > half::f16::MAX.to_f32())
        {
            return Err(file.tensor_error(&tensor.name, format!("has the value {v}, too large for F16")).into());
        }
        packed.copy_from_slice(&quantize(to, &values, cols));
        Ok(())
    })?;
    Ok(packed)
}

/// The tensor's values.
pub(super) fn values(file: &File, tensor: &Tensor, threads: NonZeroUsize) -> Result<Vec<f32>, Error> {
    let cols = tensor.dims[0];
    let rows = (CHUNK / cols).max(1);
    let mut values = vec![0.0; tensor.values()];
    for_each_chunk(&mut values, rows * cols, threads, |i, values| read(file, tensor, i * rows, values))?;
    Ok(values)
}

/// Values from row `first` on; refuses what is not a number.
fn read(file: &File, tensor: &Tensor, first: usize, values: &mut [f32]) -> Result<(), Error> {
    dequantize_rows(tensor.format, &file.bytes(tensor), tensor.dims[0], first, values);
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(i) => {
            let (row, col) = (first + i / tensor.dims[0], i % tensor.dims[0]);
            Err(file
                .tensor_error(&tensor.name, format!("has the value {} at row {row}, column {col}", values[i]))
                .into())
        }
    }
}

/// Calls `f(i, chunk i)` for chunks of `size` elements, spread over `threads`; gives the first chunk's error.
fn for_each_chunk<T: Send>(
    all: &mut [T],
    size: usize,
    threads: NonZeroUsize,
    f: impl Fn(usize, &mut [T]) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let chunks = Mutex::new(all.chunks_mut(size).enumerate());
    let failed: Mutex<Option<(usize, Error)>> = Mutex::new(None);
    let work = || {
        loop {
            // A poisoned lock means that another thread panicked; the scope passes that on.
            let Some((i, chunk)) = chunks.lock().ok().and_then(|mut c| c.next()) else { return };
            if let Err(e) = f(i, chunk)
                && let Ok(mut failed) = failed.lock()
                && failed.as_ref().is_none_or(|(first, _)| i < *first)
            {
                *failed = Some((i, e));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.get() {
            scope.spawn(work);
        }
        work();
    });
    failed.into_inner().ok().flatten().map_or(Ok(()), |(_, e)| Err(e))
}
