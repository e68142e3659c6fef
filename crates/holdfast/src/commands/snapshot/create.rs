//! Snapshots are made.

use std::path::PathBuf;

use api::{CreateSnapshot, CreatedSnapshot, JobResult, SnapshotView};
use clap::Args;
use model::{Consistency, JobState, SnapshotName, SnapshotState, Timestamp};

use crate::{
    arguments,
    context::Context,
    failure::Failure,
    location,
    output::{Tone, tell},
    wait::Progress,
};

/// Makes a snapshot of a VM, of one of its disks, or of an image file.
///
/// All disks are held at one moment; the command ends when that is fixed. The snapshot can be used from then on, while its data is
/// copied into the site's snapshot store; the source goes on and may be changed.
#[derive(Debug, Args)]
#[command(after_long_help = CREATE_EXAMPLES)]
pub struct Create {
    /// VM, by name or id; VM/DISK for one disk of it; or file:PATH, an image file that nobody writes to.
    #[arg(value_name = "SOURCE")]
    source: String,
    /// The consistency to ask for: application, file-system or crash. By default that of the VM's protection, or crash.
    #[arg(long, value_name = "LEVEL")]
    consistency: Option<Consistency>,
    /// Trust no change tracking: read everything.
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    words: Words,
}

const CREATE_EXAMPLES: &str = "\
Examples:
  holdfast snapshot create web-1 --name before-upgrade
  holdfast snapshot create web-1/vdb --tag team=web --lock-until 2027-01-01T00:00:00Z
  holdfast snapshot create file:/srv/golden.qcow2 --wait";

/// Makes a snapshot of an image file.
#[derive(Debug, Args)]
pub struct Import {
    /// The image file: raw, qcow2, VHD, VHDX or VMDK.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    words: Words,
}

/// What is said of a new snapshot.
#[derive(Debug, Args)]
struct Words {
    /// Its name; made of the source's name and the time where it is left out.
    #[arg(long)]
    name: Option<SnapshotName>,
    /// A word to find it by; may be given several times.
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = arguments::key_value)]
    tags: Vec<(String, String)>,
    /// Until when nobody may delete it, as in 2027-01-01T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    lock_until: Option<Timestamp>,
    /// Wait until all of it is in the store.
    #[arg(long)]
    wait: bool,
}

impl Create {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let source = match self.source.strip_prefix("file:") {
            Some(path) => format!("file:{}", location::absolute(path.as_ref())?),
            None => self.source,
        };
        let request =
            CreateSnapshot { source, consistency: self.consistency, full: self.full, ..Default::default() };
        self.words.create(context, request).await
    }
}

impl Import {
    /// Does it.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let source = format!("file:{}", location::absolute(&self.file)?);
        self.words.create(context, CreateSnapshot { source, ..Default::default() }).await
    }
}

impl Words {
    async fn create(self, context: &Context, request: CreateSnapshot) -> Result<(), Failure> {
        let (tags, lock_until) = (self.tags.into_iter().collect(), self.lock_until);
        let request = CreateSnapshot { name: self.name, tags, lock_until, ..request };
        let created = context.client.create_snapshot(&request).await?;
        let snapshot = watch(context, &created, self.wait).await?;
        context.output.one(&snapshot)?;
        if snapshot.state == SnapshotState::Copying {
            let watch = context.command(&format!("job watch {}", created.job.id));
            context.note(&format!("it can be used now; its data is being copied, watch that: {watch}"));
        }
        Ok(())
    }
}

/// Shows how the job goes until the moment is fixed, or until all is copied.
async fn watch(
    context: &Context,
    created: &CreatedSnapshot,
    to_the_end: bool,
) -> Result<SnapshotView, Failure> {
    let id = created.snapshot.id;
    let mut progress = Progress::new(&context.output);
    progress.observe(&created.job);
    let mut events = context.client.job_events(created.job.id).await?;
    let mut phase = None;
    while let Some(job) = events.next().await? {
        progress.observe(&job);
        if job.state.is_final() {
            progress.finish();
            job.warnings.iter().for_each(|warning| tell(Tone::Warning, warning));
            return match (job.result, job.problem) {
                (Some(JobResult::Snapshot(snapshot)), None) => Ok(*snapshot),
                (_, Some(problem)) => {
                    let what = format!("snapshot of {}", job.subject);
                    Err(Failure::problem(Some(&what), &problem))
                }
                _ => Err(Failure::new(
                    crate::exit::Exit::Error,
                    format!("the snapshot's job was {}", job.state),
                )),
            };
        }
        // What has become of the snapshot can be seen where the job has gone on to something else.
        let is_news = phase.as_ref() != Some(&job.progress.phase);
        if is_news && !to_the_end && job.state == JobState::Running {
            let snapshot = context.client.snapshot(id.as_str()).await?;
            if snapshot.state != SnapshotState::Waiting {
                progress.finish();
                return Ok(snapshot);
            }
        }
        phase = Some(job.progress.phase);
    }
    // The events broke off.
    progress.finish();
    Ok(context.client.snapshot(id.as_str()).await?)
}
