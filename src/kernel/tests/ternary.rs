//! Ternary matrices from files and from packed bytes.

use super::{BLOCKS, LAYOUTS, MACHINES, Noise, bits, product, tensor, ternary_reference};
use crate::gguf::Bytes;
use crate::kernel::{Matrix, Table};
use crate::quant::{self, Format};

/// A ternary matrix in each format that can hold it, with the same scale.
fn ternary_tensors(codes: &[i8], scale: f32) -> Vec<(Format, Vec<u8>)> {
    let values: Vec<f32> = codes.iter().map(|&c| f32::from(c) * scale).collect();
    [Format::I2_S, Format::TQ1_0, Format::TQ2_0, Format::Q2_0, Format::Q2_0_G128]
        .into_iter()
        .map(|format| (format, quant::quantize(format, &values, 512)))
        .collect()
}

#[test]
fn files_of_every_ternary_format_give_the_same_exact_matrix() {
    let mut noise = Noise(11);
    let (rows, cols) = (33, 512);
    let mut codes: Vec<i8> = (0..rows * cols).map(|_| noise.below(3) as i8 - 1).collect();
    codes[512..1024].fill(0); // quantisers give such blocks the scale 0
    let x: Vec<f32> = (0..3 * cols).map(|_| noise.float()).collect();
    let expected = bits(&ternary_reference(&codes, cols, 0.25, &x));
    for (format, bytes) in ternary_tensors(&codes, 0.25) {
        let w = Matrix::from_format(format, rows, cols, Bytes::new(bytes.clone())).unwrap();
        assert!(w.is_ternary(), "{format:?}");
        assert_eq!(bits(&product(&MACHINES[0], &w, 3, &x)), expected, "{format:?}");
        let table = Table::new(format, rows, cols, Bytes::new(bytes)).unwrap();
        let mut row = vec![0.0; cols];
        for r in 0..rows {
            table.row(r, &mut row);
            let plain: Vec<f32> = codes[r * cols..][..cols].iter().map(|&c| f32::from(c) * 0.25).collect();
            assert_eq!(row, plain, "{format:?}");
        }
    }
}

#[test]
fn ternary_blocks_with_several_scales_stay_blocks() {
    let codes: Vec<i8> = (0..4 * 512).map(|i| (i % 3) as i8 - 1).collect();
    let mut values: Vec<f32> = codes.iter().map(|&c| f32::from(c)).collect();
    values[600..].iter_mut().for_each(|v| *v *= 2.0);
    for format in [Format::TQ1_0, Format::TQ2_0, Format::Q2_0, Format::Q2_0_G128] {
        let bytes = quant::quantize(format, &values, 512);
        let w = Matrix::from_format(format, 4, 512, Bytes::new(bytes.clone())).unwrap();
        assert!(!w.is_ternary(), "{format:?}");
    }
}

#[test]
fn code_three_is_refused_where_it_has_no_meaning() {
    for (format, bytes) in ternary_tensors(&[1; 4 * 512], 1.0) {
        let codes_at = if matches!(format, Format::Q2_0 | Format::Q2_0_G128) { 2 } else { 0 };
        let mut bytes = bytes;
        bytes[codes_at + 7] |= 0b11 << 2;
        let read = Matrix::from_format(format, 4, 512, Bytes::new(bytes));
        match format {
            Format::I2_S | Format::TQ2_0 => {
                let message = read.unwrap_err().to_string();
                assert!(message.contains("code 3"), "{message}");
            }
            // +2 in Q2_0, no such thing in TQ1_0.
            Format::Q2_0 | Format::Q2_0_G128 => assert!(!read.unwrap().is_ternary()),
            _ => assert!(read.is_ok()),
        }
    }
}

#[test]
fn packed_matrices_are_taken_back_and_others_refused() {
    let mut noise = Noise(21);
    let x: Vec<f32> = (0..512).map(|_| noise.float()).collect();
    let mut all: Vec<Matrix> =
        BLOCKS.map(|f| Matrix::from_format(f, 33, 512, Bytes::new(tensor(f, 33 * 512, &mut noise))).unwrap()).into();
    all.extend(LAYOUTS.map(|layout| Matrix::ternary_in(layout, &[1; 33 * 512], 33, 512, 0.5)));
    for w in all {
        let packed = w.packed().unwrap();
        let again = Matrix::from_packed(33, 512, packed.clone()).unwrap();
        assert_eq!(bits(&product(&MACHINES[0], &again, 1, &x)), bits(&product(&MACHINES[0], &w, 1, &x)));
        for (rows, cols) in [(0, 512), (33, 0), (320, 512), (33, 1024), (usize::MAX, usize::MAX)] {
            assert!(Matrix::from_packed(rows, cols, packed.clone()).is_err(), "{rows} × {cols} {packed:?}");
        }
    }
}
