//! What stands between the program and the API server and knows nothing of what it passes on: TLS and HTTP/2 go through
//! it unchanged.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// The relay. It passes on until the tests end.
pub struct Relay {
    /// A kubeconfig that leads to it, with the same credentials.
    pub kubeconfig: PathBuf,
    shared: Arc<Shared>,
}

struct Shared {
    server: String,
    refuses: AtomicBool,
    swallows: AtomicBool,
    opened: AtomicUsize,
    lines: Mutex<Vec<Arc<Line>>>,
}

/// A connection of the program, and the one to the server that belongs to it.
struct Line {
    client: TcpStream,
    server: TcpStream,
    frozen: AtomicBool,
}

impl Relay {
    /// In front of the API server of `kubeconfig`; files lie in `folder`.
    pub fn new(kubeconfig: &Path, folder: &Path) -> Self {
        let text = fs::read_to_string(kubeconfig).expect("a kubeconfig");
        let server = text.lines().find_map(|line| line.trim().strip_prefix("server: https://")).expect("a server");
        let (name, _) = server.rsplit_once(':').expect("a port");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let here = format!("server: https://{address}\n      tls-server-name: {name}");
        let path = folder.join("relay.kubeconfig");
        fs::write(&path, text.replace(&format!("server: https://{server}"), &here)).expect("a kubeconfig");
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            refuses: AtomicBool::new(false),
            swallows: AtomicBool::new(false),
            opened: AtomicUsize::new(0),
            lines: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // What cannot be passed on ends, as one that is refused does.
                serving.open(client);
            }
        });
        Self { kubeconfig: path, shared }
    }

    /// How many connections were opened.
    pub fn opened(&self) -> usize {
        self.shared.opened.load(Ordering::SeqCst)
    }

    /// The connections that there are stay open, and nothing passes through them any more. New ones are as before.
    pub fn freeze(&self) {
        for line in self.shared.lines().iter() {
            line.frozen.store(true, Ordering::SeqCst);
        }
    }

    /// Ends the connections that there are.
    pub fn cut(&self) {
        for line in self.shared.lines().drain(..) {
            line.end();
        }
    }

    /// Ends the connections that there are, and every new one at once.
    pub fn down(&self) {
        self.shared.refuses.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// Nothing passes through the connections that there are, nor through new ones.
    pub fn swallow(&self) {
        self.shared.swallows.store(true, Ordering::SeqCst);
        self.freeze();
    }

    /// New connections pass again.
    pub fn up(&self) {
        self.shared.swallows.store(false, Ordering::SeqCst);
        self.shared.refuses.store(false, Ordering::SeqCst);
    }
}

impl Shared {
    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Line>>> {
        self.lines.lock().expect("the connections")
    }

    fn open(&self, client: TcpStream) -> Option<()> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let server = TcpStream::connect(&self.server).ok()?;
        let mut lines = self.lines();
        let frozen = AtomicBool::new(self.swallows.load(Ordering::SeqCst));
        let line = Arc::new(Line { client, server, frozen });
        if self.refuses.load(Ordering::SeqCst) {
            return None;
        }
        lines.push(Arc::clone(&line));
        for outwards in [true, false] {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.pass(outwards);
                line.end();
            });
        }
        Some(())
    }
}

impl Line {
    /// Until either side ends it.
    fn pass(&self, outwards: bool) -> Option<()> {
        let (mut from, mut to) = if outwards { (&self.client, &self.server) } else { (&self.server, &self.client) };
        let mut buffer = vec![0; 64 << 10];
        loop {
            let length = from.read(&mut buffer).ok().filter(|length| *length > 0)?;
            if !self.frozen.load(Ordering::SeqCst) {
                to.write_all(&buffer[..length]).ok()?;
            }
        }
    }

    fn end(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}
