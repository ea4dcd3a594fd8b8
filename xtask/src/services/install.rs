//! Programs from Debian packages, unpacked into a folder of the user's cache.
//!
//! Nothing is installed: the packages come with all that they need, the C library included, and run through that
//! library's own loader. So they may be newer than the machine's own.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::debian::Archive;
use super::wait::{DOWNLOAD_LIMIT, LIMIT, lock, output};

/// Packages that are fetched and unpacked together.
pub struct Bundle {
    /// What they are for, as it is told to people.
    pub title: &'static str,
    /// The folder's name.
    pub name: &'static str,
    pub packages: &'static [&'static str],
    /// The suite to take them from; none for the machine's own.
    pub suite: Option<&'static str>,
}

/// Programs that can be started.
pub enum Programs {
    /// Those of the machine.
    OnPath,
    /// Those of a bundle.
    Unpacked { root: PathBuf, loader: PathBuf, libraries: OsString },
}

impl Programs {
    /// A command that runs the program, say `usr/bin/mysql`.
    pub fn command(&self, program: &str) -> Command {
        match self {
            Self::OnPath => Command::new(program.rsplit('/').next().unwrap_or(program)),
            Self::Unpacked { root, loader, libraries } => {
                // Programs look for their files, and some for what they are to do, by their own name.
                let program = root.join(program);
                let mut command = Command::new(loader);
                command.arg("--library-path").arg(libraries).arg("--argv0").arg(&program).arg(&program);
                command
            }
        }
    }

    fn unpacked(root: PathBuf) -> Result<Self, String> {
        let folders = [root.join("usr/lib"), root.join("lib")];
        // The folder is named for the machine's architecture.
        let loader = folders.iter().flat_map(|folder| entries(folder)).find_map(|folder| {
            entries(&folder).into_iter().find(|file| {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with("ld-linux") && name.contains(".so.")
            })
        });
        let loader = loader.ok_or_else(|| format!("there is no loader in {}", root.display()))?;
        let architecture = loader.parent().and_then(Path::file_name).unwrap_or_default();
        let libraries = std::env::join_paths(folders.iter().map(|folder| folder.join(architecture)))
            .map_err(|error| format!("{}: {error}", root.display()))?;
        Ok(Self::Unpacked { root, loader, libraries })
    }
}

pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// Writes a file that does what the command does, for those who start programs by one name.
///
/// # Errors
/// It cannot be written.
pub fn write_launcher(command: &Command, path: &Path) -> Result<(), String> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| format!("'{}'", word.to_string_lossy())).collect::<Vec<_>>();
    let write = || {
        fs::write(path, format!("#!/bin/sh\nexec {} \"$@\"\n", quoted.join(" ")))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
    };
    write().map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

/// The user's cache folder for programs.
pub fn cache() -> Result<PathBuf, String> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".cache")))
        .map(|cache| cache.join("holdfast/services"))
        .ok_or_else(|| "neither HOME nor XDG_CACHE_HOME says where the cache is".to_owned())
}

impl Bundle {
    /// The programs, when they were unpacked before. Does not look at them closely.
    pub fn present(&self) -> Option<Programs> {
        let root = cache().ok()?.join(self.name).join("root");
        root.exists().then(|| Programs::unpacked(root).ok()).flatten()
    }

    /// The programs, fetched and unpacked if that was not done before. Packages that were kept are checked
    /// against their sums, and fetched again when they differ.
    ///
    /// # Errors
    /// One line that says what is missing.
    pub fn install(&self) -> Result<Programs, String> {
        let folder = cache()?.join(self.name);
        let _lock = lock(&folder, DOWNLOAD_LIMIT)?;
        let (root, packages) = (folder.join("root"), folder.join("packages"));
        if !is_intact(&packages) {
            println!("# fetching {}", self.title);
            self.fetch(&folder, &packages)?;
            remove(&root)?;
        }
        if !root.exists() {
            println!("# unpacking {} into {}", self.title, root.display());
            // It gets its name when it is complete.
            let part = folder.join("root.part");
            remove(&part)?;
            for package in entries(&packages).iter().filter(|file| is_package(file)) {
                output(Command::new("dpkg").arg("-x").arg(package).arg(&part), "dpkg", LIMIT)?;
            }
            fs::rename(&part, &root).map_err(|error| format!("{}: {error}", root.display()))?;
        }
        Programs::unpacked(root)
    }

    /// Lets apt find out which packages are needed on a machine that has none, and fetch them. It checks their
    /// signatures as always.
    fn fetch(&self, folder: &Path, packages: &Path) -> Result<(), String> {
        let archive = Archive::of_this_machine()?;
        let suite = self.suite.unwrap_or(&archive.suite);
        let apt = folder.join("apt");
        remove(&apt)?;
        remove(packages)?;
        let write = || {
            fs::create_dir_all(apt.join("lists/partial"))?;
            fs::create_dir_all(packages.join("partial"))?;
            fs::write(apt.join("status"), "")?;
            fs::write(apt.join("debian.sources"), archive.sources(suite))?;
            fs::write(apt.join("apt.conf"), configuration(&apt, packages))
        };
        write()
            .map_err(|error: std::io::Error| format!("{} cannot be written: {error}", folder.display()))?;

        let run = |arguments: &[&str]| {
            let mut command = Command::new("apt-get");
            command.env("APT_CONFIG", apt.join("apt.conf")).args(["-qq", "--yes"]).args(arguments);
            output(&mut command, &format!("fetching {} with apt-get", self.title), DOWNLOAD_LIMIT)
        };
        run(&["update", "--error-on=any"])?;
        run(&[&["install", "--download-only"], self.packages].concat())?;
        remove(&apt)?;

        write_sums(packages, is_package)
    }
}

/// Settings that keep apt inside our folders. The machine's own still say how to reach the network, but none of its
/// hooks run.
fn configuration(apt: &Path, packages: &Path) -> String {
    let (apt, packages) = (apt.display(), packages.display());
    format!(
        r##"#include "/etc/apt/apt.conf.d/";
#clear APT::Update;
#clear DPkg;
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "{apt}/debian.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "{apt}";
Dir::State::lists "{apt}/lists";
Dir::State::status "{apt}/status";
Dir::Cache "{apt}";
Dir::Cache::archives "{packages}";
APT::Install-Recommends "false";
APT::Keep-Downloaded-Packages "true";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "2";
"##
    )
}

/// Whether the files of the folder are as they were when their sums were written.
pub fn is_intact(folder: &Path) -> bool {
    let mut check = Command::new("sha256sum");
    check.args(["--check", "--strict", "--quiet", "SHA256SUMS"]).current_dir(folder);
    folder.join("SHA256SUMS").exists() && output(&mut check, "sha256sum", LIMIT).is_ok()
}

/// Writes the sums of files beside them.
///
/// # Errors
/// They cannot be read or written.
pub fn write_sums(folder: &Path, is_meant: impl Fn(&Path) -> bool) -> Result<(), String> {
    let files = entries(folder).into_iter().filter(|file| is_meant(file));
    let mut names: Vec<_> = files.filter_map(|file| Some(file.file_name()?.to_owned())).collect();
    names.sort();
    let mut sums = Command::new("sha256sum");
    let sums = output(sums.arg("--").args(names).current_dir(folder), "sha256sum", LIMIT)?;
    fs::write(folder.join("SHA256SUMS"), sums).map_err(|error| format!("SHA256SUMS: {error}"))
}

fn is_package(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "deb")
}

/// Removes a file or a folder, which may not exist.
///
/// # Errors
/// It is still there.
pub fn remove(path: &Path) -> Result<(), String> {
    let result = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{} cannot be removed: {error}", path.display()))
        }
        _ => Ok(()),
    }
}
