//! The data directory: everything that has to survive, used by one process at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretString};

use crate::ports::clock::Clock;

/// The file with the secret that signs tokens.
const TOKEN_KEY: &str = "token.key";

/// A data directory.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

/// Proof that this process is the only one that uses the directory; ends with the process at the
/// latest, whatever ends it.
pub struct DataDirLock {
    _file: File,
}

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("{} cannot be used: {reason}", path.display())]
    Io { path: PathBuf, reason: std::io::Error },
    #[error("{} is in use by another process; stop it first or give another --data-dir", path.display())]
    InUse { path: PathBuf },
    #[error("there is no shop in {}", path.display())]
    Empty { path: PathBuf },
}

impl DataDir {
    /// The directory at `path`; nothing is touched yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Creates the directory where needed and locks it.
    ///
    /// # Errors
    /// It cannot be created or written, or another process uses it.
    pub fn lock(&self) -> Result<DataDirLock, DataDirError> {
        self.create()?;
        self.lock_existing()
    }

    /// Creates the directory where needed.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create(&self) -> Result<(), DataDirError> {
        std::fs::create_dir_all(&self.0).map_err(|error| self.io(error))
    }

    /// Locks the directory, which has to exist.
    ///
    /// # Errors
    /// It does not exist, cannot be written, or another process uses it.
    pub fn lock_existing(&self) -> Result<DataDirLock, DataDirError> {
        if !self.0.is_dir() {
            return Err(DataDirError::Empty { path: self.0.clone() });
        }
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.0.join("lock"))
            .map_err(|error| self.io(error))?;
        match file.try_lock() {
            Ok(()) => Ok(DataDirLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(DataDirError::InUse { path: self.0.clone() }),
            Err(TryLockError::Error(error)) => Err(self.io(error)),
        }
    }

    /// The file `name` in the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether a secret that signs tokens was made already, or put there.
    pub fn has_token_secret(&self) -> bool {
        self.file(TOKEN_KEY).exists()
    }

    /// The secret that signs tokens: made at the first start, readable by the owner alone.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub fn token_secret(&self, clock: &dyn Clock) -> Result<SecretString, DataDirError> {
        let path = self.file(TOKEN_KEY);
        let fail = |reason| DataDirError::Io { path: path.clone(), reason };
        match std::fs::read_to_string(&path) {
            Ok(text) if text.trim().len() >= 32 => Ok(text.trim().to_owned().into()),
            Ok(_) => Err(fail(std::io::Error::other("it is too short to be a secret"))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let secret = SecretString::from(hex::encode(clock.secret()));
                let mut options = OpenOptions::new();
                options.write(true).create_new(true);
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                let mut file = options.open(&path).map_err(fail)?;
                file.write_all(secret.expose_secret().as_bytes())
                    .and_then(|()| file.sync_all())
                    .map_err(fail)?;
                Ok(secret)
            }
            Err(error) => Err(fail(error)),
        }
    }

    fn io(&self, reason: std::io::Error) -> DataDirError {
        DataDirError::Io { path: self.0.clone(), reason }
    }
}
