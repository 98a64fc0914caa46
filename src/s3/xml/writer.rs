//! Writes XML as S3 does: no indentation, `&quot;` in text (ETags), numeric references for what XML 1.0 cannot carry.

use bytes::Bytes;
use std::fmt::Write as _;

/// The namespace of every S3 document but errors.
pub const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// What every document begins with.
pub const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Writes one document. Elements are opened and closed by [`XmlWriter::element`] alone, so the tags always match.
#[derive(Debug)]
pub struct XmlWriter {
    out: String,
}

impl XmlWriter {
    /// A whole document whose root carries the S3 namespace.
    pub fn document(root: &str, content: impl FnOnce(&mut Self)) -> Bytes {
        Self::with_capacity(512, root, content)
    }

    /// Like [`XmlWriter::document`], with room for what a listing is known to need.
    pub fn with_capacity(capacity: usize, root: &str, content: impl FnOnce(&mut Self)) -> Bytes {
        let mut writer = Self::begin(capacity);
        writer.element_with(root, &[("xmlns", NAMESPACE)], content);
        Bytes::from(writer.out)
    }

    /// A whole document whose root carries no namespace, as S3's errors do.
    pub fn plain_document(root: &str, content: impl FnOnce(&mut Self)) -> Bytes {
        let mut writer = Self::begin(512);
        writer.element(root, content);
        Bytes::from(writer.out)
    }

    fn begin(capacity: usize) -> Self {
        let mut out = String::with_capacity(capacity);
        out.push_str(DECLARATION);
        Self { out }
    }

    /// An element with what `content` writes in it.
    pub fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.element_with(name, &[], content);
    }

    /// An element with attributes.
    pub fn element_with(&mut self, name: &str, attributes: &[(&str, &str)], content: impl FnOnce(&mut Self)) {
        self.out.push('<');
        self.out.push_str(name);
        for (attribute, value) in attributes {
            self.out.push(' ');
            self.out.push_str(attribute);
            self.out.push_str("=\"");
            self.escaped(value);
            self.out.push('"');
        }
        self.out.push('>');
        content(self);
        self.close(name);
    }

    /// An element with text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.open(name);
        self.escaped(value);
        self.close(name);
    }

    /// An element with text, where there is any value at all.
    pub fn optional_text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// An element whose text is what `value` shows and needs no escaping: numbers, booleans, dates, base64.
    pub fn plain(&mut self, name: &str, value: impl std::fmt::Display) {
        self.open(name);
        // Writing into a String cannot fail.
        let _ = write!(self.out, "{value}");
        self.close(name);
    }

    /// An `ETag` element: the tag in (escaped) quotes.
    pub fn etag(&mut self, etag: &str) {
        self.out.push_str("<ETag>&quot;");
        self.escaped(etag);
        self.out.push_str("&quot;</ETag>");
    }

    /// Text of the element we are in.
    pub fn characters(&mut self, value: &str) {
        self.escaped(value);
    }

    fn open(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
    }

    fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    /// Text with what markup needs escaped, and control characters and non-characters as references. XML 1.0 has no
    /// form for the latter; S3 writes the references all the same, and offers `encoding-type=url` to strict parsers.
    fn escaped(&mut self, value: &str) {
        let mut rest = value;
        while let Some(at) = rest.find(needs_escape) {
            let (clean, tail) = rest.split_at(at);
            self.out.push_str(clean);
            let mut chars = tail.chars();
            match chars.next() {
                Some('&') => self.out.push_str("&amp;"),
                Some('<') => self.out.push_str("&lt;"),
                Some('>') => self.out.push_str("&gt;"),
                Some('"') => self.out.push_str("&quot;"),
                Some(other) => {
                    let _ = write!(self.out, "&#x{:x};", u32::from(other));
                }
                None => {}
            }
            rest = chars.as_str();
        }
        self.out.push_str(rest);
    }
}

fn needs_escape(c: char) -> bool {
    matches!(c, '&' | '<' | '>' | '"' | '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::xml::reader::XmlReader;
    use proptest::prelude::*;

    #[test]
    fn a_document_has_the_declaration_and_the_namespace() {
        let bytes = XmlWriter::document("A", |w| {
            w.plain("N", 7);
            w.text("T", "a<b>&\"c'");
            w.element_with("G", &[("k", "v\"")], |w| w.etag("ab"));
            w.optional_text("Absent", None);
        });
        assert_eq!(
            bytes,
            concat!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
                "<A xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><N>7</N><T>a&lt;b&gt;&amp;&quot;c'</T>",
                "<G k=\"v&quot;\"><ETag>&quot;ab&quot;</ETag></G></A>"
            )
        );
    }

    #[test]
    fn characters_that_xml_cannot_carry_become_references() {
        let bytes = XmlWriter::plain_document("A", |w| w.text("K", "a\u{1}\n\r\u{7f}\u{ffff}z"));
        assert_eq!(
            bytes,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<A><K>a&#x1;&#xa;&#xd;&#x7f;&#xffff;z</K></A>"
        );
    }

    proptest! {
        #[test]
        fn any_text_that_xml_can_carry_is_read_back_as_it_was_written(
            text in "[\t\n\r -\u{fffd}\u{10000}-\u{10ffff}]{0,64}",
        ) {
            let bytes = XmlWriter::document("A", |w| w.text("K", &text));
            let mut reader = XmlReader::root(&bytes, &["A"]).unwrap();
            prop_assert!(reader.child().unwrap().is_some_and(|name| name == "K"));
            prop_assert_eq!(reader.text().unwrap(), text);
            prop_assert!(reader.child().unwrap().is_none());
            reader.finish().unwrap();
        }
    }
}
