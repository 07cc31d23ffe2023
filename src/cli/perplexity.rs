//! `loco perplexity`.

use super::Base;
use crate::base;
use crate::kernel::Compute;
use crate::model::{CompactHead, KvFormat, Model, OutputHead, Packing};
use crate::score::{Bos, Perplexity, Scorer, Windows, perplexity};
use crate::text::{Encode, Token, Tokenizer};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;

/// Windows longer than this only where asked for: time grows with their square.
const DEFAULT_CONTEXT: usize = 2048;

/// Measures the perplexity of a text.
///
/// Windows of --context tokens move on by --stride; each token is scored once, with what its window has before it.
/// The 95 % interval is Student's t on the means of √n blocks of √n neighbouring tokens, whose losses are correlated.
#[derive(Debug, clap::Args)]
pub(crate) struct Command {
    #[command(flatten)]
    base: Base,
    /// The text, UTF-8.
    file: PathBuf,
    /// Tokens per window [default: what the base was trained for, at most 2048].
    #[arg(long)]
    context: Option<usize>,
    /// Tokens from one window to the next [default: half a window].
    #[arg(long)]
    stride: Option<usize>,
    /// Where the beginning-of-sequence token stands, if the base adds one.
    #[arg(long, default_value = "first")]
    bos: BosAt,
    /// Number format of cached keys and values.
    #[arg(long, default_value = "f32")]
    kv: KvFormat,
    /// Output head, to see what a compact one costs.
    #[arg(long, value_name = "FORMAT", default_value = "file")]
    head: CompactHead,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum BosAt {
    /// Before the text, as Hugging Face's recipe has it.
    First,
    /// Before each window.
    Each,
}

#[derive(serde::Serialize)]
struct Report {
    perplexity: f64,
    /// Mean negative log-likelihood of a token, in nats.
    nll: f64,
    /// 95 % interval of the perplexity.
    interval: Option<[f64; 2]>,
    interval_method: &'static str,
    /// Comparable between bases with different tokenizers.
    bits_per_byte: f64,
    tokens: usize,
    scored: usize,
    context: usize,
    stride: usize,
}

impl Command {
    pub(crate) fn run(self) -> Result<()> {
        let text =
            std::fs::read_to_string(&self.file).with_context(|| format!("cannot read {}", self.file.display()))?;
        anyhow::ensure!(!text.is_empty(), "{} is empty", self.file.display());
        let file = base::open(self.base.model.as_deref())?;
        let model = Model::load_with(&file, Packing { head: self.head, ..Packing::default() })?;
        let tokenizer = Tokenizer::from_gguf(&file)?;
        let compute = Compute::new(self.base.isa, self.base.threads)?;

        let given = tokenizer.encode(&text, Encode { bos: true, special: false });
        let added: Option<Token> = tokenizer.bos().filter(|bos| given.first() == Some(bos));
        let (tokens, bos) = match (self.bos, added) {
            (BosAt::Each, Some(bos)) => (&given[1..], Bos::EachWindow(bos)),
            _ => (&given[..], Bos::AsGiven),
        };
        let context = self.context.unwrap_or(model.config.context.min(DEFAULT_CONTEXT));
        if context > model.config.context {
            log::warn!("windows of {context} tokens; the base was trained for {}", model.config.context);
        }
        let stride = self.stride.unwrap_or(context / 2);

        let bar = ProgressBar::new(tokens.len() as u64)
            .with_style(ProgressStyle::with_template("{bar:30} {pos}/{len} tokens, {eta} left{msg}")?);
        let mut scorer = Scorer::new(&model, &compute, self.kv, context.min(given.len()));
        scorer.set_head(OutputHead::Compact);
        let windows = Windows { context, stride, bos };
        let result = perplexity(&mut scorer, tokens, windows, &mut |scored, mean| {
            bar.set_position(scored as u64);
            bar.set_message(format!(", perplexity {:.4}", mean.exp()));
        })?;
        bar.finish_and_clear();

        // What is scored is the end of the tokens: the first may have nothing to be predicted from.
        let scored = &tokens[tokens.len() - result.scored..];
        let bytes: usize = scored.iter().map(|&t| tokenizer.bytes(t).len()).sum();
        self.print(&report(&result, windows, given.len(), bytes))
    }

    fn print(&self, report: &Report) -> Result<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(report)?);
            return Ok(());
        }
        let interval = match report.interval {
            Some([low, high]) => format!("95 % interval {low:.4} to {high:.4}"),
            None => "too few tokens for an interval".into(),
        };
        println!("perplexity {:.4} ({interval})", report.perplexity);
        println!(
            "{:.5} nats per token, {:.4} bits per byte, {} of {} tokens scored, windows of {} every {}",
            report.nll, report.bits_per_byte, report.scored, report.tokens, report.context, report.stride
        );
        Ok(())
    }
}

fn report(result: &Perplexity, windows: Windows, tokens: usize, bytes: usize) -> Report {
    let bits = result.nll * result.scored as f64 / std::f64::consts::LN_2;
    Report {
        perplexity: result.nll.exp(),
        nll: result.nll,
        interval: result.interval.map(|i| [i.low.exp(), i.high.exp()]),
        interval_method: "Student's t on the means of sqrt(n) blocks of sqrt(n) consecutive tokens",
        bits_per_byte: bits / bytes as f64,
        tokens,
        scored: result.scored,
        context: windows.context,
        stride: windows.stride,
    }
}
