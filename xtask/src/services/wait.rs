//! Waiting with an end: for conditions, for programs and for locks.

use std::fs::{File, TryLockError};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything on this machine may take.
pub const LIMIT: Duration = Duration::from_secs(60);

/// How long a download may take.
pub const DOWNLOAD_LIMIT: Duration = Duration::from_mins(10);

const PAUSE: Duration = Duration::from_millis(20);

/// The time.
#[expect(clippy::disallowed_methods, reason = "this waits for real processes, nothing is simulated")]
pub fn now() -> Instant {
    Instant::now()
}

/// Asks until the answer is yes.
///
/// # Errors
/// The error of the question, or that the time is over, with `what` was waited for.
pub fn wait_for(
    what: &str,
    limit: Duration,
    mut is_so: impl FnMut() -> Result<bool, String>,
) -> Result<(), String> {
    let start = now();
    while !is_so()? {
        if start.elapsed() > limit {
            return Err(format!("after {} s still waiting for {what}", limit.as_secs()));
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// It cannot be started, does not end in time or fails; then with the most telling line of its complaints.
pub fn output(command: &mut Command, what: &str, limit: Duration) -> Result<String, String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{what} could not be started: {error}"))?;
    // Both are read meanwhile, because a full pipe would stop the program.
    let printed = child.stdout.take().map(read_all);
    let complaints = child.stderr.take().map(read_all);
    let mut status = None;
    let ended = wait_for(what, limit, || {
        status = child.try_wait().map_err(|error| error.to_string())?;
        Ok(status.is_some())
    });
    if let Err(error) = ended {
        // It may have ended just now.
        let _ = child.kill();
        let _ = child.wait();
        return Err(error);
    }
    let text = |reader: Option<thread::JoinHandle<Vec<u8>>>| {
        let bytes = reader.and_then(|reader| reader.join().ok()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let (printed, complaints) = (text(printed), text(complaints));
    if status.is_some_and(|status| status.success()) {
        return Ok(printed);
    }
    let lines = || complaints.lines().chain(printed.lines()).map(str::trim).filter(|line| !line.is_empty());
    let is_error = |line: &&str| line.starts_with("E:") || line.contains("ERR");
    let line = lines().find(is_error).or_else(|| lines().next_back()).unwrap_or("no reason given");
    Err(format!("{what} failed: {line}"))
}

fn read_all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read until an error is still worth showing.
        let _ = from.read_to_end(&mut bytes);
        bytes
    })
}

/// Holds the lock of a folder until it is dropped.
///
/// # Errors
/// Somebody else holds it for longer than `limit`.
pub fn lock(folder: &Path, limit: Duration) -> Result<File, String> {
    let path = folder.join("lock");
    let file = std::fs::create_dir_all(folder)
        .and_then(|()| File::create(&path))
        .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    wait_for(&format!("the holder of {}", path.display()), limit, || match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(format!("{} cannot be locked: {error}", path.display())),
    })?;
    Ok(file)
}
