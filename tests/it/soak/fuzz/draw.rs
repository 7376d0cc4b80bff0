//! Sessions drawn at random: from the templates beside this file, and from those that are composed of the catalogue.

use super::ask::{Ask, Mode};
use super::catalogue::Catalogue;
use super::change::Change;
use super::compose::Composer;
use super::play::{SESSIONS, Step};
use super::values::{self, parameter};
use crate::soak::random::Random;

/// Users whom the oracle reads as; the first fills what the others must not be given.
const OTHERS: &[&str] = &["soak_alice", "soak_bob"];

/// The templates, each with its weight.
pub struct Templates {
    reads: Vec<String>,
    writes: Vec<String>,
    others: Vec<String>,
    catalogue: Catalogue,
}

impl Templates {
    pub fn new(catalogue: Catalogue) -> Self {
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
            catalogue,
        }
    }

    /// A read and a write of those that are composed.
    pub fn composed(&self, random: &mut Random) -> [Ask; 2] {
        let (read, _) = Composer::new(&self.catalogue, random).read();
        let write = loop {
            if let Some(write) = Change::new(&self.catalogue, random).write() {
                break write;
            }
        };
        let mut drawing = Drawing {
            templates: self,
            random,
            foreign: false,
        };
        [drawing.expand(&read), drawing.expand(&write)]
    }

    pub fn session(&self, random: &mut Random, steps: usize) -> Vec<Step> {
        Drawing {
            foreign: random.one_in(4),
            templates: self,
            random,
        }
        .session(steps)
    }
}

/// One session that is drawn.
struct Drawing<'a> {
    templates: &'a Templates,
    random: &'a mut Random,
    /// One of its sessions speaks LATIN1, and texts are beyond ASCII.
    foreign: bool,
}

impl Drawing<'_> {
    fn session(&mut self, steps: usize) -> Vec<Step> {
        // Some sessions dwell on a few reads and writes of keys, others change the schema all the time.
        let control = *self.random.pick(&[2, 8, 30]);
        let own_reads = *self.random.pick(&[5, 15]);
        let mut script = Vec::new();
        if self.foreign {
            let latin1 = Ask::simple("SET client_encoding = 'LATIN1'");
            script.push(Step::Run(SESSIONS - 1, latin1));
        }
        let mut live = Vec::new();
        for _ in 0..8 {
            self.watch(&mut live, &mut script);
        }
        while script.len() < steps {
            let other = if self.foreign { 2 } else { 4 };
            let who = if self.random.one_in(other) {
                self.random.below(SESSIONS)
            } else {
                0
            };
            match self.random.below(100) {
                n if n < control => {
                    let template = self.random.pick(&self.templates.others);
                    script.push(Step::Run(who, self.expand(template)));
                }
                n if n < control + own_reads => {
                    let ask = if self.random.one_in(4) {
                        self.read()
                    } else {
                        self.random.pick(&live).clone()
                    };
                    script.push(Step::Read(who, ask));
                }
                n if n < control + own_reads + 4 => self.watch(&mut live, &mut script),
                n if n < control + own_reads + 7 => script.push(Step::Run(who, self.copy())),
                _ => script.push(Step::Run(who, self.write())),
            }
        }
        script
    }

    /// What one user may read another one may not: the same text is often read by two.
    fn watch(&mut self, live: &mut Vec<Ask>, script: &mut Vec<Step>) {
        let ask = self.read();
        live.push(ask.clone());
        script.push(Step::Watch("app", ask.clone()));
        if self.random.one_in(2) {
            script.push(Step::Watch(self.random.pick::<&str>(OTHERS), ask));
        }
    }

    fn read(&mut self) -> Ask {
        let (template, ordered) = if self.random.below(5) < 2 {
            self.beyond_ascii(|drawing| {
                Composer::new(&drawing.templates.catalogue, drawing.random).read()
            })
        } else {
            self.beyond_ascii(|drawing| {
                let template = drawing.random.pick(&drawing.templates.reads);
                match template.strip_prefix("! ") {
                    Some(template) => (template.to_owned(), true),
                    None => (template.clone(), false),
                }
            })
        };
        Ask {
            ordered,
            ..self.expand(&template)
        }
    }

    fn write(&mut self) -> Ask {
        let (template, _) = self.beyond_ascii(|drawing| {
            let catalogue = &drawing.templates.catalogue;
            let composed = if drawing.random.below(5) < 2 {
                Change::new(catalogue, drawing.random).write()
            } else {
                None
            };
            let template = || drawing.random.pick(&drawing.templates.writes).clone();
            (composed.unwrap_or_else(template), false)
        });
        self.expand(&template)
    }

    /// Most templates of a session with such texts have a blank for one; few of all have.
    fn beyond_ascii(
        &mut self,
        mut draw: impl FnMut(&mut Self) -> (String, bool),
    ) -> (String, bool) {
        let mut drawn = draw(self);
        while self.foreign && !drawn.0.contains("{text}") && !self.random.one_in(3) {
            drawn = draw(self);
        }
        drawn
    }

    fn copy(&mut self) -> Ask {
        let (sql, line) = *self.random.pick(&[
            ("COPY k (id, v, grp) FROM STDIN", "{}\t5\t1\n"),
            ("COPY par FROM STDIN", "{}\t5\n"),
            ("COPY prt FROM STDIN WITH (FORMAT csv)", "{},us,4\n"),
            ("COPY gen (id, a) FROM STDIN", "{}\t4\n"),
            ("COPY trg FROM STDIN", "{}\t4\n"),
        ]);
        let id = self.random.below(14).to_string();
        Ask {
            copy: Some(line.replace("{}", &id)),
            ..Ask::simple(sql)
        }
    }

    /// Fills the blanks of a template.
    fn expand(&mut self, template: &str) -> Ask {
        let mode = match self.random.below(8) {
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
            let blank = after.split_once('}').filter(|(name, _)| {
                name.bytes().all(|b| b.is_ascii_lowercase()) && !name.is_empty()
            });
            let Some((name, after)) = blank else {
                sql.push('{');
                rest = after;
                continue;
            };
            rest = after;
            let Some(literal) = self.literal(name) else {
                sql.push_str(&self.word(name));
                continue;
            };
            match parameter(&literal, name == "int", self.random) {
                Some(value) if mode != Mode::Simple && self.random.below(3) > 0 => {
                    values.push(value);
                    sql.push_str(&format!("${}", values.len()));
                }
                _ => sql.push_str(&literal),
            }
        }
        sql.push_str(rest);
        if self.random.one_in(12) {
            sql = sql.replacen(' ', " /* why not */ ", 1);
        }
        Ask {
            sql,
            values,
            mode,
            copy: None,
            ordered: false,
            misencoded: self.foreign && self.random.one_in(20),
        }
    }

    /// A value for a blank that may be a parameter as well.
    fn literal(&mut self, name: &str) -> Option<String> {
        if name == "int" && self.random.one_in(2) {
            return Some(self.random.below(8).to_string());
        }
        let pool = match name {
            "text" if self.foreign && !self.random.one_in(4) => values::FOREIGN,
            _ => values::pool(name)?,
        };
        Some((*self.random.pick(pool)).to_owned())
    }

    /// What any other blank becomes.
    fn word(&mut self, name: &str) -> String {
        match name {
            "icol" => (*self.random.pick(values::INT_COLUMNS)).to_owned(),
            "n" => self.random.below(10).to_string(),
            _ => format!("{{{name}}}"),
        }
    }
}
