package dpsreg

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// What a twin takes.
// https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-device-twins, "Tags and
// properties format" and "Device twin size"
const (
	twinDepth      = 10
	twinKeyBytes   = 1 << 10
	twinTextBytes  = 4 << 10
	twinTagsBytes  = 8 << 10
	twinDesired    = 32 << 10
	twinIntegerMax = 4503599627370495
)

// checkTwin says what of the initial twin IoT Hub would refuse.
func (s Shape) checkTwin() error {
	for _, part := range []struct {
		name string
		m    map[string]any
		max  int
	}{{"tags", s.Tags, twinTagsBytes}, {"desired", s.Desired, twinDesired}} {
		if err := checkTwinObject(part.name, part.m, 1); err != nil {
			return err
		}
		if n := len(canonical(part.m)); n > part.max {
			return fmt.Errorf("%s: %d bytes of JSON, IoT Hub takes %d", part.name, n, part.max)
		}
	}
	return nil
}

func checkTwinObject(path string, m map[string]any, depth int) error {
	if depth > twinDepth {
		return fmt.Errorf("%s: more than %d levels deep", path, twinDepth)
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if err := checkTwinKey(path, k); err != nil {
			return err
		}
		if err := checkTwinValue(path+"."+k, m[k], depth); err != nil {
			return err
		}
	}
	return nil
}

func checkTwinKey(path, key string) error {
	bad := func(r rune) bool {
		return r < 0x20 || r >= 0x7f && r <= 0x9f || r == '.' || r == '$' || r == ' ' || r == '\uFFFD'
	}
	switch {
	case key == "" || len(key) > twinKeyBytes:
		return fmt.Errorf("%s: the key %.40q is empty or longer than %d bytes", path, key, twinKeyBytes)
	case strings.ContainsFunc(key, bad):
		return fmt.Errorf("%s: the key %q has a control character, '.', '$' or a space in it, which no twin takes", path, key)
	}
	return nil
}

func checkTwinValue(path string, v any, depth int) error {
	number := func(f float64) error {
		switch {
		case math.IsNaN(f) || math.IsInf(f, 0):
			return fmt.Errorf("%s: %v is no number in JSON", path, f)
		case f == math.Trunc(f) && (f > twinIntegerMax || f < -twinIntegerMax-1):
			return fmt.Errorf("%s: the integer %.0f is beyond the %d that IoT Hub takes", path, f, int64(twinIntegerMax))
		}
		return nil
	}
	switch v := v.(type) {
	case nil:
		return fmt.Errorf("%s: null deletes a property, which an initial twin cannot; leave it out", path)
	case bool:
		return nil
	case string:
		if len(v) > twinTextBytes {
			return fmt.Errorf("%s: a text of %d bytes, IoT Hub takes %d", path, len(v), twinTextBytes)
		}
		return nil
	case int:
		return number(float64(v))
	case int64:
		return number(float64(v))
	case uint64:
		return number(float64(v))
	case float64:
		return number(v)
	case map[string]any:
		return checkTwinObject(path, v, depth+1)
	}
	return fmt.Errorf("%s: %T is none of text, number, boolean and object", path, v)
}
