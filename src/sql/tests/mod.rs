mod analyse;
mod compose;
mod kind;
mod scan;
mod total;
