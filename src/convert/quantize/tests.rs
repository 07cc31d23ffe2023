use super::*;
use crate::gguf::Value;
use crate::quant;

/// A llama of `layers` layers with rows of 256 values (512 in `ffn_down`), values from a fixed sequence.
struct Model {
    folder: tempfile::TempDir,
    values: Box<dyn Fn(usize) -> f32>,
    layers: usize,
    cols: usize,
    head: bool,
}

impl Model {
    fn new(layers: usize) -> Model {
        // Deterministic, spread over −1..1, no two alike.
        let values = Box::new(|i: usize| ((i as f32 * 0.618_034).fract() - 0.5) * 2.0);
        Model { folder: tempfile::tempdir().unwrap(), values, layers, cols: 256, head: false }
    }

    fn file(&self) -> File {
        let path = self.folder.path().join("in.gguf");
        let mut tensors = vec![("token_embd.weight".to_owned(), vec![self.cols, 8])];
        if self.head {
            tensors.push(("output.weight".to_owned(), vec![self.cols, 8]));
        }
        tensors.push(("output_norm.weight".to_owned(), vec![self.cols]));
        // Layers in reverse: the rules count layers, not places in the file.
        for i in (0..self.layers).rev() {
            for (name, cols) in [("attn_q", 1), ("attn_v", 1), ("ffn_down", 2)] {
                tensors.push((format!("blk.{i}.{name}.weight"), vec![self.cols * cols, 2]));
            }
        }
        let mut writer = Writer::new(&path);
        writer.metadata("general.architecture", "llama");
        writer.metadata("llama.block_count", self.layers as u32);
        writer.metadata("general.file_type", 0u32);
        for (name, dims) in &tensors {
            writer.tensor(name, dims, Format::F32);
        }
        let mut body = writer.begin().unwrap();
        for (name, dims) in &tensors {
            let n = dims.iter().product();
            let bytes: Vec<u8> = (0..n).flat_map(|i| (self.values)(i).to_le_bytes()).collect();
            body.write_tensor(name, &bytes).unwrap();
        }
        body.finish().unwrap();
        File::open(&path).unwrap()
    }

    fn quantized(&self, options: &Options) -> Result<(File, Vec<Done>), Error> {
        let path = self.folder.path().join("out.gguf");
        let done = quantize(&self.file(), &path, options, &mut |_| ())?;
        Ok((File::open(&path)?, done))
    }
}

fn options(target: Target) -> Options {
    let threads = NonZeroUsize::new(2).unwrap();
    Options { target, embed: None, ternarize: Ternarize::Refuse, threads }
}

fn values(file: &File, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap();
    let mut out = vec![0.0; tensor.values()];
    quant::dequantize(tensor.format, &file.bytes(tensor), &mut out);
    out
}

/// Layers whose tensor `name` has `format`.
fn layers_with(file: &File, name: &str, format: Format) -> Vec<usize> {
    let has = |i: &usize| file.tensor(&format!("blk.{i}.{name}.weight")).is_some_and(|t| t.format == format);
    (0..100).filter(has).collect()
}

#[test]
fn q4_k_m_spends_more_bits_on_the_layers_that_llama_cpp_chooses() {
    // The lists are from files that llama.cpp wrote for models of these depths.
    for (layers, more) in [(9, vec![0, 3, 6, 7, 8]), (16, vec![0, 1, 4, 7, 10, 13, 14, 15])] {
        let (file, _) = Model::new(layers).quantized(&options(Target::Q4_K_M)).unwrap();
        assert_eq!(layers_with(&file, "attn_v", Format::Q6_K), more);
        assert_eq!(layers_with(&file, "ffn_down", Format::Q6_K), more);
        assert_eq!(layers_with(&file, "attn_q", Format::Q4_K).len(), layers);
        assert_eq!(file.tensor("output_norm.weight").unwrap().format, Format::F32);
        assert_eq!(file.get("general.file_type"), Some(&Value::U32(15)));
        assert_eq!(file.u64("general.quantization_version").unwrap(), Some(2));
    }
}

#[test]
fn the_head_has_six_bits_whether_it_is_the_embedding_or_not() {
    let format = |f: &File, name: &str| f.tensor(name).unwrap().format;
    let mut model = Model::new(1);
    let (tied, _) = model.quantized(&options(Target::Q4_K_M)).unwrap();
    assert_eq!(format(&tied, "token_embd.weight"), Format::Q6_K);
    model.head = true;
    let (untied, _) = model.quantized(&options(Target::Q4_K_M)).unwrap();
    assert_eq!(format(&untied, "token_embd.weight"), Format::Q4_K);
    assert_eq!(format(&untied, "output.weight"), Format::Q6_K);
}

#[test]
fn rows_that_are_not_whole_blocks_take_a_larger_format_and_say_so() {
    let mut model = Model::new(1);
    model.cols = 96;
    let (file, done) = model.quantized(&options(Target::Q4_K_M)).unwrap();
    assert_eq!(layers_with(&file, "attn_q", Format::Q8_0), [0]);
    let note = |name: &str| done.iter().find(|d| d.name == name).unwrap().note.clone();
    let why = "Q8_0 and not Q4_K: rows of 96 values are not whole blocks of 256";
    assert_eq!(note("blk.0.attn_q.weight").as_deref(), Some(why));
    model.cols = 40;
    let (file, _) = model.quantized(&options(Target::Q8_0)).unwrap();
    assert_eq!(layers_with(&file, "attn_q", Format::F16), [0]);
}

#[test]
fn threads_do_not_change_the_file() {
    let mut model = Model::new(2);
    model.cols = 1 << 14; // several chunks
    let bytes = |threads| {
        let options = Options { threads: NonZeroUsize::new(threads).unwrap(), ..options(Target::Q4_K_M) };
        model.quantized(&options).unwrap();
        std::fs::read(model.folder.path().join("out.gguf")).unwrap()
    };
    assert!(bytes(1) == bytes(3));
}

#[test]
fn ternary_targets_refuse_weights_that_are_not_ternary() {
    let model = Model::new(1);
    for target in [Target::TQ1_0, Target::TQ2_0, Target::I2_S] {
        let message = model.quantized(&options(target)).map(|_| ()).unwrap_err().to_string();
        assert!(message.contains("tensor `blk.0.attn_q.weight` is not ternary"), "{message}");
        assert!(!model.folder.path().join("out.gguf").exists());
    }
}

#[test]
fn ternary_weights_stay_exactly_what_they_are() {
    let mut model = Model::new(1);
    let scale = 0.034_515_38; // exact in half precision
    model.values = Box::new(move |i| [0.0, scale, -scale, scale, 0.0][i % 5]);
    let before = values(&model.file(), "blk.0.ffn_down.weight");
    for target in [Target::TQ1_0, Target::TQ2_0, Target::I2_S] {
        let (file, _) = model.quantized(&options(target)).unwrap();
        assert_eq!(values(&file, "blk.0.ffn_down.weight"), before, "{target:?}");
        assert_eq!(layers_with(&file, "ffn_down", target.format()), [0]);
        assert_eq!(file.tensor("token_embd.weight").unwrap().format, Format::F16);
    }
}

#[test]
fn absmean_rounding_gives_minus_s_zero_and_s() {
    let model = Model::new(1);
    let options = Options { ternarize: Ternarize::Absmean, embed: Some(EmbedFormat::Q6_K), ..options(Target::I2_S) };
    let (file, _) = model.quantized(&options).unwrap();
    assert_eq!(file.tensor("token_embd.weight").unwrap().format, Format::Q6_K);
    let before = values(&model.file(), "blk.0.attn_q.weight");
    let mean = before.iter().map(|v| v.abs()).sum::<f32>() / before.len() as f32;
    for (w, q) in before.iter().zip(values(&file, "blk.0.attn_q.weight")) {
        let expected = if w.abs() > mean / 2.0 { w.signum() * mean } else { 0.0 };
        assert!((q - expected).abs() < 1e-5, "{w} became {q}, not {expected}");
    }
}

#[test]
fn what_is_not_a_number_is_refused_with_its_place() {
    let mut model = Model::new(1);
    model.values = Box::new(|i| if i == 300 { f32::NAN } else { 0.5 });
    let message = model.quantized(&options(Target::Q8_0)).map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("tensor `token_embd.weight` has the value NaN at row 1, column 44"), "{message}");
}
