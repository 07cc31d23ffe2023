//! `tokenizer.json` and the files beside it.

use super::{demo, ours};
use crate::text::{Encode, Error, Tokenizer};
use serde_json::{Value as Json, json};

/// The demo's `tokenizer.json`.
fn demo_json() -> Json {
    serde_json::from_str(&std::fs::read_to_string(ours("models/demo/tokenizer.json")).unwrap()).unwrap()
}

/// A tokenizer from files of a folder.
fn load(files: &[(&str, &Json)]) -> Result<Tokenizer, Error> {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let text = content.as_str().map_or_else(|| content.to_string(), str::to_owned);
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    Tokenizer::from_json(&dir.path().join("tokenizer.json"))
}

#[test]
fn merges_may_be_pairs_or_lines() {
    let mut json = demo_json();
    let pairs = json["model"]["merges"].as_array().unwrap();
    let lines = pairs.iter().map(|p| format!("{} {}", p[0].as_str().unwrap(), p[1].as_str().unwrap())).collect();
    json["model"]["merges"] = lines;
    let (lines, pairs) = (load(&[("tokenizer.json", &json)]).unwrap(), demo());
    let text = "The quick brown fox, 12 of them.";
    let how = Encode { bos: false, special: false };
    assert_eq!(lines.encode(text, how), pairs.encode(text, how));
    json["model"]["merges"] = json!(["a b c"]);
    assert!(load(&[("tokenizer.json", &json)]).unwrap_err().to_string().contains("a b c"));
}

#[test]
fn the_files_beside_it_say_what_tokens_are_for() {
    let config = json!({
        "bos_token": "<|bos|>",
        "eos_token": {"content": "<|eot|>", "lstrip": false},
        "add_bos_token": true,
        "chat_template": [{"name": "tools", "template": "no"}, {"name": "default", "template": "yes"}],
    });
    let generation = json!({"eos_token_id": [1, 4, 5, 3, 99999]});
    let map = json!({"pad_token": "<|pad|>", "bos_token": "<|user|>"});
    let model = json!({"vocab_size": 3100});
    let mut files = vec![
        ("tokenizer_config.json", &config),
        ("generation_config.json", &generation),
        ("special_tokens_map.json", &map),
        ("config.json", &model),
    ];
    let json = demo_json();
    files.push(("tokenizer.json", &json));
    let tokenizer = load(&files).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.special().padding), (Some(0), Some(1), Some(5)));
    assert!(tokenizer.adds_bos() && !tokenizer.adds_eos());
    assert_eq!((0..6).filter(|&t| tokenizer.ends_answer(t)).collect::<Vec<_>>(), [1, 3, 4, 5]);
    assert_eq!(tokenizer.chat_template(), Some("yes"));
    assert_eq!((tokenizer.vocab_size(), tokenizer.name(3099)), (3100, "[PAD3099]".to_owned()));
    assert!(tokenizer.is_control(3099));

    let jinja = json!("{{ 'own file' }}");
    files.push(("chat_template.jinja", &jinja));
    assert_eq!(load(&files).unwrap().chat_template(), jinja.as_str());
}

#[test]
fn the_post_processor_says_whether_texts_begin_with_bos() {
    let config = json!({"bos_token": "<|bos|>"});
    let mut json = demo_json();
    assert!(!load(&[("tokenizer.json", &json), ("tokenizer_config.json", &config)]).unwrap().adds_bos());
    json["post_processor"] = json!({"type": "Sequence", "processors": [
        {"type": "ByteLevel"},
        {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<|bos|>"}}, {"Sequence": {"id": "A"}}]},
    ]});
    assert!(load(&[("tokenizer.json", &json), ("tokenizer_config.json", &config)]).unwrap().adds_bos());
}

#[test]
fn parts_that_are_not_known_are_errors_that_show_them() {
    for (pointer, value, word) in [
        ("/model/type", json!("WordPiece"), "WordPiece"),
        ("/normalizer", json!({"type": "Lowercase"}), "Lowercase"),
        ("/pre_tokenizer", json!({"type": "Whitespace"}), "Whitespace"),
        ("/pre_tokenizer/pretokenizers/1/add_prefix_space", json!(true), "add_prefix_space"),
        (
            "/pre_tokenizer/pretokenizers/0",
            json!({"type": "Split", "pattern": {"Regex": "x+"}, "behavior": "Isolated"}),
            "x+",
        ),
        ("/decoder", json!({"type": "WordPiece"}), "WordPiece"),
        ("/model/end_of_word_suffix", json!("</w>"), "</w>"),
        ("/model/vocab/zzz", json!(4_000_000_000_u32), "4000000000"),
        ("/model/merges", json!("none"), "expected a sequence"),
    ] {
        let mut json = demo_json();
        match json.pointer_mut(pointer) {
            Some(place) => *place = value,
            None => _ = json["model"]["vocab"].as_object_mut().unwrap().insert("zzz".into(), value),
        }
        let error = load(&[("tokenizer.json", &json)]).unwrap_err().to_string();
        assert!(error.contains(word), "{pointer}: {error}");
    }
    assert!(load(&[]).unwrap_err().to_string().contains("no such file"));
}

/// The Gemma of the golden files with more added tokens.
fn gemma_with(added: &[Json]) -> Json {
    let path = ours("tests/golden/text/gemma.json");
    let mut json: Json = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    json["added_tokens"].as_array_mut().unwrap().extend_from_slice(added);
    json
}

const TEXT: Encode = Encode { bos: false, special: false };

#[test]
fn added_runs_of_spaces_are_found() {
    let plain = load(&[("tokenizer.json", &gemma_with(&[]))]).unwrap();
    let runs = [json!({"id": 500, "content": "▁▁"}), json!({"id": 501, "content": "▁▁▁▁"})];
    let tokenizer = load(&[("tokenizer.json", &gemma_with(&runs))]).unwrap();
    let the = plain.encode("the", TEXT);
    let expected = [&the[..], &[501, 500], &the].concat();
    assert_eq!(tokenizer.encode("the      the", TEXT), expected);
    assert_eq!(tokenizer.decode(&expected, false), "the      the");
    assert_eq!((tokenizer.name(500).as_str(), tokenizer.is_control(500)), ("  ", false));
}

#[test]
fn added_tokens_that_look_like_control_are_control() {
    let names = [
        ("<|fim_prefix|>", true),
        ("<｜fim▁begin｜>", true),
        ("<unused7>", true),
        ("<mask>", true),
        ("<pad>", true),
        ("<2mass>", true),
        ("[@BOS@]", true),
        ("<think>", false),
        ("</tool_call>", false),
        ("<table>", false),
    ];
    let added: Vec<Json> =
        (500..).zip(names).map(|(id, (name, _))| json!({"id": id, "content": name, "special": false})).collect();
    let mut byte_level = demo_json();
    byte_level["added_tokens"].as_array_mut().unwrap().extend_from_slice(&added);
    for (id, token) in (5000..).zip(byte_level["added_tokens"].as_array_mut().unwrap().iter_mut().skip(6)) {
        token["id"] = json!(id);
    }
    for (first, json) in [(500, gemma_with(&added)), (5000, byte_level)] {
        let tokenizer = load(&[("tokenizer.json", &json)]).unwrap();
        for (id, (name, control)) in (first..).zip(names) {
            assert_eq!(tokenizer.is_control(id), control, "{name}");
            // What users write never becomes a control token.
            assert_eq!(tokenizer.encode(name, TEXT).contains(&id), !control, "{name}");
        }
    }
}

#[test]
fn what_gguf_files_cannot_say_is_listed() {
    let config = json!({"eos_token": "<|eot|>"});
    let mut json = demo_json();
    let load = |json: &Json, ends: Json| {
        let generation = json!({"eos_token_id": ends});
        let files =
            [("tokenizer.json", json), ("tokenizer_config.json", &config), ("generation_config.json", &generation)];
        load(&files)
    };
    assert_eq!(load(&json, json!([1, 2, 3])).unwrap().lost_in_gguf(), Vec::<String>::new());
    json["added_tokens"][2]["rstrip"] = json!(true);
    json["normalizer"] = json!({"type": "NFC"});
    let lost = load(&json, json!([1, 2, 3, 4])).unwrap().lost_in_gguf();
    for (what, word) in lost.iter().zip(["<|user|>", "<|system|>", "NFC"]) {
        assert!(what.contains(word), "{what}");
    }
    assert_eq!(lost.len(), 3);
    json["added_tokens"][2]["single_word"] = json!(true);
    let error = load(&json, json!(1)).unwrap_err().to_string();
    assert!(error.contains("single_word") && error.contains("<|user|>"), "{error}");
}

#[test]
fn tokens_swallow_white_space_where_the_file_says_so() {
    let mut json = demo_json();
    json["added_tokens"][2]["rstrip"] = json!(true);
    json["added_tokens"][3]["lstrip"] = json!(true);
    let tokenizer = load(&[("tokenizer.json", &json)]).unwrap();
    let how = Encode { bos: false, special: true };
    assert_eq!(
        tokenizer.encode("<|user|> \n a \n <|assistant|>", how),
        tokenizer.encode("<|user|>a<|assistant|>", how)
    );
}
