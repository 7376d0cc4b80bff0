//! A table is never lost, wherever in a statement the query stands that reads it.

use crate::sql::analyse;

const AROUND: &[&str] = &[
    "SELECT (@)",
    "SELECT * FROM (@) x",
    "SELECT * FROM y, LATERAL (@) x",
    "SELECT * FROM y LEFT JOIN (@) x ON y.a = (@)",
    "SELECT 1 WHERE 1 NOT IN (@)",
    "SELECT 1 WHERE 1 = ALL (@) OR NOT EXISTS (@)",
    "SELECT f(1, (@)), g(x => (@))",
    "SELECT * FROM f((@)) WITH ORDINALITY",
    "WITH w AS (@) SELECT * FROM w",
    "WITH RECURSIVE w AS (SELECT 1 UNION ALL (@)) TABLE w",
    "(@) UNION ALL SELECT 1",
    "SELECT 1 EXCEPT (@) ORDER BY 1",
    "SELECT CASE (@) WHEN (@) THEN (@) ELSE (@) END",
    "SELECT ARRAY(@), ARRAY[(@)], ROW((@))",
    "SELECT 1 ORDER BY (@) LIMIT (@) OFFSET (@)",
    "SELECT DISTINCT ON ((@)) (@)::int, a[(@)], (@) COLLATE c",
    "SELECT extract(day FROM (@)), substring((@) FROM (@)), position((@) IN (@)), trim((@)), overlay(a PLACING (@) FROM (@))",
    "SELECT (@) AT TIME ZONE (@), (@) IS NULL, (@) IS DISTINCT FROM (@), (@) LIKE (@) ESCAPE (@)",
    "SELECT (@) BETWEEN (@) AND (@), NOT (@), - (@), (@) || (@), (@) ->> (@)",
    "SELECT count(DISTINCT (@) ORDER BY (@)) FILTER (WHERE (@)) OVER (PARTITION BY (@) ORDER BY (@)) FROM y",
    "SELECT a FROM y GROUP BY (@), ROLLUP ((@)) HAVING (@)",
    "SELECT 1 FROM y TABLESAMPLE SYSTEM ((@))",
    "VALUES ((@), 1), (2, (@))",
    "INSERT INTO z @",
    "INSERT INTO z VALUES ((@)) ON CONFLICT (a) DO UPDATE SET a = (@) WHERE (@) RETURNING (@)",
    "UPDATE z SET (a, b) = (@), c = (@) FROM (@) x WHERE (@) RETURNING (@)",
    "DELETE FROM z USING (@) x WHERE (@) RETURNING (@)",
    "MERGE INTO z USING (@) x ON (@) WHEN MATCHED AND (@) THEN UPDATE SET a = (@) WHEN NOT MATCHED THEN INSERT VALUES ((@))",
    "EXPLAIN @",
    "PREPARE p AS @",
    "DECLARE c CURSOR FOR @",
    "COPY (@) TO STDOUT",
    "CREATE TEMP TABLE z AS @",
    "CALL p((@))",
];

const READS: &[&str] = &[
    "SELECT a FROM @",
    "TABLE @",
    "SELECT a FROM ONLY @",
    "SELECT a FROM ONLY (@) v",
    "SELECT a FROM u, @ v",
    "SELECT a FROM u NATURAL JOIN @",
    "SELECT a FROM (u CROSS JOIN (@ JOIN v ON true))",
    "SELECT a FROM u UNION TABLE @",
    "SELECT a FROM @ FOR NO KEY UPDATE",
    "SELECT a FROM @ FETCH FIRST 1 ROW ONLY",
];

#[test]
fn a_table_is_found_wherever_it_is_read() {
    let (mut known, mut all) = (0, 0);
    for outer in AROUND {
        for middle in std::iter::once(&"@").chain(AROUND) {
            for read in READS {
                // One place at a time reads the table, so that none hides behind another.
                let inner = middle.replace('@', &read.replace('@', "leaf"));
                for place in 0..outer.matches('@').count() {
                    let mut number = 0;
                    let sql: String = outer
                        .chars()
                        .map(|character| {
                            if character != '@' {
                                return character.to_string();
                            }
                            number += 1;
                            if number == place + 1 {
                                inner.clone()
                            } else {
                                "SELECT 1".to_owned()
                            }
                        })
                        .collect();
                    let facts = analyse(&sql);
                    all += 1;
                    known += usize::from(facts.complete);
                    let found = facts
                        .relations
                        .iter()
                        .any(|relation| relation.name.name == "leaf");
                    assert!(found || !facts.complete, "{sql}: {facts:?}");
                }
            }
        }
    }
    // Statements inside of which no change or utility can stand are refused; what is left must not be.
    assert!(known * 2 > all, "{known} of {all}");
}
