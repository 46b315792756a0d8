//! Which two databases are compared.

use clap::Args;

use crate::base::bounds::COPY_PIECE;
use crate::base::{Kind, Side};
use crate::cli::Global;
use crate::cli::backfill::pair::by_id;
use crate::cli::check::subject::Subject;
use crate::cli::deadletter::replay::source::mapped;
use crate::cli::exit::{Exit, Failure};
use crate::config::{self, Config};
use crate::db::product::Product;
use crate::db::read::{self, Limits, Reader};
use crate::route::Target;

/// The pair, where it is not that of the configuration.
#[derive(Clone, Debug, Args)]
pub(super) struct PairArgs {
    /// The source, instead of that of the configuration: http://HOST:PORT
    #[arg(long, value_name = "URL", requires = "destination")]
    source: Option<String>,
    /// The destination, instead of that of the configuration
    #[arg(long, value_name = "URL", requires = "source")]
    destination: Option<String>,
    /// With --source: its organisation (2.x)
    #[arg(long, value_name = "NAME", requires = "source")]
    source_org: Option<String>,
    /// With --destination: its organisation (2.x)
    #[arg(long, value_name = "NAME", requires = "destination")]
    destination_org: Option<String>,
    /// With --source: its token, or user:password
    #[arg(long, value_name = "TOKEN", env = "TWINLINE_SOURCE_TOKEN", hide_env_values = true)]
    source_token: Option<String>,
    /// With --destination: its token, or user:password
    #[arg(long, value_name = "TOKEN", env = "TWINLINE_DESTINATION_TOKEN", hide_env_values = true)]
    destination_token: Option<String>,
}

impl PairArgs {
    /// The configuration of the pair: the file's, or one that names both URLs and nothing else.
    pub(super) fn config(&self, global: &Global) -> Result<Config, Failure> {
        let (Some(source), Some(destination)) = (&self.source, &self.destination) else {
            return global
                .load()?
                .config
                .one(None)
                .map_err(|why| Failure::new(Exit::Usage, why).hint("--source URL --destination URL, for one of them"));
        };
        let section = |name: &str, url: &str, org: &Option<String>, has_token: bool| {
            let mut text = format!("[{name}]\nurl = {}\n", quoted(url));
            if let Some(org) = org {
                text.push_str(&format!("org = {}\n", quoted(org)));
            }
            if has_token {
                text.push_str(&format!("token = \"${{{}}}\"\n", variable(name)));
            }
            text
        };
        let text = format!(
            "data_dir = \"unused\"\n[[listen]]\naddress = \"127.0.0.1:0\"\nrole = \"proxy\"\n{}{}",
            section("source", source, &self.source_org, self.source_token.is_some()),
            section("destination", destination, &self.destination_org, self.destination_token.is_some()),
        );
        let secret = |name: &str| match name {
            _ if name == variable("source") => self.source_token.clone(),
            _ if name == variable("destination") => self.destination_token.clone(),
            _ => None,
        };
        let loaded = config::parse(&text, &secret).map_err(|errors| {
            let said: Vec<String> = errors.iter().map(|error| format!("{}: {}", error.key, error.what)).collect();
            Failure::new(Exit::Usage, said.join("\n"))
        })?;
        Ok(loaded.config)
    }
}

fn variable(section: &str) -> String {
    format!("TWINLINE_VERIFY_{}", section.to_uppercase())
}

/// As a text of TOML; `$` would begin the name of a variable there.
fn quoted(text: &str) -> String {
    format!("{:?}", text.replace('$', "$$"))
}

/// Reads the destination.
pub(super) fn reader(config: &Config, product: Product) -> Result<Reader, Failure> {
    let product = match product {
        Product::Influx1 => read::Product::Influx1,
        Product::Influx2 => read::Product::Influx2,
        other => {
            let what = format!("not comparable: this version cannot read {} back value by value", other.name());
            return Err(Failure::new(Exit::Refused, what).hint("compare with an InfluxDB 1.x or 2.x"));
        }
    };
    let (object_bytes_max, object_values_max) = COPY_PIECE;
    let limits = Limits { object_bytes_max, object_values_max, ..Limits::default() };
    Ok(Reader::of(&config.destination().server, product, Side::Destination, limits)?)
}

/// Database and policy by which a target is read, else why it cannot be.
pub(super) async fn place(config: &Config, target: &Target) -> Result<Result<(String, String), String>, Failure> {
    let (org, bucket) = match target {
        Target::Database { db, rp } => return Ok(Ok((db.clone(), rp.clone()))),
        Target::Bucket { org, bucket } => (org.as_str(), bucket.as_str()),
    };
    let subject = Subject::destination(config)?;
    let own = config.destination().server.org.as_deref();
    match mapped(&subject.server, own, (org, bucket)).await {
        Ok(Ok(place)) => Ok(Ok(place)),
        Ok(Err(_)) => by_id(&subject, own, (org, bucket)).await,
        // A token may be allowed to read, and not to see which mappings there are.
        Err(error) if error.kind() == Kind::Auth => match by_id(&subject, own, (org, bucket)).await? {
            Ok(place) => Ok(Ok(place)),
            Err(_) => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}
