//! Proof that a store can hold a vault, before anything of value is in it.

#[cfg(test)]
mod tests;

use env::Env;
use futures::future::join_all;

use crate::{
    Error, ObjectLock, Result, StoreLocation,
    location::versions::Versions,
    store::{CLOCK_FOLDER, Created, Store, UNSUPPORTED_GUIDANCE},
};

/// Creators of one object that race in the test of creation.
const RACERS: u8 = 8;

/// The bytes of the object that is read back: more than one request of any protocol carries.
const SAMPLE_BYTES: usize = 300_000;

/// Differences between the clocks that are worth a word, in microseconds. A store shows full seconds, and a request takes
/// its time.
const CLOCK_SKEW_NOTED_US: u64 = 5_000_000;

/// What a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// Every check, in the order in which they were made. After a check of writing or reading that failed, there are no more.
    pub checks: Vec<Check>,
    /// How far the store's clock is ahead of this host's, in microseconds, to about a second; negative when it is behind.
    /// None where the check was not reached.
    pub clock_skew_us: Option<i64>,
}

/// One property that a vault needs, and whether the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, such as `create if absent`.
    pub name: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// What it means for a vault.
    pub meaning: &'static str,
}

/// How a check went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The store has the property.
    Passed,
    /// The store can be used, but somebody should look at this.
    Noted(String),
    /// The store does not have the property, and why we think so.
    Failed(String),
}

impl ProbeReport {
    /// Whether a vault can be kept in the store.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        !self.checks.iter().any(|check| matches!(check.verdict, Verdict::Failed(_)))
    }
}

/// Tries out all that a vault needs of a store. A directory that does not exist is made. No object is left behind, and
/// those of a vault that is there are not touched.
///
/// # Errors
/// When the place cannot be opened at all; what fails after that is in the report.
pub async fn probe(location: &StoreLocation, env: &Env) -> Result<ProbeReport> {
    let store = Store::create(location, env).await?;
    let mut probe =
        Probe { folder: format!("{CLOCK_FOLDER}/{}", store.random_name()), store, checks: Vec::new() };
    let clock_skew_us = probe.run(env).await;
    probe.clean_up().await;
    if location.is_s3() {
        let lock = ObjectLock::of(location).await;
        let keeps_versions = matches!(lock, Ok(Some(_)));
        let verdict = Ok(object_lock(lock));
        probe.note("object lock", "the store itself keeps what an immutable vault promises", verdict);
        if keeps_versions {
            let verdict = Ok(noncurrent_versions(location).await);
            probe.note("noncurrent versions", "what a collection deletes gives its room back", verdict);
        }
    }
    Ok(ProbeReport { checks: probe.checks, clock_skew_us })
}

/// Whether the bucket can keep what is in it also from those who have its credentials. Without it a vault's immutability binds
/// only those who go through Holdfast.
fn object_lock(found: Result<Option<ObjectLock>>) -> Verdict {
    match found {
        Ok(Some(_)) => Verdict::Passed,
        Ok(None) => Verdict::Noted(
            "the bucket has no Object Lock: who has its credentials can delete everything".into(),
        ),
        Err(error) => Verdict::Noted(error.to_string()),
    }
}

/// Whether the bucket, which has Object Lock and so keeps versions, lets go of those that were deleted.
async fn noncurrent_versions(location: &StoreLocation) -> Verdict {
    let expire = async {
        match Versions::of(location)? {
            Some(versions) => versions.expire().await,
            None => Ok(false),
        }
    };
    match expire.await {
        Ok(true) => Verdict::Passed,
        Ok(false) => Verdict::Noted(
            "no lifecycle rule of the bucket expires noncurrent versions, so what is deleted keeps its room: add one with \
             NoncurrentVersionExpiration of a day, for the vault's prefix; what is retained stays until its time all the same"
                .into(),
        ),
        Err(error) => Verdict::Noted(error.to_string()),
    }
}

/// What a vault cannot do without: an object that is there is not created again.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with guidance when it is.
pub(crate) async fn require_create_if_absent(store: &Store) -> Result<()> {
    let name = format!("{CLOCK_FOLDER}/{}", store.random_name());
    let created = create_twice(store, &name).await;
    let deleted = store.delete_named(&name).await;
    if let Some(why) = created? {
        return Err(Error::invalid(format!("{} cannot hold a vault: {why}", store.place()))
            .with_guidance(UNSUPPORTED_GUIDANCE));
    }
    deleted
}

/// Why the store fails to protect an object from a second creation; none where it does.
async fn create_twice(store: &Store, name: &str) -> Result<Option<String>> {
    let (first, second) = (&b"first"[..], &b"second"[..]);
    if store.create_named(name, first).await? != Created::New {
        return Ok(Some(format!("{name}, which nobody else can know, was there already")));
    }
    if store.create_named(name, second).await? != Created::Exists {
        return Ok(Some("it creates an object over one that is there".into()));
    }
    match store.get_named(name, second.len() as u64).await? {
        Some(bytes) if bytes == first => Ok(None),
        _ => Ok(Some("it says that it does not create an object over one that is there, and does".into())),
    }
}

/// A probe at work.
struct Probe {
    store: Store,
    /// All its objects are in this folder.
    folder: String,
    checks: Vec<Check>,
}

impl Probe {
    async fn run(&mut self, env: &Env) -> Option<i64> {
        let written = self.write_and_read().await;
        if !self.note("write and read", "backups are stored and restored", written) {
            return None;
        }
        let ranged = self.read_range().await;
        self.note("read a part", "restores read packs piece by piece", ranged);
        let twice = create_twice(&self.store, &self.name("twice")).await;
        self.note(
            "create if absent",
            "two writers never take the same place in the vault's log",
            verdict(twice),
        );
        let raced = self.race().await;
        self.note("one of many creators", "any number of hosts back up at once without locks", raced);
        let listed = self.list_and_delete().await;
        self.note("list at once", "what was written is found, and what was deleted is gone", listed);
        let absent = self.delete_absent().await;
        self.note("delete what is absent", "an interrupted deletion can be repeated", absent);
        self.compare_clocks(env).await
    }

    /// Writes down how a check went; says whether the store passed.
    fn note(&mut self, name: &'static str, meaning: &'static str, result: Result<Verdict>) -> bool {
        let verdict = result.unwrap_or_else(|error| Verdict::Failed(with_causes(&error)));
        let is_fit = !matches!(verdict, Verdict::Failed(_));
        self.checks.push(Check { name, verdict, meaning });
        is_fit
    }

    fn name(&self, object: &str) -> String {
        format!("{}/{object}", self.folder)
    }

    async fn write_and_read(&self) -> Result<Verdict> {
        let name = self.name("sample");
        self.store.put_named(&name, sample()).await?;
        let read = self.store.get_named(&name, SAMPLE_BYTES as u64).await?;
        if read.as_deref() != Some(&sample()[..]) {
            return failed("what was written reads differently, or is not there");
        }
        self.store.put_named(&name, sample()).await?;
        Ok(Verdict::Passed)
    }

    async fn read_range(&self) -> Result<Verdict> {
        let (start, end) = (70_001, 140_002);
        let read = self.store.get_named_range(&self.name("sample"), start as u64..end as u64).await?;
        if sample().get(start..end) == Some(&read[..]) {
            Ok(Verdict::Passed)
        } else {
            failed("it returned something else than what was asked for")
        }
    }

    async fn race(&self) -> Result<Verdict> {
        let name = self.name("race");
        let racers = (0..RACERS).map(|racer| self.store.create_named(&name, vec![racer; 100]));
        let outcomes = join_all(racers).await.into_iter().collect::<Result<Vec<_>>>()?;
        match outcomes.iter().filter(|&&outcome| outcome == Created::New).count() {
            1 => Ok(Verdict::Passed),
            winners => failed(format!("{winners} of {RACERS} creators were told that they made the object")),
        }
    }

    async fn list_and_delete(&self) -> Result<Verdict> {
        let name = self.name("listed");
        self.store.put_named(&name, vec![0; 17]).await?;
        let is_listed = |listed: &[(String, u64)]| listed.iter().any(|entry| *entry == ("listed".into(), 17));
        if !is_listed(&self.store.list_named(&self.folder).await?) {
            return failed("an object that was just written is not listed, or with another size");
        }
        self.store.delete_named(&name).await?;
        if is_listed(&self.store.list_named(&self.folder).await?) {
            return failed("an object that was just deleted is still listed");
        }
        Ok(match self.store.get_named(&name, 17).await? {
            None => Verdict::Passed,
            Some(_) => Verdict::Failed("an object that was just deleted can still be read".into()),
        })
    }

    async fn delete_absent(&self) -> Result<Verdict> {
        self.store.delete_named(&self.name("absent")).await?;
        Ok(Verdict::Passed)
    }

    async fn compare_clocks(&mut self, env: &Env) -> Option<i64> {
        let before = env.clock.now();
        let now = self.store.now().await;
        let after = env.clock.now();
        // The middle of the time that the request took.
        let ours_us = before.as_microseconds() / 2 + after.as_microseconds() / 2;
        let skew_us = now.as_ref().ok().map(|now| now.as_microseconds().saturating_sub(ours_us));
        let verdict = now.map(|_| match skew_us {
            Some(skew) if skew.unsigned_abs() > CLOCK_SKEW_NOTED_US => {
                let side = if skew < 0 { "behind" } else { "ahead of" };
                Verdict::Noted(format!(
                    "the store's clock is {} s {side} this host's",
                    skew.unsigned_abs() / 1_000_000
                ))
            }
            _ => Verdict::Passed,
        });
        self.note(
            "clock",
            "how long deleted points can be brought back is counted by the store's clock",
            verdict,
        );
        skew_us
    }

    /// Deletes whatever is left. What cannot be deleted now could not be deleted before, and is in the report.
    async fn clean_up(&self) {
        for object in ["sample", "twice", "race", "listed"] {
            if let Err(error) = self.store.delete_named(&self.name(object)).await {
                tracing::debug!(%error, "an object of the probe is left");
            }
        }
        self.store.remove_empty_folder(&self.folder).await;
        self.store.remove_empty_folder(CLOCK_FOLDER).await;
    }
}

fn verdict(why: Result<Option<String>>) -> Result<Verdict> {
    Ok(why?.map_or(Verdict::Passed, Verdict::Failed))
}

fn failed(why: impl Into<String>) -> Result<Verdict> {
    Ok(Verdict::Failed(why.into()))
}

/// Bytes of which no part is like another of the same length.
fn sample() -> Vec<u8> {
    (0..SAMPLE_BYTES as u32 / 4).flat_map(u32::to_le_bytes).collect()
}

/// An error with what caused it, which tells what the store said.
fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
