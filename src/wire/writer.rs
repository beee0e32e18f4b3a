//! Writes protobuf messages backwards, from end to beginning.
//!
//! The length of a nested message precedes its content. Written backwards, the content is complete when its
//! length is needed, so a single pass over the values writes a request of any depth directly from
//! [`Document`](super::Document)s: without intermediate message structs and without a second pass to measure.

use bytes::Bytes;

use super::EncodeError;

/// Maximum nesting depth of messages. Protobuf libraries, including Python's, read no deeper.
pub(super) const DEPTH_MAX: usize = 100;

/// The capacity that a message starts with if its size is unknown.
const START: usize = 512;

/// A buffer that grows towards its beginning.
///
/// Within a message, fields are written last to first, so that a reader finds them in ascending order.
pub(super) struct Writer {
    /// The bytes written so far are `buffer[start..]`.
    buffer: Vec<u8>,
    start: usize,
    depth: usize,
}

impl Writer {
    pub(super) fn with_capacity(bytes: usize) -> Writer {
        let bytes = bytes.max(START);
        Writer { buffer: vec![0; bytes], start: bytes, depth: 0 }
    }

    /// The number of bytes written.
    pub(super) fn len(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The finished message.
    pub(super) fn finish(self) -> Bytes {
        let spare = self.start;
        // A body may be kept for a whole run, so it should not take twice its size.
        if spare > START && spare > self.len() / 4 {
            return Bytes::copy_from_slice(&self.buffer[spare..]);
        }
        Bytes::from(self.buffer).slice(spare..)
    }

    /// Puts `bytes` before those already written.
    #[inline]
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        if self.start < bytes.len() {
            self.grow(bytes.len());
        }
        self.start -= bytes.len();
        self.buffer[self.start..self.start + bytes.len()].copy_from_slice(bytes);
    }

    #[cold]
    fn grow(&mut self, needed: usize) {
        let written = self.len();
        let size = (self.buffer.len() * 2).max(written + needed + START);
        let mut larger = vec![0; size];
        larger[size - written..].copy_from_slice(&self.buffer[self.start..]);
        self.start = size - written;
        self.buffer = larger;
    }

    #[inline]
    pub(super) fn varint(&mut self, mut value: u64) {
        let mut bytes = [0; 10];
        let mut n = 0;
        while value > 127 {
            bytes[n] = value as u8 | 0x80;
            value >>= 7;
            n += 1;
        }
        bytes[n] = value as u8;
        self.raw(&bytes[..=n]);
    }

    #[inline]
    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    pub(super) fn uint(&mut self, field: u32, value: u64) {
        self.varint(value);
        self.tag(field, 0);
    }

    /// Negative numbers take ten bytes, as specified by protobuf.
    pub(super) fn int32(&mut self, field: u32, value: i32) {
        self.uint(field, i64::from(value) as u64);
    }

    pub(super) fn bool(&mut self, field: u32, value: bool) {
        self.uint(field, u64::from(value));
    }

    pub(super) fn float(&mut self, field: u32, value: f32) {
        self.raw(&value.to_le_bytes());
        self.tag(field, 5);
    }

    pub(super) fn double(&mut self, field: u32, value: f64) {
        self.raw(&value.to_le_bytes());
        self.tag(field, 1);
    }

    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.raw(value);
        self.varint(value.len() as u64);
        self.tag(field, 2);
    }

    pub(super) fn string(&mut self, field: u32, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    /// Writes a string unless it is empty.
    pub(super) fn set_string(&mut self, field: u32, value: &str) {
        if !value.is_empty() {
            self.string(field, value);
        }
    }

    /// Writes a number unless it is zero.
    pub(super) fn set_uint(&mut self, field: u32, value: u32) {
        if value != 0 {
            self.uint(field, u64::from(value));
        }
    }

    /// Writes a number unless it is zero.
    pub(super) fn set_float(&mut self, field: u32, value: f32) {
        if value != 0.0 {
            self.float(field, value);
        }
    }

    /// Writes a packed list unless it is empty.
    pub(super) fn packed_uints(&mut self, field: u32, values: &[u32]) {
        if values.is_empty() {
            return;
        }
        let end = self.len();
        for value in values.iter().rev() {
            self.varint(u64::from(*value));
        }
        self.close(field, end);
    }

    /// Writes a packed list unless it is empty.
    pub(super) fn packed_floats(&mut self, field: u32, values: &[f32]) {
        if values.is_empty() {
            return;
        }
        let end = self.len();
        for value in values.iter().rev() {
            self.raw(&value.to_le_bytes());
        }
        self.close(field, end);
    }

    /// Writes a nested message whose fields `content` writes, last to first.
    pub(super) fn message(
        &mut self,
        field: u32,
        content: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        if self.depth == DEPTH_MAX {
            return Err(EncodeError::Depth { limit: DEPTH_MAX });
        }
        let end = self.len();
        self.depth += 1;
        content(self)?;
        self.depth -= 1;
        self.close(field, end);
        Ok(())
    }

    /// Writes an entry of a map from strings to messages.
    pub(super) fn entry(
        &mut self,
        field: u32,
        key: &str,
        value: impl FnOnce(&mut Writer) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.message(field, |w| {
            w.message(2, value)?;
            w.string(1, key);
            Ok(())
        })
    }

    fn close(&mut self, field: u32, end: usize) {
        let length = self.len() - end;
        self.varint(length as u64);
        self.tag(field, 2);
    }
}
