//! Vector helpers and attention: every instruction set gives the bits of the definition.

use super::{MACHINES, Noise, bits};
use crate::kernel::{Attention, Cached, Compute, Number};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(target_arch = "x86_64") { 200 } else { 60 }))]

    #[test]
    fn dots_are_equal_everywhere(len in 0..200usize, seed: u64) {
        let mut noise = Noise(seed);
        let a: Vec<f32> = (0..len).map(|_| noise.float()).collect();
        let b: Vec<f32> = (0..len).map(|_| noise.float()).collect();
        for machine in MACHINES.iter() {
            prop_assert_eq!(machine.dot(&a, &b).to_bits(), MACHINES[0].dot(&a, &b).to_bits(), "{:?}", machine);
        }
        let exact: f64 = a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
        prop_assert!((f64::from(MACHINES[0].dot(&a, &b)) - exact).abs() < 1e-4);
    }

    #[test]
    fn attention_is_equal_everywhere_and_near_f64(
        number in prop::sample::select(&[Number::F32, Number::F16, Number::I8][..]),
        d in 1..140usize, heads in 1..10usize, ends in (0..96usize, 0..96usize), scaled: bool, seed: u64,
    ) {
        let mut noise = Noise(seed);
        let positions = ends.0.min(ends.1)..ends.0.max(ends.1) + 1;
        let keys = Stored::new(number, d, scaled, &mut noise);
        let values = Stored::new(number, d, scaled, &mut noise);
        let q: Vec<f32> = (0..heads * d).map(|_| noise.float()).collect();
        let scale = if number == Number::I8 { 0.01 } else { 2.0 };
        let block = |b: usize| Cached {
            keys: keys.block(b),
            key_scales: keys.scales(b),
            values: values.block(b),
            value_scales: values.scales(b),
        };
        let seen = |machine: &Compute, positions: std::ops::Range<usize>| {
            let mut all = (vec![f32::NAN; heads * d], vec![f32::NAN; heads], vec![f32::NAN; heads]);
            let mut to = Attention { out: &mut all.0, peak: &mut all.1, sum: &mut all.2 };
            machine.attend(number, block, positions, scale, &q, &mut to);
            all
        };
        let (out, peak, sum) = seen(&MACHINES[0], positions.clone());
        for machine in &MACHINES[1..] {
            let got = seen(machine, positions.clone());
            prop_assert_eq!((bits(&got.0), bits(&got.1), bits(&got.2)), (bits(&out), bits(&peak), bits(&sum)), "{:?}", machine);
        }
        // In two pieces it is nearly the same.
        let middle = (positions.start + positions.end) / 2;
        let mut first = seen(&MACHINES[0], positions.start..middle.max(positions.start + 1));
        let mut later = seen(&MACHINES[0], middle.max(positions.start + 1)..positions.end);
        let mut all = Attention { out: &mut first.0, peak: &mut first.1, sum: &mut first.2 };
        if middle > positions.start {
            all.merge(&Attention { out: &mut later.0, peak: &mut later.1, sum: &mut later.2 });
        } else if positions.len() > 1 {
            return Ok(());
        }
        all.finish();
        for h in 0..heads {
            let score = |p: usize| -> f64 {
                (0..d).map(|i| f64::from(q[h * d + i]) * keys.at(p, i, true)).sum::<f64>() * f64::from(scale)
            };
            let scores: Vec<f64> = positions.clone().map(score).collect();
            let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
            let total: f64 = weights.iter().sum();
            for i in 0..d {
                let exact = positions.clone().zip(&weights).map(|(p, w)| w * values.at(p, i, false)).sum::<f64>() / total;
                let (whole, merged) = (f64::from(out[h * d + i] / sum[h]), f64::from(first.0[h * d + i]));
                let near = 2e-4 * if number == Number::I8 { 128.0 } else { 1.0 };
                prop_assert!((whole - exact).abs() < near && (merged - exact).abs() < near, "{whole} {merged} {exact}");
            }
        }
    }
}

/// Three blocks of 32 cached positions.
struct Stored {
    number: Number,
    d: usize,
    bytes: Vec<u8>,
    numbers: Vec<f32>,
    scales: Vec<f32>,
}

impl Stored {
    fn new(number: Number, d: usize, scaled: bool, noise: &mut Noise) -> Stored {
        let numbers: Vec<f32> = (0..96 * d)
            .map(|_| match number {
                Number::F32 => noise.float(),
                Number::F16 => half::f16::from_f32(noise.float()).to_f32(),
                Number::I8 => noise.below(256) as f32 - 128.0,
            })
            .collect();
        let bytes = numbers.iter().flat_map(|&x| match number {
            Number::F32 => x.to_le_bytes().to_vec(),
            Number::F16 => half::f16::from_f32(x).to_le_bytes().to_vec(),
            Number::I8 => vec![x as i8 as u8],
        });
        let scales = if scaled { (0..96).map(|_| noise.float().abs()).collect() } else { Vec::new() };
        Stored { number, d, bytes: bytes.collect(), numbers, scales }
    }

    fn block(&self, b: usize) -> &[u8] {
        let len = 32 * self.d * self.number.bytes();
        &self.bytes[b * len..][..len]
    }

    fn scales(&self, b: usize) -> &[f32] {
        if self.scales.is_empty() { &[] } else { &self.scales[32 * b..][..32] }
    }

    /// Element i of position p; keys are stored by element.
    fn at(&self, p: usize, i: usize, key: bool) -> f64 {
        let block = &self.numbers[p / 32 * 32 * self.d..];
        let number = if key { block[i * 32 + p % 32] } else { block[p % 32 * self.d + i] };
        f64::from(number) * self.scales.get(p).map_or(1.0, |&s| f64::from(s))
    }
}
