//! A real Vendure 3.7 shop, seeded from a [`World`], served on a private port.
//!
//! Admin GraphQL at `/admin-api`, shop GraphQL at `/shop-api`. The user is `superadmin`; a login answers the token in the
//! header `vendure-auth-token`. Stock is whole pieces by location, set absolutely; the shop subtracts what its own orders
//! have allocated.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::cache;
use super::install::{self, Tool};
use super::process::{Child, Scratch, free_port, random_secret, write_private};
use super::world::World;

/// The only user.
pub const USER: &str = "superadmin";

/// Up within 4 s on an idle machine, 22 s were seen on a busy one.
const START_DEADLINE: Duration = Duration::from_secs(180);
/// Far above the slowest call that was measured (0.5 s for 20 variants).
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// What one location of the shop holds of a variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// What the shop was told, less what it has shipped.
    pub on_hand: i64,
    /// What it has sold and not yet shipped.
    pub allocated: i64,
}

/// A customer on the way to the till.
pub struct Cart {
    session: Option<String>,
}

/// A running shop. Dropping it kills it and removes its database.
pub struct Vendure {
    child: Child,
    scratch: Scratch,
    template: PathBuf,
    port: u16,
    http: reqwest::Client,
    admin_token: Mutex<Option<String>>,
}

impl Vendure {
    /// Installs and seeds what is missing, then serves a fresh copy.
    pub fn start(world: &World) -> Result<Self> {
        let modules = install::ensure(Tool::Vendure)?;
        let template = seeded(&modules, world)?;
        let scratch = Scratch::new("vendure")?;
        restore(&template, scratch.path())?;
        let port = free_port()?;
        let child = launch(&modules, scratch.path(), port)?;
        Ok(Self {
            child,
            scratch,
            template,
            port,
            http: super::http_client()?,
            admin_token: Mutex::new(None),
        })
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where it listens on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Holds the password of [`USER`]; only this user may read it.
    pub fn password_file(&self) -> PathBuf {
        password_path(self.scratch.path())
    }

    /// Kills it as a power cut would.
    pub fn kill9(&mut self) -> Result<()> {
        self.child.kill9()
    }

    /// Starts it again on the same port with the data that it had.
    pub fn restart(&mut self) -> Result<()> {
        if self.child.is_running() {
            self.kill9()?;
        }
        self.child = launch(&install::ensure(Tool::Vendure)?, self.scratch.path(), self.port)?;
        Ok(())
    }

    /// Starts it again on the same port as it was seeded.
    pub fn reset(&mut self) -> Result<()> {
        self.kill9()?;
        restore(&self.template, self.scratch.path())?;
        *self.admin_token.get_mut() = None;
        self.restart()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.child.log()
    }

    /// One Admin GraphQL call as [`USER`]; any error in the answer is an error here.
    pub async fn admin(&self, query: &str, variables: Value) -> Result<Value> {
        let mut token = self.admin_token.lock().await;
        if token.is_none() {
            let password = fs::read_to_string(self.password_file()).context("reading the password")?;
            let login =
                "mutation($u: String!, $p: String!) { login(username: $u, password: $p) { __typename } }";
            let variables = json!({"u": USER, "p": password});
            let data = self.call("admin-api", &mut token, login, variables).await?;
            ensure!(data["login"]["__typename"] == "CurrentUser", "the shop refused our login: {data}");
        }
        self.call("admin-api", &mut token, query, variables).await
    }

    /// What the shop has of `sku` by location.
    pub async fn stock(&self, sku: &str) -> Result<BTreeMap<String, Level>> {
        self.all_stock().await?.remove(sku).with_context(|| format!("the shop has no {sku}"))
    }

    /// What the shop has of every SKU by location.
    pub async fn all_stock(&self) -> Result<BTreeMap<String, BTreeMap<String, Level>>> {
        /// More than a test's world has; the shop's own page limit.
        const PAGE: usize = 1000;
        let query = "query($take: Int!) { productVariants(options: { take: $take }) { totalItems \
                     items { sku stockLevels { stockLocation { name } stockOnHand stockAllocated } } } }";
        let data = self.admin(query, json!({"take": PAGE})).await?;
        let found = &data["productVariants"];
        let variants = found["items"].as_array().context("no variants in the answer")?;
        ensure!(found["totalItems"] == variants.len(), "more than {PAGE} variants");
        let mut stock = BTreeMap::new();
        for variant in variants {
            let levels = variant["stockLevels"].as_array().context("a variant without stock levels")?;
            let levels: Result<BTreeMap<_, _>> = levels.iter().map(level).collect();
            stock.insert(text(&variant["sku"])?, levels?);
        }
        Ok(stock)
    }

    /// Sets what one location holds of `sku`.
    pub async fn set_stock(&self, sku: &str, site: &str, on_hand: i64) -> Result<()> {
        let location = "query($n: String!) { stockLocations(options: { filter: { name: { eq: $n } } }) { items { id } } }";
        let found = self.admin(location, json!({"n": site})).await?;
        let location = text(&found["stockLocations"]["items"][0]["id"])?;
        let set = "mutation($i: [UpdateProductVariantInput!]!) { updateProductVariants(input: $i) { id } }";
        let id = self.variant_id(sku).await?;
        let level = json!({"stockLocationId": location, "stockOnHand": on_hand});
        self.admin(set, json!({"i": [{"id": id, "stockLevels": [level]}]})).await.map(drop)
    }

    /// Buys and pays like a customer; gives the order's code. The shop then has the quantity allocated.
    pub async fn buy(&self, sku: &str, quantity: u32) -> Result<String> {
        let mut cart = self.fill_cart(sku, quantity).await?;
        self.pay(&mut cart).await
    }

    /// Goes as far as the till; nothing is allocated yet, and whoever pays gets it.
    pub async fn fill_cart(&self, sku: &str, quantity: u32) -> Result<Cart> {
        let id = self.variant_id(sku).await?;
        let customer =
            json!({"firstName": "Test", "lastName": "Customer", "emailAddress": "customer@example.invalid"});
        let address = json!({"streetLine1": "Hafenstr. 1", "city": "Hamburg", "postalCode": "20457", "countryCode": "DE"});
        let steps = [
            (
                "mutation($v: ID!, $q: Int!) { step: addItemToOrder(productVariantId: $v, quantity: $q) RESULT }",
                json!({"v": id, "q": quantity}),
            ),
            (
                "mutation($i: CreateCustomerInput!) { step: setCustomerForOrder(input: $i) RESULT }",
                json!({"i": customer}),
            ),
            (
                "mutation($i: CreateAddressInput!) { step: setOrderShippingAddress(input: $i) RESULT }",
                json!({"i": address}),
            ),
            ("mutation { step: setOrderShippingMethod(shippingMethodId: [\"1\"]) RESULT }", json!({})),
            ("mutation { step: transitionOrderToState(state: \"ArrangingPayment\") RESULT }", json!({})),
        ];
        let mut cart = Cart { session: None };
        for (step, variables) in steps {
            self.step(&mut cart, step, variables).await?;
        }
        Ok(cart)
    }

    /// Pays; gives the order's code.
    pub async fn pay(&self, cart: &mut Cart) -> Result<String> {
        let pay =
            "mutation { step: addPaymentToOrder(input: { method: \"test-payment\", metadata: {} }) RESULT }";
        let order = self.step(cart, pay, json!({})).await?;
        ensure!(order["state"] == "PaymentSettled", "the order is not paid: {order}");
        text(&order["code"])
    }

    async fn step(&self, cart: &mut Cart, step: &str, variables: Value) -> Result<Value> {
        let result = "{ __typename ... on Order { code state } ... on ErrorResult { errorCode message } }";
        let query = step.replace("RESULT", result);
        let mut answer = self.call("shop-api", &mut cart.session, &query, variables).await?;
        let order = answer["step"].take();
        ensure!(order["__typename"] == "Order", "{step}: {order}");
        Ok(order)
    }

    async fn variant_id(&self, sku: &str) -> Result<String> {
        let query = "query($s: String!) { productVariants(options: { filter: { sku: { eq: $s } } }) { items { id } } }";
        let found = self.admin(query, json!({"s": sku})).await?;
        text(&found["productVariants"]["items"][0]["id"]).with_context(|| format!("the shop has no {sku}"))
    }

    /// One call of a session; `token` is the session's and is replaced when the shop gives another.
    async fn call(
        &self,
        door: &str,
        token: &mut Option<String>,
        query: &str,
        variables: Value,
    ) -> Result<Value> {
        let mut request = self
            .http
            .post(format!("{}/{door}", self.url()))
            .timeout(CALL_TIMEOUT)
            .json(&json!({"query": query, "variables": variables}));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.with_context(|| format!("calling {door}"))?;
        if let Some(new) = response.headers().get("vendure-auth-token") {
            *token = Some(new.to_str().context("a token that is not text")?.to_owned());
        }
        let mut answer: Value =
            response.json().await.with_context(|| format!("reading the answer of {door}"))?;
        if !answer["errors"].is_null() {
            bail!("{door} answered {} to {query}", answer["errors"]);
        }
        Ok(answer["data"].take())
    }
}

fn level(level: &Value) -> Result<(String, Level)> {
    let number = |field: &str| level[field].as_i64().with_context(|| format!("no {field} in {level}"));
    let amounts = Level { on_hand: number("stockOnHand")?, allocated: number("stockAllocated")? };
    Ok((text(&level["stockLocation"]["name"])?, amounts))
}

fn text(value: &Value) -> Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("not a text: {value}"))
}

/// The folder with the seeded database and its password.
fn seeded(modules: &Path, world: &World) -> Result<PathBuf> {
    let programs: Vec<String> = ["vendure/server.js", "vendure/seed.js"]
        .into_iter()
        .map(|name| fs::read_to_string(cache::peer_file(name)).with_context(|| format!("reading {name}")))
        .collect::<Result<_>>()?;
    let description = serde_json::to_string(world).context("describing the world")?;
    cache::folder("vendure-seeded", &(modules, programs, &description), "seeding Vendure", |folder| {
        let password = random_secret()?;
        write_private(&password_path(folder), password.as_bytes())?;
        let world_file = folder.join("world.json");
        fs::write(&world_file, &description).context("writing the world")?;
        let port = free_port()?;
        let mut child = launch(modules, folder, port)?;
        let output = Command::new(install::program(Tool::Node, "node")?)
            .arg(cache::peer_file("vendure/seed.js"))
            .arg(format!("http://127.0.0.1:{port}"))
            .arg(world_file)
            .env("SHOP_PASSWORD", password)
            .output()
            .context("starting seed.js")?;
        if !output.status.success() {
            bail!("seed.js failed with {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        child.terminate().map(drop)
    })
}

fn restore(template: &Path, folder: &Path) -> Result<()> {
    fs::copy(database_path(template), database_path(folder)).context("copying the database")?;
    let password = fs::read(password_path(template)).context("reading the password")?;
    write_private(&password_path(folder), &password)
}

fn database_path(folder: &Path) -> PathBuf {
    folder.join("shop.sqlite")
}

fn password_path(folder: &Path) -> PathBuf {
    folder.join("superadmin.password")
}

fn launch(modules: &Path, folder: &Path, port: u16) -> Result<Child> {
    let password = fs::read_to_string(password_path(folder)).context("reading the password")?;
    let mut command = Command::new(install::program(Tool::Node, "node")?);
    command
        .arg(cache::peer_file("vendure/server.js"))
        .env("NODE_PATH", modules)
        .env("SHOP_PORT", port.to_string())
        .env("SHOP_DATABASE", database_path(folder))
        .env("SHOP_PASSWORD", password);
    let mut child = Child::spawn("vendure", command, &folder.join("vendure.log"))?;
    // It listens before it has filled a new database, so its own word counts and not the port.
    child.wait_ready(START_DEADLINE, |child| child.log().lines().any(|line| line == "READY"))?;
    Ok(child)
}
