//! What `loco query` and `loco chat` share: sampling options, printing an answer, its figures.

use crate::engine::{Events, Finish, Request, Timing};
use crate::host::{Knobs, LoadedBase, random_seed};
use crate::text::Token;
use clap::Args;
use std::borrow::Cow;
use std::io::Write;

/// How to answer.
#[derive(Debug, Clone, Args)]
pub(super) struct Talk {
    /// Most tokens per answer [default: what fits into the context].
    #[arg(long, value_name = "N")]
    pub(super) max_tokens: Option<usize>,
    /// 0 always takes the likeliest token; more is more varied [default: 0.7, and 0 for the demo base].
    #[arg(long, value_name = "T")]
    pub(super) temperature: Option<f32>,
    /// Choose among the K likeliest tokens; 0 for all.
    #[arg(long, value_name = "K")]
    pub(super) top_k: Option<usize>,
    /// Choose among the likeliest tokens that together have probability P.
    #[arg(long, value_name = "P")]
    pub(super) top_p: Option<f32>,
    /// Leave out tokens less likely than P times the likeliest.
    #[arg(long, value_name = "P")]
    pub(super) min_p: Option<f32>,
    /// Make tokens of the last 64 less likely; 1 is off.
    #[arg(long, value_name = "R")]
    pub(super) repeat_penalty: Option<f32>,
    /// Same seed, same answer [default: random].
    #[arg(long, value_name = "S")]
    pub(super) seed: Option<u64>,
}

impl Talk {
    fn knobs(&self) -> Knobs {
        Knobs {
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            seed: self.seed,
            ..Knobs::default()
        }
    }

    /// The engine's request for a prompt.
    pub(super) fn request(&self, base: &LoadedBase, prompt: Vec<Token>) -> Request {
        let knobs = self.knobs();
        let seed = self.seed.unwrap_or_else(random_seed);
        base.request(prompt, &knobs, &base.default_sampling(), seed)
    }
}

/// A finished answer.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its text.
    pub(super) text: String,
    /// Why it ended.
    pub(super) finish: Finish,
    /// Counts and times.
    pub(super) timing: Timing,
}

/// A model's text without control characters, which a terminal would obey.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    let unwanted = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(unwanted) { text.replace(unwanted, "\u{fffd}").into() } else { text.into() }
}

/// Writes a piece of an answer to standard output at once.
pub(super) fn show(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(printable(text).as_bytes())?;
    out.flush()
}

/// Waits for an answer and hands its pieces to `show`.
pub(super) fn receive(mut events: Events, mut show: impl FnMut(&str) -> std::io::Result<()>) -> anyhow::Result<Answer> {
    use crate::engine::Event;
    let mut text = String::new();
    while let Some(event) = events.blocking_recv() {
        match event {
            Event::Prompt(_) => {}
            Event::Text { text: piece, .. } => {
                show(&piece)?;
                text += &piece;
            }
            Event::Done { text: rest, finish, timing } => {
                show(&rest)?;
                text += &rest;
                return Ok(Answer { text, finish, timing });
            }
        }
    }
    anyhow::bail!("the engine stopped before the answer was finished")
}

/// Tokens per second after the first; `None` where there were fewer than two.
pub(super) fn rate(timing: &Timing) -> Option<f64> {
    let (tokens, seconds) = (timing.generated_tokens.saturating_sub(1), timing.decode.as_secs_f64());
    (tokens > 0 && seconds > 0.0).then(|| tokens as f64 / seconds)
}

/// The figures of an answer in one line.
pub(super) fn figures(timing: &Timing) -> String {
    let first = timing.queued + timing.prefill;
    let rate = rate(timing).map_or_else(String::new, |rate| format!(", {rate:.1} tok/s"));
    let cached = match timing.cached_tokens {
        0 => String::new(),
        cached => format!(" ({cached} remembered)"),
    };
    format!(
        "{} tokens{rate}, first after {:.0} ms; prompt {} tokens{cached}",
        timing.generated_tokens,
        first.as_secs_f64() * 1e3,
        timing.prompt_tokens
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_model_cannot_send_commands_to_the_terminal() {
        assert_eq!(printable("tab\tand\nline"), "tab\tand\nline");
        assert_eq!(printable("\x1b]0;title\x07\r\u{9b}2J"), "\u{fffd}]0;title\u{fffd}\u{fffd}\u{fffd}2J");
    }

    #[test]
    fn figures_say_speed_and_waiting_time() {
        let timing = Timing {
            prompt_tokens: 12,
            generated_tokens: 11,
            prefill: Duration::from_millis(80),
            decode: Duration::from_secs(2),
            ..Timing::default()
        };
        assert_eq!(figures(&timing), "11 tokens, 5.0 tok/s, first after 80 ms; prompt 12 tokens");
        let one = Timing { generated_tokens: 1, ..timing };
        assert_eq!(figures(&one), "1 tokens, first after 80 ms; prompt 12 tokens");
    }
}
