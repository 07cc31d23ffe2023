//! Keys and values of all sequences, in blocks that sequences own and share.

use super::Config;
use half::f16;

/// Number format of cached keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum KvFormat {
    /// IEEE half precision.
    #[default]
    F16,
    /// Single precision.
    F32,
}

/// Keys and values of all sequences, in blocks of [`KvCache::BLOCK`] positions.
///
/// Layout: `[layer][block][kv head][position in block][head_dim]`, keys and values apart, so that
/// attention for one head reads one contiguous run per block.
#[derive(Debug)]
pub struct KvCache {
    keys: Store,
    values: Store,
    blocks: usize,
    kv_heads: usize,
    head_dim: usize,
}

#[derive(Debug)]
enum Store {
    F16(Vec<f16>),
    F32(Vec<f32>),
}

/// One head's keys or values of one block: `[BLOCK][head_dim]`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rows<'a> {
    F16(&'a [f16]),
    F32(&'a [f32]),
}

impl KvCache {
    /// Positions per block.
    pub const BLOCK: usize = 32;

    /// Room for `blocks` blocks in all layers of `config`.
    pub fn new(config: &Config, format: KvFormat, blocks: usize) -> Self {
        let values = config.layers * blocks * config.kv_dim() * Self::BLOCK;
        Self {
            keys: Store::new(format, values),
            values: Store::new(format, values),
            blocks,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
        }
    }

    /// Bytes that one block takes in all layers.
    pub fn block_bytes(config: &Config, format: KvFormat) -> usize {
        let width = match format {
            KvFormat::F16 => 2,
            KvFormat::F32 => 4,
        };
        2 * width * config.layers * config.kv_dim() * Self::BLOCK
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Stores one position's keys and values (`[kv_heads][head_dim]` each).
    pub(super) fn write(&mut self, layer: usize, block: u32, slot: usize, keys: &[f32], values: &[f32]) {
        for head in 0..self.kv_heads {
            let to = self.start(layer, block, head) + slot * self.head_dim;
            let from = head * self.head_dim..(head + 1) * self.head_dim;
            self.keys.write(to, &keys[from.clone()]);
            self.values.write(to, &values[from]);
        }
    }

    pub(super) fn keys(&self, layer: usize, block: u32, head: usize) -> Rows<'_> {
        self.keys.rows(self.start(layer, block, head), Self::BLOCK * self.head_dim)
    }

    pub(super) fn values(&self, layer: usize, block: u32, head: usize) -> Rows<'_> {
        self.values.rows(self.start(layer, block, head), Self::BLOCK * self.head_dim)
    }

    fn start(&self, layer: usize, block: u32, head: usize) -> usize {
        ((layer * self.blocks + block as usize) * self.kv_heads + head) * Self::BLOCK * self.head_dim
    }
}

impl Store {
    fn new(format: KvFormat, len: usize) -> Self {
        match format {
            KvFormat::F16 => Store::F16(bytemuck::zeroed_vec(len)),
            KvFormat::F32 => Store::F32(vec![0.0; len]),
        }
    }

    fn write(&mut self, at: usize, values: &[f32]) {
        use half::slice::HalfFloatSliceExt;
        match self {
            Store::F16(store) => store[at..at + values.len()].convert_from_f32_slice(values),
            Store::F32(store) => store[at..at + values.len()].copy_from_slice(values),
        }
    }

    fn rows(&self, at: usize, len: usize) -> Rows<'_> {
        match self {
            Store::F16(store) => Rows::F16(&store[at..at + len]),
            Store::F32(store) => Rows::F32(&store[at..at + len]),
        }
    }
}
