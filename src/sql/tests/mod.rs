mod kind;
mod scan;
