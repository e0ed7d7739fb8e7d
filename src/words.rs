//! Words for people: enums whose variants are words of a log (variant, word and meaning stand in one place), and numbers
//! of things.

/// Defines such an enum. A variant's documentation is its meaning: one sentence, which the tables of the docs repeat. So it
/// names no flag, and is written for operators.
macro_rules! words {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $name:ident {
            $($(#[doc = $meaning:literal])+ $variant:ident = $word:literal,)+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $name {
            $($(#[doc = $meaning])+ $variant,)+
        }

        impl $name {
            /// All of them, in the order of their numbers (`as usize`).
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// The word in logs.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// What it says, as a sentence.
            pub fn meaning(self) -> &'static str {
                let text = match self {
                    $(Self::$variant => concat!($($meaning),+),)+
                };
                text.trim_start()
            }
        }
    };
}

pub(crate) use words;

/// So many things: `1 request`, `2 requests`.
pub(crate) fn counted(number: u64, one: &str, more: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {more}"),
    }
}
