//! `loco import`: the files are those of llama.cpp's converter, ternary layers are what transformers unpacks, and
//! what cannot be imported is refused by name.

mod golden_cases;

use golden_cases::{folder, import_case};
use locollm::convert::import::{Error, Floats, Options, import};
use locollm::gguf::{File, Value};
use locollm::quant::{Format, dequantize};
use safetensors::tensor::{TensorView, serialize};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

fn temporary() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// A golden case imported with `floats`.
fn imported(case: &str, floats: Floats) -> File {
    let temporary = temporary();
    let path = temporary.path().join("model.gguf");
    import_case(case, &path, &Options { floats, name: None });
    File::open(&path).unwrap()
}

fn values(file: &File, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap_or_else(|| panic!("no {name}"));
    let mut values = vec![0.0; tensor.dims.iter().product()];
    dequantize(tensor.format, &file.bytes(tensor), &mut values);
    values
}

/// Every tensor and key but the tokenizer's (`tests/reference/list_gguf.py`).
#[test]
fn files_are_those_of_llama_cpps_converter() {
    let path = folder("llama_cpp.json");
    let listing: BTreeMap<String, Json> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(listing.len(), 8);
    for (case, expected) in listing {
        let file = imported(&case, Floats::F32);
        for (key, expected) in expected["metadata"].as_object().unwrap() {
            let got = match file.get(key).unwrap_or_else(|| panic!("{case}: no key {key}")) {
                Value::U32(v) => json!(["UINT32", v]),
                Value::F32(v) => json!(["FLOAT32", f64::from(*v)]),
                Value::String(v) => json!(["STRING", v]),
                other => panic!("{case}: {key} is {other:?}"),
            };
            assert_eq!(&got, expected, "{case}: {key}");
        }
        let others = file.metadata().iter().map(|(key, _)| key.as_str());
        let ours: Vec<&str> = others.filter(|key| expected["metadata"].get(key).is_none()).collect();
        assert!(
            ours.iter().all(|key| key.starts_with("tokenizer.") || *key == "general.name"),
            "{case}: keys that the converter does not write: {ours:?}"
        );

        let tensors = expected["tensors"].as_object().unwrap();
        assert_eq!(file.tensors().len(), tensors.len(), "{case}");
        for (name, expected) in tensors {
            let tensor = file.tensor(name).unwrap_or_else(|| panic!("{case}: no tensor {name}"));
            assert_eq!(json!([tensor.dims, tensor.format.name()]), json!([expected[0], expected[1]]), "{case}: {name}");
            if let Some(wanted) = expected[2].as_array() {
                // The converter computes them in f32.
                for (got, wanted) in values(&file, name).iter().zip(wanted) {
                    assert!((f64::from(*got) / wanted.as_f64().unwrap() - 1.0).abs() < 1e-6, "{case}: {name}");
                }
            } else {
                let digest = Sha256::digest(&*file.bytes(tensor));
                let hex: String = digest.iter().map(|b| format!("{b:02x}")).collect();
                assert_eq!(json!(hex), expected[2], "{case}: {name}");
            }
        }
    }
}

/// Code × scale of a packed layer, as transformers' `unpack_weights` has it.
fn unpacked(source: &SafeTensors, name: &str) -> (Vec<f32>, f32) {
    let tensor = source.tensor(name).unwrap();
    let codes = (0..4).flat_map(|slot| tensor.data().iter().map(move |byte| f32::from(byte >> (2 * slot) & 3) - 1.0));
    let scale = source.tensor(&format!("{name}_scale")).unwrap();
    (codes.collect(), half::bf16::from_le_bytes(scale.data().try_into().unwrap()).to_f32())
}

#[test]
fn packed_layers_become_i2_s_with_the_scale_as_a_factor() {
    for (case, divides) in [("bitnet-packed", false), ("falcon-e", true)] {
        let bytes = std::fs::read(folder(case).join("model.safetensors")).unwrap();
        let source = SafeTensors::deserialize(&bytes).unwrap();
        let file = imported(case, Floats::Auto);
        for (name, from) in [("blk.1.ffn_down.weight", "mlp.down_proj"), ("blk.1.attn_v.weight", "self_attn.v_proj")] {
            assert_eq!(file.tensor(name).unwrap().format, Format::I2_S);
            let (codes, scale) = unpacked(&source, &format!("model.layers.1.{from}.weight"));
            let factor = if divides { 1.0 / scale } else { scale };
            let expected: Vec<f32> = codes.iter().map(|code| code * factor).collect();
            assert!(values(&file, name) == expected, "{case}: {name}");
        }
        assert_eq!(file.u64("general.file_type").unwrap(), Some(40));
        assert_eq!(file.tensor("token_embd.weight").unwrap().format, Format::BF16, "{case}");
    }
}

#[test]
fn query_rows_of_a_packed_llama_are_permuted() {
    let bytes = std::fs::read(folder("falcon-e").join("model.safetensors")).unwrap();
    let (codes, scale) = unpacked(&SafeTensors::deserialize(&bytes).unwrap(), "model.layers.0.self_attn.q_proj.weight");
    let got = values(&imported("falcon-e", Floats::Auto), "blk.0.attn_q.weight");
    // Heads of 32: row 2i of the file is row i of the head, row 2i + 1 is row i + 16.
    for (row, from) in [(0, 0), (1, 16), (2, 1), (31, 31), (32, 32), (33, 48)] {
        let expected: Vec<f32> = codes[from * 128..][..128].iter().map(|c| c * (1.0 / scale)).collect();
        assert_eq!(got[row * 128..][..128], expected, "row {row}");
    }
}

#[test]
fn rows_that_i2_s_cannot_hold_become_exact_floats_for_bitnet() {
    let file = imported("bitnet-online", Floats::Auto);
    let tensor = file.tensor("blk.0.attn_q.weight").unwrap();
    assert_eq!((tensor.format, &tensor.dims[..]), (Format::F32, &[72, 72][..]));
    let mut magnitudes: Vec<u32> = values(&file, "blk.0.attn_q.weight").iter().map(|v| v.abs().to_bits()).collect();
    magnitudes.sort_unstable();
    magnitudes.dedup();
    assert_eq!(magnitudes.len(), 2, "zero and one scale");
}

#[test]
fn floats_are_stored_as_asked_and_norms_as_f32() {
    for (floats, format) in [
        (Floats::Auto, Format::F16),
        (Floats::F32, Format::F32),
        (Floats::F16, Format::F16),
        (Floats::Bf16, Format::BF16),
    ] {
        let file = imported("llama-wide-heads", floats);
        assert_eq!(file.tensor("blk.0.ffn_up.weight").unwrap().format, format);
        assert_eq!(file.tensor("blk.0.attn_norm.weight").unwrap().format, Format::F32);
    }
}

#[test]
fn the_tokenizer_comes_along() {
    let file = imported("llama-untied", Floats::Auto);
    assert_eq!(file.strings("tokenizer.ggml.tokens").unwrap().unwrap().len(), 131);
    assert_eq!(file.str("tokenizer.ggml.model").unwrap(), Some("gpt2"));
    assert!(file.str("tokenizer.chat_template").unwrap().unwrap().contains("for m in messages"));
    let tokenizer = locollm::text::Tokenizer::from_gguf(&file).unwrap();
    let ids = tokenizer.encode("the rest", locollm::text::Encode { bos: true, special: false });
    assert_eq!(ids[0], 0, "{ids:?}");
    assert_eq!(tokenizer.decode(&ids, false), "the rest");
}

#[test]
fn the_name_is_the_folders_unless_given() {
    let temporary = temporary();
    let path = temporary.path().join("m.gguf");
    let report = import_case("gemma3", &path, &Options::default());
    assert_eq!((report.name.as_str(), report.architecture.as_str(), report.tensors), ("gemma3", "gemma3", 93));
    assert_eq!(report.formats, [("BF16".to_string(), 50), ("F32".to_string(), 43)]);
    import_case("gemma3", &path, &Options { name: Some("Gemma".into()), ..Options::default() });
    assert_eq!(File::open(&path).unwrap().str("general.name").unwrap(), Some("Gemma"));
}

// --- Folders made from the golden ones --------------------------------------------------------------------------

/// A copy of a golden folder that tests change.
struct Copy {
    dir: tempfile::TempDir,
}

impl Copy {
    fn of(case: &str) -> Self {
        let dir = temporary();
        for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(folder(case).join(file), dir.path().join(file)).unwrap();
        }
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn config(self, change: impl FnOnce(&mut Json)) -> Self {
        let path = self.path().join("config.json");
        let mut config = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        change(&mut config);
        std::fs::write(path, config.to_string()).unwrap();
        self
    }

    fn set(self, key: &str, value: Json) -> Self {
        self.config(|config| config[key] = value)
    }

    /// Rewrites model.safetensors; each tensor is (data type, shape, bytes).
    fn tensors(self, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) -> Self {
        let path = self.path().join("model.safetensors");
        let mut tensors = read_tensors(&path);
        change(&mut tensors);
        write_tensors(&path, &tensors);
        self
    }

    /// Imports to a file that holds something already; it must still hold it if the import fails.
    fn import(&self) -> Result<File, String> {
        let out = self.path().join("out.gguf");
        // An earlier import's file may still be mapped: leave its bytes alone.
        drop(std::fs::remove_file(&out));
        std::fs::write(&out, "precious").unwrap();
        match import(self.path(), &out, &Options::default(), &mut |_| {}) {
            Ok(_) => Ok(File::open(&out).unwrap()),
            Err(error) => {
                assert_eq!(std::fs::read(&out).unwrap(), b"precious", "{error}");
                let left = std::fs::read_dir(self.path())
                    .unwrap()
                    .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
                assert_eq!(left.count(), 0, "a temporary file was left behind");
                Err(error.to_string())
            }
        }
    }

    fn refused(&self, because: &str) {
        let error = self.import().map(|_| ()).unwrap_err();
        assert!(error.contains(because), "`{error}` does not say `{because}`");
    }
}

type Tensor = (Dtype, Vec<usize>, Vec<u8>);

fn read_tensors(path: &Path) -> BTreeMap<String, Tensor> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter().map(|(name, t)| (name.to_string(), (t.dtype(), t.shape().to_vec(), t.data().to_vec()))).collect()
}

fn write_tensors<'a>(path: &Path, tensors: impl IntoIterator<Item = (&'a String, &'a Tensor)>) {
    let views = tensors
        .into_iter()
        .map(|(name, (dtype, shape, data))| (name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    std::fs::write(path, serialize(views, None).unwrap()).unwrap();
}

#[test]
fn what_the_engine_cannot_honour_is_refused_by_name() {
    for (case, key, value, because) in [
        ("llama-untied", "architectures", json!(["MistralForCausalLM"]), "architecture `MistralForCausalLM`"),
        ("llama-untied", "architectures", json!([]), "`architectures` names no network"),
        ("llama-untied", "attention_bias", json!(true), "`attention_bias`"),
        ("llama-untied", "hidden_act", json!("gelu"), "`hidden_act` is \"gelu\""),
        ("llama-untied", "quantization_config", json!({"quant_method": "gptq"}), "quantization `gptq`"),
        ("llama-untied", "rope_parameters", json!({"rope_type": "yarn", "factor": 4.0}), "rope type `yarn`"),
        ("llama-scaled", "rope_scaling", json!({"type": "dynamic", "factor": 2.0}), "rope type `dynamic`"),
        ("llama-scaled", "rope_scaling", json!({"rope_type": "llama3", "factor": 8.0}), "no `low_freq_factor`"),
        ("qwen3-tied", "use_sliding_window", json!(true), "`use_sliding_window`"),
        ("qwen3-tied", "partial_rotary_factor", json!(0.5), "`partial_rotary_factor` 0.5"),
        ("gemma3", "attn_logit_softcapping", json!(50.0), "`attn_logit_softcapping`"),
        ("llama-untied", "hidden_size", json!(-1), "`hidden_size` is -1"),
        ("llama-untied", "num_hidden_layers", json!(1e30), "`num_hidden_layers`"),
        ("llama-untied", "rms_norm_eps", json!("small"), "`rms_norm_eps` is \"small\""),
        ("llama-untied", "num_key_value_heads", json!(2), "5 heads do not share 2"),
        ("falcon-e", "quantization_config", json!({"quant_method": "bitnet", "use_rms_norm": true}), "`use_rms_norm`"),
        (
            "falcon-e",
            "quantization_config",
            json!({"quant_method": "bitnet", "linear_class": "bitlinear", "quantization_mode": "online"}),
            "linear class `bitlinear` with quantization mode `online`",
        ),
    ] {
        Copy::of(case).set(key, value).refused(because);
    }
}

#[test]
fn tensors_must_fit_the_network() {
    let name = "model.layers.1.mlp.up_proj.weight";
    let llama = || Copy::of("llama-untied");
    llama().tensors(|t| drop(t.remove(name))).refused(&format!("tensor `{name}` is missing"));
    llama().tensors(|t| drop(t.remove("lm_head.weight"))).refused("tensor `lm_head.weight` is missing");
    llama()
        .tensors(|t| {
            let bias = (Dtype::F32, vec![40], vec![0; 160]);
            t.insert("model.layers.0.self_attn.q_proj.bias".into(), bias);
        })
        .refused("`model.layers.0.self_attn.q_proj.bias` has no place in a `llama` network");
    llama().set("intermediate_size", json!(73)).refused("has the shape [72, 40], not [73, 40]");
    llama().tensors(|t| t.get_mut(name).unwrap().0 = Dtype::I32).refused(&format!("`{name}` has the data type I32"));
    llama().set("vocab_size", json!(132)).refused("`model.embed_tokens.weight` has the shape [131, 40], not [132, 40]");
}

#[test]
fn ternary_tensors_must_be_whole() {
    let name = "model.layers.0.mlp.up_proj.weight";
    let falcon = || Copy::of("falcon-e");
    falcon().tensors(|t| drop(t.remove(&format!("{name}_scale")))).refused("up_proj.weight_scale` is missing");
    falcon().tensors(|t| t.get_mut(name).unwrap().2[5] = 0xFF).refused("has the code 3 at row 0, column 5");
    falcon()
        .tensors(|t| t.get_mut(&format!("{name}_scale")).unwrap().2 = vec![0, 0])
        .refused("is 0, not a positive scale");
    falcon()
        .tensors(|t| t.get_mut(name).unwrap().1 = vec![32, 256])
        .refused("has the shape [32, 256]; [64, 128] holds");
    // Without the declaration they are no weights at all.
    falcon().set("quantization_config", json!(null)).refused("has the shape");
}

/// transformers also stores codes that are not packed, as floats.
#[test]
fn codes_stored_as_floats_are_read_too() {
    let folder = Copy::of("bitnet-packed");
    let want = folder.import().unwrap();
    let unpacked = Copy::of("bitnet-packed").tensors(|tensors| {
        for (dtype, shape, data) in tensors.values_mut().filter(|t| t.0 == Dtype::U8) {
            let codes = (0..4).flat_map(|slot| data.iter().map(move |b| f32::from(b >> (2 * slot) & 3) - 1.0));
            *data = codes.flat_map(|c| half::bf16::from_f32(c).to_le_bytes()).collect();
            (*dtype, shape[0]) = (Dtype::BF16, shape[0] * 4);
        }
    });
    let got = unpacked.import().unwrap();
    for tensor in want.tensors() {
        assert!(got.bytes(got.tensor(&tensor.name).unwrap())[..] == want.bytes(tensor)[..], "{}", tensor.name);
    }
    unpacked
        .tensors(|t| t.get_mut("model.layers.0.mlp.up_proj.weight").unwrap().2[..2].copy_from_slice(&[0, 0x40]))
        .refused("has the value 2 beside a scale");
}

#[test]
fn values_that_half_precision_cannot_hold_are_refused() {
    let folder = Copy::of("llama-untied").tensors(|t| {
        let weight = t.get_mut("model.layers.0.mlp.up_proj.weight").unwrap();
        weight.2[..4].copy_from_slice(&70_000.0f32.to_le_bytes());
    });
    let out = folder.path().join("out.gguf");
    let options = Options { floats: Floats::F16, name: None };
    let error = import(folder.path(), &out, &options, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("up_proj.weight` has the value 70000, which F16 cannot hold"), "{error}");
    assert!(!out.exists());
}

#[test]
fn shards_are_joined_by_their_index() {
    let whole = Copy::of("qwen3-untied");
    let want = whole.import().unwrap();
    let tensors = read_tensors(&whole.path().join("model.safetensors"));
    let (first, second): (Vec<_>, Vec<_>) = tensors.iter().partition(|(name, _)| name.contains("layers.0"));
    write_tensors(&whole.path().join("model-00001-of-00002.safetensors"), first.clone());
    write_tensors(&whole.path().join("model-00002-of-00002.safetensors"), second.clone());
    let place = |tensors: &[(&String, &Tensor)], file: &str| {
        tensors.iter().map(|(name, _)| ((*name).clone(), json!(file))).collect::<Vec<_>>()
    };
    let mut map = place(&first, "model-00001-of-00002.safetensors");
    map.extend(place(&second, "model-00002-of-00002.safetensors"));
    let index = whole.path().join("model.safetensors.index.json");
    let write_index = |map: Vec<(String, Json)>| {
        let map: serde_json::Map<String, Json> = map.into_iter().collect();
        std::fs::write(&index, json!({ "metadata": {}, "weight_map": map }).to_string()).unwrap();
    };
    write_index(map.clone());
    let got = whole.import().unwrap();
    assert_eq!(got.tensors().len(), want.tensors().len());
    for tensor in want.tensors() {
        assert!(got.bytes(got.tensor(&tensor.name).unwrap())[..] == want.bytes(tensor)[..], "{}", tensor.name);
    }

    map[0].1 = json!("../model.safetensors");
    write_index(map.clone());
    whole.refused("not a safetensors file of this folder");
    map[0].1 = json!("model-00003-of-00003.safetensors");
    write_index(map);
    whole.refused("model-00003-of-00003.safetensors: No such file");
}

#[test]
fn other_folders_are_refused_with_what_they_are() {
    let empty = temporary();
    let refused = |path: &Path, because: &str| {
        let error = import(path, &empty.path().join("out.gguf"), &Options::default(), &mut |_| {}).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
        assert!(error.to_string().contains(because), "`{error}` does not say `{because}`");
    };
    refused(empty.path(), "has no config.json");
    refused(&folder("gemma3").join("config.json"), "is not a folder");
    let adapter = json!({"peft_type": "LORA", "r": 16, "base_model_name_or_path": "tiiuae/Falcon-E-3B-Instruct"});
    std::fs::write(empty.path().join("adapter_config.json"), adapter.to_string()).unwrap();
    refused(empty.path(), "is a PEFT adapter (type LORA, rank 16, for the base tiiuae/Falcon-E-3B-Instruct)");
    std::fs::write(empty.path().join("config.json"), "{}").unwrap();
    refused(empty.path(), "has neither model.safetensors nor");
    std::fs::write(empty.path().join("pytorch_model.bin"), "").unwrap();
    refused(empty.path(), "pickled weights");
    let no_tokenizer = Copy::of("gemma3");
    std::fs::remove_file(no_tokenizer.path().join("tokenizer.json")).unwrap();
    refused(no_tokenizer.path(), "has no tokenizer.json");
}

#[test]
fn broken_files_are_errors_that_name_them() {
    let truncated = Copy::of("gemma3");
    let path = truncated.path().join("model.safetensors");
    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 7, 8, 100, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        truncated.refused("model.safetensors: not a valid safetensors file");
    }
    let mut hostile = bytes.clone();
    hostile[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    std::fs::write(&path, &hostile).unwrap();
    truncated.refused("model.safetensors: not a valid safetensors file");
    let config = Copy::of("gemma3");
    std::fs::write(config.path().join("config.json"), "{\"architectures\": [").unwrap();
    config.refused("config.json: EOF");
    let deep = Copy::of("gemma3");
    std::fs::write(deep.path().join("config.json"), format!("{{\"a\":{}1{}}}", "[".repeat(9999), "]".repeat(9999)))
        .unwrap();
    deep.refused("recursion limit");
}

/// Gemma 3 from 4B on is a part of a multimodal folder, with `text_config` and a prefix.
#[test]
fn the_language_model_of_a_multimodal_folder_is_imported() {
    let want = Copy::of("gemma3").import().unwrap();
    let multimodal = Copy::of("gemma3")
        .config(|config| {
            let text = config.take();
            *config = json!({"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": text});
        })
        .tensors(|tensors| {
            *tensors = std::mem::take(tensors).into_iter().map(|(name, t)| (format!("language_model.{name}"), t)).collect();
            let vision = (Dtype::F32, vec![2], vec![0; 8]);
            tensors.insert("vision_tower.vision_model.embeddings.patch_embedding.weight".into(), vision);
        });
    let got = multimodal.import().unwrap();
    assert_eq!(got.tensors().len(), want.tensors().len());
    for tensor in want.tensors() {
        assert!(got.bytes(got.tensor(&tensor.name).unwrap())[..] == want.bytes(tensor)[..], "{}", tensor.name);
    }
}

#[test]
fn unusual_window_patterns_are_written_out() {
    let mut types = vec![json!("full_attention"), json!("sliding_attention")];
    types.resize(7, json!("sliding_attention"));
    let file = Copy::of("gemma3").set("layer_types", json!(types)).import().unwrap();
    let pattern = match file.get("gemma3.attention.sliding_window_pattern") {
        Some(Value::Array(locollm::gguf::Array::Bool(pattern))) => pattern.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(pattern, [false, true, true, true, true, true, true]);
    assert_eq!(locollm::model::Config::from_gguf(&file).unwrap().windowed, pattern);
    Copy::of("gemma3").set("layer_types", json!(["sliding_attention"])).refused("`layer_types` is not a list of 7");
}

#[test]
fn a_tied_models_stored_head_is_left_out() {
    let file = Copy::of("smollm2")
        .tensors(|t| {
            let embedding = t["model.embed_tokens.weight"].clone();
            t.insert("lm_head.weight".into(), embedding);
        })
        .import()
        .unwrap();
    assert!(file.tensor("output.weight").is_none());
}
