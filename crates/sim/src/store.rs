//! An object store that does everything that a store may do to its users.
//!
//! Reads and creates by name are strongly consistent: that is what a vault asks for. All else is as bad as it gets:
//! requests fail before or after they took effect, or take effect long after whoever sent them gave up or died; listings
//! are late or short; now and then nothing works for a while.

mod connection;
mod listing;
mod objects;
mod weather;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use object_store::path::Path;
use tokio::time::Instant;

pub(crate) use connection::Connection;
pub(crate) use objects::Objects;
pub(crate) use weather::Weather;

use crate::{dice::Dice, trace::Trace};
use objects::{Applied, Mutation};

/// The store, shared by all connections to it.
#[derive(Debug)]
pub(crate) struct SimStore {
    name: &'static str,
    start: Instant,
    objects: Mutex<Objects>,
    pub(super) dice: Dice,
    pub(super) weather: Mutex<Weather>,
    /// Until when the store refuses nearly everything.
    busy_until: Mutex<Instant>,
    trace: Arc<Trace>,
    flaw: Option<StoreFlaw>,
}

/// A store that does not do what a vault asks for: the checker has to notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreFlaw {
    /// Creating an object replaces the one that is there.
    CreateReplaces,
    /// Now and then, what was acknowledged is lost.
    Forgets,
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy)]
struct Course {
    /// When it takes effect, if it does.
    effect_after: Option<Duration>,
    /// When the answer, or the error, arrives.
    answer_after: Duration,
    is_answered: bool,
}

impl SimStore {
    pub(crate) fn new(
        name: &'static str,
        start: Instant,
        dice: Dice,
        trace: Arc<Trace>,
        flaw: Option<StoreFlaw>,
    ) -> Self {
        Self {
            name,
            start,
            objects: Mutex::default(),
            dice,
            weather: Mutex::default(),
            busy_until: Mutex::new(start),
            trace,
            flaw,
        }
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
        if weather == Weather::default() {
            *self.busy_until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
    }

    /// What is in the store.
    pub(crate) fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn weather(&self) -> Weather {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn course(&self) -> Course {
        let (dice, weather) = (&self.dice, self.weather());
        let mut busy_until = self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if dice.chance(weather.busy) {
            *busy_until = now + dice.duration(Duration::from_millis(100), Duration::from_secs(8));
        }
        let usual = || dice.duration(Duration::from_millis(1), Duration::from_millis(40));
        let slow = || match dice.chance(weather.slow) {
            true => dice.duration(Duration::from_millis(40), Duration::from_secs(20)),
            false => usual(),
        };
        let is_refused = (now < *busy_until && dice.chance(800)) || dice.chance(weather.refused);
        if is_refused {
            return Course { effect_after: None, answer_after: usual(), is_answered: false };
        }
        let effect_after = slow();
        if dice.chance(weather.lost_answers) {
            let late = dice.chance(weather.late_effects);
            let late_by =
                if late { dice.duration(Duration::ZERO, weather.latest_effect) } else { Duration::ZERO };
            let (effect_after, answer_after) = (Some(effect_after + late_by), effect_after + usual());
            return Course { effect_after, answer_after, is_answered: false };
        }
        Course { effect_after: Some(effect_after), answer_after: effect_after + slow(), is_answered: true }
    }

    /// Changes the store at this very moment.
    fn apply(&self, who: &str, mutation: Mutation) -> Applied {
        let what = mutation.to_string();
        let mutation = match (self.flaw, mutation) {
            (Some(StoreFlaw::CreateReplaces), Mutation::Put { path, bytes, .. }) => {
                Mutation::Put { path, bytes, is_create: false }
            }
            (Some(StoreFlaw::Forgets), Mutation::Put { path, .. }) if self.dice.chance(5) => {
                Mutation::Delete { path }
            }
            (_, mutation) => mutation,
        };
        let applied = self.objects().apply(self.start.elapsed(), mutation);
        self.trace.add(who, format!("{}: {what}: {applied:?}", self.name));
        applied
    }

    /// Flips a bit of an object that the chance picks among those below a folder.
    pub(crate) fn rot(&self, folder: &str) {
        let mut objects = self.objects();
        let paths: Vec<Path> =
            objects.paths().filter(|path| path.as_ref().starts_with(folder)).cloned().collect();
        let Some(path) = self.dice.pick(&paths).cloned() else { return };
        objects.flip_bit(&path, self.dice.roll());
        self.trace.add("rot", format!("{}: {path}", self.name));
    }
}
