//! A tokenizer from the metadata of a GGUF file, and back.

use super::split::Pre;
use super::tokenizer::{ModelParts, Parts, Special, is_usual_end};
use super::vocab::{Kind, byte_token};
use super::{Error, Token, Tokenizer};
use crate::gguf::{Array, File, Value};

/// Tokens of the Llama 3 vocabulary, which BitNet b1.58 uses.
const LLAMA3_TOKENS: usize = 128_256;

impl Tokenizer {
    /// From a GGUF file's metadata; vocabulary-only files will do.
    ///
    /// # Errors
    /// If keys are missing or contradict each other, or the kind of tokenizer is not known.
    pub fn from_gguf(file: &File) -> Result<Self, Error> {
        let wrong = |what: String| Error::Tokenizer { file: file.name().to_owned(), what };
        let model = required(file, "tokenizer.ggml.model", file.str("tokenizer.ggml.model")?)?;
        let names = required(file, "tokenizer.ggml.tokens", file.strings("tokenizer.ggml.tokens")?)?;
        let kinds = match file.ints("tokenizer.ggml.token_type")? {
            Some(codes) if codes.len() != names.len() => {
                return Err(wrong(format!("{} tokens, but {} token types", names.len(), codes.len())));
            }
            Some(codes) => codes.into_iter().map(Kind::from_code).collect(),
            None => vec![Kind::Normal; names.len()],
        };
        let (model, kinds) = match model {
            "gpt2" => {
                let merges = file.strings("tokenizer.ggml.merges")?;
                let merges = required(file, "tokenizer.ggml.merges", merges)?;
                let merges = merges.iter().filter_map(|m| two_parts(m)).collect();
                (ModelParts::Bpe { pre: pre_tokenizer(file, names.len())?, merges }, kinds)
            }
            "llama" => {
                let scores = required(file, "tokenizer.ggml.scores", file.floats("tokenizer.ggml.scores")?)?;
                if scores.len() != names.len() {
                    return Err(wrong(format!("{} tokens, but {} scores", names.len(), scores.len())));
                }
                let add_space_prefix = file.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
                // Early files have no token types.
                let kinds = names.iter().zip(kinds).map(|(name, kind)| match kind {
                    Kind::Normal if byte_token(name).is_some() => Kind::Byte,
                    kind => kind,
                });
                (ModelParts::Spm { scores, add_space_prefix }, kinds.collect())
            }
            other => {
                return Err(wrong(format!("the tokenizer model `{other}` is not supported (known: gpt2, llama)")));
            }
        };
        let id = |key: &str| -> Result<Option<Token>, Error> {
            let Some(id) = file.u64(key)? else { return Ok(None) };
            match Token::try_from(id) {
                Ok(token) if (token as usize) < names.len() => Ok(Some(token)),
                _ => {
                    log::warn!("{}: {key} is {id}, but there are {} tokens; ignored", file.name(), names.len());
                    Ok(None)
                }
            }
        };
        // Llama's own ids, for files that do not name them.
        let default = |token: Token, name: &str| {
            Some(token).filter(|_| {
                matches!(model, ModelParts::Spm { .. }) && names.get(token as usize).is_some_and(|n| n == name)
            })
        };
        let special = Special {
            bos: id("tokenizer.ggml.bos_token_id")?.or(default(1, "<s>")),
            eos: id("tokenizer.ggml.eos_token_id")?.or(default(2, "</s>")),
            eot: id("tokenizer.ggml.eot_token_id")?,
            eom: id("tokenizer.ggml.eom_token_id")?,
            unknown: id("tokenizer.ggml.unknown_token_id")?.or(default(0, "<unk>")),
            padding: id("tokenizer.ggml.padding_token_id")?,
            add_bos: file.bool("tokenizer.ggml.add_bos_token")?,
            add_eos: file.bool("tokenizer.ggml.add_eos_token")?,
        };
        let chat_template = file.str("tokenizer.chat_template")?.map(str::to_owned);
        Self::build(Parts {
            file: file.name(),
            names,
            kinds,
            model,
            special,
            ends: Vec::new(),
            strips: Default::default(),
            composes: false,
            chat_template,
        })
    }

    /// What the tokenizer's own files say and [`Tokenizer::gguf_metadata`] cannot: a sentence for each.
    pub fn lost_in_gguf(&self) -> Vec<String> {
        let names = |tokens: &[Token]| tokens.iter().map(|&t| self.name(t)).collect::<Vec<_>>().join(" ");
        let special = self.special();
        let roles = [special.eos, special.eot, special.eom];
        let is_lost = |&end: &Token| !roles.contains(&Some(end)) && !is_usual_end(&self.name(end));
        let ends: Vec<Token> = self.ends().iter().copied().filter(is_lost).collect();
        let mut strips: Vec<Token> = self.strips().collect();
        strips.sort_unstable();
        let mut lost = Vec::new();
        if !strips.is_empty() {
            lost.push(format!("white space beside these tokens is no longer swallowed: {}", names(&strips)));
        }
        if !ends.is_empty() {
            lost.push(format!("these tokens no longer end an answer: {}", names(&ends)));
        }
        if self.composes {
            lost.push("characters written in parts are not composed first (NFC), and may give other tokens".to_owned());
        }
        lost
    }

    /// The metadata that makes the same tokenizer of a GGUF file: `tokenizer.ggml.*` and `tokenizer.chat_template`.
    pub fn gguf_metadata(&self) -> Vec<(String, Value)> {
        let tokens = || 0..self.vocab_size() as Token;
        let text = |s: &str| Value::String(s.to_owned());
        let (model, pre) = self.bpe().map_or(("llama", "default"), |bpe| ("gpt2", bpe.pre.name));
        let mut all = vec![
            ("tokenizer.ggml.model", text(model)),
            ("tokenizer.ggml.pre", text(pre)),
            ("tokenizer.ggml.tokens", Value::Array(Array::String(tokens().map(|t| self.name(t)).collect()))),
            ("tokenizer.ggml.token_type", Value::Array(Array::I32(tokens().map(|t| self.kind(t).code()).collect()))),
        ];
        if let Some(spm) = self.spm() {
            all.push(("tokenizer.ggml.scores", Value::Array(Array::F32(spm.scores().to_vec()))));
            all.push(("tokenizer.ggml.add_space_prefix", Value::Bool(spm.add_space_prefix)));
        }
        if let Some(bpe) = self.bpe() {
            let merges = bpe.merges().map(|(l, r)| format!("{} {}", self.name(l), self.name(r))).collect();
            all.push(("tokenizer.ggml.merges", Value::Array(Array::String(merges))));
        }
        let special = self.special();
        for (key, token) in [
            ("tokenizer.ggml.bos_token_id", special.bos),
            ("tokenizer.ggml.eos_token_id", special.eos),
            ("tokenizer.ggml.eot_token_id", special.eot),
            ("tokenizer.ggml.eom_token_id", special.eom),
            ("tokenizer.ggml.unknown_token_id", special.unknown),
            ("tokenizer.ggml.padding_token_id", special.padding),
        ] {
            all.extend(token.map(|t| (key, Value::U32(t))));
        }
        all.push(("tokenizer.ggml.add_bos_token", Value::Bool(self.adds_bos())));
        all.push(("tokenizer.ggml.add_eos_token", Value::Bool(self.adds_eos())));
        all.extend(self.chat_template().map(|t| ("tokenizer.chat_template", text(t))));
        all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

fn required<T>(file: &File, key: &str, value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| file.key_error(key, "is missing").into())
}

/// The two parts of a merge, `Ġ world`. A part may begin with a space, but no part is empty.
fn two_parts(merge: &str) -> Option<(&str, &str)> {
    let at = 1 + merge.bytes().skip(1).position(|b| b == b' ')?;
    Some((&merge[..at], &merge[at + 1..])).filter(|(_, right)| !right.is_empty())
}

fn pre_tokenizer(file: &File, tokens: usize) -> Result<&'static Pre, Error> {
    let key = "tokenizer.ggml.pre";
    let name = match file.str(key)? {
        Some(name) => name,
        None => {
            let arch = file.str("general.architecture")?.unwrap_or_default();
            match tokens == LLAMA3_TOKENS && matches!(arch, "bitnet-b1.58" | "bitnet-25") {
                // Microsoft's converter left the key out.
                true => "llama-bpe",
                false => {
                    log::warn!(
                        "{}: the file does not say how its tokenizer splits text (no `{key}`); answers may be much worse than the model can do",
                        file.name()
                    );
                    "default"
                }
            }
        }
    };
    Pre::by_name(name).ok_or_else(|| file.key_error(key, format!("names an unknown pre-tokenizer: `{name}`")).into())
}
