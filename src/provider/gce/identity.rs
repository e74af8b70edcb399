//! Names, labels and request ids: all made from the guest's identity, before anything is asked for. Pure.
//!
//! Google keeps names unique in a zone for as long as the thing exists, and answers a repeated request id with the operation
//! of the first request. A guest's instance has a name of its own, so that a zone refuses a second one whatever became of
//! the request, and the request id makes the repeated request no error.
//!
//! Labels are small letters, digits, hyphens and underscores, at most 63. What does not fit is put through a hash.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::wire::Labels;
use crate::provider::{Key, Owner};

pub(super) const OWNER: &str = "innkeeper-owner";
pub(super) const GUEST: &str = "innkeeper-guest";
const INCARNATION: &str = "innkeeper-incarnation";
const NAMESPACE: &str = "innkeeper-namespace";
const NAME: &str = "innkeeper-name";
/// The zone that it was made in: a copy in another zone may have the same name.
const ZONE: &str = "innkeeper-zone";
/// On an instance that was not made by us: its number, so that a copy of it, labels and all, is not taken for it.
pub(super) const ADOPTED: &str = "innkeeper-adopted";
/// On an instance whose deletion protection we switched on, or are about to.
pub(super) const PROTECTED: &str = "innkeeper-protected";
/// On a disk: what the guest calls it.
pub(super) const DISK: &str = "innkeeper-disk";

/// The labels that make an instance or a disk ours, for when it is given up.
pub(super) const MARKS: [&str; 9] = [OWNER, GUEST, INCARNATION, NAMESPACE, NAME, ZONE, ADOPTED, PROTECTED, DISK];

/// The disk that a guest boots from, in the guest's words.
pub(super) const ROOT: &str = "root";

/// What the device of a disk of ours is called begins so.
const DEVICE: &str = "innkeeper-";

/// Of Innkeeper's request ids, for version 5 UUIDs.
const SPACE: Uuid = Uuid::from_u128(0x3f0a_6c1e_8d54_4b7c_9a55_1d2e_07c4_b1f3);

fn whole(parts: &[&str]) -> String {
    let mut whole = String::new();
    for part in parts {
        // The lengths keep ["ab", "c"] and ["a", "bc"] apart.
        whole += &format!("{}:{part};", part.len());
    }
    whole
}

fn hash(parts: &[&str]) -> String {
    hex(whole(parts).as_bytes(), 12)
}

/// The first digits of a hash, hexadecimal.
pub(super) fn hex(bytes: &[u8], len: usize) -> String {
    let digest = Sha256::digest(bytes);
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).take(len).collect()
}

/// Whether Google takes it as a label's value.
pub(super) fn is_label(value: &str) -> bool {
    value.len() <= 63 && value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c))
}

/// A label's value: the text as it is where that may be.
pub(super) fn label(text: &str) -> String {
    if is_label(text) { text.to_owned() } else { format!("x-{}", hash(&[text])) }
}

/// As much of a name as fits into Google's names.
fn slug(text: &str, most: usize) -> String {
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let text: String = text.to_ascii_lowercase().chars().map(plain).take(most).collect();
    let text = text.trim_matches('-');
    if text.starts_with(|c: char| c.is_ascii_lowercase()) {
        text.to_owned()
    } else {
        format!("vm-{text}").trim_end_matches('-').to_owned()
    }
}

fn tail(owner: &Owner, key: &Key) -> String {
    hash(&[&owner.0, &key.guest, &key.incarnation.to_string()])
}

/// The name of the guest's instance.
pub(super) fn instance_name(owner: &Owner, key: &Key) -> String {
    format!("{}-{}", slug(&key.name, 40), tail(owner, key))
}

/// The name of one of the guest's disks.
pub(super) fn disk_name(owner: &Owner, key: &Key, disk: &str) -> String {
    let tail = hash(&[&owner.0, &key.guest, &key.incarnation.to_string(), disk]);
    format!("{}-{}-{tail}", slug(&key.name, 26), slug(disk, 16))
}

/// What the device of a disk is called; the guest's system shows it as `/dev/disk/by-id/google-innkeeper-NAME`.
pub(super) fn device_name(disk: &str) -> String {
    format!("{DEVICE}{}", label(disk))
}

/// What the guest calls the disk at a device, where it is one of ours.
pub(super) fn disk_at(device: &str) -> Option<&str> {
    device.strip_prefix(DEVICE)
}

/// The id of a request that makes something for this guest.
pub(super) fn request_id(owner: &Owner, key: &Key, what: &[&str], attempt: u32) -> String {
    let mut parts = vec![owner.0.as_str(), &key.guest];
    let (incarnation, attempt) = (key.incarnation.to_string(), attempt.to_string());
    parts.extend([incarnation.as_str(), &attempt]);
    parts.extend(what);
    Uuid::new_v5(&SPACE, whole(&parts).as_bytes()).to_string()
}

/// All labels of what is made for a guest.
pub(super) fn labels(owner: &Owner, key: &Key, zone: &str) -> Labels {
    let label = |name: &str, value: &str| (name.to_owned(), label(value));
    Labels::from([
        label(OWNER, &owner.0),
        label(GUEST, &key.guest),
        label(INCARNATION, &key.incarnation.to_string()),
        label(NAMESPACE, &key.namespace),
        label(NAME, &key.name),
        label(ZONE, zone),
    ])
}

/// Which incarnation of a guest the labels name.
pub(super) fn incarnation(labels: &Labels) -> Option<u32> {
    labels.get(INCARNATION)?.parse().ok()
}

/// The guest that the labels name. `None` where one is missing: then it is not ours.
pub(super) fn key(owner: &Owner, labels: &Labels) -> Option<Key> {
    (labels.get(OWNER)? == &label(&owner.0)).then_some(())?;
    let value = |name: &str| labels.get(name).cloned();
    Some(Key {
        guest: value(GUEST)?,
        incarnation: incarnation(labels)?,
        namespace: value(NAMESPACE)?,
        name: value(NAME)?,
    })
}

/// Whether an instance that carries the guest's labels is the one that they speak of, and no copy.
pub(super) fn is_itself(owner: &Owner, key: &Key, labels: &Labels, zone: &str, name: &str, number: &str) -> bool {
    if let Some(adopted) = labels.get(ADOPTED) {
        return adopted == number;
    }
    let made_here = labels.get(ZONE).is_some_and(|label| label == zone);
    made_here && name.ends_with(&format!("-{}", tail(owner, key)))
}

/// What lists are filtered by: everything of this owner, or of one of its guests.
pub(super) fn filter(owner: &Owner, guest: Option<&str>) -> String {
    let mut text = format!("(labels.{OWNER} = \"{}\")", label(&owner.0));
    if let Some(guest) = guest {
        text += &format!(" AND (labels.{GUEST} = \"{}\")", label(guest));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner("5d0c6f2e-0000-4000-8000-000000000001".into())
    }

    fn sample(name: &str) -> Key {
        let guest = "0f0b2ee8-9a3c-4a4d-8c1e-000000000001".into();
        Key { guest, incarnation: 1, namespace: "shop".into(), name: name.into() }
    }

    fn is_name(name: &str) -> bool {
        let inner = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        inner && name.len() <= 63 && name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-')
    }

    #[test]
    fn names_are_such_as_google_takes() {
        for name in ["web-1", "1-web", &"a".repeat(63), "-", "Web.Shop_1", &format!("{}-x", "b".repeat(39))] {
            let key = sample(name);
            for made in [
                instance_name(&owner(), &key),
                disk_name(&owner(), &key, "data"),
                disk_name(&owner(), &key, &"d".repeat(63)),
            ] {
                assert!(is_name(&made), "{made}");
            }
        }
        assert!(instance_name(&owner(), &sample("web-1")).starts_with("web-1-"));
        assert!(is_label(&label("Web.Shop")) && is_label(&label(&"a".repeat(64))));
        assert_eq!(disk_at(&device_name("data")), Some("data"));
    }

    #[test]
    fn each_incarnation_owner_and_disk_has_names_of_its_own() {
        let first = sample("web-1");
        let second = Key { incarnation: 2, ..first.clone() };
        let names = [
            instance_name(&owner(), &first),
            instance_name(&owner(), &second),
            instance_name(&Owner("other".into()), &first),
            disk_name(&owner(), &first, "a"),
            disk_name(&owner(), &first, "b"),
        ];
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), names.len());
        let id = |key: &Key, what: &[&str], attempt| request_id(&owner(), key, what, attempt);
        assert_eq!(id(&first, &["insert"], 0), id(&first.clone(), &["insert"], 0));
        for other in [id(&second, &["insert"], 0), id(&first, &["disk"], 0), id(&first, &["insert"], 1)] {
            assert_ne!(id(&first, &["insert"], 0), other);
        }
    }

    #[test]
    fn copies_are_not_taken_for_ours() {
        let key = sample("web-1");
        let (name, zone) = (instance_name(&owner(), &key), "europe-west1-b");
        let mut labels = labels(&owner(), &key, zone);
        assert_eq!(super::key(&owner(), &labels), Some(key.clone()));
        let ours = |labels: &Labels, zone: &str, name: &str, number: &str| {
            is_itself(&owner(), &key, labels, zone, name, number)
        };
        assert!(ours(&labels, zone, &name, "1"));
        assert!(!ours(&labels, "europe-west1-c", &name, "2"), "the same name in another zone");
        assert!(!ours(&labels, zone, "web-1-copy", "2"));
        labels.insert(ADOPTED.into(), "7".into());
        assert!(ours(&labels, zone, "by-hand", "7") && !ours(&labels, zone, "by-hand", "8"));
        labels.remove(NAMESPACE);
        assert_eq!(super::key(&owner(), &labels), None);
        assert_eq!(super::key(&Owner("other".into()), &labels), None);
    }
}
