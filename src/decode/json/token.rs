//! What most tokens are, told at a glance: strings without escapes, integers of few digits, literals, space.
//!
//! These take the position and give one back, so that a loop over many tokens keeps it in a register. They say yes only to
//! what is sure to be well-formed; whatever they leave is for the [`Scanner`](super::scan::Scanner), which also knows what is
//! wrong with it.

use super::strings::{BLOCK, ordinary_bytes_of};

/// The most digits of an integer whose value is told.
pub(crate) const INTEGER_DIGITS_MAX: usize = 18;

/// The first byte from `at` on that is not space.
#[inline]
pub(crate) fn space(bytes: &[u8], mut at: usize) -> usize {
    // No byte of a value, and none between values, is a space or less.
    while bytes.get(at).is_some_and(|byte| *byte <= b' ' && matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// The value and the end of a number at `start` that is an integer of at most [`INTEGER_DIGITS_MAX`] digits, written without
/// fraction and exponent. `None` for all else.
#[inline]
pub(crate) fn plain_integer(bytes: &[u8], start: usize) -> Option<(i64, usize)> {
    let negative = *bytes.get(start)? == b'-';
    let first = start + usize::from(negative);
    let (mut end, mut value) = (first, 0_i64);
    while let Some(digit @ b'0'..=b'9') = bytes.get(end) {
        value = value.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
        end += 1;
    }
    let digits = end - first;
    let more = matches!(bytes.get(end), Some(b'.' | b'e' | b'E' | b'+' | b'-'));
    let leading_zero = digits > 1 && bytes[first] == b'0';
    if !(1..=INTEGER_DIGITS_MAX).contains(&digits) || more || leading_zero {
        return None;
    }
    Some((if negative { -value } else { value }, end))
}

/// The end of `true`, `false` or `null`, as its first letter says.
#[inline]
pub(crate) fn literal(bytes: &[u8], start: usize, first: u8) -> Option<usize> {
    let word = word(first);
    bytes.get(start..)?.starts_with(word).then_some(start + word.len())
}

/// The literal that begins with this letter, `null` for others.
pub(super) fn word(first: u8) -> &'static [u8] {
    match first {
        b't' => b"true",
        b'f' => b"false",
        _ => b"null",
    }
}

/// Where a string ends, past its quote, that begins with the quote at `start`. `None` when it has escapes or is malformed, and
/// sometimes when it is in the text's last bytes.
#[inline]
pub(crate) fn plain_string(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start + 1;
    loop {
        let block = bytes.get(at..)?.first_chunk::<BLOCK>()?;
        let ordinary = ordinary_bytes_of(block);
        if let Some(special) = block.get(ordinary) {
            return (*special == b'"').then_some(at + ordinary + 1);
        }
        at += BLOCK;
    }
}
