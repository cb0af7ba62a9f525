//! `order:`: which workloads wait for which.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::fields::{Fields, items, texts};
use super::source::Place;
use super::value::Values;

type Order = BTreeMap<String, Vec<String>>;

/// `order:`; a circle is a finding.
pub(super) fn order(root: &Fields<'_>, values: &Values<'_>) -> Order {
    let mut order = Order::new();
    let mut places: Vec<(&str, Place)> = Vec::new();
    for entry in root.map("order") {
        let name = format!("order.{}", entry.key);
        let names = texts(values, items(values, &entry.value, &name), &name);
        order.insert(entry.key.clone(), names.into_iter().map(|(_, name)| name).collect());
        places.push((&entry.key, entry.place));
    }
    refuse_circles(&order, &places, values);
    order
}

fn refuse_circles(order: &Order, places: &[(&str, Place)], values: &Values<'_>) {
    let stuck = stuck(order);
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for (name, place) in places.iter().filter(|(name, _)| stuck.contains(name)) {
        let Some(circle) = circle(order, &stuck, name) else { continue };
        if circle.iter().any(|member| told.contains(member)) {
            continue;
        }
        values.sources.report(*place, format!("{} waits for itself: {}", name, circle.join(" → ")));
        told.extend(circle);
    }
}

/// The names that are left when those that wait for nothing are taken away, again and again: the circles, and what
/// waits for them.
fn stuck(order: &Order) -> BTreeSet<&str> {
    let mut waits: BTreeMap<&str, usize> = BTreeMap::new();
    let mut waiting: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, before) in order {
        let before = before.iter().filter_map(|other| order.get_key_value(other));
        for (other, _) in before {
            *waits.entry(name).or_default() += 1;
            waiting.entry(other).or_default().push(name);
        }
    }
    let mut free: Vec<&str> = order.keys().map(String::as_str).filter(|name| !waits.contains_key(name)).collect();
    while let Some(name) = free.pop() {
        for other in waiting.remove(name).unwrap_or_default() {
            match waits.get_mut(other) {
                Some(1) => {
                    waits.remove(other);
                    free.push(other);
                }
                Some(count) => *count -= 1,
                None => {}
            }
        }
    }
    waits.into_keys().collect()
}

/// The shortest way from `name` back to itself through names that are `stuck`.
fn circle<'a>(order: &'a Order, stuck: &BTreeSet<&'a str>, name: &'a str) -> Option<Vec<&'a str>> {
    // What was reached, and from where.
    let mut from: BTreeMap<&str, &str> = BTreeMap::new();
    let mut next = VecDeque::from([name]);
    while let Some(here) = next.pop_front() {
        for other in order.get(here)?.iter().map(String::as_str).filter(|other| stuck.contains(other)) {
            if other == name {
                let mut circle = vec![name];
                circle.extend(std::iter::successors(Some(here), |here| from.get(here).copied()));
                circle.reverse();
                return Some(circle);
            }
            if let Entry::Vacant(entry) = from.entry(other) {
                entry.insert(here);
                next.push_back(other);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_are_found_by_their_shortest_way() {
        let order: Order =
            [("a", vec!["b", "c"]), ("b", vec!["c"]), ("c", vec!["a"]), ("d", vec!["a"]), ("e", vec!["e"])]
                .into_iter()
                .map(|(name, others)| (name.to_owned(), others.into_iter().map(str::to_owned).collect()))
                .collect();
        let stuck = stuck(&order);
        let circle = |name| circle(&order, &stuck, name);
        assert_eq!(circle("a").expect("a circle"), ["a", "c", "a"]);
        assert_eq!(circle("e").expect("a circle"), ["e", "e"]);
        assert_eq!(circle("d"), None);
    }

    #[test]
    fn a_long_chain_is_no_circle() {
        let order: Order = (0..5000).map(|n| (format!("a{n}"), vec![format!("a{}", n + 1)])).collect();
        assert!(stuck(&order).is_empty());
    }
}
