//! Names of segment files.

use crate::host::{FilePath, Folder};
use crate::id::Position;
use std::fmt;

/// Names a segment: the first position it holds and the generation of its file. The only parser and printer of
/// segment file names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentName {
    /// The first position that belongs to it.
    pub first: Position,
    /// Rises each time the segment is copied into another file.
    pub generation: u16,
}

impl SegmentName {
    /// Parses a file name; `None` for anything that [`fmt::Display`] would not print.
    pub fn parse(name: &str) -> Option<Self> {
        let (first, generation) = name.strip_suffix(".seg")?.split_once('-')?;
        let digits = |text: &str, len: usize| {
            (text.len() == len && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))).then_some(())
        };
        digits(first, 16)?;
        digits(generation, 4)?;
        Some(Self {
            first: Position(u64::from_str_radix(first, 16).ok()?),
            generation: u16::from_str_radix(generation, 16).ok()?,
        })
    }

    /// The file.
    pub fn file(self) -> FilePath {
        FilePath::new(Folder::Log, self.to_string())
    }

    /// The same segment's next generation. `None` after the last one.
    pub fn next_generation(self) -> Option<Self> {
        Some(Self { first: self.first, generation: self.generation.checked_add(1)? })
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:04x}.seg", self.first.0, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_name_is_parsed_back(first: u64, generation: u16) {
            let name = SegmentName { first: Position(first), generation };
            prop_assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        }

        #[test]
        fn only_printed_names_are_parsed(text in "[0-9a-fA-F]{15,17}-?[0-9a-fA-F]{3,5}(.seg)?") {
            if let Some(name) = SegmentName::parse(&text) {
                prop_assert_eq!(name.to_string(), text);
            }
        }
    }

    #[test]
    fn foreign_names_are_not_segments() {
        for name in
            ["", "CHECKPOINT", "next.tmp", "0000000000000001-0000.seg.bak", "+000000000000001-0000.seg"]
        {
            assert_eq!(SegmentName::parse(name), None, "{name}");
        }
    }
}
