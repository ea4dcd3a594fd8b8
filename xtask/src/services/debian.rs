//! Where this machine takes its Debian packages from.

use std::fs;
use std::path::{Path, PathBuf};

/// A Debian archive, as the machine's own package sources name it.
#[derive(Debug, PartialEq, Eq)]
pub struct Archive {
    uri: String,
    /// The suite that the machine uses.
    pub suite: String,
    /// Fields that say whose signature to trust, as a `.sources` file has them.
    trust: String,
}

impl Archive {
    /// The archive of this machine.
    ///
    /// # Errors
    /// The machine does not run Debian, or has no such source.
    pub fn of_this_machine() -> Result<Self, String> {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let field = |name: &str| {
            let line = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.map(|value| value.trim_matches('"')).unwrap_or_default()
        };
        if field("ID") != "debian" {
            return Err("this machine does not run Debian".to_owned());
        }
        let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
        if let Ok(entries) = fs::read_dir("/etc/apt/sources.list.d") {
            let mut more: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
            more.sort();
            files.extend(more);
        }
        let suite = field("VERSION_CODENAME");
        let archives = files.iter().flat_map(|file| read(file, suite));
        archives.into_iter().next().ok_or_else(|| "no Debian archive is in the package sources".to_owned())
    }

    /// A `.sources` file for one suite of the archive, without what only people search by.
    pub fn sources(&self, suite: &str) -> String {
        let Self { uri, trust, .. } = self;
        format!("Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\nTargets: Packages\n{trust}")
    }
}

fn read(file: &Path, suite: &str) -> Vec<Archive> {
    let text = fs::read_to_string(file).unwrap_or_default();
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("list") => from_lines(&text, suite),
        Some("sources") => from_stanzas(&text, suite),
        _ => Vec::new(),
    }
}

/// The one-line format: `deb [option=value …] URI SUITE COMPONENT…`.
fn from_lines(text: &str, wanted: &str) -> Vec<Archive> {
    let archive = |line: &str| {
        let line = line.split('#').next()?.trim().strip_prefix("deb ")?.trim();
        let (options, rest) = match line.strip_prefix('[') {
            Some(line) => line.split_once(']')?,
            None => ("", line),
        };
        let mut trust = String::new();
        for (name, value) in options.split_whitespace().filter_map(|option| option.split_once('=')) {
            match name {
                "signed-by" => trust.push_str(&format!("Signed-By: {}\n", value.replace(',', " "))),
                "trusted" => trust.push_str(&format!("Trusted: {value}\n")),
                _ => {}
            }
        }
        let mut words = rest.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        choose(&[uri], &[suite], &words.collect::<Vec<_>>(), trust, wanted)
    };
    text.lines().filter_map(archive).collect()
}

/// The format of fields in paragraphs, with continuation lines that begin with a space.
fn from_stanzas(text: &str, wanted: &str) -> Vec<Archive> {
    let mut stanzas = vec![Vec::<(String, String)>::new()];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(stanza) = stanzas.last_mut() else { break };
        if line.trim().is_empty() {
            stanzas.push(Vec::new());
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            stanza.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let archive = |stanza: Vec<(String, String)>| {
        let field =
            |wanted: &str| stanza.iter().find_map(|(name, value)| (name == wanted).then_some(value.as_str()));
        let words = |name: &str| field(name).unwrap_or_default().split_whitespace().collect::<Vec<_>>();
        if !words("types").contains(&"deb") || field("enabled").is_some_and(|value| value != "yes") {
            return None;
        }
        let trust = [("Signed-By", "signed-by"), ("Trusted", "trusted")]
            .iter()
            .filter_map(|(name, key)| Some(format!("{name}: {}\n", field(key)?)))
            .collect();
        choose(&words("uris"), &words("suites"), &words("components"), trust, wanted)
    };
    stanzas.into_iter().filter_map(archive).collect()
}

/// Makes an archive of a source, if it is Debian's own: others use the same names of suites and components.
fn choose(
    uris: &[&str],
    suites: &[&str],
    components: &[&str],
    trust: String,
    wanted: &str,
) -> Option<Archive> {
    let is_debian = |uri: &&&str| {
        uri.contains("://")
            && (uri.split('/').any(|part| part == "debian") || trust.contains("debian-archive-keyring"))
    };
    let is_release = |suite: &&&str| {
        **suite == wanted || ["oldstable", "stable", "testing", "unstable", "sid"].contains(*suite)
    };
    let uri = uris.iter().find(is_debian)?;
    let suite = suites.iter().find(is_release)?;
    components.contains(&"main").then(|| Archive {
        uri: (*uri).to_owned(),
        suite: (*suite).to_owned(),
        trust: trust.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(suite: &str, trust: &str) -> Archive {
        Archive {
            uri: "http://mirror.example/debian".to_owned(),
            suite: suite.to_owned(),
            trust: trust.to_owned(),
        }
    }

    #[test]
    fn sources_of_others_and_of_updates_are_passed_over() {
        let text = "
            # deb http://mirror.example/debian bookworm main
            deb-src http://mirror.example/debian bookworm main
            deb http://other.example/tools bookworm main
            deb http://mirror.example/debian bookworm-updates main
            deb http://mirror.example/debian bookworm contrib
            deb [arch=amd64 signed-by=/key.gpg] http://mirror.example/debian bookworm contrib main # ours";
        assert_eq!(from_lines(text, "bookworm"), [archive("bookworm", "Signed-By: /key.gpg\n")]);
    }

    #[test]
    fn paragraphs_are_read_with_their_continuation_lines() {
        let text = "Types: deb\nEnabled: no\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\n\
            \n# ours\nTypes: deb deb-src\nURIs: http://mirror.example/debian\nSuites: bookworm-updates stable\n\
            Components: main\nSigned-By:\n -----BEGIN\n .\n -----END\n";
        let found = from_stanzas(text, "bookworm");
        assert_eq!(found, [archive("stable", "Signed-By: \n -----BEGIN\n .\n -----END\n")]);
        assert!(found[0].sources("sid").contains("Suites: sid\n"));
    }
}
