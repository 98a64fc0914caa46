//! "Did you mean": the known name nearest to one that is not known.

/// The candidate within a third of its length in edits (two swapped letters are two), if there is one; the first of
/// the nearest.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = candidates.into_iter().map(|candidate| (distance(name, candidate), candidate));
    let best = scored.min_by_key(|(edits, _)| *edits);
    best.filter(|(edits, candidate)| *edits <= candidate.chars().count().div_ceil(3).max(2)).map(|(_, c)| c)
}

/// Edits (insert, delete, replace one character) from one to the other (Wagner and Fischer, 1974).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (b, cell) in to.iter().zip(&mut row[1..]) {
            let replace = diagonal + usize::from(a != *b);
            diagonal = *cell;
            left = replace.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
        row[0] = i + 1;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_suggested_and_a_far_one_is_not() {
        let known = ["segment_size", "pack_size", "inline_threshold"];
        assert_eq!(nearest("segmentsize", known), Some("segment_size"));
        assert_eq!(nearest("pack_sise", known), Some("pack_size"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }

    #[test]
    fn distances_are_the_known_ones() {
        for (a, b, edits) in [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("same", "same", 0)] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }
}
