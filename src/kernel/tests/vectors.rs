//! Vector helpers and attention: every instruction set gives the bits of the definition.

use super::{MACHINES, Noise, bits};
use crate::kernel::Number;
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
    fn attention_over_a_block_is_equal_everywhere_and_in_its_order(
        number in prop::sample::select(&[Number::F32, Number::F16, Number::I8][..]),
        d in 1..140usize, heads in 1..10usize, slots in (0..33usize, 0..33usize), seed: u64,
    ) {
        let mut noise = Noise(seed);
        let slots = slots.0.min(slots.1)..slots.0.max(slots.1);
        let stored = |noise: &mut Noise| -> (Vec<u8>, Vec<f32>) {
            let numbers: Vec<f32> = (0..32 * d)
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
            (bytes.collect(), numbers)
        };
        let (keys, k) = stored(&mut noise);
        let (values, v) = stored(&mut noise);
        let q: Vec<f32> = (0..heads * d).map(|_| noise.float()).collect();
        let p: Vec<[f32; 32]> = (0..heads).map(|_| std::array::from_fn(|_| noise.float())).collect();
        let before: Vec<f32> = (0..heads * d).map(|_| noise.float()).collect();

        let mut scores = vec![[0f32; 32]; heads];
        let mut out = before.clone();
        for h in 0..heads {
            for i in 0..d {
                for s in 0..32 {
                    scores[h][s] += q[h * d + i] * k[i * 32 + s];
                }
            }
            for s in slots.clone() {
                for i in 0..d {
                    out[h * d + i] += p[h][s] * v[s * d + i];
                }
            }
        }
        for machine in MACHINES.iter() {
            let mut got = vec![[f32::NAN; 32]; heads];
            machine.scores(number, &keys, &q, &mut got);
            prop_assert_eq!(bits(got.as_flattened()), bits(scores.as_flattened()), "{:?}", machine);
            let mut got = before.clone();
            machine.accumulate(number, &values, slots.clone(), &p, &mut got);
            prop_assert_eq!(bits(&got), bits(&out), "{:?}", machine);
        }
    }
}
