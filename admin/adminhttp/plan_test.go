package adminhttp

import (
	"encoding/json"
	"testing"
	"unicode/utf8"
)

// FuzzCanonical encodes what people type: the plan is printable ASCII on one
// line, and says the same.
func FuzzCanonical(f *testing.F) {
	f.Add("line-9")
	f.Add("Müller <&> \u202e \U0001f512 \x00\x1b\x7f\u0080 \\ \"")
	f.Fuzz(func(t *testing.T, text string) {
		out, err := canonical(map[string]string{"x": text})
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range out {
			if b < ' ' || b > '~' {
				t.Fatalf("%q holds %#x", out, b)
			}
		}
		var back map[string]string
		if err := json.Unmarshal(out, &back); err != nil || utf8.ValidString(text) && back["x"] != text {
			t.Errorf("%q came back as %q, %v", text, back["x"], err)
		}
		again, err := canonical(back)
		if err != nil || string(again) != string(out) {
			t.Errorf("%q is %q the second time, %v", out, again, err)
		}
	})
}

// FuzzPublicKey reads keys as people send them.
func FuzzPublicKey(f *testing.F) {
	f.Add("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n")
	f.Add("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n")
	f.Fuzz(func(t *testing.T, text string) {
		der, err := publicKey(text)
		if err != nil || text == "" {
			if der != nil {
				t.Errorf("a key %x with %v", der, err)
			}
			return
		}
		again, err := publicKey(encodePEM("PUBLIC KEY", der))
		if err != nil || string(again) != string(der) {
			t.Errorf("%x is %x the second time, %v", der, again, err)
		}
	})
}
