//! Equality, bit for bit, with blocks that ggml packed and unpacked (tests/reference/quant_golden.py), and of `I2_S` with a
//! file that bitnet.cpp reads.

#[path = "../src/testing.rs"]
mod testing;

use locollm::gguf::File;
use locollm::quant::{Format, dequantize, dequantize_rows, quantize};
use safetensors::SafeTensors;
use testing::shared_data;

const GOLDEN: &[u8] = include_bytes!("golden/quant/blocks.safetensors");
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

fn golden<'a>(tensors: &SafeTensors<'a>, name: String) -> Option<&'a [u8]> {
    tensors.tensor(&name).ok().map(|t| t.data())
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn unpacked(format: Format, bytes: &[u8], n: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; n];
    dequantize(format, bytes, &mut out);
    out
}

#[test]
fn any_block_means_what_ggml_says() {
    let tensors = SafeTensors::deserialize(GOLDEN).unwrap();
    let mut absent = Vec::new();
    for format in ALL {
        let Some(bytes) = golden(&tensors, format!("{}.bytes", format.name())) else {
            absent.push(format);
            continue;
        };
        let values = floats(golden(&tensors, format!("{}.values", format.name())).unwrap());
        assert_eq!(unpacked(format, bytes, values.len()), values, "{format:?}");
    }
    // Floats have no blocks, and ggml knows neither of the others; I2_S has a test of its own below.
    assert_eq!(absent, [Format::F32, Format::F16, Format::BF16, Format::Q2_0_G128, Format::I2_S]);
}

#[test]
fn packing_gives_the_bytes_ggml_gives() {
    let tensors = SafeTensors::deserialize(GOLDEN).unwrap();
    let x = floats(golden(&tensors, "x".into()).unwrap());
    let mut absent = Vec::new();
    for format in ALL {
        let Some(bytes) = golden(&tensors, format!("{}.packed", format.name())) else {
            absent.push(format);
            continue;
        };
        let ours = quantize(format, &x, 256);
        let different = ours.iter().zip(bytes).filter(|(a, b)| a != b).count();
        assert_eq!((ours.len(), different), (bytes.len(), 0), "{format:?}: bytes, and different ones");
    }
    assert_eq!(absent, [Format::F32]);
}

#[test]
fn i2_s_means_what_the_same_model_in_f16_says() {
    let early = |format: &str| shared_data(&format!("demo-early/demo-early-{format}.gguf"));
    let (Some(demo), Some(twin)) = (early("I2_S"), early("F16")) else { return };
    let (demo, twin) = (File::open(&demo).unwrap(), File::open(&twin).unwrap());
    let mut compared = 0;
    for tensor in demo.tensors().iter().filter(|t| t.format == Format::I2_S) {
        let other = twin.tensor(&tensor.name).unwrap();
        let bytes = demo.bytes(tensor);
        let values = unpacked(Format::F16, &twin.bytes(other), other.values());
        assert_eq!(unpacked(Format::I2_S, &bytes, tensor.values()), values, "{}", tensor.name);
        assert_eq!(quantize(Format::I2_S, &values, tensor.dims[0]), *bytes, "{} packed", tensor.name);
        compared += 1;
    }
    assert!(compared >= 42, "{compared} tensors");
}

#[test]
fn rows_of_a_tensor_are_what_the_whole_tensor_says() {
    let tensors = SafeTensors::deserialize(GOLDEN).unwrap();
    let x = floats(golden(&tensors, "x".into()).unwrap());
    for format in ALL {
        let bytes = quantize(format, &x, 256);
        let whole = unpacked(format, &bytes, x.len());
        let mut rows = vec![f32::NAN; 512];
        dequantize_rows(format, &bytes, 256, 2, &mut rows);
        assert_eq!(rows, whole[512..1024], "{format:?}");
    }
}
