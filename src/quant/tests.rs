//! Round trips; equality with ggml is in tests/quant_golden.rs.

use super::*;
use proptest::prelude::*;

const ALL: [Format; 13] = [
    Format::F32,
    Format::F16,
    Format::BF16,
    Format::Q4_0,
    Format::Q8_0,
    Format::Q4_K,
    Format::Q5_K,
    Format::Q6_K,
    Format::TQ1_0,
    Format::TQ2_0,
    Format::Q2_0,
    Format::Q2_0_G128,
    Format::I2_S,
];

fn round_trip(format: Format, x: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.len()];
    dequantize(format, &quantize(format, x, 256), &mut out);
    out
}

fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |m, v| m.max(v.abs()))
}

proptest! {
    #[test]
    fn a_round_trip_changes_no_value_by_more_than_the_step(
        x in prop::collection::vec(-1.0f32..1.0, 512),
        magnitude in prop::sample::select(vec![0.1f32, 1.0, 100.0]),
    ) {
        let x: Vec<f32> = x.iter().map(|v| v * magnitude).collect();
        // The largest error in parts of the largest magnitude of 256 values: half a step, and what the
        // rounding of scales adds. Q4_0 has 16 codes for 17 steps, so one end may be off by a whole one.
        let bounds = [
            (Format::F32, 0.0),
            (Format::F16, 1.0 / 2048.0),
            (Format::BF16, 1.0 / 256.0),
            (Format::Q8_0, 0.5 / 127.0 + 1.0 / 2048.0),
            (Format::Q6_K, 1.5 / 32.0),
            (Format::Q5_K, 2.0 / 31.0),
            (Format::Q4_K, 2.0 / 15.0),
            (Format::Q4_0, 1.0 / 8.0 + 1.0 / 2048.0),
        ];
        for (format, bound) in bounds {
            for (x, y) in x.chunks(256).zip(round_trip(format, &x).chunks(256)) {
                let worst = x.iter().zip(y).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
                prop_assert!(worst <= bound * largest(x), "{format:?}: {worst} of {}", largest(x));
            }
        }
    }

    #[test]
    fn ternary_formats_keep_ternary_values_exactly(
        codes in prop::collection::vec(-1i8..=1, 512),
        scale in 1u16..0x7c00, // any positive half-precision number
    ) {
        let scale = half::f16::from_bits(scale).to_f32();
        let x: Vec<f32> = codes.iter().map(|&c| f32::from(c) * scale).collect();
        for format in [Format::TQ1_0, Format::TQ2_0, Format::Q2_0, Format::Q2_0_G128, Format::I2_S] {
            prop_assert_eq!(&round_trip(format, &x), &x, "{:?}", format);
        }
    }

    #[test]
    fn any_bits_can_be_packed_and_any_block_unpacked(
        bits in prop::collection::vec(any::<u32>(), 512),
        bytes in prop::collection::vec(any::<u8>(), 2048),
    ) {
        let x: Vec<f32> = bits.iter().map(|&b| f32::from_bits(b)).collect();
        for format in ALL {
            round_trip(format, &x);
            let size = format.tensor_bytes(512).unwrap();
            dequantize(format, &bytes[..size], &mut [0.0; 512]);
        }
    }
}

#[test]
fn i2_s_keeps_a_scale_that_half_precision_cannot() {
    let x: Vec<f32> = (0..256).map(|i| [0.1, 0.0, -0.1][i % 3]).collect();
    assert_eq!(round_trip(Format::I2_S, &x), x);
}

#[test]
fn zeros_stay_zeros() {
    for format in ALL {
        assert_eq!(round_trip(format, &[0.0; 256]), [0.0; 256], "{format:?}");
    }
}

#[test]
fn sizes_are_those_of_ggml() {
    let sizes = |f: Format| f.tensor_bytes(512).unwrap();
    let of_512 = [2048, 1024, 1024, 288, 544, 288, 352, 420, 108, 132, 144, 136, 160];
    assert_eq!(ALL.map(sizes), of_512);
    assert_eq!(Format::Q4_K.tensor_bytes(255), None);
    assert_eq!(Format::F32.tensor_bytes(usize::MAX), None);
}

#[test]
fn five_digits_of_a_byte_are_its_base_3_number() {
    for q in 0..243u16 {
        let byte = (q * 256).div_ceil(243) as u8;
        let digits: Vec<u8> = (0..5).map(|n| tq1_0::digit(byte, n)).collect();
        let value = digits.iter().fold(0, |v, &d| v * 3 + u16::from(d));
        assert_eq!(value, q, "{digits:?}");
    }
}
