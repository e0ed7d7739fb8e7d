//! What a misspelled word was meant to be.

/// Least likeness of a word to be taken for another one's misspelling, as clap has it.
const LIKENESS_MIN: f64 = 0.7;

/// The one of `known` that `word` is most likely a misspelling of.
pub(super) fn nearest<T: AsRef<str>>(word: &str, known: impl IntoIterator<Item = T>) -> Option<T> {
    let alike = known.into_iter().map(|known| (strsim::jaro(word, known.as_ref()), known));
    let nearest = alike.max_by(|(one, _), (other, _)| one.total_cmp(other));
    nearest.filter(|(likeness, _)| *likeness > LIKENESS_MIN).map(|(_, known)| known)
}
