//! The table of settings: name, kind, default and meaning of each, once.

use super::value::{ByteSize, DomainNames, InvalidValue, LogLevel, SettingValue};
use serde_json::Value;
use siltstone_log::writer::WriterConfig;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Files are laid out in pages of this many bytes.
const PAGE: u64 = 4096;

/// One line of the table, for messages and documentation.
#[derive(Debug, Clone, Copy)]
pub struct SettingInfo {
    /// The TOML table it stands in.
    pub section: &'static str,
    /// Its key there.
    pub key: &'static str,
    /// Its default, as text.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// What the file may say, as JSON Schema.
    pub schema: fn() -> Value,
}

impl SettingInfo {
    /// The variable of the environment that sets it.
    pub fn variable(&self) -> String {
        format!("{}{}__{}", super::environment::PREFIX, self.section, self.key).to_uppercase()
    }

    /// Its name with its section: `log.segment_size`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }
}

macro_rules! settings {
    ($($(#[doc = $section_doc:literal])+ $section:ident: $type:ident {
        $($(#[doc = $doc:literal])+ $key:ident: $kind:ty = $default:literal,)+
    })+) => {
        $(
            $(#[doc = $section_doc])+
            #[derive(Debug, Clone, PartialEq, Eq)]
            pub struct $type {
                $($(#[doc = $doc])+ pub $key: $kind,)+
            }
        )+

        /// Every setting with its value.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Settings {
            $($(#[doc = $section_doc])+ pub $section: $type,)+
        }

        /// Every section and what it is about.
        pub const SECTIONS: &[(&str, &str)] = &[$((stringify!($section), concat!($($section_doc),+)),)+];

        /// Every setting there is.
        pub const TABLE: &[SettingInfo] = &[$($(SettingInfo {
            section: stringify!($section),
            key: stringify!($key),
            default: $default,
            doc: concat!($($doc),+),
            schema: <$kind as SettingValue>::schema,
        },)+)+];

        impl Settings {
            /// All settings at their defaults.
            pub fn defaults() -> Result<Self, InvalidValue> {
                Ok(Self { $($section: $type { $($key: SettingValue::parse($default)?,)+ },)+ })
            }

            /// Gives a setting the value that the text says. A setting that is not in the table is refused.
            pub fn set(&mut self, section: &str, key: &str, text: &str) -> Result<(), InvalidValue> {
                match (section, key) {
                    $($((stringify!($section), stringify!($key)) => {
                        self.$section.$key = SettingValue::parse(text)?;
                    })+)+
                    _ => return Err(InvalidValue(format!("`{section}.{key}` is no setting"))),
                }
                Ok(())
            }

            /// A setting's value as text; `None` for one that is not in the table.
            pub fn show(&self, section: &str, key: &str) -> Option<String> {
                match (section, key) {
                    $($((stringify!($section), stringify!($key)) => Some(self.$section.$key.show()),)+)+
                    _ => None,
                }
            }
        }
    };
}

settings! {
    /// The program as a whole.
    server: Server {
        /// The data directory; made when it is missing. Required.
        data_dir: PathBuf = "",
        /// The region that signatures name and clients are told.
        region: String = "us-east-1",
        /// How long a stop waits for requests under way before it cuts them off.
        drain_timeout: Duration = "30 s",
    }
    /// Where the server listens; port 0 takes a free one.
    listeners: Listeners {
        /// The S3 API.
        s3: SocketAddr = "127.0.0.1:8080",
        /// The console API.
        console: SocketAddr = "127.0.0.1:8081",
        /// Other nodes; stays closed until a cluster is initialised.
        cluster: SocketAddr = "127.0.0.1:8082",
        /// Metrics and health.
        metrics: SocketAddr = "127.0.0.1:8083",
    }
    /// The S3 API.
    s3: S3 {
        /// Domain names of this server. A request to `bucket.name` addresses the bucket; every other host is path style.
        domains: DomainNames = "",
        /// Whether links signed with Signature Version 2 are accepted.
        sigv2_links: bool = "true",
        /// Whether Signature Version 2 is accepted in the Authorization header.
        sigv2_headers: bool = "false",
    }
    /// TLS of the S3 and console listeners; without it they speak clear text. Where they are and what is in them is read again on SIGHUP, whether there is one is not.
    tls: Tls {
        /// The certificate and its chain, a PEM file.
        cert: PathBuf = "",
        /// Its private key, a PEM file that is closed to others.
        key: PathBuf = "",
    }
    /// The log on disk.
    log: Log {
        /// Size of a segment file, 16 KiB to 512 MiB.
        segment_size: ByteSize = "64 MiB",
    }
    /// Object content.
    content: Content {
        /// Content up to this size lies in the log itself, larger content in packs; at most 1 MiB.
        inline_threshold: ByteSize = "64 KiB",
        /// Size of a pack file, 8 MiB to 4 GiB, in whole pages.
        pack_size: ByteSize = "256 MiB",
    }
    /// What one client or many at once may take.
    limits: Limits {
        /// Connections open at once on the S3 listener; further ones wait.
        connections: u32 = "4096",
        /// Requests under way at once; further ones are told to slow down.
        requests: u32 = "4096",
        /// Memory that the bodies of requests under way may hold together, and as much again those of answers.
        body_memory: ByteSize = "128 MiB",
        /// How long a client may take for the headers of a request, and stay idle between two.
        header_timeout: Duration = "10 s",
    }
    /// Free space on the volume of the data directory.
    space: Space {
        /// Below this many free bytes writes are refused, while reads, deletes and administration go on.
        floor: ByteSize = "256 MiB",
    }
    /// What was deleted or replaced, for as long as it is kept; the oldest goes first, also where the disk fills up.
    history: History {
        /// Days that it is kept, at most 36500; 0 keeps none.
        window_days: u32 = "7",
        /// The most bytes of it; `auto` is a fifth of the volume or half of what is free at the start, whichever is less.
        max_bytes: Option<ByteSize> = "auto",
    }
    /// What the server tells about itself.
    telemetry: Telemetry {
        /// How much is logged on stderr: error, warn, info, debug or trace.
        log_level: LogLevel = "info",
    }
}

/// A rule that a value of the right kind can still break.
fn rule(holds: bool, message: &str) -> Result<(), InvalidValue> {
    if holds { Ok(()) } else { Err(InvalidValue(message.to_owned())) }
}

impl Settings {
    /// Checks what a setting's kind alone does not: the section, the key and the rule that is broken.
    pub fn check(&self) -> Result<(), (&'static str, &'static str, InvalidValue)> {
        let at = |section, key| move |error| (section, key, error);
        let Settings { server, tls, log, content, limits, history, .. } = self;
        let (segment, pack) = (log.segment_size.0, content.pack_size.0);
        let segments = WriterConfig::MIN_SEGMENT_BYTES..=WriterConfig::MAX_SEGMENT_BYTES;
        let segment_rule = "must be 16 KiB to 512 MiB, in multiples of 4 KiB";
        rule(segments.contains(&segment) && segment.is_multiple_of(PAGE), segment_rule)
            .map_err(at("log", "segment_size"))?;
        let packs = 8 << 20..=4 << 30;
        let pack_rule = "must be 8 MiB to 4 GiB, in multiples of 4 KiB";
        rule(packs.contains(&pack) && pack.is_multiple_of(PAGE), pack_rule)
            .map_err(at("content", "pack_size"))?;
        // Beyond it a record would take so much of a batch that small writes wait for it.
        rule(content.inline_threshold.0 <= 1 << 20, "must be at most 1 MiB")
            .map_err(at("content", "inline_threshold"))?;
        rule(limits.connections > 0, "must be at least 1").map_err(at("limits", "connections"))?;
        rule(limits.requests > 0, "must be at least 1").map_err(at("limits", "requests"))?;
        rule(limits.body_memory.0 >= 8 << 20, "must be at least 8 MiB")
            .map_err(at("limits", "body_memory"))?;
        rule(history.window_days <= 36_500, "must be at most 36500").map_err(at("history", "window_days"))?;
        rule(
            history.max_bytes != Some(ByteSize(0)),
            "must be more than 0; `window_days = 0` keeps no history",
        )
        .map_err(at("history", "max_bytes"))?;
        let (cert, key) = (tls.cert.as_os_str().is_empty(), tls.key.as_os_str().is_empty());
        rule(!cert || key, "is needed beside tls.key").map_err(at("tls", "cert"))?;
        rule(!key || cert, "is needed beside tls.cert").map_err(at("tls", "key"))?;
        let region = !server.region.is_empty()
            && server.region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        rule(region, "must be letters, digits and hyphens").map_err(at("server", "region"))
    }
}
