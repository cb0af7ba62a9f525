//! "Did you mean …?": the known words that are nearest to a mistyped one.

use strsim::damerau_levenshtein;

const MOST: usize = 5;
/// Longer words, and words behind so many others, were not mistyped: comparing them takes time.
const LONGEST: usize = 100;
const MOST_WORDS: usize = 1000;

/// The words of `have` that `wanted` may have been meant to be: at most five, best first. A word counts when one is
/// the beginning of the other, or when few typing errors lie between them.
pub fn nearest<'a>(wanted: &str, have: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut ranked: Vec<(usize, &str)> =
        have.into_iter().take(MOST_WORDS).filter_map(|word| Some((distance(wanted, word)?, word))).collect();
    ranked.sort_unstable();
    ranked.dedup();
    ranked.into_iter().take(MOST).map(|(_, word)| word).collect()
}

/// `, did you mean "services"?`, or nothing.
pub fn did_you_mean<'a>(wanted: &str, have: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(wanted, have).as_slice() {
        [] => String::new(),
        words => {
            let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
            format!(", did you mean {}?", quoted.join(" or "))
        }
    }
}

/// How far apart the words are, or `None` when they are different words.
fn distance(wanted: &str, word: &str) -> Option<usize> {
    if wanted.len().max(word.len()) > LONGEST {
        return None;
    }
    let (wanted, word) = (wanted.to_lowercase(), word.to_lowercase());
    let errors = damerau_levenshtein(&wanted, &word);
    let longest = wanted.chars().count().max(word.chars().count());
    if errors <= (longest / 3).max(1) && errors < longest {
        return Some(errors);
    }
    let shorter = wanted.len().min(word.len());
    (shorter >= 2 && (word.starts_with(&wanted) || wanted.starts_with(&word))).then_some(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typing_errors_and_beginnings_are_near() {
        assert_eq!(nearest("servces", ["services", "settle", "registry"]), ["services"]);
        assert_eq!(nearest("wroker", ["api", "worker", "web"]), ["worker"]);
        assert_eq!(nearest("reg", ["registry", "order"]), ["registry"]);
        assert_eq!(nearest("LOGLEVEL", ["LOG_LEVEL"]), ["LOG_LEVEL"]);
    }

    #[test]
    fn other_words_are_not() {
        assert!(nearest("banana", ["api", "worker"]).is_empty());
        assert!(nearest("x", ["y", "z"]).is_empty());
        assert!(nearest("", ["api"]).is_empty());
        let long = "a".repeat(1 << 20);
        assert!(nearest(&long, [&*long]).is_empty(), "nobody types that");
    }

    #[test]
    fn the_best_come_first_and_never_more_than_five() {
        let have = ["ab1234", "ab12", "ab1", "abc", "ab123", "ab12345", "ab1"];
        let found = nearest("ab", have);
        assert_eq!(found.len(), 5);
        assert_eq!(&found[..2], ["ab1", "abc"]);
    }
}
