//! Log-probabilities on the wire: the two shapes of OpenAI's API, one of which is Ollama's too.
//!
//! A token is named by its text. Tokens that are no whole characters, and tokens whose text another token of the same
//! list has already, get names that no text has, so that a map by name never loses an entry. A
//! number that occurs twice (a token's own and among the alternatives) is written from one f32.

use crate::engine::Scored;
use crate::text::{Decoder, Token, Tokenizer};
use serde::Serialize;
use serde_json::{Map, Value};

/// Written for log-probabilities that JSON has no number for (OpenAI's "very unlikely").
const LEAST: f32 = -9999.0;

/// A log-probability as it is written everywhere: the f32's exact value, so that equal ones are
/// equal in the client's f64 too, in whichever list they are.
fn finite(logprob: f32) -> f64 {
    f64::from(if logprob.is_finite() { logprob } else { LEAST })
}

/// A token's text, or `bytes:\xe2\x80` if it is no whole characters.
fn name(tokenizer: &Tokenizer, token: Token) -> String {
    name_of(tokenizer.bytes(token))
}

fn name_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_string(),
        Err(_) => bytes.iter().fold("bytes:".to_string(), |name, byte| format!("{name}\\x{byte:02x}")),
    }
}

/// `logprobs` of a chat's choice.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ChatLogprobs {
    pub(crate) content: Vec<ChatToken>,
}

/// A generated token.
#[derive(Debug, Serialize)]
pub(crate) struct ChatToken {
    token: String,
    logprob: f64,
    bytes: Vec<u8>,
    top_logprobs: Vec<Alternative>,
}

/// A token that was likely too.
#[derive(Debug, Serialize)]
struct Alternative {
    token: String,
    logprob: f64,
    bytes: Vec<u8>,
}

/// A generated token in a chat's shape. `None` for the end token, which is no part of the message.
pub(crate) fn chat_token(tokenizer: &Tokenizer, scored: &Scored) -> Option<ChatToken> {
    if tokenizer.is_control(scored.token) {
        return None;
    }
    let alternative = |&(token, logprob): &(Token, f32)| Alternative {
        token: name(tokenizer, token),
        logprob: finite(logprob),
        bytes: tokenizer.bytes(token).to_vec(),
    };
    Some(ChatToken {
        token: name(tokenizer, scored.token),
        logprob: finite(scored.logprob?),
        bytes: tokenizer.bytes(scored.token).to_vec(),
        top_logprobs: scored.top.iter().map(alternative).collect(),
    })
}

/// `logprobs` of a completion's choice: four lists of equal length.
#[derive(Debug, Default, Serialize)]
pub(crate) struct TextLogprobs {
    tokens: Vec<String>,
    token_logprobs: Vec<Option<f64>>,
    top_logprobs: Vec<Option<Map<String, Value>>>,
    text_offset: Vec<usize>,
}

/// Whether control tokens are part of the text, by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    /// They are: a prompt given in tokens is echoed with them.
    Shown,
    /// They are not.
    Hidden,
}

/// Where in the text each token begins, in characters.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    decoder: Decoder,
    chars: usize,
}

impl Offsets {
    /// The offset of the next token, whose bytes are `bytes`.
    fn next(&mut self, bytes: &[u8]) -> usize {
        let offset = self.chars;
        let mut text = String::new();
        self.decoder.push(bytes, &mut text);
        self.chars += text.chars().count();
        offset
    }
}

impl TextLogprobs {
    /// Adds tokens. Those without a score (a prompt's first) get `null` twice.
    pub(crate) fn extend(&mut self, tokenizer: &Tokenizer, scores: &[Scored], offsets: &mut Offsets, control: Control) {
        for scored in scores {
            let hidden = control == Control::Hidden && tokenizer.is_control(scored.token);
            let bytes = if hidden { &[][..] } else { tokenizer.bytes(scored.token) };
            self.text_offset.push(offsets.next(bytes));
            self.tokens.push(name(tokenizer, scored.token));
            self.token_logprobs.push(scored.logprob.map(finite));
            self.top_logprobs.push(scored.logprob.map(|own| top_map(scored, own, |token| name(tokenizer, token))));
        }
    }
}

/// The most likely tokens and the token itself, by name.
fn top_map(scored: &Scored, own: f32, name: impl Fn(Token) -> String) -> Map<String, Value> {
    let mut map = Map::new();
    let own_entry = (!scored.top.iter().any(|&(token, _)| token == scored.token)).then_some((scored.token, own));
    for (token, logprob) in scored.top.iter().copied().chain(own_entry) {
        let name = name(token);
        let key = if map.contains_key(&name) { format!("token_id:{token}") } else { name };
        map.insert(key, finite(logprob).into());
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_are_no_characters_are_named_by_their_bytes() {
        assert_eq!(name_of(" Paris".as_bytes()), " Paris");
        assert_eq!(name_of(b"\xe2\x80"), r"bytes:\xe2\x80");
        assert_ne!(name_of(b"\xe2\x80"), name_of(b"\xe2\x81"));
    }

    #[test]
    fn a_token_that_is_the_best_has_the_maps_greatest_number_to_the_bit() {
        let scored = Scored { token: 7, logprob: Some(-0.123_456_79), top: vec![(7, -0.123_456_79), (3, -2.5)] };
        let map = top_map(&scored, -0.123_456_79, |token| format!("t{token}"));
        let written = serde_json::to_string(&map).unwrap();
        assert_eq!(written, r#"{"t7":-0.12345679104328156,"t3":-2.5}"#);
        assert_eq!(serde_json::to_string(&scored.logprob.map(finite)).unwrap(), "-0.12345679104328156");
    }

    #[test]
    fn a_token_that_is_not_among_the_best_is_added() {
        let scored = Scored { token: 9, logprob: Some(-8.0), top: vec![(7, -0.5)] };
        let map = top_map(&scored, -8.0, |token| format!("t{token}"));
        assert_eq!(serde_json::to_string(&map).unwrap(), r#"{"t7":-0.5,"t9":-8.0}"#);
    }

    #[test]
    fn tokens_with_the_same_text_do_not_overwrite_each_other() {
        let scored = Scored { token: 1, logprob: Some(-0.5), top: vec![(1, -0.5), (2, -1.0)] };
        let map = top_map(&scored, -0.5, |_| "A".into());
        assert_eq!(serde_json::to_string(&map).unwrap(), r#"{"A":-0.5,"token_id:2":-1.0}"#);
    }

    #[test]
    fn impossible_tokens_are_very_unlikely_and_not_null() {
        let scored = Scored { token: 1, logprob: Some(f32::NEG_INFINITY), top: vec![] };
        let map = top_map(&scored, f32::NEG_INFINITY, |_| "x".into());
        assert_eq!(serde_json::to_string(&map).unwrap(), r#"{"x":-9999.0}"#);
    }

    #[test]
    fn offsets_count_characters_and_wait_for_whole_ones() {
        let mut offsets = Offsets::default();
        let parts: [&[u8]; 4] = [b"a\xc3", b"\xa9", "日".as_bytes(), b"z"];
        assert_eq!(parts.map(|bytes| offsets.next(bytes)), [0, 1, 2, 3]);
    }
}
