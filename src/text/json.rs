//! A tokenizer from Hugging Face's `tokenizer.json`.
//!
//! Such a file is a pipeline of normalizer, pre-tokenizer, model, post-processor and decoder. The
//! pipelines of Llama 2 and 3, Qwen 2 and 3, SmolLM 2, Falcon, Gemma and GPT-2 are recognised by
//! their parts; a part that is not known is an error that shows it, never a guess.

use super::split::{Pre, Step};
use super::tokenizer::{ModelParts, Parts, Special, Strip};
use super::vocab::{Kind, SPACE, byte_token};
use super::{Error, Token, Tokenizer};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::{Value as Json, json};
use std::collections::HashMap;
use std::path::Path;

/// Llama 3's pattern up to the number of digits, and after it.
const LLAMA3: (&str, &str) =
    (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|", r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+");

/// Rows that a model may have beyond its tokens.
const MOST_PADDING: usize = 1 << 20;

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    added_tokens: Vec<Added>,
    normalizer: Option<Json>,
    pre_tokenizer: Option<Json>,
    post_processor: Option<Json>,
    decoder: Option<Json>,
    model: Bpe,
}

#[derive(Deserialize)]
struct Added {
    id: Token,
    content: String,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

/// Enough of the file to say which model it has.
#[derive(Deserialize)]
struct Probe {
    model: ProbeModel,
}

#[derive(Deserialize)]
struct ProbeModel {
    r#type: Option<String>,
    merges: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Bpe {
    vocab: HashMap<String, Token>,
    merges: Vec<Merge>,
    unk_token: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
}

/// `"a b"` or `["a", "b"]`.
struct Merge(String, String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Merge;
            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a merge: \"a b\" or [\"a\", \"b\"]")
            }
            fn visit_str<E: serde::de::Error>(self, line: &str) -> Result<Merge, E> {
                match line.split_once(' ') {
                    Some((left, right)) if !right.contains(' ') => Ok(Merge(left.to_owned(), right.to_owned())),
                    _ => Err(E::custom(format!("the merge {line:?} has not two parts"))),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Merge, A::Error> {
                match (seq.next_element()?, seq.next_element()?, seq.next_element::<IgnoredAny>()?) {
                    (Some(left), Some(right), None) => Ok(Merge(left, right)),
                    _ => Err(A::Error::custom("a merge has not two parts")),
                }
            }
        }
        deserializer.deserialize_any(Parts)
    }
}

/// How the pipeline makes tokens of text.
enum Pipeline {
    ByteLevel(&'static Pre),
    SentencePiece { add_space_prefix: bool },
}

/// A file that may not be there.
fn read(path: &Path) -> Result<Option<String>, Error> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::Tokenizer { file: path.display().to_string(), what: e.to_string() }),
    }
}

/// A JSON file beside the tokenizer; `null` if it is not there.
fn beside(path: &Path, name: &str) -> Result<Json, Error> {
    let path = path.with_file_name(name);
    let Some(text) = read(&path)? else { return Ok(Json::Null) };
    serde_json::from_str(&text)
        .map_err(|e| Error::Tokenizer { file: path.display().to_string(), what: format!("not valid: {e}") })
}

impl Tokenizer {
    /// From a Hugging Face `tokenizer.json`. Special tokens and the chat template come from
    /// `tokenizer_config.json`, `special_tokens_map.json`, `generation_config.json` and
    /// `chat_template.jinja` beside it, the number of tokens from `config.json`, as far as these are there.
    ///
    /// # Errors
    /// If a file cannot be read, or the tokenizer has a part that is not known here.
    pub fn from_json(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let wrong = |what: String| Error::Tokenizer { file: name.clone(), what };
        let text = read(path)?.ok_or_else(|| wrong("no such file".to_owned()))?;
        let probe: Probe = serde_json::from_str(&text).map_err(|e| wrong(format!("no tokenizer: {e}")))?;
        match probe.model.r#type.as_deref() {
            Some("BPE") => {}
            None if probe.model.merges.is_some() => {}
            kind => return Err(wrong(format!("the tokenizer model {kind:?} is not supported (known: BPE)"))),
        }
        let file: File = serde_json::from_str(&text).map_err(|e| wrong(format!("no tokenizer: {e}")))?;
        drop(text);
        let settings = Settings::beside(path)?;
        build(&name, file, settings)
    }
}

fn build(name: &str, file: File, settings: Settings) -> Result<Tokenizer, Error> {
    let wrong = |what: String| Error::Tokenizer { file: name.to_owned(), what };
    let pipeline = pipeline(&file).map_err(wrong)?;
    let composes = sequence(&file.normalizer, "normalizers").iter().any(|n| n["type"] == "NFC");
    let File { added_tokens, post_processor, model, .. } = file;

    let known = model.vocab.len() + added_tokens.len();
    let highest = model.vocab.values().copied().chain(added_tokens.iter().map(|a| a.id)).max();
    let last = highest.map_or(0, |id| id as usize);
    if last >= known + MOST_PADDING {
        return Err(wrong(format!("the highest token id is {last}, but there are only {known} tokens")));
    }
    let rows = settings.vocab_size.filter(|&rows| rows <= known + MOST_PADDING).unwrap_or(0);
    let count = rows.max(last + 1);
    let mut names = vec![String::new(); count];
    let mut kinds = vec![Kind::Unused; count];
    let whole_alphabet = matches!(pipeline, Pipeline::SentencePiece { .. });
    for (text, id) in model.vocab {
        kinds[id as usize] = match whole_alphabet && byte_token(&text).is_some() {
            true => Kind::Byte,
            false => Kind::Normal,
        };
        names[id as usize] = text;
    }
    let mut strips = HashMap::new();
    for mut added in added_tokens {
        if added.single_word {
            return Err(wrong(format!("`single_word` of the token `{}` is not supported", added.content)));
        }
        let id = added.id as usize;
        kinds[id] = match added.special {
            true if whole_alphabet && model.unk_token.as_ref() == Some(&added.content) => Kind::Unknown,
            true => Kind::Control,
            false if looks_special(&added.content) => Kind::Control,
            false => Kind::UserDefined,
        };
        if whole_alphabet && kinds[id] == Kind::UserDefined {
            // Names are matched in the text as people write it (Gemma's runs of spaces).
            added.content = added.content.replace(SPACE, " ");
        }
        if added.lstrip || added.rstrip {
            strips.insert(added.id, Strip { left: added.lstrip, right: added.rstrip });
        }
        names[id] = added.content;
    }
    for (id, name) in names.iter_mut().enumerate().filter(|(_, name)| name.is_empty()) {
        *name = format!("[PAD{id}]");
    }

    let id = |name: &Option<String>| {
        let name = name.as_ref()?;
        names.iter().position(|n| n == name).and_then(|at| Token::try_from(at).ok())
    };
    let bos = id(&settings.bos);
    let mut special = Special {
        bos,
        eos: id(&settings.eos),
        unknown: id(&settings.unknown.or(model.unk_token)),
        padding: id(&settings.padding),
        add_bos: Some(match settings.add_bos {
            Some(add) => add && bos.is_some(),
            None => bos.is_some() && first_token(&post_processor).map_err(wrong)? == bos.map(|t| &names[t as usize]),
        }),
        add_eos: Some(settings.add_eos && id(&settings.eos).is_some()),
        ..Special::default()
    };
    // GGUF files have room for two more tokens that end an answer.
    let eos = special.eos;
    let mut more = settings.ends.into_iter().filter(|&t| (t as usize) < count && Some(t) != eos);
    if eos.is_none() {
        special.eos = more.next();
    }
    (special.eot, special.eom) = (more.next(), more.next());

    let merges = &model.merges;
    let model = match pipeline {
        Pipeline::ByteLevel(pre) => {
            ModelParts::Bpe { pre, merges: merges.iter().map(|Merge(l, r)| (l.as_str(), r.as_str())).collect() }
        }
        Pipeline::SentencePiece { add_space_prefix } => {
            ModelParts::Spm { scores: scores(merges, &names, &mut kinds), add_space_prefix }
        }
    };
    let ends = more.collect();
    Tokenizer::build(Parts {
        file: name,
        names: &names,
        kinds,
        model,
        special,
        ends,
        strips,
        composes,
        chat_template: settings.chat_template,
    })
}

/// Whether a token that is not marked as special is nonetheless: some authors forget it. The rule of llama.cpp's
/// `does_token_look_special` (`conversion/base.py`).
fn looks_special(name: &str) -> bool {
    let within = |left: &str, right: &str| name.starts_with(left) && name.ends_with(right);
    matches!(name, "<pad>" | "<mask>" | "<2mass>" | "[@BOS@]")
        || within("<|", "|>")
        || within("<｜", "｜>")
        || within("<unused", ">")
}

/// SentencePiece's scores from the order of merges, which Hugging Face made from the scores: the
/// earlier a token is made, the better. What no merge makes is not made by joining either.
fn scores(merges: &[Merge], names: &[String], kinds: &mut [Kind]) -> Vec<f32> {
    let ids: HashMap<&str, usize> = names.iter().enumerate().map(|(id, name)| (name.as_str(), id)).collect();
    let mut scores = vec![None; names.len()];
    for (rank, Merge(left, right)) in merges.iter().enumerate() {
        if let Some(&id) = ids.get(format!("{left}{right}").as_str()) {
            // Exact up to 16 million merges.
            scores[id].get_or_insert(-(rank as f32));
        }
    }
    for ((name, kind), score) in names.iter().zip(kinds).zip(&scores) {
        if score.is_none() && *kind == Kind::Normal && name.chars().count() > 1 {
            *kind = Kind::Unused;
        }
    }
    scores.into_iter().map(Option::unwrap_or_default).collect()
}

/// What the files beside `tokenizer.json` say.
#[derive(Default)]
struct Settings {
    bos: Option<String>,
    eos: Option<String>,
    unknown: Option<String>,
    padding: Option<String>,
    add_bos: Option<bool>,
    add_eos: bool,
    ends: Vec<Token>,
    chat_template: Option<String>,
    vocab_size: Option<usize>,
}

impl Settings {
    fn beside(path: &Path) -> Result<Self, Error> {
        let config = beside(path, "tokenizer_config.json")?;
        let map = beside(path, "special_tokens_map.json")?;
        let generation = beside(path, "generation_config.json")?;
        let model = beside(path, "config.json")?;
        // A token is a string or an object with its content.
        let token = |name: &str| {
            let named = [&config, &map].into_iter().map(|file| &file[name]);
            named.filter_map(|t| t.as_str().or_else(|| t["content"].as_str())).next().map(str::to_owned)
        };
        let ends = match &generation["eos_token_id"] {
            Json::Array(ids) => ids.iter().collect(),
            id => vec![id],
        };
        let template = match (read(&path.with_file_name("chat_template.jinja"))?, &config["chat_template"]) {
            (Some(text), _) => Some(text),
            (None, Json::Array(several)) => {
                let default = several.iter().find(|t| t["name"] == "default").or(several.first());
                default.and_then(|t| t["template"].as_str()).map(str::to_owned)
            }
            (None, one) => one.as_str().map(str::to_owned),
        };
        let rows = [&model["vocab_size"], &model["text_config"]["vocab_size"]];
        Ok(Self {
            bos: token("bos_token"),
            eos: token("eos_token"),
            unknown: token("unk_token"),
            padding: token("pad_token"),
            add_bos: config["add_bos_token"].as_bool(),
            add_eos: config["add_eos_token"].as_bool() == Some(true),
            ends: ends.into_iter().filter_map(|id| Token::try_from(id.as_u64()?).ok()).collect(),
            chat_template: template,
            vocab_size: rows.into_iter().find_map(Json::as_u64).and_then(|n| usize::try_from(n).ok()),
        })
    }
}

/// The parts of a `Sequence`, or the part itself; none for `null`.
fn sequence<'j>(part: &'j Option<Json>, items: &str) -> Vec<&'j Json> {
    match part {
        None | Some(Json::Null) => Vec::new(),
        Some(part) if part["type"] == "Sequence" => {
            part[items].as_array().map(|all| all.iter().collect()).unwrap_or_default()
        }
        Some(part) => vec![part],
    }
}

/// What a whole `tokenizer.json` does, or which part of it is not known.
fn pipeline(file: &File) -> Result<Pipeline, String> {
    for (name, affix) in [
        ("continuing_subword_prefix", &file.model.continuing_subword_prefix),
        ("end_of_word_suffix", &file.model.end_of_word_suffix),
    ] {
        if affix.as_ref().is_some_and(|text| !text.is_empty()) {
            return Err(format!("the tokenizer's {name} {affix:?} is not supported"));
        }
    }
    let normalizers = sequence(&file.normalizer, "normalizers");
    let steps = sequence(&file.pre_tokenizer, "pretokenizers");
    let decoders = sequence(&file.decoder, "decoders");
    let byte_level = steps.iter().any(|step| step["type"] == "ByteLevel");
    let (known, pipeline): (&[&str], _) = match byte_level {
        true => (&["ByteLevel"], byte_level_pipeline(&normalizers, &steps, file.model.ignore_merges)?),
        false if file.model.byte_fallback => {
            (&["Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"], sentence_piece(&normalizers, &steps)?)
        }
        false => return Err(format!("the pre-tokenizer is not supported: {}", show(&file.pre_tokenizer))),
    };
    match decoders.iter().find(|d| !known.iter().any(|k| d["type"] == **k)) {
        Some(decoder) => Err(format!("the decoder is not supported: {decoder}")),
        None => Ok(pipeline),
    }
}

fn show(part: &Option<Json>) -> String {
    part.as_ref().unwrap_or(&Json::Null).to_string()
}

fn byte_level_pipeline(normalizers: &[&Json], steps: &[&Json], whole_words: bool) -> Result<Pipeline, String> {
    // Composing characters first (Qwen) changes only texts with decomposed characters; see `lost_in_gguf`.
    if let Some(other) = normalizers.iter().find(|n| n["type"] != "NFC") {
        return Err(format!("the normalizer is not supported: {other}"));
    }
    let mut cuts = Vec::new();
    for step in steps {
        match step["type"].as_str().unwrap_or_default() {
            "ByteLevel" if step["add_prefix_space"] != true => {
                if step["use_regex"] != false {
                    cuts.push(Step::Gpt2);
                }
            }
            "Digits" if step["individual_digits"] == true => cuts.push(Step::EachNumber),
            "Punctuation" if step["behavior"] == "Contiguous" => cuts.push(Step::Punctuation),
            "Split" if step["behavior"] == "Isolated" && step["invert"] != true => {
                cuts.push(split(step).ok_or_else(|| format!("the split is not supported: {step}"))?);
            }
            _ => return Err(format!("the pre-tokenizer is not supported: {step}")),
        }
    }
    Pre::by_steps(&cuts, whole_words).map(Pipeline::ByteLevel).ok_or_else(|| {
        format!("the pre-tokenizer is not supported: {}", Json::from_iter(steps.iter().copied().cloned()))
    })
}

/// The cut of a `Split`, by its regular expression.
fn split(step: &Json) -> Option<Step> {
    let pattern = step["pattern"]["Regex"].as_str()?;
    if pattern == "[0-9][0-9][0-9]" {
        return Some(Step::ThreeDigits);
    }
    match pattern.strip_prefix(LLAMA3.0)?.strip_suffix(LLAMA3.1)? {
        r"\p{N}" => Some(Step::Llama3(1)),
        r"\p{N}{1,3}" => Some(Step::Llama3(3)),
        _ => None,
    }
}

fn sentence_piece(normalizers: &[&Json], steps: &[&Json]) -> Result<Pipeline, String> {
    let space = SPACE.to_string();
    let mut add_space_prefix = false;
    for part in normalizers {
        if part["type"] == "Prepend" && part["prepend"] == *space {
            add_space_prefix = true;
        } else if part["type"] != "Replace" || part["pattern"] != json!({"String": " "}) || part["content"] != *space {
            return Err(format!("the normalizer is not supported: {part}"));
        }
    }
    for part in steps {
        let is_metaspace = part["type"] == "Metaspace" && part["replacement"] == *space && part["split"] == false;
        // Gemma cuts at spaces where none are left.
        let is_gemma = part["type"] == "Split"
            && part["pattern"] == json!({"String": " "})
            && part["behavior"] == "MergedWithPrevious"
            && !normalizers.is_empty();
        if is_metaspace {
            add_space_prefix = part["prepend_scheme"] != "never";
        } else if !is_gemma {
            return Err(format!("the pre-tokenizer is not supported: {part}"));
        }
    }
    Ok(Pipeline::SentencePiece { add_space_prefix })
}

/// The special token that a post-processor puts first, if any.
fn first_token(processor: &Option<Json>) -> Result<Option<&String>, String> {
    let mut first = None;
    for part in sequence(processor, "processors") {
        match part["type"].as_str().unwrap_or_default() {
            "ByteLevel" => {}
            "TemplateProcessing" => {
                if let Json::String(id) = &part["single"][0]["SpecialToken"]["id"] {
                    first = Some(id);
                }
            }
            _ => return Err(format!("the post-processor is not supported: {part}")),
        }
    }
    Ok(first)
}
