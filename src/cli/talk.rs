//! What `loco query` and `loco chat` share: sampling options, printing an answer, its figures.

use crate::engine::{Event, Events, Finish, Request, Timing};
use crate::host::{Knobs, LoadedBase, random_seed};
use crate::text::Token;
use clap::Args;
use std::time::Instant;

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

/// An answer as far as it has come.
#[derive(Debug)]
pub(super) struct Receiver {
    answer: Answer,
    submitted: Instant,
    /// When the first and the latest token came.
    tokens: Option<(Instant, Instant)>,
}

impl Receiver {
    /// For a request that is submitted now.
    pub(super) fn new(prompt_tokens: usize) -> Self {
        let timing = Timing { prompt_tokens, ..Timing::default() };
        let answer = Answer { text: String::new(), finish: Finish::Cancelled, timing };
        Self { answer, submitted: Instant::now(), tokens: None }
    }

    /// Takes the next event (`None`: there are no more) and shows its text; true at the answer's end.
    pub(super) fn take(
        &mut self,
        event: Option<Event>,
        show: &mut dyn FnMut(&str) -> std::io::Result<()>,
    ) -> anyhow::Result<bool> {
        let piece = match event {
            None => anyhow::bail!("the engine stopped before the answer was finished"),
            Some(Event::Prompt(_)) => return Ok(false),
            Some(Event::Text { text, .. }) => {
                let now = Instant::now();
                self.answer.timing.generated_tokens += 1;
                self.tokens = Some((self.tokens.map_or(now, |(first, _)| first), now));
                text
            }
            Some(Event::Done { text, finish, timing }) => {
                self.answer.finish = finish;
                self.answer.timing = timing;
                self.tokens = None;
                show(&text)?;
                self.answer.text += &text;
                return Ok(true);
            }
        };
        show(&piece)?;
        self.answer.text += &piece;
        Ok(false)
    }

    /// The answer: whole, or as far as it came, with what the clock here says of it.
    pub(super) fn answer(mut self) -> Answer {
        if let Some((first, last)) = self.tokens {
            self.answer.timing.prefill = first - self.submitted;
            self.answer.timing.decode = last - first;
        }
        self.answer
    }
}

/// Waits for an answer and hands its pieces to `show`.
pub(super) fn receive(
    mut events: Events,
    mut receiver: Receiver,
    mut show: impl FnMut(&str) -> std::io::Result<()>,
) -> anyhow::Result<Answer> {
    while !receiver.take(events.blocking_recv(), &mut show)? {}
    Ok(receiver.answer())
}

/// Why an answer is none, if it is none.
pub(super) fn failure(finish: Finish) -> Option<&'static str> {
    match finish {
        Finish::Stop | Finish::Length => None,
        Finish::Failed => Some("no token could be chosen: the base computes no numbers"),
        Finish::Cancelled => Some("the engine stopped before the answer was finished"),
    }
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
    use crate::engine::Scored;
    use std::time::Duration;

    #[test]
    fn an_answer_that_is_stopped_has_figures_too() {
        let mut receiver = Receiver::new(7);
        for text in ["Hel", "lo"] {
            let token = Scored { token: 1, logprob: None, top: Vec::new() };
            let event = Event::Text { text: text.into(), token };
            assert!(!receiver.take(Some(event), &mut |_| Ok(())).unwrap());
        }
        let answer = receiver.answer();
        assert_eq!((answer.text.as_str(), answer.finish), ("Hello", Finish::Cancelled));
        assert_eq!((answer.timing.prompt_tokens, answer.timing.generated_tokens), (7, 2));
        assert!(answer.timing.prefill > Duration::ZERO);
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
