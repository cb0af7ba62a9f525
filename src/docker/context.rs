//! The build context: which files it holds, their hash, and the archive that is streamed to the daemon.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::LARGEST_FILE;
use super::ignore::{Ignore, Matched};
use crate::config::Build;
use crate::error::{Error, Result};
use crate::model::hex;
use crate::text::bytes_of;

/// One entry of a context.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// Relative to the context. Paths compare by component, so that a folder comes before what lies in it.
    path: PathBuf,
    kind: EntryKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum EntryKind {
    Folder,
    File,
    Symlink,
}

/// Twelve hexadecimal digits that change when anything changes that the build would see: names, kinds, executable
/// bits, contents and symlink targets of the files that would be sent, and the Dockerfile.
///
/// # Errors
/// What cannot be read, and what changes while it is read.
pub fn content_hash(build: &Build) -> Result<String> {
    let mut hash = Sha256::new();
    for entry in entries(build)? {
        let full = build.context.join(&entry.path);
        field(&mut hash, entry.path.as_os_str().as_encoded_bytes());
        match entry.kind {
            EntryKind::Folder => hash.update(b"d"),
            EntryKind::Symlink => {
                hash.update(b"l");
                let target = fs::read_link(&full).map_err(|error| unreadable(&full, error))?;
                field(&mut hash, target.as_os_str().as_encoded_bytes());
            }
            EntryKind::File => {
                let (mut file, metadata) = open(&full)?;
                hash.update(if metadata.mode() & 0o111 == 0 { b"f" } else { b"x" });
                hash.update(metadata.len().to_le_bytes());
                copy_exactly(&mut file, &metadata, &full, &mut HashWriter(&mut hash))?;
            }
        }
    }
    let dockerfile = build.context.join(&build.dockerfile);
    let bytes = bytes_of(&dockerfile, LARGEST_FILE).map_err(|error| unreadable(&dockerfile, error))?;
    field(&mut hash, &bytes);
    let mut digits = hex(&hash.finalize());
    digits.truncate(12);
    Ok(digits)
}

/// Writes the archive of everything that the build may see into `out`.
pub(super) fn archive(build: &Build, out: impl Write) -> Result<()> {
    let mut tar = tar::Builder::new(out);
    for entry in entries(build)? {
        append(&mut tar, &build.context, &entry)?;
    }
    let finished = tar.into_inner().and_then(|mut out| out.flush());
    finished.map_err(|error| Error::refused("the build context could not be sent").because(error))
}

fn append(tar: &mut tar::Builder<impl Write>, context: &Path, entry: &Entry) -> Result<()> {
    let full = context.join(&entry.path);
    let unsent = |error| Error::refused(format!("{} could not be sent", full.display())).because(error);
    if entry.kind == EntryKind::File {
        let (file, metadata) = open(&full)?;
        let mut header = header(&metadata, tar::EntryType::Regular);
        header.set_size(metadata.len());
        let mut exact = Exactly { file, left: metadata.len() };
        let sent = tar.append_data(&mut header, &entry.path, &mut exact);
        return sent
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => changed(&full),
                _ => unsent(error),
            })
            .and_then(|()| unchanged(&exact.file, &metadata, &full));
    }
    let metadata = fs::symlink_metadata(&full).map_err(|error| unreadable(&full, error))?;
    let sent = if entry.kind == EntryKind::Folder {
        tar.append_data(&mut header(&metadata, tar::EntryType::Directory), &entry.path, io::empty())
    } else {
        let target = fs::read_link(&full).map_err(|error| unreadable(&full, error))?;
        tar.append_link(&mut header(&metadata, tar::EntryType::Symlink), &entry.path, target)
    };
    sent.map_err(unsent)
}

fn header(metadata: &Metadata, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(metadata.mode() & 0o7777);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(u64::try_from(metadata.mtime()).unwrap_or(0));
    header.set_size(0);
    header
}

/// What would be sent, in the order in which it is sent. The Dockerfile is among it even when it is ignored.
fn entries(build: &Build) -> Result<Vec<Entry>> {
    let ignore = ignore_of(build)?;
    let mut entries = Vec::new();
    walk(&build.context, Path::new(""), &ignore, &Matched::default(), &mut entries)?;
    let dockerfile: PathBuf =
        Path::new(&build.dockerfile).components().filter(|part| part.as_os_str() != ".").collect();
    let kind = if build.context.join(&dockerfile).is_symlink() { EntryKind::Symlink } else { EntryKind::File };
    entries.push(Entry { path: dockerfile, kind });
    // A folder that is left out itself is there for the sake of what an exception brings back from it.
    let folders: Vec<Entry> = entries
        .iter()
        .flat_map(|entry| entry.path.ancestors().skip(1).filter(|path| *path != Path::new("")))
        .map(|path| Entry { path: path.to_owned(), kind: EntryKind::Folder })
        .collect();
    entries.extend(folders);
    entries.sort();
    entries.dedup();
    Ok(entries)
}

fn ignore_of(build: &Build) -> Result<Ignore> {
    let own = build.context.join(format!("{}.dockerignore", build.dockerfile));
    for file in [own, build.context.join(".dockerignore")] {
        match bytes_of(&file, LARGEST_FILE) {
            Ok(bytes) => return Ignore::parse(&String::from_utf8_lossy(&bytes), &file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(&file, error)),
        }
    }
    Ok(Ignore::default())
}

fn walk(root: &Path, folder: &Path, ignore: &Ignore, parent: &Matched, entries: &mut Vec<Entry>) -> Result<()> {
    let full = root.join(folder);
    for child in fs::read_dir(&full).map_err(|error| unreadable(&full, error))? {
        let child = child.map_err(|error| unreadable(&full, error))?;
        let kind = child.file_type().map_err(|error| unreadable(&child.path(), error))?;
        let path = folder.join(child.file_name());
        let text = path.to_string_lossy();
        let (excluded, matched) = ignore.excludes(&text, parent);
        if kind.is_dir() && (!excluded || ignore.may_return_below(&text)) {
            walk(root, &path, ignore, &matched, entries)?;
        }
        // Sockets and other special files mean nothing to a build.
        let special = kind.is_socket() || kind.is_fifo() || kind.is_block_device() || kind.is_char_device();
        if excluded || special {
            continue;
        }
        let kind = match () {
            () if kind.is_dir() => EntryKind::Folder,
            () if kind.is_symlink() => EntryKind::Symlink,
            () => EntryKind::File,
        };
        entries.push(Entry { path, kind });
    }
    Ok(())
}

fn open(path: &Path) -> Result<(File, Metadata)> {
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    let metadata = file.metadata().map_err(|error| unreadable(path, error))?;
    Ok((file, metadata))
}

fn copy_exactly(file: &mut File, metadata: &Metadata, path: &Path, out: &mut impl Write) -> Result<()> {
    let copied = io::copy(file, out).map_err(|error| unreadable(path, error))?;
    if copied != metadata.len() {
        return Err(changed(path));
    }
    unchanged(file, metadata, path)
}

fn unchanged(file: &File, before: &Metadata, path: &Path) -> Result<()> {
    let after = file.metadata().map_err(|error| unreadable(path, error))?;
    let of = |metadata: &Metadata| (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    if of(before) == of(&after) { Ok(()) } else { Err(changed(path)) }
}

fn changed(path: &Path) -> Error {
    Error::refused(format!("{} changed while it was read", path.display())).hint(
        "run the same command again once nothing writes into the build context, or list the file in .dockerignore",
    )
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    let gone = error.kind() == io::ErrorKind::NotFound;
    let refused = Error::refused(format!("{} could not be read", path.display())).because(error);
    if gone {
        return refused.hint("run the same command again once nothing writes into the build context");
    }
    refused.hint("make it readable, or list it in .dockerignore if the build does not need it")
}

fn field(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

struct HashWriter<'a>(&'a mut Sha256);

impl Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads as many bytes as the archive's header promised: a shorter file is an error, not a broken archive.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read(&mut buffer[..wanted])?;
        if read == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn build(folder: &Path) -> Build {
        Build {
            context: folder.to_owned(),
            dockerfile: "Dockerfile".into(),
            target: None,
            args: std::collections::BTreeMap::new(),
        }
    }

    fn sample() -> (tempfile::TempDir, Build) {
        let folder = tempfile::tempdir().expect("folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            fs::write(path, text).expect("written");
        };
        write("Dockerfile", "FROM scratch\n");
        write(".dockerignore", "Dockerfile\nlogs\n!logs/keep\n");
        write("src/main.go", "package main");
        write("src-2/a", "a");
        write("logs/keep", "kept");
        write("logs/drop", "dropped");
        symlink("src/main.go", folder.path().join("link")).expect("link");
        let build = build(folder.path());
        (folder, build)
    }

    fn archived(build: &Build) -> Vec<String> {
        let mut bytes = Vec::new();
        archive(build, &mut bytes).expect("archived");
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().expect("entries").map(|entry| {
            let entry = entry.expect("entry");
            let header = entry.header();
            assert_eq!((header.uid().expect("uid"), header.gid().expect("gid")), (0, 0));
            format!("{:?} {}", header.entry_type(), entry.path().expect("path").display())
        });
        entries.collect()
    }

    #[test]
    fn the_archive_holds_what_is_not_ignored_in_order() {
        let (_folder, build) = sample();
        assert_eq!(
            archived(&build),
            [
                "Regular .dockerignore",
                "Regular Dockerfile",
                "Symlink link",
                "Directory logs",
                "Regular logs/keep",
                "Directory src",
                "Regular src/main.go",
                "Directory src-2",
                "Regular src-2/a",
            ]
        );
    }

    #[test]
    fn the_hash_follows_what_is_sent_and_nothing_else() {
        let (folder, build) = sample();
        let path = |name: &str| folder.path().join(name);
        let hash = || content_hash(&build).expect("hash");
        let mut seen = vec![hash()];
        assert_eq!(seen[0].len(), 12);
        fs::write(path("logs/drop"), "something else").expect("written");
        fs::File::open(path("src/main.go")).and_then(|f| f.set_modified(std::time::UNIX_EPOCH)).expect("time");
        assert_eq!(hash(), seen[0]);
        let changes: [&dyn Fn(); 5] = [
            &|| fs::write(path("src/main.go"), "package other").expect("written"),
            &|| fs::set_permissions(path("src/main.go"), fs::Permissions::from_mode(0o755)).expect("mode"),
            &|| fs::write(path("Dockerfile"), "FROM other\n").expect("written"),
            &|| fs::rename(path("src-2/a"), path("src-2/b")).expect("renamed"),
            &|| {
                fs::remove_file(path("link")).expect("removed");
                symlink("elsewhere", path("link")).expect("link");
            },
        ];
        for change in changes {
            change();
            let now = hash();
            assert!(!seen.contains(&now));
            seen.push(now);
        }
    }

    #[test]
    fn a_dockerfiles_own_ignore_file_comes_first_and_sockets_stay_at_home() {
        let (folder, build) = sample();
        fs::write(folder.path().join("Dockerfile.dockerignore"), "*\n!src\n").expect("written");
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("src/socket")).expect("socket");
        assert_eq!(archived(&build), ["Regular Dockerfile", "Directory src", "Regular src/main.go"]);
    }

    #[test]
    fn a_file_that_shrinks_while_it_is_read_is_an_error() {
        let (folder, _build) = sample();
        let path = folder.path().join("src/main.go");
        let (mut file, metadata) = open(&path).expect("open");
        fs::write(&path, "x").expect("written");
        let error = copy_exactly(&mut file, &metadata, &path, &mut io::sink()).expect_err("changed");
        assert!(error.message.ends_with("src/main.go changed while it was read"));
    }
}
