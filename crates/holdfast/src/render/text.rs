//! Small pieces of text.

/// The text with control characters made visible: what a guest or a file says must not drive the terminal.
/// Line ends stay.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' => character,
            // Unicode's own directional overrides rearrange a line as control characters do.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            control if control.is_control() => '\u{fffd}',
            _ => character,
        })
        .collect()
}

/// A duration given in microseconds, with two or three digits.
pub fn duration(microseconds: u64) -> String {
    let value = microseconds as f64;
    match microseconds {
        0 => "0 s".to_owned(),
        1..1_000 => format!("{microseconds} µs"),
        1_000..100_000 => format!("{:.1} ms", value / 1e3),
        100_000..1_000_000 => format!("{:.0} ms", value / 1e3),
        1_000_000..60_000_000 => format!("{:.1} s", value / 1e6),
        60_000_000..3_600_000_000 => {
            let seconds = microseconds / 1_000_000;
            format!("{} min {} s", seconds / 60, seconds % 60)
        }
        _ => {
            let minutes = microseconds / 60_000_000;
            format!("{} h {} min", minutes / 60, minutes % 60)
        }
    }
}

/// How much of the whole is done, in whole per cent; none of nothing.
pub fn percentage(done: u64, total: u64) -> Option<u64> {
    (total > 0).then(|| (u128::from(done.min(total)) * 100 / u128::from(total)) as u64)
}
