//! The switches of PostgreSQL's command line that a client may send in `options`, as `process_postgres_switches` in
//! `postgres.c` reads them: each stands for a setting.

use crate::wire::{ErrorReport, SqlState};

/// Those that have an argument.
const WITH_ARGUMENT: &str = "BcCDdfhkNprStvW-";
/// Those of the rest that a client may send.
const PLAIN: &str = "beEFijlnOPsT";

/// Adds the settings that these words stand for, in order.
///
/// # Errors
/// What PostgreSQL says of a switch that it does not know.
pub(super) fn read(
    words: Vec<String>,
    settings: &mut Vec<(String, String)>,
) -> Result<(), ErrorReport> {
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if word == "--" {
            // Nothing may follow.
            return words.next().map_or(Ok(()), |word| Err(invalid(&word)));
        }
        let Some(switches) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            return Err(invalid(&word));
        };
        for (at, switch) in switches.char_indices() {
            if PLAIN.contains(switch) {
                plain(switch, settings);
                continue;
            }
            if !WITH_ARGUMENT.contains(switch) {
                return Err(invalid(&word));
            }
            let rest = &switches[at + switch.len_utf8()..];
            let (argument, last) = match rest {
                "" => {
                    let next = words.next().ok_or_else(|| invalid(&word))?;
                    (next.clone(), next)
                }
                rest => (rest.to_owned(), word.clone()),
            };
            match switch {
                'c' | '-' => settings.push(assignment(switch, &argument)?),
                _ => with_argument(switch, &argument, settings).ok_or_else(|| invalid(&last))?,
            }
            break;
        }
    }
    Ok(())
}

fn assignment(switch: char, argument: &str) -> Result<(String, String), ErrorReport> {
    let Some((name, value)) = argument.split_once('=') else {
        let written = match switch {
            '-' => format!("--{argument}"),
            _ => format!("-c {argument}"),
        };
        let message = format!("{written} requires a value");
        return Err(ErrorReport::fatal(SqlState::SYNTAX_ERROR, message));
    };
    let name = name.replace('-', "_").to_ascii_lowercase();
    Ok((name, value.to_owned()))
}

fn plain(switch: char, settings: &mut Vec<(String, String)>) {
    let (name, value) = match switch {
        'e' => ("datestyle", "euro"),
        'F' => ("fsync", "false"),
        'i' => ("listen_addresses", "*"),
        'l' => ("ssl", "true"),
        'O' => ("allow_system_table_mods", "true"),
        'P' => ("ignore_system_indexes", "true"),
        's' => ("log_statement_stats", "true"),
        // Of no effect where a client sends them.
        _ => return,
    };
    settings.push((name.to_owned(), value.to_owned()));
}

/// `None` for an argument that is none of the switch's.
fn with_argument(switch: char, argument: &str, settings: &mut Vec<(String, String)>) -> Option<()> {
    let mut set = |name: &str, value: &str| settings.push((name.to_owned(), value.to_owned()));
    match switch {
        'B' => set("shared_buffers", argument),
        'd' => {
            let digits = argument.trim_start();
            let end = digits.find(|c: char| !c.is_ascii_digit());
            let level: u32 = digits[..end.unwrap_or(digits.len())].parse().unwrap_or(0);
            match level {
                0 => set("log_min_messages", "notice"),
                _ => set("log_min_messages", &format!("debug{level}")),
            }
            for (from, name, value) in [
                (2, "log_statement", "all"),
                (3, "debug_print_parse", "true"),
                (4, "debug_print_plan", "true"),
                (5, "debug_print_rewritten", "true"),
            ] {
                if level >= from {
                    set(name, value);
                }
            }
        }
        'f' => {
            let name = match argument.chars().next()? {
                's' => "enable_seqscan",
                'i' => "enable_indexscan",
                'o' => "enable_indexonlyscan",
                'b' => "enable_bitmapscan",
                't' => "enable_tidscan",
                'n' => "enable_nestloop",
                'm' => "enable_mergejoin",
                'h' => "enable_hashjoin",
                _ => return None,
            };
            set(name, "false");
        }
        'h' => set("listen_addresses", argument),
        'k' => set("unix_socket_directories", argument),
        'N' => set("max_connections", argument),
        'p' => set("port", argument),
        'S' => set("work_mem", argument),
        't' => {
            let mut letters = argument.chars();
            let name = match (letters.next()?, letters.next()) {
                ('p', Some('a')) => "log_parser_stats",
                ('p', Some('l')) => "log_planner_stats",
                ('e', _) => "log_executor_stats",
                _ => return None,
            };
            set(name, "true");
        }
        'W' => set("post_auth_delay", argument),
        // Of no effect where a client sends them.
        _ => {}
    }
    Some(())
}

fn invalid(word: &str) -> ErrorReport {
    let message = format!("invalid command-line argument for server process: {word}");
    ErrorReport::fatal(SqlState::SYNTAX_ERROR, message)
        .with_hint("Try \"postgres --help\" for more information.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(options: &str) -> Result<String, String> {
        let mut settings = Vec::new();
        let words = options.split_whitespace().map(str::to_owned).collect();
        match read(words, &mut settings) {
            Ok(()) => {
                let written: Vec<_> = settings.iter().map(|(n, v)| format!("{n}={v}")).collect();
                Ok(written.join(" "))
            }
            Err(report) => Err(report.message.into_owned()),
        }
    }

    #[test]
    fn switches_stand_for_settings() {
        for (options, wanted) in [
            ("", ""),
            ("-e", "datestyle=euro"),
            ("-ec Work-Mem=1=2", "datestyle=euro work_mem=1=2"),
            (
                "-fs -f nestloop",
                "enable_seqscan=false enable_nestloop=false",
            ),
            ("-S 100 -eS200", "work_mem=100 datestyle=euro work_mem=200"),
            (
                "-d3",
                "log_min_messages=debug3 log_statement=all debug_print_parse=true",
            ),
            ("-d 0 -E -j -nT -v 3", "log_min_messages=notice"),
            ("-tpa -t e", "log_parser_stats=true log_executor_stats=true"),
            ("--a-b=c --", "a_b=c"),
        ] {
            assert_eq!(settings(options).as_deref(), Ok(wanted), "{options}");
        }
    }

    #[test]
    fn what_is_no_switch_is_told_as_postgres_does() {
        let invalid = "invalid command-line argument for server process: ";
        for (options, message) in [
            ("-x", format!("{invalid}-x")),
            ("-", format!("{invalid}-")),
            ("-e foo", format!("{invalid}foo")),
            ("-- foo", format!("{invalid}foo")),
            ("-f X", format!("{invalid}X")),
            ("-fX", format!("{invalid}-fX")),
            ("-c", format!("{invalid}-c")),
            ("-ce", "-c e requires a value".to_owned()),
            ("--geqo", "--geqo requires a value".to_owned()),
        ] {
            assert_eq!(settings(options), Err(message), "{options}");
        }
    }
}
