//! Reads header and routes of a protobuf response in place: a load does this for every reply.
//!
//! Rare cases, such as a status, and errors are left to the full decoder.

use std::time::{Duration, SystemTime};

use compact_str::CompactString;

use super::{Head, Header, Route};

/// Reads the head of a response without a status. `None` if there is a status or an error.
pub(super) fn scan(message: &[u8]) -> Option<Head> {
    let (mut header, mut data) = (None, None);
    let mut routes = Vec::new();
    let mut fields = Fields(message);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            // Repeated occurrences of a message would have to be merged.
            (1, Field::Bytes(bytes)) if header.is_none() => header = Some(read_header(bytes)?),
            (3, Field::Bytes(bytes)) => {
                if routes.capacity() == 0 {
                    routes.reserve(4);
                }
                routes.push(read_route(bytes)?);
            }
            (4, Field::Bytes(bytes)) if data.is_none() => data = Some(bytes),
            (1 | 3 | 4, _) => return None,
            _ => (),
        }
    }
    let documents = count_docs(data.unwrap_or_default());
    Some(Head { header: header.unwrap_or_default(), routes: Some(routes), documents })
}

/// The number of Documents in a `DataContentProto`. `None` if it holds something else (such as a Python
/// pickle), which is reported only when the Documents are needed.
pub(super) fn count_docs(content: &[u8]) -> Option<u64> {
    let (mut content, mut count) = (Fields(content), 0);
    while let Some((_, field)) = content.next()? {
        let Field::Bytes(docs) = field else { return None };
        // In both families, the Documents of a list are in field 1, its only field.
        let mut docs = Fields(docs);
        while let Some((_, field)) = docs.next()? {
            let Field::Bytes(_) = field else { return None };
            count += 1;
        }
    }
    Some(count)
}

fn read_header(bytes: &[u8]) -> Option<Header> {
    let mut header = Header::default();
    let mut fields = Fields(bytes);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(text)) => header.request_id = string(text)?,
            (3, Field::Bytes(text)) => header.exec_endpoint = Some(string(text)?),
            (4, Field::Bytes(text)) => header.target_executor = Some(string(text)?),
            (1..=4, _) => return None,
            _ => (),
        }
    }
    Some(header)
}

fn read_route(bytes: &[u8]) -> Option<Route> {
    let mut route = Route {
        executor: CompactString::default(),
        start_time: None,
        end_time: None,
        status: None,
    };
    let mut fields = Fields(bytes);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Bytes(text)) => route.executor = str::from_utf8(text).ok()?.into(),
            (2, Field::Bytes(time)) if route.start_time.is_none() => {
                route.start_time = Some(read_time(time)?);
            }
            (3, Field::Bytes(time)) if route.end_time.is_none() => {
                route.end_time = Some(read_time(time)?);
            }
            (1..=4, _) => return None,
            _ => (),
        }
    }
    Some(route)
}

fn read_time(bytes: &[u8]) -> Option<SystemTime> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut fields = Fields(bytes);
    while let Some((number, field)) = fields.next()? {
        match (number, field) {
            (1, Field::Number(value)) => seconds = value,
            (2, Field::Number(value)) => nanos = value,
            (1 | 2, _) => return None,
            _ => (),
        }
    }
    // Times before 1970 and invalid fractions are left to the full decoder.
    let seconds = i64::try_from(seconds).ok()?;
    let nanos = u32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds.unsigned_abs(), nanos))
}

fn string(bytes: &[u8]) -> Option<String> {
    str::from_utf8(bytes).ok().map(str::to_owned)
}

/// The fields of a message.
struct Fields<'a>(&'a [u8]);

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// A field of fixed length.
    Fixed,
}

impl<'a> Fields<'a> {
    /// The next field; `Some(None)` at the end, `None` if it is invalid.
    fn next(&mut self) -> Option<Option<(u32, Field<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let key = u32::try_from(self.number()?).ok()?;
        let number = Some(key >> 3).filter(|number| *number > 0)?;
        let field = match key & 7 {
            0 => Field::Number(self.number()?),
            1 => self.skip(8)?,
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                let (bytes, rest) = self.0.split_at_checked(length)?;
                self.0 = rest;
                Field::Bytes(bytes)
            }
            5 => self.skip(4)?,
            _ => return None,
        };
        Some(Some((number, field)))
    }

    fn skip(&mut self, bytes: usize) -> Option<Field<'a>> {
        self.0 = self.0.get(bytes..)?;
        Some(Field::Fixed)
    }

    fn number(&mut self) -> Option<u64> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        if first < 0x80 {
            return Some(first.into());
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                // The tenth byte can hold only one bit.
                return (shift < 63 || byte < 2).then_some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::super::envelope::{read_header, read_routes};
    use super::super::proto::jina::DataRequestHeadProto;
    use super::*;

    /// The result of the full decoder.
    fn whole(message: &[u8]) -> Option<Head> {
        let message = DataRequestHeadProto::decode(message).ok()?;
        Some(Head {
            header: message.header.map(read_header).unwrap_or_default(),
            routes: Some(read_routes(message.routes).ok()?),
            documents: count_docs(&message.data),
        })
    }

    #[test]
    fn what_real_gateways_send_is_read_as_by_the_decoder_of_the_whole() {
        let mut scanned = 0;
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
        let mut folders = vec![std::path::PathBuf::from(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(bytes) = std::fs::read(&path)
                    && let Some(head) = scan(&bytes)
                {
                    assert_eq!(Some(head), whole(&bytes), "{}", path.display());
                    scanned += 1;
                }
            }
        }
        assert!(scanned > 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_as_by_the_decoder_of_the_whole(bytes: Vec<u8>) {
            if let Some(head) = scan(&bytes) {
                prop_assert_eq!(Some(head), whole(&bytes));
            }
        }

        #[test]
        fn any_heads_are(
            id in "[0-9a-f]{0,32}",
            endpoint in proptest::option::of("/[a-z]*"),
            routes in prop::collection::vec(("[a-z]{0,9}", 0i64..1 << 40, -5i32..1_000_000_005), 0..4),
            junk: Vec<u8>,
        ) {
            use super::super::proto::jina::{DataRequestProto, HeaderProto, RouteProto};
            let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
            let header = HeaderProto { request_id: id, exec_endpoint: endpoint, ..HeaderProto::default() };
            let routes = routes.into_iter().map(|(executor, seconds, nanos)| RouteProto {
                executor,
                start_time: time(seconds, nanos),
                end_time: time(seconds + 1, nanos),
                status: None,
            });
            let message = DataRequestProto {
                header: Some(header),
                routes: routes.collect(),
                ..DataRequestProto::default()
            };
            let mut bytes = message.encode_to_vec();
            bytes.extend(junk);
            if let Some(head) = scan(&bytes) {
                prop_assert_eq!(Some(head), whole(&bytes));
            }
        }
    }
}
