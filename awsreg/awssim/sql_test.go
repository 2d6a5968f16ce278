package awssim

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// sqlWorld is as much of a world as expressions look at.
func sqlWorld() *world {
	at := time.UnixMilli(1579637878451)
	return &world{sim: &Sim{cfg: Config{Now: func() time.Time { return at }}}, account: first, region: region}
}

func sqlMessage(payload string) *message {
	return &message{topic: "some/topic/7", payload: []byte(payload), clientID: "press-1", principal: "abc", trace: "trace"}
}

// TestSQL goes through the statements of the AWS IoT developer guide, pages
// iot-sql-select, iot-sql-where, iot-sql-case, iot-sql-literals and binary-payloads.
func TestSQL(t *testing.T) {
	for _, tt := range []struct {
		sql, payload, want string // want "-" is no match
	}{
		{`SELECT * FROM 'a/b'`, `{"color":"red", "temperature":50}`, `{"color":"red", "temperature":50}`},
		{`select * from '$aws/events/+/registered/#'`, `not JSON`, `not JSON`},
		{`SELECT color FROM 'a/b'`, `{"color":"red","temperature":50}`, `{"color":"red"}`},
		{`SELECT color AS my_color FROM 'a/b'`, `{"color":"red"}`, `{"my_color":"red"}`},
		{`SELECT color as my_color, temperature as fahrenheit FROM 'a/b'`, `{"color":"red","temperature":50}`, `{"fahrenheit":50,"my_color":"red"}`},
		{`SELECT *, 15 as speed FROM 'a/b'`, `{"color":"red"}`, `{"color":"red","speed":15}`},
		{`SELECT *, timestamp() AS timestamp FROM 'my/iot/topic'`, `{"humidity": 32.430}`, `{"humidity":32.430,"timestamp":1579637878451}`},
		{`SELECT VALUE color FROM 'a/b'`, `{"color":"red"}`, `"red"`},
		{`SELECT VALUE * FROM 'a/b'`, `[1]`, `[1]`},
		{`SELECT value FROM 'a/b'`, `{"value":1}`, `{"value":1}`},
		{`SELECT value * 2 AS v FROM 'a/b'`, `{"value":3}`, `{"v":6}`},
		{`SELECT color.red as red_value FROM 'a/b'`, `{"color":{"red":255}}`, `{"red_value":255}`},
		{`SELECT (temperature - 32) * 5 / 9 AS celsius, upper(color) as my_color FROM 'a/b'`, `{"color":"red","temperature":50}`, `{"celsius":10,"my_color":"RED"}`},
		{`SELECT color AS my_color FROM 'a/b' WHERE temperature > 50 AND color <> 'red'`, `{"color":"red","temperature":40}`, `-`},
		{`SELECT * FROM 'a/b' WHERE temperature > 50 AND color <> 'red'`, `{"color":"blue","temperature":50.5}`, `{"color":"blue","temperature":50.5}`},
		{`SELECT * FROM 'a' WHERE NOT (a = 1 OR b = 'x')`, `{"a":2,"b":"y"}`, `{"a":2,"b":"y"}`},
		{`SELECT * FROM 'a' WHERE NOT a = 1`, `{"a":2}`, `{"a":2}`},
		{`SELECT * FROM 'a' WHERE state.mode = 'ready'`, `{"state":{"mode":"ready"}}`, `{"state":{"mode":"ready"}}`},
		{`SELECT * FROM 'a' WHERE state.mode = 'ready'`, `{"state":7}`, `-`},
		{`SELECT * FROM 'a' WHERE missing <> 1`, `{}`, `-`}, // undefined, not true
		{`SELECT a, nothing FROM 'a'`, `{"a":null}`, `{"a":null}`},
		{`SELECT CASE color WHEN 'green' THEN 'go' WHEN 'yellow' THEN 'caution' ELSE 'you are not at a stop light' END as instructions FROM 'a/b'`,
			`{"color":"yellow"}`, `{"instructions":"caution"}`},
		{`SELECT CASE color WHEN 'green' THEN 'go' END AS i FROM 'a/b'`, `{"color":"yellow"}`, `{}`},
		{`SELECT [lat,long] as lat_long FROM 'topic/subtopic'`, `{"lat":47.696,"long":-122.332}`, `{"lat_long":[47.696,-122.332]}`},
		{`SELECT {'latitude': get(lat_long, 0),'longitude':get(lat_long, 1)} as lat_long FROM 'topic/subtopic'`, `{"lat_long":[47.606,-122.332]}`,
			`{"lat_long":{"latitude":47.606,"longitude":-122.332}}`},
		{`SELECT encode(*, 'base64') AS data, timestamp() AS ts FROM 'a/b'`, "\x00\xff", `{"data":"AP8=","ts":1579637878451}`},
		{`SELECT * FROM 'a/b' WHERE timestamp() % 12 = 11`, "\x00", "\x00"},
		{`SELECT * FROM 'a/b' WHERE topic(2) = 'topic' and topic(4) = 'x'`, `{}`, `-`},
		{`SELECT topic() AS t, topic(1) AS t1, clientid() AS c, principal() AS p, accountid() AS a, traceid() AS x, sql_version() AS v`, `{}`,
			`{"a":"111122223333","c":"press-1","p":"abc","t":"some/topic/7","t1":"some","v":"2016-03-23","x":"trace"}`},
	} {
		q, err := parseSQL(tt.sql, sqlVersion2016)
		if err != nil {
			t.Errorf("%s: %v", tt.sql, err)
			continue
		}
		out, matched, err := q.run(newSQLEnv(sqlWorld(), sqlMessage(tt.payload), sqlVersion2016))
		if err != nil || matched != (tt.want != "-") || matched && string(out) != tt.want {
			t.Errorf("%s on %s: %s %v %v, want %s", tt.sql, tt.payload, out, matched, err, tt.want)
		}
	}
}

// TestSQLBinaryPayloads is the list of what does not go with a payload that is not
// JSON (AWS IoT developer guide, binary-payloads).
func TestSQLBinaryPayloads(t *testing.T) {
	for _, sql := range []string{
		"SELECT * FROM 'a/b' WHERE device_type = 'thermostat'", "SELECT *, timestamp() AS timestamp FROM 'a/b'", "SELECT a FROM 'x'",
	} {
		q, err := parseSQL(sql, sqlVersion2016)
		if err != nil {
			t.Fatal(err)
		}
		if _, matched, err := q.run(newSQLEnv(sqlWorld(), sqlMessage("\x00\x01"), sqlVersion2016)); err == nil || matched {
			t.Errorf("%s took a binary payload", sql)
		}
	}
	q, err := parseSQL("SELECT *, 1 AS one FROM 'a/b'", sqlVersion2016)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := q.run(newSQLEnv(sqlWorld(), sqlMessage("[1]"), sqlVersion2016)); err == nil {
		t.Error("an item was added to an array")
	}
}

// TestSQLExpressions goes through the tables of iot-sql-operators and the examples of
// iot-sql-functions. The wanted "undefined" is no value.
func TestSQLExpressions(t *testing.T) {
	for expr, want := range map[string]string{
		`1 + 2`: "3", `1 + 2.5`: "3.5", `'a' + 1`: `"a1"`, `1 + 'a'`: `"1a"`, `'a' + null`: "undefined", `true + 1`: "undefined",
		`7 - '2'`: "5", `'x' - 1`: "undefined", `2 * 3`: "6", `7 / 2`: "3", `7.0 / 2`: "3.5", `1 / 0`: "undefined", `1.0 / 0`: "undefined", `7 % 3`: "1",
		`-2 * -3`: "6", `-(2)`: "-2", `9223372036854775807 + 1`: "9223372036854775808",
		`'2' > 1`: "true", `'x' > 1`: "undefined", `true > 1`: "undefined", `1 = 1.0`: "true", `1 = '1'`: "false", `1 <> '1'`: "true",
		`null = null`: "true", `null <> null`: "false", `undefined = 1`: "undefined", `[1,2] = [1,2]`: "true", `[1,2] = [2,1]`: "false",
		`{'a':1,'b':2} = {'b':2,'a':1}`: "true", `true and 'TRUE'`: "true", `true and 1`: "undefined", `false or true`: "true", `not 'false'`: "true", `not 1`: "undefined",
		`1 + 2 * 3`: "7", `(1 + 2) * 3`: "9", `1 < 2 and 2 < 3 or false`: "true",
		`abs(-5)`: "5", `abs('-5.123')`: "5.123", `abs(true)`: "undefined", `cast(true as Int)`: "1", `cast('x' as Int)`: "undefined", `cast(1.7 as int)`: "1",
		`cast(-1.2 as int)`: "-2", `cast(0 as bool)`: "false", `cast('TRUE' as boolean)`: "true", `cast([1,'a'] as string)`: `"[1,\"a\"]"`, `cast(1 as nvarchar)`: `"1"`,
		`ceil(1.2)`: "2", `ceil(-1.2)`: "-1", `floor(-1.2)`: "-2", `round(1.5)`: "2", `round(-1.5)`: "-2", `sign(-7)`: "-1", `sign(0)`: "0", `sqrt(9)`: "3", `sqrt(-1)`: "undefined",
		`mod(8, 3)`: "2", `remainder(8, 3)`: "2", `nanvl(null, 3)`: "3", `nanvl(8, 3)`: "8",
		`concat()`: "undefined", `concat([1, 2, 3], "hello", [4])`: `[1,2,3,"hello",4]`, `concat("con", "cat")`: `"concat"`, `concat(1, "hello")`: `"1hello"`, `concat(1, 2)`: "undefined",
		`endswith("cat","at")`: "true", `startswith("ranger","ran")`: "true", `startswith(null,"ran")`: "undefined",
		`get(["a", "b", "c"], 1)`: `"b"`, `get({"a":"b"}, "a")`: `"b"`, `get([1], 9)`: "undefined", `get('abc', -1)`: "undefined", `get('abc', 1)`: `"b"`,
		`indexof("abcd", "bc")`: "1", `indexof("abcd", "x")`: "undefined", `isNull(5)`: "false", `isNull(Null)`: "true", `isUndefined(floor([1,2,3]))`: "true", `isUndefined(5)`: "false",
		`length("hi")`: "2", `length(false)`: "5", `length("€")`: "1", `numbytes("€")`: "3", `lower("HELLO")`: `"hello"`, `lower(["HELLO"])`: `"[\"hello\"]"`,
		`trim(" h i ")`: `"h i"`, `ltrim(" h i ")`: `"h i "`, `rtrim(" h i ")`: `" h i"`, `md5("hello")`: `"5d41402abc4b2a76b9719d911017c592"`,
		`replace("abcdabcd", "b", "x")`: `"axcdaxcd"`, `replace(topic(), '/', '-') + '-' + timestamp()`: `"some-topic-7-1579637878451"`,
		`substring("012345", 2)`: `"2345"`, `substring("012345", 2.745)`: `"2345"`, `substring(123, 2)`: `"3"`, `substring("012345", -1)`: `"012345"`, `substring(true, 1.2)`: `"rue"`,
		`substring("012345", 1, 3)`: `"12"`, `substring("012345", -50, 50)`: `"012345"`, `substring("012345", 3, 1)`: `""`, `substring(false, -2.411E247)`: `"false"`,
		`topic(0)`: "undefined", `topic(9)`: "undefined", `coords.latitude`: "47.615694", `coords.nothing.deeper`: "undefined", `deviceid`: `"iot123"`,
		`parse_time("yyyy", timestamp(), "UTC")`: `"2020"`, `parse_time("yyyy/MM/dd/HH'h'mm:ss.SSS", timestamp())`: `"2020/01/21/20h17:58.451"`,
		`parse_time("yyyy.MM.dd 'at' HH:mm:ss", 100000000, "America/Belize")`: `"1970.01.01 at 21:46:40"`, `parse_time("EEE d MMM yy hh a ZZ ''", 0)`: `"Thu 1 Jan 70 12 AM +00:00 '"`,
		`parse_time("yyyy", 'x')`: "undefined", `parse_time("yyyy", 1e40)`: "undefined", `parse_time("yyyy", 0, "Nowhere/No")`: "undefined", `parse_time("yyyy", 0, "Local")`: "undefined",
		`encode('hi', "base64")`: `"aGk="`, `upper(undefined)`: "undefined", `CASE undefined WHEN 1 THEN 2 ELSE 3 END`: "undefined",
	} {
		node, _, err := parseExpression(expr, sqlVersion2016)
		if err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		v := node.eval(newSQLEnv(sqlWorld(), sqlMessage(`{"deviceid":"iot123","coords":{"latitude":47.615694}}`), sqlVersion2016))
		have := "undefined"
		if v != undefined {
			b, err := encodeValue(v)
			if err != nil {
				t.Fatal(err)
			}
			have = string(b)
		}
		if have != want {
			t.Errorf("%s = %s, want %s", expr, have, want)
		}
	}
}

func TestSQLRefused(t *testing.T) {
	deep := strings.Repeat("(", 100) + "1" + strings.Repeat(")", 100)
	for _, sql := range []string{
		"", "SELECT", "SELECT FROM 'x'", "SELECT * FROM x", `SELECT * FROM "x"`, "SELECT * FROM 'x", "SELECT * FROM ''", "SELECT * 'x'",
		"SELECT * FROM 'a/#/b'", "SELECT * FROM 'a+'", "SELECT * FROM '$aws/rules/x'", "SELECT * FROM 'x';", "SELECT * FROM 'x' WHERE", "SELECT * FROM 'x' WHERE a..b = 'c'",
		"'SELECT' * FROM 'x'", "SELECT *, * FROM 'x'", "SELECT a, a FROM 'x'", "SELECT a b FROM 'x'", "SELECT a AS 'b' FROM 'x'", "SELECT a AS b.c FROM 'x'",
		"SELECT a.b FROM 'x'", "SELECT topic() FROM 'x'", "SELECT a + 1 FROM 'x'", "SELECT nofunction() AS a FROM 'x'", "SELECT abs() AS a FROM 'x'", "SELECT abs(1, 2) AS a FROM 'x'",
		"SELECT encode(*, 'hex') AS a FROM 'x'", "SELECT encode(*) AS a FROM 'x'", "SELECT abs(*) AS a FROM 'x'", "SELECT cast(a AS date) AS a FROM 'x'",
		"SELECT (SELECT VALUE n FROM e) AS sensors FROM 'my/topic'", "SELECT aws_lambda('arn', {}) AS a FROM 'x'", "SELECT * FROM 'x' WHERE a != 1", "SELECT * FROM 'x' WHERE a IN (1)",
		"SELECT * FROM 'x' WHERE a LIKE 'b'", "SELECT * FROM 'x' WHERE 1 < a < 3", "SELECT * FROM 'x' WHERE a = 'it\\'s'", "SELECT 1x AS a FROM 'x'", "SELECT a[0] AS b FROM 'x'",
		"SELECT CASE END AS a FROM 'x'", "SELECT CASE a ELSE 1 END AS a FROM 'x'", "SELECT {'a':1,'a':2} AS a FROM 'x'", "SELECT {a:1} AS a FROM 'x'", "SELECT [1 AS a FROM 'x'",
		"SELECT " + deep + " AS a FROM 'x'", "SELECT " + strings.Repeat("NOT ", 100) + "a AS b FROM 'x'", "SELECT a" + strings.Repeat(".a", 100) + " AS b FROM 'x'",
		"SELECT 1" + strings.Repeat("+1", 1100) + " AS b FROM 'x'", "SELECT '" + strings.Repeat("x", maxSQL) + "' AS b FROM 'x'", "SELECT \xff FROM 'x'", "SELECT parse_time(a, 0) AS b FROM 'x'", "SELECT parse_time('G', 0) AS b FROM 'x'",
		`SELECT parse_time("yyyy'", 0) AS b FROM 'x'`, "SELECT parse_time('yyyy') AS b FROM 'x'", "SELECT 010 AS a FROM 'x'",
	} {
		q, err := parseSQL(sql, sqlVersion2016)
		if err == nil || q != nil || !strings.HasPrefix(err.Error(), "SqlParseException") {
			t.Errorf("%q: %+v %v", clip(sql, 100), q, err)
		}
	}
	for _, sql := range []string{"SELECT [1] AS a FROM 'x'", "SELECT {'a':1} AS a FROM 'x'", "SELECT length(a) AS a FROM 'x'", "SELECT cast(a AS decimal) AS a FROM 'x'"} {
		if _, err := parseSQL(sql, sqlVersion2015); err == nil || !strings.Contains(err.Error(), "needs awsIotSqlVersion 2016-03-23") {
			t.Errorf("%s in the first version: %v", sql, err)
		}
	}
}

// TestSQLBounds: what a message makes an expression grow to is bounded.
func TestSQLBounds(t *testing.T) {
	payload := `{"a":"` + strings.Repeat("x", 100<<10) + `"}`
	for _, expr := range []string{
		`replace(a, 'x', a)`, `a+a+a+a+a+a+a+a+a+a+a`, `concat(a,a,a,a,a,a,a,a,a,a,a)`, `encode(a+a+a+a+a+a+a+a+a, 'base64')`,
	} {
		q, err := parseSQL("SELECT "+expr+" AS b FROM 'x'", sqlVersion2016)
		if err != nil {
			t.Fatal(err)
		}
		if out, matched, err := q.run(newSQLEnv(sqlWorld(), sqlMessage(payload), sqlVersion2016)); err == nil || matched {
			t.Errorf("%s made %d bytes", expr, len(out))
		}
	}
	// Many times the same member is as large as many members, and is not written out
	// before it is refused.
	list := strings.Repeat("a,", 10000) + "a"
	members := make([]string, 2000)
	sums := make([]string, 2000)
	for i := range members {
		members[i] = fmt.Sprintf("a AS b%d", i)
		sums[i] = fmt.Sprintf("a+a+a+a+a+a+a+a+a AS b%d", i)
	}
	for _, sql := range []string{
		"SELECT [" + list + "] AS x FROM 'x'", "SELECT VALUE [[" + list + "],[" + list + "]] FROM 'x'",
		"SELECT VALUE {'m':[" + list + "]} FROM 'x'", "SELECT " + strings.Join(members, ",") + " FROM 'x'",
		"SELECT " + strings.Join(sums, ",") + " FROM 'x'", "SELECT numbytes([" + list + "]) AS n FROM 'x'",
		"SELECT * FROM 'x' WHERE '' <> [" + list + "] + ''", "SELECT concat([" + list + "], a) AS x FROM 'x'",
		"SELECT a FROM 'x' WHERE " + strings.Repeat("sha512(a) = 'x' OR ", 1000) + "true",
		"SELECT a FROM 'x' WHERE " + strings.Repeat("a = a AND ", 1000) + "true",
		"SELECT a FROM 'x' WHERE " + strings.Repeat("encode(*, 'base64') = 'x' OR ", 1000) + "true",
	} {
		q, err := parseSQL(sql, sqlVersion2016)
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		out, matched, err := q.run(newSQLEnv(sqlWorld(), sqlMessage(payload), sqlVersion2016))
		runtime.ReadMemStats(&after)
		if err == nil || matched {
			t.Errorf("%s made %d bytes", clip(sql, 64), len(out))
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
			t.Errorf("%s allocated %d MiB before it was refused", clip(sql, 64), n>>20)
		}
	}
	s, err := parseSubstitution("${["+list+"]}", sqlVersion2016)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := s.text(newSQLEnv(sqlWorld(), sqlMessage(payload), sqlVersion2016)); err == nil {
		t.Errorf("a substitution template made %d bytes", len(text))
	}
	// What fits is made.
	q, err := parseSQL("SELECT encode(*, 'base64') AS b, [a] AS c, a FROM 'x'", sqlVersion2016)
	if err != nil {
		t.Fatal(err)
	}
	if _, matched, err := q.run(newSQLEnv(sqlWorld(), sqlMessage(`{"a":"`+strings.Repeat("x", 60<<10)+`"}`), sqlVersion2016)); err != nil || !matched {
		t.Errorf("three times 60 KiB: %v", err)
	}
}

func TestSubstitution(t *testing.T) {
	for text, want := range map[string]string{
		"plain": "plain", "${topic()}/${timestamp()}": "some/topic/7/1579637878451", "${topic(1)}/${clientid()}/x": "some/press-1/x",
		"${replace(topic(), '/', '-') + '-' + timestamp()}": "some-topic-7-1579637878451", "a${coords.latitude}b": "a47.6b", "${get({'}':'x'}, '}')}": "x",
		"$5 and {}": "$5 and {}",
	} {
		s, err := parseSubstitution(text, sqlVersion2016)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		have, err := s.text(newSQLEnv(sqlWorld(), sqlMessage(`{"coords":{"latitude":47.6}}`), sqlVersion2016))
		if err != nil || have != want {
			t.Errorf("%s: %q %v, want %q", text, have, err, want)
		}
	}
	for _, text := range []string{"${", "${}", "${topic()", "${a b}", "${'x}", "${*}", "${a AS b}", "${" + strings.Repeat("x", maxSQL) + "}"} {
		if _, err := parseSubstitution(text, sqlVersion2016); err == nil || !strings.HasPrefix(err.Error(), "SqlParseException") {
			t.Errorf("%q: %v", clip(text, 64), err)
		}
	}
	s, err := parseSubstitution("${missing}", sqlVersion2016)
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range []string{"{}", "not JSON", `{"missing":null}`} {
		if text, err := s.text(newSQLEnv(sqlWorld(), sqlMessage(payload), sqlVersion2016)); err == nil {
			t.Errorf("an undefined member became %q", text)
		}
	}
}

func FuzzSQL(f *testing.F) {
	f.Add("SELECT * FROM 'a/+/c' WHERE state.mode = 'x'", `{"state":{"mode":"x"}}`, "a/b/c")
	f.Add("SELECT *, abs(-1.5) AS a, CASE b WHEN 1 THEN [1,'x'] ELSE {'k':topic(2)} END AS c", `{"b":1}`, "a")
	f.Add("SELECT VALUE encode(*, 'base64') FROM '#' WHERE NOT (a <> 1 OR b >= '2')", `[]`, "a/b")
	f.Add("SELECT replace(a,'x',a) + substring(a, 1, 1e300) AS s FROM 'q'", `{"a":"xx"}`, "")
	f.Fuzz(func(t *testing.T, sql, payload, topic string) {
		for _, version := range []string{sqlVersion2015, sqlVersion2016} {
			q, err := parseSQL(sql, version)
			if err != nil {
				if q != nil {
					t.Error("a statement together with an error")
				}
				continue
			}
			m := sqlMessage(payload)
			m.topic = topic
			out, matched, err := q.run(newSQLEnv(sqlWorld(), m, version))
			if !matched && out != nil || err != nil && matched {
				t.Errorf("%q %v %v", out, matched, err)
			}
			if matched && !q.verbatim() && len(out) > 0 {
				if _, ok := decodeJSON(out); !ok {
					t.Errorf("%q is not JSON", out)
				}
			}
			if q.filter != "" && !strings.ContainsAny(q.filter, "+#") && matchFilter(q.filter, topic) != (q.filter == topic) {
				t.Errorf("filter %q and topic %q", q.filter, topic)
			}
		}
	})
}

func FuzzSubstitution(f *testing.F) {
	f.Add("${topic()}/${timestamp()}", "{}")
	f.Add("a${b.c}d${'}'}", `{"b":{"c":1}}`)
	f.Add("${get({'a':'b'}, 'a')}$", "x")
	f.Add(`${parse_time("yyyy/MM'x'", timestamp(), "UTC")}`, "{}")
	f.Fuzz(func(t *testing.T, text, payload string) {
		s, err := parseSubstitution(text, sqlVersion2016)
		if err != nil {
			if s != nil {
				t.Error("a substitution together with an error")
			}
			return
		}
		out, err := s.text(newSQLEnv(sqlWorld(), sqlMessage(payload), sqlVersion2016))
		if plain, ok := s.constant(); ok && (err != nil || out != plain || plain != text) {
			t.Errorf("%q became %q %v", text, out, err)
		}
		if len(out) > 2*maxSQLText {
			t.Errorf("%d bytes", len(out))
		}
	})
}
