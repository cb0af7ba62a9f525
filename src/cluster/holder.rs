//! Which process holds a lock, and whether it can still be there.

use std::fmt;
use std::fs;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// A process, told apart from every other one on any machine and after any restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    user: String,
    host: String,
    /// This start of the machine, and the space in which process numbers count: containers have their own.
    boot: String,
    pid: u32,
    /// When the process began, in whatever unit the machine counts.
    started: String,
}

impl Holder {
    /// This process.
    pub fn this() -> Self {
        let pid = std::process::id();
        let user = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
        Self {
            user: word(&user.unwrap_or_default()),
            host: word(rustix::system::uname().nodename().to_str().unwrap_or_default()),
            boot: word(&boot()),
            pid,
            started: word(&started(pid).unwrap_or_default()),
        }
    }

    /// As it stands in a Lease.
    pub fn identity(&self) -> String {
        format!("{}@{}/{}/{}/{}", self.user, self.host, self.boot, self.pid, self.started)
    }

    /// Reads an identity; `None` for one that another program wrote.
    pub fn parse(identity: &str) -> Option<Self> {
        let mut parts = identity.split('/');
        let (user, host) = parts.next()?.split_once('@')?;
        let (boot, pid, started) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
        let whole = parts.next().is_none();
        let holder = Self { user: user.into(), host: host.into(), boot: boot.into(), pid, started: started.into() };
        whole.then_some(holder)
    }

    /// Whether the process is known to have ended: it ran on this start of this machine, and does not any more. One that
    /// cannot be looked at is not known to have.
    pub fn is_gone(&self) -> bool {
        let here = Self::this();
        let comparable = !self.boot.is_empty() && self.boot == here.boot && self.host == here.host;
        comparable
            && match started(self.pid) {
                Some(started) => word(&started) != self.started,
                None => has_ended(self.pid),
            }
    }
}

/// Whether the system knows no process of that number. Processes of other users may be hidden from everything else.
fn has_ended(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
}

/// `operator@laptop (process 4711)`
impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} (process {})", self.user, self.host, self.pid)
    }
}

/// `text` without what separates the parts of an identity.
fn word(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_ascii_alphanumeric() || "-_.:".contains(c) { c } else { '_' }).collect()
}

#[cfg(target_os = "linux")]
fn boot() -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    let space = fs::read_link("/proc/self/ns/pid");
    match (boot, space) {
        (Ok(boot), Ok(space)) => format!("{}.{}", boot.trim(), space.display()),
        _ => String::new(),
    }
}

#[cfg(not(target_os = "linux"))]
fn boot() -> String {
    said(Command::new("sysctl").args(["-n", "kern.bootsessionuuid"])).unwrap_or_default()
}

/// When the process `pid` began; `None` when there is none.
#[cfg(target_os = "linux")]
fn started(pid: u32) -> Option<String> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything. Behind it, the start is the twentieth field.
    line.rsplit_once(") ")?.1.split(' ').nth(19).map(str::to_owned)
}

#[cfg(not(target_os = "linux"))]
fn started(pid: u32) -> Option<String> {
    let mut ps = Command::new("ps");
    ps.args(["-o", "lstart=", "-p", &pid.to_string()]).env("TZ", "UTC").env("LC_ALL", "C");
    said(&mut ps).filter(|text| !text.is_empty())
}

#[cfg_attr(target_os = "linux", expect(dead_code, reason = "only systems without /proc are asked by a command"))]
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_again_and_known_to_be_gone() {
        let this = Holder::this();
        assert_eq!(Holder::parse(&this.identity()), Some(this.clone()));
        assert!(!this.is_gone());

        let mut child = Command::new("true").spawn().expect("a process");
        let other = Holder { pid: child.id(), started: started(child.id()).expect("it is there"), ..this.clone() };
        child.wait().expect("it ends");
        assert!(other.is_gone());
        assert!(!Holder { host: "elsewhere".into(), ..other.clone() }.is_gone());
        assert!(!Holder { boot: "another".into(), ..other }.is_gone());

        // The number was given to another process meanwhile.
        assert!(Holder { started: "1".into(), ..this }.is_gone());
    }

    #[test]
    fn what_another_program_wrote_is_no_holder() {
        for text in ["", "controller-1", "a@b/c/d/e", "a@b/c/1", "a@b/c/1/2/3"] {
            assert_eq!(Holder::parse(text), None, "{text}");
        }
    }
}
