//! `Range` of GET and HEAD (RFC 9110, section 14), as S3 reads it: one range of bytes. A header that cannot be parsed,
//! and one with several ranges, is ignored and the whole object is sent.

use std::fmt;

/// What a `Range` header asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeRequest {
    /// `bytes=FIRST-LAST`, both included, and `bytes=FIRST-` with the greatest last byte.
    Bytes {
        /// First byte.
        first: u64,
        /// Last byte.
        last: u64,
    },
    /// `bytes=-LENGTH`: the last bytes.
    Suffix {
        /// How many.
        length: u64,
    },
}

/// A range of an object that exists: at least one byte, inside the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub first: u64,
    /// Bytes, at least one.
    pub length: u64,
    /// Bytes of the whole object.
    pub size: u64,
}

impl fmt::Display for ByteRange {
    /// The value of `Content-Range`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes {}-{}/{}", self.first, self.first + (self.length - 1), self.size)
    }
}

/// No byte of the object is in the range (416; `Content-Range: bytes */SIZE`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the range is not satisfiable")]
pub struct Unsatisfiable {
    /// Bytes of the object.
    pub size: u64,
}

impl RangeRequest {
    /// Reads a header; `None` where S3 ignores it.
    pub fn parse(header: &str) -> Option<Self> {
        let (unit, set) = header.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = set.trim().split_once('-')?;
        match (first.trim_end(), last.trim_start()) {
            ("", length) => Some(Self::Suffix { length: digits(length)? }),
            (first, "") => Some(Self::Bytes { first: digits(first)?, last: u64::MAX }),
            (first, last) => {
                let (first, last) = (digits(first)?, digits(last)?);
                (first <= last).then_some(Self::Bytes { first, last })
            }
        }
    }

    /// Which bytes of an object of this size are meant.
    pub fn of(self, size: u64) -> Result<ByteRange, Unsatisfiable> {
        let (first, end) = match self {
            Self::Bytes { first, last } => (first, last.saturating_add(1).min(size)),
            Self::Suffix { length } => (size.saturating_sub(length), size),
        };
        match end.checked_sub(first) {
            None | Some(0) => Err(Unsatisfiable { size }),
            Some(length) => Ok(ByteRange { first, length, size }),
        }
    }
}

/// A number of any length; one that does not fit is as good as the greatest that does.
fn digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn single_ranges_are_resolved_against_the_size() {
        let cases = [
            ("bytes=0-0", 10, Some((0, 1))),
            ("bytes=2-4", 10, Some((2, 3))),
            ("bytes=2-", 10, Some((2, 8))),
            ("bytes=-3", 10, Some((7, 3))),
            ("bytes=-30", 10, Some((0, 10))),
            ("bytes=5-99999999999999999999999", 10, Some((5, 5))),
            ("Bytes = 1 - 2 ", 10, Some((1, 2))),
            ("bytes=9-9", 10, Some((9, 1))),
            ("bytes=10-", 10, None),
            ("bytes=99999999999999999999999-", 10, None),
            ("bytes=-0", 10, None),
            ("bytes=0-", 0, None),
            ("bytes=-1", 0, None),
            ("bytes=0-", u64::MAX, Some((0, u64::MAX))),
        ];
        for (header, size, expected) in cases {
            let resolved = RangeRequest::parse(header).expect(header).of(size);
            let expected = expected.map(|(first, length)| ByteRange { first, length, size });
            assert_eq!(resolved, expected.ok_or(Unsatisfiable { size }), "{header} of {size}");
        }
    }

    #[test]
    fn what_s3_ignores_is_ignored() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=0-1,3-4",
            "bytes=0-1,",
            "bytes=+1-2",
            "bytes=--1",
            "items=0-1",
            "0-1",
        ] {
            assert_eq!(RangeRequest::parse(header), None, "{header}");
        }
    }

    #[test]
    fn a_range_is_shown_as_the_header_wants_it() {
        assert_eq!(ByteRange { first: 2, length: 3, size: 10 }.to_string(), "bytes 2-4/10");
    }

    proptest! {
        #[test]
        fn a_resolved_range_lies_inside_the_object(first: u64, last: u64, size: u64, suffix: bool) {
            let request = if suffix { RangeRequest::Suffix { length: first } } else {
                RangeRequest::Bytes { first: first.min(last), last: first.max(last) }
            };
            if let Ok(range) = request.of(size) {
                prop_assert!(range.length > 0 && range.first < size && range.length <= size - range.first);
                let shown = range.to_string();
                let size_shown = shown.rsplit('/').next().map(str::to_owned);
                prop_assert_eq!(size_shown, Some(size.to_string()));
            }
        }

        #[test]
        fn any_header_is_read_or_ignored_without_a_panic(header in "(bytes=)?[0-9, -]{0,30}|.{0,20}") {
            let _ = RangeRequest::parse(&header).map(|request| request.of(10).map(|range| assert!(range.length <= 10)));
        }
    }
}
