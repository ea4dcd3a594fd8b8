//! What stands before the servers of the shop: nginx, and keepalived for the address that two hosts share.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::install::{Bundle, Programs, cache, write_launcher};
use super::wait::{LIMIT, output};

/// Tells the tests how to start nginx, which they do themselves.
const VARIABLE: &str = "HOLDFAST_TEST_NGINX";

/// Debian 12 has an nginx that does not know `http2 on`.
const NGINX: Bundle = Bundle { title: "nginx", name: "nginx", packages: &["nginx"], suite: Some("trixie") };

/// That of Debian 12, as in its container: later ones insist on a file in `/etc`.
const KEEPALIVED: Bundle =
    Bundle { title: "keepalived", name: "keepalived", packages: &["keepalived"], suite: Some("bookworm") };

/// The first that has `http2 on`.
const NGINX_VERSION_MIN: [u32; 3] = [1, 25, 1];

/// That of Debian 12 knows all that `deploy/keepalived/` asks for.
const KEEPALIVED_VERSION_MIN: [u32; 3] = [2, 2, 7];

/// nginx, of the machine if it is new enough, or else Debian's. With `check`, packages that are there already are
/// compared with their sums.
///
/// # Errors
/// One line that says what is missing.
pub fn nginx(check: bool) -> Result<Programs, String> {
    let advice = "install nginx 1.25.1 or later yourself";
    programs(&NGINX, check, "nginx", "-v", NGINX_VERSION_MIN).map_err(|error| format!("{error}; {advice}"))
}

/// keepalived, of the machine if it is new enough, or else Debian's. With `check`, packages that are there already are
/// compared with their sums.
///
/// # Errors
/// One line that says what is missing.
pub fn keepalived(check: bool) -> Result<Programs, String> {
    let advice = "install keepalived 2.2.7 or later yourself";
    programs(&KEEPALIVED, check, "keepalived", "--version", KEEPALIVED_VERSION_MIN)
        .map_err(|error| format!("{error}; {advice}"))
}

fn programs(
    bundle: &Bundle,
    check: bool,
    program: &str,
    option: &str,
    min: [u32; 3],
) -> Result<Programs, String> {
    if version(program, option).is_some_and(|version| version >= min) {
        return Ok(Programs::OnPath);
    }
    let present = if check { None } else { bundle.present() };
    present
        .map_or_else(|| bundle.install(), Ok)
        .map_err(|error| format!("{} is not to be had here: {error}", bundle.title))
}

/// The variable that names nginx for the tests: what the environment says, or else a program that starts ours.
///
/// # Errors
/// One line that says what is missing.
pub fn ensure() -> Result<(String, String), String> {
    let given = std::env::var(VARIABLE).ok().filter(|value| !value.is_empty());
    let value = given.map_or_else(|| launcher(&nginx(true)?), Ok)?;
    Ok((VARIABLE.to_owned(), value))
}

/// One program that stands for nginx with its loader.
fn launcher(programs: &Programs) -> Result<String, String> {
    let Programs::Unpacked { .. } = programs else { return Ok("nginx".to_owned()) };
    let path = cache()?.join("nginx/nginx");
    write_launcher(&programs.command("usr/sbin/nginx"), &path)?;
    Ok(path.display().to_string())
}

/// nginx in the foreground. `folder` is its own: it has `nginx.conf` and gets logs, pid and what is kept of answers.
pub fn nginx_command(programs: &Programs, folder: &Path) -> Command {
    let mut command = programs.command("usr/sbin/nginx");
    command.arg("-p").arg(folder).arg("-c").arg(folder.join("nginx.conf"));
    // Started by root, it would otherwise work as somebody who may not enter the folder.
    command.args(["-e", "stderr", "-g", "daemon off; user root;"]);
    command
}

/// keepalived in the foreground, as root and in the network namespace whose address it is to keep. `folder` is its
/// own: it has `keepalived.conf` and gets the files with pids.
pub fn keepalived_command(programs: &Programs, folder: &Path) -> Command {
    let (pid, vrrp_pid) = (folder.join("keepalived.pid"), folder.join("vrrp.pid"));
    // It would believe those that a crash has left, when another process has the number by now.
    for left in [&pid, &vrrp_pid] {
        // Mostly there is none.
        let _ = fs::remove_file(left);
    }
    let mut command = programs.command("usr/sbin/keepalived");
    command.args(["--dont-fork", "--log-console", "--vrrp", "--no-syslog"]);
    command.arg("--use-file").arg(folder.join("keepalived.conf"));
    command.arg("--pid").arg(pid).arg("--vrrp_pid").arg(vrrp_pid);
    command
}

/// The version of a program of the machine, if it has it.
fn version(program: &str, option: &str) -> Option<[u32; 3]> {
    // Both print it among their complaints.
    let script = format!("exec {program} {option} 2>&1");
    read_version(&output(Command::new("sh").args(["-c", &script]), program, LIMIT).ok()?)
}

/// The version in `nginx version: nginx/1.26.3` and in `Keepalived v2.2.7 (01/16,2022)`.
fn read_version(printed: &str) -> Option<[u32; 3]> {
    let words = printed.lines().next()?.split([' ', '/']);
    let mut numbers = words.filter_map(|word| {
        let mut numbers = word.trim_start_matches('v').split('.').map(str::parse::<u32>);
        let version = [numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?];
        Some(version)
    });
    numbers.next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(read_version("nginx version: nginx/1.26.3\n"), Some([1, 26, 3]));
        assert_eq!(read_version("nginx version: nginx/1.24.0 (Ubuntu)"), Some([1, 24, 0]));
        assert_eq!(read_version("Keepalived v2.2.7 (01/16,2022)\n\nCopyright(C) 2001"), Some([2, 2, 7]));
        assert_eq!(read_version("no such thing"), None);
    }
}
