//! The values of one tensor, from the folder's bytes to the file's.

use super::Error;
use super::folder::Source;
use super::plan::{Origin, Planned, RowOrder};
use crate::quant::{Format, absmean, quantize};
use half::{bf16, f16};
use safetensors::Dtype;

/// About how many values are converted at once: memory stays small beside a large embedding.
const CHUNK: usize = 1 << 20;

/// Gives all bytes of `tensor` to `out`, in parts.
pub(super) fn write(tensor: &Planned, out: &mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
    let cols = tensor.dims[0];
    let rows = tensor.dims.get(1).copied().unwrap_or(1);
    match &tensor.origin {
        Origin::Given(values) => out(&quantize(tensor.format, values, cols)),
        Origin::Floats { source, rows: order, plus } => {
            let same = matches!(
                (source.dtype, tensor.format),
                (Dtype::F32, Format::F32) | (Dtype::F16, Format::F16) | (Dtype::BF16, Format::BF16)
            );
            if same && *order == RowOrder::Same && *plus == 0.0 {
                return out(&source.bytes);
            }
            let mut values = Vec::new();
            for first in (0..rows).step_by((CHUNK / cols).max(1)) {
                let last = rows.min(first + (CHUNK / cols).max(1));
                values.clear();
                for row in first..last {
                    floats(source, order.source(row), cols, &mut values);
                }
                values.iter_mut().for_each(|v| *v += plus);
                check_range(source, &values, tensor.format)?;
                out(&quantize(tensor.format, &values, cols))?;
            }
            Ok(())
        }
        // Ternary tensors have one scale, found from the whole tensor.
        Origin::Packed { source, rows: order, scale } => {
            let mut values = Vec::with_capacity(rows * cols);
            for row in 0..rows {
                unpack_row(source, order.source(row), rows, cols, *scale, &mut values)?;
            }
            out(&quantize(tensor.format, &values, cols))
        }
        Origin::Codes { source, rows: order, scale } => {
            let mut values = all_floats(source, *order, rows, cols);
            if let Some(code) = values.iter().find(|&&code| ![-1.0, 0.0, 1.0].contains(&code)) {
                return Err(source.error(format!("has the value {code} beside a scale; codes are -1, 0 and 1")));
            }
            values.iter_mut().for_each(|v| *v *= scale);
            out(&quantize(tensor.format, &values, cols))
        }
        Origin::Masters { source, rows: order } => {
            let mut values = all_floats(source, *order, rows, cols);
            if let Some(value) = values.iter().find(|v| !v.is_finite()) {
                return Err(source.error(format!("has the value {value}")));
            }
            absmean(&mut values);
            out(&quantize(tensor.format, &values, cols))
        }
    }
}

/// The value of a tensor that has only one.
pub(super) fn scalar(source: &Source) -> Result<f32, Error> {
    if source.shape.iter().product::<usize>() != 1 {
        return Err(source.error(format!("has the shape {:?}; one scale for the whole tensor is read", source.shape)));
    }
    if !matches!(source.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
        return Err(source.error(format!("has the data type {}; F32, F16 and BF16 are read", source.dtype)));
    }
    let mut value = Vec::new();
    floats(source, 0, 1, &mut value);
    Ok(value[0])
}

/// Appends one row of a float tensor. The planner has checked the data type and the shape.
fn floats(source: &Source, row: usize, cols: usize, out: &mut Vec<f32>) {
    let bytes = |width: usize| &source.bytes[row * cols * width..(row + 1) * cols * width];
    match source.dtype {
        Dtype::F32 => out.extend(bytes(4).as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
        Dtype::F16 => out.extend(bytes(2).as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32())),
        Dtype::BF16 => out.extend(bytes(2).as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32())),
        other => unreachable!("the planner lets no {other} through"),
    }
}

fn all_floats(source: &Source, order: RowOrder, rows: usize, cols: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(rows * cols);
    for row in 0..rows {
        floats(source, order.source(row), cols, &mut values);
    }
    values
}

/// Appends row `row` of packed codes times `scale`. Codes are packed along the rows: byte `[r, c]` holds
/// column c of the rows r, R/4 + r, R/2 + r and 3R/4 + r, lowest bits first, as code + 1.
fn unpack_row(
    source: &Source,
    row: usize,
    rows: usize,
    cols: usize,
    scale: f32,
    out: &mut Vec<f32>,
) -> Result<(), Error> {
    let packed_rows = rows / 4;
    let (slot, packed_row) = (row / packed_rows, row % packed_rows);
    let bytes = &source.bytes[packed_row * cols..(packed_row + 1) * cols];
    for (col, byte) in bytes.iter().enumerate() {
        out.push(match byte >> (2 * slot) & 3 {
            0 => -scale,
            1 => 0.0,
            2 => scale,
            _ => return Err(source.error(format!("has the code 3 at row {row}, column {col}; 0, 1 and 2 are valid"))),
        });
    }
    Ok(())
}

/// A value that does not fit would become infinite.
fn check_range(source: &Source, values: &[f32], format: Format) -> Result<(), Error> {
    let largest = match format {
        Format::F16 => 65_519.0, // what rounds to the largest f16
        Format::BF16 => 3.395e38,
        _ => return Ok(()),
    };
    match values.iter().find(|v| v.abs() > largest && v.is_finite()) {
        Some(v) => Err(source.error(format!("has the value {v}, which {} cannot hold", format.name()))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Bytes;

    /// The example in the documentation of `unpack_weights` in transformers, plus one.
    #[test]
    fn packed_codes_lie_along_the_rows() {
        let source = Source {
            path: "x".into(),
            name: "w".into(),
            dtype: Dtype::U8,
            shape: vec![2, 2],
            bytes: Bytes::new(vec![0b1010_0001u8, 0b0001_1000, 0b1001_0000, 0b0000_1010]),
        };
        let mut values = Vec::new();
        for row in 0..8 {
            unpack_row(&source, row, 8, 2, 1.0, &mut values).unwrap();
        }
        let expected = [[0, -1], [-1, 1], [-1, 1], [-1, 1], [1, 0], [0, -1], [1, -1], [1, -1]];
        assert_eq!(values, expected.as_flattened().iter().map(|&c| c as f32).collect::<Vec<f32>>());
    }

    #[test]
    fn an_invalid_code_is_refused_with_its_place() {
        let source = Source {
            path: "x".into(),
            name: "w".into(),
            dtype: Dtype::U8,
            shape: vec![1, 2],
            bytes: Bytes::new(vec![0u8, 0b0000_1100]),
        };
        let error = unpack_row(&source, 1, 4, 2, 1.0, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("`w` has the code 3 at row 1, column 1"), "{error}");
    }
}
