//! `siltstone healthcheck`: for containers and scripts that wait for a server.

use super::exit::ExitCode;
use super::output::{Format, OutputArgs, print_object};
use super::{CliError, Out, api_client, runtime};
use crate::config::{Config, Environment};
use clap::Args;
use http::StatusCode;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// Which server.
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// The server's metrics or console address [default: the configured metrics listener]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The file that says where the metrics listener is
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Asks `/readyz`.
pub fn run(args: HealthcheckArgs, env: &Environment, out: Out<'_>) -> Result<ExitCode, CliError> {
    let endpoint = if let Some(endpoint) = args.endpoint {
        endpoint
    } else {
        let config = Config::load(args.config.as_deref(), env, &[])?;
        format!("http://{}", reachable(config.settings.listeners.metrics))
    };
    let (status, answer) =
        runtime()?.block_on(api_client::get(&endpoint, "/readyz")).map_err(CliError::Probe)?;
    let answer = String::from_utf8_lossy(&answer);
    if status != StatusCode::OK {
        return Err(CliError::NotReady(format!("{endpoint} is not ready: {status} {answer}")));
    }
    match args.output.format() {
        Format::Table => writeln!(out, "{endpoint} is ready")?,
        format => {
            let value: Value = serde_json::from_str(&answer).map_err(|_| {
                CliError::NotReady(format!(
                    "{endpoint} answered {status} with something that is no readiness"
                ))
            })?;
            print_object(out, format, &value)?;
        }
    }
    Ok(ExitCode::Ok)
}

/// Where to reach a listener that listens everywhere: here.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_asked_on_loopback() {
        for (listens, asked) in [
            ("0.0.0.0:8083", "127.0.0.1:8083"),
            ("[::]:8083", "[::1]:8083"),
            ("10.1.2.3:8083", "10.1.2.3:8083"),
        ] {
            assert_eq!(reachable(listens.parse().unwrap()).to_string(), asked);
        }
    }
}
