//! The local door: a Unix socket for `status`, `doctor` and `journal`. One line of JSON in, one line out.
//!
//! Who may open it is the file's mode: the agent's user and group. There is no network port.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as Blocking;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// A question is a few words.
const QUESTION_BYTES_MAX: u64 = 4 * 1024;
/// An answer: a page of journal rows, or the health of 64 stations.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Doors open at a time: a person's commands and a monitoring system's.
const CONNECTIONS_MAX: usize = 4;
/// For the whole of a conversation: whoever stalls must not keep the others out.
const CONVERSATION_WAIT: Duration = Duration::from_secs(5);

/// What can be asked of a running agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask", deny_unknown_fields)]
pub enum Ask {
    /// How it stands: a [`Health`](crate::health::Health) and the stations' screens.
    Status,
    /// Rows of its journal.
    Journal {
        /// From the one after this on.
        after: u64,
        /// At most so many.
        limit: usize,
    },
}

/// A question, and where its answer goes.
#[derive(Debug)]
pub struct Question {
    /// What is asked.
    pub ask: Ask,
    /// One line, without its end.
    pub answer: oneshot::Sender<String>,
}

/// The open door. Closing it removes the file.
#[derive(Debug)]
pub struct Door {
    path: std::path::PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Door {
    /// Opens the socket. The caller holds the journal's lock, so a file that is there is a dead agent's.
    ///
    /// # Errors
    /// As the file system says.
    pub fn open(path: &Path, questions: mpsc::Sender<Question>) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
        let task = tokio::spawn(serve(listener, questions));
        Ok(Self { path: path.to_owned(), task })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "the socket cannot be removed");
        }
    }
}

async fn serve(listener: UnixListener, questions: mpsc::Sender<Question>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // Closed only together with this task.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let questions = questions.clone();
                tokio::spawn(async move {
                    let _place = place;
                    match timeout(CONVERSATION_WAIT, converse(stream, questions)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::debug!(%error, "a local question was not answered"),
                        Err(_) => tracing::debug!("a local question took too long"),
                    }
                });
            }
            Err(error) => {
                tracing::error!(%error, "the local socket cannot accept");
                // Out of file descriptors, say: trying at once would spin.
                tokio::time::sleep(CONVERSATION_WAIT).await;
            }
        }
    }
}

async fn converse(mut stream: UnixStream, questions: mpsc::Sender<Question>) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut line = String::new();
    tokio::io::BufReader::new(reader.take(QUESTION_BYTES_MAX)).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(ask) => {
            let (answer, answered) = oneshot::channel();
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            questions.send(Question { ask, answer }).await.map_err(|_| gone(()))?;
            answered.await.map_err(|_| gone(()))?
        }
        Err(error) => serde_json::json!({ "error": error.to_string() }).to_string(),
    };
    writer.write_all(answer.as_bytes()).await?;
    writer.write_all(b"\n").await?;
    writer.shutdown().await
}

/// Asks the agent behind the socket, from another process.
///
/// # Errors
/// When nobody answers there in time.
pub fn ask(path: &Path, ask: Ask) -> io::Result<String> {
    let mut stream = Blocking::connect(path)?;
    stream.set_read_timeout(Some(CONVERSATION_WAIT))?;
    stream.set_write_timeout(Some(CONVERSATION_WAIT))?;
    let mut line = serde_json::to_string(&ask)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream.take(ANSWER_BYTES_MAX)).read_line(&mut answer)?;
    if !answer.ends_with('\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the agent gave no whole answer"));
    }
    answer.pop();
    Ok(answer)
}
