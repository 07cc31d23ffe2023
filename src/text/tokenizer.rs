//! Text to token ids and back.

use super::bpe::{self, Bpe};
use super::special::{Matcher, SHIELD};
use super::split::Pre;
use super::spm::{self, Spm};
use super::vocab::{Alphabet, Kind, Vocab};
use super::{Decoder, Error, Token};
use std::collections::HashMap;

/// Text to token ids and back.
pub struct Tokenizer {
    pub(super) vocab: Vocab,
    model: Model,
    special: Special,
    /// Tokens that text is searched for: all, and those that are text themselves.
    all: Matcher,
    user_defined: Matcher,
    /// Tokens that no text may contain.
    control: Matcher,
    /// The ends of their names.
    control_ends: Matcher,
    /// Tokens that end an answer, sorted.
    ends: Vec<Token>,
    /// White space that some tokens take with them.
    strips: HashMap<Token, Strip>,
    /// Whether the tokenizer's own file composes characters first (NFC), which is not done here, nor by llama.cpp.
    pub(super) composes: bool,
    chat_template: Option<String>,
}

/// On which sides a special token swallows white space.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Strip {
    pub(super) left: bool,
    pub(super) right: bool,
}

/// How text becomes tokens.
enum Model {
    Bpe(Box<Bpe>),
    Spm(Box<Spm>),
}

/// Tokens with a role, by the keys of GGUF files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Special {
    pub(super) bos: Option<Token>,
    pub(super) eos: Option<Token>,
    pub(super) eot: Option<Token>,
    pub(super) eom: Option<Token>,
    pub(super) unknown: Option<Token>,
    pub(super) padding: Option<Token>,
    /// `None`: as the pre-tokenizer's models have it.
    pub(super) add_bos: Option<bool>,
    pub(super) add_eos: Option<bool>,
}

/// What a file says about its model of text.
pub(super) enum ModelParts<'p> {
    /// Byte-level BPE: the two parts of each merge.
    Bpe { pre: &'static Pre, merges: Vec<(&'p str, &'p str)> },
    /// SentencePiece.
    Spm { scores: Vec<f32>, add_space_prefix: bool },
}

/// What a file says about its tokenizer.
pub(super) struct Parts<'p> {
    pub(super) file: &'p str,
    pub(super) names: &'p [String],
    pub(super) kinds: Vec<Kind>,
    pub(super) model: ModelParts<'p>,
    pub(super) special: Special,
    /// Ids that end an answer besides those in `special`.
    pub(super) ends: Vec<Token>,
    pub(super) strips: HashMap<Token, Strip>,
    pub(super) composes: bool,
    pub(super) chat_template: Option<String>,
}

/// Whether `text` begins with a name of one character and its marks; longer names are broken by one mark. It
/// takes two, as one may belong to the text that follows.
fn is_shielded(text: &str) -> bool {
    text.chars().skip(1).take(2).eq([SHIELD; 2])
}

/// How [`Tokenizer::encode`] treats special tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encode {
    /// Put the beginning-of-sequence token first if the file says so (never twice).
    pub bos: bool,
    /// Read `<|eot_id|>` and the like as control tokens. Off for anything a user wrote.
    /// What is to stay text inside such a text can be protected by [`Tokenizer::shield`].
    pub special: bool,
}

/// Names of tokens that end an answer wherever they occur; the list of llama.cpp and `<|eot|>`.
const ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|eom_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "</s>",
    "<eos>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|eot|>",
    "<end_of_utterance>",
    "<｜end▁of▁sentence｜>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
];

/// Whether a token of this name ends an answer, whatever its file says.
pub(super) fn is_usual_end(name: &str) -> bool {
    ENDS.contains(&name)
}

impl Tokenizer {
    pub(super) fn build(parts: Parts) -> Result<Self, Error> {
        let Parts { file, names, mut kinds, model, mut special, ends: more_ends, strips, composes, chat_template } =
            parts;
        let Special { bos, eos, eot, eom, unknown, padding, .. } = special;
        // A token with a role that looks like a tag is control, even where the file forgot to say so.
        for id in [bos, eos, eot, eom, unknown, padding].into_iter().flatten() {
            if let Some(name) = names.get(id as usize)
                && let Some(kind @ Kind::Normal) = kinds.get_mut(id as usize)
                && name.starts_with('<')
                && name.ends_with('>')
            {
                *kind = Kind::Control;
            }
        }
        let mut ends: Vec<Token> = [eos, eot, eom].into_iter().flatten().chain(more_ends).collect();
        for ((id, name), kind) in (0..).zip(names).zip(&mut kinds) {
            if is_usual_end(name) {
                *kind = Kind::Control;
                ends.push(id);
            }
        }
        ends.sort_unstable();
        ends.dedup();
        let alphabet = match model {
            ModelParts::Bpe { .. } => Alphabet::Bytes,
            ModelParts::Spm { .. } => Alphabet::Text,
        };
        let vocab = Vocab::new(file, names, kinds, alphabet)?;
        let (model, add_bos) = match model {
            ModelParts::Bpe { pre, merges } => {
                (Model::Bpe(Box::new(Bpe::new(&vocab, pre, unknown, merges.into_iter()))), pre.add_bos)
            }
            ModelParts::Spm { scores, add_space_prefix } => {
                (Model::Spm(Box::new(Spm::new(&vocab, scores, add_space_prefix, unknown))), true)
            }
        };
        special.add_bos = Some(match special.add_bos {
            Some(true) if bos.is_none() => {
                let what = "texts must begin with BOS, but no token is named as BOS".to_owned();
                return Err(Error::Tokenizer { file: file.to_owned(), what });
            }
            Some(add) => add,
            None => add_bos && bos.is_some(),
        });
        let matcher = |kinds: &[Kind]| Matcher::new(&vocab, vocab.of_kinds(kinds));
        let control = matcher(&[Kind::Control, Kind::Unknown]);
        Ok(Self {
            all: matcher(&[Kind::Control, Kind::Unknown, Kind::UserDefined]),
            user_defined: matcher(&[Kind::UserDefined]),
            control_ends: control.ends(&vocab),
            control,
            vocab,
            model,
            special,
            ends,
            strips,
            composes,
            chat_template,
        })
    }

    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        self.vocab.len()
    }

    /// Token ids of `text`. U+FDD0 in it is dropped if special tokens are read, see [`Tokenizer::shield`].
    pub fn encode(&self, text: &str, how: Encode) -> Vec<Token> {
        let mut out = Vec::with_capacity(text.len() / 4 + 2);
        let mut encoder = Encoder { tokenizer: self, bpe: Default::default(), spm: Default::default(), first: true };
        let matcher = if how.special { &self.all } else { &self.user_defined };
        let (mut done, mut from) = (0, 0);
        while let Some((token, range)) = matcher.next(&self.vocab, text, from) {
            from = range.end;
            if is_shielded(&text[range.start..]) {
                continue;
            }
            let (mut before, strip) = (&text[done..range.start], self.strips.get(&token).copied().unwrap_or_default());
            if strip.left {
                before = before.trim_end();
            }
            if strip.right {
                from = text.len() - text[from..].trim_start().len();
            }
            encoder.text(before, how.special, &mut out);
            out.push(token);
            encoder.first = true;
            done = from;
        }
        encoder.text(&text[done..], how.special, &mut out);
        match self.special.bos {
            Some(bos) if how.bos && self.adds_bos() && out.first() != Some(&bos) => out.insert(0, bos),
            _ => {}
        }
        out
    }

    /// `text` such that [`Tokenizer::encode`] with `special` reads it as plain text, whatever it contains.
    ///
    /// U+FDD0, a code point that is no character and that `encode` drops, is put after the first character
    /// of every name of a control token, and of every beginning of such a name at the end of the text, and
    /// before the end or a middle of such a name at the beginning of the text, so that neither a name nor two
    /// joined texts give a control token. Left alone are tokens that count as text (user-defined ones, such as
    /// `<think>` in Qwen3), and words from the middle of a name (`user` of `<|user|>`), which chat templates compare.
    pub fn shield(&self, text: &str) -> String {
        let text = text.replace(SHIELD, "");
        // Templates trim texts.
        let trimmed = text.len() - text.trim_start().len();
        let mut out = String::with_capacity(text.len() + 8);
        for (at, c) in text.char_indices() {
            let (rest, first) = (&text.as_bytes()[at..], at == 0 || at == trimmed);
            if first && self.may_complete(&text[at..]) {
                out.push(SHIELD);
            }
            out.push(c);
            if self.control.starts(&self.vocab, rest) || self.control.is_beginning(&self.vocab, rest) {
                out.push(SHIELD);
            }
            if self.control.starts(&self.vocab, &rest[..c.len_utf8()]) {
                out.push(SHIELD);
            }
        }
        out
    }

    /// Whether `text` after others could complete the name of a control token.
    fn may_complete(&self, text: &str) -> bool {
        let whole = text.trim_end();
        let is_word = whole.chars().all(|c| c.is_alphanumeric() || c == '_');
        self.control_ends.starts(&self.vocab, text.as_bytes())
            || (!is_word && self.control_ends.is_beginning(&self.vocab, whole.as_bytes()))
    }

    /// The bytes a token stands for; control tokens give their name. Empty for an id out of range.
    pub fn bytes(&self, token: Token) -> &[u8] {
        self.vocab.bytes(token)
    }

    /// Whether the token is a control token (shown to nobody).
    pub fn is_control(&self, token: Token) -> bool {
        self.vocab.kind(token).is_hidden()
    }

    /// Text of `tokens`; control tokens are left out unless `special`; broken UTF-8 becomes U+FFFD.
    pub fn decode(&self, tokens: &[Token], special: bool) -> String {
        let mut out = String::new();
        let mut decoder = Decoder::default();
        // The space that `encode` put before the first word.
        let mut prefix = matches!(&self.model, Model::Spm(spm) if spm.add_space_prefix);
        for &token in tokens.iter().filter(|&&t| special || !self.is_control(t)) {
            let bytes = self.bytes(token);
            let bytes = if prefix { bytes.strip_prefix(b" ").unwrap_or(bytes) } else { bytes };
            prefix = prefix && self.is_control(token);
            decoder.push(bytes, &mut out);
        }
        decoder.finish(&mut out);
        out
    }

    /// The name of a token as its file writes it, e.g. `Ġworld`. Empty for an id out of range.
    pub fn name(&self, token: Token) -> String {
        self.vocab.name(token)
    }

    /// Beginning of sequence.
    pub fn bos(&self) -> Option<Token> {
        self.special.bos
    }

    /// End of sequence.
    pub fn eos(&self) -> Option<Token> {
        self.special.eos
    }

    /// Whether texts begin with BOS.
    pub fn adds_bos(&self) -> bool {
        self.special.add_bos == Some(true)
    }

    /// Whether whole texts end with EOS. [`Tokenizer::encode`] never adds it: what follows is to be generated.
    pub fn adds_eos(&self) -> bool {
        self.special.add_eos == Some(true)
    }

    /// Whether the token ends an answer (eos, eot, eom, and the usual names of those).
    pub fn ends_answer(&self, token: Token) -> bool {
        self.ends.binary_search(&token).is_ok()
    }

    /// The id of a token by its exact name.
    pub fn id(&self, name: &str) -> Option<Token> {
        self.vocab.named(name)
    }

    /// The chat template that came with the tokenizer, in the Jinja language.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// Tokens that end an answer, sorted.
    pub(super) fn ends(&self) -> &[Token] {
        &self.ends
    }

    /// Tokens that swallow white space.
    pub(super) fn strips(&self) -> impl Iterator<Item = Token> {
        self.strips.keys().copied()
    }

    pub(super) fn special(&self) -> &Special {
        &self.special
    }

    pub(super) fn kind(&self, token: Token) -> Kind {
        self.vocab.kind(token)
    }

    pub(super) fn bpe(&self) -> Option<&Bpe> {
        match &self.model {
            Model::Bpe(bpe) => Some(bpe),
            Model::Spm(_) => None,
        }
    }

    pub(super) fn spm(&self) -> Option<&Spm> {
        match &self.model {
            Model::Bpe(_) => None,
            Model::Spm(spm) => Some(spm),
        }
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("tokens", &self.vocab_size()).field("special", &self.special).finish()
    }
}

/// One call of [`Tokenizer::encode`].
struct Encoder<'t> {
    tokenizer: &'t Tokenizer,
    bpe: bpe::Work,
    spm: spm::Work,
    /// Whether the next text begins the whole or follows a special token.
    first: bool,
}

impl Encoder<'_> {
    fn text(&mut self, text: &str, shielded: bool, out: &mut Vec<Token>) {
        if text.is_empty() {
            return;
        }
        let plain = if shielded && text.contains(SHIELD) { Some(text.replace(SHIELD, "")) } else { None };
        let text = plain.as_deref().unwrap_or(text);
        let Tokenizer { vocab, model, .. } = self.tokenizer;
        match model {
            Model::Bpe(bpe) => bpe.encode(vocab, text, &mut self.bpe, out),
            Model::Spm(spm) => spm.encode(vocab, text, self.first, &mut self.spm, out),
        }
        self.first = false;
    }
}
