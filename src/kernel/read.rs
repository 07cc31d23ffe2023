//! Reading memory as fast as the instruction set can, to know what a machine's bandwidth is.

use super::isa::{Kernel, Task};

/// The wrapping sum of all words.
pub(super) struct Sum<'a>(pub(super) &'a [u64]);

impl Task for Sum<'_> {
    type Output = u64;

    #[inline(always)]
    fn run<K: Kernel>(self, _: K) -> u64 {
        // Several sums, so that additions do not wait for each other.
        let mut sums = [0u64; 32];
        let (parts, rest) = self.0.as_chunks::<32>();
        for part in parts {
            for (sum, word) in sums.iter_mut().zip(part) {
                *sum = sum.wrapping_add(*word);
            }
        }
        sums.iter().chain(rest).fold(0, |a, b| a.wrapping_add(*b))
    }
}
