//! Rules about the code itself that no compiler checks.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

use std::fs;
use std::path::{Path, PathBuf};

/// Names of edges: a runtime, sockets, files, databases and clocks stay out of the cores.
const EDGES: [&str; 12] = [
    "tokio::",
    "std::fs",
    "std::net",
    "std::os::unix::net",
    "SystemTime",
    "Instant::now",
    "rusqlite",
    "rumqttc",
    "reqwest",
    "tokio_serial",
    "std::thread::spawn",
    "mqtt5::",
];

/// Where edges live, below a crate's `src/`. The HTTP door and the configuration are edges by their nature, and the
/// sender's loops, the doctor and the port list touch what they are about.
const EDGE_FILES: [&str; 13] = [
    "io/",
    "io.rs",
    "run.rs",
    "run/",
    "main.rs",
    "api.rs",
    "api/",
    "config.rs",
    "config/",
    "console.rs",
    "doctor.rs",
    "doctor/",
    "sender",
];

/// What fits in one sitting. The command line's table of commands and words may be long.
const LINES_MAX: usize = 720;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every file that the project wrote, by its path from the root.
fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy().into_owned();
        if ["target", ".git", "node_modules", "__pycache__"].contains(&name.as_str())
            || name.starts_with("target-")
        {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

fn texts(extensions: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    files(&root(), &mut found);
    found.sort();
    let wanted = found.into_iter().filter(|path| {
        path.extension().is_some_and(|extension| extensions.iter().any(|known| extension == *known))
    });
    let shown = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap_or_default();
        (name, text)
    };
    wanted.map(shown).collect()
}

/// Code without comments and without the tests at its end.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().take_while(|(_, line)| !line.contains("#[cfg(test)]"));
    lines.filter(|(_, line)| !line.trim_start().starts_with("//")).map(|(at, line)| (at + 1, line))
}

#[test]
fn the_cores_name_no_runtime_socket_file_database_or_clock() {
    let mut faults = Vec::new();
    for (name, text) in texts(&["rs"]) {
        let Some((krate, inside)) = name.split_once("/src/") else { continue };
        let core = match krate {
            "protocol" => true,
            "agent" | "gateway" => !EDGE_FILES.iter().any(|edge| inside.starts_with(edge)),
            _ => false,
        };
        if !core {
            continue;
        }
        for (at, line) in code(&text) {
            for edge in EDGES.iter().filter(|edge| line.contains(**edge)) {
                faults.push(format!("{name}:{at}: {edge}: {}", line.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn agent_and_gateway_never_name_each_other() {
    for (name, text) in texts(&["rs", "toml"]) {
        let other = match name.split('/').next() {
            Some("agent") => ["stockwire_gateway::", "stockwire-gateway.workspace"],
            Some("gateway") => ["stockwire_agent::", "stockwire-agent.workspace"],
            Some("protocol") => ["stockwire_agent::", "stockwire_gateway::"],
            _ => continue,
        };
        for word in other {
            assert!(!text.contains(word), "{name} names {word}");
        }
    }
}

#[test]
fn a_file_fits_in_one_sitting() {
    let long: Vec<String> = texts(&["rs", "py", "js"])
        .into_iter()
        .map(|(name, text)| (text.lines().count(), name))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .map(|(lines, name)| format!("{name}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "longer than {LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn the_project_speaks_of_the_project_alone() {
    // Put together, so that this file does not hold them.
    let hosts = ["pypi", "crates", "npmjs"]
        .map(|name| format!("{name}.{}", if name == "crates" { "io" } else { "org" }));
    let others = [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat(), ["deb.", "debian.org"].concat()];
    let mut faults = Vec::new();
    for (name, text) in texts(&["rs", "md", "toml", "py", "js", "sh", "txt", "service", "cddl", "json"]) {
        for word in hosts.iter().chain(&others) {
            for (at, line) in text.lines().enumerate().filter(|(_, line)| line.contains(word.as_str())) {
                faults.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_file_that_the_architecture_names_is_there() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut checked = 0;
    for word in text.split('`').skip(1).step_by(2) {
        let looks_like_a_path =
            word.contains('/') && !word.contains([' ', '{', '<', ':', '*']) && !word.starts_with('/');
        if looks_like_a_path {
            checked += 1;
            assert!(root().join(word).exists(), "ARCHITECTURE.md names {word}, which is not there");
        }
    }
    assert!(checked > 20, "only {checked} paths were found in ARCHITECTURE.md");
}

#[test]
fn unsafe_code_is_forbidden_everywhere() {
    for (name, text) in texts(&["toml"]).into_iter().filter(|(name, _)| name.ends_with("/Cargo.toml")) {
        if name.matches('/').count() == 1 {
            assert!(text.contains("[lints]\nworkspace = true"), "{name} does not take the workspace's lints");
        }
    }
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(workspace.contains("unsafe_code = \"forbid\""));
}
