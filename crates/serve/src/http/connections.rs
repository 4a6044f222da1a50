//! Connections: how many there are, how long they may say nothing, and how they end.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tower::Service;

use super::App;
use crate::metrics::lock;

/// How connections are served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Listening {
    /// The most connections. Where there are so many, those that say nothing make room.
    pub(crate) connections: usize,
    /// The most seconds from the beginning of a connection or the end of an answer to the end of the next request's head.
    pub(crate) head_timeout: u64,
    /// The most seconds that an answer takes, until its client has read all of it.
    pub(crate) answer_timeout: u64,
    /// The most seconds that running answers have at the end.
    pub(crate) grace: u64,
}

/// How long a new connection may keep its place without a request, whoever needs it: its request may be on its way.
const FRESH: Duration = Duration::from_millis(250);

/// A connection, for those who need its place.
struct Connection {
    begun: Instant,
    /// Since when a request is being answered, one at a time.
    answering: Mutex<Option<Instant>>,
    is_over: AtomicBool,
    close: Notify,
}

impl Connection {
    fn is_idle(&self) -> bool {
        let is_fresh = self.begun.elapsed() < FRESH;
        !is_fresh && lock(&self.answering).is_none() && !self.is_over.load(Ordering::Acquire)
    }

    /// Waits until an answer has taken longer than this: its client does not read it.
    async fn stuck(&self, most: Duration) {
        loop {
            tokio::time::sleep((most / 4).max(Duration::from_secs(1))).await;
            if lock(&self.answering).is_some_and(|since| since.elapsed() > most) {
                return;
            }
        }
    }
}

/// A request that is being answered.
struct Answering(Arc<Connection>);

impl Answering {
    fn new(connection: &Arc<Connection>) -> Self {
        *lock(&connection.answering) = Some(Instant::now());
        Self(Arc::clone(connection))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        *lock(&self.0.answering) = None;
    }
}

/// The connections, the oldest first.
#[derive(Default)]
struct Connections(Mutex<VecDeque<Arc<Connection>>>);

impl Connections {
    /// The number of connections.
    fn len(&self) -> usize {
        let mut all = lock(&self.0);
        all.retain(|connection| !connection.is_over.load(Ordering::Acquire));
        all.len()
    }

    fn add(&self) -> Arc<Connection> {
        let connection = Arc::new(Connection {
            begun: Instant::now(),
            answering: Mutex::default(),
            is_over: AtomicBool::new(false),
            close: Notify::new(),
        });
        lock(&self.0).push_back(Arc::clone(&connection));
        connection
    }

    /// Closes the oldest connection that says nothing; whether there was one.
    fn make_room(&self) -> bool {
        let mut all = lock(&self.0);
        let Some(index) = all.iter().position(|connection| connection.is_idle()) else { return false };
        if let Some(connection) = all.remove(index) {
            connection.close.notify_one();
        }
        true
    }
}

/// Serves until `closing` says so, and then until the running answers have ended or their time is over.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    app: App,
    listening: Listening,
    mut closing: watch::Receiver<bool>,
) {
    let connections = Arc::new(Connections::default());
    let graceful = GracefulShutdown::new();
    let mut builder = Builder::new();
    let head_timeout = Duration::from_secs(listening.head_timeout);
    builder.timer(TokioTimer::new()).header_read_timeout(head_timeout).max_headers(100).max_buf_size(64 << 10);
    loop {
        let count = connections.len();
        app.metrics.connections.set(count as f64);
        let is_full = count >= listening.connections && !connections.make_room();
        let accepted = tokio::select! {
            accepted = listener.accept(), if !is_full => accepted,
            // All are answering: others wait in the system's queue.
            () = tokio::time::sleep(Duration::from_millis(20)), if is_full => continue,
            _ = closing.wait_for(|closing| *closing) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files: those that say nothing make room.
                if !is_of_client(&error) {
                    connections.make_room();
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                continue;
            }
        };
        let connection = connections.add();
        serve_one(stream, &router, &builder, &graceful, connection, Duration::from_secs(listening.answer_timeout));
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(Duration::from_secs(listening.grace)) => {}
    }
}

fn serve_one(
    stream: TcpStream,
    router: &Router,
    builder: &Builder,
    graceful: &GracefulShutdown,
    connection: Arc<Connection>,
    answer_timeout: Duration,
) {
    // Tokens are small and should not wait for each other.
    let _ = stream.set_nodelay(true);
    let (router, own) = (router.clone(), Arc::clone(&connection));
    let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let answering = Answering::new(&own);
        let answer = router.clone().call(request);
        async move {
            let answer = answer.await?;
            // The answer lasts until its body has ended.
            Ok::<_, std::convert::Infallible>(answer.map(|body| Held { body, _answering: answering }))
        }
    });
    let served = builder.serve_connection(TokioIo::new(stream), service);
    let served = graceful.watch(served);
    tokio::spawn(async move {
        tokio::select! {
            // A client may break off at any time.
            _ = served => {}
            () = connection.close.notified() => {}
            () = connection.stuck(answer_timeout) => {}
        }
        connection.is_over.store(true, Ordering::Release);
    });
}

/// Whether the client of a connection failed, not the server.
fn is_of_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// A body whose request counts as being answered until it has ended.
struct Held {
    body: axum::body::Body,
    _answering: Answering,
}

impl hyper::body::Body for Held {
    type Data = axum::body::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}
