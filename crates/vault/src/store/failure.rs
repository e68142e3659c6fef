//! What the failures of stores mean.

use crate::{Error, ErrorKind};

/// A store's error, and what to do about it.
pub(crate) fn error(context: String, source: object_store::Error) -> Error {
    let kind = classify(&source);
    let guidance = own_error(&source).and_then(|own| own.guidance().map(str::to_owned));
    let guidance = guidance.or_else(|| guidance_for(kind, &source).map(str::to_owned));
    let error = Error::new(kind, context).with_source(source);
    match guidance {
        Some(guidance) => error.with_guidance(guidance),
        None => error,
    }
}

/// An error of a directory that is asked for outside the object store.
pub(crate) fn io_error(context: String, source: std::io::Error) -> Error {
    let kind = classify_io(&source).unwrap_or(ErrorKind::Unreachable);
    Error::new(kind, context).with_source(source)
}

fn guidance_for(kind: ErrorKind, source: &object_store::Error) -> Option<&'static str> {
    match kind {
        ErrorKind::NoSpace => Some("make room in the store or raise its quota, then run the same again"),
        ErrorKind::Denied => Some("check the store's credentials and permissions"),
        ErrorKind::Unreachable => Some("check that the store can be reached"),
        ErrorKind::Invalid if is_unsupported(source) => Some(UNSUPPORTED_GUIDANCE),
        _ => None,
    }
}

/// What to do about a store that cannot do what a vault needs.
pub(crate) const UNSUPPORTED_GUIDANCE: &str = "use a store that can create an object only where there is none: a local directory, SFTP, Amazon S3, Azure Blob, \
     Google Cloud Storage, or a current MinIO or Ceph";

pub(super) fn classify(error: &object_store::Error) -> ErrorKind {
    use object_store::Error as Store;
    match error {
        Store::NotFound { .. } => return ErrorKind::NotFound,
        Store::AlreadyExists { .. } | Store::Precondition { .. } => return ErrorKind::AlreadyExists,
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => return ErrorKind::Denied,
        Store::InvalidPath { .. } | Store::UnknownConfigurationKey { .. } => return ErrorKind::Invalid,
        _ => {}
    }
    if is_unsupported(error) {
        return ErrorKind::Invalid;
    }
    if let Some(own) = own_error(error) {
        return own.kind();
    }
    if let Some(kind) = causes(error).find_map(|cause| classify_io(cause.downcast_ref()?)) {
        return kind;
    }
    // Stores over HTTP have no common code for a full store, only these words and the status 507.
    let text = error.to_string();
    let full = ["InsufficientStorage", "QuotaExceeded", "StorageFull", "507 Insufficient Storage"];
    if full.iter().any(|word| text.contains(word)) { ErrorKind::NoSpace } else { ErrorKind::Unreachable }
}

fn is_unsupported(error: &object_store::Error) -> bool {
    use object_store::Error as Store;
    matches!(error, Store::NotImplemented { .. } | Store::NotSupported { .. })
        || error.to_string().contains("501 Not Implemented")
}

/// The error of a store of ours, which knows more than any guess.
fn own_error(error: &object_store::Error) -> Option<&Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

fn classify_io(error: &std::io::Error) -> Option<ErrorKind> {
    use std::io::ErrorKind as Io;
    match error.kind() {
        Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => Some(ErrorKind::NoSpace),
        Io::PermissionDenied | Io::ReadOnlyFilesystem => Some(ErrorKind::Denied),
        Io::NotFound | Io::NotADirectory => Some(ErrorKind::NotFound),
        _ => None,
    }
}
