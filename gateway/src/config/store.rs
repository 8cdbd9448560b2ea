//! `[store]`: a file, or a PostgreSQL.

use std::fmt;
use std::path::PathBuf;

use super::reader::{Reader, Section};
use crate::io::postgres_store::PostgresConfig;

/// Where the books are.
#[derive(Clone, Debug)]
pub enum StoreConfig {
    /// In a SQLite file of one gateway.
    File(PathBuf),
    /// In a PostgreSQL.
    Postgres(Box<PostgresConfig>),
}

impl fmt::Display for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Postgres(config) => {
                let database = config.server.get_dbname().unwrap_or_default();
                write!(f, "the PostgreSQL database {database}")?;
                for host in config.server.get_hosts() {
                    match host {
                        postgres::config::Host::Tcp(name) => write!(f, " at {name}")?,
                        postgres::config::Host::Unix(folder) => write!(f, " at {}", folder.display())?,
                    }
                }
                Ok(())
            }
        }
    }
}

/// `None` = a fault, which has been told.
pub(super) fn store<'t>(reader: &mut Reader<'t>, root: &mut Section<'t>) -> Option<StoreConfig> {
    let default = || StoreConfig::File(PathBuf::from("/var/lib/stockwire-gateway/gateway.db"));
    let Some(mut section) = reader.section(root, "store") else { return Some(default()) };
    let found = match (section.has("path"), section.has("postgres")) {
        (true, true) => {
            reader.fault(
                section.span_of("postgres"),
                "[store] has path and postgres: the books are in one of them; to move them use `stockwire-gateway copy-store`"
                    .into(),
            );
            // Looked at all the same, so that all faults are told at once.
            reader.path(&mut section, "path");
            postgres(reader, &mut section);
            None
        }
        (_, false) => reader.path(&mut section, "path").map(StoreConfig::File),
        (false, true) => postgres(reader, &mut section).map(|config| StoreConfig::Postgres(Box::new(config))),
    };
    reader.end(section);
    found
}

fn postgres<'t>(reader: &mut Reader<'t>, section: &mut Section<'t>) -> Option<PostgresConfig> {
    let span = section.span_of("postgres");
    // Faults do not repeat the text: somebody may have written a password into it.
    let text = reader.parse(section, "postgres", |text| Ok(text.to_owned()));
    let password_file = section.has("password_file").then(|| reader.path(section, "password_file"));
    let ca = section.has("ca").then(|| reader.path(section, "ca"));
    let mut fault = |message: &str| {
        reader.fault(span.clone(), format!("store.postgres: {message}"));
    };
    let Ok(server) = text?.parse::<postgres::Config>() else {
        fault("expected settings such as \"host=db.example dbname=stockwire user=stockwire\"");
        return None;
    };
    let mut whole = true;
    let mut expect = |good: bool, message: &str| {
        if !good {
            fault(message);
            whole = false;
        }
    };
    expect(
        server.get_password().is_none(),
        "a password is not written here; put it into a file and name that with password_file",
    );
    expect(!server.get_hosts().is_empty(), "lacks host=, a name, an address or the folder of a socket");
    expect(server.get_dbname().is_some(), "lacks dbname=");
    expect(server.get_user().is_some(), "lacks user=");
    let local = server.get_hosts().iter().all(|host| match host {
        postgres::config::Host::Tcp(name) => super::is_local(name),
        postgres::config::Host::Unix(_) => true,
    });
    expect(local || ca.is_some(), "host is not this machine, so ca with the server's authority is needed");
    whole.then_some(())?;
    let password_file = match password_file {
        Some(path) => Some(path?),
        None => None,
    };
    let ca = match ca {
        Some(path) => Some(path?),
        None => None,
    };
    Some(PostgresConfig { server, password_file, ca })
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::StoreConfig;

    #[allow(clippy::wildcard_enum_match_arm, reason = "a test says by failing what came")]
    fn check(text: &str, expected: &[&str]) {
        let got: Vec<String> = match Config::parse(text) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn a_store_is_a_file_or_a_database() {
        check("[store]\npath = \"/x/y.db\"\n", &[]);
        check("[store]\npostgres = \"host=/run/postgresql dbname=sw user=sw\"\n", &[]);
        let remote = "[store]\npostgres = \"host=db.example dbname=sw user=sw\"\npassword_file = \"/p\"\n";
        check(&format!("{remote}ca = \"/ca.pem\"\n"), &[]);
        check(
            remote,
            &[
                "line 2: store.postgres: host is not this machine, so ca with the server's authority is needed",
            ],
        );
        check("[store]\n", &["line 1: [store] lacks path"]);
        check(
            "[store]\npostgres = \"password=secret\"\nca = \"\"\npath = 7\nx = 1\n",
            &[
                "line 2: [store] has path and postgres: the books are in one of them; to move them use `stockwire-gateway \
                 copy-store`",
                "line 2: store.postgres: a password is not written here; put it into a file and name that with password_file",
                "line 2: store.postgres: lacks dbname=",
                "line 2: store.postgres: lacks host=, a name, an address or the folder of a socket",
                "line 2: store.postgres: lacks user=",
                "line 3: store.ca = \"\": expected the path of a file",
                "line 4: store.path must be a text in quotes, got integer",
                "line 5: store.x is no known key; `print-config` shows all of them",
            ],
        );
        check(
            "[store]\npostgres = \"what is this\"\n",
            &[
                "line 2: store.postgres: expected settings such as \"host=db.example dbname=stockwire user=stockwire\"",
            ],
        );
    }

    #[test]
    fn what_is_said_of_a_store_holds_no_secret() {
        let text = "[store]\npostgres = \"host=127.0.0.1 dbname=sw user=sw\"\npassword_file = \"/etc/p\"\n";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.store.to_string(), "the PostgreSQL database sw at 127.0.0.1");
        assert!(matches!(config.store, StoreConfig::Postgres(_)));
    }
}
