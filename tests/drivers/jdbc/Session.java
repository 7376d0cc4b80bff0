// One session of everything an application does with the PostgreSQL JDBC driver.
// usage: java -cp /usr/share/java/postgresql.jar Session.java jdbc:postgresql://…

import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.*;
import java.time.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyManager;

public class Session {
    static String url;

    interface Step { void run(Connection db, Connection other) throws Exception; }
    interface Call { void run() throws Exception; }

    public static void main(String[] args) throws Exception {
        url = args[0];
        Map<String, Step> steps = new LinkedHashMap<>();
        steps.put("prepareTables", Session::prepareTables);
        steps.put("readsRepeatAndSeeWrites", Session::readsRepeatAndSeeWrites);
        steps.put("transactions", Session::transactions);
        steps.put("preparedStatements", Session::preparedStatements);
        steps.put("batches", Session::batches);
        steps.put("fetchSize", Session::fetchSize);
        steps.put("maxRows", Session::maxRows);
        steps.put("copies", Session::copies);
        steps.put("errors", Session::errors);
        steps.put("cancelAndTimeouts", Session::cancelAndTimeouts);
        steps.put("noticesAndNotifications", Session::noticesAndNotifications);
        steps.put("types", Session::types);
        steps.put("simpleProtocol", Session::simpleProtocol);
        try (Connection db = connect(""); Connection other = connect("")) {
            for (Map.Entry<String, Step> step : steps.entrySet()) {
                try {
                    step.getValue().run(db, other);
                } catch (Exception | AssertionError error) {
                    System.err.println(step.getKey() + ":");
                    error.printStackTrace();
                    System.exit(1);
                }
                System.out.println("ok " + step.getKey());
            }
        }
    }

    static Connection connect(String more) throws SQLException {
        return DriverManager.getConnection(url + "&connectTimeout=20&socketTimeout=60" + more);
    }

    static void expect(String what, Object actual, Object wanted) {
        boolean equal = actual instanceof byte[] && wanted instanceof byte[]
            ? Arrays.equals((byte[]) actual, (byte[]) wanted)
            : Objects.equals(actual, wanted);
        if (!equal) throw new AssertionError(what + ": " + actual + " instead of " + wanted);
    }

    static void fails(String state, Call call) throws Exception {
        try {
            call.run();
        } catch (SQLException error) {
            expect("SQLSTATE of " + error.getMessage(), error.getSQLState(), state);
            return;
        }
        throw new AssertionError("no error " + state);
    }

    static void execute(Connection db, String sql) throws SQLException {
        try (Statement statement = db.createStatement()) {
            statement.execute(sql);
        }
    }

    static List<List<Object>> rows(Connection db, String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement(sql)) {
            for (int at = 0; at < values.length; at++) statement.setObject(at + 1, values[at]);
            List<List<Object>> rows = new ArrayList<>();
            try (ResultSet result = statement.executeQuery()) {
                while (result.next()) {
                    List<Object> row = new ArrayList<>();
                    for (int at = 1; at <= result.getMetaData().getColumnCount(); at++) row.add(result.getObject(at));
                    rows.add(row);
                }
            }
            return rows;
        }
    }

    static Object value(Connection db, String sql, Object... values) throws SQLException {
        return rows(db, sql, values).get(0).get(0);
    }

    static void prepareTables(Connection db, Connection other) throws SQLException {
        execute(db, "DROP SCHEMA IF EXISTS drv_jdbc CASCADE");
        execute(db, "CREATE SCHEMA drv_jdbc; CREATE TABLE drv_jdbc.item (id int PRIMARY KEY, name text, price numeric)");
    }

    static void readsRepeatAndSeeWrites(Connection db, Connection other) throws SQLException {
        String select = "SELECT name, price FROM drv_jdbc.item WHERE id = ?";
        execute(db, "INSERT INTO drv_jdbc.item VALUES (1, 'tea', 3.50), (2, 'cup', 8)");
        try (PreparedStatement update = db.prepareStatement("UPDATE drv_jdbc.item SET price = ? WHERE id = 1")) {
            for (int round = 0; round < 8; round++) {
                BigDecimal price = new BigDecimal(round + ".25");
                update.setBigDecimal(1, price);
                expect("rows updated", update.executeUpdate(), 1);
                for (Connection reader : List.of(db, other, db, other, other)) {
                    expect("a read after a write", rows(reader, select, 1), List.of(List.of("tea", price)));
                }
                expect("the other row", rows(other, select, 2).get(0).get(0), "cup");
                expect("no row", rows(other, select, 3), List.of());
            }
        }
    }

    static void transactions(Connection db, Connection other) throws Exception {
        String count = "SELECT count(*) FROM drv_jdbc.item";
        long before = (Long) value(other, count);
        db.setAutoCommit(false);
        execute(db, "INSERT INTO drv_jdbc.item VALUES (10, 'pot', 20)");
        expect("own write in the transaction", value(db, count), before + 1);
        expect("not committed", value(other, count), before);
        db.commit();
        expect("committed", value(other, count), before + 1);

        execute(db, "DELETE FROM drv_jdbc.item");
        expect("own delete", value(db, count), 0L);
        db.rollback();
        expect("rolled back", value(db, count), before + 1);

        execute(db, "INSERT INTO drv_jdbc.item VALUES (11, 'jug', 9)");
        Savepoint here = db.setSavepoint("here");
        execute(db, "INSERT INTO drv_jdbc.item VALUES (12, 'pan', 9)");
        db.rollback(here);
        expect("back to the savepoint", value(db, count), before + 2);
        db.releaseSavepoint(here);
        db.commit();
        expect("the outer transaction", value(other, count), before + 2);

        db.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
        expect("a snapshot", value(db, count), before + 2);
        execute(other, "INSERT INTO drv_jdbc.item VALUES (13, 'lid', 1)");
        expect("the same snapshot", value(db, count), before + 2);
        db.commit();
        expect("a new snapshot", value(db, count), before + 3);
        db.commit();
        db.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        db.setReadOnly(true);
        fails("25006", () -> execute(db, "DELETE FROM drv_jdbc.item"));
        db.rollback();
        db.setReadOnly(false);
        db.setAutoCommit(true);
    }

    static void preparedStatements(Connection db, Connection other) throws SQLException {
        // The driver names a statement at its fifth use, and asks for binary results from then on.
        try (PreparedStatement statement = db.prepareStatement("SELECT ?::int * 2, ?::text")) {
            for (int number = 0; number < 20; number++) {
                statement.setInt(1, number);
                statement.setString(2, "t" + number);
                try (ResultSet result = statement.executeQuery()) {
                    expect("a row", result.next(), true);
                    expect("a prepared statement", result.getInt(1), number * 2);
                    expect("its text", result.getString(2), "t" + number);
                }
            }
            expect("parameters", statement.getParameterMetaData().getParameterCount(), 2);
        }
        for (int number = 0; number < 300; number++) {
            try (PreparedStatement statement = db.prepareStatement("SELECT " + number + " + ?::int")) {
                for (int round = 0; round < 6; round++) {
                    statement.setInt(1, 1);
                    try (ResultSet result = statement.executeQuery()) {
                        result.next();
                        expect("one of many", result.getInt(1), number + 1);
                    }
                }
            }
        }
    }

    static void batches(Connection db, Connection other) throws Exception {
        String insert = "INSERT INTO drv_jdbc.item VALUES (?, ?)";
        try (PreparedStatement statement = db.prepareStatement(insert)) {
            for (int number = 0; number < 500; number++) {
                statement.setInt(1, 1000 + number);
                statement.setString(2, "batch");
                statement.addBatch();
            }
            expect("a batch", statement.executeBatch().length, 500);
        }
        String count = "SELECT count(*) FROM drv_jdbc.item WHERE name = 'batch'";
        expect("after the batch", value(other, count), 500L);
        try (PreparedStatement statement = db.prepareStatement(insert)) {
            for (int number : new int[] {5000, 1000, 5001}) {
                statement.setInt(1, number);
                statement.setString(2, "batch");
                statement.addBatch();
            }
            fails("23505", statement::executeBatch);
        }
        expect("after the failed batch", value(other, count), 500L);
        try (PreparedStatement statement =
                db.prepareStatement("INSERT INTO drv_jdbc.item VALUES (?)", Statement.RETURN_GENERATED_KEYS)) {
            statement.setInt(1, 6000);
            statement.executeUpdate();
            ResultSet keys = statement.getGeneratedKeys();
            keys.next();
            expect("a returned key", keys.getInt("id"), 6000);
        }
    }

    static void fetchSize(Connection db, Connection other) throws SQLException {
        db.setAutoCommit(false);
        try (PreparedStatement statement = db.prepareStatement("SELECT generate_series(1, 100)")) {
            statement.setFetchSize(7);
            int wanted = 1;
            try (ResultSet result = statement.executeQuery()) {
                while (result.next()) expect("a row of a portal", result.getInt(1), wanted++);
            }
            expect("rows of a portal", wanted, 101);
        }
        db.commit();
        db.setAutoCommit(true);
    }

    static void maxRows(Connection db, Connection other) throws SQLException {
        execute(db, "CREATE TABLE drv_jdbc.series AS SELECT generate_series(1, 9) AS n");
        for (boolean autoCommit : List.of(true, false)) {
            db.setAutoCommit(autoCommit);
            try (PreparedStatement statement = db.prepareStatement("SELECT n FROM drv_jdbc.series ORDER BY n")) {
                for (int limit : new int[] {1, 4, 0, 9, 1, 20, 4, 0}) {
                    statement.setMaxRows(limit);
                    int rows = 0;
                    try (ResultSet result = statement.executeQuery()) {
                        while (result.next()) expect("a row", result.getInt(1), ++rows);
                    }
                    expect("rows of at most " + limit, rows, limit == 0 ? 9 : Math.min(limit, 9));
                }
            }
            if (!autoCommit) db.commit();
        }
        db.setAutoCommit(true);
    }

    static void copies(Connection db, Connection other) throws Exception {
        execute(db, "CREATE TABLE drv_jdbc.bulk (id int, name text)");
        StringBuilder lines = new StringBuilder();
        for (int number = 0; number < 1000; number++) lines.append(number + ",row " + number + "\n");
        String in = "COPY drv_jdbc.bulk FROM STDIN (FORMAT csv)";
        CopyManager copy = db.unwrap(PGConnection.class).getCopyAPI();
        expect("COPY in", copy.copyIn(in, new StringReader(lines.toString())), 1000L);
        StringWriter out = new StringWriter();
        CopyManager otherCopy = other.unwrap(PGConnection.class).getCopyAPI();
        otherCopy.copyOut("COPY (SELECT * FROM drv_jdbc.bulk ORDER BY id) TO STDOUT (FORMAT csv)", out);
        expect("COPY out", out.toString(), lines.toString());

        var half = copy.copyIn(in);
        byte[] line = "1,half\n".getBytes();
        half.writeToCopy(line, 0, line.length);
        half.cancelCopy();
        fails("22P02", () -> copy.copyIn(in, new StringReader("no number,x\n")));
        expect("after COPY", value(db, "SELECT count(*) FROM drv_jdbc.bulk"), 1000L);
    }

    static void errors(Connection db, Connection other) throws Exception {
        fails("42601", () -> execute(db, "SELEC 1"));
        fails("23505", () -> execute(db, "INSERT INTO drv_jdbc.item VALUES (1, 'again', 0)"));
        expect("after errors", value(db, "SELECT 1"), 1);
        db.setAutoCommit(false);
        fails("23505", () -> execute(db, "INSERT INTO drv_jdbc.item VALUES (1, 'again', 0)"));
        fails("25P02", () -> execute(db, "SELECT 1"));
        db.rollback();
        expect("after the rollback", value(db, "SELECT 1"), 1);
        db.commit();
        db.setAutoCommit(true);
    }

    static void cancelAndTimeouts(Connection db, Connection other) throws Exception {
        String sleep = "SELECT pg_sleep(30)";
        long begin = System.nanoTime();
        try (Statement statement = db.createStatement()) {
            Timer timer = new Timer(true);
            timer.schedule(new TimerTask() {
                public void run() {
                    try {
                        statement.cancel();
                    } catch (SQLException error) {
                        error.printStackTrace();
                    }
                }
            }, 500);
            fails("57014", () -> statement.execute(sleep));
            timer.cancel();
        }
        expect("after the cancel", value(db, "SELECT 1"), 1);
        try (Statement statement = db.createStatement()) {
            // The driver keeps this time itself, and cancels.
            statement.setQueryTimeout(1);
            fails("57014", () -> statement.execute(sleep));
        }
        expect("cancelled early", System.nanoTime() - begin < 15_000_000_000L, true);

        execute(db, "SET statement_timeout = '100ms'");
        fails("57014", () -> execute(db, sleep));
        expect("the setting stays", value(db, "SHOW statement_timeout"), "100ms");
        execute(db, "RESET statement_timeout");
        expect("the setting goes", value(db, "SHOW statement_timeout"), "0");
    }

    static void noticesAndNotifications(Connection db, Connection other) throws SQLException {
        try (Statement statement = db.createStatement()) {
            statement.execute("DO $$ BEGIN RAISE NOTICE 'hear, hear'; END $$");
            expect("a notice", statement.getWarnings().getMessage(), "hear, hear");
        }
        execute(db, "LISTEN drv_jdbc");
        execute(other, "NOTIFY drv_jdbc, 'first'");
        execute(other, "SELECT pg_notify('drv_jdbc', 'second')");
        List<String> payloads = new ArrayList<>();
        PGConnection listener = db.unwrap(PGConnection.class);
        long until = System.nanoTime() + 20_000_000_000L;
        while (payloads.size() < 2 && System.nanoTime() < until) {
            PGNotification[] notifications = listener.getNotifications(1000);
            if (notifications != null) for (PGNotification one : notifications) payloads.add(one.getParameter());
        }
        expect("notifications", payloads, List.of("first", "second"));
        execute(db, "UNLISTEN *");
    }

    static void types(Connection db, Connection other) throws Exception {
        Object[][] values = {
            {"int4", 2147483647},
            {"int8", Long.MIN_VALUE},
            {"float8", 0.1},
            {"numeric", new BigDecimal("12345678901234567890.0123456789")},
            {"bool", true},
            {"text", "grüße, 世界 🐘 'quoted' \\ back"},
            {"bytea", new byte[] {0, 1, 127, -128, -1}},
            {"date", LocalDate.of(2024, 2, 29)},
            {"timestamp", LocalDateTime.of(1999, 12, 31, 23, 59, 59, 999999000)},
            {"timestamptz", OffsetDateTime.of(2024, 3, 31, 1, 30, 0, 0, ZoneOffset.UTC)},
            {"uuid", UUID.fromString("12345678-1234-5678-1234-567812345678")},
            {"text", null},
        };
        StringJoiner columns = new StringJoiner(", "), marks = new StringJoiner(", ");
        for (int at = 0; at < values.length; at++) {
            columns.add("c" + at + " " + values[at][0]);
            marks.add("?");
        }
        execute(db, "CREATE TABLE drv_jdbc.type (" + columns + ")");
        try (PreparedStatement insert = db.prepareStatement("INSERT INTO drv_jdbc.type VALUES (" + marks + ")")) {
            for (int at = 0; at < values.length; at++) insert.setObject(at + 1, values[at][1]);
            insert.executeUpdate();
        }
        // Text at first, then, from the fifth use of one statement, binary.
        for (Connection reader : List.of(db, other)) {
            try (PreparedStatement select = reader.prepareStatement("SELECT * FROM drv_jdbc.type")) {
                for (int round = 0; round < 10; round++) {
                    try (ResultSet result = select.executeQuery()) {
                        result.next();
                        for (int at = 0; at < values.length; at++) {
                            Object wanted = values[at][1];
                            Object actual = wanted == null || wanted instanceof byte[]
                                ? result.getObject(at + 1)
                                : result.getObject(at + 1, wanted.getClass());
                            expect("type " + values[at][0] + " in round " + round, actual, wanted);
                        }
                    }
                }
            }
        }
    }

    static void simpleProtocol(Connection db, Connection other) throws Exception {
        try (Connection simple = connect("&preferQueryMode=simple")) {
            for (int round = 0; round < 4; round++) {
                expect("simple", value(simple, "SELECT name FROM drv_jdbc.item WHERE id = ?", 1), "tea");
            }
            execute(db, "UPDATE drv_jdbc.item SET name = 'chai' WHERE id = 1");
            expect("simple after a write", value(simple, "SELECT name FROM drv_jdbc.item WHERE id = ?", 1), "chai");
        }
    }
}
