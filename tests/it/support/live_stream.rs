//! A client of server-sent events, which reads them as browsers do.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::http_client::{Answer, parse};

/// Longer than any event takes that a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);

/// An open stream.
pub struct LiveStream {
    stream: TcpStream,
    /// As it came.
    raw: Vec<u8>,
    /// Without what is around it.
    text: String,
    framing: Framing,
    /// The head of the answer, in small letters.
    pub head: String,
    /// After how many milliseconds to come back, once the shop has said so.
    pub retry_ms: Option<u64>,
}

/// How the end of the answer is found.
enum Framing {
    Chunked,
    /// So many bytes are still to come.
    Length(usize),
    Ended,
}

/// An event.
#[derive(Clone, PartialEq, Debug)]
pub struct LiveEvent {
    pub id: String,
    pub name: String,
    pub data: Value,
}

impl LiveStream {
    /// Sends a request; gives the answer when it is no stream.
    pub async fn open(address: SocketAddr, request: &[u8]) -> Result<Self, Answer> {
        let mut stream = TcpStream::connect(address).await.expect("the shop accepts connections");
        stream.write_all(request).await.expect("the shop reads");
        let mut raw = Vec::new();
        let end = loop {
            if let Some(end) = raw.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            assert!(read(&mut stream, &mut raw).await > 0, "the shop answers before it hangs up");
        };
        let head = std::str::from_utf8(&raw[..end]).expect("a head in ASCII").to_ascii_lowercase();
        if !head.contains("\r\ncontent-type: text/event-stream") {
            loop {
                if let Some((answer, _)) = parse(&raw) {
                    answer.check();
                    return Err(answer);
                }
                assert!(read(&mut stream, &mut raw).await > 0, "the whole answer");
            }
        }
        assert!(head.starts_with("http/1.1 200 "), "{head}");
        raw.drain(..end + 4);
        let length = head.split("\r\ncontent-length: ").nth(1).and_then(|rest| rest.lines().next());
        let framing = length.map_or(Framing::Chunked, |n| Framing::Length(n.parse().expect("a length")));
        Ok(Self { stream, raw, text: String::new(), framing, head, retry_ms: None })
    }

    /// The next event; `None` once the stream has ended.
    pub async fn next(&mut self) -> Option<LiveEvent> {
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                if let Some(event) = self.take_in(&block) {
                    return Some(event);
                }
            }
            if self.decode() {
                continue;
            }
            if matches!(self.framing, Framing::Ended) {
                assert_eq!(self.text, "", "no event is cut off");
                return None;
            }
            if read(&mut self.stream, &mut self.raw).await == 0 {
                return None;
            }
        }
    }

    /// Makes an event of its lines; comments and hints are none.
    fn take_in(&mut self, block: &str) -> Option<LiveEvent> {
        let field = |name: &str| {
            block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
        };
        if let Some(retry) = field("retry") {
            self.retry_ms = Some(retry.parse().expect("milliseconds"));
        }
        let data = field("data")?;
        let data = serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error}: {data}"));
        Some(LiveEvent { id: field("id").expect("an id"), name: field("event").expect("a name"), data })
    }

    /// Takes what is there out of what is around it; whether that was anything.
    fn decode(&mut self) -> bool {
        let (text, length) = match &mut self.framing {
            Framing::Ended => return false,
            Framing::Length(left) => {
                let text = self.raw.clone();
                *left -= text.len();
                let length = text.len();
                if *left == 0 {
                    self.framing = Framing::Ended;
                }
                (text, length)
            }
            Framing::Chunked => {
                let Some(line) = self.raw.windows(2).position(|window| window == b"\r\n") else {
                    return false;
                };
                let size = std::str::from_utf8(&self.raw[..line]).expect("the length of a chunk");
                let size = usize::from_str_radix(size, 16).expect("the length of a chunk");
                let Some(chunk) = self.raw.get(line + 2..line + 2 + size + 2) else { return false };
                let text = chunk[..size].to_vec();
                if size == 0 {
                    self.framing = Framing::Ended;
                }
                (text, line + 2 + size + 2)
            }
        };
        self.raw.drain(..length);
        self.text.push_str(std::str::from_utf8(&text).expect("UTF-8, each event whole"));
        length > 0
    }
}

/// Reads what comes next; 0 when the shop has hung up.
async fn read(stream: &mut TcpStream, into: &mut Vec<u8>) -> usize {
    let read = tokio::time::timeout(PATIENCE, stream.read_buf(into));
    read.await.expect("the shop says something in time").unwrap_or(0)
}
