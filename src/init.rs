//! `wxgate init`: asks for appid and AppSecret, writes a configuration and the secret's file, and runs the check.
//!
//! It overwrites nothing. The secret is not shown while it is typed, and stands in no other file than its own.

use std::fs::OpenOptions;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use tokio::signal::ctrl_c;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::check::{self, Asked};
use crate::config::{DEFAULT_FILE, Loader, appid, appsecret};

/// The file of the secret, beside the configuration.
const SECRET_FILE: &str = "appsecret";
/// The longest answer, in bytes, with its line end.
const LONGEST_LINE: usize = 4096;

/// Why nothing, or not everything, was written.
#[derive(Debug, thiserror::Error)]
enum InitError {
    /// Something is there already.
    #[error("`{0}` is there already; edit it, or move it away first")]
    Exists(String),
    /// An answer that is none.
    #[error("{0}")]
    Answer(String),
    /// The system refused.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
}

/// Asks, writes, checks, in the working directory. 0: all is right; 1: something is wrong, or is there already; 2: an
/// answer was wrong.
pub(crate) async fn command(offline: bool, out: &mut dyn Write, errors: &mut dyn Write) -> u8 {
    let terminal = tcgetattr(io::stdin()).ok();
    let asking = spawn_blocking(|| write(Path::new("."), &mut io::stdin().lock(), &mut io::stdout()));
    let written = tokio::select! {
        written = asking => written.unwrap_or_else(|_| Err(InitError::Answer("the questions broke off".to_owned()))),
        _ = ctrl_c() => {
            // The thread that asks is left behind, perhaps with the echo switched off.
            terminal.map(|before| tcsetattr(io::stdin(), OptionalActions::Flush, &before));
            return 1;
        }
    };
    if let Err(error) = written {
        // With stderr gone nobody is left to tell.
        let _ = writeln!(errors, "wxgate init: {error}");
        return if matches!(error, InitError::Answer(_)) { 2 } else { 1 };
    }
    match Loader::new(Some(DEFAULT_FILE.into())).load().await {
        Ok(loaded) => check::command(&loaded, Asked { offline, ..Asked::default() }, out).await,
        Err(error) => {
            let _ = writeln!(errors, "{error}");
            2
        }
    }
}

fn write(folder: &Path, input: &mut dyn BufRead, out: &mut dyn Write) -> Result<(), InitError> {
    let files = [DEFAULT_FILE, SECRET_FILE].map(|name| folder.join(name));
    if let Some(there) = files.iter().find(|path| path.symlink_metadata().is_ok()) {
        return Err(InitError::Exists(there.display().to_string()));
    }
    let [config, secret_file] = files;
    let id = ask(input, out, "appid (from the WeChat console, like wx0123456789abcdef): ")?;
    let id = appid(id.trim()).map_err(|want| InitError::Answer(format!("the appid: want {want}")))?;
    let hidden = Hidden::start();
    let secret = ask(input, out, "AppSecret (not shown): ");
    if hidden.is_some() {
        // The line end was not shown either.
        let _ = writeln!(out);
    }
    drop(hidden);
    let secret = appsecret(secret?.trim()).map_err(InitError::Answer)?;
    create(&secret_file, 0o600, secret.expose())?;
    let text = format!(
        "# Made by `wxgate init`. `wxgate config print` shows all that is in force.\n\nlisten = [\"127.0.0.1:8080\"]\n\n\
         [[account]]\nappid  = \"{id}\"\nsecret = {{ file = \"{SECRET_FILE}\" }}"
    );
    create(&config, 0o644, &text)?;
    let _ = writeln!(
        out,
        "written: `{}`, and the AppSecret to `{}` (mode 0600); `wxgate serve` starts the proxy. The check:",
        config.display(),
        secret_file.display()
    );
    Ok(())
}

/// Nobody else has the file before it is there with its mode.
fn create(path: &Path, mode: u32, lines: &str) -> Result<(), InitError> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = opened.and_then(|mut file| {
        file.write_all(lines.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    });
    written.map_err(|error| InitError::System("cannot write the files here", error))
}

fn ask(input: &mut dyn BufRead, out: &mut dyn Write, question: &str) -> Result<Zeroizing<String>, InitError> {
    let asked = out.write_all(question.as_bytes()).and_then(|()| out.flush());
    asked.map_err(|error| InitError::System("cannot ask", error))?;
    // It never grows, which would leave a copy behind.
    let mut line = Zeroizing::new(String::with_capacity(LONGEST_LINE));
    let read = io::Read::take(input, LONGEST_LINE as u64).read_line(&mut line);
    match read.map_err(|error| InitError::System("cannot read the answer", error))? {
        0 => Err(InitError::Answer("no answer on stdin".to_owned())),
        // What is left of it would be taken for the next answer.
        LONGEST_LINE if !line.ends_with('\n') => {
            Err(InitError::Answer("the answer is far too long".to_owned()))
        }
        _ => Ok(line),
    }
}

/// A terminal that does not show what is typed, until dropped.
struct Hidden(Termios);

impl Hidden {
    fn start() -> Option<Self> {
        let stdin = io::stdin();
        if !isatty(&stdin) {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &hidden).ok()?;
        Some(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn answered(folder: &Path, answers: &str) -> Result<String, String> {
        let mut out = Vec::new();
        let written = write(folder, &mut answers.as_bytes(), &mut out);
        written.map(|()| String::from_utf8(out).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_secret_has_a_file_of_its_own_and_stands_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let said = answered(dir.path(), "wx0123456789abcdef\n s3cret-of-init \n").unwrap();
        assert!(!said.contains("s3cret"), "{said}");
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("appsecret"), "s3cret-of-init\n");
        assert!(!read("wxgate.toml").contains("s3cret"));
        let mode = dir.path().join("appsecret").metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // A second time nothing is touched.
        let again = answered(dir.path(), "wx1\nother\n").unwrap_err();
        assert!(again.contains("wxgate.toml` is there already"), "{again}");
        assert_eq!(read("appsecret"), "s3cret-of-init\n");
    }

    #[test]
    fn wrong_answers_write_nothing() {
        for (answers, words) in [
            ("", "no answer"),
            ("a b\nsecret\n", "the appid: want an appid"),
            ("wx1\n", "no answer"),
            ("wx1\n\n", "the secret is empty"),
            ("wx1\ntwo words\n", "visible ASCII"),
            (&format!("wx1\n{}\n", "s".repeat(5000)), "far too long"),
            (&format!("wx1{}\nsecret\n", " ".repeat(5000)), "far too long"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let error = answered(dir.path(), answers).unwrap_err();
            assert!(error.contains(words) && !error.contains("two words"), "{answers:?}: {error}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }
}
