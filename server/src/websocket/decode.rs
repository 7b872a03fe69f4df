//! Decodes frames of clients from pieces of any size.
//!
//! Between messages a decoder holds nothing but its limit: what is not whole yet is in one box,
//! which is freed when it is.

use bytes::Bytes;

use super::header::{self, Header, Kind, MAX_BYTES};
use super::utf8::Utf8;
use super::{Event, Violation};
use crate::protocol::{Message, Opcode};

/// The state of one connection's inbound side.
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    partial: Option<Box<Partial>>,
}

/// What is not whole yet. Invariant: at least one of its parts is there.
#[derive(Debug, Default)]
struct Partial {
    header: [u8; MAX_BYTES],
    header_bytes: u8,
    frame: Option<Frame>,
    message: Option<Fragments>,
}

/// A frame whose payload is not all there.
#[derive(Debug)]
struct Frame {
    header: Header,
    /// Payload bytes that are still to come.
    missing: u64,
    /// A control frame's payload.
    control: Vec<u8>,
}

/// A data message that is not finished.
#[derive(Debug)]
struct Fragments {
    opcode: Opcode,
    payload: Vec<u8>,
    utf8: Utf8,
}

impl Decoder {
    /// For messages of at most `limit` bytes, all fragments together.
    pub fn new(limit: usize) -> Self {
        Self { limit, partial: None }
    }

    /// Reads up to the end of the next event: how many bytes that took, and the event if it is
    /// whole. Without an event all of `input` was taken. The bytes are unmasked in place.
    ///
    /// # Errors
    /// The first violation. The decoder is of no use after it.
    pub fn decode(&mut self, input: &mut [u8]) -> Result<(usize, Option<Event>), Violation> {
        let mut taken = 0;
        if self.partial.is_none() {
            let Some((header, header_bytes)) = header::parse(input)? else {
                self.keep_header(input);
                return Ok((input.len(), None));
            };
            self.check(&header)?;
            let rest = &mut input[header_bytes..];
            let whole = usize::try_from(header.length)
                .ok()
                .and_then(|length| rest.get_mut(..length));
            if let Some(payload) = whole
                && header.last
            {
                unmask(payload, header.mask, 0);
                let end = header_bytes + payload.len();
                return Ok((end, Some(event(header.kind, payload)?)));
            }
            self.begin(header);
            taken = header_bytes;
        }
        loop {
            let rest = &mut input[taken..];
            let partial = self.partial.get_or_insert_default();
            let Some(frame) = &mut partial.frame else {
                let Some(header_bytes) = self.next_header(rest)? else {
                    return Ok((input.len(), None));
                };
                taken += header_bytes;
                continue;
            };
            let here = usize::try_from(frame.missing)
                .unwrap_or(usize::MAX)
                .min(rest.len());
            let piece = &mut rest[..here];
            // The offset within the payload, as far as the four bytes of the mask go.
            let at = (frame.header.length - frame.missing) % 4;
            unmask(piece, frame.header.mask, usize::try_from(at).unwrap_or(0));
            frame.missing -= here as u64;
            taken += here;
            if frame.header.kind.is_control() {
                frame.control.extend_from_slice(piece);
            } else if let Some(message) = &mut partial.message {
                message.take(piece)?;
            }
            if frame.missing > 0 {
                return Ok((taken, None));
            }
            if let Some(event) = self.end_frame()? {
                return Ok((taken, Some(event)));
            }
            if taken == input.len() {
                return Ok((taken, None));
            }
        }
    }

    fn keep_header(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let partial = self.partial.get_or_insert_default();
        // A header that is not whole is shorter than the longest one.
        for byte in bytes {
            partial.header[usize::from(partial.header_bytes)] = *byte;
            partial.header_bytes += 1;
        }
    }

    /// Completes the header of the next frame; how many of these bytes it took, or `None` if it
    /// took all and needs more.
    fn next_header(&mut self, bytes: &[u8]) -> Result<Option<usize>, Violation> {
        let partial = self.partial.get_or_insert_default();
        let before = usize::from(partial.header_bytes);
        let mut together = partial.header;
        let here = bytes.len().min(MAX_BYTES - before);
        together[before..before + here].copy_from_slice(&bytes[..here]);
        let Some((header, header_bytes)) = header::parse(&together[..before + here])? else {
            self.keep_header(bytes);
            return Ok(None);
        };
        partial.header_bytes = 0;
        self.check(&header)?;
        self.begin(header);
        Ok(Some(header_bytes - before))
    }

    /// Whether the frame may come here, and fits.
    fn check(&self, header: &Header) -> Result<(), Violation> {
        if header.kind.is_control() {
            return Ok(());
        }
        let begun = self.partial.as_ref().and_then(|partial| partial.message.as_ref());
        match (header.kind, begun) {
            (Kind::Continuation, None) => return Err(Violation::Continuation),
            (Kind::Text | Kind::Binary, Some(_)) => return Err(Violation::Interleaved),
            _ => {}
        }
        let before = begun.map_or(0, |message| message.payload.len());
        let fits = usize::try_from(header.length).is_ok_and(|length| length <= self.limit - before);
        if fits { Ok(()) } else { Err(Violation::TooLarge) }
    }

    fn begin(&mut self, header: Header) {
        let partial = self.partial.get_or_insert_default();
        let opcode = match header.kind {
            Kind::Text => Some(Opcode::Text),
            Kind::Binary => Some(Opcode::Binary),
            _ => None,
        };
        if let Some(opcode) = opcode {
            partial.message = Some(Fragments {
                opcode,
                payload: Vec::new(),
                utf8: Utf8::default(),
            });
        }
        partial.frame = Some(Frame {
            header,
            missing: header.length,
            control: Vec::new(),
        });
    }

    fn end_frame(&mut self) -> Result<Option<Event>, Violation> {
        let Some(partial) = &mut self.partial else {
            return Ok(None);
        };
        let Some(frame) = partial.frame.take() else {
            return Ok(None);
        };
        let event = if frame.header.kind.is_control() {
            Some(event(frame.header.kind, &frame.control)?)
        } else if frame.header.last {
            partial.message.take().map(Fragments::end).transpose()?
        } else {
            None
        };
        if partial.message.is_none() {
            self.partial = None;
        }
        Ok(event)
    }
}

impl Fragments {
    fn take(&mut self, piece: &[u8]) -> Result<(), Violation> {
        if self.opcode == Opcode::Text && !self.utf8.take(piece) {
            return Err(Violation::Utf8);
        }
        // Grows with what has come, not with what was announced.
        self.payload.extend_from_slice(piece);
        Ok(())
    }

    fn end(self) -> Result<Event, Violation> {
        if !self.utf8.is_whole() {
            return Err(Violation::Utf8);
        }
        Ok(Event::Message(Message {
            opcode: self.opcode,
            payload: self.payload.into(),
        }))
    }
}

/// The event of a frame that is whole by itself.
fn event(kind: Kind, payload: &[u8]) -> Result<Event, Violation> {
    let copied = || Bytes::copy_from_slice(payload);
    Ok(match kind {
        Kind::Text if std::str::from_utf8(payload).is_err() => return Err(Violation::Utf8),
        Kind::Text => Event::Message(Message::text(copied())),
        Kind::Binary | Kind::Continuation => Event::Message(Message::binary(copied())),
        Kind::Ping => Event::Ping(copied()),
        Kind::Pong => Event::Pong,
        Kind::Close => Event::Close(close_code(payload)?),
    })
}

/// The code of a close frame, if an endpoint may send it.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(Violation::CloseCode)
        };
    };
    if std::str::from_utf8(reason).is_err() {
        return Err(Violation::Utf8);
    }
    let code = u16::from_be_bytes(*code);
    // RFC 6455, section 7.4, and what was registered since.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::CloseCode);
    }
    Ok(Some(code))
}

/// `at` is the offset of the first byte within the payload.
fn unmask(payload: &mut [u8], mask: [u8; 4], at: usize) {
    let turned: [u8; 4] = std::array::from_fn(|i| mask[(at + i) % 4]);
    let wide: [u8; 8] = std::array::from_fn(|i| turned[i % 4]);
    let key = u64::from_ne_bytes(wide);
    let (words, rest) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ key).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(wide) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests;
