//! WeChat writes `Content-disposition`, and hyper would write `Content-Disposition`.
//!
//! A proxy that promises to keep the spelling of names needs an odd one to be tested with. hyper keeps a
//! spelling that it has read but lets nobody state one; so it is made to read one, once, and what it
//! noted then goes with each answer. All other names come in title case.

use bytes::Bytes;
use http::{Extensions, Request};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SAMPLE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-disposition: x\r\nContent-Length: 0\r\n\r\n";

/// What makes hyper spell names as in the sample, when it is put into a response. Should hyper refuse, the
/// answer is nothing, and names come in title case.
pub(crate) async fn wechats() -> Extensions {
    read_sample().await.unwrap_or_default()
}

async fn read_sample() -> Option<Extensions> {
    let (near, mut far) = tokio::io::duplex(1024);
    let (mut sender, connection) = http1::Builder::new()
        .preserve_header_case(true)
        .handshake::<_, Empty<Bytes>>(TokioIo::new(near))
        .await
        .ok()?;
    let request = sender.send_request(Request::new(Empty::new()));
    let answer = async {
        // A response before its request would be an error to hyper.
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            far.read_buf(&mut request).await.ok().filter(|length| *length > 0)?;
        }
        far.write_all(SAMPLE).await.ok()?;
        // The connection must not end before the response is read.
        std::future::pending().await
    };
    tokio::select! {
        response = request => Some(std::mem::take(response.ok()?.extensions_mut())),
        _ = connection => None,
        answered = answer => answered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hyper_notes_the_spelling() {
        for _ in 0..100 {
            assert!(read_sample().await.is_some());
        }
    }
}
