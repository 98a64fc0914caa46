//! Reads the few documents that clients send: element text in a known shape, nothing else.
//!
//! A pull parser over the body: no tree is built, so memory follows what the typed readers keep (each bounds its own
//! lists) and not the number of elements. Document types, processing instructions and entities other than the five
//! predefined ones are refused, so there is nothing to expand.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

/// How deep elements may be nested.
pub const MAX_DEPTH: usize = 64;

/// The document is not what S3's schema asks for (`MalformedXML`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum XmlError {
    /// Not UTF-8, not well-formed, or cut short.
    #[error("the document is not well-formed XML")]
    Syntax,
    /// A document type, a processing instruction or an entity that is not predefined.
    #[error("document types, processing instructions and entities are not accepted")]
    Forbidden,
    /// More than [`MAX_DEPTH`] elements inside each other.
    #[error("elements are nested too deeply")]
    TooDeep,
    /// An element where the schema has none, text between elements, or an element twice that may be there once.
    #[error("the document has an element or text that its schema does not allow")]
    Unexpected,
    /// An element that the schema demands is absent.
    #[error("the document lacks an element that its schema demands")]
    Missing,
    /// An element's text is not of its type.
    #[error("an element's value is not valid")]
    InvalidValue,
    /// More entries than the operation takes.
    #[error("the document has too many entries")]
    TooMany,
}

/// Walks one document from its root element to its end.
pub struct XmlReader<'a> {
    reader: Reader<&'a [u8]>,
    depth: usize,
    /// A self-closed element was entered: its end is still to be told.
    at_empty: bool,
}

enum Token<'a> {
    Start(String),
    End,
    Text(std::borrow::Cow<'a, str>),
    Reference(char),
    Eof,
}

impl<'a> XmlReader<'a> {
    /// Begins a document and enters its root, which must have one of the given local names.
    pub fn root(body: &'a [u8], names: &[&str]) -> Result<Self, XmlError> {
        let text = std::str::from_utf8(body).map_err(|_| XmlError::Syntax)?;
        // S3 refuses them too, and the answer, which repeats keys, could not carry them either.
        if !text.chars().all(is_xml_char) {
            return Err(XmlError::Syntax);
        }
        // A byte order mark is no content.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = Reader::from_str(text);
        reader.config_mut().check_end_names = true;
        let mut this = Self { reader, depth: 0, at_empty: false };
        match this.child()? {
            Some(name) if names.contains(&name.as_str()) => Ok(this),
            Some(_) => Err(XmlError::Unexpected),
            None => Err(XmlError::Syntax),
        }
    }

    fn next(&mut self) -> Result<Token<'a>, XmlError> {
        if std::mem::take(&mut self.at_empty) {
            self.depth = self.depth.saturating_sub(1);
            return Ok(Token::End);
        }
        loop {
            let event = self.reader.read_event().map_err(|_| XmlError::Syntax)?;
            let (start, empty) = match event {
                Event::Start(start) => (start, false),
                Event::Empty(start) => (start, true),
                Event::End(_) => {
                    self.depth = self.depth.checked_sub(1).ok_or(XmlError::Syntax)?;
                    return Ok(Token::End);
                }
                Event::Text(text) => return Ok(Token::Text(text.xml10_content())),
                Event::CData(data) => return Ok(Token::Text(data.xml10_content())),
                Event::GeneralRef(reference) => return resolve(&reference).map(Token::Reference),
                Event::Decl(_) if self.depth == 0 => continue,
                Event::Comment(_) => continue,
                Event::Decl(_) | Event::PI(_) | Event::DocType(_) => return Err(XmlError::Forbidden),
                Event::Eof => return Ok(Token::Eof),
            };
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(XmlError::TooDeep);
            }
            self.at_empty = empty;
            let name = start.local_name();
            return Ok(Token::Start(name.as_ref().to_owned()));
        }
    }

    /// Enters the next child of the element we are in and gives its local name; `None` at the element's end, which
    /// is left thereby.
    pub fn child(&mut self) -> Result<Option<String>, XmlError> {
        loop {
            match self.next()? {
                Token::Start(name) => return Ok(Some(name)),
                Token::End => return Ok(None),
                Token::Text(text) if text.trim_matches([' ', '\t', '\r', '\n']).is_empty() => {}
                Token::Text(_) | Token::Reference(_) => return Err(XmlError::Unexpected),
                Token::Eof => return Err(XmlError::Syntax),
            }
        }
    }

    /// The text of the element we are in, which has no children; leaves it.
    pub fn text(&mut self) -> Result<String, XmlError> {
        let mut text = String::new();
        loop {
            match self.next()? {
                Token::Text(piece) => text.push_str(&piece),
                Token::Reference(c) => text.push(c),
                Token::End => return Ok(text),
                Token::Start(_) => return Err(XmlError::Unexpected),
                Token::Eof => return Err(XmlError::Syntax),
            }
        }
    }

    /// The text of the element we are in as a value of some type, white space around it ignored; leaves it.
    pub fn value<T: std::str::FromStr>(&mut self) -> Result<T, XmlError> {
        self.text()?.trim().parse().map_err(|_| XmlError::InvalidValue)
    }

    /// Leaves the element we are in without looking at what it holds.
    pub fn skip(&mut self) -> Result<(), XmlError> {
        let depth = self.depth;
        loop {
            match self.next()? {
                Token::End if self.depth < depth => return Ok(()),
                Token::Eof => return Err(XmlError::Syntax),
                Token::Start(_) | Token::End | Token::Text(_) | Token::Reference(_) => {}
            }
        }
    }

    /// Checks that nothing follows the root, which has been left.
    pub fn finish(mut self) -> Result<(), XmlError> {
        loop {
            match self.next()? {
                Token::Eof => return Ok(()),
                Token::Text(text) if text.trim().is_empty() => {}
                Token::Text(_) | Token::Reference(_) | Token::Start(_) | Token::End => {
                    return Err(XmlError::Syntax);
                }
            }
        }
    }
}

/// What a document may contain, as itself or as a reference (`Char` of XML 1.0).
fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

fn resolve(reference: &BytesRef<'_>) -> Result<char, XmlError> {
    if let Some(c) = reference.resolve_char_ref().map_err(|_| XmlError::Syntax)? {
        return if is_xml_char(c) { Ok(c) } else { Err(XmlError::Syntax) };
    }
    match &**reference {
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "amp" => Ok('&'),
        "apos" => Ok('\''),
        "quot" => Ok('"'),
        _ => Err(XmlError::Forbidden),
    }
}

/// Stores a value that may be given once only.
pub(super) fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), XmlError> {
    if slot.replace(value).is_some() { Err(XmlError::Unexpected) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text_of(document: &str) -> Result<String, XmlError> {
        let mut reader = XmlReader::root(document.as_bytes(), &["A"])?;
        let text = reader.text()?;
        reader.finish()?;
        Ok(text)
    }

    #[test]
    fn text_is_put_together_from_its_pieces() {
        let cases = [
            ("<A>x</A>", "x"),
            ("\u{feff}<?xml version='1.0'?>\n<A/> \n", ""),
            ("<p:A xmlns:p='u'>a&amp;b&#65;&#x42;<![CDATA[<c>]]><!-- no -->d</p:A>", "a&bAB<c>d"),
            ("<A> two\r\nlines </A>", " two\nlines "),
            ("<A>&#13;</A>", "\r"),
        ];
        for (document, text) in cases {
            assert_eq!(text_of(document).as_deref(), Ok(text), "{document}");
        }
    }

    #[test]
    fn what_is_no_plain_document_is_refused() {
        let cases = [
            ("", XmlError::Syntax),
            ("x", XmlError::Unexpected),
            ("<A>", XmlError::Syntax),
            ("<A></B>", XmlError::Syntax),
            ("</A>", XmlError::Syntax),
            ("<A/><A/>", XmlError::Syntax),
            ("<A/>x", XmlError::Syntax),
            ("<B/>", XmlError::Unexpected),
            ("<A><B/></A>", XmlError::Unexpected),
            ("<A>&nbsp;</A>", XmlError::Forbidden),
            ("<A>&#0;</A>", XmlError::Syntax),
            ("<A>&#x1;</A>", XmlError::Syntax),
            ("<A>\u{1}</A>", XmlError::Syntax),
            ("<A>&#xffff;</A>", XmlError::Syntax),
            ("<A>&#xd800;</A>", XmlError::Syntax),
            ("<!DOCTYPE A [<!ENTITY e \"x\">]><A>&e;</A>", XmlError::Forbidden),
            ("<?php x?><A/>", XmlError::Forbidden),
        ];
        for (document, error) in cases {
            assert_eq!(text_of(document), Err(error), "{document}");
        }
        assert_eq!(XmlReader::root(b"<A>\xff</A>", &["A"]).err(), Some(XmlError::Syntax));
    }

    #[test]
    fn nesting_ends_at_the_limit() {
        let descend = |depth: usize| {
            let document = "<A>".repeat(depth) + &"</A>".repeat(depth);
            let mut reader = XmlReader::root(document.as_bytes(), &["A"])?;
            while reader.child()?.is_some() {}
            Ok(())
        };
        assert_eq!(descend(MAX_DEPTH), Ok(()));
        assert_eq!(descend(MAX_DEPTH + 1), Err(XmlError::TooDeep));
        assert_eq!(descend(100_000), Err(XmlError::TooDeep));
    }

    proptest! {
        #[test]
        fn any_document_is_read_or_refused_without_a_panic(
            pieces in prop::collection::vec(prop_oneof![
                Just("<A>".to_owned()), Just("</A>".to_owned()), Just("<A/>".to_owned()), Just("&amp;".to_owned()),
                Just("<![CDATA[".to_owned()), Just("]]>".to_owned()), Just("<!--".to_owned()), ".{0,4}",
            ], 0..12),
        ) {
            let document = pieces.concat();
            if let Ok(mut reader) = XmlReader::root(document.as_bytes(), &["A"]) {
                for _ in 0..20 {
                    if !matches!(reader.child(), Ok(Some(_))) { break }
                }
            }
            let _ = text_of(&document).map(|text| assert!(text.len() <= document.len()));
        }
    }
}
