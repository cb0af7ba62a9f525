//! What containers wrote, as the API server asks a kubelet for it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Lines by `namespace/pod/container`. A container that has not started has none.
#[derive(Clone, Default)]
pub struct Logs(Arc<Mutex<BTreeMap<String, Vec<String>>>>);

impl Logs {
    /// A container writes.
    pub fn write(&self, container: String, text: &str) {
        let time = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string();
        let lines = text.lines().map(|line| format!("{time} {line}\n"));
        self.0.lock().expect("logs").entry(container).or_default().extend(lines);
    }

    fn of(&self, container: &str, with_times: bool) -> Option<String> {
        let all = self.0.lock().expect("logs");
        let shown = |line: &String| {
            if with_times { line.clone() } else { line.split_once(' ').unwrap_or_default().1.to_owned() }
        };
        all.get(container).map(|lines| lines.iter().map(shown).collect())
    }

    /// Answers the API server from now on; returns the port. The certificate is any: an API server that was not told a
    /// kubelet's authority takes them all.
    pub fn serve(&self, pki: &Path) -> u16 {
        let certificates = CertificateDer::pem_file_iter(pki.join("apiserver.crt")).expect("a certificate");
        let certificates = certificates.collect::<Result<_, _>>().expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(pki.join("apiserver.key")).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_no_client_auth().with_single_cert(certificates, key);
        let config = Arc::new(config.expect("a configuration"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let logs = self.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (config, logs) = (Arc::clone(&config), logs.clone());
                thread::spawn(move || logs.answer(connection, config));
            }
        });
        port
    }

    fn answer(&self, connection: TcpStream, config: Arc<ServerConfig>) -> Option<()> {
        let mut connection = BufReader::new(StreamOwned::new(ServerConnection::new(config).ok()?, connection));
        let mut first = String::new();
        connection.read_line(&mut first).ok()?;
        let mut header = String::new();
        while connection.read_line(&mut header).ok()? > 2 {
            header.clear();
        }
        let (path, query) = first.split(' ').nth(1).map(|path| path.split_once('?').unwrap_or((path, "")))?;
        let with_times = query.contains("timestamps=true");
        let (status, body) = match self.of(path.strip_prefix("/containerLogs/")?, with_times) {
            Some(text) => ("200 OK", text),
            None => ("400 Bad Request", "the container is waiting to start".to_owned()),
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        let stream = connection.get_mut();
        stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
        stream.conn.send_close_notify();
        stream.flush().ok()
    }
}
