//! What floods send over a connection: bytes that ask for much, or for nothing, again and again.

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GET, HEADERS, PING, POST, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, frame,
};

/// The streams that a client opens.
pub(crate) fn streams() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

/// Questions whether we are there.
pub(crate) fn pings(count: usize) -> impl Iterator<Item = Vec<u8>> {
    std::iter::repeat_n(frame(PING, 0, 0, &[0; 8]), count)
}

/// Settings that change nothing, each of which is to be acknowledged.
pub(crate) fn settings(count: usize) -> impl Iterator<Item = Vec<u8>> {
    std::iter::repeat_n(frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]), count)
}

/// A body that goes on and has nothing in it.
pub(crate) fn empty_data(count: usize) -> impl Iterator<Item = Vec<u8>> {
    let begin = frame(HEADERS, END_HEADERS, 1, POST);
    std::iter::once(begin).chain(std::iter::repeat_n(frame(DATA, 0, 1, &[]), count))
}

/// A header that is never indexed, in a frame of its own.
pub(crate) fn continuation(flags: u8) -> Vec<u8> {
    frame(CONTINUATION, flags, 1, &[0x10, 1, b'x', 1, b'y'])
}

/// A header block that does not end.
pub(crate) fn continuations(count: usize) -> impl Iterator<Item = Vec<u8>> {
    let begin = frame(HEADERS, END_STREAM, 1, GET);
    std::iter::once(begin).chain(std::iter::repeat_n(continuation(0), count))
}

/// Requests on these streams, taken back at once (rapid reset).
pub(crate) fn taken_back(streams: impl Iterator<Item = u32>) -> impl Iterator<Item = Vec<u8>> {
    streams.flat_map(|stream| {
        [frame(HEADERS, END_HEADERS | END_STREAM, stream, GET), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])]
    })
}

/// Requests on these streams that we have to reset: a window that would overflow is an error of the stream alone
/// (MadeYouReset).
pub(crate) fn made_to_reset(streams: impl Iterator<Item = u32>) -> impl Iterator<Item = Vec<u8>> {
    streams.flat_map(|stream| {
        let overflow = frame(WINDOW_UPDATE, 0, stream, &[0x7f, 0xff, 0xff, 0xff]);
        [frame(HEADERS, END_HEADERS, stream, POST), overflow]
    })
}

/// A value that fills the table of headers, and then a byte for each time that it comes again.
pub(crate) fn table_bomb(times: usize) -> impl Iterator<Item = Vec<u8>> {
    let value = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'y'; 4000]].concat();
    let bomb = [GET, &value, &vec![0xbe; times]].concat();
    std::iter::once(frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb))
}
