//! Changes that leave enough of a sample for a reader to get beyond its first check.

/// Inputs are mostly no longer than the first of these, and never longer than the second.
const USUAL: usize = 16 << 10;
const QUICK: usize = 4 << 10;
const LARGEST: usize = 256 << 10;

/// What some reader somewhere took badly.
const WORDS: [&str; 62] = [
    "&a ",
    "*a",
    "*a,",
    "&a [*a]",
    "<<: *a",
    "<<:",
    "!!binary ",
    "!!int ",
    "!!float ",
    "!!null ",
    "!x ",
    "- ",
    "- - - - ",
    "? ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "{{{{",
    "[[[[",
    "]]]]",
    "}}}}",
    "|+9\n",
    ">-\n",
    "|",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "0x",
    "0o7",
    "0b1",
    "1_0",
    "1e999",
    "-0",
    ".inf",
    ".nan",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "1e-400",
    "2147483648",
    "4294967296",
    "~",
    "null",
    "true",
    "\"",
    "'",
    "\\",
    "\\u",
    "\\ud800",
    "\u{feff}",
    "\0",
    "\t",
    "\r",
    "\n",
    "\u{85}",
    "\u{2028}",
    "…",
    "日本語",
    "\u{1b}[31m",
    "$",
];
/// Bytes that are no UTF-8: a lone continuation, a cut sequence, a surrogate, beyond Unicode.
const BYTES: [&[u8]; 4] = [b"\x80", b"\xe2\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"];

/// Makes inputs of samples.
pub struct Mutator<'a> {
    random: Random,
    samples: Vec<&'a [u8]>,
    words: Vec<&'a [u8]>,
}

/// xorshift64*: the same numbers for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    /// Less than `end`, and 0 for 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next()).unwrap_or(0).checked_rem(end).unwrap_or(0)
    }

    /// A number of any size up to `most`, small ones more often.
    fn size(&mut self, most: usize) -> usize {
        let bits = self.below(usize::BITS as usize - most.leading_zeros() as usize + 1);
        self.below((1 << bits) + 1).min(most)
    }
}

impl<'a> Mutator<'a> {
    pub fn new<S: AsRef<[u8]>>(seed: u64, samples: &'a [S], words: &[&'a str]) -> Self {
        let words = words.iter().map(|word| word.as_bytes()).chain(WORDS.iter().map(|word| word.as_bytes()));
        Self {
            random: Random(seed | 1 << 40),
            samples: samples.iter().map(AsRef::as_ref).collect(),
            words: words.chain(BYTES).collect(),
        }
    }

    /// A sample with a few changes.
    pub fn input(&mut self) -> Vec<u8> {
        let mut input = self.sample().to_vec();
        for _ in 0..=self.random.size(16) {
            self.change(&mut input);
            input.truncate(LARGEST);
        }
        if self.random.below(16) > 0 {
            input.truncate(USUAL);
        }
        input
    }

    /// Mostly one that is quickly read.
    fn sample(&mut self) -> &'a [u8] {
        let mut sample = self.samples[self.random.below(self.samples.len())];
        while sample.len() > QUICK && self.random.below(8) > 0 {
            sample = self.samples[self.random.below(self.samples.len())];
        }
        sample
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.random.below(input.len() + 1);
        let (start, end) = self.stretch(input);
        match self.random.below(12) {
            0 if !input.is_empty() => input[at.saturating_sub(1)] ^= 1 << self.random.below(8),
            1 => put(input, start, end, b""),
            2 => put(input, start, end, self.word()),
            3 => put(input, at, at, self.word()),
            4 => put(input, at, at, &self.word().repeat(self.random.size(1 << 14))),
            5 | 6 => {
                let times = self.random.size(LARGEST / (end - start).max(1));
                put(input, end, end, &input[start..end].repeat(times));
            }
            7 => {
                let other = self.sample();
                let (from, to) = self.stretch(other);
                put(input, start, end, &other[from..to]);
            }
            8 | 9 => self.move_line(input),
            10 => {
                let (start, _) = self.line(input);
                put(input, start, start, &vec![b' '; self.random.size(4096)]);
            }
            _ => input.truncate(at),
        }
    }

    fn word(&mut self) -> &'a [u8] {
        self.words[self.random.below(self.words.len())]
    }

    /// A stretch of `input`: mostly short, sometimes all that follows.
    fn stretch(&mut self, input: &[u8]) -> (usize, usize) {
        let start = self.random.below(input.len() + 1);
        (start, start + self.random.size(input.len() - start))
    }

    /// Puts a line, or a copy of it, somewhere else.
    fn move_line(&mut self, input: &mut Vec<u8>) {
        let (start, end) = self.line(input);
        let line = input[start..end].to_vec();
        if self.random.below(2) == 0 {
            put(input, start, end, b"");
        }
        let (at, _) = self.line(input);
        put(input, at, at, &line);
    }

    /// Beginning and end of the line around some place.
    fn line(&mut self, input: &[u8]) -> (usize, usize) {
        let at = self.random.below(input.len() + 1);
        let start = input[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let end = input[at..].iter().position(|byte| *byte == b'\n').map_or(input.len(), |length| at + length + 1);
        (start, end)
    }
}

/// Puts `with` in place of a stretch of `input`.
fn put(input: &mut Vec<u8>, start: usize, end: usize, with: &[u8]) {
    let behind = input.split_off(end);
    input.truncate(start);
    input.extend_from_slice(with);
    input.extend_from_slice(&behind);
}
