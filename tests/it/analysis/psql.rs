//! The texts that psql sends when it plays a script.

/// Cuts a script as psql does: at each `;` outside of quotes, comments and parentheses and of the body of a function.
/// Its backslash commands and the data of COPY are not there, `:'variable'` is the text `'variable'`, and both branches
/// of `\if` are played. Texts are left out while `standard_conforming_strings` is off: of them our analysis says nothing.
pub fn texts(script: &str) -> Vec<String> {
    let mut cutter = Cutter {
        script,
        at: 0,
        text: String::new(),
        statement: 0,
        verb: String::new(),
        depth: 0,
        atomic: 0,
        copies: 0,
        escapes: false,
        found: Vec::new(),
    };
    while cutter.at < script.len() {
        cutter.step();
    }
    cutter.send();
    cutter.found
}

struct Cutter<'a> {
    script: &'a str,
    at: usize,
    text: String,
    /// Where the last statement of the text begins.
    statement: usize,
    /// The first word of that statement.
    verb: String,
    depth: usize,
    /// BEGIN ATOMIC and the CASEs in it that await their END.
    atomic: usize,
    /// Statements of the text that read data.
    copies: usize,
    /// `standard_conforming_strings` is off.
    escapes: bool,
    found: Vec<String>,
}

impl<'a> Cutter<'a> {
    fn rest(&self) -> &'a str {
        &self.script[self.at..]
    }

    fn line(&self) -> &'a str {
        self.rest().lines().next().unwrap_or_default()
    }

    fn take(&mut self, length: usize) {
        let rest = self.rest();
        let end = (length..rest.len()).find(|end| rest.is_char_boundary(*end));
        let taken = &rest[..end.unwrap_or(rest.len())];
        self.text.push_str(taken);
        self.at += taken.len();
    }

    fn step(&mut self) {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return;
        };
        match first {
            '-' if rest.starts_with("--") => self.take(self.line().len()),
            '/' if rest.starts_with("/*") => self.take(comment(rest)),
            '\\' if rest.starts_with("\\;") => {
                self.at += 2;
                self.text.push(';');
                self.end_statement();
            }
            '\\' => self.command(),
            '\'' => self.take(quoted(rest, b'\'', self.escapes)),
            '"' => self.take(quoted(rest, b'"', false)),
            '$' => self.take(dollar(rest)),
            ':' if rest.starts_with("::") => self.take(2),
            ':' if rest.starts_with(":'") || rest.starts_with(":\"") => self.at += 1,
            ';' if self.depth == 0 && self.atomic == 0 => {
                self.at += 1;
                self.send();
            }
            '(' => {
                self.depth += 1;
                self.take(1);
            }
            ')' => {
                self.depth = self.depth.saturating_sub(1);
                self.take(1);
            }
            _ if first.is_alphanumeric() || first == '_' => self.word(),
            _ => self.take(first.len_utf8()),
        }
    }

    fn word(&mut self) {
        let rest = self.rest();
        let length = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
            .unwrap_or(rest.len());
        let (word, next) = rest.split_at(length);
        let word = word.to_ascii_lowercase();
        if word == "e" && next.starts_with('\'') {
            self.take(length + quoted(next, b'\'', true));
            return;
        }
        let atomic = word == "begin"
            && next
                .trim_start()
                .get(..6)
                .is_some_and(|next| next.eq_ignore_ascii_case("atomic"));
        if self.verb.is_empty() {
            self.verb.clone_from(&word);
        }
        if self.verb == "create" && atomic || self.atomic > 0 && word == "case" {
            self.atomic += 1;
        } else if word == "end" {
            self.atomic = self.atomic.saturating_sub(1);
        }
        self.take(length);
    }

    /// A backslash command, to the end of its line; some of them send the text.
    fn command(&mut self) {
        let line = self.line();
        self.at += line.len();
        match line[1..].split_whitespace().next().unwrap_or_default() {
            "g" | "gx" | "gset" | "gexec" | "gdesc" | "crosstabview" | "watch" => self.send(),
            "r" | "reset" => self.forget(),
            "copy" if reads_data(line) => self.skip_data(),
            _ => {}
        }
    }

    fn end_statement(&mut self) {
        let copies = self.verb == "copy" && reads_data(&self.text[self.statement..]);
        self.copies += usize::from(copies);
        self.statement = self.text.len();
        self.verb.clear();
        (self.depth, self.atomic) = (0, 0);
    }

    fn send(&mut self) {
        let set = self.verb == "set" || self.verb == "reset";
        self.end_statement();
        let text = self.text.trim();
        if !text.is_empty() && !self.escapes {
            self.found.push(text.to_owned());
        }
        if set && text.contains("standard_conforming_strings") {
            self.escapes = text.ends_with("off");
        }
        for _ in 0..self.copies {
            self.skip_data();
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.text.clear();
        self.end_statement();
        self.copies = 0;
    }

    /// To behind the end of data, if there is any: a COPY that is refused has none.
    fn skip_data(&mut self) {
        const END: &str = "\n\\.";
        if let Some((data, _)) = self.rest().split_once(END)
            && !data.lines().skip(1).any(reads_data)
        {
            self.at += data.len() + END.len();
        }
    }
}

fn reads_data(statement: &str) -> bool {
    let mut before = "";
    statement.split_whitespace().any(|word| {
        let from = before.eq_ignore_ascii_case("from");
        before = word;
        from && word.to_ascii_lowercase().starts_with("stdin")
    })
}

/// The length of the comment that `text` begins with.
fn comment(text: &str) -> usize {
    let (mut depth, mut length) = (0, 0);
    while length < text.len() {
        let rest = &text.as_bytes()[length..];
        if rest.starts_with(b"/*") {
            depth += 1;
            length += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            length += 2;
            if depth == 0 {
                break;
            }
        } else {
            length += 1;
        }
    }
    length
}

/// The length of the string or name that `text` begins with.
fn quoted(text: &str, quote: u8, escapes: bool) -> usize {
    let mut length = 1;
    while let Some(byte) = text.as_bytes().get(length) {
        length += 1;
        if *byte == b'\\' && escapes {
            length += 1;
        } else if *byte == quote {
            break;
        }
    }
    length
}

/// The length of the dollar-quoted string that `text` begins with, or of the dollar.
fn dollar(text: &str) -> usize {
    let is_tag = |name: &&str| {
        !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    let name = text[1..].split('$').next().filter(is_tag);
    let Some((tag, rest)) = name.and_then(|name| text.split_at_checked(name.len() + 2)) else {
        return 1;
    };
    rest.find(tag).map_or(text.len(), |end| end + 2 * tag.len())
}

#[test]
fn a_script_is_cut_where_psql_cuts_it() {
    let script = r#"-- first
SELECT ';', E'\';' "a;b" FROM t; \d t
COPY t FROM stdin;
1;2
\.
COPY missing FROM stdin;
\copy t from stdin csv
3;4
\.
SELECT $x$;$x$, $1 /* ; /* ; */ ; */ \gset
CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);
CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;
BEGIN; SELECT 1\; COPY t FROM STDIN\; SELECT 2;
5;6
\.
SET standard_conforming_strings TO off;
SELECT '\';';
RESET standard_conforming_strings;
SELECT '\', a::text, :'variable';
"#;
    assert_eq!(
        texts(script),
        [
            "-- first\nSELECT ';', E'\\';' \"a;b\" FROM t",
            "COPY t FROM stdin",
            "COPY missing FROM stdin",
            "SELECT $x$;$x$, $1 /* ; /* ; */ ; */",
            "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)",
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END",
            "BEGIN",
            "SELECT 1; COPY t FROM STDIN; SELECT 2",
            "SET standard_conforming_strings TO off",
            "SELECT '\\', a::text, 'variable'",
        ]
    );
}
