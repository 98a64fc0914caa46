//! A record as JSON: the one form that `log inspect`, `log tail` and `log export` print (`docs/events.md`).

use super::bound::Range;
use crate::cli::data;
use crate::hex::hex;
use clap::Args;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::Serialize;
use serde_json::{Map, Value, json};
use siltstone_log::event::{Body, DecodeError, Event};
use siltstone_log::id::{Position, StreamId};
use siltstone_log::reader::{ReadItem, Unreadable};
use siltstone_log::record::Record;
use std::fmt;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// RFC 3339 with milliseconds, always three digits, so that lines sort by their text.
const TIME: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Instead of an event's name: its body was erased.
const ERASED: &str = "erased";
/// Instead of an event's name, with the number behind: a newer version's.
const UNKNOWN_TYPE: &str = "type ";

/// The records that are wanted.
#[derive(Debug, Clone)]
pub struct Selection {
    /// From where to where.
    pub range: Range,
    /// Of which stream, and which event.
    pub filter: Filter,
}

/// Records of one stream, or of one event.
#[derive(Debug, Clone, Default, Args)]
pub struct Filter {
    /// Only this stream: system, access, telemetry or an id
    #[arg(long, value_parser = stream_name)]
    stream: Option<String>,
    /// Only this event, for example ObjectPut
    #[arg(long, value_parser = event_name)]
    event: Option<String>,
}

/// Something of the log, to be shown.
pub struct Shown {
    /// Its last position.
    pub last: Position,
    /// Whether it is a range that cannot be read and that nobody has given up.
    pub damaged: bool,
    /// As JSON.
    pub value: Value,
}

impl Selection {
    /// Whether nothing more can come at or behind a position.
    pub fn is_past(&self, position: Position) -> bool {
        self.range.is_past(position.get())
    }

    /// What is wanted of an item, in order. Ranges that cannot be read are always wanted: anything could be in them.
    pub fn of(&self, item: ReadItem) -> Vec<Shown> {
        match item {
            ReadItem::Records(records) => records.iter().filter_map(|record| self.show(record)).collect(),
            ReadItem::Unreadable(range) if self.is_past(range.first) => Vec::new(),
            ReadItem::Unreadable(Unreadable { first, last, accepted }) => {
                let value = json!({ "unreadable": { "first": first, "last": last, "accepted": accepted } });
                vec![Shown { last, damaged: !accepted, value }]
            }
        }
    }

    fn show(&self, record: &Record) -> Option<Shown> {
        let position = record.place.position;
        if !self.range.contains(record) || !self.has_stream(record) {
            return None;
        }
        let value = value(record);
        let event = self.filter.event.as_ref().is_none_or(|event| value["event"].as_str() == Some(event));
        event.then_some(Shown { last: position, damaged: false, value })
    }

    fn has_stream(&self, record: &Record) -> bool {
        let wanted = self.filter.stream.as_ref();
        wanted.is_none_or(|wanted| {
            *wanted == data::stream_name(record.stream) || *wanted == record.stream.to_string()
        })
    }
}

/// A stream that can be asked for: one of those with a name, or an id. A name that no stream has would find nothing,
/// and say nothing.
fn stream_name(text: &str) -> Result<String, String> {
    let named = [StreamId::SYSTEM, StreamId::ACCESS, StreamId::TELEMETRY].map(data::stream_name);
    if named.iter().any(|name| name == text) {
        return Ok(text.to_owned());
    }
    let id = StreamId::parse(text);
    id.map(|id| id.to_string())
        .map_err(|_| format!("it is neither {} nor an id of 32 hexadecimal digits", named.join(", ")))
}

/// An event that can be asked for: one of the catalogue, or what stands for one that cannot be read.
fn event_name(text: &str) -> Result<String, String> {
    let known = Event::CATALOGUE.iter().any(|(_, _, name)| *name == text);
    if known || text == ERASED || text.starts_with(UNKNOWN_TYPE) {
        return Ok(text.to_owned());
    }
    Err("there is no such event; docs/events.md lists them".to_owned())
}

fn value(record: &Record) -> Value {
    let (event, actor, body) = match record.decode() {
        Some(Ok(Body { actor, event })) => (event.name().to_owned(), readable(&actor), body(&event)),
        Some(Err(DecodeError::UnknownType(number))) => {
            (format!("{UNKNOWN_TYPE}{number:#06x}"), Value::Null, Value::Null)
        }
        Some(Err(error)) => (error.to_string(), Value::Null, Value::Null),
        None => (ERASED.to_owned(), Value::Null, Value::Null),
    };
    json!({
        "position": record.place.position,
        "stream": record.stream.to_string(),
        "name": data::stream_name(record.stream),
        "seq": record.seq,
        "time": time_text(record.hlc.millis()),
        "event": event,
        "schema": record.kind.schema,
        "actor": actor,
        "body": body,
        "content_bytes": record.content_len,
        "body_hash": record.body_hash.to_string(),
        "content_hash": record.content_hash.to_string(),
        "head": record.head.to_string(),
    })
}

/// An event's fields. A sealed secret stays out: whoever has the master key could open it.
fn body(event: &Event) -> Value {
    let mut fields = readable(event);
    if let Event::AccessKeyCreated(_) = event {
        fields["secret"] = "sealed".into();
    }
    fields
}

fn time_text(millis: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000);
    time.ok().and_then(|time| time.format(&TIME).ok()).unwrap_or_default()
}

/// A value as JSON, with its byte strings (identifiers, hashes, checksums) as hexadecimal text. The way leads over
/// MessagePack, which tells byte strings from lists of small numbers where JSON does not.
fn readable(value: &impl Serialize) -> Value {
    let packed = rmp_serde::to_vec_named(value).unwrap_or_default();
    rmp_serde::from_slice::<Readable>(&packed).map(|readable| readable.0).unwrap_or_default()
}

struct Readable(Value);

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ReadableVisitor).map(Self)
    }
}

struct ReadableVisitor;

impl<'de> Visitor<'de> for ReadableVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessagePack")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(hex(value).into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        inner.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Readable(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some((name, Readable(value))) = entries.next_entry::<String, Readable>()? {
            fields.insert(name, value);
        }
        Ok(fields.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use siltstone_log::event::{AccessKeyCreated, Content, ContentSlice, ContentSource, SealedSecret};
    use siltstone_log::id::Seq;

    #[test]
    fn byte_strings_are_hexadecimal_and_lists_of_small_numbers_stay_lists() {
        assert_eq!(readable(&vec![1u64, 2, 255]), json!([1, 2, 255]));
        assert_eq!(readable(&Some(StreamId([0xab; 16]))), json!("ab".repeat(16)));
        assert_eq!(readable(&None::<StreamId>), Value::Null);
        let source = ContentSource::Inline { stream: StreamId([1; 16]), seq: Seq(3) };
        let content = Content::Slices(vec![ContentSlice { source, offset: 5, len: 7 }]);
        let inline = json!({ "Inline": { "stream": "01".repeat(16), "seq": 3 } });
        let expected = json!({ "Slices": [{ "source": inline, "offset": 5, "len": 7 }] });
        assert_eq!(readable(&content), expected);
        assert_eq!(readable(&Content::Empty), json!("Empty"));
    }

    #[test]
    fn only_streams_and_events_that_can_be_there_are_looked_for() {
        let id = "0123456789abcdef0123456789abcdef";
        for stream in ["system", "access", "telemetry", id] {
            assert_eq!(stream_name(stream), Ok(stream.to_owned()));
        }
        for event in ["ObjectPut", "NodeStarted", "erased", "type 0x7fff"] {
            assert_eq!(event_name(event), Ok(event.to_owned()));
        }
        assert!(stream_name("foo").is_err() && stream_name("").is_err() && stream_name(&id[1..]).is_err());
        assert!(event_name("Foo").is_err() && event_name("objectput").is_err() && event_name("").is_err());
    }

    #[test]
    fn a_time_has_three_digits_of_a_second_whatever_they_are() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_700_000_000_100, "2023-11-14T22:13:20.100Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
        ] {
            assert_eq!(time_text(millis), text);
        }
    }

    #[test]
    fn a_sealed_secret_is_not_shown() {
        let secret = SealedSecret { key_version: 1, nonce: [0xaa; 12], ciphertext: vec![0xbb; 24] };
        let event = Event::AccessKeyCreated(AccessKeyCreated {
            user: "anna".to_owned(),
            access_key: "AK1".to_owned(),
            secret,
        });
        let expected = json!({ "user": "anna", "access_key": "AK1", "secret": "sealed" });
        assert_eq!(body(&event), expected);
    }
}
