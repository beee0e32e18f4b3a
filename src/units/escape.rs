//! Escapes texts for the first line of an HTTP request: characters that are not allowed there become `%XX`.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Characters to escape in a path. `?`, `%` and brackets are part of a name there.
const PATH: AsciiSet = NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// Characters to escape in a path with a query, which may already contain escapes.
const PATH_AND_QUERY: AsciiSet = PATH.remove(b'?').remove(b'%').remove(b'[').remove(b']');

/// Escapes a path that is a name, such as an endpoint's.
pub(crate) fn escape_path(path: &str) -> String {
    utf8_percent_encode(path, &PATH).to_string()
}

/// Escapes a path and query as a user writes them.
pub(crate) fn escape_path_and_query(path: &str) -> String {
    utf8_percent_encode(path, &PATH_AND_QUERY).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_requests_need_them() {
        for (path, written) in [
            ("/default", "/default"),
            ("/a/b-c_d.e~1", "/a/b-c_d.e~1"),
            ("/with space", "/with%20space"),
            ("/größe?x#y%z", "/gr%C3%B6%C3%9Fe%3Fx%23y%25z"),
            ("/a\r\nb: c", "/a%0D%0Ab:%20c"),
        ] {
            assert_eq!(escape_path(path), written);
        }
        let both = "/größe?x=[1]&y=%20#z";
        assert_eq!(escape_path_and_query(both), "/gr%C3%B6%C3%9Fe?x=[1]&y=%20%23z");
    }
}
