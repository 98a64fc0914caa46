//! Documents about buckets: their creation, location, access control list, and the list of them.

use super::Owner;
use super::reader::{XmlError, XmlReader, once};
use super::tagging;
use super::writer::XmlWriter;
use crate::s3::date::Iso8601;
use crate::s3::tags::Bearer;
use bytes::Bytes;
use siltstone_log::hlc::Hlc;

/// The body of `CreateBucket`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreateBucketConfiguration {
    /// The region asked for.
    pub location: Option<String>,
    /// The tags asked for.
    pub tags: Option<Vec<(String, String)>>,
    /// The name of an element that asks for something this server does not do.
    pub unsupported: Option<&'static str>,
}

impl CreateBucketConfiguration {
    /// Reads the document.
    pub fn parse(body: &[u8]) -> Result<Self, XmlError> {
        let mut reader = XmlReader::root(body, &["CreateBucketConfiguration", "CreateBucketConstraint"])?;
        let mut this = Self::default();
        while let Some(name) = reader.child()? {
            this.unsupported = match name.as_str() {
                "LocationConstraint" => {
                    once(&mut this.location, reader.text()?.trim().to_owned())?;
                    continue;
                }
                "Tags" => {
                    once(&mut this.tags, tagging::parse_set(&mut reader, Bearer::Bucket.max())?)?;
                    continue;
                }
                "Location" => Some("Location"),
                "Bucket" => Some("Bucket"),
                _ => return Err(XmlError::Unexpected),
            };
            reader.skip()?;
        }
        reader.finish()?;
        Ok(this)
    }
}

/// `LocationConstraint`: empty for S3's first region.
pub fn location_constraint(region: &str) -> Bytes {
    let region = if region == "us-east-1" { "" } else { region };
    XmlWriter::document("LocationConstraint", |w| w.characters(region))
}

/// `AccessControlPolicy` of what is the owner's alone.
pub fn owner_full_control(owner: &Owner) -> Bytes {
    const SCHEMA: &str = "http://www.w3.org/2001/XMLSchema-instance";
    XmlWriter::document("AccessControlPolicy", |w| {
        owner.write("Owner", w);
        w.element("AccessControlList", |w| {
            w.element("Grant", |w| {
                let attributes = [("xmlns:xsi", SCHEMA), ("xsi:type", "CanonicalUser")];
                w.element_with("Grantee", &attributes, |w| {
                    w.text("ID", &owner.id);
                    w.text("DisplayName", &owner.display_name);
                });
                w.plain("Permission", "FULL_CONTROL");
            });
        });
    })
}

/// A configuration in which nothing is set.
pub fn empty_configuration(root: &str) -> Bytes {
    XmlWriter::document(root, |_| {})
}

/// A configuration with one value.
pub fn configuration(root: &str, name: &str, value: &str) -> Bytes {
    XmlWriter::document(root, |w| w.text(name, value))
}

/// A bucket in the list of buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedBucket {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Hlc,
    /// Where it is.
    pub region: String,
}

/// `ListAllMyBucketsResult`.
pub fn list_buckets(
    owner: &Owner,
    buckets: &[ListedBucket],
    prefix: Option<&str>,
    continuation_token: Option<&str>,
) -> Bytes {
    XmlWriter::with_capacity(512 + buckets.len() * 192, "ListAllMyBucketsResult", |w| {
        owner.write("Owner", w);
        w.element("Buckets", |w| {
            for bucket in buckets {
                w.element("Bucket", |w| {
                    w.text("Name", &bucket.name);
                    w.plain("CreationDate", Iso8601(bucket.created));
                    w.text("BucketRegion", &bucket.region);
                });
            }
        });
        w.optional_text("ContinuationToken", continuation_token);
        w.optional_text("Prefix", prefix);
    })
}

/// An access control list that grants the owner full control and nobody anything; what `PUT ?acl` may say.
pub fn is_owner_full_control(body: &[u8], owner: &Owner) -> Result<bool, XmlError> {
    let mut reader = XmlReader::root(body, &["AccessControlPolicy"])?;
    let mut only_owner = true;
    while let Some(name) = reader.child()? {
        match name.as_str() {
            "Owner" => only_owner &= child_text(&mut reader, "ID")?.is_none_or(|id| id == owner.id),
            "AccessControlList" => only_owner &= grants_owner_only(&mut reader, owner)?,
            _ => return Err(XmlError::Unexpected),
        }
    }
    reader.finish()?;
    Ok(only_owner)
}

fn grants_owner_only(reader: &mut XmlReader<'_>, owner: &Owner) -> Result<bool, XmlError> {
    let mut only_owner = true;
    while let Some(name) = reader.child()? {
        if name != "Grant" {
            return Err(XmlError::Unexpected);
        }
        let (mut grantee, mut permission) = (None, None);
        while let Some(name) = reader.child()? {
            match name.as_str() {
                "Grantee" => once(&mut grantee, child_text(reader, "ID")?)?,
                "Permission" => once(&mut permission, reader.text()?)?,
                _ => return Err(XmlError::Unexpected),
            }
        }
        only_owner &= grantee.flatten().is_some_and(|id| id == owner.id)
            && permission.is_some_and(|permission| permission == "FULL_CONTROL");
    }
    Ok(only_owner)
}

/// The text of one child of the element we are in; leaves the element.
fn child_text(reader: &mut XmlReader<'_>, wanted: &str) -> Result<Option<String>, XmlError> {
    let mut found = None;
    while let Some(name) = reader.child()? {
        if name == wanted { once(&mut found, reader.text()?)? } else { reader.skip()? }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner { id: "o1".into(), display_name: "Otto".into() }
    }

    fn after_declaration(document: &Bytes) -> &str {
        std::str::from_utf8(document)
            .unwrap()
            .strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
            .unwrap()
    }

    #[test]
    fn the_configuration_of_a_new_bucket_is_read() {
        let parse = |body: &str| CreateBucketConfiguration::parse(body.as_bytes());
        let root = |inner: &str| {
            parse(&format!(
                "<CreateBucketConfiguration xmlns='http://s3.amazonaws.com/doc/2006-03-01/'>{inner}\
                 </CreateBucketConfiguration>"
            ))
        };
        let located = |location: &str| CreateBucketConfiguration {
            location: Some(location.into()),
            ..Default::default()
        };
        assert_eq!(root("<LocationConstraint> eu-west-1\n</LocationConstraint>"), Ok(located("eu-west-1")));
        assert_eq!(root("<LocationConstraint/>"), Ok(located("")));
        assert_eq!(root(""), Ok(CreateBucketConfiguration::default()));
        let tags = root("<Tags><Tag><Key>k</Key><Value>v</Value></Tag></Tags>").unwrap();
        assert_eq!(tags.tags, Some(vec![("k".to_owned(), "v".to_owned())]));
        assert_eq!(root("<Bucket><Type>Directory</Type></Bucket>").unwrap().unsupported, Some("Bucket"));
        assert_eq!(root("<LocationConstraint/><LocationConstraint/>"), Err(XmlError::Unexpected));
        assert_eq!(root("<Other/>"), Err(XmlError::Unexpected));
        assert_eq!(parse("<Tags><Tag>"), Err(XmlError::Unexpected));
        assert_eq!(parse("<CreateBucketConfiguration><Tags><Tag>"), Err(XmlError::Syntax));
    }

    #[test]
    fn the_first_region_is_shown_as_none() {
        let root = "<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
        for (region, shown) in [("us-east-1", ""), ("eu-west-1", "eu-west-1")] {
            let document = location_constraint(region);
            assert_eq!(after_declaration(&document), format!("{root}{shown}</LocationConstraint>"));
        }
    }

    #[test]
    fn the_owner_has_full_control_and_only_that_list_is_accepted() {
        let document = owner_full_control(&owner());
        let expected = "<AccessControlPolicy xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
            <Owner><ID>o1</ID><DisplayName>Otto</DisplayName></Owner><AccessControlList><Grant>\
            <Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\">\
            <ID>o1</ID><DisplayName>Otto</DisplayName></Grantee><Permission>FULL_CONTROL</Permission></Grant>\
            </AccessControlList></AccessControlPolicy>";
        assert_eq!(after_declaration(&document), expected);
        assert_eq!(is_owner_full_control(&document, &owner()), Ok(true));
        for (from, to) in
            [("FULL_CONTROL", "READ"), ("<ID>o1</ID>", "<ID>o2</ID>"), ("<ID>o1</ID>", "<URI>all</URI>")]
        {
            let changed = expected.replace(from, to);
            assert_eq!(is_owner_full_control(changed.as_bytes(), &owner()), Ok(false), "{to}");
        }
        assert_eq!(is_owner_full_control(b"<AccessControlPolicy>", &owner()), Err(XmlError::Syntax));
    }

    #[test]
    fn buckets_are_listed_with_their_owner_first() {
        let buckets = [ListedBucket {
            name: "b-1".into(),
            created: Hlc::from_millis(1_255_369_830_007),
            region: "eu".into(),
        }];
        let document = list_buckets(&owner(), &buckets, Some("b"), Some("t"));
        let expected = "<ListAllMyBucketsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
            <Owner><ID>o1</ID><DisplayName>Otto</DisplayName></Owner><Buckets><Bucket><Name>b-1</Name>\
            <CreationDate>2009-10-12T17:50:30.007Z</CreationDate><BucketRegion>eu</BucketRegion></Bucket></Buckets>\
            <ContinuationToken>t</ContinuationToken><Prefix>b</Prefix></ListAllMyBucketsResult>";
        assert_eq!(after_declaration(&document), expected);
    }

    #[test]
    fn a_configuration_that_is_not_there_is_an_empty_document() {
        let root = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
        let empty = empty_configuration("VersioningConfiguration");
        assert_eq!(
            after_declaration(&empty),
            format!("<VersioningConfiguration {root}></VersioningConfiguration>")
        );
        let payer = configuration("RequestPaymentConfiguration", "Payer", "BucketOwner");
        let expected = format!(
            "<RequestPaymentConfiguration {root}><Payer>BucketOwner</Payer></RequestPaymentConfiguration>"
        );
        assert_eq!(after_declaration(&payer), expected);
    }
}
