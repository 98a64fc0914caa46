//! `Tagging`: names and values, as clients send and read them.

use super::reader::{XmlError, XmlReader, once};
use super::writer::XmlWriter;
use bytes::Bytes;

/// Reads the document, which may hold so many tags ([`XmlError::TooMany`] beyond).
pub fn parse(body: &[u8], max: usize) -> Result<Vec<(String, String)>, XmlError> {
    let mut reader = XmlReader::root(body, &["Tagging"])?;
    let mut set = None;
    while let Some(name) = reader.child()? {
        match name.as_str() {
            "TagSet" => once(&mut set, parse_set(&mut reader, max)?)?,
            _ => return Err(XmlError::Unexpected),
        }
    }
    reader.finish()?;
    set.ok_or(XmlError::Missing)
}

/// Reads the `Tag` elements below the one just begun.
pub(super) fn parse_set(reader: &mut XmlReader<'_>, max: usize) -> Result<Vec<(String, String)>, XmlError> {
    let mut tags = Vec::new();
    while let Some(name) = reader.child()? {
        match name.as_str() {
            "Tag" if tags.len() == max => return Err(XmlError::TooMany),
            "Tag" => tags.push(parse_tag(reader)?),
            _ => return Err(XmlError::Unexpected),
        }
    }
    Ok(tags)
}

fn parse_tag(reader: &mut XmlReader<'_>) -> Result<(String, String), XmlError> {
    let (mut key, mut value) = (None, None);
    while let Some(name) = reader.child()? {
        match name.as_str() {
            "Key" => once(&mut key, reader.text()?)?,
            "Value" => once(&mut value, reader.text()?)?,
            _ => return Err(XmlError::Unexpected),
        }
    }
    key.zip(value).ok_or(XmlError::Missing)
}

/// Writes the document.
pub fn tagging(tags: &[(String, String)]) -> Bytes {
    XmlWriter::document("Tagging", |w| {
        w.element("TagSet", |w| {
            for (key, value) in tags {
                w.element("Tag", |w| {
                    w.text("Key", key);
                    w.text("Value", value);
                });
            }
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_a_set_of_whole_tags_is_read() {
        let tag = "<Tag><Key> a&amp;b </Key><Value/></Tag>";
        let document = |inner: &str| parse(format!("<Tagging>{inner}</Tagging>").as_bytes(), 1);
        let one = vec![(" a&b ".to_owned(), String::new())];
        assert_eq!(document(&format!("<TagSet>{tag}</TagSet>")), Ok(one));
        assert_eq!(document("<TagSet/>"), Ok(vec![]));
        for (inner, error) in [
            (String::new(), XmlError::Missing),
            (format!("<TagSet>{tag}{tag}</TagSet>"), XmlError::TooMany),
            ("<TagSet/><TagSet/>".to_owned(), XmlError::Unexpected),
            ("<TagSet><Tag><Key>a</Key></Tag></TagSet>".to_owned(), XmlError::Missing),
            ("<TagSet><Tag><Value>a</Value></Tag></TagSet>".to_owned(), XmlError::Missing),
            ("<TagSet><Tag><Key>a</Key><Key>a</Key></Tag></TagSet>".to_owned(), XmlError::Unexpected),
            ("<TagSet><Other/></TagSet>".to_owned(), XmlError::Unexpected),
            ("<Other/>".to_owned(), XmlError::Unexpected),
        ] {
            assert_eq!(document(&inner), Err(error), "{inner}");
        }
        assert_eq!(parse(b"<Tags><TagSet/></Tags>", 1), Err(XmlError::Unexpected));
    }

    proptest! {
        #[test]
        fn tags_survive_their_document(
            tags in prop::collection::vec(("[ -\u{fffd}]{0,9}", "[ -\u{fffd}]{0,9}"), 0..4),
        ) {
            prop_assert_eq!(parse(&tagging(&tags), 4), Ok(tags));
        }

        #[test]
        fn any_body_is_read_or_refused_without_a_panic(body: Vec<u8>, inner in "(</?(TagSet|Tag|Key|Value)>|.){0,8}") {
            prop_assert!(parse(&body, 2).is_err());
            let wrapped = format!("<Tagging>{inner}</Tagging>");
            let _ = parse(wrapped.as_bytes(), 2).map(|tags| assert!(tags.len() <= 2));
        }
    }
}
