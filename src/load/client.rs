//! A lean HTTP/1.1 client: one keep-alive connection, one request at a time, buffers that are used again.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::str;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Uri;
use axum::http::uri::InvalidUri;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::tls::{Stream, Tls, TlsError, Trust};

/// The largest response that is read, head and body together, in bytes.
pub const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The largest head of a response, in bytes; an incomplete head is parsed again with each read.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The most header fields of a response.
const HEADERS_MAX: usize = 64;

/// The read buffer of a new connection, in bytes: room for an order and its head, and small times a thousand.
const BUFFER_BYTES: usize = 4096;

/// Where requests go: the addresses of a server and the name it is called by.
#[derive(Clone, Debug)]
pub struct Target {
    addresses: Arc<[SocketAddr]>,
    host: Arc<str>,
    tls: Option<Tls>,
}

/// Why a URL cannot be a [`Target`].
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It is no URL.
    #[error("{url:?} is not a URL")]
    Invalid {
        /// What was given.
        url: String,
        /// What is wrong with it.
        source: InvalidUri,
    },
    /// TLS would be measured along with the server.
    #[error("{url:?} asks for https, which is not supported: give the address behind the TLS proxy")]
    Https {
        /// What was given.
        url: String,
    },
    /// It is a URL of another form.
    #[error("{url:?} is not of the form http://host:port")]
    NotABase {
        /// What was given.
        url: String,
    },
    /// The server cannot be trusted as asked for.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The host has no address.
    #[error("cannot find the address of {host:?}")]
    Resolve {
        /// Host and port.
        host: String,
        /// The answer of the resolver.
        source: io::Error,
    },
}

impl Target {
    /// Parses `http://host:port` (port 80 when left out) and looks the host up.
    ///
    /// # Errors
    /// When `url` is anything else, or the host has no address.
    pub async fn parse(url: &str) -> Result<Self, TargetError> {
        Self::parse_any(url, None).await
    }

    /// The same, and `https://host:port` (port 443 when left out) whose certificate is checked as `trust` says.
    ///
    /// # Errors
    /// When `url` is anything else, the host has no address, or what is trusted cannot be read.
    pub async fn parse_trusting(url: &str, trust: &Trust) -> Result<Self, TargetError> {
        Self::parse_any(url, Some(trust)).await
    }

    async fn parse_any(url: &str, trust: Option<&Trust>) -> Result<Self, TargetError> {
        let not_a_base = || TargetError::NotABase { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|source| TargetError::Invalid { url: url.to_owned(), source })?;
        let trust = match (uri.scheme_str(), trust) {
            (Some("http"), _) => None,
            (Some("https"), Some(trust)) => Some(trust),
            (Some("https"), None) => return Err(TargetError::Https { url: url.to_owned() }),
            _ => return Err(not_a_base()),
        };
        let authority = uri.authority().ok_or_else(not_a_base)?;
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(not_a_base());
        }
        if uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
            return Err(not_a_base());
        }
        let tls = trust.map(|trust| Tls::new(authority.host(), trust)).transpose()?;
        let port = if tls.is_some() { 443 } else { 80 };
        // The host of an IPv6 address keeps its brackets, as the resolver wants it.
        let host = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(port));
        let addresses = tokio::net::lookup_host(&host)
            .await
            .map(Iterator::collect)
            .map_err(|source| TargetError::Resolve { host: host.clone(), source })?;
        Ok(Self { addresses, host: authority.as_str().into(), tls })
    }

    /// The value of the Host header.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    async fn connect(&self) -> io::Result<Stream> {
        let stream = TcpStream::connect(&*self.addresses).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Stream::Plain(stream)),
            Some(tls) => tls.greet(stream).await,
        }
    }
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { addresses: Arc::new([address]), host: address.to_string().into(), tls: None }
    }
}

/// Renders requests into one buffer that is used again and again.
#[derive(Debug)]
pub struct Request {
    host: Arc<str>,
    bytes: Vec<u8>,
}

impl Request {
    /// Makes an empty request to `target`.
    #[must_use]
    pub fn new(target: &Target) -> Self {
        Self { host: Arc::clone(&target.host), bytes: Vec::with_capacity(512) }
    }

    /// Forgets the last request and begins the next. HEAD is not supported: its response looks like one with a body.
    pub fn begin(&mut self, method: &str, path: impl Display) -> RequestHead<'_> {
        self.bytes.clear();
        write!(self.bytes, "{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.host).expect(VEC_WRITE);
        RequestHead { bytes: &mut self.bytes }
    }

    /// The request as it goes over the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

const VEC_WRITE: &str = "writing to a Vec fails only when the value's Display does";

/// The head of a request that is being rendered.
#[must_use = "a request that is not ended leaves the server waiting for the rest"]
#[derive(Debug)]
pub struct RequestHead<'a> {
    bytes: &'a mut Vec<u8>,
}

impl RequestHead<'_> {
    /// Adds a header field; neither name nor value may contain a line break.
    pub fn header(self, name: &str, value: impl Display) -> Self {
        write!(self.bytes, "{name}: {value}\r\n").expect(VEC_WRITE);
        self
    }

    /// Ends a request without a body.
    pub fn end(self) {
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Ends the request with a body of JSON.
    pub fn json(self, body: &[u8]) {
        write!(self.bytes, "content-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len())
            .expect(VEC_WRITE);
        self.bytes.extend_from_slice(body);
    }
}

/// A response, borrowed from the buffer of its connection.
#[derive(Debug)]
pub struct Response<'a> {
    /// The status code.
    pub status: u16,
    /// Retry-After in seconds; `None` also when it is given as a date.
    pub retry_after_s: Option<u64>,
    /// The Location header.
    pub location: Option<&'a str>,
    /// The body, with any chunked coding removed.
    pub body: &'a [u8],
}

/// One keep-alive connection. After an error, or when the server has closed it, the next request opens it again.
#[derive(Debug)]
pub struct Connection {
    target: Target,
    timeout: Duration,
    /// One timer for the life of the connection: moving its end forward is cheaper than registering another.
    deadline: Pin<Box<Sleep>>,
    /// `None` while a request is under way, so that one that was abandoned half-way cannot answer the next.
    stream: Option<Stream>,
    buffer: ReadBuffer,
}

impl Connection {
    /// Connects to `target`. Opening, and each request with its response, may take as long as `timeout`.
    ///
    /// # Errors
    /// When no address of the target accepts a connection in time.
    pub async fn open(target: &Target, timeout: Duration) -> io::Result<Self> {
        let stream = tokio::time::timeout(timeout, target.connect()).await.map_err(|_| timed_out())??;
        Ok(Self {
            target: target.clone(),
            timeout,
            deadline: Box::pin(tokio::time::sleep(timeout)),
            stream: Some(stream),
            buffer: ReadBuffer { bytes: vec![0; BUFFER_BYTES], filled: 0 },
        })
    }

    /// Sends `request`, as rendered by [`Request`], and reads the response.
    ///
    /// Nothing is ever sent twice: whether a request without a response had an effect is for the caller to find out.
    ///
    /// # Errors
    /// `TimedOut` after the connection's timeout, `UnexpectedEof` when the server closes before the response is
    /// complete, `InvalidData` when it is no HTTP or larger than [`RESPONSE_BYTES_MAX`], or what the socket says.
    pub async fn send(&mut self, request: &[u8]) -> io::Result<Response<'_>> {
        let Self { target, timeout, deadline, stream: slot, buffer } = self;
        deadline.as_mut().reset(Instant::now() + *timeout);
        let idle = slot.take().and_then(Stream::if_idle);
        let exchange = async {
            let mut stream = match idle {
                Some(stream) => stream,
                None => target.connect().await?,
            };
            stream.write_all(request).await?;
            stream.flush().await?;
            let (head, body) = read_response(&mut stream, buffer).await?;
            Ok::<_, io::Error>((stream, head, body))
        };
        let (stream, head, body) = tokio::select! {
            biased;
            outcome = exchange => outcome?,
            () = deadline.as_mut() => return Err(timed_out()),
        };
        if head.keep_alive {
            self.stream = Some(stream);
        }
        let bytes = &self.buffer.bytes;
        Ok(Response {
            status: head.status,
            retry_after_s: head.retry_after_s,
            location: head.location.and_then(|range| str::from_utf8(&bytes[range]).ok()),
            body: &bytes[body],
        })
    }
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Bytes received for the response under way.
#[derive(Debug)]
struct ReadBuffer {
    /// Initialised up to its length, so that reading into it needs no unsafe code.
    bytes: Vec<u8>,
    /// How many bytes at the front have been received.
    filled: usize,
}

impl ReadBuffer {
    fn received(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// Waits for more bytes; `false` when the server has closed.
    async fn read(&mut self, stream: &mut Stream) -> io::Result<bool> {
        if self.filled == self.bytes.len() {
            if self.filled == RESPONSE_BYTES_MAX {
                return Err(too_large());
            }
            self.bytes.resize(RESPONSE_BYTES_MAX.min(self.filled * 2), 0);
        }
        let count = stream.read(&mut self.bytes[self.filled..]).await?;
        self.filled += count;
        Ok(count > 0)
    }

    /// Waits for more bytes of a response that is not complete.
    async fn read_more(&mut self, stream: &mut Stream) -> io::Result<()> {
        if self.read(stream).await? {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the response was complete"))
    }

    /// Waits until the first `end` bytes are there.
    async fn read_to(&mut self, stream: &mut Stream, end: usize) -> io::Result<()> {
        if end > RESPONSE_BYTES_MAX {
            return Err(too_large());
        }
        while self.filled < end {
            self.read_more(stream).await?;
        }
        Ok(())
    }
}

fn too_large() -> io::Error {
    invalid("the response is too large")
}

struct Head {
    status: u16,
    keep_alive: bool,
    retry_after_s: Option<u64>,
    /// Where the Location header is in the buffer.
    location: Option<Range<usize>>,
    /// The length of the head in bytes.
    length: usize,
    framing: Framing,
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// Reads one response; the range is that of its body in the buffer.
async fn read_response(stream: &mut Stream, buffer: &mut ReadBuffer) -> io::Result<(Head, Range<usize>)> {
    buffer.filled = 0;
    let mut head = loop {
        buffer.read_more(stream).await?;
        let Some(head) = final_head(buffer)? else { continue };
        break head;
    };
    let start = head.length;
    let (body, end) = match head.framing {
        Framing::Length(length) => {
            let end = start.saturating_add(length);
            buffer.read_to(stream, end).await?;
            (start..end, end)
        }
        Framing::Chunked => read_chunks(stream, buffer, start).await?,
        Framing::UntilClose => {
            while buffer.read(stream).await? {}
            (start..buffer.filled, buffer.filled)
        }
    };
    // More than was asked for cannot belong to the next response, which is not asked for yet.
    head.keep_alive &= end == buffer.filled;
    Ok((head, body))
}

/// The head of the final response, when all of it is there; interim responses before it are dropped.
fn final_head(buffer: &mut ReadBuffer) -> io::Result<Option<Head>> {
    loop {
        let Some(head) = parse_head(buffer.received())? else {
            return if buffer.filled > HEAD_BYTES_MAX { Err(too_large()) } else { Ok(None) };
        };
        if !(100..200).contains(&head.status) {
            return Ok(Some(head));
        }
        buffer.bytes.copy_within(head.length..buffer.filled, 0);
        buffer.filled -= head.length;
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut fields = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let length = match httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut fields,
    ) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
    };
    let status = response.code.ok_or_else(|| invalid("the response has no status"))?;
    let mut head = Head {
        status,
        keep_alive: response.version == Some(1),
        retry_after_s: None,
        location: None,
        length,
        framing: Framing::UntilClose,
    };
    for field in response.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            // Chunked coding, when both are given, wins wherever it stands.
            if head.framing != Framing::Chunked {
                let length = number(field.value).ok_or_else(|| invalid("the Content-Length is no number"))?;
                head.framing = Framing::Length(length);
            }
        } else if is("transfer-encoding") {
            if has_token(field.value, "chunked") {
                head.framing = Framing::Chunked;
            }
        } else if is("connection") {
            if has_token(field.value, "close") {
                head.keep_alive = false;
            } else if has_token(field.value, "keep-alive") {
                head.keep_alive = true;
            }
        } else if is("retry-after") {
            head.retry_after_s = number(field.value);
        } else if is("location") {
            let start = field.value.as_ptr().addr() - bytes.as_ptr().addr();
            head.location = Some(start..start + field.value.len());
        }
    }
    if matches!(status, 100..=199 | 204 | 304) {
        head.framing = Framing::Length(0);
    }
    if head.framing == Framing::UntilClose {
        head.keep_alive = false;
    }
    Ok(Some(head))
}

fn number<T: str::FromStr>(value: &[u8]) -> Option<T> {
    str::from_utf8(value).ok()?.trim().parse().ok()
}

fn has_token(value: &[u8], token: &str) -> bool {
    value.split(|&byte| byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Reads a chunked body that begins at `start`, and moves its chunks together in place. Gives the range of the body
/// and the end of the response.
async fn read_chunks(
    stream: &mut Stream,
    buffer: &mut ReadBuffer,
    start: usize,
) -> io::Result<(Range<usize>, usize)> {
    let mut body_end = start;
    let mut at = start;
    loop {
        let (line, size) = loop {
            match httparse::parse_chunk_size(&buffer.received()[at..]) {
                Ok(httparse::Status::Complete(parsed)) => break parsed,
                Ok(httparse::Status::Partial) => buffer.read_more(stream).await?,
                Err(_) => return Err(invalid("the size of a chunk is no number")),
            }
        };
        // The parser takes a line without any digit for a zero.
        if !buffer.bytes[at].is_ascii_hexdigit() {
            return Err(invalid("a chunk has no size"));
        }
        at += line;
        if size == 0 {
            break;
        }
        let size =
            usize::try_from(size).ok().filter(|&size| size <= RESPONSE_BYTES_MAX).ok_or_else(too_large)?;
        buffer.read_to(stream, at + size + 2).await?;
        buffer.bytes.copy_within(at..at + size, body_end);
        body_end += size;
        at += size;
        if buffer.bytes[at..at + 2] != *b"\r\n" {
            return Err(invalid("a chunk is longer than its size"));
        }
        at += 2;
    }
    // Trailer fields, which nobody asked for, end like a head with an empty line.
    loop {
        let Some(line) = buffer.received()[at..].iter().position(|&byte| byte == b'\n') else {
            buffer.read_more(stream).await?;
            continue;
        };
        let empty = buffer.bytes[at..at + line].trim_ascii().is_empty();
        at += line + 1;
        if empty {
            return Ok((start..body_end, at));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);
    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";

    /// What a scripted server does with one connection: for each request, the pieces to write as separate segments.
    /// The connection is closed when the script ends.
    type Script = Vec<Vec<Vec<u8>>>;

    /// Serves one connection after another, each by its script, and then stops listening.
    async fn serve(scripts: Vec<Script>) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::from(listener.local_addr().unwrap());
        tokio::spawn(async move {
            for script in scripts {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                for pieces in script {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        request.push(stream.read_u8().await.unwrap());
                    }
                    for piece in pieces {
                        stream.write_all(&piece).await.unwrap();
                        // Lets the client see each piece alone.
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            }
        });
        target
    }

    async fn connect(scripts: Vec<Script>) -> Connection {
        Connection::open(&serve(scripts).await, TIMEOUT).await.unwrap()
    }

    fn bytewise(response: &[u8]) -> Vec<Vec<u8>> {
        response.iter().map(|&byte| vec![byte]).collect()
    }

    fn whole(response: &[u8]) -> Vec<Vec<u8>> {
        vec![response.to_vec()]
    }

    #[tokio::test]
    async fn a_response_may_come_byte_by_byte() {
        let response = b"HTTP/1.1 202 Accepted\r\nLocation: /api/v1/orders/7\r\nRETRY-AFTER: 3\r\n\
            Content-Length: 5\r\n\r\nhello";
        let again = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
        let mut connection = connect(vec![vec![bytewise(response), whole(again)]]).await;

        let response = connection.send(GET).await.unwrap();
        assert_eq!(response.status, 202);
        assert_eq!(response.location, Some("/api/v1/orders/7"));
        assert_eq!(response.retry_after_s, Some(3));
        assert_eq!(response.body, b"hello");

        let response = connection.send(GET).await.unwrap();
        assert_eq!(response.status, 200);
        assert_eq!((response.location, response.retry_after_s), (None, None));
        assert_eq!(response.body, b"hi");
    }

    #[tokio::test]
    async fn chunks_are_joined_however_they_are_split() {
        let response = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nlocation: /x\r\n\r\n\
            4\r\nWiki\r\nB;name=value\r\npedia in ch\r\n0005\r\nunks.\r\n0\r\nTrailer: ignored\r\n\r\n";
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext";
        for pieces in [bytewise(response), whole(response)] {
            let mut connection = connect(vec![vec![pieces, whole(plain)]]).await;
            let response = connection.send(GET).await.unwrap();
            assert_eq!((response.status, response.location), (201, Some("/x")));
            assert_eq!(response.body, b"Wikipedia in chunks.");
            assert_eq!(connection.send(GET).await.unwrap().body, b"next");
        }
    }

    #[tokio::test]
    async fn malformed_responses_are_errors() {
        for response in [
            &b"SSH-2.0-OpenSSH_9.2\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        ] {
            let mut connection = connect(vec![vec![whole(response)]]).await;
            let error = connection.send(GET).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{}", response.escape_ascii());
        }
    }

    #[tokio::test]
    async fn closing_in_the_middle_of_a_response_is_an_error() {
        for response in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\nContent-Le",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        ] {
            let mut connection = connect(vec![vec![whole(response)]]).await;
            let error = connection.send(GET).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{}", response.escape_ascii());
        }
    }

    #[tokio::test]
    async fn the_next_request_after_an_error_reconnects() {
        let mut connection = connect(vec![
            vec![whole(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell")],
            vec![whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")],
        ])
        .await;
        connection.send(GET).await.unwrap_err();
        assert_eq!(connection.send(GET).await.unwrap().body, b"hi");
    }

    #[tokio::test]
    async fn a_connection_that_the_server_gave_up_is_opened_again() {
        let mut connection = connect(vec![
            // Announced, then (by the end of the script) without a word, then a length known only by the end.
            vec![whole(b"HTTP/1.1 200 OK\r\nConnection: Keep, Close\r\nContent-Length: 1\r\n\r\n1")],
            vec![whole(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2")],
            vec![whole(b"HTTP/1.1 200 OK\r\n\r\n3")],
            vec![whole(b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n4")],
            vec![whole(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n5")],
        ])
        .await;
        for body in [b"1", b"2", b"3", b"4", b"5"] {
            assert_eq!(connection.send(GET).await.unwrap().body, body);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        connection.send(GET).await.expect_err("nobody listens any more");
    }

    #[tokio::test]
    async fn bytes_nobody_asked_for_do_not_answer_the_next_request() {
        let mut connection = connect(vec![
            vec![whole(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 500 Oops\r\n\r\n")],
            vec![whole(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2")],
        ])
        .await;
        assert_eq!(connection.send(GET).await.unwrap().body, b"1");
        let response = connection.send(GET).await.unwrap();
        assert_eq!((response.status, response.body), (200, &b"2"[..]));
    }

    #[tokio::test]
    async fn interim_responses_are_skipped_and_204_has_no_body() {
        let response = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n\
            HTTP/1.1 204 No Content\r\n\r\n";
        let next = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let mut connection = connect(vec![vec![bytewise(response), whole(next)]]).await;
        let response = connection.send(GET).await.unwrap();
        assert_eq!((response.status, response.body), (204, &b""[..]));
        assert_eq!(connection.send(GET).await.unwrap().status, 200);
    }

    #[tokio::test]
    async fn a_large_body_is_read_and_a_too_large_one_is_refused() {
        let mut large = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_vec();
        large.resize(large.len() + 1_000_000, b'x');
        let announced = format!("HTTP/1.1 200 OK\r\nContent-Length: {RESPONSE_BYTES_MAX}\r\n\r\n");
        let chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n";
        let mut connection =
            connect(vec![vec![whole(&large), whole(announced.as_bytes())], vec![whole(chunk)]]).await;
        let response = connection.send(GET).await.unwrap();
        assert_eq!(response.body.len(), 1_000_000);
        assert!(response.body.iter().all(|&byte| byte == b'x'));
        assert_eq!(connection.send(GET).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(connection.send(GET).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn a_silent_server_times_out_and_its_late_answer_is_lost() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::from(listener.local_addr().unwrap());
        let mut connection = Connection::open(&target, Duration::from_millis(50)).await.unwrap();
        let (mut silent, _) = listener.accept().await.unwrap();
        let error = connection.send(GET).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        // The client may have closed already, in which case the late answer cannot even be written.
        let _ = silent.write_all(b"HTTP/1.1 500 Late\r\nContent-Length: 0\r\n\r\n").await;
        let answer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
            stream
        });
        assert_eq!(connection.send(GET).await.unwrap().status, 200);
        answer.await.unwrap();
    }

    #[test]
    fn requests_are_rendered_anew_each_time() {
        let mut request = Request::new(&Target::from(SocketAddr::from(([127, 0, 0, 1], 8080))));
        request.begin("POST", "/api/v1/orders").header("idempotency-key", 42).json(b"{\"a\":1}");
        assert_eq!(
            str::from_utf8(request.as_bytes()).unwrap(),
            "POST /api/v1/orders HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nidempotency-key: 42\r\n\
             content-type: application/json\r\ncontent-length: 7\r\n\r\n{\"a\":1}"
        );
        request.begin("GET", format_args!("/api/v1/products/{}", 7)).end();
        assert_eq!(
            str::from_utf8(request.as_bytes()).unwrap(),
            "GET /api/v1/products/7 HTTP/1.1\r\nhost: 127.0.0.1:8080\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn a_target_is_an_http_url_without_a_path() {
        let target = Target::parse("http://127.0.0.1:8080/").await.unwrap();
        assert_eq!(*target.addresses, [SocketAddr::from(([127, 0, 0, 1], 8080))]);
        assert_eq!(target.host(), "127.0.0.1:8080");
        let target = Target::parse("http://[::1]:81").await.unwrap();
        assert_eq!(*target.addresses, ["[::1]:81".parse().unwrap()]);
        assert_eq!(target.host(), "[::1]:81");
        let target = Target::parse("http://127.0.0.1").await.unwrap();
        assert_eq!(*target.addresses, [SocketAddr::from(([127, 0, 0, 1], 80))]);
        assert_eq!(target.host(), "127.0.0.1");
    }

    #[tokio::test]
    async fn other_targets_are_explained() {
        let error = async |url| Target::parse(url).await.unwrap_err();
        assert!(matches!(error("https://shop.example").await, TargetError::Https { .. }));
        assert!(matches!(error("http://").await, TargetError::Invalid { .. }));
        assert!(matches!(error("not a url").await, TargetError::Invalid { .. }));
        for url in [
            "localhost:8080",
            "/orders",
            "ftp://host",
            "http://host/shop",
            "http://host/?a=b",
            "http://me:secret@host",
        ] {
            assert!(matches!(error(url).await, TargetError::NotABase { .. }), "{url}");
        }
        assert!(matches!(error("http://no-such-host.invalid").await, TargetError::Resolve { .. }));
    }
}
