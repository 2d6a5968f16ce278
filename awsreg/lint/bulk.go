package lint

import (
	"bytes"
	"encoding/pem"
	"strings"
)

// maxBulkLine is how long a line of bulk input may be.
// https://docs.aws.amazon.com/iot/latest/developerguide/bulk-provisioning.html
const maxBulkLine = 256 << 10

// bulk checks the input of StartThingRegistrationTask: a JSON object of texts on
// each line, the parameters of one thing.
func (c *checker) bulk(u *unit) {
	u.about("bulk input")
	var names map[string]bool
	first, lines := 0, map[string]int{}
	for i, raw := range bytes.Split(u.data, []byte("\n")) {
		line := i + 1
		raw = bytes.TrimSpace(raw)
		if len(raw) == 0 {
			continue
		}
		if len(raw) > maxBulkLine {
			u.add("bulk-line", line, "the line is %d bytes long; AWS takes %d", len(raw), maxBulkLine)
			continue
		}
		n, err := parseJSON(raw)
		if err != nil || n.kind != object {
			u.add("bulk-line", line, "the line is not one JSON object")
			continue
		}
		have := map[string]bool{}
		for _, m := range n.members {
			have[m.name] = true
			if m.value.kind != text {
				u.add("bulk-line", line, "the value of %s is not a text", cut(m.name))
			}
			if block, _ := pem.Decode([]byte(m.value.str())); block != nil && strings.HasSuffix(block.Type, "CERTIFICATE REQUEST") {
				c.request(&u.report, line, block.Bytes)
				u.about("bulk input")
			}
			if key := strings.ToLower(m.name); strings.Contains(key, "serial") || key == "thingname" {
				if before, ok := lines[m.name+"\x00"+m.value.str()]; ok {
					u.add("bulk-duplicate", line, "%s %q stands on line %d already", cut(m.name), cut(m.value.str()), before)
				}
				lines[m.name+"\x00"+m.value.str()] = line
			}
		}
		if names == nil {
			names, first = have, line
			c.bulkTemplate(u, line, have)
			continue
		}
		for name := range names {
			if !have[name] {
				u.add("bulk-parameter", line, "it lacks %s, which line %d has", cut(name), first)
			}
		}
	}
	if names == nil {
		u.add("bulk-line", 0, "it has no line")
	}
}

// bulkTemplate compares the lines with the templates that are checked with them.
func (c *checker) bulkTemplate(u *unit, line int, have map[string]bool) {
	for _, other := range c.units {
		if other.format != formatDocument || other.doc == nil || !isTemplate(other.doc) {
			continue
		}
		for _, m := range other.doc.get("Parameters").members0() {
			if !strings.HasPrefix(m.name, certificateParameter) && !have[m.name] && m.value.get("Default") == nil {
				u.add("bulk-parameter", line, "it lacks %s, which the template %s declares", m.name, other.file)
			}
		}
	}
}
