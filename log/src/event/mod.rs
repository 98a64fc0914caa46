//! What can happen: the catalogue of events, and their bodies' encoding.
//!
//! A record's body is a 16-byte salt followed by one MessagePack array `[actor, event]`, structs as arrays in field
//! order. Type and schema numbers stand in the record's header. A number is never used again; a changed struct gets
//! a new schema number and an up-caster from the old one, which stays for ever ([`upcast`]).
//!
//! Next hop: [`crate::record`], which wraps an event into a record.

mod access;
mod actor;
mod bucket;
mod identity;
mod log;
mod multipart;
mod object;
mod upcast;

pub use access::{AccessDenied, AccessSuppressed};
pub use actor::{Actor, Door};
pub use bucket::{
    BucketCreated, BucketNameReleased, BucketNameReserved, BucketSealed, BucketTagged, BucketVersioningSet,
    Versioning,
};
pub use identity::{
    AccessKeyCreated, AccessKeyDeleted, AccessKeyStatusChanged, AccountCreated, PolicyAttached,
    PolicyDetached, SealedSecret, Status, TenantCreated, UserCreated, UserDeleted, UserStatusChanged,
};
pub use log::{LogRepaired, NodeStarted, TailDiscarded};
pub use multipart::{MultipartAborted, MultipartCompleted, MultipartCreated, PartUploaded};
pub use object::{
    Checksum, ChecksumAlgorithm, ChecksumKind, Content, ContentExpired, ContentHeaders, ContentSlice,
    ContentSource, CopiedFrom, Deletion, Erased, ObjectDeleted, ObjectPut, ObjectTagged, PartSize,
};
pub use upcast::in_first_schema;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A record's type and schema number, as its header carries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventKind {
    /// The event's type. Never used again for another.
    pub event_type: u16,
    /// The version of its body's encoding, from 1.
    pub schema: u16,
}

impl EventKind {
    /// Whether it is about a bucket itself: its beginning, its end, its settings. These have a block of numbers.
    pub fn is_about_bucket(self) -> bool {
        (0x0200..0x0210).contains(&self.event_type)
    }
}

/// A body could not be turned into an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A type this program does not know. Skipping it could lose state, so a fold stops here unless the record is
    /// marked ignorable.
    #[error("event type {0:#06x} is unknown to this version")]
    UnknownType(u16),
    /// A schema newer than this program.
    #[error("schema {schema} of event {name} is newer than this version")]
    UnknownSchema {
        /// The event's name.
        name: &'static str,
        /// The number found.
        schema: u16,
    },
    /// The bytes are no such event.
    #[error("the body of event {name} cannot be read: {message}")]
    Malformed {
        /// The event's name.
        name: &'static str,
        /// What the decoder said.
        message: String,
    },
}

/// An event with the one who caused it: the logical content of a record's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// Who, from where, through which door.
    pub actor: Actor,
    /// What happened.
    pub event: Event,
}

fn malformed(name: &'static str, error: &impl ToString) -> DecodeError {
    DecodeError::Malformed { name, message: error.to_string() }
}

fn decode_payload<T: DeserializeOwned>(name: &'static str, bytes: &[u8]) -> Result<(Actor, T), DecodeError> {
    let mut rest = bytes;
    let value = <(Actor, T)>::deserialize(&mut rmp_serde::Deserializer::new(&mut rest));
    let value = value.map_err(|error| malformed(name, &error))?;
    if rest.is_empty() { Ok(value) } else { Err(malformed(name, &"bytes follow the body")) }
}

/// Defines the catalogue once: the enum, the numbers, the names, and both directions of the codec.
macro_rules! catalogue {
    ($($number:literal $name:ident schema $schema:literal $(from { $($old:literal => $upcast:path),+ })?;)+) => {
        /// Every event there is. Adding one makes each fold's `match` fail to compile until it has decided.
        #[derive(Debug, Clone, PartialEq, Eq)]
        // Each variant is documented at the struct it carries.
        #[allow(missing_docs, reason = "the test-only catalogue is private, where an expectation would not be met")]
        pub enum Event {
            $($name($name),)+
        }

        impl Event {
            /// Every event's type number, current schema and name, for the generated reference.
            pub const CATALOGUE: &'static [(u16, u16, &'static str)] = &[$(($number, $schema, stringify!($name)),)+];

            /// The numbers for a record's header.
            pub fn kind(&self) -> EventKind {
                match self {
                    $(Self::$name(_) => EventKind { event_type: $number, schema: $schema },)+
                }
            }

            /// The event's name, as documentation and the audit timeline show it.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)+
                }
            }
        }

        /// The event's fields, for tools that show them. Records hold [`Body::encode`]'s bytes.
        impl serde::Serialize for Event {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self {
                    $(Self::$name(event) => serde::Serialize::serialize(event, serializer),)+
                }
            }
        }

        impl Body {
            /// Encodes the body without its salt.
            pub fn encode(&self) -> Result<Vec<u8>, rmp_serde::encode::Error> {
                match &self.event {
                    $(Event::$name(event) => rmp_serde::to_vec(&(&self.actor, event)),)+
                }
            }

            /// Decodes a body (without its salt) of any released schema.
            pub fn decode(kind: EventKind, bytes: &[u8]) -> Result<Self, DecodeError> {
                match kind.event_type {
                    $($number => {
                        let (actor, event) = match kind.schema {
                            $schema => decode_payload::<$name>(stringify!($name), bytes)?,
                            $($($old => {
                                let (actor, old) = decode_payload(stringify!($name), bytes)?;
                                (actor, $upcast(old))
                            })+)?
                            schema => {
                                return Err(DecodeError::UnknownSchema { name: stringify!($name), schema });
                            }
                        };
                        Ok(Self { actor, event: Event::$name(event) })
                    })+
                    unknown => Err(DecodeError::UnknownType(unknown)),
                }
            }
        }
    };
}

catalogue! {
    0x0001 NodeStarted schema 1;
    0x0002 TailDiscarded schema 1;
    0x0003 LogRepaired schema 1;
    0x0100 BucketNameReserved schema 2 from { 1 => upcast::bucket_name_reserved };
    0x0101 BucketNameReleased schema 1;
    0x0110 TenantCreated schema 1;
    0x0111 AccountCreated schema 1;
    0x0112 UserCreated schema 1;
    0x0113 UserDeleted schema 1;
    0x0114 UserStatusChanged schema 1;
    0x0115 AccessKeyCreated schema 1;
    0x0116 AccessKeyDeleted schema 1;
    0x0117 AccessKeyStatusChanged schema 1;
    0x0118 PolicyAttached schema 1;
    0x0119 PolicyDetached schema 1;
    0x0200 BucketCreated schema 1;
    0x0201 BucketSealed schema 1;
    0x0202 BucketVersioningSet schema 1;
    0x0203 BucketTagged schema 1;
    0x0210 ObjectPut schema 2 from { 1 => upcast::object_put };
    0x0211 ObjectDeleted schema 2 from { 1 => upcast::object_deleted };
    0x0212 ContentExpired schema 1;
    0x0213 Erased schema 1;
    0x0214 ObjectTagged schema 1;
    0x0220 MultipartCreated schema 2 from { 1 => upcast::multipart_created };
    0x0221 PartUploaded schema 2 from { 1 => upcast::part_uploaded };
    0x0222 MultipartCompleted schema 2 from { 1 => upcast::multipart_completed };
    0x0223 MultipartAborted schema 1;
    0x0300 AccessDenied schema 1;
    0x0301 AccessSuppressed schema 1;
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
