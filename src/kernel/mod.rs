//! Integer matrix products per instruction set, float vector helpers, and the thread pool.
//!
//! Every instruction set gives the same bits (see ARCHITECTURE.md, "Determinism"): integer sums are exact, and the
//! few float operations around them have one defined order.
//!
//! | file | holds |
//! |---|---|
//! | `compute` | [`Compute`]: splits a product over the threads |
//! | `matrix` | [`Matrix`]: which form a tensor's bytes take; [`Table`]: rows to look up |
//! | `activations` | [`Activations`]: rows of floats and their int8 forms |
//! | `memory` | where packed matrices live |
//! | `ternary`, `blocks`, `float` | the three kinds of products, each with its arithmetic and layout |
//! | `attention` | query heads over cached positions |
//! | `exp` | eˣ, the same everywhere |
//! | `vectors` | byte vectors, for products that are written once |
//! | `isa` | what an instruction set must bring, and how the products are compiled for each |
//! | `scalar`, `x86_64`, `aarch64` | the instruction sets |
//! | `pool` | threads |
//! | `read` | a plain read, to measure the machine |
//! | `tune` | a short measurement of threads and layouts |
//! | `selftest` | a short known answer per kernel at start |

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod activations;
mod attention;
mod blocks;
mod compute;
mod exp;
mod float;
mod isa;
mod matrix;
mod memory;
mod output;
mod pool;
mod read;
mod scalar;
mod selftest;
mod ternary;
#[cfg(test)]
mod tests;
mod tune;
mod vectors;
#[cfg(target_arch = "x86_64")]
mod x86_64;

pub use activations::Activations;
pub use attention::{Attention, Cached, Number};
pub use compute::{Compute, Threads};
pub use exp::exp;
pub use matrix::{Matrix, Packed, Table};
pub use ternary::Layout;
pub use tune::Tuning;

/// What the kernels refuse.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `--isa` asks for something this CPU cannot do.
    #[error("this CPU cannot run `{0}` kernels; it can run: {1}")]
    Unsupported(Isa, String),
    /// The self-test gave another answer than the scalar code: a broken build or CPU.
    #[error("self-test of the `{isa}` kernels failed: {what}")]
    SelfTest {
        /// Which kernels.
        isa: Isa,
        /// Which kernel, and the answers.
        what: String,
    },
    /// A matrix whose shape or bytes the kernels cannot take.
    #[error("{0}")]
    Shape(String),
}

/// An instruction set that kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
#[allow(missing_docs)]
pub enum Isa {
    Scalar,
    Avx2,
    Avx512Vnni,
    Neon,
    NeonDot,
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // As `--isa` wants it.
        match clap::ValueEnum::to_possible_value(self) {
            Some(value) => f.write_str(value.get_name()),
            None => write!(f, "{self:?}"),
        }
    }
}

fn shape(what: String) -> Error {
    Error::Shape(what)
}
