//! `loco tokenize`.

use crate::base;
use crate::text::{Encode, Token, Tokenizer};
use anyhow::Context as _;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::Path;

#[derive(Debug, clap::Args)]
pub(crate) struct Command {
    /// A GGUF file (a vocabulary will do), an installed base's name, `demo`, or a `tokenizer.json`.
    #[arg(long, short, value_name = "FILE|NAME", env = "LOCO_MODEL")]
    model: Option<String>,
    /// Do not begin with the token for the beginning of a text.
    #[arg(long)]
    no_bos: bool,
    /// Read `<|eot_id|>` and the like as control tokens, and show them.
    #[arg(long)]
    special: bool,
    /// Turn token ids back into text.
    #[arg(long, conflicts_with_all = ["ids", "no_bos"])]
    decode: bool,
    /// Only the ids, on one line.
    #[arg(long, conflicts_with = "json")]
    ids: bool,
    /// One JSON object: `{"ids": […], "pieces": […]}`, or `{"text": …}` with `--decode`.
    #[arg(long)]
    json: bool,
    /// The text, or the ids with `--decode`; standard input if it is left out.
    text: Option<String>,
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let tokenizer = open(self.model.as_deref())?;
        let input = match self.text {
            Some(text) => text,
            None => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).context("standard input")?;
                text
            }
        };
        let mut out = std::io::stdout().lock();
        if self.decode {
            let text = tokenizer.decode(&parse_ids(&input, &tokenizer)?, self.special);
            match self.json {
                true => writeln!(out, "{}", serde_json::json!({ "text": text }))?,
                // Nothing is added to the text, so that it can go on through a pipe.
                false if out.is_terminal() => writeln!(out, "{text}")?,
                false => write!(out, "{text}")?,
            }
            return Ok(out.flush()?);
        }
        let ids = tokenizer.encode(&input, Encode { bos: !self.no_bos, special: self.special });
        let pieces = ids.iter().map(|&id| String::from_utf8_lossy(tokenizer.bytes(id)));
        if self.json {
            let pieces: Vec<_> = pieces.collect();
            writeln!(out, "{}", serde_json::json!({ "ids": ids, "pieces": pieces }))?;
        } else if self.ids {
            let ids: Vec<String> = ids.iter().map(Token::to_string).collect();
            writeln!(out, "{}", ids.join(" "))?;
        } else {
            for (id, piece) in ids.iter().zip(pieces) {
                writeln!(out, "{id:>7} {piece:?}")?;
            }
        }
        Ok(out.flush()?)
    }
}

/// The tokenizer of a base, a `tokenizer.json`, or a folder with one.
fn open(model: Option<&str>) -> anyhow::Result<Tokenizer> {
    let path = Path::new(model.unwrap_or_default());
    let inside = path.join("tokenizer.json");
    if inside.is_file() && path.is_dir() {
        return Ok(Tokenizer::from_json(&inside)?);
    }
    if path.extension().is_some_and(|e| e == "json") {
        return Ok(Tokenizer::from_json(path)?);
    }
    Ok(Tokenizer::from_gguf(&base::open(model)?)?)
}

/// Ids between white space, commas or brackets.
fn parse_ids(text: &str, tokenizer: &Tokenizer) -> anyhow::Result<Vec<Token>> {
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']')).filter(|w| !w.is_empty());
    words
        .map(|word| {
            let id: Token = word.parse().with_context(|| format!("`{word}` is not a token id"))?;
            anyhow::ensure!((id as usize) < tokenizer.vocab_size(), "there are only {} tokens", tokenizer.vocab_size());
            Ok(id)
        })
        .collect()
}
