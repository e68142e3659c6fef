//! The environment variables that credentials come from.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// Environment variables: the process's own, or given ones in their place. Never shown: there are secrets among them.
#[derive(Clone)]
pub(crate) enum Variables {
    OfProcess,
    Given(Arc<BTreeMap<String, String>>),
}

impl Variables {
    pub(crate) fn of_process() -> Self {
        Self::OfProcess
    }

    /// The value of a variable that is set to something.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let value = match self {
            Self::OfProcess => std::env::var(name).ok(),
            Self::Given(given) => given.get(name).cloned(),
        };
        value.filter(|value| !value.is_empty())
    }

    /// The variables whose names start with this, in lower case, as the cloud clients read their settings.
    pub(crate) fn settings(&self, prefix: &str) -> Vec<(String, String)> {
        let wanted = |(name, value): (String, String)| {
            name.starts_with(prefix).then(|| (name.to_ascii_lowercase(), value))
        };
        match self {
            Self::OfProcess => {
                let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
                    wanted((name.into_string().ok()?, value.into_string().ok()?))
                };
                std::env::vars_os().filter_map(text).collect()
            }
            Self::Given(given) => {
                given.iter().filter_map(|(name, value)| wanted((name.clone(), value.clone()))).collect()
            }
        }
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let given = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self::Given(Arc::new(given))
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::OfProcess => "Variables(of the process)",
            Self::Given(_) => "Variables(given)",
        })
    }
}
