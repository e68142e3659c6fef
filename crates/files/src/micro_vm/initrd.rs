//! The initial RAM disk: the helper as the first process, the kernel's modules, and the host's tools.

mod cpio;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{config::Config, kernel::Kernel, programs};
use crate::{
    Error, ErrorKind, Result,
    appliance::{MODULES_DIRECTORY, MODULES_INDEX, TOOLS, module_name, modules_wanted},
};
use cpio::Archive;

/// The largest module, unpacked.
const MODULE_MAX_BYTES: u64 = 64 << 20;

/// The RAM disk for a kernel: the one that is kept, or a new one where anything that goes into it has changed.
pub(super) async fn obtain(config: Config, kernel: Kernel) -> Result<PathBuf> {
    let built = tokio::task::spawn_blocking(move || obtain_blocking(&config, &kernel)).await;
    built.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Failed, "building the helper's RAM disk").with_source(error))
    })
}

fn obtain_blocking(config: &Config, kernel: &Kernel) -> Result<PathBuf> {
    let failed = |error| {
        Error::from_io(
            format!("keeping the helper's RAM disk in {}", config.cache_directory.display()),
            error,
        )
    };
    let parts = Parts::find(config, kernel)?;
    let path = config.cache_directory.join(format!("helper-{:016x}.cpio", parts.digest().map_err(failed)?));
    if path.exists() {
        return Ok(path);
    }
    fs::create_dir_all(&config.cache_directory).map_err(failed)?;
    let content = parts.pack(config)?;
    let mut file = tempfile::NamedTempFile::new_in(&config.cache_directory).map_err(failed)?;
    file.write_all(&content).map_err(failed)?;
    file.persist(&path).map_err(|error| failed(error.error))?;
    remove_outdated(&path).map_err(failed)?;
    Ok(path)
}

/// Removes RAM disks of other kernels and versions. A machine that is starting with one has it open.
fn remove_outdated(current: &Path) -> io::Result<()> {
    for entry in fs::read_dir(current.parent().unwrap_or(Path::new("/")))? {
        let path = entry?.path();
        let is_ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("helper-"));
        if is_ours && path != current {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// What goes into a RAM disk.
struct Parts {
    helper: PathBuf,
    /// Tools by their names.
    tools: BTreeMap<&'static str, PathBuf>,
    /// Modules by their names, with what they need.
    modules: BTreeMap<String, (PathBuf, Vec<String>)>,
}

impl Parts {
    fn find(config: &Config, kernel: &Kernel) -> Result<Self> {
        let helper = config.helper_command.first().map(PathBuf::from).unwrap_or_default();
        // As another process sees it, also when a newer version has taken the place of its file.
        let own = Path::new("/proc/self/exe");
        let helper =
            if helper == own { PathBuf::from(format!("/proc/{}/exe", std::process::id())) } else { helper };
        let tools = TOOLS.into_iter().filter_map(|(name, _)| Some((name, programs::find(name, config)?)));
        Ok(Self { helper, tools: tools.collect(), modules: modules(&kernel.modules)? })
    }

    /// Changes when a file does, by its place, size and time.
    fn digest(&self) -> io::Result<u64> {
        let mut hasher = DefaultHasher::new();
        let modules = self.modules.values().map(|(path, _)| path);
        let helper = fs::canonicalize(&self.helper).unwrap_or_default();
        helper.hash(&mut hasher);
        for path in [&self.helper].into_iter().chain(self.tools.values()).chain(modules) {
            let metadata = fs::metadata(path)?;
            if path != &self.helper {
                path.hash(&mut hasher);
            }
            (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()).hash(&mut hasher);
        }
        Ok(hasher.finish())
    }

    fn pack(&self, config: &Config) -> Result<Vec<u8>> {
        let mut archive = Archive::new();
        for directory in
            ["bin", "dev", "etc", "lib", "modules", "proc", "run", "sys", "tmp", "usr", "volumes"]
        {
            archive.directory(directory);
        }
        // Wherever the loader looks by default, it finds them.
        for (name, target) in
            [("lib64", "lib"), ("usr/lib", "../lib"), ("usr/lib64", "../lib"), ("sbin", "bin")]
        {
            archive.link(name, target);
        }
        let mut libraries = BTreeMap::new();
        let helper = [(PathBuf::from("init"), &self.helper)];
        let tools = self.tools.iter().map(|(name, path)| (Path::new("bin").join(name), path));
        for (name, path) in helper.into_iter().chain(tools) {
            let content = programs::read(path)?;
            libraries.extend(programs::libraries(path, &content, config)?);
            archive.file(&name.to_string_lossy(), 0o755, &programs::loaded_part(&content));
        }
        for (name, path) in libraries {
            archive.file(&format!("lib/{name}"), 0o755, &programs::loaded_part(&programs::read(&path)?));
        }
        let directory = MODULES_DIRECTORY.trim_start_matches('/');
        let mut index = String::new();
        for (name, (path, needs)) in &self.modules {
            let (extension, content) = module(path)?;
            archive.file(&format!("{directory}/{name}.{extension}"), 0o644, &content);
            index.push_str(&format!("{name}: {}\n", needs.join(" ")));
        }
        archive.file(&format!("{directory}/{MODULES_INDEX}"), 0o644, index.as_bytes());
        Ok(archive.finish())
    }
}

/// The wanted modules and those that they need, after the kernel's `modules.dep`: lines of `file: file file`.
fn modules(directory: &Path) -> Result<BTreeMap<String, (PathBuf, Vec<String>)>> {
    let path = directory.join("modules.dep");
    let index = fs::read_to_string(&path)
        .map_err(|error| Error::from_io(format!("the kernel's modules: {}", path.display()), error))?;
    let known: BTreeMap<String, (&str, Vec<String>)> = index
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, needs)| (name_of(file), (file, needs.split_whitespace().map(name_of).collect())))
        .collect();
    let mut wanted: VecDeque<String> = modules_wanted().map(module_name).collect();
    let mut seen = BTreeSet::new();
    let mut modules = BTreeMap::new();
    while let Some(name) = wanted.pop_front() {
        // One that is not there is built in, or not there at all.
        let Some((file, needs)) = known.get(&name).filter(|_| seen.insert(name.clone())) else { continue };
        wanted.extend(needs.iter().cloned());
        modules.insert(name, (directory.join(file), needs.clone()));
    }
    Ok(modules)
}

fn name_of(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    module_name(name.split('.').next().unwrap_or(name))
}

/// A module's extension and content, as kernels load it: not all can unpack zstd.
fn module(path: &Path) -> Result<(&'static str, Vec<u8>)> {
    let content = programs::read(path)?;
    let failed = |error| Error::from_io(format!("unpacking {}", path.display()), error);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("zst") => {
            let mut unpacked = Vec::new();
            let decoder = zstd::Decoder::new(content.as_slice()).map_err(failed)?;
            decoder.take(MODULE_MAX_BYTES).read_to_end(&mut unpacked).map_err(failed)?;
            Ok(("ko", unpacked))
        }
        Some("xz") => Ok(("ko.xz", content)),
        Some("gz") => Ok(("ko.gz", content)),
        _ => Ok(("ko", content)),
    }
}
