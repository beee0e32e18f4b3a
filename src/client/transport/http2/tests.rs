//! The cases of h2spec for clients, and other things a server may do, as bytes.

use super::*;

/// A frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    head(&mut out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
    out
}

fn setting(name: u16, value: u32) -> Vec<u8> {
    [&name.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

fn settings(all: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = all.iter().flat_map(|(name, value)| setting(*name, *value)).collect();
    frame(SETTINGS, 0, 0, &payload)
}

struct Counting(usize);

impl Message for Counting {
    fn len(&self) -> usize {
        self.0
    }

    fn copy(&self, from: usize, to: usize, out: &mut Vec<u8>) {
        out.extend((from..to).map(|at| at as u8));
    }
}

fn block() -> Block {
    Block::new(&[(b":method", b"POST"), (b":path", b"/a"), (b"te", b"trailers")])
}

/// A greeted connection, with this many streams opened and our side of them ended.
fn greeted(streams: usize) -> Connection<u32> {
    let mut connection = Connection::new();
    let mut input = BytesMut::from(&settings(&[])[..]);
    assert_eq!(connection.next(&mut input), Ok(Some(Event::Room)));
    for _ in 0..streams {
        let stream = connection.open(&block(), true, 7);
        connection.end(stream);
    }
    clear(&mut connection);
    connection
}

/// The output, as frames: kind, flags, stream, payload.
fn clear<T>(connection: &mut Connection<T>) -> Vec<(u8, u8, u32, Vec<u8>)> {
    let out = connection.out().to_vec();
    connection.taken(out.len());
    let mut rest = out.strip_prefix(PREFACE).unwrap_or(&out);
    let mut frames = Vec::new();
    while let Some(frame) = Frame::parse(rest) {
        let end = HEAD + frame.length;
        frames.push((frame.kind, frame.flags, frame.stream, rest[HEAD..end].to_vec()));
        rest = &rest[end..];
    }
    assert!(rest.is_empty());
    frames
}

/// All events of these bytes, which arrive in pieces of this size.
fn read(connection: &mut Connection<u32>, bytes: &[u8], piece: usize) -> Result<Vec<Event>, Code> {
    let (mut input, mut events) = (BytesMut::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        input.extend_from_slice(piece);
        while let Some(event) = connection.next(&mut input)? {
            events.push(event);
        }
    }
    Ok(events)
}

#[test]
fn what_breaks_the_protocol_ends_the_connection_with_its_code() {
    use Code as C;
    let reset = 0u32.to_be_bytes();
    for (what, bytes, code) in [
        ("data on a stream that nobody opened", frame(DATA, 0, 5, b"x"), C::PROTOCOL_ERROR),
        (
            "headers on a stream that nobody opened",
            frame(HEADERS, 4, 5, b"\x88"),
            C::PROTOCOL_ERROR,
        ),
        ("headers on a stream of the server's", frame(HEADERS, 4, 2, b"\x88"), C::PROTOCOL_ERROR),
        ("a reset of an idle stream", frame(RST_STREAM, 0, 5, &reset), C::PROTOCOL_ERROR),
        (
            "a window of an idle stream",
            frame(WINDOW_UPDATE, 0, 5, &[0, 0, 0, 1]),
            C::PROTOCOL_ERROR,
        ),
        (
            "a block that goes on without a beginning",
            frame(CONTINUATION, 4, 1, b""),
            C::PROTOCOL_ERROR,
        ),
        ("a frame that is too long", vec![0x10, 0, 1, DATA, 0, 0, 0, 0, 1], C::FRAME_SIZE_ERROR),
        ("data of the connection", frame(DATA, 0, 0, b"x"), C::PROTOCOL_ERROR),
        (
            "data whose padding is longer than itself",
            frame(DATA, PADDED, 1, b"\x05abc"),
            C::PROTOCOL_ERROR,
        ),
        ("padded data without a length", frame(DATA, PADDED, 1, b""), C::FRAME_SIZE_ERROR),
        ("headers of the connection", frame(HEADERS, 4, 0, b"\x88"), C::PROTOCOL_ERROR),
        (
            "headers whose padding is longer than they",
            frame(HEADERS, 4 | PADDED, 1, b"\x09\x88"),
            C::PROTOCOL_ERROR,
        ),
        ("priority of the connection", frame(PRIORITY, 0, 0, &[0; 5]), C::PROTOCOL_ERROR),
        ("priority of four bytes", frame(PRIORITY, 0, 1, &[0; 4]), C::FRAME_SIZE_ERROR),
        ("a reset of the connection", frame(RST_STREAM, 0, 0, &reset), C::PROTOCOL_ERROR),
        ("a reset of three bytes", frame(RST_STREAM, 0, 1, &reset[1..]), C::FRAME_SIZE_ERROR),
        (
            "an acknowledgment with settings",
            frame(SETTINGS, ACK, 0, &setting(3, 1)),
            C::FRAME_SIZE_ERROR,
        ),
        ("settings of a stream", frame(SETTINGS, 0, 1, b""), C::PROTOCOL_ERROR),
        ("settings of five bytes", frame(SETTINGS, 0, 0, &[0; 5]), C::FRAME_SIZE_ERROR),
        ("push that is neither on nor off", settings(&[(2, 2)]), C::PROTOCOL_ERROR),
        ("a window beyond all windows", settings(&[(4, 1 << 31)]), C::FLOW_CONTROL_ERROR),
        ("frames that are too short", settings(&[(5, 16_383)]), C::PROTOCOL_ERROR),
        ("frames that are too long", settings(&[(5, 1 << 24)]), C::PROTOCOL_ERROR),
        ("a promise to push", frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2, 0x88]), C::PROTOCOL_ERROR),
        ("a ping of a stream", frame(PING, 0, 1, &[0; 8]), C::PROTOCOL_ERROR),
        ("a ping of seven bytes", frame(PING, 0, 0, &[0; 7]), C::FRAME_SIZE_ERROR),
        ("a goodbye to a stream", frame(GOAWAY, 0, 1, &[0; 8]), C::PROTOCOL_ERROR),
        ("a goodbye that is cut off", frame(GOAWAY, 0, 0, &[0; 6]), C::FRAME_SIZE_ERROR),
        (
            "no more window of the connection",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
            C::PROTOCOL_ERROR,
        ),
        ("no more window of a stream", frame(WINDOW_UPDATE, 0, 1, &[0; 4]), C::PROTOCOL_ERROR),
        ("a window of three bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), C::FRAME_SIZE_ERROR),
        (
            "too much window",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            C::FLOW_CONTROL_ERROR,
        ),
        (
            "too much window of a stream",
            frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff]),
            C::FLOW_CONTROL_ERROR,
        ),
        (
            "another frame within a block",
            [frame(HEADERS, 0, 1, b"\x88"), frame(PRIORITY, 0, 1, &[0; 5])].concat(),
            C::PROTOCOL_ERROR,
        ),
        (
            "an unknown frame within a block",
            [frame(HEADERS, 0, 1, b"\x88"), frame(0x16, 0, 0, b"")].concat(),
            C::PROTOCOL_ERROR,
        ),
        (
            "another stream's headers within a block",
            [frame(HEADERS, 0, 1, b"\x88"), frame(CONTINUATION, 4, 3, b"")].concat(),
            C::PROTOCOL_ERROR,
        ),
        (
            "a block without end",
            [frame(HEADERS, 0, 1, b"\x88"), frame(CONTINUATION, 0, 1, b"").repeat(300)].concat(),
            C::ENHANCE_YOUR_CALM,
        ),
        ("pings without end", frame(PING, 0, 0, &[0; 8]).repeat(70_000), C::ENHANCE_YOUR_CALM),
        (
            "more data than there is window for",
            frame(DATA, 0, 1, &vec![0; FRAME_MAX]).repeat(5),
            C::FLOW_CONTROL_ERROR,
        ),
    ] {
        for piece in [7, usize::MAX] {
            assert_eq!(read(&mut greeted(2), &bytes, piece), Err(code), "{what}");
        }
    }
    for first in [frame(PING, 0, 0, &[0; 8]), b"HTTP/1.1 400 Bad Request\r\n".to_vec()] {
        assert!(read(&mut Connection::new(), &first, 1).is_err(), "settings come first");
    }
}

#[test]
fn what_a_client_has_to_put_up_with_is_passed_over() {
    let done = Event::Data { stream: 1, data: Bytes::from_static(b"x"), ends: true };
    let end = frame(DATA, END_STREAM, 1, b"x");
    for (what, bytes) in [
        ("a frame of an unknown kind", frame(0x16, 0xff, 1, b"what")),
        ("flags that mean nothing", frame(PING, 0x16 | ACK, 0, &[0; 8])),
        ("a reserved bit", frame(PRIORITY, 0, 1 | 1 << 31, &[0; 5])),
        ("priority of an idle stream", frame(PRIORITY, 0, 9, &[0; 5])),
        ("a setting that nobody knows", settings(&[(0x99, 1)])),
        ("a window of a closed stream", frame(WINDOW_UPDATE, 0, 3, &[0, 0, 0, 1])),
        ("a reset of a closed stream", frame(RST_STREAM, 0, 3, &[0; 4])),
        ("data of a closed stream", frame(DATA, 0, 3, b"late")),
        ("headers of a closed stream", frame(HEADERS, 4, 3, b"\x88")),
        ("data that is none", frame(DATA, 0, 1, b"")),
        ("padding alone", frame(DATA, PADDED, 1, &[3, 0, 0, 0])),
    ] {
        for piece in [1, usize::MAX] {
            let mut connection = greeted(2);
            connection.close(3);
            let events = read(&mut connection, &[&bytes[..], &end].concat(), piece).unwrap();
            assert_eq!(events.last(), Some(&done), "{what}");
        }
    }
}

#[test]
fn headers_come_whole_without_padding_and_priority() {
    for bytes in [
        frame(HEADERS, 4 | END_STREAM, 1, b"\x88\x89"),
        frame(HEADERS, 4 | END_STREAM | PADDED, 1, b"\x02\x88\x89\0\0"),
        frame(HEADERS, 4 | END_STREAM | WITH_PRIORITY, 1, b"\0\0\0\0\0\x88\x89"),
        [
            frame(HEADERS, END_STREAM | PADDED | WITH_PRIORITY, 1, b"\x01\0\0\0\0\0\x88\0"),
            frame(CONTINUATION, 0, 1, b""),
            frame(CONTINUATION, END_HEADERS, 1, b"\x89"),
        ]
        .concat(),
    ] {
        let block = Bytes::from_static(b"\x88\x89");
        let expected = Event::Headers { stream: 1, block, ends: true };
        assert_eq!(read(&mut greeted(1), &bytes, 3), Ok(vec![expected]));
    }
    let long = [
        frame(HEADERS, 0, 1, &[0x88; 16_384]),
        frame(CONTINUATION, 0, 1, &[0x88; 16_384]).repeat(40),
        frame(CONTINUATION, END_HEADERS, 1, b""),
        frame(HEADERS, END_HEADERS, 3, b"\x88"),
    ];
    let events = read(&mut greeted(2), &long.concat(), 5000).unwrap();
    let next = Event::Headers { stream: 3, block: Bytes::from_static(b"\x88"), ends: false };
    assert_eq!(events, [Event::HeadersTooLong { stream: 1 }, next]);
}

#[test]
fn data_comes_as_it_is_there_and_its_end_once() {
    let bytes = frame(DATA, END_STREAM | PADDED, 1, b"\x03hello\0\0\0");
    let mut connection = greeted(1);
    let events = read(&mut connection, &bytes, 4).unwrap();
    let mut whole = Vec::new();
    let mut ends = 0;
    for event in &events {
        let Event::Data { data, ends: end, .. } = event else { panic!("{event:?}") };
        whole.extend_from_slice(data);
        ends += usize::from(*end);
    }
    assert_eq!((&whole[..], ends), (&b"hello"[..], 1));
    let events = read(&mut greeted(1), &frame(DATA, END_STREAM, 1, b""), 1).unwrap();
    assert_eq!(events, [Event::Data { stream: 1, data: Bytes::new(), ends: true }]);
}

#[test]
fn many_messages_of_a_stream_share_a_frame_until_it_is_on_its_way() {
    let mut connection = greeted(0);
    let stream = connection.open(&block(), false, 0);
    for _ in 0..3 {
        assert_eq!(connection.send(stream, &Counting(100), 0, false).0, 100);
    }
    let frames = clear(&mut connection);
    assert_eq!(frames.len(), 2);
    assert_eq!((frames[1].0, frames[1].1, frames[1].3.len()), (DATA, 0, 300));
    connection.send(stream, &Counting(10), 0, false);
    connection.taken(5);
    connection.send(stream, &Counting(10), 0, true);
    let rest = connection.out().to_vec();
    assert_eq!(rest.len(), HEAD - 5 + 10 + HEAD + 10, "what has begun to go out does not grow");
    assert_eq!(rest[HEAD - 5 + 10 + 4], END_STREAM, "the end is on the last frame");
}

#[test]
fn where_a_message_begins_is_told_and_holds_however_much_went_out_before() {
    let mut connection = greeted(0);
    let stream = connection.open(&block(), false, 0);
    let mut gone = 0;
    for round in 0..1000 {
        let first = connection.send(stream, &Counting(60), 0, false).1.unwrap();
        let before = connection.taken(0);
        let out = connection.out();
        assert_eq!(out[(first - before) as usize..][..60], (0..60).collect::<Vec<u8>>());
        let some = if round % 3 == 0 { out.len() } else { out.len() / 2 };
        gone = connection.taken(some);
    }
    assert!(gone > 40_000, "{gone}");
}

#[test]
fn flow_control_holds_both_ways_and_through_changes_of_settings() {
    let mut connection = greeted(0);
    let read =
        |connection: &mut Connection<u32>, bytes: &[u8]| read(connection, bytes, 100).unwrap();
    read(&mut connection, &settings(&[(4, 10)]));
    let stream = connection.open(&block(), false, 0);
    assert_eq!(connection.send(stream, &Counting(25), 0, true).0, 10);
    assert_eq!(
        connection.send(stream, &Counting(25), 10, true),
        (10, None),
        "the window is used up"
    );
    // A smaller window also counts what was already sent.
    read(&mut connection, &settings(&[(4, 5)]));
    read(&mut connection, &frame(WINDOW_UPDATE, 0, stream, &[0, 0, 0, 7]));
    assert_eq!(connection.send(stream, &Counting(25), 10, true).0, 12);
    read(&mut connection, &settings(&[(4, 1000)]));
    assert_eq!(connection.send(stream, &Counting(25), 12, true).0, 25);
    let sizes: Vec<(u8, usize)> = clear(&mut connection)
        .into_iter()
        .filter(|frame| frame.0 == DATA)
        .map(|frame| (frame.1, frame.3.len()))
        .collect();
    assert_eq!(sizes, [(0, 10), (0, 2), (END_STREAM, 13)]);

    // Bytes that we have taken are given back by half a window at a time.
    let mut connection = greeted(1);
    for _ in 0..(WINDOW as usize / 2).div_ceil(16_000) {
        read(&mut connection, &frame(DATA, 0, 1, &[0; 16_000]));
        connection.release(1, 16_000);
    }
    let frames = clear(&mut connection);
    let updates: Vec<u32> = frames.iter().filter(|f| f.0 == WINDOW_UPDATE).map(|f| f.2).collect();
    assert_eq!(updates, [0, 1]);
}

#[test]
fn the_server_says_how_many_streams_there_may_be_and_when_no_more() {
    let mut connection = greeted(0);
    for (max, free) in [(0, 0), (2, 2), (1, 1)] {
        read(&mut connection, &settings(&[(3, max)]), 100).unwrap();
        assert_eq!(connection.streams_free(), free);
    }
    let stream = connection.open(&block(), false, 0);
    assert_eq!(connection.streams_free(), 0);
    connection.close(stream);
    assert_eq!(connection.streams_free(), 1);
    let frames = clear(&mut connection);
    assert_eq!(frames.last().unwrap(), &(RST_STREAM, 0, stream, vec![0; 4]), "we had not ended it");
    let goodbye = frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0, b'b', b'y', b'e']);
    let events = read(&mut connection, &goodbye, 100).unwrap();
    assert_eq!(events, [Event::GoAway { last: 1, code: Code::NO_ERROR }]);
    assert!(connection.is_used_up() && connection.streams_free() == 0);
}

#[test]
fn lines_stay_in_a_servers_table_while_it_has_one() {
    let sent = |connection: &mut Connection<u32>| {
        connection.open(&block(), true, 0);
        clear(connection).pop().unwrap().3
    };
    let mut connection = greeted(0);
    let first = sent(&mut connection);
    let again = sent(&mut connection);
    assert!(again.len() == 3 && first.len() > 15, "{first:?} {again:?}");
    read(&mut connection, &settings(&[(1, 0)]), 100).unwrap();
    clear(&mut connection);
    let plain = sent(&mut connection);
    assert_eq!(plain[0], 0x20, "the server hears that its table is empty");
    assert_eq!(sent(&mut connection), plain[1..]);
}

#[test]
fn a_block_longer_than_a_frame_is_cut() {
    let mut connection = greeted(0);
    let long = vec![b'v'; 40_000];
    let block = Block::new(&[(b":method", b"POST"), (b"x-long", &long)]);
    connection.open(&block, false, 0);
    let frames = clear(&mut connection);
    let shape: Vec<(u8, u8, usize)> = frames.iter().map(|f| (f.0, f.1, f.3.len())).collect();
    let (first, last) = (shape[0], shape[2]);
    assert_eq!((first, shape[1]), ((HEADERS, 0, 16_384), (CONTINUATION, 0, 16_384)));
    assert_eq!((last.0, last.1), (CONTINUATION, END_HEADERS));
    let whole: Vec<u8> = frames.into_iter().flat_map(|frame| frame.3).collect();
    let mut lines = 0;
    hpack::read(&whole, |_, _| lines += 1).unwrap();
    assert_eq!(lines, 2);
}

proptest::proptest! {
    #[test]
    fn any_bytes_end(bytes: Vec<u8>, piece in 1..50usize) {
        let mut connection = greeted(3);
        let _ = read(&mut connection, &bytes, piece);
    }

    #[test]
    fn any_frames_end(
        frames in proptest::collection::vec(
            (0u8..11, proptest::num::u8::ANY, 0u32..8, proptest::collection::vec(proptest::num::u8::ANY, 0..12)),
            0..20,
        ),
        piece in 1..50usize,
    ) {
        let bytes: Vec<u8> = frames.iter().flat_map(|(k, f, s, p)| frame(*k, *f, *s, p)).collect();
        let _ = read(&mut greeted(3), &bytes, piece);
    }
}
