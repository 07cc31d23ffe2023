//! Reads what a client turns ([`Knobs`]): the same for all endpoints, under each API's names.

use super::fields::{Fields, Invalid, whole};
use crate::host::Knobs;
use crate::text::Token;

/// Most stop texts that a request may name.
const MOST_STOPS: usize = 64;
/// Most entries of `logit_bias`.
const MOST_BIASES: usize = 1024;

impl Knobs {
    /// As OpenAI's clients write them, plus the usual extensions of local servers
    /// (`top_k`, `min_p`, `repetition_penalty` or `repeat_penalty`, `repeat_last_n`).
    pub(crate) fn from_openai(fields: &mut Fields) -> Result<Self, Invalid> {
        let max_tokens = fields.count("max_tokens", 0)?;
        let repetition = fields.float("repetition_penalty", 0.01..=100.0)?;
        Ok(Self {
            max_tokens: fields.count("max_completion_tokens", 0)?.or(max_tokens),
            temperature: fields.float("temperature", 0.0..=2.0)?,
            top_k: top_k(fields)?,
            top_p: fields.float("top_p", 0.0..=1.0)?,
            min_p: fields.float("min_p", 0.0..=1.0)?,
            repeat_penalty: fields.float("repeat_penalty", 0.01..=100.0)?.or(repetition),
            repeat_last_n: fields.count("repeat_last_n", 0)?,
            frequency_penalty: fields.float("frequency_penalty", -2.0..=2.0)?,
            presence_penalty: fields.float("presence_penalty", -2.0..=2.0)?,
            logit_bias: logit_bias(fields)?,
            seed: seed(fields)?,
            stop: stop(fields)?,
        })
    }

    /// As Ollama's `options` has them. Of the options that this server does not have, those that would change
    /// the text are refused and the others (sizes and devices, which the server decides) are noted in the log.
    pub(crate) fn from_ollama(mut options: Fields) -> Result<Self, Invalid> {
        for name in ["typical_p", "tfs_z"] {
            if options.float(name, -1e9..=1e9)?.is_some_and(|p| p != 1.0) {
                return Err(Invalid::Unsupported { param: options.path(name), what: "use top_p or min_p".into() });
            }
        }
        if options.int("mirostat", 0..=2)?.is_some_and(|m| m != 0) {
            return Err(Invalid::Unsupported { param: options.path("mirostat"), what: "use top_p or min_p".into() });
        }
        // Ollama: -1 and 0 look back over the whole context and not at all; numbers below mean nothing.
        let repeat_last_n = options.int("repeat_last_n", -1..=i64::from(u32::MAX))?;
        // Ollama: what is not positive means "as much as fits".
        let max_tokens = options.int("num_predict", -2..=i64::from(u32::MAX))?;
        let knobs = Self {
            max_tokens: max_tokens.filter(|&n| n > 0).and_then(|n| usize::try_from(n).ok()),
            temperature: options.float("temperature", 0.0..=100.0)?,
            top_k: top_k(&mut options)?,
            top_p: options.float("top_p", 0.0..=1.0)?,
            min_p: options.float("min_p", 0.0..=1.0)?,
            repeat_penalty: options.float("repeat_penalty", 0.01..=100.0)?,
            repeat_last_n: repeat_last_n.map(|n| usize::try_from(n).unwrap_or(usize::MAX)),
            frequency_penalty: options.float("frequency_penalty", -100.0..=100.0)?,
            presence_penalty: options.float("presence_penalty", -100.0..=100.0)?,
            logit_bias: Vec::new(),
            seed: seed(&mut options)?,
            stop: stop(&mut options)?,
        };
        for name in options.rest().keys() {
            log::info!("the option `{}` of a request has no effect here", name.escape_debug());
        }
        Ok(knobs)
    }
}

/// `top_k`, where −1 is another way to say "all".
fn top_k(fields: &mut Fields) -> Result<Option<usize>, Invalid> {
    let k = fields.int("top_k", -1..=i64::from(u32::MAX))?;
    Ok(k.map(|k| usize::try_from(k).unwrap_or(0)))
}

/// `seed`: any integer of 64 bits, with or without a sign; −1 is the usual way to say "random".
fn seed(fields: &mut Fields) -> Result<Option<u64>, Invalid> {
    if let Some(seed) = fields.unsigned("seed") {
        return Ok(Some(seed));
    }
    let seed = fields.int("seed", i64::MIN..=i64::MAX)?;
    Ok(seed.filter(|&s| s != -1).map(i64::cast_unsigned))
}

/// `stop`: a string or an array.
fn stop(fields: &mut Fields) -> Result<Vec<String>, Invalid> {
    let stop = fields.strings("stop")?;
    if stop.len() > MOST_STOPS {
        return Err(fields.error("stop", format!("has {} entries; the most is {MOST_STOPS}", stop.len())));
    }
    if stop.iter().any(String::is_empty) {
        return Err(fields.error("stop", "must not contain an empty string, which would end every answer at once"));
    }
    Ok(stop)
}

/// `logit_bias`: an object from token ids (as strings) to numbers from −100 to 100.
fn logit_bias(fields: &mut Fields) -> Result<Vec<(Token, f32)>, Invalid> {
    let Some(biases) = fields.object("logit_bias")? else { return Ok(Vec::new()) };
    let biases = biases.rest();
    if biases.len() > MOST_BIASES {
        return Err(fields.error("logit_bias", format!("has {} entries; the most is {MOST_BIASES}", biases.len())));
    }
    let mut list = Vec::with_capacity(biases.len());
    for (token, bias) in biases {
        let Ok(id) = token.parse::<Token>() else {
            return Err(fields.error("logit_bias", format!("has the key {token:?}, which is no token id")));
        };
        let Some(value) = bias.as_f64().filter(|b| (-100.0..=100.0).contains(b)) else {
            return Err(fields.error("logit_bias", format!("of token {id} must be a number from -100 to 100")));
        };
        // In range, so this only rounds.
        list.push((id, value as f32));
    }
    Ok(list)
}

/// A list of token ids; `path` names it in errors.
pub(crate) fn tokens(path: &str, items: &[serde_json::Value]) -> Result<Vec<Token>, Invalid> {
    let token = |item| whole(item).and_then(|id| Token::try_from(id).ok());
    items
        .iter()
        .map(|item| {
            token(item).ok_or_else(|| Invalid::Parameter {
                param: path.into(),
                what: format!("has an entry that is no token id: {}", super::fields::kind(item)),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Sampling;

    fn openai(json: &str) -> Result<Knobs, Invalid> {
        Knobs::from_openai(&mut Fields::from_body(json.as_bytes()).unwrap())
    }

    fn ollama(json: &str) -> Result<Knobs, Invalid> {
        Knobs::from_ollama(Fields::from_body(json.as_bytes()).unwrap())
    }

    #[test]
    fn what_is_left_out_is_the_servers_default() {
        let defaults = Sampling { temperature: 0.7, top_p: 0.9, ..Sampling::default() };
        let sampling = openai(r#"{"temperature": 0}"#).unwrap().sampling(&defaults, 5);
        assert_eq!(sampling, Sampling { temperature: 0.0, top_p: 0.9, seed: 5, ..Sampling::default() });
    }

    #[test]
    fn the_newer_name_of_max_tokens_wins() {
        assert_eq!(openai(r#"{"max_tokens": 3}"#).unwrap().max_tokens, Some(3));
        assert_eq!(openai(r#"{"max_tokens": 3, "max_completion_tokens": 4}"#).unwrap().max_tokens, Some(4));
    }

    #[test]
    fn stop_is_a_string_or_an_array_without_empty_strings() {
        assert_eq!(openai(r#"{"stop": "\n"}"#).unwrap().stop, ["\n"]);
        assert_eq!(openai(r#"{"stop": ["a", "b"]}"#).unwrap().stop, ["a", "b"]);
        assert_eq!(openai(r#"{"stop": [""]}"#).unwrap_err().param(), Some("stop"));
        assert_eq!(openai(r#"{"stop": [1]}"#).unwrap_err().param(), Some("stop"));
    }

    #[test]
    fn logit_bias_maps_ids_to_biases() {
        assert_eq!(openai(r#"{"logit_bias": {"17": -100, "4": 0.5}}"#).unwrap().logit_bias, [(17, -100.0), (4, 0.5)]);
        for bad in [r#"{"x": 1}"#, r#"{"1": 101}"#, r#"{"1": "a"}"#, r#"{"-1": 1}"#, "[1]"] {
            let e = openai(&format!(r#"{{"logit_bias": {bad}}}"#)).unwrap_err();
            assert_eq!(e.param(), Some("logit_bias"), "{bad}");
        }
    }

    #[test]
    fn a_seed_of_minus_one_is_no_seed() {
        assert_eq!(openai(r#"{"seed": -1}"#).unwrap().seed, None);
        assert_eq!(openai(r#"{"seed": 42}"#).unwrap().seed, Some(42));
        assert_eq!(openai(r#"{"seed": 18446744073709551615}"#).unwrap().seed, Some(u64::MAX));
        assert_eq!(openai(r#"{"seed": -2}"#).unwrap().seed, Some(u64::MAX - 1));
    }

    #[test]
    fn ollamas_lengths_below_one_mean_the_rest_of_the_context() {
        assert_eq!(ollama(r#"{"num_predict": 7}"#).unwrap().max_tokens, Some(7));
        for unlimited in [0, -1, -2] {
            assert_eq!(ollama(&format!(r#"{{"num_predict": {unlimited}}}"#)).unwrap().max_tokens, None);
        }
    }

    #[test]
    fn ollama_options_that_would_change_the_text_are_refused_and_others_ignored() {
        assert!(ollama(r#"{"num_ctx": 4096, "num_gpu": 1, "use_mmap": true, "typical_p": 1.0}"#).is_ok());
        assert!(matches!(ollama(r#"{"mirostat": 1}"#), Err(Invalid::Unsupported { .. })));
        assert!(matches!(ollama(r#"{"typical_p": 0.5}"#), Err(Invalid::Unsupported { .. })));
    }
}
