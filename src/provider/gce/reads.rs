//! Complete reads: every page and every zone of the region, or an error.

use reqwest::Method;
use serde::de::DeserializeOwned;

use super::{
    action::Action,
    client::{Api, Request},
    wire::{Aggregated, DISK_FIELDS, Disk, INSTANCE_FIELDS, Image, Instance, MachineType, TYPE_FIELDS, Warning, last},
};
use crate::provider::{ErrorKind, ProviderError, Result, rented::pages::Pages};

/// Says only that a zone has nothing.
const EMPTY: &str = "NO_RESULTS_ON_PAGE";

impl Api {
    /// All instances of the region that pass the filter.
    pub(super) async fn instances(&self, act: &str, filter: &str, region: &str) -> Result<Vec<Instance>> {
        self.everywhere(act, Action::ListInstances, "instances", INSTANCE_FIELDS, filter, region).await
    }

    /// All disks of the region that pass the filter.
    pub(super) async fn disks(&self, act: &str, filter: &str, region: &str) -> Result<Vec<Disk>> {
        self.everywhere(act, Action::ListDisks, "disks", DISK_FIELDS, filter, region).await
    }

    /// All machine types of the region.
    pub(super) async fn machine_types(&self, act: &str, region: &str) -> Result<Vec<MachineType>> {
        self.everywhere(act, Action::ListMachineTypes, "machineTypes", TYPE_FIELDS, "", region).await
    }

    async fn everywhere<T: DeserializeOwned>(
        &self,
        act: &str,
        action: Action,
        what: &str,
        fields: &str,
        filter: &str,
        region: &str,
    ) -> Result<Vec<T>> {
        let fields = format!(
            "nextPageToken,unreachables,warning(code,message),items/*/warning(code,message),items/*/{what}({fields})"
        );
        let mut request = Request::new(Method::GET, format!("aggregated/{what}"))
            .with("maxResults", self.page_size.to_string())
            .with("fields", fields.replace(' ', ""));
        if !filter.is_empty() {
            request = request.with("filter", filter);
        }
        let (mut pages, mut all) = (Pages::default(), Vec::new());
        loop {
            let asking = pages.token.iter().fold(request.clone(), |request, token| request.with("pageToken", token));
            let page: Aggregated<T> = self.call(act, action, &asking).await?;
            is_whole(&page, region).map_err(|why| ProviderError::new(ErrorKind::Unavailable, act, why))?;
            let more = pages.next(act, page.next_page_token.as_deref())?;
            all.extend(of_region(page, region));
            if !more {
                return Ok(all);
            }
        }
    }

    /// One instance, by its name or its number. Google answers that it is not there with an error.
    pub(super) async fn instance(&self, act: &str, zone: &str, name: &str) -> Result<Instance> {
        let request = Request::new(Method::GET, format!("zones/{zone}/instances/{name}"));
        self.call(act, Action::GetInstance, &request.with("fields", INSTANCE_FIELDS.replace(' ', ""))).await
    }

    /// One image, by its path.
    pub(super) async fn image(&self, act: &str, path: &str) -> Result<Image> {
        let family = path.contains("/images/family/");
        let action = if family { Action::GetImageFromFamily } else { Action::GetImage };
        self.call(act, action, &Request::new(Method::GET, path).with("fields", "diskSizeGb")).await
    }
}

/// Whether this scope is a zone of the region.
fn is_of(region: &str, scope: &str) -> bool {
    last(scope).rsplit_once('-').is_some_and(|(of, _)| of == region)
}

/// What is in the region's zones. A project is listed as a whole; what is in another region belongs to another pool, also where
/// it carries the same owner's labels.
fn of_region<T>(page: Aggregated<T>, region: &str) -> impl Iterator<Item = T> {
    let here = page.items.into_iter().filter(move |(scope, _)| is_of(region, scope));
    here.flat_map(|(_, scope)| scope.things)
}

/// Whether a page shows all of the region. What is the matter with zones elsewhere does not count: a pool's instances cannot
/// be there.
fn is_whole<T>(page: &Aggregated<T>, region: &str) -> Result<(), String> {
    let here = |scope: &str| is_of(region, scope);
    if let Some(zone) = page.unreachables.iter().find(|scope| here(scope)) {
        return Err(format!("Google cannot read zone {} at present", last(zone)));
    }
    let matters = |warning: &&Warning| warning.code != EMPTY;
    if let Some(warning) = page.warning.as_ref().filter(matters).filter(|_| page.unreachables.is_empty()) {
        return Err(format!("the list is not complete: {} ({})", warning.message, warning.code));
    }
    let mut warned = page.items.iter().filter(|(scope, _)| here(scope));
    match warned.find_map(|(scope, items)| Some((scope, items.warning.as_ref().filter(matters)?))) {
        Some((scope, warning)) => {
            Err(format!("the list of zone {} is not complete: {} ({})", last(scope), warning.message, warning.code))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(page: serde_json::Value) -> Result<(), String> {
        is_whole(&serde_json::from_value::<Aggregated<Instance>>(page).unwrap(), "europe-west1")
    }

    #[test]
    fn another_region_is_another_pools() {
        let there = |name: &str| serde_json::json!({ "instances": [{ "name": name }] });
        let page = serde_json::json!({ "items": {
            "zones/europe-west1-b": there("b"), "zones/europe-west1-d": there("d"), "zones/europe-west10-b": there("x"),
            "zones/us-central1-a": there("y"), "global": there("z"),
        } });
        let page = serde_json::from_value::<Aggregated<Instance>>(page).unwrap();
        let names: Vec<_> = of_region(page, "europe-west1").map(|instance| instance.name).collect();
        assert_eq!(names, ["b", "d"]);
    }

    #[test]
    fn a_zone_that_cannot_be_read_is_not_an_empty_one() {
        use serde_json::json;
        let empty = json!({ "warning": { "code": "NO_RESULTS_ON_PAGE", "message": "none" } });
        let dark = json!({ "warning": { "code": "UNREACHABLE", "message": "dark" } });
        whole(json!({})).unwrap();
        whole(json!({ "items": { "zones/europe-west1-b": empty, "zones/us-central1-a": dark } })).unwrap();
        let why = whole(json!({ "items": { "zones/europe-west1-b": dark } })).unwrap_err();
        assert!(why.contains("europe-west1-b") && why.contains("UNREACHABLE"), "{why}");
        whole(json!({ "unreachables": ["projects/p/zones/us-central1-f"] })).unwrap();
        whole(json!({ "unreachables": ["projects/p/zones/europe-west1-d"] })).unwrap_err();
        whole(json!({ "warning": { "code": "PARTIAL_SUCCESS", "message": "some" } })).unwrap_err();
    }
}
