//! `loco import`.

use super::terminal::one_line;
use crate::convert::import::{Floats, Options, Progress, import};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;

/// Turns a Hugging Face safetensors folder into a GGUF file.
///
/// BitNet, Llama (also Falcon-E), Qwen3 and Gemma 3. Ternary layers become I2_S.
#[derive(Debug, clap::Args)]
pub(crate) struct Command {
    /// Folder with config.json, tokenizer.json and model.safetensors (or its shards and their index).
    dir: PathBuf,
    /// The file to write.
    out: PathBuf,
    /// Format of the matrices that are not ternary.
    #[arg(long, default_value = "auto")]
    format: Floats,
    /// The model's name in the file [default: the folder's name].
    #[arg(long)]
    name: Option<String>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let bar = ProgressBar::new(0)
            .with_style(ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {msg}")?);
        let options = Options { floats: self.format, name: self.name };
        let report = import(&self.dir, &self.out, &options, &mut |Progress { tensor, done, total }| {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(one_line(tensor).into_owned());
        })?;
        bar.finish_and_clear();
        if self.json {
            println!("{}", serde_json::to_string_pretty(&report)?);
            return Ok(());
        }
        let formats: Vec<String> = report.formats.iter().map(|(format, n)| format!("{n} {format}")).collect();
        println!(
            "{}: {} ({}), {} tensors ({}), {:.1} MB",
            self.out.display(),
            one_line(&report.name),
            report.architecture,
            report.tensors,
            formats.join(", "),
            report.bytes as f64 / 1e6
        );
        Ok(())
    }
}
