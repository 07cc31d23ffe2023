//! The weights of a base, from a GGUF file.

use super::prepared::Store;
use super::{CompactHead, Config, Error, OutputHead, Packing};
use crate::gguf::{File, Tensor};
use crate::kernel::{Layout, Matrix, Table};
use crate::quant::{Format, absmean, dequantize, ternary_codes};
use std::collections::HashSet;

const EMBEDDING: &str = "token_embd.weight";
const OUTPUT: &str = "output.weight";
/// What a prepared file calls the compact head.
pub(super) const COMPACT_HEAD: &str = "compact head";

/// All weights. Shapes are `[rows, cols]`.
#[derive(Debug)]
pub(super) struct Weights {
    /// `[vocab, dim]`
    pub(super) embedding: Table,
    pub(super) layers: Vec<Layer>,
    /// `[dim]`
    pub(super) output_norm: Vec<f32>,
    /// The output head, `[vocab, dim]`: made of the embedding where the file has none of its own.
    pub(super) output: Matrix,
    /// Whether it is.
    pub(super) tied: bool,
    /// The file's format of it.
    pub(super) head_format: Format,
    /// The head once more, smaller and less precise.
    pub(super) compact: Option<(Format, Matrix)>,
}

/// One transformer layer. Norms that only some architectures have are optional.
#[derive(Debug)]
pub(super) struct Layer {
    /// `[dim]`
    pub(super) attn_norm: Vec<f32>,
    /// `[heads · head_dim, dim]`
    pub(super) q: Matrix,
    /// `[kv_heads · head_dim, dim]`
    pub(super) k: Matrix,
    /// `[kv_heads · head_dim, dim]`
    pub(super) v: Matrix,
    /// `[head_dim]`, per head before the rotation: Qwen3, Gemma 3.
    pub(super) q_norm: Option<Vec<f32>>,
    /// `[head_dim]`
    pub(super) k_norm: Option<Vec<f32>>,
    /// `[heads · head_dim]`, before the output projection: BitNet.
    pub(super) attn_sub_norm: Option<Vec<f32>>,
    /// `[dim, heads · head_dim]`
    pub(super) attn_output: Matrix,
    /// `[dim]`, after the output projection: Gemma 3.
    pub(super) attn_post_norm: Option<Vec<f32>>,
    /// `[dim]`
    pub(super) ffn_norm: Vec<f32>,
    /// `[ffn, dim]`
    pub(super) ffn_gate: Matrix,
    /// `[ffn, dim]`
    pub(super) ffn_up: Matrix,
    /// `[ffn]`, before the down projection: BitNet.
    pub(super) ffn_sub_norm: Option<Vec<f32>>,
    /// `[dim, ffn]`
    pub(super) ffn_down: Matrix,
    /// `[dim]`, after the down projection: Gemma 3.
    pub(super) ffn_post_norm: Option<Vec<f32>>,
}

impl Weights {
    pub(super) fn load(file: &File, config: &Config, packing: Packing) -> Result<Self, Error> {
        let store = Store::of(file, packing);
        let mut loader = Loader::new(file, config, packing, store);
        let tied = loader.tied();
        let head = if tied { EMBEDDING } else { OUTPUT };
        let weights = Weights {
            embedding: loader.embedding()?,
            layers: (0..config.layers).map(|layer| loader.layer(layer)).collect::<Result<_, _>>()?,
            output_norm: loader.norm("output_norm.weight", config.dim)?,
            output: loader.head(head)?,
            tied,
            head_format: loader.tensor(head, &[config.dim, config.vocab])?.format,
            compact: loader.compact_head(head)?,
        };
        loader.check_all_used()?;
        Ok(weights)
    }

    /// The output head: `[vocab, dim]`.
    pub(super) fn head(&self, head: OutputHead) -> &Matrix {
        match (&self.compact, head) {
            (Some((_, compact)), OutputHead::Compact) => compact,
            _ => &self.output,
        }
    }

    /// Every matrix, with the name that a prepared file has for it.
    #[cfg(test)]
    pub(super) fn named(&self) -> impl Iterator<Item = (String, &Matrix)> {
        let layers = self.layers.iter().enumerate().flat_map(|(i, layer)| layer.named(i));
        let head = if self.tied { EMBEDDING } else { OUTPUT };
        let compact = self.compact.iter().map(|(_, head)| (COMPACT_HEAD.to_string(), head));
        layers.chain([(head.to_string(), &self.output)]).chain(compact)
    }

    /// The linear layers of all transformer layers.
    pub(super) fn linears(&self) -> impl Iterator<Item = &Matrix> {
        self.layers.iter().flat_map(|l| [&l.q, &l.k, &l.v, &l.attn_output, &l.ffn_gate, &l.ffn_up, &l.ffn_down])
    }
}

impl Layer {
    /// The matrices of layer `i`, with the names that files have for them.
    fn named(&self, i: usize) -> [(String, &Matrix); 7] {
        [
            ("attn_q", &self.q),
            ("attn_k", &self.k),
            ("attn_v", &self.v),
            ("attn_output", &self.attn_output),
            ("ffn_gate", &self.ffn_gate),
            ("ffn_up", &self.ffn_up),
            ("ffn_down", &self.ffn_down),
        ]
        .map(|(part, matrix)| (format!("blk.{i}.{part}.weight"), matrix))
    }
}

/// The compact head that is worth its memory where nobody names one: for floats that take more than a few milliseconds to read.
fn automatic_head(tensor: &Tensor) -> Option<Format> {
    const SMALL: usize = 32 << 20;
    let floats = matches!(tensor.format, Format::F32 | Format::F16 | Format::BF16);
    let fits = tensor.dims[0].is_multiple_of(Format::Q8_0.block_len());
    (floats && fits && tensor.range().len() > SMALL).then_some(Format::Q8_0)
}

/// Takes tensors out of a file by name and shape, and remembers which.
pub(super) struct Loader<'a> {
    pub(super) file: &'a File,
    pub(super) config: &'a Config,
    pub(super) packing: Packing,
    /// Matrices that were packed before.
    pub(super) store: Store,
    pub(super) used: HashSet<String>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(file: &'a File, config: &'a Config, packing: Packing, store: Store) -> Loader<'a> {
        Loader { file, config, packing, store, used: HashSet::from(["rope_freqs.weight".into()]) }
    }

    /// Calls `f` with each matrix and its name, one layer in memory at a time.
    pub(super) fn each(&mut self, f: &mut dyn FnMut(&str, &Matrix) -> Result<(), Error>) -> Result<(), Error> {
        for i in 0..self.config.layers {
            for (name, matrix) in self.layer(i)?.named(i) {
                f(&name, matrix)?;
            }
        }
        let head = if self.tied() { EMBEDDING } else { OUTPUT };
        f(head, &self.head(head)?)?;
        if let Some((_, compact)) = self.compact_head(head)? {
            f(COMPACT_HEAD, &compact)?;
        }
        Ok(())
    }

    fn layer(&mut self, layer: usize) -> Result<Layer, Error> {
        let c = self.config;
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let (sub_norms, gemma) = (c.sub_norms, c.arch == "gemma3");
        let head_norms = gemma || c.arch == "qwen3";
        let [up, down, other] = self.packing.layouts(c);
        Ok(Layer {
            attn_norm: self.norm(&name("attn_norm"), c.dim)?,
            q: self.linear(&name("attn_q"), c.q_dim(), c.dim, other)?,
            k: self.linear(&name("attn_k"), c.kv_dim(), c.dim, other)?,
            v: self.linear(&name("attn_v"), c.kv_dim(), c.dim, other)?,
            q_norm: self.norm_if(head_norms, &name("attn_q_norm"), c.head_dim)?,
            k_norm: self.norm_if(head_norms, &name("attn_k_norm"), c.head_dim)?,
            attn_sub_norm: self.norm_if(sub_norms, &name("attn_sub_norm"), c.q_dim())?,
            attn_output: self.linear(&name("attn_output"), c.dim, c.q_dim(), other)?,
            attn_post_norm: self.norm_if(gemma, &name("post_attention_norm"), c.dim)?,
            ffn_norm: self.norm(&name("ffn_norm"), c.dim)?,
            ffn_gate: self.linear(&name("ffn_gate"), c.ffn, c.dim, other)?,
            ffn_up: self.linear(&name("ffn_up"), c.ffn, c.dim, up)?,
            ffn_sub_norm: self.norm_if(sub_norms, &name("ffn_sub_norm"), c.ffn)?,
            ffn_down: self.linear(&name("ffn_down"), c.dim, c.ffn, down)?,
            ffn_post_norm: self.norm_if(gemma, &name("post_ffw_norm"), c.dim)?,
        })
    }

    /// Whether the head is the embedding.
    fn tied(&mut self) -> bool {
        if self.file.tensor(OUTPUT).is_none() {
            return true;
        }
        let tied = self.config.arch == "bitnet-25";
        if tied {
            // The first BitNet 2B4T files carry a copy of the embedding here that their own network never reads.
            log::warn!("{}: `{OUTPUT}` is not used: a bitnet-25 head is the embedding", self.file.name());
            self.used.insert(OUTPUT.into());
        }
        tied
    }

    fn embedding(&mut self) -> Result<Table, Error> {
        let tensor = self.tensor(EMBEDDING, &[self.config.dim, self.config.vocab])?;
        let table = self.table(&tensor);
        // It was read once, to be checked; from now on a token reads one row.
        self.file.release(&tensor);
        table
    }

    /// The compact head that is asked for.
    fn compact_head(&mut self, name: &str) -> Result<Option<(Format, Matrix)>, Error> {
        let tensor = self.tensor(name, &[self.config.dim, self.config.vocab])?;
        let Some(format) = self.compact_format(&tensor)? else { return Ok(None) };
        if let Some(head) = self.store.take_head(format, self.config.vocab, self.config.dim) {
            return Ok(Some((format, head)));
        }
        let rows = |done: std::ops::Range<usize>| self.file.release_rows(&tensor, done);
        let head = Matrix::rounded(format, &self.table(&tensor)?, &rows);
        head.map(|head| Some((format, head))).map_err(|source| self.wrong_matrix(&tensor, source))
    }

    /// The format of the compact head, if there is to be one.
    fn compact_format(&self, tensor: &Tensor) -> Result<Option<Format>, Error> {
        let format = match self.packing.head {
            CompactHead::File => return Ok(None),
            CompactHead::Auto => match automatic_head(tensor) {
                Some(format) => format,
                None => return Ok(None),
            },
            CompactHead::Q8_0 => Format::Q8_0,
            CompactHead::Q6_K => Format::Q6_K,
            CompactHead::Q4_K => Format::Q4_K,
        };
        let bits = |format: Format| format.block_bytes() as f64 / format.block_len() as f64;
        if bits(format) >= bits(tensor.format) {
            let what =
                format!("its output head is {} already: one in {} is no smaller", tensor.format.name(), format.name());
            return Err(Error::Unsupported { file: self.file.name().into(), what });
        }
        Ok(Some(format))
    }

    fn table(&self, tensor: &Tensor) -> Result<Table, Error> {
        let table = Table::new(tensor.format, tensor.dims[1], tensor.dims[0], self.file.bytes(tensor));
        table.map_err(|source| self.wrong_matrix(tensor, source))
    }

    fn tensor(&mut self, name: &str, dims: &[usize]) -> Result<Tensor, Error> {
        let missing = || self.file.tensor_error(name, "is missing");
        let tensor = self.file.tensor(name).ok_or_else(missing)?;
        if tensor.dims != dims {
            let what = format!("has shape {:?}, not {dims:?}", tensor.dims);
            return Err(self.file.tensor_error(name, what).into());
        }
        self.used.insert(name.into());
        Ok(tensor.clone())
    }

    fn values(&self, tensor: &Tensor) -> Vec<f32> {
        let mut values = vec![0.0; tensor.dims.iter().product()];
        dequantize(tensor.format, &self.file.bytes(tensor), &mut values);
        values
    }

    fn norm(&mut self, name: &str, len: usize) -> Result<Vec<f32>, Error> {
        let tensor = self.tensor(name, &[len])?;
        let values = self.values(&tensor);
        match values.iter().position(|w| !w.is_finite()) {
            Some(i) => Err(self.file.tensor_error(name, format!("has {} at index {i}", values[i])).into()),
            None => Ok(values),
        }
    }

    fn norm_if(&mut self, wanted: bool, name: &str, len: usize) -> Result<Option<Vec<f32>>, Error> {
        if wanted { self.norm(name, len).map(Some) } else { Ok(None) }
    }

    /// The head: `[vocab, dim]`, never quantised to int8 by the network's definition.
    fn head(&mut self, name: &str) -> Result<Matrix, Error> {
        let tensor = self.tensor(name, &[self.config.dim, self.config.vocab])?;
        self.matrix(&tensor, self.packing.layout)
    }

    fn linear(&mut self, name: &str, rows: usize, cols: usize, layout: Layout) -> Result<Matrix, Error> {
        let tensor = self.tensor(name, &[cols, rows])?;
        let floats = matches!(tensor.format, Format::F32 | Format::F16 | Format::BF16);
        if self.config.bit_linear && floats {
            return match self.store.take(name, rows, cols) {
                Some(matrix) => Ok(matrix),
                None => self.bit_linear(&tensor, layout),
            };
        }
        let matrix = self.matrix(&tensor, layout)?;
        if self.config.bit_linear && !matrix.is_ternary() {
            return Err(Error::Unsupported {
                file: self.file.name().into(),
                what: format!(
                    "tensor `{name}` is {} with more than one scale: the linear layers of `{}` are ternary",
                    tensor.format.name(),
                    self.config.arch
                ),
            });
        }
        Ok(matrix)
    }

    fn matrix(&mut self, tensor: &Tensor, layout: Layout) -> Result<Matrix, Error> {
        let (cols, rows) = (tensor.dims[0], tensor.dims[1]);
        if let Some(matrix) = self.store.take(&tensor.name, rows, cols) {
            return Ok(matrix);
        }
        let matrix = Matrix::from_format_in(layout, tensor.format, rows, cols, self.file.bytes(tensor));
        if matches!(&matrix, Ok(matrix) if !matrix.reads_the_file()) {
            self.file.release(tensor);
        }
        matrix.map_err(|source| self.wrong_matrix(tensor, source))
    }

    fn wrong_matrix(&self, tensor: &Tensor, source: crate::kernel::Error) -> Error {
        Error::Matrix { file: self.file.name().into(), tensor: tensor.name.clone(), source }
    }

    /// A linear layer of a network that is ternary by definition, stored as floats: either already
    /// code × scale, or the master weights, which are quantised as in training (absmean).
    fn bit_linear(&self, tensor: &Tensor, layout: Layout) -> Result<Matrix, Error> {
        let (cols, rows) = (tensor.dims[0], tensor.dims[1]);
        let mut values = self.values(tensor);
        if let Some(i) = values.iter().position(|w| !w.is_finite()) {
            let what = format!("has {} at row {}, column {}", values[i], i / cols, i % cols);
            return Err(self.file.tensor_error(&tensor.name, what).into());
        }
        let codes = ternary_codes(&values).or_else(|| {
            absmean(&mut values);
            ternary_codes(&values)
        });
        let (codes, scale) =
            codes.ok_or_else(|| self.file.tensor_error(&tensor.name, "cannot be rounded to ternary"))?;
        self.file.release(tensor);
        Ok(Matrix::ternary_in(layout, &codes, rows, cols, scale))
    }

    /// A tensor without a place in the network would silently change the answers.
    fn check_all_used(&self) -> Result<(), Error> {
        match self.file.tensors().iter().find(|t| !self.used.contains(&t.name)) {
            None => Ok(()),
            Some(t) => Err(Error::Unsupported {
                file: self.file.name().into(),
                what: format!("tensor `{}` has no place in a `{}` network", t.name, self.config.arch),
            }),
        }
    }
}
