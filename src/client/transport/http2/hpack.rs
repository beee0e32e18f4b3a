//! HPACK (RFC 7541), reduced to what a client needs that allows the server no dynamic table: equal
//! header blocks are then equal bytes, and each can be read, or skipped, by itself.

/// Bytes are not a header block, or need a table that we do not keep.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::client) struct Malformed;

/// The static table, from index 1.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// The first index of the dynamic table.
const DYNAMIC: usize = STATIC.len() + 1;

/// The size of an entry of the dynamic table in addition to its name and value, by definition.
const ENTRY: usize = 32;

/// Reads a block line by line, each a name and a value.
///
/// # Errors
/// When it is not a block, or refers to a dynamic table.
pub(in crate::client) fn read(
    mut block: &[u8],
    mut line: impl FnMut(&[u8], &[u8]),
) -> Result<(), Malformed> {
    let mut begun = false;
    while let Some(&first) = block.first() {
        if first & 0x80 != 0 {
            let (name, value) = entry(integer(&mut block, 7)?)?;
            line(name.as_bytes(), value.as_bytes());
        } else if first & 0xe0 == 0x20 {
            // A new size of the dynamic table, which comes first and can only be the one we allow.
            if integer(&mut block, 5)? != 0 || begun {
                return Err(Malformed);
            }
            continue;
        } else {
            let prefix = if first & 0x40 != 0 { 6 } else { 4 };
            let name = match integer(&mut block, prefix)? {
                0 => text(&mut block)?,
                index => entry(index)?.0.as_bytes().into(),
            };
            let value = text(&mut block)?;
            line(&name, &value);
        }
        begun = true;
    }
    Ok(())
}

fn entry(index: usize) -> Result<(&'static str, &'static str), Malformed> {
    index.checked_sub(1).and_then(|at| STATIC.get(at)).copied().ok_or(Malformed)
}

/// An integer that begins in the last `prefix` bits of a byte.
fn integer(bytes: &mut &[u8], prefix: u32) -> Result<usize, Malformed> {
    let most = (1usize << prefix) - 1;
    let (&first, mut rest) = bytes.split_first().ok_or(Malformed)?;
    let mut value = usize::from(first) & most;
    if value == most {
        for shift in (0..=21).step_by(7) {
            let (&byte, after) = rest.split_first().ok_or(Malformed)?;
            rest = after;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *bytes = rest;
                return Ok(value);
            }
        }
        // More than any block of ours may hold.
        return Err(Malformed);
    }
    *bytes = rest;
    Ok(value)
}

fn text<'a>(bytes: &mut &'a [u8]) -> Result<std::borrow::Cow<'a, [u8]>, Malformed> {
    let coded = bytes.first().ok_or(Malformed)? & 0x80 != 0;
    let length = integer(bytes, 7)?;
    let (text, rest) = bytes.split_at_checked(length).ok_or(Malformed)?;
    *bytes = rest;
    if coded { huffman(text).map(Into::into) } else { Ok(text.into()) }
}

/// Lengths of the Huffman codes of all bytes. The code is canonical: within a length codes increase
/// with their bytes, and each length continues where the one before it ended, so the lengths define
/// the code.
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
];

/// The longest code. The code of the end, which no text may contain, is all ones.
const LONGEST: usize = 30;

/// The codes, sorted.
struct Codes {
    /// By length: the first code, and the index of its byte in `bytes`.
    first: [(u32, usize); LONGEST + 2],
    bytes: [u8; 256],
}

const CODES: Codes = {
    let mut codes = Codes { first: [(0, 0); LONGEST + 2], bytes: [0; 256] };
    let (mut code, mut at, mut length) = (0, 0, 1);
    while length <= LONGEST {
        code <<= 1;
        codes.first[length] = (code, at);
        let mut byte = 0;
        while byte < 256 {
            if LENGTHS[byte] as usize == length {
                codes.bytes[at] = byte as u8;
                at += 1;
                code += 1;
            }
            byte += 1;
        }
        length += 1;
    }
    codes.first[length] = (0, at);
    codes
};

fn huffman(text: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(text.len() * 8 / 5);
    let (mut code, mut length) = (0u32, 0);
    for bit in text.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1)) {
        code = code << 1 | u32::from(bit);
        length += 1;
        if length > LONGEST {
            return Err(Malformed);
        }
        let (first, at) = CODES.first[length];
        let count = CODES.first[length + 1].1 - at;
        if let Some(index) = code.checked_sub(first).map(|index| index as usize)
            && index < count
        {
            out.push(CODES.bytes[at + index]);
            (code, length) = (0, 0);
        }
    }
    // The rest is padding: less than a byte of ones.
    let padded = length < 8 && code == (1 << length) - 1;
    if padded { Ok(out) } else { Err(Malformed) }
}

/// A header block that is sent again and again.
#[derive(Clone, Debug)]
pub(in crate::client) struct Block {
    /// As it is sent the first time on a connection, and kept in the server's dynamic table.
    first: Box<[u8]>,
    /// As it is sent from then on: indices into that table.
    again: Box<[u8]>,
    /// Its size in that table.
    table_bytes: usize,
    /// As it is sent if nothing is to be kept in the table.
    plain: Box<[u8]>,
}

impl Block {
    /// A block of these lines. If nothing else goes into the server's dynamic table, it holds just
    /// the lines of the block.
    pub(in crate::client) fn new(lines: &[(&[u8], &[u8])]) -> Block {
        let (mut first, mut again, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        let (mut table_bytes, mut kept) = (0, 0);
        let known = |line: &(&[u8], &[u8])| {
            STATIC.iter().position(|(name, value)| (name.as_bytes(), value.as_bytes()) == *line)
        };
        let count = lines.iter().filter(|line| known(line).is_none()).count();
        for line in lines {
            let (name, value) = line;
            if let Some(at) = known(line) {
                [&mut first, &mut again, &mut plain]
                    .into_iter()
                    .for_each(|out| write_integer(out, 0x80, 7, at + 1));
                continue;
            }
            literal(&mut first, 0x40, 6, name, value);
            literal(&mut plain, 0, 4, name, value);
            // The entry added last has the first index.
            write_integer(&mut again, 0x80, 7, DYNAMIC + count - 1 - kept);
            kept += 1;
            table_bytes += name.len() + value.len() + ENTRY;
        }
        let [first, again, plain] = [first, again, plain].map(Vec::into_boxed_slice);
        Block { first, again, table_bytes, plain }
    }

    /// The block as it must be sent on a connection whose table may have `table` bytes, and in
    /// which it is the only block.
    pub(super) fn of_connection(&self, table: usize, known: &mut bool) -> &[u8] {
        if self.table_bytes > table {
            return &self.plain;
        }
        if std::mem::replace(known, true) { &self.again } else { &self.first }
    }
}

/// A change of the size of our part of the server's table.
pub(super) fn write_table_size(out: &mut Vec<u8>, bytes: usize) {
    write_integer(out, 0x20, 5, bytes);
}

fn literal(out: &mut Vec<u8>, kind: u8, prefix: u32, name: &[u8], value: &[u8]) {
    match STATIC.iter().position(|entry| entry.0.as_bytes() == name) {
        Some(at) => write_integer(out, kind, prefix, at + 1),
        None => {
            out.push(kind);
            write_integer(out, 0, 7, name.len());
            out.extend_from_slice(name);
        }
    }
    write_integer(out, 0, 7, value.len());
    out.extend_from_slice(value);
}

fn write_integer(out: &mut Vec<u8>, kind: u8, prefix: u32, value: usize) {
    let most = (1 << prefix) - 1;
    if value < most {
        return out.push(kind | value as u8);
    }
    out.push(kind | most as u8);
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(block: &[u8]) -> Result<Vec<(String, String)>, Malformed> {
        let mut lines = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        read(block, |name, value| lines.push((text(name), text(value))))?;
        Ok(lines)
    }

    fn hex(digits: &str) -> Vec<u8> {
        let digits: String = digits.split_whitespace().collect();
        (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn the_examples_of_the_standard_are_read() {
        // RFC 7541, C.2 and C.4.
        for (block, expected) in [
            (
                "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
                ("custom-key", "custom-header"),
            ),
            ("040c 2f73 616d 706c 652f 7061 7468", (":path", "/sample/path")),
            ("1008 7061 7373 776f 7264 0673 6563 7265 74", ("password", "secret")),
            ("82", (":method", "GET")),
            ("418c f1e3 c2e5 f23a 6ba0 ab90 f4ff", (":authority", "www.example.com")),
            ("5886 a8eb 1064 9cbf", ("cache-control", "no-cache")),
            ("4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", ("custom-key", "custom-value")),
            ("4803 3330 32", (":status", "302")),
            (
                "6196 d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff",
                ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ),
        ] {
            let (name, value) = expected;
            assert_eq!(
                lines(&hex(block)),
                Ok(vec![(name.to_owned(), value.to_owned())]),
                "{block}"
            );
        }
    }

    #[test]
    fn what_needs_a_table_or_is_no_block_is_refused() {
        for (block, why) in [
            ("be", "the first entry of a dynamic table"),
            ("80", "no entry at all"),
            ("7e01 61", "a name of a dynamic table"),
            ("3fe1 1f", "a table of 4096 bytes"),
            ("8220", "a table size behind a line"),
            ("40", "a line without a name"),
            ("4003 61", "a name that is cut off"),
            ("ffff ffff ffff ff", "an index without end"),
            ("0001 6182 ffff", "padding of more than seven bits"),
            ("0001 6181 00", "padding that is no ones"),
            ("0001 6184 ffff fffe", "the code of the end"),
        ] {
            assert_eq!(lines(&hex(block)), Err(Malformed), "{why}");
        }
        assert_eq!(lines(&hex("2082")).unwrap().len(), 1, "a table of no bytes is what we allow");
    }

    #[test]
    fn a_block_is_read_by_others_the_first_time_and_again() {
        let given = [
            (&b":method"[..], &b"POST"[..]),
            (b":path", b"/a"),
            (b"te", b"trailers"),
            (b"x-long", &[b'v'; 300]),
        ];
        let block = Block::new(&given);
        let (mut known, mut table) = (false, 0);
        let first = block.of_connection(4096, &mut known).to_vec();
        assert_eq!(lines(&first).unwrap(), lines(&block.plain).unwrap());
        assert_eq!(lines(&first).unwrap().len(), given.len());
        table += block.table_bytes;
        assert_eq!(table, 5 + 2 + 2 + 8 + 6 + 300 + 3 * ENTRY);
        // The line sent last has the first index: `x-long`, `te`, `:path` from 62 on.
        assert_eq!(block.of_connection(4096, &mut known), [0x83, 0xc0, 0xbf, 0xbe]);
        assert_eq!(block.of_connection(100, &mut known), &*block.plain);
    }

    proptest! {
        #[test]
        fn any_bytes_end(block: Vec<u8>) {
            let _ = lines(&block);
        }

        #[test]
        fn what_is_written_is_read(pairs in prop::collection::vec(("[a-z-]{1,20}", "[ -~]{0,200}"), 0..9)) {
            let given: Vec<_> =
                pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            let block = Block::new(&given);
            prop_assert_eq!(lines(&block.plain), Ok(pairs));
        }
    }
}
