//! A plain HTTP front to an API server, which can end the program in the middle of a request, or never answer it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Outcome, lasts};

/// A request of the program.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With its query.
    pub path: String,
    /// Lower case.
    pub headers: String,
}

impl Request {
    /// Whether it writes: neither a dry run nor a question about rights.
    pub fn writes(&self) -> bool {
        self.method != "GET" && !self.path.contains("dryRun=All") && !self.path.contains("accessreviews")
    }

    /// Whether it is about the object at the end of `path`.
    pub fn is_about(&self, path: &str) -> bool {
        self.path.split('?').next().is_some_and(|whole| whole.ends_with(path))
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Pass,
    /// It goes nowhere and is never answered.
    Stall,
    /// The program is killed, and the request goes nowhere.
    KillBefore,
    /// The request is done, and the program is killed before it hears of that.
    KillAfter,
    /// The request passes, and the program is killed a while later.
    KillLater(Duration),
}

type Rule = Box<dyn FnMut(&Request) -> Fate + Send>;

/// The front. It ends when it is dropped.
pub struct Front {
    /// A kubeconfig that leads to it.
    pub kubeconfig: PathBuf,
    shared: Arc<Shared>,
    kubectl: Child,
}

struct Shared {
    rule: Mutex<Rule>,
    program: Mutex<Option<Pid>>,
    upstream: String,
}

impl Front {
    /// In front of the API server of `kubeconfig`; files lie in `folder`.
    pub fn new(kubeconfig: &Path, folder: &Path) -> Self {
        let mut kubectl = Command::new("kubectl");
        kubectl.args(["proxy", "--port=0"]).env("KUBECONFIG", kubeconfig);
        kubectl.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut kubectl = kubectl.spawn().expect("kubectl");
        let mut said = String::new();
        BufReader::new(kubectl.stdout.as_mut().expect("a pipe")).read_line(&mut said).expect("its address");
        let upstream = said.trim().rsplit(' ').next().expect("an address").to_owned();
        let pass: Rule = Box::new(|_| Fate::Pass);
        let shared = Arc::new(Shared { rule: Mutex::new(pass), program: Mutex::new(None), upstream });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let path = folder.join("front.kubeconfig");
        fs::write(&path, config(&listener.local_addr().expect("an address").to_string())).expect("a kubeconfig");
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = Arc::clone(&serving);
                thread::spawn(move || shared.serve(connection));
            }
        });
        Self { kubeconfig: path, shared, kubectl }
    }

    /// Decides about requests from now on.
    pub fn rule(&self, rule: impl FnMut(&Request) -> Fate + Send + 'static) {
        *self.shared.rule.lock().expect("a rule") = Box::new(rule);
    }

    /// Runs the program through it to its end, whichever that is.
    pub fn run(&self, command: &mut Command) -> Outcome {
        command.env("KUBECONFIG", &self.kubeconfig).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("the program starts");
        *self.shared.program.lock().expect("a number") = Some(Pid::from_child(&child));
        let outcome = Outcome::from(child.wait_with_output().expect("it ends"));
        *self.shared.program.lock().expect("a number") = None;
        outcome
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

fn config(address: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Config, current-context: front,\n clusters: [{{name: front, cluster: {{server: \"http://{address}\"}}}}],\n \
         contexts: [{{name: front, context: {{cluster: front, user: nobody}}}}],\n users: [{{name: nobody, user: {{}}}}]}}\n"
    )
}

impl Shared {
    fn kill(&self) {
        // Taken: a late kill never hits another process of the same number.
        if let Some(program) = self.program.lock().expect("a number").take() {
            kill_process(program, Signal::KILL).expect("it runs");
        }
    }

    /// One connection: requests come one after the other, each answered before the next.
    fn serve(self: &Arc<Self>, client: TcpStream) -> Option<()> {
        let mut upstream = TcpStream::connect(&self.upstream).ok()?;
        let kill_at_answer = Arc::new(AtomicBool::new(false));
        let (back, answers) = (client.try_clone().ok()?, upstream.try_clone().ok()?);
        let (shared, kill) = (Arc::clone(self), Arc::clone(&kill_at_answer));
        thread::spawn(move || shared.answer(answers, back, &kill));
        let mut reader = BufReader::new(client);
        while let Some((request, bytes)) = read(&mut reader) {
            let fate = (self.rule.lock().expect("a rule"))(&request);
            match fate {
                Fate::Pass => {}
                Fate::Stall => continue,
                Fate::KillBefore => {
                    self.kill();
                    break;
                }
                Fate::KillAfter => kill_at_answer.store(true, Ordering::SeqCst),
                Fate::KillLater(after) => {
                    let shared = Arc::clone(self);
                    thread::spawn(move || {
                        lasts(after);
                        shared.kill();
                    });
                }
            }
            upstream.write_all(&bytes).ok()?;
        }
        upstream.shutdown(Shutdown::Both).ok()
    }

    fn answer(&self, mut answers: TcpStream, mut client: TcpStream, kill: &AtomicBool) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = answers.read(&mut buffer) {
            if kill.load(Ordering::SeqCst) {
                self.kill();
                break;
            }
            if client.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
    }
}

/// The next request, and its bytes.
fn read(reader: &mut BufReader<TcpStream>) -> Option<(Request, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        let line = reader.read_until(b'\n', &mut bytes).ok()?;
        match line {
            0 => return None,
            2 if bytes.ends_with(b"\r\n\r\n") => break,
            _ => {}
        }
    }
    let headers = String::from_utf8_lossy(&bytes).into_owned();
    let mut first = headers.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers = headers.to_lowercase();
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.trim().parse().expect("a length"));
    let head = bytes.len();
    bytes.resize(head + length, 0);
    reader.read_exact(&mut bytes[head..]).ok()?;
    Some((Request { method, path, headers }, bytes))
}
