//! A real nginx with the settings in `deploy/nginx/`, a client of it, and servers behind it that misbehave when told to.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::process::PATIENCE;
use crate::support::{free_address, wait_for};

/// A running nginx. Told to end when dropped.
pub struct Nginx {
    child: Child,
    folder: TempDir,
    /// Where customers come in.
    pub customers: SocketAddr,
    /// Where it shows its figures.
    pub inner: SocketAddr,
}

/// What browsers say that they want.
pub const BROWSER: &str = "Accept: text/html,application/xhtml+xml";

/// What a client got.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: Vec<u8>,
}

impl Answer {
    fn parse(output: &[u8]) -> Self {
        let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(output)));
        let head = String::from_utf8_lossy(&output[..end]).into_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Self { status, head, body: output[end + 4..].to_vec() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A page of nginx's own, which asks again by itself or not.
    #[track_caller]
    pub fn assert_page(&self, status: u16, is_asked_again: bool) {
        assert_eq!((self.status, self.header("content-type")), (status, Some("text/html")));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        // What was sent by a form is never asked for in another way.
        let asks_again = String::from_utf8_lossy(&self.body).contains("http-equiv=\"refresh\"");
        assert_eq!(asks_again, is_asked_again, "{self:?}");
        assert_eq!(self.header("retry-after"), Some("1"));
    }

    /// A problem of nginx's own, which says when to come back.
    #[track_caller]
    pub fn assert_problem(&self, status: u16, kind: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.header("retry-after"), Some("1"), "{self:?}");
        let problem = self.json();
        assert_eq!((&problem["type"], &problem["status"]), (&kind.into(), &status.into()), "{problem}");
    }
}

/// Replaces what has to be there.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the settings of nginx have no {from:?} any more");
    text.replace(from, to)
}

impl Nginx {
    /// In front of these two servers, with so many logins a second for each address.
    pub async fn start(servers: [SocketAddr; 2], logins: u32) -> Self {
        let program = std::env::var("HOLDFAST_TEST_NGINX")
            .expect("HOLDFAST_TEST_NGINX names nginx; `cargo xtask test` sets it");
        let folder = tempfile::tempdir().expect("a temporary directory");
        let (customers, inner) = (free_address(), free_address());
        write_settings(folder.path(), servers, logins, customers, inner).await;
        // Root's workers would else be somebody who may not enter the folder.
        let account = if is_roots(folder.path()) { "user root;" } else { "" };
        let child = Command::new(program)
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(folder.path().join("nginx.conf"))
            .args(["-e", "stderr", "-g", &format!("daemon off; {account}")])
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).expect("a file for the log"))
            .spawn()
            .expect("nginx starts");
        let nginx = Self { child, folder, customers, inner };
        wait_for("nginx to listen", PATIENCE, async || TcpStream::connect(nginx.customers).await.is_ok())
            .await;
        nginx
    }

    /// A request as customers send it, with more options for curl.
    pub async fn ask(&self, path: &str, options: &[&str]) -> Answer {
        let output = self.curl(&[&["--include"], options, &[&self.url(path)]].concat()).await;
        Answer::parse(&output)
    }

    /// A request to the inner port.
    pub async fn ask_inside(&self, path: &str) -> Answer {
        Answer::parse(&self.curl(&["--include", &format!("http://{}{path}", self.inner)]).await)
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.customers)
    }

    /// What curl prints.
    pub async fn curl(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.curl_command(arguments).output();
        let output = timeout(PATIENCE, output).await.expect("an answer in time").expect("curl starts");
        assert!(output.status.success(), "curl {arguments:?}: {output:?}; {}", self.log());
        output.stdout
    }

    pub fn curl_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--insecure"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Killed, it could not end its workers.
    fn tell_to_end(&self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id.and_then(rustix::process::Pid::from_raw) {
            // It may have ended by itself, which a test finds otherwise.
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
    }

    /// Ends it as its users do.
    pub async fn stop(mut self) {
        self.tell_to_end();
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it stops in time").expect("a status");
        assert!(status.success(), "{status}: {}", self.log());
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.tell_to_end();
    }
}

/// Whether files are made as root.
fn is_roots(folder: &Path) -> bool {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata(folder).expect("the folder")) == 0
}

/// The shipped files, at addresses of this test.
async fn write_settings(
    folder: &Path,
    servers: [SocketAddr; 2],
    logins: u32,
    customers: SocketAddr,
    inner: SocketAddr,
) {
    let shipped = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/nginx").join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let mut settings = shipped("nginx.conf");
    for (from, to) in [
        ("listen 80 default_server;", String::new()),
        ("listen [::]:80 default_server;", format!("listen {};", free_address())),
        ("listen 443 ssl default_server;", format!("listen {customers} ssl;")),
        ("listen [::]:443 ssl default_server;", String::new()),
        ("listen 8081;", format!("listen {inner};")),
    ] {
        settings = replaced(&settings, from, &to);
    }
    let mut site = shipped("six.conf.template");
    for (name, value) in [
        ("SERVER_1", servers[0].to_string()),
        ("SERVER_2", servers[1].to_string()),
        ("GATEWAY", servers[0].to_string()),
        ("INSIDE", "10.0.0.0/8".to_owned()),
        ("TLS", folder.display().to_string()),
        ("REQUESTS", "2000".to_owned()),
        ("LOGINS", logins.to_string()),
    ] {
        site = replaced(&site, &format!("${{{name}}}"), &value);
    }
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("the file is written");
    write("nginx.conf", &settings);
    write("upstream.conf", &shipped("upstream.conf"));
    write("site.conf", &site);
    let mut certificate = Command::new("bash");
    certificate.args(["-c", &shipped("certificate.sh")]).env("HOST", "localhost").env("TLS", folder);
    let certificate = certificate.output().await.expect("bash starts");
    assert!(certificate.status.success(), "{certificate:?}");
}

/// What servers do with a request.
#[derive(Clone)]
pub enum Plan {
    /// Answers with this head, to which the length is added, and body.
    Answer(&'static str, &'static str),
    /// Reads one request and hangs up, then goes on with the other plan.
    HangUpOnce(&'static Plan),
    /// Sends this and says no more, but stays.
    Begin(&'static str),
}

/// Two servers that do the same.
pub struct Servers {
    pub addresses: [SocketAddr; 2],
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
}

struct Shared {
    plan: Mutex<Plan>,
    /// Heads of requests, with the number of the server.
    seen: Mutex<Vec<(usize, String)>>,
}

impl Shared {
    fn next(&self) -> Plan {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let now = plan.clone();
        if let Plan::HangUpOnce(then) = &now {
            *plan = (*then).clone();
        }
        now
    }
}

impl Servers {
    pub async fn start(plan: Plan) -> Self {
        let shared = Arc::new(Shared { plan: Mutex::new(plan), seen: Mutex::default() });
        let stop = watch::Sender::new(false);
        let mut addresses = Vec::new();
        let mut tasks = Vec::new();
        for number in 0..2 {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
            addresses.push(listener.local_addr().expect("an address"));
            tasks.push(tokio::spawn(accept(listener, number, Arc::clone(&shared), stop.subscribe())));
        }
        let addresses = addresses.try_into().expect("two");
        Self { addresses, shared, tasks, stop }
    }

    pub fn plan(&self, plan: Plan) {
        *self.shared.plan.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }

    /// Heads of the requests that came, with the number of the server.
    pub fn seen(&self) -> Vec<(usize, String)> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Nothing listens any more at the address of this server.
    pub async fn close(&mut self, number: usize) {
        self.tasks[number].abort();
        // It was only told so yet.
        let address = self.addresses[number];
        wait_for("the port to close", PATIENCE, async || TcpStream::connect(address).await.is_err()).await;
    }

    /// Both are gone, and their connections too.
    pub async fn close_all(&mut self) {
        self.stop.send_replace(true);
        self.close(0).await;
        self.close(1).await;
    }
}

async fn accept(listener: TcpListener, number: usize, shared: Arc<Shared>, stop: watch::Receiver<bool>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (shared, mut stop) = (Arc::clone(&shared), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => {}
                // A connection that ends badly is nginx's business.
                _ = serve(stream, number, &shared) => {}
            }
        });
    }
}

/// Answers requests of one connection. Bodies of requests end with `}`.
async fn serve(mut stream: TcpStream, number: usize, shared: &Shared) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let is_complete = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            text.contains("\r\n\r\n") && (text.starts_with("GET") || text.ends_with('}'))
        };
        while !is_complete(&buffer) {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8_lossy(&buffer).into_owned();
        buffer.clear();
        shared.seen.lock().unwrap_or_else(PoisonError::into_inner).push((number, head));
        match shared.next() {
            Plan::Answer(head, body) => {
                let length = body.len();
                let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).await?;
            }
            Plan::HangUpOnce(_) => return Ok(()),
            Plan::Begin(text) => {
                stream.write_all(text.as_bytes()).await?;
                std::future::pending::<()>().await;
            }
        }
    }
}
