//! An HTTP proxy on loopback that loses answers after the peer has committed, or refuses in the peer's place.
//!
//! It exists to prove what happens when an ERP answers by time-outs: the request has had its effect, and the client
//! cannot know.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Largest head (request line and headers) that we read; the usual limit of HTTP servers is 8 to 16 KiB.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Largest body. A page of 500 items in JSON is about 200 KB.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Never reaches the peer: the connection is reset at once.
    LoseRequest,
    /// The peer does its work and answers; the client sees the connection reset.
    LoseAnswer,
    /// The peer does its work and answers; the client sees nothing for that long, then the end of the connection.
    StallAnswer(Duration),
    /// Never reaches the peer: this status is answered, with `Retry-After` when given.
    Refuse {
        /// 503 or 429, say.
        status: u16,
        /// Seconds.
        retry_after_s: Option<u32>,
    },
}

/// Which requests a fault meets.
#[derive(Debug, Clone)]
pub struct Rule {
    method: Option<String>,
    path_contains: Option<String>,
    every: u32,
    times_left: Option<u32>,
    seen: u32,
    fault: Fault,
}

impl Rule {
    /// Every request; the other methods narrow it.
    pub fn every_request(fault: Fault) -> Self {
        Self { method: None, path_contains: None, every: 1, times_left: None, seen: 0, fault }
    }

    /// Only requests of that method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Only requests whose path or query contains this.
    #[must_use]
    pub fn path_contains(mut self, part: &str) -> Self {
        self.path_contains = Some(part.to_owned());
        self
    }

    /// Only every n-th of those that match: 3 means the third, the sixth and so on.
    #[must_use]
    pub fn every(mut self, n: u32) -> Self {
        assert!(n > 0, "every 0th request does not exist");
        self.every = n;
        self
    }

    /// Not more often than that.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times_left = Some(times);
        self
    }

    fn strike(&mut self, method: &str, path: &str) -> Option<Fault> {
        let applies = self.method.as_deref().is_none_or(|wanted| wanted == method)
            && self.path_contains.as_deref().is_none_or(|part| path.contains(part));
        if !applies || self.times_left == Some(0) {
            return None;
        }
        self.seen += 1;
        if !self.seen.is_multiple_of(self.every) {
            return None;
        }
        if let Some(left) = &mut self.times_left {
            *left -= 1;
        }
        Some(self.fault.clone())
    }
}

/// What a proxy has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that clients sent.
    pub requests: u64,
    /// Those that the peer received.
    pub forwarded: u64,
    /// Those that met a fault.
    pub faults: u64,
}

/// The running proxy. Dropping it closes every connection.
pub struct FaultProxy {
    port: u16,
    shared: Arc<Mutex<Shared>>,
    // Aborts the accept loop, and with it the connections, when dropped.
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    rules: Vec<Rule>,
    counts: Counts,
}

impl FaultProxy {
    /// Stands in front of the HTTP server on 127.0.0.1 at `upstream_port`, and lets everything pass at first.
    pub async fn start(upstream_port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("binding the proxy")?;
        let port = listener.local_addr().context("reading the proxy's port")?.port();
        let shared = Arc::new(Mutex::new(Shared::default()));
        let mut tasks = JoinSet::new();
        let state = Arc::clone(&shared);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                // A broken connection is the client's matter: it sees it, and has to cope.
                connections.spawn(async move { drop(serve(client, upstream_port, &state).await) });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { port, shared, _tasks: tasks })
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Replaces all rules; the first that strikes decides. An empty list lets everything pass.
    pub fn set_rules(&self, rules: Vec<Rule>) {
        self.lock().rules = rules;
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.lock().counts
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One client connection with one connection to the peer behind it, request after request.
async fn serve(mut client: TcpStream, upstream_port: u16, shared: &Mutex<Shared>) -> Result<()> {
    let mut upstream = TcpStream::connect(("127.0.0.1", upstream_port)).await.context("reaching the peer")?;
    let (mut from_client, mut from_upstream) = (Vec::new(), Vec::new());
    while let Some(request) = read_message(&mut client, &mut from_client, Kind::Request).await? {
        let (method, path) = request.first_line_words()?;
        let fault = {
            let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let fault = shared.rules.iter_mut().find_map(|rule| rule.strike(&method, &path));
            let reaches_peer = !matches!(fault, Some(Fault::LoseRequest | Fault::Refuse { .. }));
            shared.counts.requests += 1;
            shared.counts.forwarded += u64::from(reaches_peer);
            shared.counts.faults += u64::from(fault.is_some());
            fault
        };
        match fault {
            Some(Fault::LoseRequest) => return reset(&client),
            Some(Fault::Refuse { status, retry_after_s }) => {
                let retry = retry_after_s.map(|s| format!("Retry-After: {s}\r\n")).unwrap_or_default();
                let answer = format!("HTTP/1.1 {status} Refused\r\n{retry}Content-Length: 0\r\n\r\n");
                client.write_all(answer.as_bytes()).await?;
                continue;
            }
            None | Some(Fault::LoseAnswer | Fault::StallAnswer(_)) => {}
        }
        upstream.write_all(&request.bytes).await?;
        let kind = Kind::Answer { to_head: method == "HEAD" };
        let Some(answer) = read_message(&mut upstream, &mut from_upstream, kind).await? else {
            return Ok(());
        };
        match fault {
            Some(Fault::LoseAnswer) => return reset(&client),
            Some(Fault::StallAnswer(time)) => {
                // A client that gives up earlier ends the stall; what it sends instead is of no interest.
                let mut ignored = [0; 1];
                let _ = tokio::time::timeout(time, client.read(&mut ignored)).await;
                return Ok(());
            }
            _ => client.write_all(&answer.bytes).await?,
        }
        if answer.ends_connection {
            return Ok(());
        }
    }
    Ok(())
}

/// Makes the coming drop send RST instead of FIN: what a client sees when a server or a firewall dies.
fn reset(client: &TcpStream) -> Result<()> {
    client.set_zero_linger().context("preparing a reset")
}

#[derive(Clone, Copy)]
enum Kind {
    Request,
    Answer { to_head: bool },
}

struct Message {
    bytes: Vec<u8>,
    ends_connection: bool,
}

impl Message {
    fn first_line_words(&self) -> Result<(String, String)> {
        let line = self.bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = std::str::from_utf8(line).context("a request line that is not text")?;
        let mut words = line.split(' ');
        match (words.next(), words.next()) {
            (Some(method), Some(path)) => Ok((method.to_owned(), path.to_owned())),
            _ => bail!("not a request line: {line:?}"),
        }
    }
}

/// Reads one whole HTTP/1.1 message, as it came. None when the connection ends before it begins. What follows stays in
/// `buffer`.
async fn read_message(stream: &mut TcpStream, buffer: &mut Vec<u8>, kind: Kind) -> Result<Option<Message>> {
    let head_end = loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            break end + 4;
        }
        if buffer.len() > HEAD_BYTES_MAX {
            bail!("a head of more than {HEAD_BYTES_MAX} bytes");
        }
        if read_more(stream, buffer).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).to_ascii_lowercase();
    let field = |name: &str| {
        head.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(|value| value.trim().to_owned()))
    };
    let has_no_body = match kind {
        Kind::Request => false,
        Kind::Answer { to_head } => {
            to_head || [" 1", " 204", " 304"].iter().any(|code| head[8..].starts_with(code))
        }
    };
    let mut ends_connection = field("connection").is_some_and(|value| value == "close");
    let length = if has_no_body {
        head_end
    } else if field("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        chunked_end(stream, buffer, head_end).await?
    } else if let Some(length) = field("content-length") {
        head_end + length.parse::<usize>().context("content-length")?
    } else if matches!(kind, Kind::Request) {
        head_end
    } else {
        ends_connection = true; // its end is the end of the connection
        while read_more(stream, buffer).await? > 0 {
            check_size(buffer.len())?;
        }
        buffer.len()
    };
    check_size(length)?;
    fill(stream, buffer, length).await?;
    let rest = buffer.split_off(length);
    Ok(Some(Message { bytes: std::mem::replace(buffer, rest), ends_connection }))
}

/// Reads until the last chunk is there; gives the position behind it.
async fn chunked_end(stream: &mut TcpStream, buffer: &mut Vec<u8>, body: usize) -> Result<usize> {
    let mut at = body;
    loop {
        let line_end = loop {
            match find(&buffer[at..], b"\r\n") {
                Some(end) => break at + end,
                None if read_more(stream, buffer).await? == 0 => bail!("the connection ended inside a chunk"),
                None => check_size(buffer.len())?,
            }
        };
        let line = String::from_utf8_lossy(&buffer[at..line_end]).into_owned();
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).with_context(|| format!("chunk size {digits:?}"))?;
        check_size(size)?;
        at = line_end + 2 + size + 2;
        check_size(at)?;
        fill(stream, buffer, at).await?;
        if size == 0 {
            return Ok(at);
        }
    }
}

async fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>, length: usize) -> Result<()> {
    while buffer.len() < length {
        if read_more(stream, buffer).await? == 0 {
            bail!("the connection ended inside a message");
        }
    }
    Ok(())
}

async fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<usize> {
    buffer.reserve(READ_BYTES);
    Ok(stream.read_buf(buffer).await?)
}

fn check_size(bytes: usize) -> Result<()> {
    anyhow::ensure!(
        bytes <= HEAD_BYTES_MAX + BODY_BYTES_MAX,
        "a message of more than {BODY_BYTES_MAX} bytes"
    );
    Ok(())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
