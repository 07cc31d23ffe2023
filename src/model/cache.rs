//! Keys and values of all sequences, in blocks that sequences own and share.

use super::Config;
use crate::kernel::Number;
use half::f16;

/// Number format of cached keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum KvFormat {
    /// int8 with one f32 scale per head and position (absmax).
    #[default]
    Q8,
    /// IEEE half precision.
    F16,
    /// Single precision.
    F32,
}

impl KvFormat {
    /// How a number is stored.
    pub(super) fn number(self) -> Number {
        match self {
            KvFormat::Q8 => Number::I8,
            KvFormat::F16 => Number::F16,
            KvFormat::F32 => Number::F32,
        }
    }

    /// Bytes of one head's key (or value) of one position.
    fn row_bytes(self, head_dim: usize) -> usize {
        head_dim * self.number().bytes() + if self == KvFormat::Q8 { size_of::<f32>() } else { 0 }
    }
}

/// Keys and values of all sequences, in blocks of [`KvCache::BLOCK`] positions.
///
/// Layout: `[layer][block][kv head]`, then for values `[position in block][head_dim]` and for keys `[head_dim][position in block]`
/// (see [`crate::kernel::Cached`]): attention for one head reads one contiguous run per block.
#[derive(Debug)]
pub struct KvCache {
    format: KvFormat,
    keys: Store,
    values: Store,
    blocks: usize,
    kv_heads: usize,
    head_dim: usize,
}

#[derive(Debug)]
struct Store {
    /// Pages are the system's zero page until they are written to.
    bytes: Vec<u8>,
    /// One per head and position, of [`KvFormat::Q8`].
    scales: Vec<f32>,
}

/// One head's keys or values of one block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'a> {
    pub(super) bytes: &'a [u8],
    /// What the numbers of each position are multiplied by; empty where they are what they say.
    pub(super) scales: &'a [f32],
}

impl KvCache {
    /// Positions per block.
    pub const BLOCK: usize = 32;

    /// Room for `blocks` blocks in all layers of `config`.
    pub fn new(config: &Config, format: KvFormat, blocks: usize) -> Self {
        let rows = config.layers * blocks * config.kv_heads * Self::BLOCK;
        let store = || Store {
            bytes: bytemuck::zeroed_vec(rows * config.head_dim * format.number().bytes()),
            scales: bytemuck::zeroed_vec(if format == KvFormat::Q8 { rows } else { 0 }),
        };
        let (keys, values) = (store(), store());
        Self { format, keys, values, blocks, kv_heads: config.kv_heads, head_dim: config.head_dim }
    }

    /// Bytes that one block takes in all layers.
    pub fn block_bytes(config: &Config, format: KvFormat) -> usize {
        2 * config.layers * config.kv_heads * Self::BLOCK * format.row_bytes(config.head_dim)
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Writes small numbers everywhere. For measurements: before, all unused pages are one and the same page of zeros.
    pub fn fill(&mut self) {
        for store in [&mut self.keys, &mut self.values] {
            store.bytes.fill(0x2e);
            store.scales.fill(1e-3);
        }
    }

    pub(super) fn format(&self) -> KvFormat {
        self.format
    }

    /// Stores one position's keys and values (`[kv_heads][head_dim]` each).
    pub(super) fn write(&mut self, layer: usize, block: u32, slot: usize, keys: &[f32], values: &[f32]) {
        for head in 0..self.kv_heads {
            let row = self.row(layer, block, head);
            let from = head * self.head_dim..(head + 1) * self.head_dim;
            let start = row * self.head_dim;
            // Element i of the key is at [i][slot].
            let by_element = Places { first: start + slot, step: Self::BLOCK };
            let by_position = Places { first: start + slot * self.head_dim, step: 1 };
            self.keys.write(self.format, row + slot, by_element, &keys[from.clone()]);
            self.values.write(self.format, row + slot, by_position, &values[from]);
        }
    }

    pub(super) fn keys(&self, layer: usize, block: u32, head: usize) -> Block<'_> {
        self.block(&self.keys, layer, block, head)
    }

    pub(super) fn values(&self, layer: usize, block: u32, head: usize) -> Block<'_> {
        self.block(&self.values, layer, block, head)
    }

    fn block<'a>(&self, store: &'a Store, layer: usize, block: u32, head: usize) -> Block<'a> {
        let row = self.row(layer, block, head);
        let width = self.head_dim * self.format.number().bytes();
        let scales = if self.format == KvFormat::Q8 { &store.scales[row..row + Self::BLOCK] } else { &[] };
        Block { bytes: &store.bytes[row * width..(row + Self::BLOCK) * width], scales }
    }

    /// The first of the rows (one per position) of a block.
    fn row(&self, layer: usize, block: u32, head: usize) -> usize {
        ((layer * self.blocks + block as usize) * self.kv_heads + head) * Self::BLOCK
    }
}

/// Where the elements of a row are, counted in numbers.
#[derive(Debug, Clone, Copy)]
struct Places {
    first: usize,
    step: usize,
}

impl Store {
    fn write(&mut self, format: KvFormat, row: usize, places: Places, values: &[f32]) {
        let width = format.number().bytes();
        let all = self.bytes[places.first * width..].chunks_mut(places.step * width).zip(values);
        match format {
            KvFormat::F32 => all.for_each(|(to, x)| to[..4].copy_from_slice(&x.to_le_bytes())),
            KvFormat::F16 => all.for_each(|(to, x)| to[..2].copy_from_slice(&f16::from_f32(*x).to_le_bytes())),
            KvFormat::Q8 => {
                let largest = values.iter().fold(0f32, |a, x| a.max(x.abs()));
                // A broken value stays visible: NaN and infinity make the whole row so.
                let broken = values.iter().any(|x| !x.is_finite());
                self.scales[row] = if broken { f32::NAN } else { largest / 127.0 };
                let inverse = if largest > 0.0 && !broken { 127.0 / largest } else { 0.0 };
                // Adding 1.5·2²³ leaves the number, rounded half to even, in the low bits of the float.
                const ROUND: f32 = 12_582_912.0;
                all.for_each(|(to, x)| to[0] = (x * inverse + ROUND).to_bits() as u8);
            }
        }
    }
}
