//! `order:`: which workloads wait for which.

use std::collections::BTreeMap;

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
    let mut told: Vec<String> = Vec::new();
    for (name, place) in places {
        let Some(circle) = circle(order, name) else { continue };
        if circle.iter().any(|member| told.contains(member)) {
            continue;
        }
        values.sources.report(*place, format!("{} waits for itself: {}", name, circle.join(" → ")));
        told.extend(circle);
    }
}

/// The shortest way from `name` back to itself.
fn circle(order: &Order, name: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![name.to_owned()]];
    let mut seen: Vec<String> = Vec::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in way.last().and_then(|last| order.get(last)).into_iter().flatten() {
                let further: Vec<String> = way.iter().chain([next]).cloned().collect();
                if next == name {
                    return Some(further);
                }
                if !seen.contains(next) {
                    seen.push(next.clone());
                    longer.push(further);
                }
            }
        }
        ways = longer;
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
        assert_eq!(circle(&order, "a").expect("a circle"), ["a", "c", "a"]);
        assert_eq!(circle(&order, "e").expect("a circle"), ["e", "e"]);
        assert_eq!(circle(&order, "d"), None);
    }
}
