//! Calendar events as systemd writes them (systemd.time(7), "Calendar Events"), as patterns of cron: what they mean is then
//! decided in one place.

const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// The cron pattern of a calendar event: weekdays, a date and a time, each of which may be left out.
pub(super) fn cron_pattern(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    let text = match text.as_str() {
        "hourly" => "*:00",
        "daily" => "00:00",
        "weekly" => "mon 00:00",
        "monthly" => "*-01 00:00",
        "quarterly" => "01,04,07,10-01 00:00",
        "yearly" | "annually" => "01-01 00:00",
        other => other,
    };
    let (mut weekdays, mut date, mut time) = (None, None, None);
    for part in text.split_whitespace() {
        let place = if part.starts_with(|first: char| first.is_ascii_alphabetic()) {
            &mut weekdays
        } else if part.contains(':') {
            &mut time
        } else if part.contains('-') {
            &mut date
        } else {
            return Err(format!("{part:?} is no weekday, no date and no time"));
        };
        if place.replace(part).is_some() {
            return Err(format!("{part:?} is said twice"));
        }
    }
    let (month, day) = date.map_or(Ok(("*".to_owned(), "*".to_owned())), month_and_day)?;
    let (hour, minute) = match time {
        Some(time) => hour_and_minute(time)?,
        None if weekdays.is_none() && date.is_none() => return Err("it is empty".to_owned()),
        None => ("0".to_owned(), "0".to_owned()),
    };
    let weekdays = weekdays.map_or(Ok("*".to_owned()), numbered)?;
    Ok(format!("{minute} {hour} {day} {month} {weekdays}"))
}

fn month_and_day(date: &str) -> Result<(String, String), String> {
    let parts: Vec<_> = date.split('-').collect();
    match parts[..] {
        ["*", month, day] | [month, day] => Ok((component(month, 12)?, component(day, 31)?)),
        [_, _, _] => Err("a date has no year: write *-12-24 or 12-24".to_owned()),
        _ => Err(format!("{date:?} is no date: write *-12-24 or *-*-01")),
    }
}

fn hour_and_minute(time: &str) -> Result<(String, String), String> {
    let parts: Vec<_> = time.split(':').collect();
    match parts[..] {
        [hour, minute] | [hour, minute, "0" | "00"] => Ok((component(hour, 23)?, component(minute, 59)?)),
        _ => Err(format!("{time:?} is no time to the minute: write 21:00")),
    }
}

/// A list of numbers, ranges `a..b` and steps `a/b`, as cron writes it; `max` is the largest number.
fn component(text: &str, max: u32) -> Result<String, String> {
    let items: Result<Vec<_>, _> = text.split(',').map(|item| item_of(item, max)).collect();
    items.map(|items| items.join(","))
}

fn item_of(item: &str, max: u32) -> Result<String, String> {
    let number = |text: &str| text.parse::<u32>().map_err(|_| format!("{item:?} is no number"));
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, Some(number(step)?)),
        None => (item, None),
    };
    let range = match range.split_once("..") {
        _ if range == "*" => "*".to_owned(),
        Some((first, last)) => format!("{}-{}", number(first)?, number(last)?),
        None if step.is_some() => format!("{}-{max}", number(range)?),
        None => number(range)?.to_string(),
    };
    Ok(step.map_or_else(|| range.clone(), |step| format!("{range}/{step}")))
}

/// Weekdays as cron numbers them, Monday first. A range may go beyond Sunday.
fn numbered(text: &str) -> Result<String, String> {
    let mut days = Vec::new();
    for item in text.split(',') {
        let (first, last) = item.split_once("..").unwrap_or((item, item));
        let (first, last) = (weekday(first)?, weekday(last)?);
        let length = (last + 7 - first) % 7;
        days.extend((first..=first + length).map(|day| (day % 7 + 1).to_string()));
    }
    Ok(days.join(","))
}

/// A weekday by its English name or the first three letters of it, counted from Monday.
fn weekday(text: &str) -> Result<usize, String> {
    const NAMES: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    WEEKDAYS
        .iter()
        .zip(NAMES)
        .position(|(short, name)| text == *short || text == name)
        .ok_or_else(|| format!("{text:?} is no weekday"))
}
