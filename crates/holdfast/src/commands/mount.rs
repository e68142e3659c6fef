//! Images as directories: each disk as a raw file, each volume as a tree of files. Read-only, by FUSE, in this process.

mod cache;
mod filesystem;
mod link;
mod nodes;
mod source;
mod tree;

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use api::{ImageQuery, PointView};
use clap::Args;
use fuser::{Config, MountOption, Session, SessionUnmounter};
use model::{
    DiskName, ImageReference, PointReference, PointSelector, ReplicaReference, SnapshotReference, Timestamp,
};
use rustix::mount::{UnmountFlags, unmount};
use tokio::{runtime::Handle, sync::oneshot};

use self::{
    filesystem::MountedTree,
    source::Source,
    tree::{Disk, Tree, file_name},
};
use super::{
    files::Unlock,
    image::{ImageArgument, NamedImage},
};
use crate::{
    context::Context,
    exit::Exit,
    failure::Failure,
    output::{Tone, tell},
    signals::Signals,
};

type Result<T, E = Failure> = std::result::Result<T, E>;

/// Threads that take questions from the kernel; none of them waits for an answer.
const THREADS: usize = 2;

/// Shows an image as a directory.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Mount {
    #[command(flatten)]
    image: ImageArgument,
    /// The empty directory to show it in.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    unlock: Unlock,
}

const EXAMPLES: &str = "\
Examples:
  holdfast mount point:web-1/latest /mnt
  ls /mnt/files/vda-1/etc; cp /mnt/files/vda-1/etc/fstab .
  qemu-system-x86_64 -snapshot -drive file=/mnt/disks/vda.raw,format=raw
  umount /mnt                                          # or Ctrl-C, or fusermount3 -u /mnt";

impl Mount {
    /// Mounts, and returns when it is unmounted.
    pub async fn run(self, context: &Context) -> Result<()> {
        check_directory(&self.directory)?;
        let passphrase = self.unlock.passphrase()?;
        let shown = Shown::of(context, self.image.checked()?).await?;
        let name = shown.image.reference.clone();
        if let Some(passphrase) = &passphrase {
            // A wrong one is told now, and not to a program that finds the volume locked.
            let request = shown.image.unlocked_by(passphrase.clone());
            context.client.unlock_volumes(&request).await?;
        }
        let source = Source::new(context.client.clone(), shown.image, shown.references, passphrase);
        let tree = Tree::new(source, shown.disks, shown.taken_at);
        let filesystem = MountedTree::new(tree, Handle::current());
        let session = Session::new(filesystem, &self.directory, &options(&name))
            .map_err(|error| cannot_mount(&self.directory, &error))?;
        let directory = self.directory.display();
        context.note(&format!("{name} is shown in {directory}, until Ctrl-C or: umount {directory}"));
        until_unmounted(session, &self.directory).await
    }
}

/// What is mounted, named so that it stays the same when newer points come.
struct Shown {
    image: NamedImage,
    disks: Vec<Disk>,
    /// The references of the disks.
    references: Vec<String>,
    taken_at: Option<Timestamp>,
}

impl Shown {
    async fn of(context: &Context, image: NamedImage) -> Result<Self> {
        let NamedImage { reference, from_copy } = image;
        let parsed = reference.parse().map_err(|error| Failure::usage(format!("{error}")))?;
        if let ImageReference::Replica(replica) = parsed {
            return Self::of_replica(context, &replica).await;
        }
        let Some(asked) = Asked::of(parsed) else {
            let query = ImageQuery { reference: &reference, from_copy: from_copy.as_deref() };
            let size_bytes = context.client.image_extents(query, 0).await?.size_bytes;
            return Ok(Self {
                disks: vec![Disk { file_name: file_name("disk"), size_bytes }],
                references: vec![reference.clone()],
                image: NamedImage { reference, from_copy },
                taken_at: None,
            });
        };
        let whole = asked.whole();
        let point = match &from_copy {
            Some(copy) => context.client.point_in_copy(&whole, copy).await?,
            None => context.client.point(&whole).await?,
        };
        let pinned = |disk| asked.pinned(&point, disk);
        let (mut disks, mut references) = (Vec::new(), Vec::new());
        for disk in &point.disks {
            let name = disk.name.parse().map_err(|error| Failure::new(Exit::Error, format!("{error}")))?;
            if asked.disk().as_ref().is_none_or(|asked| *asked == name) {
                disks.push(Disk { file_name: file_name(&disk.name), size_bytes: disk.size_bytes.0 });
                references.push(pinned(Some(name)));
            }
        }
        if disks.is_empty() {
            let names: Vec<_> = point.disks.iter().map(|disk| disk.name.as_str()).collect();
            let message = format!("{reference} names no disk of the point; it has {}", names.join(", "));
            return Err(Failure::new(Exit::NotFound, message));
        }
        let image = NamedImage { reference: pinned(asked.disk().clone()), from_copy };
        Ok(Self { image, disks, references, taken_at: Some(point.captured_at) })
    }
}

impl Shown {
    /// A moment of a replicated VM.
    async fn of_replica(context: &Context, asked: &ReplicaReference) -> Result<Self> {
        let found = context.client.replica_moment(&asked.vm, &asked.moment.to_string()).await?;
        let pinned: ReplicaReference =
            found.reference.parse().map_err(|error| Failure::new(Exit::Error, format!("{error}")))?;
        let (mut disks, mut references) = (Vec::new(), Vec::new());
        for disk in &found.disks {
            let name = disk.name.parse().map_err(|error| Failure::new(Exit::Error, format!("{error}")))?;
            if asked.disk.as_ref().is_none_or(|asked| *asked == name) {
                disks.push(Disk { file_name: file_name(&disk.name), size_bytes: disk.size_bytes.0 });
                references.push(ReplicaReference { disk: Some(name), ..pinned.clone() }.to_string());
            }
        }
        if disks.is_empty() {
            return Err(Failure::new(Exit::NotFound, format!("{asked} names no disk that the VM had then")));
        }
        let reference = ReplicaReference { disk: asked.disk.clone(), ..pinned }.to_string();
        let image = NamedImage { reference, from_copy: None };
        Ok(Self { image, disks, references, taken_at: Some(found.time) })
    }
}

/// A moment of a VM that was asked for, or a disk of it.
enum Asked {
    Point(PointReference),
    Snapshot(SnapshotReference),
}

impl Asked {
    /// None for an image file.
    fn of(reference: ImageReference) -> Option<Self> {
        match reference {
            ImageReference::Point(point) => Some(Self::Point(point)),
            ImageReference::Snapshot(snapshot) => Some(Self::Snapshot(snapshot)),
            ImageReference::Replica(_) | ImageReference::File(_) => None,
        }
    }

    fn disk(&self) -> &Option<DiskName> {
        match self {
            Self::Point(point) => &point.disk,
            Self::Snapshot(snapshot) => &snapshot.disk,
        }
    }

    /// The reference to all of it.
    fn whole(&self) -> String {
        match self {
            Self::Point(point) => PointReference { disk: None, ..point.clone() }.to_string(),
            Self::Snapshot(snapshot) => SnapshotReference { disk: None, ..snapshot.clone() }.to_string(),
        }
    }

    /// The reference to what was found, by ids.
    fn pinned(&self, found: &PointView, disk: Option<DiskName>) -> String {
        let id = found.id.to_string();
        match self {
            Self::Point(_) => {
                let selector = PointSelector::IdPrefix(id);
                PointReference { vm: found.vm_id.to_string(), point: selector, disk }.to_string()
            }
            Self::Snapshot(_) => SnapshotReference { snapshot: id, disk }.to_string(),
        }
    }
}

/// Fails for what cannot be mounted on.
fn check_directory(directory: &Path) -> Result<()> {
    let shown = directory.display();
    let mut entries = directory.read_dir().map_err(|error| {
        let failure = Failure::file(directory, &error);
        match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            // What is left of a process that was killed.
            Some(rustix::io::Errno::NOTCONN) => {
                failure.with_hint(format!("let go of it first: umount {shown}"))
            }
            Some(rustix::io::Errno::NOENT) => failure.with_hint(format!("make it first: mkdir {shown}")),
            _ => failure,
        }
    })?;
    if entries.next().is_some() {
        return Err(Failure::new(Exit::Conflict, format!("{shown} is not empty"))
            .with_hint("name an empty directory: what is in it could not be seen meanwhile"));
    }
    Ok(())
}

fn options(name: &str) -> Config {
    let mut options = Config::default();
    // What a stranger's guest has set up must not work here.
    let guards = [MountOption::RO, MountOption::NoSuid, MountOption::NoDev, MountOption::NoAtime];
    // A comma would begin another option.
    let names = [MountOption::FSName(name.replace(',', "_")), MountOption::Subtype("holdfast".to_owned())];
    options.mount_options = guards.into_iter().chain(names).collect();
    options.n_threads = Some(THREADS);
    options
}

fn cannot_mount(directory: &Path, error: &io::Error) -> Failure {
    let failure = Failure::new(Exit::Error, format!("cannot mount on {}: {error}", directory.display()));
    if !Path::new("/dev/fuse").exists() {
        return failure.with_hint("this host has no FUSE: load its module with modprobe fuse");
    }
    match error.kind() {
        io::ErrorKind::NotFound => {
            failure.with_hint("install fuse3, whose fusermount3 mounts for users, or run this as root")
        }
        io::ErrorKind::PermissionDenied => failure
            .with_hint("let this user read and write /dev/fuse and own the directory, or run this as root"),
        _ => failure,
    }
}

/// Answers the kernel until somebody unmounts, or asks this process to end.
async fn until_unmounted(mut session: Session<MountedTree>, directory: &Path) -> Result<()> {
    let cannot_listen = |error| Failure::new(Exit::Error, format!("cannot listen for signals: {error}"));
    let mut signals = Signals::new().map_err(cannot_listen)?;
    let unmounter = session.unmount_callable();
    let (sender, ended) = oneshot::channel();
    // No task of the runtime, which would wait for it at the end.
    thread::spawn(move || sender.send(session.run()));
    tokio::select! {
        ended = ended => match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::new(Exit::Error, format!("the mount broke off: {error}"))),
            Err(_) => Err(Failure::new(Exit::Error, "the mount broke off")),
        },
        () = signals.next() => let_go(unmounter, directory).await,
    }
}

/// Unmounts; from programs that still read, takes away what they read.
async fn let_go(mut unmounter: SessionUnmounter, directory: &Path) -> Result<()> {
    let owned = directory.to_owned();
    let unmounting = tokio::task::spawn_blocking(move || {
        unmounter.unmount().or_else(|_| {
            tell(Tone::Warning, &format!("{} is still in use; its programs lose it", owned.display()));
            detach(&owned)
        })
    });
    let unmounted = unmounting.await.map_err(io::Error::other).and_then(|unmounted| unmounted);
    unmounted.map_err(|error| {
        let shown = directory.display();
        Failure::new(Exit::Error, format!("cannot unmount {shown}: {error}"))
            .with_hint(format!("let go of it with: umount --lazy {shown}"))
    })
}

fn detach(directory: &Path) -> io::Result<()> {
    if unmount(directory, UnmountFlags::DETACH).is_ok() {
        return Ok(());
    }
    match Command::new("fusermount3").args(["-u", "-z", "--"]).arg(directory).status()?.success() {
        true => Ok(()),
        false => Err(io::ErrorKind::ResourceBusy.into()),
    }
}
