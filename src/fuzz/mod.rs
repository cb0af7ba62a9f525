//! Readers of foreign text, run on what nobody would write: no panic, no hang, little memory; and on [`large`] texts, in
//! time that grows with them and no faster.
//!
//! The test of a reader is called [`TEST`] and hands samples and the reader to [`reader`]. The samples are changed over
//! and over, and what comes of it is read in a process of its own: a stack that overflows is then told like a panic,
//! and the memory that is measured is this reader's.
//!
//! | variable | meaning |
//! |---|---|
//! | `HDEPLOY_FUZZ_SECONDS` | how long each reader is run; 0.3. Given, large texts are forty times as large |
//! | `HDEPLOY_FUZZ_SEED` | what the changes follow from; always the same number without `HDEPLOY_FUZZ_SECONDS` |
//! | `HDEPLOY_FUZZ_INPUT` | a file that is read instead of samples and changes: the input that a failure named |

mod mutate;
mod samples;

use std::env;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

pub use samples::{files, many, yaml_bombs};

/// What every test of a reader is called.
const TEST: &str = "any_input_is_read_or_refused";
/// CPU time, without optimization, after which an input counts as one that never ends.
const ENDLESS: Duration = Duration::from_secs(2);
/// The most that the process may hold for an input, the program itself included, in bytes.
const USUAL: u64 = 64 << 20;
/// The same for an input that is as large as a person could ever make it. 100,000 small objects are there twice, by
/// themselves and in their waves.
const LARGE: u64 = 448 << 20;
/// How many times as long four times as much may take: time in proportion would be 4, to the square 16.
const GROWTH: u32 = 10;
/// CPU time below which a proportion says nothing, as it is counted in steps of 10 ms: what takes less than [`GROWTH`] times
/// this is fast enough.
const GRAIN: Duration = Duration::from_millis(50);
/// Address space of the process, in KiB: what goes wild ends here, and not the machine.
const ADDRESS_SPACE: u64 = 1 << 20;
/// How much longer than asked for the process may run on a busy machine.
const PATIENCE: Duration = Duration::from_mins(5);
const REPORT: &str = "fuzz report: ";

/// Runs `read` on `samples` and on what [`mutate`] makes of them and of `words`. `module` is the `module_path!()` of the
/// test.
pub fn reader<S: AsRef<[u8]>>(module: &str, samples: &[S], words: &[&str], read: impl Fn(&[u8])) {
    apart(&format!("{module}::{TEST}"), |current| run(current, samples, words, read));
}

/// Runs `read` on each of `texts` and then on four times as much of it: time must grow with the text and no faster. They are
/// made forty times as large when the readers are run for long. `test` is the path of the test.
#[expect(clippy::disallowed_macros, reason = "the process answers its parent")]
pub fn large<const N: usize>(test: &str, texts: impl Fn(usize) -> [String; N], read: impl Fn(&[u8])) {
    apart(test, |current| {
        let (scale, limit) = if is_long() { (40, LARGE) } else { (1, USUAL) };
        let usage = Usage::new(limit);
        let took = |text: &str| {
            fs::write(current, text).expect("written");
            usage.of(text.as_bytes(), &read)
        };
        for (part, whole) in texts(scale).into_iter().zip(texts(4 * scale)) {
            let (once, four_times) = (took(&part), took(&whole));
            let [once_ms, ms] = [once, four_times].map(|took| took.as_millis());
            let (bytes, limit) = (whole.len(), once.max(GRAIN) * GROWTH);
            assert!(four_times <= limit, "{bytes} bytes took {ms} ms of CPU, and a quarter of them {once_ms} ms");
        }
        println!("\n{REPORT}{N} large inputs, memory {} MiB at most", usage.memory() >> 20);
    });
}

/// Calls `run` in a process of its own, which is this test again. It is told the file in which inputs are left.
fn apart(test: &str, run: impl FnOnce(&Path)) {
    let test = test.split_once("::").map_or(test, |(_, path)| path);
    match env::var_os("HDEPLOY_FUZZ_CHILD") {
        Some(current) => run(Path::new(&current)),
        None => watch(test),
    }
}

/// The parent: starts the test again as a process, and tells how it went.
#[expect(clippy::disallowed_macros, reason = "a test speaks for itself")]
fn watch(test: &str) {
    let name = test.replace(&format!("::{TEST}"), "").replace("::tests", "");
    let exe = env::current_exe().expect("this program");
    let folder = exe.ancestors().nth(2).expect("the target folder").join("fuzz");
    fs::create_dir_all(&folder).expect("a folder for inputs");
    let current = folder.join(format!("{}.{}", name.replace("::", "-"), std::process::id()));
    let mut child = Command::new("sh")
        .args(["-c", &format!("ulimit -v {ADDRESS_SPACE} && exec \"$0\" \"$@\" 2>&1")])
        .arg(exe)
        .args([test, "--exact", "--nocapture"])
        .env("HDEPLOY_FUZZ_CHILD", &current)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let said = said(&mut child, seconds() + PATIENCE);
    let ended = child.wait().expect("its end");
    match said.lines().find_map(|line| line.split_once(REPORT)) {
        Some((_, report)) if ended.success() => println!("{name}: {report}"),
        _ => {
            let input = current.display();
            let again = match test.ends_with(TEST) {
                true => format!("HDEPLOY_FUZZ_INPUT={input} cargo test --lib"),
                false if is_long() => "HDEPLOY_FUZZ_SECONDS=1 cargo test --profile fuzz --lib".to_owned(),
                false => "cargo test --lib".to_owned(),
            };
            panic!("{name} failed ({ended}) on the input in {input}\nagain: {again} {test}\n{said}");
        }
    }
    let _ = fs::remove_file(current);
}

/// Everything that `child` says; it is ended when it takes longer than `patience`.
fn said(child: &mut Child, patience: Duration) -> String {
    let mut output = child.stdout.take().expect("a pipe");
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = output.read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver.recv_timeout(patience).unwrap_or_else(|_| {
        let _ = child.kill();
        format!("it was ended after {} s", patience.as_secs())
    })
}

fn is_long() -> bool {
    env::var_os("HDEPLOY_FUZZ_SECONDS").is_some()
}

fn seconds() -> Duration {
    number("HDEPLOY_FUZZ_SECONDS").map_or(Duration::from_millis(300), Duration::from_secs)
}

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().expect(variable))
}

/// The process: reads one input after the other, and leaves each in the file `current` before.
#[expect(clippy::disallowed_macros, reason = "the process answers its parent")]
fn run<S: AsRef<[u8]>>(current: &Path, samples: &[S], words: &[&str], read: impl Fn(&[u8])) {
    let usage = Usage::new(USUAL);
    let start = usage.memory() >> 20;
    if let Some(file) = env::var_os("HDEPLOY_FUZZ_INPUT") {
        in_time(&usage, &fs::read(file).expect("the input"), &read);
        println!("\n{REPORT}1 input, memory {start} MiB at the start, {} MiB at most", usage.memory() >> 20);
        return;
    }
    let fresh = || std::time::UNIX_EPOCH.elapsed().map_or(1, |time| u64::from(time.subsec_nanos()));
    let seed = number("HDEPLOY_FUZZ_SEED").unwrap_or_else(|| if is_long() { fresh() } else { 1 });
    println!("\nseed {seed}");

    let mut mutator = mutate::Mutator::new(seed, samples, words);
    let file = File::create(current).expect("a file for the input");
    let one = |input: &[u8]| {
        file.write_all_at(input, 0).and_then(|()| file.set_len(input.len() as u64)).expect("written");
        in_time(&usage, input, &read);
    };
    for sample in samples {
        one(sample.as_ref());
    }
    let (begun, mut inputs) = (Instant::now(), samples.len());
    while begun.elapsed() < seconds() {
        one(&mutator.input());
        inputs += 1;
    }
    let most = usage.memory() >> 20;
    println!("\n{REPORT}{inputs} inputs of seed {seed}, memory {start} MiB at the start, {most} MiB at most");
}

/// Reads `input`, which must come to an end.
fn in_time(usage: &Usage, input: &[u8], read: &impl Fn(&[u8])) {
    let took = usage.of(input, read);
    assert!(took <= ENDLESS, "{} bytes took {} ms of CPU", input.len(), took.as_millis());
}

/// What this process uses, as the kernel says it.
struct Usage {
    /// How much memory the process may hold, in bytes.
    limit: u64,
    status: File,
    stat: File,
}

impl Usage {
    fn new(limit: u64) -> Self {
        let open = |name: &str| File::open(name).expect("Linux");
        Self { limit, status: open("/proc/self/status"), stat: open("/proc/thread-self/stat") }
    }

    /// Reads `input` with no more memory than it may take; the CPU time of that.
    fn of(&self, input: &[u8], read: &impl Fn(&[u8])) -> Duration {
        let before = self.cpu();
        read(input);
        let took = self.cpu().saturating_sub(before);
        let memory = self.memory();
        assert!(memory <= self.limit, "{} bytes took the process to {} MiB", input.len(), memory >> 20);
        took
    }

    /// The most memory that the process held at any time, in bytes.
    fn memory(&self) -> u64 {
        let status = text(&self.status);
        let (_, value) = status.split_once("VmHWM:").expect("VmHWM");
        let kibibytes = value.split_whitespace().next().and_then(|number| number.parse::<u64>().ok());
        kibibytes.expect("a number") << 10
    }

    /// CPU time of this thread.
    fn cpu(&self) -> Duration {
        let stat = text(&self.stat);
        // Behind the name, which stands in parentheses: user and system time are the 14th and 15th field of all.
        let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }
}

/// The beginning of `file`, as it is now.
fn text(file: &File) -> String {
    let mut bytes = [0; 4096];
    let length = file.read_at(&mut bytes, 0).expect("readable");
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

/// The root of the repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
