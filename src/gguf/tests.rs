//! A file that is right in everything but one thing must be refused for that thing.

use super::*;

/// Makes GGUF bytes field by field, without the writer under test.
struct Raw(Vec<u8>);

impl Raw {
    fn new(tensors: u64, keys: u64) -> Raw {
        Raw(b"GGUF".to_vec()).u32(3).u64(tensors).u64(keys)
    }
    fn u32(mut self, v: u32) -> Raw {
        self.0.extend(v.to_le_bytes());
        self
    }
    fn u64(mut self, v: u64) -> Raw {
        self.0.extend(v.to_le_bytes());
        self
    }
    fn bytes(mut self, v: &[u8]) -> Raw {
        self.0.extend(v);
        self
    }
    fn string(self, v: &str) -> Raw {
        self.u64(v.len() as u64).bytes(v.as_bytes())
    }
    fn entry(self, name: &str, dims: &[u64], kind: u32, offset: u64) -> Raw {
        let this = self.string(name).u32(dims.len() as u32);
        dims.iter().fold(this, |this, &d| this.u64(d)).u32(kind).u64(offset)
    }
    /// Pads to 32 and adds `n` bytes of tensor data.
    fn data(mut self, n: usize) -> Raw {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start + n, 7);
        self
    }
    fn open(self) -> Result<File, Error> {
        File::from_bytes("raw", Bytes::new(self.0))
    }
    #[track_caller]
    fn refused(self, because: &str) {
        let message = self.open().map(|_| ()).expect_err("a bad file was taken").to_string();
        assert!(message.contains(because), "`{message}` does not say `{because}`");
        assert!(message.starts_with("raw: "), "`{message}` does not name the file");
    }
}

fn good() -> Raw {
    Raw::new(2, 3)
        .string("general.architecture")
        .u32(8)
        .string("llama")
        .string("tokenizer.ggml.add_bos_token")
        .u32(7)
        .bytes(&[1])
        .string("tokens")
        .u32(9)
        .u32(8)
        .u64(2)
        .string("a")
        .string("b")
        .entry("x", &[4, 2], 0, 0)
        .entry("y", &[32], 8, 32)
        .data(32 + 34)
}

#[test]
fn a_good_file_gives_metadata_and_tensors() {
    let file = good().open().unwrap();
    assert_eq!(file.str("general.architecture").unwrap(), Some("llama"));
    assert_eq!(file.bool("tokenizer.ggml.add_bos_token").unwrap(), Some(true));
    assert_eq!(file.strings("tokens").unwrap().unwrap(), ["a", "b"]);
    assert_eq!(file.u64("missing").unwrap(), None);
    let y = file.tensor("y").unwrap();
    assert_eq!((y.dims.as_slice(), y.format), ([32].as_slice(), Format::Q8_0));
    assert_eq!(*file.bytes(y), [7; 34]);
}

/// Two tensors of a type, with the bytes that each takes.
fn pair(kind: u32, bytes: usize) -> Raw {
    let second = bytes.next_multiple_of(32);
    Raw::new(2, 0).entry("x", &[256, 16], kind, 0).entry("y", &[256, 16], kind, second as u64).data(second + bytes)
}

#[test]
fn every_proper_prefix_of_a_good_file_is_refused() {
    // 4096 values of each type; `Q2_0` (42) in groups of 64 and of 128.
    let of_4096 = [
        (0, 16384),
        (1, 8192),
        (30, 8192),
        (2, 2304),
        (8, 4352),
        (12, 2304),
        (13, 2816),
        (14, 3360),
        (34, 864),
        (35, 1056),
        (36, 1056),
        (42, 1152),
        (42, 1088),
    ];
    for whole in of_4096.map(|(kind, bytes)| pair(kind, bytes)).into_iter().chain([good()]) {
        let whole = whole.0;
        File::from_bytes("whole", Bytes::new(whole.clone())).unwrap();
        let shared = Bytes::new(whole.clone());
        for n in 0..whole.len() {
            let cut = File::from_bytes("cut", shared.slice(0..n));
            assert!(cut.is_err(), "a file cut to {n} of {} bytes was taken", whole.len());
        }
    }
}

#[test]
fn any_changed_byte_gives_a_file_or_an_error_and_no_panic() {
    let whole = good().0;
    for i in 0..whole.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[i] = value;
            if let Ok(file) = File::from_bytes("changed", Bytes::new(bytes)) {
                file.tensors().iter().for_each(|t| assert!(!file.bytes(t).is_empty()));
            }
        }
    }
}

#[test]
fn version_1_has_short_lengths() {
    let file = Raw(b"GGUF".to_vec()).u32(1).u32(1).u32(1).u32(1).bytes(b"k").u32(4).u32(5);
    let file = file.u32(1).bytes(b"x").u32(1).u32(4).u32(0).u64(0).data(16).open().unwrap();
    assert_eq!(file.u64("k").unwrap(), Some(5));
    assert_eq!(file.bytes(&file.tensors()[0]).len(), 16);
}

#[test]
fn other_files_and_versions_are_named() {
    Raw(b"GGML\x03\0\0\0".to_vec()).refused("not a GGUF file");
    Raw(b"GGUF\0\0\0\x03".to_vec()).refused("big-endian GGUF file (version 3)");
    Raw(b"GGUF".to_vec()).u32(4).refused("GGUF version 4 is not supported");
    Raw(Vec::new()).refused("the file ends inside the magic number (4 bytes needed, 0 left) at byte 0");
}

#[test]
fn absurd_counts_and_lengths_are_refused_before_memory_is_taken() {
    Raw::new(u64::MAX, 0).refused("tensor count");
    Raw::new(1 << 40, 0).refused("needs more than the 0 bytes left");
    Raw::new(0, 1 << 40).refused("metadata count");
    Raw::new(0, 1).u64(u64::MAX).data(64).refused("metadata key 0");
    Raw::new(0, 1).string("k").u32(8).u64(1 << 50).refused("the file ends inside metadata key `k`");
    for kind in [0, 4, 7, 8, 12] {
        Raw::new(0, 1).string("k").u32(9).u32(kind).u64(1 << 40).refused("metadata key `k` needs more than");
        Raw::new(0, 1).string("k").u32(9).u32(kind).u64(u64::MAX).refused("metadata key `k` needs more than");
    }
}

#[test]
fn many_tiny_entries_take_memory_within_a_small_factor_of_the_file() {
    let keys = (0..50_000).fold(Raw::new(0, 50_000), |raw, i| raw.string(&format!("{i:x}")).u32(0).bytes(&[0]));
    let entries = (0..50_000u64)
        .fold(Raw::new(50_000, 0), |raw, i| raw.string(&format!("{i:x}")).u32(1).u64(1).u32(0).u64(32 * i));
    let strings = (0..50_000).fold(Raw::new(0, 1).string("k").u32(9).u32(8).u64(50_000), |raw, _| raw.string("a"));
    for (what, raw) in [("keys", keys), ("tensors", entries.data(32 * 50_000)), ("strings", strings)] {
        let data = if what == "tensors" { 32 * 50_000 } else { 0 };
        let (bytes, size) = (Bytes::new(raw.0.clone()), (raw.0.len() - data) as u64);
        let used = allocation_counter::measure(|| drop(File::from_bytes("many", bytes).unwrap())).bytes_max;
        assert!(used < 8 * size, "{what}: {used} bytes for {size}");
    }
}

#[test]
fn absurdly_many_keys_and_tensors_are_refused() {
    let keys = (1 << 16) + 1;
    Raw::new(0, keys).data(13 * keys as usize).refused("65537 metadata keys, at most 65536 are good");
    let tensors = (1 << 20) + 1;
    Raw::new(tensors, 0).data(40 * tensors as usize).refused("1048577 tensors, at most 1048576 are good");
}

#[test]
fn bad_metadata_is_refused() {
    Raw::new(0, 1).string("").u32(7).bytes(&[0]).refused("metadata key 0 has 0 bytes");
    Raw::new(0, 1)
        .string("\x1b[2J")
        .u32(7)
        .bytes(&[0])
        .refused(r#"metadata key 0 has control characters: "\u{1b}[2J""#);
    Raw::new(0, 1).u64(2).bytes(b"\xff\xfe").u32(7).bytes(&[0; 9]).refused("not valid UTF-8 at byte 32");
    Raw::new(0, 1).string("k").u32(8).u64(1).bytes(&[0xff]).refused("metadata key `k` is not valid UTF-8");
    Raw::new(0, 1).string("k").u32(7).bytes(&[2]).refused("boolean of value 2");
    Raw::new(0, 1).string("k").u32(13).u64(0).refused("metadata key `k` has the unknown type 13");
    Raw::new(0, 1).string("k").u32(9).u32(9).u64(0).refused("array of arrays");
    Raw::new(0, 1).string("k").u32(9).u32(77).u64(0).refused("array of the unknown type 77");
    let twice = Raw::new(0, 2).string("k").u32(0).bytes(&[0]).string("k").u32(0).bytes(&[0]);
    twice.refused("metadata key `k` is there twice");
    for bad in [0, 1, 24, 1 << 17] {
        Raw::new(0, 1).string("general.alignment").u32(4).u32(bad).refused("not a power of two");
    }
    Raw::new(0, 1).string("general.alignment").u32(10).u64(32).refused("is u64, not u32");
}

#[test]
fn bad_tensor_entries_are_refused() {
    let one = |dims: &[u64], kind, offset| Raw::new(1, 0).entry("x", dims, kind, offset).data(256);
    one(&[], 0, 0).refused("tensor `x` has rank 0");
    one(&[1; 5], 0, 0).refused("tensor `x` has rank 5");
    one(&[4, 0], 0, 0).refused("absurd dimension 0");
    one(&[1 << 40, 1 << 40], 0, 0).refused("absurd dimension");
    one(&[1 << 62], 0, 0).refused("overlaps");
    one(&[4], 26, 0).refused("tensor `x` has type 26 (I32), which is not supported");
    one(&[4], 99, 0).refused("tensor `x` has type 99, which is not supported");
    one(&[48], 8, 0).refused("rows of 48 values, Q8_0 needs a multiple of 32");
    one(&[4], 0, 8).refused("offset 8, not a multiple of 32");
    one(&[4], 0, 256).refused("past the end of the file");
    one(&[4], 0, u64::MAX - 31).refused("past the end of the file");
    one(&[65], 0, 0).refused("overlaps the next one or the end of the file");
    Raw::new(2, 0).entry("x", &[4], 0, 0).entry("x", &[4], 0, 32).data(64).refused("tensor `x` is there twice");
    Raw::new(2, 0)
        .entry("x", &[9], 0, 0)
        .entry("y", &[4], 0, 32)
        .data(64)
        .refused("tensor `x` (9 values of F32) overlaps");
    Raw::new(2, 0)
        .entry("x", &[4], 0, 32)
        .entry("y", &[9], 0, 0)
        .data(64)
        .refused("tensor `y` (9 values of F32) overlaps");
    Raw::new(2, 0).entry("x", &[4], 0, 0).entry("y", &[4], 0, 0).data(64).refused("overlaps");
}

#[test]
fn q2_0_group_size_follows_from_the_room() {
    // 4096 values: 1152 bytes in groups of 64, 1088 in groups of 128. `small` alone could be either.
    let file = |room: usize| {
        let raw = Raw::new(2, 0).entry("big", &[128, 32], 42, 0).entry("small", &[128], 42, room as u64);
        raw.data(room + 64)
    };
    let formats = |f: &File| f.tensors().iter().map(|t| t.format).collect::<Vec<_>>();
    assert_eq!(formats(&file(1152).open().unwrap()), [Format::Q2_0; 2]);
    let of_128 = file(1088).open().unwrap();
    assert_eq!(formats(&of_128), [Format::Q2_0_G128; 2]);
    assert_eq!(of_128.bytes(&of_128.tensors()[0]).len(), 1088);
    file(1120).refused("tensor `big` has 1120 bytes");
    Raw::new(1, 0).entry("x", &[128, 32], 42, 0).data(1087).refused("tensor `x` has 1087 bytes");
}

#[test]
fn a_cut_off_tail_does_not_turn_groups_of_64_into_groups_of_128() {
    let mut raw = pair(42, 1152);
    raw.0.truncate(raw.0.len() - 40);
    raw.refused("tensor `y` has 1112 bytes, but 4096 values of Q2_0");
}

#[test]
fn q2_0_tensors_that_a_wide_alignment_makes_ambiguous_are_refused() {
    // 1152 or 1088 bytes: with an alignment of 2048 both take 2048.
    let two = |align: u32, room: usize| {
        let raw = Raw::new(2, 1).string("general.alignment").u32(4).u32(align);
        let mut raw = raw.entry("x", &[128, 32], 42, 0).entry("y", &[128, 32], 42, room as u64);
        raw.0.resize(raw.0.len().next_multiple_of(align as usize) + 2 * room, 7);
        raw
    };
    two(2048, 2048).refused("tensor `x` could have Q2_0 groups of 64 or of 128");
    assert_eq!(two(64, 1088).open().unwrap().tensors()[0].format, Format::Q2_0_G128);
    assert_eq!(two(64, 1152).open().unwrap().tensors()[0].format, Format::Q2_0);
}

#[test]
fn i2_s_holds_a_scale_after_the_codes() {
    let file = Raw::new(1, 0).entry("x", &[128, 2], 36, 0).data(96).open().unwrap();
    assert_eq!(file.bytes(&file.tensors()[0]).len(), 256 / 4 + 32);
    Raw::new(1, 0).entry("x", &[128, 2], 36, 0).data(95).refused("overlaps");
}

#[test]
fn getters_convert_widths_and_name_wrong_types() {
    let file = Raw::new(0, 4).string("small").u32(0).bytes(&[200]).string("negative").u32(5).u32(u32::MAX);
    let file = file.string("double").u32(12).u64(2.5f64.to_bits()).string("ints").u32(9).u32(10).u64(1).u64(1 << 63);
    let file = file.open().unwrap();
    assert_eq!(file.u64("small").unwrap(), Some(200));
    assert_eq!(file.f32("double").unwrap(), Some(2.5));
    let message = |r: Result<_, Error>| r.map(|_: Option<u64>| ()).unwrap_err().to_string();
    assert_eq!(message(file.u64("negative")), "raw: metadata key `negative` is -1, must not be negative");
    assert_eq!(message(file.u64("double")), "raw: metadata key `double` is of type f64, must be an unsigned integer");
    assert_eq!(
        message(file.ints("ints").map(|_| None)),
        "raw: metadata key `ints` is of type array of u64, must be an array of integers below 2^63"
    );
}

#[test]
fn bytes_outlive_the_file() {
    let bytes = {
        let file = good().open().unwrap();
        file.bytes(file.tensor("x").unwrap())
    };
    assert_eq!(bytes.len(), 32);
}

#[test]
fn what_the_writer_writes_is_what_the_reader_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("all.gguf");
    let values: Vec<(&str, Value)> = vec![
        ("u8", 1u8.into()),
        ("i8", (-1i8).into()),
        ("u16", 2u16.into()),
        ("i16", (-2i16).into()),
        ("u32", 3u32.into()),
        ("i32", (-3i32).into()),
        ("u64", u64::MAX.into()),
        ("i64", i64::MIN.into()),
        ("f32", 0.1f32.into()),
        ("f64", 0.1f64.into()),
        ("bool", true.into()),
        ("string", "Grüße".into()),
        ("u8s", vec![1u8, 2].into()),
        ("i8s", vec![-1i8].into()),
        ("u16s", vec![1u16].into()),
        ("i16s", vec![-1i16].into()),
        ("u32s", vec![1u32].into()),
        ("i32s", vec![-1i32].into()),
        ("u64s", vec![1u64].into()),
        ("i64s", vec![-1i64].into()),
        ("f32s", vec![1.5f32].into()),
        ("f64s", vec![1.5f64].into()),
        ("bools", vec![true, false].into()),
        ("strings", vec![String::new(), "b".to_owned()].into()),
        ("none", Vec::<String>::new().into()),
    ];
    let mut writer = Writer::new(&path);
    for (key, value) in &values {
        writer.metadata(key, value.clone());
    }
    writer.tensor("odd", &[3], Format::F32);
    writer.tensor("blocks", &[32, 2], Format::Q8_0);
    let mut body = writer.begin().unwrap();
    body.write_tensor("odd", &[1; 12]).unwrap();
    body.write_part(&[2; 30]).unwrap();
    body.write_part(&[3; 38]).unwrap();
    assert!(!path.exists(), "the file has its name before it is complete");
    body.finish().unwrap();

    let file = File::open(&path).unwrap();
    let read: Vec<(&str, Value)> = file.metadata().iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
    assert_eq!(read, values);
    assert_eq!(*file.bytes(file.tensor("odd").unwrap()), [1; 12]);
    assert_eq!(file.bytes(file.tensor("blocks").unwrap())[29..31], [2, 3]);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "a temporary file is left");
}

#[test]
fn the_writer_leaves_nothing_behind_unless_it_finishes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gguf");
    std::fs::write(&path, "old").unwrap();
    let mut writer = Writer::new(&path);
    writer.tensor("x", &[4], Format::F32);
    writer.tensor("y", &[4], Format::F32);
    let mut body = writer.begin().unwrap();
    let message = |r: Result<(), Error>| r.unwrap_err().to_string();
    assert!(message(body.write_tensor("y", &[0; 16])).contains("tensor `y` is not next: `x` is"));
    assert!(message(body.write_tensor("x", &[0; 15])).contains("tensor `x` has 16 bytes, 15 were given"));
    assert!(message(body.write_part(&[0; 17])).contains("tensor `x` lacks 16 bytes, 17 were given"));
    body.write_tensor("x", &[0; 16]).unwrap();
    assert!(message(body.finish()).contains("tensor `y` was declared and not written"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "a temporary file is left");
}

#[test]
fn the_writer_refuses_what_no_reader_would_take() {
    let refused = |declare: &dyn Fn(&mut Writer), because: &str| {
        let mut writer = Writer::new(std::path::Path::new("nowhere/x.gguf"));
        declare(&mut writer);
        let message = writer.begin().map(|_| ()).unwrap_err().to_string();
        assert!(message.contains(because), "`{message}` does not say `{because}`");
    };
    refused(&|w| (0..2).for_each(|_| w.tensor("x", &[4], Format::F32)), "tensor `x` is declared twice");
    refused(&|w| w.tensor("x", &[48], Format::Q8_0), "cannot be Q8_0");
    refused(&|w| w.tensor("x", &[16, 16], Format::Q4_K), "cannot be Q4_K");
    refused(&|w| w.tensor("x", &[4, 0], Format::F32), "none of them 0");
    refused(&|w| w.tensor(&"x".repeat(64), &[4], Format::F32), "name of 64 bytes");
    refused(&|w| w.metadata("general.alignment", 64u32), "key `general.alignment`");
    refused(&|_| (), "nowhere/x.gguf");
}

#[test]
fn missing_files_and_folders_are_named() {
    let message = |p: &str| File::open(Path::new(p)).map(|_| ()).unwrap_err().to_string();
    assert!(message("no/such.gguf").starts_with("no/such.gguf: "));
    assert!(message("/").contains("not a regular file"));
}
