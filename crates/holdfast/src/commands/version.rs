//! The version of this program.

use serde::Serialize;

use crate::{
    failure::Failure,
    output::Output,
    render::{Identified, Page, Times},
};

#[derive(Serialize)]
struct Version {
    version: &'static str,
}

impl Identified for Version {
    fn id(&self) -> String {
        self.version.to_owned()
    }
}

impl Page for Version {
    fn page(&self, _: &Times) -> String {
        format!("holdfast {}\n", self.version)
    }
}

/// Shows it.
pub fn run(output: &Output) -> Result<(), Failure> {
    output.one(&Version { version: env!("CARGO_PKG_VERSION") })
}
