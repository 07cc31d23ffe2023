//! A model file's tokenizer and chat template: whatever they are, they work or are refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use locollm::gguf::{Bytes, File};
use locollm::text::{ChatTemplate, Decoder, Encode, Message, Tokenizer};

const TEXT: &str = "Hello wörld, it's 1234 — 東京\n\n  <|eot_id|> 😀\t</s>";

fuzz_target!(|data: &[u8]| {
    let Ok(file) = File::from_bytes("fuzz", Bytes::new(data.to_vec())) else { return };
    let Ok(tokenizer) = Tokenizer::from_gguf(&file) else { return };
    for special in [false, true] {
        let ids = tokenizer.encode(TEXT, Encode { bos: true, special });
        assert!(ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
        tokenizer.decode(&ids, special);
        let (mut decoder, mut out) = (Decoder::default(), String::new());
        ids.iter().for_each(|&id| decoder.push(tokenizer.bytes(id), &mut out));
        decoder.finish(&mut out);
    }
    let Ok(template) = ChatTemplate::from_gguf(&file, &tokenizer) else { return };
    let message = |role: &str| Message { role: role.into(), content: TEXT.into() };
    let _ = template.encode(&tokenizer, &[message("user"), message("assistant"), message("user")]);
});
