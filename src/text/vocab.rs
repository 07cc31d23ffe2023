//! The tokens of a vocabulary: their bytes, their kinds, and how to find them.

use super::index::Index;
use super::unicode::{byte_of, char_of};
use super::{Error, Token};

/// What a token is for (`tokenizer.ggml.token_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text.
    Normal,
    /// Stands for what the vocabulary cannot express.
    Unknown,
    /// Means something to the model and is no text.
    Control,
    /// Text that is one token wherever it occurs, whatever the merges say.
    UserDefined,
    /// A place holder.
    Unused,
    /// A single byte, for characters without a token of their own (`<0x0A>`).
    Byte,
    /// Counts as normal, but its name is not written in the alphabet of the vocabulary, so that no text gives it.
    Foreign,
}

impl Kind {
    /// The number in GGUF files.
    pub(super) fn code(self) -> i32 {
        match self {
            Kind::Normal | Kind::Foreign => 1,
            Kind::Unknown => 2,
            Kind::Control => 3,
            Kind::UserDefined => 4,
            Kind::Unused => 5,
            Kind::Byte => 6,
        }
    }

    /// The kind of a number in GGUF files. 0 and numbers nobody defined are "undefined", which stays out of sight.
    pub(super) fn from_code(code: i64) -> Kind {
        match code {
            1 => Kind::Normal,
            2 => Kind::Unknown,
            3 => Kind::Control,
            4 => Kind::UserDefined,
            6 => Kind::Byte,
            _ => Kind::Unused,
        }
    }

    /// Whether answers do not show such a token.
    pub(super) fn is_hidden(self) -> bool {
        matches!(self, Kind::Control | Kind::Unknown | Kind::Unused)
    }
}

/// How the names of normal tokens spell bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// GPT-2: one printable character per byte.
    Bytes,
    /// SentencePiece: the text itself with U+2581 for a space.
    Text,
}

/// U+2581, which SentencePiece writes for a space.
pub(super) const SPACE: char = '\u{2581}';

/// All tokens of a model.
pub(super) struct Vocab {
    alphabet: Alphabet,
    /// The bytes of all tokens, one after the other; names where a token is no text.
    bytes: Vec<u8>,
    /// Where each token's bytes end.
    ends: Vec<u32>,
    kinds: Vec<Kind>,
    /// Tokens that text can become, by their bytes.
    index: Index,
    /// All others but `<0x..>`, and user-defined ones, sorted by name.
    named: Vec<Token>,
    /// Length of the longest normal token.
    longest: usize,
}

impl Vocab {
    /// Reads `names`, one per token, in the order of their ids.
    pub(super) fn new(file: &str, names: &[String], mut kinds: Vec<Kind>, alphabet: Alphabet) -> Result<Self, Error> {
        let wrong = |what: String| Error::Tokenizer { file: file.to_owned(), what };
        debug_assert_eq!(names.len(), kinds.len());
        // Two ids are kept free as marks.
        if names.is_empty() || u32::try_from(names.len()).is_err() {
            return Err(wrong(format!("a vocabulary of {} tokens", names.len())));
        }
        let mut bytes = Vec::with_capacity(names.iter().map(String::len).sum());
        let mut ends = Vec::with_capacity(names.len());
        for (name, kind) in names.iter().zip(&mut kinds) {
            if *kind == Kind::Normal && !spell(name, alphabet, &mut bytes) {
                *kind = Kind::Foreign;
            }
            match kind {
                Kind::Normal => {}
                Kind::Byte => match byte_token(name) {
                    Some(b) => bytes.push(b),
                    None => return Err(wrong(format!("the byte token `{name}` is not of the form <0x0A>"))),
                },
                _ => bytes.extend_from_slice(name.as_bytes()),
            }
            match u32::try_from(bytes.len()) {
                Ok(end) => ends.push(end),
                Err(_) => return Err(wrong("the names of the tokens take more than 4 GiB".to_owned())),
            }
        }
        let mut vocab =
            Self { alphabet, bytes, ends, kinds, index: Index::new(names.len()), named: Vec::new(), longest: 0 };
        let mut twice = 0;
        for token in 0..vocab.len() as Token {
            match vocab.kind(token) {
                Kind::Normal if vocab.find(vocab.bytes(token)).is_some() => twice += 1,
                Kind::Normal => vocab.add(token),
                // Text can become a user-defined token by merging, too. Another of the same text can be merged,
                // but never is: user-defined ones are found first.
                Kind::UserDefined => {
                    if vocab.find(vocab.bytes(token)).is_none() {
                        vocab.add(token);
                    }
                    vocab.named.push(token);
                }
                Kind::Byte => {}
                _ => vocab.named.push(token),
            }
        }
        if twice > 0 {
            log::warn!("{file}: {twice} tokens have the name of another; the first of each name is used");
        }
        let mut named = std::mem::take(&mut vocab.named);
        named.sort_by(|&a, &b| vocab.bytes(a).cmp(vocab.bytes(b)));
        vocab.named = named;
        Ok(vocab)
    }

    fn add(&mut self, token: Token) {
        let range = self.range(token);
        self.longest = self.longest.max(range.len());
        self.index.insert(&self.bytes[range], token);
    }

    fn range(&self, token: Token) -> std::ops::Range<usize> {
        let at = token as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        start..self.ends[at] as usize
    }

    /// Number of tokens.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// A token's bytes; the name where it is no text.
    pub(super) fn bytes(&self, token: Token) -> &[u8] {
        match (token as usize) < self.len() {
            true => &self.bytes[self.range(token)],
            false => &[],
        }
    }

    /// A token's kind; ids out of range are unused.
    pub(super) fn kind(&self, token: Token) -> Kind {
        self.kinds.get(token as usize).copied().unwrap_or(Kind::Unused)
    }

    /// Bytes of the longest token that text can become.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// The token that stands for this text.
    pub(super) fn find(&self, text: &[u8]) -> Option<Token> {
        self.index.get(text, |token| self.bytes(token) == text)
    }

    /// The token that stands for the text that `name` spells.
    pub(super) fn find_spelled(&self, name: &str, scratch: &mut Vec<u8>) -> Option<Token> {
        scratch.clear();
        match spell(name, self.alphabet, scratch) {
            true => self.find(scratch),
            false => None,
        }
    }

    /// The token of this name, as the file writes it.
    pub(super) fn named(&self, name: &str) -> Option<Token> {
        let at = self.named.partition_point(|&t| self.bytes(t) < name.as_bytes());
        let found = self.named.get(at).copied().filter(|&t| self.bytes(t) == name.as_bytes());
        let byte = || {
            let byte = [byte_token(name)?];
            (0..self.len() as Token).find(|&t| self.kind(t) == Kind::Byte && self.bytes(t) == byte)
        };
        let mut scratch = Vec::new();
        found.or_else(|| self.find_spelled(name, &mut scratch).filter(|&t| self.kind(t) == Kind::Normal)).or_else(byte)
    }

    /// The name of a token as the file writes it.
    pub(super) fn name(&self, token: Token) -> String {
        let bytes = self.bytes(token);
        match (self.kind(token), self.alphabet) {
            (Kind::Byte, _) => format!("<0x{:02X}>", bytes.first().copied().unwrap_or(0)),
            (Kind::Normal, Alphabet::Bytes) => bytes.iter().map(|&b| char_of(b)).collect(),
            (Kind::Normal, Alphabet::Text) => {
                String::from_utf8_lossy(bytes).replace(' ', SPACE.encode_utf8(&mut [0; 4]))
            }
            _ => String::from_utf8_lossy(bytes).into_owned(),
        }
    }

    /// The tokens of these kinds whose names are matched in text, sorted by name.
    pub(super) fn of_kinds(&self, kinds: &[Kind]) -> Vec<Token> {
        self.named.iter().copied().filter(|&t| kinds.contains(&self.kind(t)) && !self.bytes(t).is_empty()).collect()
    }
}

/// Appends the bytes that a name spells. Says no, and appends nothing, if it is not in the alphabet.
fn spell(name: &str, alphabet: Alphabet, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    match alphabet {
        Alphabet::Bytes => {
            for c in name.chars() {
                match byte_of(c) {
                    Some(b) => out.push(b),
                    None => {
                        out.truncate(start);
                        return false;
                    }
                }
            }
        }
        Alphabet::Text => {
            if name.contains(' ') {
                return false;
            }
            for part in name.split_inclusive(SPACE) {
                match part.strip_suffix(SPACE) {
                    Some(text) => {
                        out.extend_from_slice(text.as_bytes());
                        out.push(b' ');
                    }
                    None => out.extend_from_slice(part.as_bytes()),
                }
            }
        }
    }
    out.len() > start
}

/// The byte of `<0x0A>`.
pub(super) fn byte_token(name: &str) -> Option<u8> {
    let digits = name.strip_prefix("<0x")?.strip_suffix('>')?;
    match digits.len() {
        2 if digits.bytes().all(|b| b.is_ascii_hexdigit()) => u8::from_str_radix(digits, 16).ok(),
        _ => None,
    }
}
