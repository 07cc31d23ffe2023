//! `loco query`: one question, one answer.

use super::talk::{Answer, Receiver, Talk, failure, figures, rate, receive};
use super::terminal::show;
use super::{Base, Weights};
use crate::engine;
use crate::host::{self, LoadedBase};
use crate::text::{Encode, Message, Token};
use anyhow::Context;
use serde_json::json;
use std::io::Read;

#[derive(Debug, clap::Args)]
pub(crate) struct Command {
    #[command(flatten)]
    base: Base,
    #[command(flatten)]
    weights: Weights,
    #[command(flatten)]
    talk: Talk,
    /// How the base should behave.
    #[arg(long, value_name = "TEXT", conflicts_with = "raw")]
    system: Option<String>,
    /// Continue the text as it is, without a chat template.
    #[arg(long)]
    raw: bool,
    /// Print one JSON document when the answer is finished.
    #[arg(long)]
    json: bool,
    /// The question [default: standard input].
    text: Option<String>,
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let text = match &self.text {
            Some(text) => text.clone(),
            None => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).context("standard input")?;
                text.trim_end_matches('\n').to_string()
            }
        };
        anyhow::ensure!(!text.is_empty(), "there is no question: give one as an argument or on standard input");
        let options = engine::Options { max_sequences: 1, ..engine::Options::default() };
        let base = self.base.load(&self.weights, options)?;
        let request = self.talk.request(&base, self.prompt(&base, text)?);
        let seed = request.sampling.seed;
        let receiver = Receiver::new(request.prompt.len());
        let events = base.engine.submit(request)?;
        let done = if self.json {
            document(&base, seed, receive(events, receiver, |_| Ok(()))?)
        } else {
            plain(receive(events, receiver, show)?)
        };
        base.engine.shutdown();
        done
    }

    fn prompt(&self, base: &LoadedBase, text: String) -> anyhow::Result<Vec<Token>> {
        if self.raw {
            return Ok(base.engine.tokenizer().encode(&text, Encode { bos: true, special: true }));
        }
        let message = |role: &str, content| Message { role: role.into(), content };
        let system = self.system.clone().map(|content| message("system", content));
        let messages: Vec<Message> = system.into_iter().chain([message("user", text)]).collect();
        match base.encode(&messages, None) {
            Ok(conversation) => Ok(conversation.tokens),
            Err(why @ host::Error::NoTemplate(_)) => anyhow::bail!("{why}; --raw continues texts"),
            Err(why) => Err(why.into()),
        }
    }
}

/// Ends an answer that has been shown.
fn plain(answer: Answer) -> anyhow::Result<()> {
    println!();
    if let Some(why) = failure(answer.finish) {
        anyhow::bail!(why);
    }
    eprintln!("[{}]", figures(&answer.timing));
    Ok(())
}

/// Prints an answer as JSON.
fn document(base: &LoadedBase, seed: u64, answer: Answer) -> anyhow::Result<()> {
    if let Some(why) = failure(answer.finish) {
        anyhow::bail!(why);
    }
    let timing = answer.timing;
    let document = json!({
        "model": base.id,
        "text": answer.text,
        "finish": format!("{:?}", answer.finish).to_lowercase(),
        "seed": seed,
        "prompt_tokens": timing.prompt_tokens,
        "generated_tokens": timing.generated_tokens,
        "tokens_per_second": rate(&timing),
        "first_token_seconds": (timing.queued + timing.prefill).as_secs_f64(),
    });
    println!("{document:#}");
    Ok(())
}
