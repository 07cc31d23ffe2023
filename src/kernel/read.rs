//! Reading memory as fast as the instruction set can, to know what a machine's bandwidth is.

use super::isa::{Kernel, Task};

/// The sum of all numbers, in some order.
pub(super) struct Sum<'a>(pub(super) &'a [f32]);

impl Task for Sum<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> f32 {
        let bytes: &[u8] = bytemuck::cast_slice(self.0);
        let (parts, rest) = bytes.as_chunks::<512>();
        let one = kernel.splat(1.0);
        // Four sums of 32 lanes, so that additions do not wait for each other.
        let mut sums = [kernel.splat(0.0); 4];
        for part in parts {
            for (sum, part) in sums.iter_mut().zip(part.as_chunks::<128>().0) {
                *sum = kernel.add_products(*sum, one, kernel.load_f32(part));
            }
        }
        let rest: f32 = self.0[self.0.len() - rest.len() / 4..].iter().sum();
        sums.iter().flat_map(|&sum| kernel.store(sum)).sum::<f32>() + rest
    }
}
