mod fake;
mod property;
mod stories;
