//! The table of settings: name, kind, default and meaning of each, once.

use super::value::{ByteSize, InvalidValue, LogLevel, SettingValue};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One line of the table, for messages and documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettingInfo {
    /// The TOML table it stands in.
    pub section: &'static str,
    /// Its key there.
    pub key: &'static str,
    /// Its default, as text.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
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

        /// Every setting there is.
        pub const TABLE: &[SettingInfo] = &[$($(SettingInfo {
            section: stringify!($section),
            key: stringify!($key),
            default: $default,
            doc: concat!($($doc),+),
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
    /// The log on disk.
    log: Log {
        /// Size of a segment file.
        segment_size: ByteSize = "64 MiB",
    }
    /// Object content.
    content: Content {
        /// Content up to this size lies in the log itself, larger content in packs.
        inline_threshold: ByteSize = "64 KiB",
        /// Size of a pack file.
        pack_size: ByteSize = "256 MiB",
    }
    /// What one client or many at once may take.
    limits: Limits {
        /// Connections open at once on the S3 listener.
        connections: u32 = "4096",
    }
    /// Free space on the volume of the data directory.
    space: Space {
        /// Below this many free bytes writes are refused, while reads, deletes and administration go on.
        floor: ByteSize = "1 GiB",
    }
    /// What the server tells about itself.
    telemetry: Telemetry {
        /// How much is logged on stderr: error, warn, info, debug or trace.
        log_level: LogLevel = "info",
    }
}
