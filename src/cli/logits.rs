//! `loco logits`.

use super::Base;
use crate::kernel::Compute;
use crate::model::{KvFormat, Model};
use crate::score::{Scorer, log_softmax, npy};
use crate::text::{Encode, Token, Tokenizer};
use crate::{base, score};
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// Writes the logits of every position.
///
/// The file is NumPy's .npy: f32, [positions, vocabulary]; row i is what may follow the tokens up to position i.
#[derive(Debug, clap::Args)]
pub(crate) struct Command {
    #[command(flatten)]
    base: Base,
    /// Token ids, separated by commas; nothing is added to them.
    #[arg(long, value_delimiter = ',', required_unless_present = "text", conflicts_with = "text")]
    ids: Vec<Token>,
    /// Text instead of ids, with the beginning-of-sequence token if the base adds one.
    #[arg(long)]
    text: Option<String>,
    /// The .npy file to write.
    #[arg(long)]
    out: PathBuf,
    /// Write natural log-probabilities instead of logits.
    #[arg(long)]
    log_probs: bool,
    /// Only these positions, in this order; negative ones count from the end [default: all].
    #[arg(long, value_delimiter = ',', allow_hyphen_values = true)]
    positions: Vec<i64>,
    /// Number format of cached keys and values.
    #[arg(long, default_value = "f32")]
    kv: KvFormat,
    /// Print what was written as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report<'a> {
    out: &'a Path,
    shape: [usize; 2],
    log_probs: bool,
    ids: &'a [Token],
    positions: &'a [usize],
    /// The likeliest next token after each position.
    argmax: &'a [usize],
}

impl Command {
    pub(crate) fn run(self) -> Result<()> {
        let file = base::open(self.base.model.as_deref())?;
        let model = Model::load(&file)?;
        let compute = Compute::new(self.base.isa, self.base.threads)?;
        let ids = match &self.text {
            Some(text) => Tokenizer::from_gguf(&file)?.encode(text, Encode { bos: true, special: false }),
            None => self.ids,
        };
        let positions = resolve(&self.positions, ids.len())?;
        let io = || format!("cannot write {}", self.out.display());
        let mut writer = npy::Writer::create(&self.out, positions.len(), model.config.vocab).with_context(io)?;
        let mut argmax = vec![0; positions.len()];

        let mut scorer = Scorer::new(&model, &compute, self.kv, ids.len());
        let mut values = Vec::new();
        scorer.each(
            &ids,
            |p| positions.contains(&p),
            |position, logits| {
                values.clear();
                values.extend_from_slice(logits);
                if self.log_probs {
                    log_softmax(&mut values);
                }
                for (row, _) in positions.iter().enumerate().filter(|&(_, &p)| p == position) {
                    argmax[row] = best(logits);
                    writer.row(row, &values)?;
                }
                Ok::<(), Stop>(())
            },
        )?;
        writer.finish().with_context(io)?;

        let shape = [positions.len(), model.config.vocab];
        if self.json {
            let report = Report {
                out: &self.out,
                shape,
                log_probs: self.log_probs,
                ids: &ids,
                positions: &positions,
                argmax: &argmax,
            };
            println!("{}", serde_json::to_string(&report)?);
        } else {
            println!("{}: f32 [{}, {}]", self.out.display(), shape[0], shape[1]);
        }
        Ok(())
    }
}

/// What ends the run early.
#[derive(Debug, thiserror::Error)]
enum Stop {
    #[error(transparent)]
    Score(#[from] score::Error),
    #[error("cannot write the logits")]
    Io(#[from] std::io::Error),
}

/// Positions from the start; all `len` of them if none are named.
fn resolve(positions: &[i64], len: usize) -> Result<Vec<usize>> {
    if positions.is_empty() {
        return Ok((0..len).collect());
    }
    let from_start = |&p: &i64| {
        let position = usize::try_from(p).ok().or_else(|| len.checked_sub(usize::try_from(p.unsigned_abs()).ok()?));
        match position.filter(|&p| p < len) {
            Some(position) => Ok(position),
            None => bail!("position {p} is not within the {len} tokens"),
        }
    };
    positions.iter().map(from_start).collect()
}

/// The largest logit's index, the lowest one of equals.
fn best(logits: &[f32]) -> usize {
    let mut best = 0;
    for (i, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = i;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_from_either_end() {
        assert_eq!(resolve(&[0, 5, -1, -6], 6).unwrap(), [0, 5, 5, 0]);
        assert_eq!(resolve(&[], 3).unwrap(), [0, 1, 2]);
        assert_eq!(resolve(&[6], 6).unwrap_err().to_string(), "position 6 is not within the 6 tokens");
        assert_eq!(resolve(&[-7], 6).unwrap_err().to_string(), "position -7 is not within the 6 tokens");
        assert!(resolve(&[i64::MIN], 6).is_err());
    }
}
