//! A child process with its own environment and Runtime API.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Command,
    sync::watch,
};

use super::runtime_api::RuntimeApi;
use crate::locked;

#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    runtime: RuntimeApi,
    /// Dropping this kills the child.
    _waiting: Waiting,
}

/// A child process, which may have ended.
#[derive(Debug, Clone)]
pub(super) struct Child {
    id: Option<u32>,
    over: watch::Receiver<Option<ExitStatus>>,
    /// SIGKILL was sent. The process may take a moment to end.
    killed: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Waiting(tokio::task::JoinHandle<()>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Process {
    pub(super) async fn start(
        binary: &Path,
        variables: &BTreeMap<String, String>,
        alias: Option<String>,
        logs: &Arc<Mutex<Vec<String>>>,
    ) -> io::Result<Self> {
        let runtime = RuntimeApi::start(alias).await?;
        let mut child = Command::new(binary)
            .env_clear()
            .envs(variables)
            .env("AWS_LAMBDA_RUNTIME_API", runtime.authority())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let id = child.id();
        let readers = [
            child.stdout.take().map(|output| tokio::spawn(keep_lines(output, logs.clone()))),
            child.stderr.take().map(|output| tokio::spawn(keep_lines(output, logs.clone()))),
        ];
        let (ended, over) = watch::channel(None);
        let waiting = Waiting(tokio::spawn(async move {
            let status = child.wait().await;
            // Once the end is visible, the log has its last lines.
            futures::future::join_all(readers.into_iter().flatten()).await;
            let _ = ended.send(status.ok());
        }));
        Ok(Self { child: Child { id, over, killed: Arc::default() }, runtime, _waiting: waiting })
    }

    pub(super) fn child(&self) -> &Child {
        &self.child
    }

    pub(super) fn runtime(&self) -> &RuntimeApi {
        &self.runtime
    }

    /// Waits for its end.
    pub(super) async fn exit(&self) -> ExitStatus {
        let mut over = self.child.over.clone();
        let status = over.wait_for(Option::is_some).await.ok().and_then(|status| *status);
        status.expect("a child that was started ends some time")
    }
}

impl Child {
    pub(super) fn pid(&self) -> Option<u32> {
        self.id.filter(|_| !self.is_over())
    }

    pub(super) fn was_killed(&self) -> bool {
        self.killed.load(Ordering::SeqCst)
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.borrow().is_some() || self.over.has_changed().is_err()
    }

    /// Uses the shell's `kill`, which needs no unsafe code. The signal has been sent when this returns.
    pub(super) fn signal(&self, name: &str) {
        if let Some(pid) = self.pid() {
            self.killed.fetch_or(name == "KILL", Ordering::SeqCst);
            let command = format!("kill -{name} {pid}");
            // The process may have just ended, which is as good.
            let _ = std::process::Command::new("/bin/sh").args(["-c", &command]).stderr(Stdio::null()).status();
        }
    }
}

async fn keep_lines(output: impl AsyncRead + Unpin, logs: Arc<Mutex<Vec<String>>>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        locked(&logs).push(line);
    }
}
