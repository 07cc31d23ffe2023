//! What transformers computed with the golden models, and how to compare with it.

use crate::golden_cases::folder;
use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

/// All golden checkpoints.
pub(crate) const CASES: [&str; 11] = [
    "bitnet-packed",
    "bitnet-online",
    "falcon-e",
    "llama-untied",
    "llama-scaled",
    "llama-wide-heads",
    "smollm2",
    "qwen3-tied",
    "qwen3-untied",
    "gemma3",
    "gemma3-scaled",
];

/// Expected values of a case, by name.
pub(crate) struct Expected(Vec<u8>);

/// A tensor of expected values.
pub(crate) struct Values {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f64>,
}

impl Expected {
    pub(crate) fn open(case: &str) -> Self {
        let path = folder(case).join("expected.safetensors");
        Self(std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
    }

    pub(crate) fn get(&self, name: &str) -> Option<Values> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).ok()?;
        let data = tensor.data();
        let values = match tensor.dtype() {
            Dtype::F64 => data.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::F32 => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect(),
            Dtype::F16 => data.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).into()).collect(),
            Dtype::BF16 => data.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).into()).collect(),
            Dtype::I32 => data.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect(),
            other => panic!("{name}: {other}"),
        };
        Some(Values { shape: tensor.shape().to_vec(), values })
    }

    pub(crate) fn floats(&self, name: &str) -> Vec<f64> {
        self.get(name).unwrap_or_else(|| panic!("no {name}")).values
    }

    pub(crate) fn tokens(&self, name: &str) -> Vec<u32> {
        self.floats(name).iter().map(|&t| t as u32).collect()
    }
}

/// Largest difference, as a part of the largest expected value; infinite if anything is not a number.
pub(crate) fn difference(got: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let largest = expected.iter().fold(0.0f64, |a, v| a.max(v.abs()));
    let differences = got.iter().zip(expected).map(|(&g, e)| (f64::from(g) - e).abs());
    if got.iter().any(|g| !g.is_finite()) { f64::INFINITY } else { differences.fold(0.0, f64::max) / largest }
}

/// Index of the largest value, the first of equals.
pub(crate) fn argmax<T: PartialOrd>(values: &[T]) -> usize {
    (1..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}
