//! Queries of files.

use std::{collections::BTreeMap, sync::Arc};

use files::{FilePath, MicroVm};

use crate::{
    failure::{Failure, Result},
    files as machines,
    site::Site,
};

/// A query whose values are bytes: paths need not be text.
pub(super) struct Query(BTreeMap<String, Vec<u8>>);

impl Query {
    pub(super) fn parse(query: Option<String>) -> Result<Self> {
        let query = query.unwrap_or_default();
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let decode = |(key, value): (&str, &str)| Some((key.to_owned(), percent_decoded(value)?));
        let pairs: Option<_> = pairs.map(decode).collect();
        pairs.map(Self).ok_or_else(|| Failure::invalid("the query is not percent-encoded"))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>> {
        let text = self.0.get(key).map(|value| std::str::from_utf8(value)).transpose();
        text.map_err(|_| Failure::invalid(format!("{key} is no UTF-8")))
    }

    /// The bytes of a value.
    pub(super) fn bytes(&self, key: &str) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<u64>> {
        let Some(value) = self.0.get(key) else { return Ok(None) };
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        number.map(Some).ok_or_else(|| Failure::invalid(format!("{key} is no number")))
    }

    /// The machine for the image.
    pub(super) async fn machine(&self, site: &Site) -> Result<Arc<MicroVm>> {
        let reference =
            self.text("reference")?.ok_or_else(|| Failure::invalid("the query has no reference"))?;
        machines::open(site, reference, self.text("from_copy")?, None).await
    }

    /// The path; the root where there is none.
    pub(super) fn path(&self) -> Result<FilePath> {
        Ok(FilePath::parse(self.bytes("path").unwrap_or(b"/"))?)
    }

    /// The machine for the image, and the path in it.
    pub(super) async fn open(&self, site: &Site) -> Result<(Arc<MicroVm>, FilePath)> {
        let path = self.path()?;
        Ok((self.machine(site).await?, path))
    }
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        decoded.push(match byte {
            b'%' => u8::try_from(digit()? * 16 + digit()?).ok()?,
            byte => byte,
        });
    }
    Some(decoded)
}
