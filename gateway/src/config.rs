//! The configuration: TOML in, checked values out, all faults at once. The manual is `config/default.toml`.

mod orders;
mod reader;
mod store;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use stockwire_protocol::{ChannelId, SiteId};

pub use orders::Orders;
pub use reader::Fault;
use reader::{Reader, Section};
pub use store::StoreConfig;

use crate::availability::ORDER_LAG_MS;
use crate::io::broker::BrokerTls;
use crate::io::mqtt::TlsFiles;

/// The commented default configuration, which is the manual; `print-config` prints it.
pub const DEFAULT: &str = include_str!("config/default.toml");

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where HTTP is served.
    pub http: Http,
    /// Where the books are.
    pub store: StoreConfig,
    /// The broker and who we are there.
    pub mqtt: Mqtt,
    /// The embedded broker, when it is switched on.
    pub broker: Option<Broker>,
    /// The ERP, when there is one.
    pub erp: Option<Erp>,
    /// The channels.
    pub channels: Vec<Channel>,
    /// How orders are dealt with.
    pub orders: Orders,
    /// How much is logged.
    pub log: tracing::Level,
}

/// `[http]`
#[derive(Clone, Debug)]
pub struct Http {
    /// Address and port.
    pub listen: SocketAddr,
    /// Whether requests from this machine need no key.
    pub trust_loopback: bool,
    /// Requests a second that each key may send.
    pub requests_per_s: u32,
}

/// `[mqtt]`
#[derive(Clone, Debug)]
pub struct Mqtt {
    /// Name or address of the broker.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Our client identifier.
    pub client_id: String,
    /// The share group of the replicas.
    pub group: String,
    /// Certificates; without them the broker must be on this machine.
    pub tls: Option<TlsFiles>,
}

/// `[broker]`, switched on.
#[derive(Clone, Debug)]
pub struct Broker {
    /// Address and port.
    pub listen: SocketAddr,
    /// Certificates.
    pub tls: Option<BrokerTls>,
}

/// `[erp]`
#[derive(Clone, Debug)]
pub struct Erp {
    /// How it is called.
    pub name: String,
    /// Which connector.
    pub kind: String,
    /// Base address.
    pub url: String,
    /// File with the key.
    pub key_file: PathBuf,
    /// Seconds between two readings of its items and locations.
    pub refresh_s: u64,
    /// Movements in one document.
    pub batch_lines: usize,
    /// How long a posting may wait for others, milliseconds.
    pub batch_wait_ms: u64,
    /// Which company, when the ERP has several.
    pub company: Option<i64>,
    /// Party on goods-in documents.
    pub supplier: Option<String>,
    /// Party on outgoing documents.
    pub customer: Option<String>,
    /// Whether a movement that has happened is posted although the ERP believes that there is too little.
    pub force_assignment: bool,
    /// Whether orders are posted there as sales.
    pub sales: bool,
}

/// `[[channel]]`
#[derive(Clone, Debug)]
pub struct Channel {
    /// How it is called.
    pub name: ChannelId,
    /// Which connector.
    pub kind: String,
    /// Base address.
    pub url: String,
    /// Who we are there.
    pub user: String,
    /// File with the password.
    pub password_file: PathBuf,
    /// Whose stock it sells, the preferred first.
    pub sites: Vec<SiteId>,
    /// Units held back from every channel.
    pub safety_stock: i64,
    /// Units held back from this one.
    pub out_of_stock_threshold: i64,
    /// The most it is told.
    pub cap: Option<i64>,
    /// Per cent of what is there that it is offered.
    pub share_percent: i64,
    /// It is told 0 when no more than this is left.
    pub end_when: i64,
    /// Seconds within which an order that was placed there is known here.
    pub order_lag_s: i64,
    /// Whether its items are sold strictly.
    pub strict: bool,
    /// Whether its orders are taken.
    pub orders: bool,
    /// File with the secret that signs its webhooks.
    pub webhook_secret_file: Option<PathBuf>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}; write one with `stockwire-gateway print-config > {0}`", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It says something that is not so.
    #[error("{}: {} fault(s)\n{}", .path.display(), .faults.len(), lines(.faults))]
    Faults {
        /// Which.
        path: PathBuf,
        /// All of them.
        faults: Vec<Fault>,
    },
}

fn lines(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("  {fault}")).collect::<Vec<_>>().join("\n")
}

/// An hour: an item that is new in the ERP should not wait a day for its first scan.
const REFRESH_S: (i64, i64) = (5, 3_600);
/// Tryton's cost per line falls until about 100 lines, and a document with a faulty line is cut in halves.
const BATCH_LINES: (i64, i64) = (1, 100);
/// Beyond a few seconds the books and the ERP differ for longer than a person waits.
const BATCH_WAIT_MS: (i64, i64) = (0, 60_000);
/// Units; beyond it a typing error is likelier than a warehouse.
const UNITS: (i64, i64) = (0, 1_000_000_000);
/// Of nothing a channel could sell nothing: leave it out instead.
const SHARE_PERCENT: (i64, i64) = (1, 100);
/// A day: an order file that comes once a night. Longer, and what is held back meanwhile is no stock any more.
const ORDER_LAG_S: (i64, i64) = (1, 86_400);

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_path_buf(), source })?;
        Self::parse(&text).map_err(|faults| ConfigError::Faults { path: path.to_path_buf(), faults })
    }

    /// Checks a text.
    ///
    /// # Errors
    /// Every fault, in the order of the lines.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        let (mut reader, mut root) = Reader::new(text);
        let http = http(&mut reader, &mut root);
        let store = store::store(&mut reader, &mut root);
        let broker = broker(&mut reader, &mut root);
        let mqtt = mqtt(&mut reader, &mut root);
        let erp = reader.section(&mut root, "erp").map(|section| erp(&mut reader, section));
        let sections = reader.sections(&mut root, "channel");
        let mut channels: Vec<Channel> = Vec::new();
        let mut whole = true;
        for section in sections {
            let span = section.span();
            match channel(&mut reader, section) {
                Some(channel) if channels.iter().any(|other| other.name == channel.name) => {
                    reader.fault(span, format!("there are two channels named {}", channel.name));
                }
                Some(channel) => {
                    for other in channels.iter().filter(|other| is_torn(&channel, other)) {
                        reader.fault(span.clone(), torn(&channel, other));
                    }
                    channels.push(channel);
                }
                None => whole = false,
            }
        }
        let orders = orders::orders(&mut reader, &mut root);
        let log = log(&mut reader, &mut root);
        reader.end(root);
        let faults = reader.finish();
        let Some(orders) = orders else { return Err(faults) };
        match (http, store, mqtt, broker, erp.map_or(Some(None), |erp| erp.map(Some))) {
            (Some(http), Some(store), Some(mqtt), Some(broker), Some(erp)) if faults.is_empty() && whole => {
                Ok(Self { http, store, mqtt, broker, erp, channels, orders, log })
            }
            _ => Err(faults),
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "expected an address and port such as 127.0.0.1:8480".to_owned())
}

/// Whether a name or address is this machine's own.
fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn text(text: &str) -> Result<String, String> {
    match text {
        "" => Err("expected a text that is not empty".into()),
        text => Ok(text.to_owned()),
    }
}

fn url(text: &str) -> Result<String, String> {
    match text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) {
        Some(rest) if !rest.is_empty() => Ok(text.to_owned()),
        _ => Err("expected a URL such as https://shop.example".into()),
    }
}

fn id<T: std::str::FromStr<Err = stockwire_protocol::IdError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|fault: stockwire_protocol::IdError| fault.to_string())
}

/// A key that may be left out, with its default.
fn or<'t, T>(
    reader: &mut Reader<'t>,
    section: &mut Section<'t>,
    key: &str,
    default: T,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    if section.has(key) { reader.parse(section, key, parse) } else { Some(default) }
}

/// What a busy integration asks, and a hundredth of what the gateway answers.
const REQUESTS_PER_S: u32 = 100;

fn http<'t>(reader: &mut Reader<'t>, root: &mut Section<'t>) -> Option<Http> {
    let listen = SocketAddr::from(([127, 0, 0, 1], 8480));
    let Some(mut section) = reader.section(root, "http") else {
        return Some(Http { listen, trust_loopback: true, requests_per_s: REQUESTS_PER_S });
    };
    let listen = or(reader, &mut section, "listen", listen, address);
    let trust_loopback = reader.boolean(&mut section, "trust_loopback", true);
    let default = i64::from(REQUESTS_PER_S);
    let requests_per_s = reader.integer(&mut section, "requests_per_s", (1, 100_000), default) as u32;
    reader.end(section);
    Some(Http { listen: listen?, trust_loopback, requests_per_s })
}

fn mqtt<'t>(reader: &mut Reader<'t>, root: &mut Section<'t>) -> Option<Mqtt> {
    let default = || Mqtt {
        host: "127.0.0.1".into(),
        port: 1883,
        client_id: "gateway".into(),
        group: "gateway".into(),
        tls: None,
    };
    let Some(mut section) = reader.section(root, "mqtt") else { return Some(default()) };
    let span = section.span();
    let host = or(reader, &mut section, "host", default().host, text);
    let port = reader.integer(&mut section, "port", (1, 65_535), 1883) as u16;
    let client_id = or(reader, &mut section, "client_id", default().client_id, text);
    let group = or(reader, &mut section, "group", default().group, text);
    let tls = reader.section(&mut section, "tls").map(|section| tls(reader, section));
    reader.end(section);
    if tls.is_none() && host.as_ref().is_some_and(|host| !is_local(host)) {
        reader.fault(
            span,
            "mqtt.host is not this machine, so [mqtt.tls] with ca, cert and key is needed".into(),
        );
    }
    let tls = match tls {
        Some(files) => Some(files.map(|(ca, cert, key)| TlsFiles { ca, cert, key })?),
        None => None,
    };
    Some(Mqtt { host: host?, port, client_id: client_id?, group: group?, tls })
}

fn tls<'t>(reader: &mut Reader<'t>, mut section: Section<'t>) -> Option<(PathBuf, PathBuf, PathBuf)> {
    let files = ["ca", "cert", "key"].map(|key| reader.path(&mut section, key));
    reader.end(section);
    let [ca, cert, key] = files;
    Some((ca?, cert?, key?))
}

/// The outer `None` is a fault, the inner one a broker that is switched off.
fn broker<'t>(reader: &mut Reader<'t>, root: &mut Section<'t>) -> Option<Option<Broker>> {
    let Some(mut section) = reader.section(root, "broker") else { return Some(None) };
    let span = section.span();
    let embedded = reader.boolean(&mut section, "embedded", false);
    let listen = or(reader, &mut section, "listen", SocketAddr::from(([127, 0, 0, 1], 1883)), address);
    let tls = reader.section(&mut section, "tls").map(|section| tls(reader, section));
    reader.end(section);
    if embedded && tls.is_none() && listen.is_some_and(|listen| !listen.ip().is_loopback()) {
        reader.fault(span, "broker.listen is not a loopback address, so [broker.tls] is needed".into());
    }
    let tls = match tls {
        Some(files) => Some(files.map(|(ca, cert, key)| BrokerTls { ca, cert, key })?),
        None => None,
    };
    Some(embedded.then_some(Broker { listen: listen?, tls }))
}

fn erp<'t>(reader: &mut Reader<'t>, mut section: Section<'t>) -> Option<Erp> {
    let name = or(reader, &mut section, "name", "erp".to_owned(), text);
    let kind = reader.required(&mut section, "kind", |kind| crate::erp::find(kind).map(|_| kind.to_owned()));
    let url = reader.required(&mut section, "url", url);
    let key_file = reader.path(&mut section, "key_file");
    let refresh_s = reader.integer(&mut section, "refresh_s", REFRESH_S, 600) as u64;
    let batch_lines = reader.integer(&mut section, "batch_lines", BATCH_LINES, 100) as usize;
    let batch_wait_ms = reader.integer(&mut section, "batch_wait_ms", BATCH_WAIT_MS, 200) as u64;
    let company = section.has("company").then(|| reader.integer(&mut section, "company", (1, i64::MAX), 1));
    let supplier = reader.parse(&mut section, "supplier", text);
    let customer = reader.parse(&mut section, "customer", text);
    let force_assignment = reader.boolean(&mut section, "force_assignment", true);
    let sales = reader.boolean(&mut section, "sales", false);
    reader.end(section);
    Some(Erp {
        name: name?,
        kind: kind?,
        url: url?,
        key_file: key_file?,
        refresh_s,
        batch_lines,
        batch_wait_ms,
        company,
        supplier,
        customer,
        force_assignment,
        sales,
    })
}

fn channel<'t>(reader: &mut Reader<'t>, mut section: Section<'t>) -> Option<Channel> {
    let name = reader.required(&mut section, "name", id::<ChannelId>);
    let kind =
        reader.required(&mut section, "kind", |kind| crate::channel::find(kind).map(|_| kind.to_owned()));
    let url = reader.required(&mut section, "url", url);
    let user = reader.required(&mut section, "user", text);
    let password_file = reader.path(&mut section, "password_file");
    let (given, at) = (section.has("sites"), section.span_of("sites"));
    let faults = reader.count();
    let sites = reader.list(&mut section, "sites", id::<SiteId>);
    // A list whose entries are at fault has been told of.
    if sites.is_empty() && (!given || reader.count() == faults) {
        reader.fault(at, "a [[channel]] needs sites = [...], whose stock it sells".into());
    }
    let safety_stock = reader.integer(&mut section, "safety_stock", UNITS, 0);
    let out_of_stock_threshold = reader.integer(&mut section, "out_of_stock_threshold", UNITS, 0);
    let cap = section.has("cap").then(|| reader.integer(&mut section, "cap", UNITS, 0));
    let share_percent = reader.integer(&mut section, "share_percent", SHARE_PERCENT, 100);
    let end_when = reader.integer(&mut section, "end_when", UNITS, 0);
    let order_lag_s = reader.integer(&mut section, "order_lag_s", ORDER_LAG_S, ORDER_LAG_MS / 1_000);
    let strict = reader.boolean(&mut section, "strict", false);
    let orders = reader.boolean(&mut section, "orders", false);
    let webhook_secret_file =
        section.has("webhook_secret_file").then(|| reader.path(&mut section, "webhook_secret_file"));
    reader.end(section);
    Some(Channel {
        name: name?,
        kind: kind?,
        url: url?,
        user: user?,
        password_file: password_file?,
        sites,
        safety_stock,
        out_of_stock_threshold,
        cap,
        share_percent,
        end_when,
        order_lag_s,
        strict,
        orders,
        webhook_secret_file: webhook_secret_file.flatten(),
    })
}

/// Strictly sold stock is divided between channels as one pool, so whatever one of them has sold any of its sites must
/// be able to ship.
fn is_torn(one: &Channel, other: &Channel) -> bool {
    let shares = one.sites.iter().any(|site| other.sites.contains(site));
    let same =
        one.sites.len() == other.sites.len() && one.sites.iter().all(|site| other.sites.contains(site));
    (one.strict || other.strict) && shares && !same
}

fn torn(one: &Channel, other: &Channel) -> String {
    format!(
        "{} and {} share a site and one of them is strict, so both must sell from the same sites",
        one.name, other.name
    )
}

fn log<'t>(reader: &mut Reader<'t>, root: &mut Section<'t>) -> tracing::Level {
    let Some(mut section) = reader.section(root, "log") else { return tracing::Level::INFO };
    let level = or(reader, &mut section, "level", tracing::Level::INFO, |level| {
        level.parse().map_err(|_| "expected error, warn, info, debug or trace".to_owned())
    });
    reader.end(section);
    level.unwrap_or(tracing::Level::INFO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let got: Vec<String> = match Config::parse(text) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn the_manual_is_a_valid_configuration_and_so_is_nothing() {
        check(DEFAULT, &[]);
        check("", &[]);
        let uncommented: Vec<&str> = DEFAULT
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.starts_with('[') || rest.split(' ').nth(1) == Some("=") => rest,
                _ => line,
            })
            .collect();
        check(&uncommented.join("\n"), &[]);
    }

    #[test]
    fn all_faults_are_told_at_once_with_their_lines() {
        check(
            "[http]\nlisten = \"8480\"\ntrust_loopback = 1\n[mqtt]\nhost = \"broker.example\"\nport = 0\nfoo = 1\n\n[erp]\n\
             kind = \"sap\"\nbatch_lines = \"x\"\n[[channel]]\nname = \"Shop\"\nsites = [\"A/B\"]\n[log]\nlevel = \"loud\"\n",
            &[
                "line 2: http.listen = \"8480\": expected an address and port such as 127.0.0.1:8480",
                "line 3: http.trust_loopback must be true or false, got integer",
                "line 4: mqtt.host is not this machine, so [mqtt.tls] with ca, cert and key is needed",
                "line 6: mqtt.port = 0: expected 1 to 65535",
                "line 7: mqtt.foo is no known key; `print-config` shows all of them",
                "line 9: [erp] lacks key_file",
                "line 9: [erp] lacks url",
                "line 10: erp.kind = \"sap\": there is no ERP connector named \"sap\"; there are tryton",
                "line 11: erp.batch_lines must be a whole number from 1 to 100, got string",
                "line 12: [channel] lacks kind",
                "line 12: [channel] lacks password_file",
                "line 12: [channel] lacks url",
                "line 12: [channel] lacks user",
                "line 13: channel.name = \"Shop\": channel may hold only a-z, 0-9 and -, got 'S' at position 0",
                "line 14: channel.sites: site may hold only A-Z, a-z, 0-9, - and _, got '/' at position 1",
                "line 16: log.level = \"loud\": expected error, warn, info, debug or trace",
            ],
        );
    }
    #[test]
    fn strict_channels_that_share_a_site_sell_from_the_same_sites() {
        let channel = |name: &str, rest: &str| {
            format!(
                "[[channel]]\nname = \"{name}\"\nkind = \"vendure\"\nurl = \"http://127.0.0.1:2\"\nuser = \"u\"\n\
                 password_file = \"p\"\n{rest}\n"
            )
        };
        let text = [
            channel("a", "sites = [\"HAM\", \"MUC\"]\nstrict = true\nshare_percent = 0\norder_lag_s = 86401"),
            channel("b", "sites = [\"MUC\", \"HAM\"]\nstrict = true"),
            channel("c", "sites = [\"BER\"]\nend_when = -1"),
        ];
        check(
            &text.concat(),
            &[
                "line 9: channel.share_percent = 0: expected 1 to 100",
                "line 10: channel.order_lag_s = 86401: expected 1 to 86400",
                "line 26: channel.end_when = -1: expected 0 to 1000000000",
            ],
        );
        let text =
            [channel("a", "sites = [\"HAM\", \"MUC\"]\nstrict = true"), channel("b", "sites = [\"HAM\"]")];
        let expected =
            "line 9: b and a share a site and one of them is strict, so both must sell from the same sites";
        check(&text.concat(), &[expected]);
    }

    #[test]
    fn a_channel_without_sites_is_told_at_its_key() {
        let channel = "[erp]\nkind = \"tryton\"\nurl = \"http://127.0.0.1:1\"\nkey_file = \"k\"\n[[channel]]\nname = \"shop\"\n\
                       kind = \"vendure\"\nurl = \"http://127.0.0.1:2\"\nuser = \"u\"\npassword_file = \"p\"\n";
        check(
            &format!("{channel}sites = []\n"),
            &["line 11: a [[channel]] needs sites = [...], whose stock it sells"],
        );
        check(channel, &["line 5: a [[channel]] needs sites = [...], whose stock it sells"]);
    }
}
