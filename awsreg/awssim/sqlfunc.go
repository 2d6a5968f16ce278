package awssim

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// sqlFunction is a function of the rules SQL (AWS IoT developer guide,
// iot-sql-functions). Called with what it cannot use, it is undefined.
type sqlFunction struct {
	min, max  int // arguments; max -1: any number
	since2016 bool
	check     func([]sqlNode) error
	run       func(*sqlEnv, []any) any
}

var sqlFunctions = map[string]sqlFunction{
	"accountid": {run: func(env *sqlEnv, _ []any) any { return env.w.account.ID }},
	"clientid": {run: func(env *sqlEnv, _ []any) any {
		if env.msg.clientID == "" {
			return "n/a" // not sent over MQTT
		}
		return env.msg.clientID
	}},
	"principal":   {run: func(env *sqlEnv, _ []any) any { return env.msg.principal }},
	"sourceip":    {run: func(env *sqlEnv, _ []any) any { return env.msg.sourceIP }},
	"traceid":     {run: func(env *sqlEnv, _ []any) any { return env.msg.trace }},
	"newuuid":     {run: func(*sqlEnv, []any) any { return randomID() }},
	"sql_version": {run: func(env *sqlEnv, _ []any) any { return env.version }},
	"timestamp": {run: func(env *sqlEnv, _ []any) any {
		return json.Number(strconv.FormatInt(env.w.now().UnixMilli(), 10))
	}},
	"parse_time": {min: 2, max: 3, since2016: true, check: timePattern, run: sqlParseTime},
	"topic":      {max: 1, run: sqlTopic},

	"isnull":      {min: 1, max: 1, run: func(_ *sqlEnv, a []any) any { return a[0] == nil }},
	"isundefined": {min: 1, max: 1, since2016: true, run: func(_ *sqlEnv, a []any) any { return a[0] == undefined }},
	"nanvl":       {min: 2, max: 2, run: sqlNanvl},
	"get":         {min: 2, max: 2, run: sqlGet},
	"cast":        {run: sqlCast}, // has a syntax of its own

	"abs":       {min: 1, max: 1, run: numeric(func(n json.Number) any { return json.Number(strings.TrimPrefix(n.String(), "-")) })},
	"ceil":      {min: 1, max: 1, run: rounding(math.Ceil)},
	"floor":     {min: 1, max: 1, run: rounding(math.Floor)},
	"round":     {min: 1, max: 1, run: rounding(math.Round)},
	"sign":      {min: 1, max: 1, run: numeric(func(n json.Number) any { return json.Number(strconv.Itoa(compareNumbers(n, "0"))) })},
	"sqrt":      {min: 1, max: 1, run: numeric(sqlSqrt)},
	"mod":       {min: 2, max: 2, run: sqlMod},
	"remainder": {min: 2, max: 2, run: sqlMod},

	"concat":     {max: -1, run: sqlConcat},
	"lower":      {min: 1, max: 1, run: textual(func(s string) any { return strings.ToLower(s) })},
	"upper":      {min: 1, max: 1, run: textual(func(s string) any { return strings.ToUpper(s) })},
	"trim":       {min: 1, max: 1, run: textual(func(s string) any { return strings.Trim(s, " \t") })},
	"ltrim":      {min: 1, max: 1, run: textual(func(s string) any { return strings.TrimLeft(s, " \t") })},
	"rtrim":      {min: 1, max: 1, run: textual(func(s string) any { return strings.TrimRight(s, " \t") })},
	"length":     {min: 1, max: 1, since2016: true, run: textual(func(s string) any { return json.Number(strconv.Itoa(utf8.RuneCountInString(s))) })},
	"numbytes":   {min: 1, max: 1, since2016: true, run: textual(func(s string) any { return json.Number(strconv.Itoa(len(s))) })},
	"startswith": {min: 2, max: 2, run: texts(func(_ *sqlEnv, s []string) any { return strings.HasPrefix(s[0], s[1]) })},
	"endswith":   {min: 2, max: 2, run: texts(func(_ *sqlEnv, s []string) any { return strings.HasSuffix(s[0], s[1]) })},
	"indexof":    {min: 2, max: 2, since2016: true, run: texts(sqlIndexOf)},
	"replace":    {min: 3, max: 3, run: texts(sqlReplace)},
	"substring":  {min: 2, max: 3, run: sqlSubstring},
	"encode":     {min: 2, max: 2, since2016: true, check: base64Only, run: sqlEncode},

	"md5":    hashing(md5.New),
	"sha1":   hashing(sha1.New),
	"sha224": hashing(sha256.New224),
	"sha256": hashing(sha256.New),
	"sha384": hashing(sha512.New384),
	"sha512": hashing(sha512.New),
}

// numeric makes a function of one number.
func numeric(f func(json.Number) any) func(*sqlEnv, []any) any {
	return func(_ *sqlEnv, a []any) any {
		if n, ok := asNumber(a[0]); ok {
			return f(n)
		}
		return undefined
	}
}

func rounding(f func(float64) float64) func(*sqlEnv, []any) any {
	return numeric(func(n json.Number) any {
		if isInt(n) {
			return n
		}
		v, err := n.Float64()
		if err != nil || math.Abs(v) > 1<<53 {
			return undefined // not exact any more
		}
		return json.Number(strconv.FormatInt(int64(f(v)), 10))
	})
}

func sqlSqrt(n json.Number) any {
	v, err := n.Float64()
	if err != nil {
		return undefined
	}
	return asResult(toDecimal(math.Sqrt(v)))
}

// textual makes a function of one string; other values are converted.
func textual(f func(string) any) func(*sqlEnv, []any) any {
	return texts(func(_ *sqlEnv, s []string) any { return f(s[0]) })
}

// texts makes a function of strings; other values are converted, and without a
// string the result is undefined.
func texts(f func(*sqlEnv, []string) any) func(*sqlEnv, []any) any {
	return func(env *sqlEnv, args []any) any {
		list := make([]string, len(args))
		for i, a := range args {
			s, ok := asText(a)
			if !ok {
				return undefined
			}
			list[i] = s
		}
		return f(env, list)
	}
}

func hashing(algorithm func() hash.Hash) sqlFunction {
	return sqlFunction{min: 1, max: 1, run: textual(func(s string) any {
		h := algorithm()
		h.Write([]byte(s))
		return hex.EncodeToString(h.Sum(nil))
	})}
}

// sqlTopic is the whole topic, or its nth segment. Of a Basic Ingest topic, the
// first three segments do not count (AWS IoT developer guide, iot-basic-ingest).
func sqlTopic(env *sqlEnv, a []any) any {
	if len(a) == 0 {
		return env.msg.topic
	}
	n, ok := asInt(a[0], math.Trunc)
	segments := strings.Split(env.msg.topic, "/")
	if !ok || n < 1 || n > int64(len(segments)) {
		return undefined
	}
	return segments[n-1]
}

func sqlNanvl(_ *sqlEnv, a []any) any {
	if a[0] == nil || a[0] == undefined {
		return a[1]
	}
	return a[0]
}

// sqlGet takes an element, a character or a member.
func sqlGet(_ *sqlEnv, a []any) any {
	if m, ok := a[0].(map[string]any); ok {
		if name, ok := a[1].(string); ok {
			return memberOf(m, name)
		}
		return undefined
	}
	i, ok := asInt(a[1], math.Round)
	if !ok || i < 0 {
		return undefined
	}
	switch v := a[0].(type) {
	case []any:
		if i < int64(len(v)) {
			return v[i]
		}
	case string:
		if r := []rune(v); i < int64(len(r)) {
			return string(r[i])
		}
	}
	return undefined
}

// sqlCast follows the tables of cast. Its second argument is the type.
func sqlCast(_ *sqlEnv, a []any) any {
	switch a[1] {
	case "string":
		if s, ok := asText(a[0]); ok {
			return s
		}
	case "bool", "boolean":
		if n, ok := a[0].(json.Number); ok {
			return compareNumbers(n, "0") != 0
		}
		if b, ok := asBool(a[0]); ok {
			return b
		}
	default:
		v := a[0]
		if b, ok := v.(bool); ok {
			if v = json.Number("0"); b {
				v = json.Number("1")
			}
		}
		if a[1] == "int" {
			return rounding(math.Floor)(nil, []any{v})
		}
		return numeric(func(n json.Number) any { return n })(nil, []any{v})
	}
	return undefined
}

// sqlMod is the remainder, as the operator % is.
func sqlMod(_ *sqlEnv, a []any) any {
	x, ok1 := asNumber(a[0])
	y, ok2 := asNumber(a[1])
	if !ok1 || !ok2 {
		return undefined
	}
	return calculate("%", x, y)
}

// sqlConcat joins arrays, or else strings. For several arguments of which none is
// either, the developer guide has no result.
func sqlConcat(env *sqlEnv, a []any) any {
	if len(a) == 0 {
		return undefined
	}
	if len(a) == 1 {
		return a[0]
	}
	isArray, isText := false, false
	for _, v := range a {
		switch v.(type) {
		case []any:
			isArray = true
		case string:
			isText = true
		}
	}
	if isArray {
		out := []any{}
		for _, v := range a {
			if list, ok := v.([]any); ok {
				out = append(out, list...)
			} else {
				out = append(out, v)
			}
			if len(out) > maxSQLText {
				return env.fail("an expression makes an array of more than %d elements", maxSQLText)
			}
		}
		return out
	}
	if !isText {
		return undefined
	}
	var b strings.Builder
	for _, v := range a {
		s, ok := asText(v)
		if !ok {
			return undefined
		}
		if b.WriteString(s); b.Len() > maxSQLText {
			return env.text(b.String())
		}
	}
	return b.String()
}

// sqlIndexOf counts characters. For a string that is not there, the developer guide
// has no result.
func sqlIndexOf(_ *sqlEnv, s []string) any {
	i := strings.Index(s[0], s[1])
	if i < 0 {
		return undefined
	}
	return json.Number(strconv.Itoa(utf8.RuneCountInString(s[0][:i])))
}

func sqlReplace(env *sqlEnv, s []string) any {
	if s[1] == "" {
		return undefined // not documented
	}
	if n := strings.Count(s[0], s[1]); len(s[0])+n*len(s[2]) > 2*maxSQLText {
		return env.fail("an expression makes a string of more than %d bytes", maxSQLText)
	}
	return env.text(strings.ReplaceAll(s[0], s[1], s[2]))
}

// sqlSubstring takes characters from an index to another one, which is not part of
// it, or to the end. Indices outside are moved to the nearest end.
func sqlSubstring(_ *sqlEnv, a []any) any {
	s, ok := asText(a[0])
	if !ok {
		return undefined
	}
	r := []rune(s)
	limit := []int64{0, int64(len(r))}
	for i, v := range a[1:] {
		n, ok := asInt(v, math.Trunc)
		if !ok {
			return undefined
		}
		limit[i] = min(max(n, 0), int64(len(r)))
	}
	if limit[0] >= limit[1] {
		return ""
	}
	return string(r[limit[0]:limit[1]])
}

func sqlEncode(env *sqlEnv, a []any) any {
	s, ok := asText(a[0])
	if !ok {
		return undefined
	}
	return env.text(base64.StdEncoding.EncodeToString([]byte(s)))
}

func base64Only(args []sqlNode) error {
	if scheme, ok := args[1].(literalNode); !ok || scheme.value != any("base64") {
		return fmt.Errorf("the encoding scheme must be 'base64'")
	}
	return nil
}
