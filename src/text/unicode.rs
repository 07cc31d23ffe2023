//! Character classes that the pre-tokenizers distinguish, and the byte alphabet of GPT-2.

use regex_syntax::hir::{Class as HirClass, HirKind};
use std::sync::LazyLock;

/// What a pre-tokenizer sees in a character. The classes exclude each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// `\p{L}`
    Letter,
    /// `\p{N}`
    Number,
    /// `\s`
    Space,
    /// `\p{P}`
    Punctuation,
    /// Everything else.
    Other,
}

#[cfg(test)]
thread_local! {
    /// Calls of [`class`], for the tests of the splitters' bounds.
    pub(super) static LOOKS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// The class of a character.
pub(super) fn class(c: char) -> Class {
    #[cfg(test)]
    LOOKS.set(LOOKS.get() + 1);
    let code = u32::from(c);
    match ASCII.get(code as usize) {
        Some(&class) => class,
        None => {
            let ranges = &*RANGES;
            let after = ranges.partition_point(|&(first, _, _)| first <= code);
            match ranges[..after].last() {
                Some(&(_, last, class)) if code <= last => class,
                _ => Class::Other,
            }
        }
    }
}

static ASCII: [Class; 128] = {
    let mut table = [Class::Other; 128];
    let mut b = 0u8;
    while b < 128 {
        table[b as usize] = match b {
            b'A'..=b'Z' | b'a'..=b'z' => Class::Letter,
            b'0'..=b'9' => Class::Number,
            b'\t'..=b'\r' | b' ' => Class::Space,
            b'$' | b'+' | b'<' | b'=' | b'>' | b'^' | b'`' | b'|' | b'~' => Class::Other,
            b'!'..=b'/' | b':'..=b'@' | b'['..=b'`' | b'{'..=b'~' => Class::Punctuation,
            _ => Class::Other,
        };
        b += 1;
    }
    table
};

/// Ranges of code points with a class, ascending; from the tables of the `regex` crates.
static RANGES: LazyLock<Vec<(u32, u32, Class)>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for (pattern, class) in
        [(r"\p{L}", Class::Letter), (r"\p{N}", Class::Number), (r"\s", Class::Space), (r"\p{P}", Class::Punctuation)]
    {
        let parsed = regex_syntax::parse(pattern).expect("a fixed pattern");
        let HirKind::Class(HirClass::Unicode(set)) = parsed.kind() else { unreachable!("a class of characters") };
        all.extend(set.ranges().iter().map(|r| (u32::from(r.start()), u32::from(r.end()), class)));
    }
    all.sort_unstable_by_key(|&(first, _, _)| first);
    all
});

/// The printable character that byte-level vocabularies write for a byte.
pub(super) fn char_of(byte: u8) -> char {
    LETTERS[usize::from(byte)]
}

/// The byte that a character of a byte-level token name stands for.
pub(super) fn byte_of(c: char) -> Option<u8> {
    BYTES.get(u32::from(c) as usize).copied().flatten()
}

const fn is_itself(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// GPT-2's `bytes_to_unicode`: printable Latin-1 stands for itself, the other 68 bytes follow from U+0100.
static LETTERS: [char; 256] = {
    let mut letters = ['\0'; 256];
    let mut next = 0x100;
    let mut b = 0;
    while b < 256 {
        let code = if is_itself(b as u8) {
            b as u32
        } else {
            next += 1;
            next - 1
        };
        letters[b] = match char::from_u32(code) {
            Some(c) => c,
            None => panic!("below U+0144"),
        };
        b += 1;
    }
    letters
};

static BYTES: [Option<u8>; 0x144] = {
    let mut bytes = [None; 0x144];
    let mut b = 0;
    while b < 256 {
        bytes[LETTERS[b] as usize] = Some(b as u8);
        b += 1;
    }
    bytes
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_agrees_with_the_unicode_tables() {
        for b in 0..128u8 {
            let c = char::from(b);
            let by_range = RANGES
                .iter()
                .find(|&&(first, last, _)| (first..=last).contains(&u32::from(c)))
                .map_or(Class::Other, |&(_, _, class)| class);
            assert_eq!(class(c), by_range, "{c:?}");
        }
    }

    #[test]
    fn classes_of_some_characters() {
        for (c, expected) in [
            ('é', Class::Letter),
            ('中', Class::Letter),
            ('½', Class::Number),
            ('٣', Class::Number),
            ('\u{85}', Class::Space),
            ('\u{3000}', Class::Space),
            ('«', Class::Punctuation),
            ('€', Class::Other),
            ('\u{301}', Class::Other),
            ('🦙', Class::Other),
        ] {
            assert_eq!(class(c), expected, "{c:?}");
        }
    }

    #[test]
    fn every_byte_has_a_letter_and_back() {
        for b in 0..=255u8 {
            assert_eq!(byte_of(char_of(b)), Some(b));
        }
        assert_eq!(char_of(b' '), 'Ġ');
        assert_eq!(char_of(b'\n'), 'Ċ');
        assert_eq!(byte_of(' '), None);
        assert_eq!(byte_of('中'), None);
    }
}
