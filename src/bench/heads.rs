//! What a compact output head costs: the perplexity of a stated text with each head.

use crate::gguf::File;
use crate::kernel::Compute;
use crate::model::{self, CompactHead, KvFormat, Model, OutputHead, Packing};
use crate::score::{self, Bos, Scorer, Windows, perplexity};
use crate::text::{self, Encode, Tokenizer};
use serde::Serialize;

/// The text where none is given: 2.4 kB of English prose, written for this.
pub const TEXT: &str = include_str!("text.txt");

/// Tokens per window.
const WINDOW: usize = 512;

/// Why heads cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum HeadsError {
    /// The base cannot be loaded.
    #[error(transparent)]
    Model(#[from] model::Error),
    /// It has no tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] text::Error),
    /// The text cannot be scored.
    #[error("the text: {0}")]
    Text(#[from] score::Error),
}

/// One head.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeadCost {
    /// Its format.
    pub format: &'static str,
    /// Whether it is the file's own.
    pub own: bool,
    /// Its bytes, all of which each token reads.
    pub bytes: usize,
    /// Perplexity of the text.
    pub perplexity: f64,
    /// Tokens that were scored.
    pub scored: usize,
}

/// The file's own head, and each compact one that is smaller. Keys and values are f32, so that nothing else is rounded.
///
/// # Errors
/// If the base cannot be loaded, has no tokenizer, or the text has too few tokens.
pub fn head_costs(file: &File, compute: &Compute, packing: Packing, text: &str) -> Result<Vec<HeadCost>, HeadsError> {
    let tokenizer = Tokenizer::from_gguf(file)?;
    let tokens = tokenizer.encode(text, Encode { bos: true, special: false });
    let mut costs: Vec<HeadCost> = Vec::new();
    for head in [CompactHead::File, CompactHead::Q8_0, CompactHead::Q6_K, CompactHead::Q4_K] {
        let model = match Model::load_with(file, Packing { head, ..packing }) {
            Ok(model) => model,
            // No smaller than the file's, or rows that are no whole number of its blocks.
            Err(e) if head != CompactHead::File => {
                log::info!("{e}");
                continue;
            }
            Err(e) => return Err(e.into()),
        };
        let context = WINDOW.min(model.config.context).min(tokens.len());
        let mut scorer = Scorer::new(&model, compute, KvFormat::F32, context);
        scorer.set_head(OutputHead::Compact);
        let windows = Windows { context, stride: (context / 2).max(1), bos: Bos::AsGiven };
        let result = perplexity(&mut scorer, &tokens, windows, &mut |_, _| {})?;
        costs.push(HeadCost {
            format: model.head_format(OutputHead::Compact).name(),
            own: head == CompactHead::File,
            bytes: model.head_bytes(OutputHead::Compact),
            perplexity: result.nll.exp(),
            scored: result.scored,
        });
    }
    Ok(costs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_base_has_a_perplexity_with_each_head() {
        let file = crate::base::open(None).unwrap();
        let compute = Compute::new(None, Some(2)).unwrap();
        let text = &TEXT[..TEXT.floor_char_boundary(700)];
        let costs = head_costs(&file, &compute, Packing::default(), text).unwrap();
        assert!(costs.len() >= 2 && costs[0].own, "{costs:?}");
        for cost in &costs[1..] {
            assert!(!cost.own && cost.bytes < costs[0].bytes && cost.scored == costs[0].scored, "{costs:?}");
            assert!((cost.perplexity / costs[0].perplexity).ln().abs() < 0.3, "{costs:?}");
        }
    }
}
