//! What goes wrong around a backup, and what the user gets.

mod damage;
mod full;
mod interrupted;
mod key;
