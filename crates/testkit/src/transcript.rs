//! What another process says, line by line, for as long as it says anything.

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    sync::watch,
};

/// Collects lines in the background; the sender is gone once the stream has ended.
pub(crate) fn follow(stream: impl AsyncRead + Send + Unpin + 'static) -> watch::Receiver<String> {
    let (sender, receiver) = watch::channel(String::new());
    tokio::spawn(async move {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(stream.read_until(b'\n', &mut line).await, Ok(length) if length > 0) {
            sender.send_modify(|transcript| transcript.push_str(&String::from_utf8_lossy(&line)));
            line.clear();
        }
    });
    receiver
}
