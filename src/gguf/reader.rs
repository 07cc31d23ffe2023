//! Bytes to a validated directory of a file.
//!
//! ```text
//! "GGUF" version n_tensors n_keys | key type value … | name rank dims… type offset … | pad | tensor data
//! ```
//! Counts and lengths are u64, in version 1 u32. A count is never believed before the bytes that
//! it needs at least are seen to be there, so memory stays within a small factor of the file's size (some 5).

use super::index::Index;
use super::value::{Array, Value, id};
use super::{Bytes, Error, Tensor, types};
use crate::quant::Format;
use std::ops::Range;

/// Tensor data starts at a multiple of this unless `general.alignment` says otherwise.
pub(super) const DEFAULT_ALIGNMENT: u32 = 32;
/// What `general.alignment` may be: the specification wants a multiple of 8, and beyond 64 KiB is absurd.
const ALIGNMENTS: Range<u32> = 8..(1 << 16) + 1;
/// The specification's limit on the length of a key; used for tensor names too.
const MAX_NAME: usize = 65_535;
const MAX_RANK: u32 = 4;
/// Real files have less than a hundred metadata keys,
const MAX_KEYS: usize = 1 << 16;
/// and less than ten thousand tensors.
const MAX_TENSORS: usize = 1 << 20;

/// What a file says, checked against its bytes.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) version: u32,
    pub(super) alignment: u32,
    pub(super) metadata: Vec<(String, Value)>,
    pub(super) keys: Index,
    pub(super) tensors: Vec<Tensor>,
    pub(super) names: Index,
}

/// Reads and checks everything but the tensors' values.
pub(super) fn read(file: &str, bytes: &Bytes) -> Result<Directory, Error> {
    let mut r = Reader { file, bytes, at: 0, wide: true };
    if r.take(4, "the magic number")? != b"GGUF" {
        return Err(r.invalid(0, "not a GGUF file (no `GGUF` magic)"));
    }
    let version = r.u32("the version")?;
    match version {
        1 => r.wide = false,
        2 | 3 => {}
        v if (1..=3).contains(&v.swap_bytes()) => {
            return Err(r.invalid(4, format!("a big-endian GGUF file (version {}), not supported", v.swap_bytes())));
        }
        v => return Err(r.invalid(4, format!("GGUF version {v} is not supported, 1 to 3 are"))),
    }
    let tensor_count = r.length("the tensor count")?;
    let key_count = r.length("the metadata count")?;

    let (metadata, keys) = read_metadata(&mut r, key_count)?;
    let alignment = alignment(&r, &metadata, &keys)?;
    let (entries, names) = read_entries(&mut r, tensor_count)?;
    let tensors = place(&r, entries, alignment)?;
    Ok(Directory { version, alignment, metadata, keys, tensors, names })
}

type Metadata = (Vec<(String, Value)>, Index);

fn read_metadata(r: &mut Reader, count: usize) -> Result<Metadata, Error> {
    let smallest = r.length_bytes() + 4 + 1;
    r.expect_room(count, smallest, || format!("the metadata count {count}"))?;
    if count > MAX_KEYS {
        return Err(r.invalid(r.at, format!("{count} metadata keys, at most {MAX_KEYS} are good,")));
    }
    let (mut metadata, mut starts) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for i in 0..count {
        starts.push(r.at);
        let key = r.name(|| format!("metadata key {i}"))?;
        let value = r.value(&key)?;
        metadata.push((key, value));
    }
    let keys = Index::new(count, |i| &metadata[i].0)
        .map_err(|i| r.invalid(starts[i], format!("metadata key `{}` is there twice", metadata[i].0)))?;
    Ok((metadata, keys))
}

fn alignment(r: &Reader, metadata: &[(String, Value)], keys: &Index) -> Result<u32, Error> {
    let key = "general.alignment";
    let Some(i) = keys.find(key, |i| &metadata[i].0) else { return Ok(DEFAULT_ALIGNMENT) };
    match metadata[i].1 {
        Value::U32(a) if a.is_power_of_two() && ALIGNMENTS.contains(&a) => Ok(a),
        Value::U32(a) => Err(r.key(key, format!("is {a}, not a power of two from 8 to 65536"))),
        ref other => Err(r.key(key, format!("is {}, not u32", other.kind()))),
    }
}

/// A tensor's entry before its place is known to be good.
struct Entry {
    name: String,
    dims: Vec<usize>,
    values: usize,
    format: Format,
    /// From the start of the tensor data.
    offset: u64,
    /// Where the entry itself is, for messages.
    at: usize,
}

fn read_entries(r: &mut Reader, count: usize) -> Result<(Vec<Entry>, Index), Error> {
    let smallest = r.length_bytes() + 4 + r.length_bytes() + 4 + 8;
    r.expect_room(count, smallest, || format!("the tensor count {count}"))?;
    if count > MAX_TENSORS {
        return Err(r.invalid(r.at, format!("{count} tensors, at most {MAX_TENSORS} are good,")));
    }
    let mut entries = Vec::with_capacity(count);
    for i in 0..count {
        let at = r.at;
        let name = r.name(|| format!("the name of tensor {i}"))?;
        entries.push(read_entry(r, name, at)?);
    }
    let names = Index::new(count, |i| &entries[i].name)
        .map_err(|i| r.invalid(entries[i].at, format!("tensor `{}` is there twice", entries[i].name)))?;
    Ok((entries, names))
}

fn read_entry(r: &mut Reader, name: String, at: usize) -> Result<Entry, Error> {
    let start = r.at;
    let rank = r.u32("a tensor's rank")?;
    if rank == 0 || rank > MAX_RANK {
        return Err(r.invalid(start, format!("tensor `{name}` has rank {rank}, 1 to {MAX_RANK} are supported")));
    }
    let mut dims = Vec::new();
    let mut values = 1usize;
    for _ in 0..rank {
        let start = r.at;
        let dim = r.length("a tensor's shape")?;
        let product = values.checked_mul(dim).filter(|&v| v != 0 && isize::try_from(v).is_ok());
        values = product.ok_or_else(|| r.invalid(start, format!("tensor `{name}` has an absurd dimension {dim}")))?;
        dims.push(dim);
    }
    let start = r.at;
    let id = r.u32("a tensor's type")?;
    let format = types::format(id).ok_or_else(|| {
        let known = types::unsupported_name(id).map(|n| format!(" ({n})")).unwrap_or_default();
        r.invalid(start, format!("tensor `{name}` has type {id}{known}, which is not supported"))
    })?;
    let start = r.at;
    let offset = r.u64("a tensor's offset")?;
    if !dims[0].is_multiple_of(format.block_len()) {
        let (cols, block) = (dims[0], format.block_len());
        let what = format!("tensor `{name}` has rows of {cols} values, {} needs a multiple of {block}", format.name());
        return Err(r.invalid(start, what));
    }
    Ok(Entry { name, dims, values, format, offset, at })
}

/// Finds each tensor's bytes, and that they lie aligned, inside the file, and apart from each other.
fn place(r: &Reader, entries: Vec<Entry>, alignment: u32) -> Result<Vec<Tensor>, Error> {
    let align = u64::from(alignment);
    let data = (r.at as u64).next_multiple_of(align);
    let end = r.bytes.len() as u64;
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|&i| entries[i].offset);

    let mut starts = vec![0u64; entries.len()];
    for (e, start) in entries.iter().zip(&mut starts) {
        if e.offset % align != 0 {
            let what = format!("tensor `{}` has offset {}, not a multiple of {alignment}", e.name, e.offset);
            return Err(r.invalid(e.at, what));
        }
        *start = data.checked_add(e.offset).filter(|&s| s < end).ok_or_else(|| {
            r.invalid(e.at, format!("tensor `{}` has offset {}, past the end of the file", e.name, e.offset))
        })?;
    }
    // The room a tensor has: up to the next one or the end of the file.
    let mut room = vec![0u64; entries.len()];
    for (n, &i) in order.iter().enumerate() {
        room[i] = order.get(n + 1).map_or(end, |&next| starts[next]) - starts[i];
    }
    let last = order.last().copied();
    let group = q2_0_group(r, &entries, &room, last, alignment)?;
    let mut tensors = Vec::with_capacity(entries.len());
    for (i, e) in entries.into_iter().enumerate() {
        let format = if e.format == Format::Q2_0 { group } else { e.format };
        let size = format.tensor_bytes(e.values).and_then(|s| u64::try_from(s).ok()).filter(|&s| s <= room[i]);
        let Some(size) = size else {
            let (name, room, start) = (&e.name, room[i], starts[i]);
            let what = format!(
                "tensor `{name}` ({} values of {}) overlaps the next one or the end of the file: it has {room} bytes from {start}, entry",
                e.values,
                format.name()
            );
            return Err(r.invalid(e.at, what));
        };
        // Both are at most the file's length, which is a usize.
        let range = starts[i] as usize..(starts[i] + size) as usize;
        tensors.push(Tensor { name: e.name, dims: e.dims, format, range });
    }
    Ok(tensors)
}

/// Which of the two `Q2_0` layouts a file uses. One program writes a file, so all its tensors agree. The right
/// layout fills the room of each tensor but for the padding; the last one's padding may be missing.
///
/// Tensors so small that their padding hides the difference count as groups of 64. A wide alignment hides it in
/// large tensors too: then a guess could be wrong about a whole model, and there is none.
fn q2_0_group(
    r: &Reader,
    entries: &[Entry],
    room: &[u64],
    last: Option<usize>,
    alignment: u32,
) -> Result<Format, Error> {
    let align = u64::from(alignment);
    let fits = |i: usize, format: Format| {
        let e = &entries[i];
        let size = format.tensor_bytes(e.values).filter(|_| e.dims[0].is_multiple_of(format.block_len()));
        size.and_then(|size| u64::try_from(size).ok()).is_some_and(|size| match size.checked_next_multiple_of(align) {
            Some(padded) if last == Some(i) => (size..=padded).contains(&room[i]),
            padded => padded == Some(room[i]),
        })
    };
    let q2: Vec<usize> = (0..entries.len()).filter(|&i| entries[i].format == Format::Q2_0).collect();
    let all = |format| q2.iter().all(|&i| fits(i, format));
    match (all(Format::Q2_0), all(Format::Q2_0_G128)) {
        (true, false) => Ok(Format::Q2_0),
        (false, true) => Ok(Format::Q2_0_G128),
        (true, true) => match q2.first() {
            Some(&i) if alignment > DEFAULT_ALIGNMENT => {
                let name = &entries[i].name;
                Err(r.invalid(entries[i].at, format!("tensor `{name}` could have Q2_0 groups of 64 or of 128, entry")))
            }
            _ => Ok(Format::Q2_0),
        },
        (false, false) => {
            let bad = |&i: &usize| !fits(i, Format::Q2_0);
            let i = q2.iter().copied().find(bad).unwrap_or(0);
            let e = &entries[i];
            let size = |format: Format| format.tensor_bytes(e.values).map_or("no".to_owned(), |n| n.to_string());
            let what = format!(
                "tensor `{}` has {} bytes, but {} values of Q2_0 take {}, or in groups of 128 {}; entry",
                e.name,
                room[i],
                e.values,
                size(Format::Q2_0),
                size(Format::Q2_0_G128)
            );
            Err(r.invalid(e.at, what))
        }
    }
}

struct Reader<'a> {
    file: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Lengths are u64 (versions 2 and 3) and not u32 (version 1).
    wide: bool,
}

impl<'a> Reader<'a> {
    fn invalid(&self, at: usize, what: impl Into<String>) -> Error {
        Error::Invalid { file: self.file.to_owned(), what: what.into(), offset: at as u64 }
    }

    fn key(&self, key: &str, what: String) -> Error {
        Error::Key { file: self.file.to_owned(), key: key.to_owned(), what }
    }

    fn take(&mut self, n: usize, what: &str) -> Result<&'a [u8], Error> {
        let taken = self.at.checked_add(n).and_then(|end| self.bytes.get(self.at..end));
        let Some(taken) = taken else {
            let left = self.bytes.len() - self.at;
            return Err(self.invalid(self.at, format!("the file ends inside {what} ({n} bytes needed, {left} left)")));
        };
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], Error> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, what)?);
        Ok(out)
    }

    fn u32(&mut self, what: &str) -> Result<u32, Error> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &str) -> Result<u64, Error> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    fn length_bytes(&self) -> usize {
        if self.wide { 8 } else { 4 }
    }

    fn length(&mut self, what: &str) -> Result<usize, Error> {
        let start = self.at;
        let n = if self.wide { self.u64(what)? } else { self.u32(what)?.into() };
        usize::try_from(n).map_err(|_| self.invalid(start, format!("{what} is {n}, which is absurd")))
    }

    /// Fails unless `count` things of at least `size` bytes may still follow.
    fn expect_room(&self, count: usize, size: usize, what: impl Fn() -> String) -> Result<(), Error> {
        let left = self.bytes.len() - self.at;
        if count.checked_mul(size).is_some_and(|need| need <= left) {
            return Ok(());
        }
        Err(self.invalid(self.at, format!("{} needs more than the {left} bytes left in the file", what())))
    }

    fn string(&mut self, what: &str) -> Result<&'a str, Error> {
        let n = self.length(what)?;
        let start = self.at;
        let bytes = self.take(n, what)?;
        std::str::from_utf8(bytes)
            .map_err(|e| self.invalid(start + e.valid_up_to(), format!("{what} is not valid UTF-8")))
    }

    fn name(&mut self, what: impl Fn() -> String) -> Result<String, Error> {
        let start = self.at;
        let name = self.string(&what())?;
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(self.invalid(start, format!("{} has {} bytes, 1 to {MAX_NAME} are good", what(), name.len())));
        }
        // Names are printed, also in errors: they must not steer a terminal.
        if name.chars().any(char::is_control) {
            return Err(self.invalid(start, format!("{} has control characters: {name:?}", what())));
        }
        Ok(name.to_owned())
    }

    fn bool(&mut self, what: &str) -> Result<bool, Error> {
        let start = self.at;
        match self.array::<1>(what)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [b] => Err(self.invalid(start, format!("{what} is a boolean of value {b}"))),
        }
    }

    fn value(&mut self, key: &str) -> Result<Value, Error> {
        let what = format!("metadata key `{key}`");
        let what = what.as_str();
        let start = self.at;
        Ok(match self.u32(what)? {
            id::U8 => Value::U8(u8::from_le_bytes(self.array(what)?)),
            id::I8 => Value::I8(i8::from_le_bytes(self.array(what)?)),
            id::U16 => Value::U16(u16::from_le_bytes(self.array(what)?)),
            id::I16 => Value::I16(i16::from_le_bytes(self.array(what)?)),
            id::U32 => Value::U32(self.u32(what)?),
            id::I32 => Value::I32(i32::from_le_bytes(self.array(what)?)),
            id::U64 => Value::U64(self.u64(what)?),
            id::I64 => Value::I64(i64::from_le_bytes(self.array(what)?)),
            id::F32 => Value::F32(f32::from_le_bytes(self.array(what)?)),
            id::F64 => Value::F64(f64::from_le_bytes(self.array(what)?)),
            id::BOOL => Value::Bool(self.bool(what)?),
            id::STRING => Value::String(self.string(what)?.to_owned()),
            id::ARRAY => Value::Array(self.elements(what)?),
            other => return Err(self.invalid(start, format!("{what} has the unknown type {other}"))),
        })
    }

    fn elements(&mut self, what: &str) -> Result<Array, Error> {
        let start = self.at;
        let kind = self.u32(what)?;
        let n = self.length(what)?;
        Ok(match kind {
            id::U8 => Array::U8(self.numbers(n, what, u8::from_le_bytes)?),
            id::I8 => Array::I8(self.numbers(n, what, i8::from_le_bytes)?),
            id::U16 => Array::U16(self.numbers(n, what, u16::from_le_bytes)?),
            id::I16 => Array::I16(self.numbers(n, what, i16::from_le_bytes)?),
            id::U32 => Array::U32(self.numbers(n, what, u32::from_le_bytes)?),
            id::I32 => Array::I32(self.numbers(n, what, i32::from_le_bytes)?),
            id::U64 => Array::U64(self.numbers(n, what, u64::from_le_bytes)?),
            id::I64 => Array::I64(self.numbers(n, what, i64::from_le_bytes)?),
            id::F32 => Array::F32(self.numbers(n, what, f32::from_le_bytes)?),
            id::F64 => Array::F64(self.numbers(n, what, f64::from_le_bytes)?),
            id::BOOL => {
                self.expect_room(n, 1, || what.to_owned())?;
                Array::Bool((0..n).map(|_| self.bool(what)).collect::<Result<_, _>>()?)
            }
            id::STRING => {
                self.expect_room(n, self.length_bytes(), || what.to_owned())?;
                let mut strings = Vec::with_capacity(n);
                for _ in 0..n {
                    strings.push(self.string(what)?.to_owned());
                }
                Array::String(strings)
            }
            id::ARRAY => return Err(self.invalid(start, format!("{what} is an array of arrays, not supported"))),
            other => return Err(self.invalid(start, format!("{what} is an array of the unknown type {other}"))),
        })
    }

    fn numbers<T, const N: usize>(&mut self, n: usize, what: &str, from: fn([u8; N]) -> T) -> Result<Vec<T>, Error> {
        self.expect_room(n, N, || what.to_owned())?;
        let bytes = self.take(n * N, what)?;
        let (chunks, _) = bytes.as_chunks::<N>();
        Ok(chunks.iter().map(|c| from(*c)).collect())
    }
}
