//! `cargo demo`: the whole way of a movement on one machine, told step by step.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use serde_json::{Value, json};
use stockwire_tests::device::scale::{MODELS, Model};
use stockwire_tests::device::{self, Heard};
use stockwire_tests::peers::{Peers, differences, expected_shop};
use stockwire_tests::real::process::eventually;
use stockwire_tests::real::{Postgres, World};
use stockwire_tests::script::{self, Act, Stock};
use stockwire_tests::site::{self, Broker, CHANNEL, Keeper, Ports, SITE, Site};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Starts broker, gateway and agent with virtual devices, an ERP and a shop, and tells what happens.
#[derive(Parser)]
#[command(name = "cargo demo")]
struct Arguments {
    /// Use a real Tryton and a real Vendure, installed on the spot, instead of the built-in stand-ins.
    #[arg(long)]
    real: bool,
    /// Keep the books in a PostgreSQL of its own, installed on the spot, instead of a file.
    #[arg(long)]
    postgres: bool,
    /// Use this scanner instead of the virtual one, for example /dev/serial/by-id/usb-....
    #[arg(long, value_name = "PORT")]
    scanner: Option<PathBuf>,
    /// Use this scale, for example /dev/serial/by-id/usb-...:mt-sics.
    #[arg(long, value_name = "PORT:PROTOCOL", value_parser = scale)]
    scale: Option<(PathBuf, String)>,
    /// Weigh on a virtual scale of this protocol instead of mt-sics; a wrong name lists them all.
    #[arg(long, value_name = "NAME", value_parser = virtual_scale, conflicts_with = "scale")]
    virtual_scale: Option<&'static Model>,
    /// Scan with a virtual scanner of this protocol instead of a line scanner; a wrong name lists them all.
    #[arg(long, value_name = "NAME", value_parser = virtual_scanner, conflicts_with = "scanner")]
    virtual_scanner: Option<&'static device::scanner::Model>,
    /// Run the movements, check every book against the script, and end.
    #[arg(long)]
    headless: bool,
    /// How many movements the script has.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    movements: u32,
    /// Print one line of JSON at the end.
    #[arg(long)]
    json: bool,
    /// Another seed is another script.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn scale(text: &str) -> Result<(PathBuf, String), String> {
    let (port, protocol) = text.rsplit_once(':').ok_or("expected PORT:PROTOCOL")?;
    Ok((port.into(), protocol.into()))
}

fn virtual_scanner(name: &str) -> Result<&'static device::scanner::Model, String> {
    device::scanner::find(name).ok_or_else(|| {
        let mut names: Vec<&str> = device::scanner::MODELS.iter().map(|model| model.name).collect();
        names.dedup();
        format!("there are {}", names.join(", "))
    })
}

fn virtual_scale(name: &str) -> Result<&'static Model, String> {
    device::scale::find(name).ok_or_else(|| {
        let mut names: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
        names.dedup();
        format!("there are {}", names.join(", "))
    })
}

/// For everything to arrive everywhere after the last scan; the real ERP takes some seconds for hundreds of lines.
const ARRIVAL_WAIT: Duration = Duration::from_secs(120);
/// Between two movements when somebody watches.
const PACE: Duration = Duration::from_secs(4);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match site::build().and_then(|()| runtime(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("demo: {fault:#}");
            if arguments.json {
                println!("{}", json!({"ok": false, "error": format!("{fault:#}")}));
            }
            ExitCode::FAILURE
        }
    }
}

fn runtime(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stop = Stop::new()?;
        tokio::select! {
            result = demo(arguments) => result,
            () = stop.asked() => {
                say(arguments, "\nStopping. Everything of this demo is removed.");
                if arguments.headless { bail!("stopped before its end") }
                Ok(())
            }
        }
    })
}

struct Stop(Signal, Signal);

impl Stop {
    fn new() -> Result<Self> {
        Ok(Self(signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// A line for people; nothing when a machine reads.
fn say(arguments: &Arguments, line: impl AsRef<str>) {
    if !arguments.json {
        println!("{}", line.as_ref());
    }
}

async fn demo(arguments: &Arguments) -> Result<()> {
    let begin = Instant::now();
    let world = World::standard();
    if arguments.real {
        say(arguments, "Installing and starting Tryton and Vendure (a minute or two the first time) ...");
    }
    let peers = if arguments.real {
        let world = world.clone();
        tokio::task::spawn_blocking(move || Peers::real(&world)).await??
    } else {
        Peers::stand_in(&world).await?
    };
    let postgres =
        if arguments.postgres { Some(tokio::task::spawn_blocking(Postgres::start).await??) } else { None };
    let devices = stockwire_tests::real::process::Scratch::new("devices")?;
    let model = arguments.virtual_scale.unwrap_or(MODELS[0]);
    let mut keeper = Keeper::plug_with(devices.path(), model)?;
    let (scanner, scanner_lines) = match (&arguments.scanner, arguments.virtual_scanner) {
        (Some(port), _) => (port.clone(), site::BELL.to_owned()),
        (None, Some(model)) => keeper.take_scanner(devices.path(), model)?,
        (None, None) => (keeper.scanner.port().into(), site::BELL.to_owned()),
    };
    let ports = Ports {
        scanner,
        scanner_lines,
        scale: Some(
            arguments.scale.clone().unwrap_or_else(|| (keeper.scale.port().into(), model.name.into())),
        ),
    };
    let mut site = Site::new(Broker::Embedded, &peers.erp_door(), &peers.shop_door()?, &ports)?;
    if arguments.scale.is_none() {
        let protocol = format!("protocol = {:?}\n", model.name);
        site.configure("agent.toml", &protocol, &format!("{protocol}{}", model.config))?;
    }
    if let Some(postgres) = &postgres {
        site.keep_books_in(&postgres.address())?;
    }
    site.start_gateway()?;
    site.gateway_ready().await?;
    say(
        arguments,
        "1  gateway   running with its embedded broker; items and opening stock read from the ERP",
    );
    site.start_agent()?;
    site.agent_ready().await?;
    say(arguments, "2  agent     running on a scanner and a scale; its catalogue has come from the gateway");
    say(arguments, format!("   console   {}/", site.url()));
    if arguments.scanner.is_some() {
        return watch(arguments, &site).await;
    }
    if !arguments.headless {
        story(&world, &mut site, &mut keeper, &peers).await?;
    }
    let mut stock = script::opening(&world);
    if !arguments.headless {
        first().apply(&world, SITE, &mut stock);
    }
    let acts = script::acts_from(&world, SITE, &stock, arguments.movements as usize, arguments.seed);
    let scanning = Instant::now();
    for (at, act) in acts.iter().enumerate() {
        // The devices block; the stand-ins must go on answering meanwhile.
        tokio::task::block_in_place(|| keeper.perform(&world, act))
            .with_context(|| format!("{}\n{:?}", site.logs(), site.agent_status()))?;
        act.apply(&world, SITE, &mut stock);
        if !arguments.headless {
            say(arguments, format!("   movement {:>3}  {}", at + 1, act.describe(&world)));
            tokio::time::sleep(PACE).await;
        } else if !arguments.json && (at + 1) % 50 == 0 {
            println!("   {} of {} movements scanned", at + 1, acts.len());
        }
    }
    let scanned = scanning.elapsed();
    check(&world, &mut site, &peers, &stock).await?;
    let arrived = scanning.elapsed();
    let extra = u64::from(!arguments.headless);
    // The opening stock stands in the books as events of the gateway's own.
    let opening = script::opening(&world).len() as u64;
    let books: Value = serde_json::from_str(&site.gateway_command(&["verify-books", "--json"])?)?;
    ensure!(books["right"] == true, "the books disagree with themselves: {books}");
    ensure!(
        books["events"].as_u64() == Some(opening + acts.len() as u64 + extra),
        "{} acts were recorded after {opening} lines of opening stock, and the books hold {} events",
        acts.len() as u64 + extra,
        books["events"]
    );
    tokio::task::block_in_place(|| site.stop())?;
    if arguments.json {
        println!(
            "{}",
            json!({"ok": true, "movements": acts.len(), "erp": if arguments.real { "tryton" } else { "stand-in" },
                "shop": if arguments.real { "vendure" } else { "stand-in" }, "cells": stock.len(),
                "scan_s": round(scanned), "everywhere_s": round(arrived), "total_s": round(begin.elapsed())})
        );
    } else {
        println!(
            "\n{} movements: journal, books, ERP and shop agree with the script ({:.1} s of scanning, all of it everywhere after {:.1} s).",
            acts.len() as u64 + extra,
            scanned.as_secs_f64(),
            arrived.as_secs_f64()
        );
    }
    Ok(())
}

fn round(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

/// The movement that the story follows.
fn first() -> Act {
    Act::Receive { bin: "A-02".into(), item: 1, amount: 12_000 }
}

/// One movement, followed from the beam to the shop.
async fn story(world: &World, site: &mut Site, keeper: &mut Keeper, peers: &Peers) -> Result<()> {
    let sku = world.item(1).sku.clone();
    let shown = |numbers: &BTreeMap<String, i64>| numbers.get(&sku).copied().unwrap_or(0);
    let before = shown(
        &eventually("the shop has its first numbers", ARRIVAL_WAIT, || async {
            let numbers = peers.shop_stock().await?;
            Ok((shown(&numbers) > 0).then_some(numbers))
        })
        .await?,
    );
    println!("   shop      shows {before} of {sku}");
    println!("\n   The storekeeper receives 12 of {sku} into A-02:");
    for (code, meaning) in
        [("SW:WF:RECEIVE", "what to do"), ("SW:LOC:A-02", "where to"), ("SW:QTY:12", "how many")]
    {
        let heard = tokio::task::block_in_place(|| keeper.scan(code))?;
        ensure!(heard == Heard::Understood, "{code}: {heard:?}");
        println!("3  scan      {code:<16} {meaning}");
    }
    let code = format!("]E0{}", world.item(1).gtin);
    let started = Instant::now();
    let heard = tokio::task::block_in_place(|| keeper.scan(&code))?;
    ensure!(heard == Heard::Good, "{code}: {heard:?}");
    println!(
        "4  scan      {code:<16} what; beep after {:.1} ms: the movement is on disk",
        started.elapsed().as_secs_f64() * 1e3
    );
    let row = site.agent_command(&["journal", "tail", "--json"])?;
    println!("5  journal   {}", row.lines().last().unwrap_or_default());
    let movement = eventually("the movement is in the books", ARRIVAL_WAIT, || async {
        let page = site.get("/v1/movements?limit=1").await?;
        Ok(page["rows"].get(0).filter(|row| row["step"] == "receiving").cloned())
    })
    .await?;
    println!(
        "6  books     row {}: {} {} {} -> {}",
        movement["ledger"],
        movement["quantity"],
        sku,
        text(&movement["from"]),
        text(&movement["to"])
    );
    let after = eventually("the shop shows the new number", ARRIVAL_WAIT, || async {
        let numbers = peers.shop_stock().await?;
        Ok((shown(&numbers) == before + 12).then_some(shown(&numbers)))
    })
    .await?;
    println!(
        "7  shop      shows {after} of {sku}, {:.0} ms after the scan",
        started.elapsed().as_secs_f64() * 1e3
    );
    let identity = text(&movement["movement"]).to_owned();
    let path = format!("/v1/traces/{}", identity.replace('/', "%2F"));
    let trace = eventually("the ERP has booked it", ARRIVAL_WAIT, || async {
        let trace = site.get(&path).await?;
        let steps = trace["timeline"].as_array().cloned().unwrap_or_default();
        let place = "HAM/A-02".to_owned();
        let stock = peers.erp_stock().await?;
        Ok((stock.get(&(place, sku.clone())).copied() == Some(12_000)).then_some(steps))
    })
    .await?;
    println!("8  ERP       has booked it");
    println!("   trace     {identity}");
    for step in trace {
        println!(
            "             {:<24} {:<10} {}",
            text(&step["at"]),
            text(&step["stage"]),
            text(&step["text"])
        );
    }
    println!(
        "\n   It goes on with a movement every few seconds; watch the console at {}/ (Ctrl-C ends).",
        site.url()
    );
    tokio::task::block_in_place(|| keeper.scan("SW:CMD:DONE"))?;
    Ok(())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// Waits until the ERP and the shop agree with the script; the error has the differences.
async fn check(world: &World, site: &mut Site, peers: &Peers, stock: &Stock) -> Result<()> {
    let shop = expected_shop(world, stock);
    let place = |(place, sku): &(String, String)| (place.clone(), sku.clone());
    let agreed = eventually("books, ERP and shop agree with the script", ARRIVAL_WAIT, || async {
        let mut found = differences("ERP", stock, &peers.erp_stock().await?);
        found.extend(differences("shop", &shop, &peers.shop_stock().await?));
        let mut books = Stock::new();
        let mut path = "/v1/stock?limit=500".to_owned();
        loop {
            let page = site.get(&path).await?;
            for row in page["rows"].as_array().into_iter().flatten() {
                let amount =
                    (text(&row["on_hand"]).parse::<f64>().context("a quantity")? * 1000.0).round() as i64;
                let key = (
                    format!("{}/{}", text(&row["site"]), text(&row["location"])),
                    text(&row["item"]).to_owned(),
                );
                *books.entry(place(&key)).or_default() += amount;
            }
            match page["next"].as_str() {
                Some(next) => {
                    path =
                        format!("/v1/stock?limit=500&after={}", next.replace('/', "%2F").replace(' ', "%20"))
                }
                None => break,
            }
        }
        found.extend(differences("books", stock, &books));
        if found.is_empty() {
            Ok(Some(()))
        } else {
            bail!("{} differences:\n{}", found.len(), found.join("\n"))
        }
    });
    agreed.await.with_context(|| site.logs())
}

/// With real devices there is no script: show what comes.
async fn watch(arguments: &Arguments, site: &Site) -> Result<()> {
    say(arguments, "   Scan SW:WF:RECEIVE, a location such as SW:LOC:A-01, then items. Ctrl-C ends.");
    let mut seen = 0;
    loop {
        let page = site.get("/v1/movements?limit=20").await?;
        for row in page["rows"].as_array().into_iter().flatten().rev() {
            let ledger = row["ledger"].as_u64().unwrap_or(0);
            if ledger > seen && !text(&row["kind"]).is_empty() && row["station"].is_string() {
                println!(
                    "   {} {:<10} {:>8} {} {} -> {}   {}/v1/availability/{CHANNEL}/{}",
                    text(&row["occurred_at"]),
                    text(&row["step"]),
                    text(&row["quantity"]),
                    text(&row["item"]),
                    text(&row["from"]),
                    text(&row["to"]),
                    site.url(),
                    text(&row["item"])
                );
            }
            seen = seen.max(ledger);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
