// One session of everything an application does with node-postgres. usage: session.mjs URL
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { setTimeout as pause } from 'node:timers/promises'
import Cursor from 'pg-cursor'
import copy from 'pg-copy-streams'
import pg from 'pg'

const url = process.argv[2]

const connect = async (options = {}) => {
  const db = new pg.Client({ connectionString: url, connectionTimeoutMillis: 20000, ...options })
  await db.connect()
  return db
}

const rows = async (db, text, values) => (await db.query({ text, values, rowMode: 'array' })).rows
const value = async (db, text, values) => (await rows(db, text, values))[0][0]
const fails = (code, promise) => assert.rejects(promise, { code })

const sessions = {
  async prepareTables(db) {
    await db.query('DROP SCHEMA IF EXISTS drv_node CASCADE')
    // Several statements in one simple query.
    await db.query(
      'CREATE SCHEMA drv_node; CREATE TABLE drv_node.item (id int PRIMARY KEY, name text, price numeric)',
    )
  },

  async readsRepeatAndSeeWrites(db, other) {
    const select = 'SELECT name, price FROM drv_node.item WHERE id = $1'
    await db.query("INSERT INTO drv_node.item VALUES (1, 'tea', 3.50), (2, 'cup', 8)")
    for (let round = 0; round < 5; round++) {
      const price = `${round}.25`
      await db.query('UPDATE drv_node.item SET price = $1 WHERE id = 1', [price])
      for (const reader of [db, other, db, other, other]) {
        assert.deepEqual(await rows(reader, select, [1]), [['tea', price]])
        // Without values it is the simple protocol.
        assert.deepEqual(await rows(reader, 'SELECT price FROM drv_node.item WHERE id = 1'), [[price]])
      }
      assert.deepEqual(await rows(other, select, [2]), [['cup', '8']])
      assert.deepEqual(await rows(other, select, [3]), [])
    }
  },

  async transactions(db, other) {
    const count = 'SELECT count(*)::int FROM drv_node.item'
    const before = await value(other, count)
    await db.query('BEGIN')
    await db.query("INSERT INTO drv_node.item VALUES (10, 'pot', 20)")
    assert.equal(await value(db, count), before + 1)
    assert.equal(await value(other, count), before)
    await db.query('COMMIT')
    assert.equal(await value(other, count), before + 1)

    await db.query('BEGIN')
    await db.query('DELETE FROM drv_node.item')
    assert.equal(await value(db, count), 0)
    await db.query('ROLLBACK')
    assert.equal(await value(db, count), before + 1)

    await db.query('BEGIN')
    await db.query("INSERT INTO drv_node.item VALUES (11, 'jug', 9)")
    await db.query('SAVEPOINT here')
    await db.query("INSERT INTO drv_node.item VALUES (12, 'pan', 9)")
    await db.query('ROLLBACK TO SAVEPOINT here')
    assert.equal(await value(db, count), before + 2)
    await db.query('RELEASE SAVEPOINT here')
    await db.query('COMMIT')
    assert.equal(await value(other, count), before + 2)

    await db.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
    assert.equal(await value(db, count), before + 2)
    await other.query("INSERT INTO drv_node.item VALUES (13, 'lid', 1)")
    assert.equal(await value(db, count), before + 2)
    await db.query('COMMIT')
    assert.equal(await value(db, count), before + 3)
  },

  async preparedStatements(db) {
    for (let number = 0; number < 20; number++) {
      const query = { name: 'double', text: 'SELECT $1::int * 2', values: [number], rowMode: 'array' }
      assert.deepEqual((await db.query(query)).rows, [[number * 2]])
    }
    for (let number = 0; number < 300; number++) {
      const query = { name: `s${number}`, text: `SELECT ${number} + $1::int`, values: [1], rowMode: 'array' }
      assert.deepEqual((await db.query(query)).rows, [[number + 1]])
    }
  },

  async manyAtOnce(db) {
    // The driver queues them; the answers keep their order.
    const numbers = Array.from({ length: 50 }, (_, at) => at)
    const answers = await Promise.all(numbers.map((at) => value(db, 'SELECT $1::int', [at])))
    assert.deepEqual(answers, numbers)
  },

  async cursors(db) {
    await db.query('BEGIN')
    const cursor = db.query(new Cursor('SELECT generate_series(1, 100) AS n'))
    const seen = []
    for (let part; (part = await cursor.read(7)).length > 0; ) seen.push(...part.map((row) => row.n))
    await cursor.close()
    await db.query('COMMIT')
    assert.deepEqual(seen, Array.from({ length: 100 }, (_, at) => at + 1))
  },

  async copies(db, other) {
    await db.query('CREATE TABLE drv_node.bulk (id int, name text)')
    const lines = Array.from({ length: 1000 }, (_, at) => `${at},row ${at}\n`)
    await pipeline(Readable.from(lines), db.query(copy.from('COPY drv_node.bulk FROM STDIN (FORMAT csv)')))
    let out = ''
    const query = copy.to('COPY (SELECT * FROM drv_node.bulk ORDER BY id) TO STDOUT (FORMAT csv)')
    for await (const part of other.query(query)) out += part
    assert.equal(out, lines.join(''))

    const half = Readable.from(
      (async function* () {
        yield '1,half\n'
        throw new RangeError('given up')
      })(),
    )
    await assert.rejects(pipeline(half, db.query(copy.from('COPY drv_node.bulk FROM STDIN (FORMAT csv)'))))
    await fails(
      '22P02',
      pipeline(Readable.from(['no number,x\n']), db.query(copy.from('COPY drv_node.bulk FROM STDIN (FORMAT csv)'))),
    )
    assert.equal(await value(db, 'SELECT count(*)::int FROM drv_node.bulk'), 1000)
  },

  async errors(db) {
    await fails('42601', db.query('SELEC 1'))
    await fails('42601', db.query('SELEC $1', [1]))
    await fails('23505', db.query("INSERT INTO drv_node.item VALUES (1, 'again', 0)"))
    assert.equal(await value(db, 'SELECT 1'), 1)
    await db.query('BEGIN')
    await fails('23505', db.query('INSERT INTO drv_node.item VALUES ($1)', [1]))
    await fails('25P02', db.query('SELECT 1'))
    assert.equal((await db.query('COMMIT')).command, 'ROLLBACK')
    assert.equal(await value(db, 'SELECT 1'), 1)
  },

  async cancelAndTimeouts(db, other) {
    const begin = performance.now()
    const sleeping = fails('57014', db.query('SELECT pg_sleep(30)'))
    await pause(500)
    // node-postgres cancels with a connection of its own that knows the process and its secret.
    const { host, port } = db
    const canceller = new pg.Connection()
    canceller.on('connect', () => canceller.cancel(db.processID, db.secretKey))
    canceller.connect(port, host)
    await sleeping
    assert.ok(performance.now() - begin < 15000)
    assert.equal(await value(db, 'SELECT 1'), 1)

    await db.query("SET statement_timeout = '100ms'")
    await fails('57014', db.query('SELECT pg_sleep(30)'))
    assert.equal(await value(db, 'SHOW statement_timeout'), '100ms')
    await db.query('RESET statement_timeout')
    assert.equal(await value(db, 'SHOW statement_timeout'), '0')
    assert.equal(await value(other, 'SHOW statement_timeout'), '0')
  },

  async startupSettings() {
    const db = await connect({ statement_timeout: 123, application_name: 'drv_node' })
    assert.equal(await value(db, 'SHOW statement_timeout'), '123ms')
    assert.equal(await value(db, 'SHOW application_name'), 'drv_node')
    await db.end()
  },

  async noticesAndNotifications(db, other) {
    const heard = []
    db.on('notice', (notice) => heard.push(notice.message))
    await db.query("DO $$ BEGIN RAISE NOTICE 'hear, hear'; END $$")
    assert.deepEqual(heard, ['hear, hear'])

    const payloads = []
    const both = new Promise((resolve) =>
      db.on('notification', ({ payload }) => payloads.push(payload) === 2 && resolve()),
    )
    await db.query('LISTEN drv_node')
    await other.query("NOTIFY drv_node, 'first'")
    await other.query("SELECT pg_notify('drv_node', 'second')")
    const inTime = await Promise.race([both.then(() => true), pause(20000, false, { ref: false })])
    assert.ok(inTime, 'notifications in time')
    assert.deepEqual(payloads, ['first', 'second'])
    await db.query('UNLISTEN *')
  },

  async types(db, other) {
    const values = [
      ['int2', -7],
      ['int4', 2147483647],
      ['int8', '-9223372036854775808'],
      ['float8', 0.1],
      ['numeric', '12345678901234567890.0123456789'],
      ['bool', true],
      ['text', "grüße, 世界 🐘 'quoted' \\ back"],
      ['bytea', Buffer.from(Array.from({ length: 256 }, (_, at) => at))],
      ['timestamptz', new Date('2024-03-31T01:30:00Z')],
      ['uuid', '12345678-1234-5678-1234-567812345678'],
      ['jsonb', { a: [1, null, 'ü'] }],
      ['int4[]', [1, null, 3]],
      ['text[]', ['a,b', '"', '', null]],
      ['text', null],
    ]
    await db.query(`CREATE TABLE drv_node.type (${values.map(([type], at) => `c${at} ${type}`)})`)
    const marks = values.map((_, at) => `$${at + 1}`)
    const wanted = values.map(([, value]) => value)
    await db.query(`INSERT INTO drv_node.type VALUES (${marks})`, wanted)
    for (const reader of [db, other, db, other]) {
      assert.deepEqual(await rows(reader, 'SELECT * FROM drv_node.type'), [wanted])
      assert.deepEqual(await rows(reader, 'SELECT * FROM drv_node.type WHERE c0 < $1', [0]), [wanted])
      const binary = { text: 'SELECT c0, c1, c5 FROM drv_node.type', binary: true, rowMode: 'array' }
      assert.deepEqual((await reader.query(binary)).rows, [[-7, 2147483647, true]])
    }
  },

  async pools() {
    const pool = new pg.Pool({ connectionString: url, max: 8 })
    const numbers = Array.from({ length: 100 }, (_, at) => at)
    const answers = await Promise.all(numbers.map((at) => value(pool, 'SELECT $1::int + 1', [at])))
    assert.deepEqual(answers, numbers.map((at) => at + 1))
    await pool.end()
  },
}

// A lost answer must not become a run that never ends.
setTimeout(() => {
  console.error('not done after two minutes')
  process.exit(1)
}, 120000).unref()

const db = await connect()
const other = await connect()
for (const [name, session] of Object.entries(sessions)) {
  try {
    await session(db, other)
  } catch (error) {
    console.error(`${name}:`, error)
    process.exit(1)
  }
  console.log('ok', name)
}
await db.end()
await other.end()
