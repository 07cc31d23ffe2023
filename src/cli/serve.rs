//! `loco serve`: the chat page and the endpoints.

use super::terminal::one_line;
use super::{Base, Weights, between};
use crate::engine;
use crate::host::LoadedBase;
use crate::model::KvFormat;
use crate::serve::{self, Colours, Grace, Service, lan_addresses, qr_code};
use anyhow::Context;
use std::io::{ErrorKind, IsTerminal, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, clap::Args)]
pub(crate) struct Command {
    #[command(flatten)]
    base: Base,
    #[command(flatten)]
    weights: Weights,
    /// Address to listen on.
    #[arg(long, value_name = "ADDRESS", value_parser = host, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 takes a free one.
    #[arg(long, short, default_value_t = 8080, env = "LOCO_PORT")]
    port: u16,
    /// Let everybody in the local network in (listens on 0.0.0.0).
    #[arg(long, conflicts_with = "host")]
    lan: bool,
    /// Temperature where a client does not say [default: 0.7, and 0 for the demo base].
    #[arg(long, value_name = "T", value_parser = temperature, allow_hyphen_values = true)]
    temperature: Option<f32>,
    /// Longest conversation in tokens [default: what the base was trained for, if it fits into memory].
    #[arg(long, value_name = "TOKENS", value_parser = between(1..=u64::from(u32::MAX)))]
    context: Option<usize>,
    /// Answers computed together; further requests wait.
    #[arg(long, value_name = "N", value_parser = between(1..=256),
        default_value_t = engine::Options::default().max_sequences)]
    together: usize,
    /// Requests that may wait; further ones are sent away.
    #[arg(long, value_name = "N", value_parser = between(1..=65_536),
        default_value_t = engine::Options::default().max_waiting)]
    waiting: usize,
    /// Number format of cached keys and values: f16 takes twice the memory of q8, f32, which `loco logits` compares with, four times.
    #[arg(long, value_name = "FORMAT", default_value = "q8")]
    kv: KvFormat,
}

impl Command {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        // The port first: loading takes a while, and in vain if the port is taken.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            // These read long texts into tokens; more of them would only take the cores from the engine.
            .max_blocking_threads(2)
            .enable_all()
            .build()?;
        let host = if self.lan { Ipv4Addr::UNSPECIFIED.into() } else { self.host };
        let listener = runtime.block_on(bind(SocketAddr::new(host, self.port)))?;
        let address = listener.local_addr().context("the socket has no address")?;

        let options = engine::Options {
            context: self.context,
            max_sequences: self.together,
            max_waiting: self.waiting,
            kv_format: self.kv,
            ..engine::Options::default()
        };
        eprintln!("loading {} …", self.base.model.as_deref().unwrap_or("the demo base"));
        let base = self.base.load(&self.weights, options)?;
        announce(&base, self.together, address).context("standard output")?;

        let mut defaults = base.default_sampling();
        if let Some(temperature) = self.temperature {
            defaults.temperature = temperature;
        }
        let service = Service::new(base, defaults);
        let ended: anyhow::Result<()> = runtime.block_on(async {
            let stop = stop_signal()?;
            Ok(serve::run(service, listener, stop, Grace::default()).await?)
        });
        // What has not ended within the grace period is not waited for.
        runtime.shutdown_background();
        ended?;
        eprintln!("stopped");
        Ok(())
    }
}

/// An address to listen on.
fn host(text: &str) -> Result<IpAddr, &'static str> {
    match text {
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        _ => text.parse().map_err(|_| "it must be `localhost` or an IP address of this machine"),
    }
}

/// A temperature that every endpoint takes.
fn temperature(text: &str) -> Result<f32, &'static str> {
    text.parse().ok().filter(|t| (0.0..=100.0).contains(t)).ok_or("it must be a number from 0 to 100")
}

/// Listens, or says what is in the way.
async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| {
        let hint = match e.kind() {
            ErrorKind::AddrInUse => {
                format!("port {} is taken by another program; choose another with --port, or --port 0", address.port())
            }
            ErrorKind::PermissionDenied => format!("port {} is reserved; choose one above 1023", address.port()),
            ErrorKind::AddrNotAvailable => format!("this machine does not have the address {}", address.ip()),
            _ => e.to_string(),
        };
        anyhow::anyhow!("cannot listen on {address}: {hint}")
    })
}

/// Ready at Ctrl-C or SIGTERM, and says so.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        eprintln!("stopping: answers under way have a few seconds (again to stop at once)");
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            std::process::exit(130);
        });
    })
}

/// Says what is served and where.
fn announce(base: &LoadedBase, together: usize, address: SocketAddr) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let facts = &base.facts;
    writeln!(out, "LocoLLM {}", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  base     {}", one_line(&base.summary()))?;
    if base.demo {
        writeln!(
            out,
            "           A toy, trained on generated exercises: beyond a few skills and facts it makes things up."
        )?;
        writeln!(out, "           For real use install BitNet-2B-4T or Falcon-E: loco serve --model FILE.gguf")?;
    }
    if let Err(why) = &base.template {
        writeln!(out, "           It cannot chat ({}); it continues texts.", one_line(why))?;
    }
    let (context, trained) = (base.engine.context(), facts.trained_context);
    let of = if context < trained { format!(" of {trained} (--context raises it)") } else { String::new() };
    writeln!(out, "  context  {context}{of} tokens, {together} answers at a time")?;
    writeln!(
        out,
        "  kernels  {}, {} threads; loaded in {:.1} s",
        facts.isa,
        facts.threads,
        facts.load_time.as_secs_f64()
    )?;
    let reachable = reachable(address);
    let (first, others) = reachable.split_first().unwrap_or((&address, &[]));
    writeln!(out, "  open     http://{first}/")?;
    for other in others {
        writeln!(out, "           http://{other}/")?;
    }
    if first.ip().is_loopback() {
        writeln!(out, "           Only from this machine; phones in the room can join with --lan.")?;
    }
    // A journal has no camera in front of it.
    let colours = if out.is_terminal() { Colours::BlackOnWhite } else { Colours::None };
    if std::env::var_os("JOURNAL_STREAM").is_none()
        && let Some(code) = qr_code(&format!("http://{first}/"), colours)
    {
        writeln!(out, "\n{code}")?;
    }
    writeln!(out, "  stop     Ctrl-C")?;
    out.flush()
}

/// The addresses to tell people: for a server that listens everywhere, those of the local network.
fn reachable(address: SocketAddr) -> Vec<SocketAddr> {
    if !address.ip().is_unspecified() {
        return vec![address];
    }
    let loopback = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port());
    let of_network = lan_addresses().into_iter().filter(|ip| ip.is_ipv4() || address.is_ipv6());
    of_network.map(|ip| SocketAddr::new(ip, address.port())).chain([loopback]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_what_to_do() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let taken = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
            let address = taken.local_addr().unwrap();
            let message = bind(address).await.unwrap_err().to_string();
            assert!(message.contains(&format!("port {} is taken", address.port())), "{message}");
            assert!(message.contains("--port"), "{message}");
        });
    }

    #[test]
    fn a_server_that_listens_everywhere_names_addresses_that_exist() {
        let named = reachable(SocketAddr::from(([0, 0, 0, 0], 8080)));
        assert!(named.iter().all(|address| !address.ip().is_unspecified() && address.port() == 8080), "{named:?}");
        let alone = SocketAddr::from(([127, 0, 0, 1], 8080));
        assert_eq!(reachable(alone), [alone]);
    }
}
