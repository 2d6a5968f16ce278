package awssim

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// timeFields are the pattern letters of parse_time that are here, out of those of
// Joda-Time's DateTimeFormat, with the layout of package time that writes the same.
var timeFields = map[string]string{
	"yyyy": "2006", "yy": "06", "MM": "01", "M": "1", "MMM": "Jan", "MMMM": "January", "dd": "02", "d": "2",
	"HH": "15", "hh": "03", "mm": "04", "ss": "05", "a": "PM", "EEE": "Mon", "EEEE": "Monday", "ZZ": "-07:00", "Z": "-0700",
}

// formatTime writes a time by a pattern of Joda-Time: letters are fields, text in
// single quotes and everything that is no letter stands for itself.
func formatTime(pattern string, at time.Time) (string, error) {
	var b strings.Builder
	for i := 0; i < len(pattern); {
		c := pattern[i]
		j := i + 1
		switch letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'; {
		case c == '\'':
			end := strings.IndexByte(pattern[j:], '\'')
			if end < 0 {
				return "", fmt.Errorf("a quote without its end in the pattern %q", clip(pattern, 64))
			}
			if text := pattern[j : j+end]; text == "" {
				b.WriteByte('\'')
			} else {
				b.WriteString(text)
			}
			j += end + 1
		case !letter:
			b.WriteByte(c)
		default:
			for j < len(pattern) && pattern[j] == c {
				j++
			}
			switch field := pattern[i:j]; {
			case field == "SSS":
				fmt.Fprintf(&b, "%03d", at.Nanosecond()/int(time.Millisecond))
			case timeFields[field] != "":
				b.WriteString(at.Format(timeFields[field]))
			default:
				return "", fmt.Errorf("the field %q of a time pattern is not here", clip(field, 16))
			}
		}
		i = j
	}
	return b.String(), nil
}

// timePattern wants a pattern that can be checked with the rule.
func timePattern(args []sqlNode) error {
	pattern, ok := args[0].(literalNode)
	text, isText := pattern.value.(string)
	if !ok || !isText {
		return fmt.Errorf("the pattern of parse_time must be a string in quotes")
	}
	_, err := formatTime(text, time.Unix(0, 0))
	return err
}

// sqlParseTime is parse_time(pattern, milliseconds[, zone]), which despite its name
// formats. The zone is UTC, or a name of the time zone database.
func sqlParseTime(_ *sqlEnv, a []any) any {
	pattern, _ := a[0].(string)
	ms, ok := asInt(a[1], math.Floor)
	if !ok || ms < -1<<52 || ms > 1<<52 {
		return undefined
	}
	zone := time.UTC
	if len(a) == 3 {
		name, ok := a[2].(string)
		if !ok || name == "" || name == "Local" {
			return undefined
		}
		var err error
		if zone, err = time.LoadLocation(name); err != nil {
			return undefined
		}
	}
	out, err := formatTime(pattern, time.UnixMilli(ms).In(zone))
	if err != nil {
		return undefined
	}
	return out
}
