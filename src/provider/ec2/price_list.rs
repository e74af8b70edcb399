//! Amazon's price list, asked for the on-demand prices of a region: another service with another protocol (JSON over one
//! address, signed as everything is). Read only for pools that ask for it, seldom, and in whole or not at all.

use std::{
    collections::{BTreeMap, HashMap},
    str::FromStr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use reqwest::Client;
use rust_decimal::Decimal;
use rustls::{ClientConfig, crypto::aws_lc_rs};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::{
    Ec2Config,
    action::{Action, Calls},
    fault::Failure,
};
use crate::{
    provider::{ErrorKind, ProviderError, Result, rented::retry::Effect},
    runtime::chain,
};

/// What is asked for, in the protocol's words.
const TARGET: &str = "AWSPriceListService.GetProducts";
const MEDIA_TYPE: &str = "application/x-amz-json-1.1";
/// The most products that the service puts into one page.
const PAGE: u32 = 100;
/// A region has some eight hundred types.
const MAX_PAGES: usize = 50;
/// How long the whole list may take. The pool's other reads wait for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Prices of an hour by type, in USD.
pub(super) type List = BTreeMap<String, Decimal>;

/// A way to the service.
#[derive(Debug)]
pub(super) struct PriceList {
    client: Client,
    endpoint: String,
    /// Where the service is, which is what requests are signed for.
    home: &'static str,
    /// Whose prices.
    region: String,
    credentials: SharedCredentialsProvider,
}

impl PriceList {
    /// Nothing is asked yet.
    pub(super) fn new(config: &Ec2Config, credentials: SharedCredentialsProvider) -> Result<Self> {
        const ACT: &str = "prepare for the price list";
        let invalid =
            |error: &(dyn std::error::Error + 'static)| ProviderError::new(ErrorKind::Invalid, ACT, chain(error));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            rustls_platform_verifier::Verifier::new(Arc::clone(&provider)).map_err(|error| invalid(&error))?;
        let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let tls = tls.map_err(|error| invalid(&error))?;
        let tls = tls.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth();
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE.min(config.deadline))
            .build()
            .map_err(|error| invalid(&error))?;
        let home = home(&config.region);
        let own = config.endpoint.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned());
        let endpoint = own.unwrap_or_else(|| format!("https://api.pricing.{home}.amazonaws.com"));
        Ok(Self { client, endpoint, home, region: config.region.clone(), credentials })
    }

    /// Reads it in whole.
    pub(super) async fn read(&self, calls: &Calls, act: &str) -> Result<List> {
        let all = async {
            let (mut list, mut token): (List, Option<String>) = (List::new(), None);
            for _ in 0..MAX_PAGES {
                calls.count(Action::GetProducts);
                let page = self.page(act, token.as_deref()).await?;
                page.price_list.iter().filter_map(|product| price(product)).for_each(|(name, price)| {
                    let known = list.entry(name).or_insert(price);
                    // Two prices of one type differ in something that is not looked at: the dearer one is not too low.
                    *known = price.max(*known);
                });
                token = page.next_token.filter(|token| !token.is_empty());
                if token.is_none() {
                    return Ok(list);
                }
            }
            let message = format!("the price list does not end after {MAX_PAGES} pages");
            Err(ProviderError::new(ErrorKind::Unavailable, act, message))
        };
        timeout(PATIENCE, all).await.unwrap_or_else(|_| {
            let message = format!("no whole price list within {} s", PATIENCE.as_secs());
            Err(ProviderError::new(ErrorKind::Unavailable, act, message))
        })
    }

    async fn page(&self, act: &str, token: Option<&str>) -> Result<Page> {
        let request =
            self.request(&body(&self.region, token)).await.map_err(|fault| fault.into_error(act, Effect::Read))?;
        let lost = |error: reqwest::Error| {
            let words = chain(&error.without_url());
            Failure::Lost(words).into_error(act, Effect::Read)
        };
        let reply = self.client.execute(request).await.map_err(lost)?;
        let (status, bytes) = (reply.status(), reply.bytes().await.map_err(lost)?);
        if !status.is_success() {
            return Err(refusal(status.as_u16(), &bytes).into_error(act, Effect::Read));
        }
        serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("the price list cannot be understood: {error}");
            ProviderError::new(ErrorKind::Unavailable, act, message)
        })
    }

    async fn request(&self, body: &str) -> std::result::Result<reqwest::Request, Failure> {
        let credentials = self.credentials.provide_credentials().await;
        let credentials = credentials.map_err(|error| Failure::NoCredentials(true, chain(&error)))?;
        let identity = credentials.into();
        let unsent = |words: String| Failure::NotSent(words);
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.home)
            .name("pricing")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unsent(chain(&error)))?
            .into();
        let address = format!("{}/", self.endpoint);
        let headers = [("content-type", MEDIA_TYPE), ("x-amz-target", TARGET)];
        let signable =
            SignableRequest::new("POST", address.as_str(), headers.into_iter(), SignableBody::Bytes(body.as_bytes()))
                .map_err(|error| unsent(chain(&error)))?;
        let (signed, _) = sign(signable, &params).map_err(|error| unsent(chain(&error)))?.into_parts();
        let mut request = http::Request::post(&address)
            .header("content-type", MEDIA_TYPE)
            .header("x-amz-target", TARGET)
            .body(body.to_owned())
            .map_err(|error| unsent(chain(&error)))?;
        signed.apply_to_request_http1x(&mut request);
        reqwest::Request::try_from(request).map_err(|error| unsent(chain(&error.without_url())))
    }
}

/// The service is in few places; the law of the region's continent is kept to where that is possible.
fn home(region: &str) -> &'static str {
    match region.split('-').next() {
        Some("eu") => "eu-central-1",
        Some("ap") => "ap-south-1",
        _ => "us-east-1",
    }
}

/// Linux on shared hardware, nothing preinstalled, not a part of a reservation.
fn body(region: &str, token: Option<&str>) -> String {
    let filter = |(field, value): (&str, &str)| json!({ "Type": "TERM_MATCH", "Field": field, "Value": value });
    let filters = [
        ("regionCode", region),
        ("operatingSystem", "Linux"),
        ("tenancy", "Shared"),
        ("preInstalledSw", "NA"),
        ("capacitystatus", "Used"),
    ];
    let mut body = json!({
        "ServiceCode": "AmazonEC2",
        "FormatVersion": "aws_v1",
        "MaxResults": PAGE,
        "Filters": filters.map(filter),
    });
    if let Some(token) = token {
        body["NextToken"] = token.into();
    }
    body.to_string()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page {
    #[serde(default)]
    price_list: Vec<String>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
struct Offer {
    product: Product,
    terms: Terms,
}

#[derive(Deserialize)]
struct Product {
    attributes: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Terms {
    #[serde(rename = "OnDemand", default)]
    on_demand: HashMap<String, Term>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Term {
    price_dimensions: HashMap<String, Dimension>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dimension {
    unit: String,
    price_per_unit: HashMap<String, String>,
}

/// The type and its price of an hour. `None`: the product is something else, or has no price in USD.
fn price(product: &str) -> Option<(String, Decimal)> {
    let offer: Offer = serde_json::from_str(product).ok()?;
    let name = offer.product.attributes.get("instanceType")?.clone();
    let dimensions = offer.terms.on_demand.into_values().flat_map(|term| term.price_dimensions.into_values());
    let hourly = dimensions.filter(|dimension| dimension.unit == "Hrs");
    let prices = hourly.filter_map(|dimension| Decimal::from_str(dimension.price_per_unit.get("USD")?).ok());
    let dearest = prices.max().filter(|price| *price > Decimal::ZERO)?;
    Some((name, dearest.normalize()))
}

/// What the service says of a request that it refuses.
fn refusal(status: u16, body: &[u8]) -> Failure {
    let said: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let word = |name: &str| said[name].as_str().map(str::to_owned);
    let code = word("__type").map(|code| code.rsplit('#').next().unwrap_or_default().to_owned());
    Failure::Refused { status, code, message: word("message").or_else(|| word("Message")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(name: &str, unit: &str, currency: &str, price: &str) -> String {
        json!({
            "product": { "productFamily": "Compute Instance", "attributes": { "instanceType": name, "vcpu": "2" } },
            "serviceCode": "AmazonEC2",
            "terms": { "OnDemand": { "X.JRTCKXETXF": { "priceDimensions": { "X.JRTCKXETXF.6YS6EN2CT7": {
                "unit": unit, "pricePerUnit": { currency: price },
            }}}}},
        })
        .to_string()
    }

    #[test]
    fn prices_are_read_from_products() {
        let read = |text: &str| price(text).map(|(name, price)| (name, price.to_string()));
        let one = |name: &str, price: &str| Some((name.to_owned(), price.to_owned()));
        assert_eq!(read(&product("m7i.large", "Hrs", "USD", "0.1070000000")), one("m7i.large", "0.107"));
        // What is no price of an hour in dollars is none.
        for other in [
            product("m7i.large", "Hrs", "CNY", "0.7"),
            product("m7i.large", "Quantity", "USD", "1"),
            product("m7i.large", "Hrs", "USD", "0.0000000000"),
            product("m7i.large", "Hrs", "USD", "free"),
            json!({ "product": { "attributes": {} }, "terms": {} }).to_string(),
            "nonsense".to_owned(),
        ] {
            assert_eq!(read(&other), None, "{other}");
        }
    }

    #[test]
    fn the_nearest_house_of_the_service_is_asked() {
        for (region, expected) in
            [("eu-west-2", "eu-central-1"), ("ap-southeast-1", "ap-south-1"), ("us-west-2", "us-east-1")]
        {
            assert_eq!(home(region), expected);
        }
    }

    #[test]
    fn a_refusal_has_the_services_own_code() {
        let body = br#"{"__type":"com.amazonaws.pricing#AccessDeniedException","Message":"not authorized"}"#;
        let error = refusal(400, body).into_error("read the price list", Effect::Read);
        assert_eq!(error.code.as_deref(), Some("AccessDeniedException"));
        assert_eq!(refusal(502, b"<html>").into_error("read", Effect::Read).kind, ErrorKind::Unavailable);
    }
}
