//! Programs for Java: fetched by Maven into a folder of the user's cache, run by the machine's own Java.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::install::{cache, entries, is_intact, remove, write_sums};
use super::wait::{DOWNLOAD_LIMIT, LIMIT, lock, output};

const VERSION_MIN: u32 = 17;

/// What Maven fetches together.
pub struct Library {
    /// What it is for, as it is told to people.
    pub title: &'static str,
    /// The folder's name.
    pub name: &'static str,
    /// Says what is needed.
    pub pom: PathBuf,
}

/// A Java with the programs that it can run.
pub struct Java {
    program: OsString,
    /// Its exact build, as a name for files.
    build: String,
    folder: PathBuf,
}

impl Library {
    /// The programs, fetched if that was not done before. Files that were kept are checked against their sums,
    /// and fetched again when they differ.
    ///
    /// # Errors
    /// One line that says what is missing.
    pub fn install(&self) -> Result<Java, String> {
        let java = self.java()?;
        let _lock = lock(&java.folder, DOWNLOAD_LIMIT)?;
        if !self.is_current(&java.folder) || !is_intact(&java.libraries()) {
            println!("# fetching {}", self.title);
            self.fetch(&java)?;
        }
        Ok(java)
    }

    /// The programs, when they were fetched before. Does not look at them closely.
    ///
    /// # Errors
    /// There is no Java that could run them.
    pub fn present(&self) -> Result<Option<Java>, String> {
        let java = self.java()?;
        Ok(self.is_current(&java.folder).then_some(java))
    }

    fn java(&self) -> Result<Java, String> {
        let home = std::env::var_os("JAVA_HOME").filter(|home| !home.is_empty());
        let program = home.map_or_else(|| "java".into(), |home| Path::new(&home).join("bin/java").into());
        let advice = |found: &str| {
            format!(
                "{found}, and Java {VERSION_MIN} or later is needed; on Debian: apt-get install default-jre-headless"
            )
        };
        let version = output(Command::new(&program).arg("--version"), "java --version", LIMIT)
            .map_err(|error| advice(&error))?;
        let first = version.lines().next().unwrap_or_default();
        if major(first).is_none_or(|major| major < VERSION_MIN) {
            return Err(advice(&format!("there is {first}")));
        }
        Ok(Java { program, build: build(&version), folder: cache()?.join(self.name) })
    }

    /// Whether what is there was fetched for this very pom.
    fn is_current(&self, folder: &Path) -> bool {
        let fetched = fs::read(folder.join("pom.xml"));
        fetched.is_ok_and(|fetched| fs::read(&self.pom).is_ok_and(|wanted| wanted == fetched))
    }

    fn fetch(&self, java: &Java) -> Result<(), String> {
        let maven = output(Command::new("mvn").arg("--version"), "mvn --version", LIMIT);
        maven.map_err(|error| format!("{error}, and Maven is needed; on Debian: apt-get install maven"))?;
        let folder = &java.folder;
        for entry in
            entries(folder).iter().filter(|entry| entry.file_name().is_some_and(|name| name != "lock"))
        {
            remove(entry)?;
        }
        // It gets its name when it is complete.
        let part = folder.join("libraries.part");
        // Maven keeps nothing elsewhere.
        let repository = folder.join("repository");
        let mut command = Command::new("mvn");
        command
            .args(["--batch-mode", "--quiet", "--strict-checksums", "-Dstyle.color=never", "--file"])
            .arg(&self.pom)
            .arg(format!("-Dmaven.repo.local={}", repository.display()))
            .arg(format!("-DoutputDirectory={}", part.display()))
            .arg("org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies");
        output(&mut command, &format!("fetching {} with Maven", self.title), DOWNLOAD_LIMIT)?;
        remove(&repository)?;
        write_sums(&part, |_| true)?;
        fs::rename(&part, java.libraries())
            .and_then(|()| fs::copy(&self.pom, folder.join("pom.xml")))
            .map_err(|error| format!("{} cannot be written: {error}", folder.display()))?;
        Ok(())
    }
}

impl Java {
    fn libraries(&self) -> PathBuf {
        self.folder.join("libraries")
    }

    /// The classes of an earlier run, in the form that a start reads fastest. Java does not use those of another
    /// build.
    fn classes(&self) -> PathBuf {
        self.folder.join(format!("{}.jsa", self.build))
    }

    /// Keeps the classes of one run, if that was not done before: starts then take half the time. The run gets a
    /// folder of its own and the option that makes Java keep them when it ends.
    ///
    /// # Errors
    /// The run's, or that it kept nothing.
    pub fn keep_classes(&self, run: impl FnOnce(&Path, &str) -> Result<(), String>) -> Result<(), String> {
        let _lock = lock(&self.folder, DOWNLOAD_LIMIT)?;
        let (classes, scratch) = (self.classes(), self.folder.join("scratch"));
        if classes.exists() {
            return Ok(());
        }
        remove(&scratch)?;
        fs::create_dir(&scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
        // It gets its name when it is complete.
        let part = scratch.join("classes");
        run(&scratch, &format!("-XX:ArchiveClassesAtExit={}", part.display()))?;
        fs::rename(&part, &classes).map_err(|error| format!("{}: {error}", part.display()))?;
        remove(&scratch)
    }

    /// A command that runs the class's `main`. Options of Java itself are added before the class is named.
    pub fn command(&self, options: &[String], class: &str) -> Command {
        let mut command = Command::new(&self.program);
        // Small programs that run for minutes: little memory, and code that is ready early instead of fast.
        command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        let classes = self.classes();
        if classes.exists() {
            command.arg(format!("-XX:SharedArchiveFile={}", classes.display()));
        }
        command.args(options).arg("-cp").arg(self.libraries().join("*")).arg(class);
        command
    }
}

/// The version in `openjdk 17.0.15 2025-04-15`.
fn major(line: &str) -> Option<u32> {
    line.split_whitespace().nth(1)?.split(['.', '-', '+']).next()?.parse().ok()
}

/// The exact build in `OpenJDK Runtime Environment (build 17.0.15+6-Debian-1deb12u1)`.
fn build(version: &str) -> String {
    let build = version.split("(build ").nth(1).and_then(|rest| rest.split(')').next()).unwrap_or(version);
    build.chars().filter(|c| c.is_ascii_alphanumeric() || ".+-".contains(*c)).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_java_are_read() {
        let debian = "openjdk 17.0.15 2025-04-15\n\
            OpenJDK Runtime Environment (build 17.0.15+6-Debian-1deb12u1)\n\
            OpenJDK 64-Bit Server VM (build 17.0.15+6-Debian-1deb12u1, mixed mode, sharing)\n";
        assert_eq!(major(debian), Some(17));
        assert_eq!(build(debian), "17.0.15+6-Debian-1deb12u1");
        assert_eq!(major("java 25 2025-09-16 LTS"), Some(25));
        assert_eq!(major("openjdk 26-ea 2026-03-17"), Some(26));
        assert_eq!(major("Picked up JAVA_TOOL_OPTIONS"), None);
    }
}
