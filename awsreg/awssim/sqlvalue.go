package awssim

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"

	"mintmark/internal/pattern"
)

// undefinedValue is the value of what is not there. It is not representable in JSON
// (AWS IoT developer guide, iot-sql-data-types).
type undefinedValue struct{}

var undefined = undefinedValue{}

// decimalText is a string that converts to a number (AWS IoT developer guide,
// iot-sql-data-types, conversions to Decimal).
var decimalText = pattern.New(`^-?[0-9]+(\.[0-9]+)?([eE]-?[0-9]+)?$`)

// asNumber converts to Decimal: numbers, and strings that are written like one.
func asNumber(v any) (json.Number, bool) {
	switch v := v.(type) {
	case json.Number:
		return v, true
	case string:
		if !decimalText.MatchString(v) {
			return "", false
		}
		f, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return "", false
		}
		if json.Valid([]byte(v)) {
			return json.Number(v), true
		}
		return toDecimal(f) // leading zeros
	}
	return "", false
}

// asText converts to String. Null and undefined have none.
func asText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case json.Number:
		return v.String(), true
	case []any, map[string]any:
		b, err := encodeValue(v)
		return string(b), err == nil
	}
	return "", false
}

// asInt converts to Int, rounded as round says.
func asInt(v any, round func(float64) float64) (int64, bool) {
	n, ok := asNumber(v)
	if !ok {
		return 0, false
	}
	if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return i, true
	}
	f, err := n.Float64()
	if err != nil {
		return 0, false
	}
	switch f = round(f); { // indices far outside count as far outside
	case f >= math.MaxInt64:
		return math.MaxInt64, true
	case f <= math.MinInt64:
		return math.MinInt64, true
	}
	return int64(f), true
}

func isInt(n json.Number) bool { return !strings.ContainsAny(n.String(), ".eE") }

// toDecimal is the number of a result. Results have double precision here, where AWS
// gives some 34 digits; numbers that are only passed on keep their text.
func toDecimal(f float64) (json.Number, bool) {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return "", false
	}
	return json.Number(strconv.FormatFloat(f, 'g', -1, 64)), true
}

func asResult(n json.Number, ok bool) any {
	if !ok {
		return undefined
	}
	return n
}

// compareNumbers compares exactly as far as both are integers, else in double
// precision.
func compareNumbers(a, b json.Number) int {
	if isInt(a) && isInt(b) {
		x, ok1 := new(big.Int).SetString(a.String(), 10)
		y, ok2 := new(big.Int).SetString(b.String(), 10)
		if ok1 && ok2 {
			return x.Cmp(y)
		}
	}
	// A number too large for a double is infinite here, on its side of zero.
	x, _ := a.Float64()
	y, _ := b.Float64()
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// calculate does arithmetic: with two integers an integer, which for / is cut off
// towards zero, else a decimal. Division by zero is undefined.
func calculate(op string, a, b json.Number) any {
	x, err1 := strconv.ParseInt(a.String(), 10, 64)
	y, err2 := strconv.ParseInt(b.String(), 10, 64)
	if err1 == nil && err2 == nil {
		p, q, out := big.NewInt(x), big.NewInt(y), new(big.Int)
		switch {
		case op == "+":
			out.Add(p, q)
		case op == "-":
			out.Sub(p, q)
		case op == "*":
			out.Mul(p, q)
		case y == 0:
			return undefined
		case op == "/":
			out.Quo(p, q)
		default:
			out.Rem(p, q)
		}
		return json.Number(out.String())
	}
	f, err1 := a.Float64()
	g, err2 := b.Float64()
	if err1 != nil || err2 != nil {
		return undefined
	}
	switch op {
	case "+":
		return asResult(toDecimal(f + g))
	case "-":
		return asResult(toDecimal(f - g))
	case "*":
		return asResult(toDecimal(f * g))
	case "/":
		return asResult(toDecimal(f / g))
	}
	return asResult(toDecimal(math.Mod(f, g)))
}

// encodeValue writes a value as JSON. Undefined members are left out; undefined by
// itself is empty (AWS IoT developer guide, iot-sql-data-types). What an undefined
// element of an array becomes is not documented; here it is left out too.
func encodeValue(v any) ([]byte, error) {
	if v == undefined {
		return nil, nil
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(defined(v)); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// weigh is about how many bytes a value has as JSON, at least. It stops counting past
// limit: a value may hold the same member a thousand times.
func weigh(v any, limit int) int {
	n := 1
	switch v := v.(type) {
	case string:
		n += len(v)
	case json.Number:
		n += len(v)
	case []any:
		for _, x := range v {
			if n += weigh(x, limit-n); n > limit {
				break
			}
		}
	case map[string]any:
		for k, x := range v {
			if n += len(k) + weigh(x, limit-n-len(k)); n > limit {
				break
			}
		}
	}
	return n
}

func defined(v any) any {
	switch v := v.(type) {
	case []any:
		out := []any{}
		for _, x := range v {
			if x != undefined {
				out = append(out, defined(x))
			}
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			if x != undefined {
				out[k] = defined(x)
			}
		}
		return out
	}
	return v
}
