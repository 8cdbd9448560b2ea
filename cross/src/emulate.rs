//! Runs a built agent: as it is on a machine of its kind, else under qemu-user.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::error::Error;
use crate::machine;
use crate::target::CrossTools;
use crate::toolchain::Facts;

/// Becomes the agent: same process, so signals and the exit code are its own. Returns only when that fails.
#[must_use]
pub fn become_agent(facts: &Facts, path: &Path, arguments: &[OsString]) -> Error {
    let target = facts.target;
    let cross = target.cross_from(facts.host_arch);
    if let (false, Some(cross)) = (facts.runnable, cross) {
        return Error::NotRunnable {
            target: target.name,
            runner: cross.runner,
            library_root: cross.library_root,
            packages: format!("{} {}", cross.runner_package, cross.packages.join(" ")),
        };
    }
    let mut command = command(cross, path, arguments);
    let source = command.exec();
    Error::Start { command: machine::shown(&command), source }
}

/// The words before the path of an executable of that kind.
///
/// The loader comes from the library root, and by itself prefers `/lib/{target}` of this machine, which holds another
/// build of the C library once Debian's packages for the target are installed. The two do not fit: the agent then
/// spins for ever at its first thread. So the loader is told to take both from one place.
#[must_use]
pub fn words(cross: &CrossTools) -> Vec<String> {
    let libraries = format!("LD_LIBRARY_PATH={}/lib", cross.library_root);
    [cross.runner, "-L", cross.library_root, "-E", &libraries].map(str::to_owned).to_vec()
}

fn command(cross: Option<&CrossTools>, path: &Path, arguments: &[OsString]) -> Command {
    let mut words: Vec<OsString> =
        cross.map(words).unwrap_or_default().into_iter().map(OsString::from).collect();
    words.push(path.into());
    words.extend_from_slice(arguments);
    let mut words = words.into_iter();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Target;

    #[test]
    fn the_runner_stands_before_the_agent_only_where_it_is_needed() {
        let row = Target::by_name("aarch64").unwrap();
        let arguments = ["run".into(), "--config".into(), "a b.toml".into()];
        let on = |host| machine::shown(&command(row.cross_from(host), Path::new("/t/agent"), &arguments));
        assert_eq!(
            on("x86_64"),
            "qemu-aarch64-static -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH=/usr/aarch64-linux-gnu/lib \
             /t/agent run --config a b.toml"
        );
        assert_eq!(on("aarch64"), "/t/agent run --config a b.toml");
    }
}
