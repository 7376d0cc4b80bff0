//! Sessions drawn at random from the templates beside this file.

use super::ask::{Ask, Mode, Value};
use super::play::{SESSIONS, Step};
use crate::soak::random::Random;

/// Integers with the traps of the cache's keys: texts that are 7, numbers that become 7, and what is none.
const INTS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "7",
    "7",
    "5",
    "'7'",
    "'07'",
    "' +7 '",
    "'3'",
    "7.4",
    "7.0",
    "6.5",
    "-0",
    "+3",
    "'-0'",
    "3::bigint",
    "7::smallint",
    "3 + 4",
    "NULL",
    "7e0",
    "'7.4'",
    "9999999999",
    "'x'",
    "''",
    "(7)",
    "abs(-7)",
    "int '7'",
    "CAST('07' AS int)",
    "'7'::text::int",
    "E'\\x37'",
    "U&'\\0037'",
    "$q$7$q$",
    "-(-7)",
    "7::numeric",
    "'1e1'",
    "- 1",
    "(SELECT 7)",
    "true::int",
];
const TEXTS: &[&str] = &[
    "'a'",
    "'A'",
    "'abc'",
    "'abc '",
    "'abc   '",
    "'abcd'",
    "''",
    "' '",
    "NULL",
    "E'\\x61'",
    "U&'\\0061'",
    "$$a$$",
    "'a'::varchar",
    "'abc'::varchar(2)",
    "'a'::char(3)",
    "lower('A')",
    "'a' || 'bc'",
    "E'a\\'c'",
    "'a''c'",
    "'\\x61'",
    "'é'",
    "'ß'",
    "text 'a'",
    "'h'",
    "'b'",
];
const BOOLS: &[&str] = &[
    "true",
    "false",
    "'t'",
    "'yes'",
    "'on'",
    "'1'",
    "' TRUE '",
    "'tr'",
    "'n'",
    "'of'",
    "NULL",
    "1::bool",
    "NOT false",
    "'0'",
];
const UUIDS: &[&str] = &[
    "'00000000-0000-0000-0000-000000000007'",
    "'00000000000000000000000000000007'",
    "'{00000000-0000-0000-0000-000000000007}'",
    "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
    "'a0eebc999c0b4ef8bb6d6bb9bd380a11'",
    "'a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11'",
    "NULL",
    "'x'",
    "'00000000-0000-0000-0000-000000000003'",
    "uuid '00000000-0000-0000-0000-000000000003'",
];
const MOODS: &[&str] = &[
    "'sad'",
    "'ok'",
    "'happy'",
    "'meh'",
    "NULL",
    "'ok'::mood",
    "'OK'",
];
const REGIONS: &[&str] = &[
    "'eu'",
    "'us'",
    "'zz'",
    "'EU'",
    "'eu '",
    "NULL",
    "'eu'::text",
    "'u' || 's'",
];
const INT_ARRAYS: &[&str] = &[
    "'{7,3}'",
    "ARRAY[7, 3]",
    "'{7,NULL}'",
    "'{}'",
    "ARRAY['7']::int[]",
    "NULL",
    "'{\" 7\",3}'",
];
const INT_COLUMNS: &[&str] = &["id", "id", "grp", "grp", "big", "s", "\"id\"", "ID", "k.id"];

/// The templates, each with its weight.
pub struct Templates {
    reads: Vec<String>,
    writes: Vec<String>,
    others: Vec<String>,
}

impl Templates {
    pub fn new() -> Self {
        let weighted = |text: &str| {
            let mut all = Vec::new();
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                let (weight, template) = line.split_once(' ').expect("a weight");
                let weight: usize = weight
                    .parse()
                    .unwrap_or_else(|_| panic!("no weight: {line}"));
                all.extend(std::iter::repeat_n(template.to_owned(), weight));
            }
            all
        };
        let reads = include_str!("reads.txt")
            .lines()
            .filter(|line| !line.starts_with('#'));
        Self {
            reads: reads.map(str::to_owned).collect(),
            writes: weighted(include_str!("writes.txt")),
            others: weighted(include_str!("others.txt")),
        }
    }

    pub fn session(&self, random: &mut Random, steps: usize) -> Vec<Step> {
        // Some sessions dwell on a few reads and writes of keys, others change the schema all the time.
        let control = *random.pick(&[2, 8, 30]);
        let own_reads = *random.pick(&[5, 15]);
        let mut live: Vec<Ask> = (0..12).map(|_| self.read(random)).collect();
        let mut script: Vec<Step> = live.iter().cloned().map(Step::Watch).collect();
        while script.len() < steps {
            let who = if random.one_in(4) {
                random.below(SESSIONS)
            } else {
                0
            };
            match random.below(100) {
                n if n < control => script.push(Step::Run(who, self.other(random))),
                n if n < control + own_reads => {
                    let ask = if random.one_in(4) {
                        self.read(random)
                    } else {
                        random.pick(&live).clone()
                    };
                    script.push(Step::Run(who, ask));
                }
                n if n < control + own_reads + 4 => {
                    let ask = self.read(random);
                    live.push(ask.clone());
                    script.push(Step::Watch(ask));
                }
                n if n < control + own_reads + 7 => script.push(Step::Run(who, copy(random))),
                _ => script.push(Step::Run(who, self.write(random))),
            }
        }
        script
    }

    fn read(&self, random: &mut Random) -> Ask {
        let template = random.pick(&self.reads).clone();
        match template.strip_prefix("! ") {
            Some(template) => Ask {
                ordered: true,
                ..expand(template, random)
            },
            None => expand(&template, random),
        }
    }

    fn write(&self, random: &mut Random) -> Ask {
        let template = random.pick(&self.writes).clone();
        expand(&template, random)
    }

    fn other(&self, random: &mut Random) -> Ask {
        let template = random.pick(&self.others).clone();
        expand(&template, random)
    }
}

fn copy(random: &mut Random) -> Ask {
    let (sql, line) = *random.pick(&[
        ("COPY k (id, v, grp) FROM STDIN", "{}\t5\t1\n"),
        ("COPY par FROM STDIN", "{}\t5\n"),
        ("COPY prt FROM STDIN WITH (FORMAT csv)", "{},us,4\n"),
        ("COPY gen (id, a) FROM STDIN", "{}\t4\n"),
        ("COPY trg FROM STDIN", "{}\t4\n"),
    ]);
    let id = random.below(14).to_string();
    Ask {
        sql: sql.to_owned(),
        values: Vec::new(),
        mode: Mode::Simple,
        copy: Some(line.replace("{}", &id)),
        ordered: true,
    }
}

/// Fills the blanks of a template.
fn expand(template: &str, random: &mut Random) -> Ask {
    let mode = match random.below(8) {
        0..3 => Mode::Simple,
        3 => Mode::Extended { binary: true },
        4 | 5 => Mode::Extended { binary: false },
        6 => Mode::Prepared { binary: true },
        _ => Mode::Prepared { binary: false },
    };
    let mut sql = String::new();
    let mut values = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        sql.push_str(before);
        let blank = after
            .split_once('}')
            .filter(|(name, _)| name.bytes().all(|b| b.is_ascii_lowercase()) && !name.is_empty());
        let Some((name, after)) = blank else {
            sql.push('{');
            rest = after;
            continue;
        };
        rest = after;
        let pool = match name {
            "int" => INTS,
            "text" => TEXTS,
            "bool" => BOOLS,
            "uuid" => UUIDS,
            "mood" => MOODS,
            "region" => REGIONS,
            "intarr" => INT_ARRAYS,
            "icol" => {
                sql.push_str(random.pick::<&str>(INT_COLUMNS));
                continue;
            }
            "n" => {
                sql.push_str(&random.below(10).to_string());
                continue;
            }
            _ => {
                sql.push('{');
                sql.push_str(name);
                sql.push('}');
                continue;
            }
        };
        let plain = name == "int" && random.one_in(2);
        let literal = if plain {
            random.below(8).to_string()
        } else {
            (*random.pick(pool)).to_owned()
        };
        match parameter(&literal, name == "int", random) {
            Some(value) if mode != Mode::Simple && random.below(3) > 0 => {
                values.push(value);
                sql.push_str(&format!("${}", values.len()));
            }
            _ => sql.push_str(&literal),
        }
    }
    sql.push_str(rest);
    if random.one_in(12) {
        sql = sql.replacen(' ', " /* why not */ ", 1);
    }
    Ask {
        sql,
        values,
        mode,
        copy: None,
        ordered: false,
    }
}

/// The same value as a parameter, where it can be one.
fn parameter(literal: &str, int: bool, random: &mut Random) -> Option<Value> {
    if literal == "NULL" {
        return Some(Value {
            type_oid: 0,
            binary: random.one_in(2),
            bytes: None,
        });
    }
    let text = match literal
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''))
    {
        Some(text) if !text.contains('\'') => text,
        _ if literal.bytes().all(|byte| byte.is_ascii_digit()) => literal,
        _ => return None,
    };
    let number: Option<i64> = text.parse().ok().filter(|_| int);
    match (number, random.below(6)) {
        (Some(n), 0) => Some(Value {
            type_oid: 20,
            binary: true,
            bytes: Some(n.to_be_bytes().to_vec()),
        }),
        (Some(n), 1) if i32::try_from(n).is_ok() => Some(Value {
            type_oid: 23,
            binary: true,
            bytes: Some((n as i32).to_be_bytes().to_vec()),
        }),
        (Some(n), 2) if i16::try_from(n).is_ok() => Some(Value {
            type_oid: 21,
            binary: true,
            bytes: Some((n as i16).to_be_bytes().to_vec()),
        }),
        (_, 3) => Some(Value {
            type_oid: *random.pick(if int {
                &[1700, 701, 20, 21, 23, 705, 25]
            } else {
                &[25, 1043, 1042, 705]
            }),
            binary: false,
            bytes: Some(text.as_bytes().to_vec()),
        }),
        _ => Some(Value {
            type_oid: 0,
            binary: false,
            bytes: Some(text.as_bytes().to_vec()),
        }),
    }
}
