//! Strings as they are written: where they end, what their escapes mean, and whether two keys are one.

/// Objects with at most this many keys have their fingerprints compared pairwise; those of larger ones are sorted.
const PAIRWISE_MAX: usize = 32;

/// A key as written, between its quotes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Key {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) escaped: bool,
}

/// Where the second of two equal keys starts, the first such in the text.
pub(super) fn duplicate(bytes: &[u8], keys: &mut [Key]) -> Option<usize> {
    if !keys.iter().any(|key| key.escaped) && all_differ(bytes, keys) {
        return None;
    }
    // Stable, so of two equal keys the later stands second.
    keys.sort_by(|a, b| {
        if a.escaped || b.escaped {
            unescape(bytes, a).cmp(unescape(bytes, b))
        } else {
            raw(bytes, a).cmp(raw(bytes, b))
        }
    });
    keys.windows(2).filter(|pair| equal(bytes, &pair[0], &pair[1])).map(|pair| pair[1].start).min()
}

/// Whether no two keys have one fingerprint, so that they differ for certain.
fn all_differ(bytes: &[u8], keys: &[Key]) -> bool {
    let fingerprints = keys.iter().map(|key| fingerprint(raw(bytes, key)));
    if keys.len() <= PAIRWISE_MAX {
        let mut known = [0; PAIRWISE_MAX];
        for (count, new) in fingerprints.enumerate() {
            // All are compared, without a branch for each.
            if known[..count].iter().fold(false, |same, known| same | (*known == new)) {
                return false;
            }
            known[count] = new;
        }
        return true;
    }
    let mut all: Vec<u64> = fingerprints.collect();
    all.sort_unstable();
    all.windows(2).all(|pair| pair[0] != pair[1])
}

/// A number that equal texts share, and few others: of the length, the first eight bytes and the last eight. Whoever writes
/// keys to have it shared costs us a comparison, no more.
#[inline]
pub(crate) fn fingerprint(text: &[u8]) -> u64 {
    let (head, tail) = match (text.first_chunk(), text.last_chunk()) {
        (Some(head), Some(tail)) => (u64::from_le_bytes(*head), u64::from_le_bytes(*tail)),
        _ => (text.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0),
    };
    (head ^ tail.rotate_left(23) ^ (text.len() as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// How many bytes of a string are looked at together.
pub(super) const BLOCK: usize = 16;

/// How many bytes come before a quote, a backslash, a control character or the end.
pub(super) fn ordinary_bytes(bytes: &[u8]) -> usize {
    let (blocks, rest) = bytes.as_chunks::<BLOCK>();
    for (index, block) in blocks.iter().enumerate() {
        let ordinary = ordinary_bytes_of(block);
        if ordinary < BLOCK {
            return index * BLOCK + ordinary;
        }
    }
    let special = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
    blocks.len() * BLOCK + special.unwrap_or(rest.len())
}

/// How many of the bytes come before a quote, a backslash or a control character.
///
/// The one place of the core that is not compiler-checked in full: it asks the processor for sixteen comparisons at once. Its
/// twin for other processors, `ordinary_bytes_by_word`, is what it is compared with in a test below; `fuzz/` compares
/// whole texts with serde_json.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the compiler does not take a baseline's features for granted")]
#[inline]
pub(super) fn ordinary_bytes_of(block: &[u8; BLOCK]) -> usize {
    // SAFETY: SSE2 is part of x86-64, so every processor this runs on has it. Nothing else is asked for: the bytes are passed
    // by value, so there is no pointer whose bounds could be wrong.
    unsafe { ordinary_bytes_sse2(u128::from_le_bytes(*block)) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "sse2")]
#[inline]
fn ordinary_bytes_sse2(block: u128) -> usize {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };
    let bytes = _mm_set_epi64x((block >> 64) as i64, block as i64);
    let quotes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
    let backslashes = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
    let controls = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
    let marked = _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quotes, backslashes), controls)) as u32;
    (marked | 1 << BLOCK).trailing_zeros() as usize
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub(super) fn ordinary_bytes_of(block: &[u8; BLOCK]) -> usize {
    ordinary_bytes_by_word(block)
}

/// The same with the arithmetic of every processor, eight bytes at a time.
///
/// A borrow can only mark bytes after one that is truly marked, so the first mark is right (Hacker's Delight, 6-1).
#[cfg(any(test, not(target_arch = "x86_64")))]
fn ordinary_bytes_by_word(block: &[u8; BLOCK]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let in_word = |word: u64| {
        let quotes = zero_bytes(word ^ (ONES * b'"' as u64));
        let backslashes = zero_bytes(word ^ (ONES * b'\\' as u64));
        let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        (quotes | backslashes | controls).trailing_zeros() as usize / 8
    };
    let block = u128::from_le_bytes(*block);
    match in_word(block as u64) {
        8 => 8 + in_word((block >> 64) as u64),
        ordinary => ordinary,
    }
}

fn raw<'a>(bytes: &'a [u8], key: &Key) -> &'a [u8] {
    &bytes[key.start..key.end]
}

fn equal(bytes: &[u8], a: &Key, b: &Key) -> bool {
    if a.escaped || b.escaped { unescape(bytes, a).eq(unescape(bytes, b)) } else { raw(bytes, a) == raw(bytes, b) }
}

/// The key's bytes after unescaping, without allocating.
fn unescape<'a>(bytes: &'a [u8], key: &Key) -> impl Iterator<Item = u8> + 'a {
    let mut rest = raw(bytes, key);
    let mut pending = [0_u8; 4];
    let (mut next, mut end) = (0, 0);
    std::iter::from_fn(move || {
        if next == end {
            let (&first, after) = rest.split_first()?;
            if first != b'\\' {
                rest = after;
                return Some(first);
            }
            let (character, length) = escaped_char(rest)?;
            rest = &rest[length..];
            (next, end) = (0, character.encode_utf8(&mut pending).len());
        }
        next += 1;
        Some(pending[next - 1])
    })
}

/// The character an escape stands for, and the escape's length. `None` for what the scanner refuses.
pub(crate) fn escaped_char(escape: &[u8]) -> Option<(char, usize)> {
    let short = match escape.get(1)? {
        b'u' => {
            let high = hex_unit(escape.get(2..6)?)?;
            if !(0xd800..0xdc00).contains(&high) {
                return Some((char::from_u32(u32::from(high))?, 6));
            }
            let low = hex_unit(escape.get(8..12)?)?;
            return Some((char::decode_utf16([high, low]).next()?.ok()?, 12));
        }
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        other => char::from(*other),
    };
    Some((short, 2))
}

/// Four hexadecimal digits, and nothing like a sign among them.
pub(super) fn hex_unit(digits: &[u8]) -> Option<u16> {
    digits.iter().try_fold(0_u16, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)? as u16))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Both ways to look at a block against the plain one.
        #[test]
        fn ordinary_bytes_are_counted(block: [u8; BLOCK], plain in "[a-z\"\\\\\u{1}\u{1f} \u{7f}é]{16}") {
            let plain = plain.as_bytes().first_chunk().expect("16 characters");
            for block in [&block, plain] {
                let expected = block.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).unwrap_or(BLOCK);
                prop_assert_eq!(ordinary_bytes_of(block), expected);
                prop_assert_eq!(ordinary_bytes(block), expected);
                prop_assert_eq!(ordinary_bytes(&[&[b'x'; 9][..], block].concat()), 9 + expected);
                prop_assert_eq!(ordinary_bytes_by_word(block), expected);
            }
        }
    }
}
