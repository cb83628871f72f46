//! The command line: what can be asked for, and which exit code says what came of it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use sd_notify::NotifyState;
use tokio::runtime::Builder;

use crate::app::App;
use crate::config::{self, Loader};
use crate::logging::LISTENING;
use crate::signals::{Again, Signals, keep_watchdog, tell_systemd};
use crate::{check, demo, health, init, logging, process};

/// A clean stop.
const CLEAN: u8 = 0;
/// It could not go on: a port is taken, the state directory is not writable.
const FAILED: u8 = 1;
/// Wrong usage or wrong configuration.
const WRONG: u8 = 2;

/// Reverse proxy for the WeChat API: apps call it without token and secret; it puts the current access_token
/// in, renews it, and repeats a call whose token has died.
#[derive(Debug, Parser)]
#[command(name = "wxgate", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

const AFTER_HELP: &str = "\
Without --config: ./wxgate.toml if it exists, else the environment alone:
  WXGATE_APPID, WXGATE_SECRET or WXGATE_SECRET_FILE, and optionally WXGATE_LISTEN,
  WXGATE_UPSTREAM, WXGATE_EGRESS_IP, WXGATE_STATE_DIR.
WXGATE_LOG sets the log level: error, warn, info, debug or trace.

Exit codes: 0 a clean stop; 1 it could not go on, `check` found something wrong, or `health` something not ready;
2 wrong usage or wrong configuration.
Signals: SIGTERM and SIGINT finish the requests in flight and stop; a second one stops at once. SIGHUP reads
configuration and certificates again; when they are wrong, it says so and goes on with the old ones. SIGUSR1 raises the
log level by a step for five minutes, SIGUSR2 resets it.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy (also what a bare `wxgate` does)
    Serve(ServeArgs),
    /// Say what is right and what is wrong, and how to mend it
    Check(CheckArgs),
    /// Ask for appid and AppSecret, write wxgate.toml and the secret's file, run the check
    Init(InitArgs),
    /// Ask the running wxgate's admin listener: exit 0 ready, 1 not
    Health(ServeArgs),
    /// Show the configuration in force, or the schema of the file
    Config(ConfigArgs),
    /// Sandbox and proxy in one process, ready for curl, nothing to configure
    Demo,
    /// Print completions for a shell: bash, zsh, fish, elvish or powershell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// A WeChat API look-alike for tests and for a caller's own CI
    Sandbox(wxgate_sandbox::Options),
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Look at files and settings alone; contact nobody
    #[arg(long)]
    offline: bool,
    /// Write the findings as JSON, one object
    #[arg(long)]
    json: bool,
    /// Send a test message to each robot
    #[arg(long, conflicts_with = "offline")]
    alerts: bool,
}

#[derive(Debug, Args)]
struct InitArgs {
    /// Check files and settings alone; contact nobody
    #[arg(long)]
    offline: bool,
}

#[derive(Debug, Args)]
struct ConfigArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    what: ConfigCommand,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum ConfigCommand {
    /// Each value that is in force, secrets masked, and where it comes from
    Print,
    /// The JSON schema of the file, for editors: `#:schema ./wxgate.schema.json` in its first line
    Schema,
}

/// Runs the command line of this process to its end.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ExitCode::from(say(FAILED, format_args!("cannot start: {error}"))),
    };
    let code = runtime.block_on(async {
        match cli.command.unwrap_or(Command::Serve(cli.serve)) {
            Command::Serve(args) => serve(args).await,
            Command::Check(args) => match Loader::new(args.config).load().await {
                Ok(loaded) => {
                    let CheckArgs { offline, json, alerts, .. } = args;
                    let asked = check::Asked { offline, json, alerts };
                    check::command(&loaded, asked, &mut std::io::stdout()).await
                }
                Err(errors) if args.json => check::refused(&errors, &mut std::io::stdout()),
                Err(errors) => say(WRONG, format_args!("{errors}")),
            },
            Command::Health(args) => match Loader::new(args.config).load_admin().await {
                Ok(admin) => {
                    health::command(admin.as_ref(), &mut std::io::stdout(), &mut std::io::stderr()).await
                }
                Err(errors) => say(WRONG, format_args!("{errors}")),
            },
            Command::Config(args) => show_config(args).await,
            Command::Init(args) => {
                init::command(args.offline, &mut std::io::stdout(), &mut std::io::stderr()).await
            }
            Command::Completions { shell } => completions(shell),
            Command::Demo => demo::command(&mut std::io::stdout(), &mut std::io::stderr()).await,
            Command::Sandbox(options) => wxgate_sandbox::command(options, &mut std::io::stderr()).await,
        }
    });
    // A name look-up that hangs in the system must not hold the exit.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn serve(args: ServeArgs) -> u8 {
    let core_dumps = process::core_dumps_off();
    // First of all: from here on a signal waits until somebody looks.
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return say(FAILED, format_args!("cannot listen for signals: {error}")),
    };
    let config = Loader::new(args.config);
    let loaded = tokio::select! {
        loaded = config.load() => loaded,
        () = signals.stop() => return CLEAN,
    };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(errors) => {
            let hint = errors.hint().map_or(String::new(), |hint| format!("\n{hint}"));
            return say(WRONG, format_args!("{errors}{hint}"));
        }
    };
    let _log = logging::start(loaded.config.log_format);
    core_dumps.say();
    process::allow_open_files(loaded.config.connections());
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let watch = loaded.config.watch;
    // A start can wait: for a wxgate that ends, to give up the state, or for a slow disk.
    let started = tokio::select! {
        started = App::start(loaded.config) => started,
        () = signals.stop() => {
            tracing::info!("stopping before the start was over");
            return CLEAN;
        }
    };
    let mut app = match started {
        Ok(app) => app,
        Err(error) => return say(FAILED, format_args!("{error}")),
    };
    for listening in app.listening() {
        tracing::info!(target: LISTENING, "listening on {listening} (callers)");
    }
    if let Some(admin) = app.admin() {
        tracing::info!(target: LISTENING, "listening on {admin} (admin)");
    }
    app.show(&loaded.settings);
    let again = Again::new(config, watch, loaded.settings, app.reloads());
    tell_systemd(&[NotifyState::Ready]);
    keep_watchdog();
    match app.run(signals.orders(Some(again))).await {
        Ok(()) => CLEAN,
        Err(error) => say(FAILED, format_args!("{error}")),
    }
}

fn completions(shell: Shell) -> u8 {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "wxgate", &mut text);
    written(std::io::stdout().write_all(&text))
}

fn written(outcome: std::io::Result<()>) -> u8 {
    match outcome {
        Ok(()) => CLEAN,
        Err(error) => say(FAILED, format_args!("cannot write to stdout: {error}")),
    }
}

async fn show_config(args: ConfigArgs) -> u8 {
    let text = match args.what {
        ConfigCommand::Print => match Loader::new(args.config).load().await {
            Ok(loaded) => config::print(&loaded.settings),
            Err(errors) => return say(WRONG, format_args!("{errors}")),
        },
        ConfigCommand::Schema => format!("{:#}\n", config::schema()),
    };
    written(std::io::stdout().write_all(text.as_bytes()))
}

/// Writes to stderr before there is a log, or when the log has ended.
fn say(code: u8, text: std::fmt::Arguments<'_>) -> u8 {
    // With stderr gone nobody is left to tell.
    let _ = writeln!(std::io::stderr(), "wxgate: {text}");
    code
}

#[cfg(test)]
mod tests;
