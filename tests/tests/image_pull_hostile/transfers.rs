//! Layers that change on the way, or do not end.

use crate::case::{Case, case, endless, gzip, is_layer, layer, layer_raw, refused};
use crate::naive;
use crate::pull::Reply;

fn chunk() -> Vec<u8> {
    [&b"1000\r\n"[..], &[7; 4096], b"\r\n"].concat()
}

/// Half of the layer first, then an answer to the question for the rest.
fn after_half(
    name: &'static str,
    word: &'static str,
    rest: impl Fn() -> Reply + Send + Sync + 'static,
) -> Case {
    case(name, word, move |asked| {
        if !is_layer(asked) {
            return None;
        }
        if asked.header("range").is_empty() {
            let all = layer();
            let head = format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\n\r\n", all.len());
            return Reply::bytes([head.as_bytes(), &all[..all.len() / 2]].concat());
        }
        Some(rest())
    })
}

/// Each answer ends after one byte more than the one before.
fn broken_off_later_each_time() -> Case {
    let size = layer().len();
    let name = "broken off after one byte more each time";
    case(name, "connection broke", move |asked| {
        let range = asked.header("range");
        let from = range.trim_start_matches("bytes=").trim_end_matches('-');
        let from = from.parse::<usize>().unwrap_or(0);
        let head = match from {
            0 => format!("HTTP/1.1 200 X\r\nContent-Length: {size}\r\n\r\n"),
            from => format!(
                "HTTP/1.1 206 X\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{size}\r\n\r\n",
                size - from,
                size - 1
            ),
        };
        is_layer(asked).then(|| Reply::bytes([head.as_bytes(), &layer()[from..=from]].concat()))?
    })
}

#[test]
fn layers_on_the_way() {
    let size = layer().len();
    let other = vec![9; size];
    refused(
        "it costs only whoever asks again and again",
        vec![
            case("other bytes", "has the digest", move |asked| {
                is_layer(asked).then(|| Reply::status(200, &[], &other))
            })
            .harms(naive::takes_layer),
            case("more bytes", "were said", |asked| {
                is_layer(asked).then(|| Reply::status(200, &[], &[layer(), layer()].concat()))
            })
            .harms(naive::takes_layer),
            case("fewer bytes", "were said", |asked| {
                is_layer(asked).then(|| Reply::status(200, &[], &layer()[1..]))
            })
            .harms(naive::takes_layer),
            case("no bytes", "were said", |asked| {
                is_layer(asked).then(|| Reply::status(200, &[], b""))
            })
            .harms(naive::takes_layer),
            layer_raw(
                "chunks without an end that is told",
                "connection broke",
                "200 X\r\nTransfer-Encoding: chunked",
                b"5\r\nabcde\r\n".to_vec(),
            ),
            case("chunks without an end", "sends more bytes", |asked| {
                is_layer(asked).then(|| {
                    Reply::raw(|stream| {
                        endless(
                            stream,
                            "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n",
                            &chunk(),
                        )
                    })
                })?
            })
            .harms(naive::is_flooded),
            case(
                "bytes until the connection ends, without an end",
                "sends more bytes",
                |asked| {
                    is_layer(asked).then(|| {
                        Reply::raw(|stream| endless(stream, "HTTP/1.1 200 X\r\n\r\n", &[7; 4096]))
                    })?
                },
            )
            .harms(naive::is_flooded),
            case(
                "always broken off at once",
                "connection broke",
                move |asked| {
                    let head = format!("HTTP/1.1 200 X\r\nContent-Length: {size}\r\n\r\n");
                    is_layer(asked).then(|| Reply::bytes(head))?
                },
            ),
            broken_off_later_each_time(),
            case("an encoding that was not asked for", "encoded", |asked| {
                is_layer(asked)
                    .then(|| Reply::status(200, &[("Content-Encoding", "gzip")], &gzip(&layer())))
            })
            .harms(naive::takes_layer),
        ],
    );
}

#[test]
fn parts_of_layers() {
    let size = layer().len();
    let part = move |range: &'static str| {
        move || Reply::status(206, &[("Content-Range", range)], &layer()[size / 2..])
    };
    refused(
        "what comes is right, and only the words for it are wrong; or no client takes it",
        vec![
            case(
                "a part that was not asked for",
                "all was asked for",
                move |asked| {
                    is_layer(asked)
                        .then(|| Reply::status(206, &[("Content-Range", "bytes 0-9/10")], &layer()))
                },
            ),
            after_half(
                "a part from elsewhere",
                "were asked for",
                part("bytes 0-32767/67072"),
            ),
            after_half(
                "a part of something longer",
                "were asked for",
                part("bytes 33536-67071/99999999"),
            ),
            after_half(
                "a part beyond the end",
                "were asked for",
                part("bytes 33536-99999998/99999999"),
            ),
            after_half(
                "a part that goes backwards",
                "were asked for",
                part("bytes 33536-1/67072"),
            ),
            after_half("a part without a range", "were asked for", || {
                Reply::status(206, &[], b"x")
            })
            .harms(naive::goes_on_wrongly),
            after_half("a part that is more than the rest", "were said", || {
                let size = layer().len();
                let range = format!("bytes {}-{}/{size}", size / 2, size - 1);
                Reply::status(206, &[("Content-Range", &range)], &layer())
            })
            .harms(naive::goes_on_wrongly),
            case("a range that can never be had", "416", |asked| {
                is_layer(asked).then(|| Reply::status(416, &[], b""))
            }),
            layer_raw(
                "a length that is none",
                "not taken",
                "200 X\r\nContent-Length: -5",
                Vec::new(),
            ),
            layer_raw(
                "two lengths",
                "not taken",
                "200 X\r\nContent-Length: 5\r\nContent-Length: 6",
                b"abcdef".to_vec(),
            )
            .harms(naive::is_read_differently),
            layer_raw(
                "a chunk of exabytes",
                "",
                "200 X\r\nTransfer-Encoding: chunked",
                b"fffffffffffffffff\r\nx".to_vec(),
            ),
        ],
    );
}
