//! What is done where a file says nothing, or something known to be wrong.

use super::{bpe, load, strings, text};
use crate::gguf::{Array, Value};
use crate::text::{ChatTemplate, Encode, Message, Render, Tokenizer};

fn types(codes: &[i32]) -> (&'static str, Value) {
    ("tokenizer.ggml.token_type", Value::Array(Array::I32(codes.to_vec())))
}

/// What the template of a tokenizer writes for a short conversation.
fn chat(tokenizer: &Tokenizer) -> String {
    let say = |role: &str, content: &str| Message { role: role.into(), content: content.into() };
    let messages = [say("system", "Be brief. "), say("user", " Hi"), say("assistant", "Hello"), say("user", "Bye")];
    ChatTemplate::of(tokenizer).unwrap().render(&Render::from(&messages[..])).unwrap()
}

#[test]
fn bitnet_files_without_a_pre_tokenizer_cut_as_llama_3_does() {
    let names: Vec<String> = (0..128_256).map(|n| format!("t{n}")).collect();
    let load = |arch: &str, tokens: usize| {
        load(vec![
            ("general.architecture", text(arch)),
            ("tokenizer.ggml.model", text("gpt2")),
            ("tokenizer.ggml.tokens", Value::Array(Array::String(names[..tokens].to_vec()))),
            ("tokenizer.ggml.merges", strings(&[])),
        ])
        .unwrap()
        .bpe()
        .unwrap()
        .pre
        .name
    };
    assert_eq!(load("bitnet-b1.58", 128_256), "llama-bpe");
    assert_eq!(load("bitnet-25", 128_256), "llama-bpe");
    assert_eq!(load("bitnet-b1.58", 3_072), "default");
    assert_eq!(load("llama", 128_256), "default");
}

#[test]
fn the_placeholder_of_the_bitnet_file_is_not_used() {
    let placeholder = "{% for m in messages %}Human: {{ m.content }}\n\nBITNETAssistant: {{ eos_token }}{% endfor %}";
    let more = vec![
        types(&[3, 3]),
        ("tokenizer.ggml.bos_token_id", Value::U32(0)),
        ("tokenizer.chat_template", text(placeholder)),
    ];
    let tokenizer = bpe(&["<|begin_of_text|>", "<|eot_id|>"], &[], more).unwrap();
    let expected = "<|begin_of_text|>System: Be brief.<|eot_id|>User: Hi<|eot_id|>Assistant: Hello<|eot_id|>\
        User: Bye<|eot_id|>Assistant: ";
    assert_eq!(chat(&tokenizer), expected);
}

#[test]
fn without_a_template_the_vocabulary_decides() {
    let chatml = bpe(&["<|im_start|>", "<|im_end|>"], &[], vec![types(&[3, 3])]).unwrap();
    assert!(chat(&chatml).starts_with("<|im_start|>system\nBe brief. <|im_end|>\n<|im_start|>user\n Hi<|im_end|>\n"));
    assert!(chat(&chatml).ends_with("Bye<|im_end|>\n<|im_start|>assistant\n"));

    let llama3 = bpe(&["<|start_header_id|>", "<|eot_id|>"], &[], vec![types(&[3, 3])]).unwrap();
    let expected = "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>";
    assert!(chat(&llama3).contains(expected));

    let gemma = bpe(&["<start_of_turn>", "<end_of_turn>"], &[], vec![types(&[3, 3])]).unwrap();
    let expected = "<start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n\
        <start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n";
    assert_eq!(chat(&gemma), expected);

    let plain = bpe(&["a"], &[], vec![]).unwrap();
    assert_eq!(chat(&plain), "System: Be brief.\nUser: Hi\nAssistant: Hello\nUser: Bye\nAssistant:");
}

#[test]
fn tokens_with_the_usual_names_end_an_answer_and_are_control() {
    let names =
        ["<|eot_id|>", "<|im_end|>", "<|end_of_text|>", "<end_of_turn>", "<|endoftext|>", "<|eot|>", "<|x|>", "a"];
    let more = vec![types(&[1, 4, 3, 3, 3, 3, 3, 1]), ("tokenizer.ggml.eom_token_id", Value::U32(7))];
    let tokenizer = bpe(&names, &[], more).unwrap();
    let ends: Vec<u32> = (0..8).filter(|&t| tokenizer.ends_answer(t)).collect();
    assert_eq!(ends, [0, 1, 2, 3, 4, 5, 7]);
    assert!((0..7).all(|t| tokenizer.is_control(t)));
    assert!(!tokenizer.is_control(7));
}

#[test]
fn user_defined_tokens_are_text_and_always_whole() {
    let tokenizer = bpe(&["a", "b", "<think>", "<|x|>"], &[], vec![types(&[1, 1, 4, 3])]).unwrap();
    let text = Encode { bos: false, special: false };
    assert_eq!(tokenizer.encode("a<think>b", text), [0, 2, 1]);
    assert_eq!(tokenizer.decode(&[0, 2, 3, 1], false), "a<think>b");
    assert_eq!(tokenizer.decode(&[0, 2, 3, 1], true), "a<think><|x|>b");
    assert_eq!(tokenizer.shield("<think><|x|>"), "<think><\u{fdd0}|x|>");
}

#[test]
fn a_user_defined_token_comes_before_a_normal_one_of_the_same_text() {
    for tokens in [["a", "Ġ", "ĠĠ", "  "], ["a", "Ġ", "  ", "ĠĠ"]] {
        let user_defined = tokens.iter().position(|&t| t == "  ").unwrap() as u32;
        let kinds = tokens.map(|t| if t == "  " { 4 } else { 1 });
        let tokenizer = bpe(&tokens, &["Ġ Ġ"], vec![types(&kinds)]).unwrap();
        let text = Encode { bos: false, special: false };
        assert_eq!(tokenizer.encode("a  a", text), [0, user_defined, 0]);
        assert_eq!(tokenizer.id("  "), Some(user_defined));
        assert_eq!(tokenizer.decode(&[0, 2, 3], false), "a    ");
    }
}

#[test]
fn names_lead_to_ids_and_back() {
    let tokenizer = bpe(&["Ġa", "b", "<think>", "<|x|>", "中"], &[], vec![types(&[1, 1, 4, 3, 1])]).unwrap();
    for (id, name) in (0..).zip(["Ġa", "b", "<think>", "<|x|>", "中"]) {
        assert_eq!(tokenizer.id(name), Some(id));
        assert_eq!(tokenizer.name(id), name);
    }
    assert_eq!((tokenizer.id(" a"), tokenizer.id("zzz"), tokenizer.id("")), (None, None, None));
    assert_eq!(tokenizer.bytes(0), b" a");
}
