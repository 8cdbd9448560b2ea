//! Things that take long to make and are made once: installed peers and seeded databases.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

/// Names another folder for the cache than `target/peers`.
pub const CACHE_VARIABLE: &str = "STOCKWIRE_CACHE";

/// Exists in a folder that was made to its end. A folder without it is made anew.
pub(super) const COMPLETE: &str = ".complete";

/// The folder called `name` and made from `inputs`; made by `build` unless it is there.
///
/// Other inputs give another folder, so a new version never meets an old one's files. Safe between processes: the
/// second waits for the first. The folder keeps its final path while it is made, because Python environments write
/// their path into their files.
pub fn folder(
    name: &str,
    inputs: &impl Hash,
    step: &str,
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    folder_in(&root(), name, inputs, step, build)
}

fn folder_in(
    root: &Path,
    name: &str,
    inputs: &impl Hash,
    step: &str,
    build: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700) // seeded databases hold keys
        .create(root)
        .with_context(|| format!("making the cache {}", root.display()))?;
    let path = root.join(format!("{name}-{:016x}", hash(inputs)));
    let lock_path = path.with_extension("lock");
    let lock = File::create(&lock_path).with_context(|| format!("opening {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("locking {}", lock_path.display()))?;

    if !path.join(COMPLETE).exists() {
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("clearing {}", path.display()))?;
        }
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        timed(step, || build(&path))?;
        File::create(path.join(COMPLETE)).context("marking the folder complete")?;
    }
    Ok(path)
}

/// Does one step and prints one line with its seconds.
pub fn timed<T>(step: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let result = work().with_context(|| step.to_owned());
    let outcome = if result.is_ok() { "done" } else { "FAILED" };
    eprintln!("peers: {step}: {outcome} in {:.1} s", started.elapsed().as_secs_f32());
    result
}

/// Where the cache lies.
pub fn root() -> PathBuf {
    match std::env::var_os(CACHE_VARIABLE) {
        Some(path) => PathBuf::from(path),
        None => workspace().join("target/peers"),
    }
}

/// A file of `tests/peers/`.
pub fn peer_file(name: &str) -> PathBuf {
    workspace().join("tests/peers").join(name)
}

fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

// `DefaultHasher` gives the same number in every run of one build; another compiler at worst fills the cache again.
fn hash(inputs: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    inputs.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use anyhow::bail;

    use super::super::process::Scratch;
    use super::*;

    #[test]
    fn two_at_once_make_it_once() {
        let root = Scratch::new("cache").unwrap();
        let made = AtomicU32::new(0);
        let make = || {
            folder_in(root.path(), "thing", &"v1", "making a thing", |path| {
                assert_eq!(made.fetch_add(1, Ordering::SeqCst), 0, "made by two at once");
                fs::write(path.join("content"), "whole").context("writing")
            })
            .unwrap()
        };
        let paths =
            std::thread::scope(|scope| [scope.spawn(make), scope.spawn(make)].map(|t| t.join().unwrap()));
        assert_eq!(paths[0], paths[1]);
        assert_eq!(fs::read_to_string(paths[0].join("content")).unwrap(), "whole");
    }

    #[test]
    fn what_failed_half_way_is_made_anew() {
        let root = Scratch::new("cache").unwrap();
        let failed = folder_in(root.path(), "thing", &1, "failing", |path| {
            fs::write(path.join("half"), "").context("writing")?;
            bail!("the network went away")
        });
        assert!(format!("{:#}", failed.unwrap_err()).contains("failing: the network went away"));
        let path = folder_in(root.path(), "thing", &1, "making", |_| Ok(())).unwrap();
        assert!(!path.join("half").exists(), "leftovers are cleared");
        let other = folder_in(root.path(), "thing", &2, "making", |_| Ok(())).unwrap();
        assert_ne!(path, other, "other inputs, other folder");
    }
}
