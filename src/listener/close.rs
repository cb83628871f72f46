//! Ends a connection so that its caller can read the last answer.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::transport::Transport;

/// How long, and how much, is read and thrown away after an early answer, so that the caller gets to read it
/// instead of a reset connection.
pub(super) const LINGER: Duration = Duration::from_secs(5);
pub(super) const LINGER_BYTES: usize = 64 << 20;

/// Ends a connection. After an early answer no more is written, and what still comes is thrown away for a while:
/// closing at once would reset the connection and lose the answer. `clean`: the caller owes nothing and has sent
/// nothing that was not read.
pub(super) async fn close<S: Transport>(io: S, clean: bool) {
    // Between two requests nothing is on its way, and what was written is sent after the close, too.
    if S::SAYS_GOODBYE || !clean {
        Box::pin(linger(io, clean)).await;
    }
}

async fn linger<S: Transport>(mut io: S, clean: bool) {
    let drain = async {
        // Over TLS the goodbye has to be written, and its reader may be gone.
        if io.shutdown().await.is_err() || clean {
            return;
        }
        let mut waste = BytesMut::with_capacity(16 * 1024);
        let mut total = 0;
        while total < LINGER_BYTES {
            waste.clear();
            match io.read_buf(&mut waste).await {
                Ok(0) | Err(_) => return,
                Ok(read) => total += read,
            }
        }
    };
    // Either way the connection ends now.
    let _ = tokio::time::timeout(LINGER, drain).await;
}
