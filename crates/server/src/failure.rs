//! What went wrong, on its way to becoming a problem document. The one place that maps the errors of engines and seams
//! to codes.

use std::error::Error;

use api::{Code, PROBLEM_MEDIA_TYPE, Problem};
use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

/// A result of anything that a client may ask for.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// A problem document in the making.
#[derive(Debug, Clone)]
pub(crate) struct Failure(Box<Problem>);

impl Failure {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(code, detail)))
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(Code::Invalid, detail)
    }

    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(Code::Conflict, detail)
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Code::NotFound, detail)
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Puts in front what was being tried.
    pub(crate) fn during(mut self, what: &str) -> Self {
        self.0.detail = format!("{what}: {}", self.0.detail);
        self
    }

    /// The same failure under another code.
    pub(crate) fn with_code(self, code: Code) -> Self {
        let Problem { detail, hint, .. } = *self.0;
        Self(Box::new(Problem { hint, ..Problem::new(code, detail) }))
    }

    pub(crate) fn code(&self) -> Code {
        self.0.code
    }

    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    pub(crate) fn into_problem(self) -> Problem {
        *self.0
    }

    pub(crate) fn of(code: Code, error: &dyn Error, guidance: Option<&str>) -> Self {
        let mut failure = Self::new(code, chain(error));
        failure.0.hint = guidance.map(str::to_owned);
        failure
    }

    /// A failed system call.
    pub(crate) fn from_io(what: impl Into<String>, error: &std::io::Error) -> Self {
        let code = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::NoSpace,
            std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => Code::Denied,
            std::io::ErrorKind::NotFound => Code::NotFound,
            _ => Code::Failed,
        };
        Self::new(code, format!("{}: {error}", what.into()))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(code = ?self.0.code, detail = self.0.detail, "a request failed");
        }
        (
            status,
            [(header::CONTENT_TYPE, PROBLEM_MEDIA_TYPE)],
            axum::Json(*self.0).into_response().into_body(),
        )
            .into_response()
    }
}

/// An error and its causes as one line, outermost first; a cause that the line already tells is left out.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}

impl From<catalog::Error> for Failure {
    fn from(error: catalog::Error) -> Self {
        let code = match error.kind() {
            catalog::ErrorKind::NotFound => Code::NotFound,
            catalog::ErrorKind::Exists | catalog::ErrorKind::InUse => Code::Conflict,
            catalog::ErrorKind::NoSpace => Code::NoSpace,
            _ => Code::Failed,
        };
        Self::of(code, &error, error.guidance())
    }
}

impl From<hypervisor::Error> for Failure {
    fn from(error: hypervisor::Error) -> Self {
        let code = match error.kind() {
            hypervisor::ErrorKind::Unreachable | hypervisor::ErrorKind::Gone => Code::Unreachable,
            hypervisor::ErrorKind::Busy | hypervisor::ErrorKind::Unsupported => Code::Conflict,
            hypervisor::ErrorKind::Consistency => Code::Consistency,
            hypervisor::ErrorKind::NoSpace => Code::NoSpace,
            _ => Code::Failed,
        };
        Self::of(code, &error, error.guidance())
    }
}

impl From<vault::Error> for Failure {
    fn from(error: vault::Error) -> Self {
        let code = match error.kind() {
            vault::ErrorKind::NotFound => Code::NotFound,
            vault::ErrorKind::AlreadyExists => Code::Conflict,
            vault::ErrorKind::WrongKey => Code::WrongKey,
            vault::ErrorKind::Corrupt | vault::ErrorKind::Disk(image::ErrorKind::Corrupt) => Code::Damaged,
            vault::ErrorKind::NoSpace | vault::ErrorKind::Disk(image::ErrorKind::NoSpace) => Code::NoSpace,
            vault::ErrorKind::Refused => Code::Refused,
            vault::ErrorKind::Overtaken => Code::Overtaken,
            vault::ErrorKind::Denied => Code::Denied,
            vault::ErrorKind::Unreachable => Code::Unreachable,
            vault::ErrorKind::Cancelled => Code::Cancelled,
            vault::ErrorKind::Invalid => Code::Invalid,
            _ => Code::Failed,
        };
        Self::of(code, &error, error.guidance())
    }
}

impl From<image_formats::Error> for Failure {
    fn from(error: image_formats::Error) -> Self {
        let code = match error.kind() {
            image_formats::ErrorKind::NotFound => Code::NotFound,
            image_formats::ErrorKind::AlreadyExists | image_formats::ErrorKind::InUse => Code::Conflict,
            image_formats::ErrorKind::Unsupported => Code::Invalid,
            image_formats::ErrorKind::Denied => Code::Denied,
            image_formats::ErrorKind::NoSpace => Code::NoSpace,
            image_formats::ErrorKind::Image(image::ErrorKind::Corrupt) => Code::Damaged,
            _ => Code::Failed,
        };
        Self::of(code, &error, error.guidance())
    }
}

impl From<image::Error> for Failure {
    fn from(error: image::Error) -> Self {
        let code = match error.kind() {
            image::ErrorKind::OutOfBounds => Code::Invalid,
            image::ErrorKind::Corrupt => Code::Damaged,
            image::ErrorKind::NoSpace => Code::NoSpace,
            image::ErrorKind::Gone => Code::Unreachable,
            _ => Code::Failed,
        };
        Self::of(code, &error, None)
    }
}

impl From<protection::Error> for Failure {
    fn from(error: protection::Error) -> Self {
        let code = match error.kind() {
            protection::ErrorKind::Cancelled => Code::Cancelled,
            protection::ErrorKind::Consistency => Code::Consistency,
            protection::ErrorKind::NoSpace => Code::NoSpace,
            protection::ErrorKind::Damaged => Code::Damaged,
            protection::ErrorKind::Unreachable => Code::Unreachable,
            protection::ErrorKind::WrongKey => Code::WrongKey,
            protection::ErrorKind::NotFound => Code::NotFound,
            protection::ErrorKind::Refused => Code::Refused,
            protection::ErrorKind::Overtaken => Code::Overtaken,
            protection::ErrorKind::Exists
            | protection::ErrorKind::Busy
            | protection::ErrorKind::Unsupported => Code::Conflict,
            _ => Code::Failed,
        };
        Self::of(code, &error, error.guidance())
    }
}

impl From<journal::Error> for Failure {
    fn from(error: journal::Error) -> Self {
        let code = match error.kind() {
            journal::ErrorKind::NotFound | journal::ErrorKind::Folded => Code::NotFound,
            journal::ErrorKind::AlreadyExists | journal::ErrorKind::NotWhole => Code::Conflict,
            journal::ErrorKind::Corrupt | journal::ErrorKind::UnsupportedVersion => Code::Damaged,
            journal::ErrorKind::NoSpace => Code::NoSpace,
            journal::ErrorKind::Denied => Code::Denied,
            journal::ErrorKind::Fenced => Code::Fenced,
            journal::ErrorKind::Invalid => Code::Invalid,
            _ => Code::Failed,
        };
        Self::of(code, &error, error.guidance())
    }
}

impl From<recovery::Refusal> for Failure {
    fn from(refusal: recovery::Refusal) -> Self {
        if refusal.is_fence() {
            return Self::new(Code::Fenced, refusal.to_string())
                .with_hint("do not start the VM where it was; re-protect it from where it runs now");
        }
        Self::conflict(refusal.to_string())
    }
}

impl From<peer::Error> for Failure {
    fn from(error: peer::Error) -> Self {
        let code = match error.kind() {
            peer::ErrorKind::Unreachable => Code::Unreachable,
            peer::ErrorKind::Untrusted | peer::ErrorKind::Denied => Code::Denied,
            peer::ErrorKind::Invalid => Code::Invalid,
            peer::ErrorKind::NotFound => Code::NotFound,
            peer::ErrorKind::Version | peer::ErrorKind::Conflict => Code::Conflict,
            peer::ErrorKind::Gone => Code::Overtaken,
            peer::ErrorKind::Fenced => Code::Fenced,
            peer::ErrorKind::Damaged => Code::Damaged,
            peer::ErrorKind::NoSpace => Code::NoSpace,
            peer::ErrorKind::Busy => Code::Interrupted,
            _ => Code::Failed,
        };
        Self::of(code, &error, error.guidance())
    }
}

/// What an error of a vault means, for a program that opens vaults itself.
#[must_use]
pub fn vault_problem(error: vault::Error) -> Problem {
    Failure::from(error).into_problem()
}

/// What an error of files inside images means, for a program that takes them out itself.
#[must_use]
pub fn files_problem(error: files::Error) -> Problem {
    Failure::from(error).into_problem()
}

/// What an error of an operation means, for a program that does it itself.
#[must_use]
pub fn operation_problem(error: protection::Error) -> Problem {
    Failure::from(error).into_problem()
}

#[cfg(test)]
mod tests;
