//! Compressed payloads: gzip (RFC 1952, all members) and zlib (RFC 1950), inflated within a bound.
//!
//! They are known by their first bytes, with which no JSON text begins: a control character (`1f 8b`), or a zlib header, whose only first
//! byte that JSON has too is `8`, and then its second byte is none that may follow in a number. A zlib stream with a preset
//! dictionary is none for us: nobody but its maker could read it.
//!
//! What is forwarded is the record as it came; what is judged is what it inflates to.

use std::borrow::Cow;
use std::fmt;

use flate2::{Crc, Decompress, FlushDecompress, Status};

/// How much a payload may inflate to where no setting says otherwise: 16 MiB.
pub const INFLATED_BYTES_MAX: usize = 16 << 20;

/// The first buffer for what is inflated, in multiples of the compressed size; JSON text takes three to ten.
const FIRST_GUESS: usize = 4;
const BUFFER_BYTES_MIN: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    Zlib,
}

impl Compression {
    /// How the bytes say that they are compressed. Of an uncompressed event one byte is looked at.
    pub fn of(data: &[u8]) -> Option<Self> {
        match *data {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // RFC 1950, 2.2: method 8, a window of at most 32 KiB; a multiple of 31; no dictionary.
            [method, flags, ..]
                if method & 0x8f == 8
                    && u16::from_be_bytes([method, flags]).is_multiple_of(31)
                    && flags & 0x20 == 0 =>
            {
                Some(Self::Zlib)
            }
            _ => None,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zlib => "zlib",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why compressed bytes cannot be read. Never with content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("the {compression} payload ends too early: {bytes} bytes of it came")]
    Truncated { compression: Compression, bytes: usize },
    #[error("the {0} payload is damaged: its header is not of the form it must have")]
    Header(Compression),
    #[error("the {0} payload is damaged: what it holds cannot be inflated")]
    Deflated(Compression),
    #[error("the {0} payload is damaged: what it inflates to is not what its checksum and size say")]
    Checksum(Compression),
    #[error("the {compression} payload ends at byte {end}, and {bytes} bytes follow")]
    Trailing { compression: Compression, end: usize, bytes: usize },
    #[error("the {compression} payload of {bytes} bytes inflates to more than {bytes_max} bytes (limits.inflated_mib)")]
    TooLarge { compression: Compression, bytes: usize, bytes_max: usize },
}

/// The event in a record's bytes: what they inflate to, or themselves where they are not compressed.
///
/// # Errors
///
/// Bytes that begin as compressed ones and cannot be inflated whole to at most `bytes_max`. No more than that is held, and half as much
/// while a buffer grows.
pub fn event(data: &[u8], bytes_max: usize) -> Result<Cow<'_, [u8]>, Fault> {
    match Compression::of(data) {
        None => Ok(Cow::Borrowed(data)),
        Some(compression) => {
            let mut inflating = Inflating::new(data, compression, bytes_max);
            inflating.all()?;
            Ok(Cow::Owned(inflating.inflated))
        }
    }
}

struct Inflating<'d> {
    data: &'d [u8],
    at: usize,
    compression: Compression,
    bytes_max: usize,
    inflated: Vec<u8>,
}

impl<'d> Inflating<'d> {
    fn new(data: &'d [u8], compression: Compression, bytes_max: usize) -> Self {
        let guess = data.len().saturating_mul(FIRST_GUESS).max(BUFFER_BYTES_MIN);
        let mut inflating = Self { data, at: 0, compression, bytes_max, inflated: Vec::new() };
        inflating.make_room(guess);
        inflating
    }

    /// Room for so much in all, or for as much as may come and one byte, which tells that more does. Beyond half of that it is all at
    /// once, so that the buffer and the larger one it is copied to are never more than half as much again.
    fn make_room(&mut self, bytes: usize) {
        let most = self.bytes_max.saturating_add(1);
        let bytes = if bytes > most / 2 { most } else { bytes };
        self.inflated.reserve_exact(bytes.saturating_sub(self.inflated.len()));
    }

    fn all(&mut self) -> Result<(), Fault> {
        match self.compression {
            Compression::Zlib => self.inflate(Decompress::new(true))?,
            Compression::Gzip => loop {
                self.gzip_member()?;
                if !self.data[self.at..].starts_with(&[0x1f, 0x8b]) {
                    break;
                }
            },
        }
        match self.data.len() - self.at {
            0 => Ok(()),
            bytes => Err(Fault::Trailing { compression: self.compression, end: self.at, bytes }),
        }
    }

    /// Header, deflated data, and the CRC-32 and size of what it inflates to (RFC 1952, 2.3).
    fn gzip_member(&mut self) -> Result<(), Fault> {
        self.gzip_header()?;
        let start = self.inflated.len();
        self.inflate(Decompress::new(false))?;
        let mut crc = Crc::new();
        crc.update(&self.inflated[start..]);
        let says = [self.take()?, self.take()?].map(u32::from_le_bytes);
        // `amount` counts modulo 2^32, as the size is written.
        if says == [crc.sum(), crc.amount()] { Ok(()) } else { Err(Fault::Checksum(self.compression)) }
    }

    /// RFC 1952, 2.3.1: ten bytes, then what the flags announce.
    fn gzip_header(&mut self) -> Result<(), Fault> {
        const HAS_CRC: u8 = 2;
        const HAS_EXTRA: u8 = 4;
        const HAS_NAME: u8 = 8;
        const HAS_COMMENT: u8 = 16;
        const RESERVED: u8 = 0xe0;
        let start = self.at;
        let [_, _, method, flags, ..] = self.take::<10>()?;
        if method != 8 || flags & RESERVED != 0 {
            return Err(Fault::Header(self.compression));
        }
        if flags & HAS_EXTRA != 0 {
            let length = u16::from_le_bytes(self.take()?);
            self.skip(usize::from(length))?;
        }
        for _ in 0..(flags & (HAS_NAME | HAS_COMMENT)).count_ones() {
            let length = self.data[self.at..].iter().position(|byte| *byte == 0).ok_or_else(|| self.truncated())?;
            self.skip(length + 1)?;
        }
        if flags & HAS_CRC != 0 {
            let mut crc = Crc::new();
            crc.update(&self.data[start..self.at]);
            // Its lower half.
            if u16::from_le_bytes(self.take()?) != (crc.sum() & 0xffff) as u16 {
                return Err(Fault::Header(self.compression));
            }
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let bytes = *self.data[self.at..].first_chunk::<N>().ok_or_else(|| self.truncated())?;
        self.at += N;
        Ok(bytes)
    }

    fn skip(&mut self, length: usize) -> Result<(), Fault> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.data.len()).ok_or_else(|| self.truncated())?;
        self.at = end;
        Ok(())
    }

    fn truncated(&self) -> Fault {
        Fault::Truncated { compression: self.compression, bytes: self.data.len() }
    }

    /// Inflates to the end of one stream.
    fn inflate(&mut self, mut stream: Decompress) -> Result<(), Fault> {
        let start = self.at;
        loop {
            if self.inflated.len() == self.inflated.capacity() {
                self.make_room(2 * self.inflated.len());
            }
            let before = self.inflated.len();
            let input = &self.data[self.at..];
            let status = stream
                .decompress_vec(input, &mut self.inflated, FlushDecompress::None)
                .map_err(|_| Fault::Deflated(self.compression))?;
            let taken = start + usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
            let is_stuck = taken == self.at && self.inflated.len() == before;
            self.at = taken;
            if self.inflated.len() > self.bytes_max {
                let (compression, bytes) = (self.compression, self.data.len());
                return Err(Fault::TooLarge { compression, bytes, bytes_max: self.bytes_max });
            }
            match status {
                Status::StreamEnd => return Ok(()),
                _ if is_stuck && self.inflated.len() < self.inflated.capacity() => return Err(self.truncated()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::write::{GzEncoder, ZlibEncoder};
    use flate2::{Compression as Level, GzBuilder};
    use proptest::prelude::*;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Level::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Level::default());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn fault(data: &[u8]) -> String {
        event(data, 1_000).unwrap_err().to_string()
    }

    #[test]
    fn no_json_text_begins_so() {
        // What may stand before the end of a JSON text's first two bytes: a prefix of some text, or a whole one.
        let may_begin = |first: u8, second: u8| {
            let endings =
                ["", "\"", "}", "]", "0", "\"a\":1}", "1]", "u00e9\"", "n\"", "rue", "ull", "alse", "lse", "\u{80}\""];
            endings.iter().any(|end| {
                let text = [&[first, second], end.as_bytes()].concat();
                crate::decode::json::check(&text).is_ok()
            })
        };
        assert!(may_begin(b'8', b'0') && may_begin(b'8', b'e') && may_begin(b' ', b'{'));
        for (first, second) in (0..=255).flat_map(|first| (0..=255).map(move |second| (first, second))) {
            if Compression::of(&[first, second]).is_some() {
                assert!(!may_begin(first, second), "{first:02x} {second:02x}");
            }
        }
        assert!((0..=255).all(|only| Compression::of(&[only]).is_none()));
    }

    #[test]
    fn both_are_inflated_and_the_rest_is_left_as_it_is() {
        let text = b"{\"a\":1}".repeat(100);
        for compressed in [gzip(&text), zlib(&text)] {
            assert_eq!(event(&compressed, text.len()).unwrap(), text.as_slice());
        }
        assert!(matches!(event(&text, 0), Ok(Cow::Borrowed(_))));
        for empty in [gzip(b""), zlib(b"")] {
            assert_eq!(event(&empty, 0).unwrap(), &b""[..]);
        }
    }

    /// What `gzip.compress` and `zlib.compress` of Python 3 make of `{"n":1}`, the former with no time.
    #[test]
    fn what_another_library_writes_is_read() {
        let of_python = [
            &b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xabV\xcaS\xb22\xac\x05\x00~;K\xd4\x07\x00\x00\x00"[..],
            b"x\x9c\xabV\xcaS\xb22\xac\x05\x00\x08k\x02\x16",
        ];
        for compressed in of_python {
            assert_eq!(event(compressed, 100).unwrap(), &b"{\"n\":1}"[..]);
        }
    }

    #[test]
    fn all_members_are_read_and_optional_headers_skipped() {
        let mut named = GzBuilder::new()
            .filename("orders.json")
            .comment("nightly")
            .extra(vec![1, 2, 3])
            .write(Vec::new(), Level::fast());
        named.write_all(b"[1,").unwrap();
        let mut with_crc = gzip(b"2]");
        with_crc[3] |= 2;
        let mut crc = Crc::new();
        crc.update(&with_crc[..10]);
        let sum = (crc.sum() as u16).to_le_bytes();
        with_crc.splice(10..10, sum);
        let members = [named.finish().unwrap(), with_crc.clone()].concat();
        assert_eq!(event(&members, 5).unwrap(), &b"[1,2]"[..]);
        with_crc[10] ^= 1;
        assert_eq!(fault(&with_crc), "the gzip payload is damaged: its header is not of the form it must have");
    }

    #[test]
    fn faults_are_told_apart() {
        let (gz, z) = (gzip(b"{\"secret\":1}"), zlib(b"{\"secret\":1}"));
        let changed = |data: &[u8], at: usize| {
            let mut data = data.to_vec();
            data[at] ^= 0x55;
            data
        };
        expect_test::expect![[r#"
            the gzip payload ends too early: 2 bytes of it came
            the gzip payload ends too early: 31 bytes of it came
            the zlib payload ends too early: 19 bytes of it came
            the gzip payload is damaged: its header is not of the form it must have
            the gzip payload is damaged: what it inflates to is not what its checksum and size say
            the gzip payload is damaged: what it inflates to is not what its checksum and size say
            the zlib payload is damaged: what it holds cannot be inflated
            the gzip payload ends at byte 32, and 3 bytes follow
            the zlib payload ends at byte 20, and 1 bytes follow
            the gzip payload of 45 bytes inflates to more than 1000 bytes (limits.inflated_mib)
        "#]]
        .assert_eq(
            &[
                fault(&gz[..2]),
                fault(&gz[..gz.len() - 1]),
                fault(&z[..z.len() - 1]),
                fault(&changed(&gz, 2)),
                fault(&changed(&gz, gz.len() - 1)),
                fault(&changed(&gz, gz.len() - 8)),
                fault(&changed(&z, z.len() - 1)),
                fault(&[&gz[..], b"\0\0\0"].concat()),
                fault(&[&z[..], b"\n"].concat()),
                fault(&gzip(&[b' '; 10_000])),
            ]
            .map(|line| line + "\n")
            .concat(),
        );
    }

    #[test]
    fn the_bound_is_of_all_members_together_and_exact() {
        let twice = [gzip(b"12345"), gzip(b"67890")].concat();
        assert_eq!(event(&twice, 10).unwrap(), &b"1234567890"[..]);
        assert!(matches!(event(&twice, 9), Err(Fault::TooLarge { bytes_max: 9, .. })));
        assert!(matches!(event(&zlib(b"1"), 0), Err(Fault::TooLarge { .. })));
    }

    /// A thousand bytes for one is what the format can do.
    #[test]
    fn a_bomb_takes_no_more_memory_than_the_bound() {
        const BOUND: usize = 3_000_000;
        for bomb in [gzip(&vec![b' '; 50_000_000]), zlib(&vec![b' '; 50_000_000])] {
            assert!(bomb.len() < 60_000);
            let mut inflating = Inflating::new(&bomb, Compression::of(&bomb).unwrap(), BOUND);
            assert!(matches!(inflating.all(), Err(Fault::TooLarge { .. })));
            assert!(inflating.inflated.capacity() <= BOUND + 1);
            assert!(inflating.at < 4_000, "no more is read than that takes: {}", inflating.at);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(data in proptest::collection::vec(any::<u8>(), 0..3_000), repeat in 1_usize..20) {
            let data = data.repeat(repeat);
            for compressed in [gzip(&data), zlib(&data)] {
                prop_assert_eq!(event(&compressed, data.len()).unwrap(), data.as_slice());
                if let Some(less) = data.len().checked_sub(1) {
                    let refused = matches!(event(&compressed, less), Err(Fault::TooLarge { .. }));
                    prop_assert!(refused);
                }
                let short = event(&compressed[..compressed.len() - 1], data.len());
                prop_assert!(matches!(short, Err(Fault::Truncated { .. })), "{short:?}");
            }
        }

        #[test]
        fn no_bytes_panic_or_pass_the_bound(
            head in prop::sample::select(vec![&b"\x1f\x8b\x08"[..], b"\x1f\x8b\x08\x1f", b"x\x9c", b"x\x01", b""]),
            body in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let data = [head, &body].concat();
            if let Ok(Cow::Owned(inflated)) = event(&data, 500) {
                prop_assert!(inflated.len() <= 500);
            }
        }

        /// A bit that is changed is found, or changes nothing of what is read: padding, or what a gzip header says of time and system.
        #[test]
        fn no_change_goes_unseen(data in "[a-z{}:\",]{1,200}", at in any::<prop::sample::Index>(), bit in 0..8) {
            for mut changed in [gzip(data.as_bytes()), zlib(data.as_bytes())] {
                let at = at.index(changed.len());
                changed[at] ^= 1_u8 << bit;
                if let Ok(Cow::Owned(inflated)) = event(&changed, 1_000) {
                    prop_assert_eq!(inflated, data.as_bytes(), "byte {}", at);
                }
            }
        }
    }
}
