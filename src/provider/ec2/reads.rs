//! Complete reads: every page or an error.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_ec2::types::{
    Filter, Image, Instance, InstanceTypeInfo, LocationType, SpotInstanceRequest, SpotPrice, Subnet, Volume,
};
use aws_smithy_types::DateTime;

use super::{action::Action, client::Api, spot};
use crate::provider::{ErrorKind, ProviderError, Result, rented::pages::Pages};

impl Api {
    /// All instances that pass the filters.
    pub(super) async fn instances(&self, act: &str, filters: Vec<Filter>) -> Result<Vec<Instance>> {
        let request = self.ec2().describe_instances().set_filters(Some(filters)).max_results(self.page_size);
        let (mut pages, mut all) = (Pages::default(), Vec::new());
        loop {
            let page = || request.clone().set_next_token(pages.token.clone()).send();
            let page = self.call(act, Action::DescribeInstances, page).await?;
            let more = pages.next(act, page.next_token())?;
            let reservations = page.reservations.unwrap_or_default().into_iter();
            all.extend(reservations.flat_map(|reservation| reservation.instances.unwrap_or_default()));
            if !more {
                return Ok(all);
            }
        }
    }

    /// All volumes that pass the filters.
    pub(super) async fn volumes(&self, act: &str, filters: Vec<Filter>) -> Result<Vec<Volume>> {
        let request = self.ec2().describe_volumes().set_filters(Some(filters)).max_results(self.page_size);
        let (mut pages, mut all) = (Pages::default(), Vec::new());
        loop {
            let page = || request.clone().set_next_token(pages.token.clone()).send();
            let page = self.call(act, Action::DescribeVolumes, page).await?;
            let more = pages.next(act, page.next_token())?;
            all.extend(page.volumes.unwrap_or_default());
            if !more {
                return Ok(all);
            }
        }
    }

    /// All types of these families (patterns such as `m7i.*`) that x86 images run on.
    pub(super) async fn instance_types(&self, act: &str, families: &[String]) -> Result<Vec<InstanceTypeInfo>> {
        let filters = vec![
            filter("instance-type", families),
            filter("processor-info.supported-architecture", &["x86_64".to_owned()]),
            filter("current-generation", &["true".to_owned()]),
        ];
        let request = self.ec2().describe_instance_types().set_filters(Some(filters)).max_results(100);
        let (mut pages, mut all) = (Pages::default(), Vec::new());
        loop {
            let page = || request.clone().set_next_token(pages.token.clone()).send();
            let page = self.call(act, Action::DescribeInstanceTypes, page).await?;
            let more = pages.next(act, page.next_token())?;
            all.extend(page.instance_types.unwrap_or_default());
            if !more {
                return Ok(all);
            }
        }
    }

    /// Which zones have which of these types.
    pub(super) async fn type_zones(
        &self,
        act: &str,
        families: &[String],
    ) -> Result<BTreeMap<String, BTreeSet<String>>> {
        let request = self.ec2().describe_instance_type_offerings().location_type(LocationType::AvailabilityZone);
        let request = request.filters(filter("instance-type", families)).max_results(1000);
        let (mut pages, mut all) = (Pages::default(), BTreeMap::<String, BTreeSet<String>>::new());
        loop {
            let page = || request.clone().set_next_token(pages.token.clone()).send();
            let page = self.call(act, Action::DescribeInstanceTypeOfferings, page).await?;
            let more = pages.next(act, page.next_token())?;
            for one in page.instance_type_offerings() {
                if let (Some(kind), Some(zone)) = (one.instance_type(), one.location()) {
                    all.entry(kind.as_str().to_owned()).or_default().insert(zone.to_owned());
                }
            }
            if !more {
                return Ok(all);
            }
        }
    }

    /// Spot requests whose instances are about to be taken back, of anybody.
    pub(super) async fn marked_spot(&self, act: &str) -> Result<Vec<SpotInstanceRequest>> {
        let filters = vec![filter("state", &["active".to_owned()]), filter("status-code", &[spot::MARKED.to_owned()])];
        let request = self.ec2().describe_spot_instance_requests().set_filters(Some(filters));
        let request = request.max_results(self.page_size);
        let (mut pages, mut all) = (Pages::default(), Vec::new());
        loop {
            let page = || request.clone().set_next_token(pages.token.clone()).send();
            let page = self.call(act, Action::DescribeSpotInstanceRequests, page).await?;
            let more = pages.next(act, page.next_token())?;
            all.extend(page.spot_instance_requests.unwrap_or_default());
            if !more {
                return Ok(all);
            }
        }
    }

    /// The present spot prices of Linux on these types.
    pub(super) async fn spot_prices(&self, act: &str, families: &[String]) -> Result<Vec<SpotPrice>> {
        let now = DateTime::from(std::time::SystemTime::now());
        let request = self.ec2().describe_spot_price_history().start_time(now).end_time(now);
        let request = request.product_descriptions("Linux/UNIX").product_descriptions("Linux/UNIX (Amazon VPC)");
        let request = request.filters(filter("instance-type", families)).max_results(1000);
        let (mut pages, mut all) = (Pages::default(), Vec::new());
        loop {
            let page = || request.clone().set_next_token(pages.token.clone()).send();
            let page = self.call(act, Action::DescribeSpotPriceHistory, page).await?;
            let more = pages.next(act, page.next_token())?;
            all.extend(page.spot_price_history.unwrap_or_default());
            if !more {
                return Ok(all);
            }
        }
    }

    /// These subnets; where none is named, those that the account's guests are put into by default.
    pub(super) async fn subnets(&self, act: &str, ids: &[String]) -> Result<Vec<Subnet>> {
        let by = match ids {
            [] => filter("default-for-az", &["true".to_owned()]),
            some => filter("subnet-id", some),
        };
        let send = || self.ec2().describe_subnets().filters(by.clone()).send();
        let reply = self.call(act, Action::DescribeSubnets, send).await?;
        Ok(reply.subnets.unwrap_or_default())
    }

    /// One image.
    pub(super) async fn image(&self, act: &str, id: &str) -> Result<Image> {
        let send = || self.ec2().describe_images().image_ids(id).send();
        let reply = self.call(act, Action::DescribeImages, send).await?;
        reply.images.unwrap_or_default().into_iter().next().ok_or_else(|| {
            // EC2 answers so for an image that was deregistered or is not shared with this account any more.
            ProviderError::new(ErrorKind::NotFound, act, format!("there is no image {id} in this region"))
        })
    }
}

fn filter(name: &str, values: &[String]) -> Filter {
    Filter::builder().name(name).set_values(Some(values.to_vec())).build()
}
