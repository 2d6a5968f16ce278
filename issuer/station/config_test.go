package station

import (
	"strings"
	"testing"
	"time"
)

const goodConfig = `
name: line-1
est:
  url: https://ca.example:8443
  label: line-1
  ca: root.pem
  secret_file: WO-1.credential
device:
  serial: {port: /dev/ttyUSB0, baud: 9600, answer: 250ms}
  expect: "SN-[0-9]+"
timeouts:
  enroll: 5s
record: {format: ndjson}
`

func TestConfig(t *testing.T) {
	c, err := Parse([]byte(goodConfig))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
	o := c.Options()
	if o.Limits.Enroll != 5*time.Second || o.Limits.Install != time.Minute || o.Format != NDJSON || o.Record != "record.ndjson" || !o.Expect.MatchString("SN-1") || o.Expect.MatchString("SN-1x") {
		t.Errorf("%+v", o)
	}
}

// TestConfigRefused changes the good configuration in one place each.
func TestConfigRefused(t *testing.T) {
	for _, test := range []struct{ old, new, want string }{
		{"label:", "labl:", "labl"},
		{"name: line-1", "name: line-1\nname: line-2", "name"},
		{"url: https://ca.example:8443", "", "est.url"},
		{"ca: root.pem", "", "est.ca and est.pin"},
		{"ca: root.pem", "ca: root.pem\n  pin: 00", "est.ca and est.pin"},
		{"secret_file: WO-1.credential", "", "est.secret_file or est.claim"},
		{"secret_file: WO-1.credential", "secret_file: x\n  claim: y", "only one of"},
		{"secret_file: WO-1.credential", "secret_file: x\n  claim_key: y", "est.claim_key"},
		{"port: /dev/ttyUSB0, ", "", "port must be set"},
		{"answer: 250ms", "answer: 2h", "answer"},
		{"answer: 250ms", "tries: 101", "tries"},
		{"  expect:", "  files: {requests: a, certificates: b}\n  expect:", "one of device.serial"},
		{`"SN-[0-9]+"`, `"SN-["`, "device.expect"},
		{"  expect:", "  keygen: server\n  expect:", "keygen"},
		{"  expect:", "  key_type: P-256\n  expect:", "key_type"},
		{"  expect:", "  keygen: station\n  key_type: RSA-1024\n  expect:", "RSA-1024"},
		{"  expect:", "  poll: 1ms\n  expect:", "poll"},
		{"enroll: 5s", "enroll: 5h", "timeouts.enroll"},
		{"format: ndjson", "format: xml", "record.format"},
		{"name: line-1", "verify: perhaps", "verify"},
		{"serial: {port: /dev/ttyUSB0, baud: 9600, answer: 250ms}", "commands: {identify: [a], install: [b], verify: [c]}", "commands.request"},
		{"serial: {port: /dev/ttyUSB0, baud: 9600, answer: 250ms}", "commands: {identify: [a], request: [b], install: [c]}", "commands.verify"},
		{"serial: {port: /dev/ttyUSB0, baud: 9600, answer: 250ms}", "commands: {identify: [''], request: [b], install: [c], verify: [d]}", "names no program"},
		{"serial: {port: /dev/ttyUSB0, baud: 9600, answer: 250ms}", "files: {requests: a, certificates: a}", "two folders"},
		{"serial: {port: /dev/ttyUSB0, baud: 9600, answer: 250ms}", "files: {requests: a, certificates: b}\n  keygen: station", "keys do not go to files"},
		{"name: line-1", "name: &a line-1", "anchors"},
		{"record: {format: ndjson}", "record: {format: ndjson}\n---\nname: other", "more than one document"},
	} {
		text := strings.Replace(goodConfig, test.old, test.new, 1)
		if text == goodConfig {
			t.Fatalf("%q is not in the configuration", test.old)
		}
		c, err := Parse([]byte(text))
		if err == nil {
			err = c.Check()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q for %q: %v, want %q", test.new, test.old, err, test.want)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(goodConfig))
	f.Add([]byte("device: {commands: {identify: [a], request: [b], install: [c], verify: [d]}}"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		if err != nil {
			return
		}
		if c.Check() == nil {
			c.Options()
		}
	})
}
