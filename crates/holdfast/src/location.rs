//! Places that people name: paths and store URLs.

use std::path::Path;

use url::Url;

use crate::failure::Failure;

/// An absolute path for the server, which works in another directory and speaks UTF-8.
pub fn absolute(path: &Path) -> Result<String, Failure> {
    let absolute = std::path::absolute(path)
        .map_err(|error| Failure::usage(format!("{:?} is not a path: {error}", path.display())))?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|path| Failure::usage(format!("the path {} is not UTF-8", path.display())))
}

/// The same for a path that may be missing.
pub fn absolute_if_given(path: Option<&Path>) -> Result<Option<String>, Failure> {
    path.map(absolute).transpose()
}

/// A store's URL; a plain path means a directory of this host.
pub fn store_url(text: &str) -> Result<String, Failure> {
    if text.contains("://") {
        let url = Url::parse(text).map_err(|error| {
            Failure::usage(format!("{text:?} is not a store's URL: {error}")).with_hint(URL_FORMS)
        })?;
        return Ok(url.into());
    }
    // `s3:bucket` is more likely a slip than a directory of that name.
    if Url::parse(text).is_ok() {
        return Err(Failure::usage(format!("{text:?} is neither a path nor a store's URL"))
            .with_hint(format!("{URL_FORMS}; for a directory of that name write ./{text}")));
    }
    let path = absolute(Path::new(text))?;
    match Url::from_file_path(&path) {
        Ok(url) => Ok(url.into()),
        Err(()) => Err(Failure::usage(format!("{path:?} cannot be written as a URL"))),
    }
}

const URL_FORMS: &str = "write a path, file:///srv/vault, sftp://user@host/srv/vault, s3://bucket/prefix?endpoint=…&region=…, \
     gs://bucket/prefix or az://account/container/prefix";

#[cfg(test)]
mod tests;
