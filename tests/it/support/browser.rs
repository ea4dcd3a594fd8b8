//! Somebody with a browser that runs no scripts: keeps cookies, fills in forms, goes where it is sent.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::http_client::{Answer, Client, Request};
use super::test_app::TestApp;

/// A browser with one visitor.
pub struct Browser {
    client: Client,
    cookies: RefCell<BTreeMap<String, String>>,
    language: &'static str,
}

/// A page as it has arrived.
pub struct Page {
    pub answer: Answer,
    /// Where it is.
    pub address: String,
}

impl Browser {
    pub fn new(app: &TestApp) -> Self {
        Self { client: app.anybody(), cookies: RefCell::default(), language: "en" }
    }

    /// One of somebody who reads another language.
    pub fn speaking(self, language: &'static str) -> Self {
        Self { language, ..self }
    }

    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.borrow().get(name).cloned()
    }

    /// Does what the visitor's hand can do to a cookie.
    pub fn set_cookie(&self, name: &str, value: &str) {
        self.cookies.borrow_mut().insert(name.to_owned(), value.to_owned());
    }

    /// Opens an address and follows where it leads.
    pub async fn open(&self, address: &str) -> Page {
        let answer = self.send(self.client.get(address)).await;
        self.follow(answer, address).await
    }

    /// Asks for an address with one more header, without going anywhere.
    pub async fn ask(&self, address: &str, header: &str, value: &str) -> Answer {
        self.send(self.client.get(address).header(header, value)).await
    }

    /// Sends a form that is on `page`, as the page's own signature allows, and follows where it leads.
    pub async fn submit(&self, page: &Page, action: &str, fields: &[(&str, &str)]) -> Page {
        let answer = self.post(action, &page.csrf(), fields).await;
        self.follow(answer, action).await
    }

    /// Sends a form with any signature, and goes nowhere.
    pub async fn post(&self, action: &str, csrf: &str, fields: &[(&str, &str)]) -> Answer {
        let fields: Vec<_> = fields.iter().copied().chain([("csrf", csrf)]).collect();
        let body = serde_urlencoded::to_string(&fields).expect("fields of a form");
        self.post_raw(action, body).await
    }

    /// Sends what no form would.
    pub async fn post_raw(&self, action: &str, body: impl Into<Vec<u8>>) -> Answer {
        let request = self.client.request("POST", action);
        self.send(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await
    }

    /// Opens an account for the visitor.
    pub async fn sign_up(&self, email: &str) -> Page {
        let page = self.open("/sign-up").await;
        self.submit(&page, "/sign-up", &[("email", email), ("password", "a long password"), ("back", "")])
            .await
    }

    async fn send(&self, request: Request<'_>) -> Answer {
        let cookies: Vec<_> =
            self.cookies.borrow().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = request.header("accept", "text/html").header("accept-language", self.language);
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        let answer = request.await;
        for set in answer.headers("set-cookie") {
            let mut parts = set.split("; ");
            let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).expect("a cookie");
            assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax"), "{set}");
            if parts.any(|part| part == "Max-Age=0") {
                self.cookies.borrow_mut().remove(name);
            } else {
                self.set_cookie(name, value);
            }
        }
        answer
    }

    async fn follow(&self, mut answer: Answer, address: &str) -> Page {
        let mut address = address.to_owned();
        for _ in 0..5 {
            if !(300..400).contains(&answer.status) {
                return Page { answer, address };
            }
            address = answer.header("location").expect("where to go").to_owned();
            assert!(address.starts_with('/'), "nobody is sent elsewhere: {address}");
            answer = self.send(self.client.get(&address)).await;
        }
        panic!("{address} leads nowhere");
    }
}

impl Page {
    /// Panics when it has another status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.answer.status, status, "{}: {}", self.address, self.answer.text());
        self
    }

    pub fn text(&self) -> &str {
        self.answer.text()
    }

    #[track_caller]
    pub fn shows(&self, words: &str) {
        assert!(self.text().contains(words), "{} does not show {words:?}: {}", self.address, self.text());
    }

    #[track_caller]
    pub fn does_not_show(&self, words: &str) {
        assert!(!self.text().contains(words), "{} shows {words:?}: {}", self.address, self.text());
    }

    /// The value of the first hidden field of a name.
    #[track_caller]
    pub fn field(&self, name: &str) -> String {
        let mark = format!("name=\"{name}\" value=\"");
        let (_, after) =
            self.text().split_once(&mark).unwrap_or_else(|| panic!("no {name}: {}", self.text()));
        after.split('"').next().expect("a value").to_owned()
    }

    pub fn csrf(&self) -> String {
        self.field("csrf")
    }
}
