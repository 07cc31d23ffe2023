//! From the engine's events to what an endpoint writes: whole answers, or frames of a stream.

use super::clock::millis;
use super::error::Refusal;
use super::router::Live;
use crate::engine::{Engine, Error, Event, Events, Finish, Request, Scored, Timing};
use futures_util::future::FutureExt;
use futures_util::stream::{self, Stream, StreamExt};
use serde::Serialize;
use std::collections::VecDeque;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// Requests of one HTTP request that are computed at the same time.
const TOGETHER: usize = 8;

/// A finished answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Scores of the prompt's tokens, if asked for.
    pub(crate) prompt: Vec<Scored>,
    /// The generated tokens.
    pub(crate) tokens: Vec<Scored>,
    /// The text.
    pub(crate) text: String,
    /// Whether the answer was cut off.
    pub(crate) ending: Ending,
    /// Counts and times.
    pub(crate) timing: Timing,
}

/// How an answer that was not cancelled ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Ending {
    /// By itself or at a stop text.
    #[default]
    Stop,
    /// At its greatest length.
    Length,
}

impl Ending {
    /// The word that both APIs use.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Ending::Stop => "stop",
            Ending::Length => "length",
        }
    }

    fn of(finish: Finish) -> Result<Self, Refusal> {
        match finish {
            Finish::Stop => Ok(Ending::Stop),
            Finish::Length => Ok(Ending::Length),
            Finish::Failed => Err(Refusal::NoToken),
            // While we hold the receiver, only a shutdown cancels.
            Finish::Cancelled => Err(Refusal::Engine(Error::Closed)),
        }
    }
}

/// Waits for the answer to one request.
async fn collect(mut events: Events) -> Result<Answer, Refusal> {
    let mut answer = Answer::default();
    while let Some(event) = events.recv().await {
        match event {
            Event::Prompt(scores) => answer.prompt = scores,
            Event::Text { text, token } => {
                answer.text += &text;
                answer.tokens.push(token);
            }
            Event::Done { text, finish, timing } => {
                answer.text += &text;
                answer.ending = Ending::of(finish)?;
                answer.timing = timing;
                return Ok(answer);
            }
        }
    }
    Err(Refusal::Lost)
}

/// The engine requests of an HTTP request that was admitted: the first has its place, the others wait for theirs.
#[derive(Debug)]
pub(crate) struct Admitted {
    engine: Engine,
    first: Option<Events>,
    later: Vec<Request>,
    /// Counts the HTTP request among the live ones.
    live: Live,
}

/// Admits all of an HTTP request's `requests`, or none.
pub(crate) fn admit(engine: &Engine, requests: Vec<Request>, live: Live) -> Result<Admitted, Refusal> {
    requests.iter().try_for_each(|request| engine.check(request))?;
    let mut later = requests.into_iter();
    let first = later.next().map(|request| engine.submit(request)).transpose()?;
    Ok(Admitted { engine: engine.clone(), first, later: later.collect(), live })
}

impl Admitted {
    /// How many answers there will be.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.later.len()
    }

    fn starts(self) -> (Vec<Start>, Live) {
        let Self { engine, first, later, live } = self;
        let later = later.into_iter().map(|request| Start::Later(engine.clone(), request));
        (first.map(Start::Placed).into_iter().chain(later).collect(), live)
    }
}

/// How to come by an answer's events.
enum Start {
    /// They come.
    Placed(Events),
    /// The request has to wait for a place first.
    Later(Engine, Request),
}

impl Start {
    async fn events(self) -> Result<Events, Error> {
        match self {
            Start::Placed(events) => Ok(events),
            Start::Later(engine, request) => engine.submit_when_free(request).await,
        }
    }

    async fn collect(self) -> Result<Answer, Refusal> {
        collect(self.events().await?).await
    }

    /// The events of choice `choice`, or why there are none.
    fn stream(self, choice: usize) -> impl Stream<Item = (usize, Result<Event, Error>)> + Send {
        let events = self.events().map(|started| match started {
            Ok(events) => UnboundedReceiverStream::new(events).map(Ok).left_stream(),
            Err(why) => stream::iter([Err(why)]).right_stream(),
        });
        events.flatten_stream().map(move |event| (choice, event))
    }
}

/// The answers in the order of the requests, a few computed at a time.
pub(crate) async fn all(admitted: Admitted) -> Result<Vec<Answer>, Refusal> {
    let (starts, _live) = admitted.starts();
    let mut answers = stream::iter(starts).map(Start::collect).buffered(TOGETHER);
    let mut list = Vec::new();
    while let Some(answer) = answers.next().await {
        list.push(answer?);
    }
    Ok(list)
}

/// Writes a stream's frames, each the JSON of one message on the wire.
pub(crate) trait Writer: Send + 'static {
    /// Before the first event.
    fn start(&mut self, out: &mut VecDeque<String>);
    /// New text of choice `choice`.
    fn text(&mut self, choice: usize, text: String, token: Option<Scored>, out: &mut VecDeque<String>);
    /// The scores of choice `choice`'s prompt.
    fn prompt(&mut self, choice: usize, scores: Vec<Scored>, out: &mut VecDeque<String>);
    /// The end of choice `choice`.
    fn done(&mut self, choice: usize, ending: Ending, timing: Timing, out: &mut VecDeque<String>);
    /// After the last event.
    fn end(&mut self, out: &mut VecDeque<String>);
    /// Instead of everything that has not been written yet.
    fn fail(&mut self, why: &Refusal, out: &mut VecDeque<String>);
}

/// The frames of a stream that answers with several choices at once. Dropping it cancels them.
pub(crate) fn frames<W: Writer>(admitted: Admitted, mut writer: W) -> impl Stream<Item = String> + Send {
    struct State<S, W> {
        events: S,
        writer: W,
        /// Frames to send before the next event is looked at.
        ready: VecDeque<String>,
        /// Choices that have not ended.
        open: usize,
        /// Counts this stream among the live ones until it is dropped.
        _live: Live,
    }
    let mut ready = VecDeque::new();
    writer.start(&mut ready);
    let open = admitted.len();
    let (starts, live) = admitted.starts();
    let choices: Vec<_> = starts.into_iter().enumerate().map(|(i, start)| Box::pin(start.stream(i))).collect();
    let events = stream::iter(choices).flatten_unordered(TOGETHER);
    let state = State { events, writer, ready, open, _live: live };
    stream::unfold(state, |mut s| async move {
        loop {
            if let Some(frame) = s.ready.pop_front() {
                return Some((frame, s));
            }
            if s.open == 0 {
                return None;
            }
            let why = match s.events.next().await {
                Some((choice, Ok(Event::Prompt(scores)))) => {
                    s.writer.prompt(choice, scores, &mut s.ready);
                    continue;
                }
                Some((choice, Ok(Event::Text { text, token }))) => {
                    s.writer.text(choice, text, Some(token), &mut s.ready);
                    continue;
                }
                Some((choice, Ok(Event::Done { text, finish, timing }))) => match Ending::of(finish) {
                    Ok(ending) => {
                        if !text.is_empty() {
                            s.writer.text(choice, text, None, &mut s.ready);
                        }
                        s.writer.done(choice, ending, timing, &mut s.ready);
                        s.open -= 1;
                        if s.open == 0 {
                            s.writer.end(&mut s.ready);
                        }
                        continue;
                    }
                    Err(why) => why,
                },
                Some((_, Err(why))) => why.into(),
                None => Refusal::Lost,
            };
            s.writer.fail(&why, &mut s.ready);
            s.open = 0;
        }
    })
}

/// A message on the wire as JSON.
pub(crate) fn json(message: &impl Serialize) -> String {
    // Our own types have string keys and finite numbers, which is all that could fail.
    serde_json::to_string(message).unwrap_or_else(|e| format!("{{\"error\":{:?}}}", e.to_string()))
}

/// Counts and times of an answer, in the names of llama.cpp's server where it has them.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Timings {
    /// Prompt tokens computed.
    prompt_n: usize,
    /// Prompt tokens whose keys and values were there already.
    cache_n: usize,
    /// Time for the prompt.
    prompt_ms: f64,
    /// Prompt tokens computed per second.
    prompt_per_second: f64,
    /// Generated tokens.
    predicted_n: usize,
    /// Time from the first generated token to the last.
    predicted_ms: f64,
    /// Generated tokens per second after the first.
    predicted_per_second: f64,
    /// Time spent waiting for a place.
    queued_ms: f64,
    /// Time from submission to the first generated token.
    ttft_ms: f64,
}

/// `count` in `seconds`, 0 if no time passed: JSON knows no infinity.
fn rate(count: usize, seconds: f64) -> f64 {
    if seconds > 0.0 { (count as f64 / seconds * 100.0).round() / 100.0 } else { 0.0 }
}

impl Timings {
    /// Of one answer.
    pub(crate) fn of(t: &Timing) -> Self {
        let prompt_n = t.prompt_tokens - t.cached_tokens.min(t.prompt_tokens);
        Self {
            prompt_n,
            cache_n: t.cached_tokens,
            prompt_ms: millis(t.prefill),
            prompt_per_second: rate(prompt_n, t.prefill.as_secs_f64()),
            predicted_n: t.generated_tokens,
            predicted_ms: millis(t.decode),
            predicted_per_second: rate(t.generated_tokens.saturating_sub(1), t.decode.as_secs_f64()),
            queued_ms: millis(t.queued),
            ttft_ms: millis(t.queued + t.prefill),
        }
    }

    /// Of answers computed together: their tokens, and the time of the slowest.
    pub(crate) fn of_all(answers: &[Answer]) -> Self {
        let mut sum = Timing::default();
        for t in answers.iter().map(|a| &a.timing) {
            sum.prompt_tokens += t.prompt_tokens;
            sum.cached_tokens += t.cached_tokens;
            sum.generated_tokens += t.generated_tokens;
            sum.queued = sum.queued.max(t.queued);
            sum.prefill = sum.prefill.max(t.prefill);
            sum.decode = sum.decode.max(t.decode);
        }
        Self::of(&sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn rates_leave_out_the_cache_and_the_first_token() {
        let timing = Timing {
            prompt_tokens: 30,
            cached_tokens: 10,
            generated_tokens: 11,
            queued: Duration::from_millis(5),
            prefill: Duration::from_millis(100),
            decode: Duration::from_millis(500),
        };
        let t = Timings::of(&timing);
        assert_eq!((t.prompt_n, t.cache_n, t.prompt_per_second), (20, 10, 200.0));
        assert_eq!((t.predicted_n, t.predicted_per_second, t.ttft_ms), (11, 20.0, 105.0));
    }

    #[test]
    fn no_time_is_no_rate() {
        assert_eq!(Timings::of(&Timing::default()).predicted_per_second, 0.0);
    }
}
