package awssim

import (
	"fmt"
	"strings"
)

// checkFilter checks an MQTT topic filter (MQTT 3.1.1, section 4.7.1).
func checkFilter(filter string) error {
	if filter == "" || len(filter) > 256 {
		return fmt.Errorf("a topic filter has 1 to 256 bytes")
	}
	levels := strings.Split(filter, "/")
	for i, l := range levels {
		if strings.Contains(l, "#") && (l != "#" || i != len(levels)-1) {
			return fmt.Errorf("# must be the last level of a topic filter")
		}
		if strings.Contains(l, "+") && l != "+" {
			return fmt.Errorf("+ must be a whole level of a topic filter")
		}
	}
	return nil
}

// matchFilter matches a topic with a filter (MQTT 3.1.1, section 4.7). Wildcards
// at the start match no topic that begins with $.
func matchFilter(filter, topic string) bool {
	if strings.HasPrefix(topic, "$") && (strings.HasPrefix(filter, "+") || strings.HasPrefix(filter, "#")) {
		return false
	}
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	for i, l := range f {
		if l == "#" {
			return true
		}
		if i >= len(t) || l != "+" && l != t[i] {
			return false
		}
	}
	return len(f) == len(t)
}
