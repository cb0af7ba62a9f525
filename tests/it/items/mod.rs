//! What is promised, item by item: the name of each test begins with its items.

mod interrupted;
mod waves;
