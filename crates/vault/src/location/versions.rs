//! Earlier versions of objects, in a bucket of S3 that keeps them. There, who deletes an object only puts a delete marker over
//! it, and who writes over it a new version: what was there before is hidden and not gone.
//!
//! The requests are described in the Amazon S3 API reference: ListObjectVersions, GetObject, DeleteObject.

use bytes::Bytes;
use model::Timestamp;
use object_store::path::Path;

use super::{
    Place, StoreLocation,
    cloud::Cloud,
    requests::{
        ANSWER_BYTES_MAX, Request, Requests,
        xml::{element, elements, unescaped},
    },
};
use crate::{Error, ErrorKind, Result};

const PERMISSIONS: &str = "s3:ListBucketVersions, s3:GetObjectVersion and s3:DeleteObjectVersion";

/// Delete markers over one object that are taken away one after the other.
const MARKERS_MAX: usize = 64;

/// A version of an object, or the marker that says that it was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// The object's name below the vault's place.
    pub(crate) name: String,
    id: String,
    /// Whether it is what who reads the object gets.
    pub(crate) is_latest: bool,
    pub(crate) is_marker: bool,
    /// When it was written, by the store's clock.
    pub(crate) written_at: Timestamp,
}

/// The versions of a vault's objects.
#[derive(Debug)]
pub(crate) struct Versions {
    requests: Requests,
    prefix: Path,
}

impl Versions {
    /// Of a place that is a bucket of S3. Whether it keeps versions, its listings tell.
    pub(crate) fn of(location: &StoreLocation) -> Result<Option<Self>> {
        match &location.place {
            Place::Bucket(bucket) if bucket.cloud == Cloud::S3 => {
                let requests = Requests::new(bucket, &location.variables)?;
                Ok(Some(Self { requests, prefix: bucket.prefix()? }))
            }
            _ => Ok(None),
        }
    }

    /// All versions of an object and its delete markers, each kind newest first.
    pub(crate) async fn of_object(&self, name: &str) -> Result<Vec<Version>> {
        let mut found = self.list(super::path_in(&self.prefix, name).as_ref()).await?;
        found.retain(|version| version.name == name);
        Ok(found)
    }

    /// The same of all objects in a folder.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] without the permission `s3:ListBucketVersions`.
    pub(crate) async fn in_folder(&self, folder: &str) -> Result<Vec<Version>> {
        self.list(&format!("{}/", super::path_in(&self.prefix, folder))).await
    }

    /// The bytes of a version; none when it is gone by now, or has more than `limit_bytes`.
    pub(crate) async fn get(&self, version: &Version, limit_bytes: u64) -> Result<Option<Bytes>> {
        let path = super::path_in(&self.prefix, &version.name);
        let query = &[("versionId", version.id.as_str())];
        let request = Request { method: "GET", path, query, body: None };
        let answer = self.requests.send(&request, limit_bytes).await?;
        match answer.status {
            200 => Ok(Some(answer.bytes).filter(|bytes| bytes.len() as u64 <= limit_bytes)),
            404 | 405 => Ok(None),
            _ => Err(answer.into_error(format!("a version of {} cannot be read", version.name), PERMISSIONS)),
        }
    }

    /// Takes the delete markers away that hide an object. Returns whether this version is then what readers get; not where
    /// there is another above it.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] without the permission `s3:DeleteObjectVersion`.
    pub(crate) async fn uncover(&self, version: &Version) -> Result<bool> {
        for _ in 0..MARKERS_MAX {
            let found = self.of_object(&version.name).await?;
            match found.iter().find(|other| other.is_latest) {
                Some(latest) if latest.id == version.id => return Ok(true),
                Some(latest)
                    if latest.is_marker
                        && found
                            .iter()
                            .find(|other| !other.is_marker)
                            .is_some_and(|it| it.id == version.id) =>
                {
                    self.remove(latest).await?;
                }
                _ => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Whether a rule of the bucket deletes versions that were deleted or written over, after a while.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`] without the permission `s3:GetLifecycleConfiguration`.
    pub(crate) async fn expire(&self) -> Result<bool> {
        let request = Request { method: "GET", query: &[("lifecycle", "")], ..Request::default() };
        let answer = self.requests.send(&request, ANSWER_BYTES_MAX).await?;
        match (answer.status, answer.code().as_deref()) {
            (200, _) => Ok(elements(&answer.text(), "Rule").any(|rule| {
                element(rule, "Status") == Some("Enabled") && rule.contains("<NoncurrentVersionExpiration>")
            })),
            (404, Some("NoSuchLifecycleConfiguration")) => Ok(false),
            _ => {
                let context = "the lifecycle rules of the bucket cannot be read".to_owned();
                Err(answer.into_error(context, "s3:GetLifecycleConfiguration"))
            }
        }
    }

    async fn remove(&self, version: &Version) -> Result<()> {
        let path = super::path_in(&self.prefix, &version.name);
        let query = &[("versionId", version.id.as_str())];
        let request = Request { method: "DELETE", path, query, body: None };
        let answer = self.requests.send(&request, ANSWER_BYTES_MAX).await?;
        match answer.status {
            200 | 204 | 404 => Ok(()),
            _ => Err(answer.into_error(format!("{} cannot be uncovered", version.name), PERMISSIONS)),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Version>> {
        let mut found = Vec::new();
        let mut from: Option<(String, String)> = None;
        loop {
            let mut query = vec![("versions", ""), ("prefix", prefix)];
            if let Some((key, id)) = &from {
                query.extend([("key-marker", key.as_str()), ("version-id-marker", id.as_str())]);
            }
            let request = Request { method: "GET", query: &query, ..Request::default() };
            let answer = self.requests.send(&request, ANSWER_BYTES_MAX).await?;
            if answer.status != 200 {
                let context = format!("the versions of {prefix} cannot be listed");
                return Err(answer.into_error(context, PERMISSIONS));
            }
            let text = answer.text();
            for (tag, is_marker) in [("Version", false), ("DeleteMarker", true)] {
                for content in elements(&text, tag) {
                    found.extend(self.parse(content, is_marker)?);
                }
            }
            if element(&text, "IsTruncated") != Some("true") {
                return Ok(found);
            }
            let next = element(&text, "NextKeyMarker").zip(element(&text, "NextVersionIdMarker"));
            let next = next.map(|(key, id)| (unescaped(key), unescaped(id)));
            if next.is_none() || next == from {
                return Err(Error::new(ErrorKind::Unreachable, "a listing of versions breaks off"));
            }
            from = next;
        }
    }

    /// One entry of a listing; none where the name is not of the vault.
    fn parse(&self, content: &str, is_marker: bool) -> Result<Option<Version>> {
        let field = |name| {
            element(content, name)
                .ok_or_else(|| Error::invalid(format!("a listing of versions has no {name}")))
        };
        let key = unescaped(field("Key")?);
        let name = match self.prefix.as_ref() {
            "" => Some(key.as_str()),
            prefix => key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/')),
        };
        let Some(name) = name else { return Ok(None) };
        let written_at = field("LastModified")?
            .parse()
            .map_err(|_| Error::invalid("a listing of versions has a time that cannot be understood"))?;
        Ok(Some(Version {
            name: name.to_owned(),
            id: unescaped(field("VersionId")?),
            is_latest: field("IsLatest")? == "true",
            is_marker,
            written_at,
        }))
    }
}
