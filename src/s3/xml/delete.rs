//! `DeleteObjects`: the keys asked for, and what became of each.

use super::reader::{XmlError, XmlReader, once};
use super::writer::XmlWriter;
use crate::engine::Deleted;
use crate::engine::command::MAX_DELETE_KEYS;
use bytes::Bytes;

/// The body of `DeleteObjects`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRequest {
    /// Whether the answer names only the keys that were not deleted.
    pub quiet: bool,
    /// The keys, at least one.
    pub objects: Vec<NamedObject>,
}

/// An object to be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamedObject {
    /// Its key, not yet checked.
    pub key: String,
    /// Which version; empty is the same as none.
    pub version_id: Option<String>,
    /// What its ETag must be, without quotes.
    pub etag: Option<String>,
    /// Whether it sets a condition that only directory buckets know (`LastModifiedTime`, `Size`).
    pub other_condition: bool,
}

impl DeleteRequest {
    /// Reads the document.
    pub fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut reader = XmlReader::root(body, &["Delete"])?;
        let mut quiet = None;
        let mut objects = Vec::new();
        while let Some(name) = reader.child()? {
            match name.as_str() {
                "Quiet" => once(&mut quiet, reader.value()?)?,
                "Object" if objects.len() == MAX_DELETE_KEYS => return Err(XmlError::TooMany),
                "Object" => objects.push(parse_object(&mut reader)?),
                _ => return Err(XmlError::Unexpected),
            }
        }
        reader.finish()?;
        if objects.is_empty() {
            Err(XmlError::Missing)
        } else {
            Ok(Self { quiet: quiet.unwrap_or(false), objects })
        }
    }
}

fn parse_object(reader: &mut XmlReader<'_>) -> Result<NamedObject, XmlError> {
    let (mut key, mut version_id, mut etag, mut other_condition) = (None, None, None, false);
    while let Some(name) = reader.child()? {
        match name.as_str() {
            "Key" => once(&mut key, reader.text()?)?,
            "VersionId" => once(&mut version_id, reader.text()?)?,
            "ETag" => once(&mut etag, reader.text()?.trim().trim_matches('"').to_owned())?,
            "LastModifiedTime" | "Size" => {
                reader.text()?;
                other_condition = true;
            }
            _ => return Err(XmlError::Unexpected),
        }
    }
    let key = key.filter(|key| !key.is_empty()).ok_or(XmlError::Missing)?;
    let version_id = version_id.filter(|id: &String| !id.is_empty());
    Ok(NamedObject { key, version_id, etag, other_condition })
}

/// What became of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeletedObject<'a> {
    /// As the client named it.
    pub object: &'a NamedObject,
    /// What was deleted, or code and message of the refusal.
    pub result: Result<Deleted, (&'a str, &'a str)>,
}

/// `DeleteResult`. In quiet mode only errors are named.
pub fn delete_result<'a>(results: impl Iterator<Item = DeletedObject<'a>>, quiet: bool) -> Bytes {
    XmlWriter::document("DeleteResult", |w| {
        for DeletedObject { object, result } in results {
            match result {
                Ok(_) if quiet => {}
                Ok(deleted) => w.element("Deleted", |w| {
                    w.text("Key", &object.key);
                    w.optional_text("VersionId", object.version_id.as_deref());
                    if deleted.marker {
                        w.text("DeleteMarker", "true");
                        let id = deleted.version.map(|version| version.to_string());
                        w.optional_text("DeleteMarkerVersionId", id.as_deref());
                    }
                }),
                Err((code, message)) => w.element("Error", |w| {
                    w.text("Key", &object.key);
                    w.optional_text("VersionId", object.version_id.as_deref());
                    w.text("Code", code);
                    w.text("Message", message);
                }),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn object(key: &str) -> NamedObject {
        NamedObject { key: key.to_owned(), ..NamedObject::default() }
    }

    #[test]
    fn a_request_is_read_with_what_its_objects_may_carry() {
        let body = "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n <Object><Key> a&amp;b </Key></Object>\
                    <Object><Key>c</Key><VersionId>null</VersionId><ETag>&quot;e&quot;</ETag></Object>\
                    <Object><Key>d</Key><VersionId/><Size>3</Size></Object><Quiet>true</Quiet></Delete>";
        let expected = DeleteRequest {
            quiet: true,
            objects: vec![
                object(" a&b "),
                NamedObject { version_id: Some("null".into()), etag: Some("e".into()), ..object("c") },
                NamedObject { other_condition: true, ..object("d") },
            ],
        };
        assert_eq!(DeleteRequest::parse(body.as_bytes()), Ok(expected));
    }

    #[test]
    fn wrong_requests_are_refused() {
        let many = |count| {
            let objects = "<Object><Key>k</Key></Object>".repeat(count);
            DeleteRequest::parse(format!("<Delete>{objects}</Delete>").as_bytes())
                .map(|request| request.objects.len())
        };
        assert_eq!(many(1000), Ok(1000));
        assert_eq!(many(1001), Err(XmlError::TooMany));
        assert_eq!(many(0), Err(XmlError::Missing));
        for (body, error) in [
            ("<Delete><Object/></Delete>", XmlError::Missing),
            ("<Delete><Object><Key/></Object></Delete>", XmlError::Missing),
            ("<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>", XmlError::Unexpected),
            ("<Delete><Quiet>maybe</Quiet><Object><Key>a</Key></Object></Delete>", XmlError::InvalidValue),
            ("<Delete><Object><Key>a</Key><Other/></Object></Delete>", XmlError::Unexpected),
            ("<Deleted><Object><Key>a</Key></Object></Deleted>", XmlError::Unexpected),
        ] {
            assert_eq!(DeleteRequest::parse(body.as_bytes()), Err(error), "{body}");
        }
    }

    #[test]
    fn the_result_names_every_key_or_in_quiet_mode_the_errors() {
        let (deleted, failed) = (object("a"), NamedObject { version_id: Some("v".into()), ..object("<b") });
        let results = [
            DeletedObject { object: &deleted, result: Ok(Deleted::default()) },
            DeletedObject { object: &failed, result: Err(("NoSuchVersion", "none")) },
        ];
        let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                    <DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
        let error = "<Error><Key>&lt;b</Key><VersionId>v</VersionId><Code>NoSuchVersion</Code>\
                     <Message>none</Message></Error></DeleteResult>";
        let shown = |quiet| delete_result(results.into_iter(), quiet);
        assert_eq!(shown(false), format!("{head}<Deleted><Key>a</Key></Deleted>{error}"));
        assert_eq!(shown(true), format!("{head}{error}"));
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused_without_a_panic(body: Vec<u8>, inner in "(<(Object|Key|Quiet|/Key|/Object)>|.){0,8}") {
            prop_assert!(DeleteRequest::parse(&body).is_err());
            let wrapped = format!("<Delete>{inner}</Delete>");
            let _ = DeleteRequest::parse(wrapped.as_bytes()).map(|request| assert!(!request.objects.is_empty()));
        }
    }
}
