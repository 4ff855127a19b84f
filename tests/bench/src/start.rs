//! Measures how long a function's process takes to its first poll of the Runtime API.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::{Failure, USAGE, print, value_of};

const PATIENCE: Duration = Duration::from_secs(10);

pub async fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), Failure> {
    let binary = arguments.next().ok_or(USAGE)?;
    let mut times = 30_u32;
    while let Some(option) = arguments.next() {
        match option.as_str() {
            "--times" => times = value_of(&option, &mut arguments)?,
            _ => return Err(USAGE.into()),
        }
    }
    let mut millis = Vec::new();
    for _ in 0..times {
        millis.push(start(&binary).await?.as_secs_f64() * 1000.0);
    }
    millis.sort_by(f64::total_cmp);
    print(&json!({"median_ms": millis.get(millis.len() / 2), "best_ms": millis.first(), "times": times}))
}

/// The time from before the process is created until the first bytes of its first request arrive. It has this process's
/// environment.
async fn start(binary: &str) -> Result<Duration, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut command = Command::new(binary);
    command.env("AWS_LAMBDA_RUNTIME_API", listener.local_addr()?.to_string()).stdout(Stdio::null());
    let began = Instant::now();
    let mut process = command.spawn()?;
    let polled = timeout(PATIENCE, first_request(&listener)).await;
    let took = began.elapsed();
    process.kill()?;
    process.wait()?;
    // The connection stays open until here, so that the process doesn't report an error.
    drop(polled.map_err(|_| format!("{binary} didn't poll within {PATIENCE:?}"))??);
    Ok(took)
}

async fn first_request(listener: &TcpListener) -> Result<TcpStream, Failure> {
    let (mut socket, _) = listener.accept().await?;
    let mut line = vec![0; "GET /2018-06-01/runtime/invocation/next".len()];
    socket.read_exact(&mut line).await?;
    if line == b"GET /2018-06-01/runtime/invocation/next" {
        return Ok(socket);
    }
    Err(format!("its first request is {:?}", String::from_utf8_lossy(&line)).into())
}
