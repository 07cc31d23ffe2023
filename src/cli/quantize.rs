//! `loco quantize`.

use super::terminal::one_line;
use crate::convert::quantize::{Done, EmbedFormat, Options, Target, Ternarize, quantize};
use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub(crate) struct Command {
    /// A GGUF file or an installed base's name; best one in F16, BF16 or F32.
    #[arg(value_name = "IN")]
    from: String,
    /// The file to write; it appears when it is complete.
    #[arg(value_name = "OUT.gguf")]
    out: PathBuf,
    /// Formats to use.
    #[arg(long, value_enum, ignore_case = true)]
    to: Target,
    /// Format of the embedding and the output head [default: what --to chooses, F16 for ternary].
    #[arg(long, value_enum, ignore_case = true, value_name = "FORMAT")]
    embed_format: Option<EmbedFormat>,
    /// Round weights to ternary (absmean) that are not; only a base trained for that survives it.
    #[arg(long)]
    ternarize: bool,
    /// Threads [default: all cores].
    #[arg(long, short)]
    threads: Option<NonZeroUsize>,
    /// Print one JSON document about what was done.
    #[arg(long)]
    json: bool,
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let file = crate::base::open(Some(&self.from))?;
        let threads = match self.threads {
            Some(n) => n,
            None => std::thread::available_parallelism().context("how many cores there are")?,
        };
        let ternarize = if self.ternarize { Ternarize::Absmean } else { Ternarize::Refuse };
        let options = Options { target: self.to, embed: self.embed_format, ternarize, threads };
        let bar = ProgressBar::new(0);
        bar.set_style(ProgressStyle::with_template("{bar:30} {percent:>3}% {eta:>4} {msg}")?);
        let done = quantize(&file, &self.out, &options, &mut |p| {
            bar.set_length(p.total as u64);
            bar.set_position(p.done as u64);
            bar.set_message(one_line(p.tensor).into_owned());
        });
        bar.finish_and_clear();
        let done = done?;
        for tensor in &done {
            if let Some(note) = &tensor.note {
                eprintln!("loco: {}: {note}", one_line(&tensor.name));
            }
        }
        let again = done.iter().filter(|t| t.from != t.to && t.from.block_len() > 1).count();
        if again > 0 && !self.to.is_ternary() {
            eprintln!(
                "loco: {again} tensors were packed already; from the original file the result would be closer to it"
            );
        }
        let size = std::fs::metadata(&self.out)?.len();
        if self.json {
            println!("{:#}", self.document(file.size(), size, &done));
        } else {
            let changed = done.iter().filter(|t| t.from != t.to).count();
            println!(
                "{}: {:.1} MB, was {:.1} MB; {changed} of {} tensors changed their format",
                self.out.display(),
                size as f64 / 1e6,
                file.size() as f64 / 1e6,
                done.len()
            );
        }
        Ok(())
    }

    fn document(&self, size_from: usize, size: u64, done: &[Done]) -> serde_json::Value {
        let tensors: Vec<_> = done
            .iter()
            .map(|t| {
                json!({
                    "name": t.name, "from": t.from.name(), "to": t.to.name(),
                    "bytes_from": t.bytes_from, "bytes": t.bytes_to, "note": t.note,
                })
            })
            .collect();
        let target = clap::ValueEnum::to_possible_value(&self.to).map(|v| v.get_name().to_owned());
        json!({
            "in": self.from, "out": self.out, "to": target, "size_from": size_from, "size": size, "tensors": tensors,
        })
    }
}
