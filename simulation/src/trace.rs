//! What happened, one JSON object a line: `n` ordinal, `t` simulated nanoseconds, `e` the kind of event, then its fields.
//!
//! A trace holds nothing but simulated facts, so two runs of a seed give the same bytes.

use serde::Serialize;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

enum Sink {
    None,
    Hash,
    File(BufWriter<File>),
}

/// Where the events of a run are written.
pub struct Trace {
    sink: Sink,
    hasher: blake3::Hasher,
    ordinal: u64,
    failed: Option<io::Error>,
}

#[derive(Serialize)]
struct Line<'a, T: Serialize> {
    n: u64,
    t: u64,
    e: &'a str,
    #[serde(flatten)]
    fields: &'a T,
}

impl Trace {
    /// Keeps nothing.
    pub fn none() -> Self {
        Self::new(Sink::None)
    }

    /// Keeps the hash alone.
    pub fn hashed() -> Self {
        Self::new(Sink::Hash)
    }

    /// Writes to a file.
    #[expect(clippy::disallowed_methods, reason = "a trace is the simulator's own output, not the product's")]
    pub fn to_file(path: &Path) -> io::Result<Self> {
        Ok(Self::new(Sink::File(BufWriter::new(File::create(path)?))))
    }

    fn new(sink: Sink) -> Self {
        Self { sink, hasher: blake3::Hasher::new(), ordinal: 0, failed: None }
    }

    /// Whether anything is kept: where not, fields need not be made.
    pub fn is_on(&self) -> bool {
        !matches!(self.sink, Sink::None)
    }

    /// Notes an event.
    pub fn event<T: Serialize>(&mut self, nanos: u64, kind: &str, fields: &T) {
        if !self.is_on() {
            return;
        }
        let line = Line { n: self.ordinal, t: nanos, e: kind, fields };
        self.ordinal += 1;
        let written = serde_json::to_vec(&line).map_err(io::Error::from).and_then(|mut bytes| {
            bytes.push(b'\n');
            self.hasher.update(&bytes);
            match &mut self.sink {
                Sink::File(file) => file.write_all(&bytes),
                Sink::None | Sink::Hash => Ok(()),
            }
        });
        // The first error is what `finish` reports; a run goes on without its trace.
        self.failed = self.failed.take().or(written.err());
    }

    /// Ends the trace: how many events it has, and their hash.
    pub fn finish(mut self) -> io::Result<(u64, String)> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if let Sink::File(file) = &mut self.sink {
            file.flush()?;
        }
        Ok((self.ordinal, self.hasher.finalize().to_hex().to_string()))
    }
}
