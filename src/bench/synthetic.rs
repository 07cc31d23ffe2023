//! A base of a true shape with made-up weights, as a GGUF file that lives in memory only.
//!
//! Everything that happens to a real file happens to it: it is mapped, validated, repacked. Its weights say nothing, so it is good
//! for speed and memory and for nothing else.

use super::Shape;
use crate::gguf::{self, File, Writer};
use crate::quant::{self, Format};
use nix::sys::memfd::{MFdFlags, memfd_create};
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg32;
use std::collections::HashMap;
use std::io::{BufWriter, Write};

/// Values that a format's pool of blocks is made from; tensors are filled from the pool.
const POOL: usize = 1 << 19;

/// Why there is no such file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system has no room for it, or no files in memory.
    #[error("{gigabytes:.1} GB in memory for the weights of {shape}: {source}")]
    Memory {
        /// Which shape.
        shape: &'static str,
        /// How much was needed.
        gigabytes: f64,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is wrong, which is a mistake in this program.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
}

/// Writes the file. With `zeros`, from 0.5 to 1, so large a share of the gates of feed-forward layers is not positive: random gates are
/// negative half of the time, and the others needed have weights of 0.
///
/// # Errors
/// [`Error::Memory`] if there is too little of it.
pub fn file(shape: &'static Shape, zeros: Option<f64>) -> Result<File, Error> {
    let mut writer = Writer::new(std::path::Path::new(shape.name));
    for (key, value) in metadata(shape) {
        writer.metadata(&key, value);
    }
    let tensors = shape.tensors();
    for (name, dims, format) in &tensors {
        writer.tensor(name, dims, *format);
    }
    let layout = writer.layout()?;
    let memory = |source| Error::Memory { shape: shape.name, gigabytes: layout.size as f64 / 1e9, source };

    let fd = memfd_create("loco-bench", MFdFlags::MFD_CLOEXEC).map_err(|e| memory(e.into()))?;
    let fd = std::fs::File::from(fd);
    let mut out = BufWriter::with_capacity(1 << 20, &fd);
    let mut source = Source::new();
    let mut write = || -> std::io::Result<()> {
        out.write_all(&layout.header)?;
        for ((name, dims, format), size) in tensors.iter().zip(&layout.sizes) {
            let closed = zeros.filter(|_| name.ends_with("ffn_gate.weight")).map_or(0.0, |zeros| 2.0 * zeros - 1.0);
            source.tensor(&mut out, *format, dims, closed)?;
            out.write_all(&vec![0; gguf::padded(*size) - size])?;
        }
        out.flush()
    };
    write().map_err(memory)?;
    drop(out);
    let map = gguf::map(&fd).map_err(memory)?;
    Ok(File::from_map(&format!("{}.gguf (synthetic)", shape.name), map)?)
}

fn metadata(shape: &Shape) -> Vec<(String, gguf::Value)> {
    let key = |name: &str, value: gguf::Value| (format!("{}.{name}", shape.arch), value);
    let number = |n: usize| gguf::Value::from(n as u32);
    vec![
        ("general.architecture".into(), shape.arch.into()),
        ("general.name".into(), format!("{}: synthetic weights, for benchmarks", shape.name).into()),
        key("context_length", number(shape.context)),
        key("embedding_length", number(shape.dim)),
        key("block_count", number(shape.layers)),
        key("feed_forward_length", number(shape.ffn)),
        key("attention.head_count", number(shape.heads)),
        key("attention.head_count_kv", number(shape.kv_heads)),
        key("attention.key_length", number(shape.head_dim)),
        key("attention.value_length", number(shape.head_dim)),
        key("attention.layer_norm_rms_epsilon", 1e-5f32.into()),
        key("rope.freq_base", shape.theta.into()),
    ]
}

/// Makes tensors' bytes from a pool of random blocks per format.
struct Source {
    random: Pcg32,
    pools: HashMap<Format, Vec<u8>>,
}

impl Source {
    fn new() -> Self {
        Self { random: Pcg32::seed_from_u64(1), pools: HashMap::new() }
    }

    /// Writes a tensor; so large a share of its rows is zero.
    fn tensor(&mut self, out: &mut impl Write, format: Format, dims: &[usize], closed: f64) -> std::io::Result<()> {
        if dims.len() == 1 {
            return out.write_all(&quant::quantize(format, &vec![1.0; dims[0]], dims[0]));
        }
        let (cols, rows) = (dims[0], dims[1]);
        let row_bytes = cols / format.block_len() * format.block_bytes();
        let random = &mut self.random;
        let pool = self.pools.entry(format).or_insert_with(|| pool(format, random));
        let blocks = (pool.len() - row_bytes) / format.block_bytes();
        let zeros = quant::quantize(format, &vec![0.0; cols], cols);
        for _ in 0..rows {
            if f64::from(self.random.next_u32()) < closed * f64::from(u32::MAX) {
                out.write_all(&zeros[..row_bytes])?;
                continue;
            }
            let at = self.random.next_u32() as usize % blocks * format.block_bytes();
            out.write_all(&pool[at..at + row_bytes])?;
        }
        if format == Format::I2_S {
            // The tensor's scale: each output has about the variance of the input.
            out.write_all(&(1.2 / (cols as f32).sqrt()).to_le_bytes())?;
            out.write_all(&[0; 28])?;
        }
        Ok(())
    }
}

/// Random blocks: ternary formats have a third of each code, others values of the size that trained weights have.
fn pool(format: Format, random: &mut Pcg32) -> Vec<u8> {
    let ternary = format == Format::I2_S;
    let values: Vec<f32> = (0..POOL)
        .map(|_| match random.next_u32() {
            draw if ternary => (draw % 3) as f32 - 1.0,
            draw => (draw as f32 / u32::MAX as f32 - 0.5) * 0.07,
        })
        .collect();
    let mut bytes = quant::quantize(format, &values, POOL);
    bytes.truncate(POOL / format.block_len() * format.block_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;

    #[test]
    fn the_tiny_shape_loads_as_what_it_says() {
        let shape = Shape::named("tiny").unwrap();
        let file = file(shape, None).unwrap();
        let model = Model::load(&file).unwrap();
        assert!(model.is_ternary());
        assert_eq!((model.config.dim, model.config.vocab, file.tensors().len()), (256, 3072, shape.tensors().len()));
        assert!(file.name().contains("synthetic"));
    }
}
