//! Where what is mounted comes from: the site's API, asked anew for each thing, so that a server may go away and come back.

use std::sync::atomic::{AtomicBool, Ordering};

use api::{ByteStream, Client, ClientError, Code, FileView, ImageQuery, VolumeStateView, VolumeView};
use bytes::Bytes;
use tokio::sync::Mutex;

use crate::{
    commands::image::NamedImage,
    output::{Tone, tell},
};

/// Why something cannot be read, as far as a program that reads files can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// There is no such thing.
    NotFound,
    /// It is locked, or not to be had.
    Denied,
    /// It is something else.
    Invalid,
    /// It cannot be read now.
    Unreadable,
}

/// What is mounted, at the server.
#[derive(Debug)]
pub struct Source {
    client: Client,
    /// What the reference named when it was mounted.
    image: NamedImage,
    /// The references of its disks.
    disks: Vec<String>,
    /// The server closes volumes again that nobody has looked at for a while.
    passphrase: Option<String>,
    /// How often they were opened. Of all who find them closed, one opens them.
    openings: Mutex<u64>,
    /// Whether the last answer was none; so that its end is told once.
    is_troubled: AtomicBool,
}

impl Source {
    pub fn new(client: Client, image: NamedImage, disks: Vec<String>, passphrase: Option<String>) -> Self {
        Self {
            client,
            image,
            disks,
            passphrase,
            openings: Mutex::new(0),
            is_troubled: AtomicBool::new(false),
        }
    }

    /// The volumes of all disks, those inside encrypted ones too.
    pub async fn volumes(&self) -> Result<Vec<VolumeView>, Trouble> {
        let is_locked = |volume: &VolumeView| volume.state == VolumeStateView::Locked;
        let answer = match self.client.volumes(self.image.query()).await {
            Ok(volumes) if self.passphrase.is_some() && volumes.iter().any(is_locked) => self.unlock().await,
            answer => answer,
        };
        self.told(answer)
    }

    /// What is in a directory.
    pub async fn list(&self, path: &[u8]) -> Result<Vec<FileView>, Trouble> {
        let list = || async {
            let mut lines = self.client.files(self.image.query(), path).await?;
            let mut files = Vec::new();
            while let Some(file) = lines.next().await? {
                files.push(file);
            }
            Ok(files)
        };
        self.with_volumes_open(list).await
    }

    /// A range of a file, cut at its end.
    pub async fn file_range(
        &self,
        path: &[u8],
        offset_bytes: u64,
        length_bytes: u64,
    ) -> Result<Bytes, Trouble> {
        let read = || async {
            let query = self.image.query();
            collect(self.client.file_range(query, path, offset_bytes, length_bytes).await?, length_bytes)
                .await
        };
        self.with_volumes_open(read).await
    }

    /// A range of a disk.
    pub async fn disk_range(
        &self,
        disk: usize,
        offset_bytes: u64,
        length_bytes: u64,
    ) -> Result<Bytes, Trouble> {
        let reference = self.disks.get(disk).ok_or(Trouble::NotFound)?;
        let query = ImageQuery { reference, from_copy: self.image.from_copy.as_deref() };
        let read = async {
            collect(self.client.image_range(query, offset_bytes, length_bytes).await?, length_bytes).await
        };
        self.told(read.await)
    }

    async fn unlock(&self) -> Result<Vec<VolumeView>, ClientError> {
        let request = self.image.unlocked_by(self.passphrase.clone().unwrap_or_default());
        self.client.unlock_volumes(&request).await
    }

    /// Asks for something that is in a volume. Where that is locked, or not to be found because it is inside one that is
    /// locked, opens it and asks once more.
    async fn with_volumes_open<T, F>(&self, ask: impl Fn() -> F) -> Result<T, Trouble>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let seen = *self.openings.lock().await;
        let mut answer = ask().await;
        if let Err(ClientError::Problem(problem)) = &answer
            && matches!(problem.code, Code::WrongKey | Code::NotFound)
            && self.passphrase.is_some()
        {
            let mut openings = self.openings.lock().await;
            if *openings == seen {
                self.told(self.unlock().await)?;
                *openings += 1;
            }
            drop(openings);
            answer = ask().await;
        }
        self.told(answer)
    }

    /// Tells the person of the first failure that is nobody's question, and of its end; programs only see EIO.
    fn told<T>(&self, answer: Result<T, ClientError>) -> Result<T, Trouble> {
        let trouble = answer.as_ref().err().map(trouble_of);
        if trouble == Some(Trouble::Unreadable) {
            if !self.is_troubled.swap(true, Ordering::Relaxed)
                && let Err(error) = &answer
            {
                tell(Tone::Warning, &error.to_string());
            }
        } else if self.is_troubled.swap(false, Ordering::Relaxed) {
            tell(Tone::Plain, "the server answers again");
        }
        answer.map_err(|error| trouble_of(&error))
    }
}

fn trouble_of(error: &ClientError) -> Trouble {
    match error {
        ClientError::Problem(problem) => match problem.code {
            Code::NotFound => Trouble::NotFound,
            Code::WrongKey | Code::Denied => Trouble::Denied,
            Code::Invalid => Trouble::Invalid,
            _ => Trouble::Unreadable,
        },
        ClientError::NoServer { .. } | ClientError::Broken(_) => Trouble::Unreadable,
    }
}

/// The bytes of an answer, of which there are at most as many as were asked for.
async fn collect(mut stream: ByteStream, length_bytes: u64) -> Result<Bytes, ClientError> {
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await? {
        if (bytes.len() + piece.len()) as u64 > length_bytes {
            return Err(ClientError::Broken("more bytes than were asked for".to_owned()));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.into())
}
