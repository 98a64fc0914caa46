//! Conditional requests: which of them are read, in which order they count, and what a failed one answers.
//!
//! Reads are decided here, against the row that is sent. Writes are only parsed: the engine decides them together
//! with the write itself, so that two racing writes have one winner.

use super::date::{HttpDate, parse_http_date};
use super::error::{S3Error, S3ErrorCode};
use super::refusal::unsupported;
use crate::engine::command::{Conditions, EtagMatch};
use http::HeaderMap;
use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};
use siltstone_log::hlc::Hlc;

/// The conditions of a GET or HEAD.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadConditions {
    matching: Option<EtagMatch>,
    none_matching: Option<EtagMatch>,
    modified_since: Option<i64>,
    unmodified_since: Option<i64>,
    range: Option<IfRange>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum IfRange {
    Etag(String),
    Date(i64),
}

/// What becomes of a conditional read whose condition does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadRefusal {
    /// 304: the client has it already.
    NotModified,
    /// 412, with the header's name.
    PreconditionFailed(&'static str),
}

impl ReadConditions {
    /// Reads the headers. A date that is none is ignored, as RFC 9110 asks.
    pub fn parse(headers: &HeaderMap) -> Result<Self, S3Error> {
        let range = joined(headers, IF_RANGE.as_str())?.map(|value| match parse_http_date(&value) {
            Some(date) => IfRange::Date(date),
            None => IfRange::Etag(value.trim_matches('"').to_owned()),
        });
        let names = [
            IF_MATCH.as_str(),
            IF_NONE_MATCH.as_str(),
            IF_MODIFIED_SINCE.as_str(),
            IF_UNMODIFIED_SINCE.as_str(),
        ];
        Ok(Self { range, ..Self::named(headers, names)? })
    }

    /// Reads the conditions that a copy puts on its source.
    pub fn of_copy_source(headers: &HeaderMap) -> Result<Self, S3Error> {
        Self::named(
            headers,
            [
                "x-amz-copy-source-if-match",
                "x-amz-copy-source-if-none-match",
                "x-amz-copy-source-if-modified-since",
                "x-amz-copy-source-if-unmodified-since",
            ],
        )
    }

    fn named(headers: &HeaderMap, names: [&'static str; 4]) -> Result<Self, S3Error> {
        let [matching, none_matching, modified_since, unmodified_since] = names;
        let date =
            |name: &'static str| Ok::<_, S3Error>(joined(headers, name)?.and_then(|v| parse_http_date(&v)));
        // A weak tag never matches strongly, so it can match nothing here.
        let strong = |etags: Vec<Etag>| etags.into_iter().filter(|etag| !etag.weak).collect();
        Ok(Self {
            matching: etag_match(headers, matching, strong)?,
            none_matching: etag_match(headers, none_matching, |etags| etags)?,
            modified_since: date(modified_since)?,
            unmodified_since: date(unmodified_since)?,
            range: None,
        })
    }

    /// Decides for the source of a copy, with the precedence of reads. Whatever does not hold is 412 here: there is
    /// nothing that the client could have already.
    pub fn check_copy_source(&self, etag: &str, modified: Hlc) -> Result<(), S3Error> {
        let condition = match self.check(etag, modified) {
            Ok(()) => return Ok(()),
            Err(ReadRefusal::PreconditionFailed(condition)) => condition,
            Err(ReadRefusal::NotModified) if self.none_matching.is_some() => "If-None-Match",
            Err(ReadRefusal::NotModified) => "If-Modified-Since",
        };
        let condition = format!("x-amz-copy-source-{condition}");
        Err(S3Error::new(S3ErrorCode::PreconditionFailed).extra("Condition", condition))
    }

    /// Decides. An ETag condition overrules the date condition beside it: `If-Match` that holds beats
    /// `If-Unmodified-Since`, `If-None-Match` that does not match beats `If-Modified-Since`.
    pub fn check(&self, etag: &str, modified: Hlc) -> Result<(), ReadRefusal> {
        let modified = HttpDate(modified).unix_seconds();
        match (&self.matching, self.unmodified_since) {
            (Some(wanted), _) if !wanted.matches(etag) => {
                return Err(ReadRefusal::PreconditionFailed("If-Match"));
            }
            (None, Some(since)) if modified > since => {
                return Err(ReadRefusal::PreconditionFailed("If-Unmodified-Since"));
            }
            _ => {}
        }
        match (&self.none_matching, self.modified_since) {
            (Some(known), _) if known.matches(etag) => Err(ReadRefusal::NotModified),
            (None, Some(since)) if modified <= since => Err(ReadRefusal::NotModified),
            _ => Ok(()),
        }
    }

    /// Whether `Range` counts: without `If-Range` always, else only where the object is the one that the client has
    /// the beginning of. A client that resumes would join two objects otherwise.
    pub fn range_applies(&self, etag: &str, modified: Hlc) -> bool {
        match &self.range {
            None => true,
            Some(IfRange::Etag(wanted)) => wanted == etag,
            Some(IfRange::Date(date)) => *date == HttpDate(modified).unix_seconds(),
        }
    }
}

/// Reads the conditions of a write. Of an object that is there S3 asks only whether there is any (`If-None-Match: *`); an
/// ETag is refused (measured: versity/versitygw, issues 1708 and 2108).
pub fn write_conditions(headers: &HeaderMap) -> Result<Conditions, S3Error> {
    let conditions = change_conditions(headers)?;
    match conditions.if_none_match {
        Some(EtagMatch::Etags(_)) => Err(unsupported("If-None-Match")),
        Some(EtagMatch::Any) | None => Ok(conditions),
    }
}

/// Reads the conditions of a change. Dates are refused: S3 has none for writes, and a condition must not be ignored.
fn change_conditions(headers: &HeaderMap) -> Result<Conditions, S3Error> {
    for (name, shown) in
        [(IF_MODIFIED_SINCE, "If-Modified-Since"), (IF_UNMODIFIED_SINCE, "If-Unmodified-Since")]
    {
        if headers.contains_key(name) {
            return Err(unsupported(shown));
        }
    }
    for name in ["x-amz-if-match-last-modified-time", "x-amz-if-match-size"] {
        if headers.contains_key(name) {
            return Err(unsupported(name));
        }
    }
    Ok(Conditions {
        if_match: etag_match(headers, IF_MATCH.as_str(), |etags| etags)?,
        if_none_match: etag_match(headers, IF_NONE_MATCH.as_str(), |etags| etags)?,
    })
}

/// Reads the conditions of a deletion. They are about what the key holds now (AWS's guide to conditional deletes): beside
/// a version S3 refuses them (measured: localstack/localstack, issue 13894).
pub fn delete_conditions(headers: &HeaderMap, names_version: bool) -> Result<Conditions, S3Error> {
    let conditions = change_conditions(headers)?;
    match &conditions {
        Conditions { if_match: Some(_), .. } if names_version => Err(unsupported("If-Match")),
        Conditions { if_none_match: Some(_), .. } if names_version => Err(unsupported("If-None-Match")),
        _ => Ok(conditions),
    }
}

/// Reads the condition of an abort, and decides: the upload has to have begun in that very second. It never changes when
/// an upload began, so that nothing can come between this and the abort.
pub fn check_initiated(headers: &HeaderMap, initiated: Hlc) -> Result<(), S3Error> {
    let name = "x-amz-if-match-initiated-time";
    let Some(text) = joined(headers, name)? else { return Ok(()) };
    let wanted = parse_http_date(&text)
        .ok_or_else(|| S3Error::invalid_argument(name, text, "The header's value is no HTTP date"))?;
    if wanted == HttpDate(initiated).unix_seconds() {
        return Ok(());
    }
    Err(S3Error::new(S3ErrorCode::PreconditionFailed).extra("Condition", name))
}

struct Etag {
    tag: String,
    weak: bool,
}

fn etag_match(
    headers: &HeaderMap,
    name: &'static str,
    keep: impl Fn(Vec<Etag>) -> Vec<Etag>,
) -> Result<Option<EtagMatch>, S3Error> {
    let Some(value) = joined(headers, name)? else { return Ok(None) };
    if value == "*" {
        return Ok(Some(EtagMatch::Any));
    }
    let etags = parse_etags(&value).ok_or_else(|| {
        S3Error::invalid_argument(name, value.as_str(), "The header's value is no list of entity tags")
    })?;
    Ok(Some(EtagMatch::Etags(keep(etags).into_iter().map(|etag| etag.tag).collect())))
}

/// Reads a list of entity tags, quoted or (as S3 allows) bare.
fn parse_etags(list: &str) -> Option<Vec<Etag>> {
    let mut etags = Vec::new();
    let mut rest = list.trim_start();
    loop {
        let (weak, tail) = match rest.strip_prefix("W/") {
            Some(tail) => (true, tail),
            None => (false, rest),
        };
        let (tag, tail) = match tail.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => tail.split_at(tail.find(',').unwrap_or(tail.len())),
        };
        etags.push(Etag { tag: tag.trim().to_owned(), weak });
        let tail = tail.trim_start();
        if tail.is_empty() {
            return Some(etags);
        }
        rest = tail.strip_prefix(',')?.trim_start();
    }
}

/// All values of a header that may be a list, joined; one that is not text is refused.
fn joined(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, S3Error> {
    let mut joined: Option<String> = None;
    for value in headers.get_all(name) {
        let text = value.to_str();
        let text = text
            .map_err(|_| S3Error::invalid_argument(name, "", "The header's value is not readable text"))?
            .trim();
        match &mut joined {
            None => joined = Some(text.to_owned()),
            Some(all) => {
                all.push_str(", ");
                all.push_str(text);
            }
        }
    }
    Ok(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const BEFORE: &str = "Mon, 12 Oct 2009 17:50:29 GMT";
    const SAME: &str = "Mon, 12 Oct 2009 17:50:30 GMT";
    const MODIFIED: Hlc = Hlc(1_255_369_830_900 << 16);

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(*name, HeaderValue::from_static(value));
            map
        })
    }

    fn check(pairs: &[(&'static str, &'static str)]) -> Result<(), ReadRefusal> {
        ReadConditions::parse(&headers(pairs)).unwrap().check("abc", MODIFIED)
    }

    #[test]
    fn each_condition_of_a_read_counts_alone() {
        let failed = |name| Err(ReadRefusal::PreconditionFailed(name));
        let cases = [
            ("if-match", "\"abc\"", Ok(())),
            ("if-match", "abc", Ok(())),
            ("if-match", "*", Ok(())),
            ("if-match", "\"x\", \"abc\"", Ok(())),
            ("if-match", "\"x\"", failed("If-Match")),
            ("if-match", "W/\"abc\"", failed("If-Match")),
            ("if-none-match", "\"x\"", Ok(())),
            ("if-none-match", "\"abc\"", Err(ReadRefusal::NotModified)),
            ("if-none-match", "W/\"abc\"", Err(ReadRefusal::NotModified)),
            ("if-none-match", "*", Err(ReadRefusal::NotModified)),
            ("if-modified-since", BEFORE, Ok(())),
            ("if-modified-since", SAME, Err(ReadRefusal::NotModified)),
            ("if-modified-since", "nonsense", Ok(())),
            ("if-unmodified-since", BEFORE, failed("If-Unmodified-Since")),
            ("if-unmodified-since", SAME, Ok(())),
            ("if-unmodified-since", "nonsense", Ok(())),
        ];
        for (name, value, expected) in cases {
            assert_eq!(check(&[(name, value)]), expected, "{name}: {value}");
        }
    }

    type Headers = &'static [(&'static str, &'static str)];

    const ABSENT: Headers = &[];
    const MATCH_HOLDS: Headers = &[("if-match", "\"abc\"")];
    const MATCH_FAILS: Headers = &[("if-match", "\"x\"")];
    const UNMODIFIED_HOLDS: Headers = &[("if-unmodified-since", SAME)];
    const UNMODIFIED_FAILS: Headers = &[("if-unmodified-since", BEFORE)];
    const NONE_MATCH_HOLDS: Headers = &[("if-none-match", "\"x\"")];
    const NONE_MATCH_FAILS: Headers = &[("if-none-match", "\"abc\"")];
    const MODIFIED_HOLDS: Headers = &[("if-modified-since", BEFORE)];
    const MODIFIED_FAILS: Headers = &[("if-modified-since", SAME)];

    /// `If-Match` beside `If-Unmodified-Since`, and what they answer together.
    const PRECONDITIONS: [(Headers, Headers, Option<&str>); 9] = [
        (ABSENT, ABSENT, None),
        (ABSENT, UNMODIFIED_HOLDS, None),
        (ABSENT, UNMODIFIED_FAILS, Some("If-Unmodified-Since")),
        (MATCH_HOLDS, ABSENT, None),
        (MATCH_HOLDS, UNMODIFIED_HOLDS, None),
        (MATCH_HOLDS, UNMODIFIED_FAILS, None),
        (MATCH_FAILS, ABSENT, Some("If-Match")),
        (MATCH_FAILS, UNMODIFIED_HOLDS, Some("If-Match")),
        (MATCH_FAILS, UNMODIFIED_FAILS, Some("If-Match")),
    ];

    /// `If-None-Match` beside `If-Modified-Since`, and whether they answer that nothing changed.
    const CHANGES: [(Headers, Headers, bool); 9] = [
        (ABSENT, ABSENT, false),
        (ABSENT, MODIFIED_HOLDS, false),
        (ABSENT, MODIFIED_FAILS, true),
        (NONE_MATCH_HOLDS, ABSENT, false),
        (NONE_MATCH_HOLDS, MODIFIED_HOLDS, false),
        (NONE_MATCH_HOLDS, MODIFIED_FAILS, false),
        (NONE_MATCH_FAILS, ABSENT, true),
        (NONE_MATCH_FAILS, MODIFIED_HOLDS, true),
        (NONE_MATCH_FAILS, MODIFIED_FAILS, true),
    ];

    #[test]
    fn every_combination_of_conditions_has_the_precedence_of_s3() {
        for (if_match, unmodified, failed) in PRECONDITIONS {
            for (none_match, modified, unchanged) in CHANGES {
                let pairs = [if_match, unmodified, none_match, modified].concat();
                let expected = match (failed, unchanged) {
                    (Some(header), _) => Err(ReadRefusal::PreconditionFailed(header)),
                    (None, true) => Err(ReadRefusal::NotModified),
                    (None, false) => Ok(()),
                };
                assert_eq!(check(&pairs), expected, "{pairs:?}");
            }
        }
    }

    #[test]
    fn conditions_on_the_source_of_a_copy_have_the_precedence_of_reads_and_fail_as_412() {
        for (if_match, unmodified, failed) in PRECONDITIONS {
            for (none_match, modified, unchanged) in CHANGES {
                let pairs = [if_match, unmodified, none_match, modified].concat();
                let named = pairs.iter().map(|(name, value)| {
                    let name = http::HeaderName::try_from(format!("x-amz-copy-source-{name}")).unwrap();
                    (name, HeaderValue::from_static(value))
                });
                let conditions = ReadConditions::of_copy_source(&named.collect()).unwrap();
                let code = conditions.check_copy_source("abc", MODIFIED).map_err(|error| error.code);
                let holds = failed.is_none() && !unchanged;
                let expected = if holds { Ok(()) } else { Err(S3ErrorCode::PreconditionFailed) };
                assert_eq!(code, expected, "{pairs:?}");
            }
        }
        let plain = ReadConditions::of_copy_source(&headers(MATCH_FAILS)).unwrap();
        assert_eq!(plain, ReadConditions::default());
    }

    #[test]
    fn a_range_counts_only_for_the_object_the_client_began_with() {
        let applies = |pairs| ReadConditions::parse(&headers(pairs)).unwrap().range_applies("abc", MODIFIED);
        assert!(applies(&[]));
        assert!(applies(&[("if-range", "\"abc\"")]));
        assert!(!applies(&[("if-range", "\"x\"")]));
        assert!(!applies(&[("if-range", "W/\"abc\"")]));
        assert!(applies(&[("if-range", SAME)]));
        assert!(!applies(&[("if-range", BEFORE)]));
    }

    #[test]
    fn an_etag_that_must_not_be_there_is_refused_of_a_write_and_read_of_a_deletion() {
        for value in ["\"a\"", "a", "\"a\", *", "true", "W/\"a\""] {
            let sent = headers(&[("if-none-match", value)]);
            assert_eq!(write_conditions(&sent).unwrap_err().code, S3ErrorCode::NotImplemented, "{value}");
            assert!(delete_conditions(&sent, false).is_ok(), "{value}");
        }
    }

    #[test]
    fn an_abort_may_name_the_second_in_which_its_upload_began() {
        let check = |pairs: &[(&'static str, &'static str)]| {
            check_initiated(&headers(pairs), MODIFIED).map_err(|error| error.code)
        };
        let name = "x-amz-if-match-initiated-time";
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&[(name, SAME)]), Ok(()));
        assert_eq!(check(&[(name, BEFORE)]), Err(S3ErrorCode::PreconditionFailed));
        assert_eq!(check(&[(name, "yesterday")]), Err(S3ErrorCode::InvalidArgument));
    }

    #[test]
    fn the_conditions_of_a_write_are_read_and_dates_refused() {
        let parsed = write_conditions(&headers(&[("if-none-match", "*")])).unwrap();
        assert_eq!(parsed, Conditions { if_match: None, if_none_match: Some(EtagMatch::Any) });
        let parsed = write_conditions(&headers(&[("if-match", "\"a\""), ("if-match", "b")])).unwrap();
        let etags = Some(EtagMatch::Etags(vec!["a".into(), "b".into()]));
        assert_eq!(parsed, Conditions { if_match: etags, if_none_match: None });
        for (name, value, code) in [
            ("if-modified-since", SAME, S3ErrorCode::NotImplemented),
            ("if-unmodified-since", SAME, S3ErrorCode::NotImplemented),
            ("x-amz-if-match-size", "3", S3ErrorCode::NotImplemented),
            ("if-match", "\"a", S3ErrorCode::InvalidArgument),
            ("if-match", "\"a\" \"b\"", S3ErrorCode::InvalidArgument),
        ] {
            assert_eq!(
                write_conditions(&headers(&[(name, value)])).unwrap_err().code,
                code,
                "{name}: {value}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_value_is_read_or_refused_without_a_panic(value in "[W/\"a, *]{0,12}|.{0,12}") {
            let Ok(value) = HeaderValue::from_str(&value) else { return Ok(()) };
            let mut map = HeaderMap::new();
            for name in [IF_MATCH, IF_NONE_MATCH, IF_RANGE, IF_MODIFIED_SINCE] {
                map.insert(name, value.clone());
            }
            if let Ok(conditions) = ReadConditions::parse(&map) {
                let tagless = ReadConditions::default();
                prop_assert_ne!(conditions, tagless);
            }
        }
    }
}
