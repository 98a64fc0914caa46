//! The aws-chunked framing: `size;chunk-signature=…`, data, and after the last chunk (size 0) the trailer.
//!
//! ```text
//! body    = *chunk last-chunk [trailer] CRLF
//! chunk   = size [";chunk-signature=" 64HEX] CRLF data CRLF
//! trailer = *(name ":" value CRLF) ["x-amz-trailer-signature:" 64HEX CRLF]
//! ```
//! The decoder holds one line at most: data passes through as slices of what came in, and one chunk may be the whole body.

use bytes::{Buf, Bytes};
use siltstone_log::id::Hash;

/// The least bytes of every chunk but the last one with data, as S3 has it: smaller ones cost more than they carry.
pub const MIN_CHUNK: u64 = 8 * 1024;
/// Longer than any chunk header: 16 digits of size and a signature are 97 bytes.
const MAX_CHUNK_LINE: usize = 256;
/// Longer than any trailer line: a checksum or a signature.
const MAX_TRAILER_LINE: usize = 1024;
/// More than there are checksum algorithms.
const MAX_TRAILER_LINES: usize = 16;

/// What a body's framing may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// Each chunk, and the trailer, carries a signature.
    pub signed: bool,
    /// A trailer may follow the last chunk.
    pub trailer: bool,
    /// The bytes of all chunks together.
    pub decoded_len: u64,
}

/// The framing is broken, or does not hold what was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// A chunk header that is no hexadecimal size, has something behind it in an unsigned body, or is longer than any.
    #[error("a chunk header is malformed")]
    ChunkHeader,
    /// A signature is missing or unreadable.
    #[error("a chunk signature is missing or malformed")]
    ChunkSignature,
    /// A chunk's data is not followed by CRLF.
    #[error("a chunk is longer than its header says")]
    ChunkEnd,
    /// A chunk that is not the last has fewer than [`MIN_CHUNK`] bytes.
    #[error("only the last chunk is allowed to have a size less than 8192 bytes")]
    ChunkTooSmall {
        /// The chunk at which that became known, counted from one.
        chunk: u64,
        /// The bytes of the one before it.
        size: u64,
    },
    /// The chunks hold another number of bytes than announced.
    #[error("the chunks do not hold the number of bytes announced in x-amz-decoded-content-length")]
    DecodedLength,
    /// A line behind the last chunk is no trailer, or there are too many.
    #[error("the trailer is malformed")]
    Trailer,
    /// Bytes follow the end.
    #[error("bytes follow the end of the body")]
    BytesAfterEnd,
    /// The body ends before its last chunk and trailer are complete.
    #[error("the body ends before its last chunk")]
    Truncated,
}

/// What the decoder found next.
#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    /// Bytes of content.
    Data(Bytes),
    /// The current chunk ended; the last one is empty.
    ChunkEnd {
        /// Its signature, in a signed body.
        signature: Option<[u8; 32]>,
    },
    /// Everything behind the last chunk.
    End {
        /// Names in lower case and values, in the order they came.
        trailers: Vec<(String, String)>,
        /// The trailer's signature, in a signed body with a trailer.
        signature: Option<[u8; 32]>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    ChunkLine,
    Data { left: u64 },
    DataEnd { cr: bool },
    TrailerLine,
    Ended { extra: usize },
}

/// Decodes one body, whatever pieces it comes in.
#[derive(Debug)]
pub struct ChunkDecoder {
    framing: Framing,
    state: State,
    line: Vec<u8>,
    /// Of the chunk being read.
    signature: Option<[u8; 32]>,
    decoded: u64,
    /// Chunks begun, and the size of the one begun last.
    chunks: u64,
    last_size: u64,
    trailers: Vec<(String, String)>,
    trailer_signature: Option<[u8; 32]>,
}

impl ChunkDecoder {
    /// A decoder at the beginning of a body.
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            state: State::ChunkLine,
            line: Vec::new(),
            signature: None,
            decoded: 0,
            chunks: 0,
            last_size: 0,
            trailers: Vec::new(),
            trailer_signature: None,
        }
    }

    /// Takes what it can from the input; `None` asks for more.
    pub fn decode(&mut self, input: &mut Bytes) -> Result<Option<Item>, FramingError> {
        while !input.is_empty() {
            let item = match self.state {
                State::ChunkLine => self.chunk_line(input)?,
                State::Data { left } => Some(self.data(input, left)),
                State::DataEnd { cr } => self.data_end(input, cr)?,
                State::TrailerLine => self.trailer_line(input)?,
                State::Ended { extra } => {
                    // One known client closes a trailer with one line break more than it needs.
                    let expected = b"\r\n".get(extra).filter(|_| self.framing.trailer);
                    if expected != input.first() {
                        return Err(FramingError::BytesAfterEnd);
                    }
                    input.advance(1);
                    self.state = State::Ended { extra: extra + 1 };
                    None
                }
            };
            if item.is_some() {
                return Ok(item);
            }
        }
        Ok(None)
    }

    /// To be called when the input ends.
    pub fn finish(&self) -> Result<(), FramingError> {
        match self.state {
            State::Ended { .. } => Ok(()),
            State::ChunkLine | State::Data { .. } | State::DataEnd { .. } | State::TrailerLine => {
                Err(FramingError::Truncated)
            }
        }
    }

    fn data(&mut self, input: &mut Bytes, left: u64) -> Item {
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let data = input.split_to(len);
        let left = left - data.len() as u64;
        self.state = if left == 0 { State::DataEnd { cr: false } } else { State::Data { left } };
        Item::Data(data)
    }

    fn data_end(&mut self, input: &mut Bytes, cr: bool) -> Result<Option<Item>, FramingError> {
        let expected = if cr { b'\n' } else { b'\r' };
        if input.first() != Some(&expected) {
            return Err(FramingError::ChunkEnd);
        }
        input.advance(1);
        if !cr {
            self.state = State::DataEnd { cr: true };
            return Ok(None);
        }
        self.state = State::ChunkLine;
        Ok(Some(Item::ChunkEnd { signature: self.signature.take() }))
    }

    fn chunk_line(&mut self, input: &mut Bytes) -> Result<Option<Item>, FramingError> {
        let Some(line) = take_line(&mut self.line, input, MAX_CHUNK_LINE, FramingError::ChunkHeader)? else {
            return Ok(None);
        };
        let line = line.strip_suffix('\r').ok_or(FramingError::ChunkHeader)?;
        let (size, extension) = match line.split_once(';') {
            None => (line, None),
            Some((size, extension)) => (size, Some(extension)),
        };
        if size.is_empty() || size.len() > 16 || !size.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(FramingError::ChunkHeader);
        }
        let size = u64::from_str_radix(size, 16).map_err(|_| FramingError::ChunkHeader)?;
        self.signature = match (self.framing.signed, extension) {
            (false, None) => None,
            (true, Some(extension)) => Some(parse_signature(extension, "chunk-signature=")?),
            (true, None) => return Err(FramingError::ChunkSignature),
            // No signature was involved that could be wrong.
            (false, Some(_)) => return Err(FramingError::ChunkHeader),
        };
        self.decoded = self
            .decoded
            .checked_add(size)
            .filter(|decoded| *decoded <= self.framing.decoded_len)
            .ok_or(FramingError::DecodedLength)?;
        if size > 0 {
            self.chunks += 1;
            if self.chunks > 1 && self.last_size < MIN_CHUNK {
                return Err(FramingError::ChunkTooSmall { chunk: self.chunks, size: self.last_size });
            }
            self.last_size = size;
            self.state = State::Data { left: size };
            return Ok(None);
        }
        if self.decoded != self.framing.decoded_len {
            return Err(FramingError::DecodedLength);
        }
        self.state = State::TrailerLine;
        Ok(Some(Item::ChunkEnd { signature: self.signature.take() }))
    }

    fn trailer_line(&mut self, input: &mut Bytes) -> Result<Option<Item>, FramingError> {
        let Some(line) = take_line(&mut self.line, input, MAX_TRAILER_LINE, FramingError::Trailer)? else {
            return Ok(None);
        };
        let line = line.strip_suffix('\r').unwrap_or(&line);
        if line.is_empty() {
            return self.trailer_break();
        }
        let (name, value) = line.split_once(':').ok_or(FramingError::Trailer)?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        let full = self.trailers.len() >= MAX_TRAILER_LINES;
        if !self.framing.trailer || self.trailer_signature.is_some() || name.is_empty() || full {
            return Err(FramingError::Trailer);
        }
        if name == "x-amz-trailer-signature" {
            if !self.framing.signed {
                return Err(FramingError::Trailer);
            }
            self.trailer_signature = Some(parse_signature(value, "")?);
        } else {
            self.trailers.push((name, value.to_owned()));
        }
        Ok(None)
    }

    fn trailer_break(&mut self) -> Result<Option<Item>, FramingError> {
        let signature_due = self.framing.signed && self.framing.trailer && self.trailer_signature.is_none();
        if signature_due {
            // AWS's own description puts a line break between the trailers and their signature, and one client follows.
            return if self.trailers.is_empty() { Err(FramingError::Trailer) } else { Ok(None) };
        }
        self.state = State::Ended { extra: 0 };
        let trailers = std::mem::take(&mut self.trailers);
        Ok(Some(Item::End { trailers, signature: self.trailer_signature.take() }))
    }
}

fn parse_signature(text: &str, prefix: &str) -> Result<[u8; 32], FramingError> {
    let digits = text.strip_prefix(prefix).ok_or(FramingError::ChunkSignature)?;
    Hash::parse(digits).map(|hash| hash.0).map_err(|_| FramingError::ChunkSignature)
}

/// Collects bytes up to a line feed, which is left out. `None` asks for more input.
fn take_line(
    line: &mut Vec<u8>,
    input: &mut Bytes,
    max: usize,
    too_long: FramingError,
) -> Result<Option<String>, FramingError> {
    let end = input.iter().position(|byte| *byte == b'\n');
    let taken = input.split_to(end.unwrap_or(input.len()));
    if line.len() + taken.len() > max {
        return Err(too_long);
    }
    line.extend_from_slice(&taken);
    if end.is_none() {
        return Ok(None);
    }
    input.advance(1);
    String::from_utf8(std::mem::take(line)).map(Some).map_err(|_| too_long)
}
