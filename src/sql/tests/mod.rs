mod analyse;
mod kind;
mod scan;
mod total;
