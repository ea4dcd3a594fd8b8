//! A small HTTP/1.1 client: one connection, kept open, and nothing done behind the test's back.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use holdfast::http::problem::Kind;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use uuid::Uuid;

/// Longer than any answer takes, so that a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody who talks to the shop, signed in or not.
pub struct Client {
    addresses: Vec<SocketAddr>,
    next: AtomicUsize,
    pub token: Option<String>,
    /// One for each address.
    connections: Mutex<Vec<Option<Connection>>>,
}

/// A request about to be sent; awaiting it sends it.
pub struct Request<'c> {
    client: &'c Client,
    method: String,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
}

/// What the shop answers.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// An open connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub fn new(address: SocketAddr, token: Option<String>) -> Self {
        Self::alternating(vec![address], token)
    }

    /// Somebody whose requests go to one server after the other.
    pub fn alternating(addresses: Vec<SocketAddr>, token: Option<String>) -> Self {
        let connections = Mutex::new(addresses.iter().map(|_| None).collect());
        Self { addresses, next: AtomicUsize::new(0), token, connections }
    }

    pub fn request(&self, method: &str, path: &str) -> Request<'_> {
        let (method, path) = (method.to_owned(), path.to_owned());
        let request = Request { client: self, method, path, headers: Vec::new(), body: None };
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    pub fn get(&self, path: &str) -> Request<'_> {
        self.request("GET", path)
    }

    pub fn post(&self, path: &str, body: &Value) -> Request<'_> {
        self.request("POST", path).json(body)
    }

    pub fn patch(&self, path: &str, body: &Value) -> Request<'_> {
        self.request("PATCH", path).json(body)
    }

    /// Orders what `body` says.
    pub fn order(&self, key: &str, body: &Value) -> Request<'_> {
        self.post("/api/v1/orders", body).key(key)
    }

    /// Orders one product.
    pub fn buy(&self, product: i64, quantity: i64, key: &str) -> Request<'_> {
        self.order(key, &lines(&[(product, quantity)]))
    }

    /// Orders one product with a test token of the gateway.
    pub fn buy_with(&self, payment_token: &str, product: i64, key: &str) -> Request<'_> {
        let mut body = lines(&[(product, 1)]);
        body["payment_token"] = payment_token.into();
        self.order(key, &body)
    }

    /// Cancels an order.
    pub fn cancel(&self, order: &str) -> Request<'_> {
        self.request("POST", &format!("/api/v1/orders/{order}/cancel"))
    }

    /// Comes back from what had to be done for the payment.
    pub fn continue_payment(&self, order: &str) -> Request<'_> {
        self.request("POST", &format!("/api/v1/orders/{order}/payment/continue"))
    }

    /// Shows an order.
    pub fn view_order(&self, order: &str) -> Request<'_> {
        self.get(&format!("/api/v1/orders/{order}"))
    }
}

/// The body of an order.
pub fn lines(lines: &[(i64, i64)]) -> Value {
    let lines: Vec<Value> =
        lines.iter().map(|(product, units)| json!({"product_id": product, "quantity": units})).collect();
    json!({ "lines": lines })
}

impl Request<'_> {
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The request as it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nhost: shop\r\n", self.method, self.path).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        let body = self.body.as_deref().unwrap_or_default();
        if self.body.is_some() || self.method == "POST" {
            bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        bytes
    }

    async fn send(self) -> Answer {
        let server = self.client.next.fetch_add(1, Ordering::Relaxed) % self.client.addresses.len();
        let mut connections = self.client.connections.lock().await;
        let slot = &mut connections[server];
        let mut connection = match slot.take() {
            Some(connection) => connection,
            None => Connection::open(self.client.addresses[server]).await,
        };
        connection.write(&self.bytes()).await;
        let answer = connection.answer().await;
        if answer.header("connection") != Some("close") {
            *slot = Some(connection);
        }
        answer
    }
}

impl<'c> IntoFuture for Request<'c> {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send + 'c>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.send())
    }
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the shop accepts connections");
        stream.set_nodelay(true).expect("a TCP option");
        Self { stream, buffer: Vec::new() }
    }

    /// Sends bytes. The shop may have hung up already; its answer tells.
    pub async fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Reads the next answer.
    pub async fn answer(&mut self) -> Answer {
        self.answer_or_end().await.expect("the shop answers before it hangs up")
    }

    /// Reads the next answer; `None` when the shop hangs up without one.
    pub async fn answer_or_end(&mut self) -> Option<Answer> {
        loop {
            if let Some((answer, length)) = parse(&self.buffer) {
                self.buffer.drain(..length);
                answer.check();
                return Some(answer);
            }
            let read = self.stream.read_buf(&mut self.buffer);
            match tokio::time::timeout(PATIENCE, read).await.expect("the shop answers in time") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

/// The answer at the beginning of `buffer` and its length, once all of it is there.
pub fn parse(buffer: &[u8]) -> Option<(Answer, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head_length) = head.parse(buffer).expect("the shop speaks HTTP") else {
        return None;
    };
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).expect("a header in ASCII");
    let headers: Vec<_> = head.headers.iter().map(|h| (h.name.to_ascii_lowercase(), text(h.value))).collect();
    let answer = Answer { status: head.code.expect("a complete head"), headers, body: Vec::new() };
    if answer.status == 100 {
        // Only permission to go on sending.
        return parse(&buffer[head_length..]).map(|(answer, length)| (answer, head_length + length));
    }
    let length: usize = answer.header("content-length").map_or(0, |n| n.parse().expect("a length"));
    let body = buffer.get(head_length..head_length + length)?.to_vec();
    Some((Answer { body, ..answer }, head_length + length))
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The values of all headers of a name.
    pub fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The id that is the value of the answer's field `id`.
    pub fn id(&self) -> String {
        self.json()["id"].as_str().unwrap_or_else(|| panic!("no id: {}", self.shown())).to_owned()
    }

    /// Panics when the status is another one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.shown());
        self
    }

    /// What every error has to be: problem details whose type has a page.
    pub fn check(&self) {
        // A page is for people.
        let is_page = self.header("content-type") == Some("text/html; charset=utf-8");
        if self.status < 400 || self.body.is_empty() || is_page {
            return;
        }
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text());
        let problem = self.json();
        let slug = problem["type"].as_str().and_then(|kind| kind.strip_prefix("/problems/"));
        let about = Kind::ALL.into_iter().map(Kind::about).find(|about| Some(about.slug) == slug);
        let about = about.unwrap_or_else(|| panic!("its type has no page: {problem}"));
        assert_eq!(about.status.as_u16(), self.status, "{problem}");
        assert_eq!(problem["status"], self.status, "{problem}");
        assert_eq!(problem["title"], about.title, "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
        if slug == Some("invalid-request") {
            let error = &problem["errors"][0];
            assert!(error["pointer"].is_string() && error["detail"].is_string(), "{problem}");
        }
        if self.status == 503 {
            assert!(self.header("retry-after").is_some(), "{problem}");
        }
        if self.status == 401 {
            assert_eq!(self.header("www-authenticate"), Some("Bearer"), "{problem}");
        }
    }

    /// An error in one line: its status, type and detail.
    pub fn brief(&self) -> String {
        if self.body.is_empty() {
            return self.status.to_string();
        }
        let json = self.json();
        let word = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        format!("{} {}: {}", self.status, word("type").trim_start_matches("/problems/"), word("detail"))
    }

    /// Status, telling headers and body, without what is new in each run.
    pub fn shown(&self) -> String {
        let mut shown = self.status.to_string();
        for name in ["content-type", "location", "allow", "retry-after", "www-authenticate"] {
            if let Some(value) = self.header(name) {
                shown.push_str(&format!("\n{name}: {}", without_ids(value)));
            }
        }
        let body = match serde_json::from_slice::<Value>(&self.body) {
            Ok(mut json) => {
                normalise(&mut json);
                serde_json::to_string_pretty(&json).expect("JSON")
            }
            Err(_) => String::from_utf8_lossy(&self.body).into_owned(),
        };
        format!("{shown}\n{body}")
    }
}

/// Replaces what is new in each run: ids, times and tokens.
fn normalise(json: &mut Value) {
    match json {
        Value::String(text) if text.starts_with("eyJ") => *text = "[token]".into(),
        Value::String(text) if text.len() == 24 && text.ends_with('Z') && text.starts_with("20") => {
            *text = "[time]".into();
        }
        Value::String(text) => *text = without_ids(text),
        Value::Array(items) => items.iter_mut().for_each(normalise),
        Value::Object(members) => members.values_mut().for_each(normalise),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Replaces each UUID that stands between other characters.
fn without_ids(text: &str) -> String {
    let parts = text.split_inclusive(['/', ' ', '_', '.']);
    let replaced = parts.map(|part| {
        let id = part.trim_end_matches(['/', ' ', '_', '.']);
        if id.parse::<Uuid>().is_ok() { part.replace(id, "[id]") } else { part.to_owned() }
    });
    replaced.collect()
}
