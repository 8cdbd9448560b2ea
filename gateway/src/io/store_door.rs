//! Opens the store that the configuration names. Blocks; never on a runtime's own threads.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::config::StoreConfig;
use crate::io::postgres_store::PostgresStore;
use crate::io::sqlite_store::{SqliteReader, SqliteStore};
use crate::store::{BooksReport, Reader, Store, StoreError};

/// For writing; the schema is brought forward.
///
/// # Errors
/// When it cannot be opened, or is newer than this build.
pub fn open(config: &StoreConfig) -> Result<Box<dyn Store>, StoreError> {
    Ok(match config {
        StoreConfig::File(path) => Box::new(SqliteStore::open(path)?),
        StoreConfig::Postgres(config) => Box::new(PostgresStore::open((**config).clone())?),
    })
}

/// The right to run a gateway on a file, of which there is one; given back when this is dropped, and by the system when
/// the process ends in whatever way.
#[derive(Debug)]
pub struct Claim(#[expect(dead_code, reason = "it is held, not used")] Option<File>);

/// Claims the books for a gateway that runs. Commands may look at a file and write to it meanwhile; a second gateway
/// would do everything twice. A database is for any number of gateways, which share the work out by leases.
///
/// # Errors
/// [`StoreError::Refused`] when another gateway runs on the file.
pub fn claim(config: &StoreConfig) -> Result<Claim, StoreError> {
    let StoreConfig::File(path) = config else { return Ok(Claim(None)) };
    // Not the file itself: closing any handle of that would end the locks that SQLite has on it in this process.
    let mut lock = path.clone().into_os_string();
    lock.push(".lock");
    let lock = Path::new(&lock);
    let failed =
        |fault: std::io::Error| StoreError::Database { doing: "claiming the books", source: Box::new(fault) };
    let file = File::options().create(true).truncate(false).write(true).open(lock).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Claim(Some(file))),
        Err(TryLockError::WouldBlock) => Err(StoreError::Refused {
            reason: format!(
                "another gateway runs on {} (it holds {}); stop it first, or keep the books in a PostgreSQL, which \
                 several gateways can share",
                path.display(),
                lock.display()
            ),
        }),
        Err(TryLockError::Error(fault)) => Err(failed(fault)),
    }
}

/// For reading what is there.
///
/// # Errors
/// When there is none, or its schema is not this build's.
pub fn open_reader(config: &StoreConfig) -> Result<Box<dyn Reader>, StoreError> {
    Ok(match config {
        StoreConfig::File(path) => Box::new(SqliteReader::open(path)?),
        StoreConfig::Postgres(config) => Box::new(PostgresStore::open_reader((**config).clone())?),
    })
}

/// Brings the schema to a version, this build's when none is named; says in words what was done.
///
/// # Errors
/// When that is not possible; nothing was changed then.
pub fn migrate(config: &StoreConfig, to: Option<i64>) -> Result<String, StoreError> {
    match (config, to) {
        (StoreConfig::File(path), None) => {
            SqliteStore::open(path)?;
            Ok("at this version's schema".into())
        }
        (StoreConfig::File(_), Some(_)) => Err(StoreError::Refused {
            reason: "a file's schema goes forward only: to go back, put the backup from before in its place"
                .into(),
        }),
        (StoreConfig::Postgres(config), to) => {
            let (was, is) = PostgresStore::migrate((**config).clone(), to)?;
            Ok(format!("schema version {is}, was {was}"))
        }
    }
}

/// Moves everything that a file holds into the store that the configuration names, and proves the books on both sides.
/// The gateway on the file must have been stopped.
///
/// # Errors
/// When that store is not a PostgreSQL without books, or when the books differ; nothing was kept then.
pub fn copy_from(file: &Path, to: &StoreConfig) -> Result<BooksReport, StoreError> {
    let StoreConfig::Postgres(config) = to else {
        return Err(StoreError::Refused {
            reason: "the configuration names a file too; name the database to move to with [store] postgres"
                .into(),
        });
    };
    // Opening would make an empty one.
    if !file.is_file() {
        return Err(StoreError::Refused { reason: format!("there is no file {}", file.display()) });
    }
    let _claim = claim(&StoreConfig::File(file.to_path_buf()))?;
    PostgresStore::open((**config).clone())?.copy_from(&SqliteStore::open(file)?)
}

/// Writes a copy of the books as they are at this moment into a new file, and proves it; the gateway goes on meanwhile.
///
/// # Errors
/// When the file is there already or cannot be written, and when the copy's books are not right.
pub fn backup(config: &StoreConfig, to: &Path) -> Result<BooksReport, StoreError> {
    match config {
        StoreConfig::File(path) => {
            SqliteReader::open(path)?.copy_to(to)?;
            let report = SqliteReader::open(to)?.verify_books()?;
            if report.is_right() { Ok(report) } else { Err(wrong(to, &report)) }
        }
        StoreConfig::Postgres(_) => Err(StoreError::Refused {
            reason: "a PostgreSQL is backed up by its own means: `pg_dump --format=custom`, or an archive of its log".into(),
        }),
    }
}

fn wrong(file: &Path, report: &BooksReport) -> StoreError {
    let findings = report.findings.join("; ");
    StoreError::Refused { reason: format!("the books in {} are wrong: {findings}", file.display()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract::{Bench, acks, moved};

    #[test]
    fn one_gateway_runs_on_a_file() {
        let folder = std::env::temp_dir().join(format!("stockwire-claim-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let store = StoreConfig::File(folder.join("gateway.db"));
        let first = claim(&store).unwrap();
        let told = claim(&store).unwrap_err().to_string();
        assert!(told.contains("another gateway runs on") && told.contains("gateway.db.lock"), "{told}");
        drop(first);
        claim(&store).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_backup_is_the_books_of_its_moment() {
        let folder = std::env::temp_dir().join(format!("stockwire-backup-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let [file, copy] = ["gateway.db", "copy.db"].map(|name| folder.join(name));
        let store = StoreConfig::File(file);
        let mut bench = Bench::opened(&|| open(&store).unwrap(), &[("SKU-1", "A-01", 20)]);
        bench.send(1, &[moved("SKU-1", 5, "supplier", "A-01")]);
        // The gateway is open, and goes on.
        let report = backup(&store, &copy).unwrap();
        assert_eq!(report, bench.store.verify_books().unwrap());
        let then = bench.stock();
        bench.send(2, &[moved("SKU-1", 1, "A-01", "customer")]);
        // Never over another file.
        assert!(matches!(backup(&store, &copy), Err(StoreError::Database { .. })));
        // Restored, it goes on from its own moment.
        let restored = StoreConfig::File(copy);
        let mut back = Bench::empty(&|| open(&restored).unwrap());
        assert_eq!(back.stock(), then);
        assert_eq!(acks(&back.send(2, &[moved("SKU-1", 1, "A-01", "customer")])), ["box-1 2"]);
        assert_eq!(back.stock(), bench.stock());
        back.prove();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
