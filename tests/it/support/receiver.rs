//! An endpoint of webhooks for one test: it speaks HTTP, keeps what it is told, and misbehaves on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What it does with the next requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    Takes,
    /// Takes them, and says so after this time.
    Slow(Duration),
    Answers(u16),
    /// Answers 429 and asks for so many seconds.
    Overrun(u64),
    /// Reads the request, and hangs up before it says anything.
    HangsUp,
    /// Answers that all is well, and then sends a body without an end.
    Babbles,
    /// Sends whoever asks to this path of its own.
    Redirects,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Told {
    pub path: String,
    headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    /// Whether it was answered that all is well.
    pub taken: bool,
}

impl Told {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("{name} is missing: {self:?}"))
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub fn kind(&self) -> String {
        self.json()["type"].as_str().expect("a type").to_owned()
    }

    /// Whether one of its signatures is made with this secret: as the specification says, and without anything of
    /// the shop's own.
    pub fn is_signed_with(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
        assert_eq!(key.len(), 32);
        let mut signed = format!("{}.{}.", self.id(), self.header("webhook-timestamp")).into_bytes();
        signed.extend_from_slice(&self.body);
        self.header("webhook-signature").split(' ').any(|signature| {
            let signature = signature.strip_prefix("v1,").expect("a signature of version 1");
            let mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key").chain_update(&signed);
            mac.verify_slice(&STANDARD.decode(signature).expect("base64")).is_ok()
        })
    }
}

#[derive(Default)]
struct Kept {
    told: Vec<Told>,
    under_way: usize,
    under_way_max: usize,
}

/// The endpoint.
pub struct Receiver {
    pub url: String,
    kept: Arc<Mutex<Kept>>,
    mood: Arc<Mutex<Mood>>,
    accepting: JoinHandle<()>,
}

impl Receiver {
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hook?shop=1", listener.local_addr().expect("an address"));
        let (kept, mood) = (Arc::<Mutex<Kept>>::default(), Arc::new(Mutex::new(Mood::Takes)));
        let (all, of) = (Arc::clone(&kept), Arc::clone(&mood));
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.expect("a connection");
                tokio::spawn(talk(client, Arc::clone(&all), Arc::clone(&of)));
            }
        });
        Self { url, kept, mood, accepting }
    }

    pub fn becomes(&self, mood: Mood) {
        *self.mood.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }

    /// Everything that came.
    pub fn told(&self) -> Vec<Told> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).told.clone()
    }

    /// How often each message was taken, by its id.
    pub fn taken(&self) -> BTreeMap<String, usize> {
        self.told().iter().filter(|told| told.taken).fold(BTreeMap::new(), |mut taken, told| {
            *taken.entry(told.id().to_owned()).or_default() += 1;
            taken
        })
    }

    /// Most requests that were under way at once.
    pub fn under_way_max(&self) -> usize {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).under_way_max
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One connection. A client that goes away ends it.
async fn talk(mut client: TcpStream, kept: Arc<Mutex<Kept>>, mood: Arc<Mutex<Mood>>) -> Option<()> {
    let change =
        |change: &dyn Fn(&mut Kept)| change(&mut kept.lock().unwrap_or_else(PoisonError::into_inner));
    let mut buffer = Vec::new();
    loop {
        let mut told = loop {
            if let Some((told, length)) = parse(&buffer) {
                buffer.drain(..length);
                break told;
            }
            if client.read_buf(&mut buffer).await.ok()? == 0 {
                return None;
            }
        };
        let mood = *mood.lock().unwrap_or_else(PoisonError::into_inner);
        told.taken = matches!(mood, Mood::Takes | Mood::Slow(_) | Mood::Babbles);
        change(&|kept| {
            kept.told.push(told.clone());
            kept.under_way += 1;
            kept.under_way_max = kept.under_way_max.max(kept.under_way);
        });
        let answer = answer(&mut client, mood).await;
        change(&|kept| kept.under_way -= 1);
        answer?;
    }
}

async fn answer(client: &mut TcpStream, mood: Mood) -> Option<()> {
    let answer = match mood {
        Mood::Takes => "200 OK\r\ncontent-length: 2\r\n\r\nOK".to_owned(),
        Mood::Slow(time) => {
            tokio::time::sleep(time).await;
            "204 No Content\r\n\r\n".to_owned()
        }
        Mood::Answers(status) => format!("{status} Something\r\ncontent-length: 0\r\n\r\n"),
        Mood::Overrun(seconds) => {
            format!("429 Too Many Requests\r\nretry-after: {seconds}\r\ncontent-length: 0\r\n\r\n")
        }
        Mood::HangsUp => return None,
        Mood::Babbles => {
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
            loop {
                client.write_all(&[b'x'; 1_024]).await.ok()?;
            }
        }
        Mood::Redirects => "307 Elsewhere\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n".to_owned(),
    };
    client.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await.ok()
}

/// The request at the beginning of `buffer` and its length, once all of it is there.
fn parse(buffer: &[u8]) -> Option<(Told, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head_length) = head.parse(buffer).expect("the shop speaks HTTP") else {
        return None;
    };
    assert_eq!(head.method, Some("POST"));
    let path = head.path.expect("a path").to_owned();
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).expect("a header in ASCII");
    let headers: BTreeMap<_, _> =
        head.headers.iter().map(|header| (header.name.to_ascii_lowercase(), text(header.value))).collect();
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().expect("a length"));
    let body = buffer.get(head_length..head_length + length)?.to_vec();
    Some((Told { path, headers, body, taken: false }, head_length + length))
}
