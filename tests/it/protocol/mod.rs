//! What works direct works through pgditto, byte for byte.

mod asynchronous;
mod cancel;
mod copy;
mod extended;
mod names;
mod parting;
mod pipelines;
mod simple;
mod startup;
mod transactions;
mod volume;
mod wide;

/// What the scripts find in their database.
const SETUP: &str = "\
CREATE TABLE item (id int PRIMARY KEY, name text, price numeric(8,2));
INSERT INTO item VALUES (1, 'ink', 1.50), (2, 'paper', 2.25), (3, NULL, 10);
CREATE FUNCTION shout(what text) RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN RAISE NOTICE 'shouting %', what; RETURN upper(what); END $$;
CREATE FUNCTION boom(at int) RETURNS int LANGUAGE plpgsql AS
  $$ BEGIN IF at = 3 THEN RAISE EXCEPTION 'boom at %', at USING ERRCODE = 'P0042', DETAIL = 'd', HINT = 'h'; END IF; RETURN at; END $$;";
