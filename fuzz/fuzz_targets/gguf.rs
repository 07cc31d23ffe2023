//! A model file: whatever the bytes are, there is a file or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use locollm::gguf::{Bytes, File};
use locollm::quant::dequantize;

fuzz_target!(|data: &[u8]| {
    let Ok(file) = File::from_bytes("fuzz", Bytes::new(data.to_vec())) else { return };
    for (key, value) in file.metadata() {
        assert_eq!(file.get(key).map(|v| v.kind()), Some(value.kind()));
        let _ = (file.u64(key), file.f32(key), file.bool(key), file.str(key));
        let _ = (file.strings(key).map(|_| ()), file.floats(key), file.ints(key));
    }
    let mut taken = vec![false; data.len()];
    for tensor in file.tensors() {
        assert_eq!(file.tensor(&tensor.name).map(|t| t.range()), Some(tensor.range()));
        assert!(tensor.range().start % file.alignment() as usize == 0);
        for byte in &mut taken[tensor.range()] {
            assert!(!std::mem::replace(byte, true), "two tensors share a byte");
        }
        let mut values = vec![0.0; tensor.values()];
        dequantize(tensor.format, &file.bytes(tensor), &mut values);
    }
    let _ = locollm::model::Config::from_gguf(&file);
});
