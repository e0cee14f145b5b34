//! When windows are judged: days of the week and hours, in a place's own time.

use chrono::{Datelike, TimeZone, Timelike, Weekday};
use chrono_tz::Tz;

use crate::model::Timestamp;

/// The times in which a window must lie whole to be judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    days: Vec<Weekday>,
    /// Minutes since midnight; the end is not included.
    from: u32,
    until: u32,
    zone: Tz,
}

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Mon),
    ("tue", Weekday::Tue),
    ("wed", Weekday::Wed),
    ("thu", Weekday::Thu),
    ("fri", Weekday::Fri),
    ("sat", Weekday::Sat),
    ("sun", Weekday::Sun),
];

impl Schedule {
    /// `days` by their first three letters, none for all; `hours` as in `08:00-20:00`, none for all; `zone` by its IANA name.
    ///
    /// # Errors
    ///
    /// Which of the three it is, and what is wrong with it.
    pub fn parse(days: &[String], hours: Option<&str>, zone: Option<&str>) -> Result<Self, (&'static str, String)> {
        let day = |name: &String| {
            let found = DAYS.iter().find(|(known, _)| known == name).map(|(_, day)| *day);
            found.ok_or_else(|| ("days", format!("{name:?} is no day; they are mon, tue, wed, thu, fri, sat, sun")))
        };
        let days = days.iter().map(day).collect::<Result<_, _>>()?;
        let (from, until) = match hours {
            Some(text) => {
                let times = text.split_once('-').and_then(|(from, until)| Some((minutes(from)?, minutes(until)?)));
                let times = times.filter(|(from, until)| from < until);
                times.ok_or_else(|| {
                    ("hours", "these are no hours of one day such as 08:00-20:00, the earlier first".to_owned())
                })?
            }
            None => (0, 24 * 60),
        };
        let zone = match zone {
            Some(name) => name.parse().map_err(|_| {
                ("timezone", format!("{name:?} is no time zone; they are called as in Europe/Zurich or UTC"))
            })?,
            None => Tz::UTC,
        };
        Ok(Self { days, from, until, zone })
    }

    /// Whether all of a window lies within it. `length` in milliseconds.
    pub fn covers(&self, since: Timestamp, length: i64) -> bool {
        let Some(first) = self.zone.timestamp_millis_opt(since.millis()).single() else { return false };
        let is_day = self.days.is_empty() || self.days.contains(&first.weekday());
        let begin = i64::from(first.num_seconds_from_midnight()) * 1000;
        let minutes = |minutes: u32| i64::from(minutes) * 60_000;
        // A window of whole days, at midnight of any zone, is judged by the day it begins on.
        let until = if self.until == 24 * 60 && self.from == 0 { i64::MAX } else { minutes(self.until) };
        is_day && begin >= minutes(self.from) && begin.saturating_add(length) <= until
    }
}

fn minutes(text: &str) -> Option<u32> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let two = |text: &str| (text.len() == 2).then(|| text.parse::<u32>().ok()).flatten();
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (minutes < 60 && hours * 60 + minutes <= 24 * 60).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn covers(schedule: &Schedule, text: &str) -> bool {
        schedule.covers(Timestamp::parse_rfc3339(text).unwrap(), HOUR)
    }

    #[test]
    fn opening_hours_follow_the_place_through_summer_time() {
        let days = ["mon".to_owned(), "fri".to_owned()];
        let shop = Schedule::parse(&days, Some("08:00-20:00"), Some("Europe/Zurich")).unwrap();
        assert!(covers(&shop, "2026-11-27T07:00:00Z"), "eight o'clock on a Friday in winter");
        assert!(!covers(&shop, "2026-11-27T06:59:59Z"));
        assert!(covers(&shop, "2026-07-03T06:00:00Z"), "eight o'clock in summer");
        assert!(covers(&shop, "2026-11-27T18:00:00Z") && !covers(&shop, "2026-11-27T18:00:01Z"));
        assert!(!covers(&shop, "2026-11-28T12:00:00Z"), "a Saturday");
        let always = Schedule::parse(&[], None, None).unwrap();
        assert!(covers(&always, "2026-11-28T23:30:00Z"));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for hours in ["8-20", "20:00-08:00", "08:00-24:01", "08:60-09:00", "08:00", ""] {
            assert_eq!(Schedule::parse(&[], Some(hours), None).unwrap_err().0, "hours", "{hours}");
        }
        assert_eq!(Schedule::parse(&["monday".into()], None, None).unwrap_err().0, "days");
        assert_eq!(Schedule::parse(&[], None, Some("Zurich")).unwrap_err().0, "timezone");
    }
}
