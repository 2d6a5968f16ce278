package awssim

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"sort"
	"strings"

	"mintmark/internal/pattern"
)

// number is a DynamoDB number: at most 38 digits and an exponent of at most three
// (DynamoDB developer guide, HowItWorks.NamingRulesDataTypes).
var number = pattern.New(`^[+-]?(\d{1,38}(\.\d{0,38})?|\.\d{1,38})([eE][+-]?\d{1,3})?$`)

// checkItem checks the attribute values of an item and its size.
func checkItem(it item) error {
	size := 0
	for name, v := range it {
		if name == "" {
			return validation("an attribute name is empty")
		}
		if err := checkValue(v, 0); err != nil {
			return err
		}
		b, err := json.Marshal(v)
		if err != nil {
			return validation("attribute %s: %v", clip(name, 64), err)
		}
		size += len(name) + len(b)
	}
	if size > maxItemBytes {
		return validation("Item size has exceeded the maximum allowed size")
	}
	return nil
}

// checkValue checks one attribute value: an object with exactly one type.
func checkValue(v any, depth int) error {
	m, ok := v.(map[string]any)
	if !ok || len(m) != 1 {
		return validation("Supplied AttributeValue has more than one datatypes set, or none: %s", describe(v))
	}
	if depth > 32 {
		return validation("Nesting Levels have exceeded supported limits")
	}
	for kind, x := range m {
		switch kind {
		case "S":
			if _, ok := x.(string); ok {
				return nil
			}
		case "N":
			if s, ok := x.(string); ok && number.MatchString(s) {
				return nil
			}
		case "B":
			if s, ok := x.(string); ok {
				if _, err := base64.StdEncoding.DecodeString(s); err == nil {
					return nil
				}
			}
		case "BOOL":
			if _, ok := x.(bool); ok {
				return nil
			}
		case "NULL":
			if b, ok := x.(bool); ok && b {
				return nil
			}
		case "SS", "NS", "BS":
			list, ok := x.([]any)
			if !ok || len(list) == 0 {
				return validation("An set may not be empty, and must be a list: %s", describe(v))
			}
			seen := map[string]bool{}
			for _, e := range list {
				if err := checkValue(map[string]any{kind[:1]: e}, depth+1); err != nil {
					return err
				}
				if s := e.(string); seen[s] {
					return validation("Input collection contains duplicates")
				} else {
					seen[s] = true
				}
			}
			return nil
		case "L":
			list, ok := x.([]any)
			if !ok {
				break
			}
			for _, e := range list {
				if err := checkValue(e, depth+1); err != nil {
					return err
				}
			}
			return nil
		case "M":
			inner, ok := x.(map[string]any)
			if !ok {
				break
			}
			for _, e := range inner {
				if err := checkValue(e, depth+1); err != nil {
					return err
				}
			}
			return nil
		}
	}
	return validation("not an AttributeValue: %s", describe(v))
}

// keyText encodes a key attribute so that equal values are equal strings.
func keyText(v map[string]any) (string, error) {
	if err := checkValue(v, 0); err != nil {
		return "", err
	}
	for kind, x := range v {
		if s, ok := x.(string); ok {
			if kind == "N" {
				r, _ := new(big.Rat).SetString(s)
				return "N:" + r.RatString(), nil
			}
			return kind + ":" + s, nil
		}
	}
	return "", validation("not a key attribute: %s", describe(v))
}

// compare orders two attribute values of the same scalar type. False means that
// they have no order, which makes every comparison but <> false.
func compare(a, b any) (int, bool) {
	x, ok1 := a.(map[string]any)
	y, ok2 := b.(map[string]any)
	if !ok1 || !ok2 {
		return 0, false
	}
	for kind, v := range x {
		w, same := y[kind]
		s, isText := v.(string)
		u, isText2 := w.(string)
		if !same || !isText || !isText2 {
			return 0, false
		}
		switch kind {
		case "S":
			return strings.Compare(s, u), true
		case "N":
			r, ok1 := new(big.Rat).SetString(s)
			q, ok2 := new(big.Rat).SetString(u)
			if !ok1 || !ok2 {
				return 0, false
			}
			return r.Cmp(q), true
		case "B":
			p, err1 := base64.StdEncoding.DecodeString(s)
			q, err2 := base64.StdEncoding.DecodeString(u)
			return bytes.Compare(p, q), err1 == nil && err2 == nil
		}
	}
	return 0, false
}

// equal compares two attribute values of any type.
func equal(a, b any) bool {
	if n, ok := compare(a, b); ok {
		return n == 0
	}
	return canonical(a) == canonical(b)
}

// canonical is the JSON of a value with the members of sets in order.
func canonical(v any) string {
	if m, ok := v.(map[string]any); ok && len(m) == 1 {
		for kind, x := range m {
			if list, isList := x.([]any); isList && (kind == "SS" || kind == "NS" || kind == "BS") {
				parts := make([]string, len(list))
				for i := range list {
					parts[i] = fmt.Sprint(list[i])
				}
				sort.Strings(parts)
				return fmt.Sprintf("%s%q", kind, parts)
			}
		}
	}
	return describeAll(v)
}

func describeAll(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func keysOf[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
