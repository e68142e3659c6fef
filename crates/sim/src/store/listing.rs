//! Listings, which are hints: late, short, or right.

use std::time::Duration;

use object_store::{ObjectMeta, path::Path};

use super::{SimStore, connection::meta};

impl SimStore {
    /// The objects below a folder, as the store tells them at this moment.
    pub(super) fn list(&self, who: &str, folder: Option<&Path>) -> Vec<ObjectMeta> {
        let weather = self.weather();
        let now = self.start.elapsed();
        let age = match self.dice.chance(weather.stale_listings) {
            true => self.dice.duration(Duration::ZERO, weather.stalest),
            false => Duration::ZERO,
        };
        let mut listed = self.list_as_of(now.saturating_sub(age), folder);
        let complete = listed.len();
        if self.dice.chance(weather.short_listings) {
            if self.dice.chance(500) {
                listed.truncate(self.dice.number(0..complete as u64 + 1) as usize);
            } else {
                listed.retain(|_| !self.dice.chance(250));
            }
        }
        let folder = folder.map_or("everything", AsRef::as_ref);
        let text =
            format!("{}: list {folder}: {} of {complete}, {} s late", self.name, listed.len(), age.as_secs());
        self.trace.add(who, text);
        listed
    }

    fn list_as_of(&self, moment: Duration, folder: Option<&Path>) -> Vec<ObjectMeta> {
        let objects = self.objects();
        let is_below =
            |path: &Path| folder.is_none_or(|folder| path.prefix_matches(folder) && path != folder);
        let there =
            objects.stored.iter().filter(|(path, stored)| is_below(path) && stored.created_at <= moment);
        let mut listed: Vec<ObjectMeta> =
            there.map(|(path, stored)| meta(path, stored.bytes.len() as u64, stored.modified_at)).collect();
        let gone = objects.gone.iter().filter(|(path, gone)| {
            is_below(path)
                && gone.created_at <= moment
                && moment < gone.deleted_at
                && objects.stored.get(path).is_none_or(|stored| stored.created_at > moment)
        });
        listed.extend(gone.map(|(path, gone)| meta(path, gone.size_bytes, gone.created_at)));
        listed.sort_by(|a, b| a.location.cmp(&b.location));
        listed
    }
}
