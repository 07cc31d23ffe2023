//! Golden files of `tests/reference/tokenizer.py`: ids of Hugging Face's `tokenizers`, chats of `transformers`.

use super::{demo, ours};
use crate::gguf::{File, Writer};
use crate::text::{ChatTemplate, Encode, Render, Tokenizer};
use serde_json::Value as Json;

const TEXT: Encode = Encode { bos: false, special: false };

fn read(name: &str) -> Json {
    serde_json::from_str(&std::fs::read_to_string(ours(name)).unwrap()).unwrap()
}

fn ids(json: &Json) -> Vec<u32> {
    json.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

/// Compares all cases of a golden file with `tokenizer`, or with the one it was made from.
fn check(name: &str, tokenizer: Option<Tokenizer>) {
    let golden = read(&format!("tests/golden/text/ids-{name}.json"));
    let tokenizer = tokenizer.unwrap_or_else(|| {
        let mut json = read(golden["tokenizer"].as_str().unwrap());
        json["added_tokens"].as_array_mut().unwrap().extend_from_slice(golden["added"].as_array().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokenizer.json");
        std::fs::write(&path, json.to_string()).unwrap();
        Tokenizer::from_json(&path).unwrap()
    });
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() > 100);
    for case in cases {
        let text = case[0].as_str().unwrap();
        let got = tokenizer.encode(text, TEXT);
        assert_eq!(got, ids(&case[1]), "{name}: {text:?}");
        // The others are toys that lack many characters.
        if name == "demo" {
            assert_eq!(tokenizer.decode(&got, false), text);
        }
    }
}

#[test]
fn demo_ids_are_those_of_hugging_face() {
    check("demo", None);
    check("demo", Some(demo()));
}

#[test]
fn llama3_ids_are_those_of_hugging_face() {
    check("llama3", None);
}

#[test]
fn gemma_ids_are_those_of_hugging_face() {
    check("gemma", None);
}

#[test]
fn runs_of_spaces_are_the_tokens_of_hugging_face() {
    check("gemma-runs", None);
}

#[test]
fn a_json_tokenizer_survives_the_way_through_gguf() {
    for name in ["falcon-e", "gemma3", "bitnet-packed"] {
        let tokenizer = Tokenizer::from_json(&ours(&format!("tests/golden/{name}/tokenizer.json"))).unwrap();
        let metadata = tokenizer.gguf_metadata();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vocab.gguf");
        let mut writer = Writer::new(&path);
        metadata.iter().for_each(|(key, value)| writer.metadata(key, value.clone()));
        writer.begin().unwrap().finish().unwrap();
        let again = Tokenizer::from_gguf(&File::open(&path).unwrap()).unwrap();
        assert_eq!(again.gguf_metadata(), metadata, "{name}");
        let text = "Hello world 123 <|bos|> ünï\n";
        let how = Encode { bos: true, special: true };
        assert_eq!(again.encode(text, how), tokenizer.encode(text, how), "{name}");
    }
}

#[test]
fn demo_prompts_are_those_of_the_reference() {
    let tokenizer = demo();
    let lines = std::fs::read_to_string(ours("tests/golden/demo/reference.jsonl")).unwrap();
    let mut n = 0;
    for line in lines.lines() {
        let case: Json = serde_json::from_str(line).unwrap();
        let got = tokenizer.encode(case["prompt"].as_str().unwrap(), Encode { bos: true, special: true });
        assert_eq!(got, ids(&case["prompt_ids"]), "{case}");
        assert_eq!(tokenizer.decode(&ids(&case["greedy_ids"]), true), case["greedy_text"].as_str().unwrap());
        n += 1;
    }
    assert_eq!(n, 500);
}

#[test]
fn chats_are_those_of_transformers() {
    let golden = read("tests/golden/text/templates.json");
    let tokenizer = demo();
    let mut wrong = Vec::new();
    for case in golden["cases"].as_array().unwrap() {
        let name = case["template"].as_str().unwrap();
        let template = ChatTemplate::new(golden["templates"][name].as_str().unwrap(), &tokenizer).unwrap();
        let render = Render {
            messages: case["messages"].as_array().unwrap().clone(),
            tools: case["tools"].as_array().cloned().unwrap_or_default(),
            add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap_or(true),
            extra: case["extra"].as_object().cloned().unwrap_or_default(),
        };
        match (template.render(&render), case["rendered"].as_str()) {
            (Ok(got), Some(expected)) if got == expected => {}
            (Err(_), None) => {}
            (got, expected) => {
                wrong.push(format!("{name}: {}\n got      {got:?}\n expected {expected:?}", case["messages"]))
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
