//! A mail server for one test: it speaks SMTP, keeps what it takes, and misbehaves on demand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What it does with the next mails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    Takes,
    /// Says to come back later.
    Busy,
    /// Says that it never will.
    Refuses,
    /// Keeps the mail, and hangs up before it says so.
    LosesItsVoice,
}

/// A mail as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub to: String,
    pub text: String,
}

impl Received {
    /// A line of the head.
    pub fn header(&self, name: &str) -> String {
        let line = self.text.lines().take_while(|line| !line.is_empty()).find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then(|| value.to_owned())
        });
        line.unwrap_or_else(|| panic!("{name} is missing: {}", self.text))
    }
}

/// The server.
pub struct Mailbox {
    pub url: String,
    kept: Arc<Mutex<Vec<Received>>>,
    mood: Arc<Mutex<Mood>>,
    accepting: JoinHandle<()>,
}

impl Mailbox {
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("smtp://{}", listener.local_addr().expect("an address"));
        let (kept, mood) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Mood::Takes)));
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
    pub fn mails(&self) -> Vec<Received> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often each mail came, by its id.
    pub fn times(&self) -> HashMap<String, usize> {
        self.mails().iter().fold(HashMap::new(), |mut times, mail| {
            *times.entry(mail.header("Message-ID")).or_default() += 1;
            times
        })
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One conversation. A client that goes away ends it.
async fn talk(client: TcpStream, kept: Arc<Mutex<Vec<Received>>>, mood: Arc<Mutex<Mood>>) -> Option<()> {
    let (reader, mut writer) = client.into_split();
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(b"220 mailbox\r\n").await.ok()?;
    let mut to = String::new();
    loop {
        let line = lines.next_line().await.ok()??;
        let mood_now = *mood.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" => "250-mailbox\r\n250 8BITMIME",
            "RCPT" => {
                to = line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
                match mood_now {
                    Mood::Busy => "451 come back later",
                    Mood::Refuses => "550 nobody of that name",
                    Mood::Takes | Mood::LosesItsVoice => "250 ok",
                }
            }
            "DATA" => {
                writer.write_all(b"354 go on\r\n").await.ok()?;
                let mut text = String::new();
                loop {
                    let line = lines.next_line().await.ok()??;
                    if line == "." {
                        break;
                    }
                    text.push_str(line.strip_prefix('.').unwrap_or(&line));
                    text.push('\n');
                }
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(Received { to: to.clone(), text });
                if mood_now == Mood::LosesItsVoice {
                    return None;
                }
                "250 taken"
            }
            "QUIT" => return None,
            _ => "250 ok",
        };
        writer.write_all(format!("{answer}\r\n").as_bytes()).await.ok()?;
    }
}
