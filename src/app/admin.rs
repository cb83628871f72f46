//! The admin listener's thread: binds, serves beside the workers, makes console calls.
//!
//! It has a runtime of its own, so that whatever it is asked slows no caller. It serves from before the first token is
//! fetched until the process ends.

use std::fs;
use std::io;
use std::net::TcpListener as StdListener;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

use super::StartError;
use super::worker::Settings;
use crate::admin::console::Console;
use crate::admin::gate::{At, Rules};
use crate::admin::server::{ReloadRequest, Server};
use crate::admin::sources::Sources;
use crate::config::{Admin, AdminListen, Config};
use crate::listener::drain::{DrainSender, drain};
use crate::listener::{self, Connections};
use crate::proxy::{Proxy, Recorder};
use crate::upstream::Upstream;

/// The mode of a unix socket's file: its owner and group may use it.
const SOCKET_MODE: u32 = 0o660;

/// A bound admin listener.
pub(super) struct BoundAdmin {
    socket: Socket,
    at: At,
    /// `http://ADDRESS`, or `unix:PATH`.
    shown: String,
    /// The file to remove at the end.
    file: Option<SocketFile>,
}

enum Socket {
    Tcp(StdListener),
    Unix(StdUnixListener),
}

/// The file of a unix socket; removed when dropped.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A running admin listener; ends when dropped.
pub(super) struct RunningAdmin {
    at: At,
    /// `http://ADDRESS`, or `unix:PATH`.
    pub(super) shown: String,
    _drain: DrainSender,
    _file: Option<SocketFile>,
}

/// Opens the listener's address or file.
///
/// # Errors
/// When it cannot be had; the text says what to do.
pub(super) fn bind(admin: &Admin, config: &Config) -> Result<BoundAdmin, StartError> {
    match &admin.listen {
        AdminListen::Tcp(address) => {
            let mut bound = listener::bind(*address, 1, config.addresses()).map_err(StartError::because)?;
            let socket =
                bound.take().ok_or_else(|| StartError::because("no socket for the admin listener"))?;
            let (at, shown) = (At::Tcp(bound.address), format!("http://{}", bound.address));
            Ok(BoundAdmin { socket: Socket::Tcp(socket), at, shown, file: None })
        }
        AdminListen::Unix(path) => {
            let named = |error: io::Error| {
                StartError::because(format_args!("cannot listen on unix:{}: {error}", path.display()))
            };
            let socket = bind_file(path).map_err(named)?;
            let (shown, file) = (format!("unix:{}", path.display()), Some(SocketFile(path.clone())));
            Ok(BoundAdmin { socket: Socket::Unix(socket), at: At::Unix, shown, file })
        }
    }
}

/// A socket under a name of its own gets its mode, and then the name that is wanted: nobody can connect before, and
/// what a killed process left behind is replaced.
fn bind_file(path: &Path) -> io::Result<StdUnixListener> {
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "there is a file of this name, and it is no socket",
            ));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves there"));
        }
        _ => {}
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let _ = fs::remove_file(&temporary);
    let socket = StdUnixListener::bind(&temporary)?;
    let in_place = fs::set_permissions(&temporary, fs::Permissions::from_mode(SOCKET_MODE))
        .and_then(|()| fs::rename(&temporary, path))
        .and_then(|()| socket.set_nonblocking(true));
    if in_place.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    in_place.map(|()| socket)
}

impl BoundAdmin {
    /// What the gate is set to.
    pub(super) fn rules(&self, admin: &Admin) -> Rules {
        rules(self.at, admin)
    }

    /// Serves on a thread of its own from now on.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(
        self,
        sources: &Arc<Sources>,
        settings: watch::Receiver<Option<Settings>>,
        recorder: Recorder,
        reload: mpsc::Sender<ReloadRequest>,
    ) -> Result<RunningAdmin, StartError> {
        let (sender, drain) = drain();
        let Self { socket, at, shown, file } = self;
        let sources = Arc::clone(sources);
        let serve = move || {
            let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            let Ok(runtime) =
                runtime.inspect_err(|error| tracing::error!(%error, "no runtime for the admin listener"))
            else {
                return;
            };
            runtime.block_on(async move {
                let keeper = Arc::clone(&sources);
                tokio::task::spawn_local(async move { keeper.keep_history().await });
                let server = Server { sources, console: console(settings, recorder), reload };
                let (server, connections) = (Rc::new(server), Connections::default());
                let accepting = async {
                    match socket {
                        Socket::Tcp(socket) => {
                            let socket = TcpListener::from_std(socket)?;
                            listener::accept(socket, None, server, connections, TaskTracker::new(), drain)
                                .await;
                        }
                        Socket::Unix(socket) => {
                            let socket = UnixListener::from_std(socket)?;
                            listener::accept(socket, None, server, connections, TaskTracker::new(), drain)
                                .await;
                        }
                    }
                    Ok::<(), io::Error>(())
                };
                if let Err(error) = accepting.await {
                    tracing::error!(%error, "the admin listener cannot accept connections");
                }
            });
        };
        let spawned = thread::Builder::new().name("admin".to_owned()).spawn(serve);
        spawned.map_err(|e| StartError::because(format_args!("cannot start the admin thread: {e}")))?;
        Ok(RunningAdmin { at, shown, _drain: sender, _file: file })
    }
}

impl RunningAdmin {
    /// What the gate is set to by another configuration; the address stays until a restart.
    pub(super) fn rules(&self, admin: &Admin) -> Rules {
        rules(self.at, admin)
    }
}

fn rules(at: At, admin: &Admin) -> Rules {
    Rules { at, key: admin.key.clone(), hosts: admin.hosts.clone() }
}

/// Makes console calls by the configuration in force, each on connections of its own: they are rare.
fn console(settings: watch::Receiver<Option<Settings>>, recorder: Recorder) -> Console {
    Rc::new(move |account, call| {
        let (settings, recorder) = (settings.borrow().clone(), recorder.clone());
        Box::pin(async move {
            let settings = settings?;
            let upstreams =
                settings.hosts.iter().map(|host| Rc::new(Upstream::new(Arc::clone(host)))).collect();
            let proxy = Rc::new(Proxy::new(settings.state, upstreams, recorder));
            proxy.console(&account, call).await
        })
    })
}
